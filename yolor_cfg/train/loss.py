"""The loss of a network's raw maps; each head names its own loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.data.types import DataPart
from yolor_cfg.errors import YolorError
from yolor_cfg.graph import Graph, Node
from yolor_cfg.model import Network
from yolor_cfg.sections import Section
from yolor_cfg.train.losses import LOSSES
from yolor_cfg.train.losses.base import HeadLoss, HeadOutput, LossInputs, LossRules, upcast
from yolor_cfg.train.losses.partial import Labeling
from yolor_cfg.train.losses.terms import TERMS, LossTerms, scale_loss, split_kinds, term_name
from yolor_cfg.train.losses.weights import HeadLearner

__all__ = ["BatchLoss", "LossRules", "NonFiniteLoss", "detection_loss", "initialize_biases"]

OBJECTS_PER_IMAGE, IMAGE_SIDE = 8, 640  # the priors behind YOLOR's initial biases
CLASS_PRIOR, NEARLY_ONE = 0.6, 0.99


class NonFiniteLoss(YolorError):
    """A loss or gradient is infinite or NaN."""


class BatchLoss(NamedTuple):
    """`total` has gradients and is the sum over the images; whether to divide it by the batch is up to the
    loop (YOLOR does not, C Darknet does). `box`, `objectness`, `classes` are its weighted parts per image,
    without gradients: total = images * (box + objectness + classes + labels + identity + joint), with the
    images of all processes; totals and parts add up over processes. `heads` are the losses by head, as sums
    over the images; of several data sets there are such rows for each, in order, and `sources` are their
    losses.
    """

    total: Tensor
    box: Tensor
    objectness: Tensor
    classes: Tensor
    heads: tuple[HeadLoss, ...]
    labels: Tensor
    identity: Tensor
    joint: Tensor | None = None
    sources: tuple[SourceLoss, ...] = ()

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Box, objectness, classes, labels, identity, joint."""
        joint = torch.zeros_like(self.box) if self.joint is None else self.joint
        return self.box, self.objectness, self.classes, self.labels, self.identity, joint


class SourceLoss(NamedTuple):
    """The number of images of one data set in a batch, over all processes, and box, objectness, classes,
    labels, identity as sums over those of this process."""

    images: Tensor
    parts: tuple[Tensor, ...]


class ImageSources(NamedTuple):
    """The data sets of the images of a batch: `rows` [N], their places in `parts`."""

    rows: Tensor
    parts: Sequence[DataPart]


class Lessons(NamedTuple):
    """What the images of a batch teach: `targets` [T, 6], None: no boxes are given; `truth` [N, K], how much
    each has of each class (NaN: not known); `identities` [T] of the targets, -1: not known; `labeling`: of
    which classes is known where they are; the heads of which `task` learn, "": all."""

    targets: Tensor | None
    truth: Tensor | None = None
    identities: Tensor | None = None
    labeling: Labeling | None = None
    task: str = ""


def detection_loss(
    raws: Sequence[Tensor],
    targets: Tensor | None,
    network: Network,
    *,
    rules: LossRules,
    truth: Tensor | None = None,
    identities: Tensor | None = None,
) -> BatchLoss:
    """The loss of the raw maps that `network(images)` returned against targets [T, 6]: index of the image in
    the batch, class id, centre and size as fractions of the input; and against `truth` [N, K], how much each
    image has of each class (NaN: not known); embeddings against `identities` [T], numbers from 0 on, -1
    where none is known. A head whose kind of labels is not given has no loss.

    Computed in float32 or better, even under autocast; raises NonFiniteLoss with the batch and the head.
    """
    batch = Lessons(targets, truth, identities)
    images = _count_images(len(raws[0]), raws[0], rules)
    found = _head_losses(raws, batch, network, rules=rules, images=images)
    return _sum_losses(found.heads, images, found.total)


def _count_images(count: int, like: Tensor, rules: LossRules) -> Tensor:
    return rules.all_reduce(torch.tensor([float(count)], device=like.device))[0]


