"""The picture as one HTML file: the SVG with zoom, search and details of each layer, and nothing to load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from yolor_cfg.report.elements import FONT, plain
from yolor_cfg.report.layer_text import format_bytes
from yolor_cfg.report.picture.colors import DARK, LIGHT, Theme, stride_color
from yolor_cfg.report.picture.fold import fold_picture
from yolor_cfg.report.picture.layout import Arrangement, arrange
from yolor_cfg.report.picture.svg import (
    draw_network,
    draw_tips,
    format_share,
    legend_items,
    style_rules,
    theme_rules,
)
from yolor_cfg.report.picture.types import ROLE_NAMES, Layer, Picture, Stage

DARK_SCOPE = ':root[data-theme="dark"]'


def draw_page(picture: Picture) -> str:
    """The page; where blocks are repeated it has them whole and folded."""
    folded = fold_picture(picture)
    whole = arrange(picture)
    views = {"whole": whole, **({"folded": arrange(folded)} if folded != picture else {})}
    parts = {
        "TITLE": plain(picture.title),
        "TOTALS": plain(" · ".join(f"{name} {value}" for name, value in picture.totals)),
        "COLORS": _write_colors(),
        "CSS": _read_part("graph.css"),
        "NETWORK": "\n".join([draw_tips(), *(_write_view(*view) for view in views.items())]),
        "LEGEND": _write_legend(whole),
        "FACTS": json.dumps(_collect_facts(views), ensure_ascii=False).replace("<", "\\u003c"),
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
        f'{sample}<text x="{width + 7:g}" y="4">{plain(words)}</text>'
        for sample, width, words in legend_items(arranged)
    )
    return "\n".join(f'<svg><g transform="translate(1 9)">{row}</g></svg>' for row in rows)


def _write_view(name: str, arranged: Arrangement) -> str:
    return f'<g class="network" id="{name}">\n{draw_network(arranged)}\n</g>'


def _collect_facts(views: Mapping[str, Arrangement]) -> dict[str, Any]:
    """What the script of the page goes by."""
    picture = views["whole"].picture
    titles = {layer.number: stage.title for stage in picture.stages for layer in stage.layers}
    rows = [spot.layer for arranged in views.values() for spot in arranged.spots]
    blocks = [row for row in rows if row.folded]
    return {
        "layers": [_describe(layer, titles[layer.number]) for layer in picture.layers],
        "blocks": [
            {
                **_describe(row, titles[row.number]),
                "layers": [layer.number for layer in row.folded],
                "size": len(row.folded) // row.repeats,
            }
            for row in blocks
        ],
        "stages": [_describe_stage(stage) for stage in picture.stages],
        "views": {name: _describe_view(arranged) for name, arranged in views.items()},
    }


def _describe_view(arranged: Arrangement) -> dict[str, Any]:
    """Sizes and places in one view: of each layer, folded ones with their row, and of each stage."""
    cards = {card.piece.layers[0].number: card.box for card in arranged.cards}
    boxes = {
        layer.number: spot.box for spot in arranged.spots for layer in spot.layer.folded or (spot.layer,)
    }
    return {
        "width": arranged.width,
        "height": arranged.height,
        "boxes": {number: box._asdict() for number, box in boxes.items()},
        "stages": [cards[stage.layers[0].number]._asdict() for stage in arranged.picture.stages],
    }


def _describe_stage(stage: Stage) -> dict[str, Any]:
    return {
        "title": stage.title,
        "size": stage.size,
        "share": stage.share,
        "shareText": format_share(stage.share),
        "color": stride_color(stage.stride),
    }


def _describe(layer: Layer, stage: str) -> dict[str, Any]:
    """A layer, or a row of several, in words."""
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
    }
