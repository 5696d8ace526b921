"""Which network was tested, on which data: a part of the record of a run, run.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.data.formats.coco_schema import describe_json
from yolor_cfg.errors import DataError
from yolor_cfg.runs import RECORD, read_record


class TestRecord(NamedTuple):
    """Absolute paths of the file that describes the network and of its weights, of the data sets, each
    perhaps as `TASK=PATH`; the split ("": val, or all of it), and what the user chose besides."""

    network: str
    weights: str | None
    data: tuple[str, ...]
    split: str = ""
    size: int | tuple[int, int] | None = None
    dialect: str | None = None
    task: str | None = None


def read_tested(folder: Path) -> TestRecord | None:
    """What was tested, of the record of a run; None where it does not say. Raises DataError if it is
    damaged."""
    record = read_record(folder)
    if "tested" not in record:
        return None
    found = record["tested"]
    if not _is_record(found):
        path, allowed = str(folder / RECORD), "an object with " + ", ".join(TestRecord._fields)
        raise DataError("not the record of a test", path=path, found=describe_json(found), allowed=allowed)
    size = found["size"]
    plain = {**found, "data": tuple(found["data"]), "size": tuple(size) if isinstance(size, list) else size}
    return TestRecord(**plain)


def _is_record(found: Any) -> bool:
    if not isinstance(found, dict) or set(found) != set(TestRecord._fields):
        return False
    texts = [
        found["network"],
        found["split"],
        *(found["data"] if isinstance(found["data"], list) else [None]),
    ]
    maybe = [found[name] for name in ("weights", "dialect", "task")]
    size = found["size"]
    sides = size if isinstance(size, list) and len(size) == 2 else [32 if size is None else size]
    return (
        all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in maybe)
        and all(type(side) is int and side > 0 for side in sides)
    )
