"""The large network of a joint training, from its files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from yolor_cfg.count import holds_task_values
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.train.joint import JointTeacher, pair_heads
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.weights.loading import open_network
from yolor_cfg.weights.prefix import is_checkpoint_file


def open_teacher(options: TrainOptions, graph: Graph, names: Sequence[str]) -> JointTeacher | None:
    """The large network that the user names; raises CfgError if it has no weights, other classes, or no head
    of a stride that heads here have."""
    if options.joint is None:
        return None
    if not os.path.exists(options.joint):
        raise CfgError("no such file", path=options.joint, found="--joint")
    if options.joint_weights is None and not is_checkpoint_file(options.joint):
        hint = "train it first; then --joint best.pt, or --joint CFG --joint-weights FILE"
        raise CfgError("the large network has no weights", path=options.joint, hint=hint)
    opened = open_network(options.joint, options.joint_weights)
    large = opened.network.requires_grad_(False)
    if holds_task_values(large.graph):
        hint = "yolor convert LARGE.pt ONE.pt --task NAME makes a network of one task"
        raise CfgError("the large network has values for several tasks", path=options.joint, hint=hint)
    known = tuple(opened.names or names)
    if large.graph.classes != graph.classes or known != tuple(names):
        found, allowed = ", ".join(known), ", ".join(names)
        raise CfgError(
            "the large network has other classes", path=options.joint, found=found, allowed=allowed
        )
    return JointTeacher(large, pair_heads(graph, large.graph), options.joint_align)
