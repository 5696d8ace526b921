"""Checks that several sections share."""

from __future__ import annotations

from os.path import isfile
from typing import Protocol, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.lang.keys import KeyValues
from yolor_cfg.lang.paths import resolve_cfg_path
from yolor_cfg.lang.syntax import Line
from yolor_cfg.sections.tensors import can_split_filters, next_filter_count
from yolor_cfg.shape import Shape

BOX_VALUES = 4  # of those that `coords` counts in the heads of the first two YOLOs


class CheckedSection(Protocol):
    """A section that raises or records its errors and warnings."""

    path: str
    warnings: list[CfgError]

    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError: ...
    def fault(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...
    def warn(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...
    def require_keys(self, *names: str) -> None: ...


class WiredSection(CheckedSection, Protocol):
    """One that reads others, in its dialect."""

    values: KeyValues
    dialect: Dialect

    @property
    def lines(self) -> dict[str, Line]: ...
    def sources(self) -> tuple[int, ...]: ...


def check_coords(head: CheckedSection, coords: int) -> None:
    """Record an error for boxes of fewer than four numbers, a warning for more: C Darknet reads four."""
    if coords < BOX_VALUES:
        head.fault(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="with fewer, C Darknet reads beyond the end of its memory",
        )
    elif coords > BOX_VALUES:
        head.warn(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="C Darknet makes room for more, and then reads the boxes as if there were four each",
        )


def check_one_source(section: CheckedSection, references: tuple[int, ...]) -> None:
    """Record an error unless the key `from` names exactly one section."""
    section.require_keys("from")
    if len(references) > 1:
        section.fault("from", "takes one section", found=f"{len(references)} sections", allowed="one number")


def check_file(section: CheckedSection, key: str, name: str) -> None:
    """Warn of a file that is named and not there."""
    if name and not isfile(resolve_cfg_path(name, section.path)):
        section.warn(
            key,
            "no such file",
            found=name,
            hint="C Darknet stops here; tried from the folder of the cfg, then from the current one",
        )


def check_sizes(section: CheckedSection, sizes: tuple[int, ...], filters: int) -> None:
    """Record an error unless kernels of these sizes can be used in parallel, and the filters divided among
    them."""
    if not all(size % 2 for size in sizes):
        section.fault("size", "a list of sizes takes odd ones", found=f"{sizes}", allowed="odd sizes")
    if not can_split_filters(sizes, filters):
        section.fault(
            "filters",
            "the filters cannot be divided among these sizes",
            found=f"{filters}",
            hint=f"{next_filter_count(sizes, filters)} can be divided",
        )


def check_same_size(section: WiredSection, key: str, inputs: tuple[Shape, ...]) -> None:
    """Raise CfgError at this key unless all inputs have the height and width of the first."""
    if all(x[1:] == inputs[0][1:] for x in inputs):
        return
    names = ["the image" if source < 0 else f"#{source}" for source in section.sources()]
    sizes = [f"{x.height}x{x.width}" for x in inputs]
    line = section.lines.get(key)
    end = "; a trailing comma is followed by a 0" if line and line.value.rstrip().endswith(",") else ""
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            raise section.error(
                key,
                "inputs differ in size",
                found=f"{sizes[0]} and {size}",
                allowed="equal sizes",
                hint=f"{names[0]} is {sizes[0]}, {name} is {size}{end}",
            )


def warn_unused_activation(section: WiredSection) -> None:
    """Warn of an activation that Darknet applies but YOLOR's code ignores."""
    activation = section.values.get("activation", "linear")
    if not section.dialect.activates_sums and activation != "linear":
        what = f"has no effect in the {section.dialect.name} dialect"
        section.warn("activation", what, found=activation)
