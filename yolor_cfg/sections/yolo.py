"""[yolo] and [yolo4]: the heads of YOLOv3 and later, whose boxes are those of one decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import DARKNET_ONLY, FUSING, NOT_DARKFLOW, PJREDDIE_ONLY
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, SectionNumber
from yolor_cfg.lang.lists import RefList
from yolor_cfg.sections.checks import BOX_VALUES
from yolor_cfg.sections.head_places import (
    check_fused_channels,
    find_place,
    fused_sources,
    stride_by_place,
    warn_of_stride,
)
from yolor_cfg.sections.heads import AnchorHeadSection, check_channels
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.heads import AnchorGrid, YoloRules

PLAIN_CLASSES = "this program learns classes by their plain difference"
NO_LOSS = "no detection loss"
EMBEDDING_ANCHORS = 4  # of each head of JDE, a constant there
JOINT_CHANNELS = EMBEDDING_ANCHORS * (BOX_VALUES + 2)  # of the boxes that an embedding stands beside


class BoxHeadSection(AnchorHeadSection):
    """The common part of [yolo] and [yolo4]."""

    dialects = NOT_DARKFLOW
    darknet_form = "head"
    gives_boxes_to_losses = True

    new_coords = Flag(
        False,
        dialects=DARKNET_ONLY,
        help="1: the previous convolution applies the logistic; sizes are (2v)^2 anchors",
    )
    show_details = Flag(
        True,
        dialects=DARKNET_ONLY,
        idle="it is about what C Darknet shows",
        help="print the losses of each head in training",
    )
    track_history_size = Int(
        5,
        dialects=DARKNET_ONLY,
        unused="no tracking is done here",
        help="number of previous frames used in tracking",
    )
    sim_thresh = Float(
        0.8,
        dialects=DARKNET_ONLY,
        unused="no tracking is done here",
        help="similarity above which two detections belong to the same track",
    )
    dets_for_track = Int(
        1,
        dialects=DARKNET_ONLY,
        unused="no tracking is done here",
        help="minimum number of detections of a track",
    )
    dets_for_show = Int(
        1,
        dialects=DARKNET_ONLY,
        idle="it is about what C Darknet shows",
        help="minimum number of detections before a track is shown",
    )
    track_ciou_norm = Float(
        0.01, dialects=DARKNET_ONLY, unused="no tracking is done here", help="weight of the CIoU in tracking"
    )
    embedding_layer = SectionNumber(
        None,
        dialects=DARKNET_ONLY,
        unused="no [contrastive] section is trained here",
        help="section whose output is the embedding used in tracking",
    )

    def reference(self) -> int | None:
        if self.embedding_layer is None:
            return None
        return self.resolve_refs((self.embedding_layer,), "embedding_layer")[0]

    @property
    def learns_exponents(self) -> bool:
        return not self.new_coords

    @property
    def learns_roots(self) -> bool:
        return self.new_coords

    def module(self, x: Shape, *others: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import YoloHead

        return YoloHead(self.anchor_grid(x), self.rules)

    @property
    def rules(self) -> YoloRules:
        """How the boxes are decoded."""
        from yolor_cfg.ops.heads import YoloRules

        return YoloRules(
            has_sigmoid=not self.new_coords, has_squared_sizes=self.new_coords, spread=self.scale_x_y
        )


class YoloSection(BoxHeadSection, names="yolo"):
    """Boxes of YOLOv3 and later: centers in cells, sizes relative to anchors, one probability per class."""

    examples = (
        "[yolo]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",
        "[convolutional]\nfilters=18\nactivation=logistic\n[yolo]\nmask=1,2\nclasses=4\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=2\nnew_coords=1",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n"
        "[yolo]\nmask=0\nclasses=3\nnum=1\nanchors=10,14\nrepresentation=lin",
    )

    representation = Choice(
        "exp",
        ("exp", "lin"),
        fallback="exp",
        dialects=PJREDDIE_ONLY,
        help="sizes of boxes: exp of the prediction, or lin, the prediction itself where it is positive "
        "(g-darknet)",
    )

    from_ = RefList(
        (), dialects=FUSING, help="sections whose maps are fused, in the order of the heads (ASFF)"
    )

    @property
    def learns_as_first(self) -> bool:
        return self.dialect.learns_as_first

    @property
    def default_iou_loss(self) -> str:
        """That of g-darknet, which alone has `representation`, else of the others."""
        return "iou" if "representation" in self.values else "mse"

    @property
    def learns_exponents(self) -> bool:
        return super().learns_exponents and self.representation == "exp"

    @property
    def rules(self) -> YoloRules:
        """How the boxes are decoded, in some dialects whatever the keys say."""
        from yolor_cfg.ops.heads import YoloRules

        if self.dialect.embeds:
            return YoloRules(embeds=True, box_channels=JOINT_CHANNELS)
        if self.dialect.box_form == "squared":
            return YoloRules(has_squared_sizes=True, spread=2.0)
        if self.dialect.box_form == "exponential":
            return YoloRules(fused=len(self.from_), place=find_place(self))
        return super().rules._replace(has_linear_sizes=self.representation == "lin")

    def check(self) -> None:
        super().check()
        if self.learns_as_first and self.iou_loss in ("diou", "ciou"):
            self.warn("iou_loss", "read as iou in training, as in g-darknet", found=self.iou_loss)
        if self.dialect.embeds:
            self.try_checks(self._check_embedding)

    def _check_embedding(self) -> None:
        for key, found, allowed in (
            ("mask", len(self.mask), EMBEDDING_ANCHORS),
            ("classes", self.classes, 1),
        ):
            if found != allowed:
                what = "JDE reads another number of anchors" if key == "mask" else "JDE has one class"
                self.fault(key, what, found=str(found), allowed=str(allowed))

    def sources(self) -> tuple[int, ...]:
        return fused_sources(self, self.from_) if self.from_ else super().sources()

    def channels_for(self, classes: int, x: Shape, /) -> int:
        if not self.dialect.embeds:
            return super().channels_for(classes, x) + len(self.from_)
        return JOINT_CHANNELS + self._embedding_size(x)

    def _embedding_size(self, x: Shape) -> int:
        """The length of an embedding: that in [net]; without one, all channels behind the boxes."""
        return self.place.embedding or max(x.channels - JOINT_CHANNELS, 1)

    def shape(self, x: Shape, *others: Shape) -> Shape:
        if not self.dialect.embeds:
            return self._size_boxes(x, others)
        wanted = self.channels_for(self.classes, x)
        if x.channels != wanted:
            found, allowed = f"filters={x.channels}", f"filters={wanted}"
            hint = "4 anchors * (4 + 2) and embedding_dim of [net]: [route] joins the two maps"
            message = "the previous section has the wrong number of channels"
            raise self.error("", message, found=found, allowed=allowed, hint=hint)
        if self.image.width * x.height != self.image.height * x.width:
            found = f"a map of {x.width}x{x.height} for {self.image.width}x{self.image.height}"
            raise self.error("", "the strides across and down differ", found=found, allowed="equal strides")
        return x

    def _size_boxes(self, x: Shape, others: Sequence[Shape]) -> Shape:
        """The size without embeddings; where that does not fit, a file of JDE without its key gets a hint."""
        try:
            return self._fused_shape(x, others)
        except CfgError as fault:
            spare = x.channels - JOINT_CHANNELS
            if len(self.mask) == EMBEDDING_ANCHORS and self.classes == 1 and spare > 0:
                fault.hint += f"; or, with an embedding in {spare} channels, --dialect jde"
            raise

    def _fused_shape(self, x: Shape, others: Sequence[Shape]) -> Shape:
        """The shape of the map without the channels that weight it."""
        spare, mask = len(self.from_), len(self.mask)
        check_channels(self, x, anchors=mask, numbers=self.box_values, count="len(mask)", spare=spare)
        check_fused_channels(self, x, others)
        return x._replace(channels=x.channels - spare)

    def anchor_grid(self, x: Shape) -> AnchorGrid:
        grid, stride = super().anchor_grid(x), stride_by_place(self)
        return grid._replace(stride=(stride, stride)) if stride else grid

    def check_inputs(self, x: Shape, *others: Shape) -> None:
        warn_of_stride(self, x)
        if self.dialect.embeds and not self.place.embedding:
            found = f"{self._embedding_size(x)} channels behind the boxes"
            self.warn("", "[net] has no embedding_dim: all other channels are the embedding", found=found)

    @property
    def loss_kind(self) -> str:
        """The loss that trains this head."""
        return "jde" if self.dialect.embeds else super().loss_kind

    @property
    def has_embedding(self) -> bool:
        """Whether a vector of each cell stands behind its boxes."""
        return self.dialect.embeds

    def facts(self) -> tuple[str, ...]:
        return ("box_form", "embeds", "head_strides")


class Yolo4Section(BoxHeadSection, names="yolo4"):
    """[yolo] of AlexeyAB's C Darknet, under another name.

    sowson/darknet, src/yolo4_layer.c: the boxes are the same; in training, classes are learnt without
    smoothing, focus and balance, and raw sizes count as logarithms with new_coords too.
    """

    dialects = PJREDDIE_ONLY
    examples = (
        "[convolutional]\nfilters=18\nactivation=logistic\n[yolo4]\nmask=1,2\nclasses=4\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=2\nnew_coords=1",
        "[yolo4]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",
    )
    default_max = 200
    learns_plain_classes = True
    learns_exponents = True
    learns_roots = False

    cls_normalizer = Float(1, unused=PLAIN_CLASSES, help="weight of the class loss")
    label_smooth_eps = Float(0, unused=PLAIN_CLASSES, help="label smoothing")
    focal_loss = Flag(False, unused=PLAIN_CLASSES, help="focal loss for the classes")
