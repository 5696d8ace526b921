"""Text labels: one object per line, checked when read; every fault has its file and line.

A line is `class cx cy w h`, as fractions of the image; `class identity cx cy w h` if all lines of the file
have six columns (as in JDE's tracking data sets); or `class x1 y1 x2 y2 x3 y3 ...`, a polygon, which is
replaced by its bounding box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Fix, Problem
from yolor_cfg.errors import DataError, count_of, escape
from yolor_cfg.images.types import Size

TOLERANCE = 1e-3
"""How far a box may extend beyond the image, as a fraction of it: the rounding error of written numbers."""
BOM = b"\xef\xbb\xbf"
MAX_UNNAMED_CLASSES = 2**16
"""The most classes for data without names: a larger class id is taken for a mistake."""
NO_AREA = float("nan")
"""No area is annotated: the area of the box is used."""
DIFFICULT = 2.0
"""`LabelRow.crowd` of a difficult object: neither it nor a detection on it counts."""


class LabelRow(NamedTuple):
    """One object as read from a file; `line` is 0 in formats without lines.

    `crowd` is 1 for a crowd, `DIFFICULT` for a difficult object, else 0.
    """

    line: int
    class_id: float
    identity: float
    cx: float
    cy: float
    width: float
    height: float
    crowd: float = 0.0
    area: float = NO_AREA
    copies: float = 0.0
    """Further lines of the file that say the same."""


class ImageLabels(NamedTuple):
    """The labels of one image from the file `path`; `row_names` name the rows in formats without lines.

    `path` is empty if there is no label file. `faults` are (line, reason) for what could not be parsed.
    `is_sideways`: the labels fit an image with height and width exchanged; `is_resized`: they were made for
    an image of any other size than that of the file. `classes` are those of the image
    as a whole, where the format has such.
    """

    path: str
    rows: Sequence[LabelRow] = ()
    faults: Sequence[tuple[int, str]] = ()
    polygons: int = 0
    duplicates: int = 0
    row_names: Sequence[str] = ()
    is_sideways: bool = False
    is_resized: bool = False
    classes: Sequence[int] = ()

    def annotated_at(self, annotated: Size, size: Size) -> ImageLabels:
        """These labels, which were made for an image of the first size, of a file of the second one."""
        is_sideways = annotated != size and annotated == (size[1], size[0])
        return self._replace(is_sideways=is_sideways, is_resized=annotated != size and not is_sideways)


class DataFaults(DataError):
    """All faults of one data set; at most `SHOWN` of them are printed, then the total."""

    SHOWN = 20

    def __init__(self, faults: Sequence[Problem], origin: str, *, hint: str) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        super().__init__(first.reason, path=first.path, line=first.line, hint=hint)
        self.origin = origin

    def __str__(self) -> str:
        count = len(self.faults)
        shown = [str(fault) for fault in self.faults[: self.SHOWN]]
        more = f", the first {self.SHOWN} shown" if count > self.SHOWN else ""
        total = f"{count} fault{'s' if count > 1 else ''} in {escape(self.origin)}{more}"
        return "\n".join([*shown, total, *self._format_details()])


def parse_labels(data: bytes, place: str) -> ImageLabels:
    """The rows of a label file; duplicate lines count once."""
    split = [(number, line.split()) for number, line in enumerate(data.removeprefix(BOM).splitlines(), 1)]
    filled = [(number, words) for number, words in split if words]
    has_digit_gaps = b"_" in data  # Python reads 1_0 as 10
    plain = None if has_digit_gaps else _plain_rows(filled)
    if plain is not None:
        return ImageLabels(place, plain)
    identified = all(len(words) == 6 for _, words in filled)
    rows: dict[tuple[float, ...], LabelRow] = {}
    faults: list[tuple[int, str]] = []
    polygons = read = 0
    for number, words in filled:
        gaps = [word for word in words if b"_" in word] if has_digit_gaps else ()
        row = _number_fault(gaps) if gaps else _parse_row(number, words, identified)
        if isinstance(row, str):
            faults.append((number, row))
            continue
        read += 1
        polygons += len(words) > 6
        first = rows.get(row[1:7])
        rows[row[1:7]] = row if first is None else first._replace(copies=first.copies + 1)
    return ImageLabels(place, list(rows.values()), faults, polygons, read - len(rows))


def _plain_rows(filled: Sequence[tuple[int, list[bytes]]]) -> list[LabelRow] | None:
    """The rows of a file of boxes without fault or repetition, as nearly all are; None for any other."""
    try:
        rows = [
            LabelRow(number, float(label), -1.0, float(cx), float(cy), float(width), float(height))
            for number, (label, cx, cy, width, height) in filled
        ]
    except ValueError:  # other words or another number of them
        return None
    return rows if len({row[1:7] for row in rows}) == len(rows) else None


def separate_faults(place: str, rows: Iterable[tuple[str, LabelRow | str]]) -> ImageLabels:
    """Splits named rows into valid rows and faults; a fault is a string, its reason."""
    named = list(rows)
    good = [(what, row) for what, row in named if not isinstance(row, str)]
    faults = [(0, f"{what}: {row}") for what, row in named if isinstance(row, str)]
    return ImageLabels(place, [row for _, row in good], faults, row_names=[what for what, _ in good])


def _parse_row(number: int, words: Sequence[bytes], identified: bool) -> LabelRow | str:
    """The row of one line, or the reason why it is faulty."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return _number_fault(words)
    count = len(values)
    if count == 5:
        label, cx, cy, width, height = values
        return LabelRow(number, label, -1.0, cx, cy, width, height)
    if count == 6 and identified:
        return LabelRow(number, *values)
    if count > 6 and count % 2:
        return LabelRow(number, values[0], -1.0, *_polygon_box(values[1:]))
    return f"{count_of(count, 'column')} instead of 5 (class cx cy w h)" + _columns_hint(count)


