"""A chart and its table as one HTML file with nothing to load."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from yolor_cfg.report.elements import FONT, plain, wrap
from yolor_cfg.report.picture.colors import DARK, LIGHT, Theme
from yolor_cfg.report.scatter.svg import write_svg
from yolor_cfg.report.scatter.types import Drawing

PAGE_RULES = f"""\
body {{ font: 14px {FONT}; margin: 24px auto; max-width: 1440px; padding: 0 16px;
  background: var(--ground); color: var(--text); }}
svg {{ max-width: 100%; height: auto; border: 1px solid var(--edge); border-radius: 8px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 20px 0; white-space: nowrap;
  font-variant-numeric: tabular-nums; }}
th, td {{ padding: 5px 10px; border-bottom: 1px solid var(--edge); text-align: right; }}
th {{ color: var(--faint); font-weight: 600; }}
.words {{ text-align: left; }}
p {{ color: var(--faint); }}"""


def write_page(
    scene: Drawing, rows: Sequence[Sequence[str]], *, words: Collection[int], notes: Sequence[str] = ()
) -> str:
    """The text of the file: the chart, `rows` of a table under the first of them, those in `words` to the
    left, and notes."""
    head, *body = rows
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            wrap("title", plain(scene.title)),
            f"<style>\n:root {{ {_variables(LIGHT)} }}",
            f"@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {_variables(DARK)} }} }}",
            f"{PAGE_RULES}\n</style></head><body>",
            write_svg(scene),
            '<div class="wide"><table>',
            f"<thead>{_write_row(head, 'th', words)}</thead>",
            "<tbody>",
            *(_write_row(row, "td", words) for row in body),
            "</tbody></table></div>",
            *(wrap("p", plain(note)) for note in notes),
            "</body></html>\n",
        ]
    )


def _variables(theme: Theme) -> str:
    return f"--ground: {theme.ground}; --text: {theme.text}; --edge: {theme.edge}; --faint: {theme.faint};"


def _write_row(cells: Sequence[str], kind: str, words: Collection[int]) -> str:
    written = (
        wrap(kind, plain(cell), class_="words" if place in words else None)
        for place, cell in enumerate(cells)
    )
    return wrap("tr", "".join(written))
