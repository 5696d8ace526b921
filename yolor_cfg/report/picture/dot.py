"""The picture in Graphviz's language DOT."""

from __future__ import annotations

from collections.abc import Iterator

from yolor_cfg.report.picture.colors import LIGHT, find_shade
from yolor_cfg.report.picture.types import (
    HEAD,
    IMPLICIT,
    KNOWLEDGE,
    NEXT,
    WEIGHTS,
    Layer,
    Picture,
    Stage,
    layer_key,
)

STYLES = {KNOWLEDGE: "dashed", WEIGHTS: "dotted"}


def write_dot(picture: Picture) -> str:
    """The text for `dot`: a cluster for each stage, layers filled by their part of the multiply-adds."""
    most = picture.largest_share or 1.0
    lines = [
        f"digraph {_quote(picture.title)} {{",
        f"  graph [label={_quote(_title(picture))}, labelloc=t, fontname=Helvetica, newrank=true];",
        "  node [shape=box, style=filled, fontname=Helvetica, fontsize=11, height=0.3];",
        "  edge [arrowsize=0.6];",
    ]
    for number, stage in enumerate(picture.stages):
        lines += _write_stage(number, stage, picture, most=most)
    for link in picture.links:
        style = f", style={STYLES[link.kind]}" if link.kind in STYLES else ""
        weight = ", weight=8" if link.kind == NEXT else ""
        ends = f"{layer_key(link.source)} -> {layer_key(link.target)}"
        lines.append(f"  {ends} [color={_quote(LIGHT.links[link.kind])}{style}{weight}];")
    return "\n".join([*lines, "}\n"])


def _title(picture: Picture) -> str:
    return "\n".join([picture.title, ", ".join(f"{name} {value}" for name, value in picture.totals)])


def _write_stage(number: int, stage: Stage, picture: Picture, *, most: float) -> Iterator[str]:
    yield f"  subgraph cluster_{number} {{"
    yield f"    graph [label={_quote(stage.heading)}, color={_quote(LIGHT.edge)}, style=rounded];"
    for layer in stage.layers:
        yield f"    {layer.key} [{_write_attributes(layer, find_shade(layer, most))}];"
    yield "  }"


def _write_attributes(layer: Layer, shade: int) -> str:
    fill = LIGHT.implicit if layer.role == IMPLICIT else LIGHT.shades[shade]
    edge = {IMPLICIT: LIGHT.implicit_edge, HEAD: LIGHT.head_edge}.get(layer.role, LIGHT.edge)
    values = {
        "label": "\n".join(layer.lines),
        "fillcolor": fill,
        "color": edge,
        "fontcolor": LIGHT.text if layer.role == IMPLICIT else LIGHT.shade_texts[shade],
    }
    width = ", penwidth=2" if layer.role == HEAD else ""
    return ", ".join(f"{key}={_quote(value)}" for key, value in values.items()) + width


def _quote(text: str) -> str:
    """A quoted string, in which a backslash would begin an escape."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'
