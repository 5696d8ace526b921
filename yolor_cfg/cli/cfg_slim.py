"""`yolor cfg slim`: a network without the filters that matter least."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.cfg_edit import Target, write_change
from yolor_cfg.cli.options import FractionParam, cfg_argument, dialect_option, echo, report_warnings

if TYPE_CHECKING:
    from yolor_cfg.graph import Graph

MEASURES = ("bn", "l1")
SUFFIXES = (".weights", ".pt", ".safetensors")


@click.command()
@cfg_argument
@click.argument("weights", type=click.Path())
@click.option(
    "--ratio",
    type=FractionParam(below_one=True),
    required=True,
    metavar="R",
    help="The part of the filters that can go which does.",
)
@click.option(
    "--by",
    type=click.Choice(MEASURES),
    default=MEASURES[0],
    show_default=True,
    help="What a filter matters by: the gain of its batch norm, or the sum of its weights (l1).",
)
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write the cfg to this file.")
@click.option(
    "--out", type=click.Path(), metavar="FILE", help="Write the weights here; default: beside the new cfg."
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@dialect_option
def slim(
    cfg: str, weights: str, ratio: float, by: str, dialect: str | None, output: str | None, **options: Any
) -> None:
    """Write a smaller network, cfg and weights, by default NAME-slim.cfg and NAME-slim.weights.

    Filters go whose channels only reach convolutions: through activations, pools, [upsample] and [route];
    those that a [shortcut] adds go together or stay, as do those that [scale_channels] or [sam] multiplies,
    and depthwise ones with those that they read. Every layer keeps a tenth of its filters; which filters
    have to stay is told with the section that needs them. A filter whose gain and bias are 0 can go without
    any change of the output; after others, train on: `yolor train NEW.cfg --weights NEW.weights`.
    """
    from yolor_cfg.cli.networks import check_out, save_network
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.rewrite.slim import describe_held
    from yolor_cfg.rewrite.slim import slim as remove_filters
    from yolor_cfg.weights.loading import open_network

    force = options["force"]
    target = Target(output, "slim", in_place=False, force=force)
    out = options["out"] or _weights_beside(target.path(cfg), weights)
    check_out(out, force=force)
    opened = open_network(cfg, weights, reading=ReadOptions(dialect))
    graph = opened.network.graph
    report_warnings(graph.warnings, opened.notes)
    made = remove_filters(opened.network, ratio, by=by)
    write_change(graph.document, made.text, target)
    save_network(opened._replace(network=made.network), weights, out, force=force)
    echo(f"{out}: written", err=True)
    numbers = f"{made.removed:,} of {made.filters:,} filters went, {made.free:,} could"
    echo(f"{numbers}: {_compare_costs(graph, made.network.graph)}", err=True)
    for line in describe_held(made.held):
        echo(f"stay: {line}", err=True)


def _weights_beside(path: str, weights: str) -> str:
    """A file beside the new cfg, in the format of the old weights."""
    suffix = Path(weights).suffix
    return str(Path(path).with_suffix(suffix if suffix in SUFFIXES else SUFFIXES[0]))


def _compare_costs(before: Graph, after: Graph) -> str:
    from yolor_cfg.count import count_costs

    old, new = count_costs(before), count_costs(after)
    return f"{old.parameters:,} -> {new.parameters:,} parameters, {old.gflops:.3f} -> {new.gflops:.3f} GFLOPs"
