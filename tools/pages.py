"""Pages of docs/ that a program writes: their tables in Markdown, and whether they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def format_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table; cells may hold any text."""
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for row in rows:
        cells = [" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in row]
        yield f"| {' | '.join(cells)} |\n"


def update_page(page: Path, fresh: str, *, tool: str, check: bool) -> None:
    """Write the page where its text is another one; with `check` exit instead, and name the tool."""
    if page.exists() and page.read_text(encoding="utf-8") == fresh:
        return
    if check:
        sys.exit(f"{page.name} is out of date; run python tools/{tool}.py")
    page.write_text(fresh, encoding="utf-8")
