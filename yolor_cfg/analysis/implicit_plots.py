"""What implicit knowledge learned as one picture, after Figure 9 of the paper, drawn with OpenCV.

From the top: what refines predictions, anchor by anchor in the order x y w h obj classes; what that makes of
the anchors; the other values, number by number; the coefficients of factorizations; how similar anchors and
levels are. Lengths and colours
count from what a value starts at, 0 or 1, as far up as down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np

from yolor_cfg.analysis.implicit import (
    Anchor,
    Floats,
    Knowledge,
    Learned,
    Refinement,
)
from yolor_cfg.analysis.similarity import Similarity, between_anchors, between_layers
from yolor_cfg.images.types import Image
from yolor_cfg.report.bars import (
    ABOVE,
    BELOW,
    EVEN,
    LEFT,
    RIGHT,
    WIDTH,
    Axis,
    Box,
    Scale,
    bars,
    blank,
    frame,
    heading,
    line_of_text,
    numbers_below,
    places,
    plain_heading,
    told,
    write,
)
from yolor_cfg.report.plots import (
    BLACK,
    FAINT,
    GREY,
    PALE,
    WHITE,
    Colour,
)

ROW, PAD = 96, 16
"""Height of a row of bars, and the part above and below them for numbers."""
WIDE, GAP = 54, 22
"""Width of the bars before the classes, and the room between them and the classes."""
FOOT = 36
FEW = 16
"""So many numbers are also written out."""
SPAN = 46
DONE = {
    "shift": "added (0 changes nothing)",
    "control": "multiplied (1 changes nothing)",
    "scale": "multiplied (1 changes nothing)",
    "select": "its sigmoid multiplied",
    "alternate": "concatenated",
    "project": "as vectors",
}
LARGEST_MATRIX, CELL = 580, 46


def picture(found: Knowledge) -> Image:
    """The whole picture, RGB [H, 1280, 3] uint8."""
    refined = {one.index for one in found.refinements}
    others = [layer for layer in found.layers if layer.index not in refined]
    factored = [layer for layer in found.layers if layer.coefficients is not None]
    strips = [
        *(strip for kind, ones in grouped(found.refinements) for strip in _refinements(kind, ones)),
        *_sizes(found.refinements),
        *(strip for kind, ones in kinds(others) for strip in _vectors(kind, ones)),
        *(_coefficients(factored) if factored else []),
        *_similarities(found),
        blank(16),
    ]
    return np.vstack(strips)


def grouped(refinements: Sequence[Refinement]) -> list[tuple[str, list[Refinement]]]:
    """The refinements by the section that applies them."""
    ordered = sorted(refinements, key=lambda one: (one.type, one.place))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda one: one.type)]


def kinds(layers: Sequence[Learned]) -> list[tuple[str, list[Learned]]]:
    """The layers by their kind."""
    ordered = sorted(layers, key=lambda layer: (layer.kind, layer.index))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda layer: layer.kind)]


# What stands in the picture


def _refinements(kind: str, ones: Sequence[Refinement]) -> list[Image]:
    scale = Scale.over([one.table for one in ones], ones[0].start)
    done = DONE.get(_word(kind), kind)
    strips = [heading(f"Prediction refinement, [{kind}]: {done}", scale)]
    for one in ones:
        text = f"{one.level}, head #{one.head}: value #{one.index}, applied by [{kind} #{one.place}]"
        strips.append(line_of_text(text))
        strips += [
            _anchor(one, anchor, row, scale=scale) for anchor, row in zip(one.anchors, one.table, strict=True)
        ]
        strips.append(_foot(one))
    return strips


def _anchor(one: Refinement, anchor: Anchor, values: Floats, *, scale: Scale) -> Image:
    """A row: the anchor's name and size, then its numbers."""
    canvas, first = blank(ROW), len(_named(one))
    width, height = anchor.size
    lines = [f"anchor {anchor.number}", f"{width:g} x {height:g}"]
    if anchor in one.sizes:
        lines.append("at rest {:.0f} x {:.0f}".format(*anchor.at_rest))
    for number, text in enumerate(lines):
        write(canvas, text, (12, 34 + 19 * number), size=0.42, colour=BLACK if number == 0 else GREY)
    boxes, classes = _parts(one)
    frame(canvas, boxes, scale)
    bars(canvas, boxes, values[:first], scale=scale, share=0.7)
    told(canvas, boxes, values[:first], scale=scale)
    if np.isnan(values[first:]).all():
        write(
            canvas,
            "not refined",
            ((classes.left + classes.right) // 2, classes.middle),
            size=0.45,
            colour=FAINT,
            side=0.5,
        )
    else:
        frame(canvas, classes, scale, ticks=False)
        bars(canvas, classes, values[first:], scale=scale)
    return canvas


def _named(one: Refinement) -> tuple[str, ...]:
    """The values before the classes."""
    return one.labels[: one.labels.index("obj") + 1]


def _parts(one: Refinement) -> tuple[Box, Box]:
    """Where a row has the values of the box, and those of its classes."""
    end = LEFT + WIDE * len(_named(one))
    return Box(LEFT, PAD, end, ROW - PAD), Box(end + GAP, PAD, RIGHT, ROW - PAD)


def _foot(one: Refinement) -> Image:
    """The names below the last anchor of a level."""
    canvas, names = blank(FOOT), _named(one)
    boxes, classes = _parts(one)
    for x, name in zip(places(boxes, len(names)), names, strict=True):
        write(canvas, name, (round(x), 8), size=0.45, side=0.5)
    count = len(one.labels) - len(names)
    if count and not np.isnan(one.table[:, len(names) :]).all():
        numbers_below(canvas, classes, count, y=6)
        write(canvas, "classes", ((classes.left + classes.right) // 2, 24), size=0.45, side=0.5)
    return canvas


def _sizes(refinements: Sequence[Refinement]) -> list[Image]:
    """The sizes that the anchors stand for, on a logarithmic axis: two lines for each anchor, w and h."""
    rows = [(one, anchor) for one in refinements for anchor in one.sizes]
    if not rows:
        return []
    lengths = [
        length
        for _, anchor in rows
        for pair in (anchor.at_rest, anchor.without, *anchor.at_units)
        for length in pair
    ]
    axis = Axis(math.floor(math.log2(max(min(lengths), 1e-3))), math.ceil(math.log2(max(*lengths, 1e-3))))
    strips = [plain_heading("Anchors: sizes in input pixels"), _legend()]
    strips += [_spans(f"{one.level}, anchor {anchor.number}", anchor, axis) for one, anchor in rows]
    foot = blank(26)
    for power in range(axis.low, axis.high + 1):
        write(foot, f"{2.0**power:g}", (axis.place(2.0**power), 8), size=0.36, colour=GREY, side=0.5)
    return [*strips, foot]


def _spans(name: str, anchor: Anchor, axis: Axis) -> Image:
    canvas = blank(SPAN)
    write(canvas, name, (12, SPAN // 2), size=0.42)
    for power in range(axis.low, axis.high + 1):
        x = axis.place(2.0**power)
        cv2.line(canvas, (x, 0), (x, SPAN), PALE, 1)
    for i, word in enumerate("wh"):
        y = 14 + 18 * i
        ends = [axis.place(pair[i]) for pair in anchor.at_units[::2]]
        write(canvas, word, (LEFT - 12, y), size=0.42, colour=GREY, side=1)
        _span(canvas, (ends[0], ends[1], y), colour=EVEN)
        _mark(canvas, (axis.place(anchor.size[i]), y), "anchor")
        _mark(canvas, (axis.place(anchor.without[i]), y), "without")
        _mark(canvas, (axis.place(anchor.at_rest[i]), y), "at rest")
    return canvas


def _span(canvas: Image, at: tuple[int, int, int], *, colour: Colour) -> None:
    left, right, y = at
    cv2.rectangle(canvas, (left, y - 3), (right, y + 3), colour, cv2.FILLED)


def _mark(canvas: Image, at: tuple[int, int], kind: str) -> None:
    """A line for the anchor itself, a ring and a dot for the sizes at rest."""
    if kind == "anchor":
        cv2.line(canvas, (at[0], at[1] - 6), (at[0], at[1] + 6), BLACK, 2)
    elif kind == "without":
        cv2.circle(canvas, at, 5, BELOW, 1, cv2.LINE_AA)
    else:
        cv2.circle(canvas, at, 3, ABOVE, cv2.FILLED, cv2.LINE_AA)


def _legend() -> Image:
    canvas = blank(30)
    _mark(canvas, (LEFT, 12), "anchor")
    write(canvas, "anchor in the cfg", (LEFT + 14, 12), size=0.42)
    _mark(canvas, (LEFT + 190, 12), "at rest")
    write(canvas, "at rest: features 0", (LEFT + 204, 12), size=0.42)
    _mark(canvas, (LEFT + 390, 12), "without")
    write(canvas, "the same without z", (LEFT + 404, 12), size=0.42)
    _span(canvas, (LEFT + 580, LEFT + 620, 12), colour=EVEN)
    write(canvas, "where z meets -1 to 1", (LEFT + 634, 12), size=0.42)
    return canvas


def _vectors(kind: str, layers: Sequence[Learned]) -> list[Image]:
    scale = Scale.over([layer.values for layer in layers], layers[0].start)
    strips = [heading(f"[{kind}], number by number", scale)]
    for layer in layers:
        place = "; ".join(place.text for place in layer.places) or "nothing reads it"
        strips.append(line_of_text(f"#{layer.index} ({layer.model}): {place}"))
        numbers = layer.numbers
        lines = [f"mean {numbers['mean']:.3g}", f"std {numbers['std']:.3g}", f"norm {numbers['norm']:.3g}"]
        strips.append(_run(layer.values, lines, scale=scale))
    return strips


def _coefficients(layers: Sequence[Learned]) -> list[Image]:
    arrays = [layer.coefficients for layer in layers if layer.coefficients is not None]
    scale = Scale.over(arrays, 0.0)
    strips = [heading("Coefficients c of Z^T c, basis vector by basis vector", scale)]
    for layer, array in zip(layers, arrays, strict=True):
        strips.append(line_of_text(f"#{layer.index} [{layer.kind}] {layer.level}"))
        size = np.abs(array)
        heavy = int((size > 0.1 * size.max()).sum())
        lines = [f"{array.size} numbers,", f"{heavy} above a tenth", "of the largest"]
        strips.append(_run(array, lines, scale=scale))
    return strips


def _run(values: Floats, lines: Sequence[str], *, scale: Scale) -> Image:
    """All numbers in a row (those of a matrix row by row), a few facts at the left, their places below."""
    canvas = blank(ROW + 16)
    box = Box(LEFT, PAD, RIGHT, ROW - PAD)
    for number, text in enumerate(lines):
        write(canvas, text, (12, 34 + 19 * number), size=0.42, colour=GREY)
    frame(canvas, box, scale)
    bars(canvas, box, values.ravel(), scale=scale)
    if values.size <= FEW:
        told(canvas, box, values.ravel(), scale=scale)
    for row in range(1, len(values) if values.ndim > 1 else 1):
        x = box.left + round((box.right - box.left) * row / len(values))
        cv2.line(canvas, (x, box.top - 6), (x, box.bottom + 6), GREY, 1)
    numbers_below(canvas, box, values.size, y=ROW - PAD + 20)
    return canvas


def _similarities(found: Knowledge) -> list[Image]:
    """Matrices side by side: anchors, levels."""
    pairs = [
        ("between anchors", between_anchors(found.refinements)),
        ("between values of equal length", between_layers(found.layers)),
    ]
    drawn = [_matrix(title, pair) for title, pair in pairs if pair]
    if not drawn:
        return []
    height = max(len(image) for image in drawn)
    whole = np.hstack([np.vstack([image, blank(height - len(image), image.shape[1])]) for image in drawn])
    rest = blank(height, max(0, WIDTH - whole.shape[1]))
    title = heading("Similarity: cosine of what was learned since the start", Scale(0.0, 1.0))
    return [title, np.hstack([whole, rest])[:, :WIDTH]]


def _matrix(title: str, pairs: Sequence[Similarity]) -> Image:
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))
    cosine = {(pair.a, pair.b): pair.of_change for pair in pairs}
    cosine |= {(b, a): value for (a, b), value in cosine.items()} | {(name, name): 1.0 for name in names}
    cell, left, top = min(CELL, LARGEST_MATRIX // len(names)), 80, 56
    canvas = blank(top + cell * len(names) + 16, max(left + cell * len(names) + 20, 340))
    write(canvas, title, (left, 14), size=0.5)
    every = 1 if cell >= 36 else math.ceil(36 / cell)
    for i, name in enumerate(names[::every]):
        middle = round((i * every + 0.5) * cell)
        write(canvas, name, (left - 8, top + middle), size=0.4, side=1)
        write(canvas, name, (left + middle, top - 12), size=0.4, side=0.5)
    for i, j in np.ndindex(len(names), len(names)):
        corner = left + j * cell, top + i * cell
        _cell(canvas, corner, cell, cosine=cosine.get((names[i], names[j]), math.nan))
    return canvas


def _cell(canvas: Image, corner: tuple[int, int], cell: int, *, cosine: float) -> None:
    far = corner[0] + cell - 2, corner[1] + cell - 2
    if math.isnan(cosine):
        cv2.rectangle(canvas, corner, far, PALE, 1)
        return
    cv2.rectangle(canvas, corner, far, Scale(0.0, 1.0).colour(cosine), cv2.FILLED)
    if cell >= 36:
        ink = WHITE if abs(cosine) > 0.4 else BLACK
        middle = corner[0] + cell // 2, corner[1] + cell // 2
        write(canvas, f"{cosine:.2f}", middle, size=0.38, colour=ink, side=0.5)


def _word(kind: str) -> str:
    """`control` of `control_channels_2d`."""
    return kind.partition("_")[0]
