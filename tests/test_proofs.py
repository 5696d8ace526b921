"""The line about proofs at the end of a run counts truly, with the shared data and without it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import proofs
import pytest
from count_proofs import COUNTS_FILE, main

ROOT = Path(__file__).resolve().parents[1]
# Takes all of its parameters from the shared data.
DEPENDENT = "tests/test_golden_yolor.py::test_decoded_boxes_equal_yolors"


def run_tests(*arguments: str, shared: str) -> str:
    """What pytest prints of these tests with that shared folder."""
    environment = os.environ | {"YOLOR_SHARED": shared}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def proofs_line(printed: str) -> str:
    (line,) = re.findall(r"^proofs: .*$", printed, flags=re.MULTILINE)
    return line


@pytest.mark.slow
def test_every_case_that_needs_the_shared_data_is_skipped_and_counted() -> None:
    module = "tests/test_golden_yolor.py"
    owed = 1 + sum(count for test, count in proofs.read_counts().items() if test.startswith(f"{module}::"))
    printed = run_tests(module, shared="/nonexistent")
    assert proofs_line(printed) == f"proofs: 0 ran, {owed} skipped for want of ../shared"
    assert f"{owed} skipped in" in printed


def test_what_is_not_chosen_is_not_counted_and_an_empty_folder_is_no_better_than_none(tmp_path: Path) -> None:
    printed = run_tests("tests/test_golden_yolor.py", "-k", "decoded", shared=str(tmp_path))
    assert (
        proofs_line(printed)
        == f"proofs: 0 ran, {proofs.read_counts()[DEPENDENT]} skipped for want of ../shared"
    )


@pytest.mark.slow
def test_collecting_alone_tells_how_many_could_run() -> None:
    printed = run_tests("tests/test_golden_yolor.py", "--collect-only", shared="/nonexistent")
    assert proofs_line(printed) == "proofs: 77 collected, 77 of them cannot run for want of ../shared"


def test_other_reasons_for_a_skip_are_told_apart() -> None:
    class Report:
        def __init__(self, reason: str) -> None:
            self.longrepr = ("test_x.py", 1, f"Skipped: {reason}")

    stats = {"passed": [1, 2], "failed": [3], "skipped": [Report(proofs.WANT), Report("no GPU")]}
    assert proofs.summary(stats) == "proofs: 3 ran, 1 skipped for want of ../shared, 1 for other reasons"
    assert proofs.summary({}) == "proofs: 0 ran, 0 skipped for want of ../shared"


def test_the_counts_are_those_of_the_tests_collected_in_this_run(
    shared: Path, request: pytest.FixtureRequest
) -> None:
    """In a run of all tests this looks at them all; `python tools/count_proofs.py` mends it."""
    assert request.config.stash[proofs.MISMATCHES] == []


def test_a_wrong_count_is_noticed(request: pytest.FixtureRequest) -> None:
    here = proofs.function_of(request.node)
    assert proofs.mismatches([request.node], {here: 1, "tests/other.py::test": 7}) == []
    assert proofs.mismatches([request.node], {here: 2}) == [f"{here}: 1 cases, not 2"]


@pytest.mark.slow
def test_the_counts_are_those_of_all_tests(shared: Path) -> None:
    before = COUNTS_FILE.read_text(encoding="utf-8")
    main(["--check", "--shared", str(shared)], standalone_mode=False)
    assert COUNTS_FILE.read_text(encoding="utf-8") == before