def loss_by_source(
    raws: Sequence[Tensor],
    batch: Lessons,
    network: Network,
    *,
    rules: LossRules,
    sources: ImageSources,
) -> BatchLoss:
    """Like `detection_loss`, the images of each data set for themselves: what it does not label is not
    taught, images without labels teach nothing, and of a data set with a task the heads that serve others
    learn nothing."""
    parts, index = sources.parts, sources.rows.to(raws[0].device)
    places = [(index == number).nonzero()[:, 0] for number in range(len(parts))]
    counts = rules.all_reduce(index.new_tensor([len(rows) for rows in places], dtype=torch.float32))
    # So each head has a gradient in each process, as several processes expect of one another.
    losses, total = list[HeadLoss](), _sum([raw.flatten()[:0].sum().float() for raw in raws])
    of_sources = list[SourceLoss]()
    for part, rows, images in zip(parts, places, counts, strict=True):
        mine = WeighedLosses([], total)
        if images and part.is_labeled:
            lessons = _select_lessons(batch, rows, part, rules=rules)
            mine = _head_losses([raw[rows] for raw in raws], lessons, network, rules=rules, images=images)
            total = total + mine.total
        of_it = _sum_parts([_detach_loss(loss) for loss in mine.heads], raws[0])
        of_sources.append(SourceLoss(images, of_it))
        losses += mine.heads
    return _sum_losses(losses, counts.sum(), total)._replace(sources=tuple(of_sources))


def _select_lessons(batch: Lessons, rows: Tensor, part: DataPart, *, rules: LossRules) -> Lessons:
    """What the images in these rows of the batch teach, all of this data set."""
    known = torch.zeros(len(part.names), dtype=torch.bool, device=rows.device)
    known[list(part.known)] = True
    labeling = None if known.all() or rules.unlabeled is None else Labeling(known, rules.unlabeled)
    targets, truth, identities = batch.targets, batch.truth, batch.identities
    if targets is not None:
        targets = targets.to(rows.device)
        mine = torch.isin(targets[:, 0].long(), rows)
        identities = None if identities is None else identities.to(rows.device)[mine]
        targets = _number_targets(targets[mine], rows) if part.has_boxes else None
    if truth is not None:
        truth = truth.to(rows.device)[rows]
    return Lessons(targets, truth, identities, labeling, part.task)


def _number_targets(targets: Tensor, rows: Tensor) -> Tensor:
    """The targets [T, 6] of the images in these rows [n], ascending, which count from 0 then."""
    place = torch.searchsorted(rows, targets[:, 0].long())
    return torch.cat([place[:, None].to(targets), targets[:, 1:]], dim=1)


class WeighedLosses(NamedTuple):
    """The losses of heads, with fixed factors, and their sum by learned weights, if there are such."""

    heads: list[HeadLoss]
    total: Tensor


def _head_losses(
    raws: Sequence[Tensor], lessons: Lessons, network: Network, *, rules: LossRules, images: Tensor
) -> WeighedLosses:
    """The loss of each head that learns from these images."""
    device = raws[0].device
    boxes = torch.zeros(0, 6) if lessons.targets is None else lessons.targets
    with torch.autocast(device.type, enabled=False):
        heads = _learning_heads(raws, network, lessons)
        who = None if lessons.identities is None else lessons.identities.to(device)
        losses = _losses(heads, LossInputs[Section, Any]((), boxes.to(device), rules, images, who))
        if rules.factors:
            losses = [scale_loss(loss, rules.factors, lessons.task) for loss in losses]
        total = _weigh_heads(heads, losses, network, task=lessons.task)
    if not torch.isfinite(total):
        raise _non_finite_error(heads, losses, rules.batch)
    return WeighedLosses(losses, total)


def _weigh_heads(
    heads: Sequence[HeadOutput[Section, Any]], losses: Sequence[HeadLoss], network: Network, *, task: str
) -> Tensor:
    """The sum of the losses, by learned weights if the network has such; heads with weights of their own keep
    those."""
    terms: LossTerms | None = getattr(network, TERMS, None)
    if terms is None:
        return _sum([loss.total for loss in losses])
    kinds: dict[str, list[Tensor]] = {}
    total, images = heads[0].raw.new_zeros(()), len(heads[0].raw)
    for head, loss in zip(heads, losses, strict=True):
        if head.learner is not None and head.learner.weights is not None:
            total = total + loss.total
            continue
        for kind, part in split_kinds(loss).items():
            kinds.setdefault(kind, []).append(part)
    weighed = [terms.weigh(term_name(kind, task), _sum(own), images) for kind, own in kinds.items()]
    return _sum([total, *weighed])


