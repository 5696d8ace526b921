"""What is wrong in people's data is told at its place; nothing is taken for something else."""

import json
import os
from pathlib import Path
from typing import Any

import layouts
import pytest
import tiny_detector as tiny

from yolor_cfg.data.labels import DataFaults
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import LabelChecks
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground_truth import coco_ground_truth
from yolor_cfg.evaluate.results import read_results

SPLITS = layouts.make_split(3, 1)
NAN, HUGE = float("nan"), 10**400
ABSENT = object()


def coco_json(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = layouts.one_coco_json(folder, SPLITS)
    return path, json.loads(path.read_text())


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


def replace_value(document: Any, place: str, value: Any) -> Any:
    """The document with another value at a place such as `annotations.0.bbox`."""
    if not place:
        return value
    *above, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = document
    for part in above:
        inner = inner[part]
    if value is ABSENT:
        del inner[last]
    else:
        inner[last] = value
    return document


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("", [], "not COCO"),
        ("", 5, "not COCO"),
        ("", None, "not COCO"),
        ("images", None, "not COCO"),
        ("images", {"0": 1}, "not COCO"),
        ("images.1", 7, "images[1]: not an object"),
        ("images.1.id", ABSENT, "images[1].id: missing"),
        ("images.1.id", None, "images[1].id: not a whole number or text"),
        ("images.1.id", [1], "images[1].id: not a whole number or text"),
        ("images.1.id", 1.5, "images[1].id: not a whole number or text"),
        ("images.1.id", True, "images[1].id: not a whole number or text"),
        ("images.1.id", HUGE, "images[1].id: not a whole number or text"),
        ("images.1.id", 1, "images[1].id: the id 1 is given twice"),
        ("images.1.file_name", 5, "images[1].file_name: not the name of a file"),
        ("images.1.file_name", "a\0b", "images[1].file_name: not the name of a file"),
        ("images.1.file_name", "\ud83d", "images[1].file_name: not the name of a file"),
        ("images.1.height", "48", "images[1].height: not a number of pixels"),
        ("images.1.width", -4, "images[1].width: not a number of pixels"),
        ("annotations", {"a": 1}, "annotations: not a list"),
        ("annotations.0", None, "annotations[0]: not an object"),
        ("annotations.0.image_id", [1], "annotations[0].image_id: not a whole number or text"),
        (
            "annotations.0.image_id",
            99,
            "annotations[0].image_id: annotations of images that the JSON does not",
        ),
        ("categories", 4, "categories: not a list"),
        ("categories.1", "dog", "categories[1]: not an object"),
        ("categories.1.id", "2", "categories[1].id: not a whole number"),
        ("categories.1.id", 1, "categories[1].id: the id is given twice"),
        ("categories.1.name", ["dog"], "categories[1].name: not text"),
        ("annotations.0.bbox", ABSENT, "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", "1,2,3,4", "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", ["1", "2", "3", "4"], "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", [1, 2, 3], "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", [[1, 2, 3, 4]], "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", [1, 2, 3, NAN], "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", [1, 2, 3, HUGE], "annotations[0].bbox: not four numbers"),
        ("annotations.0.bbox", {"x": 1}, "annotations[0].bbox: not four numbers"),
        ("annotations.0.category_id", [1], "annotations[0].category_id: a list of 1 is not listed"),
        ("annotations.0.category_id", "1", 'annotations[0].category_id: text "1" is not listed'),
        ("annotations.0.iscrowd", "0", 'annotations[0].iscrowd: not 0 or 1: text "0"'),
        ("annotations.0.iscrowd", 2, "annotations[0].iscrowd: not 0 or 1: 2"),
        ("annotations.0.iscrowd", [], "annotations[0].iscrowd: not 0 or 1"),
        ("annotations.0.difficult", "no", "annotations[0].difficult: not 0 or 1"),
        ("annotations.0.area", "9", "annotations[0].area: not a number"),
        ("annotations.0.track_id", "a", "annotations[0].track_id: not a number"),
    ],
)
def test_odd_types_of_a_coco_json_are_told_with_their_json_path(
    place: str, value: Any, told: str, tmp_path: Path
) -> None:
    """The right types are those of COCO's format (cocodataset.org/#format-data)."""
    path, document = coco_json(tmp_path)
    write_json(path, replace_value(document, place, value))
    with pytest.raises(DataError) as caught:
        open_data(path, caches=False)
    assert told in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": 1' + "0" * 5000 + "}", "{", "\x80"])
def test_json_that_python_does_not_read_is_one_message(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    for read in (lambda: open_data(path, caches=False), lambda: coco_ground_truth(path)):
        with pytest.raises(DataError, match="not valid JSON|is not UTF-8 text"):
            read()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("annotations.0.bbox", ["1", 2, 3, 4]),
        ("annotations.0.iscrowd", "0"),
        ("annotations.0.category_id", None),
        ("images.1.id", 1),
        ("images.1.id", {}),
    ],
)
def test_ground_truth_for_results_is_held_to_the_same_types(place: str, value: Any, tmp_path: Path) -> None:
    path, document = coco_json(tmp_path)
    write_json(path, replace_value(document, place, value))
    with pytest.raises(DataError, match=place.rpartition(".")[2]):
        coco_ground_truth(path)


