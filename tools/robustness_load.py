"""Many images through one process, and several processes at once in one project."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from fuzz import preload_libraries
from robustness_kill import compare_folders
from robustness_scene import CONVERT, DETECT, TEST, TRAIN, Child, Ended, check_whole, copy_scene, make_scene
from robustness_table import CheckResult, Options

FULL_COUNT, SHORT_COUNT = 20_000, 1_000
KINDS = 97
"""Different images; the others are further names of these. A prime, so that no batch meets the same again."""
WARM_SHARE = 0.2
MOST_SLOPE = 0.5
"""MB by which the resident memory may grow for a thousand images."""
NOISE_MB = 5.0
"""In all: of a short run the slope says little."""
CROWD = 3
"""Processes."""


def check_load(options: Options) -> CheckResult:
    """Detect in thousands of images: the memory is flat, and each record is that of its image."""
    make_scene(options.folder / "scene")
    count = options.choose_count(SHORT_COUNT, FULL_COUNT)
    place = options.folder / "scene"
    write_images(place / "many", count)
    words = ("detect", "net.cfg", "net.weights", "many", "--conf", "0.05", "--max-det", "3", "--nosave")
    child = Child(place, (*words, "--save-json", "--project", "out", "--name", "exp"))
    samples: list[tuple[float, float]] = []
    while child.poll() is None:
        samples.append((time.monotonic() - child.began, resident_megabytes(child.pid)))
        time.sleep(0.2)
    ended = child.wait()
    growth = slope(samples, count)
    faults = judge_load(ended, place, count)
    is_growing = growth > MOST_SLOPE and growth * count / 1000 > NOISE_MB
    faults += [f"memory grows by {growth:.2f} MB per 1000 images"] if is_growing else []
    told = f"{count / ended.seconds:.0f} images/s; memory {growth:+.3f} MB per 1000 images"
    return CheckResult("load", count, len(faults), ended.seconds, ended.megabytes, (told, *faults))


def write_images(folder: Path, count: int) -> None:
    """Images under as many names, of which some are links to the same file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06d}.png"
        if number < KINDS:
            coarse = rng.integers(0, 255, (4, 4, 3), np.uint8)
            size = (40 + number % 7 * 8, 40 + number % 5 * 8)
            cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
        else:
            os.link(folder / f"{number % KINDS:06d}.png", path)


def resident_megabytes(pid: int) -> float:
    """The resident memory of a process now; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def slope(samples: Sequence[tuple[float, float]], count: int) -> float:
    """MB per 1000 images, by the samples behind the warm-up."""
    whole = [sample for sample in samples if sample[1] > 0]
    late = whole[int(WARM_SHARE * len(whole)) :]
    if len(late) < 3:
        return 0.0
    seconds, megabytes = np.array(late).T
    return float(np.polyfit(seconds, megabytes, 1)[0] * whole[-1][0] / count * 1000)


def judge_load(ended: Ended, place: Path, count: int) -> list[str]:
    """Record k names image k, and says what the record of the first image with the same content says."""
    if ended.code:
        return [f"exit code {ended.code}: {ended.said[-500:]}"]
    lines = (place / "out/exp/detections.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    faults = [] if len(records) == count else [f"{len(records)} records of {count} images"]
    for number, record in enumerate(records):
        if Path(record["source"]).name != f"{number:06d}.png":
            faults.append(f"record {number} is of {record['source']}")
        elif {**record, "source": ""} != {**records[number % KINDS], "source": ""}:
            faults.append(f"record {number} differs from that of the same image")
    contents = {json.dumps({**record, "source": ""}) for record in records[:KINDS]}
    if len(contents) < min(KINDS, count) / 2:
        faults.append("most images give the same, so that an exchange would not be seen")
    return faults[:10]


def check_crowd(options: Options) -> CheckResult:
    """Several processes do the same in one project at the same time: each has all of its own."""
    preload_libraries()
    scene = options.folder / "scene"
    make_scene(scene)
    faults: list[str] = []
    worst, tries = 0.0, 0
    jobs = (DETECT, TEST, TRAIN, CONVERT)[: 2 if options.is_short else 4]
    rounds = options.choose_count(1, 5)
    for number in range(rounds):
        for job in jobs:
            place = copy_scene(scene, options.folder / f"{job.name}{number}")
            ended = run_crowd(place, job.words)
            tries += CROWD
            worst = max(worst, *(one.seconds for one in ended))
            found = judge_file(ended, place / job.output) if job is CONVERT else judge_folders(ended, place)
            faults += [f"{job.name}: {fault}" for fault in found]
    return CheckResult("crowd", tries, len(faults), worst, 0, tuple(faults))


def run_crowd(place: Path, words: Sequence[str]) -> list[Ended]:
    """Start the same command several times at once, and wait for all."""
    children = [Child(place, words, name=f"{place.name}-{number}") for number in range(CROWD)]
    return [child.wait() for child in children]


def judge_folders(ended: Sequence[Ended], place: Path) -> list[str]:
    """Every process has a whole folder with the same files."""
    faults = [f"exit code {one.code}: {one.said[-500:]}" for one in ended if one.code]
    folders = [place / "out" / f"exp{number}" for number in ("", 2, 3)]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        return [*faults, f"there is no {missing}"]
    for folder in folders:
        faults += check_whole(folder) + compare_folders(folders[0], folder)
    return faults


def judge_file(ended: Sequence[Ended], path: Path) -> list[str]:
    """One process has written the file; the others were told that it exists."""
    codes = sorted(one.code for one in ended)
    faults = [] if codes == [0, *[4] * (CROWD - 1)] else [f"exit codes {codes}: {ended[-1].said[-300:]}"]
    return faults + ([] if path.is_file() else ["there is no file"])
