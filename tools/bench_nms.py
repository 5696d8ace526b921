"""Decoding and NMS of 25200 boxes with 80 classes: both in C++ against both in torch, with the same boxes.

    python tools/bench_nms.py [--rounds 15] [--kind yolor] [--threads 2]

`detector` is like the output of a detector at 640 x 640: some boxes around each of 12 objects, an objectness
below 0.001 elsewhere; `uniform` has all objectness and scores between 0 and 1 alike. The two ways take
turns; printed are medians and minima in milliseconds. They have to choose the same boxes and classes in the
same order; coordinates and scores may differ by rounding, 1e-6 of the input's size and of the score, and what
is equal up to that may be in another order. Behind a network its maps are in the caches; so each way runs
twice in its turn, and the second run counts. Exit code 1 where a figure is above its aim.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from unittest import mock

import click
import torch
from torch import Tensor

from yolor_cfg.detect.nms import NmsRules, select_boxes
from yolor_cfg.detect.nms_rules import NMS_CHOICES
from yolor_cfg.images.preprocess import placement_from_sizes
from yolor_cfg.model import Predictions
from yolor_cfg.ops import native_nms
from yolor_cfg.ops.heads import AnchorGrid, YoloHead, YoloRules
from yolor_cfg.ops.native_decode import decode_natively

CASES = (("detector", 0.25, 0.5), ("detector", 0.001, 1.5), ("uniform", 0.001, 25.0))
"""What is put in, the confidence threshold, and the aim in milliseconds."""
CLASSES, SIDE, OBJECTS = 80, 640, 12
ANCHORS = {
    8: ((12, 16), (19, 36), (40, 28)),
    16: ((36, 75), (76, 55), (72, 146)),
    32: ((142, 110), (192, 243), (459, 401)),
}
PLACEMENT = placement_from_sizes((480, 640), (SIDE, SIDE))
Finder = Callable[[], tuple[Tensor, ...]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=15, show_default=True)
@click.option("--kind", default="yolor", show_default=True, type=click.Choice(NMS_CHOICES))
@click.option("--threads", default=2, show_default=True)
def main(rounds: int, kind: str, threads: int) -> None:
    """Print a line for each case."""
    torch.set_num_threads(threads)
    print(f"{'':24}{'C++':>16}{'torch':>18}   ms, median (least)")
    missed = [_show_case(case, rounds=rounds, kind=kind) for case in CASES]
    sys.exit(any(missed))


def _show_case(case: tuple[str, float, float], *, rounds: int, kind: str) -> bool:
    """Print a case; True where it misses its aim."""
    name, conf, aim = case
    maps = make_maps(uniform=name == "uniform")
    rules = NmsRules(conf, 0.65 if conf < 0.1 else 0.45, kind, multi_label=conf < 0.1)
    times = race([lambda: find_natively(maps, rules), lambda: find_by_torch(maps, rules)], rounds)
    columns = [f"{statistics.median(one):9.2f} ({min(one):6.2f})" for one in times]
    is_missed = statistics.median(times[0]) > aim
    verdict = "MISS" if is_missed else "ok"
    print(f"{name:10} conf {conf:<8g}{'  '.join(columns)}   at most {aim}: {verdict}; the same boxes")
    return is_missed


def make_maps(*, uniform: bool) -> list[tuple[YoloHead, Tensor]]:
    """Three heads with their raw maps [1, 3, H, W, 85], laid out as convolutions leave them."""
    random = torch.Generator().manual_seed(0)
    return [(_make_head(stride), _make_map(SIDE // stride, random, uniform=uniform)) for stride in ANCHORS]


def _make_head(stride: int) -> YoloHead:
    grid = AnchorGrid(ANCHORS[stride], (float(stride), float(stride)))
    return YoloHead(grid, YoloRules(has_squared_sizes=True, spread=2.0))


def _make_map(side: int, random: torch.Generator, *, uniform: bool) -> Tensor:
    channels = (side, side, len(ANCHORS), 5 + CLASSES)
    if uniform:
        raw = torch.rand(channels, generator=random).logit(1e-6)
    else:
        raw = torch.randn(channels, generator=random) - 4
        raw[..., 4] -= 7
        for row, column in torch.randint(1, side - 1, (OBJECTS, 2), generator=random).tolist():
            near = raw[row - 1 : row + 2, column - 1 : column + 2]
            near[..., 4] += 9
            near[..., 5 + row % CLASSES] += 7
    raw[..., :4] = torch.randn(raw[..., :4].shape, generator=random)
    return raw.permute(2, 0, 1, 3)[None]


def find_natively(maps: list[tuple[YoloHead, Tensor]], rules: NmsRules) -> tuple[Tensor, ...]:
    """boxes_xyxy, numbers, scores and classes from the raw maps, by the C++ code."""
    heads, raws = zip(*maps, strict=True)
    found = decode_natively(heads, raws, least=rules.conf)
    assert found is not None, "the C++ code is not built (make native)"
    return _select(Predictions(*found), rules)


def find_by_torch(maps: list[tuple[YoloHead, Tensor]], rules: NmsRules) -> tuple[Tensor, ...]:
    """The same without the C++ code."""
    parts = [head.decode_likely(raw, rules.conf) for head, raw in maps]
    predictions = Predictions(*(torch.cat(one, dim=1) for one in zip(*parts, strict=True)))
    with mock.patch.object(native_nms, "_load_functions", lambda: None):
        return _select(predictions, rules)


def _select(predictions: Predictions, rules: NmsRules) -> tuple[Tensor, ...]:
    [(boxes, kept)] = select_boxes(predictions, [PLACEMENT], rules=rules)
    return boxes, predictions.boxes_xywh[0, kept.numbers], kept.scores, kept.classes


def check_equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> None:
    """Raise AssertionError unless both have the same boxes and classes, in the same order but for scores that
    are equal up to rounding."""
    assert torch.allclose(one[2], other[2], rtol=1e-6, atol=0), "the ways give different scores"
    for part, wanted in zip(_sort_by_class(one), _sort_by_class(other), strict=True):
        assert torch.allclose(part, wanted, rtol=1e-6, atol=1e-6 * SIDE), "the ways give different boxes"


def _sort_by_class(found: tuple[Tensor, ...]) -> list[Tensor]:
    order = found[3].argsort(stable=True)
    return [part[order] for part in found]


def race(ways: list[Finder], rounds: int) -> list[list[float]]:
    """The milliseconds of each way in each round; all have to give the same."""
    first, *others = (way() for way in ways)
    for other in others:
        check_equal(first, other)
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, seconds in zip(ways, times, strict=True):
            way()
            start = time.perf_counter()
            way()
            seconds.append(1000 * (time.perf_counter() - start))
    return times


if __name__ == "__main__":
    with torch.inference_mode():
        main()
