"""Causes in the tensors: taken from the wrong place, or in the wrong order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase, LayerChange
from yolor_cfg.rewrite.absorb import find_norms, running_stats
from yolor_cfg.weights.layout import TensorSlot, file_layout

MOST_SHIFTS = 60


def other_statistics(case: LayerCase) -> Iterator[Hypothesis]:
    """Statistics, scales and biases of batch norm exchanged or left out."""
    if not find_norms(case.layer):
        return
    changes: dict[str, Callable[[Any], None]] = {
        "running mean and variance exchanged": _exchange_statistics,
        "no running statistics: mean 0, variance 1": _forget_statistics,
        "batch norm with the statistics of this image, as in training": _use_own_statistics,
        "scales and biases of batch norm exchanged": _exchange_affine,
        "no scales and biases of batch norm": _forget_affine,
        "no batch norm": _forget_norm,
    }
    for text, change in changes.items():
        found = case.suppose_changed("batch norm statistics", text, change=_each_norm(change))
        yield found._replace(local_value=None) if change is _use_own_statistics else found


def _each_norm(change: Callable[[Any], None]) -> LayerChange:
    def change_all(layer: nn.Module) -> nn.Module:
        for norm in find_norms(layer):
            change(norm)
        return layer

    return change_all


def _exchange_statistics(norm: Any) -> None:
    mean, variance = running_stats(norm)
    norm.running_mean, norm.running_var = variance, mean


def _forget_statistics(norm: Any) -> None:
    norm.running_mean.zero_()
    norm.running_var.fill_(1)


def _use_own_statistics(norm: Any) -> None:
    norm.train()


def _exchange_affine(norm: Any) -> None:
    norm.weight.data, norm.bias.data = norm.bias.data, norm.weight.data


def _forget_affine(norm: Any) -> None:
    norm.weight.fill_(1)
    norm.bias.zero_()


def _forget_norm(norm: Any) -> None:
    _forget_statistics(norm)
    _forget_affine(norm)
    norm.eps = 0.0


def other_kernels(case: LayerCase) -> Iterator[Hypothesis]:
    """Kernels mirrored, transposed, or stored in another order; biases left out."""
    changes: dict[str, Callable[[Tensor], Tensor | None]] = {
        "kernels turned by 180 degrees: a true convolution": lambda w: w.flip(2, 3),
        "kernels with rows and columns exchanged": lambda w: w.transpose(2, 3),
        "kernels read as [height, width, inputs, filters]": _read_as_hwio,
        "kernels read as [filters, height, width, inputs]": _read_as_ohwi,
        "kernels with inputs and filters exchanged": lambda w: w.transpose(0, 1),
        "kernels with inputs in reverse order": lambda w: w.flip(1),
    }
    if not _kernels(case.layer):
        return
    for text, change in changes.items():
        yield case.suppose_changed("kernel order", text, change=_each_kernel(change))
    if any(conv.bias is not None for conv in _kernels(case.layer)):
        yield case.suppose_changed("bias", "no biases", change=_forget_biases)


def _kernels(layer: nn.Module) -> list[nn.Conv2d]:
    return [one for one in layer.modules() if isinstance(one, nn.Conv2d)]


def _each_kernel(change: Callable[[Tensor], Tensor | None]) -> LayerChange:
    def change_all(layer: nn.Module) -> nn.Module | None:
        for conv in _kernels(layer):
            new = change(conv.weight.data)
            if new is None or new.shape != conv.weight.shape:
                return None
            conv.weight.data = new.contiguous()
        return layer

    return change_all


def _read_as_hwio(weight: Tensor) -> Tensor:
    filters, inputs, height, width = weight.shape
    return weight.reshape(height, width, inputs, filters).permute(3, 2, 0, 1)


def _read_as_ohwi(weight: Tensor) -> Tensor:
    filters, inputs, height, width = weight.shape
    return weight.reshape(filters, height, width, inputs).permute(0, 3, 1, 2)


def _forget_biases(layer: nn.Module) -> nn.Module:
    for conv in _kernels(layer):
        if conv.bias is not None:
            conv.bias.zero_()
    return layer


def shifted_weights(case: LayerCase) -> Iterator[Hypothesis]:
    """The tensors of the layer read some numbers before or behind their place in the weights file."""
    slots = file_layout(case.run.graph)
    own = [slot for slot in slots if slot.index == case.node.index]
    if not own:
        return
    sizes = [slot.spec.size for slot in slots if slot.offset <= own[0].offset]
    shifts = dict.fromkeys(sign * size for size in (1, *sorted(sizes)) for sign in (1, -1))
    for shift in list(shifts)[:MOST_SHIFTS]:
        cause = "file header" if abs(shift) == 1 else "shifted weights"
        yield case.suppose(cause, _shift_text(shift), layer=partial(_shift_tensors, case, slots, shift))


def _shift_text(shift: int) -> str:
    where = "behind" if shift > 0 else "before"
    if abs(shift) > 1:
        return f"weights read {abs(shift)} numbers {where} their place in the file"
    sizes = "20 bytes where the file has 16" if shift > 0 else "16 bytes where the file has 20"
    return f"weights read one number {where} their place: a header of {sizes}"


def _shift_tensors(case: LayerCase, slots: Sequence[TensorSlot], shift: int) -> nn.Module | None:
    """Our layer with what stands so many numbers behind its tensors in the file of these slots; one number
    before its start and one behind its end are taken for 0: they are not known."""
    own = [slot for slot in slots if slot.index == case.node.index]
    if own[0].offset + shift < -1 or own[-1].end + shift > slots[-1].end + 1:
        return None
    layer, prefix = case.copy_layer(), f"module_list.{case.node.index}."
    tensors = layer.state_dict()
    for slot in own:
        target = tensors[slot.name.removeprefix(prefix)]
        numbers = _read_numbers(case, slots, start=slot.offset + shift, end=slot.end + shift)
        target.copy_(numbers.reshape(target.shape))
    return layer


def _read_numbers(case: LayerCase, slots: Sequence[TensorSlot], *, start: int, end: int) -> Tensor:
    """The numbers from one place of the file to another, 0 outside of it."""
    state = case.run.network.state_dict()
    parts = [
        state[slot.name].detach().reshape(-1)[max(0, start - slot.offset) : end - slot.offset]
        for slot in slots
        if slot.offset < end and slot.end > start
    ]
    return F.pad(torch.cat(parts), (max(0, -start), max(0, end - slots[-1].end)))
