"""The lines that C Darknet prints for an image with -ext_output (draw_detections_v3 in image.c)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame
from yolor_cfg.errors import escape
from yolor_cfg.images.draw import Detection


def format_image(frame: Frame, found: Detections) -> str:
    """A line with the time of the network, then one for each class of each box."""
    first = f"{escape(frame.source)}: Predicted in {found.seconds * 1000:f} milli-seconds."
    return "\n".join([first, *map(_format_box, darknet_order(list(found)))])


def darknet_order(found: Sequence[Detection]) -> Iterator[Detection]:
    """The boxes from left to right; of one box the best class first, then the others by number."""
    boxes = sorted(found, key=lambda one: (one.box[0], one.box))
    for _, same in groupby(boxes, key=lambda one: one.box):
        best, *others = sorted(same, key=lambda one: (-one.score, one.class_id))
        yield best
        yield from sorted(others, key=lambda one: one.class_id)


def _format_box(one: Detection) -> str:
    left, top, right, bottom = one.box
    numbers = [_round(number) for number in (left, top, right - left, bottom - top)]
    place = "left_x: {:4.0f}   top_y: {:4.0f}   width: {:4.0f}   height: {:4.0f}".format(*numbers)
    return f"{escape(one.name)}: {one.score * 100:.0f}%\t({place})"


def _round(number: float) -> float:
    """Half away from zero, as C's round; -0.3 becomes -0, which C prints with its sign."""
    return math.copysign(math.floor(abs(number) + 0.5), number)
