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
    """One section; the image has the index -1. `share` is that of all multiply-adds, `memory` the bytes of
    the output of one image, `tasks` those that the layer serves if it does not serve all alike, `text` its
    lines in the cfg."""

    index: int
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

    @property
    def name(self) -> str:
        """`convolutional 3x3/2`."""
        return f"{self.kind} {self.geometry}".strip()


class Link(NamedTuple):
    """The layer `target` reads the layer `source`; `kind` is one of LINK_NAMES."""

    source: int
    target: int
    kind: str


class Group(NamedTuple):
    """Layers one after the other: a stage of the backbone or the neck, a head, or implicit knowledge. Height
    and width are those of its maps in cells, the stride is input pixels per cell, both 0 for vectors alone."""

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
    def share(self) -> float:
        """Its part of all multiply-adds, from 0 to 1."""
        return sum(layer.share for layer in self.layers)


class Picture(NamedTuple):
    """A network to draw: groups in cfg order, links by target, the names of its tasks; totals in words."""

    title: str
    groups: tuple[Group, ...]
    links: tuple[Link, ...]
    tasks: tuple[str, ...]
    totals: tuple[tuple[str, str], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in order, the image first."""
        return tuple(layer for group in self.groups for layer in group.layers)
