"""[yolo] [Gaussian_yolo] [jde] [region]: heads whose every cell of a map predicts one box per anchor.

Most keys matter to training or suppression alone; the map itself depends on `mask`, `anchors` and `classes`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Protocol, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.lang.dialect import DARKNET_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import Choice, Flag, Float, FloatList, Int, IntList, Text
from yolor_cfg.sections.base import Section, load_tree
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.heads import AnchorGrid

IOU_KINDS = ("iou", "giou", "diou", "ciou")
NMS_KINDS = ("default", "greedynms", "diounms")
MAX_ANCHORS = 10_000  # lists of that length are made of `num` alone; no cfg has as many
DEFAULT_ANCHOR = 0.5  # what Darknet takes for an anchor that the cfg does not give


def anchor_pairs(numbers: tuple[float, ...], count: int) -> tuple[tuple[float, float], ...]:
    """The first `count` (width, height) of a flat list; what is missing counts as Darknet's 0.5."""
    padded = numbers + (DEFAULT_ANCHOR,) * (2 * count - len(numbers))
    return tuple((padded[2 * i], padded[2 * i + 1]) for i in range(count))


class ClassifyingHead(Protocol):
    """A section whose boxes have classes."""

    @property
    def classes(self) -> int: ...
    def channels_for(self, classes: int, x: Shape, /) -> int: ...
    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError: ...


def check_channels(head: ClassifyingHead, x: Shape, *, anchors: int, numbers: int, count: str) -> None:
    """Raise CfgError unless the channels are those of `anchors` boxes of `numbers` and one per class."""
    wanted = head.channels_for(head.classes, x)
    if x.channels == wanted:
        return
    fitting, rest = divmod(x.channels, anchors)
    fits = rest == 0 and fitting > numbers
    raise head.error(
        "classes",
        "the section before has the wrong number of channels",
        found=f"filters={x.channels}",
        allowed=f"filters={wanted}",
        hint=f"filters = {count} * (classes + {numbers})"
        + (f"; classes={fitting - numbers} would fit" if fits else "")
        + f"; yolor cfg set-classes CFG {head.classes} sets it",
    )


