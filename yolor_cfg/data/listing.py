"""What every format provides: a list of images, class names, and a function that reads labels."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from yolor_cfg.data.extras import ListingExtras
from yolor_cfg.data.label_files import DoubleLabels, LabelFolders, label_paths
from yolor_cfg.data.labels import DIFFICULT, ImageLabels, parse_labels
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.files import MOST_LABEL_BYTES, read_regular, reason_of
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, list_places, read_text, shorter_paths

LINE_END = re.compile("\r\n|\r|\n")
MOST_NAMED = 3
UNREAD_SUFFIXES = tuple(
    ".arw .cr2 .cr3 .dcm .dng .exr .hdr .heic .heif .jxl .nef .psd .raw .svg .tga".split()
)
"""Of files that people keep among their images, and that are not read here."""


class ImageListing(NamedTuple):
    """Images in order; `read(i, size)` returns the labels of image i, `find_label_paths(i)` where it looks.

    `names` is empty if nothing names the classes; with `ids` None the file names are the image ids. `notes`
    are what was found while listing. `is_labeled` is False for images to be tested without labels,
    `has_boxes` where the labels are classes of whole images; `top` is the k of the accuracy wanted for these,
    `leaves` are the names in a class tree that alone are ranked, empty: its leaves. `annotated` are the names
    that images are labelled for, empty: all. `joined` is the number of the list
    that each image is in, where the identities of each list are its own. `extras` is what annotations have
    beside classes and boxes, None where they have nothing else. `label_hint` tells what to do if no image has
    a label file, besides looking for it.
    """

    format: str
    names: tuple[str, ...]
    images: Sequence[str]
    read: Callable[[int, Size], ImageLabels]
    find_label_paths: Callable[[int], Sequence[str]]
    ids: Sequence[int | str] | None = None
    notes: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ()
    is_labeled: bool = True
    has_boxes: bool = True
    top: int = 0
    annotated: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    joined: Mapping[str, int] = MappingProxyType({})
    extras: ListingExtras | None = None
    label_hint: Callable[[], str] = str


NO_LINES: Mapping[str, str] = {}
LabelPaths = Callable[[str], Sequence[str]]


class ListedImages(NamedTuple):
    """Images in order; `repeated`: those listed again, once for each further time; what was found besides;
    and of images in a list the lines that name them."""

    images: Sequence[str]
    repeated: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    lines: Mapping[str, str] = NO_LINES


def text_label_listing(
    format: str,
    names: Sequence[str],
    listed: ListedImages,
    *,
    paths_of: LabelPaths = label_paths,
    difficult: Mapping[str, str] | None = None,
) -> ImageListing:
    """Images whose labels are text files; `paths_of` gives the places to look, best first; `difficult` maps
    an image to another one whose labels are its difficult objects."""
    images, others = listed.images, difficult or {}
    folders = LabelFolders(images, paths_of)

    def read(index: int, size: Size) -> ImageLabels:
        labels = _read_text_labels(folders.find(images[index]))
        other = others.get(images[index])
        if other is None:
            return labels
        return _add_difficult(labels, _read_text_labels(paths_of(other)))

    def tries(index: int) -> Sequence[str]:
        return paths_of(images[index])

    notes = (*listed.problems, *_double_notes(folders.doubles), *_shared_notes(images))
    return ImageListing(format, tuple(names), images, read, tries, notes=notes, repeated=listed.repeated)


def _double_notes(doubles: Sequence[DoubleLabels]) -> tuple[Problem, ...]:
    if not doubles:
        return ()
    first = doubles[0]
    count = count_of(len(doubles), "image") + (" has" if len(doubles) == 1 else " have")
    text = f"{count} two label files: {first.used} is read, {first.unused} is not"
    return (Problem(first.image, 0, text, "note"),)


def _shared_notes(images: Sequence[str]) -> tuple[Problem, ...]:
    """The images that have one label file together, since only their suffixes differ."""
    first: dict[str, str] = {}
    shared = [
        (other, image)
        for image in images
        if (other := first.setdefault(image.rpartition(".")[0], image)) != image
    ]
    if not shared:
        return ()
    count = count_of(len(shared), "image") + (" shares" if len(shared) == 1 else " share")
    text = f"{count} the label file of another image: {' and '.join(shared[0])} do"
    return (Problem(shared[0][1], 0, text, "note"),)


def repeated_names(names: Sequence[str]) -> list[tuple[int, int, str]]:
    """The indices of two classes of one name, and the reason to tell."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, number), number) for number, name in enumerate(names)]
    return [
        (one, two, f"both are called {names[two]!r}, and stay two classes")
        for one, two in pairs
        if one != two
    ]


