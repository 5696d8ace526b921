"""The building blocks of the YOLOv4-CSP and YOLOR family as cfg sections, from the papers' tables.

Every block is a function that appends sections to a `CfgWriter` and returns the index of the last one.
References within a block are relative; references between blocks are absolute, and a comment above each of
them in the cfg says what is read there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yolor_cfg.errors import count_of


class NetworkStyle(NamedTuple):
    """What a whole network has in common: its activation, and whether it is the paper branch's variant, which
    applies batch norm and activation to the dense branch of CSPF, rCSP and CSPSPP a second time before the
    concatenation."""

    activation: str
    paper: bool = False


class CspMerge(NamedTuple):
    """Where a cross stage partial block concatenates its two branches: the kind of block (csp, csp_first,
    rcsp, csp_spp, c3), the channels of each branch, the index of the [route]."""

    kind: str
    width: int
    route: int


class CfgWriter:
    """Writes cfg text; `count` is the index of the next section, `merges` are the cross stage partial blocks
    written so far."""

    def __init__(self, style: NetworkStyle) -> None:
        self.style = style
        self.count = 0
        self.merges: list[CspMerge] = []
        self._head: list[str] = []
        self._parts: list[tuple[int, str, list[str]]] = []  # first section, description, lines
        self._names: dict[int, str] = {}

    @property
    def text(self) -> str:
        """The whole cfg; each part is headed by the numbers of its sections."""
        lines = list(self._head)
        ends = [first for first, _, _ in self._parts[1:]] + [self.count]
        for (first, what, body), end in zip(self._parts, ends, strict=True):
            numbers = f"section {first}" if end == first + 1 else f"sections {first}..{end - 1}"
            lines += ["", f"# {numbers}: {what}", *body]
        return "\n".join(lines) + "\n"

    def add_title(self, *lines: str) -> None:
        """Add comments at the top of the file."""
        self._head += [f"# {line}" for line in lines]

    def add_net(self, **values: object) -> None:
        """Add the [net] section."""
        self._head += ["[net]", *_format_entries(values)]

    def start_part(self, what: str) -> None:
        """Start a part of the cfg described as `what`."""
        self._parts.append((self.count, what, []))

    def name_section(self, index: int, what: str) -> int:
        """Describe a section, for comments where other sections read it; returns the index."""
        self._names[index] = what
        return index

    def add(self, name: str, *, reads: Sequence[int] = (), **values: object) -> int:
        """Append a section and return its index; `from_` is the key `from`. `reads` are the absolute
        references among its values."""
        comments = [f"# {index} is {self._names[index]}" for index in reads if index >= 0]
        self._parts[-1][2].extend(["", *comments, f"[{name}]", *_format_entries(values)])
        self.count += 1
        return self.count - 1

    def conv(self, size: int, filters: int, *, stride: int = 1, kind: str = "convolutional") -> int:
        """Append a convolution with batch norm and the network's activation."""
        return self.add(
            kind,
            batch_normalize=1,
            filters=filters,
            size=size,
            stride=stride,
            pad=1,
            activation=self.style.activation,
        )

    def route(self, *layers: int) -> int:
        """Append a concatenation of other sections."""
        return self.add("route", reads=layers, layers=",".join(map(str, layers)))

    def shortcut(self) -> int:
        """Append a residual sum with the input of the last two convolutions."""
        return self.add("shortcut", from_=-3, activation="linear")

    def merge(self, kind: str, width: int, back: int) -> int:
        """Concatenate the dense branch, which ends here, and the cross branch, `back` sections earlier."""
        added = 0
        if self.style.paper and kind != "csp":
            self.add("BatchNorm2d")
            self.add("activation", activation=self.style.activation)
            added = 2
        self.merges.append(CspMerge(kind, width, self.route(-1, -(back + added))))
        return self.merges[-1].route


def _format_entries(values: dict[str, object]) -> list[str]:
    return [f"{key.rstrip('_')}={value}" for key, value in values.items()]


