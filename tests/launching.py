"""Programs that run in several processes at once, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ASKED: list[int] = []
"""The processes of this test: torch asks the name server what each is called, though all are here."""


def processes(program: str, *args: object, world: int) -> None:
    """Run the program in so many processes; each must end well."""
    ASKED.append(world)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    usual = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, args)],
            cwd=ROOT,
            text=True,
            env={**usual, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(world)
    ]
    try:
        texts = [process.communicate(timeout=600)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * world, texts


def torchrun(world: int, *words: str) -> list[str]:
    """The command that lets torchrun start so many processes of a program."""
    ASKED.append(world)
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}")
    return [sys.executable, *launcher, *words]
