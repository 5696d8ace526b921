"""Modules of convolution, batch norm and activation; children have the names of official YOLOR checkpoints.

N images, C channels, H W cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate, activate_
from yolor_cfg.ops.binary import binary_conv2d
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.ops.norms import apply_batch_norm
from yolor_cfg.ops.pooling import Blur
from yolor_cfg.ops.resampling import space_to_depth_by_columns

JointNorm = Callable[[Tensor, nn.BatchNorm2d, str], Tensor | None]
"""Batch norm and the named activation of a map as one, in training; None where it has to be two."""


class _BaseBlock(nn.Module):
    """What surrounds a convolution: optional space-to-depth before it, activation and blur after it."""

    def __init__(self, activation: str, *, focus: bool, blur: Blur | None) -> None:
        super().__init__()
        self.activation = activation
        self.focus = focus
        self.blur = blur
        self.joint_norm: JointNorm | None = None

    def _preprocess(self, x: Tensor) -> Tensor:
        return space_to_depth_by_columns(x) if self.focus else x

    def _postprocess(self, x: Tensor, norm: nn.BatchNorm2d | None) -> Tensor:
        """Batch norm, activation and blur of an x that is not read again."""
        found = self.joint_norm(x, norm, self.activation) if self.joint_norm and norm is not None else None
        if found is None:
            x = x if norm is None else apply_batch_norm(x, norm)
            found = activate_(x, self.activation)
        return found if self.blur is None else self.blur(found)


class ConvBlock(_BaseBlock):
    """Convolution, batch norm (or bias), activation; children: the convolution (as `name`), BatchNorm2d."""

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.BatchNorm2d | None,
        activation: str,
        *,
        name: str = "Conv2d",
        focus: bool = False,
        blur: Blur | None = None,
    ) -> None:
        super().__init__(activation, focus=focus, blur=blur)
        self.conv_name = name
        self.add_module(name, conv)
        if norm is not None:
            self.BatchNorm2d = norm
        self.has_norm = norm is not None

    @property
    def norm(self) -> nn.BatchNorm2d | None:
        """The batch norm, until it is folded."""
        return self.BatchNorm2d if self.has_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        return self._postprocess(getattr(self, self.conv_name)(self._preprocess(x)), self.norm)


class TransposedBlock(ConvBlock):
    """A ConvBlock of transposed convolutions, computed on contiguous maps: channels last torch sums in
    another order, which the large values of such sections show."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        x = getattr(self, self.conv_name)(x.contiguous())
        return activate_(x if self.norm is None else self.norm(x), self.activation)


class FirstChannels(ConvBlock):
    """A ConvBlock that reads only the first channels of its input."""

    def __init__(self, block: ConvBlock, channels: int) -> None:
        conv: nn.Module = getattr(block, block.conv_name)
        super().__init__(conv, block.norm, block.activation, blur=block.blur)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        return super().forward(x[:, : self.channels])


class SharedConvBlock(_BaseBlock):
    """A ConvBlock that shares the weights of another one, but has its own geometry and activation."""

    def __init__(
        self,
        geometry: ConvGeometry,
        activation: str,
        *,
        binary: bool = False,
        focus: bool = False,
        blur: Blur | None = None,
    ) -> None:
        super().__init__(activation, focus=focus, blur=blur)
        self.geometry = geometry
        self.binary = binary
        self._weight_source: tuple[ConvBlock, ...] = ()

    def share_weights(self, source: ConvBlock) -> None:
        """Use the tensors of `source` from now on, even after they have been folded or moved."""
        self._weight_source = (source,)  # in a tuple, so that it is not registered as a submodule

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        (lender,) = self._weight_source
        conv: nn.Conv2d = getattr(lender, lender.conv_name)
        x = self._convolve(self._preprocess(x), conv)
        return self._postprocess(x, lender.norm)

    def _convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        if self.binary:
            return binary_conv2d(x, conv.weight, conv.bias, geometry=self.geometry)
        return F.conv2d(x, conv.weight, conv.bias, *self.geometry)


class MixConv2d(nn.Module):
    """Parallel convolutions with several kernel sizes, each producing some of the output channels."""

    def __init__(self, convolutions: Sequence[nn.Module]) -> None:
        super().__init__()
        self.m = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, sum of the filters, H', W']."""
        return torch.cat([convolution(x) for convolution in self.m], dim=1)


class ActivationLayer(nn.Module):
    """A standalone activation."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size; x is not modified."""
        return activate(x, self.name)
