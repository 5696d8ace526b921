"""A chart as SVG, in the colours that the viewer prefers."""

from __future__ import annotations

from yolor_cfg.report.elements import FONT, plain, wrap, wrap_svg, write_style
from yolor_cfg.report.picture.colors import DARK, LIGHT, Theme
from yolor_cfg.report.scatter.labels import RADIUS
from yolor_cfg.report.scatter.types import Dot, Drawing, Stroke, Words

RULES = (
    f"text {{ font-family: {FONT}; font-size: 12px; }}",
    ".heading { font-size: 19px; font-weight: 600; }",
    ".axis { font-size: 13px; }",
    ".name { font-size: 12px; }",
    ".stroke { fill: none; }",
    ".stroke.front { stroke-width: 2; opacity: .55; }",
    ".stroke.leader { stroke-width: .8; }",
    ".mark { stroke-width: 2; }",
    ".mark:hover { stroke-width: 5; }",
)


def write_svg(scene: Drawing) -> str:
    """The text of the file."""
    parts = [
        wrap("title", plain(scene.title)),
        write_style([*RULES, *_theme_rules(LIGHT)], _theme_rules(DARK)),
        wrap("rect", class_="ground", width="100%", height="100%"),
        *map(_write_stroke, scene.strokes),
        *map(_write_dot, scene.dots),
        *map(_write_words, scene.words),
    ]
    return wrap_svg(scene.width, scene.height, parts)


def _theme_rules(theme: Theme) -> list[str]:
    return [
        f".ground {{ fill: {theme.card}; }}",
        f"text {{ fill: {theme.text}; }}",
        f".faint, .tick {{ fill: {theme.faint}; }}",
        f".stroke.grid {{ stroke: {theme.edge}; stroke-opacity: .6; }}",
        f".stroke.axis {{ stroke: {theme.faint}; }}",
        f".stroke.leader {{ stroke: {theme.faint}; }}",
        f".ring {{ fill: {theme.card}; }}",
    ]


def _write_stroke(stroke: Stroke) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in stroke.points)
    return wrap("path", class_=f"stroke {stroke.kind}", d=f"M{path}", stroke=stroke.color or None)


def _write_dot(dot: Dot) -> str:
    kind = f"{'mark' if dot.told else 'sample'} {'disc' if dot.is_filled else 'ring'}"
    place = {"cx": f"{dot.x:.1f}", "cy": f"{dot.y:.1f}", "r": f"{RADIUS - 1:g}"}
    colors = {"stroke": dot.color, "stroke_width": 2, "fill": dot.color if dot.is_filled else None}
    return wrap("circle", wrap("title", plain(dot.told)) if dot.told else "", class_=kind, **place, **colors)


def _write_words(words: Words) -> str:
    place = {"x": f"{words.x:.1f}", "y": f"{words.y:.1f}"}
    anchor = None if words.anchor == "start" else words.anchor
    turn = f"rotate(-90 {words.x:g} {words.y:g})" if words.is_upright else None
    return wrap("text", plain(words.text), class_=words.kind, **place, text_anchor=anchor, transform=turn)
