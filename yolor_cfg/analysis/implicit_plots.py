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
    AnchorRefinement,
    HeadRefinement,
    ImplicitKnowledge,
    LearnedValue,
)
from yolor_cfg.analysis.similarity import Similarity, anchor_similarities, layer_similarities
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.images.types import Image
from yolor_cfg.report.bars import (
    ABOVE_COLOR,
    BELOW_COLOR,
    CENTER_COLOR,
    LEFT,
    RIGHT,
    WIDTH,
    ColorScale,
    LogAxis,
    PlotArea,
    bar_centers,
    blank_canvas,
    draw_bars,
    draw_frame,
    heading,
    plain_heading,
    text_line,
    write_indices,
    write_text,
    write_values,
)
from yolor_cfg.report.plots import (
    BLACK,
    FAINT,
    GRAY,
    PALE,
    WHITE,
    Color,
)

ROW_HEIGHT, ROW_PADDING = 96, 16
"""Height of a row of bars, and the part above and below them for numbers."""
BAR_SPACING, CLASSES_GAP = 54, 22
"""Width of the bars before the classes, and the room between them and the classes."""
FOOT_HEIGHT = 36
MAX_WRITTEN = 16
"""So many numbers are also written out."""
SPAN_HEIGHT = 46
OPERATION_TEXTS = {
    "shift": "added (0 changes nothing)",
    "control": "multiplied (1 changes nothing)",
    "scale": "multiplied (1 changes nothing)",
    "select": "its sigmoid multiplied",
    "alternate": "concatenated",
    "project": "as vectors",
}
MAX_MATRIX_SIDE, MAX_CELL_SIDE = 580, 46


def plot_knowledge(found: ImplicitKnowledge) -> Image:
    """The whole picture, RGB [H, 1280, 3] uint8."""
    refined = {one.index for one in found.refinements}
    others = [layer for layer in found.layers if layer.index not in refined]
    factored = [layer for layer in found.layers if layer.coefficients is not None]
    strips = [
        *(
            strip
            for kind, ones in group_refinements(found.refinements)
            for strip in _draw_refinements(kind, ones)
        ),
        *_draw_sizes(found.refinements),
        *(strip for kind, ones in group_layers(others) for strip in _draw_vectors(kind, ones)),
        *(_draw_coefficients(factored) if factored else []),
        *_draw_similarities(found),
        blank_canvas(16),
    ]
    return np.vstack(strips)


def group_refinements(refinements: Sequence[HeadRefinement]) -> list[tuple[str, list[HeadRefinement]]]:
    """The refinements by the section that applies them."""
    ordered = sorted(refinements, key=lambda one: (one.type, one.place))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda one: one.type)]


def group_layers(layers: Sequence[LearnedValue]) -> list[tuple[str, list[LearnedValue]]]:
    """The layers by their kind."""
    ordered = sorted(layers, key=lambda layer: (layer.kind, layer.index))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda layer: layer.kind)]


# What stands in the picture


def _draw_refinements(kind: str, ones: Sequence[HeadRefinement]) -> list[Image]:
    scale = ColorScale.fit_values([one.table for one in ones], ones[0].start)
    done = OPERATION_TEXTS.get(_operation_name(kind), kind)
    strips = [heading(f"Prediction refinement, [{kind}]: {done}", scale)]
    for one in ones:
        text = f"{one.level}, head #{one.head}: value #{one.index}, applied by [{kind} #{one.place}]"
        strips.append(text_line(text))
        strips += [
            _draw_anchor(one, anchor, row, scale=scale)
            for anchor, row in zip(one.anchors, one.table, strict=True)
        ]
        strips.append(_draw_foot(one))
    return strips


