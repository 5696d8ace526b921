"""The building blocks of the YOLOv4-CSP and YOLOR family as cfg sections, from the papers' tables.

Every block is a function of a `Writer` that appends sections and returns the index of its last one.
References inside a block count back from the section that holds them; references between blocks are absolute.
"""

from __future__ import annotations

from typing import NamedTuple


class Style(NamedTuple):
    """What is the same in a whole network: its activation, and whether it is the paper branch's variant,
    which normalises and activates the dense branch of CSPF, rCSP and CSPSPP a second time before it is
    concatenated."""

    activation: str
    paper: bool = False


class Writer:
    """Cfg text in the making; `count` is the index that the next section gets."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.count = 0
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """All that was written."""
        return "\n".join(self._lines) + "\n"

    def note(self, comment: str) -> None:
        """A comment of its own, after a blank line."""
        self._lines += ["", f"# {comment}"]

    def net(self, **values: object) -> None:
        """The [net] section."""
        self._lines += ["[net]", *_entries(values)]

    def add(self, name: str, **values: object) -> int:
        """Append a section; `from_` stands for the key `from`. Returns its index."""
        self._lines += ["", f"[{name}]", *_entries(values)]
        self.count += 1
        return self.count - 1

    def conv(self, size: int, filters: int, *, stride: int = 1) -> int:
        """A convolution with batch norm and the network's activation."""
        return self.add(
            "convolutional",
            batch_normalize=1,
            filters=filters,
            size=size,
            stride=stride,
            pad=1,
            activation=self.style.activation,
        )

    def route(self, *layers: int) -> int:
        """The concatenation of other sections."""
        return self.add("route", layers=",".join(map(str, layers)))

    def shortcut(self) -> int:
        """The sum with what came in before the last two convolutions."""
        return self.add("shortcut", from_=-3, activation="linear")

    def second_norm(self) -> int:
        """What the paper branch puts on a dense branch before it is concatenated; returns the sections
        added."""
        if not self.style.paper:
            return 0
        self.add("BatchNorm2d")
        self.add("activation", activation=self.style.activation)
        return 2


def _entries(values: dict[str, object]) -> list[str]:
    return [f"{key.rstrip('_')}={value}" for key, value in values.items()]


def bottleneck(w: Writer, filters: int) -> int:
    """1x1 to half the channels, 3x3 back, plus the input."""
    w.conv(1, filters // 2)
    w.conv(3, filters)
    return w.shortcut()


def csp(w: Writer, filters: int, repeats: int) -> int:
    """Cross stage partial block, fusion last: the dense branch ends in a transition convolution."""
    half = filters // 2
    w.conv(1, half)
    w.route(-2)
    w.conv(1, half)
    _residuals(w, half, repeats)
    w.conv(1, half)
    w.route(-1, -(3 * repeats + 4))
    return w.conv(1, filters)


def csp_first(w: Writer, filters: int, repeats: int) -> int:
    """CSPF: as `csp` without the transition (fusion first)."""
    half = filters // 2
    w.conv(1, half)
    w.route(-2)
    w.conv(1, half)
    _residuals(w, half, repeats)
    added = w.second_norm()
    w.route(-1, -(3 * repeats + 3 + added))
    return w.conv(1, filters)


def _residuals(w: Writer, filters: int, repeats: int) -> None:
    for _ in range(repeats):
        w.conv(1, filters)
        w.conv(3, filters)
        w.shortcut()


def rcsp(w: Writer, filters: int, repeats: int) -> int:
    """The neck's block: as CSPF, without residuals and without halving the channels."""
    w.conv(1, filters)
    w.conv(1, filters)
    w.route(-2)
    for _ in range(repeats):
        w.conv(1, filters)
        w.conv(3, filters)
    added = w.second_norm()
    w.route(-1, -(2 * repeats + 2 + added))
    return w.conv(1, filters)


def csp_spp(w: Writer, filters: int, *, pairs: int = 1) -> int:
    """Spatial pyramid pooling on the dense branch; `pairs` of 1x1 and 3x3 follow it (2 in the CSP-X
    models)."""
    w.conv(1, filters)
    w.route(-2)
    w.conv(1, filters)
    w.conv(3, filters)
    w.conv(1, filters)
    w.add("maxpool", stride=1, size=5)
    w.route(-2)
    w.add("maxpool", stride=1, size=9)
    w.route(-4)
    w.add("maxpool", stride=1, size=13)
    w.route(-1, -3, -5, -6)
    for _ in range(pairs):
        w.conv(1, filters)
        w.conv(3, filters)
    added = w.second_norm()
    w.route(-1, -(11 + 2 * pairs + added))
    return w.conv(1, filters)


def down(w: Writer, filters: int) -> int:
    """3x3 with stride 2."""
    return w.conv(3, filters, stride=2)


def down_csp(w: Writer, filters: int, channels: int) -> int:
    """CSP convolution (Figure A1 d): half the output by 3x3/2, half by max-pooling; `channels` come in."""
    w.conv(1, channels)
    w.conv(3, filters // 2, stride=2)
    w.route(-3)
    w.add("maxpool", size=2, stride=2)
    w.conv(1, filters // 2)
    return w.route(-4, -1)


def top_down(w: Writer, filters: int, *, lateral: int, repeats: int) -> int:
    """One level finer: what is above, upsampled, beside the backbone's map `lateral`, then rCSP."""
    w.conv(1, filters)
    w.add("upsample", stride=2)
    w.route(lateral)
    w.conv(1, filters)
    w.route(-1, -3)
    return rcsp(w, filters, repeats)


class Head(NamedTuple):
    """One detection head: its anchors among all of the network, and the filters of its prediction."""

    mask: tuple[int, ...]
    anchors: str
    classes: int

    @property
    def filters(self) -> int:
        """Box, objectness and classes for each anchor."""
        return len(self.mask) * (5 + self.classes)


def predict(w: Writer, head: Head, *, shift: int | None = None, control: int | None = None) -> int:
    """The prediction of one level and its [yolo]; `shift` (iFA) and `control` (iPR) are implicit sections."""
    if shift is not None:
        w.add("shift_channels", from_=shift)
    w.add("convolutional", size=1, stride=1, pad=1, filters=head.filters, activation="linear")
    if control is not None:
        w.add("control_channels", from_=control)
    return w.add(
        "yolo",
        mask=",".join(map(str, head.mask)),
        anchors=head.anchors,
        classes=head.classes,
        num=head.anchors.count(",") // 2 + 1,
        scale_x_y=1.05,
    )
