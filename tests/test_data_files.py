"""Darknet's .data files and label files as people have them: doubles, comments, `backup=`, wrong paths."""

from pathlib import Path

import cv2
import pytest
import tiny_detector as tiny

from yolor_cfg.data.sources import open_data
from yolor_cfg.errors import DataError, YolorError, shorten
from yolor_cfg.names import read_names, read_options

DATA = "classes=2\ntrain=list.txt\nvalid=list.txt\n"


def write_data(folder: Path, text: str = DATA, image: str = "images/a.png") -> Path:
    """A .data file that lists one image."""
    tiny.save(folder / image, tiny.photo())
    (folder / "list.txt").write_text(f"{image}\n")
    (folder / "d.data").write_text(text)
    return folder / "d.data"


def write_labels(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{label} .5 .5 .5 .5\n")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.png", "images/a.txt"),
        ("images/train2017/a.png", "labels/train2017/a.txt"),
        ("images/val2014/a.png", "labels/val2014/a.txt"),
        ("JPEGImages/a.png", "labels/a.txt"),
    ],
)
def test_of_two_label_files_c_darknets_counts_and_both_are_told(
    image: str, label: str, tmp_path: Path
) -> None:
    """C Darknet's replace_image_to_label (utils.c) leaves images/ alone and replaces the other folders."""
    data = write_data(tmp_path, image=image)
    beside = (tmp_path / image).with_suffix(".txt")
    away = tmp_path / image.replace("images", "labels").replace("JPEGImages", "labels")
    for path in (beside, away.with_suffix(".txt")):
        write_labels(path, label=int(path == tmp_path / label))
    dataset = open_data(data, caches=False)
    assert dataset.samples[0].classes.tolist() == [1]
    (note,) = [str(problem) for problem in dataset.problems]
    assert f"two label files: {tmp_path / label} is read" in note
    assert str(beside) in note and str(away.with_suffix(".txt")) in note


def test_a_folder_with_images_and_labels_tells_of_the_file_that_is_not_read(tmp_path: Path) -> None:
    """YOLOR and its successors replace images/ by labels/; that stays the first choice there."""
    tiny.save(tmp_path / "images/a.png", tiny.photo())
    write_labels(tmp_path / "labels/a.txt", 1)
    assert not open_data(tmp_path, caches=False).problems
    write_labels(tmp_path / "images/a.txt", 0)
    dataset = open_data(tmp_path, caches=False)
    assert dataset.samples[0].classes.tolist() == [1]
    assert f"{tmp_path}/images/a.txt is not" in str(dataset.problems[0])


def test_a_comment_behind_a_value_is_read_as_c_reads_it(tmp_path: Path) -> None:
    """C's read_data_cfg keeps the comment in the value: atoi("2#two") is 2, and no file is called that."""
    write_labels(tmp_path / "images/a.txt", 1)
    data = write_data(tmp_path, DATA.replace("=2", "=2 # two"))
    assert open_data(data, caches=False).names == ("0", "1")
    data.write_text(DATA.replace("train=list.txt", "train=list.txt # all"))
    with pytest.raises(DataError, match="a comment behind a value is part of the value"):
        open_data(data, caches=False)


def test_a_key_without_a_value_is_skipped_and_the_first_of_two_counts(tmp_path: Path) -> None:
    """C's read_option does not insert a line that ends with =; option_find returns the first one."""
    path = tmp_path / "d.data"
    path.write_text("train=\n\n# train=c\n train = a\ntrain=b\n")
    assert read_options(path) == {"train": "a"}


def test_a_backup_folder_is_told_to_be_unused(tmp_path: Path) -> None:
    write_labels(tmp_path / "images/a.txt", 1)
    data = write_data(tmp_path, DATA + "backup=old/\n")
    (note,) = open_data(data, caches=False).problems
    assert str(note).startswith(f"{data}: backup=old/ is not used: checkpoints go to the folder of the run")
    assert not open_data(data, split="val", caches=False).problems


