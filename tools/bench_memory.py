"""Compare the real peak memory of one forward pass on the CPU with the figure of `yolor info --memory`.

    python tools/bench_memory.py CFG [--img-size 608] [--dialect D]

This measures the rise of the resident set (Linux: VmHWM, reset before the pass) in a fresh process, once the
network is built and a tiny image has gone through it: what the system really provides, including
what operators allocate for themselves (oneDNN's reordered copies), which a sum over tensors would miss.
glibc keeps up to 64 MiB of freed blocks for later, whatever the network does; so the figure that counts is
taken with MALLOC_MMAP_THRESHOLD_ set, which returns freed tensors at once, and the other is printed beside
it. Exit code 1 when the first is more than 1.3 x the figure.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import click

from yolor_cfg.cli.options import SizeParam, dialect_option

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.3
MIB = 2**20
NO_CACHE_ENV = {"MALLOC_MMAP_THRESHOLD_": str(MIB)}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("cfg", type=click.Path(exists=True))
@click.option("--img-size", "size", type=SizeParam(), help="N or HxW; default: the cfg's own")
@dialect_option
@click.option("--runs", default=3, show_default=True, help="number of processes; the median counts")
def main(cfg: str, size: int | tuple[int, int] | None, dialect: str | None, runs: int) -> None:
    """Print both figures and their ratio for one image, float32, without gradients."""
    from yolor_cfg.count import peak_activation
    from yolor_cfg.graph import ReadOptions, load_graph

    graph = load_graph(cfg, ReadOptions(dialect=dialect, size=size))
    peak = peak_activation(graph)
    asked = json.dumps({"cfg": cfg, "dialect": graph.dialect.name, "size": size})
    real, cached = (
        statistics.median(_measure_rise(asked, env) for _ in range(runs)) for env in (NO_CACHE_ENV, {})
    )
    node = graph.nodes[peak.number]
    ratio = real / peak.bytes
    click.echo(f"{cfg} at {graph.image}")
    click.echo(f"by liveness           {peak.bytes / MIB:8.1f} MiB, at [{node.section.type} #{node.index}]")
    click.echo(f"measured              {real / MIB:8.1f} MiB")
    click.echo(f"with malloc's cache   {cached / MIB:8.1f} MiB")
    click.echo(f"ratio                 {ratio:8.3f}      limit {LIMIT}  {'ok' if ratio <= LIMIT else 'MISS'}")
    sys.exit(ratio > LIMIT)


def _measure_rise(asked: str, env: dict[str, str]) -> int:
    """By how many bytes the resident set of a fresh process rises."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    code = "import sys, bench_memory; bench_memory.measure(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, asked],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, **env},
    )
    return int(done.stdout)


def measure(asked: str) -> None:
    """Print the rise of the resident set during one forward pass of the network that `load_graph` gives."""
    import torch

    from yolor_cfg import load

    told = json.loads(asked)
    size = tuple(told["size"]) if isinstance(told["size"], list) else told["size"]
    network = load(told["cfg"], dialect=told["dialect"], size=size)
    image = network.graph.image
    with torch.no_grad():
        network(torch.zeros(1, image.channels, *_smallest_size(image[1:], network.graph.largest_stride)))
        network.reset()
        before = _resident_bytes()
        network(torch.rand(1, *image))
    print(_status("VmHWM") - before)


def _smallest_size(sides: tuple[int, ...], stride: int) -> list[int]:
    """The smallest image that the network takes: one cell of its coarsest map in each direction."""
    return [min(side, stride) for side in sides]


def _resident_bytes() -> int:
    """Bytes resident now, after freed memory is returned; resets the high-water mark."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


if __name__ == "__main__":
    main()
