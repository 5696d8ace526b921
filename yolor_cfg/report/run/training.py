"""The parts of the page of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yolor_cfg.report.run.album import Album, show_sheet
from yolor_cfg.report.run.curves import Curve, Plot, Plots, palette_color, rows_to_curves
from yolor_cfg.report.run.drawings import draw_bars
from yolor_cfg.report.run.markup import (
    Cell,
    Section,
    folded,
    format_number,
    format_seconds,
    list_lines,
    number,
    pairs,
    paragraph,
    table,
    tag,
    tiles,
    words,
)
from yolor_cfg.report.run.read import Row, Run, object_of

PLACE_COLUMNS = ("epoch", "updates", "lr")
LOSSES = ("loss", "box", "objectness", "classes", "labels", "identity", "joint")
LARGE = "large_"
ENDINGS = {
    "done": "finished",
    "patience": "stopped early: no better network for --patience epochs",
    "interrupted": "interrupted (SIGINT); yolor train --resume goes on",
    "terminated": "terminated (SIGTERM); yolor train --resume goes on",
    "": "no end is recorded: the run still goes on, or was killed",
}
MAX_POINTS = 40
"""Up to so many epochs each have a dot."""
IMAGES = "images"


def training_sections(run: Run, plots: Plots, album: Album) -> Iterator[Section]:
    """All parts, in their order; what the best network found follows elsewhere."""
    yield Section("Overview", lambda: show_overview(run))
    yield Section("Losses", lambda: draw_columns(run, plots, losses=True))
    yield Section("Scores on held-out images", lambda: draw_columns(run, plots, losses=False))
    yield Section("Learning rate", lambda: _draw_rate(run, plots))
    yield Section("Speed and memory", lambda: draw_speed(run, plots))
    yield Section("All epochs", lambda: _list_epochs(run))
    yield Section("Data", lambda: show_data(run))
    yield Section("First batches", lambda: _show_sheets(run, album))


def show_overview(run: Run) -> str:
    """The main figures, and how the run ended."""
    best, seconds = run.best, spent_seconds(run)
    done, planned = len(run.rows), run.record.get("planned_epochs")
    scores = [(name, format_number(best[name]), "") for name in score_names(run.rows) if name in best][:6]
    if best:
        scores = [("best epoch", f"{best['epoch']:.0f}", "by the mean of the main scores"), *scores]
    epochs = ("epochs", f"{done}", f"of {planned}" if planned else "")
    clock = ("duration", format_seconds(seconds), "") if seconds else ("duration", "–", "not recorded")
    ending = str(run.sessions[-1].get("ending", "")) if run.sessions else ""
    end = ENDINGS.get(ending, ending)
    resumed = f"; resumed {len(run.sessions) - 1} times" if len(run.sessions) > 1 else ""
    told = paragraph(f"How it ended: {end}{resumed}.") if run.sessions else ""
    return tiles([*scores, epochs, clock]) + told


def spent_seconds(run: Run) -> float:
    """The seconds of all calls of the command."""
    return sum(float(session.get("seconds", 0)) for session in run.sessions)


def column_names(rows: Sequence[Row]) -> list[str]:
    """The columns that any epoch has."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in PLACE_COLUMNS))


def is_loss(name: str) -> bool:
    """Whether a column is a loss: `loss`, `NAME.box`, `large_loss`."""
    return name.rpartition(".")[2].removeprefix(LARGE) in LOSSES


def score_names(rows: Sequence[Row]) -> list[str]:
    """The scores of the network itself: no losses, no single data sets, no large network."""
    return [name for name in column_names(rows) if not is_loss(name) and _group_of(name) == ""]


def _group_of(name: str) -> str:
    """What a column is of: "" the run, a data set, the large network, the weights of losses."""
    if name.startswith("s("):
        return "weights of losses"
    return name.rpartition(".")[0] or ("large network" if name.startswith(LARGE) else "")


def draw_columns(run: Run, plots: Plots, *, losses: bool) -> str:
    """The curves of all losses, or of all other columns, those of each data set by themselves."""
    chosen = [name for name in column_names(run.rows) if is_loss(name) == losses]
    groups = dict.fromkeys(map(_group_of, chosen))
    drawn = [
        _draw_group(run, plots, group, [name for name in chosen if _group_of(name) == group], losses=losses)
        for group in groups
    ]
    return "".join(drawn) or paragraph("Nothing was measured.", "note")


def _draw_group(run: Run, plots: Plots, group: str, names: Sequence[str], *, losses: bool) -> str:
    title = "loss per image" if losses else "score"
    kinds = names if losses else [name for name in names if name.rpartition(".")[2] != IMAGES]
    values = [row[name] for row in run.rows for name in kinds if name in row]
    fits = not losses and all(0 <= value <= 1 for value in values)
    return plots.add(
        Plot(
            f"{title}: {group}" if group else title,
            "epoch",
            [row["epoch"] for row in run.rows],
            rows_to_curves(run.rows, kinds),
            span=(0, 1) if fits else None,
            marks=best_mark(run),
            points=len(run.rows) <= MAX_POINTS,
        )
    )


