"""Write files that are complete or absent, and recognise a file's kind by its first bytes."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from yolor_cfg.errors import YolorError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]  # a module otherwise

StrPath = str | os.PathLike[str]

PARTIAL_NAME = re.compile(r"\.[0-9a-f]{16}\.part")
HEAD_BYTES = 512
PIPE_PLACES = ("/dev/stdin", "/dev/fd/", "/proc/")  # what a shell passes on has a writer, and so an end
MOST_TEXT_BYTES = 4 << 30
"""The largest list or JSON file that is read."""
MOST_LABEL_BYTES = 64 << 20
"""The largest file of labels or names that is read; 10,000 polygons take a tenth of it."""
READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)

# What a file given as weights by mistake may be, and what to do about it.
FILE_KIND_HINTS = {
    "an empty file": "the download or copy did not finish: fetch the file again",
    "an HTML page": "the download failed and its error page was saved: open the file in a browser to see why",
    "a Git LFS pointer": "run `git lfs pull` where the file came from",
    "an image": "the images come after the weights on the command line",
    "a video": "the videos come after the weights on the command line",
    "a cfg": "the weights come after the cfg on the command line",
    "a PDF document": "fetch the weights again",
    "a gzip archive": "unpack it first",
    "a tar archive": "unpack it first; torch files from before version 0.2 are not supported",
    "an HDF5 file": "Keras weights are not supported",
    "a zip archive": "torch checkpoints are zip archives: give the file the suffix .pt",
    "a safetensors file": "give it the suffix .safetensors",
}

# (offset, bytes, kind); none can begin a Darknet .weights file, which starts with its version.
_MAGIC_BYTES = (
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"\xff\xd8\xff", "an image"),
    (0, b"\x89PNG\r\n\x1a\n", "an image"),
    (0, b"GIF8", "an image"),
    (0, b"II*\0", "an image"),
    (0, b"MM\0*", "an image"),
    (8, b"WEBP", "an image"),
    (8, b"AVI ", "a video"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"OggS", "a video"),
    (0, b"FLV\x01", "a video"),
    (0, b"\x00\x00\x01\xba", "a video"),
    (0, b"\x00\x00\x01\xb3", "a video"),
    (0, b"\x00\x00\x00\x01\x67", "a video"),
    (0, b"\x00\x00\x00\x01\x40\x01", "a video"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "a video"),
    (0, b"DKIF", "a video"),
    (0, b"YUV4MPEG2 ", "a video"),
    (0, b".RMF", "a video"),
    (0, b"nut/multimedia container", "a video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x1f\x8b\x08", "a gzip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (8, b'{"', "a safetensors file"),
)
_STREAM_PACKETS = ((0, 188), (4, 192))
"""Where MPEG transport streams have their first packet, and after how many bytes the next one."""
_TEXT_STARTS = (
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"[net", "a cfg"),
)


def reason_of(fault: OSError) -> str:
    """The system's message of an error, in lower case."""
    return (fault.strerror or str(fault)).lower()


def open_regular(path: StrPath) -> io.FileIO:
    """The file, open for reading without a buffer.

    Raises OSError for anything else: a FIFO would be waited for, a device may never end.
    """
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "a null byte in the name", os.fspath(path))
    place = os.open(path, READ_FLAGS)
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
            raise OSError(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))
        return io.FileIO(place, "rb")
    except OSError:
        os.close(place)
        raise


