"""`yolor info --graph`: the network as a picture in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import TextParam, is_on, print_stderr

if TYPE_CHECKING:
    from yolor_cfg.graph import Graph

SUFFIXES = (".html", ".svg", ".dot", ".mermaid", ".mmd")


class PictureFile(TextParam):
    """A file name that ends in one of SUFFIXES."""

    name = "file"

    def parse(self, text: str) -> Path:
        """The path."""
        path = Path(text)
        if path.suffix.lower() not in SUFFIXES or text.endswith(("/", "\\")):
            raise ValueError(f"{text!r} is no picture: end the name in {', '.join(SUFFIXES)}.")
        return path


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--graph` and the leave to overwrite its file."""
    force = click.option("--force", is_flag=True, help="Overwrite the file of --graph.")
    graph = click.option(
        "--graph",
        "picture",
        type=PictureFile(),
        metavar="FILE",
        help="Draw the network: a page with search and details (.html), an image (.svg), text for Graphviz "
        "(.dot) or Mermaid (.mermaid, .mmd). Of the table only the totals are printed then.",
    )
    return graph(force(command))


def save_picture(graph: Graph, path: Path, *, force: bool) -> None:
    """Write the picture and say so."""
    from yolor_cfg.report.picture.write import write_picture

    write_picture(graph, path, force=force)
    if not is_on("quiet"):
        print_stderr(f"{path}: written", "green")
