"""`yolor cfg add-task`: places in a network where tasks can put knowledge of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.cfg_edit import Target, target_options, weights_option, write_change
from yolor_cfg.cli.options import cfg_argument, dialect_option, echo, report_warnings, tasks_option
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.model import Network
    from yolor_cfg.weights.loading import LoadedNetwork

PLACES = ("heads", "neck")


@click.command("add-task")
@cfg_argument
@weights_option
@click.option(
    "--where",
    type=click.Choice(PLACES),
    default="heads",
    show_default=True,
    help="Convolutions that get a place: the last one before each head, or all from the smallest map on.",
)
@tasks_option
@target_options
@dialect_option
def add_task(
    cfg: str,
    weights: tuple[str, str] | None,
    where: str,
    tasks: tuple[str, ...],
    dialect: str | None,
    **target: Any,
) -> None:
    """Write a copy of CFG with places for the knowledge of tasks, by default NAME-tasks.cfg.

    Behind convolutions, before their activation, come a factor and a summand for each channel: implicit
    sections that start at 1 and 0, so that the network computes what it did, to the bit. `yolor train --task
    NAME` then learns them alone, and nothing else of the network changes. When the network is folded, they
    cost nothing. With --tasks the sections hold values for each of these tasks, which learn together: `yolor
    train CFG --data a=A.data --data b=B.data`.
    """
    from yolor_cfg.rewrite.task_places import add_task_places

    if weights:
        from yolor_cfg.cli.networks import check_out

        check_out(weights[1], force=target["force"])
    opened = _open(cfg, weights[0] if weights else None, dialect)
    report_warnings(opened.network.graph.warnings, opened.notes)
    made = add_task_places(opened.network, where, tasks=tasks)
    write_change(
        opened.network.graph.document, made.network.graph.document.text, Target(suffix="tasks", **target)
    )
    if weights:
        from yolor_cfg.cli.networks import save_network

        save_network(opened._replace(network=made.network), *weights, force=target["force"])
    numbers = _count_values(made.network, tasks)
    echo(f"{count_of(len(made.places), 'place')}: a task has {numbers:,} numbers of its own", err=True)


def _count_values(network: Network, tasks: tuple[str, ...]) -> int:
    """How many numbers each task has: those for it in the cfg, or all that are implicit."""
    from yolor_cfg.count import count_tasks
    from yolor_cfg.weights.tasks import implicit_tensors

    if tasks:
        return count_tasks(network.graph)[0].values
    return sum(tensor.numel() for tensor in implicit_tensors(network).values())


def _open(cfg: str, weights: str | None, dialect: str | None) -> LoadedNetwork:
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network

    return open_network(cfg, weights, reading=ReadOptions(dialect))
