"""`yolor detect --shard I/N`: the options, and the run of one shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import CountParam, TextParam, echo, is_on, print_stderr
from yolor_cfg.errors import CfgError, count_of, escape, shell_word

if TYPE_CHECKING:
    from yolor_cfg.detect.base import ImageDetector
    from yolor_cfg.detect.parts import RunParts, RunShard
    from yolor_cfg.detect.sources import MediaSources

MAX_SUMMARY_CLASSES = 8  # named in the last line
MOST_PART_SIZE = 10_000_000
OTHER_OUTPUT = (
    "save_txt",
    "save_conf",
    "save_crop",
    "as_json",
    "ext_output",
    "darknet_output",
    "save_darknet",
    "heatmap",
)


class ShardParam(TextParam):
    """`2/8`: the second of eight."""

    name = "shard"

    def parse(self, text: str) -> RunShard:
        """The number of the shard and how many there are."""
        from yolor_cfg.detect.parts import parse_shard

        return parse_shard(text)


SHARD_OPTIONS = (
    click.option(
        "--shard",
        type=ShardParam(),
        metavar="I/N",
        help="Do the I-th of N shards of the sources, counted from 1, as one of N processes with the same "
        "options: JSON lines in part-*.jsonl in the folder --project/--name, which all of them share, and "
        "nothing else. Parts that are done are passed over, so a shard that was stopped goes on. "
        "`yolor unite FOLDER` makes one file of the parts.",
    ),
    click.option(
        "--part-size",
        type=CountParam(MOST_PART_SIZE),
        metavar="N",
        help="With --shard: sources in a part; default: a quarter of a shard, at most 1000.",
    ),
)


def check_output(output: dict[str, Any]) -> None:
    """Refuse options that do not fit those of shards."""
    if output["shard"] is None:
        if output["part_size"]:
            raise click.UsageError("--part-size goes with --shard I/N")
        return
    wrong = [name for name in OTHER_OUTPUT if output[name]]
    if wrong:
        option = {"as_json": "json"}.get(wrong[0], wrong[0]).replace("_", "-")
        raise click.UsageError(f"--shard writes JSON lines into files and nothing else: leave out --{option}")


def refuse_no_embeddings(detector: ImageDetector, path: str) -> None:
    """Raise CfgError if there are no embeddings to save."""
    if not detector.embeds:
        raise CfgError(
            "gives no embeddings",
            path=path,
            found="--save-embeddings",
            allowed="a network whose heads are all [jde] with embedding=, or [yolo] of JDE",
            hint=detector.embedding_hint,
        )


def refuse_live(frames: MediaSources) -> None:
    """A camera or a stream has no end, and no second process sees the same of it."""
    from yolor_cfg.detect.sources import Video

    for item in frames.items:
        if isinstance(item, Video) and item.is_live:
            raise click.UsageError(f"a live source cannot be divided into shards: {escape(item.address)}")


def run_shard(
    run: Callable[..., int],
    frames: MediaSources,
    parts: RunParts,
    *,
    shard: RunShard,
    show: Callable[..., None],
    has_embeddings: bool = False,
) -> None:
    """Do the parts of a shard that are not done, each by `run(sources, found=, skipped=)`; say how many."""
    from tqdm import tqdm

    from yolor_cfg.detect.parts import new_part

    owned = shard.owned_parts(parts.total)
    pending = [number for number in owned if parts.read_marker(number) is None]
    with tqdm(total=len(pending), unit="part", disable=True if is_on("quiet") else None) as bar:
        for number in pending:
            block = frames.select(parts.block(number))
            write = partial(new_part, parts, number, has_embeddings=has_embeddings)
            _run_part(run, block, show, write=write)
            bar.update()
    if not is_on("quiet"):
        _print_state(parts, owned, shard=shard, done_before=len(owned) - len(pending))


def _run_part(
    run: Callable[..., int], block: MediaSources, show: Callable[..., None], *, write: Callable[[], Any]
) -> None:
    with write() as writer:

        def add_detections(frame: Any, detections: Any) -> None:
            writer.add(frame, detections)
            show(frame, detections)

        def add_unreadable(item: Any) -> None:
            writer.skip(item)
            print_stderr(str(item), "yellow")

        run(block, found=add_detections, skipped=add_unreadable)


def _print_state(parts: RunParts, owned: Sequence[int], *, shard: RunShard, done_before: int) -> None:
    words = f"shard {shard}: {count_of(len(owned), 'part')} of {parts.total}"
    echo(words + (f", {done_before} done before" if done_before else ""), err=True)
    saved, unite = escape(str(parts.folder)), f"yolor unite {shell_word(parts.folder)}"
    echo(f"results saved to {saved}; {unite} makes one file of all parts", err=True)


def describe_summary(summary: dict[str, Any], labels: Counter[str]) -> str:
    """`2 images, 3 detections: 2 person, 1 dog`; of a classifier `2 images, labels for 2 images: 2 cat`; then
    what could not be read."""
    found = f", {count_of(summary['detections'], 'detection')}{_name_classes(summary['classes'])}"
    if labels:
        told = f"labels for {count_of(sum(labels.values()), 'image')}{_name_classes(labels)}"
        found = f"{found}; {told}" if summary["detections"] else f", {told}"
    lost = sum(item["frames_lost"] for item in summary["incomplete"])
    skipped = len(summary["unreadable"])
    parts = [f"{skipped} unreadable"] * bool(skipped) + [count_of(lost, "damaged frame")] * bool(lost)
    return "; ".join([count_of(summary["frames"], "image") + found, *parts])


def _name_classes(counts: Mapping[str, int]) -> str:
    """`: 2 person, 1 dog`, the most frequent ones; nothing for none."""
    from yolor_cfg.detect.detections import format_class_count

    most = Counter(counts).most_common(MAX_SUMMARY_CLASSES)
    classes = escape(", ".join(format_class_count(name, count) for name, count in most))
    more = ", ..." if len(counts) > MAX_SUMMARY_CLASSES else ""
    return f": {classes}{more}" if classes else ""
