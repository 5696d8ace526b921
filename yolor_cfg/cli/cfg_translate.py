"""`yolor cfg translate`: the same network for a program of another family, with a proof.

It adds itself to the group `yolor cfg`, which is reached through this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from yolor_cfg.cli.cfg import cfg as cfg_group
from yolor_cfg.cli.options import (
    cfg_argument,
    dialect_option,
    echo,
    is_on,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    task_option,
)
from yolor_cfg.errors import CfgError, WeightsError, YolorError
from yolor_cfg.files import check_target, is_same_file, replace_file

if TYPE_CHECKING:
    from yolor_cfg.graph import Graph
    from yolor_cfg.model import Network
    from yolor_cfg.rewrite.drafts import Change
    from yolor_cfg.rewrite.equality import Proof
    from yolor_cfg.weights.loading import LoadedNetwork

TARGETS = ("darknet", "yolor", "ultralytics")
MOST_NUMBERS = 6  # of sections in a line of the summary

EXAMPLES = """\b
Examples:
  yolor cfg translate yolov4-csp.cfg --to yolor -o csp.cfg
  yolor cfg translate yolov3.cfg --to ultralytics -o v3.cfg --weights yolov3.weights v3.weights
  yolor cfg translate yolor_p6.cfg --to darknet -o p6.cfg --weights yolor_p6.pt p6.weights"""


class TranslatedFile(NamedTuple):
    """What is written: the new graph, and the network if there are weights; what changed; the proof; what has
    to change in weights."""

    graph: Graph
    network: Network | None
    changes: tuple[Change, ...]
    proof: Proof
    tensors: tuple[str, ...]


@cfg_group.command(epilog=EXAMPLES)
@cfg_argument
@click.option(
    "--to",
    type=click.Choice(TARGETS),
    required=True,
    help="The program that will read it: AlexeyAB's C Darknet, YOLOR, or PyTorch-YOLOv3.",
)
@click.option(
    "-o", "--output", type=click.Path(), metavar="OUT", help="Write to this file; default: NAME-TO.cfg."
)
@click.option(
    "--weights",
    type=(click.Path(), click.Path()),
    metavar="FILE OUT",
    help="Write these weights for the other program too (.weights, .pt or .safetensors).",
)
@dialect_option
@task_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@json_option
def translate(
    cfg: str,
    to: str,
    output: str | None,
    weights: tuple[str, str] | None,
    dialect: str | None,
    task: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the network CFG for a program of another family, and prove that it is the same network.

    One text means different networks to different programs: they differ in activations, padding, boxes, the
    epsilon of batch norm. This changes the lines that the other program would read otherwise, keeps all else,
    and shows each change with its reason. A section that has no equal there is refused with the reason, and
    nothing is written.

    The proof: both networks get the same random weights and the same image, in float64; the largest
    difference of their boxes is printed.

    Weights stay as they are, unless the two programs differ in the epsilon of batch norm or in what the file
    holds: then a note says so, and --weights writes the file that fits. With --to darknet and --weights,
    implicit knowledge is folded into the convolutions, as `yolor convert --fold-implicit` does.
    """
    root, ending = os.path.splitext(cfg)
    path = output or f"{root}-{to}{ending or '.cfg'}"
    _check_targets(cfg, path, weights, force=force)
    opened = _open(cfg, weights, dialect=dialect, task=task)
    graph = opened.network.graph if isinstance(opened, tuple) else opened
    report_warnings(graph.warnings, graph.notes)
    made = _make(graph, opened if isinstance(opened, tuple) else None, to=to, path=path)
    _write_cfg(made.graph, path, force=force)
    if weights and isinstance(opened, tuple) and made.network is not None:
        from yolor_cfg.cli.networks import save_network

        save_network(opened._replace(network=made.network), *weights, force=force)
    _report(graph, made, path=path, weights=weights, as_json=as_json)


def _check_targets(cfg: str, path: str, weights: tuple[str, str] | None, *, force: bool) -> None:
    """Refuse what would overwrite a file, before anything is computed."""
    from yolor_cfg.cli.networks import check_format

    if path == "-":
        raise click.UsageError("-o - names no file: give a name")
    if weights:
        suffix = Path(weights[1]).suffix
        check_format(weights[1], as_weights=suffix == ".weights", upto=None, names=None)
        check_target(weights[1], fault=WeightsError, force=force)
    if is_same_file(path, cfg):
        raise click.UsageError(f"{path} is the input cfg: give OUT another name")
    check_target(path, fault=YolorError, force=force)


