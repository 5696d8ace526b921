"""C Darknet's `average`, `statistics` and `oneoff`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from yolor_cfg.cli.options import echo, print_stderr, report_warnings

if TYPE_CHECKING:
    from yolor_cfg.model import Network
    from yolor_cfg.weights.layout import WeightsHeader

NO_FIGURES = (
    "no [connected], [gru] or [lstm] with batch_normalize=1: C Darknet has figures of no other layers"
)


def average(words: Sequence[str], force: bool) -> None:
    """Write the mean of several weights; the first file says how many images were seen."""
    from yolor_cfg.weights.averages import average_networks
    from yolor_cfg.weights.loading import open_network

    cfg, target, first, *others = words
    opened = open_network(cfg, first)
    left = average_networks(opened.network, (open_network(cfg, path).network for path in others))
    notes = [f"as in C Darknet, not averaged but taken from {first}: {', '.join(left)}"] if left else []
    report_warnings(opened.network.graph.warnings, [*opened.notes, *notes])
    _save(opened.network, target, header=opened.header, force=force)


def statistics(words: Sequence[str], force: bool) -> None:
    """Print the figures of connected and recurrent layers."""
    from yolor_cfg.report.darknet import statistics_text
    from yolor_cfg.weights.loading import open_network

    opened = open_network(*words[:2])
    text = statistics_text(opened.network)
    notes = (*opened.notes, *([] if text.strip() else [NO_FIGURES]))
    report_warnings(opened.network.graph.warnings, notes)
    echo(text)


def oneoff(words: Sequence[str], force: bool) -> None:
    """Write the weights of a detector that begins as a classifier of the same class tree; no images seen."""
    from yolor_cfg.graph import load_graph
    from yolor_cfg.weights.averages import oneoff_network

    cfg, weights, target, *_ = words
    network = oneoff_network(load_graph(cfg), weights)
    report_warnings(network.graph.warnings)
    _save(network, target, header=None, force=force)


def _save(network: Network, target: str, *, header: WeightsHeader | None, force: bool) -> None:
    from pathlib import Path

    from yolor_cfg.weights.darknet import write_weights

    write_weights(network, target, header=header, force=force)
    print_stderr(f"{target}: {Path(target).stat().st_size:,} bytes", "green")
