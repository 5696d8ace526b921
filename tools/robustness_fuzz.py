"""The fuzzer of the readers: one process for each kind reads mutated files one after the other.

An input depends on the seed, its kind and its number alone. A fault is any exception but the product's own
errors, a hang, memory beyond the bound, the death of the process, or an attempt to run code from the file.
"""

from __future__ import annotations

import ctypes
import json
import logging
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from robustness_mutate import mutate
from robustness_readers import READERS, Input, make_beside
from robustness_seeds import SeedPool
from robustness_table import CheckResult, Options

from yolor_cfg.errors import YolorError

HANG_SECONDS = 10.0
"""Of the processor: on a busy machine any process may have to wait."""
NICENESS = 10
STUCK_SECONDS = 120.0
"""Longer without a new input, a process waits for something, or is in code that no timer of Python ends."""
MOST_MEGABYTES = 600
"""By which the peak memory of the process may grow between two looks at it."""
LOOK_EVERY = 20
"""Inputs: the system takes a millisecond to tell."""
MORE_ADDRESSES = 4 << 30
MOST_KEPT = 50
FULL_COUNTS = {**dict.fromkeys(("cfg", "weights", "pt"), 250_000), "networks": 10_000}
SHORT_COUNT, SHORT_COUNTS = 300, {"networks": 60}
TELL_EVERY = 10.0
# What no reader may do: names of CPython's audit events.
FORBIDDEN = frozenset(
    "os.system os.exec os.posix_spawn os.spawn subprocess.Popen socket.connect socket.bind "
    "pickle.find_class ctypes.dlopen shutil.rmtree".split()
)


class Hang(BaseException):
    """Not an Exception, so that no reader takes it for a fault of the file."""


class Forbidden(BaseException):
    """A reader did what only code of the file could ask for."""


class Board(ctypes.Structure):
    """What a process tells of its work, in memory that its parent sees."""

    _fields_ = (
        ("number", ctypes.c_int64),
        ("taken", ctypes.c_int64),
        ("refused", ctypes.c_int64),
        ("faults", ctypes.c_int64),
        ("worst", ctypes.c_double),
        ("peak", ctypes.c_double),
    )


class FuzzPlan(NamedTuple):
    """What a process is to read: inputs of a kind from `start` to before `end`, where faults go."""

    kind: str
    seeds: SeedPool
    seed: int
    start: int
    end: int
    keep: Path


