"""Networks of our own golden set: cfg text, and by a seed and a rule their weights, images and labels.

Only evenly spread numbers of numpy's old generator are used: it is frozen, and they are whole numbers
divided by a power of two, so they are the same to the bit everywhere. All fit into float32.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.sections import SECTIONS, TensorSpec

DIALECT_NAMES = ("darknet", "yolor")  # the others have numbers of their own programs
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "golden"
IMAGES, LABELS = 2, 5
POSITIVE = ("scale", "variance")
"""Roles of numbers that are spread from 0.5 to 1.5; all others lie around 0."""
SMALL = ("mean", "bias")


class GoldenCase(NamedTuple):
    """One cfg of the set, read in one dialect."""

    name: str
    dialect: str

    @property
    def key(self) -> str:
        """The name under which its numbers stand."""
        return f"{self.name}/{self.dialect}"

    @property
    def text(self) -> str:
        """The cfg text."""
        return (FOLDER / "cfg" / f"{self.name}.cfg").read_text(encoding="utf-8")

    def graph(self) -> Graph:
        """The graph; raises CfgError where this dialect refuses the text."""
        return build_graph(parse(self.text, f"{self.name}.cfg"), ReadOptions(self.dialect))

    def draw_numbers(self, *shape: int, salt: int) -> np.ndarray:
        """Numbers from 0 to 1, the same for each dialect; `salt` tells what they are for."""
        seed = zlib.crc32(f"{self.name} {salt}".encode())
        return np.random.RandomState(seed).random_sample(shape).astype(np.float32)


def list_cases() -> list[GoldenCase]:
    """Every cfg of the set in every dialect that has all of its sections, or in the one that it states."""
    names = sorted(path.stem for path in (FOLDER / "cfg").glob("*.cfg"))
    cases = [GoldenCase(name, dialect) for name in names for dialect in DIALECT_NAMES]
    return [case for case in cases if is_spoken(case)]


def is_spoken(case: GoldenCase) -> bool:
    """Whether a cfg is meant to be read in the dialect of the case."""
    document = parse(case.text)
    stated = [entry.value for entry in document.net.entries if entry.key == "dialect"]
    sections = [SECTIONS[raw.name] for raw in document.sections]
    return case.dialect in (stated or [case.dialect]) and all(
        case.dialect in kind.dialects for kind in sections
    )


def make_network(case: GoldenCase) -> Network:
    """The float32 network with its weights, for inference."""
    network = Network(case.graph()).eval()
    state = network.state_dict()
    for node in network.graph.nodes:
        for place, spec in enumerate(node.section.tensors(*node.inputs)):
            numbers = case.draw_numbers(*spec.shape, salt=1 + 100 * node.index + place)
            target = state[f"module_list.{node.index}.{spec.name}"]
            target.copy_(torch.from_numpy(spread(numbers, spec)).reshape(target.shape))
    return network


def spread(numbers: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Numbers from 0 to 1 as fits their role: kernels so that the output is about as large as the input."""
    if spec.role in POSITIVE:
        return numbers + np.float32(0.5)
    fan_in = 12 if spec.role in SMALL else spec.size / spec.shape[0]
    return (2 * numbers - 1) * np.float32(math.sqrt(3 / fan_in))


def state_checksum(network: Network) -> str:
    """The SHA-256 of all weights: a generator that has begun to drift shows here first."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def make_images(case: GoldenCase, graph: Graph, *, step: int = 0) -> Tensor:
    """The images of a time step, float64 [N, C, H, W]."""
    numbers = case.draw_numbers(IMAGES, *graph.image, salt=-1 - step)
    return torch.from_numpy(numbers).double()


def make_labels(case: GoldenCase, graph: Graph) -> Tensor:
    """Labels [T, 6] as the losses take them: image, class, centre and size as fractions."""
    numbers = case.draw_numbers(LABELS, 6, salt=-100).astype(np.float64)
    numbers[:, 0] = np.floor(numbers[:, 0] * IMAGES)
    numbers[:, 1] = np.floor(numbers[:, 1] * graph.classes)
    numbers[:, 2:4] = 0.1 + 0.8 * numbers[:, 2:4]
    numbers[:, 4:6] = 0.1 + 0.5 * numbers[:, 4:6]
    return torch.from_numpy(numbers).float()
