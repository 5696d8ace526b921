"""What a training run shows while it runs: a bar on a terminal, and messages of the first process alone."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.cli.options import is_on


class ProgressBar:
    """On a terminal, the progress of an epoch; messages replace the bar."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden = True if hidden else None  # None: hidden if standard error is not a terminal
        self.bar: Any = None

    def show(self, done: int, of: int, loss: float) -> None:
        """Update the bar after a batch."""
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=of, initial=done - 1, unit="batch", leave=False, disable=self.hidden)
        self.bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
        self.bar.update(done - self.bar.n)
        if done == of:
            self.close()

    def say(self, text: str) -> None:
        """Print a message in place of the bar, which the next batch brings back."""
        self.close()
        print_first_process(text)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None


def print_first_process(text: str) -> None:
    """Print a message to standard error, in the first of several processes; nothing with -q."""
    from yolor_cfg.parallel import this_process

    if not is_on("quiet") and this_process().rank == 0:
        click.echo(text, err=True)
