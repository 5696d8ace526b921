"""[region]: the head of YOLOv2 and YOLO9000."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.keys import Flag, Float, Floats, Int, Text
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.heads import MOST_ANCHORS, UNNAMED_ANCHOR, check_channels, pairs
from yolor_cfg.sections.losses import tree_of
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

BOX = 4


class Region(Section, names="region"):
    """Boxes of YOLOv2: anchors in cells, one softmax (or a tree of them) over the classes."""

    dialects = ("darknet",)
    is_head = True
    loss_kind = "region"  # which loss trains this head
    nms_kind, beta_nms = "default", 0.6
    examples = ("[region]\nclasses=3\nnum=1\nanchors=1.1,1.2\nsoftmax=1",
                "[convolutional]\nfilters=18\n[region]\nclasses=4\nnum=2\nanchors=1.1,1.2, 3.3,4.4")

    classes = Int(20, least=1, wanted=True, help="how many classes there are")
    coords = Int(4, least=BOX, most=BOX, help="numbers of a box")
    num = Int(1, least=1, most=MOST_ANCHORS, help="how many anchors there are")
    anchors = Floats(lambda section: (UNNAMED_ANCHOR,) * 2 * section.num,
                     help="width, height of each anchor, in cells")
    softmax = Flag(False, help="1: the classes exclude each other")
    tree = Text("", help="file of the tree of classes: one softmax per group of siblings")
    map = Text("", help="file that maps classes to those of another data set")
    classfix = Int(0, help="-1: boxes with objectness below 0.5 count as empty")
    jitter = Float(0.2, help="random crop in training, as a fraction of the image")
    resize = Float(1, help="random zoom in training")
    random = Float(0, help="1: training changes the image size now and then")
    max = Int(200, least=0, help="how many objects an image may have in training")
    thresh = Float(0.5, help="no objectness loss for boxes with more IoU than this")
    coord_scale = Float(1, help="weight of the box loss")
    object_scale = Float(1, help="weight of the objectness loss where there is an object")
    noobject_scale = Float(1, help="weight of the objectness loss where there is none")
    class_scale = Float(1, help="weight of the class loss")
    mask_scale = Float(1, help="weight of the mask loss")
    bias_match = Flag(False, help="objects choose their anchor by the anchors, not by the predictions")
    rescore = Flag(False, help="objectness learns the IoU in place of 1")
    absolute_ = Flag(False, help="no effect; kept for older cfgs")
    focal_loss = Flag(False, help="focal loss for classes")
    log = Flag(False, help="no effect; kept for older cfgs")
    sqrt = Flag(False, help="no effect; kept for older cfgs")

    def check(self) -> None:
        given = len(self.anchors)
        if given != 2 * self.num:
            self.warn("anchors", "not two numbers for each of num", found=f"{given} numbers, num={self.num}",
                      allowed=f"{2 * self.num} numbers",
                      hint=f"Darknet leaves out what is too much, takes {UNNAMED_ANCHOR} for what is missing")

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        check_channels(self, x, anchors=self.num, numbers=BOX + 1, count="num")
        return x

    def module(self, x: Shape) -> nn.Module:  # type: ignore[override]
        from yolor_cfg.ops.heads import Grid, Hierarchy, RegionHead, RegionRules
        stride = self.image.width / x.width, self.image.height / x.height
        tree = tree_of(self, self.tree, self.classes) if self.tree else None
        hierarchy = Hierarchy.of(tree.parents, tree.group_sizes) if tree else None
        rules = RegionRules(self.softmax, hierarchy, dropped=0.5 if self.classfix == -1 else 0.0)
        return RegionHead(Grid(pairs(self.anchors, self.num), stride), rules)
