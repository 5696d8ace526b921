"""The parts of the page that shows several runs side by side; the others are compared with the first, A."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from yolor_cfg.lang.text_diff import unified_diff
from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.curves import Curve, Plot, Plots, palette_color
from yolor_cfg.report.run.details import describe_times, format_option
from yolor_cfg.report.run.figures import class_figures, run_figures, run_speeds
from yolor_cfg.report.run.markup import (
    Cell,
    PagePart,
    change_of,
    fold_content,
    paragraph,
    write_table,
)
from yolor_cfg.report.run.read import RunFiles, object_of
from yolor_cfg.report.run.training import MAX_POINTS, column_names, is_loss

MOST_DIFF_LINES = 400
NamedValues = Mapping[str, Any]


def list_comparison(runs: Sequence[RunFiles], plots: Plots) -> Iterator[PagePart]:
    """All parts, in their order."""
    yield PagePart("Runs", lambda: list_runs(runs))
    yield PagePart("Figures", lambda: compare_figures(runs))
    yield PagePart("Curves of training", lambda: _draw_training(runs, plots))
    yield PagePart("Precision and recall", lambda: _draw_tests(runs, plots))
    yield PagePart("Classes", lambda: compare_classes(runs))
    yield PagePart("Speed", lambda: compare_speeds(runs))
    yield PagePart("What differs", lambda: list_differences(runs))
    yield PagePart("The cfgs", lambda: compare_cfgs(runs))


def letters(count: int) -> list[str]:
    """A, B, C ... for so many runs; beyond Z with a number."""
    return [
        ascii_uppercase[place % 26] + (str(place // 26 + 1) if place >= 26 else "") for place in range(count)
    ]


def list_runs(runs: Sequence[RunFiles]) -> str:
    """A row for each run."""
    rows = []
    for place, (letter, run) in enumerate(zip(letters(len(runs)), runs, strict=True)):
        swatch = wrap("i", style=f"background:{palette_color(place)}", class_="swatch")
        last = run.sessions[-1] if run.sessions else {}
        rows.append(
            [
                Cell(swatch + plain(letter), letter),
                run.name,
                run.kind,
                describe_times(last) or "–",
                last.get("command") or "–",
            ]
        )
    return write_table(("", "run", "kind", "when", "command"), rows)


def compare_figures(runs: Sequence[RunFiles]) -> str:
    """The figures of each run."""
    note = "Of a training, the figures of its best epoch; figures that no column names are those of its test."
    found = _compare_numbers([run_figures(run) for run in runs], is_score=True)
    return found + paragraph(note, "note") if found else ""


def compare_speeds(runs: Sequence[RunFiles]) -> str:
    """Times and memory of each run."""
    return _compare_numbers([run_speeds(run) for run in runs], is_score=False)


def _compare_numbers(found: Sequence[Mapping[str, float]], *, is_score: bool) -> str:
    """A row for each figure: its value in each run, and how the others differ from A."""
    names = dict.fromkeys(name for one in found for name in one)
    rows = [[name, *_compare([one.get(name) for one in found], is_score)] for name in names]
    return write_table(("figure", *_difference_header(len(found))), rows) if rows else ""


def _difference_header(count: int) -> list[str]:
    named = letters(count)
    return [*named, *(f"{letter} − A" for letter in named[1:])]


def _compare(values: Sequence[float | None], is_score: bool) -> list[object]:
    first = values[0]
    differences = [None if one is None or first is None else one - first for one in values[1:]]
    return [*values, *(change_of(one, is_score=is_score) for one in differences)]


def class_differences(runs: Sequence[RunFiles]) -> list[tuple[str, list[float | None]]]:
    """The AP of each class in each run, those that differ most from A first."""
    found = [class_figures(run) for run in runs]
    names = dict.fromkeys(name for one in found for name in one)
    rows = [(name, [one.get(name) for one in found]) for name in names]
    return sorted(rows, key=lambda row: -_largest_change(row[1]))


def _largest_change(values: Sequence[float | None]) -> float:
    first = values[0]
    return max((abs(one - first) for one in values[1:] if one is not None and first is not None), default=-1)


def compare_classes(runs: Sequence[RunFiles]) -> str:
    """The AP of each class, the largest differences first."""
    rows = [[name, *_compare(values, is_score=True)] for name, values in class_differences(runs)]
    header = ("class: AP", *_difference_header(len(runs)))
    return write_table(header, rows, sortable=True, id_="classes") if rows else ""


def _draw_training(runs: Sequence[RunFiles], plots: Plots) -> str:
    """The curves of each column that two runs have, over each other."""
    rows = [run.rows for run in runs]
    names = list(dict.fromkeys(name for one in rows for name in column_names(one)))
    shared = [name for name in names if sum(any(name in row for row in one) for one in rows) > 1]
    drawn = [_draw_column(runs, plots, name) for name in shared]
    return wrap("div", "".join(drawn), class_="row") if drawn else ""


def _draw_column(runs: Sequence[RunFiles], plots: Plots, name: str) -> str:
    shown = [run.shown_rows for run in runs]
    x = sorted({row["epoch"] for rows in shown for row in rows if name in row})
    curves = []
    for place, (letter, run) in enumerate(zip(letters(len(runs)), runs, strict=True)):
        values = {row["epoch"]: row[name] for row in shown[place] if name in row}
        if values:
            y = [values.get(at) for at in x]
            curves.append(Curve(f"{letter} {run.name}", y, palette_color(place)))
    present = [value for curve in curves for value in curve.y if value is not None]
    span = (0.0, 1.0) if not is_loss(name) and all(0 <= value <= 1 for value in present) else None
    return plots.add(Plot(name, "epoch", x, curves, span=span, points=len(x) <= MAX_POINTS))


MEANS = (
    ("PR", "precision by recall at IoU 0.5, mean of all classes", "recall"),
    ("F1", "F1 by confidence, mean of all classes", "confidence"),
)


def _draw_tests(runs: Sequence[RunFiles], plots: Plots) -> str:
    """The mean curves of the first test of each run."""
    found = [_first_curves(run) for run in runs]
    known = [one for one in found if one]
    if len(known) < 2:
        return ""
    titles = [f"{letter} {run.name}" for letter, run in zip(letters(len(runs)), runs, strict=True)]
    drawn = []
    for word, title, axis in MEANS:
        means = [one["mean"][word] if one else [] for one in found]
        lines = [Curve(titles[i], y, palette_color(i)) for i, y in enumerate(means) if y]
        drawn.append(plots.add(Plot(title, axis, known[0]["axis"], lines, span=(0, 1))))
    return wrap("div", "".join(drawn), class_="row")


def _first_curves(run: RunFiles) -> dict[str, Any]:
    boxes = object_of(run.tests[0].get("boxes")) if run.tests else {}
    return object_of(boxes.get("curves"))


def find_differences(runs: Sequence[RunFiles]) -> dict[str, dict[str, list[Any]]]:
    """What is not the same in all runs: by kind (options, hyperparameters ...) and name, the values."""
    kinds: dict[str, list[NamedValues]] = {
        "options": [run.options for run in runs],
        "hyperparameters": [object_of(run.record.get("hyp")) for run in runs],
        "optimizer": [object_of(run.record.get("optimizer")) for run in runs],
        "data": [_describe_data(run) for run in runs],
        "environment": [run.environment for run in runs],
    }
    found = {kind: _different_values(values) for kind, values in kinds.items()}
    return {kind: values for kind, values in found.items() if values}


def _different_values(values: Sequence[NamedValues]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in values for name in one)
    rows = {name: [_unpack_single(one.get(name)) for one in values] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _unpack_single(value: Any) -> Any:
    """A list of one value as that value: trainings record `--data` so, tests as a list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _describe_data(run: RunFiles) -> dict[str, Any]:
    """What is in the data sets of a run, in plain values."""
    listed = {"train": object_of(run.record.get("data")), "held out": object_of(run.record.get("holdout"))}
    if run.kind == "test":
        listed = {str(test.get("name") or "test"): object_of(test.get("data")) for test in run.tests}
    words_of = ("origin", "images", "labels", "unlabeled")
    return {
        f"{kind}: {word}": found[word] for kind, found in listed.items() for word in words_of if word in found
    }


