"""C Darknet's `average`, `statistics` and `oneoff`."""

from __future__ import annotations

from collections.abc import Sequence

from yolor_cfg.cli.options import echo, print_stderr, report_warnings


def average(words: Sequence[str], force: bool) -> None:
    """Write the mean of several weights."""
    from yolor_cfg.weights.averages import average_weights, save_new

    cfg, target, *paths = words
    opened, left = average_weights(cfg, paths)
    notes = [f"as in C Darknet, not averaged but taken from {paths[0]}: {', '.join(left)}"] if left else []
    report_warnings(opened.network.graph.warnings, [*opened.notes, *notes])
    save_new(opened.network, target, header=opened.header, force=force)
    print_stderr(f"{target}: the mean of {len(paths)} files", "green")


def statistics(words: Sequence[str], force: bool) -> None:
    """Print the figures of connected and recurrent layers."""
    from yolor_cfg.report.darknet import statistics_text
    from yolor_cfg.weights.loading import open_network

    opened = open_network(*words[:2])
    report_warnings(opened.network.graph.warnings, opened.notes)
    text = statistics_text(opened.network)
    if not text.strip():
        note = "no [connected], [gru] or [lstm] with batch_normalize=1: C Darknet has figures of no other layers"
        report_warnings((), (note,))
    echo(text)


def oneoff(words: Sequence[str], force: bool) -> None:
    """Write the weights of a detector that begins as a classifier of the same class tree."""
    from yolor_cfg.weights.averages import oneoff_weights, save_new

    cfg, weights, target, *_ = words
    network = oneoff_weights(cfg, weights)
    report_warnings(network.graph.warnings)
    save_new(network, target, header=None, force=force)
    print_stderr(f"{target}: the filters of {weights}, behind {5} numbers of a box, for each of 3 anchors", "green")
