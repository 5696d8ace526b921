"""Transfer of weights from another training run: layers with equal shapes, classes by name.

Legend: A anchors, V values per anchor, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Required, TypedDict, Unpack

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError, count_of
from yolor_cfg.graph import Graph
from yolor_cfg.model import Network
from yolor_cfg.train.identities import learner_tensors
from yolor_cfg.weights.checkpoint import copy_tensors, fit_tensors, read_checkpoint
from yolor_cfg.weights.darknet import fill_network, read_tensors
from yolor_cfg.weights.finite import non_finite_notes
from yolor_cfg.weights.fitting import plan_read, plan_transfer
from yolor_cfg.weights.layout import ClassTensor, TensorSlot, class_tensors, file_layout
from yolor_cfg.weights.official import UNUSED_TENSORS
from yolor_cfg.weights.prefix import is_checkpoint, read_prefix

MAX_NAMES = 8
"""So many class names are listed; the rest are counted."""


class TransferSummary(NamedTuple):
    """What became of each layer with tensors, all numbered as in the cfg: taken `whole`; `partial`, those
    before a head, by rows; `fresh`, with their initial values.

    `classes` are those whose rows were taken, `others` those whose rows are new, `before` those of the file;
    `by_number`: they were matched by class id. `notes` are about the file.
    """

    whole: tuple[int, ...] = ()
    partial: tuple[int, ...] = ()
    fresh: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    by_number: bool = False
    notes: tuple[str, ...] = ()

    def describe(self) -> Iterator[str]:
        """What was transferred, as lines to print."""
        order = sorted({*self.whole, *self.partial, *self.fresh})
        yield from self.notes
        if self.whole:
            yield f"{_format_layers(self.whole, order)} taken whole"
        if self.partial:
            yield f"{_format_layers(self.partial, order)} before a head: boxes and objectness taken; " + (
                self._describe_classes()
            )
        if self.fresh:
            yield f"{_format_layers(self.fresh, order)} new: not in the file, or of other sizes"

    def _describe_classes(self) -> str:
        """What became of the classes of the head."""
        if self.by_number:
            return "classes taken by class id"
        if self.classes:
            new = f"; new: {_format_names(self.others)}" if self.others else ""
            return f"classes taken: {_format_names(self.classes)}{new}"
        if not self.before:
            return "the classes are new, as the file does not name its own"
        return (
            f"none of the classes in the file ({_format_names(self.before)}) is among those of the data "
            f"({_format_names(self.others)}), so the classes are new; --by-number takes them by class id"
        )


def _format_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _format_layers(layers: Sequence[int], order: Sequence[int]) -> str:
    """`layers 0-29, 31`: a range has all layers that have tensors, which are those in `order`."""
    place = {layer: number for number, layer in enumerate(order)}
    ranges: list[list[int]] = []
    for layer in sorted(layers):
        if ranges and place[layer] == place[ranges[-1][1]] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    texts = [f"{first}-{last}" if first != last else str(first) for first, last in ranges]
    return f"{'layer' if len(layers) == 1 else 'layers'} {', '.join(texts)}"


class TransferRules(TypedDict, total=False):
    """`names`: the classes of the network; with `cutoff` the layers before it are read; `by_number`: classes
    are matched by class id, not by name."""

    names: Required[Sequence[str]]
    cutoff: int | None
    by_number: bool


WeightsLoader = Callable[[Network], TransferSummary]
"""Loads the weights of a file into a network."""


class Naming(NamedTuple):
    """The classes of the file and those of the data; `by_number`: matched by class id, not by name."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    by_number: bool = False

    def pairs(self, old: int, new: int) -> dict[int, int]:
        """Which of `old` classes each of `new` ones takes its rows from."""
        if self.by_number:
            return {number: number for number in range(min(old, new))}
        return {new: self.before.index(name) for new, name in enumerate(self.after) if name in self.before}


def transfer(network: Network, path: str | Path, **rules: Unpack[TransferRules]) -> TransferSummary:
    """Load weights into the network, as `plan_weights` says."""
    return plan_weights(network.graph, path, **rules)(network)


def restore_learner(network: Network, path: str | None) -> None:
    """Take what a checkpoint of a training has of these parameters, where the sizes are the same."""
    own = learner_tensors(network)
    if not own or path is None or not is_checkpoint(read_prefix(path)):
        return
    held = read_checkpoint(path).tensors
    with torch.no_grad():
        for name, parameter in own.items():
            if name in held and held[name].shape == parameter.shape:
                parameter.copy_(held[name])


def plan_weights(graph: Graph, path: str | Path, **rules: Unpack[TransferRules]) -> WeightsLoader:
    """What loads weights into the graph's network, whose classes are `names`, from a checkpoint or a
    `.weights` file. A file that does not fit is refused here, before the network takes any memory.

    A `.weights` file does not describe its layers: with `cutoff` its first layers are read, else it must have
    the length of this network, if need be with other classes, or of its first layers.
    """
    file = read_prefix(path)
    if is_checkpoint(file):
        return _plan_checkpoint(graph, file.path, rules)
    cutoff = rules.get("cutoff")
    if cutoff is not None:
        whole = plan_read(graph, file, cutoff=cutoff)
        return lambda network: _summarize_full_load(network, cutoff, fill_network(network, whole).notes)
    plan = plan_transfer(graph, file)
    by_number = rules.get("by_number", False) or all_fit(graph, plan.slots)
    naming = Naming((), tuple(rules["names"]), by_number)

    def load(network: Network) -> TransferSummary:
        taken = _transfer_layers(network, read_tensors(plan), naming)
        return taken._replace(notes=(*plan.notes, *taken.notes))

    return load


