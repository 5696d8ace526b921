"""A page from its parts: one HTML file with the style, the scripts and the numbers, and nothing to load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from yolor_cfg.report.run.album import Album
from yolor_cfg.report.run.compare import compare_sections
from yolor_cfg.report.run.curves import Plots
from yolor_cfg.report.run.details import detail_sections, list_numbers, unread
from yolor_cfg.report.run.markup import DAMAGES, PagePart, list_lines, paragraph, plain, wrap
from yolor_cfg.report.run.read import RunFiles
from yolor_cfg.report.run.testing import Part, test_sections
from yolor_cfg.report.run.training import training_sections
from yolor_cfg.runs import RECORD, replace_nan

FILES = {
    "UPLOT_CSS": "uplot.css",
    "CSS": "report.css",
    "LICENSE": "uplot-license.txt",
    "UPLOT": "uplot.js",
    "SCRIPT": "report.js",
}
"""What of the page is the same for all runs."""
KINDS = {"train": "Training", "test": "Test"}


def draw_run(run: RunFiles) -> str:
    """The page of one run. A part whose record is damaged says so; the others are there."""
    plots = Plots()
    start = str(run.environment.get("folder") or run.record.get("folder") or "")
    album = Album([Path(start)] if start else [])
    sections: list[PagePart] = [*training_sections(run, plots, album)] if run.kind == "train" else []
    for place, found in enumerate(run.tests):
        sections += _title_tests(run, test_sections(Part(found, plots, album, place)))
    sections += detail_sections(run)
    built = build_sections(sections)
    more = f"{album.left_out} images are left out: the page is full." if album.left_out else ""
    return fill_page(f"{KINDS[run.kind]} {run.name}", [run], built, plots=plots, note=more)


def _title_tests(run: RunFiles, sections: Iterable[PagePart]) -> list[PagePart]:
    """In the page of a training, what was found belongs to its best network."""
    start = "Best network: " if run.kind == "train" else ""
    return [section._replace(title=start + section.title) for section in sections]


def draw_comparison(runs: Sequence[RunFiles]) -> str:
    """The page of several runs side by side."""
    plots = Plots()
    built = build_sections(compare_sections(runs, plots))
    return fill_page(f"{len(runs)} runs", runs, built, plots=plots)


def build_sections(sections: Iterable[PagePart]) -> list[tuple[str, str]]:
    """The titles and contents of those that have any."""
    made = [(section.title, build_section(section)) for section in sections]
    return [(title, content) for title, content in made if content]


def build_section(section: PagePart) -> str:
    """The content of a part; where the record is not as it was written, a line that says so."""
    try:
        return section.build()
    except DAMAGES as fault:
        return paragraph(
            f"This part cannot be shown: {RECORD} is damaged ({type(fault).__name__}: {fault}).", "bad"
        )


def fill_page(
    title: str, runs: Sequence[RunFiles], sections: Sequence[tuple[str, str]], *, plots: Plots, note: str = ""
) -> str:
    """The whole page."""
    problems = unread(runs)
    warned = wrap("div", list_lines(problems), class_="bad") if problems else ""
    parts = {
        "TITLE": plain(title),
        "SUBTITLE": plain("; ".join(str(run.folder.resolve()) for run in runs)),
        "CONTENTS": "".join(
            wrap("a", plain(name), href=f"#part-{place}") for place, (name, _) in enumerate(sections)
        ),
        "PROBLEMS": warned + (paragraph(note, "note") if note else ""),
        "SECTIONS": "\n".join(
            wrap("section", wrap("h2", plain(name)) + content, id=f"part-{place}")
            for place, (name, content) in enumerate(sections)
        ),
        "FACTS": write_facts(runs, plots),
        **{name: read_part(file) for name, file in FILES.items()},
    }
    pieces = read_part("report.html").split("@")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def write_facts(runs: Sequence[RunFiles], plots: Plots) -> str:
    """The numbers of the page as JSON, which no text in it can leave."""
    facts: dict[str, Any] = {
        "plots": plots.made,
        "tables": plots.tables,
        "runs": [
            {"name": run.name, "kind": run.kind, "rows": run.rows, "tests": list_numbers(run)} for run in runs
        ],
    }
    text = json.dumps(replace_nan(facts), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode().replace("<", "\\u003c")


@cache
def read_part(name: str) -> str:
    """A file of the page's own folder."""
    return (resources.files("yolor_cfg.report.run") / "page" / name).read_text(encoding="utf-8")
