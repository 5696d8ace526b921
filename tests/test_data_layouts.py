"""Every layout that people's tools export is read alike; where nothing is held out, nothing is made up."""

import json
from pathlib import Path

import layouts
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.sources import open_data
from yolor_cfg.data.splits import MissingSplit
from yolor_cfg.data.types import Dataset

SPLITS = layouts.make_split()


def name_of(layout: layouts.Layout) -> str:
    return layout.__name__


@pytest.fixture(params=layouts.DIVIDED, ids=name_of)
def divided(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.param(tmp_path / "data", SPLITS)


@pytest.fixture(params=layouts.UNDIVIDED, ids=name_of)
def undivided(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.param(tmp_path / "data", SPLITS)


def assert_holds(data: Dataset, images: list[layouts.Shown]) -> None:
    assert data.names == layouts.NAMES
    found = {Path(sample.image).stem: sample for sample in data.samples}
    assert len(found) == len(data.samples) == len(images)
    for shown in images:
        sample = found[shown.stem]
        scale = (layouts.WIDTH, layouts.HEIGHT) * 2
        boxes = [(x + w / 2, y + h / 2, w, h) for _, x, y, w, h in shown.boxes]
        np.testing.assert_allclose(sample.boxes_xywh * scale, boxes, atol=1e-3)
        assert sample.classes.tolist() == [box[0] for box in shown.boxes]


def test_both_splits_hold_what_was_written(divided: Path) -> None:
    for split, images in SPLITS.items():
        assert_holds(open_data(divided, split=split, caches=False), images)


def test_images_that_are_not_divided_are_read_and_no_validation_is_made_up(undivided: Path) -> None:
    assert_holds(open_data(undivided, caches=False), SPLITS["train"])
    with pytest.raises(MissingSplit) as caught:
        open_data(undivided, split="val", caches=False)
    for way_out in ("yolor data split", "--val-data", "--no-val", str(undivided)):
        assert way_out in str(caught.value)


def test_a_split_can_be_made_of_them_and_nothing_of_the_users_changes(
    undivided: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    for out in ("a", "b"):
        result = tiny.yolor("data", "split", undivided, "--val", 0.34, "--out", tmp_path / out)
        assert result.exit_code == 0, result.output
    written = tmp_path / "a"
    parts = [open_data(written, split=split, caches=False) for split in ("train", "val")]
    assert [len(part.samples) for part in parts] == [4, 2]
    stems = [{Path(sample.image).stem for sample in part.samples} for part in parts]
    assert stems[0] | stems[1] == {shown.stem for shown in SPLITS["train"]} and not stems[0] & stems[1]
    for part, inside in zip(parts, stems, strict=True):
        assert_holds(part, [shown for shown in SPLITS["train"] if shown.stem in inside])
    names = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert [(written / name).read_bytes() for name in names] == [
        (tmp_path / "b" / name).read_bytes() for name in names
    ]
    assert before == {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    refused = tiny.yolor("data", "split", undivided, "--out", tmp_path / "a")
    assert refused.exit_code == 3 and "not empty" in refused.output


def test_convert_writes_every_image_once(undivided: Path, tmp_path: Path) -> None:
    result = tiny.yolor("data", "convert", undivided, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "no val split is written" in result.output
    assert len(list((tmp_path / "out/images").rglob("*.png"))) == len(SPLITS["train"])
    assert_holds(open_data(tmp_path / "out", caches=False), SPLITS["train"])


def test_a_divided_set_comes_back_from_convert(divided: Path, tmp_path: Path) -> None:
    result = tiny.yolor("data", "convert", divided, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for split, images in SPLITS.items():
        assert_holds(open_data(tmp_path / "out", split=split, caches=False), images)


def test_images_without_annotations_give_predictions_and_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COCO's image_info_test2017.json has no annotations; its server takes a list of results."""
    monkeypatch.chdir(tmp_path)
    layouts.images_alone(tmp_path / "test2017", SPLITS["train"])
    file = tmp_path / "annotations/image_info_test2017.json"
    layouts.write_text_file(file, layouts.coco_text(SPLITS["train"], labeled=False))
    files = tiny.write(tmp_path, tiny.text(classes=2))
    result = tiny.yolor("test", *files, "--data", file, "--conf", 0.01)
    assert result.exit_code == 0, result.output
    assert "no annotations: no figures" in result.output and "AP" not in result.output
    rows = json.loads(Path("runs/test/exp/predictions.json").read_text())
    assert (
        rows
        and {row["category_id"] for row in rows} <= {1, 2}
        and set(rows[0])
        == {
            "image_id",
            "category_id",
            "bbox",
            "score",
        }
    )
    refused = tiny.yolor("train", files.cfg, "--data", file, "--max-batches", 1)
    assert refused.exit_code == 3 and "no annotations to train on" in refused.output


def test_train_does_not_validate_on_what_it_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_charts: None
) -> None:
    monkeypatch.chdir(tmp_path)
    data = layouts.label_studio(tmp_path / "data", SPLITS)
    other = layouts.labelimg(tmp_path / "other", {"train": SPLITS["val"]})
    files = tiny.write(tmp_path, tiny.text(classes=2, net="batch=2\nsubdivisions=1\n"))
    run = ("train", files.cfg, "--data", data, "--max-batches", 1, "--workers", 0)
    refused = tiny.yolor(*run)
    assert refused.exit_code == 3 and f"yolor data split {data}" in refused.output
    assert not Path("runs").exists()
    held = tiny.yolor(*run, "--val-data", other)
    assert held.exit_code == 0 and "AP" in held.output, held.output
    without = tiny.yolor(*run, "--no-val", "--name", "none")
    assert without.exit_code == 0 and "AP" not in without.output, without.output
    assert Path("runs/train/none/weights/best.weights").is_file()
    both = tiny.yolor(*run, "--no-val", "--val-data", other)
    assert both.exit_code == 2


def test_a_dry_run_names_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = layouts.label_studio(tmp_path / "data", SPLITS)
    file = data / "images/t2.png"
    file.write_bytes(file.read_bytes()[:-30])
    (data / "labels/t1.txt").write_text("9 .5 .5 .1 .1\n")
    files = tiny.write(tmp_path, tiny.text(classes=2, net="batch=2\nsubdivisions=1\n"))
    result = tiny.yolor("train", files.cfg, "--data", data, "--no-val", "--dry-run", "--fix-labels", "drop")
    assert result.exit_code == 0, result.output
    assert f"{file}: the file is truncated" in result.output
    assert "labels/t1.txt:1: class 9" in result.output
