"""The chart of a comparison: what each network costs against what it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolor_cfg.analysis.models.front import group_keys, rank_models
from yolor_cfg.analysis.models.types import Model
from yolor_cfg.report.layer_text import format_bytes
from yolor_cfg.report.scatter.types import AxisText, Mark, Scatter

MEBIBYTE = 2**20
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
NAMES = {
    "params": "parameters",
    "macs": "multiply-adds",
    "memory": "activation memory",
    "time": "milliseconds",
    "ap": "AP",
    "ap50": "AP50",
}
"""In titles."""


def make_chart(models: Sequence[Model], x: str, y: str, *, names: Mapping[tuple[str, ...], str]) -> Scatter:
    """The chart of the networks that have both figures; `names` are those of their data."""
    ranks, keys = rank_models(models, x, y), group_keys(models, y)
    marks = tuple(_make_mark(models[i], (x, y), keys, is_front=not above) for i, above in ranks.items())
    several = len(keys) > 1
    where = "" if several or not keys else f", {names[keys[0]]}"
    groups = tuple(names[key] if several else "" for key in keys)
    return Scatter(f"{NAMES[y]} by {NAMES[x]}{where}", AXES[x], AXES[y], marks, groups)


def _make_mark(
    model: Model, figures: tuple[str, str], keys: Sequence[tuple[str, ...]], *, is_front: bool
) -> Mark:
    x, y = (model.figure(name) for name in figures)
    assert x is not None and y is not None and model.score is not None, model.name
    place = x / MEBIBYTE if figures[0] == "memory" else x
    return Mark(model.name, place, y, keys.index(model.score.key), is_front, _tell(model))


def _tell(model: Model) -> str:
    """`yolor_p6: 37.3 M parameters, 163.0 G multiply-adds, 93.58 MiB, AP 0.526, coco`."""
    parts = [
        f"{write_number(model.costs.parameters)} parameters",
        f"{write_number(model.costs.macs)} multiply-adds",
        format_bytes(model.memory_bytes),
        *([f"{ms:.1f} ms"] if (ms := model.figure("time")) is not None else []),
        *(
            f"{NAMES[name]} {value:.3f}"
            for name in ("ap", "ap50")
            if (value := model.figure(name)) is not None
        ),
        *([model.score.data] if model.score else []),
    ]
    return f"{model.name}: {', '.join(parts)}"


def write_number(value: float) -> str:
    """`37.3 M`, `200 G`, `64`."""
    rounded = float(f"{value:.3g}")  # first of all: 999.7 M are 1 G
    for size, unit in UNITS:
        if rounded >= size:
            return f"{rounded / size:g} {unit}"
    return f"{rounded:g}"


AXES = {
    "params": AxisText("parameters", write_number),
    "macs": AxisText("multiply-adds of one image", write_number),
    "memory": AxisText("peak of the activations of one image, MiB, float32", write_number),
    "time": AxisText("milliseconds of one image", write_number),
    "ap": AxisText("AP (IoU 0.50 to 0.95)", "{:.5g}".format),
    "ap50": AxisText("AP50 (IoU 0.50)", "{:.5g}".format),
}
