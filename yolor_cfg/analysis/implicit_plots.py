"""What implicit knowledge learned, as one chart, after Figure 9 of the paper.

From the top: what refines predictions, anchor by anchor in the order x y w h obj classes; what that makes of
the anchors; the other values, number by number; the coefficients of factorizations; how similar anchors and
layers are. Bars begin at what a value started at, 0 or 1, and their axis reaches as far up as down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from yolor_cfg.analysis.implicit import AnchorRefinement, HeadRefinement, ImplicitKnowledge, LearnedValue
from yolor_cfg.analysis.implicit_axes import (
    Area,
    ValueScale,
    draw_bars,
    draw_matrix,
    draw_spans,
    matrix_side,
    write_facts,
)
from yolor_cfg.analysis.similarity import Similarity, anchor_similarities, layer_similarities
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.report.figures import FAINT, Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

WIDTH = 12.0
"""Inches."""
LEFT, RIGHT = 1.9, 11.8
"""Inches from the left where the axes of bars begin and end."""
ROW_HEIGHT, ROW_PADDING, FOOT_HEIGHT = 0.92, 0.1, 0.45
"""Inches of a row of bars, of the part above and below them, and of what stands below the last row."""
BAR_SPACING, CLASSES_GAP = 0.5, 0.25
"""Inches for a bar before the classes, and between these bars and the classes."""
SPAN_HEIGHT = 0.42
"""Inches for the two lines of an anchor."""
OPERATION_TEXTS = {
    "shift": "added (0 changes nothing)",
    "control": "multiplied (1 changes nothing)",
    "scale": "multiplied (1 changes nothing)",
    "select": "its sigmoid multiplied",
    "alternate": "concatenated",
    "project": "as vectors",
}


class Strip(NamedTuple):
    """A part of the chart over its whole width: the height in inches, and what draws it."""

    height: float
    draw: Callable[[SubFigure], object]


def knowledge_chart(found: ImplicitKnowledge) -> Chart:
    """The whole chart."""
    refined = {one.index for one in found.refinements}
    strips = [
        *_refinement_strips(found.refinements),
        *_size_strips(found.refinements),
        *_value_strips([layer for layer in found.layers if layer.index not in refined]),
        *_coefficient_strips(found.layers),
        *_similarity_strips(found),
    ]
    size = WIDTH, sum(strip.height for strip in strips)
    return Chart(partial(_draw_strips, strips=strips), size, has_layout=False)


def _draw_strips(figure: Figure, *, strips: Sequence[Strip]) -> None:
    heights = [strip.height for strip in strips]
    parts = figure.subfigures(len(strips), 1, squeeze=False, hspace=0, height_ratios=heights)
    for strip, part in zip(strips, parts[:, 0], strict=True):
        strip.draw(part)


def group_refinements(refinements: Sequence[HeadRefinement]) -> list[tuple[str, list[HeadRefinement]]]:
    """The refinements by the section that applies them."""
    ordered = sorted(refinements, key=lambda one: (one.type, one.place))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda one: one.type)]


def group_layers(layers: Sequence[LearnedValue]) -> list[tuple[str, list[LearnedValue]]]:
    """The layers by their kind."""
    ordered = sorted(layers, key=lambda layer: (layer.kind, layer.index))
    return [(kind, list(ones)) for kind, ones in groupby(ordered, key=lambda layer: layer.kind)]


# Text


def _heading(text: str) -> Strip:
    """A title below a line."""

    def draw(part: SubFigure) -> None:
        from matplotlib.lines import Line2D

        part.add_artist(Line2D([0.01, 0.985], [0.85, 0.85], color=FAINT, lw=0.8))
        part.text(0.01, 0.3, text, fontsize=12, fontweight="bold", va="center")

    return Strip(0.55, draw)


def _line(text: str) -> Strip:
    def draw(part: SubFigure) -> None:
        part.text(0.01, 0.5, text[:150], fontsize=9, va="center")

    return Strip(0.28, draw)


# Predictions


def _refinement_strips(refinements: Sequence[HeadRefinement]) -> Iterator[Strip]:
    for kind, ones in group_refinements(refinements):
        scale = ValueScale.fit([one.table for one in ones], ones[0].start)
        yield _heading(
            f"Prediction refinement, [{kind}]: {OPERATION_TEXTS.get(kind.partition('_')[0], kind)}"
        )
        for one in ones:
            yield _line(
                f"{one.level_title}, head #{one.head}: value #{one.index}, applied by [{kind} #{one.place}]"
            )
            for anchor, values in zip(one.anchors, one.table, strict=True):
                is_last = anchor is one.anchors[-1]
                draw = partial(_draw_anchor, one=one, anchor=anchor, values=values, scale=scale)
                yield Strip(ROW_HEIGHT + (FOOT_HEIGHT if is_last else 0), draw)


def _draw_anchor(
    part: SubFigure, *, one: HeadRefinement, anchor: AnchorRefinement, values: Doubles, scale: ValueScale
) -> None:
    """A row: the anchor's number and sizes, the values of its box, its classes."""
    names = one.labels[: one.labels.index("obj") + 1]
    is_last = anchor is one.anchors[-1]
    write_facts(part, _anchor_facts(one, anchor))
    end = LEFT + BAR_SPACING * len(names)
    boxes = draw_bars(part, _row_area(LEFT, end), values[: len(names)], scale=scale)
    boxes.set_xticks(range(len(names)), names if is_last else [""] * len(names))
    if len(values) == len(names):
        return
    classes = draw_bars(part, _row_area(end + CLASSES_GAP, RIGHT), values[len(names) :], scale=scale)
    classes.tick_params(labelleft=False, labelbottom=is_last)
    classes.set_xlabel("class id" if is_last else "", fontsize=8, labelpad=1, loc="left")


