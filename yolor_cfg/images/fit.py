"""Fit an image to the network, with the geometry that the dialect and the cfg ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yolor_cfg.images.preprocess import (
    LetterboxOptions,
    NetworkInput,
    centre_crop,
    letterbox,
    stretch,
    yolor_letterbox,
)
from yolor_cfg.images.types import Image, Size

if TYPE_CHECKING:
    from yolor_cfg.graph import Graph

PREPROCESS_CHOICES = ("stretch", "letterbox", "crop")


class InputRules(NamedTuple):
    """What a network takes: images of this size, or in YOLOR's letterbox any smaller ones in multiples of
    `stride`, unless that is None."""

    size: Size
    is_pytorch: bool
    stride: int | None


def default_preprocess(graph: Graph) -> str:
    """`crop` for a classifier; `letterbox` where the program always does so, or if the cfg says letter_box=1,
    else `stretch`."""
    if graph.label_heads and not graph.box_heads:
        return "crop"
    always = graph.dialect.is_pytorch or graph.dialect.letterboxes
    return "letterbox" if always or graph.net.letter_box else "stretch"


def input_rules(graph: Graph) -> InputRules:
    """Those of a graph."""
    stride = None if graph.has_fixed_size else graph.largest_stride
    return InputRules((graph.image.height, graph.image.width), graph.dialect.is_pytorch, stride)


def preprocess_image(image: Image, graph: Graph, *, how: str) -> NetworkInput:
    """The input of a network for one image [H, W, C]: Darknet's or YOLOR's geometry, by the dialect."""
    return fit_image(image, input_rules(graph), how=how)


def fit_image(image: Image, rules: InputRules, *, how: str) -> NetworkInput:
    """The input for one image [H, W, C] by these rules."""
    if how != "letterbox":
        return (stretch if how == "stretch" else centre_crop)(image, rules.size)
    if rules.is_pytorch:
        return yolor_letterbox(image, rules.size, fit=LetterboxOptions(stride=rules.stride))
    return letterbox(image, rules.size)
