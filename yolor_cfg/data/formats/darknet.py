"""Darknet's `.data` file: `key = value` lines that lead to lists of pictures and to the classes' names."""

from __future__ import annotations

import os

from yolor_cfg.data.listing import (
    Listing,
    distinct,
    found,
    names_in,
    pictures_of,
    read_text,
    with_text_labels,
)
from yolor_cfg.data.types import Split
from yolor_cfg.errors import DataError

KEYS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("valid", "val", "test"),
    "test": ("test", "valid", "val"),
}


def listing(path: str, split: Split) -> Listing:
    """The pictures of one split; paths start from the folder of the .data file, else from here.

    Darknet itself knows only `train` and `valid`: `test` stands for the other where one is missing.
    """
    options = read_options(path)
    bases = [os.path.dirname(path) or ".", "."]
    key = next((key for key in KEYS[split] if options.get(key)), None)
    if key is None:
        given = ", ".join(options) or "no key"
        raise DataError(f"nothing for {split}", path=path, found=given, allowed=KEYS[split])
    place = found(options[key], bases, what=key, path=path)
    images = distinct(pictures_of(place, bases), split)
    return with_text_labels("darknet", _names(options, bases, path), images)


def read_options(path: str) -> dict[str, str]:
    """The keys of a .data file; the first of two equal ones counts, as in Darknet."""
    options: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise DataError("a line without =", path=path, line=number, found=text, hint="key = value")
        options.setdefault(key.strip(), value.strip())
    return options


def _names(options: dict[str, str], bases: list[str], path: str) -> tuple[str, ...]:
    """The names, or the numbers as names where no file of names is given."""
    text = options.get("classes", "")
    if text and not text.isdecimal():
        raise DataError("not a whole number", path=path, key="classes", found=text)
    if "names" not in options:
        return tuple(str(number) for number in range(int(text or 0)))
    place = found(options["names"], bases, what="names", path=path)
    names = names_in(place)
    if text and len(names) != int(text):
        hint = f"let classes= in {path} and the lines of {place} agree"
        raise DataError("classes and names differ in number", path=path, key="classes",
                        found=f"classes={text}, {len(names)} names", hint=hint)  # fmt: skip
    return names
