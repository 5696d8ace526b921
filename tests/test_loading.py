"""`load`: a cfg and its weights to a network that is ready to run, whatever kind the file is."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import golden
import numpy as np
import pytest
import torch

import yolor_cfg
from yolor_cfg import CfgError, load
from yolor_cfg.cli.options import DeviceParam
from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import ReadOptions
from yolor_cfg.ops.devices import find_device
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.darknet import WeightsHeader, write_weights
from yolor_cfg.weights.loading import open_network

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
HEAD = "[convolutional]\nfilters=24\nsize=1\nactivation=linear\n"
YOLO = "[yolo]\nmask=0,1,2\nclasses=3\nnum=3\nanchors=4,5, 7,6, 9,9\n"
BOTH_DIALECTS = NET + CONV + HEAD + YOLO


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    """A cfg that both dialects read."""
    path = tmp_path / "net.cfg"
    path.write_text(BOTH_DIALECTS)
    return path


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_network_comes_in_evaluation_mode_with_its_weights_in_it(cfg: Path, tmp_path: Path) -> None:
    first = load(cfg)
    write_weights(first, tmp_path / "net.weights", header=WeightsHeader(0, 2, 5, 99))
    opened = open_network(cfg, tmp_path / "net.weights")
    assert same(opened.network, first)
    assert not any(module.training for module in opened.network.modules())
    assert opened.header == WeightsHeader(0, 2, 5, 99)
    with torch.no_grad():
        (raw,) = load(str(cfg), str(tmp_path / "net.weights"))(torch.zeros(2, 3, 32, 32))
    assert raw.shape == (2, 3, 32, 32, 8)


@pytest.mark.parametrize(("size", "height", "width"), [(64, 64, 64), ((32, 96), 32, 96)])
def test_size_replaces_that_of_the_cfg(
    size: int | tuple[int, int], height: int, width: int, cfg: Path
) -> None:
    image = load(cfg, size=size).graph.image
    assert (image.height, image.width) == (height, width)


def test_a_golden_network_gives_what_c_darknet_gave(shared: Path) -> None:
    folder = shared / "golden/darknet/micro"
    network = load(folder / "m_conv_share.cfg", folder / "m_conv_share.weights", dialect="darknet")
    case = next(case for case in golden.micro_cases() if case.name == "m_conv_share")
    filled, inputs, meta, want = golden.darknet_layers(case)
    assert same(network, filled)
    with torch.no_grad():
        got = network.trace(inputs[0], meta["stored_layers"])
    for index, value in got.items():
        golden.check_layer(index, value, want, golden.TOLERANCE)


# --------------------------------------------------------------------------------------------- which dialect


def dialect_of(cfg: Path, weights: Path | None = None, dialect: str | None = None) -> str:
    return load(cfg, weights, dialect=dialect).graph.dialect.name


def test_with_nothing_to_go_by_a_cfg_is_darknets(cfg: Path, tmp_path: Path) -> None:
    write_weights(load(cfg), tmp_path / "net.weights")
    assert dialect_of(cfg) == dialect_of(cfg, tmp_path / "net.weights") == "darknet"


def test_with_a_foreign_checkpoint_it_is_yolors(cfg: Path, tmp_path: Path) -> None:
    torch.save({"model": load(cfg).state_dict()}, tmp_path / "x.pt")
    assert dialect_of(cfg, tmp_path / "x.pt") == "yolor"


def test_a_cfg_that_shows_its_dialect_stays_with_it_under_a_foreign_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(BOTH_DIALECTS + "new_coords=0\n")
    torch.save({"model": load(path).state_dict()}, tmp_path / "x.pt")
    assert dialect_of(path, tmp_path / "x.pt") == "darknet"


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_our_checkpoint_says_its_dialect_even_against_the_cfg(
    dialect: str, cfg: Path, tmp_path: Path
) -> None:
    save_checkpoint(load(cfg, dialect=dialect), tmp_path / "x.pt")
    other = "darknet" if dialect == "yolor" else "yolor"
    cfg.write_text(BOTH_DIALECTS.replace("channels=3", f"channels=3\ndialect={other}"))
    assert dialect_of(cfg) == other
    assert dialect_of(cfg, tmp_path / "x.pt") == dialect


def test_the_dialect_stated_counts_before_all_others(cfg: Path, tmp_path: Path) -> None:
    save_checkpoint(load(cfg, dialect="yolor"), tmp_path / "x.pt")
    assert dialect_of(cfg, tmp_path / "x.pt", "darknet") == "darknet"


# ----------------------------------------------------------------------------------- what kind of file it is


@pytest.mark.parametrize("name", ["net.pt", "net.weights", "net"])
def test_a_checkpoint_is_told_by_its_content(name: str, cfg: Path, tmp_path: Path) -> None:
    first = load(cfg, dialect="yolor")
    save_checkpoint(first, tmp_path / name, names=["a", "b", "c"])
    opened = open_network(cfg, tmp_path / name)
    assert same(opened.network, first)
    assert opened.names == ("a", "b", "c") and opened.header is None


def test_a_torch_file_in_the_older_format_is_told_by_its_content(cfg: Path, tmp_path: Path) -> None:
    first = load(cfg)
    content = {"model": first.state_dict()}
    torch.save(content, tmp_path / "old.weights", _use_new_zipfile_serialization=False)
    assert same(load(cfg, tmp_path / "old.weights"), first)


def test_a_weights_file_is_told_by_its_content(cfg: Path, tmp_path: Path) -> None:
    first = load(cfg)
    write_weights(first, tmp_path / "net.pt")
    assert same(load(cfg, tmp_path / "net.pt"), first)


def test_other_zip_files_are_refused(cfg: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with pytest.raises(WeightsError, match="not a torch file"):
        load(cfg, tmp_path / "x.npz")


def test_a_missing_file_is_named(cfg: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere.weights: the weights cannot be read: no such file"):
        load(cfg, tmp_path / "nowhere.weights")
    with pytest.raises(CfgError, match=r"nowhere.cfg: the cfg cannot be read: no such file"):
        load(tmp_path / "nowhere.cfg")


def test_cutoff_reaches_both_kinds_of_file(cfg: Path, tmp_path: Path) -> None:
    first = load(cfg)
    write_weights(first, tmp_path / "net.conv.1", upto=1)
    save_checkpoint(first, tmp_path / "x.pt")
    for name in ("net.conv.1", "x.pt"):
        state = load(cfg, tmp_path / name, cutoff=1).state_dict()
        assert torch.equal(state["module_list.0.Conv2d.weight"], first.module_list[0].Conv2d.weight)
        assert not torch.equal(state["module_list.1.Conv2d.weight"], first.module_list[1].Conv2d.weight)


# ------------------------------------------------------------------------ epsilon, device, strictness, notes


def test_the_epsilon_of_the_checkpoint_is_kept_unless_the_cfg_names_one(cfg: Path, tmp_path: Path) -> None:
    own = BOTH_DIALECTS.replace("channels=3", "channels=3\nbn_eps=0.001")
    cfg.write_text(own)
    save_checkpoint(load(cfg, dialect="yolor"), tmp_path / "x.pt")
    cfg.write_text(BOTH_DIALECTS)
    opened = open_network(cfg, tmp_path / "x.pt")
    assert opened.network.module_list[0].BatchNorm2d.eps == 1e-3
    assert opened.notes == (
        "batch norm epsilon 0.001, as in the checkpoint (the dialect's default is 0.0001)",
    )
    cfg.write_text(own.replace("0.001", "0.5"))
    assert load(cfg, tmp_path / "x.pt").module_list[0].BatchNorm2d.eps == 0.5


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_a_usage_error(device: str, cfg: Path) -> None:
    with pytest.raises(CfgError, match="no such device here") as caught:
        load(cfg, device=device)
    assert caught.value.found == device and caught.value.exit_code == 2


def test_a_number_is_that_gpu_as_in_yolor(cfg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLOR's utils/torch_utils.py select_device: `--device 0` is cuda:0."""
    asked = []
    monkeypatch.setattr("yolor_cfg.model.torch.empty", lambda *_, device: asked.append(device))
    assert [str(find_device(name)) for name in ("0", "cuda:1", "mps", "cpu")] == [
        "cuda:0",
        "cuda:1",
        "mps",
        "cpu",
    ]
    assert [str(device) for device in asked] == ["cuda:0", "cuda:1", "mps", "cpu"]


