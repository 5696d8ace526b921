"""A page from its parts: one HTML file with the style, the scripts and the numbers, and nothing to load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache, partial
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.album import Album
from yolor_cfg.report.run.bench import list_bench
from yolor_cfg.report.run.compare import list_comparison
from yolor_cfg.report.run.curves import Plots
from yolor_cfg.report.run.details import list_details, list_numbers, list_problems
from yolor_cfg.report.run.markup import (
    DAMAGES,
    PagePart,
    list_lines,
    paragraph,
)
from yolor_cfg.report.run.read import BENCH, RunFiles
from yolor_cfg.report.run.testing import Part, list_test_parts
from yolor_cfg.report.run.training import describe_data, list_training_parts
from yolor_cfg.runs import RECORD, replace_nan

FILES = {
    "UPLOT_CSS": "uplot.css",
    "CSS": "report.css",
    "LICENSE": "uplot-license.txt",
    "UPLOT": "uplot.js",
    "SCRIPT": "report.js",
}
"""What of the page is the same for all runs."""
MOST_PAGE, SPARE = 5_000_000, 10_000
"""The most characters of a page, and room for words about what is left out."""
KINDS = {"train": "Training", "test": "Test", BENCH: "Speed:"}


class BuiltPart(NamedTuple):
    """A part of the page with its content."""

    group: str
    title: str
    content: str


def draw_run(run: RunFiles) -> str:
    """The page of one run. A part whose record is damaged says so; the others are there."""
    album = Album(find_folders(run))
    text = _draw_run(run, album)
    rest = len(text) - album.bytes
    if len(text) <= MOST_PAGE:
        return text
    return _draw_run(run, Album(find_folders(run), most=max(0, MOST_PAGE - rest - SPARE)))


def _draw_run(run: RunFiles, album: Album) -> str:
    plots = Plots()
    parts: list[PagePart] = [*list_training_parts(run, plots, album)] if run.kind == "train" else []
    for place, found in enumerate(run.tests):
        group = _name_test(run, found)
        parts += list_test_parts(Part(found, plots, album, place), group)
        if run.kind == "test" and found.get("data"):
            parts.append(PagePart("Data", partial(describe_data, found["data"]), group))
    parts += list_bench(run)
    details = list_details(run) if run.kind != BENCH else ()
    parts += (part._replace(group="How it was made") for part in details)
    built = build_parts(parts)
    more = f"{album.left_out} images are left out: the page is full." if album.left_out else ""
    return fill_page(f"{KINDS[run.kind]} {run.name}", [run], built, plots=plots, note=more)


def find_folders(run: RunFiles) -> list[Path]:
    """The folders that the paths of a run's images may start from."""
    start = str(run.environment.get("folder") or run.record.get("folder") or ".")
    named = (folder for test in run.tests for folder in test.get("folders") or [])
    return [Path(start), *(Path(start, str(folder)) for folder in named)]


def _name_test(run: RunFiles, found: dict[str, Any]) -> str:
    """The heading of what was found in a data set: in the page of a training, by its best network."""
    name = str(found.get("name") or "")
    who = "What the best network finds" if run.kind == "train" else "What it finds"
    return f"{who}: {name}" if name else who


def draw_comparison(runs: Sequence[RunFiles]) -> str:
    """The page of several runs side by side."""
    plots = Plots()
    built = build_parts(list_comparison(runs, plots))
    return fill_page(f"{len(runs)} runs", runs, built, plots=plots)


def build_parts(parts: Iterable[PagePart]) -> list[BuiltPart]:
    """The parts that have any content."""
    built = [BuiltPart(part.group, part.title, build_part(part)) for part in parts]
    return [part for part in built if part.content]


def build_part(part: PagePart) -> str:
    """The content of a part; where the record is not as it was written, a line that says so."""
    try:
        return part.build()
    except DAMAGES as fault:
        reason = f"{RECORD} is damaged ({type(fault).__name__}: {fault})"
        return paragraph(f"This part cannot be shown: {reason}.", "bad")


def fill_page(
    title: str, runs: Sequence[RunFiles], built: Sequence[BuiltPart], *, plots: Plots, note: str = ""
) -> str:
    """The whole page."""
    problems = list_problems(runs)
    warned = wrap("div", list_lines(problems), class_="bad") if problems else ""
    parts = {
        "TITLE": plain(title),
        "SUBTITLE": plain("; ".join(str(run.folder.resolve()) for run in runs)),
        "CONTENTS": write_contents(built),
        "PROBLEMS": warned + (paragraph(note, "note") if note else ""),
        "SECTIONS": write_sections(built),
        "FACTS": write_facts(runs, plots),
        **{name: read_part(file) for name, file in FILES.items()},
    }
    pieces = read_part("report.html").split("@")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def write_contents(built: Sequence[BuiltPart]) -> str:
    """Links to the parts, a line for each group."""
    lines = []
    numbered = [(part, f"#part-{place}") for place, part in enumerate(built)]
    for group, parts in groupby(numbered, key=lambda one: one[0].group):
        links = "".join(wrap("a", plain(part.title), href=href) for part, href in parts)
        lines.append(wrap("p", (wrap("b", plain(group)) if group else "") + links))
    return "".join(lines)


def write_sections(built: Sequence[BuiltPart]) -> str:
    """The parts with their headings; a group that begins has one too."""
    written, group = [], ""
    for place, part in enumerate(built):
        head = wrap("h2", plain(part.group), class_="group") if part.group != group else ""
        group = part.group
        content = wrap("h2", plain(part.title)) + part.content
        written.append(head + wrap("section", content, id=f"part-{place}"))
    return "\n".join(written)


def write_facts(runs: Sequence[RunFiles], plots: Plots) -> str:
    """The numbers of the page as JSON, which no text in it can leave."""
    facts: dict[str, Any] = {
        "plots": plots.made,
        "tables": plots.tables,
        "runs": [
            {"name": run.name, "kind": run.kind, "rows": run.shown_rows, "tests": list_numbers(run)}
            for run in runs
        ],
    }
    text = json.dumps(replace_nan(facts), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode().replace("<", "\\u003c")


@cache
def read_part(name: str) -> str:
    """A file of the page's own folder."""
    return (resources.files("yolor_cfg.report.run") / "page" / name).read_text(encoding="utf-8")
