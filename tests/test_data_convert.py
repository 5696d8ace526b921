"""A converted data set reads back unchanged."""

import json
from pathlib import Path

import layouts
import numpy as np
import pytest
import tiny_detector as tiny
from click.testing import CliRunner

from yolor_cfg.cli.data import data as command
from yolor_cfg.data.extras import NOTHING
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.data.writing.coco import write_coco
from yolor_cfg.data.writing.darknet import write_darknet
from yolor_cfg.data.writing.parts import WrittenPart
from yolor_cfg.errors import DataError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("s") / "a", ShapesOptions(6, (64, 96), identities=True))


def whole(data: Dataset) -> WrittenPart:
    return WrittenPart(data, [[NOTHING] * len(sample.classes) for sample in data.samples])


def assert_alike(left: Dataset, right: Dataset) -> None:
    assert left.names == right.names and len(left.samples) == len(right.samples) > 0
    for one, other in zip(left.samples, right.samples, strict=True):
        np.testing.assert_allclose(one.boxes_xywh, other.boxes_xywh, atol=2e-5)
        np.testing.assert_allclose(one.areas, other.areas, rtol=1e-3)
        assert [one.classes.tolist(), one.identities.tolist(), one.size] == [
            other.classes.tolist(),
            other.identities.tolist(),
            other.size,
        ]
        assert Path(one.image).read_bytes() == Path(other.image).read_bytes()


def test_a_data_set_comes_back_from_cocos_json(shapes: Path, tmp_path: Path) -> None:
    data = open_data(shapes, caches=False)
    write_coco(data, tmp_path / "a.json")
    assert_alike(data, open_data(tmp_path / "a.json", caches=False))
    with pytest.raises(DataError, match="exists already"):
        write_coco(data, tmp_path / "a.json")


def test_a_data_set_comes_back_from_darknets_folder(shapes: Path, tmp_path: Path) -> None:
    splits = {split: open_data(shapes, split=split, caches=False) for split in ("train", "val")}
    parts = {split: whole(data) for split, data in splits.items()}
    description = write_darknet(parts, tmp_path / "a")
    for split, data in splits.items():
        assert_alike(data, open_data(description, split=split, caches=False))
    with pytest.raises(DataError, match="not empty"):
        write_darknet(parts, tmp_path / "a")


def test_cocos_ids_areas_and_crowds_survive(shared: Path, tmp_path: Path) -> None:
    data = open_data(shared / "data/coco_mini/annotations/instances_val.json", split="val", caches=False)
    write_coco(data, tmp_path / "a.json")
    again = open_data(tmp_path / "a.json", caches=False)
    assert_alike(data, again)
    assert [s.image_id for s in again.samples] == [s.image_id for s in data.samples]
    assert [s.crowd.tolist() for s in again.samples] == [s.crowd.tolist() for s in data.samples]


def test_check_prints_the_counts_and_every_fault_with_exit_code_3(shapes: Path, tmp_path: Path) -> None:
    good = CliRunner().invoke(command, ["check", str(shapes), "--json"])
    assert good.exit_code == 0 and '"format": "darknet"' in good.stdout
    write_shapes(tmp_path / "b", ShapesOptions(6, (64, 96)))
    label = tmp_path / "b" / "labels" / "shape000000.txt"
    label.write_text("17 .5 .5 .1 .1\n")
    bad = CliRunner().invoke(command, ["check", str(tmp_path / "b")])
    assert bad.exit_code == 3
    assert f"{label}:1: class 17 is not in 0..5" in bad.output and "1 fault\n" in bad.output


