"""The images to train on and those to validate on, with the kinds of labels that the network learns."""

from __future__ import annotations

from collections.abc import Sequence

from yolor_cfg.data.classes import match_classes
from yolor_cfg.data.kinds import check_kinds
from yolor_cfg.data.overlap import shared_paths, sharing_note
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset, LabelChecks, Problem, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.graph import Graph
from yolor_cfg.images.declared import MAX_PIXELS, pixel_limit
from yolor_cfg.images.orientation import orientation_rule
from yolor_cfg.train.settings import TrainOptions


def open_training_data(options: TrainOptions, graph: Graph, names: Sequence[str]) -> Dataset:
    dataset = _open_split(options, graph, options.data, split="train")
    if not dataset.is_labeled or not len(dataset.samples):
        what = "images" if dataset.is_labeled else "annotations"
        raise DataError(f"no {what} to train on", path=dataset.origin)
    return match_classes(dataset, names, source="the run", by_number=options.by_number)


def open_holdout_data(options: TrainOptions, graph: Graph, dataset: Dataset) -> Dataset:
    """The images to validate on; none with --no-val. A note tells if they are trained on too."""
    if options.no_val:
        return dataset._replace(samples=(), problems=())
    holdout = _open_split(options, graph, options.val_data or options.data, split="val")
    if not holdout.is_labeled:
        raise DataError("no annotations to validate on", path=holdout.origin)
    holdout = match_classes(holdout, dataset.names, source="the training split", by_number=options.by_number)
    same = shared_paths(dataset, holdout)
    if not same:
        return holdout
    text = sharing_note("train", "val", count=len(same), total=len(holdout.samples), shown=same[:1])
    note = Problem(holdout.origin, 0, f"{text}: the figures are not those of unseen images", "note")
    return holdout._replace(problems=(note, *holdout.problems))


def _open_split(options: TrainOptions, graph: Graph, path: str, *, split: SplitName) -> Dataset:
    orientation_rule.ignores = options.ignore_orientation
    pixel_limit.most = options.max_pixels or MAX_PIXELS
    checks = LabelChecks(options.fix_labels, options.strict)
    whole = path == options.val_data
    dataset = open_data(path, split=split, classes=graph.classes or None, checks=checks, whole=whole)
    return check_kinds(dataset, graph)
