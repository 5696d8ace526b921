"""Joint training with a larger network, as YOLOR-P6D was trained with YOLOR-D6: what a network that is
finished, or learns at the same time, predicts and sees is a further target of a small one.

For each pair of heads of equal stride the small network learns the predictions of the large one, where these
expect an object, and its features before the prediction convolution, which a linear map brings to the number
of channels of the large one. With implicit knowledge (`z`) a learned shift before that map and a learned
scale behind it align the two (section 3.2 of the paper). The maps exist in training alone.

The paper gives no formula; the form is that of objectness-scaled distillation (arXiv 1809.05884) and of hints
(arXiv 1412.6550).

Legend: N images, C channels, A anchors, H W cells, V values, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import control, shift
from yolor_cfg.ops.iou_losses import ciou
from yolor_cfg.train.losses.base import LossRules, upcast
from yolor_cfg.train.losses.weights import JOINT
from yolor_cfg.train.losses.yolor import GAINS_BY_CLASSES, balance
from yolor_cfg.train.settings import BY_Z, NO_FEATURES
from yolor_cfg.weights.official import digest_tensors

LEARNABLE = ("yolor", "yolo")
"""The losses of heads whose raw values are x, y, w, h, objectness and classes."""
LEAST, SPREAD_EPS = 1e-9, 1e-5


class HeadPair(NamedTuple):
    """Two heads of one stride, by their places among the heads of the small and the large network, and the
    convolutions that predict for them; `are_alike` if they have the same anchors."""

    mine: int
    theirs: int
    my_convolution: int
    their_convolution: int
    are_alike: bool


class JointTeacher:
    """A network that teaches another one, and the pairs of their heads. One that `learns` has seen the images
    before: what it made of them in its own pass, in training mode, is what it teaches."""

    def __init__(
        self, large: Network, pairs: Sequence[HeadPair], align: str, *, learns: bool = False
    ) -> None:
        self.large, self.pairs, self.align, self.learns = large, tuple(pairs), align, learns
        self.mine: dict[int, Tensor] = {}
        self.theirs: dict[int, Tensor] = {}
        self.raws: list[Tensor] = []

    @cached_property
    def digest(self) -> str:
        """What tells the tensors of a finished network from others."""
        return digest_tensors(self.large.state_dict())

    def to(self, device: torch.device) -> None:
        """Move the large network to this device."""
        self.large.to(device)

    def predict(self, images: Tensor) -> list[Tensor]:
        """The raw maps of the large network for images [N, C, H, W], without gradients."""
        if self.learns:
            assert self.raws and len(self.raws[0]) == len(images)
            return self.raws
        with torch.no_grad():
            raws: list[Tensor] = self.large(images)
            return raws


@contextmanager
def watch_features(teacher: JointTeacher | None, network: Network) -> Iterator[None]:
    """Note what the prediction convolutions of both networks read, if there is a large one, and what one that
    learns predicts. No gradient leads from the notes into the large network."""
    hooks = []
    for pair in teacher.pairs if teacher else ():
        assert teacher is not None
        keep = _keep_input(teacher.mine, pair.my_convolution)
        hooks.append(network.module_list[pair.my_convolution].register_forward_pre_hook(keep))
        keep = _keep_input(teacher.theirs, pair.their_convolution, detached=True)
        hooks.append(teacher.large.module_list[pair.their_convolution].register_forward_pre_hook(keep))
    if teacher and teacher.learns:
        hooks.append(teacher.large.register_forward_hook(_keep_output(teacher)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _keep_input(seen: dict[int, Tensor], index: int, *, detached: bool = False) -> Any:
    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[index] = inputs[0].detach() if detached else inputs[0]

    return keep


def _keep_output(teacher: JointTeacher) -> Any:
    def keep(_: nn.Module, inputs: tuple[Tensor, ...], raws: list[Tensor]) -> None:
        teacher.raws = [raw.detach() for raw in raws]

    return keep


def pair_heads(small: Graph, large: Graph) -> list[HeadPair]:
    """The heads of equal stride; raises CfgError if there are none."""
    found = []
    for mine, head in _learnable_heads(small):
        for theirs, other in _learnable_heads(large):
            if small.stride(head.index) == large.stride(other.index):
                predictions = _find_prediction(small, head), _find_prediction(large, other)
                found.append(HeadPair(mine, theirs, *predictions, _are_alike(head, other)))
                break
    if not found:
        raise CfgError(
            "no head of the large network has the stride of one here",
            path=large.path,
            found=f"strides {_list_strides(large)}",
            allowed=_list_strides(small),
            hint="heads with embeddings, and those that classify images, are not taught",
        )
    return found


def _list_strides(graph: Graph) -> str:
    """The strides of the heads that can be taught, in words."""
    strides = [graph.stride(head.index)[0] for _, head in _learnable_heads(graph)]
    return ", ".join(f"{stride:g}" for stride in strides) or "none"


def _learnable_heads(graph: Graph) -> list[tuple[int, Node]]:
    """The heads that predict boxes and nothing else, with their places."""
    heads = enumerate(graph.heads)
    return [
        (place, head)
        for place, head in heads
        if head.section.loss_kind in LEARNABLE and not head.section.has_embedding
    ]


def _are_alike(mine: Node, theirs: Node) -> bool:
    first, other = (getattr(node.section, "masked_anchors", None) for node in (mine, theirs))
    return first == other


def _find_prediction(graph: Graph, head: Node) -> int:
    """The convolution that predicts for a head, behind sections that keep its shape."""
    node = graph.nodes[head.sources[0]]
    while not any(tensor.role == "weight" for tensor in node.tensors):
        node = graph.nodes[node.sources[0]]
    return node.index


class FeatureMap(nn.Module):
    """The features [N, C, H, W] of a small network as those [N, D, H, W] of a large one: a 1x1 convolution,
    with z a shift before it and a scale behind it."""

    def __init__(self, channels: tuple[int, int], *, has_z: bool) -> None:
        super().__init__()
        mine, theirs = channels
        self.convolution = nn.Conv2d(mine, theirs, 1)
        self.shift = nn.Parameter(torch.zeros(1, mine, 1, 1)) if has_z else None
        self.scale = nn.Parameter(torch.ones(1, theirs, 1, 1)) if has_z else None

    def forward(self, x: Tensor) -> Tensor:
        """The features, mapped."""
        x = x if self.shift is None else shift(x, self.shift)
        y: Tensor = self.convolution(x)
        return y if self.scale is None else control(y, self.scale)


def add_feature_maps(network: Network, teacher: JointTeacher | None) -> None:
    """Give a network in training the maps of its features."""
    if teacher is None or teacher.align == NO_FEATURES:
        return
    device = next(network.parameters()).device
    maps = [
        FeatureMap(_channels(network, teacher, pair), has_z=teacher.align == BY_Z) for pair in teacher.pairs
    ]
    network.add_module(JOINT, nn.ModuleList(maps).to(device))
    teacher.to(device)


def _channels(network: Network, teacher: JointTeacher, pair: HeadPair) -> tuple[int, int]:
    """What both convolutions read."""
    mine, theirs = network.graph.nodes[pair.my_convolution], teacher.large.graph.nodes[pair.their_convolution]
    return mine.inputs[0].channels, theirs.inputs[0].channels


class JointLoss(NamedTuple):
    """What the small network is wrong by, as sums over the images: its predictions and its features."""

    predictions: Tensor
    features: Tensor


def joint_loss(
    teacher: JointTeacher, network: Network, raws: Sequence[Tensor], *, images: Tensor, rules: LossRules
) -> JointLoss:
    """The loss of the raw maps that the network made of these images [N, C, H, W], under `watch_features`,
    against those of the large network. Computed in float32 or better."""
    wanted = teacher.predict(images)
    with torch.autocast(images.device.type, enabled=False):
        zero = images.new_zeros(())
        predictions, features = zero, zero
        gain, weights = 3 / len(teacher.pairs), balance(len(teacher.pairs))
        for number, (pair, weight) in enumerate(zip(teacher.pairs, weights, strict=True)):
            if pair.are_alike:
                layer = network.module_list[network.graph.outputs[pair.mine]]
                other = teacher.large.module_list[teacher.large.graph.outputs[pair.theirs]]
                both = (upcast(raws[pair.mine]), upcast(wanted[pair.theirs]))
                own = rules._replace(objectness=rules.objectness * weight)
                predictions = predictions + gain * _prediction_loss(layer, other, both, rules=own)
            if teacher.align != NO_FEATURES:
                mapped: Tensor = network.get_submodule(f"{JOINT}.{number}")(
                    upcast(teacher.mine[pair.my_convolution])
                )
                features = features + _feature_loss(mapped, upcast(teacher.theirs[pair.their_convolution]))
        return JointLoss(predictions * len(images), features * (len(images) / len(teacher.pairs)))


def _prediction_loss(layer: Any, other: Any, both: tuple[Tensor, Tensor], *, rules: LossRules) -> Tensor:
    """Boxes, objectness, classes of raw maps [N, A, H, W, V], for an image, weighted as those of labels."""
    mine, theirs = both
    expected = theirs[..., 4].sigmoid()
    objectness = F.binary_cross_entropy_with_logits(mine[..., 4], expected)
    boxes = [torch.cat(part.box_parts(raw), dim=-1) for part, raw in ((layer, mine), (other, theirs))]
    overlap = ciou(boxes[0], boxes[1])
    wrong = F.binary_cross_entropy_with_logits(mine[..., 5:], theirs[..., 5:].sigmoid(), reduction="none")
    total = expected.sum().clamp(min=LEAST)
    box = (expected * (1 - overlap)).sum() / total
    classes = (expected * wrong.sum(-1)).sum() / total if wrong.shape[-1] > 1 else box.new_zeros(())
    of_classes = rules.classes / GAINS_BY_CLASSES
    return rules.box * box + rules.objectness * objectness + of_classes * classes


def _feature_loss(mapped: Tensor, wanted: Tensor) -> Tensor:
    """The mean smooth L1 difference from the features, each channel of them brought to mean 0 and variance 1
    over the batch: however large they are, a gradient is at most 1 for each number."""
    spread, mean = torch.var_mean(wanted, dim=(0, 2, 3), keepdim=True, correction=0)
    return F.smooth_l1_loss(mapped, (wanted - mean) / (spread + SPREAD_EPS).sqrt())
