"""Engines side by side: each runs in a process of its own, and they take turns, so that whatever else the
machine does hits all alike."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import choose_engine
from yolor_cfg.engines.machine import peak_memory
from yolor_cfg.errors import YolorError
from yolor_cfg.graph import ReadOptions
from yolor_cfg.model import Network
from yolor_cfg.weights.loading import open_network

WARM_UP = 2  # turns that are not counted
PATIENCE_S, END_S = 3600, 10  # for one answer; until a process ends by itself


class Contestant(NamedTuple):
    """A network in an engine."""

    cfg: str
    weights: str | None
    settings: EngineSettings
    dialect: str | None = None
    size: int | tuple[int, int] | None = None
    device: str = "cpu"
    task: str | None = None

    @property
    def label(self) -> str:
        """Engine and precision, and whether nothing is rewritten."""
        as_written = ", as written" if "all" in self.settings.without else ""
        return f"{self.settings.engine} {self.settings.precision}{as_written}"


class Result(NamedTuple):
    """How long a batch takes, in milliseconds: the median and the quartiles; the peak memory of the process
    until then in MiB; the largest difference of a raw map to torch's float32 as the network is written,
    relative to max(1, |x|). `failed` says why there are no numbers."""

    contestant: Contestant
    batch: int
    median_ms: float = 0.0
    low_ms: float = 0.0
    high_ms: float = 0.0
    peak_mib: float = 0.0
    difference: float = 0.0
    failed: str = ""

    @property
    def images_per_second(self) -> float:
        """By the median; 0 where it failed."""
        return 0.0 if self.failed else self.batch / self.median_ms * 1000


def race(
    contestants: Sequence[Contestant], batches: Sequence[int], *, turns: int, tell: Callable[[str], None]
) -> list[Result]:
    """The results of all, for batches of so many images, smallest first. `tell` is told what goes on."""
    with _start(contestants) as pipes:
        failed = {}
        for one, pipe in zip(contestants, pipes, strict=True):
            tell(f"{one.label}: starting")
            failed[one] = _ask(pipe, None)[1]
        return [
            result
            for batch in sorted(batches)
            for result in _race_batch(
                dict(zip(contestants, pipes, strict=True)), failed, batch=(batch, turns)
            )
        ]


def _race_batch(
    pipes: dict[Contestant, Connection], failed: dict[Contestant, str], *, batch: tuple[int, int]
) -> Iterator[Result]:
    images, turns = batch
    times: dict[Contestant, list[float]] = {one: [] for one in pipes}
    for turn in range(turns + WARM_UP):
        for one, pipe in pipes.items():
            if not failed[one]:
                seconds, failed[one] = _ask(pipe, ("run", images))
                times[one] += [seconds] * (turn >= WARM_UP)
    for one, pipe in pipes.items():
        yield (
            _summarize(one, pipe, batch=images, times=times[one])
            if not failed[one]
            else Result(one, images, failed=failed[one])
        )


def _summarize(one: Contestant, pipe: Connection, *, batch: int, times: list[float]) -> Result:
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    peak, _ = _ask(pipe, ("peak", batch))  # before the comparison, which takes memory of its own
    difference, failed = _ask(pipe, ("compare", batch))
    return Result(one, batch, middle * 1000, low * 1000, high * 1000, peak, difference, failed)


@contextmanager
def _start(contestants: Sequence[Contestant]) -> Iterator[list[Connection]]:
    """A process for each; the pipes to them."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in contestants]
    processes = [
        context.Process(target=_serve, args=(theirs, one), daemon=True)
        for (_, theirs), one in zip(pairs, contestants, strict=True)
    ]
    try:
        for process, (_, theirs) in zip(processes, pairs, strict=True):
            process.start()
            theirs.close()
        yield [ours for ours, _ in pairs]
    finally:
        for ours, _ in pairs:
            ours.close()  # by which they end
        for process in processes:
            if process.pid is not None:
                process.join(END_S)
                process.terminate()


def _ask(pipe: Connection, question: tuple[str, int] | None) -> tuple[float, str]:
    """The number that answers the question, and why there is none; without a question, the greeting."""
    try:
        if question is not None:
            pipe.send(question)
        if not pipe.poll(PATIENCE_S):
            return 0.0, f"no answer for {PATIENCE_S} s"
        answer: tuple[float, str] = pipe.recv()
    except (EOFError, OSError):
        return 0.0, "the process ended: perhaps there is not enough memory"
    return answer


def _serve(pipe: Connection, one: Contestant) -> None:
    """What a process does: greet, then answer until it is ended."""
    worker: _Worker | None = None
    question: tuple[str, int] | None = None
    while True:
        try:
            if worker is None:
                worker = _Worker(one)
            answer = (worker.answer(*question) if question else 0.0, "")
        except Exception as fault:  # it must not stop the others
            text = fault.message if isinstance(fault, YolorError) else str(fault) or type(fault).__name__
            answer = (0.0, text.strip().partition("\n")[0])
        try:
            pipe.send(answer)
            question = pipe.recv()
        except (EOFError, OSError):
            return


class _Worker:
    """A contestant at work."""

    def __init__(self, one: Contestant) -> None:
        reading = ReadOptions(one.dialect, one.size)
        torch.manual_seed(0)  # weights that are not given are the same in all
        opened = open_network(one.cfg, one.weights, reading=reading, device=one.device, task=one.task)
        self.network: Network = opened.network
        self.engine: Any = choose_engine(self.network, one.settings)
        self.images = torch.zeros(0)

    def answer(self, what: str, images: int) -> float:
        """The answer to `run` in seconds, `peak` in MiB, or `compare`."""
        if what == "peak":
            return peak_memory()
        if len(self.images) != images:
            draw = torch.Generator().manual_seed(0)
            self.images = torch.rand(images, *self.network.graph.image, generator=draw)
        with torch.inference_mode():
            return self._time() if what == "run" else self._compare()

    def _time(self) -> float:
        start = time.perf_counter()
        raws: list[Tensor] = self.engine(self.images)
        sum(float(raw.sum()) for raw in raws if raw.is_cuda)  # waits for a GPU
        return time.perf_counter() - start

    def _compare(self) -> float:
        device = next(self.network.parameters()).device
        self.network.reset()
        raws = self.engine(self.images)
        self.network.reset()
        wanted = self.network(self.images.to(device))
        pairs = zip(raws, wanted, strict=True)
        return max(float(((x.to(y.device) - y).abs() / y.abs().clamp(min=1)).max()) for x, y in pairs)
