"""Compare the time of a folded YOLOR network with that of its baseline without implicit knowledge.

    python tools/bench_fold.py [--img-size 320] [--pairs 30] [--threads 2]

Both networks are folded and run in turn, one pass each, so that other load on the machine affects both. The
ratio is taken for each pair; the median and the quartiles of the ratios are printed, and the median for both
networks unfolded. The paper's tables count 1.01 to 1.02 for implicit knowledge.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from yolor_cfg.networks import family

if TYPE_CHECKING:
    from yolor_cfg.model import Network

CFG = Path(__file__).resolve().parents[1] / "cfg"
PAIRS = (
    ("yolor_csp", "yolov4_csp_silu"),
    ("yolor_csp_sss", "yolov4_csp_sss"),
    ("yolor_csp_ssss", "yolov4_csp_ssss"),
    ("yolor_nano", ""),
    ("yolor_micro", ""),
)


class FoldTiming(NamedTuple):
    """Seconds of the two networks (medians), and the median and quartiles of the ratios of the pairs."""

    yolor: float
    baseline: float
    below: float
    median: float
    above: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--img-size", "size", default=320, show_default=True, help="side of the image in pixels")
@click.option("--pairs", "count", default=30, show_default=True, help="passes of each network")
@click.option("--threads", default=2, show_default=True, help="threads of torch")
@click.argument("names", nargs=-1)
def main(size: int, count: int, threads: int, names: tuple[str, ...]) -> None:
    """Print a line for each of the networks NAMES (default: all in the table)."""
    import torch

    from yolor_cfg.rewrite.fold import fold

    torch.set_num_threads(threads)
    click.echo(
        f"{'network':16s} {'ms':>8s} {'baseline':>17s} {'ms':>8s} {'ratio':>7s} {'quartiles':>15s}"
        f" {'unfolded':>9s}"
    )
    for name, baseline in PAIRS:
        if not names or name in names:
            networks = [_build_network(text, size) for text in _cfg_texts(name, baseline)]
            unfolded = _compare_networks(networks, size=size, count=count)
            folded = _compare_networks(
                [fold(network).network for network in networks], size=size, count=count
            )
            click.echo(
                f"{name:16s} {1e3 * folded.yolor:8.1f} {baseline or 'without implicit':>17s}"
                f" {1e3 * folded.baseline:8.1f} {folded.median:7.3f}"
                f" {folded.below:7.3f} {folded.above:7.3f} {unfolded.median:9.3f}"
            )


def _compare_networks(networks: list[Network], *, size: int, count: int) -> FoldTiming:
    """Both networks in turn, `count` times after two passes to warm up; the first of a pair alternates."""
    import torch

    image = torch.rand(1, 3, size, size)
    seconds: list[list[float]] = [[], []]
    with torch.inference_mode():
        for turn in range(count + 2):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                networks[which](image)
                seconds[which].append(time.perf_counter() - start)
    kept = [taken[2:] for taken in seconds]
    ratios = [one / other for one, other in zip(*kept, strict=True)]
    below, median, above = statistics.quantiles(ratios, n=4)
    return FoldTiming(statistics.median(kept[0]), statistics.median(kept[1]), below, median, above)


def _cfg_texts(name: str, baseline: str) -> list[str]:
    """The cfgs of the network and its baseline; if it has none, of the network without implicit knowledge."""
    row = family.NETWORKS[name]._replace(implicit=False)
    other = (CFG / f"{baseline}.cfg").read_text() if baseline else family.cfg_text(name, row)
    return [(CFG / f"{name}.cfg").read_text(), other]


def _build_network(text: str, size: int) -> Network:
    import torch

    from yolor_cfg.graph import ReadOptions, build_graph
    from yolor_cfg.lang.syntax import parse
    from yolor_cfg.model import Network

    torch.manual_seed(0)
    return Network(build_graph(parse(text), ReadOptions(size=size))).eval()


if __name__ == "__main__":
    main()
