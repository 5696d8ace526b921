"""Class names, and Darknet's `.names` and `.data` files."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import DataError, count_of, describe, escape
from yolor_cfg.files import MOST_TEXT_BYTES, StrPath, read_bounded

LOG = logging.getLogger("yolor_cfg")
_TELLING = threading.Lock()
_TOLD: set[tuple[str, str]] = set()
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
        raise DataError(
            message, path=path, found=count_of(len(given), "name"), allowed=count_of(count, "name")
        )
    return given


class FoundNames(NamedTuple):
    """Class names, none if none were found, where they come from in words, and what is to be told of it."""

    names: tuple[str, ...] = ()
    source: str = "the checkpoint"
    notes: tuple[str, ...] = ()


def find_names(own: Sequence[str], files: Sequence[StrPath | None], *, count: int) -> FoundNames:
    """The names of `count` classes: a network's own, else those in the first file NAME.names beside one of
    its files NAME.weights or NAME.cfg; none if that has other than `count` names or cannot be read."""
    places = [os.path.splitext(file)[0] + ".names" for file in files if file is not None]
    there = [place for place in dict.fromkeys(places) if os.path.isfile(place)]
    if own or not there:
        return FoundNames(tuple(own))
    place, *others = there
    try:
        names = class_names(place, count=count)
        rivals = [other for other in others if _names_otherwise(other, names)]
        more = f"; {', '.join(rivals)} names them otherwise, --names chooses" if rivals else ""
        return FoundNames(names, place, (f"the classes are named by {place}{more}",))
    except DataError as fault:
        found = f" ({fault.found}, not {fault.allowed})" if fault.allowed and fault.found else ""
        return FoundNames(notes=(f"{place} is not used: {fault.message}{found}",))


def _names_otherwise(path: StrPath, names: Sequence[str]) -> bool:
    """Whether this file has as many names as these, but others."""
    with contextlib.suppress(DataError):
        return class_names(path, count=len(names)) != tuple(names)
    return False


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
    for number, text in repeated_keys(path):
        if text.startswith("names="):
            LOG.warning("%s:%s: %s", escape(str(path)), number, escape(text))
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
    text, encoding = decode_text(data)
    if encoding:
        tell_encoding(os.fspath(path), encoding)
    return text


def decode_text(data: bytes) -> tuple[str, str]:
    """The text of bytes that say no encoding, and the encoding that was taken if it is not UTF-8: GBK where
    what is not ASCII stands in its pairs of bytes or is most of the text, else that of Western Europe."""
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        pass
    letters = re.sub(rb"[^A-Za-z\x80-\xff]", b"", data)
    are_most = sum(byte > 0x7F for byte in letters) > len(letters) / 2
    for encoding in ("gb2312", *(["gb18030"] if are_most else []), "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding), encoding
    return data.decode("latin-1"), "latin-1"


def tell_encoding(path: str, encoding: str, more: str = "") -> None:
    """Warn, once for a path, that its encoding was guessed."""
    with _TELLING:
        if (path, encoding) not in _TOLD:
            _TOLD.add((path, encoding))
            LOG.warning("%s: not UTF-8: read as %s%s", escape(path), encoding, more)


def read_options(path: StrPath) -> dict[str, str]:
    """The keys and values of a .data file, as Darknet reads it: of a repeated key the first one counts, one
    without a value is skipped, and a comment has a line of its own."""
    options: dict[str, str] = {}
    for _, key, value in _read_pairs(path):
        if value:
            options.setdefault(key, value)
    return options


def empty_keys(path: StrPath) -> set[str]:
    """The keys of a .data file that stand in it without a value."""
    return {key for _, key, value in _read_pairs(path) if not value}


def repeated_keys(path: StrPath) -> list[tuple[int, str]]:
    """For each key of a .data file that is given again with another value: the line, and what counts."""
    options, found = read_options(path), []
    for number, key, value in _read_pairs(path):
        if value and value != options[key]:
            found.append((number, f"{key}= is given twice: {options[key]} counts, {value} does not"))
    return found


def _read_pairs(path: StrPath) -> Iterator[tuple[int, str, str]]:
    """The number of a line, its key and its value, which may be empty."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise DataError("a line without =", path=str(path), line=number, found=text, hint="key = value")
        yield number, key.strip(), value.strip()


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
        found = f"classes={text}, {count_of(len(names), 'name')}"
        message = "classes and names differ in number"
        raise DataError(message, path=str(path), key="classes", found=found, hint=hint)
    return names


def data_folders(path: StrPath) -> list[str]:
    """What paths in a .data file are relative to: its own folder, else the current one."""
    return [os.path.dirname(path) or ".", "."]


def read_text(path: StrPath, errors: str = "strict") -> str:
    """The text of a file of a data set, with any line endings; a byte order mark is dropped."""
    data = read_bounded(path, fault=DataError, what="the file", most=MOST_TEXT_BYTES)
    if b"\0" in data:
        raise DataError("is not a text file", path=str(path), found="null bytes")
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
    parts = _parts(text) if len(text) < LONGEST_PATH else []
    return ["/".join(parts[count:]) for count in range(1, len(parts)) if parts[count]]


def _parts(text: str) -> list[str]:
    return text.replace("\\", "/").split("/")


def locate(
    text: str,
    folders: Sequence[StrPath],
    *,
    what: str,
    path: StrPath,
    others: Sequence[str] = (),
    kept: Collection[str] = (),
) -> str:
    """Like `first_existing`, also of other texts and without the first folders of the text, which may be
    another computer's, but not without one of the `kept`; raises a DataError that lists the paths tried."""
    needed = {part for part in _parts(text) if part.lower() in kept}
    texts = (text, *others, *(one for one in shorter_paths(text) if needed <= {*_parts(one)}))
    found = (first_existing(one, folders) for one in texts)
    place = next((place for place in found if place is not None), None)
    if place is None:
        tried = list_places(texts, folders)
        comment = f"; {COMMENT_HINT}" if COMMENT_BEHIND.search(text) else ""
        message = f"{what}: no such file or folder"
        raise DataError(message, path=str(path), found=text, hint=f"looked for {tried}{comment}")
    return place