def _anchor_facts(one: HeadRefinement, anchor: AnchorRefinement) -> list[str]:
    """The anchor's number and its sizes."""
    width, height = anchor.size
    facts = [f"anchor {anchor.number}", f"{width:g} x {height:g}"]
    return [*facts, "at rest {:.0f} x {:.0f}".format(*anchor.at_rest)] if anchor in one.sizes else facts


def _row_area(left: float, right: float) -> Area:
    """Where bars are drawn in a row, which has its foot below."""
    return Area(left, right, ROW_PADDING, ROW_HEIGHT - ROW_PADDING)


# Anchors


def _size_strips(refinements: Sequence[HeadRefinement]) -> Iterator[Strip]:
    """The sizes that the anchors stand for, on a logarithmic axis: two lines for each anchor, w and h."""
    rows = [(f"{one.level}, anchor {anchor.number}", anchor) for one in refinements for anchor in one.sizes]
    if rows:
        yield _heading("Anchors: sizes in input pixels")
        height = SPAN_HEIGHT * len(rows)
        area = Area(LEFT, RIGHT, 0.35, 0.35 + height)
        yield Strip(0.35 + height + FOOT_HEIGHT, partial(draw_spans, area=area, rows=rows))


# Values


def _value_strips(layers: Sequence[LearnedValue]) -> Iterator[Strip]:
    for kind, ones in group_layers(layers):
        scale = ValueScale.fit([layer.values for layer in ones], ones[0].start)
        yield _heading(f"[{kind}], number by number")
        for layer in ones:
            places = "; ".join(place.text for place in layer.places) or "nothing reads it"
            yield _line(f"{layer.title} ({layer.model}): {places}")
            facts = [f"{name} {layer.numbers[name]:.3g}" for name in ("mean", "std", "norm")]
            yield _values_strip(layer.values, facts, scale)


def _coefficient_strips(layers: Sequence[LearnedValue]) -> Iterator[Strip]:
    factored = [(layer, layer.coefficients) for layer in layers if layer.coefficients is not None]
    if not factored:
        return
    scale = ValueScale.fit([array for _, array in factored], 0.0)
    yield _heading("Coefficients c of Z^T c, basis vector by basis vector")
    for layer, array in factored:
        yield _line(f"{layer.title} [{layer.kind}] {layer.level}")
        size = np.abs(array)
        large = int((size > 0.1 * size.max()).sum())
        yield _values_strip(
            array, [f"{array.size} numbers,", f"{large} above a tenth", "of the largest"], scale
        )


def _values_strip(values: Doubles, facts: Sequence[str], scale: ValueScale) -> Strip:
    """All numbers in a row, those of a matrix row by row with lines between, and a few facts at the left."""

    def draw(part: SubFigure) -> None:
        write_facts(part, facts)
        axes = draw_bars(part, _row_area(LEFT, RIGHT), values.ravel(), scale=scale)
        for row in range(1, len(values) if values.ndim > 1 else 1):
            axes.axvline(row * values.shape[1] - 0.5, color=FAINT, lw=0.8)

    return Strip(ROW_HEIGHT + FOOT_HEIGHT - 0.15, draw)


# Similarity


def _similarity_strips(found: ImplicitKnowledge) -> Iterator[Strip]:
    """Matrices side by side: anchors, layers."""
    titled: list[tuple[str, list[Similarity]]] = [
        ("between anchors", anchor_similarities(found.refinements)),
        ("between values of equal length", layer_similarities(found.layers)),
    ]
    matrices = [(title, pairs) for title, pairs in titled if pairs]
    if not matrices:
        return

    def draw(part: SubFigure) -> None:
        for number, (title, pairs) in enumerate(matrices):
            draw_matrix(part, (0.9 + 6 * number, 0.3), pairs, title=title)

    yield _heading("Similarity: cosine of the change since the start")
    yield Strip(0.9 + max(matrix_side(pairs) for _, pairs in matrices), draw)
