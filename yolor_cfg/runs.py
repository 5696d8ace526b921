"""The output of a run: a folder of its own, with files that are complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import YolorError
from yolor_cfg.files import lock, reason_of, remove_leftovers, whole_file

RUN_PARTS = ("", "labels", "weights")
"""The folders of a run in which files are written."""
RECORD, RECORD_FORMAT = "run.json", 1
"""What a run notes of itself beside its figures, and the form of that."""
LOSS_COLUMNS = ("loss", "box", "objectness", "classes", "labels", "identity", "joint")
"""The columns of results.csv with the total loss and its parts, in their order."""
PARTIAL_FOLDER = ".unfinished"
ELSEWHERE = "choose another folder with --project"


def new_folder(project: str | Path, name: str) -> Path:
    """Create a folder that did not exist before: project/name, project/name2, project/name3, ...

    Two programs that ask at the same time get two folders. What killed runs left half written in the earlier
    ones is removed. Raises YolorError if none can be created.
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
                clean_run(folder)
                number += 1


def clean_run(folder: Path) -> None:
    """Remove the partial files that a killed program left in a run; those in use are left alone."""
    for place in (*(folder / part for part in RUN_PARTS), *folder.glob("crops/*")):
        remove_leftovers(str(place))


@contextmanager
def whole_folder(path: str | Path, *, fault: type[YolorError]) -> Iterator[Path]:
    """A folder to write to, whose content is moved to `path` when all of it is there; `path` must not exist
    or be empty. What a run that was killed has left there is removed first."""
    target, is_new = Path(path), not Path(path).exists()
    partial = target / PARTIAL_FOLDER
    with _making_folder(target, fault):
        if not is_new and any(one.name != PARTIAL_FOLDER for one in target.iterdir()):
            raise fault("not empty", path=str(path), hint="give a new folder")
        partial.mkdir(parents=True, exist_ok=True)
    try:
        with folder_lock(partial) as is_ours, _making_folder(target, fault):
            if not is_ours:
                raise fault("another process is writing this folder", path=str(path))
            _clear(partial)
            yield partial
            for one in sorted(partial.iterdir()):
                one.rename(target / one.name)
            partial.rmdir()
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        raise


@contextmanager
def _making_folder(target: Path, fault: type[YolorError]) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise fault(f"no new folder can be made: {reason_of(cause)}", path=str(target)) from None


def _clear(folder: Path) -> None:
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()


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
    place = os.open(folder, os.O_RDONLY)
    try:
        yield lock(place)
    finally:
        os.close(place)


def save_text(path: Path, text: str) -> None:
    """Write the text to a file, completely or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_record(folder: Path, facts: dict[str, Any]) -> None:
    """Write run.json, completely or not at all; numbers that are none become null."""
    text = json.dumps(replace_nan({"format": RECORD_FORMAT, **facts}), ensure_ascii=False, default=str)
    save_text(folder / RECORD, text.encode("utf-8", "replace").decode() + "\n")


def replace_nan(value: Any) -> Any:
    """The value with None for each number in it that is not finite, as JSON wants it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nan(one) for key, one in value.items()}
    return [replace_nan(one) for one in value] if isinstance(value, (list, tuple)) else value


def read_record(folder: Path) -> dict[str, Any]:
    """The notes of a run; nothing where there are none, or not as they were written."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def list_objects(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of them."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write the RGB image [H, W, 3] to a file, in the format of its suffix, completely or not at all.

    One that is too large for that format, as for JPEG beyond 65,500 pixels, becomes a PNG file.
    """
    save_encoded(path, encode_image(path.suffix, image))


class EncodedImage(NamedTuple):
    """An image as the bytes of a file with this suffix; None where it is too large for any."""

    suffix: str
    data: bytes | None
    size: tuple[int, int]


def encode_image(suffix: str, image: NDArray[np.uint8]) -> EncodedImage:
    """The RGB image [H, W, 3] in the format of the suffix, or as PNG where it is too large for that."""
    data = _encode(suffix, image)
    if data is None:
        suffix = ".png"
        data = _encode(suffix, image)
    return EncodedImage(suffix, data, (image.shape[0], image.shape[1]))


def save_encoded(path: Path, image: EncodedImage) -> None:
    """Write the image to a file with its own suffix, completely or not at all."""
    path = path.with_suffix(image.suffix)
    if image.data is None:
        height, width = image.size
        raise YolorError("the image cannot be written", path=str(path), found=f"{width}x{height} pixels")
    with new_file(path) as partial:
        partial.write_bytes(image.data)


def _encode(suffix: str, image: NDArray[np.uint8]) -> bytes | None:
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        return None
    return data.tobytes() if done else None


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
