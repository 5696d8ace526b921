"""The two resizes in ONNX's text: C Darknet's, and OpenCV's bilinear one of uint8 images.

Each line of `resize_text` is one node. It reads `image` [1, h, w, C] uint8 and the sizes h, w, inner_h and
inner_w (int32), and makes `resized` [1, C, inner_h, inner_w] float32 in 0..1. Only the rows and columns that
are in use are gathered, so the cost depends on the size of the result.
"""

from __future__ import annotations

from typing import Literal

ResizeKind = Literal["darknet", "opencv"]

# As `_interpolation_taps` and `resize_darknet` in images.preprocess, operation by operation.
DARKNET_TAPS = """
  {a}_index = Range (zero, inner_{a}, one)
  {a}_most = Sub ({a}, one)
  {a}_end = Sub (inner_{a}, one)
  {a}_parts = Max ({a}_end, one)
  {a}_most_float = Cast <to = 1> ({a}_most)
  {a}_parts_float = Cast <to = 1> ({a}_parts)
  {a}_step = Div ({a}_most_float, {a}_parts_float)
  {a}_index_float = Cast <to = 1> ({a}_index)
  {a}_inside = Mul ({a}_index_float, {a}_step)
  {a}_is_end = Equal ({a}_index, {a}_end)
  {a}_place = Where ({a}_is_end, {a}_most_float, {a}_inside)
  {a}_whole = Cast <to = 6> ({a}_place)
  {a}_before = Min ({a}_whole, {a}_most)
  {a}_next = Add ({a}_before, one)
  {a}_after = Min ({a}_next, {a}_most)
  {a}_start = Cast <to = 1> ({a}_before)
  {a}_far = Sub ({a}_place, {a}_start)
  {a}_near = Sub (unit, {a}_far)
"""
# Places are (2 x + 1) n / (2 m) - 1/2 in units of 1/2048 pixel, rounded as float32 rounds them: first in
# whole numbers, then the rest of the division. Weights are whole 1/2048. Columns beyond the border count as
# on it; rows keep their weights there (resizeGeneric_ in OpenCV's resize.cpp).
OPENCV_TAPS = """
  {a}_index = Range (zero, inner_{a}, one)
  {a}_twice = Mul ({a}_index, two)
  {a}_odd = Add ({a}_twice, one)
  {a}_far_part = Mul ({a}_odd, {a})
  {a}_free = Sub ({a}_far_part, inner_{a})
  {a}_base = Mul (inner_{a}, two)
  {a}_most = Sub ({a}, one)
  {a}_border = Mul ({a}_most, {a}_base)
  {limit}
  {a}_shifted = Add ({a}_part, {a}_base)
  {a}_whole_next = Div ({a}_shifted, {a}_base)
  {a}_whole = Sub ({a}_whole_next, one)
  {a}_whole_part = Mul ({a}_whole, {a}_base)
  {a}_rest = Sub ({a}_part, {a}_whole_part)
  {a}_rest_taps = Mul ({a}_rest, tap_count)
  {a}_tap = Div ({a}_rest_taps, {a}_base)
  {a}_tap_part = Mul ({a}_tap, {a}_base)
  {a}_last = Sub ({a}_rest_taps, {a}_tap_part)
  {a}_last_float = Cast <to = 1> ({a}_last)
  {a}_base_float = Cast <to = 1> ({a}_base)
  {a}_fraction = Div ({a}_last_float, {a}_base_float)
  {a}_whole_taps = Mul ({a}_whole, tap_count)
  {a}_place_taps = Add ({a}_whole_taps, {a}_tap)
  {a}_place_float = Cast <to = 1> ({a}_place_taps)
  {a}_place = Add ({a}_place_float, {a}_fraction)
  {a}_start = Cast <to = 1> ({a}_whole_taps)
  {a}_weight = Sub ({a}_place, {a}_start)
  {a}_other_weight = Sub (taps, {a}_weight)
  {a}_far_float = Round ({a}_weight)
  {a}_near_float = Round ({a}_other_weight)
  {a}_far = Cast <to = 6> ({a}_far_float)
  {a}_near = Cast <to = 6> ({a}_near_float)
  {a}_low = Max ({a}_whole, zero)
  {a}_before = Min ({a}_low, {a}_most)
  {a}_next = Add ({a}_whole, one)
  {a}_next_low = Max ({a}_next, zero)
  {a}_after = Min ({a}_next_low, {a}_most)
"""
FREE = "{a}_part = Identity ({a}_free)"
LIMITED = "{a}_least = Max ({a}_free, zero)\n  {a}_part = Min ({a}_least, {a}_border)"

