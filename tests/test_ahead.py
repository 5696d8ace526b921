"""The run of `yolor detect` beside itself: the results are those of one thing after the other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_detector import Files, photo, save, text, write, yolor

from yolor_cfg.cli.process import delayed_signals
from yolor_cfg.detect.ahead import Crew, Walk, take_ahead
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.detect.run import RunOptions, detect_frames
from yolor_cfg.detect.sources import Frame, open_sources
from yolor_cfg.errors import DataError, YolorError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images of three sizes, of which two cannot be read."""
    folder = tmp_path / "mixed"
    for number in range(12):
        save(folder / f"{number:02d}.jpg", photo(50 + number % 3 * 20, 70, seed=number))
    (folder / "03.jpg").write_bytes((folder / "03.jpg").read_bytes()[:300])
    (folder / "11.jpg").write_bytes(b"no image")
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- equal to one thing after the other ---


@pytest.mark.parametrize("batch", [1, 3])
def test_all_files_and_lines_are_those_of_one_thing_after_the_other(
    batch: int, tiny: Files, mixed: Path, shared: Path, tmp_path: Path
) -> None:
    """Of images, broken images and a video; the lines on standard error but for their times."""
    sources = (mixed, shared / "data/samples/cards_pan.mp4", mixed / "00.jpg", "--vid-stride", 20)
    options = ("--batch-size", batch, "--save-txt", "--save-crop", "--save-json", "--json", "--max-det", 4)
    said, files = [], []
    for workers in (0, 1, 3):
        place = ("--project", tmp_path, "--name", f"by-{workers}", "--workers", workers)
        result = yolor("detect", *tiny, *sources, *options, *place)
        assert result.exit_code == 0
        lines = re.sub(r"\d+ ms\b", "0 ms", result.stderr)
        said.append((result.stdout, lines.replace(f"by-{workers}", "by")))
        files.append(written(tmp_path / f"by-{workers}"))
    assert len(said[0][0].splitlines()) == 10 + 3 + 1
    assert "03.jpg: skipped: the file is truncated" in said[0][1]
    assert said[0] == said[1] == said[2]
    assert len(files[0]) > 3 * 14
    assert files[0] == files[1] == files[2]


def test_a_fault_comes_after_the_results_before_it(
    tiny: Files, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network fails at the sixth image: five are handed on, whatever was read ahead."""
    detector = Detector(*tiny)
    detect, calls = detector.detect, []

    def fail_late(batch, rules=None):
        calls.append(batch)
        if len(calls) == 6:
            raise YolorError("no more")
        return detect(batch, rules)

    monkeypatch.setattr(detector, "detect", fail_late)
    for workers in (0, 2):
        calls.clear()
        found: list[str] = []
        with pytest.raises(YolorError, match="no more"):
            detect_frames(
                detector,
                open_sources([mixed]),
                found=lambda frame, _, found=found: found.append(Path(frame.source).stem),
                skipped=lambda item, found=found: found.append("skipped"),
                how=RunOptions(workers),
            )
        assert found == ["00", "01", "02", "skipped", "04", "05"]


def test_no_line_is_lost_while_other_threads_decode(tiny: Files, mixed: Path, tmp_path: Path) -> None:
    """OpenCV's codecs are silenced by leading descriptor 2 nowhere; our lines do not use it."""
    words = ["detect", *tiny, mixed, mixed, mixed, "--project", tmp_path, "--nosave", "--workers", "4"]
    command = [sys.executable, "-m", "yolor_cfg", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = [line.partition(": ")[0] for line in done.stderr.splitlines() if str(mixed) in line]
    assert told == [str(mixed / f"{number:02d}.jpg") for number in range(12)] * 3


def test_control_c_waits_for_the_end_of_an_image() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), delayed_signals():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


# --- bounds ---


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (1, 1), (3, 1), (2, 4)])
def test_no_more_images_are_under_way_than_the_bound(workers: int, batch: int, tiny: Files) -> None:
    """With a writer that is slower than all before it; an image is read, a batch is in the network, and those
    that wait on both sides are bounded."""
    under_way, most = 0, 0
    lock = threading.Lock()

    def frames() -> Iterator[Frame]:
        nonlocal under_way, most
        for number in range(40):
            with lock:
                under_way += 1
                most = max(most, under_way)
            yield Frame("v", number, photo())

    def found(*_: object) -> None:
        nonlocal under_way
        time.sleep(0.003)
        with lock:
            under_way -= 1

    how = RunOptions(workers)
    detector = Detector(*tiny, batch_size=batch)
    assert detect_frames(detector, frames(), found=found, skipped=pytest.fail, how=how) == 40
    bound = 2 * (batch + workers) + batch + 1 if workers else batch + 1
    assert (batch if batch > 1 else 1) <= most <= bound < 40
    assert most > 2 or workers == 0


