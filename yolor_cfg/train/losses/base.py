"""Inputs and outputs of the losses.

Legend: N images, A anchors, H W cells, V values, K classes, T targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, TypeVar, Unpack

import torch
from torch import Tensor

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.ops.heads import AnchorGrid, HeadPredictions
from yolor_cfg.train.losses.partial import Labeling, UnlabeledRules
from yolor_cfg.train.losses.weights import HeadLearner


def identity(counts: Tensor) -> Tensor:
    """The all-reduce of a single process."""
    return counts


class DeltaSelector(Protocol):
    """Chooses the deltas of a head that count."""

    def select(self, deltas: Tensor, *, values: int) -> Tensor:
        """Which of the deltas, `values` of each prediction, stay, as a mask."""


class LossRules(NamedTuple):
    """The settings that are not in the cfg: YOLOR's gains for heads of the yolor dialect, and the progress.

    `classes` is the gain for 80 classes, `labels` that of heads that classify whole images, `identities` that
    of embeddings. `seen` is the number of images since training began, for [region]'s first phase.
    `all_reduce` sums counts over all processes before they divide anything, so that the totals of the
    processes add up to that of one process with all their images. `rejection` chooses the deltas of C
    Darknet's [yolo] that count. `batch` names the batch in errors. `unlabeled` says what images teach of
    classes that their data set does not label, None: that they are not there. `factors` are on the kinds
    of loss, by their names.
    """

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    labels: float = 1.0
    class_weight: float = 1.0  # of positive classes
    object_weight: float = 1.0  # of cells with an object
    anchor_ratio: float = 4.0  # an anchor fits when both its sides are within this factor
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    iou_ratio: float = 1.0  # the weight of the overlap in the objectness target; the rest is 1
    identities: float = 0.1
    seen: int = 0
    all_reduce: Callable[[Tensor], Tensor] = identity
    rejection: DeltaSelector | None = None
    batch: str = ""
    unlabeled: UnlabeledRules | None = UnlabeledRules()
    factors: Mapping[str, float] = MappingProxyType({})


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


class YoloLayer(GridLayer, Protocol):
    """The module of a [yolo] head, whose rules say what a raw value means."""

    @property
    def reaches_neighbours(self) -> bool: ...
    def box_parts(self, raw: Tensor) -> tuple[Tensor, Tensor]: ...


KeysT = TypeVar("KeysT", bound=HeadKeys, covariant=True)
LayerT = TypeVar("LayerT", covariant=True)


class HeadOutput(NamedTuple, Generic[KeysT, LayerT]):
    """A head's section, whose keys configure its loss, the module that decodes it, and its raw map, with
    gradients. For a head that classifies images: how much each has of each class [N, K] (NaN: not known),
    and the factor on its loss. For one with embeddings: what learns from them. `labeling` is None where the
    images are labelled for all classes."""

    section: KeysT
    layer: LayerT
    raw: Tensor
    truth: Tensor | None = None
    weight: float = 1.0
    learner: HeadLearner | None = None
    labeling: Labeling | None = None


class LossInputs(NamedTuple, Generic[KeysT, LayerT]):
    """The heads of one kind, the targets [T, 6] (image, class id, centre and size as fractions), the
    rules, the number of images in this batch over all processes, and the identity of each target [T]: a
    number from 0 on, -1 where none is known."""

    heads: tuple[HeadOutput[KeysT, LayerT], ...]
    targets: Tensor
    rules: LossRules
    images: Tensor
    identities: Tensor | None = None


class HeadLoss(NamedTuple):
    """The weighted parts of one head's loss, scalar sums over the images of this process, and its number of
    matches; `labels` is the loss of a head that classifies images, which has no other part; `identity` that
    of its embeddings, if it has any."""

    box: Tensor
    objectness: Tensor
    classes: Tensor
    matches: int
    labels: Tensor | None = None
    identity: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """The sum of the parts."""
        total = self.box + self.objectness + self.classes
        for more in (self.labels, self.identity):
            total = total if more is None else total + more
        return total


def attach_gradient(value: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """`value`, whose gradient with respect to `at` is `gradient`, whatever it was computed from."""
    return value.detach() + ((at - at.detach()) * gradient.detach()).sum()


def upcast(raw: Tensor) -> Tensor:
    """The values in float32, those in float64 as they are."""
    return raw if raw.dtype == torch.float64 else raw.float()


def first_occurrences(keys: Tensor) -> Tensor:
    """For each distinct key (ascending) the index of its first occurrence in keys [R]."""
    order = keys.argsort(stable=True)
    ordered = keys[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return order[starts]


def last_occurrences(keys: Tensor) -> Tensor:
    """For each distinct key (ascending) the index of its last occurrence: the last write, on any device."""
    order = keys.argsort(stable=True)
    ordered = keys[order]
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    return order[ends]
