"""Pooling against loops over windows. Legend: N images, C channels, H W cells."""

from itertools import product

import numpy as np
import pytest
from small import applied, last_node, numbers
from torch.utils.flop_counter import FlopCounterMode

from yolor_cfg.errors import CfgError
from yolor_cfg.ops.pooling import Blur


def windows(x: np.ndarray, size: int, strides: tuple[int, int], padding: int):
    """Index and inside cells [N, C, cells] of each window; window j starts at j * stride - padding // 2."""
    H, W = x.shape[2:]
    rows, columns = ((n + padding - size) // s + 1 for n, s in zip((H, W), strides, strict=True))
    for i, j in product(range(rows), range(columns)):
        top, left = i * strides[0] - padding // 2, j * strides[1] - padding // 2
        inside = x[:, :, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
        yield (i, j), inside.reshape(*x.shape[:2], -1)


def pooled(x: np.ndarray, size: int, strides: tuple[int, int], padding: int, keep=np.max) -> np.ndarray:
    places = dict(windows(x, size, strides, padding))
    rows, columns = max(i for i, _ in places) + 1, max(j for _, j in places) + 1
    values = [keep(places[i, j], axis=2) for i in range(rows) for j in range(columns)]
    return np.stack(values, axis=2).reshape(*x.shape[:2], rows, columns)


GEOMETRIES = [
    (size, strides, padding)
    for size in (1, 2, 3, 4, 5, 13)
    for strides in ((1, 1), (2, 2), (1, 2), (3, 1), (3, 3))
    for padding in sorted({size - 1, 0, 1, 2} & set(range(size)))
    if padding >= size - 5  # else nothing is left of a map of 5 rows
]
SIZES = [(5, 8), (6, 7)]


@pytest.mark.parametrize("size, strides, padding", GEOMETRIES)
@pytest.mark.parametrize("height, width", SIZES)
def test_maxpool_keeps_the_greatest_cell_inside_the_map(size, strides, padding, height, width):
    x = numbers(2, 3, height, width) - 5  # all negative: a border of zeros would win
    keys = f"size={size}\nstride_y={strides[0]}\nstride_x={strides[1]}\npadding={padding}"
    np.testing.assert_array_equal(applied(f"[maxpool]\n{keys}", x), pooled(x, size, strides, padding))


@pytest.mark.parametrize("size, strides, padding", GEOMETRIES)
@pytest.mark.parametrize("height, width", SIZES)
def test_local_avgpool_is_the_mean_of_the_cells_inside_the_map(size, strides, padding, height, width):
    x = numbers(2, 3, height, width)
    keys = f"size={size}\nstride_y={strides[0]}\nstride_x={strides[1]}\npadding={padding}"
    want = pooled(x, size, strides, padding, keep=np.mean)
    np.testing.assert_allclose(applied(f"[local_avgpool]\n{keys}", x), want, atol=1e-12)


@pytest.mark.parametrize("kind, keep", [("maxpool", np.max), ("local_avgpool", np.mean)])
def test_darknets_size_is_the_stride_and_its_padding_the_size_less_one(kind, keep):
    x = numbers(1, 2, 7, 9)
    np.testing.assert_allclose(applied(f"[{kind}]\nstride=3", x), pooled(x, 3, (3, 3), 2, keep=keep))


@pytest.mark.parametrize("size, stride, border", [(2, 2, 0), (3, 1, 1), (3, 2, 1), (4, 2, 1), (5, 1, 2)])
@pytest.mark.parametrize("height, width", SIZES)
def test_yolors_border_is_half_of_the_size_less_one_on_each_side(size, stride, border, height, width):
    x = numbers(2, 3, height, width)
    keys = f"size={size}\nstride={stride}"
    spread = [(0, 0), (0, 0), (border, border), (border, border)]
    lowest, zeros = np.pad(x, spread, constant_values=-np.inf), np.pad(x, spread)
    greatest = applied(f"[maxpool]\n{keys}", x, dialect="yolor")
    np.testing.assert_array_equal(greatest, pooled(lowest, size, (stride, stride), 0))
    mean = applied(f"[local_avgpool]\n{keys}", x, dialect="yolor")
    np.testing.assert_allclose(mean, pooled(zeros, size, (stride, stride), 0, keep=np.mean), atol=1e-12)


def test_yolors_pool_of_size_2_at_stride_1_has_a_column_and_a_row_of_zeros():
    x = numbers(2, 3, 5, 6) - 5
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)])
    greatest = applied("[maxpool]\nsize=2\nstride=1", x, dialect="yolor")
    np.testing.assert_array_equal(greatest, pooled(padded, 2, (1, 1), 0))
    assert (greatest[:, :, -1] == 0).all() and (greatest[:, :, :-1, :-1] < 0).all()
    mean = applied("[local_avgpool]\nsize=2\nstride=1", x, dialect="yolor")
    np.testing.assert_allclose(mean, pooled(padded, 2, (1, 1), 0, keep=np.mean))


