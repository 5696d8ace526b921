"""What annotations tell of objects beside class and box: ids, attributes, what only other programs use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

AttributeValue = str | bool | int | float
PLAIN: Mapping[str, AttributeValue] = {"pose": "Unspecified", "truncated": False, "occluded": False}
"""The attributes of Pascal VOC, with what an object has that says nothing."""
WHOLE = re.compile(r"[+-]?\d{1,15}")
FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")


class ObjectExtras(NamedTuple):
    """What an annotation has besides: its id, attributes by name, those that say nothing left out, and
    whether it has a mask (segmentation, polygon), keypoints (or parts)."""

    id: int | None = None
    attributes: Mapping[str, AttributeValue] = {}
    has_mask: bool = False
    has_keypoints: bool = False


class ListingExtras(NamedTuple):
    """What the annotations of a listing have besides: `read(i)` gives those of image i by the name of their
    row; `above` are the names that stand above the categories, empty: none; `unused()` the keys of the file
    that are not read."""

    read: Callable[[int], Mapping[str, ObjectExtras]]
    above: tuple[str, ...] = ()
    unused: Callable[[], tuple[str, ...]] = tuple


NOTHING = ObjectExtras()


def make_attributes(given: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """The attributes that say something; what is no text, truth value or number is left out."""
    known = {name: _plain_value(name, value) for name, value in given.items()}
    return {name: value for name, value in known.items() if is_attribute(value) and value != PLAIN.get(name)}


def is_attribute(value: Any) -> bool:
    """Whether it is a text, a truth value or a number."""
    return isinstance(value, str | bool | int | float)


def _plain_value(name: str, value: Any) -> Any:
    """Truncated and occluded as truth values, however they are written."""
    if PLAIN.get(name) is False and value in (0, 1, "0", "1"):
        return value in (1, "1")
    return value


def parse_attribute(text: str) -> AttributeValue:
    """The value that a text in XML stands for: a truth value, a number, else itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if FRACTION.fullmatch(text) else text
