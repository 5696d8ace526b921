"""--show and --serve: what is found, seen while it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import TextParam, echo, is_on

if TYPE_CHECKING:
    from yolor_cfg.detect.detections import Detections
    from yolor_cfg.detect.sources import Frame
    from yolor_cfg.detect.watch.server import Address

    Watch = Callable[[Frame, Detections, Path], None]


class AddressParam(TextParam):
    """`:8080`, `0.0.0.0:8080`."""

    name = "address"

    def parse(self, text: str) -> Address:
        """The host and the port."""
        from yolor_cfg.detect.watch.server import parse_address

        return parse_address(text)


WATCH_OPTIONS = (
    click.option(
        "--show",
        is_flag=True,
        help="Show the annotated images in a window. Keys: q or Esc ends and keeps what is done, space "
        "pauses and goes on, s saves the image to kept/ in the folder of the results. After image files the "
        "last one stays until a key is pressed.",
    ),
    click.option(
        "--serve",
        type=AddressParam(),
        multiple=True,
        metavar="[HOST]:PORT",
        help="Serve a page with the live picture (/), the picture (/stream.mjpg, /frame.jpg) and the lines "
        "of --json (/detections.jsonl) while the run lasts; without a host to this machine alone, "
        "with 0.0.0.0:8080 to all. May be given several times.",
    ),
)


def check_watch(output: dict[str, Any]) -> None:
    """Refuse to show what is made in shards; raise YolorError where no window can be opened."""
    wanted = [name for name in ("show", "serve") if output[name]]
    if wanted and output["shard"]:
        raise click.UsageError(
            f"--shard writes JSON lines into files and nothing else: leave out --{wanted[0]}"
        )
    if output["show"]:
        from yolor_cfg.detect.watch.window import check_display

        check_display()


@contextmanager
def watching(output: dict[str, Any]) -> Iterator[Watch]:
    """A function that serves and shows each image, with the folder of the results; it may raise WindowClosed,
    which ends the context as if all was done."""
    if not (output["show"] or output["serve"]):
        yield lambda frame, found, folder: None
        return
    from yolor_cfg.detect.watch.window import WindowClosed, open_window

    with ExitStack() as stack:
        publish = _serve(output, stack) if output["serve"] else None
        window = stack.enter_context(open_window()) if output["show"] else None

        def watch(frame: Frame, found: Detections, folder: Path) -> None:
            if publish:
                publish(frame, found)
            if window:
                window.show(frame, found, folder)

        try:
            yield watch
            if window:
                window.wait()
        except WindowClosed:
            return


def _serve(output: dict[str, Any], stack: ExitStack) -> Callable[[Frame, Detections], None]:
    """Serve until the stack ends; what gives clients an image."""
    from yolor_cfg.detect.watch.feed import Feed
    from yolor_cfg.detect.watch.server import serving

    feed = Feed(has_embeddings=output["save_embeddings"])
    wanted = output["serve"]
    # Each port 0 is another free one; any other port that is given twice is meant once.
    for asked in [one for n, one in enumerate(wanted) if one.port == 0 or one not in wanted[:n]]:
        address = stack.enter_context(serving(asked, feed))
        if not is_on("quiet"):
            echo(f"serving {address}", err=True)
    return feed.publish
