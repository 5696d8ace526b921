"""Decoding in C++ against float64 and against torch: the same boxes, no further from float64."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from native import BUILT
from small import graph_of
from torch import Tensor

from yolor_cfg.model import Network
from yolor_cfg.ops import native_decode
from yolor_cfg.ops.heads import AnchorGrid, HeadPredictions, YoloHead, YoloRules
from yolor_cfg.ops.native_decode import decode_natively

pytestmark = pytest.mark.skipif(not BUILT, reason="the C++ code is not built (make native)")

RULES = (
    YoloRules(),
    YoloRules(has_squared_sizes=True, spread=2.0),
    YoloRules(has_linear_sizes=True, spread=1.05),
)
ANCHORS = ((10.3, 14.0), (23.0, 27.5), (37.0, 58.0))


def head_of(rules: YoloRules, *, stride: tuple[float, float] = (8.0, 8.0), anchors: int = 3) -> YoloHead:
    return YoloHead(AnchorGrid(ANCHORS[:anchors], stride), rules)


def draw_map(seed: int, *, anchors: int = 3, classes: int = 4, images: int = 1, last: bool = True) -> Tensor:
    """A raw map [N, A, 7, 9, V], channels last or first in memory."""
    random = torch.Generator().manual_seed(seed)
    if last:
        raw = torch.randn(images, 7, 9, anchors, 5 + classes, generator=random).permute(0, 3, 1, 2, 4)
    else:
        raw = torch.randn(images, anchors, 5 + classes, 7, 9, generator=random).permute(0, 1, 3, 4, 2)
    raw *= 4
    return raw


def by_torch(heads: list[YoloHead], raws: list[Tensor], least: float) -> HeadPredictions:
    """The boxes of all heads that `decode_likely` keeps, by a full decoding."""
    parts = []
    for head, raw in zip(heads, raws, strict=True):
        likely = (raw[..., 4].sigmoid() >= least * (1 - 1e-5)).any(dim=0).flatten()
        parts.append([part[:, likely] for part in head.decode(raw)])
    boxes, objectness, scores = (torch.cat(one, dim=1) for one in zip(*parts, strict=True))
    return boxes, objectness, scores


def distance(found: Tensor, exact: Tensor) -> float:
    """The largest difference, relative to the exact value."""
    return float(((found.double() - exact).abs() / exact.abs().clamp(min=1e-300)).max())


@pytest.mark.parametrize(("rules", "last"), list(product(RULES, (True, False))))
def test_values_are_as_near_to_float64_as_rounding_allows(rules: YoloRules, last: bool) -> None:
    """Three heads of two sizes, several images, both orders in memory, all thresholds."""
    heads = [head_of(rules, anchors=3), head_of(rules, stride=(16.0, 12.0), anchors=2)]
    for seed, (images, least) in enumerate(product((1, 3), (1e-6, 0.001, 0.25, 0.9, 1.0))):
        raws = [draw_map(seed, images=images, last=last), draw_map(seed + 50, anchors=2, images=images)]
        found = decode_natively(heads, raws, least=least)
        exact = by_torch(heads, [raw.double() for raw in raws], least)
        plain = by_torch(heads, raws, least)
        assert found is not None and exact[1].shape[1] > (3 if least < 1 else -1)
        for one, right, other in zip(found, exact, plain, strict=True):
            assert one.dtype == torch.float32 and one.shape == right.shape
            if right.numel():
                assert distance(one, right) < 6.1e-8  # half a unit in the last place is 6.0e-8
                assert distance(one, right) <= max(distance(other, right), 6.0e-8) + 1e-9


def test_sigmoid_and_exp_over_all_magnitudes() -> None:
    """From where float32 underflows to where it overflows, with tiny values between."""
    values = torch.cat([torch.linspace(-110, 110, 4001), torch.logspace(-30, 0, 200), torch.zeros(1)])
    values = torch.cat([values, -values])
    raw = torch.zeros(1, 1, 1, len(values), 6)
    raw[..., 2], raw[..., 3], raw[..., 5] = values, -values, values
    head = YoloHead(AnchorGrid(((1.0, 1.0),), (1.0, 1.0)), YoloRules())
    found = decode_natively([head], [raw], least=0.5)
    assert found is not None
    for one, right in (
        (found[0][0, :, 2], values.double().exp()),
        (found[2][0, :, 0], values.double().sigmoid()),
    ):
        right = right.float().double()  # overflows and gets coarse as float32 does
        normal = right.abs() > 1.2e-38
        assert torch.equal(one.isinf(), right.isinf())
        finite = normal & right.isfinite()
        assert distance(one[finite], right[finite]) < 1.3e-7  # twice rounded
        assert float((one - right)[~normal].abs().max()) < 1e-44


def test_numbers_that_are_none_and_infinities_are_met_as_in_torch() -> None:
    """NaN where torch has NaN; a box without a numeric objectness is not likely."""
    for seed, rules in enumerate(RULES):
        raw = draw_map(seed, images=2)
        for value in (torch.nan, torch.inf, -torch.inf):
            spots = torch.rand(raw.shape, generator=torch.Generator().manual_seed(seed)) < 0.02
            raw[spots] = value
            seed += 10
        found = decode_natively([head_of(rules)], [raw], least=0.2)
        assert found is not None
        for one, other in zip(found, by_torch([head_of(rules)], [raw], 0.2), strict=True):
            assert one.shape == other.shape and other.isnan().any()
            torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-6, atol=1e-4)


def test_results_do_not_depend_on_the_place_of_a_value() -> None:
    """Neither on the other boxes, nor on the image's number in the batch, nor on the order in memory."""
    raw = draw_map(3, classes=21, images=3)
    head = head_of(RULES[1])
    whole = decode_natively([head], [raw], least=1e-9)
    plain = decode_natively([head], [raw.contiguous(memory_format=torch.contiguous_format)], least=1e-9)
    assert whole is not None and plain is not None and whole[1].shape[1] == 189
    assert all(map(torch.equal, whole, plain))
    for number in range(3):
        one = decode_natively([head], [raw[number : number + 1]], least=0.3)
        likely = whole[1][number] >= 0.3
        assert one is not None and all(
            torch.equal(part[0], every[number, likely]) for part, every in zip(one, whole, strict=True)
        )


