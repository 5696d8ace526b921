"""Several data sets as one: their images in a row, their classes in one list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.classes import are_names, format_names, plain_name, renumber
from yolor_cfg.data.overlap import shared_paths, sharing_note, similar_names
from yolor_cfg.data.types import BoxColumns, DataPart, Dataset, LabelColumn, Problem, Sample, Samples
from yolor_cfg.errors import DataError, count_of

TASK_AND_PATH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})=(.+)", re.ASCII | re.DOTALL)
HALF = re.compile(r"=.*|[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}=", re.ASCII | re.DOTALL)
"""One of the two alone."""


class GivenData(NamedTuple):
    """A data set as it was given: where it is, and the task that it teaches, "" if none is said."""

    path: str
    task: str = ""

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.task}={self.path}" if self.task else self.path


def parse_given(text: str) -> GivenData:
    """`PATH` or `TASK=PATH`; what is there as a file or folder by its whole name is a path. Raises DataError
    if one of the two is empty."""
    found = TASK_AND_PATH.fullmatch(text)
    if HALF.fullmatch(text) and not os.path.lexists(text):
        what = "no task before the =" if text.startswith("=") else "no path behind the ="
        raise DataError(what, found=text, allowed="PATH or TASK=PATH")
    if found is None or os.path.lexists(text):
        return GivenData(text)
    return GivenData(found[2], found[1])


def unite_names(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All names, in the order in which they come up first; regardless of case, and of spaces, hyphens and
    underscores between words. Where a list has only class ids for names, the longest list counts."""
    if not all(are_names([plain_name(name) for name in names]) for names in lists):
        return _longest(lists)
    first: dict[str, str] = {}
    for name in (name for names in lists for name in names):
        first.setdefault(plain_name(name), name)
    return tuple(first.values())


def _longest(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted(lists, key=lambda names: -len(names))[0])


def unite(
    datasets: Sequence[Dataset],
    given: Sequence[GivenData],
    names: Mapping[str, Sequence[str]],
    *,
    by_number: bool = False,
) -> Dataset:
    """One data set of all these, with a part for each; data sets of one task share a list of classes: that of
    their union, or that of the task in `names`, which then must have all of their classes. A single one that
    labels all of its classes stays as it is."""
    lists = _class_lists(datasets, given, names, by_number=by_number)
    titles = title_parts(given)
    numbered = [
        _renumber_part(dataset, lists[one.task], by_number=by_number)
        for dataset, one in zip(datasets, given, strict=True)
    ]
    if len(numbered) == 1 and not given[0].task and len(numbered[0].known) == len(lists[""]):
        return numbered[0].dataset
    firsts = np.cumsum([0, *(len(one.dataset.samples) for one in numbered)]).tolist()
    parts = tuple(
        DataPart(
            title,
            one.dataset.origin,
            source.task,
            first,
            len(one.dataset.samples),
            one.dataset.names,
            one.known,
            one.dataset.has_boxes,
            one.dataset.top,
            leaves=one.dataset.leaves,
        )
        for title, source, one, first in zip(titles, given, numbered, firsts, strict=False)
    )
    return _join([one.dataset for one in numbered], parts)


def append_unlabeled(dataset: Dataset, more: Sequence[Dataset], titles: Sequence[str]) -> Dataset:
    """The data set with images without labels behind its own, as parts that label nothing. `titles` are the
    names of all parts."""
    count = len(titles) - len(more)
    parts = list(dataset.parts or [whole_part(dataset)._replace(name=titles[0])])
    first = len(dataset.samples)
    for title, one in zip(titles[count:], more, strict=True):
        part = whole_part(one)._replace(name=title, first=first, known=(), is_labeled=False)
        parts.append(part)
        first += part.images
    return dataset._replace(
        samples=_join_samples([one.samples for one in (dataset, *more)]),
        problems=tuple(problem for one in (dataset, *more) for problem in one.problems),
        parts=tuple(parts),
    )


def select_part(dataset: Dataset, part: DataPart) -> Dataset:
    """One of the data sets that it is made of, by itself, in the numbers of its part."""
    return dataset._replace(
        names=part.names,
        samples=dataset.samples[part.rows],
        origin=part.origin,
        problems=(),
        category_ids=(),
        has_boxes=part.has_boxes,
        top=part.top,
        leaves=part.leaves,
        parts=(),
        annotated=tuple(part.names[k] for k in part.known) if part.unknown else (),
    )


