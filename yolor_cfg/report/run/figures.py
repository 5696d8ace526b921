"""The main figures of a run, by name, and those of each class: what runs are compared by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from yolor_cfg.report.run.read import RunFiles, label_heads, object_of
from yolor_cfg.report.run.training import score_names, speed_of, spent_seconds
from yolor_cfg.runs import list_objects

YOLOR_NAMES = {"precision": "P", "recall": "R", "f1": "F1"}
ABSENT = -1


def run_figures(run: RunFiles) -> dict[str, float]:
    """The figures by name: of a training those of the best epoch, and of each data set that was tested; with
    several the name of the data set stands before."""
    found = {name: run.best[name] for name in score_names(run.rows) if name in run.best}
    for test in run.tests:
        start = f"{test['name']}: " if test.get("name") else ""
        for name, value in _test_figures(object_of(test.get("metrics"))):
            if start + name not in found:
                found[start + name] = value
    return found


def _test_figures(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield from _keep_numbers(object_of(metrics.get("coco")))
    yolor = object_of(metrics.get("yolor"))
    yield from _keep_numbers({short: yolor.get(name) for name, short in YOLOR_NAMES.items()})
    darknet = object_of(metrics.get("darknet"))
    named = {name: f"Darknet {name.replace('_', ' ')}" for name in darknet if name.startswith("mAP")}
    yield from _keep_numbers({text: darknet[name] for name, text in named.items()})
    heads = label_heads(metrics)
    for place, head in enumerate(heads, 1):
        end = "" if len(heads) == 1 else f" {place}"
        yield from _keep_numbers({f"labels {key}{end}": head[key] for key in head if key != "images"})
    embedding = object_of(metrics.get("embedding"))
    names = ("rank1", "rank5", "mAP")
    yield from _keep_numbers({f"embedding {name}": embedding.get(name) for name in names})


def _keep_numbers(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, (int, float)) and math.isfinite(value) and value != ABSENT:
            yield name, float(value)


def run_speeds(run: RunFiles) -> dict[str, float]:
    """Duration, images per second of training, memory, and milliseconds per image of a test."""
    found = {"duration, s": spent_seconds(run)}
    found |= {f"{name}, images/s": speed for name, speed in run.speeds}
    rates = [rate for row in run.epochs if (rate := speed_of(row)) is not None]
    if rates:
        found["training, images/s (median of epochs)"] = statistics.median(rates)
    memory = [float(row["memory_mib"]) for row in run.epochs if "memory_mib" in row]
    if memory:
        found["memory, MiB (most)"] = max(memory)
    for test in run.tests:
        start = f"{test['name']}: " if test.get("name") else ""
        speed = object_of(object_of(test.get("metrics")).get("speed_ms"))
        found |= {f"{start}{name}, ms per image": value for name, value in _keep_numbers(speed)}
    return {name: value for name, value in found.items() if value}


def class_figures(run: RunFiles) -> dict[str, float]:
    """The AP of each class that has labels, by name; with several data sets theirs stands before."""
    found: dict[str, float] = {}
    for test in run.tests:
        start = f"{test['name']}: " if test.get("name") else ""
        metrics = object_of(test.get("metrics"))
        rows = list_objects(list(object_of(metrics.get("per_category")).values()))
        for head in label_heads(metrics):
            rows += list_objects(head.get("per_class"))
        for row in rows:
            value = row.get("AP")
            if isinstance(value, (int, float)) and value != ABSENT:
                found.setdefault(f"{start}{row['name']}", float(value))
    return found
