"""The signal that ends a command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
THROTTLED = "1000"
"""Turns of the loop in which a thread of libgomp waits before it sleeps: microseconds instead of 3 ms."""
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


@contextmanager
def delayed_signals() -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM waits for the end of the context, so that what belongs together is
    done together; a second one is as ever."""
    arrived: list[Any] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def keep(*which: Any) -> None:
        arrived.append(which)
        _set_handlers(handlers)

    try:
        _set_handlers(dict.fromkeys(handlers, keep))
        yield
    finally:
        _set_handlers(handlers)
    for which in arrived:
        handlers[which[0]](*which)


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def calm_threads() -> None:
    """Let threads that wait for each other sleep soon, before the library that reads this is loaded with
    torch. By default they spin for long, and take the processor from the thread that they wait for as soon
    as another program runs: that makes all of it several times slower."""
    if not any(name in os.environ for name in WAITING):
        os.environ[WAITING[0]] = THROTTLED
