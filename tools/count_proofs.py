"""Writes how many cases the tests have that take their parameters from the outside data in `shared`.

`python tools/count_proofs.py [--check] [TESTS...]` collects the tests twice, with that folder and without it,
and keeps those that have more cases with it in tests/data/shared_cases.json. Nothing is run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
COUNTS_FILE = ROOT / "tests" / "data" / "shared_cases.json"
NOWHERE = "/nonexistent"
COLLECT = ("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
STAND_INS = ("[absent ", "NOTSET")
"""Of these words one is in the name of a case that only stands for those which are not there."""


def count_cases(tests: tuple[str, ...], shared: Path) -> Counter[str]:
    """By test, without parameters: how many real cases that folder gives; exits where collecting fails."""
    environment = os.environ | {"YOLOR_SHARED": str(shared)}
    command = [sys.executable, *COLLECT, *tests]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"the tests cannot be collected:\n{run.stdout}{run.stderr}")
    cases = [line for line in run.stdout.splitlines() if "::" in line]
    return Counter(case.partition("[")[0] for case in cases if not any(word in case for word in STAND_INS))


def count_dependent(tests: tuple[str, ...], shared: Path) -> dict[str, int]:
    """The tests that have more cases with the folder than without, and how many they have with it."""
    present, absent = count_cases(tests, shared), count_cases(tests, Path(NOWHERE))
    return {test: present[test] for test in sorted(present) if present[test] > absent[test]}


@click.command()
@click.option("--check", is_flag=True, help="write nothing; exit 1 if the file is not what the tests give")
@click.option(
    "--shared", type=click.Path(path_type=Path), default=ROOT.parent / "shared", help="the outside data"
)
@click.argument("tests", nargs=-1)
def main(check: bool, shared: Path, tests: tuple[str, ...]) -> None:
    """Write tests/data/shared_cases.json from the cases of all TESTS."""
    if not shared.is_dir():
        sys.exit(f"{shared} is not a folder: with what should the tests be counted?")
    fresh = json.dumps(count_dependent(tests, shared), indent=1) + "\n"
    if not check:
        COUNTS_FILE.write_text(fresh, encoding="utf-8")
    elif COUNTS_FILE.read_text(encoding="utf-8") != fresh:
        sys.exit(f"{COUNTS_FILE.name} is not what the tests give: python tools/count_proofs.py")


if __name__ == "__main__":
    main()
