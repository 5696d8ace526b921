"""A chart as SVG, in the colours that the viewer prefers."""

from __future__ import annotations

from html import escape

from yolor_cfg.errors import printable
from yolor_cfg.report.picture.colors import DARK, LIGHT, Theme
from yolor_cfg.report.picture.svg import FONT
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
    dark = "\n".join(_theme_rules(DARK))
    rules = "\n".join([*RULES, *_theme_rules(LIGHT)])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {scene.width:g} {scene.height:g}"'
            f' width="{scene.width:g}" height="{scene.height:g}" role="img">',
            f"<title>{_quote(scene.title)}</title>",
            f"<style>\n{rules}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n</style>",
            '<rect class="ground" width="100%" height="100%"/>',
            *map(_write_stroke, scene.strokes),
            *map(_write_dot, scene.dots),
            *map(_write_words, scene.words),
            "</svg>\n",
        ]
    )


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


def _quote(text: str) -> str:
    return escape(printable(text))


def _write_stroke(stroke: Stroke) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in stroke.points)
    color = f' stroke="{stroke.color}"' if stroke.color else ""
    return f'<path class="stroke {stroke.kind}" d="M{path}"{color}/>'


def _write_dot(dot: Dot) -> str:
    kind, fill = ("disc", f' fill="{dot.color}"') if dot.is_filled else ("ring", "")
    place = f'cx="{dot.x:.1f}" cy="{dot.y:.1f}" r="{RADIUS - 1:g}"'
    role = "mark" if dot.told else "sample"
    told = f"<title>{_quote(dot.told)}</title>" if dot.told else ""
    return (
        f'<circle class="{role} {kind}" {place} stroke="{dot.color}" stroke-width="2"{fill}>{told}</circle>'
    )


def _write_words(words: Words) -> str:
    place = f'x="{words.x:.1f}" y="{words.y:.1f}"'
    anchor = "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
    turn = f' transform="rotate(-90 {words.x:g} {words.y:g})"' if words.is_upright else ""
    return f'<text class="{words.kind}" {place}{anchor}{turn}>{_quote(words.text)}</text>'
