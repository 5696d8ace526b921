"""The picture as SVG: one file that browsers, viewers and editors show without anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolor_cfg.report.elements import FONT, plain, wrap, wrap_svg, write_style
from yolor_cfg.report.picture.colors import (
    DARK,
    LIGHT,
    SHADES,
    Theme,
    find_shade,
    stride_color,
    task_color,
)
from yolor_cfg.report.picture.columns import MARGIN
from yolor_cfg.report.picture.layout import Arrangement, Card, Rectangle, Spot, Wire
from yolor_cfg.report.picture.types import LINK_NAMES, NEXT, ROLE_NAMES, Layer
from yolor_cfg.report.picture.wires import Point

CORNER = 4.0
"""The radius of the bends of a line."""
NAME_X, NARROW, WIDE = 33.0, 6.2, 6.7
"""Where the name of a layer starts in it; the widths of a letter and of a digit, to fit texts."""
TITLE, LEGEND, LEAST_WIDTH = 60.0, 24.0, 560.0
"""In a file of its own: the height of the title above the network, of a line of the legend below it."""
BASE_RULES = (
    f"text {{ font-family: {FONT}; font-size: 11px; }}",
    ".title { font-size: 12px; font-weight: 600; }",
    ".heading { font-size: 19px; font-weight: 600; }",
    ".right { text-anchor: end; }",
    ".number { font-size: 9.5px; text-anchor: end; opacity: .62; }",
    ".head .name { font-weight: 700; }",
    ".card, .body { stroke-width: 1; }",
    ".head .body { stroke-width: 2; }",
    ".link { fill: none; stroke-width: 1.6; }",
    ".link.knowledge { stroke-dasharray: 5 2.5; }",
    ".link.weights { stroke-dasharray: 1.5 2.5; }",
)


def draw_svg(arranged: Arrangement) -> str:
    """The picture with its title and a legend, in the colours that the viewer prefers, as an SVG file."""
    width = max(arranged.width, LEAST_WIDTH)
    rows = _arrange_legend(arranged, width - 2 * MARGIN)
    picture = arranged.picture
    totals = " · ".join(f"{name} {value}" for name, value in picture.totals)
    parts = [
        wrap("title", plain(picture.title)),
        write_style([*BASE_RULES, *theme_rules(LIGHT)], theme_rules(DARK)),
        wrap("rect", class_="ground", width="100%", height="100%"),
        _write_text("heading", (MARGIN, 36), picture.title),
        _write_text("faint", (MARGIN, 58), totals),
        draw_tips(),
        f'<g transform="translate(0 {TITLE:g})">\n{draw_network(arranged)}\n</g>',
        *(
            f'<g transform="translate({MARGIN:g} {arranged.height + TITLE + LEGEND * place:g})">{row}</g>'
            for place, row in enumerate(rows)
        ),
    ]
    return wrap_svg(width, arranged.height + TITLE + LEGEND * len(rows), parts)


def style_rules(theme: Theme) -> str:
    """The style sheet of a picture in these colours."""
    return "\n".join([*BASE_RULES, *theme_rules(theme)])


def theme_rules(theme: Theme, scope: str = "") -> list[str]:
    """The rules that give everything below `scope` these colours."""
    shades = zip(theme.shades, theme.shade_texts, strict=True)
    rules = {
        ".ground": f"fill: {theme.ground}",
        "text": f"fill: {theme.text}",
        ".card": f"fill: {theme.card}; stroke: {theme.edge}",
        ".faint": f"fill: {theme.faint}",
        ".body": f"stroke: {theme.edge}",
        **{f".c{shade} .body": f"fill: {color}" for shade, (color, _) in enumerate(shades)},
        **{f".c{shade} text": f"fill: {color}" for shade, color in enumerate(theme.shade_texts)},
        ".implicit .body": f"fill: {theme.implicit}; stroke: {theme.implicit_edge}",
        ".head .body": f"stroke: {theme.head_edge}",
        **{f".link.{kind}": f"stroke: {color}" for kind, color in theme.links.items()},
        **{f".tip.{kind}": f"fill: {color}" for kind, color in theme.links.items()},
    }
    return [f"{scope}{selector} {{ {values}; }}" for selector, values in rules.items()]


def draw_tips() -> str:
    """The arrowheads that lines refer to."""
    tips = (
        f'<marker id="tip-{kind}" viewBox="0 0 6 6" refX="5.4" refY="3" markerWidth="6" markerHeight="6"'
        f' markerUnits="userSpaceOnUse" orient="auto"><path class="tip {kind}" d="M0 0L6 3L0 6z"/></marker>'
        for kind in LINK_NAMES
    )
    return f"<defs>{''.join(tips)}</defs>"


def draw_network(arranged: Arrangement) -> str:
    """Cards, lines and layers, without a title."""
    picture = arranged.picture
    most = picture.largest_share or 1.0
    return "\n".join(
        [
            *map(_draw_card, arranged.cards),
            *(_draw_line(line) for line in sorted(arranged.lines, key=lambda line: line.link.kind != NEXT)),
            *(_draw_layer(spot, picture.tasks, find_shade(spot.layer, most)) for spot in arranged.spots),
        ]
    )


def _draw_card(card: Card) -> str:
    x, y, width, height = card.box
    stage, is_continued = card.piece.stage, card.piece.is_continued
    title = stage.title + (" (continued)" if is_continued else "")
    told = "" if is_continued else ", ".join(filter(None, (stage.size, format_share(stage.share))))
    parts = [
        f'<rect class="card" {_write_box(card.box)} rx="7"/>',
        f'<path d="M{x + 7:g} {y:g}h{width - 14:g}" stroke="{stride_color(stage.stride)}" stroke-width="4"/>',
        _write_text("title", (x + 9, y + 21), title),
        _write_text("faint right", (x + width - 9, y + 21), told),
    ]
    return f"<g>{''.join(parts)}</g>"


def _write_box(box: Rectangle) -> str:
    return f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'


def _write_text(kind: str, place: Point, text: str) -> str:
    return f'<text class="{kind}" x="{place[0]:g}" y="{place[1]:g}">{plain(text)}</text>'


def format_share(share: float) -> str:
    """`12 %`, `0.3 %`; nothing for 0."""
    return (
        "" if not share else "<0.1 %" if share < 0.0005 else f"{100 * share:.2g} %" if share < 1 else "100 %"
    )


def _draw_line(line: Wire) -> str:
    link = line.link
    tip = "" if len(line.points) == 2 else f' marker-end="url(#tip-{link.kind})"'
    ends = f'data-source="{link.source}" data-target="{link.target}"'
    return f'<path class="link {link.kind}" {ends} d="{_bend(line.points)}"{tip}/>'


def _bend(points: Sequence[Point]) -> str:
    """The data of a path along these points, its corners rounded."""
    (x, y), *rest = points
    parts = [f"M{x:g} {y:g}"]
    for corner, after in zip(rest[:-1], rest[1:], strict=True):
        before, beyond = _toward(corner, (x, y)), _toward(corner, after)
        parts.append(f"L{before[0]:g} {before[1]:g}Q{corner[0]:g} {corner[1]:g} {beyond[0]:g} {beyond[1]:g}")
        x, y = corner
    return "".join(parts) + f"L{rest[-1][0]:g} {rest[-1][1]:g}"


def _toward(corner: Point, other: Point) -> Point:
    """A point near a corner on the way to another one."""
    (x, y), (to_x, to_y) = corner, other
    length = abs(to_x - x) + abs(to_y - y)  # lines are level or upright
    part = min(CORNER, length / 2) / length if length else 0.0
    return x + part * (to_x - x), y + part * (to_y - y)


def _draw_layer(spot: Spot, tasks: tuple[str, ...], shade: int) -> str:
    layer, (x, y, width, height) = spot
    middle, shape = y + height / 2 + 4, str(layer.shape)
    room = width - NAME_X - 7
    if layer.folded and NARROW * len(layer.name) + WIDE * len(shape) + 7 > room:
        shape = ""  # it is that of the layers around
    name = _shorten(layer.name, (room - 7 * bool(shape) - WIDE * len(shape)) / NARROW)
    parts = [
        f"<title>{plain(describe_layer(layer))}</title>",
        *([f'<rect class="body" {_write_box(spot.box._replace(y=y + 3))} rx="4"/>'] if layer.folded else []),
        f'<rect class="body" {_write_box(spot.box)} rx="4"/>',
        *_draw_tasks(spot, tasks),
        _write_text("number", (x + NAME_X - 6, middle - 0.5), "" if layer.number < 0 else str(layer.number)),
        _write_text("name", (x + NAME_X, middle), name),
        _write_text("right", (x + width - 7, middle), shape),
    ]
    return f'<g class="layer {layer.role} c{shade}" data-number="{layer.number}">{"".join(parts)}</g>'


def _draw_tasks(spot: Spot, tasks: tuple[str, ...]) -> Iterator[str]:
    """A stripe at the left edge, divided among the tasks that the layer serves."""
    layer, (x, y, _, height) = spot
    part = (height - 4) / max(len(layer.tasks), 1)
    for place, task in enumerate(layer.tasks):
        top = y + 2 + place * part
        color = task_color(tasks, task)
        yield f'<rect x="{x + 2:g}" y="{top:g}" width="5" height="{part:g}" fill="{color}"/>'


def describe_layer(layer: Layer) -> str:
    """One line: `#12 convolutional 3x3/2, 64x320x320, 1,887,436,800 multiply-adds (2.3 %)`."""
    cost = f"{layer.macs:,} multiply-adds ({format_share(layer.share)})" if layer.macs else ""
    return ", ".join(filter(None, (*layer.lines, ROLE_NAMES.get(layer.role, ""), cost)))


def _shorten(text: str, most: float) -> str:
    return text if len(text) <= most else text[: max(int(most) - 1, 1)] + "…"


def _arrange_legend(arranged: Arrangement, width: float) -> list[str]:
    """The rows of the legend, none wider than the picture."""
    rows, x = [""], 0.0
    for sample, size, words in legend_items(arranged):
        needed = size + 6 + NARROW * len(words)
        if x and x + needed > width:
            rows, x = [*rows, ""], 0.0
        text = f'<text x="{size + 6:g}" y="4">{plain(words)}</text>'
        rows[-1] += f'<g transform="translate({x:g} 0)">{sample}{text}</g>'
        x += needed + 22
    return rows


def legend_items(arranged: Arrangement) -> Iterator[tuple[str, float, str]]:
    """Samples of what the picture has: SVG around y=0, its width, what it means."""
    picture = arranged.picture
    shades = "".join(
        f'<g class="c{shade}"><rect class="body" x="{14 * shade}" y="-7" width="14" height="14"/></g>'
        for shade in range(SHADES + 1)
    )
    yield shades, 14.0 * (SHADES + 1), f"multiply-adds, 0 to {format_share(picture.largest_share) or '0 %'}"
    roles = {layer.role for layer in picture.layers}
    for role, name in ROLE_NAMES.items():
        if role in roles:
            box = '<rect class="body" y="-7" width="24" height="14" rx="3"/>'
            yield f'<g class="{role} c0">{box}</g>', 24.0, name
    for kind, name in LINK_NAMES.items():
        if any(link.kind == kind for link in picture.links):
            yield f'<path class="link {kind}" d="M0 0h24"/>', 24.0, name
    for task in picture.tasks:
        yield (
            f'<rect y="-7" width="6" height="14" fill="{task_color(picture.tasks, task)}"/>',
            6.0,
            f"task {task}",
        )
