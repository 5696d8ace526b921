"""A converted data set reads back unchanged."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolor_cfg.cli.data import data as command
from yolor_cfg.data.convert import write_coco, write_darknet
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import DataError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("s") / "a", ShapesOptions(6, (64, 96), identities=True))


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
    description = write_darknet(splits, tmp_path / "a")
    for split, data in splits.items():
        assert_alike(data, open_data(description, split=split, caches=False))
    with pytest.raises(DataError, match="not empty"):
        write_darknet(splits, tmp_path / "a")


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
    assert f"{label}:1: class 17 is not in 0..5" in bad.output and "1 faults" in bad.output


def test_convert_writes_both_formats(shapes: Path, tmp_path: Path) -> None:
    for out in ("a.json", "folder"):
        done = CliRunner().invoke(command, ["convert", str(shapes), str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    assert len(open_data(tmp_path / "a.json", caches=False).samples) == 5
    assert len(open_data(tmp_path / "folder", split="val", caches=False).samples) == 1
