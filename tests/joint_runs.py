"""Runs in which a large network teaches a small one, or learns with it: what they start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import training

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.weights.checkpoint import save_checkpoint

LARGE = training.yolor_text().replace("filters=32", "filters=48")


def network_of(text: str, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(build_graph(parse(text, "small.cfg"))).eval()


def save_large(folder: Path, seed: int = 3) -> str:
    """A finished large network; one that is there is written anew."""
    weights = folder / "large.pt"
    save_checkpoint(network_of(LARGE, seed), weights, force=True)
    return str(weights)


def write_large(folder: Path) -> str:
    """The cfg of a large network that learns from nothing."""
    cfg = folder / "large.cfg"
    cfg.write_text(LARGE)
    return str(cfg)


def more_images(folder: Path) -> str:
    """A folder with 12 images whose labels are not read."""
    made = training.write_shapes(folder / "more", training.ShapesOptions(12, (64, 64), val_count=0), seed=5)
    return str(made.parent / "images")


def joint_options(folder: Path, *, count: int = 20, **more: Any) -> TrainOptions:
    """The options of a run on so many drawn images, which gives the same bits each time."""
    data = training.shapes(folder, count=count)
    return training.options(folder, data, **{"deterministic": True, **more})
