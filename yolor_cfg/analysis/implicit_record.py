"""Implicit knowledge as arrays, as JSON, and as the record that a folded checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.analysis.implicit import (
    AnchorRefinement,
    HeadRefinement,
    ImplicitKnowledge,
    LearnedValue,
    ValueReader,
)
from yolor_cfg.analysis.similarity import anchor_similarities, layer_similarities
from yolor_cfg.errors import WeightsError
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.files import find_file_kind
from yolor_cfg.shape import WidthHeight
from yolor_cfg.weights.prefix import is_checkpoint, read_prefix
from yolor_cfg.weights.safetensors_file import read_beside
from yolor_cfg.weights.torch_file import read_pt


def to_arrays(found: ImplicitKnowledge) -> dict[str, Doubles]:
    """By layer index the value [C] or [R, C]; `<index>_coefficients` [R, K] and `<index>_basis` [K, C] of a
    factorization; `<index>_anchors` [A, V] of a refinement. Of a task's value `<index>_<task>...`."""
    values = {_array_name(layer): layer.values for layer in found.layers}
    factors = {
        f"{_array_name(layer)}_{name}": array
        for layer in found.layers
        for name, array in (("coefficients", layer.coefficients), ("basis", layer.basis))
        if array is not None
    }
    return {**values, **factors, **{f"{_array_name(one)}_anchors": one.table for one in found.refinements}}


def _array_name(one: LearnedValue | HeadRefinement) -> str:
    """The number of the layer, and the task that the value is of."""
    return f"{one.index}_{one.task}" if one.task else str(one.index)


def read_record(path: str | Path) -> Any:
    """What a checkpoint holds under `implicit`; None if it holds nothing there or is not a checkpoint."""
    file = read_prefix(path)
    if not is_checkpoint(file):
        return None
    if find_file_kind(file.first_bytes) == "a safetensors file":
        content = read_beside(path)
    else:
        content = read_pt(path)
    return content.get("implicit") if isinstance(content, dict) else None


def to_record(found: ImplicitKnowledge) -> dict[str, Any]:
    """Everything except the bases of factorizations, as numbers, strings, lists and dicts: what a folded
    checkpoint keeps under `implicit`."""
    return {
        "layers": [to_json_value(replace(layer, basis=None)) for layer in found.layers],
        "refinements": [to_json_value(one) for one in found.refinements],
    }


def from_record(record: Any, *, path: str = "") -> ImplicitKnowledge:
    """The inverse of `to_record`; raises WeightsError for anything else."""
    try:
        layers = tuple(_parse_layer(entry) for entry in record["layers"])
        refinements = tuple(_parse_refinement(entry) for entry in record["refinements"])
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise WeightsError(
            "its record of implicit knowledge is damaged",
            path=path,
            found=f"{type(cause).__name__}: {cause}"[:200],
        ) from cause
    return ImplicitKnowledge(layers, refinements)


def to_json_value(value: Any) -> Any:
    """Our classes become dicts, arrays and tuples become lists, and NaN becomes None."""
    if is_dataclass(value):
        return {field.name: to_json_value(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: to_json_value(part) for name, part in value._asdict().items()}
    if isinstance(value, np.ndarray):
        return to_json_value(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_json_value(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _parse_layer(entry: dict[str, Any]) -> LearnedValue:
    places = tuple(ValueReader(**{**place, "levels": tuple(place["levels"])}) for place in entry["places"])
    coefficients = None if entry["coefficients"] is None else np.array(entry["coefficients"], np.float64)
    values = np.array(entry["values"], np.float64)
    if not values.size:
        raise ValueError("a layer without numbers")
    return LearnedValue(**{**entry, "places": places, "coefficients": coefficients, "values": values})


def _parse_refinement(entry: dict[str, Any]) -> HeadRefinement:
    anchors = tuple(
        AnchorRefinement(
            anchor["number"],
            _parse_pair(anchor["size"]),
            _parse_pair(anchor["z"]),
            _parse_pair(anchor["at_rest"]),
            _parse_pair(anchor["without"]),
            _parse_units(anchor["at_units"]),
        )
        for anchor in entry["anchors"]
    )
    table = np.array(entry["table"], np.float64)  # None becomes NaN
    if table.shape != (len(anchors), len(entry["labels"])):
        raise ValueError("a refinement's table does not fit its anchors")
    return HeadRefinement(**{**entry, "anchors": anchors, "table": table, "labels": tuple(entry["labels"])})


def _parse_pair(numbers: Sequence[float | None]) -> WidthHeight:
    width, height = (math.nan if number is None else float(number) for number in numbers)
    return width, height


def _parse_units(pairs: Sequence[Sequence[float | None]]) -> tuple[WidthHeight, WidthHeight, WidthHeight]:
    low, middle, high = map(_parse_pair, pairs)
    return low, middle, high


def to_json_document(found: ImplicitKnowledge) -> dict[str, Any]:
    """The tables for JSON: `layers`, `anchors`, and `similarity` (between `layers` and between `anchors`)."""
    return {
        "layers": [_layer_summary(layer) for layer in found.layers],
        "anchors": [
            {
                "layer": one.index,
                "place": one.place,
                "head": one.head,
                "level": one.level,
                **({"task": one.task} if one.task else {}),
                **to_json_value(anchor),
            }
            for one in found.refinements
            for anchor in one.anchors
        ],
        "similarity": {
            "layers": to_json_value(layer_similarities(found.layers)),
            "anchors": to_json_value(anchor_similarities(found.refinements)),
        },
    }


def _layer_summary(layer: LearnedValue) -> dict[str, Any]:
    """A row of the table."""
    facts = {
        "index": layer.index,
        "line": layer.line,
        "kind": layer.kind,
        "model": layer.model,
        "shape": list(layer.values.shape),
        "start": layer.start,
        "whole": layer.whole,
        **({"task": layer.task} if layer.task else {}),
    }
    terms = 0 if layer.coefficients is None else layer.coefficients.shape[1]
    return {**facts, **layer.numbers, "coefficients": terms, "places": to_json_value(layer.places)}