def _sum_losses(losses: Sequence[HeadLoss], images: Tensor, total: Tensor) -> BatchLoss:
    detached = tuple(_detach_loss(loss) for loss in losses)
    box, objectness, classes, labels, identity = (part / images for part in _sum_parts(detached, images))
    return BatchLoss(total, box, objectness, classes, detached, labels, identity)


def _sum_parts(losses: Sequence[HeadLoss], like: Tensor) -> tuple[Tensor, ...]:
    """Box, objectness, classes, labels, identity of all heads."""
    if not losses:
        return (like.new_zeros(()),) * 5
    box, objectness, classes = (_sum(parts) for parts in list(zip(*losses, strict=True))[:3])
    labels, identity = (
        _sum([box.new_zeros(()), *(part for part in parts if part is not None)])
        for parts in ([loss.labels for loss in losses], [loss.identity for loss in losses])
    )
    return box, objectness, classes, labels, identity


def _learning_heads(
    raws: Sequence[Tensor], network: Network, lessons: Lessons
) -> list[HeadOutput[Section, Any]]:
    """The heads whose kind of labels is given, each image head with its part of the truth."""
    heads, firsts = list[HeadOutput[Section, Any]](), dict[tuple[str, ...], int]()
    truth, labeling, task = lessons.truth, lessons.labeling, lessons.task
    for node, raw in zip(network.graph.heads, raws, strict=True):
        section, layer = node.section, network.module_list[node.index]
        if task and section.task and task not in section.task:
            continue
        output = HeadOutput[Section, Any](section, layer, upcast(raw), labeling=labeling)
        if section.label_kind and truth is not None:
            first = firsts.get(section.task, 0)  # each task has a list of classes of its own
            last = firsts[section.task] = first + node.shape.size
            known = None if labeling is None else labeling.known[first:last]
            mine = mask_truth(truth[:, first:last].to(output.raw), known, kind=section.label_kind)
            heads.append(output._replace(truth=mine, weight=head_weight(network.graph, node)))
        elif lessons.targets is not None and not section.label_kind:
            heads.append(_add_learner(output, network, node))
    if not heads:
        section = network.graph.heads[0].section
        raise section.error("", "no detection loss", hint="no labels of the kind that it learns are given")
    return heads


def mask_truth(truth: Tensor, known: Tensor | None, *, kind: str) -> Tensor:
    """The truth [N, K], NaN where it is not known: of any number of classes those that the data set does not
    label and an image is not said to have; of one class, by a softmax, images without a label."""
    if known is None:
        return truth
    if kind == "multi":
        return truth.masked_fill(~known & (truth < 1), math.nan)
    return truth.masked_fill(~(truth > 0).any(1, keepdim=True), math.nan)


def _add_learner(output: HeadOutput[Section, Any], network: Network, node: Node) -> HeadOutput[Section, Any]:
    """The head, if it has embeddings with what learns beside it."""
    if not node.section.has_embedding:
        return output
    return output._replace(learner=HeadLearner.find(network, output.layer, node.index))


def check_losses(graph: Graph) -> None:
    """Raise CfgError for a head that no loss trains."""
    for node in graph.heads:
        _refuse_lossless(node.section)
    for node in graph.label_heads:
        if not head_weight(graph, node):
            raise node.section.error("noloss", "nothing trains this head", allowed="0, or a [cost] behind it")
        if graph.net.label_smooth_eps and getattr(node.section, "tree", None):
            raise graph.net.error("label_smooth_eps", "a class tree takes no smoothed labels", allowed="0")


def head_weight(graph: Graph, node: Node) -> float:
    """The factor on the loss of a head that classifies images: its own and those of the losses that read
    it."""
    readers = (other.section for other in graph.nodes if other.sources == (node.index,))
    return node.section.loss_weight + sum(reader.loss_on_source for reader in readers)


def _refuse_lossless(section: Section) -> None:
    if section.loss_kind in LOSSES:
        return
    explain = getattr(section, "missing_loss", None)
    heads = "[yolo], [Gaussian_yolo], [jde], [region], [detection], [softmax] and [logistic]"
    raise explain() if explain else section.error("", "no detection loss", allowed=heads)


