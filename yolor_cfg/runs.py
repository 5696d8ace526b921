"""The output of a run: a folder of its own, with files that are complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import YolorError
from yolor_cfg.files import reason_of, remove_leftovers, whole_file

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]  # a module otherwise

ELSEWHERE = "choose another folder with --project"


def new_folder(project: str | Path, name: str) -> Path:
    """Create a folder that did not exist before: project/name, project/name2, project/name3, ...

    Two programs that ask at the same time get two folders. Raises YolorError if none can be created.
    """
    number = 1
    with writing(Path(project)):
        Path(project).mkdir(parents=True, exist_ok=True)
        while True:
            folder = Path(project) / (name if number == 1 else f"{name}{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1


@contextmanager
def trial_folder(project: str | Path, name: str, *, proof: str = "*") -> Iterator[Path]:
    """A new folder as of `new_folder`; if the work in it fails before there is a file `proof` (a pattern), it
    goes again, with the parents that were made for it."""
    made = [parent for parent in (Path(project), *Path(project).parents) if not parent.exists()]
    folder = new_folder(project, name)
    try:
        yield folder
    except BaseException:
        if not any(folder.glob(proof)):
            _remove_folders(folder, made)
        raise


def _remove_folders(folder: Path, parents: Sequence[Path]) -> None:
    """Remove the folder with all that is in it, and those of its parents that are empty then."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in parents:
        try:
            parent.rmdir()
        except OSError:  # another program uses it
            return


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Whether this process has the run to itself; if so, until the end of the context.

    The lock is one of the system, so it ends with the process and leaves no file. Where there are none, as in
    some network file systems, the answer is yes.
    """
    if fcntl is None:
        yield True
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(place)
    finally:
        os.close(place)


def clean_runs(project: Path) -> None:
    """Remove the partial files that killed runs left in a project; runs in use are left alone."""
    for weights in project.glob("*/weights"):
        with folder_lock(weights.parent) as is_free:
            if is_free:
                remove_leftovers(weights.parent, weights)


def _lock(place: int) -> bool:
    assert fcntl is not None
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def save_text(path: Path, text: str) -> None:
    """Write the text to a file, completely or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write the RGB image [H, W, 3] to a file, in the format of its suffix, completely or not at all."""
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, path
    with new_file(path) as partial:
        partial.write_bytes(data.tobytes())


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Like `files.whole_file`, but creates missing folders and replaces an existing file."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, fault=YolorError, force=True) as partial:
        yield partial


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a YolorError about `path`."""
    try:
        yield
    except OSError as fault:
        message = f"cannot be written: {reason_of(fault)}"
        raise YolorError(message, path=str(path), hint=ELSEWHERE) from None
