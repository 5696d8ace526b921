"""Mutates valid inputs, runs the real commands on them, and reports tracebacks, hangs and memory.

    python tools/fuzz.py --minutes 60                 # all kinds in turn
    python tools/fuzz.py --kind pt --seed 7 --count 200
    python tools/fuzz.py --replay fuzz-found/pt-7-31  # one fault again, with its messages

Each input depends on the seed, the kind and its number alone. It runs in a child of its own, with limits of
time and memory. A fault is an exit code that is not documented, a signal, a traceback, a hang, or memory
beyond the limit; its folder is kept below --keep, with the command in `command.json` and the messages in
`output.txt`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_inputs import COMMANDS, Command, make_inputs, pick_options  # noqa: E402
from fuzz_mutate import mutate_file  # noqa: E402

GOOD_CODES = frozenset(range(6))  # reference: the table of exit codes in docs/errors.md
CRASH = 99
SECONDS = 60.0
MEGABYTES = 3000
ADDRESSES = 24 << 30  # torch reserves far more addresses than it uses memory
KINDS = tuple(COMMANDS)


class Outcome(NamedTuple):
    """What became of one run: its exit code or signal, its seconds, its memory in megabytes."""

    code: int
    seconds: float
    megabytes: float

    @property
    def fault(self) -> str:
        """What is wrong with it; empty if nothing is."""
        if self.seconds > SECONDS:
            return f"hang: {self.seconds:.0f} s"
        if self.megabytes > MEGABYTES:
            return f"memory: {self.megabytes:.0f} MB"
        if self.code == CRASH:
            return "traceback"
        return "" if self.code in GOOD_CODES else f"exit code {self.code}"


def main() -> None:
    """Fuzz until the time or the count is over, and print what was tried and found."""
    options = parse_arguments()
    preload_libraries()
    if options.replay:
        command = json.loads((options.replay / "command.json").read_text(encoding="utf-8"))
        print(run_child(options.replay, command, log=None))
        return
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_inputs(base)
        tried, found = try_inputs(base, options)
    for kind in tried:
        print(f"{kind:12} {tried[kind]:6} tried {found[kind]:4} faults")
    print(f"{tried.total()} inputs, {found.total()} faults")


def try_inputs(base: Path, options: argparse.Namespace) -> tuple[Counter[str], Counter[str]]:
    """How many inputs of each kind were tried, and how many faults they found."""
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    end = time.monotonic() + 60 * options.minutes
    number = options.start
    while time.monotonic() < end and number < options.start + options.count:
        for kind in options.kind or KINDS:
            tried[kind] += 1
            found[kind] += bool(try_input(base, kind, number, options=options))
        number += 1
    return tried, found


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=1 << 60, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--replay", type=Path)
    return parser.parse_args()


def try_input(base: Path, kind: str, number: int, *, options: argparse.Namespace) -> str:
    """Mutate and run one input; a fault is printed and kept, and returned."""
    rng = random.Random(f"{options.seed} {kind} {number}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case"
        shutil.copytree(base, place, symlinks=True)
        command: Command = rng.choice(COMMANDS[kind])
        args = [*command.args]
        if command.mutated:
            mutate_file(place / rng.choice(command.mutated), rng)
        else:
            args = pick_options(args, rng)
        (place / "command.json").write_text(json.dumps(args), encoding="utf-8")
        fault = run_child(place, args, log=place / "output.txt").fault
        if fault:
            kept = options.keep / f"{kind}-{options.seed}-{number}"
            shutil.copytree(place, kept, symlinks=True, dirs_exist_ok=True)
            print(f"{kept}: {fault}: yolor {' '.join(args)[:300]!r}", flush=True)
        return fault


def run_child(place: Path, args: list[str], *, log: Path | None) -> Outcome:
    """Run `yolor ARGS` in that folder, in a child that is killed when its time is over."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        run_command(place, args, log)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.monotonic() - began
        if done:
            return Outcome(os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / 1024)
        if seconds > SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.wait4(child, 0)
            return Outcome(-signal.SIGKILL, seconds, 0)
        time.sleep(0.005)


def run_command(place: Path, args: list[str], log: Path | None) -> None:
    """The child: never returns."""
    code = CRASH
    try:
        os.setpgid(0, 0)
        os.chdir(place)
        redirect(log)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = call_main(args)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def redirect(log: Path | None) -> None:
    """Nothing to read, and messages into the log, if there is one."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)


def call_main(args: list[str]) -> int:
    """The exit code of the command; exceptions that it lets through are raised."""
    from yolor_cfg.cli import main as yolor

    try:
        yolor(args, prog_name="yolor")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def preload_libraries() -> None:
    """Import once what every child needs, with one thread each, since threads do not survive a fork."""
    import cv2
    import torch

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    import torch._dynamo

    import yolor_cfg

    for module in pkgutil.walk_packages(yolor_cfg.__path__, "yolor_cfg."):
        if not module.name.rpartition(".")[2].startswith("_"):  # __main__, and kernels, which are no module
            importlib.import_module(module.name)


if __name__ == "__main__":
    main()