@pytest.mark.parametrize(
    "document",
    [
        5,
        {"a": 1},
        [5],
        [{}],
        [{"image_id": [1], "bbox": [1, 2, 3, 4], "score": 1, "category_id": 1}],
        [{"image_id": 1, "bbox": "abcd", "score": 1, "category_id": 1}],
        [{"image_id": 1, "bbox": [1, 2, 3, HUGE], "score": 1, "category_id": 1}],
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": "1", "category_id": 1}],
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": NAN, "category_id": 1}],
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": HUGE, "category_id": 1}],
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1, "category_id": {}}],
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1, "category_id": True}],
    ],
)
def test_results_of_odd_types_are_refused_with_the_number_of_the_result(
    document: Any, tmp_path: Path
) -> None:
    """COCO's results format: a list of image_id, category_id, bbox of four numbers, score."""
    path, _ = coco_json(tmp_path)
    write_json(tmp_path / "results.json", document)
    with pytest.raises(DataError, match=r"results.json: (not COCO results|result 0|the ground truth has no)"):
        read_results(tmp_path / "results.json", coco_ground_truth(path))


def voc_file(folder: Path) -> Path:
    layouts.voc_without_lists(folder, SPLITS)
    return folder / "Annotations" / "t0.xml"


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "gb18030", "big5", "utf-7", "utf-16", "shift_jis"])
def test_voc_files_are_read_in_the_encoding_that_they_declare(encoding: str, tmp_path: Path) -> None:
    file = voc_file(tmp_path)
    text = file.read_text().replace("cat", "\u72d7")
    file.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    data = open_data(tmp_path, caches=False)
    assert "\u72d7" in data.names and len(data.samples[0].classes) == 1


def test_a_voc_file_that_declares_no_encoding_and_is_not_utf_8_is_read_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = voc_file(tmp_path)
    for path in file.parent.glob("*.xml"):
        path.write_bytes(path.read_text().replace("cat", "\u72d7").encode("gbk"))
    data = open_data(tmp_path, caches=False)
    assert "\u72d7" in data.names and "cat" not in data.names
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{file.parent}: not UTF-8: read as gb2312")


@pytest.mark.parametrize(("inside", "above"), [("", "root"), ("Annotations", ".."), ("..", "root")])
def test_the_folder_of_the_xml_files_leads_to_the_one_above(
    inside: str, above: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = voc_file(tmp_path / "root").parents[1]
    monkeypatch.chdir(root / inside if inside != ".." else tmp_path)
    path = {"": root / "Annotations", "Annotations": Path("."), "..": Path("root/Annotations")}[inside]
    with pytest.raises(DataError) as caught:
        open_data(path, caches=False)
    assert "holds only the XML files" in str(caught.value)
    assert caught.value.hint == f"give the folder above: {root if inside == '' else above}"


def test_the_folder_of_the_images_of_voc_leads_to_the_one_above(tmp_path: Path) -> None:
    root = voc_file(tmp_path).parents[1]
    with pytest.raises(DataError, match="holds only the images of a data set"):
        open_data(root / "JPEGImages", caches=False)


@pytest.mark.parametrize("encoding", ["rot13", "base64", "no-such", "utf-8", "utf-32"])
def test_a_voc_file_in_no_readable_encoding_is_a_fault_of_that_file(encoding: str, tmp_path: Path) -> None:
    file = voc_file(tmp_path)
    text = file.read_text().replace("cat", "\u72d7")
    file.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode("gbk"))
    with pytest.raises(DataFaults, match=f"{file}: not valid XML"):
        open_data(tmp_path, caches=False)


