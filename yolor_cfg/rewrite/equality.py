"""Proves that two networks predict the same: seeded weights, a seeded image, float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.model import BoxHead, Network
from yolor_cfg.ops.norms import is_outside_root, variance_for
from yolor_cfg.rewrite.absorb import find_norms, running_stats
from yolor_cfg.rewrite.translate import TranslatedText

LARGEST_DIFFERENCE = 1e-5
SMALLEST_VARIANCE = 1e-4  # of the seeded ones: there epsilons show


class Proof(NamedTuple):
    """The largest difference, of what (boxes or raw outputs), for an image of this height and width."""

    difference: float
    compared: str
    size: tuple[int, int]


def prove_equal(graph: Graph, made: TranslatedText, *, seed: int = 0) -> Proof:
    """Compare the two networks on seeded weights; raises CfgError if they differ, at the first section that
    does. Differences of numbers above 1 are relative."""
    here, there = _same_size(graph, made.graph)
    source = Network(here).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        seed_tensors(source, generator)
        target = carry_tensors(source, there, made.owners)
        images = torch.rand(1, *here.image, generator=generator, dtype=torch.float64)
        proof = compare_networks(source, target, images)
        if not proof.difference <= LARGEST_DIFFERENCE:
            raise _find_fault(source, target, images=images, made=made, apart=proof.difference)
    return proof


def compare_networks(source: Network, target: Network, images: Tensor) -> Proof:
    """The largest difference of what two networks predict: boxes, or what has none its outputs."""
    first, second = source(images.clone()), target(images.clone())
    boxes = all(hasattr(source.module_list[index], "decode") for index in source.graph.outputs)
    if boxes:
        first, second = _decode_heads(source, first), _decode_heads(target, second)
    height, width = images.shape[2:]
    return Proof(largest_difference(first, second), "boxes" if boxes else "outputs", (height, width))


def _decode_heads(network: Network, raws: Sequence[Tensor]) -> list[Tensor]:
    """Boxes, objectness and scores of each head on its own: their numbers of classes may differ."""
    heads = [network.module_list[index] for index in network.graph.outputs]
    return [part for head, raw in zip(heads, raws, strict=True) for part in cast(BoxHead, head).decode(raw)]


def prove_folded(network: Network, plain: Network, *, seed: int = 0) -> Proof:
    """Compare a network in float64 with what its own weights were folded to; raises CfgError if they
    differ."""
    graph, stride = network.graph, network.graph.largest_stride
    generator = torch.Generator().manual_seed(seed)
    small = graph.image._replace(height=2 * stride, width=3 * stride)
    size = graph.image if graph.has_fixed_size else small
    with torch.no_grad():
        images = torch.rand(1, *size, generator=generator, dtype=torch.float64)
        proof = compare_networks(network.eval(), plain, images)
    if not proof.difference <= LARGEST_DIFFERENCE:
        found = f"on its weights a difference of {proof.difference:.2g}"
        raise CfgError("plain Darknet computes something else", path=network.graph.path, found=found)
    return proof


def tensor_notes(graph: Graph, made: TranslatedText) -> tuple[str, ...]:
    """What has to change in a weights file, in words."""
    old, new = graph.dialect, made.graph.dialect
    norms = [node for node in graph.nodes if any("running_var" in tensor.name for tensor in node.tensors)]
    notes = []
    if norms and (old.bn_eps, old.bn_eps_outside_root) != (new.bn_eps, new.bn_eps_outside_root):
        where = " beside the root" if old.bn_eps_outside_root else ""
        many = count_of(len(norms), "batch norm")
        notes.append(f"variances of {many}: epsilon {old.bn_eps:g}{where}, not {new.bn_eps:g}")
    files = [
        [(t.name, t.shape, t.flipped) for t in one.nodes[number].tensors]
        for one, numbers in ((graph, range(len(graph.nodes))), (made.graph, made.owners))
        for number in numbers
    ]
    if files[: len(graph.nodes)] != files[len(graph.nodes) :]:
        notes.append("what the file holds")
    return tuple(notes)


def _same_size(one: Graph, other: Graph) -> tuple[Graph, Graph]:
    """Both graphs for a small image, if they take it."""
    stride = one.largest_stride
    size = 2 * stride, 3 * stride
    if one.image.area == 1 or min(one.image[1:]) < stride or one.image.area <= size[0] * size[1]:
        return one, other
    try:
        here = build_graph(one.document, ReadOptions(one.dialect.name, size, bn_eps=one.dialect.bn_eps))
        return here, build_graph(other.document, ReadOptions(other.dialect.name, size))
    except CfgError:
        return one, other


def seed_tensors(network: Network, generator: torch.Generator) -> None:
    """Give a network random weights that keep its values near 1, and small variances among the large."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            fan = tensor.numel() / max(len(tensor), 1) if tensor.ndim > 1 else 100
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) / fan**0.5)
    for norm in find_norms(network):
        _, variance = running_stats(norm)
        share = torch.rand(variance.shape, generator=generator, dtype=variance.dtype)
        variance.copy_(SMALLEST_VARIANCE ** (1 - share))
        norm.weight.copy_(variance.sqrt() * (0.5 + share))