def test_every_place_that_was_tried_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    yaml = tmp_path / "a/data.yaml"
    yaml.write_text("path: b\ntrain: ../train/images\nnames: [x]\n")
    with pytest.raises(DataError) as caught:
        open_data(yaml, caches=False)
    for place in ("a/train/images", "a/b/train/images", "train/images", "../train/images", "b/train/images"):
        assert place in caught.value.hint.removeprefix("looked for ").replace(f"{tmp_path}/", "").split(", ")
    data = write_data(tmp_path / "a")
    (tmp_path / "a/list.txt").write_text("gone.png\n")
    with pytest.raises(DataError) as caught:
        open_data(data, caches=False)
    assert caught.value.hint == f"looked for {tmp_path}/a/gone.png, {tmp_path}/gone.png"


def split_folders(folder: Path) -> None:
    for split in ("train", "val"):
        tiny.save(folder / f"images/{split}/{split}.png", tiny.photo())
        write_labels(folder / f"labels/{split}/{split}.txt", 1)


def test_a_folder_of_one_split_is_never_taken_for_that_of_all(tmp_path: Path) -> None:
    """`../train/images` without its first folders is images/, which has the images of val too."""
    split_folders(tmp_path)
    yaml = tmp_path / "data.yaml"
    for train in ("../train/images", "/home/other/train/images", "C:\\other\\Train\\images"):
        yaml.write_text(f"train: {train}\nval: images/val\nnames: [x, y]\n")
        with pytest.raises(DataError, match="train: no such file or folder") as caught:
            open_data(yaml, caches=False)
        assert str(tmp_path / "images") not in caught.value.hint.split(", ")
    for train in ("images/train", "/home/other/images/train", "C:\\other\\images\\train"):
        yaml.write_text(f"train: {train}\nval: images/val\nnames: [x, y]\n")
        (sample,) = open_data(yaml, caches=False).samples
        assert Path(sample.image).name == "train.png"


def test_images_of_kinds_that_are_not_read_are_told_and_jfif_is_jpeg(tmp_path: Path) -> None:
    pixels = tiny.photo()
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels)
    (tmp_path / "a.jpg").rename(tmp_path / "a.jfif")
    for name in ("b.HEIC", "c.svg", "d.nef", "e.heif", ".f.heic", "notes.pdf"):
        (tmp_path / name).write_bytes(b"x")
    write_labels(tmp_path / "a.txt", 0)
    data = open_data(tmp_path, caches=False)
    assert [Path(one.image).name for one in data.samples] == ["a.jfif"]
    (note,) = data.problems
    left = ", ".join(str(tmp_path / name) for name in ("b.HEIC", "c.svg", "d.nef"))
    assert note.kind == "note" and note.reason == (
        f"4 images of kinds that are not read are left out: {left} and 1 more"
    )


def test_label_files_without_an_image_are_told(tmp_path: Path) -> None:
    """Of both splits, which share a folder of labels here; lists and names of classes are no labels, and an
    image that is not listed, or of another kind, is there."""
    for split, name in (("train", "a"), ("val", "b")):
        tiny.save(tmp_path / f"{split}/{name}.png", tiny.photo())
    for name in ("a", "b", "renamed", "lost", "c"):
        write_labels(tmp_path / f"labels/{name}.txt", 0)
    (tmp_path / "train/c.heic").write_bytes(b"x")
    (tmp_path / "labels/classes.txt").write_text("cat\n")
    (tmp_path / "labels/train.txt").write_text("1 2 3 4.png\n")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: train\nval: val\nnames: [cat]\n")
    told = tiny.yolor("data", "check", yaml)
    lost, renamed = (tmp_path / f"labels/{name}.txt" for name in ("lost", "renamed"))
    assert told.exit_code == 0
    assert f"note: {yaml}: 2 label files have no image: {lost}, {renamed}\n" in told.stderr
    for path in (lost, renamed):
        path.unlink()
    assert "no image" not in tiny.yolor("data", "check", yaml).stderr


