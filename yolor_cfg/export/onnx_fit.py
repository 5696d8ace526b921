"""An image fitted to a network's input, in ONNX's text: the geometry of `images.preprocess`.

Each line is one node. Sizes are int32, in which some engines compute int64 anyway; h, w are the image's,
inner_h and inner_w those of the image in the input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolor_cfg.errors import CfgError
from yolor_cfg.export.onnx_resize import resize_text
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import default_preprocess, preprocess_image
from yolor_cfg.images.preprocess import (
    DARKNET_FILL,
    YOLOR_FILL,
    LetterboxOptions,
    NetworkInput,
    yolor_letterbox,
)
from yolor_cfg.images.types import Image

FIT = """
fit (uint8[1, h_px, w_px, {channels}] image) => (float[1, {channels}, {height}, {width}] fitted{places})
<
  int32 zero = {{0}}, int32 one = {{1}}, int32 two = {{2}}, int32 four = {{4}}, int32 stride = {{{stride}}},
  int32 wanted_h = {{{wanted_h}}}, int32 wanted_w = {{{wanted_w}}}, int32 tap_count = {{2048}},
  int32 tap_step = {{16}}, int32 high_step = {{65536}}, int64 axis_h = {{1}}, int64 axis_w = {{2}},
  int64[1] axis0 = {{0}}, int64[1] flat = {{-1}}, int64[2] no_pads = {{0, 0}},
  int64[1] channel_count = {{{channels}}}, int64[2] channel_repeats = {{1, {channels}}},
  int64[1] one_image = {{1}}, int64[4] input_shape = {{{input_shape}}},
  int64[3] row_shape = {{0, 0, -1}},
  int64[{channels}] order = {{{order}}}, float fill = {{{fill}}}, float half = {{0.5}},
  float scale = {{255.0}}, float unit = {{1.0}}, float taps = {{2048.0}}
>
{{
  long_shape = Shape <start = 0> (image)
  shape = Cast <to = 6> (long_shape)
  h = Gather <axis = 0> (shape, axis_h)
  w = Gather <axis = 0> (shape, axis_w)
  {nodes}
}}
"""
STRETCH = """
  inner_h = Identity (wanted_h)
  inner_w = Identity (wanted_w)
  top = Identity (zero)
  left = Identity (zero)
  bottom = Identity (zero)
  right = Identity (zero)
"""
# Of both letterboxes: the padding before is half of it, rounded down.
CENTRED = """
  top = Div (spare_h, two)
  left = Div (spare_w, two)
  bottom = Sub (spare_h, top)
  right = Sub (spare_w, left)
"""
DARKNET_LETTERBOX = """
  wanted_h_float = Cast <to = 1> (wanted_h)
  wanted_w_float = Cast <to = 1> (wanted_w)
  fit_h_float = Cast <to = 1> (h)
  fit_w_float = Cast <to = 1> (w)
  ratio_h = Div (wanted_h_float, fit_h_float)
  ratio_w = Div (wanted_w_float, fit_w_float)
  is_wide = Less (ratio_w, ratio_h)
  area_h = Mul (h, wanted_w)
  area_w = Mul (w, wanted_h)
  any_h = Div (area_h, w)
  any_w = Div (area_w, h)
  least_h = Max (any_h, one)
  least_w = Max (any_w, one)
  inner_h = Where (is_wide, least_h, wanted_h)
  inner_w = Where (is_wide, wanted_w, least_w)
  spare_h = Sub (wanted_h, inner_h)
  spare_w = Sub (wanted_w, inner_w)
"""
# The other side is h * W / w, rounded half to even, as Python rounds.
YOLOR_LETTERBOX = """
  area_h = Mul (h, wanted_w)
  area_w = Mul (w, wanted_h)
  is_wide = LessOrEqual (area_h, area_w)
  area = Min (area_h, area_w)
  side = Where (is_wide, w, h)
  whole = Div (area, side)
  whole_area = Mul (whole, side)
  rest = Sub (area, whole_area)
  double_rest = Mul (rest, two)
  parity = Mod <fmod = 0> (whole, two)
  odd_rest = Add (double_rest, parity)
  is_more = Greater (odd_rest, side)
  more = Cast <to = 6> (is_more)
  rounded = Add (whole, more)
  other = Max (rounded, one)
  inner_h = Where (is_wide, other, wanted_h)
  inner_w = Where (is_wide, wanted_w, other)
  all_spare_h = Sub (wanted_h, inner_h)
  all_spare_w = Sub (wanted_w, inner_w)
"""
STRIDED = """
  spare_h = Mod <fmod = 0> (all_spare_h, stride)
  spare_w = Mod <fmod = 0> (all_spare_w, stride)
"""
WHOLE = """
  spare_h = Identity (all_spare_h)
  spare_w = Identity (all_spare_w)
"""
# As `Placement` of `stretch` and `letterbox`, and as `placement_from_sizes`.
OWN_GAINS = """
  inner_h_float = Cast <to = 1> (inner_h)
  inner_w_float = Cast <to = 1> (inner_w)
  gain_x = Div (inner_w_float, w_float)
  gain_y = Div (inner_h_float, h_float)
  all_pad_h = Add (top, bottom)
  all_pad_w = Add (left, right)
  pad_h_float = Cast <to = 1> (all_pad_h)
  pad_w_float = Cast <to = 1> (all_pad_w)
  padding_y = Mul (pad_h_float, half)
  padding_x = Mul (pad_w_float, half)