def _draw_anchor(
    one: HeadRefinement, anchor: AnchorRefinement, values: Doubles, *, scale: ColorScale
) -> Image:
    """A row: the anchor's name and size, then its numbers."""
    canvas, first = blank_canvas(ROW_HEIGHT), len(_box_value_names(one))
    width, height = anchor.size
    lines = [f"anchor {anchor.number}", f"{width:g} x {height:g}"]
    if anchor in one.sizes:
        lines.append("at rest {:.0f} x {:.0f}".format(*anchor.at_rest))
    for number, text in enumerate(lines):
        write_text(canvas, text, (12, 34 + 19 * number), size=0.42, color=BLACK if number == 0 else GRAY)
    boxes, classes = _row_areas(one)
    draw_frame(canvas, boxes, scale)
    draw_bars(canvas, boxes, values[:first], scale=scale, share=0.7)
    write_values(canvas, boxes, values[:first], scale=scale)
    if np.isnan(values[first:]).all():
        write_text(
            canvas,
            "not refined",
            ((classes.left + classes.right) // 2, classes.middle),
            size=0.45,
            color=FAINT,
            side=0.5,
        )
    else:
        draw_frame(canvas, classes, scale, ticks=False)
        draw_bars(canvas, classes, values[first:], scale=scale)
    return canvas


def _box_value_names(one: HeadRefinement) -> tuple[str, ...]:
    """The values before the classes."""
    return one.labels[: one.labels.index("obj") + 1]


def _row_areas(one: HeadRefinement) -> tuple[PlotArea, PlotArea]:
    """Where a row has the values of the box, and those of its classes."""
    end = LEFT + BAR_SPACING * len(_box_value_names(one))
    return PlotArea(LEFT, ROW_PADDING, end, ROW_HEIGHT - ROW_PADDING), PlotArea(
        end + CLASSES_GAP, ROW_PADDING, RIGHT, ROW_HEIGHT - ROW_PADDING
    )


def _draw_foot(one: HeadRefinement) -> Image:
    """The names below the last anchor of a level."""
    canvas, names = blank_canvas(FOOT_HEIGHT), _box_value_names(one)
    boxes, classes = _row_areas(one)
    for x, name in zip(bar_centers(boxes, len(names)), names, strict=True):
        write_text(canvas, name, (round(x), 8), size=0.45, side=0.5)
    count = len(one.labels) - len(names)
    if count and not np.isnan(one.table[:, len(names) :]).all():
        write_indices(canvas, classes, count, y=6)
        write_text(canvas, "classes", ((classes.left + classes.right) // 2, 24), size=0.45, side=0.5)
    return canvas


def _draw_sizes(refinements: Sequence[HeadRefinement]) -> list[Image]:
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
    axis = LogAxis(math.floor(math.log2(max(min(lengths), 1e-3))), math.ceil(math.log2(max(*lengths, 1e-3))))
    strips = [plain_heading("Anchors: sizes in input pixels"), _draw_legend()]
    strips += [_draw_spans(f"{one.level}, anchor {anchor.number}", anchor, axis) for one, anchor in rows]
    foot = blank_canvas(26)
    for power in range(axis.low, axis.high + 1):
        write_text(foot, f"{2.0**power:g}", (axis.place(2.0**power), 8), size=0.36, color=GRAY, side=0.5)
    return [*strips, foot]


def _draw_spans(name: str, anchor: AnchorRefinement, axis: LogAxis) -> Image:
    canvas = blank_canvas(SPAN_HEIGHT)
    write_text(canvas, name, (12, SPAN_HEIGHT // 2), size=0.42)
    for power in range(axis.low, axis.high + 1):
        x = axis.place(2.0**power)
        cv2.line(canvas, (x, 0), (x, SPAN_HEIGHT), PALE, 1)
    for i, word in enumerate("wh"):
        y = 14 + 18 * i
        ends = [axis.place(pair[i]) for pair in anchor.at_units[::2]]
        write_text(canvas, word, (LEFT - 12, y), size=0.42, color=GRAY, side=1)
        _draw_span(canvas, (ends[0], ends[1], y), color=CENTER_COLOR)
        _draw_mark(canvas, (axis.place(anchor.size[i]), y), "anchor")
        _draw_mark(canvas, (axis.place(anchor.without[i]), y), "without")
        _draw_mark(canvas, (axis.place(anchor.at_rest[i]), y), "at rest")
    return canvas


def _draw_span(canvas: Image, at: tuple[int, int, int], *, color: Color) -> None:
    left, right, y = at
    cv2.rectangle(canvas, (left, y - 3), (right, y + 3), color, cv2.FILLED)


def _draw_mark(canvas: Image, at: tuple[int, int], kind: str) -> None:
    """A line for the anchor itself, a ring and a dot for the sizes at rest."""
    if kind == "anchor":
        cv2.line(canvas, (at[0], at[1] - 6), (at[0], at[1] + 6), BLACK, 2)
    elif kind == "without":
        cv2.circle(canvas, at, 5, BELOW_COLOR, 1, cv2.LINE_AA)
    else:
        cv2.circle(canvas, at, 3, ABOVE_COLOR, cv2.FILLED, cv2.LINE_AA)


def _draw_legend() -> Image:
    canvas = blank_canvas(30)
    _draw_mark(canvas, (LEFT, 12), "anchor")
    write_text(canvas, "anchor in the cfg", (LEFT + 14, 12), size=0.42)
    _draw_mark(canvas, (LEFT + 190, 12), "at rest")
    write_text(canvas, "at rest: features 0", (LEFT + 204, 12), size=0.42)
    _draw_mark(canvas, (LEFT + 390, 12), "without")
    write_text(canvas, "the same without z", (LEFT + 404, 12), size=0.42)
    _draw_span(canvas, (LEFT + 580, LEFT + 620, 12), color=CENTER_COLOR)
    write_text(canvas, "where z meets -1 to 1", (LEFT + 634, 12), size=0.42)
    return canvas


def _draw_vectors(kind: str, layers: Sequence[LearnedValue]) -> list[Image]:
    scale = ColorScale.fit_values([layer.values for layer in layers], layers[0].start)
    strips = [heading(f"[{kind}], number by number", scale)]
    for layer in layers:
        place = "; ".join(place.text for place in layer.places) or "nothing reads it"
        strips.append(text_line(f"#{layer.index} ({layer.model}): {place}"))
        numbers = layer.numbers
        lines = [f"mean {numbers['mean']:.3g}", f"std {numbers['std']:.3g}", f"norm {numbers['norm']:.3g}"]
        strips.append(_draw_values(layer.values, lines, scale=scale))
    return strips


def _draw_coefficients(layers: Sequence[LearnedValue]) -> list[Image]:
    arrays = [layer.coefficients for layer in layers if layer.coefficients is not None]
    scale = ColorScale.fit_values(arrays, 0.0)
    strips = [heading("Coefficients c of Z^T c, basis vector by basis vector", scale)]
    for layer, array in zip(layers, arrays, strict=True):
        strips.append(text_line(f"#{layer.index} [{layer.kind}] {layer.level}"))
        size = np.abs(array)
        heavy = int((size > 0.1 * size.max()).sum())
        lines = [f"{array.size} numbers,", f"{heavy} above a tenth", "of the largest"]
        strips.append(_draw_values(array, lines, scale=scale))
    return strips


def _draw_values(values: Doubles, lines: Sequence[str], *, scale: ColorScale) -> Image:
    """All numbers in a row (those of a matrix row by row), a few facts at the left, their places below."""
    canvas = blank_canvas(ROW_HEIGHT + 16)
    box = PlotArea(LEFT, ROW_PADDING, RIGHT, ROW_HEIGHT - ROW_PADDING)
    for number, text in enumerate(lines):
        write_text(canvas, text, (12, 34 + 19 * number), size=0.42, color=GRAY)
    draw_frame(canvas, box, scale)
    draw_bars(canvas, box, values.ravel(), scale=scale)
    if values.size <= MAX_WRITTEN:
        write_values(canvas, box, values.ravel(), scale=scale)
    for row in range(1, len(values) if values.ndim > 1 else 1):
        x = box.left + round((box.right - box.left) * row / len(values))
        cv2.line(canvas, (x, box.top - 6), (x, box.bottom + 6), GRAY, 1)
    write_indices(canvas, box, values.size, y=ROW_HEIGHT - ROW_PADDING + 20)
    return canvas


def _draw_similarities(found: ImplicitKnowledge) -> list[Image]:
    """Matrices side by side: anchors, levels."""
    pairs = [
        ("between anchors", anchor_similarities(found.refinements)),
        ("between values of equal length", layer_similarities(found.layers)),
    ]
    drawn = [_draw_matrix(title, pair) for title, pair in pairs if pair]
    if not drawn:
        return []
    height = max(len(image) for image in drawn)
    whole = np.hstack(
        [np.vstack([image, blank_canvas(height - len(image), image.shape[1])]) for image in drawn]
    )
    rest = blank_canvas(height, max(0, WIDTH - whole.shape[1]))
    title = heading("Similarity: cosine of what was learned since the start", ColorScale(0.0, 1.0))
    return [title, np.hstack([whole, rest])[:, :WIDTH]]


def _draw_matrix(title: str, pairs: Sequence[Similarity]) -> Image:
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))
    cosine = {(pair.a, pair.b): pair.of_change for pair in pairs}
    cosine |= {(b, a): value for (a, b), value in cosine.items()} | {(name, name): 1.0 for name in names}
    cell, left, top = min(MAX_CELL_SIDE, MAX_MATRIX_SIDE // len(names)), 80, 56
    canvas = blank_canvas(top + cell * len(names) + 16, max(left + cell * len(names) + 20, 340))
    write_text(canvas, title, (left, 14), size=0.5)
    every = 1 if cell >= 36 else math.ceil(36 / cell)
    for i, name in enumerate(names[::every]):
        middle = round((i * every + 0.5) * cell)
        write_text(canvas, name, (left - 8, top + middle), size=0.4, side=1)
        write_text(canvas, name, (left + middle, top - 12), size=0.4, side=0.5)
    for i, j in np.ndindex(len(names), len(names)):
        corner = left + j * cell, top + i * cell
        _draw_cell(canvas, corner, cell, cosine=cosine.get((names[i], names[j]), math.nan))
    return canvas


def _draw_cell(canvas: Image, corner: tuple[int, int], cell: int, *, cosine: float) -> None:
    far = corner[0] + cell - 2, corner[1] + cell - 2
    if math.isnan(cosine):
        cv2.rectangle(canvas, corner, far, PALE, 1)
        return
    cv2.rectangle(canvas, corner, far, ColorScale(0.0, 1.0).color(cosine), cv2.FILLED)
    if cell >= 36:
        ink = WHITE if abs(cosine) > 0.4 else BLACK
        middle = corner[0] + cell // 2, corner[1] + cell // 2
        write_text(canvas, f"{cosine:.2f}", middle, size=0.38, color=ink, side=0.5)


def _operation_name(kind: str) -> str:
    """`control` of `control_channels_2d`."""
    return kind.partition("_")[0]
