"""A small world of a network and a data set; commands that run in it; and what is whole afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fuzz import run_command

from yolor_cfg.files import PARTIAL_NAME
from yolor_cfg.runs import PARTIAL_FOLDER

SIZE = 64
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation=silu\n"
CFG = (
    f"[net]\ndialect=yolor\nheight={SIZE}\nwidth={SIZE}\nchannels=3\nbatch=4\nsubdivisions=1\n"
    + "".join(CONV.format(filters, 2) for filters in (4, 8, 8))
    + "[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n"
    + "[yolo]\nmask=0,1,2\nnum=3\nanchors=8,8, 14,14, 24,24\nclasses={classes}\n"
)
IMAGES = 16
LONGEST = 300.0
"""Seconds after which a command that runs in a child is killed."""


class SceneJob(NamedTuple):
    """A command, and the folder or file that it writes."""

    name: str
    words: tuple[str, ...]
    output: str


TRAIN = SceneJob(
    "train",
    (
        *("train", "net.cfg", "--data", "shapes/shapes.data", "--epochs", "4", "--batch-size", "4"),
        *("--update-batch", "8", "--save-steps", "1", "--workers", "0", "--project", "out", "--name", "exp"),
    ),
    "out/exp",
)
TEST = SceneJob(
    "test",
    (
        *("test", "net.cfg", "net.weights", "--data", "shapes/shapes.data", "--conf", "0.001"),
        *("--project", "out", "--name", "exp"),
    ),
    "out/exp",
)
DETECT = SceneJob(
    "detect",
    (
        *("detect", "net.cfg", "net.weights", "shapes/images", "--conf", "0.01", "--max-det", "5"),
        *("--save-txt", "--save-crop", "--save-json", "--project", "out", "--name", "exp"),
    ),
    "out/exp",
)
CONVERT = SceneJob("convert", ("convert", "net.weights", "out.pt", "--cfg", "net.cfg"), "out.pt")
SAVE = SceneJob("save", ("convert", "net.weights", "out.safetensors", "--cfg", "net.cfg"), "out.safetensors")
EXPORT = SceneJob(
    "export", ("export", "net.cfg", "net.weights", "--project", "out", "--name", "exp"), "out/exp"
)
JOBS = (TRAIN, DETECT, TEST, CONVERT, EXPORT, SAVE)


def make_scene(folder: Path) -> None:
    """A network with its weights, and a data set of drawn images."""
    import torch

    from yolor_cfg.data.shapes import NAMES
    from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
    from yolor_cfg.graph import load_graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.darknet import write_weights

    folder.mkdir(parents=True, exist_ok=True)
    classes = len(NAMES)
    text = CFG.replace("{filters}", str(3 * (5 + classes))).replace("{classes}", str(classes))
    (folder / "net.cfg").write_text(text, encoding="utf-8")
    torch.manual_seed(0)
    write_weights(Network(load_graph(folder / "net.cfg")), folder / "net.weights")
    write_shapes(folder / "shapes", ShapesOptions(IMAGES, (SIZE, SIZE)))


def copy_scene(scene: Path, place: Path) -> Path:
    """A copy to work in."""
    shutil.copytree(scene, place, symlinks=True)
    return place


class Ended(NamedTuple):
    """How a command ended: its exit code (negative: a signal), what it said, how long it took."""

    code: int
    said: str
    seconds: float
    megabytes: float

    @property
    def is_clear(self) -> bool:
        """Whether it did not end with a traceback."""
        return "Traceback (most recent call last)" not in self.said


class Child:
    """A command of `yolor` in a child; what it says goes into a file."""

    def __init__(
        self,
        place: Path,
        words: Sequence[str],
        before: Callable[[], object] = lambda: None,
        *,
        name: str = "",
    ) -> None:
        """Starts the command in the folder `place`, after the function `before`; its log has that name."""
        self.log = place.with_name(f"{name or place.name}.log")
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                before()
            finally:
                run_command(place, [*words], self.log)
        self.ended: Ended | None = None

    def poll(self) -> Ended | None:
        """How it ended, if it has."""
        if self.ended is None:
            done, status, usage = os.wait4(self.pid, os.WNOHANG)
            if done:
                code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
                self.ended = Ended(code, self.read_log(), seconds, usage.ru_maxrss / 1024)
        return self.ended

    def read_log(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def wait(self, seconds: float = LONGEST) -> Ended:
        """Wait for its end; after so many seconds it is killed."""
        return self.wait_for(lambda: False, seconds) or self.kill()

    def wait_for(self, event: Callable[[], bool], seconds: float = LONGEST) -> Ended | None:
        """Wait until the event or the end of the command, or so long."""
        while time.monotonic() - self.began < seconds and self.poll() is None and not event():
            time.sleep(0.002)
        return self.ended

    def kill(self, number: int = signal.SIGKILL) -> Ended:
        """Send it a signal and wait for its end."""
        if self.poll() is None:
            os.kill(self.pid, number)
        while self.poll() is None:
            time.sleep(0.002)
            if time.monotonic() - self.began > 2 * LONGEST:
                os.kill(self.pid, signal.SIGKILL)
        assert self.ended is not None
        return self.ended


def run_yolor(place: Path, words: Sequence[str], before: Callable[[], object] = lambda: None) -> Ended:
    """Run a command to its end."""
    return Child(place, words, before).wait()


# --- what is whole ---


def is_partial(path: Path, top: Path) -> bool:
    """Whether a file can be told for one that is not finished by its name."""
    return any(PARTIAL_NAME.match(part) or part == PARTIAL_FOLDER for part in path.relative_to(top).parts)


def find_files(folder: Path) -> Iterator[Path]:
    """All files, whatever their names; one that goes meanwhile is left out."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def check_whole(folder: Path) -> list[str]:
    """Everything that is neither whole nor marked as unfinished."""
    faults = []
    for path in find_files(folder):
        if not is_partial(path, folder):
            try:
                CHECKS[path.suffix](path)
            except KeyError:
                faults.append(f"{path.name}: a file of an unknown kind")
            except Exception as fault:  # whatever the library of its format says
                faults.append(f"{path.name}: {type(fault).__name__}: {str(fault)[:200]}")
    return faults


