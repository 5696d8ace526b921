"""Compare an int8 file in OpenVINO with our native bf16: speed in turns, and AP on a data set.

    python tools/bench_int8.py CFG [WEIGHTS] --calibrate IMAGES [--data DATA] [--json FILE]

Without WEIGHTS they are random, which is enough for speed. Both use the same number of threads; the speed is
the median of the rounds' ratios, each of the shortest of three passes. Exit code 1 when an aim is missed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from yolor_cfg.cli.calibrate import find_images, pick_evenly, score_both
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import choose_engine
from yolor_cfg.engines.exported import ExportedModel
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.quantize import Calibration
from yolor_cfg.export.run import write_plain_file
from yolor_cfg.graph import ReadOptions
from yolor_cfg.rewrite.faster import rewrite_for_speed
from yolor_cfg.weights.loading import LoadedNetwork, open_network

SPEED_AIM, LOSS_AIM = 1.5, 0.005
PASSES = 3


def shortest(run: Callable[[], Any]) -> float:
    """The shortest of some passes, in seconds."""
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def race_both(opened: LoadedNetwork, path: Path, rounds: int) -> dict[str, Any]:
    """Seconds of both in turns, and how many times faster int8 is."""
    images = torch.rand(1, *opened.network.graph.image, generator=torch.Generator().manual_seed(0))
    native = choose_engine(opened.network, EngineSettings("native", "bf16"))
    model, pixels = ExportedModel(path, "openvino"), images.numpy()
    runs = {"native bf16": lambda: native(images), "OpenVINO int8": lambda: model(pixels)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for number in range(rounds + 1):  # the first is not counted
            for name, run in runs.items():
                seconds[name] += [shortest(run)] * (number > 0)
    pairs = list(zip(*seconds.values(), strict=True))
    return {"seconds": seconds, "speed": statistics.median(ours / int8 for ours, int8 in pairs)}


def check_aims(found: dict[str, Any]) -> bool:
    """Print what was measured beside the aims; whether all are reached."""
    verdicts = [found["speed"] >= SPEED_AIM]
    for name, seconds in found["seconds"].items():
        print(f"{name:14} {1e3 * statistics.median(seconds):8.1f} ms, shortest {1e3 * min(seconds):.1f}")
    print(f"int8 is {found['speed']:.2f} times as fast as native bf16; aim {SPEED_AIM}")
    if "AP" in found:
        ours, int8 = found["AP"]
        verdicts.append(ours - int8 <= LOSS_AIM)
        print(f"AP {ours:.4f} in float32, {int8:.4f} in int8: loss {ours - int8:.4f}; aim {LOSS_AIM}")
    print("reached" if all(verdicts) else "missed")
    return all(verdicts)


@click.command()
@click.argument("cfg")
@click.argument("weights", required=False)
@click.option("--calibrate", required=True)
@click.option("--calibrate-images", "count", default=128)
@click.option("--img-size", "size", type=int)
@click.option("--data")
@click.option("--rounds", default=9)
@click.option("--json", "record", type=click.Path(path_type=Path))
def main(cfg: str, weights: str | None, **options: Any) -> None:
    """Export, race, score."""
    torch.manual_seed(0)
    opened = open_network(cfg, weights, reading=ReadOptions(None, options["size"]))
    images = pick_evenly(find_images(options["calibrate"]), options["count"])
    form = ExportOptions("openvino", OnnxSettings("raw"), "int8", calibration=Calibration(images))
    with tempfile.TemporaryDirectory() as folder:
        path = write_plain_file(rewrite_for_speed(opened.network).network, Path(folder), form)
        found = race_both(opened, path, options["rounds"])
        if options["data"]:
            found["AP"] = score_both(opened, path, options["data"])
    facts = {"cfg": Path(cfg).name, "images": len(images), "threads": torch.get_num_threads()}
    if options["record"]:
        options["record"].write_text(json.dumps({**facts, **found}, indent=1) + "\n")
    raise SystemExit(not check_aims(found))


if __name__ == "__main__":
    main()
