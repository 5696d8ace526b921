"""The picture as one HTML file: the SVG with zoom, search and details of each layer, and nothing to load."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from typing import Any

from yolor_cfg.report.layer_text import format_bytes
from yolor_cfg.report.picture.colors import DARK, LIGHT, Theme, stride_color
from yolor_cfg.report.picture.layout import Arrangement, Spot
from yolor_cfg.report.picture.svg import (
    FONT,
    draw_network,
    format_share,
    legend_items,
    style_rules,
    theme_rules,
)
from yolor_cfg.report.picture.types import ROLE_NAMES, Stage

DARK_SCOPE = ':root[data-theme="dark"]'


def draw_page(arranged: Arrangement) -> str:
    """The page."""
    picture = arranged.picture
    parts = {
        "TITLE": escape(picture.title),
        "TOTALS": escape(" · ".join(f"{name} {value}" for name, value in picture.totals)),
        "COLORS": _write_colors(),
        "CSS": _read_part("graph.css"),
        "NETWORK": draw_network(arranged),
        "LEGEND": _write_legend(arranged),
        "FACTS": json.dumps(_collect_facts(arranged), ensure_ascii=False).replace("<", "\\u003c"),
        "SCRIPT": _read_part("graph.js"),
    }
    pieces = _read_part("graph.html").split("@")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _read_part(name: str) -> str:
    return (resources.files("yolor_cfg.report.picture") / "page" / name).read_text(encoding="utf-8")


def _write_colors() -> str:
    """The style sheet of the picture and the variables of the page, light and dark."""
    rules = [
        f":root {{ --font: {FONT}; {_write_variables(LIGHT)} }}",
        f"{DARK_SCOPE} {{ color-scheme: dark; {_write_variables(DARK)} }}",
        style_rules(LIGHT),
        *theme_rules(DARK, f"{DARK_SCOPE} "),
    ]
    return "\n".join(rules)


def _write_variables(theme: Theme) -> str:
    named = ((name, value) for name, value in theme._asdict().items() if isinstance(value, str))
    return " ".join(f"--{name.replace('_', '-')}: {value};" for name, value in named)


def _write_legend(arranged: Arrangement) -> str:
    rows = (
        f'{sample}<text x="{width + 7:g}" y="4">{escape(words)}</text>'
        for sample, width, words in legend_items(arranged)
    )
    return "\n".join(f'<svg><g transform="translate(1 9)">{row}</g></svg>' for row in rows)


def _collect_facts(arranged: Arrangement) -> dict[str, Any]:
    """What the script of the page goes by."""
    stages = {layer.number: stage.title for stage in arranged.picture.stages for layer in stage.layers}
    boxes = {card.piece.layers[0].number: card.box for card in arranged.cards}
    return {
        "width": arranged.width,
        "height": arranged.height,
        "layers": [_describe_spot(spot, stages[spot.layer.number]) for spot in arranged.spots],
        "stages": [
            {**_describe_stage(stage), "box": boxes[stage.layers[0].number]._asdict()}
            for stage in arranged.picture.stages
        ],
    }


def _describe_stage(stage: Stage) -> dict[str, Any]:
    return {
        "title": stage.title,
        "size": stage.size,
        "share": stage.share,
        "shareText": format_share(stage.share),
        "color": stride_color(stage.stride),
    }


def _describe_spot(spot: Spot, stage: str) -> dict[str, Any]:
    layer = spot.layer
    tasks, role = ", ".join(layer.tasks), ROLE_NAMES.get(layer.role, "")
    words = (str(layer.number), layer.name, str(layer.shape), stage, role, tasks, layer.text)
    return {
        "number": layer.number,
        "kind": layer.kind,
        "name": layer.name,
        "stage": stage,
        "line": layer.line,
        "shape": f"{layer.shape} (channels x height x width)",
        "role": role,
        "tasks": tasks,
        "parameters": f"{layer.parameters:,}" if layer.parameters else "",
        "macs": f"{layer.macs:,} ({format_share(layer.share)})" if layer.macs else "",
        "memory": f"{format_bytes(layer.memory)}, float32" if layer.memory else "",
        "text": layer.text,
        "words": "\n".join(words).lower(),
        "box": spot.box._asdict(),
    }