@pytest.mark.parametrize("value", ["nan", "1_0", "inf", "1e999", "\u0661", "0x1", ""])
def test_a_corner_of_voc_that_is_no_number_is_a_fault(value: str, tmp_path: Path) -> None:
    file = voc_file(tmp_path)
    before, _, after = file.read_text().partition("<xmin>")
    file.write_text(f"{before}<xmin>{value}<{after.partition('<')[2]}", encoding="utf-8")
    with pytest.raises(DataFaults, match="object 1 .*bndbox is not four numbers"):
        open_data(tmp_path, caches=False)


@pytest.mark.parametrize(
    "line", ["1_0 .5 .5 .1 .1", "0 .5 .5 .1 .1_1", "0 1_1 .5 .5 .1 .1", "nan .5 .5 .1 .1"]
)
def test_digits_with_gaps_are_no_numbers(line: str, tmp_path: Path) -> None:
    """Python reads 1_0 as 10; C's atoi and sscanf, and every other tool, do not."""
    root = layouts.label_studio(tmp_path, SPLITS)
    (root / "labels/t0.txt").write_text(line + "\n")
    with pytest.raises(DataFaults, match=r"labels/t0.txt:1: .*(is not a number|not finite)"):
        open_data(root, caches=False)


def test_class_names_that_stand_twice_stay_two_classes_and_are_told(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path / "a", SPLITS)
    (root / "classes.txt").write_text("cat\ncat\n")
    (problem,) = open_data(root, caches=False).problems
    assert str(problem).startswith(f"{root}/classes.txt:2: classes 0 and 1: both are called 'cat'")
    checked = tiny.yolor("data", "check", root, "--json")
    counts = json.loads(checked.stdout)["classes"]
    assert list(counts) == ["cat (0)", "cat (1)"] and all(counts.values())
    path, document = coco_json(tmp_path / "b")
    write_json(path, replace_value(document, "categories.1.name", "cat"))
    assert "categories with the ids 1 and 2" in str(open_data(path, caches=False).problems[0])


def test_a_link_to_its_own_folder_adds_no_image(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path, SPLITS)
    (root / "images" / "again").symlink_to(root / "images")
    data = open_data(root, caches=False)
    assert len(data.samples) == len(SPLITS["train"])
    assert "which is read already: left out" in str(data.problems[0])


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = layouts.label_studio(tmp_path, SPLITS)
    (root / "images" / "locked").mkdir()
    scan = os.scandir

    def refuse(place: str) -> Any:
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    (problem,) = open_data(root, caches=False).problems
    assert (problem.kind, str(problem)) == ("image", f"{root}/images/locked: permission denied")
    with pytest.raises(DataFaults):
        open_data(root, checks=LabelChecks(strict=True), caches=False)


def test_two_images_of_one_label_file_are_told(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path, SPLITS)
    layouts.write_image(root / "images/t0.jpg")
    (problem,) = open_data(root, caches=False).problems
    assert "1 image shares the label file of another image" in str(problem)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.gif", b"GIF8"),
        ("a.webp", b"RIFF"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.npy", b"\x93NUMPY"),
        ("a.bmp", b"BM"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\1", b"\x01\x00\x05", bytes(11), b"\xff" * 30])
def test_short_headers_of_images_are_faults_of_these_files(
    name: str, head: bytes, rest: bytes, tmp_path: Path
) -> None:
    root = layouts.label_studio(tmp_path, SPLITS)
    (root / "images" / name).write_bytes(head + rest)
    problems = open_data(root, caches=False).problems
    assert [(problem.kind, Path(problem.path).name) for problem in problems if problem.kind == "image"] == [
        ("image", name)
    ]
