"""What a picture shows, whatever it is drawn with."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.shape import Shape

IMAGE = "image"
PLAIN, IMPLICIT, HEAD = "plain", "implicit", "head"
"""The role of a layer."""
ROLE_NAMES = {IMPLICIT: "implicit knowledge", HEAD: "prediction"}
NEXT, ROUTE, SUM, KNOWLEDGE, WEIGHTS = "next", "route", "sum", "knowledge", "weights"
"""The kind of a link: from the layer before, from a distant one, into a sum, from implicit knowledge, and of
weights that are used without reading a value."""
LINK_NAMES = {
    NEXT: "from the layer before",
    ROUTE: "route, from a distant layer",
    SUM: "shortcut, added",
    KNOWLEDGE: "read from implicit knowledge",
    WEIGHTS: "shared weights",
}


class Layer(NamedTuple):
    """One section; the image has the number -1. `share` is that of all multiply-adds, `memory` the bytes of
    the output of one image, `tasks` those that the layer serves if it does not serve all alike, `text` its
    lines in the cfg; `folded` are the layers that it stands for, if there are several: `repeats`
    equal blocks."""

    number: int
    kind: str
    shape: Shape
    role: str = PLAIN
    line: int = 0
    geometry: str = ""
    sources: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0
    share: float = 0.0
    memory: int = 0
    tasks: tuple[str, ...] = ()
    text: str = ""
    folded: tuple[Layer, ...] = ()
    repeats: int = 1

    @property
    def name(self) -> str:
        """`convolutional 3x3/2`."""
        return f"{self.kind} {self.geometry}".strip()

    @property
    def peak(self) -> float:
        """The share of its most expensive layer."""
        return max(layer.share for layer in self.folded or (self,))

    @property
    def key(self) -> str:
        """An identifier: `layer12`, `image`."""
        return layer_key(self.number)

    @property
    def lines(self) -> tuple[str, ...]:
        """`#12 convolutional 3x3/2`, `64x320x320`, and its tasks."""
        number = f"#{self.number} " if self.number >= 0 else ""
        tasks = (f"tasks: {', '.join(self.tasks)}",) if self.tasks else ()
        return (number + self.name, str(self.shape), *tasks)


def layer_key(number: int) -> str:
    """The identifier of a layer in files."""
    return f"layer{number}" if number >= 0 else IMAGE


class Link(NamedTuple):
    """The layer `target` reads the layer `source`; `kind` is one of LINK_NAMES."""

    source: int
    target: int
    kind: str


class Stage(NamedTuple):
    """Layers one after the other: those of the backbone or the neck on maps of one size, a head, or implicit
    knowledge. Height and width are those of the maps in cells, the stride is input pixels per cell; all are 0
    for vectors alone."""

    part: str
    height: int
    width: int
    stride: float
    layers: tuple[Layer, ...]

    @property
    def title(self) -> str:
        """`Backbone, stride 8`."""
        part = self.part[:1].upper() + self.part[1:]
        return f"{part}, stride {self.stride:.3g}" if self.stride else part

    @property
    def size(self) -> str:
        """`80x80`, height x width."""
        return f"{self.height}x{self.width}" if self.stride else ""

    @property
    def heading(self) -> str:
        """`Backbone, stride 8, 80x80`."""
        return ", ".join(part for part in (self.title, self.size) if part)

    @property
    def share(self) -> float:
        """Its part of all multiply-adds, from 0 to 1."""
        return sum(layer.share for layer in self.layers)


class Picture(NamedTuple):
    """A network to draw: stages in cfg order, links by target, the names of its tasks; totals in words."""

    title: str
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]
    tasks: tuple[str, ...]
    totals: tuple[tuple[str, str], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in order, the image first."""
        return tuple(layer for stage in self.stages for layer in stage.layers)

    @property
    def largest_share(self) -> float:
        """The largest part of all multiply-adds that one layer has."""
        return max((layer.peak for layer in self.layers), default=0.0)
