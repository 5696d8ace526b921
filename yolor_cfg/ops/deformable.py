"""Modulated deformable convolution (DCN v2): offset and weight of each kernel element are predicted.

N images, C channels, H W cells in, h w cells out, k kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeformConv2d(nn.Module):
    """`p_conv` predicts the offset of each of the k x k elements (rows first, then columns), `m_conv` its
    modulation, `conv` holds the kernel. If both predict 0, it is half a zero-padded convolution."""

    def __init__(self, channels: int, filters: int, size: int, *, stride: int, bias: bool) -> None:
        super().__init__()
        self.size = size
        self.stride = stride
        self.conv = nn.Conv2d(channels, filters, size, stride=size, bias=bias)
        self.p_conv = nn.Conv2d(channels, 2 * size**2, 3, stride=stride, padding=1)
        self.m_conv = nn.Conv2d(channels, size**2, 3, stride=stride, padding=1)
        for small in (self.p_conv, self.m_conv):
            nn.init.zeros_(small.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, h, w] with h = (H - 1) // stride + 1."""
        rows, columns = self._positions(self.p_conv(x))
        seen = self._sample_pixels(x, self._tile_elements(rows), self._tile_elements(columns))
        out: Tensor = self.conv(seen * self._tile_elements(self.m_conv(x).sigmoid())[:, None])
        return out

    def _positions(self, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets [N, 2kk, h, w] -> row and column of the input [N, kk, h, w] for each element."""
        *_, h, w = offsets.shape
        k = self.size
        element = torch.arange(k, dtype=offsets.dtype, device=offsets.device) - k // 2
        row = torch.arange(h, dtype=offsets.dtype, device=offsets.device) * self.stride
        column = torch.arange(w, dtype=offsets.dtype, device=offsets.device) * self.stride
        rows = element.repeat_interleave(k)[:, None, None] + row[:, None]  # [kk, h, 1]
        columns = element.repeat(k)[:, None, None] + column  # [kk, 1, w]
        return offsets[:, : k * k] + rows, offsets[:, k * k :] + columns

    def _tile_elements(self, x: Tensor) -> Tensor:
        """[N, kk, h, w] -> [N, hk, wk]: the elements of a cell become a k x k tile."""
        N, _, h, w = x.shape
        k = self.size
        return x.reshape(N, k, k, h, w).permute(0, 3, 1, 4, 2).reshape(N, h * k, w * k)

    @staticmethod
    def _sample_pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """x [N, C, H, W] at rows, columns [N, a, b] -> [N, C, a, b]; bilinear, zero outside the map."""
        *_, H, W = x.shape
        grid = torch.stack([(2 * columns + 1) / W - 1, (2 * rows + 1) / H - 1], dim=-1)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
