"""COCO's instances JSON with its types checked once; a fault is named by its JSON path."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.data.extras import PLAIN, ObjectExtras, is_attribute, make_attributes
from yolor_cfg.data.labels import DIFFICULT, NO_AREA, LabelRow
from yolor_cfg.errors import DataError
from yolor_cfg.images.types import Size
from yolor_cfg.names import read_text

CocoEntry = Mapping[str, Any]
LARGEST_ID = 2**53
SHOWN = 60
PARTS = frozenset({"images", "annotations", "categories"})
IMAGE_KEYS = frozenset({"id", "file_name", "height", "width"})
ANNOTATION_KEYS = frozenset(
    "id image_id category_id bbox area iscrowd difficult track_id identity attributes segmentation keypoints "
    "num_keypoints truncated occluded pose".split()
)
LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Half a character; those left out stand for bytes of file names that are not UTF-8."""


class CocoImage(NamedTuple):
    """One entry of `images`; `size` is None if the JSON does not tell it."""

    id: int | str
    file_name: str
    size: Size | None


class CocoCategory(NamedTuple):
    """One entry of `categories`."""

    id: int
    name: str
    supercategory: str


class CocoDocument(NamedTuple):
    """The checked JSON: categories sorted by id, annotations as they stand, each of a listed image.

    `is_labeled` is False for the JSON of a test set, which has no annotations; `unused` are the keys of the
    document and of its images that are not read.
    """

    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: Sequence[CocoEntry]
    is_labeled: bool
    unused: tuple[str, ...] = ()


def read_json(path: str) -> Any:
    """The content of a JSON file; raises DataError if it is missing or not JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        raise DataError("not valid JSON", path=path, line=fault.lineno, found=fault.msg.lower()) from None
    except (RecursionError, ValueError) as fault:
        found = "nested too deeply" if isinstance(fault, RecursionError) else "a number with too many digits"
        raise DataError("not valid JSON", path=path, found=found) from None


def describe_json(value: Any) -> str:
    """A short description of a JSON value, for errors."""
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:5]) or 'nothing'}"[:SHOWN]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "text " + json.dumps(value[:SHOWN]) if isinstance(value, str) else json.dumps(value)[:SHOWN]


def read_coco(path: str, *, as_truth: bool = False) -> CocoDocument:
    """The document of a file. Raises DataError for a fault of its structure; boxes are checked one by one.

    `as_truth` reads it as pycocotools does: images need no file name, and annotations of images that it does
    not list, otherwise an error, are left out.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(
            "not COCO ground truth, nor a list of images",
            path=path,
            found=describe_json(content),
            allowed="an object with the lists images, annotations, categories",
        )
    annotations = _entries(content, "annotations", path)
    images = tuple(_parse_images(content["images"], path, needs_files=not as_truth))
    categories = tuple(_parse_categories(_entries(content, "categories", path), path))
    strangers = _find_strangers(annotations, {image.id for image in images}, path)
    if strangers and not as_truth:
        first = strangers[0]
        what = "annotations of images that the JSON does not list"
        raise _fault(
            path, f"annotations[{first}].image_id", reason=what, value=annotations[first]["image_id"]
        )
    if strangers:
        left_out = set(strangers)
        annotations = [one for number, one in enumerate(annotations) if number not in left_out]
    kept = drop_root_category(categories, {str(one.get("category_id")) for one in annotations})
    unused = (*_unknown_keys([content], PARTS), *_unknown_keys(content["images"], IMAGE_KEYS, "images."))
    return CocoDocument(images, kept, annotations, is_labeled=bool(annotations), unused=unused)


def unused_keys(document: CocoDocument) -> tuple[str, ...]:
    """All keys of the file that are not read, by their place."""
    nested = [one["attributes"] for one in document.annotations if isinstance(one.get("attributes"), dict)]
    plain = frozenset(key for one in nested for key, value in one.items() if is_attribute(value))
    return (
        *document.unused,
        *_unknown_keys(document.annotations, ANNOTATION_KEYS, "annotations."),
        *_unknown_keys(nested, plain, "annotations.attributes."),
    )