class AnchorHeadSection(Section):
    """What the heads with masked anchors have in common."""

    is_head = True
    box_values: ClassVar[int] = 5  # numbers of one box besides its classes
    darknet_loss: ClassVar[str] = "yolo"  # which loss C Darknet trains it with

    classes = Int(20, least=1, wanted=True, help="how many classes there are")
    num = Int(1, least=1, most=MAX_ANCHORS, help="how many anchors the whole network has")
    mask = IntList(lambda section: tuple(range(section.num)), help="which of the anchors are this head's")
    anchors = FloatList(
        lambda section: (DEFAULT_ANCHOR,) * 2 * section.num,
        help="width, height of every anchor of the network, in input pixels",
    )
    scale_x_y = Float(1, help="how far centres reach beyond their cell: 1 not at all, 2 half a cell each way")
    max = Int(200, least=0, dialects=DARKNET_ONLY, help="how many objects an image may have in training")
    jitter = Float(0.2, help="random crop in training, as a fraction of the image")
    resize = Float(1, dialects=DARKNET_ONLY, help="random zoom in training")
    random = Float(0, help="1: training changes the image size now and then")
    ignore_thresh = Float(0.5, help="no objectness loss for boxes with more IoU than this")
    truth_thresh = Float(1, help="boxes with more IoU than this also learn their object")
    iou_thresh = Float(1, help="further anchors with more IoU than this also learn an object")
    iou_loss = Choice("mse", ("mse", *IOU_KINDS), fallback="iou", help="what the box loss measures")
    iou_thresh_kind = Choice(
        "iou", IOU_KINDS, fallback="iou", dialects=DARKNET_ONLY, help="which IoU `iou_thresh` means"
    )
    iou_normalizer = Float(0.75, help="weight of the box loss")
    obj_normalizer = Float(1, dialects=DARKNET_ONLY, help="weight of the objectness loss")
    cls_normalizer = Float(1, help="weight of the class loss")
    delta_normalizer = Float(1, dialects=DARKNET_ONLY, help="weight of all losses of this head")
    max_delta = Float(math.inf, dialects=DARKNET_ONLY, help="bound on one gradient of the box")
    label_smooth_eps = Float(0, dialects=DARKNET_ONLY, help="label smoothing")
    objectness_smooth = Flag(False, dialects=DARKNET_ONLY, help="objectness learns the IoU in place of 1")
    focal_loss = Flag(False, dialects=DARKNET_ONLY, help="focal loss for classes")
    counters_per_class = IntList(
        (), dialects=DARKNET_ONLY, help="objects of each class in the training set, to balance the loss"
    )
    nms_kind = Choice("default", NMS_KINDS, fallback="default", help="which suppression the network wants")
    beta_nms = Float(0.6, help="exponent of the distance in diounms")
    map = Text("", dialects=DARKNET_ONLY, help="file that maps classes to those of another data set")

    def check(self) -> None:
        known = len(self.anchors) // 2
        self._check_mask(known)
        if len(self.anchors) % 2:
            self._fault_or_warn(
                "anchors",
                "an odd count of numbers",
                found=str(len(self.anchors)),
                allowed="two for each anchor",
            )
        if known > self.num:
            self.warn(
                "anchors",
                "more anchors than num",
                found=f"{known} anchors, num={self.num}",
                hint=f"num={known}",
            )
        counters = len(self.counters_per_class)
        if "counters_per_class" in self.values and counters != self.classes:
            self.fault(
                "counters_per_class",
                "another count than classes",
                found=f"{counters} numbers, classes={self.classes}",
                allowed=f"{self.classes} numbers",
                hint="one for each class, or delete the line",
            )

    def _check_mask(self, known: int) -> None:
        missing = [index for index in self.mask if index >= known]
        allowed = f"0 to {known - 1}"
        if not self.mask or min(self.mask) < 0:
            self.fault("mask", "not a list of anchors", found=",".join(map(str, self.mask)), allowed=allowed)
        elif missing:
            self._fault_or_warn(
                "mask", "points beyond the anchors", found=",".join(map(str, missing)), allowed=allowed
            )

    def _fault_or_warn(self, key: str, message: str, *, found: str, allowed: str) -> None:
        """An error; where Darknet goes on, a warning: it takes 0.5 for every number that is missing."""
        tell = self.warn if self.dialect.is_forgiving else self.fault
        hint = f"Darknet takes {DEFAULT_ANCHOR} for what is missing" if self.dialect.is_forgiving else ""
        tell(key, message, found=found, allowed=allowed, hint=hint)

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return len(self.mask) * (classes + self.box_values)

    def shape(self, x: Shape) -> Shape:
        check_channels(self, x, anchors=len(self.mask), numbers=self.box_values, count="len(mask)")
        return x

    @property
    def loss_kind(self) -> str:
        """Which loss trains this head: its dialect's."""
        return "yolor" if self.dialect.is_yolor else self.darknet_loss

    @property
    def masked_anchors(self) -> tuple[tuple[float, float], ...]:
        """Width and height in input pixels of each of this head's anchors."""
        known = anchor_pairs(self.anchors, (len(self.anchors) + 1) // 2)
        unnamed = (DEFAULT_ANCHOR, DEFAULT_ANCHOR)
        return tuple(known[index] if index < len(known) else unnamed for index in self.mask)

    def anchor_grid(self, x: Shape) -> AnchorGrid:
        """Anchors and strides; the strides are measured: image over map."""
        from yolor_cfg.ops.heads import AnchorGrid

        return AnchorGrid(self.masked_anchors, (self.image.width / x.width, self.image.height / x.height))


class YoloSection(AnchorHeadSection, names="yolo"):
    """Boxes of YOLOv3 and later: centres in cells, sizes in anchors, a probability for each class."""

    darknet_form = "head"

    examples = (
        "[yolo]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",
        "[convolutional]\nfilters=18\nactivation=logistic\n[yolo]\nmask=1,2\nclasses=4\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=2\nnew_coords=1",
    )

    new_coords = Flag(
        False,
        dialects=DARKNET_ONLY,
        help="1: the convolution before has a logistic, sizes are (2v)^2 anchors",
    )
    show_details = Flag(True, dialects=DARKNET_ONLY, help="training prints each head's losses")
    track_history_size = Int(5, dialects=DARKNET_ONLY, help="frames that tracking looks back")
    sim_thresh = Float(0.8, dialects=DARKNET_ONLY, help="similarity at which two detections are one track")
    dets_for_track = Int(1, dialects=DARKNET_ONLY, help="detections from which on a track counts")
    dets_for_show = Int(1, dialects=DARKNET_ONLY, help="detections from which on a track is shown")
    track_ciou_norm = Float(0.01, dialects=DARKNET_ONLY, help="weight of the overlap in tracking")
    embedding_layer = Int(
        None, dialects=DARKNET_ONLY, help="section whose output describes an object for tracking"
    )

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import YoloHead, YoloRules

        if self.dialect.is_yolor:  # whatever the keys say
            return YoloHead(self.anchor_grid(x), YoloRules(has_squared_sizes=True, spread=2.0))
        rules = YoloRules(
            has_sigmoid=not self.new_coords, has_squared_sizes=self.new_coords, spread=self.scale_x_y
        )
        return YoloHead(self.anchor_grid(x), rules)

    def has_dialect_variants(self) -> bool:
        return True


class GaussianYoloSection(AnchorHeadSection, names="Gaussian_yolo"):
    """[yolo] that also predicts how sure it is of each of the four numbers of a box."""

    dialects = DARKNET_ONLY
    examples = (
        "[convolutional]\nfilters=24\n[Gaussian_yolo]\nmask=0,2\nclasses=3\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=1.1\nyolo_point=left_top",
    )
    box_values = 9
    darknet_loss = "gaussian"

    nms_kind = Choice(
        "default", (*NMS_KINDS, "cornersnms"), fallback="default", help="which suppression the network wants"
    )
    uc_normalizer = Float(1, help="weight of the deviations' loss")
    yolo_point = Choice(
        "center",
        ("center", "left_top", "right_bottom"),
        fallback="center",
        help="which point of the box x and y are",
    )

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import GaussianHead

        corner = {"center": 0, "left_top": 1, "right_bottom": -1}[self.yolo_point]
        return GaussianHead(self.anchor_grid(x), spread=self.scale_x_y, corner=corner)


class JdeSection(AnchorHeadSection, names="jde"):
    """[yolo] of joint detection and embedding; the boxes alone are read."""

    dialects = YOLOR_ONLY
    darknet_form = "head"
    examples = ("[jde]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import YoloHead, YoloRules

        return YoloHead(self.anchor_grid(x), YoloRules(has_squared_sizes=True, spread=2.0))


BOX_VALUES = 4


class RegionSection(Section, names="region"):
    """Boxes of YOLOv2: anchors in cells, one softmax (or a tree of them) over the classes."""

    dialects = DARKNET_ONLY
    is_head = True
    loss_kind = "region"  # which loss trains this head
    nms_kind, beta_nms = "default", 0.6
    examples = (
        "[region]\nclasses=3\nnum=1\nanchors=1.1,1.2\nsoftmax=1",
        "[convolutional]\nfilters=18\n[region]\nclasses=4\nnum=2\nanchors=1.1,1.2, 3.3,4.4",
    )

    classes = Int(20, least=1, wanted=True, help="how many classes there are")
    coords = Int(4, least=BOX_VALUES, most=BOX_VALUES, help="numbers of a box")
    num = Int(1, least=1, most=MAX_ANCHORS, help="how many anchors there are")
    anchors = FloatList(
        lambda section: (DEFAULT_ANCHOR,) * 2 * section.num, help="width, height of each anchor, in cells"
    )
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
            self.warn(
                "anchors",
                "not two numbers for each of num",
                found=f"{given} numbers, num={self.num}",
                allowed=f"{2 * self.num} numbers",
                hint=f"Darknet leaves out what is too much, takes {DEFAULT_ANCHOR} for what is missing",
            )

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return self.num * (classes + self.coords + 1)

    def shape(self, x: Shape) -> Shape:
        check_channels(self, x, anchors=self.num, numbers=BOX_VALUES + 1, count="num")
        return x

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import AnchorGrid, ClassTree, RegionHead, RegionRules

        stride = self.image.width / x.width, self.image.height / x.height
        tree = load_tree(self, self.tree, self.classes) if self.tree else None
        hierarchy = ClassTree.from_parents(tree.parents, tree.group_sizes) if tree else None
        rules = RegionRules(self.softmax, hierarchy, min_objectness=0.5 if self.classfix == -1 else 0.0)
        return RegionHead(AnchorGrid(anchor_pairs(self.anchors, self.num), stride), rules)
