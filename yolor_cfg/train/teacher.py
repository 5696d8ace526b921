"""The large network of a joint training, from its files: one that is finished, or one that learns too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from yolor_cfg.count import holds_task_values
from yolor_cfg.data.augment.darknet import last_head
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.train.identities import count_identities, embedding_nodes
from yolor_cfg.train.joint import JointTeacher, pair_heads
from yolor_cfg.train.loss import check_losses
from yolor_cfg.train.settings import BY_Z, TrainOptions
from yolor_cfg.train.setup import Job, has_mean_loss
from yolor_cfg.weights.checkpoint import Checkpoint
from yolor_cfg.weights.loading import open_network, read_graph
from yolor_cfg.weights.prefix import is_checkpoint_file


def open_teacher(options: TrainOptions, graph: Graph, names: Sequence[str]) -> JointTeacher | None:
    """The finished large network that the user names; raises CfgError if it has no weights, other classes, or
    no head of a stride that heads here have."""
    if options.joint is None:
        return None
    _refuse_missing(options.joint)
    if _find_weights(options) is None:
        hint = "train it first; then --joint best.pt, or --joint CFG --joint-weights FILE"
        hint += "; with --joint-learns it learns at the same time, from nothing"
        raise CfgError("the large network has no weights", path=options.joint, hint=hint)
    opened = open_network(options.joint, options.joint_weights)
    large = opened.network.requires_grad_(False)
    _refuse_tasks(large.graph, options.joint)
    known = tuple(opened.names or names)
    if large.graph.classes != graph.classes or known != tuple(names):
        found, allowed = ", ".join(known), ", ".join(names)
        raise CfgError(
            "the large network has other classes", path=options.joint, found=found, allowed=allowed
        )
    return JointTeacher(large, pair_heads(graph, large.graph), options.joint_align)


def _refuse_missing(path: str) -> None:
    if not os.path.exists(path):
        raise CfgError("no such file", path=path, found="--joint")


def _find_weights(options: TrainOptions) -> str | None:
    """The file with the weights of the large network, if it has any."""
    assert options.joint is not None
    return options.joint_weights or (options.joint if is_checkpoint_file(options.joint) else None)


def _refuse_tasks(large: Graph, path: str) -> None:
    if holds_task_values(large):
        hint = "yolor convert LARGE.pt ONE.pt --task NAME makes a network of one task"
        raise CfgError("the large network has values for several tasks", path=path, hint=hint)


def add_large(job: Job, held: Checkpoint | None = None) -> Job:
    """The job with that of the large network, if it learns too: it has the batches, rates and rules of this
    one, its own cfg, losses and weights, and all of its layers learn. `held` is its cfg in a run that is
    resumed. Raises CfgError where the batches or their labels do not fit it."""
    options = job.options
    if not options.joint_learns or options.joint is None:
        return job
    graph = _read_large(options.joint, job, held)
    _refuse_unlike(job, graph)
    own = options._replace(
        cfg=options.joint,
        weights=_find_weights(options) if held is None else None,
        cutoff=None,
        by_number=False,
        freeze=0,
        train_only=None,
        joint=None,
        joint_weights=None,
        joint_align=BY_Z,
        joint_images=None,
        joint_learns=False,
    )
    net = graph.net.replace_values(ema_alpha=job.graph.net.ema_alpha)
    large = replace(
        job,
        options=own,
        graph=replace(graph, net=net),
        identities=count_identities(graph, job.dataset),
        has_mean_loss=has_mean_loss(graph),
    )
    return replace(job, large=large)


def _read_large(path: str, job: Job, held: Checkpoint | None) -> Graph:
    """The graph of the large network for images of the size of this one's."""
    image = job.graph.image
    reading = ReadOptions(None, (image.height, image.width), strict=job.options.strict)
    if held is None:
        _refuse_missing(path)
        return read_graph(path, reading)
    assert held.cfg is not None
    return build_graph(parse(held.cfg, path), reading._replace(dialect=held.dialect, bn_eps=held.bn_eps))


def _refuse_unlike(job: Job, large: Graph) -> None:
    """Raise CfgError unless the large network can learn from the batches of the small one."""
    _refuse_tasks(large, large.path)
    if job.graph.tasks or large.tasks:
        path = job.graph.path if job.graph.tasks else large.path
        raise CfgError("a network with several tasks does not learn with a large one", path=path)
    check_losses(large)
    facts = (
        ("reads other images", str(large.image), str(job.graph.image)),
        ("has other classes", str(large.classes), str(job.graph.classes)),
        ("learns from other labels", _name_labels(large), _name_labels(job.graph)),
    )
    for what, found, allowed in facts:
        if found != allowed:
            raise CfgError(f"the large network {what}", path=large.path, found=found, allowed=allowed)
    step = _find_step(job)
    if step and (large.has_fixed_size or step % large.largest_stride):
        raise CfgError(
            "the large network does not take all sizes that the batches have",
            path=large.path,
            found=f"sides that are multiples of {step}",
            allowed="one size" if large.has_fixed_size else f"multiples of {large.largest_stride}",
            hint="train without --multi-scale, --rect and `random` in the heads",
        )


def _name_labels(graph: Graph) -> str:
    """What the heads learn from, in words."""
    kinds = {
        "boxes": graph.box_heads,
        "identities": embedding_nodes(graph),
        "image labels": graph.label_heads,
    }
    return ", ".join(kind for kind, heads in kinds.items() if heads)


def _find_step(job: Job) -> int:
    """What the sides of images are multiples of where they differ from batch to batch; else 0."""
    if job.is_darknet and job.graph.box_heads and last_head(job.graph).random:
        return job.graph.net.resize_step
    return job.graph.largest_stride if job.options.multi_scale or job.options.rect else 0
