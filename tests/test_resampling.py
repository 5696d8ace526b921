"""Resampling against index formulas written out. Legend: N images, C channels, H W cells, s the stride."""

from itertools import product

import numpy as np
import pytest
import torch
from small import applied, last_node, numbers
from torch.nn import functional as F

from yolor_cfg.errors import CfgError
from yolor_cfg.shape import Shape


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 41])
def test_upsample_repeats_each_pixel_and_scales_it(stride):
    x = numbers(2, 3, 4, 5)
    want = 1.5 * np.repeat(np.repeat(x, stride, axis=2), stride, axis=3)
    np.testing.assert_array_equal(applied(f"[upsample]\nstride={stride}\nscale=1.5", x), want)


@pytest.mark.parametrize("stride", range(1, 65))
def test_upsample_finds_the_right_pixel_of_a_wide_map(stride):
    x = np.arange(300.0).reshape(1, 1, 1, 300)
    got = applied(f"[upsample]\nstride={stride}", x)
    assert (got == np.repeat(x, stride, axis=3)).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_negative_stride_of_upsample_sums_blocks(stride):
    x = numbers(2, 3, 7, 8)
    height, width = 7 // stride, 8 // stride
    want = np.zeros((2, 3, height, width))
    # upsample_cpu in blas.c finds pixel (j, i) of channel k at k * w * h * stride^2 + j * w * stride + i,
    # with the w and h of the output: where the stride does not divide the size, that is another pixel.
    for k, j, i in product(range(3), range(height * stride), range(width * stride)):
        place = (k * height * stride + j) * width * stride + i
        want[:, k, j // stride, i // stride] += 0.5 * x.reshape(2, -1)[:, place]
    np.testing.assert_allclose(applied(f"[upsample]\nstride=-{stride}\nscale=.5", x), want, atol=1e-12)


def test_upsample_by_0_is_refused():
    with pytest.raises(CfgError, match="stride: out of bounds"):
        last_node("[upsample]\nstride=0")


@pytest.mark.parametrize("s", [1, 2, 3])
def test_reorg3d_moves_blocks_of_pixels_into_channels_row_first(s):
    x = numbers(2, 3, 2 * s, 3 * s)
    want = np.concatenate([x[:, :, dy::s, dx::s] for dy in range(s) for dx in range(s)], axis=1)
    np.testing.assert_array_equal(applied(f"[reorg3d]\nstride={s}", x), want)


def small_side(x: np.ndarray, s: int, size: tuple[int, int, int]):
    """Pairs of flat indices: of a map of this size, of the s times larger one with fewer channels."""
    K, H, W = size
    for k, j, i in product(range(K), range(H), range(W)):
        c, o = k % (K // s**2), k // (K // s**2)
        yield i + W * (j + H * k), (i * s + o % s) + W * s * ((j * s + o // s) + H * s * c)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_reorg_is_yolov2s_map_over_the_size_of_its_input(s):
    C, H, W = 2 * s * s, 2 * s, 3 * s
    x = numbers(2, C, H, W)
    flat = np.zeros((2, x[0].size))
    for small, large in small_side(x, s, (C, H, W)):
        flat[:, small] = x.reshape(2, -1)[:, large]
    want = flat.reshape(2, C * s * s, H // s, W // s)
    np.testing.assert_array_equal(applied(f"[reorg]\nstride={s}", x), want)


@pytest.mark.parametrize("s", [1, 2])
def test_reorg3d_in_reverse_is_the_map_over_the_size_of_its_output(s):
    C, H, W = 2 * s**4, 3, 4
    x = numbers(2, C, H, W)
    out = (C // s**2, H * s, W * s)
    flat = np.zeros((2, x[0].size))
    for small, large in small_side(x, s, out):
        flat[:, large] = x.reshape(2, -1)[:, small]
    np.testing.assert_array_equal(applied(f"[reorg3d]\nstride={s}\nreverse=1", x), flat.reshape(2, *out))


def test_reorg_in_reverse_undoes_reorg3d_and_reorg3d_in_reverse_does_not():
    x = numbers(2, 16, 4, 6)
    small = applied("[reorg3d]\nstride=2", x)
    np.testing.assert_array_equal(applied("[reorg]\nstride=2\nreverse=1", small), x)
    assert not np.array_equal(applied("[reorg3d]\nstride=2\nreverse=1", small), x)


def test_one_block_of_reorg_in_reverse_is_torchs_pixel_shuffle():
    x = numbers(2, 9, 4, 6)
    want = F.pixel_shuffle(torch.from_numpy(x), 3).numpy()
    np.testing.assert_array_equal(applied("[reorg]\nstride=3\nreverse=1", x), want)


def test_yolors_reorg_takes_the_odd_rows_before_the_odd_columns():
    x = numbers(2, 3, 4, 6)
    blocks = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    want = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(applied("[reorg]", x, dialect="yolor"), want)


def test_yolors_reorg3d_does_nothing():
    x = numbers(2, 3, 4, 6)
    np.testing.assert_array_equal(applied("[reorg3d]", x, dialect="yolor"), x)
    assert last_node("[reorg3d]", dialect="yolor").section.is_alias
    assert not last_node("[reorg3d]").section.is_alias


def test_dwt_gives_means_then_three_differences_for_each_channel():
    x = numbers(2, 2, 4, 6)
    want = np.zeros((2, 8, 2, 3))
    signs = [(1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1)]
    for n, c, i, j in product(range(2), range(2), range(2), range(3)):
        pixels = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
        want[n, c, i, j] = pixels.sum() / 4
        for d, sign in enumerate(signs):
            want[n, 2 + 3 * c + d, i, j] = (pixels * sign).sum() / 4 + 0.5
    np.testing.assert_allclose(applied("[dwt]", x, dialect="yolor"), want, atol=1e-12)


@pytest.mark.parametrize("keys, want", [("", lambda x: 2 * x - 1), ("\nnoadjust=1", lambda x: x)])
def test_crop_cuts_out_the_middle(keys, want):
    x = numbers(2, 3, 9, 12)
    middle = x[:, :, 2:7, 4:8]  # (9 - 5) // 2 and (12 - 4) // 2
    np.testing.assert_allclose(applied("[crop]\ncrop_height=5\ncrop_width=4" + keys, x), want(middle))


@pytest.mark.parametrize(
    "text, shape, key",
    [
        ("[reorg3d]\nstride=4", Shape(4, 6, 8), "stride"),
        ("[reorg]\nstride=2", Shape(6, 8, 8), "stride"),
        ("[reorg3d]\nstride=2\nreverse=1", Shape(4, 8, 8), "stride"),
        ("[crop]\ncrop_height=7\ncrop_width=8", Shape(3, 6, 8), "crop_height"),
        ("[crop]\ncrop_height=6\ncrop_width=9", Shape(3, 6, 8), "crop_width"),
    ],
)
def test_an_input_that_does_not_fit_is_named_at_the_key(text, shape, key):
    section = last_node(text, image=(16, 16, 16)).section
    with pytest.raises(CfgError) as told:
        section.shape(shape)
    line = 5 + text.split("\n").index(f"{key}={getattr(section, key)}")  # [net] has four lines
    assert (told.value.key, told.value.line) == (key, line)


@pytest.mark.parametrize("kind", ["reorg", "dwt"])
def test_yolors_blocks_need_even_sides(kind):
    section = last_node(f"[{kind}]", dialect="yolor").section
    assert section.shape(Shape(3, 6, 4)) == Shape(12, 3, 2)
    for odd in (Shape(3, 5, 4), Shape(3, 6, 3)):
        with pytest.raises(CfgError, match=f"{odd}"):
            section.shape(odd)