"""
ONE_GAIN = """
  input_h = Add (inner_h, spare_h)
  input_w = Add (inner_w, spare_w)
  input_h_float = Cast <to = 1> (input_h)
  input_w_float = Cast <to = 1> (input_w)
  one_gain_x = Div (input_w_float, w_float)
  one_gain_y = Div (input_h_float, h_float)
  gain_x = Min (one_gain_x, one_gain_y)
  gain_y = Identity (gain_x)
  used_h = Mul (h_float, gain_y)
  used_w = Mul (w_float, gain_x)
  free_h = Sub (input_h_float, used_h)
  free_w = Sub (input_w_float, used_w)
  padding_y = Mul (free_h, half)
  padding_x = Mul (free_w, half)
"""

PADDED = """
  top_long = Cast <to = 7> (top)
  left_long = Cast <to = 7> (left)
  bottom_long = Cast <to = 7> (bottom)
  right_long = Cast <to = 7> (right)
  top_1 = Unsqueeze (top_long, axis0)
  left_1 = Unsqueeze (left_long, axis0)
  bottom_1 = Unsqueeze (bottom_long, axis0)
  right_1 = Unsqueeze (right_long, axis0)
  pads = Concat <axis = 0> (no_pads, top_1, left_1, no_pads, bottom_1, right_1)
  ordered = Gather <axis = 1> (resized, order)
  padded = Pad <mode = "constant"> (ordered, pads, fill)
  fitted = {fitted}
"""
RESHAPED = "Reshape <allowzero = 0> (padded, input_shape)"
PLACES = ", float[2] gain_xy, float[2] padding_xy, float[2] limit_xy"
PLACE_VALUES = """
  h_float = Cast <to = 1> (h)
  w_float = Cast <to = 1> (w)
  h_limit = Unsqueeze (h_float, axis0)
  w_limit = Unsqueeze (w_float, axis0)
  limit_xy = Concat <axis = 0> (w_limit, h_limit)
  {gains}
  gain_x1 = Unsqueeze (gain_x, axis0)
  gain_y1 = Unsqueeze (gain_y, axis0)
  gain_xy = Concat <axis = 0> (gain_x1, gain_y1)
  padding_x1 = Unsqueeze (padding_x, axis0)
  padding_y1 = Unsqueeze (padding_y, axis0)
  padding_xy = Concat <axis = 0> (padding_x1, padding_y1)
"""


class FitRules(NamedTuple):
    """How images are fitted: stretched or as a letterbox, and whose; `stride` pads to its next multiple."""

    how: str
    is_yolor: bool
    stride: int | None

    @property
    def is_clipped(self) -> bool:
        """Whether boxes are clipped to the image."""
        return self.is_yolor and self.how == "letterbox"


def fit_rules(graph: Graph, *, one_size: bool) -> FitRules:
    """Those of the network; a model of `one_size` has the whole input padded."""
    stride = None if one_size or graph.has_fixed_size else graph.largest_stride
    how = default_preprocess(graph)
    if how == "crop":
        hint = "leave out --preprocess: the shorter side becomes the width of the input, the middle counts"
        raise CfgError("a file does not cut out the middle of an image itself", path=graph.path, hint=hint)
    return FitRules(how, graph.dialect.is_pytorch, stride)


def fit_text(graph: Graph, rules: FitRules, *, has_places: bool, is_bgr: bool) -> str:
    """The function from `image` [1, h, w, C] uint8 to `fitted`, and to what boxes are mapped back with."""
    image = graph.image
    is_open = rules.is_clipped and rules.stride is not None
    nodes = [_geometry(rules), resize_text("opencv" if rules.is_clipped else "darknet")]
    nodes += [PADDED.format(fitted="Identity (padded)" if is_open else RESHAPED)]
    if has_places:
        nodes.append(PLACE_VALUES.format(gains=ONE_GAIN if rules.is_clipped else OWN_GAINS))
    order = range(image.channels)
    return FIT.format(
        channels=image.channels,
        height="fitted_h" if is_open else image.height,
        width="fitted_w" if is_open else image.width,
        places=PLACES if has_places else "",
        stride=rules.stride or 1,
        wanted_h=image.height,
        wanted_w=image.width,
        order=", ".join(map(str, reversed(order) if is_bgr else order)),
        fill=_fill(rules),
        input_shape=f"1, {image.channels}, {image.height}, {image.width}",
        nodes="".join(nodes),
    )


def _geometry(rules: FitRules) -> str:
    if rules.how == "stretch":
        return STRETCH
    if not rules.is_yolor:
        return DARKNET_LETTERBOX + CENTRED
    return YOLOR_LETTERBOX + (STRIDED if rules.stride else WHOLE) + CENTRED


def _fill(rules: FitRules) -> float:
    """The grey of the borders, as float32 has it."""
    return float(np.float32(YOLOR_FILL) / np.float32(255)) if rules.is_yolor else DARKNET_FILL


def fit_for_model(image: Image, graph: Graph, *, one_size: bool) -> NetworkInput:
    """The input for an image, as a model of one size or of all makes it."""
    return fit_by_rules(image, graph, fit_rules(graph, one_size=one_size))


def fit_by_rules(image: Image, graph: Graph, rules: FitRules) -> NetworkInput:
    """The input for an image, as a model with these rules makes it."""
    if rules.is_clipped:
        size = (graph.image.height, graph.image.width)
        return yolor_letterbox(image, size, fit=LetterboxOptions(stride=rules.stride))
    return preprocess_image(image, graph, how=rules.how)
