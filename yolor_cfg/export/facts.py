"""What an exported file says of itself: sizes, preprocessing, classes, NMS. Reading it needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import StrPath
from yolor_cfg.lang.dialect import DIALECTS

IMAGES = "images"
IMAGE = "image"
"""The names of the input: without and with the preprocessing inside."""
PREDICTIONS = "predictions"
DETECTIONS = "detections"
"""The names of the outputs with decoded boxes, without and with NMS."""
LABELS = "labels"
EMBEDDINGS = "embeddings"
"""Those with the probabilities of image labels, and, with a number behind, the vectors of a head's cells."""
LEFT_OUT = "left_out"
"""What NMS inside the file takes away of them."""
RT_INFO = "yolor_cfg"
"""Where the facts are in an OpenVINO model."""
IMAGE_ORDERS = ("rgb", "bgr", "as in the file")
"""Of the channels of an image that a file fits itself."""
NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")
SUFFIXES = (".onnx", ".xml")


def is_exported(path: StrPath) -> bool:
    """Whether this is the name of an exported file, which is run as it is."""
    return os.fspath(path).lower().endswith(SUFFIXES)


class LabelFacts(NamedTuple):
    """Of a head that tells image labels: the classes from `first` on, `length` of them; whether each image
    has one; whether its output are the probabilities themselves, which those of a class tree are not."""

    first: int
    length: int
    is_single: bool
    is_plain: bool


class ModelFacts(NamedTuple):
    """Of the network in a file: height and width, channels, what sizes are multiples of (0: no other size),
    how images are fitted, its dialect, classes with or without names, the cfg's NMS, the cfg itself, and
    the order of the channels of an image that the file fits itself (else empty); its size is then (0, 0);
    its heads with image labels; of each head with embeddings how many boxes a cell has; the outputs that NMS
    inside the file takes away, None in files that do not say so."""

    size: tuple[int, int]
    channels: int
    multiple_of: int
    preprocess: str
    dialect: str
    classes: int
    names: tuple[str, ...]
    nms_kind: str
    nms_beta: float
    cfg: str
    order: str = ""
    labels: tuple[LabelFacts, ...] = ()
    embeddings: tuple[int, ...] = ()
    left_out: tuple[str, ...] | None = None

    @property
    def is_pytorch(self) -> bool:
        """Whether images and boxes are treated as in YOLOR's Python code."""
        return DIALECTS[self.dialect].is_pytorch

    @property
    def is_clipped(self) -> bool:
        """Whether corners that NMS in the file leaves are clipped to the image."""
        return bool(self.order) and self.is_pytorch and self.preprocess == "letterbox"


def parse_facts(stored: Mapping[str, str], path: str) -> ModelFacts:
    """The facts from a file's metadata; raises WeightsError where `yolor export` did not write them."""
    if not {"input", "preprocess", "cfg", "nms"} <= stored.keys():
        raise WeightsError(
            "not written by `yolor export`: the file does not say how images are prepared",
            path=path,
            hint="export the network here: yolor export CFG WEIGHTS",
        )
    try:
        return _read_facts({name: _parse_value(name, text) for name, text in stored.items()})
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as cause:
        raise WeightsError("the metadata of this file is damaged", path=path, found=str(cause)) from None


def _parse_value(name: str, text: str) -> Any:
    """The value: text as it is, anything else from JSON."""
    is_text = name not in ("input", "preprocess", "names", "classes", "nms", LABELS, EMBEDDINGS, LEFT_OUT)
    return text if is_text else json.loads(text)


def _read_facts(facts: Mapping[str, Any]) -> ModelFacts:
    image, nms = facts["input"], facts["nms"]
    fits_itself = "inside" in facts["preprocess"] and facts["preprocess"]["inside"] is True
    sides = (0, 0, 0) if fits_itself else (image[name] for name in ("height", "width", "multiple_of"))
    height, width, multiple_of = map(_check_count, sides)
    channels = _check_count(image["channels"])
    found = ModelFacts(
        (height, width),
        channels,
        multiple_of,
        _check_word(facts["preprocess"]["kind"], ("stretch", "letterbox", "crop")),
        _check_word(facts["dialect"], tuple(DIALECTS)),
        _check_count(facts["classes"]),
        tuple(map(str, facts["names"])),
        _check_word(nms["kind"], NMS_KINDS),
        float(nms["beta"]),
        facts["cfg"],
        _check_word(str(image["order"]).lower(), IMAGE_ORDERS) if fits_itself else "",
        tuple(map(_read_label_head, facts.get(LABELS, ()))),
        tuple(map(_check_count, facts.get(EMBEDDINGS, ()))),
        tuple(map(str, facts[LEFT_OUT])) if LEFT_OUT in facts else None,
    )
    is_empty = 0 in (channels, found.classes) or (0 in found.size and not fits_itself)
    if is_empty or len(found.names) not in (0, found.classes):
        raise ValueError("sizes or names that do not go together")
    return found


def _read_label_head(head: Mapping[str, Any]) -> LabelFacts:
    first, length = (_check_count(head[name]) for name in ("first", "length"))
    return LabelFacts(first, length, bool(head["single"]), bool(head["plain"]))


def _check_count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 20:
        raise ValueError(f"not a number of things: {str(value)[:40]}")
    return value


def _check_word(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"unknown: {str(value)[:40]}")
    return str(value)
