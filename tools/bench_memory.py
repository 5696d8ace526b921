"""Real peak memory of one forward pass on the CPU against the figure of `yolor info --memory`.

    python tools/bench_memory.py CFG [--img-size 608] [--dialect D]

Measured is the rise of the resident set (Linux: VmHWM, reset before the pass) in a fresh process, from the moment
when the network is built and a tiny image has gone through it. That is what a machine runs out of: it holds what
operators allocate behind torch's back (oneDNN's reordered copies) and what the allocator does not give back, both
invisible to torch's own memory hooks. Exit code 1 when it is more than 1.3 x the figure.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import click

from yolor_cfg.cli.options import Size, dialect_option

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.3
MIB = 2**20


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("cfg", type=click.Path(exists=True))
@click.option("--img-size", "size", type=Size(), help="N or HxW; default: the cfg's own")
@dialect_option
@click.option("--runs", default=3, show_default=True, help="processes; the median counts")
def main(cfg: str, size: int | tuple[int, int] | None, dialect: str | None, runs: int) -> None:
    """Print both figures and their ratio for one image, float32, without gradients."""
    from yolor_cfg.count import peak_activation
    from yolor_cfg.graph import Reading, load
    graph = load(cfg, Reading(dialect=dialect, size=size))
    peak = peak_activation(graph)
    asked = json.dumps({"cfg": cfg, "dialect": graph.dialect.name, "size": size})
    real = sorted(_measured(asked) for _ in range(runs))[runs // 2]
    node = graph.nodes[peak.number]
    ratio = real / peak.bytes
    click.echo(f"{cfg} at {graph.image}")
    click.echo(f"by liveness  {peak.bytes / MIB:9.1f} MiB, at [{node.section.type} #{node.index}]")
    click.echo(f"measured     {real / MIB:9.1f} MiB")
    click.echo(f"ratio        {ratio:9.3f}      limit {LIMIT}  {'ok' if ratio <= LIMIT else 'MISS'}")
    sys.exit(ratio > LIMIT)


def _measured(asked: str) -> int:
    """Bytes by which the resident set of a fresh process rises."""
    code = "import sys; sys.path[:0] = sys.argv[2:]; import bench_memory; bench_memory.measure(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, asked, str(ROOT), str(ROOT / "tools")], check=True,
                          text=True, stdout=subprocess.PIPE)
    return int(done.stdout)


def measure(asked: str) -> None:
    """Print the rise of the resident set during one forward pass."""
    import torch

    from yolor_cfg.graph import Reading, load
    from yolor_cfg.model import Network
    options = json.loads(asked)
    size = options["size"]
    graph = load(options["cfg"], Reading(dialect=options["dialect"], size=tuple(size) if isinstance(size, list) else size))
    network = Network(graph).eval()
    with torch.no_grad():
        network(torch.zeros(1, graph.image.channels, *_tiny(graph.image[1:], graph.largest_stride)))
        network.reset()
        before = _resident()
        network(torch.rand(1, *graph.image))
    print(_status("VmHWM") - before)


def _tiny(sides: tuple[int, ...], stride: int) -> list[int]:
    """The smallest image that the network takes: one cell of its coarsest map each way."""
    return [min(side, stride) for side in sides]


def _resident() -> int:
    """Bytes resident now, freed memory given back first; the high-water mark starts anew from here."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


if __name__ == "__main__":
    main()
