"""Boxes filtered inside an ONNX model, by its operator NonMaxSuppression.

N images, B boxes, K classes, M detections. The operator compares boxes of one class by plain IoU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yolor_cfg.export.facts import EMBEDDINGS, PREDICTIONS

if TYPE_CHECKING:
    from onnx import ModelProto

# Without a limit in the node the operator returns no box at all.
GRAPH = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
nms (float[N, B, V] nms_in) => (float[M, 7] detections)
<
  int64[1] at0 = {{0}}, int64[1] at2 = {{2}}, int64[1] at4 = {{4}}, int64[1] at5 = {{5}},
  int64[1] end = {{9223372036854775807}}, int64[1] last = {{2}},
  int64[1] column0 = {{0}}, int64[1] column1 = {{1}}, int64[2] box_columns = {{0, 2}},
  int64 most = {{{most}}}, float iou = {{{iou}}}, float conf = {{{conf}}},
  float two = {{2.0}}, float zero = {{0.0}}
>
{{
  boxes = Slice (nms_in, at0, at4, last)
  objectness = Slice (nms_in, at4, at5, last)
  classes = Slice (nms_in, at5, end, last)
  products = Mul (objectness, classes)
  {scores}
  by_class = Transpose <perm = [0, 2, 1]> (scores)
  chosen = NonMaxSuppression <center_point_box = 1> (boxes, by_class, most, iou, conf)
  place = Gather <axis = 1> (chosen, box_columns)
  box = GatherND <batch_dims = 0> (boxes, place)
  centre = Slice (box, at0, at2, column1)
  size = Slice (box, at2, at4, column1)
  half = Div (size, two)
  low = Sub (centre, half)
  high = Add (centre, half)
  score = GatherND <batch_dims = 0> (by_class, chosen)
  score_column = Unsqueeze (score, column1)
  numbers = Cast <to = 1> (chosen)
  number = Gather <axis = 1> (numbers, column0)
  label = Gather <axis = 1> (numbers, column1)
  detections = Concat <axis = 1> (number, low, high, score_column, label)
}}
"""
ALL_CLASSES = "scores = Identity (products)"
BEST_CLASS = """best = ReduceMax <keepdims = 1> (products, last)
  is_best = Equal (products, best)
  scores = Where (is_best, products, zero)"""


class NmsLimits(NamedTuple):
    """Detections score more than `conf` and overlap by at most `iou`; at most `most` a class and image. With
    `multi_label` a box may have several classes, else its best one."""

    conf: float = 0.25
    iou: float = 0.45
    most: int = 300
    multi_label: bool = False


def add_nms(model: ModelProto, limits: NmsLimits) -> ModelProto:
    """The model with `detections` [M, 7] in place of its predictions: the number of the image, corners in
    input pixels, score, class; ordered by image and class. Embeddings of cells are left out: a detection does
    not say which cell it is from."""
    from onnx import compose, parser

    text = GRAPH.format(
        ir=model.ir_version,
        opset=model.opset_import[0].version,
        most=limits.most,
        iou=float(limits.iou),
        conf=float(limits.conf),
        scores=ALL_CLASSES if limits.multi_label else BEST_CLASS,
    )
    _drop_embeddings(model)
    return compose.merge_models(model, parser.parse_model(text), io_map=[(PREDICTIONS, "nms_in")])


def _drop_embeddings(model: ModelProto) -> None:
    """Take away these outputs and the nodes that they alone need."""
    graph = model.graph
    dropped = [one for one in graph.output if one.name.startswith(EMBEDDINGS)]
    for one in dropped:
        graph.output.remove(one)
    if not dropped:
        return
    needed = {one.name for one in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
