"""`yolor detect`: detect objects in images and videos."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.detect_darknet import (
    darknet_show,
    prepare_darknet,
    saving_darknet,
)
from yolor_cfg.cli.detect_heat import add_heat
from yolor_cfg.cli.detect_options import EXAMPLES, OUTPUT_OPTIONS, add_detect_options
from yolor_cfg.cli.detect_parts import (
    check_output,
    describe_summary,
    refuse_live,
    refuse_no_embeddings,
    run_shard,
)
from yolor_cfg.cli.detectors import make_detector
from yolor_cfg.cli.habits import (
    DETECT_HABITS,
    HabitCommand,
    NetworkPaths,
    check_exported,
    sort_paths,
)
from yolor_cfg.cli.options import (
    echo,
    is_on,
    print_stderr,
    report_warnings,
)
from yolor_cfg.cli.process import delayed_signals
from yolor_cfg.cli.tile_options import complete_tiling
from yolor_cfg.cli.watch_options import check_watch, watching
from yolor_cfg.errors import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yolor_cfg.cli.watch_options import Watch
    from yolor_cfg.detect.base import ImageDetector
    from yolor_cfg.detect.detections import Detections
    from yolor_cfg.detect.live import StreamNote
    from yolor_cfg.detect.run import RunOptions
    from yolor_cfg.detect.sources import Frame, IncompleteVideo, MediaSources, UnreadableSource
    from yolor_cfg.detect.write import Drawn, ResultsWriter

    ShowDetections = Callable[[Frame, Detections], None]


MISSING = (
    "Missing argument 'SOURCE...': give [CFG] WEIGHTS SOURCE...; checkpoints that `yolor train` or `yolor "
    "convert` wrote and files of `yolor export` (.onnx, .xml) hold their CFG, others do not"
)


@click.command(cls=HabitCommand, habits=DETECT_HABITS, epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] WEIGHTS SOURCE...")
@add_detect_options
def detect(paths: tuple[str, ...], sources: tuple[str, ...], **options: Any) -> None:
    """Detect objects in SOURCE with the network CFG and its WEIGHTS.

    A checkpoint that `yolor train` wrote needs no CFG: it holds its own. A file that `yolor export` wrote
    (.onnx, .xml) needs neither CFG nor WEIGHTS, and starts several times as fast: it runs without torch.

    SOURCE is an image, a video, a folder, a glob, a list of paths (a .txt file, or - for standard input), a
    camera number or a stream URL. WEIGHTS is a Darknet .weights, a .pt or a .safetensors file.

    Annotated images and videos and a summary.json are written to runs/detect/exp by default. Unreadable
    sources are reported and skipped; the exit code is 3 if nothing could be read.
    """
    from yolor_cfg.detect.run import RunOptions
    from yolor_cfg.detect.sources import open_sources
    from yolor_cfg.detect.write import ResultsWriter
    from yolor_cfg.runs import new_folder

    output = {name: options.pop(name) for name in _param_names(OUTPUT_OPTIONS)}
    files = sort_paths(paths, cfg=options.pop("cfg_file"), weights=options.pop("weights_file"))
    sources += files.others
    if not (files.network and files.weights and sources):
        raise click.UsageError(MISSING)
    prepare_darknet(output, options)
    complete_tiling(options)
    check_exported(files, options)
    check_output(output)
    check_watch(output)
    detector = add_heat(make_detector(files.network, files.weights, options), output)
    if output["save_embeddings"]:
        refuse_no_embeddings(detector, files.network)
    frames = open_sources(sources, vid_stride=output["vid_stride"], channels=detector.channels)
    report_warnings((), frames.notes)
    if output["shard"]:
        _detect_shard(files, detector, frames, options={**options, **output})
        return
    saving = saving_darknet(output, detector.names, _choose_show(output), sources=frames.items)
    with saving as show, watching(output) as watch:
        folder = new_folder(*_choose_folder(output))
        with ResultsWriter(folder, _make_output_options(output)) as results, _told_at_end(frames):
            how = RunOptions(output["workers"], results.draw)
            _run_detector(detector, frames, results, show=(show, watch), how=how)
    _print_summary(results, folder)


def _detect_shard(
    files: NetworkPaths, detector: ImageDetector, frames: MediaSources, *, options: dict[str, Any]
) -> None:
    """Do one shard of the sources, in the folder that all of them share."""
    from yolor_cfg.detect.identity import describe_files, describe_run
    from yolor_cfg.detect.parts import open_parts
    from yolor_cfg.detect.run import RunOptions, detect_frames

    assert files.network and files.weights
    refuse_live(frames)
    settings = {**describe_files(files.network, files.weights), **describe_run(detector, frames)}
    settings |= {"cutoff": options["cutoff"], "no_rewrite": list(options["no_rewrite"])}
    settings |= {name: options[name] for name in ("save_embeddings", "task") if options[name]}
    shard, size = options["shard"], options["part_size"]
    parts = open_parts(Path(*_choose_folder(options)), settings, part_size=size, shards=shard.total)
    run = partial(detect_frames, detector, how=RunOptions(options["workers"]))
    vectors = options["save_embeddings"]
    run_shard(run, frames, parts, shard=shard, show=_show_line, has_embeddings=vectors)


def _choose_folder(output: dict[str, Any]) -> tuple[str, str]:
    whole = Path(output["output"] or ".")
    return (str(whole.parent), whole.name) if whole.name else (output["project"], output["name"])


def _param_names(decorators: tuple[Any, ...]) -> list[str]:
    """The names of the parameters that these option decorators define."""
    probe = click.command()(lambda **values: None)
    for decorator in decorators:
        decorator(probe)
    return [str(param.name) for param in probe.params]


def _make_output_options(output: dict[str, Any]) -> Any:
    from yolor_cfg.detect.write import OutputOptions

    labels, vectors = output["save_txt"] or output["save_conf"], output["save_embeddings"]
    media, records = not output["nosave"], output["save_json"] or vectors
    return OutputOptions(media, labels, output["save_conf"], output["save_crop"], records, vectors)


def _choose_show(output: dict[str, Any]) -> ShowDetections:
    """What is shown of each image: a line of JSON, Darknet's text, or a line for people."""
    if output["as_json"]:
        from yolor_cfg.detect.write import frame_record

        record = partial(frame_record, has_embeddings=output["save_embeddings"])
        return lambda frame, found: click.echo(json.dumps(record(frame, found)))
    return darknet_show(output) or _show_line


