"""[Gaussian_yolo], [jde] and the common part of the heads that predict one box per anchor in every cell.

Most keys concern only training or NMS; the output itself depends on `mask`, `anchors` and `classes`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Protocol, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails, count_of
from yolor_cfg.lang.dialect import (
    C_DARKNET,
    DARKNET_ONLY,
    NOT_PJREDDIE,
    YOLOR_ONLY,
)
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, Text
from yolor_cfg.lang.lists import FloatList, IntList, MaskList
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_file
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.heads import AnchorGrid, YoloRules

IOU_KINDS = ("iou", "giou", "diou", "ciou")
NMS_KINDS = ("default", "greedynms", "diounms")
MAX_ANCHORS = 10_000  # `num` alone makes lists of that length; no cfg has so many
DEFAULT_ANCHOR = 0.5  # Darknet's value for an anchor that the cfg does not give


def anchor_pairs(numbers: tuple[float, ...], count: int) -> tuple[tuple[float, float], ...]:
    """The first `count` (width, height) pairs of a flat list; missing values are 0.5, as in Darknet."""
    padded = numbers + (DEFAULT_ANCHOR,) * (2 * count - len(numbers))
    return tuple((padded[2 * i], padded[2 * i + 1]) for i in range(count))


class ClassifyingHead(Protocol):
    """A head whose boxes have classes."""

    @property
    def classes(self) -> int: ...
    def channels_for(self, classes: int, x: Shape, /) -> int: ...
    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError: ...


def check_channels(
    head: ClassifyingHead, x: Shape, *, anchors: int, numbers: int, count: str, spare: int = 0
) -> None:
    """Raise CfgError unless x has, for each of `anchors` boxes, `numbers` channels and one per class, and
    `spare` ones."""
    wanted = head.channels_for(head.classes, x)
    if x.channels == wanted:
        return
    fitting, rest = divmod(x.channels - spare, anchors)
    fits = rest == 0 and fitting > numbers
    raise head.error(
        "classes",
        "the previous section has the wrong number of channels",
        found=f"filters={x.channels}",
        allowed=f"filters={wanted}",
        hint=f"filters = {count} * (classes + {numbers})"
        + (f" + {spare}" if spare else "")
        + (f"; classes={fitting - numbers} would fit" if fits else "")
        + f"; yolor cfg set-classes CFG {head.classes} sets it",
    )


class AnchorHeadSection(Section):
    """The common part of the heads with masked anchors."""

    is_head = True
    box_values: ClassVar[int] = 5  # values of a box besides its classes
    darknet_loss: ClassVar[str] = "yolo"  # the loss C Darknet trains it with

    classes = Int(20, least=1, wanted=True, help="number of classes")
    num = Int(1, least=1, most=MAX_ANCHORS, help="number of anchors in the whole network")
    mask = MaskList(lambda section: tuple(range(section.num)), help="indices of the anchors of this head")
    anchors = FloatList(
        lambda section: (DEFAULT_ANCHOR,) * 2 * section.num,
        unit="pixels",
        help="width and height of each anchor of the network, in input pixels",
    )
    scale_x_y = Float(
        1,
        dialects=NOT_PJREDDIE,
        unit="cells",
        help="range of box centers: 1 is the cell itself, 2 half a cell more on each side",
    )
    max = Int(
        lambda section: section.default_max,
        least=0,
        dialects=C_DARKNET,
        use="training",
        help="maximum number of labels per image in training",
    )
    jitter = Float(0.2, use="training", unit="fraction", help="maximum random crop, as a part of the image")
    resize = Float(1, dialects=DARKNET_ONLY, use="training", unit="factor", help="maximum random zoom")
    random = Float(0, use="training", help="1: change the image size at random in training")
    ignore_thresh = Float(
        0.5, use="training", unit="IoU", help="IoU above which a prediction is ignored in the objectness loss"
    )
    truth_thresh = Float(
        1, use="training", unit="IoU", help="IoU above which a prediction is also trained on its object"
    )
    iou_thresh = Float(
        1,
        dialects=NOT_PJREDDIE,
        use="training",
        unit="IoU",
        help="IoU above which further anchors are also trained on an object",
    )
    iou_loss = Choice(
        lambda section: section.default_iou_loss,
        ("mse", *IOU_KINDS),
        fallback="iou",
        use="training",
        help="type of box loss",
    )
    iou_thresh_kind = Choice(
        "iou",
        IOU_KINDS,
        fallback="iou",
        dialects=DARKNET_ONLY,
        use="training",
        help="type of IoU for `iou_thresh`",
    )
    iou_normalizer = Float(0.75, use="training", help="weight of the box loss")
    obj_normalizer = Float(
        lambda section: section.cls_normalizer if section.learns_as_first else 1,
        dialects=DARKNET_ONLY,
        use="training",
        help="weight of the objectness loss",
    )
    cls_normalizer = Float(1, use="training", help="weight of the class loss")
    delta_normalizer = Float(
        1, dialects=DARKNET_ONLY, use="training", help="weight of all losses of this head"
    )
    max_delta = Float(
        math.inf, dialects=DARKNET_ONLY, use="training", help="maximum gradient of a box coordinate"
    )
    label_smooth_eps = Float(
        0, dialects=DARKNET_ONLY, use="training", unit="fraction", help="label smoothing"
    )
    objectness_smooth = Flag(
        False, dialects=DARKNET_ONLY, use="training", help="train objectness towards the IoU instead of 1"
    )
    focal_loss = Flag(False, dialects=DARKNET_ONLY, use="training", help="focal loss for the classes")
    counters_per_class = IntList(
        (),
        dialects=DARKNET_ONLY,
        use="training",
        help="number of objects of each class in the training set, to balance the loss",
    )
    nms_kind = Choice(
        "default", NMS_KINDS, fallback="default", dialects=NOT_PJREDDIE, use="inference", help="type of NMS"
    )
    beta_nms = Float(0.6, dialects=NOT_PJREDDIE, use="inference", help="exponent of the distance in diounms")
    map = Text(
        "",
        dialects=C_DARKNET,
        idle="it is only asked whether the file is there",
        help="file that maps the classes to those of another dataset",
    )

    def check(self) -> None:
        self.try_checks(self._check_anchors, self._check_mask, self._check_num, self._check_counters)
        check_file(self, "map", self.map)

    def _check_anchors(self) -> None:
        if len(self.anchors) % 2:
            self._fault_or_warn(
                "anchors",
                "an odd number of values",
                found=str(len(self.anchors)),
                allowed="two for each anchor",
            )

    def _check_mask(self) -> None:
        known = len(self.anchors) // 2
        missing = [index for index in self.mask if index >= known]
        allowed = f"0 to {known - 1}"
        if not self.mask or min(self.mask) < 0:
            self.fault(
                "mask", "not a list of anchor indices", found=",".join(map(str, self.mask)), allowed=allowed
            )
        elif missing:
            self._fault_or_warn(
                "mask", "index beyond the last anchor", found=",".join(map(str, missing)), allowed=allowed
            )

    def _check_num(self) -> None:
        known = len(self.anchors) // 2
        lacks = known + len(self.anchors) % 2 < self.num and max(self.mask) < known
        if known > self.num or lacks:
            self.warn(
                "anchors",
                "fewer anchors than num" if lacks else "more anchors than num",
                found=f"{count_of(known, 'anchor')}, num={self.num}",
                hint=f"num={known}",
            )
        beyond = [index for index in self.mask if self.num <= index < known]
        if beyond and self.dialect.keeps_num_anchors:
            self.warn(
                "mask",
                "index beyond num",
                found=f"{','.join(map(str, beyond))}, num={self.num}",
                allowed=f"0 to {self.num - 1}",
                hint="C Darknet keeps `num` anchors and reads whatever lies behind them",
            )

    def _check_counters(self) -> None:
        counters = len(self.counters_per_class)
        if "counters_per_class" in self.values and counters != self.classes:
            self.fault(
                "counters_per_class",
                "not one value for each class",
                found=f"{count_of(counters, 'number')}, classes={self.classes}",
                allowed=count_of(self.classes, "number"),
                hint="one for each class, or delete the line",
            )

    def _fault_or_warn(self, key: str, message: str, *, found: str, allowed: str) -> None:
        """Record an error, or a warning where Darknet goes on: it uses 0.5 for each missing value."""
        tell = self.warn if self.dialect.is_forgiving else self.fault
        hint = f"Darknet uses {DEFAULT_ANCHOR} for missing values" if self.dialect.is_forgiving else ""
        tell(key, message, found=found, allowed=allowed, hint=hint)

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return len(self.mask) * (classes + self.box_values)

    def shape(self, x: Shape) -> Shape:
        check_channels(self, x, anchors=len(self.mask), numbers=self.box_values, count="len(mask)")
        return x

    @property
    def default_iou_loss(self) -> str:
        """The type of box loss if the cfg does not say."""
        return "mse"

    @property
    def default_max(self) -> int:
        """The labels of an image that its program keeps if the cfg does not say."""
        return self.dialect.box_limit

    @property
    def learns_as_first(self) -> bool:
        """It learns as in the first Darknet: boxes from the last object alone and by the whole squared error,
        any overlap is ignored, and not only that of a likely class."""
        return False

    @property
    def learns_plain_classes(self) -> bool:
        """Classes are learnt by their plain difference, whatever the keys of smoothing and balance say."""
        return self.learns_as_first

    @property
    def learns_exponents(self) -> bool:
        """The loss of overlaps takes boxes for exponentials of raw widths and heights."""
        return True

    @property
    def learns_roots(self) -> bool:
        """The squared loss aims at half the roots of widths and heights, not at their logarithms."""
        return False

    @property
    def loss_kind(self) -> str:
        """The loss that trains this head: that of its dialect."""
        return self.darknet_loss if self.dialect.loss == "darknet" else self.dialect.loss

    @property
    def masked_anchors(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor of this head, in input pixels."""
        known = anchor_pairs(self.anchors, (len(self.anchors) + 1) // 2)
        unnamed = (DEFAULT_ANCHOR, DEFAULT_ANCHOR)
        return tuple(known[index] if index < len(known) else unnamed for index in self.mask)

    def anchor_grid(self, x: Shape) -> AnchorGrid:
        """Anchors and strides; a stride is the image size divided by the size of the feature map."""
        from yolor_cfg.ops.heads import AnchorGrid

        return AnchorGrid(self.masked_anchors, (self.image.width / x.width, self.image.height / x.height))


class GaussianYoloSection(AnchorHeadSection, names="Gaussian_yolo"):
    """[yolo] that also predicts the uncertainty of each of the four coordinates of a box."""

    dialects = DARKNET_ONLY
    examples = (
        "[convolutional]\nfilters=24\n[Gaussian_yolo]\nmask=0,2\nclasses=3\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=1.1\nyolo_point=left_top",
    )
    box_values = 9
    darknet_loss = "gaussian"

    nms_kind = Choice(
        "default", (*NMS_KINDS, "cornersnms"), fallback="default", use="inference", help="type of NMS"
    )
    uc_normalizer = Float(1, use="training", help="weight of the uncertainty loss")
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


class JdeSection(AnchorHeadSection, names="jde"):
    """[yolo] for joint detection and embedding: with `embedding` the last channels are a vector of each cell
    that tells objects apart; without it only the boxes are read.

    YOLOR has an incomplete copy of JDE's head by this name; the embedding and its keys are ours.
    """

    dialects = YOLOR_ONLY
    darknet_form = "head"
    examples = (
        "[jde]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",
        "[convolutional]\nfilters=13\nactivation=linear\n[jde]\nmask=0\nclasses=3\nnum=1\nanchors=10,14\n"
        "embedding=5\nidentities=7\nid_loss=both\nmargin=0.2\nlearned_weights=0",
    )
    loss_kind = "yolor"  # in either dialect: C Darknet has no such head, hence no loss for it

    embedding = Int(
        0, least=0, help="length of the vector of each cell that tells objects apart; 0: there is none"
    )
    identities = Int(
        0, least=0, use="training", help="number of identities that are learned; 0: those of the data set"
    )
    id_loss = Choice(
        "ce",
        ("ce", "triplet", "both"),
        use="training",
        help="loss of the vectors: the cross entropy of a classifier of identities, the hardest triplets of "
        "a batch, or both",
    )
    margin = Float(
        0.3,
        least=0,
        use="training",
        help="how much farther than another vector of its identity one of another identity shall be",
    )
    learned_weights = Flag(
        True,
        use="training",
        help="weigh the losses of boxes, objectness, classes and identities by learned weights",
    )

    def channels_for(self, classes: int, x: Shape, /) -> int:
        return super().channels_for(classes, x) + self.embedding

    def shape(self, x: Shape) -> Shape:
        spare, mask = self.embedding, len(self.mask)
        check_channels(self, x, anchors=mask, numbers=self.box_values, count="len(mask)", spare=spare)
        return x

    @property
    def has_embedding(self) -> bool:
        """Whether a vector of each cell stands behind its boxes."""
        return self.embedding > 0

    @property
    def rules(self) -> YoloRules:
        """How the boxes are decoded."""
        from yolor_cfg.ops.heads import YoloRules

        boxes = len(self.mask) * (self.classes + self.box_values) if self.embedding else 0
        return YoloRules(has_squared_sizes=True, spread=2.0, box_channels=boxes)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import YoloHead

        return YoloHead(self.anchor_grid(x), self.rules)
