"""Checkpoints of YOLOR's paper branch: maps the tensors of a pickled module to the names of a `_paper` cfg.

Such a file numbers blocks (`model.5.cv1.conv.weight`), a cfg numbers sections; the convolutions come in the
same order, so both are walked in parallel. Three things differ. A block has one batch norm over the
concatenation of its dense and its cross branch; in the cfg, each branch has its half. Pooled maps are
concatenated from the smallest to the largest kernel. The 3x3 convolution of a head follows the map that it
reads; in the cfg, it is next to the head.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import Graph, Node

# No result depends on these: batch norm's counter, and the constant filters of a wavelet library.
TRAINING_TENSORS = re.compile(
    r"\.yolo_[0-9]{1,6}\.s_(c|r|cls|id)$|^classifier\.(weight|bias)$|^joint\.[0-9]{1,3}\.|^loss_terms\.s$"
)
"""What embeddings need in training alone: weights of losses, a classifier of identities; named as in JDE;
maps of features, where a large network teaches; and the weights of kinds of loss."""
UNUSED_TENSORS = re.compile(rf"\.(num_batches_tracked|h[01]_(col|row))$|{TRAINING_TENSORS.pattern}")
"""What no network has in use: counters, filters that are constants, and those."""
NUMBERED_PART = re.compile(r"(module_list\.([0-9]{1,6})\.)(conv|batch_norm)_\2\.")
PART_NAMES = {"conv": "Conv2d", "batch_norm": "BatchNorm2d"}
NAMED_PART = re.compile(r"(module_list\.([0-9]{1,6})\.)(Conv2d|BatchNorm2d)\.")
PART_NUMBERS = {name: part for part, name in PART_NAMES.items()}
WAVELET_FILTER = re.compile(r"model\.[0-9]{1,6}\..*\bh[01]_(col|row)$")
PREDICTION_WEIGHT = re.compile(r"(?:module\.)?model\.[0-9]{1,6}\.m\.0\.weight")
BLOCK_NAME = re.compile(r"model\.([0-9]{1,6})\.([^.]+)")
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
HEAD_PARTS = ("ia", "m", "im")  # added to a head's map, its convolution, a factor on the predictions
PAPER_HINT = "a checkpoint of YOLOR's paper branch needs the cfg named _paper of the same network"

# The parts of a block in the order of a cfg's sections, by the names of the block's children. `cv2:cross` is
# a plain convolution with the cross branch's half of the batch norm, `:dense` only the other half, `m` the
# bottlenecks.
BLOCK_PARTS = {
    "bn conv": ("",),
    "cv1 cv2": ("cv1", "cv2"),
    "cv1 cv2 cv3": ("cv1", "cv2", "cv3"),
    "bn cv1 cv2 cv3 cv4 m": ("cv2:cross", "cv1", "m", "cv3:dense", "cv4"),
    "bn cv1 cv2 cv4 m": ("cv2:cross", "cv1", "m", ":dense", "cv4"),
    "bn cv1 cv2 cv3 m": ("cv1", "cv2:cross", "m", ":dense", "cv3"),
    "bn cv1 cv2 cv3 cv4 cv5 cv6 cv7": ("cv2:cross", "cv1", "cv3", "cv4", "cv5", "cv6", ":dense", "cv7"),
}


class SectionTensors(NamedTuple):
    """The file's tensors for one section, by their names within it; `name` is the first tensor's name in the
    file."""

    name: str
    tensors: dict[str, Tensor]


class SectionShapes(NamedTuple):
    """A section with tensors: their shapes by their names within it."""

    node: Node
    shapes: dict[str, tuple[int, ...]]


def rename_numbered_parts(name: str) -> str:
    """`module_list.3.conv_3.weight`, as the first PyTorch-YOLOv3 and JDE name it, by the names here."""
    return NUMBERED_PART.sub(lambda match: f"{match[1]}{PART_NAMES[match[3]]}.", name, count=1)


def number_parts(name: str) -> str:
    """The inverse of `rename_numbered_parts`."""
    return NAMED_PART.sub(lambda match: f"{match[1]}{PART_NUMBERS[match[3]]}_{match[2]}.", name, count=1)


def is_paper_branch(names: Iterable[object]) -> bool:
    """True for the tensor names of the paper branch, whose last numbered module makes the predictions."""
    return any(isinstance(name, str) and PREDICTION_WEIGHT.fullmatch(name) for name in names)


def map_paper_tensors(
    graph: Graph, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a paper-branch file by our state-dict names, each used once; and notes for the user.

    Raises WeightsError at the first that does not fit. The sizes of the heads' tensors are not checked here:
    the caller can explain a different class count.
    """
    held = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    file = PaperFile(held)
    heads = [_head_branch(graph, head) for head in graph.heads]
    last = max(file.block_children())
    found: dict[str, Tensor] = {}
    for slot, piece in zip_longest(_normed_sections(graph, heads), file.section_tensors(last)):
        found |= _rename_tensors(graph, slot, piece)
    for level, (_, nodes) in enumerate(heads):
        predicting = [slot for slot in _section_shapes(graph, reversed(nodes)) if not _has_norm(slot)]
        for slot, piece in zip_longest(predicting, file.head_tensors(last, level)):
            found |= _rename_tensors(graph, slot, piece, sized=False)
    notes = [_wavelet_note(graph, held), _anchor_note(graph, file.pop_anchors(last))]
    if file.unused:
        raise _misfit_error(graph, "contains more tensors than the network", found=next(iter(file.unused)))
    return found, tuple(filter(None, notes))


