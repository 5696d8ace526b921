"""What is in the folder of a run: as much as can be read, and what is missing or damaged."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yolor_cfg.errors import DataError, YolorError, count_of
from yolor_cfg.files import read_bounded
from yolor_cfg.lang.yaml_text import read_yaml
from yolor_cfg.runs import RECORD, list_objects, read_record

ARGS, ROWS, ROWS_JSON, METRICS, MODEL, ENVIRONMENT = (
    *("args.yaml", "results.csv", "metrics.jsonl", "metrics.json", "model.cfg"),
    "env.json",
)
SIGNS = {"train": (ARGS, ROWS, ROWS_JSON), "test": (METRICS,)}
"""What the folder of a run has, by its kind."""
BENCH = "bench"
MOST_JSON = 256 << 20
MOST_ROWS = 1000
LABEL_KINDS = {"single": "classification", "multi": "multilabel"}
"""What the figures of heads that classify images are called, by their kind."""
EpochRow = dict[str, float]
Thinned = TypeVar("Thinned", EpochRow, dict[str, Any])


class RunFiles(NamedTuple):
    """A run: `record` is its run.json, `rows` the results of its epochs, `options` all options by name,
    `given` those that differ from their default, `tests` what was found in each data set (see
    `evaluate.facts`), `problems` what could not be read."""

    folder: Path
    kind: str
    record: dict[str, Any]
    rows: list[EpochRow]
    options: dict[str, Any]
    environment: dict[str, Any]
    cfg: str
    tests: list[dict[str, Any]]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last two parts of its path: `train/exp`."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The calls of the command that the run is made of."""
        return list_objects(self.record.get("sessions")) if self.kind == "train" else [self.record]

    @property
    def speeds(self) -> list[tuple[str, float]]:
        """Of a bench, what ran (engine, precision, batch) and its images per second."""
        ran = [one for one in list_objects(self.record.get("results")) if "images_per_second" in one]
        return [(name_contestant(one), float(one["images_per_second"])) for one in ran]

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Time and memory of each epoch."""
        return list_objects(self.record.get("epochs"))

    @property
    def shown_rows(self) -> list[EpochRow]:
        """The rows that a page has: of very many some, evenly spread, with the best and the last one."""
        return thin_rows(self.rows, (self.best,))

    @property
    def best(self) -> EpochRow:
        """The row of the epoch that the best network is of: as recorded, else the one with the best scores;
        nothing without a test."""
        for row in self.rows:
            if row["epoch"] == self.record.get("best_epoch") and ranking_of(row) is not None:
                return row
        tested = [row for row in self.rows if ranking_of(row) is not None]
        return max(tested, key=lambda row: ranking_of(row) or 0.0, default={})


def thin_rows(rows: Sequence[Thinned], kept: Sequence[Thinned] = ()) -> list[Thinned]:
    """At most about MOST_ROWS of the rows, evenly spread, with the last one and those that are to be kept."""
    step = -(-len(rows) // MOST_ROWS) or 1
    kept = (*kept, *rows[-1:])
    return [row for number, row in enumerate(rows) if number % step == 0 or (step > 1 and row in kept)]


def ranking_of(row: EpochRow) -> float | None:
    """What the best epoch is chosen by: the mean of AP, top1 or mAP, and identity_mAP; None if untested."""
    found = [row[word] for word in ("AP", "top1", "identity_mAP") if word in row]
    found += [row["mAP"]] if "mAP" in row and "top1" not in row else []
    return sum(found) / len(found) if found else None


def name_contestant(one: dict[str, Any]) -> str:
    """`native bf16, batch 8`, with the cfg before."""
    plain = " as written" if one.get("without") else ""
    settings = f"{one['engine']} {one.get('precision', '')}{plain}"
    return f"{Path(str(one.get('cfg', ''))).stem}: {settings}, batch {one['batch']}"


def object_of(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def label_heads(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of each head that classifies images, those with one class an image first."""
    found = (metrics.get(name) for name in LABEL_KINDS.values())
    return [head for one in found for head in list_objects(one if isinstance(one, list) else [one])]


def read_run(place: Path) -> RunFiles:
    """The run in a folder, or in that of a file of it, or the JSON of a bench; raises DataError where there
    is none."""
    if place.is_file() and place.suffix == ".json" and place.name not in (RECORD, METRICS, ENVIRONMENT):
        return _read_bench(place)
    folder = place.parent if place.is_file() else place
    record = read_record(folder)
    kind = _tell_kind(place, folder, record)
    problems = _judge_record(folder, record)
    network, environment = object_of(record.get("network")), object_of(record.get("environment"))
    if kind == "test":
        tests = list_objects(record.get("tests")) or _read_metrics(folder, problems)
        options, cfg = _test_options(record), str(network.get("cfg", ""))
        return RunFiles(folder, kind, record, [], options, environment, cfg, tests, tuple(problems))
    rows, options = list(_read_rows(folder, problems)), _read_args(folder, problems)
    environment = _read_json(folder / ENVIRONMENT, problems)
    cfg, tests = _read_text(folder / MODEL, problems), list_objects(record.get("tests"))
    return RunFiles(folder, kind, record, rows, options, environment, cfg, tests, tuple(problems))