def has_part_of(names: Sequence[str], ours: Sequence[str]) -> bool:
    """Whether a list of classes has all of ours, by name, and more."""
    theirs, mine = ([plain_name(name) for name in each] for each in (names, ours))
    return are_names(theirs) and are_names(mine) and set(mine) < set(theirs)


def extend_names(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set in the numbers of a longer list of classes, of which it labels its own."""
    whole = unite([dataset], [GivenData(dataset.origin)], {"": names})
    return select_part(whole, whole.parts[0])._replace(problems=dataset.problems)


def labeled_note(dataset: Dataset) -> tuple[Problem, ...]:
    """What to tell of a test where not all classes are labelled."""
    if not dataset.annotated:
        return ()
    known = format_names([dataset.names[k] for k in dataset.known])
    count = f"{len(dataset.known)} of {count_of(len(dataset.names), 'class')}"
    text = f"{count} are labelled: {known}; predictions of the others are left out"
    return (Problem(dataset.origin, 0, text, "note"),)


def whole_part(dataset: Dataset) -> DataPart:
    """A data set of one piece as its only part, which labels all classes."""
    count, names, top = len(dataset.samples), dataset.names, dataset.top
    known, boxes = tuple(range(len(names))), dataset.has_boxes
    return DataPart("", dataset.origin, "", 0, count, names, known, boxes, top, leaves=dataset.leaves)


def _class_lists(
    datasets: Sequence[Dataset],
    given: Sequence[GivenData],
    names: Mapping[str, Sequence[str]],
    *,
    by_number: bool,
) -> dict[str, tuple[str, ...]]:
    """The list of classes of each task."""
    lists: dict[str, tuple[str, ...]] = {}
    for task in dict.fromkeys(one.task for one in given):
        own = [dataset.names for dataset, one in zip(datasets, given, strict=True) if one.task == task]
        united = _longest(own) if by_number else unite_names(own)
        lists[task] = tuple(names.get(task) or united)
    return lists


class NumberedPart(NamedTuple):
    """A data set with its classes numbered as in a longer list, and those of them that it labels."""

    dataset: Dataset
    known: tuple[int, ...]


def _renumber_part(dataset: Dataset, names: tuple[str, ...], *, by_number: bool) -> NumberedPart:
    ours, theirs = [[plain_name(name) for name in each] for each in (dataset.names, names)]
    order = np.arange(len(ours))
    if not by_number and are_names(ours) and are_names(theirs):
        _refuse_missing(dataset, names, [name for name in ours if name not in theirs])
        order = np.array([theirs.index(name) for name in ours], np.int64)
    elif len(ours) > len(names):
        _refuse_missing(dataset, names, dataset.names[len(names) :])
    annotated = [plain_name(name) for name in dataset.annotated] or ours
    known = tuple(sorted(order[ours.index(name)].item() for name in annotated))
    same = np.array_equal(order, np.arange(len(ours)))
    samples = dataset.samples if same else renumber(dataset.samples, order)
    ids = dataset.category_ids if len(ours) == len(names) and same else ()
    return NumberedPart(dataset._replace(names=names, samples=samples, category_ids=ids), known)


def _refuse_missing(dataset: Dataset, names: Sequence[str], missing: Sequence[str]) -> None:
    if missing:
        raise DataError(
            "classes that are not in the list of classes",
            path=dataset.origin,
            found=format_names(missing),
            allowed=format_names(names),
            hint="--by-number takes the class ids as they are",
        )


def title_parts(given: Sequence[GivenData]) -> tuple[str, ...]:
    """Short names that tell the data sets apart: of the file, of its folder, or both; else with a number."""
    places = [os.path.splitext(os.path.abspath(one.path))[0].split(os.sep) for one in given]
    depth = max(map(len, places))
    choices = [[place[-1] for place in places], [place[-2:][0] for place in places]]
    choices += [["/".join(place[-count:]) for place in places] for count in range(2, depth + 1)]
    choices += [[f"{one.task}-{place[-1]}" for one, place in zip(given, places, strict=True)]]
    choices += [[f"{place[-1]}-{number}" for number, place in enumerate(places, 1)]]
    return tuple(next(titles for titles in choices if len(set(titles)) == len(titles)))


def _join(datasets: Sequence[Dataset], parts: tuple[DataPart, ...]) -> Dataset:
    """All images in a row. Their notes are told too, and what concerns them together."""
    first = datasets[0]
    problems = [problem for dataset in datasets for problem in dataset.problems]
    return first._replace(
        samples=_join_samples([dataset.samples for dataset in datasets]),
        format=first.format if len(datasets) == 1 else "several",
        problems=(*problems, *_notes(datasets, parts)),
        repeated=tuple(image for dataset in datasets for image in dataset.repeated),
        is_labeled=all(dataset.is_labeled for dataset in datasets),
        has_boxes=any(dataset.has_boxes for dataset in datasets),
        parts=parts,
    )


def _join_samples(sources: Sequence[Sequence[Sample]]) -> Samples:
    columns = [samples for samples in sources if isinstance(samples, Samples)]
    assert len(columns) == len(sources)
    starts = _join_starts([samples.starts for samples in columns])
    labels = None
    if any(samples.labels is not None for samples in columns):
        labels = _join_labels([samples.labels or _labels_of_boxes(samples) for samples in columns])
    return Samples(
        [path for samples in columns for path in samples.paths],
        [key for samples in columns for key in samples.ids],
        np.concatenate([samples.sizes for samples in columns]),
        starts=starts,
        columns=BoxColumns(*map(np.concatenate, zip(*shift_identities(columns), strict=True))),
        labels=labels,
    )


def shift_identities(sources: Sequence[Samples]) -> Iterator[BoxColumns]:
    """The labels of data sets, whose identities follow those of the data sets before, as in JDE: by the sum
    of their largest identities plus 1 each; unknown ones (-1) stay so."""
    first = 0
    for columns in (samples.columns for samples in sources):
        who = columns.identities
        yield columns._replace(identities=np.where(who >= 0, who + first, who))
        first += int(who.max(initial=-1)) + 1


def _join_starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    shifts = np.cumsum([0, *(int(starts[-1]) for starts in parts)])
    return np.concatenate(
        [starts[:-1] + shift for starts, shift in zip(parts, shifts, strict=False)] + [shifts[-1:]]
    )


def _labels_of_boxes(samples: Samples) -> LabelColumn:
    found = [sample.image_classes for sample in samples]
    starts = np.cumsum([0, *map(len, found)])
    return LabelColumn(starts, np.concatenate([np.zeros(0, np.int64), *found]))


def _join_labels(parts: Sequence[LabelColumn]) -> LabelColumn:
    classes = np.concatenate([part.classes for part in parts])
    return LabelColumn(_join_starts([part.starts for part in parts]), classes)


def _notes(datasets: Sequence[Dataset], parts: Sequence[DataPart]) -> Iterator[Problem]:
    """Which data set labels which classes; images that stand in two; classes that may be one, misspelt."""
    for task in dict.fromkeys(part.task for part in parts):
        members = [part for part in parts if part.task == task]
        origin = f"task {task}" if task else ", ".join(part.name for part in members)
        for text in class_table(members):
            yield Problem(origin, 0, text, "note")
        for one, other, how in similar_names(members[0].names) if len(members) > 1 else ():
            yield Problem(origin, 0, f"the classes {one!r} and {other!r} differ by {how}", "note")
    pairs = combinations(zip(datasets, parts, strict=True), 2)
    for (one_data, one_part), (other_data, other_part) in pairs:
        same = shared_paths(one_data, other_data) if one_part.task == other_part.task else []
        if same:
            text = sharing_note(
                one_part.name,
                other_part.name,
                count=len(same),
                total=len(other_data.samples),
                shown=same[:1],
            )
            yield Problem(other_part.origin, 0, text, "note")


def class_table(parts: Sequence[DataPart]) -> Iterator[str]:
    """For each group of classes that the same data sets label, a line with both."""
    names = parts[0].names if parts else ()
    labelers = [tuple(part.name for part in parts if k in part.known) for k in range(len(names))]
    for group in dict.fromkeys(labelers):
        members = [name for name, those in zip(names, labelers, strict=True) if those == group]
        who = " and ".join(group) if group else "no data set, so nothing is learned of"
        verb = "" if not group else " label" if len(group) > 1 else " labels"
        yield f"{who}{verb} {count_of(len(members), 'class')}: {format_names(members)}"