def _open(
    cfg: str, weights: tuple[str, str] | None, *, dialect: str | None, task: str | None
) -> Graph | LoadedNetwork:
    """The graph, or the network with its weights if there are some, of one task."""
    from yolor_cfg.graph import ReadOptions, load_graph

    if not weights:
        graph = load_graph(cfg, ReadOptions(dialect))
        return _refuse_several_tasks(graph) if task is None else _choose_graph(graph, task)
    from yolor_cfg.weights.loading import open_network

    opened = open_network(cfg, weights[0], reading=ReadOptions(dialect), task=task)
    _refuse_several_tasks(opened.network.graph)
    return opened


def _choose_graph(graph: Graph, task: str) -> Graph:
    from yolor_cfg.weights.task_choice import choose_graph

    return choose_graph(graph, task)


def _refuse_several_tasks(graph: Graph) -> Graph:
    if graph.tasks:
        known = ", ".join(graph.tasks)
        raise click.UsageError(f"other programs know no tasks: choose one with --task ({known})")
    return graph


def _make(graph: Graph, opened: LoadedNetwork | None, *, to: str, path: str) -> TranslatedFile:
    from yolor_cfg.rewrite.equality import carry_tensors, prove_equal, tensor_notes
    from yolor_cfg.rewrite.translate import translate as rewrite

    try:
        made = rewrite(graph, to, path)
    except CfgError:
        if opened is None or to != "darknet" or not graph.dialect.is_pytorch:
            raise
        return _fold(opened)
    proof = prove_equal(graph, made)
    network = carry_tensors(opened.network, made.graph, made.owners) if opened else None
    return TranslatedFile(made.graph, network, made.changes, proof, tensor_notes(graph, made))


def _fold(opened: LoadedNetwork) -> TranslatedFile:
    """The network as plain Darknet, its implicit knowledge folded."""
    from yolor_cfg.rewrite.drafts import Change
    from yolor_cfg.rewrite.equality import prove_folded
    from yolor_cfg.rewrite.to_darknet import to_plain_darknet

    plain = to_plain_darknet(opened.network.double(), keep_bn=True)
    proof = prove_folded(opened.network, plain)
    sizes = len(opened.network.graph.nodes), len(plain.graph.nodes)
    what = f"{sizes[0]} sections become {sizes[1]}"
    change = Change("net", None, 1, what, "what only YOLOR has is folded into convolutions")
    return TranslatedFile(plain.graph, plain.float(), (change,), proof, ("what the file holds",))


def _write_cfg(graph: Graph, path: str, *, force: bool) -> None:
    data = graph.document.text.encode(graph.document.encoding)
    replace_file(path, lambda file: file.write(data), fault=YolorError, force=force)


def _report(
    graph: Graph, made: TranslatedFile, *, path: str, weights: tuple[str, str] | None, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "cfg": path,
                "weights": weights[1] if weights else None,
                "from": graph.dialect.name,
                "to": made.graph.dialect.name,
                "changes": [change._asdict() for change in made.changes],
                "tensors": list(made.tensors),
                "max_difference": made.proof.difference,
                "compared": made.proof.compared,
                "size": list(made.proof.size),
            }
        )
        return
    for line in _format_changes(made.changes):
        echo(line)
    height, width = made.proof.size
    echo(f"max difference {made.proof.difference:.2g} ({made.proof.compared}, {width}x{height}, float64)")
    if made.tensors and not weights:
        report_warnings(
            (), [f"the weights have to change too ({'; '.join(made.tensors)}): --weights FILE OUT"]
        )
    if not is_on("quiet"):
        for name in (path, *(weights or ())[1:]):
            print_stderr(f"{name}: written for {made.graph.dialect.program}", "green")


def _format_changes(changes: Iterable[Change]) -> Iterator[str]:
    """One line for changes that are equal in several sections, and one for the reason they share."""
    by_why: dict[str, dict[tuple[str, str], list[int]]] = {}
    for one in changes:
        places = by_why.setdefault(one.why, {}).setdefault((one.section, one.what), [])
        places.append(-1 if one.number is None else one.number)
    for why, rows in by_why.items():
        yield f"{why}:"
        for (section, what), places in rows.items():
            yield f"  [{section}]{_format_places(places)} {what}"


def _format_places(places: list[int]) -> str:
    shown = [f" #{number}" for number in places[:MOST_NUMBERS] if number >= 0]
    return "".join(shown) + (f" and {len(places) - len(shown)} more" if len(places) > MOST_NUMBERS else "")
