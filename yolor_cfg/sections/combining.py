"""[route], [shortcut] and similar, which join or add values."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import GROUPING, NOT_DARKFLOW, NOT_PJREDDIE, PJREDDIE_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey, Choice, Float, Int
from yolor_cfg.lang.lists import SourceList
from yolor_cfg.ops.windows import EACH_CELL, CellWindow, Sight, square
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_same_size, warn_unused_activation
from yolor_cfg.sections.tensors import TensorSpec
from yolor_cfg.shape import FlatShape, Shape

if TYPE_CHECKING:
    from torch import nn


class ConcatenationSection(Section):
    """The channels of the sections in `layers`, in the order given."""

    detached_count: ClassVar[int] = 0  # this many of the last sources get no gradient
    reads_vectors = True

    layers = SourceList((), wanted=True, help="sections whose channels are concatenated")

    def check(self) -> None:
        self.require_keys("layers")
        if self.detached_count and self.layers and len(self.layers) != self.detached_count + 1:
            self.fault(
                "layers",
                "the wrong number of sections",
                found=str(len(self.layers)),
                allowed=str(self.detached_count + 1),
            )

    def sources(self) -> tuple[int, ...]:
        return self.resolve_refs(self.layers, "layers")

    @property
    def groups_and_id(self) -> tuple[int, int]:
        """The number of groups the channels of each source are split into, and the index of the one taken."""
        return 1, 0

    def check_map(self, *inputs: Shape) -> None:
        check_same_size(self, "layers", inputs)

    def check_inputs(self, *inputs: Shape) -> None:
        if self._is_flat(inputs) and all(x.is_map for x in inputs):
            self.warn(
                "layers",
                "inputs differ in size: read as one vector, as in C Darknet",
                found=", ".join(map(str, inputs)),
                hint="only sections that need no map can read it",
            )

    def shape(self, *inputs: Shape) -> Shape:
        groups, _ = self.groups_and_id
        for source, x in zip(self.sources(), inputs, strict=True):
            if x.channels < groups:
                raise self.error(
                    "layers",
                    "too few channels to split",
                    found=f"{x.channels} (#{source})",
                    allowed=f"{groups} or more",
                )
        if self._is_flat(inputs):
            return FlatShape(sum(x.size // groups for x in inputs), 1, 1)
        return inputs[0]._replace(channels=sum(x.channels // groups for x in inputs))

    def _is_flat(self, inputs: tuple[Shape, ...]) -> bool:
        """Whether the sources are joined as vectors (parse_route in parser.c); raises CfgError in a dialect
        that cannot."""
        if not self.dialect.joins_unequal_sizes:
            check_same_size(self, "layers", inputs)
        return not all(x.is_map for x in inputs) or len({x[1:] for x in inputs}) > 1

    def module(self, *inputs: Shape) -> nn.Module:
        from yolor_cfg.ops.combining import ChannelGroup, Concatenate

        return Concatenate(
            ChannelGroup(*self.groups_and_id), self.detached_count, is_flat=self._is_flat(inputs)
        )


class RouteSection(ConcatenationSection, names="route"):
    """Concatenate channels; with `groups`, one group of the channels of each source."""

    darknet_form = "groups"
    is_self_contained = True
    examples = (
        "[maxpool]\nsize=3\n[convolutional]\nfilters=6\n[route]\nlayers=-1,0",
        "[convolutional]\nfilters=6\n[maxpool]\nsize=3\n[route]\nlayers=-1,0\ngroups=3\ngroup_id=2",
    )
    ignored_keys = {
        "stream": "CUDA stream that runs this section (default -1)",
        "wait_stream": "CUDA stream to wait for (default -1)",
    }

    groups = Int(1, least=1, help="number of equal groups the channels of each source are split into")
    group_id = Int(0, least=0, dialects=GROUPING, help="index of the group that is taken, from 0")

    @property
    def is_alias(self) -> bool:
        """True for a single whole source, which is passed on unchanged."""
        return len(self.layers) == 1 and self.groups == 1 and not self._halves

    @property
    def _halves(self) -> bool:
        """Whether it takes the second half of the section before: then the keys only have to be there."""
        return self.dialect.takes_second_half and "groups" in self.values

    def check(self) -> None:
        super().check()
        if self._halves and len(self.layers) > 1:
            found = f"{len(self.layers)} sections"
            self.fault("groups", "takes one section here", found=found, allowed="one section in layers")
        if self.group_id >= self.groups:
            allowed = f"0 to {self.groups - 1}"
            self.fault("group_id", "out of bounds", found=str(self.group_id), allowed=allowed)

    def sources(self) -> tuple[int, ...]:
        return (self.index - 1,) if self._halves else super().sources()

    @property
    def groups_and_id(self) -> tuple[int, int]:
        """The values of the keys, or the second of two groups."""
        return (2, 1) if self._halves else (self.groups, self.group_id)

    def check_inputs(self, *inputs: Shape) -> None:
        super().check_inputs(*inputs)
        told = (self.groups, self.group_id, self.resolve_refs(self.layers, "layers"))
        if self._halves and told != (2, 1, self.sources()):
            self.warn(
                "groups",
                "read as the second half of the section before",
                found=f"layers={','.join(map(str, self.layers))} groups={self.groups}",
                hint=f"{self.dialect.program} does so, whatever the numbers are",
            )

    def shape(self, *inputs: Shape) -> Shape:
        if self._halves:
            return super().shape(*inputs)
        for source, x in zip(self.sources(), inputs, strict=True):
            if x.channels % self.groups:
                found = f"{count_of(x.channels, 'channel')} (#{source})"
                raise self.error(
                    "groups",
                    "does not divide the channels",
                    found=found,
                    allowed=f"a multiple of {self.groups}",
                )
        return super().shape(*inputs)


class RouteFirstHalfSection(ConcatenationSection, names="route_lhalf"):
    """Concatenate the first half of the channels of each source."""

    dialects = YOLOR_ONLY
    darknet_form = "half"
    examples = ("[maxpool]\nsize=3\n[convolutional]\nfilters=6\n[route_lhalf]\nlayers=-1,0",)

    @property
    def groups_and_id(self) -> tuple[int, int]:
        """The first of two groups."""
        return 2, 0


class Route2Section(ConcatenationSection, names="route2"):
    """Concatenate two sources; no gradient flows back into the second."""

    dialects = YOLOR_ONLY
    examples = ("[maxpool]\nsize=3\n[convolutional]\nfilters=6\n[route2]\nlayers=-1,0",)
    darknet_form = "route"
    detached_count = 1


class Route3Section(ConcatenationSection, names="route3"):
    """Concatenate three sources; no gradient flows back into the second and the third."""

    dialects = YOLOR_ONLY
    examples = ("[maxpool]\nsize=3\n[maxpool]\nsize=5\n[route3]\nlayers=-1,-2,0",)
    darknet_form = "route"
    detached_count = 2


class ShortcutSection(Section, names="shortcut"):
    """Add sections to the previous one, each with a learned weight if requested.

    Channels that the input lacks are dropped; channels that a source lacks count as zero. In the first
    Darknet the sum is alpha * x + beta * source where both have a value; elsewhere x stays as it is.
    """

    is_self_contained = True
    dialects = NOT_DARKFLOW
    examples = (
        "[convolutional]\nfilters=6\n[maxpool]\nsize=3\n[shortcut]\nfrom=-2\nactivation=leaky",
        "[maxpool]\nsize=3\n[convolutional]\nfilters=6\n[shortcut]\nfrom=-2,0\n"
        "weights_type=per_channel\nweights_normalization=relu",
        "[convolutional]\nfilters=6\n[maxpool]\nsize=3\n[shortcut]\nfrom=0\n"
        "weights_type=per_feature\nweights_normalization=softmax",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n"
        "[maxpool]\nsize=3\n[convolutional]\nfilters=6\nstride=2\n"
        "[shortcut]\nfrom=-2\nalpha=.5\nbeta=2\nactivation=leaky",
    )

    darknet_form = "sum"

    from_ = SourceList((), wanted=True, help="sections added to the previous section")
    activation = ActivationKey("linear")
    alpha = Float(1, dialects=PJREDDIE_ONLY, help="factor on the previous section")
    beta = Float(1, dialects=PJREDDIE_ONLY, help="factor on the section in `from`")
    weights_type = Choice(
        "none",
        ("none", "per_feature", "per_layer", "per_channel"),
        dialects=NOT_PJREDDIE,
        help="one weight per source (per_feature, per_layer) or per source and channel (per_channel)",
    )
    weights_normalization = Choice(
        "none",
        ("none", "relu", "avg_relu", "softmax"),
        dialects=NOT_PJREDDIE,
        help="normalization of the weights (yolor: always sigmoid x 2 / sources)",
    )

    def check(self) -> None:
        self.require_keys("from")
        if not self._applies_leaky:
            warn_unused_activation(self)
        if self._adds_one and len(self.from_) > 1:
            self.warn(
                "from", "only the first section is added", found=",".join(map(str, self.from_)), allowed="one"
            )
        elif self._adds_same and len(self.from_) > 1:
            found = ",".join(map(str, self.from_))
            self.fault("from", f"{self.dialect.program} adds one section", found=found, allowed="one")
        if not self.dialect.weights_are_sigmoid and self.is_weighted and self.weights_normalization == "none":
            self.fault(
                "weights_normalization", "missing key: required by weights_type", allowed="relu, softmax"
            )

    @property
    def is_weighted(self) -> bool:
        """True if each source has a weight; in the yolor dialect the key sets this, whatever its value."""
        if self.dialect.weights_are_sigmoid:
            return "weights_type" in self.values
        return self.weights_type != "none"

    def sources(self) -> tuple[int, ...]:
        added = self.from_[:1] if self._adds_one else self.from_
        return (self.index - 1, *self.resolve_refs(added, "from"))

    @property
    def _adds_one(self) -> bool:
        return self.dialect.shortcut_form == "one"

    @property
    def _adds_same(self) -> bool:
        return self.dialect.shortcut_form == "same"

    @property
    def applied_activation(self) -> str:
        """The activation of the sum; linear where the program reads the key over."""
        return self.activation if self.dialect.activates_sums or self._applies_leaky else "linear"

    @property
    def _applies_leaky(self) -> bool:
        return self.dialect.leaky_sums and self.values.get("activation") == "leaky"

    def check_inputs(self, x: Shape, *sources: Shape) -> None:
        if not self._adds_one and max(self._source_strides(x, *sources)) > 1:
            self.warn(
                "from",
                "inputs differ in size: only every n-th pixel of the larger one is added",
                found=f"{x} and {', '.join(map(str, sources))}",
                hint="the first Darknet runs this; AlexeyAB's stops here",
            )

    def shape(self, x: Shape, *sources: Shape) -> Shape:
        if self._adds_one:
            self._find_steps(x, sources[0])
            return x
        steps = self._source_strides(x, *sources)
        thinned = (x if step > 1 else y for step, y in zip(steps, sources, strict=True))
        check_same_size(self, "from", (x, *thinned))
        if self._adds_same and sources[0] != x:
            found = f"{x} and {sources[0]}"
            raise self.error("from", "inputs differ in channels", found=found, allowed="equal ones")
        return x

    def sights(self, out: Shape, x: Shape, *sources: Shape) -> tuple[Sight, ...]:
        if not self._adds_one:
            return EACH_CELL, *(square(CellWindow(step)) for step in self._source_strides(x, *sources))
        there, here = self._find_steps(x, sources[0])
        every = CellWindow(1, 1 - here, 0, parts=here)  # cells of x between those are only themselves
        return EACH_CELL, square(every).then(square(CellWindow(there)))

    def _source_strides(self, x: Shape, *sources: Shape) -> tuple[int, ...]:
        """How many times larger than x each source is in both directions; 1 if that is not a whole number.

        The first Darknet takes every n-th pixel of a larger feature map (shortcut_cpu in blas.c), which
        ResNets need.
        """
        if not self.dialect.thins_larger_maps or x.area == 1:
            return (1,) * len(sources)
        steps = [max(1, y.height // x.height) for y in sources]
        return tuple(
            step if y[1:] == (x.height * step, x.width * step) else 1
            for step, y in zip(steps, sources, strict=True)
        )

    def _find_steps(self, x: Shape, y: Shape) -> tuple[int, int]:
        """Every how many cells of y and of x one is added: the ratio of their sides, rounded down
        (shortcut_cpu in blas.c of pjreddie/darknet); raises CfgError if that differs by direction."""
        sides = zip(x[1:], y[1:], strict=True)
        down, across = ((max(there // here, 1), max(here // there, 1)) for here, there in sides)
        if down != across:
            raise self.error(
                "from",
                "inputs differ in size",
                found=f"{x.height}x{x.width} and {y.height}x{y.width}",
                allowed="one ratio of heights and of widths",
            )
        return down

    def module(self, x: Shape, *sources: Shape) -> nn.Module:
        import torch

        from yolor_cfg.ops import combining as ops

        if self._adds_one and (self.alpha, self.beta, sources[0][1:]) != (1, 1, x[1:]):
            common = ops.CommonPart(self.alpha, self.beta, *self._find_steps(x, sources[0]))
            return ops.CommonAddition(common, self.activation)
        sum_of = ops.ShortcutOptions(self.applied_activation, self._source_strides(x, *sources))
        if not self.is_weighted:
            return ops.Addition(sum_of)
        size = self._weights_shape(x)
        if self.dialect.weights_are_sigmoid:
            return ops.WeightedAddition(sum_of, torch.zeros(size), ops.sigmoid_shares)
        shares = ops.softmax_shares if self.weights_normalization == "softmax" else ops.relu_shares
        return ops.WeightedAddition(sum_of, torch.ones(size), shares)

    def _weights_shape(self, x: Shape) -> tuple[int, ...]:
        count = len(self.from_) + 1
        by_channel = self.weights_type == "per_channel" and not self.dialect.weights_are_sigmoid
        return (count, x.channels) if by_channel else (count,)

    def bflops(self, out: Shape, *inputs: Shape) -> float:
        return out.size * len(self.from_) * (2 if self.is_weighted else 1) / 1e9

    def tensors(self, x: Shape, *sources: Shape) -> list[TensorSpec]:
        return [TensorSpec("weight", "w", self._weights_shape(x))] if self.is_weighted else []

    def facts(self) -> tuple[str, ...]:
        weights = ("weights_are_sigmoid",) if self.is_weighted else ()
        several = ("shortcut_form",) if len(self.from_) > 1 else ()
        leaky = ("leaky_sums",) if self.activation == "leaky" else ()
        return weights + several + leaky + (("activates_sums",) if self.activation != "linear" else ())
