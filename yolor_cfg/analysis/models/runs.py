"""What the folder of a run tells: which network, on which data, and the scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolor_cfg.analysis.models.types import Score, Source
from yolor_cfg.data.formats.coco_schema import finite_number, read_json
from yolor_cfg.data.union import GivenData, parse_given, title_parts
from yolor_cfg.errors import DataError, describe
from yolor_cfg.evaluate.record import TestRecord, read_tested
from yolor_cfg.export.facts import is_exported
from yolor_cfg.files import read_bounded
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.runs import RECORD
from yolor_cfg.train.record import ARGS, load_options
from yolor_cfg.weights.loading import read_graph
from yolor_cfg.weights.task_choice import choose_graph

METRICS, ROWS, MODEL, ENVIRONMENT = "metrics.json", "metrics.jsonl", "model.cfg", "env.json"
BEST = "weights/best.pt"


def read_run(folder: Path, reading: ReadOptions) -> Source:
    """The network of a folder that `yolor train` or `yolor test` wrote; raises DataError if it is none."""
    if (folder / ARGS).is_file():
        return _read_training(folder, reading)
    if (folder / METRICS).is_file():
        return _read_test(folder, reading)
    raise DataError(
        "not the folder of a run",
        path=str(folder),
        found=f"neither {ARGS} nor {METRICS} in it",
        allowed="a folder that `yolor train` or `yolor test` wrote",
    )


def _read_training(folder: Path, reading: ReadOptions) -> Source:
    options = load_options(folder)
    own = ReadOptions(reading.dialect or options.dialect, reading.size or options.img_size)
    best = folder / BEST
    graph = read_graph(folder / MODEL, own)
    cfg = best if best.is_file() else folder / MODEL
    place = _read_place(folder)
    score = None if options.no_val else _best_score(folder, _resolve(options.val_sets, place))
    return Source(str(folder), "training", graph, str(cfg), score=score)


def _read_place(folder: Path) -> str:
    """The folder from which the paths of the run's options lead to its data."""
    file = folder / ENVIRONMENT
    found = read_json(str(file)) if file.is_file() else {}
    place = found.get("folder", "") if isinstance(found, dict) else ""
    return place if isinstance(place, str) else ""


def _resolve(given: Sequence[GivenData], place: str) -> list[GivenData]:
    return [one._replace(path=os.path.normpath(os.path.join(place, one.path))) for one in given]


def _best_score(folder: Path, data: Sequence[GivenData]) -> Score | None:
    """The scores of the epoch with the highest AP; None where no epoch has one."""
    rows = [row for row in _read_rows(folder / ROWS) if finite_number(row.get("AP")) is not None]
    if not rows:
        return None
    best = max(rows, key=lambda row: float(row["AP"]))
    return make_score(best, data)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; none where the run has not come to its first."""
    if not path.is_file():
        return []
    text = read_bounded(path, fault=DataError, what="the scores of the run").decode("utf-8", "replace")
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError("not the scores of an epoch", path=str(path), line=number, found=describe(line))
        rows.append(row)
    return rows


def make_score(figures: dict[str, Any], data: Sequence[GivenData], split: str = "") -> Score | None:
    """The score of these figures; None where there is no AP, which COCO writes as -1."""
    ap, ap50 = (finite_number(figures.get(name)) for name in ("AP", "AP50"))
    known = [None if value is None or value < 0 else value for value in (ap, ap50)]
    if known == [None, None]:
        return None
    names = ", ".join(title_parts(data)) if data else "unknown data"
    key = (*sorted(one.text for one in data), split or "val")
    return Score(known[0], known[1], f"{names} {split}".strip(), key)


def _read_test(folder: Path, reading: ReadOptions) -> Source:
    tested = read_tested(folder)
    if tested is None:
        raise DataError(
            "does not say which network was tested",
            path=str(folder),
            found=f"nothing of it in {RECORD}, as in folders of earlier versions",
            hint="test it again, or give its cfg, and its AP in a file of --ap",
        )
    graph = _read_tested_graph(tested, folder, reading)
    document = read_json(str(folder / METRICS))
    data = [parse_given(text) for text in tested.data]
    score = make_score(_main_figures(document), data, tested.split)
    return Source(str(folder), "test", graph, tested.network, tested.weights, score, tested.task)


def _read_tested_graph(tested: TestRecord, folder: Path, reading: ReadOptions) -> Graph:
    """The graph of the network that was tested, at its size; raises DataError if the file is gone, or holds
    none."""
    if not Path(tested.network).is_file():
        hint = f"bring it back, or correct the path in {folder / RECORD}"
        raise DataError(
            "the network that was tested is gone", path=str(folder), found=tested.network, hint=hint
        )
    if is_exported(tested.network):
        hint = "give its cfg, and its AP in a file of --ap"
        raise DataError("an exported file was tested", path=str(folder), found=tested.network, hint=hint)
    size = reading.size or tested.size
    graph = read_graph(tested.network, ReadOptions(reading.dialect or tested.dialect, size))
    return choose_graph(graph, tested.task) if tested.task in graph.tasks else graph


def _main_figures(document: Any) -> dict[str, Any]:
    """COCO's numbers of a test, or the means over several data sets."""
    found = document.get("coco", document.get("mean")) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}