def test_convert_writes_both_formats(shapes: Path, tmp_path: Path) -> None:
    for out in ("a.json", "folder"):
        done = CliRunner().invoke(command, ["convert", str(shapes), str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    assert len(open_data(tmp_path / "a.json", caches=False).samples) == 5
    assert len(open_data(tmp_path / "folder", split="val", caches=False).samples) == 1


def coco_of(root: Path, files: list[str], names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """A COCO JSON of images with one box each; the class of image i is i modulo the number of names."""
    images, notes = [], []
    for number, file in enumerate(files):
        layouts.write_image(root / "images" / file)
        images.append({"id": number, "file_name": file, "height": 48, "width": 64})
        box = [4 + number, 5, 20, 10]
        notes.append({"id": number, "image_id": number, "category_id": number % len(names), "bbox": box})
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    document = {"images": images, "annotations": notes, "categories": categories}
    (root / "all.json").write_text(json.dumps(document))
    return root / "all.json"


def convert(data: Path, out: Path, *more: object) -> str:
    done = tiny.yolor("data", "convert", data, out, *more)
    assert done.exit_code == 0, done.output
    return done.output


def test_images_that_differ_only_in_their_suffix_keep_their_own_labels(tmp_path: Path) -> None:
    data = coco_of(tmp_path, ["a.jpg", "a.png", "A.bmp"])
    convert(data, tmp_path / "out")
    before, after = open_data(data, caches=False), open_data(tmp_path / "out", caches=False)
    assert_alike(before, after)
    assert len(list((tmp_path / "out/labels").rglob("*.txt"))) == 3


@pytest.mark.parametrize(
    "name", ["a\nb.png", " a.png", "#a.png", "a\\b.png", "caf\udce9.png", "\u72d7 1.png"]
)
def test_whatever_a_file_is_called_what_convert_writes_reads_back(name: str, tmp_path: Path) -> None:
    """The escape \\udce9 is how Python names the byte e9, which is no UTF-8."""
    data = coco_of(tmp_path, ["x.png", name])
    convert(data, tmp_path / "out")
    assert_alike(open_data(data, caches=False), open_data(tmp_path / "out", caches=False))


def test_class_names_with_line_breaks_read_back_as_one_line_and_that_is_told(tmp_path: Path) -> None:
    data = coco_of(tmp_path, ["x.png", "y.png"], ("a\nb", "\u72d7 c"))
    assert r"the class name 'a\nb' is written as 'a b'" in convert(data, tmp_path / "out")
    assert open_data(tmp_path / "out", caches=False).names == ("a b", "\u72d7 c")
    empty = coco_of(tmp_path, ["x.png", "y.png"], ("a", " "))
    refused = tiny.yolor("data", "convert", empty, tmp_path / "other")
    assert refused.exit_code == 3 and "a class without a name" in refused.output
    assert not (tmp_path / "other").exists()


def test_convert_names_what_it_leaves_out(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path / "a", layouts.make_split())
    whole = (root / "images/t0.png").read_bytes()
    (root / "images/t0.png").write_bytes(whole[:-40])
    (root / "labels/t1.txt").write_text("9 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5 2 .1\nx\n")
    told = convert(root, tmp_path / "out", "--fix-labels", "drop")
    for words in (
        f"{root}/images/t0.png: the file is truncated",
        f"{root}/labels/t1.txt:1: class 9 is not in 0..1",
        f"{root}/labels/t1.txt:3: the box is outside",
        f"{root}/labels/t1.txt:4: 'x' is not a number",
        "train: 1 image unreadable: left out",
        "train: 3 labels faulty",
    ):
        assert words in told


def test_difficult_objects_of_val_are_kept_and_those_of_train_are_told(tmp_path: Path) -> None:
    root = layouts.voc(tmp_path / "a", layouts.make_split())
    for stem in ("t1", "v1"):
        file = root / f"Annotations/{stem}.xml"
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    told = convert(root, tmp_path / "out")
    assert "train: 1 difficult object is left out" in told
    for split in ("val", "test"):
        before, after = (open_data(place, split=split, caches=False) for place in (root, tmp_path / "out"))
        for one, other in zip(before.samples, after.samples, strict=True):
            assert sorted(one.classes[one.difficult]) == sorted(other.classes[other.difficult])
            assert sorted(one.classes) == sorted(other.classes)
    convert(root, tmp_path / "val.json", "--split", "val")
    again = open_data(tmp_path / "val.json", split="val", caches=False)
    assert [one.difficult.tolist() for one in again.samples] == [[False], [True, False]]


def test_crowds_that_text_labels_cannot_mark_are_told(tmp_path: Path) -> None:
    data = coco_of(tmp_path, ["x.png", "y.png"])
    document = json.loads(data.read_text())
    document["annotations"][0]["iscrowd"] = 1
    data.write_text(json.dumps(document))
    assert "train: 1 crowd is left out" in convert(data, tmp_path / "out")
