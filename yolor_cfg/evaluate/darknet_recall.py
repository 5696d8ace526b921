"""C Darknet's `detector recall` (validate_detector_recall in detector.c): how many objects lie under any box,
of whatever class.

Legend: B boxes, T true boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.data.types import Dataset, Sample
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.batches import FitOptions, ImagePlan, load_batches
from yolor_cfg.evaluate.forward import eval_mode, predict
from yolor_cfg.model import Network, Predictions, check_heads
from yolor_cfg.ops.boxes import iou_matrix, to_xyxy
from yolor_cfg.ops.nms import darknet_nms

CONF, IOU, NMS_IOU = 0.001, 0.5, 0.4
"""The objectness of boxes that count, the IoU at which an object is found, that of NMS, which takes the boxes
of all classes together."""


class RecallCounts(NamedTuple):
    """The sums over the images so far: how many there are, objects that were found, objects, boxes, and of
    each object the largest IoU with a box."""

    images: int = 0
    correct: int = 0
    objects: int = 0
    proposals: int = 0
    overlap: float = 0.0

    def __str__(self) -> str:
        """C Darknet's line; what 0 / 0 is in C before the first object."""
        share, recall = (
            f"{100 * part / self.objects:.2f}" if self.objects else "-nan"
            for part in (self.overlap, self.correct)
        )
        counts = f"{self.images - 1:5d} {self.correct:5d} {self.objects:5d}"
        return f"{counts}\tRPs/Img: {self.proposals / self.images:.2f}\tIOU: {share}%\tRecall:{recall}%"


def count_recall(network: Network, dataset: Dataset) -> Iterator[RecallCounts]:
    """The counts after each image, all stretched to the input. Raises DataError for an image that cannot be
    read, where C Darknet ends too."""
    check_heads(network)
    counts = RecallCounts()
    batches = [[ImagePlan(image, None)] for image in range(len(dataset.samples))]
    with eval_mode(network), torch.inference_mode():
        loaded = load_batches(dataset.samples, network.graph, batches=batches, fit=FitOptions("stretch"))
        for batch, sample in zip(loaded, dataset.samples, strict=True):
            if batch.skipped:
                raise DataError("an image cannot be read", path=dataset.origin, found=batch.skipped[0][1])
            height, width = batch.groups[0].pixels.shape[2:]
            found = predict(network, torch.from_numpy(batch.groups[0].pixels))
            counts = _add(counts, _find_proposals(found, (height, width)), sample)
            yield counts


def _find_proposals(found: Predictions, size: tuple[int, int]) -> Tensor:
    """The boxes [B, 4] that NMS by objectness leaves, as fractions of the input."""
    height, width = size
    likely = found.objectness[0] > CONF
    boxes_xywh = found.boxes_xywh[0][likely] / torch.tensor([width, height, width, height])
    left = darknet_nms(boxes_xywh, found.objectness[0][likely, None], iou=NMS_IOU, kind="default")
    return boxes_xywh[left[:, 0] > 0]


def _add(counts: RecallCounts, boxes_xywh: Tensor, sample: Sample) -> RecallCounts:
    truth = torch.from_numpy(sample.boxes_xywh[~sample.crowd]).float()
    overlaps = torch.zeros(len(truth))
    if len(truth) and len(boxes_xywh):
        overlaps = iou_matrix(to_xyxy(truth), to_xyxy(boxes_xywh)).amax(dim=1)
    return RecallCounts(
        counts.images + 1,
        counts.correct + int((overlaps > IOU).sum()),
        counts.objects + len(truth),
        counts.proposals + len(boxes_xywh),
        counts.overlap + float(overlaps.sum()),
    )
