"""Darknet's `.data` file for classifiers: the classes of an image are the lines of the `labels=` file that
occur in its path (load_labels_paths in data.c)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from yolor_cfg.data.label_files import darknet_label_paths
from yolor_cfg.data.labels import ImageLabels
from yolor_cfg.data.listing import ImageListing, ListedImages, repeated_names
from yolor_cfg.data.types import Problem
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.images.types import Size
from yolor_cfg.names import COMMENT_BEHIND, data_folders, locate, read_names_file

NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def list_by_path(listed: ListedImages, options: Mapping[str, str], path: str) -> ImageListing:
    """The images with their classes. As in C Darknet, paths count as they are listed, every line of
    `labels=` that occurs in one counts, and of both files only the first `classes=` lines are read."""
    labels, names, notes = _read_classes(options, path)
    images = listed.images
    lines = [listed.lines.get(image, image) for image in images]
    classes = [tuple(k for k, label in enumerate(labels) if label in line) for line in lines]

    def read(index: int, size: Size) -> ImageLabels:
        return ImageLabels(path, classes=classes[index])

    return ImageListing(
        "darknet",
        names,
        images,
        read,
        lambda index: darknet_label_paths(images[index]),
        notes=(*listed.problems, *notes, *_count_notes(classes, path)),
        repeated=listed.repeated,
        has_boxes=False,
        top=_read_number(options, "top", path) or 0,
    )


def _read_classes(
    options: Mapping[str, str], path: str
) -> tuple[tuple[str, ...], tuple[str, ...], list[Problem]]:
    """What is looked for in paths, how the classes are called, and what is to be told."""
    place = locate(options["labels"], data_folders(path), what="labels", path=path)
    labels = read_names_file(place)
    names = labels
    if "names" in options:
        names = read_names_file(locate(options["names"], data_folders(path), what="names", path=path))
    count = _read_number(options, "classes", path) or len(labels)
    for key, found in (("labels", labels), ("names", names)):
        if len(found) < count:
            allowed = f"{count_of(count, 'line')} or more, by classes="
            found_text = f"{count_of(len(found), 'line')} in {options.get(key, options['labels'])}"
            raise DataError("too few classes", path=path, key=key, found=found_text, allowed=allowed)
    notes = [
        Problem(place, second + 1, f"classes {first} and {second}: {reason}", "note")
        for first, second, reason in repeated_names(labels[:count])
    ]
    if "classes" not in options:
        text = f"no classes=: all {count_of(count, 'line')} of {options['labels']} count; C Darknet takes 2"
        notes.append(Problem(path, 0, text, "note"))
    return labels[:count], names[:count], notes


def _read_number(options: Mapping[str, str], key: str, path: str) -> int | None:
    text = COMMENT_BEHIND.sub("", options.get(key, ""))
    if text and not NUMBER.fullmatch(text):
        raise DataError("not a number", path=path, key=key, found=text, allowed="a whole number from 1 on")
    return int(text) if text else None


def _count_notes(classes: Sequence[tuple[int, ...]], path: str) -> list[Problem]:
    bare, several = sum(not one for one in classes), sum(len(one) > 1 for one in classes)
    of = count_of(len(classes), "path")
    notes = (
        (bare, f"{bare} of {of} contain no line of labels=: such an image has no class"),
        (several, f"{several} of {of} contain several lines of labels=: all count, in a test the first"),
    )
    return [Problem(path, 0, text, "note") for count, text in notes if count]