class FuzzWorker:
    """A process that reads the inputs of a plan, and begins again behind an input that ended it."""

    def __init__(self, plan: FuzzPlan) -> None:
        self.plan = plan
        self.board = Board.from_buffer(mmap.mmap(-1, ctypes.sizeof(Board)))
        self.board.number = plan.start - 1
        self.seconds = 0.0
        self._seen, self._since, self._began = plan.start - 1, time.monotonic(), time.monotonic()
        self._pid = self._fork(plan.start)

    def _fork(self, start: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                work(self.plan._replace(start=start), self.board)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return pid

    def poll(self) -> bool:
        """Whether there is more to do; a process that died or is stuck is a fault, and is replaced."""
        done, status = os.waitpid(self._pid, os.WNOHANG)
        now = time.monotonic()
        self.seconds = now - self._began
        if self.board.number != self._seen:
            self._seen, self._since = self.board.number, now
        if not done and now - self._since > STUCK_SECONDS:
            os.kill(self._pid, signal.SIGKILL)
            done, status = os.waitpid(self._pid, 0)
        if not done:
            return True
        code = os.waitstatus_to_exitcode(status)
        remove_folders(self._pid)
        if code == 0:
            self._pid = 0
            return False
        self.board.faults += 1
        number = self.board.number
        keep_fault(self.plan, number, f"the process ended with {code}")
        self._since = now
        self._pid = self._fork(number + 1)
        return True

    def stop(self) -> None:
        """End it, if it has not ended by itself."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            remove_folders(self._pid)
            self._pid = 0


def tell(plan: FuzzPlan, board: Board, seconds: float) -> CheckResult:
    """What was done so far."""
    told = f"{board.taken:,} taken, {board.refused:,} refused, seed {plan.seed}, {seconds:.0f} s"
    tries = board.number + 1 - plan.start
    return CheckResult(f"fuzz-{plan.kind}", tries, board.faults, board.worst, board.peak, (told,))


def fuzz(kind: str, seeds: SeedPool, options: Options) -> CheckResult:
    """Read the inputs of a kind in a process of its own."""
    count = options.choose_count(SHORT_COUNTS.get(kind, SHORT_COUNT), FULL_COUNTS.get(kind, 40_000))
    plan = FuzzPlan(kind, seeds, options.seed, options.start, options.start + count, options.keep)
    if options.is_here:
        board = Board(number=plan.start - 1)
        read_all(plan, board)
        return tell(plan, board, 0.0)
    worker, told = FuzzWorker(plan), time.monotonic()
    try:
        while worker.poll():
            time.sleep(0.02)
            if time.monotonic() - told > TELL_EVERY:
                options.tell(tell(plan, worker.board, worker.seconds))
                told = time.monotonic()
    finally:
        worker.stop()
    return tell(plan, worker.board, worker.seconds)


def make_input(plan: FuzzPlan, number: int) -> tuple[bytes, str, random.Random]:
    """The bytes of an input, the cfg that goes with it, and the random numbers for its reader."""
    rng = random.Random(f"{plan.seed} {plan.kind} {number}")
    data, cfg, _ = mutate(plan.kind, plan.seeds, rng)
    return data, cfg, rng


def work(plan: FuzzPlan, board: Board) -> None:
    """Read every input of the plan, in a process of its own."""
    os.nice(max(0, NICENESS - os.nice(0)))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    bound_addresses()
    sys.addaudithook(refuse_forbidden)
    read_all(plan, board)


def read_all(plan: FuzzPlan, board: Board) -> None:
    """Read the inputs one after the other; those that find a fault are kept."""
    warnings.simplefilter("ignore")
    logging.disable()
    with temporary_folder() as folder:
        path = folder / f"input{READERS[plan.kind][1]}"
        for number in range(plan.start, plan.end):
            board.number = number
            data, cfg, rng = make_input(plan, number)
            fault = read_input(plan.kind, Input(data, path, cfg, rng), board)
            if number % LOOK_EVERY == 0:
                fault = fault or look_at_memory(board)
            if fault:
                board.faults += 1
                keep_fault(plan, number, fault)


def read_input(kind: str, given: Input, board: Board) -> str:
    """Read one input; what is wrong with how that went, "" if nothing."""
    given = given._replace(path=add_image_suffix(given))
    given.path.write_bytes(given.data)
    began, fault = time.process_time(), ""
    try:
        with alarm():
            READERS[kind][0](given)
        board.taken += 1
    except YolorError as refusal:
        board.refused += 1
        fault = check_message(refusal)
    except Hang:
        fault = f"no end after {HANG_SECONDS:g} s\n{traceback.format_exc()[-3000:]}"
    except BaseException:
        fault = traceback.format_exc()[-6000:]
    board.worst = max(board.worst, time.process_time() - began)
    return fault


def add_image_suffix(given: Input) -> Path:
    """Images are read by the suffix of their file: that of arrays and stacks, or any other."""
    if given.path.suffix:
        return given.path
    head = given.data[:4]
    return given.path.with_suffix(
        ".npy" if head == b"\x93NUM" else ".tiff" if head[:2] in (b"II", b"MM") else ".png"
    )


def check_message(refusal: YolorError) -> str:
    """A refusal is one readable message of bounded length."""
    text = str(refusal)
    if not refusal.message or len(text) > 200_000 or "\0" in text or "\x1b" in text:
        return f"a message that no terminal should get: {text[:500]!r}"
    return ""


def look_at_memory(board: Board) -> str:
    """Note the peak memory; a fault if it grew much since the last look."""
    before, board.peak = board.peak, peak_megabytes()
    grown = board.peak - before
    return f"memory: {grown:.0f} MB more" if before and grown > MOST_MEGABYTES else ""


@contextmanager
def alarm() -> Iterator[None]:
    """Raise Hang if what is done within takes longer than the bound."""
    signal.signal(signal.SIGPROF, _raise_hang)
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _raise_hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang


def refuse_forbidden(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event in FORBIDDEN and not (event == "shutil.rmtree" and "robustness-" in str(args[0])):
        raise Forbidden(f"{event} {args!r:.300}")


def bound_addresses() -> None:
    """Let no input take much more memory than the process has already."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MORE_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """In memory where the system has such a place: each input is written to a file."""
    folder = Path(tempfile.mkdtemp(prefix=f"robustness-{os.getpid()}-", dir=memory_place()))
    try:
        make_beside(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def memory_place() -> str:
    """A folder in memory, where the system has one, else that of temporary files."""
    shm = "/dev/shm"
    return shm if os.access(shm, os.W_OK) else tempfile.gettempdir()


def remove_folders(pid: int) -> None:
    """Remove what a process left that was killed."""
    for folder in Path(memory_place()).glob(f"robustness-{pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def keep_fault(plan: FuzzPlan, number: int, fault: str) -> None:
    """Keep an input that found a fault, with all that it takes to read it again."""
    plan.keep.mkdir(parents=True, exist_ok=True)
    name = f"{plan.kind}-{plan.seed}-{number}"
    if sum(1 for _ in plan.keep.glob(f"{plan.kind}-*.json")) >= MOST_KEPT:
        return
    data, cfg, _ = make_input(plan, number)
    (plan.keep / f"{name}.input").write_bytes(data)
    record = {"kind": plan.kind, "seed": plan.seed, "number": number, "cfg": cfg, "fault": fault}
    (plan.keep / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def replay(record_path: Path, seeds: SeedPool) -> str:
    """Read a kept input again; what is wrong, "" if nothing is any more."""
    record = json.loads(record_path.read_text(encoding="utf-8"))
    plan = FuzzPlan(
        record["kind"], seeds, record["seed"], record["number"], record["number"] + 1, record_path.parent
    )
    data, cfg, rng = make_input(plan, record["number"])
    kept = record_path.with_suffix(".input").read_bytes()
    if data != kept:  # other seeds are here than there: the choices of the reader may be others
        data, cfg = kept, record["cfg"]
    with temporary_folder() as folder:
        return read_input(plan.kind, Input(data, folder / f"input{READERS[plan.kind][1]}", cfg, rng), Board())
