"""`yolor demo` and `yolor data draw`: what they are made of, and that the pictures are as asked for."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.data.shapes import KINDS, NAMES, identity_look


def run(*args: object):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_drawn_pictures_have_the_size_the_count_and_the_parts_that_were_asked_for(tmp_path: Path) -> None:
    done = run("data", "draw", tmp_path / "d", "--count", 6, "--size", "48x80", "--held", 2, "--seed", 3)
    assert done.exit_code == 0, done.output
    lists = {part: (tmp_path / "d" / f"{part}.txt").read_text().split() for part in ("train", "val")}
    assert {part: len(names) for part, names in lists.items()} == {"train": 4, "val": 2}
    for name in lists["train"] + lists["val"]:
        assert cv2.imread(str(tmp_path / "d" / name)).shape == (48, 80, 3)
    again = run("data", "draw", tmp_path / "d")
    assert again.exit_code == 3
    assert "not empty" in again.output


def test_more_pictures_held_back_than_drawn_is_a_fault_of_usage(tmp_path: Path) -> None:
    done = run("data", "draw", tmp_path / "d", "--count", 6, "--held", 7)
    assert done.exit_code == 2
    assert not (tmp_path / "d").exists()


def test_each_class_of_coloured_pictures_has_a_sixth_of_the_hues() -> None:
    assert KINDS["coloured"].has_class_colors and not KINDS["mixed"].has_class_colors
    for identity in range(60):
        look = identity_look(identity, has_class_colors=True)
        rgb = (np.array(look.colors[0]) * 255).astype(np.uint8)[None, None]
        hue = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV_FULL)[0, 0, 0] / 256  # of 0..1
        assert look.class_id == identity % len(NAMES)
        assert -0.01 < hue - look.class_id / len(NAMES) < 0.6 / len(NAMES) + 0.01


def test_the_demo_shows_its_commands_and_finds_the_shapes(tmp_path: Path) -> None:
    done = run("demo", "--images", 40, "--seed", 77, "--project", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    shown = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("$ yolor ")]
    assert shown == ["data", "test", "detect"]
    assert json.loads(done.stdout)["coco"]["AP50"] >= 0.93
    drawn = sorted(path.name for path in (tmp_path / "exp" / "found").glob("shape*"))
    assert drawn == [f"shape{number:06d}.jpg" for number in range(10)]


@pytest.mark.slow
def test_the_demo_trains_a_network_from_nothing(tmp_path: Path) -> None:
    done = run("demo", "--train", "--project", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["coco"]["AP50"] >= 0.80
