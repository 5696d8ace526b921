"""Batch norm and the activation after it as one step of training, by our own kernels on the CPU.

torch keeps the input of the norm and that of the activation for the backward pass, and reads and writes each
map several times. Here the input alone is kept, with the mean and deviation of each channel, and the backward
pass computes the derivative of the activation again. Legend: N images, C channels, H W cells.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import c_char_p, c_double, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from yolor_cfg.engines.native.binding import NativeError, load_library

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
ACTIVATIONS = {"linear": 0, "none": 0, "relu": 1, "leaky": 2, "swish": 3, "silu": 3, "mish": 4}
"""Those that have a kernel, with their numbers in src/ops.hpp."""
UNIT_BYTES = 1 << 16
"""A unit of work: its rows stay in a cache between the two times that they are read."""
MOST_SETS = 64
OPENMP = re.compile(r"/lib(gomp|iomp5|omp)\b[^/]*$")


class NormOp(ctypes.Structure):
    """One norm; mirrors src/train.hpp field by field."""

    _fields_ = [
        *((name, c_int32) for name in ("type", "activation", "threads", "units")),
        *((name, c_int64) for name in ("rows", "channels", "gradient_pixel")),
        *((name, c_void_p) for name in ("x", "gradient", "out", "weight", "bias")),
        *((name, c_void_p) for name in ("mean", "inverse", "running_mean", "running_variance")),
        *((name, c_void_p) for name in ("weight_gradient", "bias_gradient", "partial")),
        *((name, c_double) for name in ("momentum", "eps")),
        ("start_team", c_void_p),
    ]


class NormKernels(NamedTuple):
    """The kernels of one instruction set, and what starts the threads that torch already has."""

    name: str
    functions: Any
    table: int
    start_team: int | None


@cache
def norm_kernel_sets() -> dict[str, NormKernels]:
    """The kernels that this processor can run, from the simplest to the best; none if they were not built."""
    try:
        library = load_library()
        size = library.yc_norm_size()
    except (NativeError, OSError, AttributeError):  # not built, or before there were any
        return {}
    if size != ctypes.sizeof(NormOp):
        return {}
    library.yc_norm_table.restype = c_void_p
    library.yc_norm_table.argtypes = (c_int32, ctypes.POINTER(c_char_p))
    for function in (library.yc_norm_forward, library.yc_norm_backward):
        function.restype, function.argtypes = None, (c_void_p, ctypes.POINTER(NormOp))
    team = find_team_start()
    return {name: NormKernels(name, library, table, team) for name, table in _list_tables(library)}


def _list_tables(library: Any) -> list[tuple[str, int]]:
    name, found = c_char_p(), []
    for number in range(MOST_SETS):
        table = library.yc_norm_table(number, ctypes.byref(name))
        if name.value is None:
            break
        if table:
            found.append((name.value.decode(), table))
    return found


def find_team_start() -> int | None:
    """The address of GOMP_parallel in the OpenMP library that torch uses: threads of another library would
    take the processors from those of torch, which look for work for a while after theirs is done."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = {line.split()[-1] for line in lines if OPENMP.search(line)}
    for path in sorted(paths, key=lambda path: "torch" not in path):
        start = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
        if start is not None:
            return ctypes.cast(start, c_void_p).value
    return None


def norm_kernels() -> NormKernels | None:
    """The best kernels; None where there are none, or they would have to do without torch's threads."""
    found = list(norm_kernel_sets().values())
    return found[-1] if found and (found[-1].start_team or torch.get_num_threads() == 1) else None


def normalize_activate(x: Tensor, norm: nn.BatchNorm2d, activation: str) -> Tensor | None:
    """activation(norm(x)) of x [N, C, H, W] in training; None where there is no kernel for it."""
    kernels = norm_kernels()
    if kernels is None or not _has_kernel(x, norm, activation):
        return None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return apply_norm(x, norm.weight, norm.bias, run=NormRun(norm, activation, kernels))


def apply_norm(x: Tensor, weight: Tensor, bias: Tensor, *, run: NormRun) -> Tensor:
    """The result of NormActivation."""
    function: Any = NormActivation
    out: Tensor = function.apply(x, weight, bias, run)
    return out


def _has_kernel(x: Tensor, norm: nn.BatchNorm2d, activation: str) -> bool:
    """Whether the kernels can compute this norm: an ordinary one in training, of channels-last maps."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.momentum is not None
        and norm.running_mean is not None
        and activation in ACTIVATIONS
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and norm.weight.dtype == norm.bias.dtype == norm.running_mean.dtype == torch.float32
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class NormRun(NamedTuple):
    """What is not a tensor of the graph."""

    norm: nn.BatchNorm2d
    activation: str
    kernels: NormKernels


class NormActivation(torch.autograd.Function):
    """activation(norm(x)); of x [N, C, H, W], with channels last, float32, bfloat16 or float64."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        """The result for x, weight, bias and a NormRun; the running statistics of its norm follow."""
        x, weight, bias, run = given
        norm, out = run.norm, torch.empty_like(x)
        mean, inverse = torch.empty_like(weight), torch.empty_like(weight)
        op = _start_op(x, run, weight=weight, bias=bias, mean=mean, inverse=inverse, out=out)
        assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
        op.running_mean, op.running_variance = norm.running_mean.data_ptr(), norm.running_var.data_ptr()
        op.momentum, op.eps = norm.momentum, norm.eps
        run.kernels.functions.yc_norm_forward(run.kernels.table, ctypes.byref(op))
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.run = run
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        x, weight, bias, mean, inverse = ctx.saved_tensors
        out, d_weight, d_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        op = _start_op(x, ctx.run, weight=weight, bias=bias, mean=mean, inverse=inverse, out=out)
        gradient, op.gradient_pixel = order_rows(gradient)
        op.gradient = gradient.data_ptr()
        op.weight_gradient, op.bias_gradient = d_weight.data_ptr(), d_bias.data_ptr()
        ctx.run.kernels.functions.yc_norm_backward(ctx.run.kernels.table, ctypes.byref(op))
        return out, d_weight, d_bias, None


def _start_op(x: Tensor, run: NormRun, **tensors: Tensor) -> NormOp:
    """The operation with what both directions have; `partial` lives as long as the operation."""
    channels = x.shape[1]
    rows = x.numel() // channels
    units = max(1, min(rows, x.numel() * x.element_size() // UNIT_BYTES))
    op = NormOp(TYPES[x.dtype], ACTIVATIONS[run.activation], torch.get_num_threads(), units, rows, channels)
    op.memory = tensors["mean"].new_empty(2 * units * channels)
    op.partial, op.x, op.start_team = op.memory.data_ptr(), x.data_ptr(), run.kernels.start_team
    for name, tensor in tensors.items():
        setattr(op, name, tensor.data_ptr())
    return op


def order_rows(gradient: Tensor) -> tuple[Tensor, int]:
    """The gradient with its channels adjacent, and the distance between its pixels. That of a part of a
    concatenation is read where it lies."""
    images, channels, height, width = gradient.shape
    steps = [1, width, width * height]  # of columns, rows and images, in pixels
    axes = [(3, width), (2, height), (0, images)]
    found = {gradient.stride(axis) / step for (axis, size), step in zip(axes, steps, strict=True) if size > 1}
    if len(found) == 1 and (channels == 1 or gradient.stride(1) == 1):
        pixel = found.pop()
        if pixel >= channels and pixel == int(pixel):
            return gradient, int(pixel)
    return gradient.contiguous(memory_format=torch.channels_last), channels
