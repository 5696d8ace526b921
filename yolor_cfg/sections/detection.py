"""[detection]: the head of YOLOv1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import DARKFLOW_ONLY, DARKNET_ONLY, EARLY
from yolor_cfg.lang.keys import Flag, Float, Int
from yolor_cfg.lang.syntax import RawSection
from yolor_cfg.sections.base import SECTIONS, Section
from yolor_cfg.sections.checks import BOX_VALUES, check_coords
from yolor_cfg.shape import FlatShape, Shape

if TYPE_CHECKING:
    from torch import nn


class DetectionSection(Section, names="detection"):
    """Boxes of YOLOv1: side x side cells, each with num boxes and one set of class probabilities."""

    dialects = EARLY
    is_head = True
    reads_vectors = True
    nms_kind, beta_nms = "default", 0.6
    examples = (
        "[net]\ninputs=44\n[detection]\nclasses=1\ncoords=4\nside=2\nnum=2",
        "[net]\ninputs=117\n[detection]\nclasses=3\ncoords=4\nside=3\nnum=2\nsoftmax=1\nsqrt=1",
    )

    ignored_keys = {
        "joint": "of 2015: an objectness before the classes, which it scales (default 0)",
        "objectness": "of 2015: the probability of no object before the classes (default 0)",
        "background": "of 2015: a class of no object, in a softmax with the others (default 0)",
        "nuisance": "of 2015: an objectness that the background is told from (default 0)",
    }

    classes = Int(1, least=1, wanted=True, help="number of classes")
    coords = Int(
        1,
        help="number of coordinates per box: 4; in darkflow a fifth is its angle, clockwise, in turns; C "
        "Darknet gives a fifth no meaning and reads four a box, one after another",
    )
    num = Int(1, least=1, help="number of boxes per cell")
    side = Int(7, least=1, unit="cells", help="number of cells in each direction")
    softmax = Flag(False, help="1: the classes are mutually exclusive")
    sqrt = Flag(False, help="1: predict the square roots of width and height")
    rescore = Flag(False, use="training", help="train objectness towards the IoU instead of 1")
    forced = Flag(False, use="training", help="assign small objects to the first box in training")
    reorg = Flag(False, idle="it is accepted for older cfgs", help="no effect")
    object_scale = Float(1, use="training", help="weight of the objectness loss where there is an object")
    noobject_scale = Float(1, use="training", help="weight of the objectness loss where there is no object")
    class_scale = Float(1, use="training", help="weight of the class loss")
    coord_scale = Float(1, use="training", help="weight of the box loss")
    jitter = Float(0.2, use="training", unit="fraction", help="maximum random crop, as a part of the image")
    resize = Float(1, dialects=DARKNET_ONLY, use="training", unit="factor", help="maximum random zoom")
    random = Float(0, use="training", help="1: change the image size at random in training")
    max = Int(
        lambda section: section.dialect.box_limit,
        least=0,
        use="training",
        help="maximum number of labels per image in training",
    )

    @classmethod
    def value_dialects(cls, key: str, word: str) -> tuple[str, ...]:
        return DARKFLOW_ONLY if key == "coords" and word == str(BOX_VALUES + 1) else ()

    def check(self) -> None:
        self._warn_of_old_order()
        if not self._has_angles:
            check_coords(self, self.coords)

    def _warn_of_old_order(self) -> None:
        """Until November 2015 the numbers of a cell stand side by side (src/detection_layer.c,
        pjreddie/darknet 846b3b43); since 8c5364f5 all classes come first."""
        old = [key for key in self.ignored_keys if key in self.lines]
        if old:
            hint = (
                "its numbers of a cell stand side by side; here, as in later programs, all classes come first"
            )
            found = ", ".join(f"{key}={self.lines[key].value}" for key in old)
            self.warn(
                old[0], "the [detection] of before November 2015, read as today's", found=found, hint=hint
            )

    @property
    def _has_angles(self) -> bool:
        return self.dialect.has_angles and self.coords == BOX_VALUES + 1

    @property
    def loss_kind(self) -> str:
        """The loss that trains this head; empty if it has spare values."""
        return "detection" if self.coords == BOX_VALUES else ""

    def missing_loss(self) -> CfgError:
        """The error of this head where no loss trains it."""
        fitting = self.replace_values(coords=BOX_VALUES)
        return self.error(
            "coords",
            "no detection loss",
            found=str(self.coords),
            allowed=str(BOX_VALUES),
            hint="C Darknet writes 5 + classes numbers a cell for the labels and reads 1 + coords + classes, "
            "beyond their end: it learns from wrong ones; coords=4 goes with "
            f"output={fitting._outputs_for(self.classes)} before the head",
        )

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
                "the previous section has the wrong number of outputs",
                found=f"output={x.size}",
                allowed=f"output={wanted}",
                hint="output = side * side * (num * (coords + 1) + classes); "
                f"yolor cfg set-classes CFG {self.classes} sets it",
            )
        return FlatShape(x.size, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.heads import DetectionHead, DetectionRules

        image = self.image.width, self.image.height
        rules = DetectionRules(
            self.side, self.classes, self.num, image, softmax=self.softmax, has_root_sizes=self.sqrt
        )
        return DetectionHead(rules._replace(coords=self.coords) if self._has_angles else rules)


class FirstRegionSection(DetectionSection):
    """[region] of 2015, which is [detection] since (src/region_layer.c, pjreddie/darknet 8fd18add): it gives
    the cells by `side`, and has no anchors."""

    def check(self) -> None:
        super().check()
        hint = "write [detection]: Darknet of 2016 and later stops here"
        self.warn("", "the [region] of 2015, today's [detection]", hint=hint)
        if self.softmax:
            hint = "the program of 2015 takes the logistic function of objectness and boxes too, if softmax=1"
            self.warn("softmax", "only the classes are changed", found="1", hint=hint)


def find_kind(raw: RawSection) -> type[Section] | None:
    """The class that reads this section; None if no program has it."""
    if raw.name == "region" and any(line.key == "side" for line in raw.entries):
        return FirstRegionSection
    return SECTIONS.get(raw.name)
