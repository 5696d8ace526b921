"""No test reaches another machine, and no command of ours wants to."""

import ast
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import outward
import pytest
import tiny_detector as tiny
import training
from conftest import FENCE

ROOT = Path(__file__).parents[1]
ELSEWHERE = "192.0.2.1"  # of documentation's own addresses: no machine has it
OPT_OUT = "ORT_DISABLE_TELEMETRY"
NewAttempts = Callable[[], list[str]]


def test_a_test_that_connects_elsewhere_is_told_so(new_attempts: NewAttempts) -> None:
    with pytest.raises(outward.OutwardConnection, match=ELSEWHERE):
        socket.create_connection((ELSEWHERE, 80), timeout=1)
    with pytest.raises(outward.OutwardConnection), socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (ELSEWHERE, 9))
    assert [ELSEWHERE in line for line in new_attempts()] == [True, True]


def test_a_name_is_not_looked_up_elsewhere(new_attempts: NewAttempts) -> None:
    with pytest.raises(OSError, match="tests reach no other machine"):
        urllib.request.urlopen("http://example.invalid/")
    assert len(new_attempts()) == 1


def test_a_process_that_a_test_starts_is_refused_and_found_out(new_attempts: NewAttempts) -> None:
    program = f"import socket\ntry: socket.create_connection(('{ELSEWHERE}', 80), 1)\nexcept OSError: pass"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    (line,) = new_attempts()
    assert line.startswith("socket.connect") and ELSEWHERE in line


def test_a_program_that_is_not_python_is_found_out(
    new_attempts: NewAttempts, request: pytest.FixtureRequest
) -> None:
    if not request.config.stash[FENCE].is_apart:
        pytest.skip("needs the right to make a network (root on Linux)")
    shell = ["bash", "-c", f"exec 3<>/dev/tcp/{ELSEWHERE}/80"]
    done = subprocess.run(shell, env={}, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "unreachable" in done.stderr
    assert new_attempts() == [outward.UNROUTABLE]


def test_the_loopback_stays_open(new_attempts: NewAttempts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert server.accept()[0].fileno() > 0
    assert new_attempts() == []


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("127.0.0.1", 1), True),
        (("127.8.0.1", 1), True),
        (("::1", 1, 0, 0), True),
        (("localhost", 1), True),
        ("/tmp/socket", True),
        (("10.0.0.1", 1), False),
        (("169.254.169.254", 80), False),
        (("2001:db8::1", 1, 0, 0), False),
        (("example.invalid", 1), False),
    ],
)
def test_what_is_local(address: object, local: bool) -> None:
    assert outward.is_local(address) is local


# --- statistics of libraries ---


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in named}


@pytest.mark.parametrize(
    ("library", "place"), [("openvino", "export/telemetry.py"), ("ray", None), ("nncf", None)]
)
def test_a_library_that_reports_to_its_makers_is_imported_in_one_place_alone(
    library: str, place: str | None
) -> None:
    """Where that is kept from it; Ray by its name, behind the variable that it goes by."""
    package = ROOT / "yolor_cfg"
    found = [
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if library in imports_of(path)
    ]
    assert found == ([place] if place else [])


def test_tests_and_tools_import_openvino_as_the_product_does() -> None:
    """Else whether a test reaches out depends on the test before it."""
    places = [path for folder in ("tests", "tools") for path in (ROOT / folder).rglob("*.py")]
    plain = re.compile(r"""^ *import openvino|importorskip\(["']openvino""", re.MULTILINE)
    found = [path.name for path in places if plain.search(path.read_text(encoding="utf-8"))]
    assert not found


STATISTICS = """
import json, os, sys
from yolor_cfg.detect.ray_job import import_ray
from yolor_cfg.errors import MissingExtra
from yolor_cfg.export.telemetry import import_openvino
for load in (import_ray, import_openvino):
    try:
        load()
    except MissingExtra as missing:
        print(missing, file=sys.stderr)
asked = "RAY_USAGE_STATS_ENABLED", "ORT_DISABLE_TELEMETRY"
print(json.dumps([*map(os.environ.get, asked), sys.modules["openvino_telemetry"]]))
"""


def run_at_home(program: str, home: Path) -> str:
    """What a program prints whose home folder this is, without the variables of this process that ask for no
    statistics."""
    told = {
        key: value for key, value in os.environ.items() if key not in ("RAY_USAGE_STATS_ENABLED", OPT_OUT)
    }
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(home))
    command = [sys.executable, "-c", program]
    env = {**told, **places}
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_no_statistics_are_sent_and_no_id_is_kept(tmp_path: Path) -> None:
    assert run_at_home(STATISTICS, tmp_path) == '["0", "1", null]\n'
    assert not (tmp_path / "intel").exists()


def test_onnx_runtime_is_told_before_it_is_imported(tmp_path: Path) -> None:
    """From 1.29 on it would keep an id in the home folder, and post it after nine seconds."""
    pytest.importorskip("onnxruntime")
    program = f"import os, yolor_cfg, onnxruntime; print(os.environ['{OPT_OUT}'])"
    assert run_at_home(program, tmp_path) == "1\n"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_onnx_runtime_sends_nothing(tmp_path: Path, new_attempts: NewAttempts) -> None:
    pytest.importorskip("onnxruntime")
    run_at_home("import time, yolor_cfg, onnxruntime; time.sleep(20)", tmp_path)
    assert new_attempts() == []


# --- every command ---


@pytest.mark.slow
def test_no_command_reaches_another_machine(tmp_path: Path, data: Path, new_attempts: NewAttempts) -> None:
    """Each in a process of its own, as a user starts it, with all that is installed. Only `--format html` is
    left out: npm fetches the runtime that its page holds, as docs/export.md says."""
    files = tiny.write(tmp_path, tiny.text(classes=len(training.NAMES)))
    tiny.save_pictures(tmp_path, [(50, 70), (60, 40)])
    pictures, runs = tmp_path / "pictures", tmp_path / "runs"
    project = ("--project", runs)
    train = ("train", files.cfg, "--data", data, "--max-batches", 1, "--batch-size", 4)
    lines: list[tuple[object, ...]] = [
        ("info", files.cfg),
        ("info", files.cfg, "--graph", tmp_path / "net.html"),
        ("cfg", "check", files.cfg),
        ("detect", *files, pictures, *project),
        ("test", *files, "--data", data, *project),
        ("convert", files.weights, tmp_path / "a.pt", "--cfg", files.cfg),
        (*train, *project),
        ("export", *files, "--format", "onnx", *project, "--name", "onnx"),
        ("export", *files, "--format", "openvino", *project, "--name", "openvino"),
        ("detect", runs / "onnx/model.onnx", pictures, *project),
        ("detect", runs / "openvino/model.xml", pictures, *project),
        ("detect", *files, pictures, "--engine", "openvino", *project),
        ("compare", *files, "--against", runs / "onnx/model.onnx"),
        ("bench", *files),
        ("anchors", files.cfg, "--data", data),
        ("data", "check", data),
        ("new", "--list"),
    ]
    for words in lines:
        command = [sys.executable, "-m", "yolor_cfg", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 5), (words, done.stderr[-2000:])
        assert new_attempts() == [], words