def _losses(heads: Sequence[HeadOutput[Section, Any]], inputs: LossInputs[Section, Any]) -> list[HeadLoss]:
    """The loss of each head, in order; those of one kind and task are computed together."""
    groups = [(head.section.loss_kind, head.section.task) for head in heads]
    found: dict[int, HeadLoss] = {}
    for group in dict.fromkeys(groups):
        places = [place for place, its in enumerate(groups) if its == group]
        _refuse_lossless(heads[places[0]].section)
        members = tuple(heads[place] for place in places)
        found.update(zip(places, LOSSES[group[0]](inputs._replace(heads=members)), strict=True))
    return [found[place] for place in range(len(heads))]


def _detach_loss(loss: HeadLoss) -> HeadLoss:
    labels, identity = (None if part is None else part.detach() for part in (loss.labels, loss.identity))
    boxes = loss.box.detach(), loss.objectness.detach(), loss.classes.detach()
    return HeadLoss(*boxes, loss.matches, labels, identity)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum()


def _non_finite_error(
    heads: Sequence[HeadOutput[Section, Any]], losses: Sequence[HeadLoss], batch: str
) -> NonFiniteLoss:
    head, loss = next(
        ((head, loss) for head, loss in zip(heads, losses, strict=True) if not torch.isfinite(loss.total)),
        (heads[0], losses[0]),
    )
    parts = [(name, part) for name, part in loss._asdict().items() if isinstance(part, Tensor)]
    section = head.section
    found = ", ".join(f"{name} {part.item():g}" for name, part in parts)
    return NonFiniteLoss(
        "the loss is not a finite number",
        path=section.path,
        line=section.line,
        section=section.type,
        number=section.index,
        found=found + (f" in {batch}" if batch else ""),
        hint="try a lower learning rate, a longer warm-up, or full precision",
    )


def initialize_biases(network: Network) -> tuple[str, ...]:
    """Initialize the biases of YOLOR's heads with priors: 8 objects per image, all classes equally likely.

    Adds log(8 / (640 / stride)^2) to the objectness biases and log(.6 / (K - .99)) to the class biases of the
    convolution before the head, skipping channel-wise sections in between. Returns the heads, as
    `[name] #index`, without such a convolution or without biases in it.
    """
    left = []
    for node in network.graph.heads:
        if node.section.loss_kind != "yolor":
            continue
        bias = _find_head_bias(network, node.index)
        if bias is None:
            left.append(f"[{node.section.type}] #{node.index}")
            continue
        layer: Any = network.module_list[node.index]
        boxes = layer.rules.box_channels or len(bias) - layer.rules.fused
        own = bias[:boxes]  # the rest weights the maps that are fused, or is an embedding
        _add_prior_bias(own, anchors=len(layer.grid.anchors), stride=layer.grid.stride)
    return tuple(left)


def _find_head_bias(network: Network, index: int) -> Tensor | None:
    """The biases of the nearest convolution before a head, reached through sections that keep the shape."""
    nodes, joined = network.graph.nodes, _joins_embedding(network.graph.nodes[index])
    source, shape = nodes[index].sources[0], nodes[index].inputs[0]
    while source >= 0 and nodes[source].shape[joined:] == shape[joined:]:
        convolution: nn.Conv2d | None = getattr(network.module_list[source], "Conv2d", None)
        if convolution is not None:
            return convolution.bias
        if not nodes[source].sources:
            return None
        source = nodes[source].sources[0]
    return None


def _joins_embedding(head: Node) -> int:
    """1 where an embedding may be joined to the boxes, which are then in fewer channels; else 0."""
    return int(head.section.has_embedding)


def _add_prior_bias(bias: Tensor, *, anchors: int, stride: tuple[float, float]) -> None:
    with torch.no_grad():
        values = bias.view(anchors, -1)  # [A, V]
        classes = values.shape[1] - 5
        cells = (IMAGE_SIDE / stride[0]) * (IMAGE_SIDE / stride[1])
        values[:, 4] += math.log(OBJECTS_PER_IMAGE / cells)
        values[:, 5:] += math.log(CLASS_PRIOR / (classes - NEARLY_ONE))
