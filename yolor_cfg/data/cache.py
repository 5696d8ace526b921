"""Sizes of pictures remembered between runs, so that a large data set opens without opening its pictures.

A size counts only while the file's length and both of its times are those it was read with. Labels are never
remembered: reading them anew costs little, and no clock decides whether a corrected label is seen. The file
is an .npz without pickled objects, beside the data where that may be written, else in the user's cache
folder; one that is damaged, or of another version, counts as absent.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file
from yolor_cfg.images.headers import ImageFileInfo

VERSION = 2
LEAST = 1000
"""Fewer pictures than this are quicker read than remembered."""
SETTLED_NS = 2_000_000_000
"""A file changed so shortly before is not remembered: a second change might leave its times as they are."""

# What zipfile and numpy raise for a file that is not what it says; RuntimeError: a method unknown to zipfile.
DAMAGED = (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

SizeCache = Mapping[str, ImageFileInfo]


def cache_files(origin: str) -> list[Path]:
    """Where the sizes of this data set are kept: beside it, or for each user."""
    path = Path(os.path.abspath(origin))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return [path.with_name(f".{path.name}.sizes.npz"), home / "yolor-cfg" / f"{key}.npz"]


def load_size_cache(origin: str) -> SizeCache:
    """What is remembered of the pictures, by path; empty where there is nothing to be trusted."""
    for path in cache_files(origin):
        try:
            with np.load(path, allow_pickle=False) as file:
                return _parse_size_cache(file["paths"].tobytes(), file["facts"], int(file["version"]))
        except DAMAGED:
            continue
    return {}


def _parse_size_cache(paths: bytes, facts: np.ndarray, version: int) -> SizeCache:
    names = paths.decode("utf-8", "surrogateescape").split("\0") if paths else []
    if version != VERSION or facts.shape != (len(names), 5) or facts.dtype != np.int64:
        raise ValueError("another version")
    rows = facts.tolist()
    return {name: ImageFileInfo((row[0], row[1]), *row[2:]) for name, row in zip(names, rows, strict=True)}


def save_size_cache(origin: str, known: SizeCache) -> Path | None:
    """The file in which the facts now are; None where neither place may be written."""
    limit = time.time_ns() - SETTLED_NS
    kept = {path: facts for path, facts in known.items() if max(facts.mtime_ns, facts.ctime_ns) < limit}
    names = "\0".join(kept).encode("utf-8", "surrogateescape")
    rows = [(*facts.size, *facts[1:]) for facts in kept.values()]
    arrays: dict[str, Any] = {
        "paths": np.frombuffer(names, np.uint8),
        "facts": np.array(rows, np.int64).reshape(-1, 5),
        "version": np.array(VERSION),
    }
    for path in cache_files(origin):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda file: np.savez(file, **arrays), fault=DataError, force=True)
            return path
        except (OSError, DataError):
            continue
    return None
