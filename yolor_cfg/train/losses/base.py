"""What every loss takes and gives. Legend: N images, A anchors, H W cells, V values, K classes, T targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar, Unpack

import torch
from torch import Tensor

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.ops.heads import AnchorGrid, HeadPredictions


def identity(counts: Tensor) -> Tensor:
    """The counts of the one process there is."""
    return counts


class LossRules(NamedTuple):
    """What is not in the cfg: YOLOR's gains for heads of the yolor dialect, and how far training is.

    `classes` is the gain for 80 classes. `seen` counts images since training began ([region]'s start).
    `all_reduce` sums numbers over all processes before anything is divided by them, so the totals of the
    processes add up to the total of one process with all their images. `batch` names the batch in errors.
    """

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    class_weight: float = 1.0  # of positive classes
    object_weight: float = 1.0  # of cells with an object
    anchor_ratio: float = 4.0  # an anchor fits when both its sides are within this factor
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    iou_ratio: float = 1.0  # how much of the objectness target is the overlap, the rest is 1
    seen: int = 0
    all_reduce: Callable[[Tensor], Tensor] = identity
    batch: str = ""


class HeadKeys(Protocol):
    """The section of a head: its keys are the settings of its loss. Each loss asks for keys of its own."""

    @property
    def loss_kind(self) -> str: ...
    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError: ...


class ObjectKeys(HeadKeys, Protocol):
    """A head that learns boxes: its classes, and how many objects an image may have."""

    @property
    def classes(self) -> int: ...
    @property
    def max(self) -> int: ...


class GridLayer(Protocol):
    """The module of a head with anchors in cells."""

    grid: AnchorGrid

    def decode(self, raw: Tensor) -> HeadPredictions: ...


KeysT = TypeVar("KeysT", bound=HeadKeys, covariant=True)
LayerT = TypeVar("LayerT", covariant=True)


class HeadOutput(NamedTuple, Generic[KeysT, LayerT]):
    """A head's section, the module that decodes it, and its raw map with gradients on."""

    section: KeysT
    layer: LayerT
    raw: Tensor


class LossInputs(NamedTuple, Generic[KeysT, LayerT]):
    """The heads of one kind, the targets [T, 6] (image, class, centre and size as fractions), and the number
    of images in this batch over all processes."""

    heads: tuple[HeadOutput[KeysT, LayerT], ...]
    targets: Tensor
    rules: LossRules
    images: Tensor


class HeadLoss(NamedTuple):
    """The weighted parts of one head's loss as sums over the images of this process (0-dimensional), and how
    many matches it had."""

    box: Tensor
    objectness: Tensor
    classes: Tensor
    matches: int

    @property
    def total(self) -> Tensor:
        """The three parts together."""
        return self.box + self.objectness + self.classes


def attach_gradient(value: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """`value`, whose gradient with respect to `at` is `gradient`, whatever it was computed from."""
    return value.detach() + ((at - at.detach()) * gradient.detach()).sum()


def first_occurrences(keys: Tensor) -> Tensor:
    """For each distinct key (ascending) the index of its first occurrence in keys [R]."""
    order = keys.argsort(stable=True)
    ordered = keys[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return order[starts]


def last_occurrences(keys: Tensor) -> Tensor:
    """For each distinct key (ascending) the index of its last occurrence: who writes last, on any device."""
    order = keys.argsort(stable=True)
    ordered = keys[order]
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    return order[ends]
