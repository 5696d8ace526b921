"""The experiments on implicit knowledge: do what has no row yet.

    python tools/implicit_runs.py steps tasks --minutes 30

Each experiment has a file in docs/experiments, to which a finished run adds a row; runs that have one are
skipped, so the same command continues. What was expected before the first run is in hypotheses.md there.
Images are drawn and the trunk's values computed on the first call (runs/implicit, 4 GB).
`python tools/implicit_report.py` writes the tables and pictures of docs/implicit.md.
"""

from __future__ import annotations

import time
from importlib import import_module

import click
import torch
from implicit_table import run_missing

EXPERIMENTS = {
    "steps": "implicit_steps",
    "rows": "implicit_rows",
    "tasks": "implicit_tasks",
    "added": "implicit_added",
    "prepared": "implicit_prepared",
    "anchors": "implicit_anchors",
    "levels": "implicit_levels",
    "joint_heads": "implicit_joint_heads",
    "full": "implicit_full",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(EXPERIMENTS)))
@click.option("--minutes", type=click.FloatRange(0), default=1e6, help="start no run after this many minutes")
def main(names: tuple[str, ...], minutes: float) -> None:
    """Do the missing runs of the named experiments, by default of all."""
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * minutes
    for name in names or EXPERIMENTS:
        home = import_module(EXPERIMENTS[name])
        left = (end - time.monotonic()) / 60
        run_missing(home.TABLE, home.list_runs(), home.measure, minutes=left)


if __name__ == "__main__":
    main()
