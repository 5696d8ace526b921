"""ONNX Runtime Web, which runs networks in browsers: where it comes from, and the two files of it that a page
holds.

It is a package of the npm registry (MIT licence) and no part of this one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import DataError, MissingExtra

LOG = logging.getLogger("yolor_cfg")
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
"""The module with all of its JavaScript, and the machine code."""
INSIDE = (".", "package", PACKAGE, f"node_modules/{PACKAGE}")
LONGEST_WAIT = 600  # seconds for npm
ReadFile = Callable[[str], bytes]


class WebRuntime(NamedTuple):
    """The version, the module and the machine code."""

    version: str
    script: bytes
    wasm: bytes


def open_runtime(place: Path | None = None) -> WebRuntime:
    """What lies in the folder or .tgz file of the package; without one npm fetches the pinned version, once.

    Raises DataError for a place without the package, MissingExtra where there is no npm.
    """
    place = place or _find_archive()
    if place.is_dir():
        home = next((place / part for part in INSIDE if (place / part / SCRIPT).is_file()), place)
        return _read_runtime(lambda name: (home / name).read_bytes(), place)
    try:
        with tarfile.open(place) as archive:
            return _read_runtime(lambda name: _read_member(archive, name), place)
    except (OSError, tarfile.TarError) as cause:
        raise _not_the_package(place) from cause


def _read_runtime(read: ReadFile, place: Path) -> WebRuntime:
    """The three files by a function that reads one of them."""
    try:
        version = str(json.loads(read("package.json"))["version"])
        return WebRuntime(version, read(SCRIPT), read(WASM))
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise _not_the_package(place) from cause


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of the package; its archive has all of them in the folder `package`."""
    file = archive.extractfile(f"package/{name}")
    if file is None:
        raise KeyError(name)
    return file.read()


def _not_the_package(place: Path) -> DataError:
    return DataError(
        f"this is not {PACKAGE}", path=str(place), allowed=f"a folder or .tgz with {SCRIPT} and {WASM}"
    )


def _find_archive() -> Path:
    """The package in the user's cache folder; fetched if it is not there."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolor-cfg"
    archive = home / f"{PACKAGE}-{VERSION}.tgz"
    if not archive.is_file():
        _fetch_archive(home)
    return archive


def _fetch_archive(home: Path) -> None:
    """Let npm put the archive of the package there."""
    npm, wanted = shutil.which("npm"), f"{PACKAGE}@{VERSION}"
    hint = f"or give its folder or .tgz file: --onnxruntime-web {PACKAGE}-{VERSION}.tgz"
    if npm is None:
        raise MissingExtra(line=f"npm pack {wanted}", hint=f"install Node.js, which has npm, {hint}")
    LOG.info("npm fetches %s into %s", wanted, home)
    home.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", wanted, "--pack-destination", str(home)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=LONGEST_WAIT)
    except (OSError, subprocess.SubprocessError) as cause:
        raise MissingExtra(line=f"npm pack {wanted}", hint=f"npm failed here; mend that, {hint}") from cause
