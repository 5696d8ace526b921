"""The parts of the page of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yolor_cfg.errors import count_of
from yolor_cfg.report.elements import wrap
from yolor_cfg.report.run.album import Album, show_sheet
from yolor_cfg.report.run.curves import Curve, Plot, Plots, palette_color, rows_to_curves
from yolor_cfg.report.run.drawings import draw_bars
from yolor_cfg.report.run.markup import (
    Cell,
    PagePart,
    fold_content,
    format_number,
    format_seconds,
    list_lines,
    paragraph,
    tiles,
    write_pairs,
    write_table,
)
from yolor_cfg.report.run.read import EpochRow, RunFiles, object_of, thin_rows
from yolor_cfg.runs import LOSS_COLUMNS

PLACE_COLUMNS = ("epoch", "updates", "lr")
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


def list_training_parts(run: RunFiles, plots: Plots, album: Album) -> Iterator[PagePart]:
    """All parts, in their order; what the best network found follows elsewhere."""
    yield PagePart("Overview", lambda: show_overview(run))
    yield PagePart("Losses, and scores on held-out images", lambda: draw_course(run, plots))
    yield PagePart("Learning rate, speed and memory", lambda: draw_speed(run, plots))
    yield PagePart("All epochs", lambda: _list_epochs(run))
    yield PagePart("Data", lambda: show_data(run))
    yield PagePart("First batches", lambda: _show_sheets(run, album))


def show_overview(run: RunFiles) -> str:
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
    resumed = f"; resumed {count_of(len(run.sessions) - 1, 'time')}" if len(run.sessions) > 1 else ""
    told = paragraph(f"How it ended: {end}{resumed}.") if run.sessions else ""
    return tiles([*scores, epochs, clock]) + told


def spent_seconds(run: RunFiles) -> float:
    """The seconds of all calls of the command."""
    return sum(float(session.get("seconds", 0)) for session in run.sessions)


def column_names(rows: Sequence[EpochRow]) -> list[str]:
    """The columns that any epoch has."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in PLACE_COLUMNS))


def is_loss(name: str) -> bool:
    """Whether a column is a loss: `loss`, `NAME.box`, `large_loss`."""
    return name.rpartition(".")[2].removeprefix(LARGE) in LOSS_COLUMNS


def score_names(rows: Sequence[EpochRow]) -> list[str]:
    """The scores of the network itself: no losses, no single data sets, no large network."""
    return [name for name in column_names(rows) if not is_loss(name) and _group_of(name) == ""]


def _group_of(name: str) -> str:
    """What a column is of: "" the run, a data set, the large network, the weights of losses."""
    if name.startswith("s("):
        return "weights of losses"
    return name.rpartition(".")[0] or ("large network" if name.startswith(LARGE) else "")


def draw_course(run: RunFiles, plots: Plots) -> str:
    """The curves of all losses, then of all other columns, those of each data set by themselves."""
    drawn = _draw_columns(run, plots, losses=True) + _draw_columns(run, plots, losses=False)
    return wrap("div", drawn, class_="row") if drawn else paragraph("Nothing was measured.", "note")


def _draw_columns(run: RunFiles, plots: Plots, *, losses: bool) -> str:
    chosen = [name for name in column_names(run.rows) if is_loss(name) == losses]
    groups = dict.fromkeys(map(_group_of, chosen))
    drawn = []
    for group in groups:
        names = [name for name in chosen if _group_of(name) == group]
        drawn.append(_draw_group(run, plots, group, names=names, losses=losses))
    return "".join(drawn)


def _draw_group(run: RunFiles, plots: Plots, group: str, *, names: Sequence[str], losses: bool) -> str:
    title = "loss per image" if losses else "score"
    kinds = names if losses else [name for name in names if name.rpartition(".")[2] != IMAGES]
    values = [row[name] for row in run.shown_rows for name in kinds if name in row]
    fits = not losses and all(0 <= value <= 1 for value in values)
    return plots.add(
        Plot(
            f"{title}: {group}" if group else title,
            "epoch",
            [row["epoch"] for row in run.shown_rows],
            rows_to_curves(run.shown_rows, kinds),
            span=(0, 1) if fits else None,
            marks=best_mark(run),
            points=len(run.shown_rows) <= MAX_POINTS,
        )
    )


def best_mark(run: RunFiles) -> list[tuple[float, str]]:
    """The epoch of the best network."""
    return [(run.best["epoch"], "best")] if run.best else []


