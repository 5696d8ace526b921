"""Non-maximum suppression in C++ (engines/native/src/nms.cpp), on numpy arrays: the results of ops/nms.py.

Legend: B boxes, K classes, C candidates, M results. Each function returns None where the library is missing,
where a power of a distance is too close to the threshold for two mathematical libraries to agree, and for
Darknet's rules where scores are not finite: then the code in torch decides.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.ops.native_code import find_library

MOST_PAIRS = 2**32  # of a box and a class: they are numbered in 32 bits
OUT_OF_MEMORY = -1


class ChoiceRules(NamedTuple):
    """What counts as a candidate and suppresses another: see `ops.nms.keep_yolor_boxes` for `is_yolor`, else
    `detect.nms.darknet_detections`; without an `exponent` boxes go by their IoU alone."""

    conf: float
    iou: float
    is_yolor: bool
    max_det: int
    exponent: float | None = None
    multi_label: bool = True
    agnostic: bool = False
    classes: tuple[int, ...] | None = None


class ImageFrame(NamedTuple):
    """How boxes in pixels of the network's input lead to those in pixels of the image: `padding`, `gain` and
    the image's `size`, across and down (`images.preprocess.Placement`). Boxes with a coordinate of `most` or
    more are left out."""

    padding: tuple[float, float]
    gain: tuple[float, float]
    size: tuple[float, float]
    most: float
    is_clipped: bool


NO_CORNERS = np.empty((0, 4), np.float32)


class ChosenBoxes(NamedTuple):
    """Results, best first: numbers of the boxes, scores and classes, [M] each; with a frame their corners in
    the image [M, 4]."""

    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    corners: NDArray[np.float32] = NO_CORNERS


class _Frame(ctypes.Structure):
    """The structure of the same name in nms.cpp."""

    _fields_ = [
        *((name, c_double * 2) for name in ("padding", "gain", "size")),
        ("most", c_double),
        ("is_clipped", c_int32),
    ]


class _BoxChoice(ctypes.Structure):
    """The structure of the same name in nms.cpp."""

    _fields_ = [
        *((name, c_void_p) for name in ("boxes", "objectness", "scores", "wanted")),
        *((name, c_int64) for name in ("count", "classes", "limit")),
        *((name, c_double) for name in ("iou", "exponent", "conf")),
        *((name, c_int32) for name in ("is_yolor", "multi_label", "agnostic")),
        *((name, c_void_p) for name in ("numbers", "out_scores", "out_classes", "out_corners")),
        ("frame", _Frame),
    ]


@cache
def _load_functions() -> Any:
    """The library with its functions declared; None where it cannot be used."""
    library = find_library()
    if library is not None:
        library.yc_choice_size.restype = library.yc_choose_boxes.restype = c_int64
        library.yc_suppress.restype = c_int64
        assert library.yc_choice_size() == ctypes.sizeof(_BoxChoice)
        doubles, integers = ctypes.POINTER(c_double), ctypes.POINTER(c_int64)
        library.yc_suppress.argtypes = (
            *(doubles, integers, integers, c_int64, c_int64),
            *(c_double, c_double, c_int64, integers),
        )
    return library


def choose_boxes(
    boxes_xywh: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    objectness: NDArray[np.float32],
    rules: ChoiceRules,
    frame: ImageFrame | None = None,
) -> ChosenBoxes | None:
    """The detections among boxes [B, 4] with scores [B, K] not multiplied by objectness [B]. With a frame,
    YOLOR's rules compare boxes in the input, Darknet's as fractions of the image; without, as they are."""
    library = _load_functions()
    if library is None or scores.size >= MOST_PAIRS or not (rules.conf >= 0 and rules.iou >= 0):
        return None
    found = _make_room(min(rules.max_det, scores.size), has_corners=frame is not None)
    given = [np.ascontiguousarray(array, np.float32) for array in (boxes_xywh, objectness, scores)]
    wanted = None
    if rules.classes is not None:
        wanted = np.isin(np.arange(scores.shape[1]), rules.classes).astype(np.uint8)
    call = _BoxChoice(
        *(None if array is None else array.ctypes.data for array in (*given, wanted)),
        *(*scores.shape, len(found.numbers)),
        *(rules.iou, -1.0 if rules.exponent is None else rules.exponent, rules.conf),
        *(rules.is_yolor, rules.multi_label, rules.agnostic),
        *(array.ctypes.data for array in found),
        _Frame() if frame is None else _Frame(*frame),
    )
    length = _check_length(library.yc_choose_boxes(ctypes.byref(call)))
    if length is None:
        return None
    numbers, scores, classes, corners = found
    return ChosenBoxes(numbers[:length], scores[:length], classes[:length], corners[:length])


def _make_room(most: int, *, has_corners: bool) -> ChosenBoxes:
    """Arrays for so many results."""
    scores, corners = np.empty(most, np.float32), NO_CORNERS
    if has_corners:
        corners = np.empty((most, 4), np.float32)
    return ChosenBoxes(np.empty(most, np.int64), scores, np.empty(most, np.int64), corners)


def suppress(
    boxes_xyxy: NDArray[np.float64],
    candidates: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    overlap: tuple[float, float | None],
    limit: int,
) -> NDArray[np.int64] | None:
    """Positions of the candidates (box [C], group [C], best first) that no better one of their group
    suppresses, at most `limit`; `overlap` is the threshold and the exponent."""
    library = _load_functions()
    iou, exponent = overlap
    if library is None or not iou >= 0:
        return None
    boxes, groups = candidates
    count = len(boxes)
    positions = np.empty(min(limit, count), np.int64)
    length = library.yc_suppress(
        _pointer(np.ascontiguousarray(boxes_xyxy), c_double),
        *(_pointer(np.ascontiguousarray(array), c_int64) for array in candidates),
        *(count, int(groups.max(initial=0)) + 1),
        *(iou, -1.0 if exponent is None else exponent),
        *(len(positions), _pointer(positions, c_int64)),
    )
    length = _check_length(length)
    return None if length is None else positions[:length]


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _check_length(length: int) -> int | None:
    """The number of results; None where torch has to decide."""
    if length == OUT_OF_MEMORY:
        raise MemoryError("NMS ran out of memory")
    return None if length < 0 else length
