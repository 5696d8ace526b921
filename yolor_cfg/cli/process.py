"""The process that a command runs in: its standard files, and the signal that ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TERMINATED_CODE = 143  # by shell convention: 128 + SIGTERM
STANDARD_FILES = (0, 1, 2)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: like Ctrl-C, it ends the work with what is done so far."""


def fill_standard_files() -> None:
    """Open the null device where standard input, output or error is closed.

    Else the next file that is opened takes its place, and what codecs write to standard error lands in it.
    """
    for number in STANDARD_FILES:
        try:
            os.fstat(number)
        except OSError:
            place = os.open(os.devnull, os.O_RDWR)
            if place != number:
                os.dup2(place, number)
                os.close(place)
            os.set_inheritable(number, True)


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
