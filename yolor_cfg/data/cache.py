"""Image sizes cached between runs, so that a large data set can be loaded without opening its images.

An entry is valid only while the file's length, modification time and change time are the same. Labels are
never cached: reading them again is cheap, and a corrected label is always seen, whatever the clock says. The
cache is an .npz without pickled objects, beside the data if that folder is writable, else in the user's cache
folder; a damaged one, or one of another version, is ignored.
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
"""Smaller data sets are not cached: reading the images is faster."""
SETTLED_NS = 2_000_000_000
"""A file changed more recently is not cached: a second change might leave its timestamps as they are."""

# What zipfile and numpy raise for a damaged file; RuntimeError: a compression method unknown to zipfile.
DAMAGED = (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

SizeCache = Mapping[str, ImageFileInfo]


def cache_files(origin: str) -> list[Path]:
    """Where the sizes of this data set may be cached: beside it, or in the user's cache folder."""
    path = Path(os.path.abspath(origin))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return [path.with_name(f".{path.name}.sizes.npz"), home / "yolor-cfg" / f"{key}.npz"]


def load_size_cache(origin: str) -> SizeCache:
    """The cached facts by image path; empty if there is no valid cache."""
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
    """Save the cache and return its path; None if neither place is writable."""
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
