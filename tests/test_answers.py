"""Every command of docs/answers.md runs as it stands, or fails with the exit code that stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import write_weights

PAGE = Path(__file__).parents[1] / "docs" / "answers.md"
ROW = re.compile(
    r"^\| (?:\d+ \| )?(?P<pain>[^|]+) \| `yolor (?P<command>[^`]+)`(?: \(exit (?P<exit>\d)\))?", re.M
)
pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def rows() -> Iterator[tuple[str, str, int]]:
    """Pain, command, exit code."""
    for found in ROW.finditer(PAGE.read_text(encoding="utf-8")):
        yield found["pain"], found["command"], int(found["exit"] or 0)


def make_files(folder: Path) -> None:
    """What the page says that its reader has, in the current folder, and what it lets fail."""
    for line in (
        "new yolor_micro --classes 6 --size 96 -o my.cfg",
        "data draw shapes --count 20 --size 96 --kind coloured",
        "cfg set-classes my.cfg 3",
    ):
        assert tiny.yolor(*shlex.split(line)).exit_code == 0, line
    write_weights(Network(load_graph("my.cfg")), folder / "my.weights")
    assert tiny.yolor("convert", "my.weights", "my.pt", "--cfg", "my.cfg").exit_code == 0
    shutil.copy("shapes/shapes.names", "my.names")
    shutil.copy("shapes/images/shape000000.jpg", "street.jpg")
    (folder / "gray.cfg").write_text(tiny.text(channels=1))
    (folder / "page.weights").write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    write_video(folder / "clip.avi")
    for name, label in (
        ("nolabels", None),
        ("badlabels", "0 0.5 0.5 0.2\n"),
        ("five", "1 0.5 0.5 0.2 0.2\n"),
    ):
        write_data(folder / name, label)


def write_video(path: Path) -> None:
    """Four frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for number in range(4):
        writer.write(np.full((96, 96, 3), 60 * number, np.uint8))
    writer.release()


def write_data(folder: Path, label: str | None) -> None:
    """A data set of two images and five classes."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(2):
        tiny.save(folder / f"images/{number}.png", tiny.photo(seed=number))
        if label is not None:
            (folder / f"labels/{number}.txt").write_text(label)
        (folder / f"{('train', 'val')[number]}.txt").write_text(f"images/{number}.png\n")
    (folder / "obj.names").write_text("disc\nsquare\ntriangle\nstar\nring\n")
    (folder / "obj.data").write_text("classes=5\ntrain=train.txt\nvalid=val.txt\nnames=obj.names\n")


def test_every_pain_and_wish_has_a_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)] == list(range(1, 35))
    assert len(list(rows())) == 34 + 17


def test_every_command_does_what_its_row_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    wrong = []
    for pain, command, expected in rows():
        result = tiny.yolor(*shlex.split(command))
        if result.exit_code != expected:
            wrong.append(
                f"{pain}\n  yolor {command}\n  exit {result.exit_code}, not {expected}\n{result.output}"
            )
    assert not wrong, "\n".join(wrong)
