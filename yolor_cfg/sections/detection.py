"""[detection]: the head of YOLOv1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import Flag, Float, Int
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class DetectionSection(Section, names="detection"):
    """Boxes of YOLOv1: side x side cells, each with one set of class probabilities and num boxes."""

    dialects = DARKNET_ONLY
    is_head = True
    loss_kind = "detection"  # which loss trains this head
    nms_kind, beta_nms = "default", 0.6
    examples = (
        "[net]\ninputs=44\n[detection]\nclasses=1\ncoords=4\nside=2\nnum=2",
        "[net]\ninputs=117\n[detection]\nclasses=3\ncoords=4\nside=3\nnum=2\nsoftmax=1\nsqrt=1",
    )

    classes = Int(1, least=1, wanted=True, help="how many classes there are")
    coords = Int(1, help="numbers of a box; only 4 makes boxes")
    num = Int(1, least=1, help="boxes of a cell")
    side = Int(7, least=1, help="cells across and down")
    softmax = Flag(False, help="1: the classes exclude each other")
    sqrt = Flag(False, help="1: widths and heights are predicted as square roots")
    rescore = Flag(False, help="objectness learns the IoU in place of 1")
    forced = Flag(False, help="training takes the first boxes for small objects")
    reorg = Flag(False, help="no effect; kept for older cfgs")
    object_scale = Float(1, help="weight of the objectness loss where there is an object")
    noobject_scale = Float(1, help="weight of the objectness loss where there is none")
    class_scale = Float(1, help="weight of the class loss")
    coord_scale = Float(1, help="weight of the box loss")
    jitter = Float(0.2, help="random crop in training, as a fraction of the image")
    resize = Float(1, help="random zoom in training")
    random = Float(0, help="1: training changes the image size now and then")
    max = Int(200, least=0, help="how many objects an image may have in training")

    def check(self) -> None:
        if self.coords != 4:
            self.fault("coords", "a box has four numbers", found=str(self.coords), allowed="4")

    def channels_for(self, classes: int, x: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return self._outputs_for(classes) // x.area

    def _outputs_for(self, classes: int) -> int:
        return self.side**2 * (self.num * (self.coords + 1) + classes)

    def shape(self, x: Shape) -> Shape:
        wanted = self._outputs_for(self.classes)
        if x.size != wanted:
            raise self.error(
                "classes",
                "the section before has the wrong number of outputs",
                found=f"output={x.size}",
                allowed=f"output={wanted}",
                hint="output = side * side * (num * (coords + 1) + classes); "
                f"yolor cfg set-classes CFG {self.classes} sets it",
            )
        return Shape(x.size, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import DetectionHead, DetectionRules

        image = self.image.width, self.image.height
        rules = DetectionRules(
            self.side, self.classes, self.num, image, softmax=self.softmax, has_root_sizes=self.sqrt
        )
        return DetectionHead(rules)
