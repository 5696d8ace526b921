"""`yolor bench`: every engine in a process of its own, against the network as it is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolor_cfg.cli import bench, main
from yolor_cfg.cli.bench import BatchListParam, pair_paths
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.race import Contestant, Result
from yolor_cfg.weights.loading import open_network

NANO = str(Path(__file__).parents[1] / "weights/yolor_nano_shapes.pt")
WRITTEN = Contestant("a.cfg", None, EngineSettings("torch", "fp32", ("all",)))
FAST = Contestant("a.cfg", None, EngineSettings("torch", "bf16"))
RESULTS = [
    Result(WRITTEN, 2, 40.0, 39.0, 44.0, 300.0),
    Result(FAST, 2, 10.0, 9.0, 12.5, 250.0, 0.02),
    Result(FAST, 32, failed="not enough memory for the network"),
]


def invoke(*arguments: object):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_weights_belong_to_the_cfg_before_them():
    assert pair_paths(["a.cfg", "a.weights", "b.cfg", "c.pt", "d.pt", "e.cfg"]) == [
        ("a.cfg", "a.weights"),
        ("b.cfg", "c.pt"),
        ("d.pt", None),
        ("e.cfg", None),
    ]


def test_batches_are_a_list_of_numbers():
    assert BatchListParam().parse("8, 1,8") == (1, 8)
    for wrong in ("1,", "0", "many"):
        assert invoke("a.cfg", "--batch", wrong).exit_code == 2


def raced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolor_cfg.engines.race.race", lambda *_, **__: RESULTS)


def test_the_table_compares_with_the_network_as_it_is_written(monkeypatch):
    raced(monkeypatch)
    done = invoke("a.cfg")
    first, second = done.stdout.splitlines()[2:4]
    assert first.split()[-4:] == ["50.0", "1.00", "300", "0.0e+00"]
    assert second.split() == ["torch", "bf16", "2", "10.0", "9.0..12.5", "200.0", "4.00", "250", "2.0e-02"]
    assert "torch bf16, batch 32: not enough memory" in done.stdout


def test_json_has_the_same_numbers_and_why_one_failed(monkeypatch):
    raced(monkeypatch)
    found = json.loads(invoke("a.cfg", "--json").stdout)
    assert [one.get("images_per_second") for one in found] == [50, 200, None]
    assert found[2]["failed"] == "not enough memory for the network"
    assert found[0]["without"] == ["all"]


def test_a_plot_has_a_bar_for_each(monkeypatch, tmp_path):
    raced(monkeypatch)
    assert invoke("a.cfg", "--plot", tmp_path / "speed.png").exit_code == 0
    assert (tmp_path / "speed.png").stat().st_size > 5000
    assert invoke("a.cfg", "--plot", tmp_path / "speed.txt").exit_code == 2


def test_engines_are_asked_for_what_they_have():
    options = {"device": "cpu", "dialect": None, "size": None, "engines": ("onnxruntime", "torch")}
    found = bench._find_contestants("a.cfg", None, {**options, "precisions": ("fp32", "bf16")})
    labels = [one.label for one in found]
    assert labels == ["torch fp32, as written", "onnxruntime fp32", "torch fp32", "torch bf16"]


@pytest.mark.slow
def test_a_race_is_run_and_a_fault_stops_nobody():
    ask = ("--engine", "torch", "--precision", "bf16", "--batch", "1,2", "--turns", 2, "--img-size", 64)
    done = invoke(NANO, "missing.cfg", *ask, "--json")
    written, fast, *_ = found = json.loads(done.stdout)
    assert [one["batch"] for one in found] == [1, 1, 2, 2] * 2
    assert written["difference"] < 1e-4 < fast["difference"] < 1
    assert written["low_ms"] <= written["median_ms"] <= written["high_ms"]
    assert written["peak_mib"] > 100
    assert all("missing.cfg" in one["cfg"] and one["failed"] for one in found[4:])


def make_data(folder: Path) -> Path:
    """Six images of shapes with labels, the classes in another order than the network's."""
    from yolor_cfg.runs import save_image

    names = torch_names()
    draw = np.random.default_rng(0)
    for number in range(6):
        save_image(folder / f"{number}.png", draw.integers(0, 256, (64, 64, 3), np.uint8))
        (folder / f"{number}.txt").write_text(f"{number % len(names)} .5 .5 .5 .5\n")
    (folder / "all.names").write_text("\n".join(reversed(names)))
    (folder / "all.txt").write_text("".join(f"{folder / str(number)}.png\n" for number in range(6)))
    (folder / "all.data").write_text(f"classes={len(names)}\nnames=all.names\nvalid=all.txt\n")
    return folder / "all.data"


def torch_names() -> tuple[str, ...]:
    return open_network(NANO).names


def test_the_ap_of_an_engine_is_that_of_a_test(monkeypatch, tmp_path):
    one = Contestant(NANO, None, EngineSettings("torch", "fp32"), size=64)
    monkeypatch.setattr("yolor_cfg.engines.race.race", lambda *_, **__: [Result(one, 1, 1.0, 1.0, 1.0, 9.0)])
    data = make_data(tmp_path)
    tested = CliRunner().invoke(
        main, ["test", NANO, "--data", str(data), "--json", "--no-save", "--img-size", "64"]
    )
    done = invoke(NANO, "--data", data, "--json")
    assert (tested.exit_code, done.exit_code) == (0, 0), done.output
    wanted = json.loads(tested.stdout)["coco"]["AP"]
    assert json.loads(done.stdout)[0]["AP"] == pytest.approx(wanted) and wanted > 0


def test_data_that_is_not_there_is_told_before_the_race(monkeypatch):
    monkeypatch.setattr("yolor_cfg.engines.race.race", lambda *_, **__: pytest.fail("the race was run"))
    assert invoke(NANO, "--data", "none.data").exit_code == 3


def test_an_engine_that_is_missing_and_asked_for_ends_it(monkeypatch):
    monkeypatch.setattr("yolor_cfg.engines.choice.is_installed", lambda name: name != "openvino")
    result = CliRunner().invoke(main, ["bench", "x.cfg", "--engine", "openvino"])
    assert result.exit_code == 5
    assert "yolor-cfg[openvino]" in result.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says it")
def test_the_memory_is_that_of_the_process_itself():
    """Of a process that one with 900 MiB started."""
    script = "from yolor_cfg.engines import machine; print(machine.peak_memory())"
    held = "held = bytearray(900 << 20); held[::4096] = b'x' * len(held[::4096])"
    start = f"{held}; import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, check=True)
    assert 50 < float(done.stdout) < 700
