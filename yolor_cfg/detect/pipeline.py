"""From pictures to detections: preprocess, run, decode, suppress, and back to the pixels of each picture.

Legend: N images, B boxes, K classes, M detections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.detect.preprocess import Placement, Prepared, YolorFit, letterbox, stretch, yolor_letterbox
from yolor_cfg.detect.sources import read_image
from yolor_cfg.errors import DataError
from yolor_cfg.graph import Graph, Reading
from yolor_cfg.loading import open_network
from yolor_cfg.model import Predictions
from yolor_cfg.ops.boxes import to_xywh
from yolor_cfg.ops.nms import YolorRules, darknet_nms, yolor_nms

Image = NDArray[np.uint8]
NMS_KINDS = ("default", "greedynms", "diounms", "yolor")


class Detections(NamedTuple):
    """What was found in one image, best first: boxes_xyxy [M, 4] in its pixels, scores [M], classes [M]
    int64, and the names of all classes."""

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor
    names: tuple[str, ...]


class Rules(NamedTuple):
    """What counts as a detection. `kind` is C Darknet's default, greedynms (fixed exponent), diounms
    (exponent `beta`), or yolor; `multi_label` reports every class of a box above `conf`, not just the
    best."""

    conf: float = 0.25
    iou: float = 0.45
    kind: str = "default"
    beta: float = 0.6
    multi_label: bool = False
    agnostic: bool = False
    max_det: int = 300
    classes: tuple[int, ...] | None = None


class Detector:
    """A network with its preprocessing, decoding and suppression. Images are paths or RGB arrays [H, W, 3]
    uint8.

    Everything left at None comes from the cfg: the size, stretch or letterbox, the kind of suppression. In
    the yolor dialect every class of a box above `conf` is reported (`multi_label`), in the darknet dialect
    the best one.
    """

    def __init__(
        self,
        cfg: str | Path,
        weights: str | Path | None,
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
        classes: Sequence[int] | None = None,
        agnostic: bool = False,
        multi_label: bool | None = None,
        batch_size: int = 1,
        cutoff: int | None = None,
        strict: bool = False,
    ) -> None:
        reading = Reading(dialect, size, strict=strict)
        opened = open_network(cfg, weights, reading=reading, device=device, cutoff=cutoff)
        self.network, self.notes = opened.network, opened.notes
        graph = self.network.graph
        head = graph.heads[-1].section
        kind, beta = getattr(head, "nms_kind", "default"), getattr(head, "beta_nms", 0.6)
        yolor = graph.dialect.is_yolor
        self.rules = Rules(
            conf,
            iou,
            nms or ("yolor" if yolor else kind),
            beta,
            yolor if multi_label is None else multi_label,
            agnostic,
            max_det,
            None if classes is None else tuple(classes),
        )
        self.preprocess = preprocess or default_preprocess(graph)
        self.names = class_names(graph, opened.names if names is None else names)
        self.batch_size = batch_size
        self.device = torch.device(device)

    def __call__(self, images: Sequence[str | Path | Image]) -> list[Detections]:
        """The detections of each image, in order; raises DataError for an image that cannot be read."""
        prepared = [self.prepare(image) for image in images]
        return [found for batch in self._batches(prepared) for found in self.detect(batch)]

    def prepare(self, image: str | Path | Image) -> Prepared:
        """The network's input for one image."""
        pixels = image if isinstance(image, np.ndarray) else read_image(image, channels=self.channels)
        return prepared(checked(pixels, self.channels), self.network.graph, how=self.preprocess)

    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """The detections of prepared images of one size."""
        images = torch.from_numpy(np.stack([item.pixels for item in batch])).to(self.device)
        with torch.inference_mode():
            predictions = self.network.decode(self.network(images))
        placements = [item.placement for item in batch]
        return [
            Detections(*found, self.names) for found in suppressed(predictions, placements, rules=self.rules)
        ]

    @property
    def channels(self) -> int:
        """Channels of the images that the network takes."""
        return self.network.graph.image.channels

    def _batches(self, prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
        batch: list[Prepared] = []
        for item in prepared:
            if batch and (len(batch) == self.batch_size or item.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def default_preprocess(graph: Graph) -> str:
    """`letterbox` in the yolor dialect and where the cfg says letter_box=1, else `stretch`."""
    return "letterbox" if graph.dialect.is_yolor or graph.net.letter_box else "stretch"


def prepared(image: Image, graph: Graph, *, how: str) -> Prepared:
    """The input of a network for one image [H, W, C]: Darknet's or YOLOR's geometry, by the dialect."""
    size = (graph.image.height, graph.image.width)
    if how == "stretch":
        return stretch(image, size)
    if graph.dialect.is_yolor:
        return yolor_letterbox(image, size, fit=YolorFit(multiple=graph.largest_stride))
    return letterbox(image, size)


def checked(image: Image, channels: int) -> Image:
    """The image as [H, W, C] with the network's channels; grey is repeated for RGB; raises DataError
    otherwise."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise DataError(
            "this array is no image",
            found=f"{image.dtype} {image.shape}",
            allowed=f"uint8 (height, width, {channels}) in RGB order",
        )
    if image.shape[2] == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        raise DataError(
            "the image has the wrong number of channels", found=str(image.shape[2]), allowed=str(channels)
        )
    return image


def suppressed(
    predictions: Predictions, placements: Sequence[Placement], *, rules: Rules
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """boxes_xyxy [M, 4] in image pixels, scores [M] and classes [M] of each image, best first."""
    way = of_yolor if rules.kind == "yolor" else of_darknet
    for number, placement in enumerate(placements):
        yield way(Predictions(*(part[number].float().cpu() for part in predictions)), placement, rules=rules)


def of_yolor(one: Predictions, placement: Placement, *, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """YOLOR's suppression, in input pixels; then back to the image. `one` is of one image: [B, 4], [B], [B,
    K]."""
    goes_by = YolorRules(
        rules.conf, rules.iou, rules.multi_label, rules.agnostic, rules.max_det, rules.classes
    )
    kept = yolor_nms(one.boxes_xywh, one.scores, objectness=one.objectness, rules=goes_by)
    boxes = placement.to_image(to_xywh(kept.boxes_xyxy).numpy())
    return torch.from_numpy(boxes), kept.scores, kept.classes


def of_darknet(one: Predictions, placement: Placement, *, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """C Darknet's suppression, on boxes that are already fractions of the image; `one` as in `of_yolor`.

    Only the product of objectness and class decides: [yolo] asks for objectness first, but there no class exceeds
    1; [region] and [detection] do not ask, and theirs may.
    """
    products = one.scores * one.objectness[:, None]
    likely = (products > rules.conf).any(dim=1)
    corners = torch.from_numpy(placement.to_image(one.boxes_xywh[likely].numpy()))
    probabilities = _counting(products[likely], rules)
    height, width = placement.image_size
    fractions = to_xywh(corners) / torch.tensor([width, height, width, height])
    contested = probabilities.amax(dim=1, keepdim=True) if rules.agnostic else probabilities
    left = darknet_nms(fractions, contested, iou=rules.iou, kind=rules.kind, beta=rules.beta)
    if rules.agnostic:
        left = probabilities * (left > 0)
    if not rules.multi_label:
        left = left * torch.nn.functional.one_hot(left.argmax(dim=1), left.shape[1])
    box, label = left.nonzero(as_tuple=True)
    order = left[box, label].argsort(descending=True, stable=True)[: rules.max_det]
    return corners[box[order]], left[box, label][order], label[order]


def _counting(probabilities: Tensor, rules: Rules) -> Tensor:
    """[B, K] with 0 for what is not above the threshold or of a class that is not asked for."""
    counts = probabilities > rules.conf
    if rules.classes is not None:
        asked = torch.zeros(probabilities.shape[1], dtype=torch.bool)
        asked[[label for label in rules.classes if label < len(asked)]] = True
        counts = counts & asked
    return probabilities * counts


def class_names(graph: Graph, names: Sequence[str] | str | Path) -> tuple[str, ...]:
    """The class names, from a list or a file; plain numbers for an empty list; DataError when the count is wrong."""
    count = max((getattr(node.section, "classes", 0) for node in graph.heads), default=0)
    listed = read_names(names) if isinstance(names, (str, Path)) else tuple(names)
    if not isinstance(names, (str, Path)) and not listed:
        return tuple(str(number) for number in range(count))
    if len(listed) != count:
        raise DataError(
            "the number of names is not the number of classes",
            path=str(names) if isinstance(names, (str, Path)) else "",
            found=f"{len(listed)} names",
            allowed=f"{count} names",
        )
    return listed


def read_names(path: str | Path) -> tuple[str, ...]:
    """One name a line, as in Darknet's .names files; a .data file leads to its `names=`."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as fault:
        raise DataError(
            f"the names cannot be read: {(fault.strerror or str(fault)).lower()}", path=str(path)
        ) from None
    if Path(path).suffix == ".data":
        entries = dict(line.split("=", 1) for line in lines if "=" in line)
        listed = next((value.strip() for key, value in entries.items() if key.strip() == "names"), None)
        if listed is None:
            raise DataError("no names= in this .data file", path=str(path), allowed="names = file.names")
        beside = Path(path).parent / listed
        return read_names(beside if beside.exists() else listed)
    return tuple(line.strip() for line in lines if line.strip())
