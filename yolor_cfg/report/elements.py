"""Elements of HTML and SVG from values; all text is escaped here, so no page writes a value by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from yolor_cfg.errors import printable

FONT = "Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif"


def plain(value: object) -> str:
    """Any value as text of an element, or of an attribute in double quotes."""
    return escape(printable(str(value)).translate(NO_CHARACTERS))


NO_CHARACTERS = {code: f"\\u{code:04x}" for code in (0xFFFE, 0xFFFF)}
"""XML has no place for them, unlike all others that `printable` leaves."""


def wrap(name: str, content: str = "", **attributes: object) -> str:
    """An element around HTML; an attribute `class_` is `class`, `data_sort` is `data-sort`."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{plain(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{words}>{content}</{name}>"


def wrap_svg(width: float, height: float, parts: Sequence[str]) -> str:
    """A drawing of this size in pixels, as a file or as a part of a page."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', *parts, "</svg>\n"])


def write_style(light: Sequence[str], dark: Sequence[str]) -> str:
    """The style sheet of a drawing: its rules, and those for viewers who prefer dark ground."""
    rules, others = "\n".join(light), "\n".join(dark)
    return f"<style>\n{rules}\n@media (prefers-color-scheme: dark) {{\n{others}\n}}\n</style>"
