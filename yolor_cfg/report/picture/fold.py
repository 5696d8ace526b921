"""Runs of equal blocks, as in a residual stage, drawn as one row each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolor_cfg.report.picture.types import IMPLICIT, Layer, Link, Picture

MOST_BLOCK, FEWEST_FOLDED = 12, 4
"""Layers of a block that may be repeated; layers that one row stands for."""
PLACE_KEYS = frozenset({"from", "layers"})
"""They may name layers by absolute numbers; what is read is compared by distance."""


def fold_picture(picture: Picture) -> Picture:
    """The picture with one layer, named `7 x 1x1, 3x3, shortcut`, for each run of equal blocks in a stage."""
    stages = tuple(stage._replace(layers=tuple(_fold_layers(stage.layers))) for stage in picture.stages)
    rows = {
        layer.number: row.number for stage in stages for row in stage.layers for layer in row.folded or (row,)
    }
    links: dict[tuple[int, int], Link] = {}
    for link in picture.links:
        source, target = rows[link.source], rows[link.target]
        if source != target:
            links.setdefault((source, target), Link(source, target, link.kind))
    return picture._replace(stages=stages, links=tuple(links.values()))


def _fold_layers(layers: Sequence[Layer]) -> Iterator[Layer]:
    marks = [_mark(layer) for layer in layers]
    place = 0
    while place < len(layers):
        size, count = _find_run(marks, place)
        if size * count >= FEWEST_FOLDED:
            yield _join(layers[place : place + size * count], size)
        else:
            size = count = 1
            yield layers[place]
        place += size * count


def _mark(layer: Layer) -> object:
    """Equal for layers that do the same to the same distance."""
    lines = (line.partition("#")[0].replace(" ", "") for line in layer.text.split("\n"))
    keys = tuple(line for line in lines if line and line.partition("=")[0] not in PLACE_KEYS)
    distances = tuple(layer.number - source for source in layer.sources)
    number = layer.number if layer.role == IMPLICIT else -1  # each has values of its own: never folded
    return layer.kind, layer.geometry, layer.shape, layer.macs, layer.tasks, distances, keys, number


def _find_run(marks: Sequence[object], start: int) -> tuple[int, int]:
    """The size of the block that starts here and how often it comes in a row, for the longest run; 1, 1 if
    it comes once."""
    best = 1, 1
    for size in range(1, min(MOST_BLOCK, (len(marks) - start) // 2) + 1):
        block, count = marks[start : start + size], 1
        while marks[start + size * count : start + size * (count + 1)] == block:
            count += 1
        if count > 1 and size * count > best[0] * best[1]:
            best = size, count
    return best


def _join(layers: Sequence[Layer], size: int) -> Layer:
    """One row for all of these layers, which repeat the first `size`."""
    block = [layer.geometry.partition("/")[0] or layer.kind for layer in layers[:size]]
    return layers[-1]._replace(
        number=layers[0].number,
        kind=f"{len(layers) // size} x",
        geometry=", ".join(block),
        line=layers[0].line,
        sources=layers[0].sources,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        share=sum(layer.share for layer in layers),
        memory=sum(layer.memory for layer in layers),
        text="\n".join(layer.text for layer in layers[:size]),
        folded=tuple(layers),
        repeats=len(layers) // size,
    )
