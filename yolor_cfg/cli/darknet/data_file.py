"""What C Darknet's functions read of a .data file, and where what it names is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

LISTS = (".txt", ".list")


def data_options(path: str) -> dict[str, str]:
    """The keys of the .data file and their values."""
    from yolor_cfg.names import read_options

    return read_options(path)


def is_set(options: Mapping[str, str], key: str) -> bool:
    """Whether a key has a value."""
    return bool(options.get(key))


def listed_images(data: str, options: Mapping[str, str]) -> str:
    """The list of the images of `valid=`."""
    place = _locate(data, options, "valid")
    if not place.lower().endswith(LISTS):
        raise click.UsageError(f"{data}: valid={place}: a list of images must end in {' or '.join(LISTS)}")
    return place


def class_names_file(data: str, options: Mapping[str, str]) -> str:
    """The file of the classes' names of a classifier: `names=`, else `labels=`."""
    return data if is_set(options, "names") else _locate(data, options, "labels")


def _locate(data: str, options: Mapping[str, str], key: str) -> str:
    from yolor_cfg.errors import DataError
    from yolor_cfg.names import data_folders, locate

    if not is_set(options, key):
        found = ", ".join(options) or "no key"
        raise DataError("a key is missing", path=data, key=key, found=found, allowed=f"{key} = FILE")
    return locate(options[key], data_folders(data), what=key, path=data)


def read_lines(path: str) -> Iterator[str]:
    """The lines of a text file, none if it cannot be read: the command itself says so."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from (line.strip() for line in file)
    except OSError:
        return