def carry_tensors(source: Network, graph: Graph, owners: Sequence[int]) -> Network:
    """The network of the graph with the tensors of the source, section by section; batch norms get the
    variances that mean the same with the epsilon of their program. Tensors that stay are shared."""
    with torch.device("meta"):
        target = Network(graph)
    wanted = target.state_dict()
    tensors = dict(_moved_tensors(source, owners))
    like = next((one for one in tensors.values() if one.is_floating_point()), torch.zeros(()))
    for name in wanted.keys() - tensors.keys():
        tensors[name] = torch.zeros(wanted[name].shape, dtype=like.dtype)  # a bias that the source lacks
    target.load_state_dict(tensors, strict=True, assign=True)
    for index, owner in enumerate(owners):
        for old, new in zip(
            *(find_norms(one) for one in (source.module_list[index], target.module_list[owner])), strict=True
        ):
            _adapt_norm(old, new)
    return target.eval()


def _moved_tensors(source: Network, owners: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    for index, owner in enumerate(owners):
        for name, tensor in source.module_list[index].state_dict().items():
            yield f"module_list.{owner}.{name}", tensor


def _adapt_norm(old: _BatchNorm, new: _BatchNorm) -> None:
    """Give a batch norm the variances, and where they would be negative the scales too, with which it
    computes the same as the old one."""
    if (old.eps, is_outside_root(old)) == (new.eps, is_outside_root(new)):
        return
    mean, variance = running_stats(old)
    squares = variance_for(old, variance.double(), 0)
    kept = (squares - new.eps).clamp(min=0)
    new.running_var = kept.to(variance.dtype)
    factor = ((kept + new.eps) / squares).sqrt()
    new.weight = nn.Parameter((old.weight.double() * factor).to(old.weight.dtype))


def largest_difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """The largest difference of two lists of tensors, relative where numbers are above 1; infinite where they
    are not comparable."""
    found = [0.0]
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape or not bool(one.isfinite().all()):
            return float("inf")
        if one.numel():
            found.append(float(((one - other).abs() / one.abs().clamp(min=1)).max()))
    return max(found)


def _find_fault(
    source: Network, target: Network, *, images: Tensor, made: TranslatedText, apart: float
) -> CfgError:
    """The error at the first section whose value differs; at the first head if only predictions do, which are
    so far apart."""
    source.reset()
    target.reset()
    nodes = [node for node in source.graph.nodes if made.values[node.index] >= 0 and not node.section.is_head]
    first = source.trace(images.clone(), [node.index for node in nodes])
    second = target.trace(images.clone(), [made.values[node.index] for node in nodes])
    for node in nodes:
        difference = largest_difference([first[node.index]], [second[made.values[node.index]]])
        if not difference <= LARGEST_DIFFERENCE:
            apart = difference
            break
    else:
        node = source.graph.heads[0]
    return node.section.error(
        "",
        f"{target.graph.dialect.program} computes something else",
        found=f"on seeded weights a difference of {apart:.2g}",
        allowed=f"at most {LARGEST_DIFFERENCE:g}",
    )
