"""Class names, and Darknet's `.names` and `.data` files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from yolor_cfg.errors import DataError, describe
from yolor_cfg.files import MOST_TEXT_BYTES, StrPath, read_bounded

LONGEST_PATH = 4096
COMMENT_BEHIND = re.compile(r"\s*[#;].*")
"""C Darknet keeps it in the value: atoi stops at it, and a path with it does not exist."""
MAX_CLASSES = 100_000
COUNT = re.compile(r"[0-9]{1,9}")
COMMENT_HINT = "a comment behind a value is part of the value, as in Darknet: give it a line of its own"


def class_names(names: Sequence[str] | StrPath, *, count: int) -> tuple[str, ...]:
    """The names of `count` classes, from a list or a file; class ids for an empty list.

    Raises DataError if there are more or fewer than `count` names.
    """
    if isinstance(names, (str, os.PathLike)):
        path = os.fspath(names)
        given = read_names(path) if path else ()
    else:
        path, given = "", tuple(names)
    if not path and not given:
        return number_classes(count)
    if len(given) != count:
        message = "the number of names does not match the number of classes"
        raise DataError(message, path=path, found=f"{len(given)} names", allowed=f"{count} names")
    return given


def number_classes(count: int, path: StrPath = "") -> tuple[str, ...]:
    """The names of classes that have none: their ids; raises DataError for more than anything has."""
    if not 0 <= count <= MAX_CLASSES:
        allowed = f"0 to {MAX_CLASSES}"
        raise DataError("too many classes", path=str(path), found=describe(count), allowed=allowed)
    return tuple(str(number) for number in range(count))


def read_names(path: StrPath) -> tuple[str, ...]:
    """The names in a .names file, or in the one that a .data file names."""
    if Path(path).suffix != ".data":
        return read_names_file(path)
    options = read_options(path)
    if "names" not in options:
        raise DataError("no names= in this .data file", path=str(path), allowed="names = file.names")
    return read_names_file(locate(options["names"], data_folders(path), what="names", path=path))


def read_names_file(path: StrPath) -> tuple[str, ...]:
    """One name per line, as in Darknet's .names files.

    Empty lines at the end are ignored; one between two names is an error, since it would shift the classes.
    """
    names = [line.strip() for line in _names_text(path).rstrip().splitlines()]
    if not any(names):
        raise DataError("the file of class names is empty", path=str(path), allowed="one name per line")
    if "" in names:
        line = names.index("") + 1
        raise DataError("a class without a name", path=str(path), line=line, allowed="one name per line")
    return tuple(names)


def _names_text(path: StrPath) -> str:
    data = read_bounded(path, fault=DataError, what="the names")
    if b"\0" in data:
        raise DataError(
            "this is not a list of names", path=str(path), allowed="a text file, one name per line"
        )
    return data.decode("utf-8-sig", errors="replace")


def read_options(path: StrPath) -> dict[str, str]:
    """The keys and values of a .data file, as Darknet reads it: of a repeated key the first one counts, one
    without a value is skipped, and a comment has a line of its own."""
    options: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise DataError("a line without =", path=str(path), line=number, found=text, hint="key = value")
        if value.strip():
            options.setdefault(key.strip(), value.strip())
    return options


def data_names(options: dict[str, str], path: StrPath) -> tuple[str, ...]:
    """The class names of a .data file with these options; class ids if it has no names= file."""
    text = COMMENT_BEHIND.sub("", options.get("classes", ""))
    if text and not COUNT.fullmatch(text):
        allowed = f"a whole number up to {MAX_CLASSES}"
        raise DataError("not a number of classes", path=str(path), key="classes", found=text, allowed=allowed)
    if "names" not in options:
        return number_classes(int(text or 0), path)
    place = locate(options["names"], data_folders(path), what="names", path=path)
    names = read_names_file(place)
    if text and len(names) != int(text):
        hint = f"make classes= in {path} match the number of lines in {place}"
        found = f"classes={text}, {len(names)} names"
        message = "classes and names differ in number"
        raise DataError(message, path=str(path), key="classes", found=found, hint=hint)
    return names


def data_folders(path: StrPath) -> list[str]:
    """What paths in a .data file are relative to: its own folder, else the current one."""
    return [os.path.dirname(path) or ".", "."]


def read_text(path: StrPath, errors: str = "strict") -> str:
    """The text of a file of a data set, with any line endings; a byte order mark is dropped."""
    data = read_bounded(path, fault=DataError, what="the file", most=MOST_TEXT_BYTES)
    try:
        return data.decode("utf-8-sig", errors)
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", path=str(path)) from None


def first_existing(text: str, folders: Iterable[StrPath]) -> str | None:
    """The first existing path of `text` relative to one of the folders; None if there is none."""
    places = (os.path.normpath(os.path.join(folder, text)) for folder in folders)
    return next((place for place in places if os.path.exists(place)), None)


def list_places(texts: Iterable[str], folders: Sequence[StrPath]) -> str:
    """The paths of the texts relative to each of the folders, for the hint of an error."""
    places = (os.path.normpath(os.path.join(folder, text)) for text in texts for folder in folders)
    return ", ".join(dict.fromkeys(places))


def shorter_paths(text: str) -> list[str]:
    """The path without its first folder, without the first two, and so on; none for one that is no path."""
    parts = text.replace("\\", "/").split("/") if len(text) < LONGEST_PATH else []
    return ["/".join(parts[count:]) for count in range(1, len(parts)) if parts[count:] != [""]]


def locate(
    text: str, folders: Sequence[StrPath], *, what: str, path: StrPath, others: Sequence[str] = ()
) -> str:
    """Like `first_existing`, also of other texts and without the first folders of the text, which may be
    another computer's; but raises a DataError that lists the paths tried."""
    texts = (text, *others, *shorter_paths(text))
    found = (first_existing(one, folders) for one in texts)
    place = next((place for place in found if place is not None), None)
    if place is None:
        tried = list_places(texts, folders)
        comment = f"; {COMMENT_HINT}" if COMMENT_BEHIND.search(text) else ""
        message = f"{what}: no such file or folder"
        raise DataError(message, path=str(path), found=text, hint=f"looked for {tried}{comment}")
    return place
