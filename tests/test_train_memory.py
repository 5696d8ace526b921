"""Freed memory stays in the process, and nothing breaks if the C library does not support that."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from yolor_cfg.train.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
# 64 MB are 16384 pages of 4 KiB. The first tensors only bring the heap to its size: each is aligned, and
# a gap of just its length is too short for the next.
PROGRAM = """
import resource, torch
from yolor_cfg.train.memory import keep_freed_memory
{call}
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
with_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def page_faults(call: str) -> int:
    """The page faults of a fresh process that allocates twenty tensors of one size, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    return int(done.stdout)


@with_glibc
def test_the_system_gives_a_freed_tensor_only_once():
    assert page_faults("assert keep_freed_memory()") < 20 * 16


@pytest.mark.slow
@with_glibc
def test_without_it_every_large_tensor_is_new_to_the_system():
    assert page_faults("") > 20 * 16  # a tensor is 32 pages where pages are of 2 MiB


LIBRARIES = {"musl": object(), "none": OSError("no"), "windows": TypeError("no")}


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_other_c_libraries_are_left_alone(monkeypatch, library):
    def opened(name):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", opened)
    assert keep_freed_memory() is False