# The weight of a column, once for each channel: [inner_w x C], as a row of pixels lies in memory.
WEIGHTS = """
  w_{side}_1 = Unsqueeze (w_{side}, flat)
  w_{side}_all = Tile (w_{side}_1, channel_repeats)
  w_{side}_row = Reshape <allowzero = 0> (w_{side}_all, flat)
  h_{side}_1 = Unsqueeze (h_{side}, flat)
"""
COLUMNS = """
  {row}_rows = Gather <axis = 1> (image, h_{row})
  {row}_left_pixels = Gather <axis = 2> ({row}_rows, w_before)
  {row}_right_pixels = Gather <axis = 2> ({row}_rows, w_after)
  {row}_left_flat = Reshape <allowzero = 0> ({row}_left_pixels, row_shape)
  {row}_right_flat = Reshape <allowzero = 0> ({row}_right_pixels, row_shape)
  {row}_left_values = Cast <to = {type}> ({row}_left_flat)
  {row}_right_values = Cast <to = {type}> ({row}_right_flat)
  {unit}
  {row}_left = Mul ({row}_left_part, w_near_row)
  {row}_right = Mul ({row}_right_part, w_far_row)
  {row}_sum = Add ({row}_left, {row}_right)
"""
UNIT = (
    "{row}_left_part = Div ({row}_left_values, scale)\n  {row}_right_part = Div ({row}_right_values, scale)"
)
SAME = "{row}_left_part = Identity ({row}_left_values)\n  {row}_right_part = Identity ({row}_right_values)"
DARKNET_ROWS = """
  upper = Mul (before_sum, h_near_1)
  lower = Mul (after_sum, h_far_1)
  mixed = Add (upper, lower)
"""
# VResizeLinear of uint8 drops bits of each product, not of their sum.
OPENCV_ROWS = """
  upper_sum = Div (before_sum, tap_step)
  lower_sum = Div (after_sum, tap_step)
  upper_product = Mul (upper_sum, h_near_1)
  lower_product = Mul (lower_sum, h_far_1)
  upper = Div (upper_product, high_step)
  lower = Div (lower_product, high_step)
  both = Add (upper, lower)
  rounded_both = Add (both, two)
  grey_levels = Div (rounded_both, four)
  values = Cast <to = 1> (grey_levels)
  mixed = Div (values, scale)
"""
ORDER = """
  inner_h_long = Cast <to = 7> (inner_h)
  inner_w_long = Cast <to = 7> (inner_w)
  inner_h_1 = Unsqueeze (inner_h_long, axis0)
  inner_w_1 = Unsqueeze (inner_w_long, axis0)
  pixel_shape = Concat <axis = 0> (one_image, inner_h_1, inner_w_1, channel_count)
  mixed_pixels = Reshape <allowzero = 0> (mixed, pixel_shape)
  resized = Transpose <perm = [0, 3, 1, 2]> (mixed_pixels)
"""


def resize_text(kind: ResizeKind) -> str:
    """The nodes of a resize."""
    if kind == "darknet":
        taps = [DARKNET_TAPS.format(a=axis) for axis in "hw"]
        type_number, unit, rows = 1, UNIT, DARKNET_ROWS
    else:
        limits = {"h": FREE, "w": LIMITED}
        taps = [OPENCV_TAPS.format(a=axis, limit=limits[axis].format(a=axis)) for axis in "hw"]
        type_number, unit, rows = 6, SAME, OPENCV_ROWS
    weights = [WEIGHTS.format(side=side) for side in ("near", "far")]
    columns = [
        COLUMNS.format(row=row, type=type_number, unit=unit.format(row=row)) for row in ("before", "after")
    ]
    return "".join([*taps, *weights, *columns, rows, ORDER])
