"""Hypotheses of `yolor compare` are tried on a patch first: nothing that is told may depend on that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import test_compare as plain
import torch
from torch import Tensor

from yolor_cfg.analysis.compare import causes
from yolor_cfg.analysis.compare.compare import compare_layers
from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase
from yolor_cfg.analysis.compare.layers import PIECE, LayerRun, measure
from yolor_cfg.analysis.compare.patch import PatchBounds, cut_patch
from yolor_cfg.analysis.compare.values import OtherValues
from yolor_cfg.model import Network

LARGE = plain.CFG.replace("width=64\nheight=32", "width=160\nheight=128")


def with_noise(network: Network, share: float) -> Network:
    """The network with all of its kernels changed a little."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("Conv2d.weight"):
                tensor.mul_(1 + share * torch.randn(tensor.shape, generator=generator))
    return network


def values_of(network: Network) -> dict[int, Tensor]:
    return LayerRun(network, plain.images_of(network)).values()


OTHERS = {
    "noise": lambda: with_noise(plain.network_of(LARGE), 0.1),
    "much noise": lambda: with_noise(plain.network_of(LARGE), 3.0),
    "epsilon": lambda: plain.network_of(LARGE, eps=1e-3),
    "mish for swish": lambda: plain.network_of(LARGE.replace("activation=mish", "activation=swish", 1)),
    "reordered": lambda: plain.network_of(LARGE.replace("layers=-1,3", "layers=3,-1", 1)),
    "mean": lambda: plain.network_of(LARGE.replace("[maxpool]", "[local_avgpool]", 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_no_hypothesis_leaves_less_than_its_patch_says(name: str) -> None:
    network = plain.network_of(LARGE)
    run = LayerRun(network, plain.images_of(network))
    found = compare_layers(run, OtherValues("other", values_of(OTHERS[name]())))
    seen = set[str]()
    for node in run.graph.nodes:
        if node.index not in found.inputs:
            continue
        case, theirs = LayerCase(run, node, found.inputs[node.index]), found.theirs[node.index]
        patch = cut_patch(case, case.compute(), theirs)
        bounds = PatchBounds(patch, [theirs], causes.suppose_all)
        for one in causes.suppose_all(case):
            assert bounds.find_least(one)[0] <= one.apart(theirs).largest, (node.section.type, one.text)
        seen.update([node.section.type] * (patch is not None))
    assert {"convolutional", "maxpool", "shortcut", "route"} <= seen and "reorg" not in seen


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_is_told_as_without_patches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = plain.network_of(LARGE)
    run = LayerRun(network, plain.images_of(network))
    found = compare_layers(run, OtherValues("other", values_of(OTHERS[name]())))
    told = causes.diagnose(run, found, {})
    monkeypatch.setattr(causes, "cut_patch", lambda *_: None)
    assert causes.diagnose(run, found, {}) == told and told


def test_few_hypotheses_are_tried_on_the_whole_map(monkeypatch: pytest.MonkeyPatch) -> None:
    network, tried = plain.network_of(LARGE), Counter[str]()
    run = LayerRun(network, plain.images_of(network))
    found = compare_layers(run, OtherValues("other", values_of(with_noise(plain.network_of(LARGE), 0.1))))
    suppose_all = causes.suppose_all

    def suppose(case: LayerCase) -> Iterator[Hypothesis]:
        for one in suppose_all(case):
            yield one._replace(apart=lambda theirs, one=one: (tried.update([one.text]), one.apart(theirs))[1])

    monkeypatch.setattr(causes, "suppose_all", suppose)
    told = causes.diagnose(run, found, {})
    assert len(told) == 1 and 0 < sum(tried.values()) < 0.3 * told[0].tried


def test_a_patch_at_the_border_has_the_border_of_the_map() -> None:
    network = plain.network_of(LARGE)
    run = LayerRun(network, plain.images_of(network))
    case = LayerCase(run, run.graph.nodes[plain.CONV1], [run.values()[plain.CONV0]])
    ours = case.compute()
    for place in ((0, 0), (63, 79), (30, 0), (0, 40)):
        theirs = ours.clone()
        theirs[0, 0, *place] += 1
        patch = cut_patch(case, ours, theirs)
        assert patch is not None
        rows, columns = patch.outside
        assert place[0] in range(64)[rows] and place[1] in range(80)[columns]
        inside = patch.case.compute()[..., patch.inside[0], patch.inside[1]]
        assert torch.allclose(inside, ours[..., rows, columns], atol=1e-6)


def test_layers_that_read_a_map_as_a_whole_have_no_patch() -> None:
    network = plain.network_of(LARGE)
    run = LayerRun(network, plain.images_of(network))
    values = run.values()
    for index in (plain.UPSAMPLE, plain.REORG, plain.HEAD):
        node = run.graph.nodes[index]
        case = LayerCase(run, node, [values[source] for source in node.sources])
        ours = case.compute()
        assert cut_patch(case, ours, ours + 1) is None


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, 2 * PIECE + 7])
def test_a_difference_is_measured_by_its_formula(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    ours, theirs = (torch.randn(1, 1, size, 1, generator=generator) for _ in range(2))
    apart = (theirs - ours).abs().double()
    found = measure(ours, theirs)
    assert found.largest == pytest.approx(float(apart.max() / ours.abs().max()), rel=1e-12)
    assert found.mean == pytest.approx(float(apart.mean() / ours.abs().double().mean()), rel=1e-12)


def test_infinite_numbers_in_one_piece_spoil_no_other() -> None:
    ours = torch.ones(3 * PIECE)
    ours[PIECE + 5] = float("inf")
    theirs = ours.clone()
    theirs[2 * PIECE] = 1.5
    assert measure(ours, theirs).largest == 0.5
    theirs[PIECE + 5] = 1.0
    assert measure(ours, theirs).largest == float("inf")
