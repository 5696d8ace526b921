"""The runner: a Graph with tensors. No section is named here.

N images, C channels, H W cells; a value between sections is always [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.ops.blocks import ConvBlock, SharedConvBlock
from yolor_cfg.ops.embeddings import choose_vectors
from yolor_cfg.ops.heads import HeadPredictions, channel_maps
from yolor_cfg.ops.native_decode import decode_natively

RecurrentState = tuple[Tensor, ...]


@runtime_checkable
class RecurrentLayer(Protocol):
    """A layer that remembers something from one call to the next, or in training only within one."""

    restarts_in_training: bool
    training: bool

    def initial_state(self, images: Tensor) -> RecurrentState:
        """The zeros to start from."""


@runtime_checkable
class TaskLayer(Protocol):
    """A layer that may have a value of its own for each task."""

    def choose_tasks(self, tasks: Sequence[str]) -> None:
        """Give out the value of this task, or of several, one for each image."""


@runtime_checkable
class BoxHead(Protocol):
    """A head that predicts boxes."""

    def decode(self, raw: Tensor) -> HeadPredictions:
        """The boxes and scores of a raw map."""


@runtime_checkable
class SparseHead(BoxHead, Protocol):
    """A head that need not decode all of its boxes."""

    def decode_likely(self, raw: Tensor, least: float) -> HeadPredictions:
        """The boxes of a raw map that may reach this score in any image."""


@runtime_checkable
class LabelHead(Protocol):
    """A head that tells the classes of an image."""

    def label_scores(self, raw: Tensor) -> Tensor:
        """The probability of each class, [N, K]."""


@runtime_checkable
class EmbeddingHead(Protocol):
    """A head that may have embeddings: its raw map is then its input, [N, C, H, W]."""

    def embeddings(self, raw: Tensor) -> Tensor:
        """A unit vector of each box, [N, B, E]."""

    def cell_vectors(self, raw: Tensor) -> Tensor:
        """The vectors of the cells, of any length: [N, E, H, W]."""

    def box_count(self, raw: Tensor) -> int:
        """The number of boxes in each image."""


@runtime_checkable
class AngleHead(Protocol):
    """A head whose boxes may be turned."""

    has_angles: bool

    def angles(self, raw: Tensor) -> Tensor:
        """Of each box its angle clockwise, as a fraction of a turn, [N, B]."""


class Predictions(NamedTuple):
    """What the heads predict for each image, all heads joined: boxes_xywh [N, B, 4] (centre and size in input
    pixels), objectness [N, B], scores [N, B, K] (class probabilities, not multiplied by objectness)."""

    boxes_xywh: Tensor
    objectness: Tensor
    scores: Tensor


class Network(nn.Module):
    """The network of a graph. `module_list[i]` computes node i; state-dict names are those of official
    checkpoints."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.module_list = nn.ModuleList(node.section.module(*node.inputs) for node in graph.nodes)
        for node in graph.nodes:
            lender = node.section.weight_source()
            if lender is not None:
                _share_weights(self.module_list[node.index], self.module_list[lender])
        self._read_indices = frozenset(source for node in graph.nodes for source in node.sources)
        self._states: dict[int, RecurrentState] = {}
        if graph.tasks:
            self.choose_tasks(graph.tasks[:1])

    def choose_tasks(self, tasks: Sequence[str]) -> None:
        """Run as the network of this task from now on, or of several, one for each image of the batch; at
        first it is that of the first task of the graph. All heads give out their maps all the same. Without
        any task nothing changes."""
        for layer in self.module_list:
            if tasks and isinstance(layer, TaskLayer):
                layer.choose_tasks(tasks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The raw map of each head in cfg order: yolo kinds and region [N, A, H, W, V] before any activation,
        other heads their output. images [N, C, H, W], float32 RGB in 0..1. Recurrent state is kept for the
        next call."""
        values, after = self._run(images, self.states(images), keep=self.graph.outputs)
        self._states = _detach_states(after)
        return [values[index] for index in self.graph.outputs]

    def step(
        self, images: Tensor, states: dict[int, RecurrentState], *, layers: Sequence[int] | None = None
    ) -> tuple[list[Tensor], dict[int, RecurrentState]]:
        """Like `forward`, with the recurrent state passed in and returned; this is what export traces. With
        `layers` the values of these layers instead of the heads'."""
        keep = self.graph.outputs if layers is None else layers
        values, after = self._run(images, states, keep=keep)
        return [values[index] for index in keep], after

    def trace(self, images: Tensor, layers: Iterable[int]) -> dict[int, Tensor]:
        """The values of these layers by index: in the darknet dialect what C Darknet stores there (heads
        activated, its layouts), in the yolor dialect the raw maps of heads. In evaluation mode no gradients
        are kept."""
        keep = tuple(layers)
        unknown = [index for index in keep if not 0 <= index < len(self.graph.nodes)]
        if unknown:
            raise CfgError(
                "no such layer",
                path=self.graph.path,
                found=str(unknown[0]),
                allowed=f"0..{len(self.graph.nodes) - 1}",
            )
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            values, after = self._run(images, self.states(images), keep=keep)
        self._states = _detach_states(after)
        if self.graph.dialect.is_pytorch:
            return {index: values[index] for index in keep}
        return {index: darknet_output(self.module_list[index], values[index]) for index in keep}

    def decode(self, raws: Sequence[Tensor], *, least: float = 0) -> Predictions:
        """Boxes and scores from the raw maps of `forward`; raises CfgError for heads without boxes. Boxes
        whose scores times objectness do not reach `least` in any image may be left out."""
        refuse_no_outputs(self.graph)
        _refuse_unequal_classes(self.graph)
        pairs = [
            (node, raw)
            for node, raw in zip(self.graph.heads, raws, strict=True)
            if not (node.section.label_kind and self.graph.box_heads)
        ]
        heads = [self.module_list[node.index] for node, _ in pairs]
        if least and (found := decode_natively(heads, [raw for _, raw in pairs], least=least)) is not None:
            return Predictions(*found)
        parts = [
            _decode_head(_box_head(node, head), raw, least)
            for head, (node, raw) in zip(heads, pairs, strict=True)
        ]
        return Predictions(*(torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True)))

    def labels(self, raws: Sequence[Tensor]) -> Tensor | None:
        """The probabilities of the classes of each image, [N, K], those of several heads one after the other;
        None for a network without such heads."""
        parts = []
        for node, raw in zip(self.graph.heads, raws, strict=True):
            head = self.module_list[node.index]
            if node.section.label_kind and isinstance(head, LabelHead):
                parts.append(head.label_scores(raw))
        return torch.cat(parts, dim=1) if parts else None

    def angles(self, raws: Sequence[Tensor]) -> Tensor | None:
        """Of each box of `decode` its angle, clockwise, as a fraction of a turn, [N, B]; None where all
        boxes of the network are upright."""
        pairs = [
            (self.module_list[node.index], raw)
            for node, raw in zip(self.graph.heads, raws, strict=True)
            if not node.section.label_kind
        ]
        turned = ((head, raw) for head, raw in pairs if getattr(head, "has_angles", False))
        parts = [head.angles(raw) for head, raw in turned if isinstance(head, AngleHead)]
        return torch.cat(parts, dim=1) if parts and len(parts) == len(pairs) else None

    @property
    def embeds(self) -> bool:
        """Whether each box comes with a vector that tells objects apart."""
        heads = self.graph.box_heads
        return bool(heads) and all(node.section.has_embedding for node in heads)

    def embeddings(self, raws: Sequence[Tensor]) -> Tensor:
        """Of each box of `decode` a unit vector that tells objects apart, [N, B, E] (JDE); raises CfgError
        for heads without embeddings."""
        return torch.cat([head.embeddings(raw) for head, raw in self._embedding_heads(raws)], dim=1)

    def cell_vectors(self, raws: Sequence[Tensor]) -> list[Tensor]:
        """Of each head with embeddings the vectors of its cells, of any length: [N, E, H, W]."""
        return [head.cell_vectors(raw) for head, raw in self._embedding_heads(raws)]

    def embed_boxes(self, raws: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Like `embeddings`, for these boxes [M] of each image, by their numbers in `decode`: [M, E] each."""
        heads = list(self._embedding_heads(raws))
        cells = [head.cell_vectors(raw) for head, raw in heads]  # [N, E, H, W]
        counts = [head.box_count(raw) for head, raw in heads]
        return [
            choose_vectors([level[image] for level in cells], counts, numbers.to(raws[0].device))
            for image, numbers in enumerate(boxes)
        ]

    def _embedding_heads(self, raws: Sequence[Tensor]) -> Iterator[tuple[EmbeddingHead, Tensor]]:
        refuse_no_outputs(self.graph)
        for node, raw in zip(self.graph.heads, raws, strict=True):
            head = self.module_list[node.index]
            if node.section.label_kind:
                continue
            if not isinstance(head, EmbeddingHead) or not node.section.has_embedding:
                hint = "[jde] with `embedding`, and [yolo] of JDE have them"
                raise node.section.error("", "gives no embeddings", hint=hint)
            yield head, raw

    def reset(self) -> None:
        """Clear the recurrent state: the next call starts from zero."""
        self._states = {}

    def states(self, images: Tensor) -> dict[int, RecurrentState]:
        """The recurrent state by layer: that of the last call, or zeros after `reset`, for another batch size
        and in the training of a layer that starts each pass anew."""
        images = self._check_images(images)
        fresh: dict[int, RecurrentState] = {}
        for index, layer in enumerate(self.module_list):
            if isinstance(layer, RecurrentLayer):
                zeros = layer.initial_state(images)
                restarts = layer.training and layer.restarts_in_training
                kept = () if restarts else self._states.get(index, ())
                same = [(t.shape, t.dtype, t.device) for t in kept] == [
                    (t.shape, t.dtype, t.device) for t in zeros
                ]
                fresh[index] = kept if same else zeros
        return fresh

    def _run(
        self, images: Tensor, states: dict[int, RecurrentState], *, keep: Sequence[int]
    ) -> tuple[dict[int, Tensor], dict[int, RecurrentState]]:
        values: dict[int, Any] = {IMAGE_INDEX: self._check_images(images)}
        after: dict[int, RecurrentState] = {}
        kept = set(keep)
        raw_heads: dict[int, Tensor] = {}
        for node, layer in zip(self.graph.nodes, self.module_list, strict=True):
            inputs = [values[source] for source in node.sources]
            if node.index in states:
                values[node.index], after[node.index] = layer(*inputs, states[node.index])
            else:
                values[node.index] = layer(*inputs)
            del inputs
            if node.section.is_head:
                raw_heads[node.index] = values[node.index]
                values[node.index] = self._output_for_sections(node, layer, values[node.index])
            for index in node.freed_sources:
                if index not in kept:
                    del values[index]
        return {**values, **raw_heads}, after

    def _output_for_sections(self, node: Node, layer: nn.Module, raw: Tensor) -> Tensor:
        """What later sections read from a head: the map [N, C, H, W] that Darknet stores, raw in the yolor
        dialect."""
        if node.index not in self._read_indices:
            return raw
        if self.graph.dialect.is_pytorch and raw.ndim == 5:
            return channel_maps(raw)
        return darknet_output(layer, raw).reshape(raw.shape[0], *node.shape)

    def _check_images(self, images: Tensor) -> Tensor:
        channels = self.graph.image.channels
        if images.ndim == 2 and self.graph.image.area == 1:
            images = images[:, :, None, None]  # a network on vectors takes [N, inputs] too
        if images.ndim != 4 or images.shape[1] != channels:
            raise DataError(
                "the images do not fit the network",
                path=self.graph.path,
                found=f"{tuple(images.shape)}",
                allowed=f"(N, {channels}, height, width)",
            )
        # Channels last spares oneDNN its reordered copies: the actual peak is then that of the live values.
        return images.contiguous(memory_format=torch.channels_last)


def darknet_output(layer: nn.Module, value: Tensor) -> Tensor:
    """What C Darknet stores as this layer's output, if it differs from what the layer returns here."""
    output = getattr(layer, "darknet_output", None)
    return value if output is None else output(value)


def _detach_states(states: dict[int, RecurrentState]) -> dict[int, RecurrentState]:
    """The values without their past: no gradient reaches back into an earlier call, as in C Darknet."""
    return {index: tuple(tensor.detach() for tensor in state) for index, state in states.items()}


def _share_weights(borrower: nn.Module, lender: nn.Module) -> None:
    assert isinstance(borrower, SharedConvBlock) and isinstance(lender, ConvBlock)
    borrower.share_weights(lender)


def _box_head(node: Node, layer: nn.Module) -> BoxHead:
    """The layer as a head that predicts boxes; CfgError for others."""
    if not isinstance(layer, BoxHead):
        raise node.section.error(
            "", "predicts no boxes", hint="decode works only for detectors; use the raw output"
        )
    return layer


def _decode_head(head: BoxHead, raw: Tensor, least: float) -> HeadPredictions:
    """The boxes of a head, those alone that may reach `least` where the head knows which they are."""
    return head.decode_likely(raw, least) if least and isinstance(head, SparseHead) else head.decode(raw)


def check_heads(network: Network) -> None:
    """Raise CfgError if the network predicts neither boxes nor image labels, or if its heads differ in their
    number of classes."""
    refuse_no_outputs(network.graph)
    for node in network.graph.box_heads:
        if not hasattr(network.module_list[node.index], "decode"):
            raise node.section.error(
                "",
                "predicts no boxes",
                hint="this looks like a backbone; detectors end in [yolo], classifiers in [softmax] ...",
            )
    _refuse_unequal_classes(network.graph)


def _refuse_unequal_classes(graph: Graph) -> None:
    nodes = graph.box_heads
    counts = [getattr(node.section, "classes", 0) for node in nodes]
    if nodes and graph.label_heads:
        nodes += graph.label_heads[-1:]
        counts.append(sum(node.shape.size for node in graph.label_heads))
    for node, count in zip(nodes, counts, strict=True):
        if count != counts[0]:
            raise node.section.error(
                "classes",
                "the heads differ in their number of classes",
                found=str(count),
                allowed=str(counts[0]),
                hint=f"choose one of the tasks: --task {'|'.join(graph.tasks)}" if graph.tasks else "",
            )


def refuse_no_outputs(graph: Graph) -> None:
    """Raise CfgError for a network of losses alone, which gives out nothing."""
    if not graph.outputs:
        raise graph.nodes[-1].section.error("", "predicts nothing", hint="a loss needs a network before it")