def _show_line(frame: Frame, found: Detections) -> None:
    """`street.jpg: 2 person, 1 dog, 12 ms`; the time is that of the network and NMS."""
    if not is_on("quiet"):
        moment = "" if frame.index is None else f" frame {frame.index}"
        name, objects = escape(frame.source), escape(str(found))
        echo(f"{name}{moment}: {objects}, {found.seconds * 1000:.0f} ms", err=True)


def _run_detector(
    detector: ImageDetector,
    frames: Any,
    results: ResultsWriter,
    *,
    show: tuple[ShowDetections, Watch],
    how: RunOptions,
) -> None:
    """Run with a progress bar; unreadable sources are reported as they occur. The second function that shows
    an image may end the run."""
    from tqdm import tqdm

    from yolor_cfg.detect.run import check_any_read, detect_frames
    from yolor_cfg.detect.sources import UnreadableSource

    unreadable: list[UnreadableSource] = []
    with tqdm(total=frames.total, unit="img", disable=True if is_on("quiet") else None) as bar:

        def add_detections(frame: Frame, detections: Detections, drawn: Drawn) -> None:
            with delayed_signals():
                results.add(frame, detections, drawn)
                bar.clear()
                show[0](frame, detections)
                bar.update()
            show[1](frame, detections, results.folder)

        def add_unreadable(item: UnreadableSource | IncompleteVideo | StreamNote) -> None:
            results.skip(item)
            bar.clear()
            print_stderr(str(item), "yellow")
            if isinstance(item, UnreadableSource):
                unreadable.append(item)
                bar.update()

        done = detect_frames(detector, frames, found=add_detections, skipped=add_unreadable, how=how)
    check_any_read(done, unreadable)


@contextmanager
def _told_at_end(frames: MediaSources) -> Iterator[None]:
    """Say what was dropped of live sources, also where Ctrl-C ends them."""
    try:
        yield
    finally:
        report_warnings((), frames.drop_notes())


def _print_summary(results: ResultsWriter, folder: Path) -> None:
    if is_on("quiet"):
        return
    echo(describe_summary(results.summary(), results.labels), err=True)
    report_warnings((), results.notes)
    echo(f"results saved to {escape(str(folder))}", err=True)