def _read_bench(path: Path) -> RunFiles:
    """What `yolor bench --json` printed, as a run whose folder is that file."""
    try:
        found = json.loads(read_bounded(path, fault=DataError, what="the file", most=MOST_JSON))
    except (ValueError, RecursionError):
        found = None
    results = list_objects(found)
    if not results or not all({"engine", "batch"} <= one.keys() for one in results):
        raise DataError(
            "neither the folder of a run nor what `yolor bench --json` prints",
            path=str(path),
            allowed="a list of objects with engine, batch, images_per_second",
        )
    return RunFiles(path, BENCH, {"results": results}, [], {}, {}, "", [], ())


def _judge_record(folder: Path, record: dict[str, Any]) -> list[str]:
    """What is wrong with run.json."""
    if record:
        return []
    if (folder / RECORD).exists():
        return [f"{RECORD}: damaged; what it holds is missing here"]
    return [f"no {RECORD}: the run is of an older version, or was cut short; only its figures are shown"]


def _tell_kind(place: Path, folder: Path, record: dict[str, Any]) -> str:
    if not folder.is_dir():
        raise DataError("no such folder", path=str(folder), hint="give the folder of a run")
    if record.get("kind") in SIGNS:
        return str(record["kind"])
    found = [kind for kind, names in SIGNS.items() if any((folder / name).exists() for name in names)]
    if not found:
        names = sorted(one.name for one in folder.iterdir())[:8]
        raise DataError(
            "not the folder of a run",
            path=str(place),
            found="a file that stands in none" if place != folder else ", ".join(names) or "an empty folder",
            allowed=f"one with {RECORD}, {ROWS} (yolor train) or {METRICS} (yolor test)",
        )
    return found[0]


def _read_rows(folder: Path, problems: list[str]) -> Iterator[EpochRow]:
    """The results of the epochs, from results.csv, else from metrics.jsonl."""
    path = folder / ROWS
    if not path.exists():
        problems.append(f"no {ROWS}: no epoch is finished, or the file is gone")
        if (folder / ROWS_JSON).exists():
            yield from _read_json_rows(folder / ROWS_JSON, problems)
        return
    header, *lines = _split_cells(_read_text(path, problems))
    cut = 0
    for line in filter(None, lines):
        row = _parse_row(header, line)
        cut += row is None
        yield from [row] if row else []
    if "epoch" not in header:
        problems.append(f"{ROWS}: damaged")
    elif cut:
        problems.append(f"{ROWS}: {count_of(cut, 'line')} cut or damaged, left out")


def _split_cells(text: str) -> list[list[str]]:
    """The lines of a CSV file, one at least; a line without anything for what is none."""
    try:
        return [*csv.reader(text.splitlines()), []]
    except csv.Error:
        return [[]]


def _parse_row(header: list[str], line: list[str]) -> EpochRow | None:
    """The numbers of a line; None if it is not whole."""
    try:
        cells = zip(header, line, strict=True)
        row = {name: float(cell) for name, cell in cells if cell}
    except ValueError:
        return None
    return row if "epoch" in row else None


def _read_json_rows(path: Path, problems: list[str]) -> Iterator[EpochRow]:
    for line in _read_text(path, problems).splitlines():
        try:
            row = json.loads(line)
            yield {str(name): float(value) for name, value in row.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            problems.append(f"{path.name}: a line cut or damaged, left out")


def _read_args(folder: Path, problems: list[str]) -> dict[str, Any]:
    try:
        found = read_yaml(folder / ARGS, fault=DataError, what="the record of the run's options")
    except YolorError as fault:
        problems.append(f"{ARGS}: {fault.message}")
        return {}
    return _require_object(found, ARGS, problems)


def _require_object(value: Any, name: str, problems: list[str]) -> dict[str, Any]:
    """The value if it is an object; else a file is damaged."""
    if not isinstance(value, dict):
        problems.append(f"{name}: damaged")
    return object_of(value)


def _test_options(record: dict[str, Any]) -> dict[str, Any]:
    options = object_of(record.get("options"))
    return {name: object_of(one).get("value") for name, one in options.items()}


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.exists():
        problems.append(f"no {path.name}")
        return {}
    try:
        found = json.loads(_read_text(path, problems))
    except (ValueError, RecursionError):
        found = None
    return _require_object(found, path.name, problems)


def _read_text(path: Path, problems: list[str]) -> str:
    try:
        data = read_bounded(path, fault=DataError, what="the file", most=MOST_JSON)
    except DataError as fault:
        problems.append(f"{path.name}: {fault.message}")
        return ""
    if not data:
        problems.append(f"{path.name}: empty")
    return data.decode("utf-8", errors="replace")


def _read_metrics(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The figures of a test that left no record: those of metrics.json."""
    found = _read_json(folder / METRICS, problems)
    several = list_objects(found.get("datasets"))
    return [{"name": str(one.get("name", "")), "metrics": one} for one in several or [found] if one]
