"""From pictures to detections: preprocess, run, decode, suppress, and back to the pixels of each picture.

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

from yolor_cfg.detect.preprocess import Placement, Prepared, YolorFit, letterbox, stretch, yolor_letterbox
from yolor_cfg.detect.sources import read_image
from yolor_cfg.errors import CfgError, DataError, YolorError
from yolor_cfg.graph import Graph, Reading
from yolor_cfg.loading import open_network
from yolor_cfg.model import Network, Predictions
from yolor_cfg.ops.boxes import to_xywh
from yolor_cfg.ops.nms import YolorRules, darknet_nms, yolor_nms

Image = NDArray[np.uint8]
NMS_KINDS = ("default", "greedynms", "diounms", "cfg", "yolor")
FITS = ("stretch", "letterbox")
FEW = 1_000
"""Pairs of a box and a class that are compared first; a low threshold lets a million through."""
FARTHEST = 1e9
"""Input pixels; a box that reaches further is an overflow of exp."""


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
    """A network with its preprocessing, decoding and suppression; called with a list of images, which are
    paths or RGB arrays [H, W, 3] uint8.

    Everything left at None comes from the cfg: the size, stretch or letterbox, the kind of suppression. In
    the yolor dialect every class of a box above `conf` is reported (`multi_label`), in the darknet dialect
    the best one. A recurrent network takes its images one by one, as frames that follow each other, until
    `network.reset()`.
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
        refuse_without_boxes(self.network)
        if torch.device(device).type == "meta":
            raise CfgError("no such device here", found="meta", allowed="one that computes")
        graph = self.network.graph
        self.names = class_names(graph, opened.names if names is None else names)
        kind, beta = suppression(graph, nms)
        if nms is None:
            self.notes += note_of_own_kind(graph)
        self.rules = Rules(
            conf,
            iou,
            kind,
            beta,
            graph.dialect.is_yolor if multi_label is None else multi_label,
            agnostic,
            max_det,
            None if classes is None else known_classes(classes, len(self.names)),
        )
        self.preprocess = one_of(preprocess or default_preprocess(graph), FITS)
        self.recurrent = any(hasattr(layer, "initial_state") for layer in self.network.module_list)
        self.batch_size = 1 if self.recurrent else batch_size
        self.device = torch.device(device)

    def __call__(self, images: Sequence[str | Path | Image]) -> list[Detections]:
        """The detections of each image, in order; raises DataError for an image that cannot be read."""
        inputs = (self.prepare(image) for image in listed(images))
        return [found for batch in self._batches(inputs) for found in self.detect(batch)]

    def prepare(self, image: str | Path | Image) -> Prepared:
        """The network's input for one image."""
        if isinstance(image, (str, os.PathLike)):
            image = read_image(image, channels=self.channels)
        pixels = np.asarray(image)
        return prepared(checked(pixels, self.channels), self.network.graph, how=self.preprocess)

    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """The detections of prepared images of one size."""
        predictions = self._predicted(np.stack([item.pixels for item in batch]))
        placements = [item.placement for item in batch]
        return [
            Detections(*found, self.names) for found in suppressed(predictions, placements, rules=self.rules)
        ]

    @property
    def channels(self) -> int:
        """Channels of the images that the network takes."""
        return self.network.graph.image.channels

    def _predicted(self, pixels: NDArray[np.float32]) -> Predictions:
        try:
            with torch.inference_mode():
                return self.network.decode(self.network(torch.from_numpy(pixels).to(self.device)))
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            count, _, height, width = pixels.shape
            raise YolorError(
                "not enough memory for the network",
                found=f"{count} x {height}x{width} pixels",
                hint="a smaller --batch-size or --img-size",
            ) from fault

    def _batches(self, prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
        batch: list[Prepared] = []
        for item in prepared:
            if batch and (len(batch) == self.batch_size or item.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def refuse_without_boxes(network: Network) -> None:
    """Raise CfgError for a network that finds no boxes, or whose heads do not count the same classes."""
    nodes = network.graph.heads
    for node in nodes:
        if not hasattr(network.module_list[node.index], "decode"):
            raise node.section.error(
                "", "predicts no boxes", hint="is it a classifier or a backbone? detection needs a detector"
            )
    counts = [getattr(node.section, "classes", 0) for node in nodes]
    for node, count in zip(nodes, counts, strict=True):
        if count != counts[0]:
            raise node.section.error(
                "classes", "heads differ in their classes", found=str(count), allowed=str(counts[0])
            )


def one_of(word: str, allowed: Sequence[str]) -> str:
    """The word if it is allowed; raises CfgError otherwise."""
    if word not in allowed:
        raise CfgError("unknown value", found=word, allowed=allowed)
    return word


def known_classes(classes: Sequence[int], count: int) -> tuple[int, ...]:
    """The class numbers as a tuple; raises CfgError for one that the network does not have."""
    strange = [label for label in classes if not 0 <= label < count]
    if strange:
        raise CfgError("no such class in this network", found=str(strange[0]), allowed=f"0..{count - 1}")
    return tuple(classes)


def listed(images: Sequence[str | Path | Image]) -> Sequence[str | Path | Image]:
    """The images; raises DataError for one alone, whose letters or rows would each count as an image."""
    if isinstance(images, (str, os.PathLike)) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise DataError(
            "one image is not a list of images",
            found=str(images.shape if isinstance(images, np.ndarray) else images),
            hint="put it in a list: detector([image])[0]",
        )
    return images


def is_out_of_memory(fault: Exception) -> bool:
    """True for what Python and torch raise when no memory is left; torch has a class for it on GPUs only."""
    words = str(fault).lower()
    return isinstance(fault, MemoryError) or ("memory" in words and ("alloc" in words or "out of" in words))


def suppression(graph: Graph, asked: str | None) -> tuple[str, float]:
    """Kind and exponent of suppression: what is asked for, where `cfg` is the kind that the last head names;
    else YOLOR's in the yolor dialect and plain IoU (default) in the darknet dialect, as in the reference
    boxes."""
    kind = one_of(asked or ("yolor" if graph.dialect.is_yolor else "default"), NMS_KINDS)
    return (own_kind(graph) if kind == "cfg" else kind), getattr(graph.heads[-1].section, "beta_nms", 0.6)


def own_kind(graph: Graph) -> str:
    """The `nms_kind` of the last head, which C Darknet's own `detector test` goes by."""
    return str(getattr(graph.heads[-1].section, "nms_kind", "default"))


def note_of_own_kind(graph: Graph) -> tuple[str, ...]:
    """What to tell people whose cfg names another kind than the one that is used without being asked."""
    own = own_kind(graph)
    if graph.dialect.is_yolor or own == "default":
        return ()
    return (f"overlaps are measured by plain IoU; the cfg says nms_kind={own}: --nms cfg goes by it",)


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
        one = Predictions(*(part[number].float().cpu() for part in predictions))
        yield way(_within_reach(one), placement, rules=rules)


def _within_reach(one: Predictions) -> Predictions:
    """The predictions without boxes that are not numbers or endless: JSON has no word for those."""
    near = (one.boxes_xywh.abs() < FARTHEST).all(dim=1)
    return one if near.all() else Predictions(*(part[near] for part in one))


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

    Only the product of objectness and class decides: [yolo] asks for objectness first, but there no class
    exceeds 1; [region] and [detection] do not ask, and theirs may.
    """
    products = one.scores * one.objectness[:, None]
    likely = (products > rules.conf).any(dim=1)
    corners = torch.from_numpy(placement.to_image(one.boxes_xywh[likely].numpy()))
    probabilities = products[likely] * (products[likely] > rules.conf)
    height, width = placement.image_size
    fractions = to_xywh(corners) / torch.tensor([width, height, width, height])
    for least in _floors(probabilities):
        left = _survivors(fractions, probabilities * (probabilities >= least), rules=rules)
        if (left > 0).sum() >= rules.max_det:
            break
    box, label = left.nonzero(as_tuple=True)
    order = left[box, label].argsort(descending=True, stable=True)[: rules.max_det]
    return corners[box[order]], left[box, label][order], label[order]


def _floors(probabilities: Tensor) -> Iterator[float]:
    """Ever lower limits that let ever more pairs through, at last all of them, which is 0.

    Only better pairs suppress a pair, so what is decided among the best is decided.
    """
    pairs = probabilities[probabilities > 0]
    many = FEW
    while many < len(pairs):
        yield float(pairs.kthvalue(len(pairs) - many + 1).values)
        many *= 8
    yield 0.0


def _survivors(fractions: Tensor, probabilities: Tensor, *, rules: Rules) -> Tensor:
    """[B, K] the probabilities that no better box suppresses and that are asked for, else 0."""
    contested = probabilities.amax(dim=1, keepdim=True) if rules.agnostic else probabilities
    left = darknet_nms(fractions, contested, iou=rules.iou, kind=rules.kind, beta=rules.beta)
    if rules.agnostic:
        left = probabilities * (left > 0)
    if not rules.multi_label:
        left = left * torch.nn.functional.one_hot(left.argmax(dim=1), left.shape[1])
    if rules.classes is None:
        return left
    asked = torch.zeros(left.shape[1], dtype=torch.bool)
    asked[list(rules.classes)] = True
    return left * asked


def class_names(graph: Graph, names: Sequence[str] | str | Path) -> tuple[str, ...]:
    """The class names, from a list or a file; plain numbers for an empty list; raises DataError when their
    number is wrong."""
    count = max((getattr(node.section, "classes", 0) for node in graph.heads), default=0)
    given = read_names(names) if isinstance(names, (str, Path)) else tuple(names)
    if not isinstance(names, (str, Path)) and not given:
        return tuple(str(number) for number in range(count))
    if len(given) != count:
        raise DataError(
            "the number of names is not the number of classes",
            path=str(names) if isinstance(names, (str, Path)) else "",
            found=f"{len(given)} names",
            allowed=f"{count} names",
        )
    return given


def read_names(path: str | Path) -> tuple[str, ...]:
    """One name a line, as in Darknet's .names files; a .data file leads to its `names=`."""
    lines = _lines(path)
    if Path(path).suffix == ".data":
        entries = dict(line.split("=", 1) for line in lines if "=" in line)
        entry = next((value.strip() for key, value in entries.items() if key.strip() == "names"), None)
        if entry is None:
            raise DataError("no names= in this .data file", path=str(path), allowed="names = file.names")
        beside = Path(path).parent / entry
        lines = _lines(beside if beside.exists() else entry)
    return tuple(line.strip() for line in lines if line.strip())


def _lines(path: str | Path) -> list[str]:
    try:
        data = Path(path).read_bytes()
    except OSError as fault:
        raise DataError(
            f"the names cannot be read: {(fault.strerror or str(fault)).lower()}", path=str(path)
        ) from None
    if b"\0" in data:
        raise DataError("this is no list of names", path=str(path), allowed="a text file, one name a line")
    return data.decode("utf-8-sig", errors="replace").splitlines()
