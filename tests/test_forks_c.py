"""The forks of C Darknet: what pjreddie/darknet, sowson/darknet and g-darknet compute, by their own numbers."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from yolor_cfg.graph import ReadOptions, load_graph
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import read_weights, write_weights
from yolor_cfg.weights.layout import WeightsHeader

NAMES = ("pjr_deconvolutional",)
STATED = (None, "pjreddie")


class Fork(NamedTuple):
    """A case: the network with its weights, what goes in, the JSON and all arrays."""

    network: Network
    images: torch.Tensor
    meta: dict[str, Any]
    want: Any


def fork(shared: Path, folder: Path, name: str, *, dialect: str | None = None) -> Fork:
    """The case of that name, its weights read from a file as the program writes one."""
    path = shared / "golden/forks" / f"{name}.cfg"
    want = np.load(path.with_suffix(".npz"))
    file = folder / "case.weights"
    file.write_bytes(WeightsHeader().to_bytes() + want["weights"].tobytes())
    network = Network(load_graph(path, ReadOptions(dialect=dialect))).eval()
    read_weights(network, file)
    return Fork(
        network, torch.from_numpy(want["input"]), json.loads(path.with_suffix(".json").read_text()), want
    )


def check_outputs(case: Fork) -> None:
    """Every output that the case has, as the program stores it."""
    indices = [int(name[4:]) for name in case.want if name.startswith("out_")]
    got = case.network.trace(case.images, indices)
    assert indices
    for index, value in got.items():
        error = np.abs(value.numpy() - case.want[f"out_{index}"]).max()
        assert error <= case.meta["tolerance"], f"section {index}: {error}"


@pytest.mark.parametrize("dialect", STATED)
@pytest.mark.parametrize("name", NAMES)
def test_every_section_gives_what_its_program_gave(shared, tmp_path, name, dialect) -> None:
    case = fork(shared, tmp_path, name, dialect=dialect)
    assert case.network.graph.dialect.name == "pjreddie"
    check_outputs(case)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_to_the_byte(shared, tmp_path, name) -> None:
    case = fork(shared, tmp_path, name)
    write_weights(case.network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == (tmp_path / "case.weights").read_bytes()
