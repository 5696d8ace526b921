"""Preprocessing inside an ONNX model: it takes an image [1, h, w, C] uint8 of any size, and gives boxes in
pixels of that image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yolor_cfg.export.facts import DETECTIONS, IMAGE, IMAGES, PREDICTIONS
from yolor_cfg.export.onnx_fit import FitRules, fit_text
from yolor_cfg.export.onnx_plain import drop_unread
from yolor_cfg.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

PIXEL_ORDERS = ("rgb", "bgr")
"""Of the channels of that image."""

HEADER = '<ir_version: {ir}, opset_import: ["" : {opset}]>\n'
PREDICTIONS_BACK = """
back (float[N, B, V] found, float[2] gain_in, float[2] padding_in, float[2] limit_in)
  => (float[N, B, V] mapped)
<int64[1] at0 = {0}, int64[1] at2 = {2}, int64[1] at4 = {4}, int64[1] end = {9223372036854775807},
 int64[1] last = {2}>
{
  fitted_centre = Slice (found, at0, at2, last)
  fitted_size = Slice (found, at2, at4, last)
  scores = Slice (found, at4, end, last)
  moved_centre = Sub (fitted_centre, padding_in)
  centre = Div (moved_centre, gain_in)
  size = Div (fitted_size, gain_in)
  mapped = Concat <axis = 2> (centre, size, scores)
}
"""
DETECTIONS_BACK = """
back (float[M, 7] found, float[2] gain_in, float[2] padding_in, float[2] limit_in) => (float[M, 7] mapped)
<int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] at3 = {3}, int64[1] at5 = {5}, int64[1] at7 = {7},
 int64[1] last = {1}, float zero = {0.0}>
{
  number = Slice (found, at0, at1, last)
  fitted_low = Slice (found, at1, at3, last)
  fitted_high = Slice (found, at3, at5, last)
  scores = Slice (found, at5, at7, last)
  moved_low = Sub (fitted_low, padding_in)
  moved_high = Sub (fitted_high, padding_in)
  free_low = Div (moved_low, gain_in)
  free_high = Div (moved_high, gain_in)
  CORNERS
  mapped = Concat <axis = 1> (number, low, high, scores)
}
"""
CLIPPED = """
  least_low = Max (free_low, zero)
  least_high = Max (free_high, zero)
  low = Min (least_low, limit_in)
  high = Min (least_high, limit_in)
"""
UNCLIPPED = "low = Identity (free_low)\n  high = Identity (free_high)"
PLACES = ("gain", "padding", "limit")


class PreprocessOptions(NamedTuple):
    """How images are fitted, the order of their channels, whether the fitted image is an output too."""

    rules: FitRules
    order: str
    shows_input: bool = False


def add_preprocess(model: ModelProto, graph: Graph, options: PreprocessOptions) -> ModelProto:
    """The model with `image` uint8 [1, h, w, C] in place of `images`. Boxes are in pixels of the image; raw
    maps stay as they are."""
    from onnx import compose, parser

    outputs = [output.name for output in model.graph.output]
    boxes = next((name for name in (DETECTIONS, PREDICTIONS) if name in outputs), "")
    header = HEADER.format(ir=model.ir_version, opset=model.opset_import[0].version)
    text = fit_text(graph, options.rules, has_places=bool(boxes), is_bgr=options.order == "bgr")
    fit = drop_unread(parser.parse_model(header + text))
    fit = compose.add_prefix(fit, "fit_")
    merged = compose.merge_models(fit, model, io_map=[("fit_fitted", IMAGES)])
    if boxes:
        back = compose.add_prefix(parser.parse_model(header + _back_text(boxes, options.rules)), "back_")
        links = [(f"fit_{name}_xy", f"back_{name}_in") for name in PLACES]
        merged = compose.merge_models(merged, back, io_map=[(boxes, "back_found"), *links])
    if options.shows_input:
        merged.graph.output.append(fit.graph.output[0])
    names = {boxes: f"fitted_{boxes}", "back_mapped": boxes, "fit_fitted": IMAGES, f"fit_{IMAGE}": IMAGE}
    return _rename(merged, names)


def _back_text(boxes: str, rules: FitRules) -> str:
    if boxes == PREDICTIONS:
        return PREDICTIONS_BACK
    return DETECTIONS_BACK.replace("CORNERS", CLIPPED if rules.is_clipped else UNCLIPPED)


def _rename(model: ModelProto, names: dict[str, str]) -> ModelProto:
    """The model with these values renamed: mapped boxes have the name that those without mapping have."""
    for node in model.graph.node:
        for used in (node.input, node.output):
            used[:] = [names.get(name, name) if name else name for name in used]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model
