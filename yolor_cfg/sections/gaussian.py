"""[Gaussian_yolo]: boxes with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import Choice, Float
from yolor_cfg.sections.heads import NMS_KINDS, AnchorHeadSection
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class GaussianYoloSection(AnchorHeadSection, names="Gaussian_yolo"):
    """[yolo] that also predicts the uncertainty of each of the four coordinates of a box."""

    dialects = DARKNET_ONLY
    examples = (
        "[convolutional]\nfilters=24\n[Gaussian_yolo]\nmask=0,2\nclasses=3\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=1.1\nyolo_point=left_top",
    )
    box_values = 9
    darknet_loss = "gaussian"

    nms_kind = Choice("default", (*NMS_KINDS, "cornersnms"), fallback="default", help="type of NMS")
    uc_normalizer = Float(1, help="weight of the uncertainty loss")
    yolo_point = Choice(
        "center",
        ("center", "left_top", "right_bottom"),
        fallback="center",
        help="point of the box given by x and y",
    )

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import GaussianHead

        corner = {"center": 0, "left_top": 1, "right_bottom": -1}[self.yolo_point]
        return GaussianHead(self.anchor_grid(x), spread=self.scale_x_y, corner=corner)
