"""YOLOR's sections that combine a feature map with a vector z, implicit or computed.

Their uses in the paper (arXiv 2105.04206):

| section of the paper | use | here |
|---|---|---|
| 3.1 | projection onto a manifold: inner product | [project_channels] |
| 3.2 | kernel space shifted; scaled; rotated | [shift_channels]; [control_channels]; [project_channels] |
| 3.3 | offset of box centers | [shift_channels] only=xy after the prediction |
| 3.3 | learned anchors (iPR* in 5.5) | [control_channels] only=wh after the prediction |
| 3.3 | selection of features for a task | [select_channels] |
| 3.3 | conditions for later layers | [alternate_channels] |
| 5.2, 5.5 | feature alignment (iFA; iFA*) | [shift_channels]; [control_channels] group=anchors, before it |
| 5.3 | prediction refinement (iPR) | [shift_channels] or [control_channels] after it |
| 5.4 | a separate branch for a task | [shift_channels] at its start; 4.2: `chain` in its [implicit_add] |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import YOLOR_ONLY
from yolor_cfg.lang.keys import Choice, Int
from yolor_cfg.lang.lists import RefList
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_one_source
from yolor_cfg.sections.demands import Resize
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.implicit import ChannelPlacement

VECTOR_CFG = "[implicit_add]\nfilters=8\n[route]\nlayers=0\n"
MATRIX_CFG = "[implicit_add_2d]\natoms=4\nfilters=2\n[route]\nlayers=0\n"
SIZES_CFG = (
    "[maxpool]\nsize=3\n[implicit_mul]\nfilters=2\n[route]\nlayers=0\n[{}]\nfrom=1\nonly=wh\nanchors=1"
)
FACTORS_CFG = "[maxpool]\nsize=3\n[implicit_mul]\nfilters=3\n[route]\nlayers=0\n[{}]\nfrom=1\ngroup=anchors"
# The values of an anchor are x y w h, objectness, classes; None means up to the last.
BOX_SLICES: dict[str, tuple[int, int | None]] = {
    "xy": (0, 2),
    "wh": (2, 4),
    "obj": (4, 5),
    "classes": (5, None),
}


def example_cfgs(name: str) -> tuple[str, ...]:
    """Examples of a section with a vector: for all channels, for box sizes, for each anchor."""
    vector = MATRIX_CFG if name.endswith("2d") else VECTOR_CFG
    return f"[maxpool]\nsize=3\n{vector}[{name}]\nfrom=1", SIZES_CFG.format(name), FACTORS_CFG.format(name)


class _VectorSection(Section):
    """The previous section is the feature map x, the one in `from` is z; a subclass names the operation."""

    dialects = YOLOR_ONLY
    darknet_form = "vector"
    combine: ClassVar[str] = ""  # the function in ops.implicit
    flat: ClassVar[bool] = False  # z is flattened to a vector, whatever its shape

    from_ = RefList((), wanted=True, help="section with the vector z")

    def check(self) -> None:
        check_one_source(self, self.from_)

    def sources(self) -> tuple[int, ...]:
        return (self.index - 1, *self.resolve_refs(self.from_, "from"))

    def shape(self, x: Shape, z: Shape) -> Shape:
        z = Shape(z.size, 1, 1) if self.flat else z
        if z[1:] not in ((1, 1), x[1:]):
            raise self.error(
                "from",
                "inputs differ in size",
                found=f"{z.height}x{z.width}",
                allowed=["1x1", f"{x.height}x{x.width}"],
            )
        return self.combined_shape(x, z)

    def check_inputs(self, x: Shape, z: Shape) -> None:
        if z.area > 1 and z[1:] == x[1:] and not self.flat:
            self.warn(
                "from",
                "refers to a feature map",
                found=str(z),
                allowed="a vector, such as an implicit section",
                hint="every cell gets values of its own here",
            )

    def combined_shape(self, x: Shape, z: Shape) -> Shape:
        """The output shape for a z with one value per channel or with the size of the feature map."""
        return x._replace(channels=z.channels + x.channels)

    def module(self, x: Shape, z: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        return ops.VectorCombine(getattr(ops, self.combine), self.flat, self.channel_placement(x))

    def channel_placement(self, x: Shape) -> ChannelPlacement | None:
        """The channels of x that the values of z apply to; None if there is one value per channel."""
        return None


class _PerChannelSection(_VectorSection):
    """One value of z per channel of x; with `only`, for some of the values of each anchor; with `group`, one
    for all channels of an anchor. Other channels stay unchanged."""

    only = Choice(
        "",
        tuple(BOX_SLICES),
        help="the values of each anchor that z applies to; z has one number for each "
        "of these, or one per channel, of which the others are ignored",
    )
    group = Choice(
        "",
        ("anchors",),
        help="anchors: the channels are divided among the anchors, and z has one number per anchor",
    )
    anchors = Int(3, least=1, help="number of anchors in the feature map, for `only` and `group`")

    def combined_shape(self, x: Shape, z: Shape) -> Shape:
        fitting = self._allowed_lengths(x)
        if z.channels not in fitting:
            found = f"{z.channels} in z, {x.channels} in the feature map"
            hint = f"set filters={fitting[0]} in the section named by `from`"
            hint += ", or correct the number of anchors" if self.only or self.group else ""
            raise self.error(
                "from", "channel counts differ", found=found, allowed=[str(n) for n in fitting], hint=hint
            )
        return x

    def resize_inputs(self, width: int, x: Shape, z: Shape) -> tuple[Resize, ...]:
        numbers = z.size if self.flat else z.channels
        follows = numbers == x.channels and not self.group
        fitting = width if follows else self._allowed_lengths(x._replace(channels=width))[0]
        return Resize(x.channels, width), Resize(numbers, fitting)

    def channel_placement(self, x: Shape) -> ChannelPlacement | None:
        if not self.only and not self.group:
            return None
        from yolor_cfg.ops.implicit import ChannelPlacement

        part = self._value_range(x) if self.only else None
        return ChannelPlacement(x.channels, self.anchors, part, is_grouped=bool(self.group))

    def _allowed_lengths(self, x: Shape) -> list[int]:
        """The numbers of values z may have."""
        first, end = self._value_range(x) if self.only else (0, 0)
        if self.group:
            if self.anchors > x.channels:
                raise self.error(
                    "anchors",
                    "more anchors than channels",
                    found=str(self.anchors),
                    allowed=f"1 to {x.channels}",
                )
            return [self.anchors]
        return [self.anchors * (end - first), x.channels] if self.only else [x.channels]

    def _value_range(self, x: Shape) -> tuple[int, int]:
        """The range of an anchor's values that z applies to: the first, and the first after the last."""
        values, rest = divmod(x.channels, self.anchors)
        first, end = BOX_SLICES[self.only]
        if rest or values <= max(first, 4):
            raise self.error(
                "only",
                "the channels do not match this number of anchors",
                found=f"{count_of(x.channels, 'channel')}, anchors={self.anchors}",
                allowed="anchors * (classes + 5) channels",
            )
        return first, values if end is None else end