class PaperFile:
    """The tensors of a file that are still unused, and the modules they belong to."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.unused = {name: tensor for name, tensor in tensors.items() if not UNUSED_TENSORS.search(name)}

    def block_children(self) -> dict[int, set[str]]:
        """The child names of each numbered module that has tensors."""
        found: dict[int, set[str]] = {}
        for match in filter(None, map(BLOCK_NAME.match, self.unused)):
            found.setdefault(int(match[1]), set()).add(match[2])
        return found

    def section_tensors(self, end: int) -> Iterator[SectionTensors]:
        """The tensors of the blocks before `end`, in the order of a cfg's sections."""
        for number, children in sorted(self.block_children().items()):
            if number < end:
                kind = " ".join(sorted(children))
                if kind not in BLOCK_PARTS:
                    raise WeightsError(
                        "contains an unknown kind of block",
                        found=f"model.{number} of {kind}"[:200],
                        allowed="the blocks of YOLOR's paper branch",
                        hint=PAPER_HINT,
                    )
                yield from self._read_block(f"model.{number}.", BLOCK_PARTS[kind])

    def head_tensors(self, number: int, level: int) -> Iterator[SectionTensors]:
        """The tensors of a head in the order they are applied."""
        for part in HEAD_PARTS:
            name = f"model.{number}.{part}.{level}"
            if part == "m":
                parts = {f"Conv2d.{key}": self._pop_tensor(f"{name}.{key}") for key in ("weight", "bias")}
                yield SectionTensors(f"{name}.weight", parts)
            elif f"{name}.implicit" in self.unused:
                yield SectionTensors(f"{name}.implicit", {"implicit": self._pop_tensor(f"{name}.implicit")})

    def pop_anchors(self, number: int) -> Tensor | None:
        """All anchors in pixels, float32 [A, 2], fine to coarse; the copy in units of cells is dropped."""
        self.unused.pop(f"model.{number}.anchors", None)
        pixels = self.unused.pop(f"model.{number}.anchor_grid", None)
        return None if pixels is None or pixels.numel() % 2 else pixels.float().reshape(-1, 2)

    def _read_block(self, prefix: str, parts: Sequence[str]) -> Iterator[SectionTensors]:
        if any(":" in part for part in parts):
            self._split_norm(f"{prefix}bn")
        for part in parts:
            name, _, branch = part.partition(":")
            if name == "m":
                yield from self._read_bottlenecks(prefix)
            elif branch:
                norm = self._read_norm(f"{prefix}bn", f" ({branch} half)")
                yield (
                    self._join_norm(f"{prefix}{name}", norm)
                    if name
                    else SectionTensors(f"{prefix}bn.weight", norm)
                )
            else:
                yield self._read_conv(f"{prefix}{name}".rstrip("."))

    def _read_bottlenecks(self, prefix: str) -> Iterator[SectionTensors]:
        start = f"{prefix}m."
        numbers = {name.removeprefix(start).split(".")[0] for name in self.unused if name.startswith(start)}
        for number in range(len(numbers)):
            yield from (self._read_conv(f"{prefix}m.{number}.{child}") for child in ("cv1", "cv2"))

    def _read_conv(self, name: str) -> SectionTensors:
        return self._join_norm(f"{name}.conv", self._read_norm(f"{name}.bn"))

    def _join_norm(self, name: str, norm: Mapping[str, Tensor]) -> SectionTensors:
        weight = {"Conv2d.weight": self._pop_tensor(f"{name}.weight")}
        normed = {f"BatchNorm2d.{key}": tensor for key, tensor in norm.items()}
        return SectionTensors(f"{name}.weight", weight | normed)

    def _read_norm(self, name: str, half: str = "") -> dict[str, Tensor]:
        return {key: self._pop_tensor(f"{name}.{key}{half}") for key in NORM_TENSORS}

    def _split_norm(self, name: str) -> None:
        for key in NORM_TENSORS:
            both = self._pop_tensor(f"{name}.{key}").flatten()
            middle = both.numel() // 2
            self.unused[f"{name}.{key} (dense half)"] = both[:middle]
            self.unused[f"{name}.{key} (cross half)"] = both[middle:]

    def _pop_tensor(self, name: str) -> Tensor:
        if name not in self.unused:
            raise WeightsError("one of its modules lacks a tensor", found=f"no {name}", hint=PAPER_HINT)
        return self.unused.pop(name)


