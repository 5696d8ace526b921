"""Scores from a table of other people's: `name,ap,ap50,data`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.analysis.models.types import Score
from yolor_cfg.errors import DataError
from yolor_cfg.files import read_bounded

COLUMNS = ("name", "ap", "ap50", "data")
PERCENT = 100.0


class Published(NamedTuple):
    """The scores by the name of their network; `in_percent` says that the file has them so."""

    scores: Mapping[str, Score]
    in_percent: bool


def read_published(path: str | Path) -> Published:
    """The scores of a CSV file with a column `name`, one or both of `ap` and `ap50`, and perhaps `data`. If
    any number is above 1, all are percent. Raises DataError for what is not such a table."""
    raw = read_bounded(path, fault=DataError, what="the table of scores")
    table = csv.DictReader(io.StringIO(raw.decode("utf-8-sig", "replace")), skipinitialspace=True)
    try:
        names = [(name or "").strip().lower() for name in table.fieldnames or ()]
        table.fieldnames = names
        _check_columns(names, str(path))
        rows = [(table.line_num, row) for row in table]
    except csv.Error as fault:
        raise DataError("not a CSV file", path=str(path), line=table.line_num, found=str(fault)) from None
    return _make_scores([_parse_row(row, line, str(path)) for line, row in rows], str(path))


def _check_columns(names: list[str], path: str) -> None:
    """Raise DataError unless the first line names the columns."""
    if "name" in names and {"ap", "ap50"} & set(names) and set(names) <= set(COLUMNS):
        return
    found = ", ".join(names) or "nothing"
    raise DataError(
        "the first line does not name the columns",
        path=path,
        line=1,
        found=found,
        allowed="name, ap, ap50, data; one of ap and ap50 is enough, data may be left out",
    )


def _parse_row(row: Mapping[str | None, str | None], line: int, path: str) -> tuple[str, Score]:
    name = (row.get("name") or "").strip()
    if not name or None in row:
        found = "no name" if not name else "more cells than columns"
        raise DataError("not a row of scores", path=path, line=line, found=found)
    ap, ap50 = (_parse_figure(row.get(key), key, line=line, path=path) for key in ("ap", "ap50"))
    data = (row.get("data") or "").strip() or Path(path).stem
    return name, Score(ap, ap50, data, ("published", data))


def _parse_figure(text: str | None, key: str, *, line: int, path: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0 <= value <= PERCENT:
        allowed = "a number from 0 to 1, or percent"
        raise DataError("not a score", path=path, line=line, key=key, found=str(text), allowed=allowed)
    return value


def _make_scores(rows: list[tuple[str, Score]], path: str) -> Published:
    figures = [figure for _, score in rows for figure in (score.ap, score.ap50) if figure is not None]
    in_percent = max(figures, default=0) > 1
    scores = {name: _divide(score, PERCENT if in_percent else 1) for name, score in rows}
    if len(scores) < len(rows):
        twice = next(name for name in scores if sum(name == other for other, _ in rows) > 1)
        raise DataError("a name is there twice", path=path, found=twice)
    return Published(scores, in_percent)


def _divide(score: Score, by: float) -> Score:
    ap, ap50 = (None if figure is None else figure / by for figure in (score.ap, score.ap50))
    return score._replace(ap=ap, ap50=ap50)
