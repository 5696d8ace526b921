"""The options of `yolor detect` that print and write what C Darknet does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import TextParam, echo

if TYPE_CHECKING:
    from yolor_cfg.detect.darknet_files import WantedFile
    from yolor_cfg.detect.detections import Detections
    from yolor_cfg.detect.sources import Frame, MediaSource

    ShowDetections = Callable[[Frame, Detections], None]

MOST_LABELS = 5


class DarknetFileParam(TextParam):
    """`json=result.json`: what C Darknet would write, and where."""

    name = "file"

    def parse(self, text: str) -> WantedFile:
        """The kind and the path."""
        from yolor_cfg.detect.darknet_files import FORMS, WantedFile

        kind, equals, path = text.partition("=")
        if kind not in FORMS or not path:
            raise ValueError(f"{text!r} is not KIND=PATH with one of the kinds {', '.join(FORMS)}")
        return WantedFile(kind, path)


DARKNET_OPTIONS = (
    click.option(
        "--ext-output",
        "-ext_output",
        is_flag=True,
        help="Print each box as C Darknet's -ext_output does, to standard output: class, percent, left_x, "
        "top_y, width, height in pixels; every class of a box, from left to right.",
    ),
    click.option(
        "--darknet-output",
        is_flag=True,
        help="The same without the places of the boxes, as C Darknet's `detector test` prints them; of a "
        "classifier the names and probabilities of the best classes, as `classifier predict`.",
    ),
    click.option(
        "--top",
        type=click.IntRange(1, MOST_LABELS),
        default=MOST_LABELS,
        show_default=True,
        metavar="N",
        help="With --darknet-output: print the N best classes of an image.",
    ),
    click.option(
        "--save-darknet",
        type=DarknetFileParam(),
        multiple=True,
        metavar="KIND=PATH",
        help="Write what C Darknet would: json=FILE as `detector test -out`; and as `detector valid` "
        "coco=FILE, imagenet=FILE, or voc=PREFIX: a file PREFIXclass.txt for each class.",
    ),
    click.option("--force", is_flag=True, help="Overwrite existing files of --save-darknet."),
)


def prepare_darknet(output: dict[str, Any], options: dict[str, Any]) -> None:
    """C Darknet prints and writes every class of a box above the threshold."""
    prints = output["ext_output"] or output["darknet_output"]
    if prints and output["as_json"]:
        name = "--ext-output" if output["ext_output"] else "--darknet-output"
        raise click.UsageError(f"{name} and --json both print to standard output: give one of them")
    if (prints or output["save_darknet"]) and options["multi_label"] is None:
        options["multi_label"] = True


def darknet_show(output: dict[str, Any]) -> ShowDetections | None:
    """What prints an image in C Darknet's words; None where that is not asked for."""
    if not (output["ext_output"] or output["darknet_output"]):
        return None
    from yolor_cfg.detect.darknet_text import format_image

    has_places, top = output["ext_output"], output["top"]
    return lambda frame, found: echo(format_image(frame, found, has_places=has_places, top=top))


@contextmanager
def saving_darknet(
    output: dict[str, Any], names: Sequence[str], show: ShowDetections, *, sources: Iterable[MediaSource]
) -> Iterator[ShowDetections]:
    """A `show` that also writes the files of --save-darknet, on what is found in these sources."""
    if not output["save_darknet"]:
        yield show
        return
    from yolor_cfg.detect.darknet_files import check_sources, darknet_files

    check_sources(output["save_darknet"], sources)
    with darknet_files(output["save_darknet"], names, force=output["force"]) as add:

        def show_and_add(frame: Frame, found: Detections) -> None:
            add(frame, found)
            show(frame, found)

        yield show_and_add