# ----------------------------------------------------------------------------------------- the network's side


def _head_branch(graph: Graph, head: Node) -> tuple[int, list[Node]]:
    """The index of the map that a head branches from, and the nodes from the head back to it."""
    found: list[Node] = []
    index = head.sources[0] if head.sources else -1
    while index >= 0 and not _is_branching(graph, graph.nodes[index]):
        found.append(graph.nodes[index])
        index = found[-1].sources[0] if found[-1].sources else -1
    sources = graph.nodes[index].sources if index >= 0 else (-1,)
    return sources[0] if len(sources) == 1 else index, found


def _is_branching(graph: Graph, node: Node) -> bool:
    """Whether the node only passes a map on, or joins several that depend on the image."""
    maps = [source for source in node.sources if source < 0 or graph.nodes[source].sources]
    return node.section.is_alias or len(maps) > 1


def _normed_sections(graph: Graph, heads: Sequence[tuple[int, list[Node]]]) -> list[SectionShapes]:
    """The sections with batch norm, in file order: those of a head come right after the map it reads."""
    after = {node.index: tip for tip, nodes in heads for node in nodes}
    slots = [slot for slot in _section_shapes(graph, graph.nodes) if _has_norm(slot)]
    return sorted(slots, key=lambda slot: (after.get(slot.node.index, slot.node.index), slot.node.index))


def _section_shapes(graph: Graph, nodes: Iterable[Node]) -> list[SectionShapes]:
    """The nodes with tensors; each is preceded by the implicit vectors that it combines with its map."""
    found = []
    for node in nodes:
        vectors = [graph.nodes[index] for index in node.sources[1:] if not graph.nodes[index].sources]
        for each in (*vectors, node):
            stored = each.tensors
            found += [SectionShapes(each, {tensor.name: tensor.shape for tensor in stored})] if stored else []
    return found


