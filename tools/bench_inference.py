"""Compare engines on whole networks: speed, differences of the outputs, and memory.

    python tools/bench_inference.py [CFG[:SIZE]...] [--engine NAME...] [--against CHECKOUT] [--json FILE]

Each engine runs in a process of its own; they take turns, a few passes each, so that other load on the
machine affects all. Weights are random, of the size that keeps values alike from layer to layer. Without
cfgs five networks are measured, and held to their aims. `--against` adds the unfolded network of another
checkout in eager torch, as `old`. native and torch are the product's engines with all rewrites and the
commands' setting of libgomp; onnxruntime and OpenVINO read an ONNX file that torch exports of the unfolded
network's raw maps. Ratios in the table are the median of the rounds' ratios and, in brackets, that of the
shortest times. Exit code 1 when an aim is missed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
from bench_worker import ENGINES

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared/corpus/cfg"
NETWORKS = (
    f"{ROOT}/cfg/yolor_csp.cfg:640",
    f"{ROOT}/cfg/yolor_p6.cfg:1280",
    f"{ROOT}/cfg/yolor_csp_ssss.cfg:640",
    f"{CORPUS}/AlexeyAB__darknet__yolov4-csp.cfg:512",
    f"{CORPUS}/AlexeyAB__darknet__yolov4-tiny.cfg:416",
)

FP32_PEERS = ("openvino-fp32", "onnxruntime")


class Aims(NamedTuple):
    """How many times faster each must be: ours against the old build, native against its best peer, and torch
    alone against OpenVINO."""

    default: float
    bf16: float
    native_fp32: float
    native_bf16: float
    torch_bf16: float = 0.85


AIMS = {
    "yolor_csp": Aims(1.8, 3.3, 1.3, 1.3),
    "yolor_p6": Aims(1.7, 3.2, 1.3, 1.3),
    "yolor_csp_ssss": Aims(1.9, 3.3, 1.2, 1.3),
    "yolov4-csp": Aims(2.4, 4.6, 1.2, 1.2),
    "yolov4-tiny": Aims(2.5, 4.0, 1.3, 1.2),
}
"""By the name of the cfg, without the repository that it comes from."""
MEMORY_AIM = {"yolor_p6": 0.8}
"""Peak memory of native fp32 against that of the old build."""


class EngineJob(NamedTuple):
    """What every worker of a network gets: the cfg and the size, threads and images, and a folder for the
    ONNX file and the outputs."""

    cfg: str
    size: int
    threads: int
    batch: int
    folder: Path


class Worker:
    """An engine in a process of its own."""

    def __init__(self, engine: str, job: EngineJob, checkout: str) -> None:
        """Start the process; `ready` waits for it."""
        python_path = os.pathsep.join([checkout, str(ROOT / "tools")])
        environment = {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": str(job.threads)}
        if engine.startswith(("torch", "native")):
            environment.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it
        words = [job.cfg, str(job.size), str(job.threads), str(job.batch), str(job.folder)]
        self.engine, self.ratios, self.seconds = engine, list[float](), list[float]()
        self.faults = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools/bench_worker.py"), engine, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.faults,
            env=environment,
            text=True,
        )
        self.facts = self._read()

    def _read(self) -> dict[str, Any]:
        for line in _lines(self.process.stdout):
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        self.faults.seek(0)
        reason = self.faults.read().decode(errors="replace").strip().splitlines()[-1:]
        return {"fault": " ".join(reason) or "it stopped"}

    def measure(self, passes: int) -> float:
        """The shortest of some passes, in seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{passes}\n")
        self.process.stdin.flush()
        answer = self._read()
        self.facts["memory"] = answer["memory"]
        self.seconds.append(min(answer["seconds"]))
        return self.seconds[-1]

    def stop(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()
        self.faults.close()


def _lines(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def measure_network(
    job: EngineJob, engines: list[str], *, rounds: int, passes: int, against: str
) -> dict[str, Any]:
    """Run the engines in turn; those that do not start get the reason."""
    workers, found = [], dict[str, Any]()
    for engine in engines:
        worker = Worker(engine, job, against if engine == "old" else str(ROOT))
        if "fault" in worker.facts:
            found[engine] = worker.facts
            worker.stop()
        else:
            workers.append(worker)
    for number in range(rounds):
        for worker in workers if number % 2 == 0 else reversed(workers):
            worker.measure(passes)
    for worker in workers:
        worker.stop()
        found[worker.engine] = {
            **worker.facts,
            "median": statistics.median(worker.seconds),
            "shortest": min(worker.seconds),
            "seconds": worker.seconds,
        }
    return found


def ratio(found: dict[str, Any], engine: str, base: str) -> tuple[float, float]:
    """How many times faster an engine is than another one: by the median of the rounds' ratios, and by the
    shortest times."""
    ours, other = found[engine], found[base]
    pairs = zip(ours["seconds"], other["seconds"], strict=True)
    return statistics.median(b / a for a, b in pairs), other["shortest"] / ours["shortest"]


def print_table(title: str, found: dict[str, Any]) -> None:
    """One line for each engine: time, speed against each of the others that matter, difference, memory."""
    print(f"\n{title}")
    print(f"  {'engine':15}   median    min ms        x old   x openvino  difference   MiB")
    for engine, one in found.items():
        if "fault" in one:
            print(f"  {engine:15} {one['fault'][:90]}")
            continue
        peer = "openvino-bf16" if engine.endswith("bf16") else "openvino-fp32"
        cells = [
            "{:5.2f} ({:.2f})".format(*ratio(found, engine, base)) if "seconds" in found.get(base, ()) else ""
            for base in ("old", peer)
        ]
        print(
            f"  {engine:15} {1e3 * one['median']:8.1f}  {1e3 * one['shortest']:8.1f}  {cells[0]:>11}"
            f"  {cells[1]:>11}  {one['difference']:10.1e} {one['memory']:5.0f}",
            flush=True,
        )


def check_aims(name: str, found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What is compared, the ratio and the aim, for all that was measured."""
    aims = AIMS.get(name)
    if aims is None:
        return []
    peers = [one for one in FP32_PEERS if "seconds" in found.get(one, ())]
    best = min(peers, key=lambda one: float(found[one]["median"]), default="")
    compared = (
        ("native-fp32", "old", aims.default),
        ("native-bf16", "old", aims.bf16),
        ("native-fp32", best, aims.native_fp32),
        ("native-bf16", "openvino-bf16", aims.native_bf16),
        ("torch-bf16", "openvino-bf16", aims.torch_bf16),
    )
    lines = [
        (f"{ours} against {other}", ratio(found, ours, other)[0], aim)
        for ours, other, aim in compared
        if all("seconds" in found.get(one, ()) for one in (ours, other))
    ]
    if name in MEMORY_AIM and all("memory" in found.get(one, ()) for one in ("native-fp32", "old")):
        saved = found["old"]["memory"] / found["native-fp32"]["memory"]
        lines.append(("memory of old against native-fp32", saved, 1 / MEMORY_AIM[name]))
    return lines


def print_aims(name: str, found: dict[str, Any]) -> bool:
    """Say which aims are met; whether all are."""
    lines = check_aims(name, found)
    for what, reached, aim in lines:
        print(
            f"  {what:40} {reached:5.2f}  aim {aim:.2f}  {'ok' if reached >= aim else 'MISSED'}", flush=True
        )
    return all(reached >= aim for _, reached, aim in lines)


def find_commit(checkout: str) -> str:
    """The short name of what is checked out there."""
    asked = ["git", "-C", checkout, "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


@click.command(help=__doc__)
@click.argument("networks", nargs=-1)
@click.option("--engine", "engines", multiple=True, type=click.Choice(list(ENGINES)), help="By default all.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--passes", default=3, show_default=True, help="Passes by round; the shortest counts.")
@click.option("--threads", default=2, show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--against", type=click.Path(exists=True), help="A checkout, for the engine `old`.")
@click.option("--json", "record", type=click.Path(), help="Write all times there.")
def main(networks: tuple[str, ...], engines: tuple[str, ...], record: str | None, **options: Any) -> None:
    """Measure and print."""
    record_of, met = {}, True
    wanted = [one for one in engines or ENGINES if one != "old" or options["against"]]
    for network in networks or NETWORKS:
        cfg, _, size = network.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            job = EngineJob(cfg, int(size or 0), options["threads"], options["batch"], Path(folder))
            counts = {"rounds": options["rounds"], "passes": options["passes"]}
            found = measure_network(job, wanted, **counts, against=options["against"] or "")
        record_of[Path(network).name] = found
        print_table(f"{Path(cfg).stem} {size}", found)
        met &= print_aims(Path(cfg).stem.rpartition("__")[2], found)
        if record:
            facts = {**options, "against": options["against"] and find_commit(options["against"])}
            Path(record).write_text(json.dumps({"options": facts, "networks": record_of}, indent=1) + "\n")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
