"""Tensors and texts pass through the safetensors format unchanged."""

import struct
import sys
from pathlib import Path

import pytest
import torch

from yolor_cfg.errors import MissingExtra, WeightsError
from yolor_cfg.weights.safetensors_file import read_metadata, read_safetensors, write_safetensors


def test_without_its_library_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingExtra, match=r"yolor-cfg\[safetensors\]"):
        read_safetensors(tmp_path / "a.safetensors")
    with pytest.raises(MissingExtra, match=r"yolor-cfg\[safetensors\]"):
        write_safetensors(tmp_path / "a.safetensors", {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("safetensors", reason="the extra `safetensors` is not installed")
    return tmp_path / "a.safetensors"


def test_tensors_and_texts_come_back_as_they_were(path: Path) -> None:
    base = torch.arange(6.0)
    tensors = {
        "half": torch.tensor([0.5, 2]).half(),
        "count": torch.tensor(7),
        "view": base.view(2, 3).t(),
        "shared": base,
        "empty": torch.zeros(0, 3),
        "bfloat": torch.ones(2, dtype=torch.bfloat16),
    }
    write_safetensors(path, tensors, texts={"cfg": "[net]\nwidth=32\n"})
    ours = read_safetensors(path)
    assert set(ours) == set(tensors)
    assert all(
        torch.equal(ours[name], tensor) and ours[name].dtype == tensor.dtype
        for name, tensor in tensors.items()
    )
    assert read_metadata(path) == {"cfg": "[net]\nwidth=32\n"}


def test_the_library_itself_reads_what_is_written(path: Path) -> None:
    from safetensors.torch import load_file

    write_safetensors(path, {"a": torch.ones(2)})
    assert torch.equal(load_file(path)["a"], torch.ones(2))
    assert read_metadata(path) == {}


def test_an_existing_file_is_kept_without_force(path: Path) -> None:
    write_safetensors(path, {"a": torch.ones(2)})
    with pytest.raises(WeightsError, match="--force"):
        write_safetensors(path, {"a": torch.zeros(2)})
    assert torch.equal(read_safetensors(path)["a"], torch.ones(2))
    write_safetensors(path, {"a": torch.zeros(2)}, force=True)
    assert torch.equal(read_safetensors(path)["a"], torch.zeros(2))


def test_what_is_no_safetensors_file_is_named(path: Path) -> None:
    for data, found in [
        (b"", "an empty file"),
        (b"<html>", "an HTML page"),
        (b"PK\x03\x04", "a zip archive"),
    ]:
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=found):
            read_safetensors(path)


def test_a_cut_or_lying_file_is_refused(path: Path) -> None:
    write_safetensors(path, {"a": torch.ones(20), "b": torch.ones(3)})
    data = path.read_bytes()
    lie = data.replace(b"[0,80]", b"[0,88]").replace(b"[80,92]", b"[88,92]")
    assert lie != data
    for wrong in [data[:7], data[:20], data[:-1], data + b"x", struct.pack("<Q", 1 << 60) + data[8:], lie]:
        path.write_bytes(wrong)
        with pytest.raises(WeightsError, match="is not a safetensors file"):
            read_safetensors(path)


def test_a_missing_file_is_told(path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_safetensors(path)
