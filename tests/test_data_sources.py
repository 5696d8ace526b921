"""Four formats, one type: the same images give the same samples."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from yolor_cfg.data.cache import cache_files, load_size_cache, save_size_cache
from yolor_cfg.data.classes import match_classes
from yolor_cfg.data.sources import find_listing, open_data, refuse_other_count
from yolor_cfg.data.types import LabelChecks
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground_truth import coco_ground_truth
from yolor_cfg.images.headers import read_image_info
from yolor_cfg.images.stacks import read_channels

NAMES = ("cat", "dog", "owl")
SIZES = ((20, 40), (60, 30), (32, 32))
# Class, left, top, width, height in pixels, of the three images; the last has no object.
BOXES = ([(0, 4, 2, 10, 8), (2, 20, 10, 20, 10)], [(1, 0, 0, 30, 60)], [])


def write_images(folder: Path, ending: str = ".png") -> list[str]:
    folder.mkdir(parents=True)
    for number, size in enumerate(SIZES):
        cv2.imwrite(str(folder / f"{number}{ending}"), np.full((*size, 3), 40 * number, np.uint8))
    return [f"{number}{ending}" for number in range(len(SIZES))]


def write_text_labels(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, ((height, width), boxes) in enumerate(zip(SIZES, BOXES, strict=True)):
        lines = [
            f"{c} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}"
            for c, x, y, w, h in boxes
        ]
        (folder / f"{number}.txt").write_text("\n".join(lines))


def darknet(root: Path) -> Path:
    names = write_images(root / "images")
    write_text_labels(root / "labels")
    (root / "train.txt").write_text("\r\n".join(f"images/{name}" for name in names))
    (root / "x.names").write_text("\n".join(NAMES) + "\n\n")
    (root / "x.data").write_text("# mine\nclasses = 3\ntrain=train.txt\nvalid =train.txt\nnames=x.names\n")
    return root / "x.data"


def yolo_list(root: Path) -> Path:
    write_images(root / "set" / "images" / "train")
    write_text_labels(root / "set" / "labels" / "train")
    (root / "x.yaml").write_text(
        "path: set\ntrain: [images/train]\nval: images/train\nnames: [cat, dog, owl]\n"
    )
    return root / "x.yaml"


def yolo_map(root: Path) -> Path:
    names = write_images(root / "images")
    write_text_labels(root / "labels")
    (root / "train.txt").write_text("\n".join(f"./images/{name}" for name in names))
    (root / "x.yml").write_text("train: train.txt\nval: train.txt\nnc: 3\nnames: {2: owl, 0: cat, 1: dog}\n")
    return root / "x.yml"


def coco(root: Path) -> Path:
    names = write_images(root / "images")
    images = [
        {"id": 10 + n, "file_name": name, "height": SIZES[n][0], "width": SIZES[n][1]}
        for n, name in enumerate(names)
    ]
    notes = [
        {
            "id": 100 * n + i,
            "image_id": 10 + n,
            "category_id": (3, 7, 90)[c],
            "bbox": [x, y, w, h],
            "area": w * h,
        }
        for n, boxes in enumerate(BOXES)
        for i, (c, x, y, w, h) in enumerate(boxes)
    ]
    categories = [{"id": 90, "name": "owl"}, {"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    (root / "annotations").mkdir()
    file = root / "annotations" / "instances_train.json"
    file.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return file


def voc(root: Path) -> Path:
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for number, boxes in enumerate(BOXES):
        objects = "".join(
            f"<object><name>{NAMES[c]}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for c, x, y, w, h in boxes
        )
        (root / "Annotations" / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n1\n2\n")
    return root


def voc_folder(root: Path) -> Path:
    voc(root)
    for file in [*(root / "Annotations").iterdir(), *(root / "JPEGImages").iterdir()]:
        file.rename(root / file.name)
    for folder in ("ImageSets/Main", "ImageSets", "Annotations", "JPEGImages"):
        for file in (root / folder).iterdir():
            file.unlink()
        (root / folder).rmdir()
    return root


def folder(root: Path) -> Path:
    write_images(root / "train" / "images", ".bmp")
    write_text_labels(root / "train" / "labels")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


FORMATS = {
    "darknet": darknet,
    "yolo": yolo_list,
    "yolo with a map": yolo_map,
    "coco": coco,
    "voc": voc,
    "voc in one folder": voc_folder,
    "folder": folder,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_samples(name: str, tmp_path: Path) -> None:
    data = open_data(FORMATS[name](tmp_path), caches=False)
    assert data.format == name.split()[0]
    assert data.names == NAMES
    assert [sample.size for sample in data.samples] == list(SIZES)
    for sample, boxes in zip(data.samples, BOXES, strict=True):
        scale = np.array([*sample.size[::-1]] * 2)
        expected = [((x + w / 2), (y + h / 2), w, h) for _, x, y, w, h in boxes]
        np.testing.assert_allclose(sample.boxes_xywh * scale, np.array(expected).reshape(-1, 4), atol=1e-4)
        assert sample.classes.tolist() == [box[0] for box in boxes]
        np.testing.assert_allclose(sample.areas, [w * h for *_, w, h in boxes], rtol=1e-5)
        assert not sample.crowd.any() and (sample.identities == -1).all()


@pytest.mark.parametrize("name", ["darknet", "yolo", "voc", "coco"])
def test_a_folder_is_read_by_the_file_that_describes_it(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path)
    assert open_data(tmp_path, caches=False).format == name


def test_lists_start_from_the_folder_of_the_data_file_wherever_one_is(tmp_path: Path, monkeypatch) -> None:
    darknet(tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    assert len(open_data("deep/x.data", caches=False).samples) == 3
    text = (tmp_path / "deep" / "train.txt").read_text().replace("images", "deep/images")
    (tmp_path / "deep" / "train.txt").write_text(text)
    assert len(open_data("deep/x.data", caches=False).samples) == 3


def test_an_image_listed_twice_counts_twice_in_training_and_once_in_a_test(tmp_path: Path) -> None:
    description = darknet(tmp_path)
    (tmp_path / "train.txt").write_text("images/0.png\nimages/0.png\nimages/1.png\n")
    counts = [len(open_data(description, split=split, caches=False).samples) for split in ("train", "val")]
    assert counts == [3, 2]


def test_images_that_the_list_of_a_test_repeats_are_kept_apart(tmp_path: Path) -> None:
    description = darknet(tmp_path)
    listed = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "valid.txt").write_text("\n".join([*listed, listed[0], listed[0], listed[1]]) + "\n")
    description.write_text("classes=3\nnames=x.names\nvalid=valid.txt\n")
    data = open_data(description, split="val", caches=False)
    images = [sample.image for sample in data.samples]
    assert len(images) == len(listed) and data.repeated == (images[0], images[0], images[1])


def test_coco_json_keeps_crowds_true_areas_and_images_without_boxes(shared: Path) -> None:
    file = shared / "data" / "coco_mini" / "annotations" / "instances_val.json"
    data, peer = open_data(file, split="val", caches=False), COCO(str(file))
    assert [sample.image_id for sample in data.samples] == list(peer.imgs)
    assert data.category_ids == tuple(sorted(peer.getCatIds()))
    for sample in data.samples:
        notes = peer.imgToAnns[sample.image_id]
        np.testing.assert_allclose(sample.areas, [note["area"] for note in notes], rtol=1e-6)
        assert sample.crowd.tolist() == [bool(note["iscrowd"]) for note in notes]
        assert [data.category_ids[label] for label in sample.classes] == [
            note["category_id"] for note in notes
        ]
        corner_and_size = sample.boxes_xywh * np.tile(sample.size[::-1], 2)
        corner_and_size[:, :2] -= corner_and_size[:, 2:] / 2
        expected = np.array([note["bbox"] for note in notes]).reshape(-1, 4)
        np.testing.assert_allclose(corner_and_size, expected, atol=1e-3)
    assert sum(sample.crowd.sum() for sample in data.samples) > 0


def test_darknet_and_json_of_the_same_photographs_agree(shared: Path) -> None:
    root = shared / "data" / "bccd"
    text = open_data(root / "bccd.data", split="val", caches=False)
    coco = open_data(root / "annotations" / "instances_val.json", split="val", caches=False)
    assert (len(text.samples), text.names) == (87, coco.names)
    by_path = {sample.image: sample for sample in coco.samples}
    for sample in text.samples:
        np.testing.assert_allclose(sample.boxes_xywh, by_path[sample.image].boxes_xywh, atol=2e-6)
        assert sample.classes.tolist() == by_path[sample.image].classes.tolist()


def test_a_difficult_object_of_voc_counts_as_a_crowd(tmp_path: Path) -> None:
    file = voc(tmp_path) / "Annotations" / "0.xml"
    file.write_text(file.read_text().replace("</name>", "</name><difficult>1</difficult>", 1))
    sample = open_data(tmp_path, caches=False).samples[0]
    assert sample.crowd.tolist() == sample.difficult.tolist() == [True, False]


def test_the_difficult_list_of_a_data_file_is_paired_line_by_line_for_a_test(tmp_path: Path) -> None:
    """detector.c 1095: the label file of line i of `difficult` belongs to line i of `valid`."""
    description = darknet(tmp_path)
    count = len(open_data(description, split="val", caches=False).samples)
    (tmp_path / "hard/labels").mkdir(parents=True)
    lines = [f"hard/images/{number}.png" for number in range(count)]
    (tmp_path / "hard/labels/1.txt").write_text("2 .8 .8 .2 .2\n")
    (tmp_path / "hard.txt").write_text("\n".join(lines))
    text = description.read_text()
    description.write_text(text + "difficult = hard.txt\n")
    samples = open_data(description, split="val", caches=False).samples
    assert [int(sample.difficult.sum()) for sample in samples] == [0, 1, *[0] * (count - 2)]
    assert samples[1].classes[samples[1].difficult].tolist() == [2]
    assert not any(sample.difficult.any() for sample in open_data(description, caches=False).samples)
    (tmp_path / "hard/labels/1.txt").write_text("9 .8 .8 .2 .2\n")
    with pytest.raises(DataError, match=r"hard/labels/1.txt:1: class 9 is not in 0..2"):
        open_data(description, split="val", caches=False)
    (tmp_path / "hard.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match="too few images in the list of difficult objects"):
        open_data(description, split="val", caches=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=train.txt\nnames=x.names\nclasses=4\n", "classes and names differ in number"),
        ("train=train.txt\nnames=y.names\nclasses=3\n", "names: no such file or folder"),
        ("valid=train.txt\nnames=x.names\nclasses=3\n", "no train split"),
        ("train train.txt\n", "a line without ="),
        ("train=none.txt\nnames=x.names\n", "train: no such file or folder"),
    ],
)
def test_a_faulty_data_file_is_reported_with_what_was_looked_for(
    text: str, message: str, tmp_path: Path
) -> None:
    description = darknet(tmp_path)
    description.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_data(description, caches=False)
    assert str(description) in str(caught.value)


def test_data_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differ in the number of classes") as caught:
        refuse_other_count(find_listing(darknet(tmp_path), "train"), 2, ("dog", "cat"))
    assert "yolor cfg set-classes CFG 3" in caught.value.hint
    assert "2, as in the network: dog, cat" in caught.value.allowed and caught.value.found.startswith("3 in")


def test_unreadable_images_are_reported_and_skipped_or_an_error(tmp_path: Path) -> None:
    description = darknet(tmp_path)
    whole = (tmp_path / "images" / "1.png").read_bytes()
    (tmp_path / "images" / "1.png").write_bytes(whole[:-20])
    (tmp_path / "images" / "2.png").unlink()
    data = open_data(description, caches=False)
    assert len(data.samples) == 1
    reasons = [
        (Path(problem.path).name, problem.reason) for problem in data.problems if problem.kind == "image"
    ]
    assert [name for name, _ in reasons] == ["1.png", "2.png"]
    assert "truncated" in reasons[0][1] and reasons[1][1] == "no such file or directory"
    with pytest.raises(DataError, match="truncated"):
        open_data(description, checks=LabelChecks(strict=True), caches=False)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".gif", ".webp", ".tiff", ".ppm"])
def test_sizes_from_headers_are_those_of_the_decoded_image(ending: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    path = str(tmp_path / f"a{ending}")
    assert cv2.imwrite(path, noise)
    assert read_image_info(path).size == (37, 53)


@pytest.mark.parametrize("ending", [".tiff", ".npy"])
def test_twelve_channels_come_from_the_pages_of_a_tiff_or_from_an_array(ending: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 12), np.uint8)
    path = str(tmp_path / f"a{ending}")
    if ending == ".npy":
        np.save(path, pixels)
    else:
        assert cv2.imwritemulti(path, list(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    assert read_image_info(path).size == (9, 7)
    np.testing.assert_array_equal(read_channels(path, 12), pixels)
    with pytest.raises(DataError, match="has 12 (channels|pages), not 5"):
        read_channels(path, 5)


def test_the_three_grey_pages_of_a_tiff_are_the_channels_of_an_rgb_network(tmp_path: Path) -> None:
    """The right values are the pages as they were written."""
    pages = [np.full((4, 5), value, np.uint8) for value in (10, 20, 30)]
    path = str(tmp_path / "a.tif")
    assert cv2.imwritemulti(path, pages)
    np.testing.assert_array_equal(read_channels(path, 3), np.stack(pages, axis=2))
    np.testing.assert_array_equal(read_channels(path, 1), pages[0][..., None])


@pytest.mark.parametrize(
    ("array", "cut", "reason"),
    [
        (np.zeros((9, 7, 5), np.float32), 0, "an array of float32"),
        (np.zeros(9, np.uint8), 0, "an array of uint8 and shape \\(9,\\)"),
        (np.zeros((9, 7, 5), np.uint8), 1, "truncated"),
    ],
)
def test_an_array_that_is_no_whole_image_is_told_from_its_header(
    array: np.ndarray, cut: int, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    with pytest.raises(DataError, match=reason):
        read_image_info(str(path))


def test_an_array_of_objects_is_refused_unread(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(DataError, match="an array of object"):
        read_channels(path, 3)


def test_sizes_of_photographs_are_those_that_opencv_decodes(shared: Path) -> None:
    for path in sorted((shared / "data" / "coco_mini" / "images").glob("*.jpg")):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert read_image_info(str(path)).size == pixels.shape[:2]


def test_json_sizes_that_fit_the_other_exif_orientation_are_reported(tmp_path: Path, monkeypatch) -> None:
    description = coco(tmp_path)
    document = json.loads(description.read_text())
    first = document["images"][0]
    height, width = cv2.imread(open_data(description, caches=False).samples[0].image).shape[:2]
    assert height != width
    first["height"], first["width"] = height, width
    description.write_text(json.dumps(document))
    assert not any("orientation" in problem.reason for problem in open_data(description).problems)
    checks = LabelChecks("drop")
    first["height"], first["width"] = width, height
    description.write_text(json.dumps(document))
    problems = open_data(description, checks=checks).problems
    (note,) = [problem for problem in problems if "orientation" in problem.reason]
    assert note.kind == "note" and note.reason.startswith("1 image has height and width exchanged")


@pytest.mark.parametrize(
    ("size", "note"),
    [
        ((40, 20), ""),
        ((0, 0), ""),
        ((20, 40), "1 image has height and width exchanged in the annotations: the boxes fit the other EXIF"),
        ((80, 40), "1 image has another size in the {}: boxes are "),
    ],
)
def test_another_size_of_the_image_in_its_annotations_is_told(
    tmp_path: Path, size: tuple[int, int], note: str
) -> None:
    """The file has 40 x 20 pixels (width x height); no box tells it by leaving the image."""
    for folder in ("voc/JPEGImages", "coco"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "a.png"), np.zeros((20, 40, 3), np.uint8))
    width, height = size
    (tmp_path / "voc/Annotations").mkdir()
    (tmp_path / "voc/Annotations/a.xml").write_text(
        f"<annotation><size><width>{width}</width><height>{height}.0</height></size><object><name>cat</name>"
        "<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>10</xmax><ymax>16</ymax></bndbox></object></annotation>"
    )
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 4, 8, 12]}
    document = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "coco/a.json").write_text(json.dumps(document))
    for place, words, parts in (("voc", "XML", (40, 20)), ("coco/a.json", "JSON", size)):
        data = open_data(tmp_path / place)
        notes = [problem.reason for problem in data.problems if problem.kind == "note"]
        assert len(notes) == bool(note) and all(one.startswith(note.format(words)) for one in notes)
        width, height = parts if all(parts) else (40, 20)
        assert data.samples[0].boxes_xywh[0].tolist() == pytest.approx(
            [6 / width, 10 / height, 8 / width, 12 / height]
        )


def test_classes_are_matched_by_name_and_other_sets_are_shown(tmp_path: Path) -> None:
    data = open_data(coco(tmp_path), caches=False)
    assert (data.names, data.category_ids) == (("cat", "dog", "owl"), (3, 7, 90))
    mapped = match_classes(data, ("Owl", "cat", "dog"), source="the checkpoint", by_number=False)
    assert (mapped.names, mapped.category_ids) == (("Owl", "cat", "dog"), (90, 3, 7))
    for before, after in zip(data.samples, mapped.samples, strict=True):
        ids = [data.category_ids[label] for label in before.classes]
        assert [mapped.category_ids[label] for label in after.classes] == ids
    assert mapped.problems[-1].kind == "note" and "Owl, cat, dog" in mapped.problems[-1].reason
    for names in (("cat", "dog", "owl"), (), ("0", "1", "2"), ("CAT", "dog", "owl")):
        assert match_classes(data, names, source="it", by_number=False) is data
    with pytest.raises(DataError) as caught:
        match_classes(data, ("cat", "dog", "emu"), source="it", by_number=False)
    assert "cat, dog, owl" in str(caught.value) and "cat, dog, emu" in str(caught.value)
    assert match_classes(data, ("cat", "dog", "emu"), source="it", by_number=True) is data


def test_roboflows_root_category_is_no_class(tmp_path: Path) -> None:
    """Roboflow's COCO export: categories[0] = {"id": 0, "name": "animals", "supercategory": "none"}."""
    description = coco(tmp_path)
    document = json.loads(description.read_text())
    for one in document["categories"]:
        one["supercategory"] = "animals"
    document["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    description.write_text(json.dumps(document))
    assert open_data(description, caches=False).names == ("cat", "dog", "owl")
    assert coco_ground_truth(description).names == ("cat", "dog", "owl")
    document["annotations"][0]["category_id"] = 0
    description.write_text(json.dumps(document))
    assert open_data(description, caches=False).names == ("animals", "cat", "dog", "owl")


def test_an_object_of_voc_without_a_name_is_a_fault_and_no_class(tmp_path: Path) -> None:
    file = voc(tmp_path) / "Annotations" / "0.xml"
    names = open_data(tmp_path, caches=False).names
    text = file.read_text()
    file.write_text(text.replace("<object>", "<object><name></name></object><object>", 1))
    with pytest.raises(DataError, match=r"object 1 \(no name\): unknown class, not one of"):
        open_data(tmp_path, caches=False)
    assert open_data(tmp_path, caches=False, checks=LabelChecks("drop")).names == names


def test_cached_sizes_are_valid_only_while_the_file_is_the_same(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("yolor_cfg.data.cache.SETTLED_NS", -(10**12))
    paths = [str(tmp_path / name) for name in write_images(tmp_path / "a")]
    paths = [str(tmp_path / "a" / Path(path).name) for path in paths]
    origin = str(tmp_path / "x.data")
    file = save_size_cache(origin, {path: read_image_info(path) for path in paths})
    assert file == cache_files(origin)[0] and file.is_file()
    known = load_size_cache(origin)
    assert [known[path].size for path in paths] == list(SIZES)
    assert read_image_info(paths[0], known[paths[0]]) is known[paths[0]]
    cv2.imwrite(paths[0], np.zeros((5, 6, 3), np.uint8))
    assert read_image_info(paths[0], known[paths[0]]).size == (5, 6)


def test_a_file_changed_just_now_is_not_cached(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a" / name) for name in write_images(tmp_path / "a")]
    save_size_cache(str(tmp_path / "x"), {path: read_image_info(path) for path in paths})
    assert load_size_cache(str(tmp_path / "x")) == {}


def test_a_damaged_cache_is_ignored_and_the_second_folder_is_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    beside, home = cache_files(str(tmp_path / "x.data"))
    beside.mkdir()
    assert save_size_cache(str(tmp_path / "x.data"), {}) == home
    home.write_bytes(b"\x80\x04 no archive")
    assert load_size_cache(str(tmp_path / "x.data")) == {}


def test_a_damaged_cache_is_never_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("yolor_cfg.data.cache.SETTLED_NS", -(10**12))
    path = str(tmp_path / "a" / write_images(tmp_path / "a")[0])
    file = save_size_cache(str(tmp_path / "x"), {path: read_image_info(path)})
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(whole[: rng.integers(len(whole) // 2, len(whole) + 1)])
        data[rng.integers(len(data))] = rng.integers(256)
        file.write_bytes(data)
        assert set(load_size_cache(str(tmp_path / "x"))) <= {path}


def test_a_large_data_set_is_cached_and_a_corrected_label_is_seen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("yolor_cfg.data.scan.LEAST", 1)
    monkeypatch.setattr("yolor_cfg.data.cache.SETTLED_NS", -(10**12))
    description = darknet(tmp_path)
    first = open_data(description)
    assert len(load_size_cache(str(description))) == 3
    label = tmp_path / "labels" / "1.txt"
    status = label.stat()
    label.write_text(label.read_text().replace("1 0.5", "2 0.5", 1))
    os.utime(label, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = open_data(description)
    assert (first.samples[1].classes.tolist(), second.samples[1].classes.tolist()) == ([1], [2])
    assert [sample.size for sample in second.samples] == list(SIZES)
