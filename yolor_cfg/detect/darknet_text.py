"""The lines that C Darknet prints for an image: of boxes (draw_detections_v3 in image.c) with their places if
asked (-ext_output), of classes of the whole image those of predict_classifier in classifier.c."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.image_labels import BEST
from yolor_cfg.detect.sources import Frame
from yolor_cfg.errors import escape
from yolor_cfg.images.draw import Detection

HIDDEN = "dont_show"
"""Boxes of classes whose names begin so are neither printed nor written to the JSON file."""


def format_image(frame: Frame, found: Detections, *, has_places: bool = True, top: int = BEST) -> str:
    """A line with the time of the network, one for each class of each box, with `has_places` where it is, and
    one for each of the `top` best classes of the image if the network tells them."""
    first = f"{escape(frame.source)}: Predicted in {found.seconds * 1000:f} milli-seconds."
    boxes = (_format_box(one, has_places=has_places) for one in darknet_order(shown_boxes(found)))
    labels = (f"{escape(one.name)}: {one.score:f}" for one in (found.labels or ())[:top])
    return "\n".join([first, *boxes, *labels])


def shown_boxes(found: Detections) -> list[Detection]:
    """The boxes without those of hidden classes."""
    return [one for one in found if not one.name.startswith(HIDDEN)]


def darknet_order(found: Sequence[Detection]) -> Iterator[Detection]:
    """The boxes from left to right; of one box the best class first, then the others by number."""
    boxes = sorted(found, key=lambda one: (one.box[0], one.box))
    for _, same in groupby(boxes, key=lambda one: one.box):
        best, *others = sorted(same, key=lambda one: (-one.score, one.class_id))
        yield best
        yield from sorted(others, key=lambda one: one.class_id)


def _format_box(one: Detection, *, has_places: bool) -> str:
    left, top, right, bottom = one.box
    numbers = [_round(number) for number in (left, top, right - left, bottom - top)]
    place = "left_x: {:4.0f}   top_y: {:4.0f}   width: {:4.0f}   height: {:4.0f}".format(*numbers)
    return f"{escape(one.name)}: {one.score * 100:.0f}%" + (f"\t({place})" if has_places else "")


def _round(number: float) -> float:
    """Half away from zero, as C's round; -0.3 becomes -0, which C prints with its sign."""
    return math.copysign(math.floor(abs(number) + 0.5), number)
