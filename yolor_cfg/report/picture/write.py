"""A graph as a picture in a file, in the format that its name tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from yolor_cfg.errors import YolorError
from yolor_cfg.files import replace_file
from yolor_cfg.graph import Graph
from yolor_cfg.report.picture.describe import describe_picture
from yolor_cfg.report.picture.dot import write_dot
from yolor_cfg.report.picture.layout import arrange
from yolor_cfg.report.picture.mermaid import write_mermaid
from yolor_cfg.report.picture.page import draw_page
from yolor_cfg.report.picture.svg import draw_svg
from yolor_cfg.report.picture.types import Picture

FORMATS: Mapping[str, Callable[[Picture], str]] = {
    ".html": draw_page,
    ".svg": lambda picture: draw_svg(arrange(picture)),
    ".dot": write_dot,
    ".mermaid": write_mermaid,
    ".mmd": write_mermaid,
}
"""By the end of the file's name."""


def draw_picture(graph: Graph, suffix: str) -> str:
    """The text of the picture in a format: one of FORMATS."""
    return FORMATS[suffix](describe_picture(graph))


def write_picture(graph: Graph, path: Path, *, force: bool = False) -> None:
    """Write the picture, whole or not at all; raises YolorError where a file exists, unless forced."""
    text = draw_picture(graph, path.suffix.lower())
    replace_file(path, lambda file: file.write(text.encode()), fault=YolorError, force=force)
