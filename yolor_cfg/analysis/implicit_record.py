"""What implicit knowledge learned, as arrays, as JSON, and as the record that a folded checkpoint keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.analysis.implicit import (
    Anchor,
    Floats,
    Knowledge,
    Learned,
    Pair,
    Place,
    Refinement,
)
from yolor_cfg.analysis.similarity import between_anchors, between_layers
from yolor_cfg.errors import WeightsError
from yolor_cfg.files import what_is
from yolor_cfg.weights.checkpoint import is_checkpoint
from yolor_cfg.weights.fitting import file_start
from yolor_cfg.weights.safetensors_file import read_metadata
from yolor_cfg.weights.torch_file import read_pt


def arrays(found: Knowledge) -> dict[str, Floats]:
    """By layer index the value [C] or [R, C]; `<index>_coefficients` [R, K] and `<index>_basis` [K, C] of a
    factorization; `<index>_anchors` [A, V] of a refinement."""
    values = {str(layer.index): layer.values for layer in found.layers}
    factors = {
        f"{layer.index}_{name}": array
        for layer in found.layers
        for name, array in (("coefficients", layer.coefficients), ("basis", layer.basis))
        if array is not None
    }
    return {**values, **factors, **{f"{one.index}_anchors": one.table for one in found.refinements}}


def record_in(path: str | Path) -> Any:
    """What a checkpoint holds under `implicit`; None where it holds nothing there, or is no checkpoint."""
    file = file_start(path)
    if not is_checkpoint(file):
        return None
    if what_is(file.head) == "a safetensors file":
        content = json.loads(read_metadata(path).get("yolor", "{}"))
    else:
        content = read_pt(path)
    return content.get("implicit") if isinstance(content, dict) else None


def to_record(found: Knowledge) -> dict[str, Any]:
    """Numbers, texts, lists and dicts that say it all but a factorization's basis: what a folded checkpoint
    keeps under `implicit`."""
    return {
        "layers": [plain(replace(layer, basis=None)) for layer in found.layers],
        "refinements": [plain(one) for one in found.refinements],
    }


def from_record(record: Any, *, path: str = "") -> Knowledge:
    """The inverse; raises WeightsError for anything else."""
    try:
        layers = tuple(_layer_of(entry) for entry in record["layers"])
        refinements = tuple(_refinement_of(entry) for entry in record["refinements"])
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise WeightsError(
            "its record of implicit knowledge is damaged",
            path=path,
            found=f"{type(cause).__name__}: {cause}"[:200],
        ) from cause
    return Knowledge(layers, refinements)


def plain(value: Any) -> Any:
    """Our classes as dicts, arrays and tuples as lists, NaN as None."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _layer_of(entry: dict[str, Any]) -> Learned:
    places = tuple(Place(**{**place, "levels": tuple(place["levels"])}) for place in entry["places"])
    coefficients = None if entry["coefficients"] is None else np.array(entry["coefficients"], np.float64)
    values = np.array(entry["values"], np.float64)
    if not values.size:
        raise ValueError("a layer without numbers")
    return Learned(**{**entry, "places": places, "coefficients": coefficients, "values": values})


def _refinement_of(entry: dict[str, Any]) -> Refinement:
    anchors = tuple(
        Anchor(
            anchor["number"],
            _pair(anchor["size"]),
            _pair(anchor["z"]),
            _pair(anchor["at_rest"]),
            _pair(anchor["without"]),
            _units(anchor["at_units"]),
        )
        for anchor in entry["anchors"]
    )
    table = np.array(entry["table"], np.float64)  # None becomes NaN
    if table.shape != (len(anchors), len(entry["labels"])):
        raise ValueError("a refinement's table does not fit its anchors")
    return Refinement(**{**entry, "anchors": anchors, "table": table, "labels": tuple(entry["labels"])})


def _pair(numbers: Sequence[float | None]) -> Pair:
    width, height = (math.nan if number is None else float(number) for number in numbers)
    return width, height


def _units(pairs: Sequence[Sequence[float | None]]) -> tuple[Pair, Pair, Pair]:
    low, middle, high = map(_pair, pairs)
    return low, middle, high


def document(found: Knowledge) -> dict[str, Any]:
    """The tables as JSON knows them: `layers`, `anchors`, `similarity` (between `layers`, `anchors`)."""
    return {
        "layers": [_summary(layer) for layer in found.layers],
        "anchors": [
            {"layer": one.index, "place": one.place, "head": one.head, "level": one.level, **plain(anchor)}
            for one in found.refinements
            for anchor in one.anchors
        ],
        "similarity": {
            "layers": plain(between_layers(found.layers)),
            "anchors": plain(between_anchors(found.refinements)),
        },
    }


def _summary(layer: Learned) -> dict[str, Any]:
    """A row of the table."""
    facts = {
        "index": layer.index,
        "line": layer.line,
        "kind": layer.kind,
        "model": layer.model,
        "shape": list(layer.values.shape),
        "start": layer.start,
        "whole": layer.whole,
    }
    terms = 0 if layer.coefficients is None else layer.coefficients.shape[1]
    return {**facts, **layer.numbers, "coefficients": terms, "places": plain(layer.places)}
