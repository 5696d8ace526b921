"""The forks of C Darknet, by their own numbers: pjreddie/darknet, sowson/darknet, g-darknet."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from yolor_cfg.graph import ReadOptions, load_graph
from yolor_cfg.model import Network
from yolor_cfg.train.loss import LossRules, detection_loss
from yolor_cfg.weights.darknet import read_weights, write_weights
from yolor_cfg.weights.layout import WeightsHeader

NAMES = ("gdarknet_yolo_lin", "pjr_deconvolutional", "pjr_region", "sowson_yolo4")
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


@pytest.mark.parametrize("name", ["gdarknet_yolo_lin", "sowson_yolo4"])
def test_the_boxes_are_those_of_the_program(shared, tmp_path, name) -> None:
    case = fork(shared, tmp_path, name)
    with torch.no_grad():
        network = case.network
        boxes, objectness, scores = (part[0] for part in network.decode(network(case.images)))
    image = network.graph.image
    likely = objectness > 0.4
    scores = scores * objectness[:, None]
    scores[scores <= 0.4] = 0
    size = torch.tensor([image.width, image.height] * 2)
    got = torch.cat([boxes / size, objectness[:, None], scores], 1)[likely].numpy()
    want = case.want["detections"]  # cell by cell, ours anchor by anchor
    np.testing.assert_allclose(
        got[np.argsort(got[:, 4])], want[np.argsort(want[:, 4])], atol=case.meta["tolerance"]
    )


def training_gradients(case: Fork, targets: torch.Tensor) -> list[torch.Tensor]:
    """The gradients of one step at the maps that the heads read, channels as they are stored."""
    network = case.network.train()
    raws = [raw.detach().requires_grad_() for raw in network(case.images)]
    detection_loss(raws, targets, network, rules=LossRules()).total.backward()
    return [raw.grad.permute(0, 1, 4, 2, 3).flatten(1, 2) for raw in raws]


def test_yolo4_learns_as_in_its_program(shared, tmp_path) -> None:
    case = fork(shared, tmp_path, "sowson_yolo4")
    truth = torch.from_numpy(case.want["truth"]).unflatten(1, (-1, 5))
    image, place = (truth[..., 0] > 0).nonzero(as_tuple=True)
    rows = truth[image, place]
    targets = torch.cat([image[:, None], rows[:, 4:], rows[:, :4]], 1)
    assert len(targets) > 2
    for index, got in zip((3, 6), training_gradients(case, targets), strict=True):
        want = -case.want[f"train_delta_{index}"]
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got.numpy(), want, atol=case.meta["tolerance_train"])
