"""The classes of a data set, renumbered to match a network's: by name, if both sides have names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from yolor_cfg.data.types import Dataset, LabelColumn, Problem, Sample, Samples
from yolor_cfg.errors import DataError

MOST_NAMES = 20
"""How many names of a list an error shows."""


def match_classes(dataset: Dataset, names: Sequence[str], *, source: str, by_number: bool) -> Dataset:
    """The data set with its classes numbered as in `names`, those of `source`; a note tells of any change.

    Names match regardless of case and of spaces, hyphens and underscores between words. If either side has
    only numbers for names, or with `by_number`, class ids stay as they are. Raises DataError, which shows
    both lists, if the two sets of names differ.
    """
    theirs, ours = [plain_name(name) for name in names], [plain_name(name) for name in dataset.names]
    if by_number or theirs == ours or not (are_names(theirs) and are_names(ours)):
        return dataset
    if sorted(theirs) != sorted(ours):
        raise DataError(
            f"the data set has other classes than {source}",
            path=dataset.origin,
            found=format_names(dataset.names),
            allowed=format_names(names),
            hint="--by-number takes the class ids as they are",
        )
    order = [ours.index(name) for name in theirs]
    note = f"classes are numbered by their names, as in {source}: {format_names(names)}"
    return dataset._replace(
        names=tuple(names),
        samples=renumber(dataset.samples, np.argsort(order)),
        problems=(*dataset.problems, Problem(dataset.origin, 0, note, "note")),
        category_ids=tuple(dataset.category_ids[old] for old in order) if dataset.category_ids else (),
    )


def plain_name(name: str) -> str:
    """The form in which names are compared."""
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()


def are_names(names: Sequence[str]) -> bool:
    """True for a list of distinct names that are not all class ids."""
    return len(set(names)) == len(names) > 0 and not all(name.isdecimal() for name in names)


def format_names(names: Sequence[str]) -> str:
    """The names for an error, the first of a long list."""
    more = f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def pick_annotated(given: Sequence[str], names: Sequence[str], path: str) -> tuple[str, ...]:
    """The names of the classes that a data set says that it labels; raises DataError for others, and for
    none: nobody can tell whether no class is labelled or the key was left to be filled in."""
    if not given:
        hint = "leave out the key where the images are labelled for all classes"
        raise DataError("names no class", path=path, key="annotated", allowed=format_names(names), hint=hint)
    known = [plain_name(name) for name in names]
    strange = [name for name in given if plain_name(name) not in known]
    if strange:
        raise DataError(
            "not a class of this data set",
            path=path,
            key="annotated",
            found=format_names(strange),
            allowed=format_names(names),
        )
    return tuple(name for name, plain in zip(names, known, strict=True) if plain in map(plain_name, given))


def renumber(samples: Sequence[Sample], new_ids: np.ndarray) -> Sequence[Sample]:
    """The samples with class id k replaced by `new_ids[k]`."""
    if not isinstance(samples, Samples):
        return tuple(sample._replace(classes=new_ids[sample.classes]) for sample in samples)
    columns = samples.columns._replace(classes=new_ids[samples.columns.classes])
    labels = samples.labels and _renumber_labels(samples.labels, new_ids)
    return Samples(
        samples.paths, samples.ids, samples.sizes, starts=samples.starts, columns=columns, labels=labels
    )


def _renumber_labels(labels: LabelColumn, new_ids: np.ndarray) -> LabelColumn:
    """The classes of each image, ascending again."""
    image = np.repeat(np.arange(len(labels.starts) - 1), np.diff(labels.starts))
    classes = new_ids[labels.classes]
    return labels._replace(classes=classes[np.lexsort((classes, image))])
