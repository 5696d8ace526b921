"""`yolor compare` on the command line: what it prints, its exit codes and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_compare as plain
import tiny_detector as tiny
import torch
from click.testing import Result

from yolor_cfg.analysis.compare.layers import LayerRun
from yolor_cfg.analysis.compare.picture import fit_picture
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import open_network


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """small.cfg and small.weights in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.cfg").write_text(plain.CFG)
    write_weights(plain.network_of(), "small.weights")


def run(*args: object) -> Result:
    return tiny.yolor("compare", *args)


def against(*others: object, options: tuple[object, ...] = ()) -> Result:
    named = [word for other in others for word in ("--against", other)]
    return run("small.cfg", "small.weights", *named, *options)


def test_equal_weights_end_with_0() -> None:
    result = against("small.weights")
    assert result.exit_code == 0, result.output
    assert "equal: 14 of 14 layers compared, tolerance 0.0001" in result.stdout


def test_the_first_layer_that_differs_is_shown_with_its_line_and_cause() -> None:
    Path("other.cfg").write_text(plain.CFG.replace("activation=mish", "activation=swish"))
    result = against("other.cfg")
    assert result.exit_code == 1 and not result.stderr
    lines = result.stdout.splitlines()
    line = plain.CFG.split("\n").index("[convolutional]", 5) + 1
    row = next(one.split() for one in lines if one.strip().startswith("1 "))
    assert row[:4] == ["1", str(line), "convolutional", "8x16x32"] and row[-1] == "differs"
    assert f"first difference: small.cfg:{line}: [convolutional #1]" in lines
    assert any(
        one.startswith("cause: activation: the other side has activation swish, here mish") for one in lines
    )
    assert lines[1].split()[:1] == ["0"] and any(one.startswith("... ") for one in lines)


def test_all_rows_are_shown_if_asked_for() -> None:
    rows = against("small.weights", options=("--all",)).stdout.splitlines()[1:15]
    assert [int(row.split()[0]) for row in rows] == list(range(14))


def test_json_says_the_same() -> None:
    other = plain.changed(
        lambda tensors: plain.exchange(tensors, "1.BatchNorm2d.weight", "1.BatchNorm2d.bias")
    )
    write_weights(other, "other.weights")
    result = against("other.weights", options=("--json",))
    assert result.exit_code == 1
    value = json.loads(result.stdout)
    assert (value["equal"], value["first"]) == (False, 1)
    (diagnosis,) = value["diagnoses"]
    cause = diagnosis["causes"][0]
    assert (diagnosis["index"], diagnosis["explained"], diagnosis["tried"] > 50) == (1, [1], True)
    assert cause["name"] == "batch norm statistics"
    assert cause["after"]["largest"] < 1e-5 < cause["before"]["largest"]
    assert [layer["verdict"] for layer in value["layers"]][:3] == ["equal", "differs", "input differs"]


def test_a_fault_without_a_known_cause_is_called_unexplained() -> None:
    noise = 1 + 0.2 * torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(5))
    write_weights(plain.changed(lambda tensors: tensors["1.Conv2d.weight"].mul_(noise)), "other.weights")
    result = against("other.weights")
    assert result.exit_code == 1 and "cause: unexplained:" in result.stdout


def test_a_larger_tolerance_calls_it_equal() -> None:
    write_weights(plain.changed(lambda tensors: tensors["1.Conv2d.weight"].mul_(1.001)), "other.weights")
    assert against("other.weights").exit_code == 1
    assert against("other.weights", options=("--tolerance", "0.01")).exit_code == 0


def test_a_cfg_with_its_own_weights_may_have_other_sections() -> None:
    longer = plain.CFG.replace("[maxpool]", "[dropout]\nprobability=.5\n[maxpool]")
    longer = longer.replace("from=-2", "from=-3").replace("-1,3", "-1,4").replace("layers=8", "layers=9")
    Path("longer.cfg").write_text(longer)
    result = against("longer.cfg", "small.weights")
    assert result.exit_code == 0, result.output
    assert "note: it has other sections" in result.stderr


def test_checkpoints_hold_their_cfg() -> None:
    network = open_network("small.cfg", "small.weights").network
    save_checkpoint(network, "one.pt")
    save_checkpoint(plain.network_of(plain.CFG.replace("scale_x_y=1.1", "scale_x_y=1.2")), "other.pt")
    assert run("one.pt", "--against", "one.pt").exit_code == 0
    result = run("one.pt", "--against", "other.pt")
    assert result.exit_code == 1 and "scale_x_y=1.2, here 1.1" in result.stdout


