"""YOLOR networks written as plain Darknet, read and run by OpenCV 4.14: the same boxes."""

from pathlib import Path
from typing import NamedTuple

import cv2
import folding
import numpy as np
import oracle
import plain_cases
import pytest
import torch
from small import graph_of
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg import graph as graphs
from yolor_cfg.graph import ReadOptions
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks import family
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.rewrite.to_opencv import to_opencv
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import load

pytestmark = oracle.MARKS
# Height and width: multiples of the largest stride.
CASES = {
    "yolor_csp": (160, 96),
    "yolor_p6": (128, 192),
    "yolor_csp_ssss_dwt": (96, 160),
    "yolor_csp_ssss_dwt_paper": (96, 64),
}


class Boxes(NamedTuple):
    """Of all boxes: x, y, w, h as fractions of the image and objectness; probabilities times objectness."""

    rows: np.ndarray
    scores: np.ndarray


@pytest.mark.parametrize("classes", [80, 3])
@pytest.mark.parametrize("name", CASES)
def test_opencv_finds_the_boxes_of_the_yolor_network(name, classes, tmp_path):
    network = yolor_network(name, classes)
    cfg, weights = written(for_both(network), tmp_path)
    expect_equal(boxes(network), opencv_boxes(network, cfg, weights))


@pytest.mark.parametrize("name", CASES)
def test_so_does_our_own_darknet_reading_of_the_files(name, tmp_path):
    network = yolor_network(name, 80)
    cfg, weights = written(for_both(network), tmp_path)
    again = load(cfg, weights, size=CASES[name])
    assert not again.graph.dialect.is_pytorch
    assert again.graph.warnings == ()
    expect_equal(boxes(network), boxes(again))


def test_kept_batch_norms_need_the_difference_between_the_epsilons(tmp_path):
    network = yolor_network("yolor_csp", 80)
    plain = to_plain_darknet(network, keep_bn=True)
    norms = [module for module in plain.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 112
    for norm in norms:
        norm.running_var += oracle.EPSILON_DIFFERENCE
    cfg, weights = written(plain, tmp_path)
    expect_equal(boxes(network), opencv_boxes(network, cfg, weights))


@pytest.mark.parametrize("name", plain_cases.BOTH)
def test_opencv_computes_the_same_by_other_words(name, tmp_path):
    network = small_network(plain_cases.BOTH[name])
    found = to_opencv(to_plain_darknet(network))
    assert found.only_darknet == ()
    want, got = both_outputs(network, found.network, tmp_path)
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("name", plain_cases.ONLY_DARKNET)
def test_what_is_told_to_be_for_c_darknet_alone_is_wrong_in_opencv(name, tmp_path):
    """Which proves that the warning is due."""
    text, reason = plain_cases.ONLY_DARKNET[name]
    network = small_network(text)
    found = to_opencv(to_plain_darknet(network))
    assert reason in [told.found for told in found.only_darknet]
    try:
        want, got = both_outputs(network, found.network, tmp_path)
    except cv2.error:
        return
    assert want.shape != got.shape or not np.allclose(want, got, atol=1e-3)


def small_network(text: str) -> Network:
    return folding.lived_in(graph_of(text, image=plain_cases.IMAGE)).float()


def for_both(network: Network) -> Network:
    found = to_opencv(to_plain_darknet(network))
    assert found.only_darknet == ()
    return found.network


def both_outputs(network: Network, plain: Network, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The only output of a network, and what OpenCV makes of the plain one."""
    images = folding.pictures(network.graph).float()
    with torch.no_grad():
        (want,) = network(images)
    net = cv2.dnn.readNetFromDarknet(*map(str, written(plain, folder)))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(images.numpy())
    return want.numpy().ravel(), net.forward().ravel()


def yolor_network(name: str, classes: int) -> Network:
    """The shipped network with that many classes, in float32, its activations of order 1."""
    text = family.cfg_text(name, family.NETWORKS[name], classes=classes)
    network = folding.lived_in(graphs.build_graph(parse(text), ReadOptions(size=CASES[name])))
    return network.float()


def written(plain: Network, folder: Path) -> tuple[Path, Path]:
    """The cfg, at the size of the network, and the weights as files."""
    cfg, weights = folder / "plain.cfg", folder / "plain.weights"
    image = plain.graph.image
    sizes = {"height": image.height, "width": image.width}
    lines = plain.graph.document.text.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    resized = [f"{key}={sizes[key]}" if key in sizes else line for key, line in zip(keys, lines, strict=True)]
    cfg.write_text("\n".join(resized))
    write_weights(plain, weights)
    return cfg, weights


def boxes(network: Network) -> Boxes:
    """In OpenCV's order: cells first, then anchors."""
    images = folding.pictures(network.graph).float()
    size = torch.tensor([network.graph.image.width, network.graph.image.height] * 2)
    parts = []
    with torch.no_grad():
        for index, raw in zip(network.graph.outputs, network(images), strict=True):
            xywh, objectness, scores = (value[0] for value in network.module_list[index].decode(raw))
            rows = torch.cat([xywh / size, objectness[:, None], scores * objectness[:, None]], dim=1)
            _, anchors, height, width, _ = raw.shape
            parts.append(rows.reshape(anchors, height * width, -1).transpose(0, 1).flatten(0, 1))
    rows = torch.cat(parts).numpy()
    return Boxes(rows[:, :5], rows[:, 5:])


def opencv_boxes(network: Network, cfg: Path, weights: Path) -> Boxes:
    """What OpenCV's Darknet importer makes of the files."""
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(folding.pictures(network.graph).float().numpy())
    names = sorted(net.getUnconnectedOutLayersNames(), key=lambda name: int(name.split("_")[1]))
    rows = np.concatenate(net.forward(names))
    return Boxes(rows[:, :5], rows[:, 5:])


def expect_equal(ours: Boxes, theirs: Boxes) -> None:
    """Relative coordinates, objectness and scores to 1e-4; OpenCV drops scores below its threshold."""
    np.testing.assert_allclose(theirs.rows, ours.rows, atol=1e-4, rtol=1e-4)
    kept = theirs.scores > 0
    assert kept.any()
    np.testing.assert_allclose(theirs.scores[kept], ours.scores[kept], atol=1e-4)
    assert ours.scores[~kept].max(initial=0) < 0.2 + 1e-4
