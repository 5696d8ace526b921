"""The images that `yolor export --precision int8` calibrates with, and what the file's rounding costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import CountParam, data_option, is_on
from yolor_cfg.cli.scoring import open_test_data
from yolor_cfg.errors import DataError

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset
    from yolor_cfg.engines.base import Engine
    from yolor_cfg.export.quantize import Calibration
    from yolor_cfg.graph import Graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.loading import LoadedNetwork

MOST_IMAGES = 100_000
CALIBRATION_OPTIONS = (
    click.option(
        "--calibrate",
        type=click.Path(),
        metavar="FOLDER|LIST|DATA",
        help="With int8: images like those that the file will see: a folder, a list of paths (.txt), or the "
        "training images of a data set.",
    ),
    click.option(
        "--calibrate-images",
        "calibrate_count",
        type=CountParam(MOST_IMAGES),
        default=128,
        show_default=True,
        help="With int8: use at most N of these images, evenly spaced.",
    ),
    data_option,
)


@contextmanager
def open_calibration(options: dict[str, Any]) -> Iterator[Calibration | None]:
    """The images of --calibrate, with a progress bar; None without it."""
    from tqdm import tqdm

    from yolor_cfg.export.quantize import Calibration

    source = options["calibrate"]
    if not source:
        yield None
        return
    if options["precision"] != "int8":
        raise click.UsageError("--calibrate goes with --precision int8")
    images = pick_evenly(find_images(source), options["calibrate_count"])
    with tqdm(total=len(images), desc="calibrating", unit="img", disable=hides_bars(options)) as bar:
        yield Calibration(images, source, lambda done: _move_bar(bar, done))


def hides_bars(options: dict[str, Any]) -> bool | None:
    """Whether progress bars are hidden; None: where standard error is not a terminal."""
    return True if is_on("quiet") or options["as_json"] else None


def _move_bar(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def find_images(source: str) -> Sequence[str]:
    """The image files of a folder, of a list, or of the training part of a data set."""
    from yolor_cfg.data.sources import find_listing
    from yolor_cfg.detect.sources import ImageFile, open_sources

    if Path(source).is_dir() or source.lower().endswith(".txt"):
        items = open_sources([source]).items
        found: Sequence[str] = [item.path for item in items if isinstance(item, ImageFile)]
    else:
        found = find_listing(source, "train").listing.images
    if not found:
        raise DataError("no image to calibrate with", path=source)
    return found


def pick_evenly(paths: Sequence[str], count: int) -> list[str]:
    """At most so many of them, the first one included, at equal distances."""
    number = min(count, len(paths))
    return [paths[index * len(paths) // number] for index in range(number)]


def check_data(options: dict[str, Any]) -> None:
    """Raise UsageError for --data with a file that is not tested here."""
    if options["data"] and options["format_name"] not in ("onnx", "openvino"):
        raise click.UsageError("--data tests ONNX and OpenVINO files alone")


def score_both(
    opened: LoadedNetwork, path: Path, data: str, *, hidden: bool | None = None
) -> tuple[float, float]:
    """The main figure (COCO's AP; of a classifier top-1 or mAP) of the network in float32 and of the file at
    path, on the same inputs; with a progress bar, since that may take minutes."""
    from tqdm import tqdm

    from yolor_cfg.engines.choice import choose_engine
    from yolor_cfg.engines.exported import ExportedModel
    from yolor_cfg.engines.file_network import FileEngine, FileNetwork

    dataset = open_test_data(data, opened)
    network = FileNetwork(ExportedModel(path)).eval()
    with tqdm(total=2 * len(dataset.samples), desc="testing", unit="img", disable=hidden) as bar:
        fixed = network.graph.has_fixed_size
        score = _make_scorer(opened.network.graph, dataset, bar, is_padded=fixed)
        return score(opened.network, choose_engine(opened.network)), score(network, FileEngine(network))


def _make_scorer(
    graph: Graph, dataset: Dataset, bar: Any, *, is_padded: bool
) -> Callable[[Network, Engine], float]:
    """A function from a network, or a file of it, and its engine to the main figure."""
    from yolor_cfg.evaluate.run import EvalSettings, collect_detections, main_figure

    def score(network: Network, engine: Engine) -> float:
        settings, before = EvalSettings(rectangles=not is_padded, is_padded=is_padded), bar.n
        collected = collect_detections(
            network,
            dataset,
            settings=settings,
            engine=engine,
            progress=lambda done: _move_bar(bar, before + done),
        )
        assert collected is not None
        return main_figure(graph, dataset, collected)

    return score
