"""A YOLO YAML file: `path`; `train`, `val`, `test`: folders or list files; `names`: a list or a map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from yolor_cfg.data.classes import pick_annotated
from yolor_cfg.data.formats import coco
from yolor_cfg.data.listing import (
    ImageListing,
    find_images,
    join_lists,
    repeated_names,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.splits import SPLIT_WORDS, missing_split
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.errors import HUGE, DataError, count_of, describe
from yolor_cfg.lang.yaml_text import read_yaml
from yolor_cfg.names import locate, number_classes

KEYS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
SPLIT_FOLDERS = frozenset(word for words in SPLIT_WORDS.values() for word in words)


def list_images(path: str, split: SplitName) -> ImageListing:
    """The images of one split; paths are relative to `path:`, to the file or to the working directory."""
    content = _read_document(path)
    bases = _base_folders(content, path)
    key = next((key for key in KEYS[split] if content.get(key)), None)
    if key is None:
        found = describe([*content]) if content else "no key"
        raise missing_split(split, path, found=found, allowed=KEYS[split])
    given = content[key] if isinstance(content[key], list) else [content[key]]
    places = [_resolve_path(_text(text, key, path), bases, key=key, path=path) for text in given]
    names = _names(content, path)
    if any(place.lower().endswith(".json") for place in places):
        listing = _list_json(places, names, key=key, path=path)
        return listing._replace(annotated=_annotated_names(content, listing.names, path))
    listed = join_lists([find_images(place, bases) for place in places])
    listing = text_label_listing("yolo", names, unique_images(listed, split))
    notes = [
        Problem(path, 0, f"names {first} and {second}: {reason}", "note")
        for first, second, reason in repeated_names(names)
    ]
    annotated = _annotated_names(content, names, path)
    return listing._replace(notes=(*listing.notes, *notes), annotated=annotated)


def _annotated_names(content: dict[str, Any], names: Sequence[str], path: str) -> tuple[str, ...]:
    """The classes that the images are labelled for, by the key `annotated` (ours): a list of names."""
    if "annotated" not in content:
        return ()
    given = content["annotated"]
    listed = [] if given in (None, "") else given if isinstance(given, list) else [given]
    return pick_annotated([_text(name, "annotated", path) for name in listed], names, path)


def _list_json(places: Sequence[str], names: Sequence[str], *, key: str, path: str) -> ImageListing:
    """The images of the one COCO JSON that the key names."""
    if len(places) > 1:
        raise DataError(
            "a COCO JSON stands alone", path=path, key=key, found=", ".join(places), allowed="one .json file"
        )
    return coco.list_document(places[0], names)


def _read_document(path: str) -> dict[str, Any]:
    content = read_yaml(path, fault=DataError, what="the data file", texts=("names",))
    if not isinstance(content, dict):
        raise DataError("has no keys", path=path, allowed="path, train, val, test, nc, names")
    return content


def _base_folders(content: dict[str, Any], path: str) -> list[str]:
    folder = os.path.dirname(path) or "."
    root = _text(content["path"], "path", path) if content.get("path") else ""
    return [*([os.path.join(folder, root), root] if root else []), folder, "."]


def _resolve_path(text: str, bases: list[str], *, key: str, path: str) -> str:
    """Roboflow writes ../train/images for a folder beside the YAML file, so that is tried too; images/ would
    be that of all splits."""
    inside = [text.removeprefix("../")] if text.startswith("../") else []
    return locate(text, bases, what=key, path=path, others=inside, kept=SPLIT_FOLDERS)


def _names(content: dict[str, Any], path: str) -> tuple[str, ...]:
    """A list in order of class id, or a map from every id 0..K-1; `nc` must match, or may stand alone."""
    given, count = content.get("names"), content.get("nc")
    if count is not None and not isinstance(count, int):
        raise DataError("not a whole number", path=path, key="nc", found=describe(count))
    if isinstance(given, dict):
        given = _order_names(given, path)
    if given is None:
        return number_classes(count or 0, path)
    if not isinstance(given, list):
        raise DataError("not a list of names", path=path, key="names", found=describe(given))
    names = tuple(_text(name, "names", path) for name in given)
    if count is not None and count != len(names):
        found = f"nc={describe(count)}, {count_of(len(names), 'name')}"
        raise DataError("does not match the number of names", path=path, key="nc", found=found)
    return names


def _order_names(given: dict[Any, Any], path: str) -> list[Any]:
    numbers = sorted(number for number in given if isinstance(number, int))
    if numbers != list(range(len(given))):
        allowed = f"0..{len(given) - 1}, each once"
        raise DataError("wrong class ids", path=path, key="names", found=describe([*given]), allowed=allowed)
    return [given[number] for number in numbers]


def _text(value: object, key: str, path: str) -> str:
    """The value as a name or a path; raises DataError for a list or a map."""
    if not isinstance(value, str | int | float) or describe(value) == HUGE:
        raise DataError("not a text", path=path, key=key, found=describe(value))
    return str(value)