def _read_text_labels(paths: Iterable[str]) -> ImageLabels:
    for path in paths:
        try:
            return parse_labels(read_regular(path, MOST_LABEL_BYTES), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as fault:
            return ImageLabels(path, faults=[(0, reason_of(fault))])
    return ImageLabels("")


def _add_difficult(labels: ImageLabels, difficult: ImageLabels) -> ImageLabels:
    """The labels with those of another file, as difficult objects that are named by that file and line."""
    places = [f"{difficult.path}:{row.line}" for row in difficult.rows]
    rows = [row._replace(line=0, crowd=DIFFICULT) for row in difficult.rows]
    faults = [(0, f"{difficult.path}:{line}: {reason}") for line, reason in difficult.faults]
    return labels._replace(
        path=labels.path or difficult.path,
        rows=[*labels.rows, *rows],
        faults=[*labels.faults, *faults],
        row_names=[*[""] * len(labels.rows), *places],
    )


def find_images(place: str, bases: Sequence[str | Path], *, needs_images: bool = True) -> ListedImages:
    """All images of a folder and its subfolders, sorted; or a single image; or those in a list file, of which
    one must exist if `needs_images`."""
    if os.path.isdir(place):
        return _folder_images(place)
    if place.lower().endswith(READABLE_SUFFIXES):
        return ListedImages([place])
    places = list(dict.fromkeys(os.path.abspath(base) for base in [os.path.dirname(place), *bases]))
    lines = _read_list_lines(place)
    images = [_resolve_line(line, places) for line in lines]
    if not needs_images or not images or any(map(os.path.exists, images)):
        return ListedImages(images, lines=dict(zip(images, lines, strict=True)))
    cut = _find_cut(lines[0], places)
    if not cut:
        hint = f"looked for {list_places([lines[0], *shorter_paths(lines[0])], places)}"
        raise DataError("no image of this list exists", path=place, found=lines[0], hint=hint)
    note = f"its paths start with {cut}, which is not there: they are read without it"
    images = [_resolve_line(line.removeprefix(cut), places) for line in lines]
    problems = (Problem(place, 0, note, "note"),)
    return ListedImages(images, problems=problems, lines=dict(zip(images, lines, strict=True)))


def unique_images(listed: ListedImages, split: SplitName) -> ListedImages:
    """For training an image may be listed several times, to weigh more; in a test it counts once, but in
    Darknet's mAP as often as it is listed."""
    if split == "train":
        return listed
    counts = Counter(listed.images)
    again = (image for image, count in counts.items() for _ in range(count - 1))
    return listed._replace(images=list(counts), repeated=tuple(again))


def join_lists(parts: Sequence[ListedImages]) -> ListedImages:
    """The images of all parts, in order."""
    images = [image for part in parts for image in part.images]
    return ListedImages(images, problems=tuple(problem for part in parts for problem in part.problems))


def _folder_images(folder: str) -> ListedImages:
    """Skips hidden files and folders. A folder that cannot be read is told, and so are a link to one that is
    read already, which would repeat its images, and images of kinds that are not read."""
    images: list[str] = []
    unread: list[str] = []
    problems: list[Problem] = []
    seen: set[str] = set()

    def refuse(fault: OSError) -> None:
        problems.append(Problem(str(fault.filename), 0, reason_of(fault), "image"))

    for above, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(above)
        if real in seen:
            problems.append(Problem(above, 0, f"a link to {real}, which is read already: left out", "note"))
            folders.clear()
            continue
        seen.add(real)
        shown = [name for name in names if not name.startswith(".")]
        images += [os.path.join(above, name) for name in shown if name.lower().endswith(READABLE_SUFFIXES)]
        unread += [os.path.join(above, name) for name in shown if name.lower().endswith(UNREAD_SUFFIXES)]
    return ListedImages(sorted(images), problems=(*problems, *_unread_notes(folder, sorted(unread))))


def _unread_notes(folder: str, unread: Sequence[str]) -> Iterator[Problem]:
    if unread:
        more = f" and {len(unread) - MOST_NAMED} more" if len(unread) > MOST_NAMED else ""
        verb = "is" if len(unread) == 1 else "are"
        kinds = f"{count_of(len(unread), 'image')} of kinds that are not read {verb} left out"
        yield Problem(folder, 0, f"{kinds}: {', '.join(unread[:MOST_NAMED])}{more}", "note")


def _read_list_lines(path: str) -> list[str]:
    """Names that are not UTF-8 keep their bytes, as those of files do."""
    text = read_text(path, errors="surrogateescape")
    lines = [line.strip().replace("\\", "/") for line in LINE_END.split(text)]
    return [line for line in lines if line and not line.startswith("#")]


def _find_cut(line: str, bases: Sequence[str]) -> str:
    """The folders of another computer that a path starts with, as CVAT's `data/`: without them the image is
    there. Empty if it is nowhere."""
    shorter = next((text for text in shorter_paths(line) if first_existing(text, bases)), None)
    return line.removesuffix(shorter) if shorter else ""


def _resolve_line(line: str, bases: Sequence[str]) -> str:
    """A path that does not exist is kept relative to the first folder, to be reported as unreadable."""
    return first_existing(line, bases) or os.path.normpath(os.path.join(bases[0], line))


def image_ids(images: Sequence[str]) -> list[int | str]:
    """The file stems, as numbers where they are numeric; the full paths if two stems are equal."""
    ids = list(map(stem_id, images))
    return ids if len(set(ids)) == len(set(images)) else list(images)


def stem_id(image: str) -> int | str:
    """The file stem, as a number where it is numeric."""
    stem = os.path.splitext(os.path.basename(image))[0]
    return int(stem) if stem.isascii() and stem.isdecimal() else stem