def _has_norm(slot: SectionShapes) -> bool:
    return any(name.endswith("running_var") for name in slot.shapes)


def _rename_tensors(
    graph: Graph, slot: SectionShapes | None, piece: SectionTensors | None, *, sized: bool = True
) -> dict[str, Tensor]:
    """The piece under the names of the slot; raises WeightsError if kinds or sizes differ."""
    if slot is None or piece is None or slot.shapes.keys() != piece.tensors.keys():
        raise _misfit_error(
            graph, "the modules do not match", slot, found=piece.name if piece else "nothing more"
        )
    for name, tensor in piece.tensors.items():
        if sized and tuple(tensor.shape) != slot.shapes[name]:
            found = f"{piece.name}: {name} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
            raise _misfit_error(graph, "a module has a different size", slot, found=found, name=name)
    pooled = _pooling_order(graph, slot.node)
    tensors = dict(piece.tensors)
    if pooled:
        blocks = tensors["Conv2d.weight"].chunk(len(pooled), dim=1)
        tensors["Conv2d.weight"] = torch.cat([blocks[number] for number in pooled], dim=1)
    return {f"module_list.{slot.node.index}.{name}": tensor for name, tensor in tensors.items()}


def _misfit_error(
    graph: Graph, message: str, slot: SectionShapes | None = None, *, found: str, name: str = ""
) -> WeightsError:
    """The error; it names the section's tensor `name`, or else the one with the most dimensions."""
    allowed = "nothing more"
    if slot is not None:
        name = name or max(slot.shapes, key=lambda name: len(slot.shapes[name]))
        shape = "x".join(map(str, slot.shapes[name]))
        allowed = f"module_list.{slot.node.index}.{name} {shape} (line {slot.node.line})"
    return WeightsError(f"{message}: {graph.path}", found=found, allowed=allowed, hint=PAPER_HINT)


def _pooling_order(graph: Graph, node: Node) -> list[int]:
    """The position in the file of each map in the concatenation the node reads; empty without pooling."""
    joined = graph.nodes[node.sources[0]].sources if node.sources and node.sources[0] >= 0 else ()
    nodes = [graph.nodes[index] for index in joined if index >= 0]
    sizes = [0 if one.section.tensors(*one.inputs) else getattr(one.section, "size", 0) for one in nodes]
    return [sorted(sizes).index(size) for size in sizes] if len(set(sizes)) > 1 else []


def _wavelet_note(graph: Graph, tensors: Mapping[str, Tensor]) -> str:
    """A note if the wavelet filters leave doubt about the stem; raises WeightsError if the stems differ."""
    held = {name.rpartition(".")[0] for name in tensors if WAVELET_FILTER.match(name)}
    wanted = sum(node.section.has_fixed_filters for node in graph.nodes)
    if held and len(held) != wanted:
        raise WeightsError(
            f"the stem is different: {graph.path}",
            found=f"{len(held)} wavelet transforms",
            allowed=f"{wanted} [dwt]",
            hint="all tensors would fit, but the network would be a different one",
        )
    doubt = "the file has no wavelet filters: its network may use [reorg] instead of [dwt]"
    return doubt if wanted and not held else ""


def _anchor_note(graph: Graph, anchors: Tensor | None) -> str:
    """A note if the file was trained with anchors that differ from those of the cfg."""
    here = [pair for head in graph.heads for pair in getattr(head.section, "masked_anchors", ())]
    if anchors is None or not here:
        return ""
    same = anchors.shape == (len(here), 2) and torch.allclose(anchors, torch.tensor(here), rtol=2e-3)
    listed = ", ".join(f"{width:g},{height:g}" for width, height in anchors.tolist()[:40])
    return "" if same else f"the file was trained with different anchors: anchors={listed}"


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A digest of the tensors of a network by name, in float32; `TRAINING_TENSORS` do not count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not TRAINING_TENSORS.search(name):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