def list_differences(runs: Sequence[RunFiles]) -> str:
    """A table for each kind of thing that differs."""
    parts = []
    for kind, found in find_differences(runs).items():
        rows = [
            [name.replace("_", "-"), *(format_option(value) for value in values)]
            for name, values in found.items()
        ]
        parts.append(wrap("h3", plain(kind)) + write_table(("", *letters(len(runs))), rows))
    same = "Options, hyperparameters, data and environment are the same, as far as they are recorded."
    return "".join(parts) or paragraph(same, "note")


def compare_cfgs(runs: Sequence[RunFiles]) -> str:
    """The difference of each cfg from that of A."""
    parts = []
    first = runs[0].cfg.splitlines()
    for letter, run in list(zip(letters(len(runs)), runs, strict=True))[1:]:
        if not run.cfg or not first:
            continue
        lines = list(unified_diff(first, run.cfg.splitlines(), ("A", letter)))
        cut = [f"... {len(lines) - MOST_DIFF_LINES} more lines"] if len(lines) > MOST_DIFF_LINES else []
        shown = "".join(map(_color_line, [*lines[:MOST_DIFF_LINES], *cut]))
        same = paragraph(f"{letter}: the same cfg as A.", "note")
        parts.append(
            fold_content(f"{letter} against A", wrap("pre", shown, class_="diff")) if lines else same
        )
    return "".join(parts)


def _color_line(line: str) -> str:
    kind = {"+": "up", "-": "down"}.get(line[:1])
    return wrap("span", plain(line) + "\n", class_=kind)
