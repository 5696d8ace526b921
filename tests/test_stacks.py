"""Images of five channels, as arrays and as the pages of TIFF files, in detect, test and train alike."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.detect.pipeline import Detector

CHANNELS = 5


@pytest.fixture(params=[".npy", ".tif"])
def stacks(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two labelled images of five channels with a .data file and the tiny network for them."""
    for number in range(2):
        image = tiny.photo(64, 96, seed=number, channels=CHANNELS)
        path = tmp_path / f"images/{number}{request.param}"
        path.parent.mkdir(exist_ok=True)
        if request.param == ".npy":
            np.save(path, image)
        else:
            assert cv2.imwritemulti(str(path), list(np.ascontiguousarray(image.transpose(2, 0, 1))))
        path.with_suffix(".txt").write_text("1 .5 .5 .4 .4\n")
    (tmp_path / "d.data").write_text("classes=3\ntrain=images\nvalid=images\n")
    tiny.write(tmp_path, tiny.text(channels=CHANNELS, net="batch=2\nmax_batches=1\nlearning_rate=.001\n"))
    return tmp_path


def test_detect_finds_in_a_file_what_it_finds_in_its_array(stacks: Path) -> None:
    """The right values are those of the array that the file was written from."""
    files = tiny.Files(stacks / "tiny.cfg", stacks / "tiny.weights")
    lines = tiny.detect(files, stacks / "images", "--conf", 0.3, "--project", stacks / "runs")
    detector = Detector(files.cfg, files.weights, conf=0.3)
    images = [tiny.photo(64, 96, seed=number, channels=CHANNELS) for number in range(2)]
    paths = sorted(path for path in (stacks / "images").iterdir() if path.suffix != ".txt")
    for line, image, path in zip(lines, images, paths, strict=True):
        scores = [one["score"] for one in line["detections"]]
        assert scores
        for found in (*detector([image]), *detector([path])):
            np.testing.assert_allclose(scores, found.scores, atol=1e-6)


def test_objects_are_drawn_on_the_file_that_they_were_found_in(stacks: Path) -> None:
    detector = Detector(stacks / "tiny.cfg", stacks / "tiny.weights", conf=0.3)
    for path in sorted((stacks / "images").iterdir()):
        if path.suffix != ".txt":
            drawn = detector(path).draw(path)
            array = tiny.photo(64, 96, seed=int(path.stem), channels=CHANNELS)
            np.testing.assert_array_equal(drawn, detector(array).draw(array))
            assert drawn.shape == (64, 96, 3)


def test_train_and_test_read_every_image(blank_charts: None, stacks: Path) -> None:
    more = ("--data", stacks / "d.data", "--project", stacks / "runs")
    tested = tiny.yolor("test", stacks / "tiny.cfg", stacks / "tiny.weights", *more, "--no-save")
    assert tested.exit_code == 0, tested.stderr
    assert "left out" not in tested.stderr
    trained = tiny.yolor("train", stacks / "tiny.cfg", *more, "--workers", 0)
    assert trained.exit_code == 0, trained.stderr
    assert (stacks / "runs/exp/weights/last.pt").exists()