class ShiftChannelsSection(_PerChannelSection, names="shift_channels"):
    """x + z."""

    examples = example_cfgs("shift_channels")
    combine = "shift"


class ControlChannelsSection(_PerChannelSection, names="control_channels"):
    """x * z."""

    examples = example_cfgs("control_channels")
    combine = "control"
    is_multiplier = True


class SelectChannelsSection(_PerChannelSection, names="select_channels"):
    """x * sigmoid(z)."""

    examples = example_cfgs("select_channels")
    combine = "select"


class AlternateChannelsSection(_VectorSection, names="alternate_channels"):
    """z repeated over the feature map, then x, as channels."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR_CFG + "[alternate_channels]\nfrom=1",)
    combine = "alternate"


class ShiftChannels2dSection(_PerChannelSection, names="shift_channels_2d"):
    """x + z, where z is a matrix flattened to a vector."""

    examples = example_cfgs("shift_channels_2d")
    combine = "shift"
    flat = True


class ControlChannels2dSection(_PerChannelSection, names="control_channels_2d"):
    """x * z, where z is a matrix flattened to a vector."""

    examples = example_cfgs("control_channels_2d")
    combine = "control"
    is_multiplier = True
    flat = True


class SelectChannels2dSection(_PerChannelSection, names="select_channels_2d"):
    """x * sigmoid(z), where z is a matrix flattened to a vector."""

    examples = example_cfgs("select_channels_2d")
    combine = "select"
    flat = True


class AlternateChannels2dSection(_VectorSection, names="alternate_channels_2d"):
    """z repeated over the feature map, then x, as channels, where z is a matrix flattened to a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX_CFG + "[alternate_channels_2d]\nfrom=1",)
    combine = "alternate"
    flat = True


class ProjectChannelsSection(_VectorSection, names="project_channels"):
    """The inner product of every cell of x with each of the `filters` vectors stored one after another in z:
    the projection of x onto their span (Figure 3)."""

    examples = (
        "[maxpool]\nsize=3\n[implicit_add]\nfilters=24\n[route]\nlayers=0\n"
        "[project_channels]\nfrom=1\nfilters=3",
        "[maxpool]\nsize=3\n[implicit_add_2d]\natoms=5\nfilters=8\n[route]\nlayers=0\n"
        "[project_channels]\nfrom=1\nfilters=5",
    )

    darknet_form = "itself"

    filters = Int(1, least=1, wanted=True, help="number of vectors and of output channels")

    def check(self) -> None:
        check_one_source(self, self.from_)
        self.require_keys("filters")

    def shape(self, x: Shape, z: Shape) -> Shape:
        if z.size != self.filters * x.channels:
            raise self.error(
                "from",
                "the wrong number of values in z",
                found=f"{count_of(z.size, 'value')} in z",
                allowed=f"{self.filters * x.channels}",
                hint=f"z holds `filters` vectors with one value for each of the {x.channels} channels",
            )
        return x._replace(channels=self.filters)

    def module(self, x: Shape, z: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        return ops.Projection(self.filters)

    def macs(self, out: Shape, x: Shape, z: Shape) -> int:
        return out.size * x.channels