@pytest.mark.parametrize("left", [1, 3, 4, 7])
def test_maxpool_depth_takes_the_greatest_of_every_nth_channel(left):
    x = numbers(2, 7, 3, 4)
    want = np.stack([x[:, g::left].max(1) for g in range(left)], axis=1)
    np.testing.assert_array_equal(applied(f"[maxpool]\nmaxpool_depth=1\nout_channels={left}", x), want)


def blurred(x: np.ndarray, kernel: np.ndarray, border: int, strides: tuple[int, int]) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), (border, border), (border, border)])
    size = len(kernel)
    weigh = lambda cells, axis: (cells * kernel.reshape(-1)).sum(axis)  # noqa: E731
    return pooled(x, size, strides, 0, keep=weigh)


KERNELS = {1: (np.outer([1, 2, 1], [1, 2, 1]) / 16, 1), 2: (np.full((2, 2), 0.25), 0)}


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (3, 1)])
@pytest.mark.parametrize("height, width", SIZES)
def test_antialiasing_pools_at_stride_1_and_blurs_with_the_stride(kind, strides, height, width):
    x = numbers(2, 3, height, width)
    kernel, border = KERNELS[kind]
    keys = f"size=3\nstride_y={strides[0]}\nstride_x={strides[1]}\nantialiasing={kind}"
    want = blurred(pooled(x, 3, (1, 1), 2), kernel, border, strides)
    np.testing.assert_allclose(applied(f"[maxpool]\n{keys}", x), want, atol=1e-12)


def test_a_blur_counts_no_multiply_adds():
    import torch

    with FlopCounterMode(display=False) as counter:
        Blur(3, (2, 2))(torch.ones(1, 2, 6, 6))
    assert counter.get_total_flops() == 0


def test_avgpool_is_the_mean_of_each_channel():
    x = numbers(2, 3, 5, 6)
    np.testing.assert_allclose(applied("[avgpool]", x), x.mean((2, 3), keepdims=True), atol=1e-12)


def test_pooling_costs_its_window_once_per_output_and_channel_in_bflops():
    maximum, mean = last_node("[maxpool]\nsize=3\nstride=2"), last_node("[local_avg]\nsize=2\nstride=2")
    assert maximum.section.bflops(maximum.shape, *maximum.inputs) == pytest.approx(9 * 4 * 3 * 4 / 1e9)
    assert mean.section.bflops(mean.shape, *mean.inputs) == pytest.approx(4 * 4 * 3 * 4 / 1e9)


def test_a_pool_of_even_size_differs_by_dialect():
    assert last_node("[maxpool]\nsize=2\nstride=2").section.facts() == ("pool_padding",)
    assert last_node("[maxpool]\nsize=3\nstride=2").section.facts() == ("pads_last_window",)
    assert not last_node("[maxpool]\nsize=3").section.facts()


@pytest.mark.parametrize("kind", ["maxpool", "local_avg"])
def test_a_window_whose_padding_no_tensor_can_hold_is_refused(kind: str) -> None:
    with pytest.raises(
        CfgError, match="size: too large\n  found:   4x2000000005x2000000007 with its padding"
    ):
        last_node(f"[{kind}]\nsize=2000000000")
