"""What a run is about, as plain values: data, recipe and its numbers, options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolor_cfg.data.summary import summarize_dataset
from yolor_cfg.train.hyperparameters import default_hyperparameters, hyperparameters
from yolor_cfg.train.setup import Job

UNGIVEN = object()
"""The default of an option that has none."""


def describe_job(job: Job) -> dict[str, Any]:
    """The data, the recipe and its numbers, and the network of a run."""
    options, usual = job.options, job.options._field_defaults
    recipe = options.recipe or ("darknet" if job.is_darknet else "yolor")
    hyp = {} if job.is_darknet else hyperparameters(options, job.graph)._asdict()
    return {
        "given": [name for name in options._fields if getattr(options, name) != usual.get(name, UNGIVEN)],
        "recipe": recipe,
        "hyp": hyp,
        "hyp_defaults": default_hyperparameters(options, job.graph)._asdict() if hyp else {},
        "optimizer": describe_values(job.optimizer._asdict()),
        "batch": {"images": job.batch_size, "parts": job.parts, "per_epoch": job.per_epoch},
        "planned_epochs": job.epochs,
        "ema": job.ema,
        "data": summarize_dataset(job.dataset),
        "holdout": summarize_dataset(job.holdout) if len(job.holdout.samples) else {},
    }


def describe_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that JSON has; of others their text."""
    kinds = (bool, int, float, str, type(None))
    return {name: value if isinstance(value, kinds) else str(value) for name, value in values.items()}
