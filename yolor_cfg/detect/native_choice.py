"""From predictions to detections of one image by the C++ code: NMS and the way back to the image in one call.

Legend: B boxes, K classes, M detections.
"""

from __future__ import annotations

from yolor_cfg.detect.nms_rules import MAX_COORDINATE, NmsRules
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.ops.native_nms import ChoiceRules, ChosenBoxes, ImageFrame, choose_boxes
from yolor_cfg.ops.plain_nms import FloatArray, distance_exponent


def choose_in_image(
    boxes_xywh: FloatArray,
    scores: FloatArray,
    *,
    objectness: FloatArray,
    placement: Placement,
    rules: NmsRules,
) -> ChosenBoxes | None:
    """The detections among boxes [B, 4] in input pixels with scores [B, K] and objectness [B], with corners
    in image pixels; None where the code in torch or numpy has to decide: see `ops.native_nms`."""
    is_yolor = rules.kind == "yolor"
    if rules.agnostic and not is_yolor:
        return None  # Darknet's rules compare the classes of a box then, which the C++ code does not
    frame = ImageFrame(
        *(placement.padding_xy, placement.gain_xy, placement.image_size[::-1]),
        *(MAX_COORDINATE, placement.is_clipped),
    )
    goes_by = choice_rules(rules)
    return choose_boxes(boxes_xywh, scores, objectness=objectness, rules=goes_by, frame=frame)


def choice_rules(rules: NmsRules) -> ChoiceRules:
    """The rules as `ops.native_nms` and `ops.plain_nms` take them."""
    return ChoiceRules(
        rules.conf,
        rules.iou,
        rules.kind == "yolor",
        rules.max_det,
        distance_exponent(rules.kind, rules.beta),
        rules.multi_label,
        rules.agnostic,
        rules.classes,
    )
