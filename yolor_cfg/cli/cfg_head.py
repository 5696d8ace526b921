"""`yolor cfg add-head`: a head for smaller or larger objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.cfg_edit import (
    Target,
    parse_anchors,
    target_options,
    weights_option,
    write_change,
)
from yolor_cfg.cli.options import TextParam, cfg_argument, dialect_option, report_warnings
from yolor_cfg.errors import count_of, shell_word

if TYPE_CHECKING:
    from yolor_cfg.analysis.head_add import AddedHead
    from yolor_cfg.graph import Graph
    from yolor_cfg.weights.loading import LoadedNetwork

MOST_LEVELS = 9  # cells of 512 pixels


class LevelParam(TextParam):
    """`P2` is the level of cells of 2^2 pixels."""

    name = "level"

    def parse(self, text: str) -> int:
        """The number of the level."""
        number = text.removeprefix("P").removeprefix("p")
        if not (number.isdecimal() and len(number) == 1 and 1 <= int(number) <= MOST_LEVELS):
            raise ValueError(f"{text[:60]!r} is no level: P1 to P{MOST_LEVELS}, as P2 for cells of 4 pixels")
        return int(number)


def _parse_given_anchors(context: click.Context, argument: click.Parameter, text: str | None) -> Any:
    return parse_anchors(context, argument, [text]) if text is not None else []


@click.command("add-head")
@cfg_argument
@click.argument("level", type=LevelParam(), metavar="P2|P6|...")
@click.option(
    "--anchors",
    callback=_parse_given_anchors,
    metavar="W,H,W,H,...",
    help="Its anchors, in pixels of the input; default: those of the nearest head, halved or doubled.",
)
@weights_option
@target_options
@dialect_option
def add_head(
    cfg: str,
    level: int,
    anchors: Any,
    weights: tuple[str, str] | None,
    dialect: str | None,
    **target: Any,
) -> None:
    """Write a copy of CFG with one head more, by default NAME-p2.cfg, and show what changes.

    P2 has cells of 4 pixels, P3 of 8, and so on; the new head is at half the smallest stride so far, for
    small objects, or at twice the largest. A finer one joins the enlarged features of the nearest head with
    those of the backbone. Refused, with the reason, where the network has no such features. With --weights
    the layers of the old network keep their numbers from FILE, and the new ones start at random.
    """
    from yolor_cfg.analysis.head_add import add_head as add
    from yolor_cfg.graph import ReadOptions, load_graph

    opened = None
    if weights:
        from yolor_cfg.cli.networks import check_out
        from yolor_cfg.weights.loading import open_network

        check_out(weights[1], force=target["force"])
        opened = open_network(cfg, weights[0], reading=ReadOptions(dialect))
    graph = opened.network.graph if opened else load_graph(cfg, ReadOptions(dialect))
    report_warnings(graph.warnings, opened.notes if opened else graph.notes)
    added = add(graph, level, anchors)
    goal = Target(suffix=f"p{level}", **target)
    write_change(graph.document, added.text, goal)
    if opened and weights:
        _save_weights(opened, added, weights, force=goal.force)
    report_warnings((), _describe(graph, added, goal.path(cfg)))


def _save_weights(opened: LoadedNetwork, added: AddedHead, weights: tuple[str, str], *, force: bool) -> None:
    from yolor_cfg.analysis.head_weights import move_weights
    from yolor_cfg.cli.networks import save_network

    network = move_weights(opened.network, added.graph, added.number_of)
    save_network(opened._replace(network=network), *weights, force=force)


def _describe(graph: Graph, added: AddedHead, path: str) -> list[str]:
    """What to know about the weights of the old network, and about YOLOR's own program."""
    last, name = len(graph.nodes) - 1, shell_word(path)
    span = f"{added.start} to {added.start + added.size - 1}"
    notes = [f"new: {count_of(added.size, 'layer')}, {span}; anchors for your boxes: yolor anchors {name}"]
    if added.is_behind:
        kept = f"layers 0 to {last} are where they were"
        notes.append(f"{kept}: yolor train {name} --weights OLD takes the weights of the old network")
    else:
        moved = f"layers {added.start} to {last} are {added.size} further on"
        notes.append(f"{moved}: --weights OLD NEW writes the weights of the old network for the new one")
    known = graph.dialect.strides_in_order
    if known and added.place.stride not in known:
        strides = ", ".join(map(str, known))
        notes.append(f"{graph.dialect.program} itself takes heads to have strides {strides}")
    return notes
