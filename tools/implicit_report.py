"""Write the tables and pictures of docs/implicit.md from the rows in docs/experiments.

    python tools/implicit_report.py [--check]

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from implicit_pictures import CHARTS
from implicit_task_tables import BLOCKS
from readme_tables import replace_table

from yolor_cfg.report.figures import can_draw, render_chart
from yolor_cfg.runs import save_image

DOCUMENT = Path("docs/implicit.md")


def fill_document(text: str) -> str:
    """The document with fresh tables."""
    for name, make in BLOCKS.items():
        text = replace_table(text, name, "\n" + "".join(f"{line}\n" for line in make()) + "\n")
    return text


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="write nothing; exit 1 if a table is out of date")
def main(check: bool) -> None:
    """Write tables and pictures."""
    text = DOCUMENT.read_text(encoding="utf-8")
    fresh = fill_document(text)
    if check:
        sys.exit(fresh != text)
    DOCUMENT.write_text(fresh, encoding="utf-8")
    for name, chart in CHARTS.items() if can_draw() else ():
        save_image(Path(f"docs/implicit-{name}.png"), render_chart(chart))


if __name__ == "__main__":
    main()
