"""What the commands of `yolor data` share."""

from __future__ import annotations

import click

DATA_FAULT_CODE = 3
SPLITS = ("train", "val", "test")
FIXES = ("clip", "drop")

data_argument = click.argument("path", metavar="DATA", type=click.Path())
fix_option = click.option(
    "--fix-labels", "fix", type=click.Choice(FIXES), help="Clip or drop invalid labels."
)
