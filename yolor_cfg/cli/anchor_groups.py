"""How well anchors fit each class and each size, as `yolor anchors` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yolor_cfg.cli.options import format_columns, is_on

if TYPE_CHECKING:
    from yolor_cfg.analysis.class_recall import GroupFit

MOST_CLASSES = 20
FitRows = Sequence["GroupFit"]


def group_entries(classes: FitRows, sizes: FitRows) -> dict[str, Any]:
    """Both as plain values."""
    return {
        "classes": [_entry(row) for row in classes],
        "sizes": [{key: value for key, value in _entry(row).items() if key != "is_poor"} for row in sizes],
    }


def _entry(row: GroupFit) -> dict[str, Any]:
    return {**row._asdict(), "before": row.before._asdict(), "after": row.after._asdict()}


def group_lines(classes: FitRows, sizes: FitRows) -> list[str]:
    """A table: the classes that are served worst, all with -v, then the sizes."""
    ranked = sorted(classes, key=lambda row: (row.before.recall, row.before.mean_iou))
    shown = ranked if is_on("verbose") else ranked[:MOST_CLASSES]
    head = ["", "boxes", "recall before", "after", "mean IoU before", "after", ""]
    more = [] if len(shown) == len(ranked) else [[f"... {len(ranked) - len(shown)} more: -v", *[""] * 6]]
    rows = [head, *map(_cells, shown), *more, *map(_cells, sizes)]
    return format_columns(rows, words={0, 6})


def _cells(row: GroupFit) -> list[str]:
    pairs = [(row.before.recall, row.after.recall), (row.before.mean_iou, row.after.mean_iou)]
    figures = [f"{number:.4f}" for pair in pairs for number in pair]
    return [row.name, f"{row.boxes:,}", *figures, "served badly" if row.is_poor else ""]


def poor_notes(classes: FitRows) -> list[str]:
    """A note that names the classes that the anchors of the cfg serve badly; none if there are none."""
    poor = [
        f"{row.name} (recall {row.before.recall:.2f}, mean IoU {row.before.mean_iou:.2f})"
        for row in sorted(classes, key=lambda row: row.before.recall)
        if row.is_poor
    ]
    more = f" and {len(poor) - MOST_CLASSES} more" if len(poor) > MOST_CLASSES else ""
    return [f"the anchors serve badly: {', '.join(poor[:MOST_CLASSES])}{more}"] if poor else []
