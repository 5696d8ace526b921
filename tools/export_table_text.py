"""The rows of tools/export_table.py as one line for each network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

COLUMNS = ("cfg", "way", "megabytes", "engine", "relative", "verdict")
TableRow = dict[str, str]
EQUAL, REFUSED = "equal", "refused"


def format_table(rows: Sequence[TableRow]) -> list[str]:
    """In Markdown: for each network and way the largest relative difference of all engines; then what was
    refused or failed, and why."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    names = list(dict.fromkeys(row["cfg"] for row in rows))
    cells: dict[tuple[str, str], list[TableRow]] = {(name, way): [] for name in names for way in ways}
    for row in rows:
        cells[row["cfg"], row["way"]].append(row)
    lines = ["| network | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways)]
    lines += [f"| {name} | " + " | ".join(_sum_up(cells[name, way]) for way in ways) + " |" for name in names]
    return [*lines, "", *_tell_reasons(rows)]


def _sum_up(rows: Sequence[TableRow]) -> str:
    """The worst of a cell's engines."""
    if not rows:
        return ""
    if rows[0]["verdict"] == REFUSED:
        return REFUSED
    failed = [row["engine"] for row in rows if row["verdict"] != EQUAL]
    worst = max((float(row["relative"]) for row in rows if row["verdict"] == EQUAL), default=float("inf"))
    return f"{worst:.0e}" + (f" ({', '.join(failed)} not)" if failed else "")


def _tell_reasons(rows: Iterable[TableRow]) -> list[str]:
    """Each reason once, with the networks that it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["verdict"] == REFUSED:
            reasons.setdefault((row["way"], row["relative"]), []).append(row["cfg"])
        elif row["verdict"] != EQUAL:
            reasons.setdefault((f"{row['way']} in {row['engine']}", row["verdict"]), []).append(row["cfg"])
    return [f"- {way}: {reason}: {', '.join(names)}" for (way, reason), names in reasons.items()]
