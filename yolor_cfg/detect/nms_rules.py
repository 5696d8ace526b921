"""The settings of non-maximum suppression (NMS), and which kind of it a network gets. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.errors import check_choice

NMS_CHOICES = ("default", "greedynms", "diounms", "cfg", "yolor")
MAX_COORDINATE = 1e9
"""Input pixels; a box that extends further is an overflow of exp."""


class NmsRules(NamedTuple):
    """The settings of NMS. `kind` is C Darknet's default, greedynms (fixed exponent) or diounms (exponent
    `beta`), or yolor; `multi_label` reports every class of a box above `conf`, not just the best one."""

    conf: float = 0.25
    iou: float = 0.45
    kind: str = "default"
    beta: float = 0.6
    multi_label: bool = False
    agnostic: bool = False
    max_det: int = 300
    classes: tuple[int, ...] | None = None


def choose_kind(asked: str | None, *, own: str, is_pytorch: bool) -> str:
    """The kind asked for, where `cfg` means the cfg's `own`; if None, YOLOR's in the yolor dialect and the
    cfg's in the darknet dialect, as in C Darknet's `detector test`, `demo`, `valid` and `map`."""
    kind = check_choice(asked or ("yolor" if is_pytorch else "cfg"), NMS_CHOICES)
    return own if kind == "cfg" else kind


def kind_notes(asked: str | None, *, own: str, is_pytorch: bool) -> tuple[str, ...]:
    """A note for users of the darknet dialect who ask for a kind that is not the cfg's own."""
    if is_pytorch or asked in (None, "cfg", own):
        return ()
    return (f"NMS: {asked}, as asked for; C Darknet goes by the cfg, which says nms_kind={own}",)