def read_regular(path: StrPath, most: int = MOST_TEXT_BYTES) -> bytes:
    """The bytes of a file; raises OSError like `open_regular`, and for one of more than `most` bytes."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(
                errno.EFBIG, f"larger than the {most >> 20} megabytes that are read", os.fspath(path)
            )
        return file.read()


def read_bounded(path: StrPath, *, fault: type[YolorError], what: str, most: int = MOST_LABEL_BYTES) -> bytes:
    """The bytes of a file that people write; raises `fault` if it cannot be read or has more than `most`.

    A pipe is read only where a shell passes it on: it has a writer then, and so an end.
    """
    try:
        if os.fspath(path).startswith(PIPE_PLACES):
            with open(path, "rb") as file:
                return file.read(most)
        return read_regular(path, most)
    except OSError as cause:
        raise fault(f"{what} cannot be read: {reason_of(cause)}", path=str(path)) from None


def walk_folders(folder: StrPath) -> Iterator[tuple[str, list[str]]]:
    """Each folder from this one on down, sorted, with the names of its files; hidden folders are left out.

    Links are followed, but not into a folder that leads there: a circle ends. Raises OSError for a folder
    that cannot be read.
    """
    top = os.fspath(folder)
    chains = {top: frozenset({os.path.realpath(top)})}
    for above, folders, names in os.walk(top, followlinks=True, onerror=_raise_fault):
        chain, entered = chains.pop(above), []
        for name in sorted(name for name in folders if not name.startswith(".")):
            place = os.path.realpath(os.path.join(above, name))
            if place not in chain:
                entered.append(name)
                chains[os.path.join(above, name)] = chain | {place}
        folders[:] = entered
        yield above, names


def _raise_fault(fault: OSError) -> None:
    raise fault


def find_file_kind(data_head: bytes) -> str | None:
    """The key of `FILE_KIND_HINTS` for a file that starts like this (`HEAD_BYTES` are enough), or None."""
    if not data_head:
        return "an empty file"
    text = data_head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    starts = [kind for start, kind in _TEXT_STARTS if text.startswith(start)]
    magic = [kind for offset, start, kind in _MAGIC_BYTES if data_head.startswith(start, offset)]
    streams = ["a video" for first, step in _STREAM_PACKETS if data_head[first::step][:2] == b"GG"]
    return next(iter(starts + magic + streams), None)


@contextmanager
def whole_file(path: StrPath, *, fault: type[YolorError], force: bool = False) -> Iterator[Path]:
    """The path of a partial file in the same folder to write to; on success it replaces `path`, otherwise it
    is removed, so `path` is either complete or as it was before.

    A symbolic link is kept and its target is replaced. Replacing an existing file needs `force`, even if it
    appears while this one is written; a folder or a device never is. An OSError is raised as `fault`.
    """
    target = check_target(path, fault=fault, force=force)
    remove_leftovers(str(target.parent))
    partial = target.with_name(f".{os.urandom(8).hex()}.part{target.suffix}")
    claim = -1
    try:
        claim = _claim(partial)
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        if force:
            os.replace(partial, target)
        else:
            _link_new(partial, target)
    except FileExistsError:
        raise _exists_error(target, fault) from None
    except OSError as cause:
        raise _write_error(target, cause, fault) from cause
    finally:
        _remove_partial(partial)
        if claim >= 0:
            os.close(claim)


def _claim(partial: Path) -> int:
    """Make an empty file that no other run takes for a leftover, as long as the descriptor is open."""
    while True:
        claim = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        lock(claim)
        if os.path.exists(partial):
            return claim
        os.close(claim)  # another run was faster than the lock and removed it


def lock(claim: int) -> bool:
    """Lock an open file or folder until it is closed or the process ends; False if another one has it.

    Where there are no locks, as in some network file systems, the answer is yes.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@cache
def remove_leftovers(folder: str) -> None:
    """Remove the partial files that a run which was killed left in a folder; once for each folder.

    Those that a living run writes are locked by it. Where there are no locks nothing is removed.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if fcntl is not None and PARTIAL_NAME.match(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_leftover(entry.path)


def _remove_leftover(path: str) -> None:
    assert fcntl is not None
    claim = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:  # its writer lives, or there are no locks
        return
    finally:
        os.close(claim)


def replace_file(
    path: StrPath, write: Callable[[BinaryIO], object], *, fault: type[YolorError], force: bool = False
) -> None:
    """Like `whole_file`, for a function that writes to an open binary file."""
    with whole_file(path, fault=fault, force=force) as partial, open(partial, "wb") as file:
        write(file)


def check_target(path: StrPath, *, fault: type[YolorError], force: bool = False) -> Path:
    """The real path of a file to be written; raises `fault` for one that may not be replaced. Where the work
    before takes long, it is asked first, and again when the file is written."""
    target = Path(os.path.realpath(path))
    try:
        found = target.exists()
    except OSError as cause:
        raise _write_error(target, cause, fault) from cause
    if found and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device"
        raise fault("is not a regular file", path=str(target), found=kind, allowed="a file name")
    if found and not force:
        raise _exists_error(target, fault)
    return target


def is_same_file(path: StrPath, other: StrPath) -> bool:
    """Whether both lead to one file; not where there is none."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _exists_error(target: Path, fault: type[YolorError]) -> YolorError:
    return fault("exists already", path=str(target), hint="use --force to overwrite it, or give another name")


def _link_new(partial: Path, target: Path) -> None:
    """Give the file its name unless another one has it by now; raises FileExistsError then."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file reserves the name
        with open(target, "xb"):
            pass
        try:
            os.replace(partial, target)
        except OSError:
            target.unlink()
            raise


def _remove_partial(partial: Path) -> None:
    """Remove the partial file; if that fails, the cause is that of the failed write and already reported."""
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return


def _write_error(target: Path, cause: OSError, fault: type[YolorError]) -> YolorError:
    hints = {
        PermissionError: "choose a folder that you can write to",
        FileNotFoundError: "choose another folder"
        if target.parent.is_dir()
        else f"create the folder {target.parent} first",
        NotADirectoryError: f"{target.parent} is not a folder",
    }
    message = "no permission to write" if isinstance(cause, PermissionError) else "cannot be written"
    found = cause.strerror or str(cause)
    return fault(message, path=str(target), found=found, hint=hints.get(type(cause), ""))
