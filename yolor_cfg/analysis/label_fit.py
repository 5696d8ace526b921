"""What a network sees of a data set: boxes below its cells, objects that take each other's place, borders.

Legend: N images, T boxes of all images, A anchors of all heads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.analysis.anchor_edit import HeadAnchors, find_head_anchors
from yolor_cfg.analysis.anchors import wh_iou
from yolor_cfg.data.statistics.table import InputFit, LabelTable, Numbers, image_gains
from yolor_cfg.data.types import Integers
from yolor_cfg.errors import count_of
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import default_preprocess


class HeadView(NamedTuple):
    """One head: its section, its stride (across, down), and the boxes whose best anchor is its own."""

    section: int
    line: int
    stride: tuple[float, float]
    boxes: int

    @property
    def told(self) -> tuple[str, str]:
        """The words for it, and its boxes."""
        across, down = self.stride
        stride = f"{across:g}" if across == down else f"{across:g}x{down:g}"
        return f"best anchor at stride {stride}", count_of(self.boxes, "box", spec=",")


class NetworkView(NamedTuple):
    """What a network sees of N images: boxes that are smaller than a cell of its finest head both ways; boxes
    that share the cell and the best anchor with an earlier box of their image, by class too; the share of the
    input that images fill (letterbox), or the median of how much wider they become (stretch)."""

    cfg: str
    size: tuple[int, int]
    preprocess: str
    finest: tuple[float, float]
    boxes: int
    below_cell: int
    shared: int
    shared_by_class: dict[str, int]
    shared_rows: list[int]
    heads: list[HeadView]
    filled: float
    widened: float

    def to_json(self) -> dict[str, Any]:
        """As plain values, without the rows of the table."""
        document = {key: value for key, value in self._asdict().items() if key != "shared_rows"}
        return {**document, "heads": [head._asdict() for head in self.heads]}

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What people are told: words and a value each."""
        wide, high = self.finest
        share = f" ({self.shared / self.boxes:.1%})" if self.boxes else ""
        below, shared = (count_of(count, "box", spec=",") for count in (self.below_cell, self.shared))
        rows = [
            (f"smaller than a cell ({wide:g}x{high:g}) of the finest head", below),
            ("share cell and best anchor with another", shared + share),
            *(head.told for head in self.heads),
        ]
        if self.preprocess == "letterbox":
            rows.append(("of the input that images fill", f"{self.filled:.1%}"))
        else:
            rows.append(("images become wider by, in the median", f"{self.widened:.2f}"))
        return rows


def input_fit(graph: Graph) -> InputFit:
    """The input of a network and how images come into it."""
    return InputFit((graph.image.height, graph.image.width), default_preprocess(graph) == "stretch")


def view_data(table: LabelTable, graph: Graph) -> NetworkView:
    """What the network sees of the boxes that are no crowds. Raises CfgError if no head has anchors."""
    heads = sorted(find_head_anchors(graph), key=lambda head: head.cell_area)
    fit, boxes = input_fit(graph), table.select_boxes(~table.crowd)
    gains = image_gains(boxes, fit)
    sides = boxes.sides * gains[boxes.owners]
    best_head, best_anchor = _best_anchors(sides, heads)
    centres = (boxes.corners[:, :2] + boxes.corners[:, 2:]) / 2 * gains[boxes.owners]
    centres += _input_margins(boxes, fit)[boxes.owners]
    repeats = _repeated_slots(boxes, centres, heads=heads, best=(best_head, best_anchor))
    counts = np.bincount(boxes.classes[repeats], minlength=len(boxes.names)).tolist()
    seen = boxes.sizes[:, ::-1] * gains
    return NetworkView(
        graph.path,
        fit.size,
        "stretch" if fit.is_stretched else "letterbox",
        heads[0].stride,
        len(sides),
        int((sides < heads[0].stride).all(axis=1).sum()),
        len(repeats),
        {name: count for name, count in zip(boxes.names, counts, strict=True) if count},
        np.flatnonzero(~table.crowd)[repeats].tolist(),
        [
            HeadView(head.node.index, head.node.line, head.stride, int((best_head == number).sum()))
            for number, head in enumerate(heads)
        ],
        float((seen.prod(axis=1) / (fit.size[0] * fit.size[1])).mean()) if len(seen) else 1.0,
        float(np.median(gains[:, 0] / gains[:, 1])) if len(gains) else 1.0,
    )


def _best_anchors(sides: Numbers, heads: list[HeadAnchors]) -> tuple[Integers, Integers]:
    """The head and the number of its anchor [T] with the largest IoU at the same centre, as Darknet's
    training picks them; the finer head's of two equal ones."""
    owners = [(number, place) for number, head in enumerate(heads) for place in range(len(head.head_slots))]
    anchors = np.array([slot.size_in_pixels for head in heads for slot in head.head_slots], np.float64)
    chosen = wh_iou(sides, anchors).argmax(axis=0) if len(sides) else np.zeros(0, np.int64)
    table = np.array(owners, np.int64)[chosen]
    return table[:, 0], table[:, 1]


def _input_margins(table: LabelTable, fit: InputFit) -> Numbers:
    """What is left of and above each image [N, 2] in the input."""
    whole = np.array(fit.size[::-1], np.float64)
    return (whole - table.sizes[:, ::-1] * image_gains(table, fit)) / 2


def _repeated_slots(
    boxes: LabelTable, centres: Numbers, *, heads: list[HeadAnchors], best: tuple[Integers, Integers]
) -> Integers:
    """The rows of boxes whose image, head, cell and anchor an earlier box has already."""
    strides = np.array([head.stride for head in heads], np.float64)[best[0]]
    cells = np.floor(centres / strides).astype(np.int64)
    slots = np.column_stack([boxes.owners, *best, cells])
    _, first = np.unique(slots, axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(slots)), first)