def _columns_hint(count: int) -> str:
    if count == 6:
        return "; 6 columns (class identity cx cy w h) need 6 columns in every line"
    return "; a polygon has x and y for 3 or more points" if count > 6 else ""


def _number_fault(words: Sequence[bytes]) -> str:
    for word in words:
        try:
            float(word.replace(b"_", b"?"))
        except ValueError:
            return f"{word.decode('utf-8', 'replace')[:40]!r} is not a number"
    raise AssertionError(words)


def _polygon_box(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Centre and size of the box around points x1, y1, x2, y2, ...; NaN if a value is not finite."""
    xs, ys = points[::2], points[1::2]
    if not np.isfinite(points).all():
        return (NO_AREA,) * 4
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


class CheckedRows(NamedTuple):
    """The valid rows [T, 10], ordered as `LabelRow`; which of the given rows they are; the faults found."""

    rows: NDArray[np.float64]
    kept: NDArray[np.bool_]
    faults: list[tuple[int, str]]


def check_rows(rows: NDArray[np.float64], *, classes: int | None, fix: Fix | None) -> CheckedRows:
    """Check every row [T, 10]; `faults` are (row index, reason), sorted.

    With `fix="clip"` a box that extends beyond the image is clipped, and kept unless that leaves it empty.
    """
    wrong = dict(_find_faults(rows, classes))
    outside = _is_outside(rows)
    bad = np.zeros(len(rows), bool)
    bad[list(wrong)] = True
    clipped = np.flatnonzero(outside & ~bad)
    reasons = wrong | {int(i): _format_outside(rows[i]) for i in clipped}
    if fix == "clip" and len(clipped):
        rows = rows.copy()
        rows[clipped] = _clip_rows(rows[clipped])
        bad[clipped] = (rows[clipped, 5:7] <= 0).any(axis=1)
    else:
        bad[clipped] = True
    return CheckedRows(rows[~bad], ~bad, sorted(reasons.items()))


def _find_faults(rows: NDArray[np.float64], classes: int | None) -> Iterator[tuple[int, str]]:
    """Faults that clipping cannot fix, as (row index, reason); the last reason yielded for a row counts."""
    label, identity, size = rows[:, 1], rows[:, 2], rows[:, 5:7]
    top = MAX_UNNAMED_CLASSES if classes is None else classes
    allowed = f"0..{top - 1}"
    with np.errstate(invalid="ignore"):
        empty = np.flatnonzero((size <= 0).any(axis=1))
        unknown = np.flatnonzero((label < 0) | (label >= top))
        broken = np.flatnonzero(label != np.floor(label))
        strange = np.flatnonzero((identity != np.floor(identity)) | (identity < -1) | (identity > 2**53))
    for i in empty:
        yield int(i), f"the box is empty: width {size[i, 0]:g}, height {size[i, 1]:g}"
    for i in strange:
        yield int(i), f"identity {identity[i]:g} is not a whole number (columns: class identity cx cy w h)"
    for i in unknown:
        yield int(i), f"class {label[i]:g} is not in {allowed}"
    for i in broken:
        yield int(i), f"class {label[i]:g} is not a whole number"
    for i in np.flatnonzero(~np.isfinite(rows[:, 1:7]).all(axis=1)):
        yield int(i), "a value is not finite"


def _is_outside(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    half = rows[:, 5:7] / 2
    low, high = rows[:, 3:5] - half, rows[:, 3:5] + half
    return np.asarray(((low < -TOLERANCE) | (high > 1 + TOLERANCE)).any(axis=1))


def _format_outside(row: NDArray[np.float64]) -> str:
    left, top = row[3:5] - row[5:7] / 2
    right, bottom = row[3:5] + row[5:7] / 2
    return f"the box is outside 0..1: x {left:.4g}..{right:.4g}, y {top:.4g}..{bottom:.4g}"


def _clip_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows with their boxes clipped to the image; an annotated area shrinks with its box."""
    half = rows[:, 5:7] / 2
    low, high = (rows[:, 3:5] - half).clip(0, 1), (rows[:, 3:5] + half).clip(0, 1)
    size = high - low
    share = size.prod(axis=1) / rows[:, 5:7].prod(axis=1)
    parts = [rows[:, :3], (low + high) / 2, size, rows[:, 7:8]]
    parts += [rows[:, 8:9] * share[:, None], rows[:, 9:]]
    return np.concatenate(parts, axis=1)
