"""The signal that ends a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TERMINATED_CODE = 143  # by shell convention: 128 + SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: like Ctrl-C, it ends the work with what is done so far."""


@contextmanager
def raised_termination() -> Iterator[None]:
    """Inside, the first SIGTERM raises `Terminated`, so that files are finished or removed; a second one ends
    the process at once."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_terminated(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated
