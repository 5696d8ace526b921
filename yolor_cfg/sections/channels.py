"""YOLOR's sections that change each channel of a map by one number of a vector z, implicit or computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.lang.keys import Refs
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.combining import one_source
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

VECTOR = "[implicit_add]\nfilters=8\n[route]\nlayers=0\n"
MATRIX = "[implicit_add_2d]\natoms=4\nfilters=2\n[route]\nlayers=0\n"


class _WithVector(Section):
    """The section before is the map x, the one in `from` is z; each subclass names what it does with them."""

    dialects = ("yolor",)
    combine: ClassVar[str] = ""  # the function in ops.implicit
    flat: ClassVar[bool] = False  # z is a vector of all its numbers, whatever its shape

    from_ = Refs((), wanted=True, help="the section with the vector z")

    def check(self) -> None:
        one_source(self, self.from_)

    def sources(self) -> tuple[int, ...]:
        return (self.index - 1, *self.absolute(self.from_, "from"))

    def shape(self, x: Shape, z: Shape) -> Shape:  # type: ignore[override]
        z = Shape(z.size, 1, 1) if self.flat else z
        if z[1:] not in ((1, 1), x[1:]):
            raise self.error("from", "inputs differ in size", found=f"{z.height}x{z.width}",
                             allowed=["1x1", f"{x.height}x{x.width}"])
        if self.combine == "alternate":
            return x._replace(channels=z.channels + x.channels)
        if z.channels != x.channels:
            found = f"{z.channels} in z, {x.channels} in the map"
            raise self.error("from", "channel counts differ", found=found, allowed=str(x.channels),
                             hint=f"give the section in `from` filters={x.channels}")
        return x

    def module(self, x: Shape, z: Shape) -> nn.Module:  # type: ignore[override]
        from yolor_cfg.ops import implicit as ops
        return ops.WithVector(getattr(ops, self.combine), self.flat)


class ShiftChannels(_WithVector, names="shift_channels"):
    """x + z."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR + "[shift_channels]\nfrom=1",)
    combine = "shift"


class ControlChannels(_WithVector, names="control_channels"):
    """x times z."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR + "[control_channels]\nfrom=1",)
    combine = "control"


class SelectChannels(_WithVector, names="select_channels"):
    """x times the sigmoid of z."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR + "[select_channels]\nfrom=1",)
    combine = "select"


class AlternateChannels(_WithVector, names="alternate_channels"):
    """z spread over the map, then x, as channels."""

    examples = ("[maxpool]\nsize=3\n" + VECTOR + "[alternate_channels]\nfrom=1",)
    combine = "alternate"


class ShiftChannels2d(_WithVector, names="shift_channels_2d"):
    """x + z, where z is a matrix read as a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX + "[shift_channels_2d]\nfrom=1",)
    combine = "shift"
    flat = True


class ControlChannels2d(_WithVector, names="control_channels_2d"):
    """x times z, where z is a matrix read as a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX + "[control_channels_2d]\nfrom=1",)
    combine = "control"
    flat = True


class SelectChannels2d(_WithVector, names="select_channels_2d"):
    """x times the sigmoid of z, where z is a matrix read as a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX + "[select_channels_2d]\nfrom=1",)
    combine = "select"
    flat = True


class AlternateChannels2d(_WithVector, names="alternate_channels_2d"):
    """z spread over the map, then x, as channels, where z is a matrix read as a vector."""

    examples = ("[maxpool]\nsize=3\n" + MATRIX + "[alternate_channels_2d]\nfrom=1",)
    combine = "alternate"
    flat = True
