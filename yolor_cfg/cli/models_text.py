"""How `yolor models` tells of networks: a row, an object of JSON, notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yolor_cfg.report.layer_text import format_bytes, format_count

if TYPE_CHECKING:
    from yolor_cfg.analysis.models.fields import ReceptiveField
    from yolor_cfg.analysis.models.types import HeadFacts, ImageTime, Model, Score

HEADERS = (
    "network",
    "image",
    "layers",
    "parameters",
    "MACs",
    "BFLOPs",
    "memory",
    "file",
    "heads",
    "strides",
    "receptive field",
    "anchors",
    "classes",
    "ms",
    "quartiles",
    "AP",
    "AP50",
    "data",
    "front",
)
WORDS = {"network", "image", "heads", "strides", "receptive field", "anchors", "data", "front"}
"""Columns of words, which start at the left."""
MAX_NAMED = 2


def model_rows(models: Sequence[Model], x: str, y: str) -> list[tuple[str, ...]]:
    """A row for each network; a cell is empty where there is nothing to say."""
    from yolor_cfg.analysis.models.front import name_data, rank_models

    ranks, names = rank_models(models, x, y), name_data(models)
    return [
        (
            *_cost_cells(one),
            *_head_cells(one.heads),
            *_time_cells(one.timing),
            *_score_cells(one.score, names),
            _format_rank(models, ranks.get(i)),
        )
        for i, one in enumerate(models)
    ]


def drop_empty(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The rows without the columns that have nothing below the header, the first."""
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [tuple(row[i] for i in kept) for row in rows]


def word_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns of words among those of the header."""
    return [i for i, name in enumerate(rows[0]) if name in WORDS]


def _cost_cells(one: Model) -> tuple[str, ...]:
    graph = one.source.graph
    return (
        one.name,
        f"{graph.image.height}x{graph.image.width}",
        str(len(graph.nodes)),
        f"{one.costs.parameters:,}",
        format_count(one.costs.macs),
        f"{one.costs.bflops:.3f}",
        format_bytes(one.memory_bytes),
        format_bytes(one.file_bytes),
    )


def _head_cells(heads: Sequence[HeadFacts]) -> tuple[str, ...]:
    """`3 yolo`, `8,16,32`, `325..917`, `3,3,3`, `80`."""
    types = [head.type for head in heads]
    classes = dict.fromkeys(str(head.classes) for head in heads if head.classes)
    return (
        ", ".join(f"{types.count(name)} {name}" for name in dict.fromkeys(types)),
        ",".join(_format_stride(head.stride) for head in heads),
        format_fields([head.receptive_field for head in heads]),
        ",".join(str(head.anchor_count) for head in heads)
        if any(head.anchor_count for head in heads)
        else "",
        ",".join(classes),
    )


def format_fields(fields: Sequence[ReceptiveField]) -> str:
    """The smallest and the largest: `325..917`, `99x131`, `whole`."""
    by_area = sorted(fields, key=lambda field: field.area)
    ends = dict.fromkeys(_format_field(*field) for field in (*by_area[:1], *by_area[-1:]))
    return "..".join(ends)


def _format_field(height: int | None, width: int | None) -> str:
    """A side that is all of the image is `whole`."""
    down, across = ("whole" if side is None else str(side) for side in (height, width))
    return down if down == across else f"{down}x{across}"


def _format_stride(stride: tuple[float, float]) -> str:
    down, across = stride
    return f"{down:g}" if down == across else f"{down:g}x{across:g}"


def _time_cells(timing: ImageTime | None) -> tuple[str, str]:
    if timing is None or timing.failed:
        return ("", "")
    return f"{timing.median_ms:.1f}", f"{timing.low_ms:.1f}..{timing.high_ms:.1f}"


def _score_cells(score: Score | None, names: Mapping[tuple[str, ...], str]) -> tuple[str, str, str]:
    if score is None:
        return ("", "", "")
    ap, ap50 = ("" if value is None else f"{value:.3f}" for value in (score.ap, score.ap50))
    return ap, ap50, names[score.key]


def _format_rank(models: Sequence[Model], above: tuple[int, ...] | None) -> str:
    """`front`, or `behind NAME`; nothing for what is not ranked."""
    if above is None:
        return ""
    named = ", ".join(models[i].name for i in above[:MAX_NAMED])
    more = f" and {len(above) - MAX_NAMED} more" if len(above) > MAX_NAMED else ""
    return f"behind {named}{more}" if above else "front"


def describe_fronts(models: Sequence[Model]) -> list[str]:
    """A note where scores are from several data sets, which cannot be ranked as one."""
    from yolor_cfg.analysis.models.front import name_data

    names = list(name_data(models).values())
    if len(names) < 2:
        return []
    return [f"AP is from {len(names)} data sets, which are ranked apart: {'; '.join(names)}"]


def model_to_dict(models: Sequence[Model], x: str, y: str) -> dict[str, Any]:
    """The document: how it is ranked, and the networks in their order."""
    from yolor_cfg.analysis.models.front import rank_models

    ranks = rank_models(models, x, y)
    each = [
        {**dict(_list_figures(one)), **_rank_to_dict(models, ranks.get(i))} for i, one in enumerate(models)
    ]
    return {"x": x, "y": y, "networks": each}


def _list_figures(one: Model) -> Iterator[tuple[str, Any]]:
    graph, costs = one.source.graph, one.costs
    yield "name", one.name
    yield "path", one.source.path
    yield "kind", one.source.kind
    yield "dialect", graph.dialect.name
    yield "image", list(graph.image)
    yield "layers", len(graph.nodes)
    for name in ("parameters", "parameters_folded", "macs", "gflops", "bflops"):
        yield name, getattr(costs, name)
    yield "peak_activation_bytes", one.memory_bytes
    yield "file_bytes", one.file_bytes
    yield "heads", [head_to_dict(head) for head in one.heads]
    yield "score", None if one.score is None else {**one.score._asdict(), "key": list(one.score.key)}
    if one.timing:
        yield "time", one.timing._asdict()


def head_to_dict(head: HeadFacts) -> dict[str, Any]:
    """The facts of a head; a side of its receptive field is null where it is all of the image."""
    anchors = [list(pair) for pair in head.anchors]
    pairs = {"stride": list(head.stride), "receptive_field": list(head.receptive_field)}
    return {**head._asdict(), **pairs, "anchors": anchors}


def _rank_to_dict(models: Sequence[Model], above: tuple[int, ...] | None) -> dict[str, Any]:
    """Whether it is on the front, and who dominates it; null for what is not ranked."""
    if above is None:
        return {"on_front": None, "dominated_by": []}
    return {"on_front": not above, "dominated_by": [models[i].name for i in above]}
