"""Loads a cfg and its weights into a network that is ready to run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import torch

from yolor_cfg import graph as graphs
from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.syntax import Document, parse
from yolor_cfg.model import Network
from yolor_cfg.ops.devices import find_device
from yolor_cfg.weights.checkpoint import Checkpoint, copy_tensors, fit_tensors, read_checkpoint
from yolor_cfg.weights.darknet import LoadedWeights, fill_network
from yolor_cfg.weights.finite import find_alarms
from yolor_cfg.weights.fitting import plan_read
from yolor_cfg.weights.layout import WeightsHeader
from yolor_cfg.weights.prefix import FilePrefix, is_checkpoint, is_checkpoint_file, read_prefix
from yolor_cfg.weights.task_choice import select_task, task_note
from yolor_cfg.weights.tasks import apply_task, find_task, read_task

LOG = logging.getLogger("yolor_cfg")


class LoadedNetwork(NamedTuple):
    """A network in eval mode, the class names from its checkpoint, notes for the user, the header of its
    `.weights` file, the names of the classes of each task, where the checkpoint has them, and in words where
    `names` come from."""

    network: Network
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    header: WeightsHeader | None = None
    task_names: Mapping[str, tuple[str, ...]] = {}
    names_source: str = "the checkpoint"

    def take_names(self, names: tuple[str, ...], source: str, notes: Sequence[str] = ()) -> LoadedNetwork:
        """The network with these names of its classes, from `source`, and what there is to tell of them."""
        return self._replace(names=names, names_source=source, notes=(*self.notes, *notes))


class LoadOptions(TypedDict, total=False):
    """Rarely needed options: with `cutoff`, the file holds only the layers before it; `strict` turns warnings
    about the cfg into errors; `task` is one of the tasks of the cfg or of these weights, or its file."""

    cutoff: int | None
    strict: bool
    task: str | Path | None


def read_weights(network: Network, path: str | Path, *, cutoff: int | None = None) -> LoadedWeights:
    """Load a `.weights` file into the network; with `cutoff`, the file holds only the layers before it.

    Raises WeightsError, before any tensor is changed, if the file does not fit the network.
    """
    return fill_network(network, plan_read(network.graph, read_prefix(path), cutoff=cutoff))


def load(
    cfg: str | Path,
    weights: str | Path | None = None,
    *,
    dialect: str | None = None,
    size: int | tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
    **more: Unpack[LoadOptions],
) -> Network:
    """The network of a cfg file, in eval mode and on the device, with weights if a file is given. One of our
    checkpoints alone is enough: it holds its cfg.

    `size` (an int or (height, width)) overrides that of the cfg. On torch's meta device the network has
    shapes alone. Warnings and notes go to the logger `yolor_cfg`.
    """
    reading = ReadOptions(dialect, size, strict=more.get("strict", False))
    place = "cpu" if str(device) == "meta" else device
    opened = open_network(
        cfg, weights, reading=reading, device=place, cutoff=more.get("cutoff"), task=more.get("task")
    )
    for warning in opened.network.graph.warnings:
        LOG.warning("%s", warning)
    alarms = find_alarms(opened.notes)
    for note in (*opened.notes, *task_note(opened.network.graph)):
        LOG.log(logging.WARNING if note in alarms else logging.INFO, "%s", note)
    return opened.network if place == device else opened.network.to(device)


def open_network(
    cfg: str | Path,
    weights: str | Path | None = None,
    *,
    reading: ReadOptions = graphs.DEFAULT_OPTIONS,
    device: str | torch.device = "cpu",
    cutoff: int | None = None,
    task: str | Path | None = None,
) -> LoadedNetwork:
    """Like `load`, but returns the notes instead of logging them. Raises CfgError or WeightsError. `task` is
    a task that the cfg names, a file of `weights.tasks`, or the name of one beside the weights.

    The dialect is the one given in `reading`, else that of our own checkpoint, else what the cfg states or
    implies; without any clue, the cfg of a foreign checkpoint is read as YOLOR's and any other as Darknet's.
    """
    where = find_device(device)
    weights = cfg if weights is None and is_checkpoint_file(cfg) else weights
    file = None if weights is None else read_prefix(weights)
    if file is not None and is_checkpoint(file):
        opened = _open_checkpoint(cfg, file.path, reading=reading, cutoff=cutoff)
    else:
        opened = _open_weights(read_graph(cfg, reading), file, cutoff)
    if task is not None:
        opened = switch_task(opened, task, weights)
    return opened._replace(network=opened.network.eval().to(where))


def switch_task(opened: LoadedNetwork, task: str | Path, weights: str | Path | None) -> LoadedNetwork:
    """The network with the knowledge and the classes of a task that its cfg names; else of the task's file
    or of the one beside the weights, which changes it in place. Raises CfgError or WeightsError."""
    tasks = opened.network.graph.tasks
    if str(task) in tasks:
        chosen = select_task(opened.network, str(task))
        own = opened.task_names.get(str(task), opened.names[: chosen.graph.classes])
        return opened._replace(network=chosen, names=own, task_names={})
    path = find_task(task, weights, others=tasks)
    pack = read_task(path)
    notes = apply_task(opened.network, pack, path=path)
    return opened._replace(names=pack.names, notes=(*opened.notes, *notes))


def read_graph(cfg: str | Path, reading: ReadOptions = graphs.DEFAULT_OPTIONS) -> Graph:
    """The graph of a cfg file, or of the cfg that one of our checkpoints holds, in its dialect."""
    if not is_checkpoint_file(cfg):
        return graphs.load_graph(cfg, reading)
    checkpoint = read_checkpoint(cfg)
    return _build_graph(_held_document(checkpoint, str(cfg)), checkpoint, reading)


def _held_document(checkpoint: Checkpoint, path: str) -> Document:
    if checkpoint.cfg is None:
        raise WeightsError(
            "this checkpoint holds no cfg",
            path=path,
            found="a file of another program",
            hint="give its cfg too, before the checkpoint",
        )
    return parse(checkpoint.cfg, path)


def _build_graph(document: Document, checkpoint: Checkpoint, reading: ReadOptions) -> Graph:
    """The graph in the checkpoint's dialect, with its epsilon unless the cfg sets one."""
    dialect, eps = reading.dialect or checkpoint.dialect, reading.bn_eps or checkpoint.bn_eps
    reading = reading._replace(dialect=dialect, default_dialect="yolor", bn_eps=eps)
    return graphs.build_graph(document, reading)


