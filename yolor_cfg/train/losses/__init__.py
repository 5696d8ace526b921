"""One module per kind of loss; a head section names its kind in `loss_kind`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolor_cfg.train.losses import detection, embedding, gaussian, jde, labels, region, yolo
from yolor_cfg.train.losses.base import HeadLoss, LossInputs

LOSSES: dict[str, Callable[[LossInputs[Any, Any]], list[HeadLoss]]] = {
    "yolor": embedding.losses,
    "jde": jde.losses,
    "yolo": yolo.losses,
    "gaussian": gaussian.losses,
    "region": region.losses,
    "detection": detection.losses,
    "softmax": labels.softmax_losses,
    "logistic": labels.logistic_losses,
}
