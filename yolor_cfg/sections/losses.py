"""[softmax] and [logistic], the heads of classifiers, and the losses [cost] and [contrastive], which make no
predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import C_DARKNET, DARKNET_ONLY, EARLY, PJREDDIE_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, Text
from yolor_cfg.lang.lists import RefList
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_file
from yolor_cfg.sections.trees import check_tree, load_tree
from yolor_cfg.shape import FlatShape, Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.lang.tree import Tree


class SoftmaxSection(Section, names="softmax soft"):
    """Class probabilities: softmax over all values, over equal groups, or over siblings in a class tree."""

    thop_reason = "6 for each probability, minus 2 for each group"
    dialects = EARLY
    reads_vectors = True
    examples = ("[avgpool]\n[softmax]\ngroups=2\ntemperature=2", "[softmax]")
    ignored_keys = {"spatial": "softmax over the channels of each pixel, on the GPU only (default 0)"}
    is_head = True
    label_kind = "single"
    loss_kind = "softmax"

    groups = Int(1, least=1, help="number of equal groups of values, each of which sums to 1")
    temperature = Float(1, help="softmax temperature")
    tree = Text(
        "",
        help="class tree file, one `name parent` per line: consecutive classes with the same parent sum to 1",
    )
    noloss = Flag(False, use="training", help="1: no loss here in training")

    def check(self) -> None:
        check_file(self, "tree", self.tree)
        if self.temperature == 0:
            self.fault("temperature", "out of bounds", found="0", allowed="any number but 0")

    def shape(self, x: Shape) -> Shape:
        if x.size % self.groups:
            found, allowed = f"{count_of(x.size, 'value')}, groups={self.groups}", f"a divisor of {x.size}"
            raise self.error("groups", "does not divide the input", found=found, allowed=allowed)
        return FlatShape(x.size, 1, 1)

    def check_inputs(self, x: Shape) -> None:
        check_tree(self, self.tree, x.size)

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return self.groups * classes

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.class_tree import ClassTree, TreeSoftmax
        from yolor_cfg.ops.losses import SoftmaxLayer as Probabilities

        if not self.dialect.groups_softmax:
            return Probabilities((x.channels,), 1.0, by_cell=True)
        tree = self.label_tree(x.size)
        if tree is not None:
            return TreeSoftmax(ClassTree.from_parents(tree.parents, tree.group_sizes), self.temperature)
        return Probabilities((x.size // self.groups,) * self.groups, self.temperature)

    def label_tree(self, classes: int) -> Tree | None:
        return load_tree(self, self.tree, classes) if self.tree and self.dialect.groups_softmax else None

    def facts(self) -> tuple[str, ...]:
        return ("groups_softmax",) if self.groups > 1 or self.temperature != 1 or self.tree else ()

    @property
    def loss_weight(self) -> float:
        """The factor on its own loss."""
        return 0.0 if self.noloss else 1.0

    def thop_operations(self, out: Shape, x: Shape) -> int:
        """exp, sum and division over each group; thop does not count the softmax of a class tree."""
        return 0 if self.tree else 3 * out.size - self.groups


class LogisticSection(Section, names="logistic"):
    """The sigmoid of everything; trained by the cross entropies with a truth of its own size.

    pjreddie/darknet, src/logistic_layer.c.
    """

    dialects = (*PJREDDIE_ONLY, *YOLOR_ONLY)
    is_head = True
    label_kind = "multi"
    loss_kind = "logistic"
    reads_vectors = True
    examples = ("[logistic]",)

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return classes

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.losses import LogisticLayer

        return LogisticLayer()


class _LossSection(Section):
    """A section used only in training: otherwise its output is zero, and a network never returns it."""

    dialects: ClassVar[tuple[str, ...]] = C_DARKNET
    is_loss = True

    def shape(self, x: Shape) -> Shape:
        return FlatShape(x.size, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.losses import ZeroOutput

        return ZeroOutput()


class CostSection(_LossSection, names="cost"):
    """The squared (or masked, or smooth) difference from the ground truth.

    Behind a [softmax] its gradient is that of the cross entropy once more, times `scale`: both are added up.
    """

    reads_vectors = True
    examples = ("[cost]\ntype=sse", "[avgpool]\n[softmax]\nnoloss=1\n[cost]\ntype=smooth\nscale=2")
    ignored_keys = {
        "noobj": "of the first Darknet: weight where the truth is 0 (default 1)",
        "thresh": "of the first Darknet: differences below it do not count (default 0)",
    }

    type_ = Choice(
        "sse",
        ("sse", "masked", "smooth", "L1", "seg", "wgan"),
        fallback="sse",
        use="training",
        help="type of loss",
    )
    scale = Float(1, use="training", help="weight of the loss")
    ratio = Float(
        0,
        unused="C Darknet sets the limit that it finds to 0, and ignores none",
        help="fraction of the smallest differences to ignore",
    )

    @property
    def loss_on_source(self) -> float:
        """The factor on the cross entropy of the softmax that it reads; the types that C Darknet has (sse,
        masked, smooth) have one gradient there, as no probability is off by more than 1."""
        if self.type_ in ("L1", "seg", "wgan"):
            allowed = "sse, masked, smooth"
            raise self.error("type", "trains no classifier here", found=self.type_, allowed=allowed)
        return self.scale

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return classes


class ContrastiveSection(_LossSection, names="contrastive"):
    """Pulls embeddings of the same object together and pushes those of different objects apart."""

    untrained = "no [contrastive] section is trained here"
    dialects = DARKNET_ONLY
    examples = (
        "[convolutional]\nfilters=14\n[yolo]\nclasses=2\nnum=2\n"
        "[route]\nlayers=0\n[contrastive]\nclasses=2\nyolo_layer=1",
    )

    classes = Int(1000, least=1, use="training", help="number of classes")
    yolo_layer = RefList((), help="[yolo] section whose boxes the embeddings belong to")
    temperature = Float(1, use="training", help="temperature of the similarities")
    cls_normalizer = Float(1, use="training", help="weight of the loss")
    max_delta = Float(float("inf"), least=0, use="training", help="maximum gradient of a value")
    contrastive_neg_max = Int(
        3,
        least=0,
        unused="no [contrastive] section is trained here",
        help="maximum number of negative examples per object",
    )

    def check(self) -> None:
        self.require_keys("yolo_layer")

    def reference(self) -> int | None:
        return self.resolve_refs(self.yolo_layer[:1], "yolo_layer")[0]

    def check_reference(self, other: Section) -> None:
        if not other.gives_boxes_to_losses or not other.index:  # C Darknet takes 0 for none
            raise self.error(
                "yolo_layer",
                "not a [yolo] section",
                found=f"[{other.type}] #{other.index}",
                allowed="a [yolo] section before this one",
            )
