"""Compare the images per second of our training loop with those of a plain one: eager, fp32, NCHW.

    python tools/bench_train.py [--cfg yolor_nano] [--img-size 256x320] [--batch-size 16] [--precision fp32]

Both loops (tools/bench_train_loops.py) train the same network on the same drawn images, each in a process of
its own, so that one does not profit from the other's allocator settings. They take turns of a few steps, the
first of a pair alternates, and the ratio is taken for each pair; its median and quartiles are printed.
The first steps of a turn do not count, since our loader worked ahead while the other loop ran. A long run of
a small network shows whether memory grows. Exit code 1 when a bound is missed: 1.3 times as fast in fp32, and
1.8 times in bf16 where the processor has instructions for it; less than a tenth of a step spent waiting for
images; no more than 8 MiB of growth.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from yolor_cfg.cli.options import SizeParam
from yolor_cfg.networks import family

if TYPE_CHECKING:
    from bench_train_loops import StepStats

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = {"fp32": 1.3, "bf16": 1.8}
MOST_WAITING, MOST_GROWTH = 0.10, 8.0
WARMUP_STEPS = 3
EPOCH_BATCHES = 50
SMALL = ("yolor_micro", (64, 64), 4)
# x86 names it in two flags, Arm in one.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
ALLOCATOR = ("MALLOC_", "GLIBC_TUNABLES")
"""Prefixes of environment variables that would change the allocator of both."""


class Case(NamedTuple):
    """What is trained: a network of the family, and batches of this size."""

    cfg: str
    size: tuple[int, int]
    batch_size: int
    precision: str = "fp32"


class TurnPair(NamedTuple):
    """The steps of two consecutive turns."""

    ours: list[StepStats]
    plain: list[StepStats]

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return seconds(self.plain) / seconds(self.ours)


class SpeedSummary(NamedTuple):
    """Images per second of both, the ratio with its quartiles, and the share of our steps spent waiting."""

    ours: float
    plain: float
    below: float
    ratio: float
    above: float
    wait_share: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--cfg",
    default="yolor_nano",
    show_default=True,
    type=click.Choice(list(family.NETWORKS)),
    metavar="NAME",
    help="network of the family",
)
@click.option("--img-size", "size", type=SizeParam(), default="256x320", show_default=True, help="N or HxW")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="images of a step")
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, help="steps of a turn")
@click.option("--pairs", type=click.IntRange(2), default=8, show_default=True, help="turns of each loop")
@click.option(
    "--precision",
    type=click.Choice(list(BOUNDS)),
    help="of our loop; default: fp32, and bf16 where the processor computes with it",
)
@click.option(
    "--memory-steps",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    help="steps of the run that shows whether memory grows; 0: no such run",
)
def main(
    cfg: str,
    size: int | tuple[int, int],
    batch_size: int,
    steps: int,
    pairs: int,
    precision: str | None,
    memory_steps: int,
) -> None:
    """Print a line for each precision, and one for memory."""
    case = Case(cfg, size if isinstance(size, tuple) else (size, size), batch_size)
    able = can_compute_bf16(_cpu_info())
    misses = []
    click.echo(f"{cfg} at {case.size[0]}x{case.size[1]}, batches of {batch_size}; images per second")
    click.echo(f"{'':4s} {'ours':>9s} {'plain':>9s} {'ratio':>7s} {'quartiles':>15s} {'waiting':>8s}")
    for kind in [precision] if precision else list(BOUNDS)[: 1 + able]:
        row = summarize(compare_loops(case._replace(precision=kind), steps=steps, pairs=pairs), batch_size)
        click.echo(
            f"{kind:4s} {row.ours:9.2f} {row.plain:9.2f} {row.ratio:7.2f} {row.below:7.2f}"
            f" {row.above:7.2f} {row.wait_share:8.1%}"
        )
        misses += faults(row, BOUNDS[kind] if able or kind != "bf16" else None)
    if not able:
        click.echo("bf16: this processor has no instructions for it, so its bound is not judged here")
    if memory_steps:
        grown = growth(_resident_sizes(memory_steps))
        click.echo(f"memory grows by {grown:.1f} MiB from step {memory_steps // 4} to step {memory_steps}")
        misses += [f"memory grows by more than {MOST_GROWTH:g} MiB"] * (grown > MOST_GROWTH)
    for miss in misses:
        click.echo(f"MISS: {miss}")
    sys.exit(bool(misses))


def can_compute_bf16(processor: str) -> bool:
    """Whether this text of /proc/cpuinfo names instructions for bf16."""
    return not BF16_FLAGS.isdisjoint(processor.split())


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def seconds(steps: Sequence[StepStats]) -> float:
    """What the steps that count took."""
    return sum(step.seconds for step in steps[WARMUP_STEPS:])


def compare_loops(case: Case, *, steps: int, pairs: int) -> list[TurnPair]:
    """Both loops in turn; a first turn of each warms it up."""
    count = steps + WARMUP_STEPS
    found = []
    with (
        _prepare_options(case) as said,
        _start_loop("ours", said) as ours,
        _start_loop("plain", said) as plain,
    ):
        for loop in (ours, plain):
            loop.turn(WARMUP_STEPS)
        for number in range(pairs):
            turns = {loop: loop.turn(count) for loop in ((ours, plain) if number % 2 else (plain, ours))}
            found.append(TurnPair(turns[ours], turns[plain]))
    return found


def summarize(pairs: Sequence[TurnPair], batch_size: int) -> SpeedSummary:
    """Medians over the turns."""
    counted = len(pairs[0].ours) - WARMUP_STEPS
    ours, plain = (
        counted * batch_size / statistics.median(map(seconds, turns)) for turns in zip(*pairs, strict=True)
    )
    steps = [step for pair in pairs for step in pair.ours[WARMUP_STEPS:]]
    waiting = sum(step.wait_seconds for step in steps) / sum(step.seconds for step in steps)
    below, ratio, above = statistics.quantiles([pair.ratio for pair in pairs], n=4)
    return SpeedSummary(ours, plain, below, ratio, above, waiting)


def faults(row: SpeedSummary, bound: float | None) -> list[str]:
    """The bounds that a row misses; with None its speed is not judged."""
    slow = [f"{row.ratio:.2f} times as fast, not {bound}"] if bound and row.ratio < bound else []
    late = [f"{row.wait_share:.0%} of a step spent waiting"] if row.wait_share >= MOST_WAITING else []
    return slow + late


def growth(resident: Sequence[float]) -> float:
    """By how much memory grows after the first quarter, along the best-fitting line."""
    later = resident[len(resident) // 4 :]
    return statistics.linear_regression(range(len(later)), later).slope * (len(later) - 1)


def _resident_sizes(steps: int) -> list[float]:
    with _prepare_options(Case(*SMALL)) as said, _start_loop("ours", said) as loop:
        return [step.resident_mib for step in loop.turn(max(steps, 4))]


class Loop:
    """A loop in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def turn(self, steps: int) -> list[StepStats]:
        """Let it run for this many steps."""
        from bench_train_loops import StepStats

        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException("a loop ended too early")
        return [StepStats(*values) for values in json.loads(line)]


@contextmanager
def _start_loop(name: str, said: dict[str, object]) -> Iterator[Loop]:
    """A process with the loop of this name, which has its network ready and waits for its turn."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith(ALLOCATOR)}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    command = [sys.executable, str(ROOT / "tools" / "bench_train_loops.py"), name, json.dumps(said)]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**usual, "PYTHONPATH": paths}
    ) as process:
        yield Loop(process)


@contextmanager
def _prepare_options(case: Case) -> Iterator[dict[str, object]]:
    """The options of `yolor train`, with a cfg and images that exist for as long as they are needed."""
    from yolor_cfg.data.shapes import NAMES
    from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes

    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder) / f"{case.cfg}.cfg"
        cfg.write_text(family.cfg_text(case.cfg, family.NETWORKS[case.cfg], classes=len(NAMES)))
        wanted = ShapesOptions(EPOCH_BATCHES * case.batch_size + 1, case.size, val_count=1)
        data = write_shapes(Path(folder) / "shapes", wanted)
        yield {
            "cfg": str(cfg),
            "data": str(data),
            "img_size": case.size,
            "batch_size": case.batch_size,
            "precision": case.precision,
            "val_period": 0,
        }


if __name__ == "__main__":
    main()
