"""YOLOR's sections that combine a map with a vector z, implicit or computed.

Where the paper (arXiv 2105.04206) uses them:

| section of the paper | use | here |
|---|---|---|
| 3.1 | projection onto a manifold: inner products | [project_channels] |
| 3.2 | kernel space moved; scaled; rotated | [shift_channels]; [control_channels]; [project_channels] |
| 3.3 | offset of box centres | [shift_channels] only=xy after the prediction |
| 3.3 | anchors found by learning (iPR* in 5.5) | [control_channels] only=wh after the prediction |
| 3.3 | choice of features for a task | [select_channels] |
| 3.3 | conditions for what follows | [alternate_channels] |
| 5.2, 5.5 | feature alignment (iFA; iFA*) | [shift_channels]; [control_channels] group=anchors, before it |
| 5.3 | prediction refinement (iPR) | [shift_channels] or [control_channels] after it |
| 5.4 | an own branch of a task | [shift_channels] at its start; 4.2: `chain` in its [implicit_add] |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.lang.dialect import YOLOR_ONLY
from yolor_cfg.lang.keys import Choice, Int, RefList
from yolor_cfg.sections.base import Resize, Section, check_one_source
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
# The values of one anchor are x y w h, objectness, classes; None is their end.
BOX_SLICES: dict[str, tuple[int, int | None]] = {
    "xy": (0, 2),
    "wh": (2, 4),
    "obj": (4, 5),
    "classes": (5, None),
}


def example_cfgs(name: str) -> tuple[str, ...]:
    """Examples of a section with a vector, for all channels, for those of the sizes and for each anchor."""
    vector = MATRIX_CFG if name.endswith("2d") else VECTOR_CFG
    return f"[maxpool]\nsize=3\n{vector}[{name}]\nfrom=1", SIZES_CFG.format(name), FACTORS_CFG.format(name)


class _VectorSection(Section):
    """The section before is the map x, the one in `from` is z; each subclass names what it does with them."""

    dialects = YOLOR_ONLY
    darknet_form = "vector"
    combine: ClassVar[str] = ""  # the function in ops.implicit
    flat: ClassVar[bool] = False  # z is a vector of all its numbers, whatever its shape

    from_ = RefList((), wanted=True, help="the section with the vector z")

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

    def combined_shape(self, x: Shape, z: Shape) -> Shape:
        """The output for a z that is one number a channel or as large as the map."""
        return x._replace(channels=z.channels + x.channels)

    def module(self, x: Shape, z: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        return ops.VectorCombine(getattr(ops, self.combine), self.flat, self.channel_placement(x))

    def channel_placement(self, x: Shape) -> ChannelPlacement | None:
        """Which channels of x the numbers of z are for; None where there is one for each."""
        return None


class _PerChannelSection(_VectorSection):
    """One number of z for each channel of x; with `only` for some values of each anchor's boxes, with `group`
    one for all that belong to an anchor. The channels left out stay as they are."""

    only = Choice(
        "",
        tuple(BOX_SLICES),
        help="the values of each anchor that z is for; z has as many numbers as "
        "they are, or one for each channel of which the others count for nothing",
    )
    group = Choice(
        "",
        ("anchors",),
        help="anchors: the channels are shared out among the anchors, and z has one number for each",
    )
    anchors = Int(3, least=1, help="how many anchors have their values in the map, for `only` and `group`")

    def combined_shape(self, x: Shape, z: Shape) -> Shape:
        fitting = self._allowed_lengths(x)
        if z.channels not in fitting:
            found = f"{z.channels} in z, {x.channels} in the map"
            hint = f"give the section in `from` filters={fitting[0]}"
            hint += ", or say how many anchors there are" if self.only or self.group else ""
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
        """How many numbers z may have."""
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
        """The first of an anchor's values that z is for, and the first after them."""
        values, rest = divmod(x.channels, self.anchors)
        first, end = BOX_SLICES[self.only]
        if rest or values <= max(first, 4):
            raise self.error(
                "only",
                "the map holds no boxes of that many anchors",
                found=f"{x.channels} channels, anchors={self.anchors}",
                allowed="anchors * (classes + 5) channels",
            )
        return first, values if end is None else end


class ShiftChannelsSection(_PerChannelSection, names="shift_channels"):
    """x + z."""

    examples = example_cfgs("shift_channels")
    combine = "shift"


class ControlChannelsSection(_PerChannelSection, names="control_channels"):
    """x times z."""

    examples = example_cfgs("control_channels")
    combine = "control"
    is_multiplier = True


class SelectChannelsSection(_PerChannelSection, names="select_channels"):
    """x times the sigmoid of z."""

    examples = example_cfgs("select_channels")
    combine = "select"


class AlternateChannelsSection(_VectorSection, names="alternate_channels"):
    """z spread over the map, then x, as channels."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR_CFG + "[alternate_channels]\nfrom=1",)
    combine = "alternate"


class ShiftChannels2dSection(_PerChannelSection, names="shift_channels_2d"):
    """x + z, where z is a matrix read as a vector."""

    examples = example_cfgs("shift_channels_2d")
    combine = "shift"
    flat = True


class ControlChannels2dSection(_PerChannelSection, names="control_channels_2d"):
    """x times z, where z is a matrix read as a vector."""

    examples = example_cfgs("control_channels_2d")
    combine = "control"
    is_multiplier = True
    flat = True


class SelectChannels2dSection(_PerChannelSection, names="select_channels_2d"):
    """x times the sigmoid of z, where z is a matrix read as a vector."""

    examples = example_cfgs("select_channels_2d")
    combine = "select"
    flat = True


class AlternateChannels2dSection(_VectorSection, names="alternate_channels_2d"):
    """z spread over the map, then x, as channels, where z is a matrix read as a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX_CFG + "[alternate_channels_2d]\nfrom=1",)
    combine = "alternate"
    flat = True


class ProjectChannelsSection(_VectorSection, names="project_channels"):
    """The inner product of every cell of x with each of `filters` vectors, which z holds one after another:
    x projected onto what they span (Figure 3)."""

    examples = (
        "[maxpool]\nsize=3\n[implicit_add]\nfilters=24\n[route]\nlayers=0\n"
        "[project_channels]\nfrom=1\nfilters=3",
        "[maxpool]\nsize=3\n[implicit_add_2d]\natoms=5\nfilters=8\n[route]\nlayers=0\n"
        "[project_channels]\nfrom=1\nfilters=5",
    )

    darknet_form = "itself"

    filters = Int(1, least=1, wanted=True, help="how many vectors there are, and channels of the output")

    def check(self) -> None:
        check_one_source(self, self.from_)
        self.require_keys("filters")

    def shape(self, x: Shape, z: Shape) -> Shape:
        if z.size != self.filters * x.channels:
            raise self.error(
                "from",
                "z does not hold that many vectors",
                found=f"{z.size} numbers in z",
                allowed=f"{self.filters * x.channels}",
                hint=f"filters vectors of {x.channels} numbers, one for each channel of the map",
            )
        return x._replace(channels=self.filters)

    def module(self, x: Shape, z: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        return ops.Projection(self.filters)

    def macs(self, out: Shape, x: Shape, z: Shape) -> int:
        return out.size * x.channels