def test_large_images_are_read_one_ahead(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here those of more than 8 KB."""
    monkeypatch.setattr("yolor_cfg.detect.run.MOST_BYTES", 1 << 13)
    taken: list[int] = []
    most = 0

    def frames() -> Iterator[Frame]:
        for number in range(30):
            taken.append(number)
            yield Frame("v", number, photo())

    def found(frame: Frame, _: object) -> None:
        nonlocal most
        time.sleep(0.003)
        assert frame.index is not None
        most = max(most, len(taken) - frame.index)

    detect_frames(Detector(*tiny), frames(), found=found, skipped=pytest.fail, how=RunOptions(4))
    assert most <= 2 * (1 + 4) - 3


# --- the threads ---


def test_nothing_is_begun_that_nobody_asks_for() -> None:
    begun: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    crew = Crew(2)
    walk = Walk(numbers(), lambda number: -number)
    taken = take_ahead(walk.jobs(crew.reader), lambda: 3)
    assert begun == []
    assert [next(taken), next(taken)] == [0, -1]
    crew.stop()
    assert len(begun) <= 5


def test_no_thread_is_left(tiny: Files, mixed: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    detector = Detector(*tiny)
    for found in (stop, lambda *_: None):
        try:
            detect_frames(detector, open_sources([mixed]), found=found, skipped=lambda _: None)
        except KeyboardInterrupt:
            assert found is stop
    assert threading.active_count() == before


def test_lines_of_results_are_equal_with_the_threads_of_a_recurrent_network(
    tmp_path: Path, shared: Path
) -> None:
    crnn = "[crnn]\nbatch_normalize=1\nsize=3\npad=1\noutput=24\nhidden=8\nactivation=leaky\n"
    before, mark, after = text().rpartition("[convolutional]")
    files = write(tmp_path, before + crnn + mark + after)
    said = []
    for workers in (0, 2):
        options = ("--vid-stride", 5, "--json", "--nosave", "--project", tmp_path, "--workers", workers)
        said.append(yolor("detect", *files, shared / "data/samples/cards_pan.mp4", *options).stdout)
    assert len([json.loads(line) for line in said[0].splitlines()]) == 9
    assert said[0] == said[1]


# --- in Python ---


def test_a_list_of_files_gives_what_its_images_give_one_by_one(tiny: Files, mixed: Path) -> None:
    detector = Detector(*tiny, batch_size=2)
    paths = sorted(str(path) for path in mixed.iterdir())
    together = detector(paths, on_error="skip")
    assert [str(one.error) for one in together] == [
        str(detector(path, on_error="skip").error) for path in paths
    ]
    assert [one.to_dict()["detections"] for one in together] == [
        detector(path, on_error="skip").to_dict()["detections"] for path in paths
    ]
    contents = [Path(path).read_bytes() for path in paths[:3]]
    assert [len(one) for one in detector(contents)] == [len(one) for one in together[:3]]


def test_a_list_of_files_is_read_while_the_network_runs(
    tiny: Files, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other threads, and no further ahead than the bound."""
    detector = Detector(*tiny)
    prepare, detect = detector.prepare, detector.detect
    readers: set[str] = set()
    read: list[object] = []
    ahead: list[int] = []

    def note(image, **how):
        readers.add(threading.current_thread().name)
        read.append(image)
        return prepare(image, **how)

    def look(batch, rules):
        time.sleep(0.01)
        ahead.append(len(read) - len(ahead))
        return detect(batch, rules)

    monkeypatch.setattr(detector, "prepare", note)
    monkeypatch.setattr(detector, "detect", look)
    assert len(detector([mixed / "00.jpg"] * 30)) == 30
    assert threading.current_thread().name not in readers
    assert 1 < max(ahead) <= 1 + 1 + 4


def test_a_damaged_file_in_a_list_is_raised_and_leaves_no_thread(tiny: Files, mixed: Path) -> None:
    before = threading.active_count()
    with pytest.raises(DataError, match="truncated"):
        Detector(*tiny)(sorted(mixed.iterdir()))
    assert threading.active_count() == before