@pytest.mark.parametrize(
    ("rules", "change", "least"),
    [
        (YoloRules(has_sigmoid=False), lambda raw: raw, 0.5),
        (YoloRules(), lambda raw: raw.double(), 0.5),
        (YoloRules(), lambda raw: raw.bfloat16(), 0.5),
        (YoloRules(), lambda raw: raw.requires_grad_(), 0.5),
        (YoloRules(), lambda raw: raw[:0], 0.5),
        (YoloRules(), lambda raw: raw, 1.5),
        (YoloRules(), lambda raw: raw, 0.0),
    ],
)
def test_torch_decodes_what_the_code_does_not_know(rules, change, least) -> None:
    assert decode_natively([head_of(rules)], [change(draw_map(0))], least=least) is None


NETWORK = """[convolutional]
filters=27
size=1
[yolo]
mask=0,1,2
anchors=10,14, 23,27, 37,58
num=3
classes=4
scale_x_y=1.1
"""


def test_a_network_decodes_by_it_and_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The boxes of `Network.decode` with a threshold are those of the full decoding."""
    network = Network(graph_of(NETWORK, image=(3, 24, 32), dialect="darknet")).eval()
    with torch.inference_mode():
        raws = [draw_map(5)]
        likely = network.decode(raws, least=0.98)
        calls: list[object] = []
        monkeypatch.setattr(native_decode, "_load_functions", lambda: calls.append(1))
        assert all(
            torch.allclose(one, other, rtol=1e-6, atol=1e-4)
            for one, other in zip(likely, network.decode(raws, least=0.98), strict=True)
        )
        assert calls and 0 < likely.objectness.shape[1] < network.decode(raws).objectness.shape[1]
