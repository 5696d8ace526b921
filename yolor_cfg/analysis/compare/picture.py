"""The picture that both sides get, and the ways in which programs fit it to a network."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from yolor_cfg.export.traced import TracedNetwork, make_inputs
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import InputRules, fit_image
from yolor_cfg.images.preprocess import count_channels
from yolor_cfg.images.types import Image, Size
from yolor_cfg.model import Network

RESIZES = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}


def draw_picture(network: Network, seed: int = 0) -> Image:
    """A smooth seeded picture [H, W, C] of the size of the network's input."""
    images = make_inputs(TracedNetwork(network, "raw"), 1, seed=seed).images
    pixels: Image = (images[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return pixels


def fit_picture(picture: Image, graph: Graph, how: str) -> Tensor:
    """The input of the network [1, C, H, W] for a picture [h, w, C], of its full size."""
    return _fit(picture, graph, how, is_pytorch=graph.dialect.is_pytorch)


def _fit(picture: Image, graph: Graph, how: str, *, is_pytorch: bool) -> Tensor:
    rules = InputRules((graph.image.height, graph.image.width), is_pytorch, None)
    return torch.from_numpy(fit_image(picture, rules, how=how).pixels)[None]


def other_fits(picture: Image, graph: Graph) -> dict[str, Tensor]:
    """The inputs that other programs make of the picture, by what they do to it."""
    found = {
        "stretched as by C Darknet": _fit(picture, graph, "stretch", is_pytorch=False),
        "in C Darknet's letterbox": _fit(picture, graph, "letterbox", is_pytorch=False),
        "in YOLOR's letterbox": _fit(picture, graph, "letterbox", is_pytorch=True),
        "cropped to its middle": _fit(picture, graph, "crop", is_pytorch=False),
    }
    size = graph.image.height, graph.image.width
    for name, how in RESIZES.items():
        found[f"stretched by OpenCV, {name}"] = _resize(picture, size, how)
    return found


def _resize(picture: Image, size: Size, how: int) -> Tensor:
    pixels = picture.reshape(*picture.shape[:2], -1)
    channels = [
        cv2.resize(pixels[..., one], size[::-1], interpolation=how) for one in range(count_channels(pixels))
    ]
    return torch.from_numpy(np.stack(channels).astype(np.float32) / 255)[None]
