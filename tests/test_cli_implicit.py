"""`yolor implicit`: what it prints, what it writes and how it refuses."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_implicit_report as samples
import tiny_detector as tiny
import torch
from click.testing import Result

from yolor_cfg import cli
from yolor_cfg.analysis.implicit import collect_knowledge
from yolor_cfg.analysis.implicit_record import to_record
from yolor_cfg.model import Network
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.safetensors_file import read_metadata, read_safetensors, write_safetensors

PARTS = {"layers", "anchors", "similarity", "folded"}


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cli.COMMANDS, "implicit", "yolor_cfg.cli.implicit:implicit")
    monkeypatch.chdir(tmp_path)


def run(*args: object) -> Result:
    return tiny.yolor("implicit", *args)


def saved(network: Network, name: str = "some", suffix: str = ".pt") -> tuple[Path, Path]:
    """The network's cfg and its checkpoint; the network itself goes to float32, as it is read again."""
    cfg, weights = Path(f"{name}.cfg"), Path(f"{name}{suffix}")
    cfg.write_text(network.graph.document.text)
    save_checkpoint(network.float(), weights)
    return cfg, weights


def test_the_table_shows_each_value_and_what_becomes_of_the_anchors() -> None:
    network = samples.detector("sizes alone")
    result = run(*saved(network))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    z = samples.values_of(network, 2)
    assert lines[0].split() == "# line kind model numbers mean std min max norm from start place".split()
    row = next(line for line in lines if "implicit_mul" in line).split()
    line = network.graph.nodes[2].line
    assert row[:6] == ["2", str(line), "implicit_mul", "vector", "4", f"{z.mean():.4f}"]
    assert "control only=wh before [yolo #7], P0, anchors 0,1" in result.stdout
    anchor = next(line for line in lines if line.startswith("P0 #0")).split()
    assert anchor[2:7] == ["10", "x", "14", f"{z[0]:.4f}", f"{z[1]:.4f}"]


def test_json_has_everything_of_the_table() -> None:
    network = samples.detector("multiplied")
    result = run(*saved(network), "--json")
    value = json.loads(result.stdout)
    assert set(value) == PARTS and value["folded"] is False
    layer = value["layers"][1]
    z = samples.values_of(network, 2)
    assert layer["norm"] == pytest.approx(np.linalg.norm(z))
    assert (layer["index"], layer["model"], layer["shape"], layer["start"]) == (2, "vector", [14], 1)
    assert layer["places"][0]["levels"] == ["P0"]
    np.testing.assert_allclose([anchor["z"] for anchor in value["anchors"]], z.reshape(2, 7)[:, 2:4])
    assert len(value["similarity"]["anchors"]) == 1
    for key in [*layer, *value["anchors"][0], "of_change"]:
        assert key in run("--help").stdout, key


def test_arrays_are_written_by_layer() -> None:
    factors = "[implicit_mul]\nfilters=6\nmodel=factorization\nrank=2"
    network = samples.of_text("[implicit_add]\nfilters=3\n" + factors)
    result = run(*saved(network), "--npz", "z.npz")
    assert result.exit_code == 0, result.output
    with np.load("z.npz") as file:
        assert set(file) == {"0", "1", "1_coefficients", "1_basis"}
        np.testing.assert_array_equal(file["0"], samples.values_of(network, 0))
        np.testing.assert_allclose(file["1"], 1 + (file["1_coefficients"] @ file["1_basis"])[0])


def test_a_picture_is_written_and_nothing_is_overwritten() -> None:
    files = saved(samples.detector("multiplied"))
    for name, option in (("a.png", "--plot"), ("a.npz", "--npz")):
        assert run(*files, option, name).exit_code == 0
        before = Path(name).read_bytes()
        again = run(*files, option, name)
        assert again.exit_code == 1 and "exists already" in again.stderr
        assert Path(name).read_bytes() == before
        assert run(*files, option, name, "--force").exit_code == 0
    assert cv2.imread("a.png").shape[1] == 1440


def test_a_plot_without_matplotlib_is_refused_and_the_table_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    files = saved(samples.detector("multiplied"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(*files, "--plot", "a.png")
    assert result.exit_code == 5 and "pip install 'yolor-cfg[plot]'" in result.stderr
    assert result.stdout == "" and not Path("a.png").exists()
    assert run(*files).exit_code == 0


def test_a_plot_of_no_kind_of_picture_is_a_usage_error() -> None:
    result = run(*saved(samples.detector("multiplied")), "--plot", "a.txt")
    assert result.exit_code == 2 and "--plot must end in .png" in result.stderr


def test_a_network_without_implicit_sections_is_told_in_one_message() -> None:
    result = run(*tiny.write(Path(), tiny.text()))
    assert result.exit_code == 2
    assert "there is no implicit section in this network" in result.stderr
    assert "Traceback" not in result.output and result.stdout == ""


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_folded_checkpoints_record_is_shown_as_the_network_was(suffix: str) -> None:
    network = samples.detector("sizes alone")
    before = json.loads(run(*saved(network, "before"), "--json").stdout)
    cfg, weights = saved(fold(network).network, "folded", suffix)
    assert run(cfg, weights).exit_code == 2
    add_record(weights, to_record(collect_knowledge(network)))
    result = run(cfg, weights, "--json", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {**before, "folded": True}
    assert "from the record in the checkpoint" in result.stderr


def add_record(path: Path, record: object) -> None:
    """Put a record under `implicit` into a checkpoint."""
    if path.suffix == ".safetensors":
        beside = {**json.loads(read_metadata(path)["yolor"]), "implicit": record}
        write_safetensors(path, read_safetensors(path), record=beside, force=True)
        return
    torch.save({**torch.load(path, weights_only=True), "implicit": record}, path)


def test_a_damaged_record_is_an_error_of_the_weights() -> None:
    cfg, weights = saved(samples.detector("multiplied"))
    add_record(weights, {"layers": 3})
    result = run(cfg, weights)
    assert result.exit_code == 4 and "damaged" in result.stderr and "some.pt" in result.stderr