def write_bottleneck(w: CfgWriter, filters: int) -> int:
    """1x1 to half the channels, 3x3 back to all, plus the input."""
    w.conv(1, filters // 2)
    w.conv(3, filters)
    return w.shortcut()


def write_csp(w: CfgWriter, filters: int, repeats: int) -> int:
    """Cross stage partial block, fusion last: the dense branch ends in a transition convolution."""
    half = filters // 2
    w.conv(1, half)
    w.route(-2)
    w.conv(1, half)
    _write_conv_pairs(w, half, repeats, residual=True)
    w.conv(1, half)
    w.merge("csp", half, 3 * repeats + 4)
    return w.conv(1, filters)


def write_csp_first(
    w: CfgWriter, filters: int, repeats: int, *, kind: str = "csp_first", residual: bool = True
) -> int:
    """CSPF: like `write_csp` without the transition convolution (fusion first)."""
    half = filters // 2
    w.conv(1, half)
    w.route(-2)
    w.conv(1, half)
    _write_conv_pairs(w, half, repeats, residual=residual)
    w.merge(kind, half, (3 if residual else 2) * repeats + 3)
    return w.conv(1, filters)


def _write_conv_pairs(w: CfgWriter, filters: int, repeats: int, *, residual: bool) -> None:
    for _ in range(repeats):
        w.conv(1, filters)
        w.conv(3, filters)
        if residual:
            w.shortcut()


def write_rcsp(w: CfgWriter, filters: int, repeats: int) -> int:
    """The neck's block: like CSPF, without residuals and without halving the channels."""
    w.conv(1, filters)
    w.conv(1, filters)
    w.route(-2)
    _write_conv_pairs(w, filters, repeats, residual=False)
    w.merge("rcsp", filters, 2 * repeats + 2)
    return w.conv(1, filters)


def write_csp_spp(w: CfgWriter, filters: int, *, pairs: int = 1) -> int:
    """Spatial pyramid pooling on the dense branch, followed by `pairs` of 1x1 and 3x3 convolutions (2 in the
    CSP-X models)."""
    w.conv(1, filters)
    w.route(-2)
    w.conv(1, filters)
    w.conv(3, filters)
    w.conv(1, filters)
    write_max_pools(w, (5, 9, 13))
    w.route(-1, -3, -5, -6)
    _write_conv_pairs(w, filters, pairs, residual=False)
    w.merge("csp_spp", filters, 11 + 2 * pairs)
    return w.conv(1, filters)


def write_max_pools(w: CfgWriter, sizes: Sequence[int]) -> None:
    """Max-pooling of one map at stride 1 with each size, with routes back to that map in between."""
    for number, size in enumerate(sizes):
        if number:
            w.route(-2 * number)
        w.add("maxpool", stride=1, size=size)


def write_downsample(w: CfgWriter, filters: int) -> int:
    """A 3x3 convolution with stride 2."""
    return w.conv(3, filters, stride=2)


def write_csp_downsample(w: CfgWriter, filters: int, channels: int) -> int:
    """CSP convolution (Figure A1 d): half 3x3/2, half max-pooling; `channels` are the input's."""
    w.conv(1, channels)
    w.conv(3, filters // 2, stride=2)
    w.route(-3)
    w.add("maxpool", size=2, stride=2)
    w.conv(1, filters // 2)
    return w.route(-4, -1)


def write_top_down(w: CfgWriter, filters: int, *, lateral: int, repeats: int) -> int:
    """One level finer: upsample, concatenate with the backbone's map `lateral`, then rCSP."""
    w.conv(1, filters)
    w.add("upsample", stride=2)
    w.route(lateral)
    w.conv(1, filters)
    w.route(-1, -3)
    return write_rcsp(w, filters, repeats)


class HeadsConfig(NamedTuple):
    """The heads of a network, fine to coarse: `widths` are the channels of the maps they predict from; with
    `has_convs`, a 3x3 convolution makes these maps from those of the neck."""

    widths: tuple[int, ...]
    anchors: str
    classes: int
    implicit: bool
    has_convs: bool = True

    @property
    def anchors_per_head(self) -> int:
        """Anchors per head, the same for all."""
        return (self.anchors.count(",") + 1) // 2 // len(self.widths)

    @property
    def filters(self) -> int:
        """Output channels: box, objectness and classes for each anchor."""
        return self.anchors_per_head * (5 + self.classes)


def write_heads(w: CfgWriter, heads: HeadsConfig, tips: Sequence[int]) -> None:
    """One head on each of the neck's maps `tips`, P3 first; all implicit sections come before them."""
    shifts, controls = _write_implicit(w, heads) if heads.implicit else ([], [])
    for level, tip in enumerate(tips):
        content = f"{count_of(heads.anchors_per_head, 'anchor')}, {count_of(heads.classes, 'class')}"
        w.start_part(f"head P{level + 3}, stride {8 << level}: {content}")
        w.route(tip)
        if heads.has_convs:
            w.conv(3, heads.widths[level])
        if heads.implicit:
            w.add("shift_channels", reads=[shifts[level]], from_=shifts[level])
        w.add("convolutional", size=1, stride=1, pad=1, filters=heads.filters, activation="linear")
        if heads.implicit:
            w.add("control_channels", reads=[controls[level]], from_=controls[level])
        _write_yolo(w, heads, level)


def _write_implicit(w: CfgWriter, heads: HeadsConfig) -> tuple[list[int], list[int]]:
    """Write all additions, then all multiplications, fine to coarse; returns their indices."""
    w.start_part("implicit knowledge, feature alignment: is added before the predictions of P3, P4, ...")
    shifts = [
        w.name_section(w.add("implicit_add", filters=width), f"the implicit vector of P{level}'s features")
        for level, width in enumerate(heads.widths, start=3)
    ]
    w.start_part("implicit knowledge, prediction refinement: multiplies the predictions of P3, P4, ...")
    controls = [
        w.name_section(
            w.add("implicit_mul", filters=heads.filters), f"the implicit vector of P{level}'s predictions"
        )
        for level, _ in enumerate(heads.widths, start=3)
    ]
    return shifts, controls


def _write_yolo(w: CfgWriter, heads: HeadsConfig, level: int) -> int:
    mask = range(level * heads.anchors_per_head, (level + 1) * heads.anchors_per_head)
    return w.add(
        "yolo",
        mask=",".join(map(str, mask)),
        anchors=heads.anchors,
        classes=heads.classes,
        num=heads.anchors_per_head * len(heads.widths),
        scale_x_y=1.05,
    )
