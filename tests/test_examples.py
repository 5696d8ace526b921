"""Every example runs as its file says, and what it claims to show is true."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.data.shapes import NAMES

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with the commands `python` and `yolor` of the Python that runs the tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, module in (("python", ""), ("yolor", "-m yolor_cfg")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    return folder


def run(commands: Path, name: str, *args: object) -> str:
    """The standard output of an example, run in an empty folder."""
    place = commands.parent / "elsewhere"
    place.mkdir()
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    program = ["bash"] if name.endswith(".sh") else [sys.executable]
    done = subprocess.run(
        [*program, str(EXAMPLES / name), *map(str, args)],
        cwd=place,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_objects_are_found_in_drawn_images(commands: Path) -> None:
    printed = run(commands, "detect_objects.py")
    names = "|".join(NAMES)
    found = re.findall(rf"^  ({names}) +(0\.[4-9]\d|1\.00)  \d+,\d+ to \d+,\d+$", printed, re.MULTILINE)
    assert printed.count(".jpg") == 3 and len(found) >= 3
    assert len(found) + 3 == len(printed.splitlines())


def test_costs_grow_with_the_image(commands: Path) -> None:
    printed = run(commands, "inspect_costs.py", ROOT / "cfg" / "yolor_micro.cfg")
    gflops = [float(number) for number in re.findall(r"([\d.]+) GFLOPs", printed)]
    assert gflops == pytest.approx([gflops[0], 4 * gflops[0], 9 * gflops[0]], abs=0.06)
    assert "448,906 parameters" in printed


@pytest.mark.slow
def test_the_script_that_converts_says_that_its_files_are_the_same(commands: Path, tmp_path: Path) -> None:
    assert "the same to the byte" in run(commands, "convert_weights.sh", tmp_path)


def test_weights_survive_a_round_trip_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the script, each in this process."""
    shapes = ROOT / "weights" / "yolor_nano_shapes"
    for name, value in (("out", tmp_path), ("weights", f"{shapes}.pt"), ("cfg", f"{shapes}.cfg")):
        monkeypatch.setenv(name, str(value))
    script = (EXAMPLES / "convert_weights.sh").read_text()
    commands = re.findall(r"^yolor (.*)$", os.path.expandvars(script), re.MULTILINE)
    assert [CliRunner().invoke(main, shlex.split(command)).exit_code for command in commands] == [0, 0, 0]
    assert (tmp_path / "again.weights").read_bytes() == (tmp_path / "shapes.weights").read_bytes()


def test_a_folded_network_finds_the_same_boxes(commands: Path, tmp_path: Path) -> None:
    printed = run(commands, "fold_implicit.py", tmp_path)
    before, after = map(int, re.findall(r"(\d+) sections became (\d+)", printed)[0])
    assert after < before and "[implicit" not in (tmp_path / "plain.cfg").read_text()
    (change,) = re.findall(r"at most (\S+) pixels", printed)
    assert float(change) < 1e-2


@pytest.mark.slow
def test_a_drawn_set_is_trained_on_and_tested(commands: Path, tmp_path: Path) -> None:
    printed = run(commands, "train_shapes.sh", tmp_path)
    assert (tmp_path / "train" / "weights" / "last.pt").is_file()
    assert re.search(r"^all +4 ", printed, re.MULTILINE)


def test_a_section_from_outside_is_like_any_other(commands: Path) -> None:
    printed = run(commands, "own_section.py")
    assert "twice the convolution: True" in printed
    assert "gated.cfg:10: [channel_gate #1] every: does not divide the channels" in printed


def test_the_list_of_examples_is_complete() -> None:
    listed = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text()))
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