def _unknown_keys(entries: Sequence[CocoEntry], known: frozenset[str], place: str = "") -> tuple[str, ...]:
    found: set[str] = set()
    for one in entries:
        found |= one.keys()
    return tuple(sorted(f"{place}{key}" for key in found - known))


def drop_root_category(
    categories: Sequence[CocoCategory], used: frozenset[str] | set[str]
) -> tuple[CocoCategory, ...]:
    """The categories without the one that Roboflow adds above all others: alone without a supercategory
    ("none"), and without annotations, it is no class."""
    roots = [one for one in categories if one.supercategory.lower() == "none"]
    if len(roots) != 1 or len(categories) == 1 or str(roots[0].id) in used:
        return tuple(categories)
    return tuple(one for one in categories if one is not roots[0])


def annotation_row(one: CocoEntry, class_of: Mapping[Any, int], size: Size) -> LabelRow | str:
    """The box of an annotation as fractions of an image of this size, or its fault: key and reason."""
    try:
        left, top, width, height = _box(one)
        rows, columns = size
        centre = (left + width / 2) / columns, (top + height / 2) / rows
        crowd = DIFFICULT if _flag(one, "difficult") else _flag(one, "iscrowd")
        size_in_image = width / columns, height / rows
        label, identity = _class_id(one, class_of), _identity(one)
        return LabelRow(0, label, identity, *centre, *size_in_image, crowd, _area(one))
    except ValueError as fault:
        return str(fault)


def coco_extras(one: CocoEntry) -> ObjectExtras:
    """What an annotation has besides; attributes stand in `attributes`, as CVAT writes them, or alone."""
    nested = one.get("attributes")
    given = {key: one[key] for key in PLAIN if key in one} | (nested if isinstance(nested, dict) else {})
    points = one.get("keypoints")
    return ObjectExtras(
        whole_number(one.get("id")),
        make_attributes({str(name): value for name, value in given.items()}),
        bool(one.get("segmentation")),
        isinstance(points, list) and any(points),
    )


def _fault(path: str, key: str, *, reason: str, value: Any) -> DataError:
    return DataError(reason, path=path, key=key, found=describe_json(value))


def _entries(content: CocoEntry, key: str, path: str) -> Sequence[CocoEntry]:
    """A list of objects; an absent one is empty."""
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise _fault(path, key, reason="not a list", value=entries)
    for number, one in enumerate(entries):
        if not isinstance(one, dict):
            raise _fault(path, f"{key}[{number}]", reason="not an object", value=one)
    return entries


def _parse_images(entries: Sequence[Any], path: str, *, needs_files: bool) -> list[CocoImage]:
    seen: dict[int | str, int] = {}
    images = []
    for number, one in enumerate(_entries({"images": entries}, "images", path)):
        place = f"images[{number}]"
        image_id = _image_id(one, "id", path=path, place=place)
        if image_id in seen:
            found = f"images[{seen[image_id]}] has it too"
            raise DataError(f"the id {image_id} is given twice", path=path, key=f"{place}.id", found=found)
        seen[image_id] = number
        is_named = needs_files or one.get("file_name") is not None
        name = _file_name(one, path, place) if is_named else str(image_id)
        images.append(CocoImage(image_id, name, _size(one, path, place)))
    return images


def _image_id(one: CocoEntry, key: str, *, path: str, place: str) -> int | str:
    value = one.get(key)
    number = whole_number(value)
    if number is None and not isinstance(value, str):
        reason = "not a whole number or text" if key in one else "missing"
        raise _fault(path, f"{place}.{key}", reason=reason, value=value)
    return value if isinstance(value, str) else int(number or 0)