def digest(folder: Path) -> dict[str, str]:
    """Each file by a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in find_files(folder)
    }


def _check_image(path: Path) -> None:
    from yolor_cfg.images.read import read_image

    read_image(path)


def _check_weights(path: Path) -> None:
    from yolor_cfg.weights.loading import load

    load(path.parents[1] / "model.cfg" if (path.parents[1] / "model.cfg").exists() else "net.cfg", path)


def _check_pt(path: Path) -> None:
    from yolor_cfg.weights.checkpoint import read_checkpoint

    read_checkpoint(path)


def _check_csv(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        widths = {len(row) for row in csv.reader(file)}
    assert len(widths) == 1 and path.read_bytes().endswith(b"\n"), f"rows of {widths} columns"


def _check_lines(path: Path) -> None:
    assert path.read_bytes().endswith(b"\n")
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def _check_onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path), full_check=True)


def _check_labels(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    assert all(re.fullmatch(r"\d+( -?\d+(\.\d+)?){4,}", line) for line in text.splitlines()), text[:80]


def _check_yaml(path: Path) -> None:
    import yaml

    assert yaml.safe_load(path.read_text(encoding="utf-8")) is not None


def _check_cfg(path: Path) -> None:
    from yolor_cfg.graph import load_graph

    load_graph(path)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def _check_video(path: Path) -> None:
    import cv2

    video = cv2.VideoCapture(str(path))
    told = round(video.get(cv2.CAP_PROP_FRAME_COUNT))
    count = 0
    while video.read()[0]:
        count += 1
    assert count == told > 0, f"{count} of {told} frames"


def _check_page(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _check_text(path: Path) -> None:
    assert path.read_text(encoding="utf-8").endswith("\n")


CHECKS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys((".jpg", ".png"), _check_image),
    **dict.fromkeys((".pt", ".safetensors"), _check_pt),
    **dict.fromkeys((".names", ".data"), _check_text),
    ".html": _check_page,
    ".mp4": _check_video,
    ".weights": _check_weights,
    ".csv": _check_csv,
    ".jsonl": _check_lines,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".onnx": _check_onnx,
    ".txt": _check_labels,
    ".yaml": _check_yaml,
    ".cfg": _check_cfg,
    ".npz": _check_zip,
}
