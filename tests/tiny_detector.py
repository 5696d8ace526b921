"""A detector small enough for a test: four strided convolutions and one [yolo] head, seeded weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import golden
import numpy as np
import torch
from click.testing import CliRunner, Result

from yolor_cfg.cli import main
from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import write_weights

STRIDE = 16
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
HEAD = (
    "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n[yolo]\nmask=0,1,2\nnum=3\nclasses={}\nanchors="
)
ANCHORS = "20,20, 40,30, 60,70\n"


class Files(NamedTuple):
    """A cfg and its weights."""

    cfg: Path
    weights: Path


def text(*, channels: int = 3, classes: int = 3, net: str = "") -> str:
    """The cfg for images of 64 x 96; `net` stands in [net]."""
    body = "".join(CONV.format(filters) for filters in (8, 16, 16, 24))
    head = HEAD.format(3 * (5 + classes), classes)
    return f"[net]\nheight=64\nwidth=96\nchannels={channels}\n{net}{body}{head}{ANCHORS}"


def write(folder: Path, cfg: str, *, seed: int = 0) -> Files:
    """The cfg and seeded weights in files; every class of every box is likely somewhere."""
    files = Files(folder / "tiny.cfg", folder / "tiny.weights")
    files.cfg.write_text(cfg)
    network = Network(load_graph(files.cfg))
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("Conv2d.weight"):
            tensor.normal_(0, (3 / tensor[0].numel()) ** 0.5, generator=rng)
        elif name.endswith(".bias"):
            tensor.normal_(0, 0.5, generator=rng)
    write_weights(network, files.weights)
    return files


def photo(height: int = 50, width: int = 70, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def save(path: Path, image: np.ndarray) -> Path:
    """The RGB or grey picture in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def save_pictures(folder: Path, sizes: Iterable[tuple[int, int]]) -> None:
    """Write `pictures/00.png`, `01.png` ... of these heights and widths to the folder."""
    for number, size in enumerate(sizes):
        save(folder / f"pictures/{number:02d}.png", photo(*size, seed=number))


def yolor(*args: object, stdin: bytes | None = None) -> Result:
    """What the command says and its exit code."""
    return CliRunner().invoke(main, [str(arg) for arg in args], input=stdin)


def detect(files: Files, *args: object, stdin: bytes | None = None) -> list[dict[str, Any]]:
    """The JSON lines of `yolor detect`, which must work."""
    result = yolor("detect", *files, *args, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def close(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Assert that two lists of JSON lines say the same, up to rounding in float32."""
    assert [line["source"] for line in some] == [line["source"] for line in others]
    for one, other in zip(some, others, strict=True):
        found = [[d["class"] for d in line["detections"]] for line in (one, other)]
        assert found[0] == found[1]
        for a, b in zip(one["detections"], other["detections"], strict=True):
            np.testing.assert_allclose(
                [a["score"], *a["box_xyxy"]], [b["score"], *b["box_xyxy"]], rtol=1e-4, atol=1e-3
            )


def seeded(name: str, folder: Path) -> Files:
    """A network of the golden data with its seeded weights, byte for byte."""
    here = golden.GOLDEN / "darknet"
    meta = json.loads((here / f"{name}.json").read_text())
    path = folder / f"{name}.weights"
    path.write_bytes(golden.module_at(here / "make_weights.py").weights_bytes(meta))
    return Files(here / f"{name}.cfg", path)
