"""Tensors and texts pass through the safetensors format unchanged."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import network_of

from yolor_cfg.errors import MissingExtra, WeightsError
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint
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
    write_safetensors(path, tensors, record={"cfg": "[net]\nwidth=32\n"})
    ours = read_safetensors(path)
    assert set(ours) == set(tensors)
    assert all(
        torch.equal(ours[name], tensor) and ours[name].dtype == tensor.dtype
        for name, tensor in tensors.items()
    )
    assert read_metadata(path) == {"yolor": '{"cfg": "[net]\\nwidth=32\\n"}'}


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


VIEWS = {
    "transposed": lambda: torch.arange(12.0).view(3, 4).t(),
    "every second": lambda: torch.arange(12.0)[::2],
    "inner part": lambda: torch.arange(24.0).view(4, 6)[1:3, 2:5],
    "expanded": lambda: torch.arange(3.0)[:, None].expand(3, 4),
    "channels last": lambda: (
        torch.arange(48.0).view(2, 3, 2, 4).contiguous(memory_format=torch.channels_last)
    ),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_the_numbers_of_a_view_are_written_not_the_memory_behind_it(kind: str, path: Path) -> None:
    """The format itself is the source: a head's length in 8 bytes, a JSON head, then the numbers by rows."""
    view = VIEWS[kind]()
    write_safetensors(path, {"view": view})
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    place = json.loads(data[8:start])["view"]
    assert place == {"dtype": "F32", "shape": list(view.shape), "data_offsets": [0, 4 * view.numel()]}
    assert data[start:] == view.numpy().tobytes()  # which goes by rows, whatever the memory
    assert not view.is_contiguous()


WRITER = """
import sys
sys.path.append("tests")
from test_safetensors import write_seeded
write_seeded(sys.argv[1])
"""


def write_seeded(file: str | Path) -> None:
    torch.manual_seed(0)
    network = network_of("[convolutional]\nfilters=3\nbatch_normalize=1\n")
    save_checkpoint(network, file, names=["a", "b"], numbers={"seen": 3})


def test_a_checkpoint_is_written_the_same_by_every_process(path: Path) -> None:
    """The library keeps metadata in a map whose order differs from one process to the next."""
    files = [path.with_name(f"{number}.safetensors") for number in range(2)]
    write_seeded(files[0])
    subprocess.run([sys.executable, "-c", WRITER, str(files[1])], cwd=Path(__file__).parents[1], check=True)
    assert len({file.read_bytes() for file in files}) == 1
    assert list(read_metadata(files[0])) == ["yolor"]


def test_a_checkpoint_of_before_with_two_keys_is_still_read(path: Path) -> None:
    from safetensors.torch import save_file

    record = json.dumps({"cfg": "[net]\n", "names": ["a"], "dialect": "darknet", "numbers": {"step": 2}})
    save_file({"module_list.0.a": torch.ones(2)}, path, metadata={"format": "yolor-cfg 1", "yolor": record})
    read = read_checkpoint(path)
    assert (read.cfg, read.names, read.dialect) == ("[net]\n", ("a",), "darknet")
    assert read.numbers == {"step": 2}