def _file_name(one: CocoEntry, path: str, place: str) -> str:
    name = one.get("file_name")
    if not isinstance(name, str) or not name.strip() or "\0" in name or LONE_SURROGATE.search(name):
        raise _fault(path, f"{place}.file_name", reason="not the name of a file", value=name)
    return name


def _size(one: CocoEntry, path: str, place: str) -> Size | None:
    sides = []
    for key in ("height", "width"):
        value = one.get(key)
        side = 0 if value is None else whole_number(value)
        if side is None or side < 0:
            raise _fault(path, f"{place}.{key}", reason="not a number of pixels", value=value)
        sides.append(side)
    return (sides[0], sides[1]) if all(sides) else None


def _parse_categories(entries: Sequence[CocoEntry], path: str) -> list[CocoCategory]:
    seen: dict[int, CocoCategory] = {}
    for number, one in enumerate(entries):
        place = f"categories[{number}]"
        category_id = whole_number(one.get("id"))
        if category_id is None:
            raise _fault(path, f"{place}.id", reason="not a whole number", value=one.get("id"))
        if category_id in seen:
            raise _fault(path, f"{place}.id", reason="the id is given twice", value=category_id)
        name = _category_name(one.get("name", category_id), f"{place}.name", path)
        seen[category_id] = CocoCategory(category_id, name, str(one.get("supercategory", ""))[:SHOWN])
    return [seen[key] for key in sorted(seen)]


def _category_name(value: Any, key: str, path: str) -> str:
    """A number is a name too, as some tools write it."""
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(name, str) or LONE_SURROGATE.search(name):
        raise _fault(path, key, reason="not text", value=value)
    return name


def _find_strangers(annotations: Sequence[CocoEntry], known: set[int | str], path: str) -> list[int]:
    """The indices of the annotations of images that are not listed."""
    keys = (
        one["image_id"]
        if type(one.get("image_id")) is int
        else _image_id(one, "image_id", path=path, place=f"annotations[{number}]")
        for number, one in enumerate(annotations)
    )
    return [number for number, key in enumerate(keys) if key not in known]


def whole_number(value: Any) -> int | None:
    """The number if it is whole, as an int; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if abs(value) <= LARGEST_ID else None


def finite_number(value: Any) -> float | None:
    """The number as a float; None for text, truth values, and what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def _box(one: CocoEntry) -> list[float]:
    box = one.get("bbox")
    sides = [finite_number(side) for side in box] if isinstance(box, list) else []
    numbers = [side for side in sides if side is not None]
    if len(numbers) != 4 or len(sides) != 4:
        shown = json.dumps(box)[:SHOWN] if "bbox" in one else "nothing"
        raise ValueError(f"bbox: not four numbers (left, top, width, height): {shown}")
    return numbers


def _class_id(one: CocoEntry, class_of: Mapping[Any, int]) -> int:
    value = one.get("category_id")
    number = class_of.get(whole_number(value))
    if number is None:
        raise ValueError(f"category_id: {describe_json(value)} is not listed in categories")
    return number


def _flag(one: CocoEntry, key: str) -> float:
    value = one.get(key)
    if value is None or value in (0, 1) and isinstance(value, int | float):
        return float(value or 0)
    raise ValueError(f"{key}: not 0 or 1: {describe_json(value)}")


def _optional(one: CocoEntry, key: str, *, absent: float, parse: Callable[[Any], float | None]) -> float:
    value = one.get(key)
    number = absent if value is None else parse(value)
    if number is None or number < 0 and number != absent:
        raise ValueError(f"{key}: not a number, or below 0: {describe_json(value)}")
    return number


def _identity(one: CocoEntry) -> float:
    key = "identity" if one.get("track_id") is None else "track_id"
    return _optional(one, key, absent=-1.0, parse=whole_number)


def _area(one: CocoEntry) -> float:
    return _optional(one, "area", absent=NO_AREA, parse=finite_number)
