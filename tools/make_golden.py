"""Records our own golden set: `python tools/make_golden.py [--check]`.

Reads tests/data/golden/cfg, writes numbers.json and arrays.npz beside it. With --check it writes nothing,
computes everything again and says where it differs. It needs no other data; the README.md there tells more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from golden_recipe import FOLDER, list_cases
from golden_record import GoldenRecord, find_differences, record_case

NUMBERS, ARRAYS = "numbers.json", "arrays.npz"


def read_records(folder: Path = FOLDER) -> dict[str, GoldenRecord]:
    """The recorded cases by key; none where nothing was recorded yet."""
    if not (folder / NUMBERS).is_file():
        return {}
    numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    records = {key: GoldenRecord(facts, {}) for key, facts in numbers.items()}
    with np.load(folder / ARRAYS) as file:
        for name in file.files:
            key, _, array = name.rpartition("/")
            records[key].arrays[array] = file[name]
    return records


def write_records(records: Mapping[str, GoldenRecord], folder: Path = FOLDER) -> None:
    """One line a case, so that a change shows which cases it touches; arrays in one compressed file."""
    lines = [f"{json.dumps(key)}: {json.dumps(record.facts)}" for key, record in records.items()]
    (folder / NUMBERS).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    named = {
        f"{key}/{name}": array for key, record in records.items() for name, array in record.arrays.items()
    }
    np.savez_compressed(folder / ARRAYS, **named)  # type: ignore[arg-type]  # numpy types its flag alone


def compare_records(want: Mapping[str, GoldenRecord], got: Mapping[str, GoldenRecord]) -> list[str]:
    """Where two sets differ: cases that one lacks, numbers that are apart."""
    lone = [f"{key}: only in one of the two sets" for key in sorted(want.keys() ^ got.keys())]
    both = [key for key in want if key in got]
    return lone + [f"{key}: {what}" for key in both for what in find_differences(want[key], got[key])]


@click.command()
@click.option(
    "--check", is_flag=True, help="write nothing; exit 1 if the numbers are no longer those recorded"
)
def main(check: bool) -> None:
    """Record what the networks of tests/data/golden/cfg compute."""
    records = {case.key: record_case(case) for case in list_cases()}
    if not check:
        write_records(records)
    elif differences := compare_records(read_records(), records):
        sys.exit("\n".join([*differences, f"{len(differences)} differences"]))
    click.echo(f"{len(records)} cases {'agree' if check else 'recorded'}")


if __name__ == "__main__":
    main()
