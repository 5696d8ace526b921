"""The hyperparameters of the YOLOR recipe: built in, or from a file."""

from __future__ import annotations

import os

from yolor_cfg.data.augment.yolor import (
    FOREIGN_NAMES,
    HYP_PRESETS,
    YolorHyperparameters,
    parse_hyperparameters,
)
from yolor_cfg.errors import CfgError, DataError, describe
from yolor_cfg.graph import Graph
from yolor_cfg.lang.keys import suggest_word
from yolor_cfg.lang.yaml_text import read_yaml
from yolor_cfg.train.schedule import CosineHyperparameters
from yolor_cfg.train.settings import TrainOptions

WARM_PART = 10
"""The warm-up is at most one in this many batches: its minimum of 1000 would fill a short training."""


def hyperparameters(options: TrainOptions, graph: Graph) -> YolorHyperparameters:
    """The preset of that name, the values of a file, or by default the preset for the input size."""
    if options.hyp and options.hyp in HYP_PRESETS:
        return HYP_PRESETS[options.hyp]
    if options.hyp:
        return parse_hyperparameters(_read_hyp(options.hyp), options.hyp)
    return default_hyperparameters(options, graph)


def default_hyperparameters(options: TrainOptions, graph: Graph) -> YolorHyperparameters:
    """The preset that is used without --hyp."""
    if options.recipe == "paper":
        return HYP_PRESETS["paper"]
    if graph.dialect.embeds:
        return HYP_PRESETS["jde"]
    return HYP_PRESETS["scratch1280" if graph.image.width > 640 else "scratch640"]


def unused_hyperparameters(options: TrainOptions) -> list[str]:
    """The names in the hyp file that other programs read and this one does not."""
    is_file = options.hyp and options.hyp not in HYP_PRESETS
    return sorted(FOREIGN_NAMES & _read_hyp(options.hyp).keys()) if is_file and options.hyp else []


def _read_hyp(path: str) -> dict[str, object]:
    """The entries of a hyp file; what is no file is meant for one of the presets."""
    if not os.path.exists(path):
        raise CfgError(
            "no such hyperparameters",
            found=path,
            allowed=f"{', '.join(HYP_PRESETS)}, or a .yaml file",
            hint=suggest_word(os.path.basename(path).removesuffix(".yaml"), list(HYP_PRESETS)),
        )
    values = read_yaml(path, fault=DataError, what="the file of hyperparameters")
    if not isinstance(values, dict):
        raise DataError("not a file of hyperparameters", path=path, allowed="name: number")
    return {name if isinstance(name, str) else describe(name): value for name, value in values.items()}


def limit_warmup(hyp: YolorHyperparameters, *, batches: int, per_epoch: int) -> CosineHyperparameters:
    """The rates of the recipe; its warm-up of 3 epochs, or at least 1000 batches, is limited to a tenth of
    all batches."""
    most = batches // WARM_PART
    recipe = CosineHyperparameters(
        hyp.lr0,
        hyp.lrf,
        hyp.momentum,
        hyp.weight_decay,
        hyp.warmup_epochs,
        hyp.warmup_momentum,
        hyp.warmup_bias_lr,
    )
    return recipe._replace(
        warmup_epochs=min(hyp.warmup_epochs, most / per_epoch),
        least_warmup=max(1, min(recipe.least_warmup, most)),
    )