def _open_weights(graph: Graph, file: FilePrefix | None, cutoff: int | None) -> LoadedNetwork:
    """The network of the graph, loaded from a `.weights` file if there is one."""
    if file is None:
        return LoadedNetwork(Network(graph), notes=graph.notes)
    plan = plan_read(graph, file, cutoff=cutoff)  # fails before any memory is allocated
    network = Network(graph)
    loaded = fill_network(network, plan)
    return LoadedNetwork(network, notes=(*graph.notes, *loaded.notes), header=loaded.header)


def _open_checkpoint(
    cfg: str | Path, path: str, *, reading: ReadOptions, cutoff: int | None
) -> LoadedNetwork:
    """The network of the cfg, or of a checkpoint's own cfg, with the tensors of the checkpoint at `path`."""
    checkpoint = read_checkpoint(path)
    if is_checkpoint_file(cfg):
        holder = checkpoint if str(cfg) == path else read_checkpoint(cfg)
        document = _held_document(holder, str(cfg))
    else:
        document = graphs.read_document(cfg)
    graph = _build_graph(document, checkpoint, reading)
    fitting = fit_tensors(graph, checkpoint.tensors, path=path, cutoff=cutoff)
    network = Network(graph)
    notes = (*copy_tensors(network, fitting.tensors, cutoff=cutoff), *fitting.notes)
    notes += _eps_notes(graph, reading.bn_eps or checkpoint.bn_eps)
    said = (*graph.notes, *notes)
    return LoadedNetwork(network, checkpoint.names, said, task_names=checkpoint.task_names)


def open_trained(graph: Graph, path: str | Path, *, device: str | torch.device = "cpu") -> Network:
    """The network of the graph, in eval mode, with the tensors of one of our checkpoints of it."""
    fitting = fit_tensors(graph, read_checkpoint(path).tensors, path=str(path))
    network = Network(graph)
    copy_tensors(network, fitting.tensors)
    return network.eval().to(find_device(device))


def _eps_notes(graph: Graph, eps: float | None) -> tuple[str, ...]:
    usual = DIALECTS[graph.dialect.name].bn_eps
    if eps in (None, usual) or graph.net.bn_eps:
        return ()
    return (f"batch norm epsilon {eps:g}, as in the checkpoint (the dialect's default is {usual:g})",)
