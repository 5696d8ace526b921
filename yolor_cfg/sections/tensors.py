"""The tensors that sections store: single tensors, batch norms, and kernel groups that share the filters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple


class TensorSpec(NamedTuple):
    """One tensor of a section as stored in `.weights`: its role, its state-dict name relative to the section,
    its shape.

    `is_parameter` is False for running statistics. `transposable` marks matrices that old files (transpose
    flag in the header) store transposed; `flipped` marks kernels [n, c, k, k] that the weights file stores as
    [c, k, k, n].
    """

    role: str
    name: str
    shape: tuple[int, ...]
    is_parameter: bool = True
    transposable: bool = False
    flipped: bool = False

    @property
    def size(self) -> int:
        """The number of float32 values in the file."""
        size = 1
        for length in self.shape:
            size *= length
        return size


def batch_norm_specs(channels: int, prefix: str = "BatchNorm2d.") -> list[TensorSpec]:
    """The four tensors of a batch norm in the order in which Darknet's convolutions store them."""
    return [
        TensorSpec("bias", f"{prefix}bias", (channels,)),
        TensorSpec("scale", f"{prefix}weight", (channels,)),
        TensorSpec("mean", f"{prefix}running_mean", (channels,), is_parameter=False),
        TensorSpec("variance", f"{prefix}running_var", (channels,), is_parameter=False),
    ]


def format_tensors(tensors: Sequence[TensorSpec]) -> str:
    """`bias 6, weight 6x3x3x3`, for a message."""
    sizes = [f"{tensor.role} {'x'.join(map(str, tensor.shape))}" for tensor in tensors]
    return ", ".join(sizes) or "none"


class KernelGroup(NamedTuple):
    """Kernels of one size: the state-dict name of their convolution, their size, their output channels."""

    name: str
    size: int
    filters: int

    def weight(self, channels: int, *, flipped: bool = False) -> TensorSpec:
        """The stored kernels [filters, channels, size, size], with the channels of one group."""
        shape = (self.filters, channels, self.size, self.size)
        return TensorSpec("weight", f"{self.name}.weight", shape, flipped=flipped)

    def bias(self) -> TensorSpec:
        """The stored biases [filters]."""
        return TensorSpec("bias", f"{self.name}.bias", (self.filters,))


def split_kernels(sizes: Sequence[int], filters: int, name: str = "Conv2d") -> list[KernelGroup]:
    """The kernels of each size; several sizes share the filters so that all have about as many weights."""
    if len(sizes) == 1:
        return [KernelGroup(name, sizes[0], filters)]
    parts = enumerate(zip(sizes, filters_per_size(sizes, filters), strict=True))
    return [KernelGroup(f"Mix{name}.m.{number}", size, share) for number, (size, share) in parts]


def filters_per_size(sizes: Sequence[int], filters: int) -> list[int]:
    """The number of filters of each size for equally many weights, rounded; their sum may be off by one."""
    whole = sum(size**-2 for size in sizes)
    return [round(filters * size**-2 / whole) for size in sizes]


def can_split_filters(sizes: Sequence[int], filters: int) -> bool:
    """True if the rounded shares are all positive and add up to `filters`."""
    shares = filters_per_size(sizes, filters)
    return sum(shares) == filters and min(shares) > 0


def next_filter_count(sizes: Sequence[int], filters: int) -> int:
    """The next larger number of filters that these sizes can share."""
    return next(more for more in count(filters + 1) if can_split_filters(sizes, more))
