"""`yolor convert`: convert weights between file formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.networks import (
    check_format,
    checkpoint_numbers,
    kept_names,
    name_classes,
    save_checkpoint_file,
    save_weights,
)
from yolor_cfg.cli.options import dialect_option, print_stderr, report_warnings, strict_option, task_option
from yolor_cfg.errors import DataError, YolorError, count_of
from yolor_cfg.files import check_target, is_same_file, replace_file

if TYPE_CHECKING:
    from yolor_cfg.weights.loading import LoadedNetwork

EXAMPLES = """\b
Examples:
  yolor convert yolov4.weights yolov4.pt --cfg yolov4.cfg --names coco.names
  yolor convert yolor_p6.pt yolor_p6.weights --cfg yolor_p6.cfg
  yolor convert yolov4.weights yolov4.conv.137 --cfg yolov4.cfg --upto 137
  yolor convert yolor_p6.pt plain.weights --cfg yolor_p6.cfg --fold-implicit"""


@click.command(epilog=EXAMPLES)
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option(
    "--cfg",
    type=click.Path(),
    metavar="FILE",
    help="The network's cfg file; default: the one that the checkpoint IN holds.",
)
@dialect_option
@strict_option
@task_option
@click.option("--cutoff", type=click.IntRange(1), metavar="N", help="Read only layers 0 to N-1 of IN.")
@click.option("--upto", type=click.IntRange(1), metavar="N", help="Write only layers 0 to N-1 (.weights).")
@click.option(
    "--names",
    type=click.Path(),
    metavar="FILE",
    help="Store the class names of this .names or .data file in OUT, or beside .weights of a task or folded.",
)
@click.option(
    "--fuse",
    is_flag=True,
    help="Fold batch norms and implicit knowledge into the convolutions; "
    "the resulting cfg is written next to OUT.",
)
@click.option(
    "--fold-implicit",
    "plain",
    is_flag=True,
    help="The same, written as plain Darknet for C Darknet and OpenCV 4.14: OUT.weights and OUT.cfg.",
)
@click.option(
    "--keep-bn", is_flag=True, help="With --fold-implicit: keep batch norms, adapted to C Darknet's epsilon."
)
@click.option(
    "--for",
    "reader",
    type=click.Choice(["opencv", "darknet"]),
    help="With --fold-implicit: write for this reader alone; by default what both read, as far as it goes.",
)
@click.option(
    "--reset-seen",
    is_flag=True,
    help="Write that no images were seen, as C Darknet's `partial`: training begins at iteration 0.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def convert(
    source: str,
    target: str,
    cfg: str | None,
    dialect: str | None,
    strict: bool,
    task: str | None,
    cutoff: int | None,
    upto: int | None,
    names: str | None,
    fuse: bool,
    plain: bool,
    keep_bn: bool,
    reader: str | None,
    reset_seen: bool,
    force: bool,
) -> None:
    """Convert the weights IN to OUT: .weights, .pt or .safetensors.

    The format of IN is recognised by its content, that of OUT by its suffix. Implicit parameters are kept in
    every format; a .weights file that is read and written again is identical to the byte. With --upto, OUT is
    a .weights file whatever its suffix. With --task or folded, .weights get cfg and names beside them.
    """
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network

    if plain and Path(target).suffix != ".weights":
        target += ".weights"
    as_weights, folds = upto is not None or Path(target).suffix == ".weights", fuse or plain
    has_cfg = folds or (task is not None and as_weights and upto is None)
    cfg = cfg or _held_cfg(source)
    check_format(target, as_weights=as_weights, upto=upto, names=None if has_cfg else names)
    _check_folding(target, cfg, folds=has_cfg, upto=upto, force=force)
    _check_plain(plain=plain, keep_bn=keep_bn, reader=reader)
    opened = open_network(cfg, source, reading=ReadOptions(dialect, strict=strict), cutoff=cutoff)
    opened = _choose_task(opened, task, source, upto=upto)
    opened = name_classes(opened, () if as_weights and not has_cfg else (source, cfg), given=names)
    report_warnings(opened.network.graph.warnings, opened.notes)
    opened, numbers = _take_numbers(opened, source, reset=reset_seen)
    record = _implicit_record(opened) if fuse else None
    if folds:
        _refuse_several_tasks(opened)
        opened = _fold_plain(opened, keep_bn=keep_bn, reader=reader) if plain else _fold_network(opened)
    names_path = _names_path(target, force=force) if has_cfg and as_weights and opened.names else None
    if as_weights:
        save_weights(opened, target, numbers=numbers, upto=upto, force=force)
    else:
        beside = {"numbers": numbers, "implicit": record, **kept_names(opened)}
        save_checkpoint_file(opened, target, kept=beside, names=opened.names, force=force)
    print_stderr(f"{target}: {Path(target).stat().st_size:,} bytes", "green")
    if has_cfg:
        _write_cfg(opened, target, force=force)
    _write_names(opened.names, names_path, force=force)


def _take_numbers(
    opened: LoadedNetwork, source: str, *, reset: bool
) -> tuple[LoadedNetwork, dict[str, float]]:
    """The network, and what IN counts; with `reset` as if no images had been seen."""
    numbers = checkpoint_numbers(opened, source)
    if not reset:
        return opened, numbers
    header = opened.header and opened.header._replace(seen=0)
    return opened._replace(header=header), {**numbers, "seen": 0}


def _choose_task(opened: LoadedNetwork, task: str | None, source: str, *, upto: int | None) -> LoadedNetwork:
    """The network of the task, if one is chosen; the layers of one that its cfg names have other numbers."""
    from yolor_cfg.weights.loading import switch_task

    if task is None:
        return opened
    chosen = switch_task(opened, task, source)
    if upto is not None and chosen.network is not opened.network:
        raise click.UsageError("--upto counts the layers of the whole cfg: give it without --task")
    return chosen


def _refuse_several_tasks(opened: LoadedNetwork) -> None:
    """Folded, a network keeps the values of one task."""
    from yolor_cfg.count import holds_task_values

    tasks = opened.network.graph.tasks
    if holds_task_values(opened.network.graph):
        raise click.UsageError(f"a folded network has one task: choose it with --task ({', '.join(tasks)})")


def _held_cfg(source: str) -> str:
    """The file itself, where it is a checkpoint; it says what it lacks."""
    from yolor_cfg.weights.prefix import is_checkpoint_file

    if not is_checkpoint_file(source):
        raise click.UsageError(f"missing option '--cfg': {source} holds no cfg")
    return source


def _target_cfg_path(target: str) -> Path:
    return Path(target).with_suffix(".cfg")


def _check_folding(target: str, cfg: str, *, folds: bool, upto: int | None, force: bool) -> None:
    """Refuse what could write only one of the two files, or overwrite the input cfg."""
    if not folds:
        return
    beside = _target_cfg_path(target)
    if upto is not None:
        raise click.UsageError(
            "--upto counts the layers of the original cfg, so it cannot be combined with folding"
        )
    if is_same_file(beside, cfg):
        raise click.UsageError(f"{beside} is the input cfg: give OUT another name")
    check_target(beside, fault=YolorError, force=force)


def _check_plain(*, plain: bool, keep_bn: bool, reader: str | None) -> None:
    if not plain and (keep_bn or reader):
        raise click.UsageError(f"{'--keep-bn' if keep_bn else '--for'} requires --fold-implicit")


def _names_path(target: str, *, force: bool) -> Path:
    beside = Path(target).with_suffix(".names")
    check_target(beside, fault=DataError, force=force)
    return beside


def _implicit_record(opened: LoadedNetwork) -> dict[str, Any] | None:
    """What a folded checkpoint keeps for `yolor implicit`; None if there is no implicit knowledge."""
    from yolor_cfg.analysis.implicit import collect_knowledge
    from yolor_cfg.analysis.implicit_record import to_record

    types = (node.section.type for node in opened.network.graph.nodes)
    return (
        to_record(collect_knowledge(opened.network)) if any(t.startswith("implicit") for t in types) else None
    )


def _fold_plain(opened: LoadedNetwork, *, keep_bn: bool, reader: str | None) -> LoadedNetwork:
    """The network as plain Darknet; reports, or for OpenCV alone refuses, what only C Darknet runs."""
    from yolor_cfg.errors import CfgFaults
    from yolor_cfg.rewrite.to_darknet import to_plain_darknet
    from yolor_cfg.rewrite.to_opencv import to_opencv

    plain = to_plain_darknet(opened.network, keep_bn=keep_bn)
    if reader == "darknet":
        return opened._replace(network=plain)
    network, left = to_opencv(plain)
    if left and reader == "opencv":
        raise CfgFaults(left, opened.network.graph.path)
    report_warnings(left, ())
    return opened._replace(network=network)


def _fold_network(opened: LoadedNetwork) -> LoadedNetwork:
    """The network with batch norms and implicit knowledge folded in; reports what could not be folded."""
    from yolor_cfg.rewrite.fold import fold

    folded = fold(opened.network)
    report_warnings((), folded.notes)
    return opened._replace(network=folded.network)


def _write_cfg(opened: LoadedNetwork, target: str, *, force: bool) -> None:
    from yolor_cfg.graph import stated_text

    graph, beside = opened.network.graph, _target_cfg_path(target)
    data = stated_text(graph).encode(graph.document.encoding)
    replace_file(beside, lambda file: file.write(data), fault=YolorError, force=force)
    print_stderr(f"{beside}: {count_of(len(graph.nodes), 'section')}", "green")


def _write_names(names: tuple[str, ...], beside: Path | None, *, force: bool) -> None:
    """A .names file, if one is wanted, one name a line, beside weights that hold none."""
    if beside is None:
        return
    data = "".join(f"{' '.join(name.split())}\n" for name in names).encode()
    replace_file(beside, lambda file: file.write(data), fault=DataError, force=force)
    print_stderr(f"{beside}: {count_of(len(names), 'name')}", "green")
