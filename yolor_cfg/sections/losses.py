"""[softmax], the head of classifiers, and the losses [cost] and [contrastive], which predict nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, RefList, Text
from yolor_cfg.sections.base import Section, load_tree
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class SoftmaxSection(Section, names="softmax soft"):
    """Class probabilities: softmax over all numbers, over equal groups, or over the siblings in a tree."""

    thop_reason = "6 for each probability, less 2 for each group"
    dialects = DARKNET_ONLY
    examples = ("[avgpool]\n[softmax]\ngroups=2\ntemperature=2", "[softmax]")
    ignored_keys = {"spatial": "softmax over the channels of each pixel, on the GPU only (default 0)"}
    is_head = True

    groups = Int(1, least=1, help="so many equal runs of numbers sum to 1 each")
    temperature = Float(1, help="the numbers are divided by this first")
    tree = Text("", help="file with lines `name parent`: consecutive classes with one parent sum to 1")
    noloss = Flag(False, help="1: training takes no loss here")

    def check(self) -> None:
        if self.temperature == 0:
            self.fault("temperature", "out of bounds", found="0", allowed="any number but 0")

    def shape(self, x: Shape) -> Shape:
        if x.size % self.groups:
            found, allowed = f"{x.size} numbers, groups={self.groups}", f"a divisor of {x.size}"
            raise self.error("groups", "does not divide the input", found=found, allowed=allowed)
        return Shape(x.size, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.losses import SoftmaxLayer as Probabilities

        if self.tree:
            return Probabilities(load_tree(self, self.tree, x.size).group_sizes, self.temperature)
        return Probabilities((x.size // self.groups,) * self.groups, self.temperature)

    def thop_operations(self, out: Shape, x: Shape) -> int:
        """exp, sum and division over each group; a tree of classes is no softmax that thop knows."""
        return 0 if self.tree else 3 * out.size - self.groups


class _LossSection(Section):
    """A section that only training has a use for: zeros otherwise, and never what a network returns."""

    dialects = DARKNET_ONLY
    is_loss = True

    def shape(self, x: Shape) -> Shape:
        return Shape(x.size, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.losses import ZeroOutput

        return ZeroOutput()


class CostSection(_LossSection, names="cost"):
    """The squared (or masked, or smooth) difference from the truth."""

    examples = ("[cost]\ntype=sse",)

    type_ = Choice(
        "sse",
        ("sse", "masked", "smooth", "L1", "seg", "wgan"),
        fallback="sse",
        help="which difference from the truth",
    )
    scale = Float(1, help="factor on the loss")
    ratio = Float(0, help="which part of the smallest differences counts for nothing")


class ContrastiveSection(_LossSection, names="contrastive"):
    """Pulls the embeddings of one object together and those of different objects apart."""

    examples = (
        "[convolutional]\nfilters=14\n[yolo]\nclasses=2\nnum=2\n"
        "[route]\nlayers=0\n[contrastive]\nclasses=2\nyolo_layer=1",
    )

    classes = Int(1000, least=1, help="how many kinds of objects there are")
    yolo_layer = RefList((), help="the [yolo] section whose boxes have the embeddings")
    temperature = Float(1, help="similarities are divided by this")
    cls_normalizer = Float(1, help="factor on the loss")
    max_delta = Float(float("inf"), least=0, help="the greatest gradient of a number")
    contrastive_neg_max = Int(3, least=0, help="how many negative examples an object is held against at most")

    def shape(self, x: Shape) -> Shape:
        self.resolve_refs(self.yolo_layer, "yolo_layer")
        return super().shape(x)
