"""`torchrun -m yolor_cfg test`: several processes give what one process gives, file by file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_detector as tiny
import training
from launching import ROOT, torchrun

from yolor_cfg.data.shapes import NAMES


def run_test(files: tiny.Files, data: Path, *, world: int, folder: Path) -> tuple[dict, list, str]:
    """Figures, detections and messages of the command in so many processes; without the times."""
    python = torchrun(world) if world > 1 else [sys.executable]
    options = ["--data", data, "--split", "train", "--json", "--project", folder, "--batch-size", 4]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*python, "-m", "yolor_cfg", "test", *map(str, [*files, *options])],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (results,) = folder.iterdir()
    metrics = json.loads((results / "metrics.json").read_text())
    assert json.loads(done.stdout) == metrics
    assert metrics.pop("speed_ms")["inference"] > 0
    return metrics, json.loads((results / "predictions.json").read_text()), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_two_processes_of_torchrun_print_and_write_what_one_does(tmp_path: Path, dialect: str) -> None:
    data = training.shapes(tmp_path, count=15)  # 12 of them to test on, 11 of these can be read
    cfg = tiny.text(classes=len(NAMES)) if dialect == "darknet" else training.yolor_text()
    files = tiny.write(tmp_path, cfg)
    first = sorted((tmp_path / "shapes/train.txt").read_text().split())[0]
    broken = tmp_path / "shapes" / first
    broken.write_bytes(broken.read_bytes()[:400])
    metrics, detections, said = run_test(files, data, world=1, folder=tmp_path / "one")
    assert len(detections) > 100 and metrics["images"] == 11
    two = run_test(files, data, world=2, folder=tmp_path / "two")
    assert two[:2] == (metrics, detections)
    assert two[2].count(broken.name) == said.count(broken.name) == 1
    assert two[2].count("note: read in") == said.count("note: read in")