def best_mark(run: Run) -> list[tuple[float, str]]:
    """The epoch of the best network."""
    return [(run.best["epoch"], "best")] if run.best else []


def _draw_rate(run: Run, plots: Plots) -> str:
    x = [row["epoch"] for row in run.rows]
    curve = Curve("learning rate", [row.get("lr") for row in run.rows], palette_color(0))
    return plots.add(Plot("learning rate at the end of an epoch", "epoch", x, [curve], unit="rate"))


def draw_speed(run: Run, plots: Plots) -> str:
    """Images per second, seconds of testing and saving, and memory by epoch."""
    rows = [row for row in run.epochs if "epoch" in row]
    x = [float(row["epoch"]) for row in rows]
    speeds = [speed_of(row) for row in rows]
    memory = [row.get("memory_mib") for row in rows]
    other = [row.get("other_seconds") for row in rows]
    points = len(rows) <= MAX_POINTS
    drawn = [
        plots.add(Plot(title, "epoch", x, [Curve(name, y, palette_color(place))], unit=name, points=points))
        for place, (title, name, y) in enumerate(
            (
                ("images per second of training", "images/s", speeds),
                ("testing and saving after an epoch", "seconds", other),
                ("memory of the process", "MiB", memory),
            )
        )
    ]
    return tag("div", "".join(drawn), class_="row") if any(drawn) else ""


def speed_of(row: dict[str, Any]) -> float | None:
    """Images per second of an epoch."""
    seconds, images = float(row.get("train_seconds", 0)), float(row.get("images", 0))
    return round(images / seconds, 3) if seconds > 0 and images else None


def _list_epochs(run: Run) -> str:
    if not run.rows:
        return ""
    names = ["epoch", "updates", "lr", *column_names(run.rows)]
    best = run.best.get("epoch")
    rows = [[_epoch_cell(row, name, best) for name in names] for row in run.rows]
    return folded(f"{len(rows)} epochs", table(names, rows, sortable=True, id_="epochs"))


def _epoch_cell(row: Row, name: str, best: float | None) -> Cell:
    value = row.get(name)
    if name in PLACE_COLUMNS[:2] and value is not None:
        mark = " ★" if name == "epoch" and value == best else ""
        return Cell(f"{value:,.0f}{mark}", value, "number")
    return number(value)


def show_data(run: Run) -> str:
    """What the data sets hold."""
    parts = []
    for title, key in (("to train on", "data"), ("held out", "holdout")):
        found = object_of(run.record.get(key))
        if found:
            parts.append(tag("h3", title) + describe_data(found))
    return tag("div", "".join(tag("div", part) for part in parts), class_="columns") if parts else ""


def describe_data(found: dict[str, Any]) -> str:
    """Numbers of images and labels, sizes of boxes, and labels of each class as bars."""
    sizes = object_of(found.get("sizes"))
    facts = pairs(
        [
            ("source", found.get("origin")),
            ("format", found.get("format")),
            ("images", f"{found.get('images', 0):,}"),
            ("without labels", f"{found['unlabeled']:,}" if found.get("unlabeled") else None),
            ("labels", f"{found.get('labels', 0):,}"),
            ("boxes by size", ", ".join(f"{count:,} {name}" for name, count in sizes.items())),
        ]
    )
    several = [
        (words(part["name"]), words(part.get("task") or "–"), number(part["images"]), words(part["origin"]))
        for part in found.get("parts", ())
    ]
    parts = table(("data set", "task", "images", "source"), several) if several else ""
    bars = draw_bars([(one["name"], one["labels"]) for one in found["classes"]])
    return facts + parts + folded(f"labels of {len(found['classes'])} classes", bars)


def _show_sheets(run: Run, album: Album) -> str:
    """What the network was shown, and the held-out images with labels and with detections."""
    paths = [
        path for pattern in ("train_batch*.jpg", "val_batch0_*.jpg") for path in _files(run.folder, pattern)
    ]
    sheets = [show_sheet(album, path) for path in paths]
    shown = sum(map(bool, sheets))
    less = f"{shown} of {len(paths)} sheets; the others can't be read, or the page is full."
    note = paragraph(less, "note") if shown < len(paths) else ""
    return tag("div", "".join(sheets), class_="sheets") + note if paths else ""


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def show_told(run: Run) -> str:
    """The warnings and notes of all calls."""
    lines = [str(line) for session in run.sessions for line in session.get("told", ())]
    told = sum(int(session.get("told_in_all", 0)) for session in run.sessions)
    more = [f"... {told - len(lines)} more"] if told > len(lines) else []
    return list_lines([*lines, *more])
