"""The options of `yolor detect` for heat maps."""

from __future__ import annotations

import click

from yolor_cfg.cli.options import TextParam

WHICH = ("all", "best", "each")


class HeatParam(TextParam):
    """`all`, `best`, `each`, or the number of a head."""

    name = "heat"

    def parse(self, text: str) -> tuple[str, int | None]:
        """What there are maps of, and of which head; None: of all."""
        if text.isascii() and text.isdigit() and len(text) < 6:
            return "all", int(text)
        if text not in WHICH:
            raise ValueError(f"{text!r} is none of {', '.join(WHICH)}, and no number of a head.")
        return text, None


HEAT_OPTIONS = (
    click.option(
        "--heatmap",
        type=HeatParam(),
        metavar="all|best|each|HEAD",
        help="Write NAME_heat.jpg: what in the image made the detections, by gradients (HiResCAM): of all in "
        "one picture, of the best alone, of each in a picture of its own, or of those of one head, counted "
        "from 0. With --json: the file, and of each detection how much of its map lies in its box. Of a "
        "classifier it is the best class, or each that is shown.",
    ),
    click.option(
        "--heatmap-layer",
        type=click.IntRange(0),
        metavar="N",
        help="With --heatmap: the features of layer N; default: the last layer through which all heads see "
        "the image.",
    ),
)