def test_values_of_another_program_tell_how_it_fitted_the_image() -> None:
    picture = tiny.photo(60, 50)
    tiny.save(Path("photo.png"), picture)
    network = open_network("small.cfg", "small.weights").network
    there = LayerRun(network, fit_picture(picture, network.graph, "letterbox"), "darknet").values()
    np.savez("values.npz", **{f"layer_{index}": value.numpy() for index, value in there.items()})
    result = against("values.npz", options=("--image", "photo.png"))
    assert (
        result.exit_code == 1
        and "preprocessing: the other side has the input in C Darknet's letterbox" in result.stdout
    )
    assert against("values.npz", options=("--image", "photo.png", "--preprocess", "letterbox")).exit_code == 0


def test_values_with_their_input_need_no_image() -> None:
    network = open_network("small.cfg", "small.weights").network
    images = torch.rand(1, *network.graph.image)
    head = LayerRun(network, images, "darknet").values()[plain.HEAD]
    np.savez("values.npz", images=images.numpy(), layer_10=head.numpy())
    result = against("values.npz")
    assert result.exit_code == 0 and "equal: 1 of 14 layers compared" in result.stdout


def test_opencv_5_says_that_it_reads_no_darknet_networks() -> None:
    result = against("opencv")
    if hasattr(cv2.dnn, "readNetFromDarknet"):
        assert "epsilon 1e-06" in result.stdout
    else:
        assert result.exit_code == 0, result.output
        assert "has no importer for Darknet" in result.stderr


REFUSED = {
    "no weights": (("small.cfg",), ("small.weights",), 2, "give CFG WEIGHTS"),
    "an absent file": (("small.cfg", "small.weights"), ("absent.onnx",), 4, "no such file"),
    "absent weights": (("small.cfg", "small.weights"), ("absent.weights",), 4, "no such file"),
    "absent values": (("small.cfg", "small.weights"), ("absent.npz",), 3, "no such file"),
    "text as a file": (("small.cfg", "small.weights"), ("text.onnx",), 4, "cannot be read"),
    "text as values": (("small.cfg", "small.weights"), ("text.npz",), 3, "not a .npz file"),
    "values without an image": (("small.cfg", "small.weights"), ("plain.npz",), 2, "--image"),
    "values of nothing": (("small.cfg", "small.weights"), ("nothing.npz",), 3, "no values of layers"),
    "an input of another size": (("small.cfg", "small.weights"), ("large.npz",), 3, "does not fit"),
    "words as values": (("small.cfg", "small.weights"), ("words.npz",), 3, "holds no numbers"),
    "two weights": (("small.cfg", "small.weights"), ("small.weights", "small.weights"), 2, "given twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused_with_the_reason(name: str) -> None:
    paths, others, code, text = REFUSED[name]
    for path in ("text.onnx", "text.npz"):
        Path(path).write_text("no such thing")
    images = np.zeros((1, 3, 32, 64), np.float32)
    np.savez("plain.npz", layer_0=images)
    np.savez("nothing.npz", images=images, other=images)
    np.savez("large.npz", images=images[:, :, :16], layer_0=images)
    np.savez("words.npz", images=images, layer_0=np.array(["a"]))
    result = run(*paths, *(word for other in others for word in ("--against", other)))
    assert result.exit_code == code and text in result.stderr, result.output
    assert "Traceback" not in result.output


def test_a_precision_is_for_our_engines() -> None:
    result = against("small.weights", options=("--precision", "bf16"))
    assert result.exit_code == 2 and "--precision bf16 is for the engines" in result.stderr


def test_a_value_of_another_shape_differs_and_does_not_stop_the_rest() -> None:
    network = open_network("small.cfg", "small.weights").network
    values = LayerRun(network, plain.images_of(network), "darknet").values()
    arrays = {f"layer_{index}": value.numpy() for index, value in values.items()}
    arrays["layer_2"] = arrays["layer_2"][:, :4]
    np.savez("values.npz", images=plain.images_of(network).numpy(), **arrays)
    result = against("values.npz", options=("--all",))
    assert result.exit_code == 1 and "its shape there is 1x4x16x32" in result.stdout
    assert [line.split()[-1] for line in result.stdout.splitlines()[1:15]].count("equal") == 13


def test_a_cfg_with_other_filters_differs_in_the_first_of_them() -> None:
    wider = plain.CFG.replace("filters=12", "filters=20")
    Path("wider.cfg").write_text(wider)
    write_weights(Network(build_graph(parse(wider))).eval(), "wider.weights")
    result = against("wider.cfg", "wider.weights")
    assert result.exit_code == 1 and "Traceback" not in result.output


def test_the_same_files_may_be_read_in_another_dialect() -> None:
    result = against("darknet")
    assert result.exit_code == 0, result.output
    result = against("pjreddie")
    assert result.exit_code == 1 and "epsilon 1e-06 beside the root, here 1e-05" in result.stdout
