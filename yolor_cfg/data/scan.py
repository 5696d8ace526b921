"""Turns a listing into a Dataset: reads every image size and checks every label."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.cache import LEAST, SizeCache, load_size_cache, save_size_cache
from yolor_cfg.data.labels import DIFFICULT, DataFaults, ImageLabels, LabelRow, check_rows
from yolor_cfg.data.listing import ImageListing, image_ids
from yolor_cfg.data.types import BoxColumns, Dataset, LabelChecks, LabelColumn, Problem, Samples
from yolor_cfg.errors import DataError, count_of, escape
from yolor_cfg.images.headers import ImageFileInfo, read_image_info
from yolor_cfg.images.orientation import orientation_rule

CHUNK = 512
WIDTH = len(LabelRow._fields)
LABEL_HINT = "--fix-labels drop drops faulty labels, --fix-labels clip clips boxes to the image"
IMAGE_HINT = "without --strict unreadable images are reported and skipped"
SIDEWAYS_NOTE = (
    "height and width exchanged in the annotations: the boxes fit the other EXIF orientation "
    "(--ignore-orientation reads images as stored)"
)
RESIZED_NOTES = {
    "coco": "another size in the JSON: boxes are parts of that size",
    "voc": "another size in the XML: boxes are pixels of the file",
}


class ScanOptions(NamedTuple):
    """The label checks, the number of classes (None: any), and the cached image sizes."""

    checks: LabelChecks
    classes: int | None
    size_cache: SizeCache


class ScannedImages(NamedTuple):
    """The results for one chunk: indices of readable images, numbers of boxes `counts`, label rows."""

    indices: list[int]
    file_infos: list[ImageFileInfo]
    counts: list[int]
    rows: NDArray[np.float64]
    problems: list[Problem]
    labeled_count: int
    polygons: int
    duplicates: int
    sideways: int
    resized: int
    classes: list[Sequence[int]]


def scan(
    listing: ImageListing, origin: str, *, checks: LabelChecks, classes: int | None, caches: bool
) -> Dataset:
    """All images and labels of the listing, read and checked; `LabelChecks` sets how faults are treated."""
    large = caches and len(listing.images) >= LEAST and not orientation_rule.ignores
    rules = ScanOptions(checks, len(listing.names) or classes, load_size_cache(origin) if large else {})
    parts = _scan_chunks(listing, rules)
    indices = [index for part in parts for index in part.indices]
    paths = [listing.images[index] for index in indices]
    facts = dict(zip(paths, (fact for part in parts for fact in part.file_infos), strict=True))
    if large and any(rules.size_cache.get(path) is not fact for path, fact in facts.items()):
        save_size_cache(origin, facts)
    problems = [*listing.notes, *(problem for part in parts for problem in part.problems)]
    _refuse_faults(problems, origin, checks)
    _refuse_empty(listing, parts, problems=problems, origin=origin)
    samples = _build_samples(listing, parts, indices)
    if not listing.has_boxes:
        samples.labels = _build_labels(parts)
    names = listing.names or _default_names(samples.columns.classes, classes)
    notes = _notes(parts, origin, listing.format)
    return Dataset(
        names,
        samples,
        origin,
        listing.format,
        tuple(problems + notes),
        listing.category_ids,
        listing.repeated,
        listing.is_labeled,
        listing.has_boxes,
        listing.top,
        annotated=listing.annotated,
        leaves=listing.leaves,
    )


def _scan_chunks(listing: ImageListing, rules: ScanOptions) -> list[ScannedImages]:
    """Chunks in several threads: disk access overlaps, although Python code does not run in parallel."""
    starts = range(0, len(listing.images), CHUNK)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda start: _scan_chunk(listing, start, rules), starts))


def _scan_chunk(listing: ImageListing, start: int, rules: ScanOptions) -> ScannedImages:
    indices: list[int] = []
    facts: list[ImageFileInfo] = []
    lines: list[ImageLabels] = []
    problems: list[Problem] = []
    for index in range(start, min(start + CHUNK, len(listing.images))):
        path = listing.images[index]
        try:
            fact = read_image_info(path, rules.size_cache.get(path))
        except DataError as fault:
            problems.append(Problem(path, 0, fault.message, "image"))
            continue
        indices.append(index)
        facts.append(fact)
        lines.append(listing.read(index, fact.size))
    counts, rows = _check_labels(lines, rules, problems)
    return ScannedImages(
        indices,
        facts,
        counts,
        rows,
        problems,
        sum(bool(one.path) for one in lines),
        sum(one.polygons for one in lines),
        sum(one.duplicates for one in lines),
        sum(one.is_sideways for one in lines),
        sum(one.is_resized for one in lines),
        [one.classes for one in lines],
    )


def _check_labels(
    lines: Sequence[ImageLabels], rules: ScanOptions, problems: list[Problem]
) -> tuple[list[int], NDArray[np.float64]]:
    """The number of boxes per image and the valid rows; faults are appended to `problems`, file by file."""
    owner = np.repeat(np.arange(len(lines)), [len(one.rows) for one in lines])
    numbers = chain.from_iterable(row for one in lines for row in one.rows)
    rows = np.fromiter(numbers, np.float64, len(owner) * WIDTH).reshape(-1, WIDTH)
    checked = check_rows(rows, classes=rules.classes, fix=rules.checks.fix)
    first = np.searchsorted(owner, np.arange(len(lines)))
    found = [(number, place, reason) for number, one in enumerate(lines) for place, reason in one.faults]
    for place, reason in checked.faults:
        number = int(owner[place])
        row_names = lines[number].row_names
        name = row_names[place - first[number]] if row_names else ""
        found.append((number, int(rows[place, 0]), f"{name}: {reason}" if name else reason))
    found.sort(key=lambda fault: fault[:2])
    problems += [Problem(lines[number].path, line, reason) for number, line, reason in found]
    return np.bincount(owner[checked.kept], minlength=len(lines)).tolist(), checked.rows


def _refuse_faults(problems: Sequence[Problem], origin: str, checks: LabelChecks) -> None:
    labels = [problem for problem in problems if problem.kind == "label"]
    images = [problem for problem in problems if problem.kind == "image"]
    if labels and checks.fix is None:
        raise DataFaults(labels, origin, hint=LABEL_HINT)
    if images and checks.strict:
        raise DataFaults(images, origin, hint=IMAGE_HINT)


def _refuse_empty(
    listing: ImageListing, parts: Sequence[ScannedImages], *, problems: Sequence[Problem], origin: str
) -> None:
    """No image at all, or no label file, means a wrong path, so the error lists the paths."""
    if not listing.images:
        raise DataError("no images found", path=origin, found="".join(map(str, problems[:1])))
    readable = [index for part in parts for index in part.indices]
    if not readable:
        raise DataError("no image can be read", path=origin, found=str(problems[0]))
    if not any(part.labeled_count for part in parts):
        tried = "\n           ".join(map(escape, listing.find_label_paths(readable[0])))
        hint = f"tried for the first image, {escape(listing.images[readable[0]])}:\n           {tried}"
        more = listing.label_hint()
        hint += f"\n           {escape(more)}" if more else ""
        found = f"{count_of(len(readable), 'image')}, no label file"
        raise DataError("no labels found", path=origin, found=found, hint=hint)


def _build_samples(listing: ImageListing, parts: Sequence[ScannedImages], indices: Sequence[int]) -> Samples:
    counts = [count for part in parts for count in part.counts]
    sizes = np.array([fact.size for part in parts for fact in part.file_infos], np.int32).reshape(-1, 2)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    paths = [listing.images[index] for index in indices]
    ids = image_ids(paths) if listing.ids is None else [listing.ids[index] for index in indices]
    columns = _build_columns([part.rows for part in parts], np.repeat(sizes, counts, axis=0))
    return Samples(paths, ids, sizes, starts=starts, columns=columns)


def _build_labels(parts: Sequence[ScannedImages]) -> LabelColumn:
    found = [sorted(classes) for part in parts for classes in part.classes]
    starts = np.cumsum([0, *map(len, found)])
    return LabelColumn(starts, np.fromiter(chain.from_iterable(found), np.int64, int(starts[-1])))


def _build_columns(tables: Sequence[NDArray[np.float64]], sizes: NDArray[np.int32]) -> BoxColumns:
    """The rows of all tables by column, each of its own type, without a second copy of all rows at once."""

    def column(first: str, count: int = 1) -> NDArray[np.float64]:
        start = LabelRow._fields.index(first)
        whole = np.concatenate([table[:, start : start + count] for table in tables])
        return whole if count > 1 else whole[:, 0]

    areas = column("area")
    unknown = np.isnan(areas)
    areas[unknown] = (column("width", 2).prod(axis=1) * sizes.prod(axis=1, dtype=np.float64))[unknown]
    crowd = column("crowd")
    return BoxColumns(
        column("cx", 4).astype(np.float32),
        column("class_id").astype(np.int64),
        column("identity").astype(np.int64),
        crowd > 0,
        areas.astype(np.float32),
        crowd == DIFFICULT,
        column("copies").astype(np.int64),
    )


def _default_names(classes: NDArray[np.int64], count: int | None) -> tuple[str, ...]:
    """Class ids as names, for data without class names."""
    return tuple(str(number) for number in range(count or int(classes.max(initial=-1)) + 1))


def _notes(parts: Sequence[ScannedImages], origin: str, kind: str) -> list[Problem]:
    read = sum(len(part.indices) for part in parts)
    bare = read - sum(part.labeled_count for part in parts)
    polygons = sum(part.polygons for part in parts)
    copies = sum(part.duplicates for part in parts)
    sideways = sum(part.sideways for part in parts)
    resized = sum(part.resized for part in parts)
    has, counts = ("has", "counts") if bare == 1 else ("have", "count")
    have = {number: "has" if number == 1 else "have" for number in (sideways, resized)}
    were, they = ("was", "its bounding box") if polygons == 1 else ("were", "their bounding boxes")
    notes = (
        (bare, f"{bare} of {count_of(read, 'image')} {has} no label file and {counts} as background"),
        (polygons, f"{count_of(polygons, 'polygon')} {were} replaced by {they}"),
        (copies, f"{count_of(copies, 'duplicate label')}: each counts once, but every time in Darknet's mAP"),
        (sideways, f"{count_of(sideways, 'image')} {have[sideways]} {SIDEWAYS_NOTE}"),
        (resized, f"{count_of(resized, 'image')} {have[resized]} {RESIZED_NOTES.get(kind)}"),
    )
    return [Problem(origin, 0, text, "note") for count, text in notes if count]
