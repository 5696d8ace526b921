"""The fuzzer's inputs are the same for the same seed, and it tells faults from refusals."""

import random
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import fuzz
import fuzz_mutate


def mutated(seed: int, path: Path) -> bytes:
    path.write_bytes(b'{"images": [{"id": 1, "width": 48}], "names": ["cat", "dog"]}')
    fuzz_mutate.mutate_file(path, random.Random(seed))
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".json", ".cfg", ".png", ".weights"])
def test_the_same_seed_gives_the_same_input(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    inputs = [mutated(seed, path) for seed in range(30)]
    assert inputs == [mutated(seed, path) for seed in range(30)]
    assert len(set(inputs)) > 20


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (fuzz.Outcome(0, 1, 200), ""),
        (fuzz.Outcome(4, 1, 200), ""),
        (fuzz.Outcome(7, 1, 200), "exit code 7"),
        (fuzz.Outcome(-signal.SIGSEGV, 1, 200), "exit code -11"),
        (fuzz.Outcome(fuzz.CRASH, 1, 200), "traceback"),
        (fuzz.Outcome(0, 1000, 200), "hang: 1000 s"),
        (fuzz.Outcome(0, 1, 90_000), "memory: 90000 MB"),
    ],
)
def test_a_refusal_is_no_fault_and_a_crash_is_one(outcome: fuzz.Outcome, fault: str) -> None:
    assert outcome.fault == fault
