"""Implicit knowledge: sections whose output is learned and is the same for every image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.lang.keys import Float, Int
from yolor_cfg.sections.base import Section, Stored
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class DarknetImplicit(Section, names="implicit"):
    """A learned map `filters` x `atoms` x 1; it reads the images only to know how many there are."""

    dialects = ("darknet",)
    examples = ("[implicit]\nfilters=6\natoms=3\nmean=1\nstd=.1",)

    filters = Int(128, least=1, wanted=True, help="channels of the map")
    atoms = Int(1, least=1, help="height of the map")
    mean = Float(0, help="mean of the numbers at the start")
    std = Float(0.2, least=0, help="the numbers start evenly spread from mean - std to mean + std")

    def sources(self) -> tuple[int, ...]:
        return (-1,)

    def shape(self, image: Shape) -> Shape:  # type: ignore[override]
        return Shape(self.filters, self.atoms, 1)

    def module(self, image: Shape) -> nn.Module:  # type: ignore[override]
        from yolor_cfg.ops import implicit as ops
        return ops.ImplicitOfEach(ops.uniform((1, self.filters, self.atoms, 1), self.mean, self.std))

    def tensors(self, image: Shape) -> list[Stored]:  # type: ignore[override]
        return [Stored("implicit", "implicit", (1, self.filters, self.atoms, 1))]

    def decayed(self) -> tuple[str, ...]:
        return ("implicit",)


class _Implicit(Section):
    """YOLOR's: a learned tensor [1, C, H, W] in the place of a value; it starts normally distributed."""

    dialects = ("yolor",)
    needed: ClassVar[tuple[str, ...]] = ("filters",)

    filters = Int(1, least=1, wanted=True, help="how many numbers (of each atom)")
    mean = Float(0, help="mean of the numbers at the start")
    std = Float(0.02, least=0, help="standard deviation of the numbers at the start")

    def check(self) -> None:
        self.needs(*self.needed)

    def sources(self) -> tuple[int, ...]:
        return ()

    def shape(self) -> Shape:  # type: ignore[override]
        return Shape(self.filters, 1, 1)

    def module(self) -> nn.Module:  # type: ignore[override]
        from yolor_cfg.ops import implicit as ops
        return ops.Implicit(ops.normal((1, *self.shape()), self.mean, self.std))

    def tensors(self) -> list[Stored]:  # type: ignore[override]
        return [Stored("implicit", "implicit", (1, *self.shape()))]


class _Implicit2d(_Implicit):
    """`atoms` rows of `filters` numbers; atoms count as channels, so that a 1x1 convolution mixes them."""

    needed = ("atoms", "filters")

    atoms = Int(1, least=1, wanted=True, help="rows of the matrix")

    def shape(self) -> Shape:  # type: ignore[override]
        return Shape(self.atoms, self.filters, 1)


class ImplicitAdd(_Implicit, names="implicit_add"):
    """A learned vector to be added: starts around 0."""

    examples = ("[implicit_add]\nfilters=6\nmean=.5\nstd=.1",)


class ImplicitMul(_Implicit, names="implicit_mul"):
    """A learned vector to multiply by: starts around 1."""

    examples = ("[implicit_mul]\nfilters=6\nmean=.5\nstd=.1",)

    mean = Float(1, help="mean of the numbers at the start")


class ImplicitCat(_Implicit, names="implicit_cat"):
    """A learned vector to be concatenated: starts around 0."""

    examples = ("[implicit_cat]\nfilters=6\nmean=.5\nstd=.1",)


class ImplicitAdd2d(_Implicit2d, names="implicit_add_2d"):
    """A learned matrix to be added: starts around 0."""

    examples = ("[implicit_add_2d]\natoms=3\nfilters=6\nmean=.5\nstd=.1",)


class ImplicitMul2d(_Implicit2d, names="implicit_mul_2d"):
    """A learned matrix to multiply by: starts around 1."""

    examples = ("[implicit_mul_2d]\natoms=3\nfilters=6\nmean=.5\nstd=.1",)

    mean = Float(1, help="mean of the numbers at the start")


class ImplicitCat2d(_Implicit2d, names="implicit_cat_2d"):
    """A learned matrix to be concatenated: starts around 0."""

    examples = ("[implicit_cat_2d]\natoms=3\nfilters=6\nmean=.5\nstd=.1",)