@pytest.mark.parametrize("start", ["", '<?xml version="1.0" encoding="utf-8"?>\n'])
def test_cvats_own_xml_is_refused_with_what_to_export(start: str, tmp_path: Path) -> None:
    """It was taken for the XML of Pascal VOC of an image that is called `annotations`."""
    tiny.save(tmp_path / "images/a.png", tiny.photo())
    path = tmp_path / "annotations.xml"
    path.write_text(f'{start}<annotations><image id="0" name="a.png" width="9" height="9"/></annotations>')
    for given in (path, tmp_path):
        with pytest.raises(DataError, match="CVAT's own XML is not read") as caught:
            open_data(given, caches=False)
        assert caught.value.path == str(path) and "Pascal VOC 1.1" in caught.value.hint
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    write_labels(tmp_path / "labels/a.txt", 0)
    assert len(open_data(tmp_path, caches=False).samples) == 1
    path.write_text(f"{start}<annotation><object/></annotation>")
    with pytest.raises(DataError, match="XML of one image is no data set"):
        open_data(path, caches=False)


def test_a_yaml_key_that_is_given_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    """PyYAML takes the last one: the network would be trained on val."""
    split_folders(tmp_path)
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\ntrain: images/val\nnames: [x, y]\n")
    with pytest.raises(DataError) as caught:
        open_data(yaml, caches=False)
    assert (caught.value.line, caught.value.found) == (3, "train is given twice")
    yaml.write_text("train: images/train\nval: images/val\nnames: {0: x, 1: y, 0: z}\n")
    with pytest.raises(DataError, match="0 is given twice"):
        open_data(yaml, caches=False)


def test_yes_no_on_and_off_are_names_of_classes(tmp_path: Path) -> None:
    split_folders(tmp_path)
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\nnames: [no, yes, On, OFF, 5, True]\n")
    assert open_data(yaml, caches=False).names == ("no", "yes", "On", "OFF", "5", "True")


@pytest.mark.parametrize(
    "names",
    ["[true, 010, 1.10, 2024-01-02, 1_0, '3']", "{0: true, 1: 010, 2: 1.10, 3: 2024-01-02, 4: 1_0, 5: 3}"],
)
def test_names_are_taken_as_they_are_written(tmp_path: Path, names: str) -> None:
    split_folders(tmp_path)
    yaml = tmp_path / "data.yaml"
    yaml.write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    assert open_data(yaml, caches=False).names == ("true", "010", "1.10", "2024-01-02", "1_0", "3")


def test_a_very_long_path_is_cut_in_messages(tmp_path: Path) -> None:
    long = "x" * 550_000
    for text in (DATA.replace("list.txt", long), DATA):
        data = write_data(tmp_path, text)
        (tmp_path / "list.txt").write_text(f"images/a.png\n{long}.png\n{long}\n")
        write_labels(tmp_path / "images/a.txt", 1)
        try:
            told = "\n".join(map(str, open_data(data, caches=False).problems))
        except YolorError as fault:
            told = str(fault)
        assert 0 < len(told) < 20_000
        assert "characters) ..." in told
    assert shorten("y" * 4000) == "y" * 4000


def test_a_key_given_twice_is_told_and_the_first_counts(tmp_path: Path) -> None:
    """C Darknet's option_find (option_list.c) returns the first."""
    data = write_data(tmp_path, DATA + "train=other.txt\nclasses=2\n")
    write_labels(tmp_path / "images/a.txt", label=0)
    (note,) = [note for note in open_data(data).problems if "twice" in note.reason]
    assert (note.line, note.kind) == (4, "note")
    assert note.reason == "train= is given twice: list.txt counts, other.txt does not"


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("行人\n猫\n", "gbk", "gb2312"),
        ("紅細胞\n猫\n", "gbk", "gb18030"),
        ("café\nfüße\n", "latin-1", "cp1252"),
        ("a\n\u0081b\n", "latin-1", "latin-1"),
        ("行人\n猫\n", "utf-8", ""),
    ],
)
def test_names_in_another_encoding_are_read_and_told(
    text: str, encoding: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "n.names"
    path.write_bytes(text.encode(encoding))
    assert read_names(path) == tuple(text.split("\n")[:2])
    assert [record.getMessage() for record in caplog.records] == (
        [f"{path}: not UTF-8: read as {told}"] if told else []
    )
