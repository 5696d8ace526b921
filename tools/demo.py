"""The main job on pictures that are drawn here: `python tools/demo.py [--out runs/demo]`.

It writes seeded random weights for yolor_nano, so the boxes that it draws mean nothing yet; everything else
is what a trained network would go through.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from yolor_cfg.detect.write import new_folder
from yolor_cfg.graph import load
from yolor_cfg.model import Network
from yolor_cfg.weights import write_weights

ROOT = Path(__file__).resolve().parents[1]
CFG = ROOT / "cfg" / "yolor_nano.cfg"
PICTURES = 4
SIZE = (360, 480)


@click.command()
@click.option("--out", default="runs/demo", show_default=True, help="where the folders of the demos are")
@click.option("--seed", default=0, show_default=True, help="another seed draws other pictures")
def main(out: str, seed: int) -> None:
    """Draw pictures, detect in them, say where the results are."""
    folder = new_folder(out, "exp")
    rng = np.random.default_rng(seed)
    for number in range(PICTURES):
        cv2.imwrite(str(folder / f"picture{number}.png"), picture(rng))
    weights = folder / "random.weights"
    write_weights(seeded_network(seed), weights)
    command = [
        "detect",
        str(CFG),
        str(weights),
        str(folder / "picture*.png"),
        "--img-size",
        "320",
        "--conf",
        "0.2",
        "--max-det",
        "10",
        "--save-txt",
        "--save-json",
        "--project",
        str(folder),
        "--name",
        "found",
    ]
    click.echo("yolor " + " ".join(command))
    code = subprocess.run([sys.executable, "-m", "yolor_cfg", *command], check=False).returncode
    click.echo(f"drawn pictures: {folder}; with boxes of an untrained network: {folder / 'found'}")
    sys.exit(code)


def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of discs and boxes before a shaded ground."""
    canvas = (
        np.linspace(40, 200, SIZE[1]).astype(np.uint8)[None, :, None].repeat(SIZE[0], 0).repeat(3, 2).copy()
    )
    for _ in range(int(rng.integers(4, 9))):
        x, y = int(rng.integers(20, SIZE[1] - 20)), int(rng.integers(20, SIZE[0] - 20))
        radius = int(rng.integers(12, 60))
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        if rng.random() < 0.5:
            cv2.circle(canvas, (x, y), radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (x - radius, y - radius), (x + radius, y + radius // 2), colour, -1)
    return canvas


def seeded_network(seed: int) -> Network:
    """yolor_nano with random weights and batch norms that keep its values in range."""
    torch.manual_seed(seed)
    network = Network(load(CFG)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("Conv2d.weight"):
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    return network


if __name__ == "__main__":
    main()
