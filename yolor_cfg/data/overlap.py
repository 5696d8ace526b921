"""What the splits of a data set have in common and should not: images, and classes under two spellings."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from yolor_cfg.data.types import Dataset, Problem, Sample, Samples
from yolor_cfg.images.types import Size

SHORT_NAME = 3
"""Names up to this length differ by one letter without being misspelt: cat, car."""
MOST_NAMES = 1000
BLOCK = 2**20
SAMPLES_SHOWN = 3


def overlap_notes(splits: Mapping[str, Dataset]) -> list[Problem]:
    """A note for each pair of splits that share images, and for each class that looks misspelt."""
    notes = [
        note
        for (left, one), (right, other) in combinations(splits.items(), 2)
        for note in _pair_notes(left, one, right, other=other)
    ]
    names = list(dict.fromkeys(name for data in splits.values() for name in data.names))
    origin = next(iter(splits.values())).origin
    spelt = [f"the classes {a!r} and {b!r} differ by {how}" for a, b, how in similar_names(names)]
    return [*notes, *(Problem(origin, 0, text, "note") for text in spelt)]


def shared_paths(one: Dataset, other: Dataset) -> list[str]:
    """The images of `other` that both list, by whatever links."""
    if one.samples is other.samples:
        return image_paths(one.samples)
    known = set(_real_paths(one))
    paths = image_paths(other.samples)
    return [path for path, real in zip(paths, _real_paths(other), strict=True) if real in known]


def image_paths(samples: Sequence[Sample]) -> list[str]:
    """The path of each image."""
    return list(samples.paths) if isinstance(samples, Samples) else [sample.image for sample in samples]


def _real_paths(data: Dataset) -> Iterator[str]:
    """The paths without links; every folder is looked up once, a file only if it is a link."""
    folders: dict[str, str] = {}
    for path in image_paths(data.samples):
        folder, _, name = path.rpartition(os.sep)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder or ".")
        yield os.path.realpath(path) if os.path.islink(path) else f"{folders[folder]}{os.sep}{name}"


def sharing_note(left: str, right: str, *, count: int, total: int, shown: Sequence[str]) -> str:
    """The sentence for images that stand in two splits."""
    whole = "the only image" if total == 1 else f"all {total} images"
    many = whole if count == total else f"{count} of {total} images"
    verb = "stands" if count == 1 else "stand"
    return f"{many} of {right} {verb} in {left} too: {', '.join(shown)}"


def _pair_notes(left: str, one: Dataset, right: str, *, other: Dataset) -> Iterator[Problem]:
    total = len(other.samples)
    same = shared_paths(one, other)
    if same:
        shown = same[:SAMPLES_SHOWN]
        text = sharing_note(left, right, count=len(same), total=total, shown=shown)
        yield Problem(other.origin, 0, text, "note")
    if len(same) == total:
        return
    copies = _equal_images(one.samples, other.samples, skipped=frozenset(same))
    if copies:
        shown = [f"{a} and {b}" for a, b in copies[:SAMPLES_SHOWN]]
        text = sharing_note(left, right, count=len(copies), total=total, shown=shown)
        yield Problem(other.origin, 0, f"{text} (the same content)", "note")
    if one.names != other.names:
        text = f"{left} and {right} have other classes: {', '.join(one.names)}; {', '.join(other.names)}"
        yield Problem(other.origin, 0, text, "note")


def _equal_images(
    some: Iterable[Sample], others: Iterable[Sample], *, skipped: frozenset[str]
) -> list[tuple[str, str]]:
    """Pairs of images with the same bytes; only those of one size in pixels and in bytes are read."""
    sizes = {sample.size for sample in some}
    candidates = [one for one in others if one.size in sizes and one.image not in skipped]
    if not candidates:
        return []
    left, right = (
        _group_by_length(some, {one.size for one in candidates}),
        _group_by_length(candidates, sizes),
    )
    pairs = []
    for length in left.keys() & right.keys():
        known = {digest_file(path): path for path in left[length]}
        digests = [(digest_file(path), path) for path in right[length]]
        pairs += [(known[digest], path) for digest, path in digests if digest in known]
    return sorted(pairs)


def _group_by_length(samples: Iterable[Sample], sizes: set[Size]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for sample in samples:
        if sample.size in sizes:
            found[os.stat(sample.image).st_size].append(sample.image)
    return found


def digest_file(path: str) -> bytes:
    """A digest of the file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


def similar_names(names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Pairs of names that differ by case, or by one letter, and how; a digit makes another class."""
    for one, other in combinations(names[:MOST_NAMES], 2):
        if one.casefold() == other.casefold():
            yield one, other, "case"
        elif max(len(one), len(other)) > SHORT_NAME and _is_one_letter_off(one.casefold(), other.casefold()):
            yield one, other, "one letter"


def _is_one_letter_off(one: str, other: str) -> bool:
    """Whether one letter is another, missing, or too many, or two are exchanged."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    start = len(os.path.commonprefix([short, long]))
    end = len(os.path.commonprefix([short[start:][::-1], long[start:][::-1]]))
    rest, other_rest = short[start : len(short) - end], long[start : len(long) - end]
    swapped = len(rest) == len(other_rest) == 2 and rest == other_rest[::-1]
    return (len(rest) <= 1 and len(other_rest) <= 1 or swapped) and (rest + other_rest).isalpha()
