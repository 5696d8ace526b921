"""From images to detections: preprocess, run, decode, apply NMS, and map back to the pixels of each image.

Legend: N images, B boxes, K classes, M detections.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.detect.nms import NmsRules, apply_nms, choose_nms, nms_notes
from yolor_cfg.errors import CfgError, DataError, YolorError, check_choice
from yolor_cfg.graph import ReadOptions
from yolor_cfg.images.fit import (
    PREPROCESS_CHOICES,
    default_preprocess,
    match_channels,
    preprocess_image,
)
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image
from yolor_cfg.lang.keys import suggest_word
from yolor_cfg.model import Predictions, check_heads, find_device
from yolor_cfg.names import class_names
from yolor_cfg.weights.loading import open_network

HIDDEN_PREFIX = "dont_show"
"""C Darknet shows no class whose name begins so (get_actual_detections in image.c)."""


class Detections(NamedTuple):
    """What was found in one image, best first: boxes_xyxy [M, 4] in its pixels, scores [M], classes [M]
    int64, and the names of all classes."""

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor
    names: tuple[str, ...]


class Detector:
    """A network with its preprocessing, decoding and NMS; call it with a list of images, which are paths or
    RGB arrays [H, W, 3] uint8.

    Everything left at None comes from the cfg: the size, stretch or letterbox, the kind of NMS. In the yolor
    dialect every class of a box above `conf` is reported (`multi_label`), in the darknet dialect the best
    one; classes named `dont_show...` are not. A recurrent network processes its images one by one, as
    successive frames, until `network.reset()`.
    """

    def __init__(
        self,
        cfg: str | Path,
        weights: str | Path | None = None,
        names: Sequence[str] | str | Path | None = None,
        *,
        dialect: str | None = None,
        size: int | tuple[int, int] | None = None,
        device: str = "cpu",
        preprocess: str | None = None,
        nms: str | None = None,
        conf: float = 0.25,
        iou: float = 0.45,
        max_det: int = 300,
        classes: Sequence[int | str] | None = None,
        agnostic: bool = False,
        multi_label: bool | None = None,
        batch_size: int = 1,
        cutoff: int | None = None,
        strict: bool = False,
    ) -> None:
        reading = ReadOptions(dialect, size, strict=strict)
        opened = open_network(cfg, weights, reading=reading, device=device, cutoff=cutoff)
        self.network, self.notes = opened.network, opened.notes
        check_heads(self.network)
        self.device = find_device(device)
        if self.device.type == "meta":
            raise CfgError("no such device here", found="meta", allowed="a device that computes")
        graph = self.network.graph
        self.names = class_names(opened.names if names is None else names, count=graph.classes)
        self._hidden = [i for i, name in enumerate(self.names) if name.startswith(HIDDEN_PREFIX)]
        kind, beta = choose_nms(graph, nms)
        self.notes += nms_notes(graph, nms) + _hidden_notes([self.names[i] for i in self._hidden])
        self.rules = NmsRules(
            conf,
            iou,
            kind,
            beta,
            graph.dialect.is_yolor if multi_label is None else multi_label,
            agnostic,
            max_det,
            None if classes is None else known_classes(classes, self.names),
        )
        self.preprocess = check_choice(preprocess or default_preprocess(graph), PREPROCESS_CHOICES)
        self.is_recurrent = any(hasattr(layer, "initial_state") for layer in self.network.module_list)
        self.batch_size = 1 if self.is_recurrent else batch_size

    def __call__(self, images: Sequence[str | Path | Image]) -> list[Detections]:
        """The detections of each image, in order; raises DataError for an image that cannot be read."""
        inputs = (self.prepare(image) for image in check_image_list(images))
        return [found for batch in self._batches(inputs) for found in self.detect(batch)]

    def prepare(self, image: str | Path | Image) -> NetworkInput:
        """The network's input for one image."""
        if isinstance(image, (str, os.PathLike)):
            image = read_channels(image, self.channels)
        pixels = np.asarray(image)
        return preprocess_image(
            match_channels(pixels, self.channels), self.network.graph, how=self.preprocess
        )

    def detect(self, batch: Sequence[NetworkInput]) -> list[Detections]:
        """The detections of prepared images, all of one size."""
        predictions = self._predict(np.stack([item.pixels for item in batch]))
        placements = [item.placement for item in batch]
        return [
            Detections(*found, self.names) for found in apply_nms(predictions, placements, rules=self.rules)
        ]

    @property
    def channels(self) -> int:
        """Number of channels of the network's input images."""
        return self.network.graph.image.channels

    def _predict(self, pixels: NDArray[np.float32]) -> Predictions:
        try:
            with torch.inference_mode():
                predictions = self.network.decode(self.network(torch.from_numpy(pixels).to(self.device)))
                predictions.scores[..., self._hidden] = 0
                return predictions
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            count, _, height, width = pixels.shape
            raise YolorError(
                "not enough memory for the network",
                found=f"{count} x {height}x{width} pixels",
                hint="use a smaller --batch-size or --img-size",
            ) from fault

    def _batches(self, prepared: Iterable[NetworkInput]) -> Iterator[list[NetworkInput]]:
        batch: list[NetworkInput] = []
        for item in prepared:
            if batch and (len(batch) == self.batch_size or item.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def _hidden_notes(names: Sequence[str]) -> tuple[str, ...]:
    return (f"hidden, as their names ask for: {', '.join(names)}",) if names else ()


def known_classes(classes: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """The class ids of these ids and names; raises CfgError for one that the network does not have."""
    return tuple(_known_class(label, names) for label in classes)


def _known_class(label: int | str, names: Sequence[str]) -> int:
    """A name counts before a number; of names that differ in case alone the exact one is meant."""
    if isinstance(label, str):
        for spelling in (names, [name.lower() for name in names]):
            word = label if spelling is names else label.lower()
            if spelling.count(word) == 1:
                return spelling.index(word)
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    has_names = not all(name.isdecimal() for name in names)
    raise CfgError(
        "no such class in this network",
        found=str(label),
        allowed=f"0..{len(names) - 1}" + (", or a name" if has_names else ""),
        hint=suggest_word(str(label), list(names)) if has_names else "",
    )


def check_image_list(images: Sequence[str | Path | Image]) -> Sequence[str | Path | Image]:
    """The images; raises DataError for a single one, whose characters or rows would count as images."""
    if isinstance(images, (str, os.PathLike)) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise DataError(
            "one image is not a list of images",
            found=str(images.shape if isinstance(images, np.ndarray) else images),
            hint="put it in a list: detector([image])[0]",
        )
    return images


def is_out_of_memory(fault: Exception) -> bool:
    """True for the out-of-memory errors of Python and torch; torch has a class of its own only on GPUs."""
    words = str(fault).lower()
    return isinstance(fault, MemoryError) or ("memory" in words and ("alloc" in words or "out of" in words))