@pytest.mark.parametrize(
    ("text", "device"), [("0", "cuda:0"), ("CUDA:1", "cuda:1"), ("mps", "mps"), ("0,", "cuda:0")]
)
def test_devices_are_spelled_as_people_do(text: str, device: str) -> None:
    assert DeviceParam().parse(text) == device


def test_the_network_is_on_the_device_asked_for(cfg: Path) -> None:
    assert {p.device.type for p in load(cfg, device="meta").parameters()} == {"meta"}


def test_strict_makes_warnings_errors(cfg: Path) -> None:
    cfg.write_text(BOTH_DIALECTS + "colour=red\n")
    assert load(cfg).graph.warnings
    with pytest.raises(CfgError, match="colour: unknown key"):
        load(cfg, strict=True)


def test_warnings_and_notes_are_logged(cfg: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg.write_text(BOTH_DIALECTS + "colour=red\n")
    with caplog.at_level(logging.INFO, logger="yolor_cfg"):
        load(cfg)
    warning, note = caplog.records
    assert warning.levelno == logging.WARNING and "colour: unknown key" in warning.getMessage()
    assert note.levelno == logging.INFO and "read in the darknet dialect" in note.getMessage()


def test_notes_come_back_without_being_logged(cfg: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="yolor_cfg"):
        (note,) = open_network(cfg).notes
        assert open_network(cfg, reading=ReadOptions("darknet")).notes == ()
    assert "read in the darknet dialect" in note
    assert not caplog.records


# ----------------------------------------------------------------------------------------------- the package


def test_the_package_gives_its_names_and_no_others() -> None:
    from yolor_cfg.detect.pipeline import Detector

    assert yolor_cfg.Detector is Detector
    assert {"load", "Detector", "CfgError"} <= set(dir(yolor_cfg))
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        yolor_cfg.loda  # noqa: B018


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"yolor-cfg": "9.8.7"}.__getitem__)
    assert yolor_cfg.__version__ == "9.8.7"


def test_importing_the_package_and_its_error_loads_no_torch() -> None:
    code = "import sys; from yolor_cfg import CfgError; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
