"""Transfer of weights from another training run: layers with equal shapes, classes by name.

Legend: A anchors, V values per anchor, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError, count_of
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import load_tensors, read_checkpoint
from yolor_cfg.weights.darknet import read_tensors, read_weights
from yolor_cfg.weights.fitting import is_checkpoint, plan_transfer, read_prefix
from yolor_cfg.weights.layout import ClassTensor, TensorSlot, class_tensors
from yolor_cfg.weights.official import UNUSED_TENSORS

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


def transfer(
    network: Network,
    path: str | Path,
    *,
    names: Sequence[str],
    cutoff: int | None = None,
    by_number: bool = False,
) -> TransferSummary:
    """Load weights into the network, whose classes are `names`, from a checkpoint or a `.weights` file.

    A `.weights` file does not describe its layers: with `cutoff` its first layers are read, else it must have
    the length of this network, if need be with other classes, or of its first layers.
    """
    file = read_prefix(path)
    if not is_checkpoint(file):
        if cutoff is not None:
            return _summarize_full_load(
                network, cutoff, read_weights(network, file.path, cutoff=cutoff).notes
            )
        plan = plan_transfer(network.graph, file)
        naming = Naming((), tuple(names), by_number or all_fit(network, plan.slots))
        return _transfer_layers(network, read_tensors(plan), naming)._replace(notes=plan.notes)
    checkpoint = read_checkpoint(path)
    state = network.state_dict()
    same = all(
        state[name].shape == tensor.shape for name, tensor in checkpoint.tensors.items() if name in state
    )
    foreign = not checkpoint.tensors.keys() & state.keys()
    alike = by_number or _has_same_names(checkpoint.names, names)
    if cutoff is not None or foreign or (same and alike):
        notes = load_tensors(network, checkpoint.tensors, path=str(path), cutoff=cutoff)
        return _summarize_full_load(network, cutoff, notes)
    return _transfer_layers(network, checkpoint.tensors, Naming(checkpoint.names, tuple(names), by_number))


def all_fit(network: Network, slots: Sequence[TensorSlot]) -> bool:
    """Whether all of these tensors have the sizes of the network's."""
    state = network.state_dict()
    return all(state[slot.name].numel() == slot.spec.size for slot in slots)


def _has_same_names(before: Sequence[str], after: Sequence[str]) -> bool:
    return not before or tuple(before) == tuple(after)


def _summarize_full_load(network: Network, cutoff: int | None, notes: Sequence[str]) -> TransferSummary:
    """The notes say what a cutoff leaves out."""
    layers = sorted({_layer_of(name) for name in network.state_dict()})
    return TransferSummary(tuple(layers) if cutoff is None else (), notes=tuple(notes))


def _layer_of(name: str) -> int:
    return int(name.split(".")[1])


def _transfer_layers(network: Network, tensors: Mapping[str, Tensor], naming: Naming) -> TransferSummary:
    heads = class_tensors(network.graph)
    kinds: dict[str, set[int]] = {"whole": set(), "partial": set(), "fresh": set()}
    for name, mine in network.state_dict().items():
        if not UNUSED_TENSORS.search(name):
            kind = _copy_tensor(mine, tensors.get(name), share=heads.get(name), naming=naming)
            kinds[kind].add(_layer_of(name))
    if not kinds["whole"]:
        raise WeightsError(
            "no layers in common with the network",
            found=count_of(len(tensors), "tensor"),
            allowed=f"those of {network.graph.path}",
        )
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
    new = mine.movedim(axis, 0).unflatten(0, (anchors, -1))  # [A, V, ...], a view
    old = given.to(mine.dtype).movedim(axis, 0).unflatten(0, (anchors, -1))
    boxes = new.shape[1] - share.classes
    new[:, :boxes] = old[:, :boxes]
    for to, source in naming.pairs(classes, share.classes).items():
        new[:, boxes + to] = old[:, boxes + source]
    return True
