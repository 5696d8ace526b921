"""Work that other threads do ahead of the one that takes it: in order, at most so much of it at a time.

Work is begun when results are asked for, so whoever is slow holds up what comes before. A fault is raised in
its turn. OpenCV, the network and numpy's loops run beside each other; Python itself does not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

MOST_WORKERS = 4
"""Threads for reading and drawing unless a number is asked for."""

T = TypeVar("T")
Kept = TypeVar("Kept")


class InlineExecutor(Executor):
    """Runs what it is given at once, in the thread that gives it."""

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """The result, or the fault, which is raised when the result is asked for."""
        done = Future[T]()
        try:
            done.set_result(function(*args, **options))
        except Exception as fault:
            done.set_exception(fault)
        return done


class Crew:
    """Threads beside the main one: `many` of equal rank, and one each for what has an order: `reader` takes
    frames of videos, `runner` runs the network. Without workers all happens in turn, in the main thread."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = count_workers() if workers is None else workers
        self.is_inline = self.workers == 0
        self.many = self._start(self.workers, "helper")
        self.reader = self._start(1, "reader")
        self.runner = self._start(1, "network")

    def _start(self, count: int, name: str) -> Executor:
        return InlineExecutor() if self.is_inline else ThreadPoolExecutor(count, f"yolor-{name}")

    def count_ahead(self, batch_size: int) -> int:
        """How much may be done before it is asked for: a batch and what the workers have in hand."""
        return 0 if self.is_inline else batch_size + self.workers

    def stop(self) -> None:
        """End the threads: what has not begun is left out, what has begun ends."""
        for executor in (self.runner, self.reader, self.many):
            executor.shutdown(cancel_futures=True)


def count_workers() -> int:
    """A thread for each processor that this process may use, up to a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


class Walk(Generic[T, Kept]):
    """An iterator that is taken step by step, by one thread after the other."""

    def __init__(self, items: Iterable[T], change: Callable[[T], Kept]) -> None:
        """`change` is applied to each item."""
        self.is_over = False
        self._items, self._change = iter(items), change

    def step(self) -> list[Kept]:
        """The next item in a list, or an empty list after the last."""
        try:
            for item in self._items:
                return [self._change(item)]
        except BaseException:
            self.is_over = True
            raise
        self.is_over = True
        return []

    def jobs(self, executor: Executor) -> Iterator[Future[list[Kept]]]:
        """Its steps until one of them was the last; those that were begun after that one are empty."""
        while not self.is_over:
            yield executor.submit(self.step)

    def close(self) -> None:
        """Close a generator; no step may be under way."""
        getattr(self._items, "close", lambda: None)()


def take_ahead(jobs: Iterator[Future[list[T]]], most: Callable[[], int]) -> Iterator[T]:
    """What the jobs give, in order; before one is waited for, `most()` jobs after it are begun."""
    begun: deque[Future[list[T]]] = deque()
    for job in jobs:
        begun.append(job)
        while len(begun) > most():
            yield from begun.popleft().result()
    while begun:
        yield from begun.popleft().result()
