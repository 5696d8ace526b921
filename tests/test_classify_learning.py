"""What a classifier reaches: the example on drawn classes, and scikit-learn's handwritten digits."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.shapes import CLASS_NAMES
from yolor_cfg.data.sources import open_data

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "classifier.cfg"
DIGITS = (
    "[net]\nheight=16\nwidth=16\nchannels=1\nbatch=32\nsubdivisions=1\nlearning_rate=.05\ndecay=.0005\n"
    "policy=poly\npower=1\nburn_in=40\nmax_batches=900\nmin_crop=15\nmax_crop=18\nangle=12\nflip=0\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=48\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[connected]\noutput=10\nactivation=linear\n[softmax]\n"
)


def best_top1(folder: Path) -> float:
    rows = csv.DictReader((folder / "results.csv").open())
    return max(float(row["top1"]) for row in rows if row["top1"])


def train(cfg: Path, data: Path, project: Path) -> float:
    result = tiny.yolor("train", cfg, "--data", data, "--project", project, "--val-period", 4, "--cache")
    assert result.exit_code == 0, result.stderr
    return best_top1(project / "exp")


def test_the_drawn_classes_stand_in_folders(tmp_path: Path) -> None:
    result = tiny.yolor("data", "draw", tmp_path / "ten", "--kind", "classes", "--count", 40, "--size", 24)
    assert result.exit_code == 0, result.stderr
    data = open_data(tmp_path / "ten", caches=False)
    assert data.names == tuple(sorted(CLASS_NAMES)) and len(data.samples) == 32
    again = tiny.yolor("data", "draw", tmp_path / "two", "--kind", "classes", "--count", 40, "--size", 24)
    assert again.exit_code == 0
    for path in (tmp_path / "ten").rglob("*.jpg"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "ten")).read_bytes()


@pytest.mark.slow
def test_the_example_learns_ten_drawn_classes(tmp_path: Path) -> None:
    drawn = tiny.yolor("data", "draw", tmp_path / "ten", "--kind", "classes", "--count", 4000, "--size", 48)
    assert drawn.exit_code == 0, drawn.stderr
    assert train(EXAMPLE, tmp_path / "ten", tmp_path) >= 0.97


@pytest.mark.slow
def test_handwritten_digits(tmp_path: Path) -> None:
    """1797 digits of 8 x 8 pixels; every fifth is held out."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = tmp_path / "digits" / ("train" if number % 5 else "val") / f"digit{label}"
        place.mkdir(parents=True, exist_ok=True)
        whole = np.asarray((pixels * (255 / 16)).round(), np.uint8)
        cv2.imwrite(str(place / f"{number}.png"), cv2.resize(whole, (16, 16), interpolation=cv2.INTER_CUBIC))
    (tmp_path / "digits.cfg").write_text(DIGITS)
    assert train(tmp_path / "digits.cfg", tmp_path / "digits", tmp_path) >= 0.98
