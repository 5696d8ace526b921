"""The graph that `yolor info` describes: of a cfg or a checkpoint, whole or of one task, perhaps folded."""

from __future__ import annotations

from typing import NamedTuple

import click

from yolor_cfg.cli.options import report_warnings
from yolor_cfg.graph import Graph, ReadOptions


class AskedGraph(NamedTuple):
    """How it is read, of which task, and whether it is folded."""

    reading: ReadOptions
    task: str | None
    folded: bool


def read_asked(path: str, asked: AskedGraph) -> Graph:
    """The graph; what there is to say of it is printed. Only checkpoints, tasks and folding need torch."""
    graph = _read_graph(path, asked.reading)
    report_warnings(graph.warnings, graph.notes)
    if asked.task is not None:
        graph = _choose_task(graph, asked.task, path)
    return _fold_graph(graph) if asked.folded else graph


def _read_graph(path: str, reading: ReadOptions) -> Graph:
    """The graph of a cfg, or of the cfg in a checkpoint; this one needs torch."""
    from yolor_cfg.weights.prefix import is_checkpoint_file

    if is_checkpoint_file(path):
        from yolor_cfg.weights.loading import read_graph

        return read_graph(path, reading)
    from yolor_cfg.graph import load_graph

    return load_graph(path, reading)


def _choose_task(graph: Graph, task: str, path: str) -> Graph:
    """The graph of this task's network; a task pack has numbers of its own, but no sections."""
    from yolor_cfg.weights.task_choice import choose_graph
    from yolor_cfg.weights.tasks import check_sections, find_task, read_task

    if task in graph.tasks:
        return choose_graph(graph, task)
    pack = find_task(task, path, others=graph.tasks)
    check_sections(graph, read_task(pack), path=pack)
    return graph


def _fold_graph(graph: Graph) -> Graph:
    """The graph after folding; what stays, and why, is told."""
    from yolor_cfg.count import holds_task_values
    from yolor_cfg.model import Network
    from yolor_cfg.rewrite.fold import fold

    if holds_task_values(graph):
        known = ", ".join(graph.tasks)
        raise click.UsageError(f"a folded network has one task: choose it with --task ({known})")
    network, notes = fold(Network(graph).eval())
    report_warnings((), notes)
    return network.graph