def _plan_checkpoint(graph: Graph, path: str, rules: TransferRules) -> WeightsLoader:
    checkpoint = read_checkpoint(path)
    tensors, cutoff, by_number = checkpoint.tensors, rules.get("cutoff"), rules.get("by_number", False)
    shapes = {slot.name: slot.spec.shape for slot in file_layout(graph)}
    same = all(shapes[name] == tuple(tensor.shape) for name, tensor in tensors.items() if name in shapes)
    foreign = not tensors.keys() & shapes.keys()
    alike = by_number or _has_same_names(checkpoint.names, rules["names"])
    if cutoff is not None or foreign or (same and alike):
        fitting = fit_tensors(graph, tensors, path=path, cutoff=cutoff)

        def load(network: Network) -> TransferSummary:
            notes = (*copy_tensors(network, fitting.tensors, cutoff=cutoff), *fitting.notes)
            return _summarize_full_load(network, cutoff, notes)

        return load
    naming = Naming(checkpoint.names, tuple(rules["names"]), by_number)
    # On the meta device tensors have shapes alone.
    like = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    _copy_layers(graph, like, tensors, naming=naming)
    return lambda network: _transfer_layers(network, tensors, naming)


def all_fit(graph: Graph, slots: Sequence[TensorSlot]) -> bool:
    """Whether all of these tensors have the sizes of the network's."""
    sizes = {slot.name: slot.spec.size for slot in file_layout(graph)}
    return all(sizes[slot.name] == slot.spec.size for slot in slots)


def _has_same_names(before: Sequence[str], after: Sequence[str]) -> bool:
    return not before or tuple(before) == tuple(after)


def _summarize_full_load(network: Network, cutoff: int | None, notes: Sequence[str]) -> TransferSummary:
    """The notes say what a cutoff leaves out."""
    layers = sorted({_layer_of(name) for name in network.state_dict()})
    return TransferSummary(tuple(layers) if cutoff is None else (), notes=tuple(notes))


def _layer_of(name: str) -> int:
    return int(name.split(".")[1])


def _copy_layers(
    graph: Graph, state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, naming: Naming
) -> dict[str, set[int]]:
    """Copy into the state what fits; the layers that are `whole`, `partial` and `fresh`."""
    heads = class_tensors(graph)
    kinds: dict[str, set[int]] = {"whole": set(), "partial": set(), "fresh": set()}
    for name, mine in state.items():
        if not UNUSED_TENSORS.search(name):
            kind = _copy_tensor(mine, tensors.get(name), share=heads.get(name), naming=naming)
            kinds[kind].add(_layer_of(name))
    if not kinds["whole"]:
        raise WeightsError(
            "no layers in common with the network",
            found=count_of(len(tensors), "tensor"),
            allowed=f"those of {graph.path}",
        )
    return kinds


def _transfer_layers(network: Network, tensors: Mapping[str, Tensor], naming: Naming) -> TransferSummary:
    state = network.state_dict()
    kinds = _copy_layers(network.graph, state, tensors, naming=naming)
    slots = file_layout(network.graph)
    partial, fresh = kinds["partial"], kinds["fresh"]
    whole = sorted(kinds["whole"] - partial - fresh)
    before, after, by_number = naming
    return TransferSummary(
        tuple(whole),
        tuple(sorted(partial)),
        tuple(sorted(fresh - partial)),
        classes=tuple(name for name in after if name in before),
        others=tuple(name for name in after if name not in before),
        before=before,
        by_number=by_number,
        notes=tuple(non_finite_notes(network.graph, [(slot.index, state[slot.name]) for slot in slots])),
    )


def _copy_tensor(mine: Tensor, given: Tensor | None, *, share: ClassTensor | None, naming: Naming) -> str:
    """Copy what fits; `whole`, `partial` or `fresh`."""
    if given is None:
        return "fresh"
    if share is not None and not share.is_by_anchor and given.shape != mine.shape:
        return "fresh"
    if share is not None and not (naming.by_number and given.numel() == mine.numel()):
        return "partial" if _copy_rows(mine, given, share=share, naming=naming) else "fresh"
    if given.numel() != mine.numel():
        return "fresh"
    with torch.no_grad():
        mine.copy_(given.reshape(mine.shape))
    return "whole"


@torch.no_grad()
def _copy_rows(mine: Tensor, given: Tensor, *, share: ClassTensor, naming: Naming) -> bool:
    """Copy the rows of boxes and of shared classes; False if the shapes do not allow it."""
    axis = list(mine.shape).index(share.channels)
    if given.ndim != mine.ndim:
        return False
    classes = share.to_classes(given.shape[axis])
    others = [(a, b) for i, (a, b) in enumerate(zip(mine.shape, given.shape, strict=True)) if i != axis]
    if classes is None or any(a != b for a, b in others):
        return False
    anchors = share.per_class
    ours, theirs = mine.movedim(axis, 0), given.to(mine.dtype).movedim(axis, 0)
    new = ours[: len(ours) - share.spare].unflatten(0, (anchors, -1))  # [A, V, ...], a view
    old = theirs[: len(theirs) - share.spare].unflatten(0, (anchors, -1))
    ours[len(ours) - share.spare :] = theirs[len(theirs) - share.spare :]
    boxes = new.shape[1] - share.classes
    new[:, :boxes] = old[:, :boxes]
    for to, source in naming.pairs(classes, share.classes).items():
        new[:, boxes + to] = old[:, boxes + source]
    return True
