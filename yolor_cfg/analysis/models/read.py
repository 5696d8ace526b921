"""From the arguments of `yolor models` to the networks that they name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from yolor_cfg.analysis.models.runs import read_run
from yolor_cfg.analysis.models.types import ImageTime, Model, Score, Source
from yolor_cfg.count import count_costs, peak_activation
from yolor_cfg.data.union import GivenData, title_parts
from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks.catalog import new_cfg, shipped_cfg
from yolor_cfg.networks.family import NETWORKS
from yolor_cfg.networks.paper import TABLES
from yolor_cfg.weights.checkpoint import read_checkpoint
from yolor_cfg.weights.fitting import plan_read
from yolor_cfg.weights.loading import read_graph
from yolor_cfg.weights.prefix import is_checkpoint_file, read_prefix

DARKNET_WEIGHTS = (".weights", ".backup")


def read_sources(paths: Sequence[str], reading: ReadOptions) -> list[Source]:
    """The networks of cfgs, of names that `yolor new` knows, of checkpoints and of folders of runs, in that
    order. Weights that hold no cfg belong to the cfg before them, which they must fit. Raises a YolorError
    at the first that cannot be read."""
    found: list[Source] = []
    for path in dict.fromkeys(paths):
        if _holds_no_cfg(path):
            found[-1:] = [_add_weights(found[-1:], path)]
        else:
            found.append(read_source(path, reading))
    return found


def read_source(path: str, reading: ReadOptions) -> Source:
    """The network of one argument."""
    if Path(path).is_dir():
        return read_run(Path(path), reading)
    if is_checkpoint_file(path):
        return Source(path, "checkpoint", read_graph(path, reading), path, path)
    table = path.partition("/")[0]
    is_name = path in NETWORKS or table in TABLES or path == Path(path).stem
    if is_name and not os.path.lexists(path):
        return _read_named(path, reading)
    return Source(path, "cfg", load_graph(path, reading), path)


def _read_named(name: str, reading: ReadOptions) -> Source:
    """A network of the family, or a row of the paper's tables, which is no file."""
    graph = build_graph(parse(new_cfg(name), f"{name}.cfg"), reading)
    return Source(name, "family", graph, str(shipped_cfg(name)) if name in NETWORKS else "")


def _holds_no_cfg(path: str) -> bool:
    """Whether the file has weights alone."""
    if path.lower().endswith(DARKNET_WEIGHTS):
        return True
    return not Path(path).is_dir() and is_checkpoint_file(path) and read_checkpoint(path).cfg is None


def _add_weights(before: Sequence[Source], path: str) -> Source:
    """The cfg before it with these weights; raises WeightsError if there is none, or if they do not fit."""
    if not before or before[0].kind not in ("cfg", "family") or before[0].weights:
        raise WeightsError("no cfg before these weights", path=path, hint="give each file behind its cfg")
    (source,) = before
    if not is_checkpoint_file(path):
        plan_read(source.graph, read_prefix(path))
    return source._replace(weights=path)


def make_models(sources: Sequence[Source], published: dict[str, Score] | None = None) -> list[Model]:
    """The networks with their costs and with names that tell them apart; a score that was published under
    this name counts where there is none of a run."""
    pairs = zip(_name_sources([source.path for source in sources]), sources, strict=True)
    return [_make_model(name, source, (published or {}).get(name)) for name, source in pairs]


def _name_sources(paths: Sequence[str]) -> Sequence[str]:
    """Short names that tell the networks apart: without the suffix of a file, with it, or with folders."""
    names = [os.path.basename(os.path.normpath(path)) for path in paths]
    bare = [name if Path(path).is_dir() else Path(name).stem for name, path in zip(names, paths, strict=True)]
    for choice in (bare, names):
        if len(set(choice)) == len(choice):
            return choice
    return title_parts([GivenData(path) for path in paths])


def _make_model(name: str, source: Source, published: Score | None) -> Model:
    costs = count_costs(source.graph)
    size = read_prefix(source.weights).size_bytes if source.weights else costs.weights_bytes
    memory = peak_activation(source.graph).bytes
    return Model(name, source, costs, memory, size, source.score or published)


def add_timings(models: Sequence[Model], timings: Sequence[ImageTime]) -> list[Model]:
    """The networks with their times."""
    return [one._replace(timing=timing) for one, timing in zip(models, timings, strict=True)]
