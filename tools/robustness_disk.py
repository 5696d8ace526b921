"""Full disks and folders that cannot be written: one clear message, a documented exit code, whole files."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fuzz import preload_libraries
from robustness_scene import (
    CONVERT,
    DETECT,
    EXPORT,
    JOBS,
    SAVE,
    TEST,
    TRAIN,
    Ended,
    SceneJob,
    check_whole,
    copy_scene,
    find_files,
    is_partial,
    make_scene,
    run_yolor,
)
from robustness_table import CheckResult, Options

RUNTIME_CODES = (1, 2, 3, 4, 5)
NOBODY = 65534
CAPABILITIES_V3 = 0x20080522
DAC_OVERRIDE = 1 << 1
SIZES = {
    TRAIN: (32, 96, 160, 256),
    DETECT: (8, 40, 64),
    TEST: (8, 24, 64),
    CONVERT: (4, 8),
    EXPORT: (16, 64),
    SAVE: (4, 8),
}
"""KB of a disk on which a job does not fit, or not quite."""


def move_output(job: SceneJob) -> SceneJob:
    """The job with its output in the folder `out`."""
    if job.output.startswith("out/"):
        return job
    words = tuple(f"out/{word}" if word == job.output else word for word in job.words)
    return SceneJob(job.name, words, f"out/{job.output}")


def check_disks(options: Options) -> CheckResult:
    """Every job on disks that are too small, with files that may not grow, and in folders of others."""
    preload_libraries()
    options.folder.chmod(0o755)
    scene = options.folder / "scene"
    make_scene(scene)
    trials = [*list_trials()][:: 5 if options.is_short else 1]
    faults: list[str] = []
    told: set[str] = set()
    worst = 0.0
    for number, (what, job, trial) in enumerate(trials[: options.tries]):
        place = copy_scene(scene, options.folder / f"disk{number}")
        try:
            ended, found = trial(move_output(job), place)
        except NotPermitted as refusal:
            told.add(f"left out: {what}: {refusal}")
            continue
        worst = max(worst, ended.seconds)
        faults += [f"{what}, {job.name}: {fault}" for fault in found]
    return CheckResult("disk", len(trials), len(faults), worst, 0, (*sorted(told), *faults))


class NotPermitted(Exception):
    """The system does not let us make this trial."""


Tried = tuple[Ended, list[str]]


def list_trials() -> Iterator[tuple[str, SceneJob, Callable[[SceneJob, Path], Tried]]]:
    """What is tried: in words, the job, and how."""
    for job in JOBS:
        for size in SIZES[job]:
            yield f"disk of {size} KB", job, partial(try_small_disk, kilobytes=size)
            yield f"files of {size} KB", job, partial(try_file_limit, kilobytes=size)
        yield "read-only disk", job, try_read_only_disk
        yield "folder of another user", job, try_folder_of_another


def try_small_disk(job: SceneJob, place: Path, kilobytes: int) -> Tried:
    """With its output on a disk of its own."""
    (place / "out").mkdir()
    with mount_disk(("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs"), place / "out"):
        ended = run_yolor(place, job.words)
        return ended, judge(ended, place, words=("space",))


def try_file_limit(job: SceneJob, place: Path, kilobytes: int) -> Tried:
    """Where no file may become larger."""
    (place / "out").mkdir()
    most = kilobytes << 10
    ended = run_yolor(place, job.words, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
    return ended, judge(ended, place, words=("large",))


def try_read_only_disk(job: SceneJob, place: Path) -> Tried:
    """With its output on a disk that is mount_disk read-only."""
    (place / "out").mkdir()
    with mount_disk(("-t", "tmpfs", "-o", "ro", "tmpfs"), place / "out"):
        ended = run_yolor(place, job.words)
        return ended, judge(ended, place, words=("read-only",), may_work=False)


def try_folder_of_another(job: SceneJob, place: Path) -> Tried:
    """In a folder of another user, without the superuser's right to write everywhere."""
    if os.geteuid():
        raise NotPermitted("needs the superuser")
    (place / "out").mkdir()
    os.chown(place / "out", NOBODY, NOBODY)
    ended = run_yolor(place, job.words, drop_right_to_write)
    return ended, judge(ended, place, words=("permission",), may_work=False)


def drop_right_to_write() -> None:
    """Give up CAP_DAC_OVERRIDE: what belongs to others can be read then, and no longer written."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("<Ii", CAPABILITIES_V3, 0)
    rights = ctypes.create_string_buffer(24)
    assert libc.capget(header, rights) == 0
    words = [*struct.unpack("<6I", rights.raw)]
    words[0] &= ~DAC_OVERRIDE
    words[1] &= ~DAC_OVERRIDE
    assert libc.capset(header, struct.pack("<6I", *words)) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def mount_disk(words: tuple[str, ...], place: Path) -> Iterator[None]:
    """A file system at that place; NotPermitted where none may be mount_disk."""
    done = subprocess.run(["mount", *words, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(done.stderr.strip() or "mount failed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def judge(ended: Ended, place: Path, *, words: tuple[str, ...], may_work: bool = True) -> list[str]:
    """What is wrong with how a command ended that could not write."""
    faults = check_whole(place / "out")
    faults += [
        f"{path.name} is left" for path in find_files(place / "out") if is_partial(path, place / "out")
    ]
    if ended.code == 0 and may_work:
        return faults
    if ended.code not in RUNTIME_CODES or not ended.is_clear:
        faults.append(f"exit code {ended.code}: {ended.said[-600:]}")
    elif not any(word in ended.said.lower() for word in words):
        faults.append(f"does not say why: {ended.said[-300:]}")
    return faults
