"""All figures of a data set by split and as a whole, and the labels of it that are worth a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.data.classes import format_names, plain_name
from yolor_cfg.data.statistics.channels import count_channels
from yolor_cfg.data.statistics.measure import DataFigures, measure_data
from yolor_cfg.data.statistics.oddities import KINDS, Oddity, find_oddities
from yolor_cfg.data.statistics.table import InputFit, LabelTable, join_tables, label_table
from yolor_cfg.data.types import Dataset
from yolor_cfg.errors import DataError

MOST_SHOWN = 100
"""Labels of one kind that a document lists; it counts all."""


class DataSummary(NamedTuple):
    """A data set as a whole and by split, with the table of all labels and the oddities in it."""

    origin: str
    format: str
    table: LabelTable
    whole: DataFigures
    splits: dict[str, DataFigures]
    channels: dict[int, int]
    oddities: list[Oddity]

    @property
    def odd_totals(self) -> dict[str, int]:
        """How many labels of each kind there are, those that occur."""
        counts = Counter(one.kind for one in self.oddities)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def describe(self, oddity: Oddity) -> dict[str, Any]:
        """An oddity with its image, class and corners in pixels."""
        table, row = self.table, oddity.row
        found = {
            "kind": oddity.kind,
            "image": table.paths[table.owners[row]],
            "class": table.names[table.classes[row]],
            "box_xyxy": [round(side, 2) for side in table.corners[row].tolist()],
        }
        return found | ({"other": table.names[table.classes[oddity.other]]} if oddity.other >= 0 else {})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        shown = [one for kind in KINDS for one in self.first_odd(kind, MOST_SHOWN)]
        return {
            "data": self.origin,
            "format": self.format,
            **self.whole.to_json(),
            "channels": {str(count): images for count, images in self.channels.items()},
            "splits": {name: figures.to_json() for name, figures in self.splits.items()},
            "oddities": {"counts": self.odd_totals, "labels": [self.describe(one) for one in shown]},
        }

    def first_odd(self, kind: str, most: int) -> list[Oddity]:
        """The first oddities of a kind."""
        return [one for one in self.oddities if one.kind == kind][:most]


def summarize_data(
    opened: Mapping[str, Dataset], *, fit: InputFit | None = None, classes: Sequence[str] = ()
) -> DataSummary:
    """The figures of all splits, which have the same classes; of the boxes of `classes` alone, names or class
    ids, if any are given."""
    first = next(iter(opened.values()))
    chosen = pick_classes(classes, first) if classes else tuple(range(len(first.names)))
    tables = {name: label_table(data) for name, data in opened.items()}
    if classes:
        tables = {name: table.select_classes(chosen) for name, table in tables.items()}
    whole = join_tables(list(tables.values()))
    return DataSummary(
        first.origin,
        first.format,
        whole,
        _keep_classes(measure_data(whole, fit), chosen),
        {name: _keep_classes(measure_data(table, fit), chosen) for name, table in tables.items()},
        count_channels(whole.paths),
        find_oddities(whole, fit),
    )


def _keep_classes(figures: DataFigures, chosen: Sequence[int]) -> DataFigures:
    """The figures with the chosen classes alone."""
    if len(chosen) == len(figures.classes):
        return figures
    index = list(chosen)
    kept = [figures.classes[number] for number in index]
    return figures._replace(classes=kept, together=figures.together[index][:, index])


def pick_classes(given: Sequence[str], data: Dataset) -> tuple[int, ...]:
    """The class ids of names or ids, ascending; raises DataError for one that the data set does not have."""
    known = {plain_name(name): number for number, name in reversed(list(enumerate(data.names)))}
    found = {}
    for word in given:
        number = known.get(plain_name(word))
        if number is None and word.isascii() and word.isdecimal() and int(word) < len(data.names):
            number = int(word)
        found[word] = number
    strange = [word for word, number in found.items() if number is None]
    if strange:
        raise DataError(
            "not a class of this data set",
            path=data.origin,
            found=format_names(strange),
            allowed=format_names(data.names),
        )
    return tuple(sorted({number for number in found.values() if number is not None}))