def _draw_rate(run: RunFiles, plots: Plots) -> str:
    x = [row["epoch"] for row in run.shown_rows]
    curve = Curve("learning rate", [row.get("lr") for row in run.shown_rows], palette_color(0))
    return plots.add(Plot("learning rate at the end of an epoch", "epoch", x, [curve], unit="rate"))


def draw_speed(run: RunFiles, plots: Plots) -> str:
    """The learning rate, images per second, seconds of testing and saving, and memory by epoch."""
    rows = thin_rows([row for row in run.epochs if "epoch" in row])
    x = [float(row["epoch"]) for row in rows]
    columns = (
        ("images per second of training", "images/s", [speed_of(row) for row in rows]),
        ("testing and saving after an epoch", "seconds", [row.get("other_seconds") for row in rows]),
        ("memory of the process", "MiB", [row.get("memory_mib") for row in rows]),
    )
    drawn = [_draw_rate(run, plots)]
    for place, (title, unit, y) in enumerate(columns, 1):
        curve = Curve(unit, y, palette_color(place))
        drawn.append(plots.add(Plot(title, "epoch", x, [curve], points=len(rows) <= MAX_POINTS)))
    return wrap("div", "".join(drawn), class_="row") if any(drawn) else ""


def speed_of(row: dict[str, Any]) -> float | None:
    """Images per second of an epoch."""
    seconds, images = float(row.get("train_seconds", 0)), float(row.get("images", 0))
    return round(images / seconds, 3) if seconds > 0 and images else None


def _list_epochs(run: RunFiles) -> str:
    if not run.shown_rows:
        return ""
    names = ["epoch", "updates", "lr", *column_names(run.rows)]
    best = run.best.get("epoch")
    rows = [[_epoch_cell(row, name, best) for name in names] for row in run.shown_rows]
    count = f"{len(rows)} of {len(run.rows)}" if len(rows) < len(run.rows) else f"{len(rows)}"
    return fold_content(f"{count} epochs", write_table(names, rows, sortable=True, id_="epochs"))


def _epoch_cell(row: EpochRow, name: str, best: float | None) -> object:
    value = row.get(name)
    if name in PLACE_COLUMNS[:2] and value is not None:
        mark = " ★" if name == "epoch" and value == best else ""
        return Cell(f"{value:,.0f}{mark}", value, "number")
    return value


def show_data(run: RunFiles) -> str:
    """What the data sets hold."""
    parts = []
    for title, key in (("to train on", "data"), ("held out", "holdout")):
        found = object_of(run.record.get(key))
        if found:
            parts.append(wrap("h3", title) + describe_data(found))
    return wrap("div", "".join(wrap("div", part) for part in parts), class_="columns") if parts else ""


def describe_data(found: dict[str, Any]) -> str:
    """Numbers of images and labels, sizes of boxes, and labels of each class as bars."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in object_of(found.get("sizes")).items())
    facts = [
        ("source", found.get("origin")),
        ("format", found.get("format")),
        ("images", f"{found.get('images', 0):,}"),
        ("without labels", f"{found['unlabeled']:,}" if found.get("unlabeled") else None),
        ("labels", f"{found.get('labels', 0):,}"),
        ("boxes by size", sizes),
    ]
    header = ("data set", "task", "images", "source")
    parts = [
        (part["name"], part.get("task") or "–", part["images"], part["origin"])
        for part in found.get("parts", ())
    ]
    bars = draw_bars([(one["name"], one["labels"]) for one in found["classes"]])
    several = write_table(header, parts) if parts else ""
    return write_pairs(facts) + several + fold_content(f"labels of {len(found['classes'])} classes", bars)


def _show_sheets(run: RunFiles, album: Album) -> str:
    """What the network was shown, and the held-out images with labels and with detections."""
    patterns = ("train_batch*.jpg", "val_batch0_*.jpg")
    paths = [path for pattern in patterns for path in sorted(run.folder.glob(pattern))]
    sheets = [show_sheet(album, path) for path in paths]
    lost = [path.name for path, sheet in zip(paths, sheets, strict=True) if not sheet]
    less = f"{', '.join(lost)}: cannot be read, or the page is full."
    note = paragraph(less, "note") if lost else ""
    return wrap("div", "".join(sheets), class_="sheets") + note if paths else ""


def show_told(run: RunFiles) -> str:
    """The warnings and notes of all calls."""
    lines = [str(line) for session in run.sessions for line in session.get("told", ())]
    told = sum(int(session.get("told_in_all", 0)) for session in run.sessions)
    more = [f"... {told - len(lines)} more"] if told > len(lines) else []
    return list_lines([*lines, *more])
