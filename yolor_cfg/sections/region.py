"""[region]: the head of YOLOv2, with the mask numbers of the first Darknet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.lang.dialect import DARKNET_ONLY, EARLY, PJREDDIE_ONLY
from yolor_cfg.lang.keys import Flag, Float, Int, Text
from yolor_cfg.lang.lists import FloatList
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import BOX_VALUES, check_coords, check_file
from yolor_cfg.sections.heads import DEFAULT_ANCHOR, MAX_ANCHORS, anchor_pairs, check_channels
from yolor_cfg.sections.trees import check_tree, load_tree
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class RegionSection(Section, names="region"):
    """Boxes of YOLOv2: anchors in units of cells, one softmax (or a tree of them) over the classes."""

    dialects = EARLY
    is_head = True
    nms_kind, beta_nms = "default", 0.6
    examples = (
        "[region]\nclasses=3\nnum=1\nanchors=1.1,1.2\nsoftmax=1",
        "[convolutional]\nfilters=18\n[region]\nclasses=4\nnum=2\nanchors=1.1,1.2, 3.3,4.4",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n"
        "[convolutional]\nfilters=20\n[region]\nclasses=3\ncoords=6\nnum=2\nanchors=1.1,1.2, 3.3,4.4\n"
        "softmax=1\nbackground=1",
    )

    classes = Int(20, least=1, wanted=True, help="number of classes")
    coords = Int(
        BOX_VALUES,
        help="number of coordinates per box: 4; what more there are is not read (pjreddie: mask numbers)",
    )
    num = Int(1, least=1, most=MAX_ANCHORS, help="number of anchors")
    anchors = FloatList(
        lambda section: (DEFAULT_ANCHOR,) * 2 * section.num,
        unit="cells",
        help="width and height of each anchor, in cells",
    )
    softmax = Flag(False, help="1: the classes are mutually exclusive")
    tree = Text("", help="class tree file: one softmax per group of siblings")
    background = Flag(
        False,
        dialects=PJREDDIE_ONLY,
        help="1: the softmax takes in the objectness, as the probability of no class",
    )
    map = Text(
        "",
        idle="it is only asked whether the file is there",
        help="file that maps the classes to those of another dataset",
    )
    classfix = Int(0, help="-1: discard boxes with objectness below 0.5")
    jitter = Float(0.2, use="training", unit="fraction", help="maximum random crop, as a part of the image")
    resize = Float(1, dialects=DARKNET_ONLY, use="training", unit="factor", help="maximum random zoom")
    random = Float(0, use="training", help="1: change the image size at random in training")
    max = Int(
        lambda section: section.dialect.region_box_limit,
        least=0,
        use="training",
        help="maximum number of labels per image in training",
    )
    thresh = Float(
        0.5, use="training", unit="IoU", help="IoU above which a prediction is ignored in the objectness loss"
    )
    coord_scale = Float(1, use="training", help="weight of the box loss")
    object_scale = Float(1, use="training", help="weight of the objectness loss where there is an object")
    noobject_scale = Float(1, use="training", help="weight of the objectness loss where there is no object")
    class_scale = Float(1, use="training", help="weight of the class loss")
    mask_scale = Float(1, unused="no masks are learned here", help="weight of the mask loss")
    bias_match = Flag(False, use="training", help="match objects with anchors instead of predictions")
    rescore = Flag(False, use="training", help="train objectness towards the IoU instead of 1")
    absolute_ = Flag(False, idle="it is accepted for older cfgs", help="no effect")
    focal_loss = Flag(False, dialects=DARKNET_ONLY, use="training", help="focal loss for the classes")
    log = Flag(False, idle="it is accepted for older cfgs", help="no effect")
    sqrt = Flag(False, idle="it is accepted for older cfgs", help="no effect")

    def check(self) -> None:
        self.try_checks(self._check_region_anchors)
        check_coords(self, min(self.coords, BOX_VALUES) if self._stores_maps else self.coords)
        for key, name in (("tree", self.tree), ("map", self.map)):
            check_file(self, key, name)
        check_tree(self, self.tree, self.classes)

    def _check_region_anchors(self) -> None:
        given = len(self.anchors)
        if given != 2 * self.num:
            self.warn(
                "anchors",
                "the number of values is not 2 * num",
                found=f"{count_of(given, 'value')}, num={self.num}",
                allowed=count_of(2 * self.num, "value"),
                hint=f"Darknet ignores surplus values and uses {DEFAULT_ANCHOR} for missing ones",
            )

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return self.num * (classes + self.coords + 1)

    def shape(self, x: Shape) -> Shape:
        check_channels(self, x, anchors=self.num, numbers=self.coords + 1, count="num")
        return x

    @property
    def loss_kind(self) -> str:
        """The loss that trains this head; spare values of its boxes learn nothing. None learns masks."""
        is_plain = self.coords == BOX_VALUES and self.softmax and not self.background
        return "region" if is_plain or not self._stores_maps else ""

    def missing_loss(self) -> CfgError:
        """Why nothing trains this head."""
        found, allowed = "mask numbers, sigmoid classes or a background", "coords=4 softmax=1 background=0"
        return self.error("", "no detection loss", found=found, allowed=allowed)

    def facts(self) -> tuple[str, ...]:
        differs = self.coords > BOX_VALUES or not (self.softmax or self.tree)
        return ("region_form",) if differs else ()

    @property
    def _stores_maps(self) -> bool:
        return self.dialect.region_form == "maps"

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.class_tree import ClassTree
        from yolor_cfg.ops.heads import (
            AnchorGrid,
            RegionHead,
            RegionMapHead,
            RegionMapRules,
            RegionRules,
        )

        stride = self.image.width / x.width, self.image.height / x.height
        tree = load_tree(self, self.tree, self.classes) if self.tree else None
        hierarchy = ClassTree.from_parents(tree.parents, tree.group_sizes) if tree else None
        least, spare = 0.5 if self.classfix == -1 else -math.inf, self.coords - BOX_VALUES
        grid = AnchorGrid(anchor_pairs(self.anchors, self.num), stride)
        if self._stores_maps:
            return RegionMapHead(grid, RegionMapRules(spare, self.softmax, hierarchy, self.background))
        rules = RegionRules(self.softmax, hierarchy, min_objectness=least, spare=spare)
        return RegionHead(grid, rules)
