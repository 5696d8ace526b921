"""A process is killed at a random moment: every file is whole or absent, and the work can go on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuzz import preload_libraries
from robustness_scene import (
    CONVERT,
    DETECT,
    EXPORT,
    JOBS,
    SAVE,
    TEST,
    TRAIN,
    Child,
    Ended,
    SceneJob,
    check_whole,
    copy_scene,
    digest,
    find_files,
    is_partial,
    make_scene,
    run_yolor,
)
from robustness_table import CheckResult, Options

FULL_COUNT, SHORT_COUNT = 50, 4
TURNS = (TRAIN, DETECT, TRAIN, TEST, TRAIN, CONVERT, DETECT, EXPORT, SAVE)
"""Which job is killed next: the one with most to lose most often."""


class Whole(NamedTuple):
    """What a job does undisturbed: how long it takes, and what it leaves."""

    seconds: float
    place: Path


class Killed(NamedTuple):
    """A job, what it does undisturbed, where it was killed, and how it ended."""

    job: SceneJob
    whole: Whole
    place: Path
    ended: Ended


def check_kills(options: Options) -> CheckResult:
    """Kill jobs, one after the other, each in a copy of the same world."""
    preload_libraries()
    scene, rng = options.folder / "scene", random.Random(options.seed)
    make_scene(scene)
    count = options.choose_count(SHORT_COUNT, FULL_COUNT)
    turns = [TURNS[number % len(TURNS)] for number in range(count)]
    whole = {job.name: run_whole(job, scene, options.folder) for job in JOBS if job in turns}
    faults: list[str] = []
    worst = 0.0
    for number, job in enumerate(turns):
        began = time.monotonic()
        found = kill_once(job, whole[job.name], copy_scene(scene, options.folder / f"kill{number}"), rng=rng)
        faults += [f"{number} {job.name}: {fault}" for fault in found]
        worst = max(worst, time.monotonic() - began)
        options.tell(CheckResult("kill", number + 1, len(faults), worst, 0, tuple(faults)))
    shares = ", ".join(f"{job.name} {turns.count(job)}" for job in JOBS if job in turns)
    return CheckResult("kill", count, len(faults), worst, 0, (f"killed: {shares}", *faults))


def run_whole(job: SceneJob, scene: Path, folder: Path) -> Whole:
    """Run it once to its end."""
    place = copy_scene(scene, folder / f"whole-{job.name}")
    ended = run_yolor(place, job.words)
    assert ended.code == 0, ended.said
    assert not (faults := check_whole(place / "out")), faults
    return Whole(ended.seconds, place)


def kill_once(job: SceneJob, whole: Whole, place: Path, *, rng: random.Random) -> list[str]:
    """Kill it at a random moment; what is wrong afterwards."""
    given = digest(place)
    child = Child(place, job.words)
    child.wait_for(lambda: False, rng.uniform(0.02, 1.02) * whole.seconds)
    ended = child.kill()
    faults = check_whole(place / "out") + check_whole_file(place / job.output)
    faults += look_at_given(given, place)
    return faults + AFTER[job.name](Killed(job, whole, place, ended))


def check_whole_file(path: Path) -> list[str]:
    """A single file that a command writes is whole or absent."""
    if not path.is_file():
        return []
    from robustness_scene import CHECKS

    try:
        CHECKS[path.suffix](path)
    except Exception as fault:  # whatever the library of its format says
        return [f"{path.name}: {fault}"]
    return []


def look_at_given(given: dict[str, str], place: Path) -> list[str]:
    """What was there before is there, and is what it was."""
    now = digest(place)
    return [f"{name} was changed" for name, content in given.items() if now.get(name) != content]


def go_on_training(killed: Killed) -> list[str]:
    """`--resume` ends where the run that nobody disturbed did, to the bit; a run that was killed before it
    had a state is told so, and begins anew."""
    job, whole, place, _ = killed
    last = place / job.output / "weights/last.pt"
    if not last.exists():
        told = run_yolor(place, ("train", "--resume", job.output))
        faults = [] if told.code in (2, 3, 4) and told.is_clear else [f"no state: {told.code} {told.said}"]
        again = run_yolor(place, job.words)
        return faults + ([] if again.code == 0 else [f"again: {again.code} {again.said[-500:]}"])
    resumed = run_yolor(place, ("train", "--resume", job.output))
    if resumed.code:
        return [f"--resume: exit code {resumed.code}: {resumed.said[-500:]}"]
    return compare_runs(whole.place / job.output, place / job.output) + leftovers(place)


def compare_runs(one: Path, other: Path) -> list[str]:
    """What differs between the results of two runs: tensors, rows, files."""
    faults = []
    for name in ("weights/best.weights", "metrics.jsonl", "results.csv"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            faults.append(f"{name} differs from that of the undisturbed run")
    states = [torch.load(folder / "weights/last.pt", weights_only=True) for folder in (one, other)]
    for part in ("model", "training"):
        faults += [f"last.pt: {name} differs" for name in differences(*(state[part] for state in states))]
    lists = [sorted(str(path.relative_to(folder)) for path in find_files(folder)) for folder in (one, other)]
    return faults + ([] if lists[0] == lists[1] else [f"other files: {set(lists[0]) ^ set(lists[1])}"])


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """The places in which two nested values differ."""
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [name]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [place for key in one for place in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [place for number, pair in pairs for place in differences(*pair, f"{name}.{number}")]
    return [] if one == other or (one != one and other != other) else [name]


def go_on_in_new_folder(killed: Killed) -> list[str]:
    """The same command again makes a new folder with all that the undisturbed run has."""
    job, whole, place, ended = killed
    again = run_yolor(place, job.words)
    if again.code:
        return [f"again: exit code {again.code}: {again.said[-500:]}"]
    first, second = place / job.output, place / f"{job.output}2"
    made = second if first.exists() and second.exists() else first
    faults = compare_folders(whole.place / job.output, made)
    if made == second and ended.code < 0 and (first / "summary.json").exists():
        summary = json.loads((first / "summary.json").read_text(encoding="utf-8"))
        count = sum(1 for path in first.glob("*.jpg"))
        faults += [] if summary["frames"] == count else [f"summary of {summary['frames']}, {count} images"]
    return faults + leftovers(place)


def compare_folders(one: Path, other: Path) -> list[str]:
    """The same files are in two folders."""
    lists = [{str(path.relative_to(folder)) for path in find_files(folder)} for folder in (one, other)]
    return [f"{name} is in one of two equal runs" for name in sorted(lists[0] ^ lists[1])]


def leftovers(place: Path) -> list[str]:
    """Unfinished files that a later run in the same place did not clear away."""
    return [f"{path.name} is left" for path in find_files(place) if is_partial(path, place)]


def go_on_with_file(killed: Killed) -> list[str]:
    """The same command again writes the file, or says that it exists."""
    job, whole, place, _ = killed
    existed = (place / job.output).exists()
    again = run_yolor(place, job.words)
    if again.code != (4 if existed else 0) or not again.is_clear:
        return [f"again: exit code {again.code}: {again.said[-500:]}"]
    same = (place / job.output).read_bytes() == (whole.place / job.output).read_bytes()
    return leftovers(place) + ([] if same else [f"{job.output} differs from that of the undisturbed run"])


AFTER: dict[str, Callable[[Killed], list[str]]] = {
    "train": go_on_training,
    "detect": go_on_in_new_folder,
    "test": go_on_in_new_folder,
    "export": go_on_in_new_folder,
    "convert": go_on_with_file,
    "save": go_on_with_file,
}
