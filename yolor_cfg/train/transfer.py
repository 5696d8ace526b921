"""Transfer of weights from another training run: layers with equal shapes, classes by name.

Legend: A anchors, V values per anchor, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import load_tensors, read_checkpoint
from yolor_cfg.weights.darknet import read_weights
from yolor_cfg.weights.fitting import is_checkpoint, read_prefix
from yolor_cfg.weights.layout import ClassTensor, class_tensors


class TransferSummary(NamedTuple):
    """The number of tensors transferred `whole`, those transferred by rows, the classes whose rows were
    transferred, and the tensors that keep their initial values."""

    whole: int
    partial: tuple[str, ...]
    classes: tuple[str, ...]
    missing: tuple[str, ...]

    def describe(self) -> Iterator[str]:
        """What was transferred, as lines to print."""
        yield f"{self.whole} tensors transferred unchanged"
        if self.partial:
            known = ", ".join(self.classes) or "none, as no class names match"
            yield f"{len(self.partial)} head tensors transferred by rows; classes: {known}"
        if self.missing:
            yield f"{len(self.missing)} tensors not transferred, the first {self.missing[0]}"


def transfer(
    network: Network, path: str | Path, *, names: Sequence[str], cutoff: int | None = None
) -> TransferSummary:
    """Load weights into the network, whose classes are `names`, from a checkpoint or a `.weights` file.

    A `.weights` file does not describe its layers, so it must match as a whole or up to `cutoff`.
    """
    file = read_prefix(path)
    if not is_checkpoint(file):
        read_weights(network, file.path, cutoff=cutoff)
        return _summarize_full_load(network, cutoff)
    checkpoint = read_checkpoint(path)
    state = network.state_dict()
    same = all(
        state[name].shape == tensor.shape for name, tensor in checkpoint.tensors.items() if name in state
    )
    foreign = not checkpoint.tensors.keys() & state.keys()
    if cutoff is not None or foreign or (same and _has_same_names(checkpoint.names, names)):
        load_tensors(network, checkpoint.tensors, path=str(path), cutoff=cutoff)
        return _summarize_full_load(network, cutoff)
    return _transfer_layers(network, checkpoint.tensors, before=checkpoint.names, after=names)


def _has_same_names(before: Sequence[str], after: Sequence[str]) -> bool:
    return not before or tuple(before) == tuple(after)


def _summarize_full_load(network: Network, cutoff: int | None) -> TransferSummary:
    tensors = network.state_dict()
    fresh = tuple(name for name in tensors if cutoff is not None and int(name.split(".")[1]) >= cutoff)
    return TransferSummary(len(tensors) - len(fresh), (), (), fresh)


def _transfer_layers(
    network: Network, tensors: Mapping[str, Tensor], *, before: Sequence[str], after: Sequence[str]
) -> TransferSummary:
    heads = {name: share for name, share in class_tensors(network.graph).items()}
    pairs = {new: before.index(name) for new, name in enumerate(after) if name in before}
    whole, rows, fresh = 0, [], []
    for name, mine in network.state_dict().items():
        given = tensors.get(name)
        if given is None:
            fresh.append(name)
        elif name in heads and _copy_rows(mine, given, share=heads[name], pairs=pairs):
            rows.append(name)
        elif name not in heads and given.shape == mine.shape:
            mine.copy_(given)
            whole += 1
        else:
            fresh.append(name)
    if not whole:
        raise WeightsError(
            "no layers in common with the network",
            found=f"{len(tensors)} tensors",
            allowed=f"those of {network.graph.path}",
        )
    return TransferSummary(whole, tuple(rows), tuple(after[new] for new in pairs), tuple(fresh))


@torch.no_grad()
def _copy_rows(mine: Tensor, given: Tensor, *, share: ClassTensor, pairs: Mapping[int, int]) -> bool:
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
    for to, source in pairs.items():
        new[:, boxes + to] = old[:, boxes + source]
    return True
