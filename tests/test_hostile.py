"""Files that would take for ever, or all memory, are refused at once; a full disk leaves one message."""

import errno
import io
import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from yolor_cfg.data.formats.yolo import list_images
from yolor_cfg.errors import CfgError, DataError, WeightsError, YolorError, describe
from yolor_cfg.files import replace_file
from yolor_cfg.graph import build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.lang.tree import read_tree
from yolor_cfg.names import read_names, read_options
from yolor_cfg.train.hyperparameters import hyperparameters
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.weights import loading
from yolor_cfg.weights.checkpoint import read_checkpoint
from yolor_cfg.weights.prefix import read_prefix
from yolor_cfg.weights.safetensors_file import write_safetensors
from yolor_cfg.weights.torch_file import read_pt, write_pt

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"


def nested(levels: int = 60) -> Any:
    """A tuple that would have 2 ** levels values if it were written out."""
    value: Any = (1, 1)
    for _ in range(levels):
        value = (value, value)
    return value


# A pickle of it is short, for it is one tuple that refers to itself through a memo. 0x32 is DUP, 0x86 TUPLE2.
BOMB = b"K\x01K\x01\x86" + b"\x32\x86" * 60
REFUSED = [
    b"c_codecs\nencode\n(X\x01\0\0\0a" + BOMB + b"tR.",
    b"cnumpy\ndtype\n(" + BOMB + b"tR.",
    b"ctorch\ndevice\n(" + BOMB + b"tR.",
    b"ctorch\nSize\n(" + BOMB + b"tR.",
    b"cnumpy.core.multiarray\nscalar\n(" + BOMB + b"X\x01\0\0\0atR.",
    b"cnumpy.core.multiarray\n_reconstruct\n(" + BOMB + b"tR.",
    b"ctorch._tensor\n_rebuild_from_type_v2\n(" + BOMB + b"NNtR.",
    b"ctorch._utils\n_rebuild_parameter\n(" + BOMB + b"tR.",
    BOMB + b"Q.",
    b"(X\x07\0\0\0storage" + BOMB + b"X\x01\0\0\0aX\x03\0\0\0cpuK\x01tQ.",
    BOMB + BOMB + b"\x93.",
    b"}" + BOMB + b"K\x01s.",
    b"ccollections\nOrderedDict\n(" + BOMB + b"\x85tR.",
    b"cmodels.x\nY\n)\x81" + BOMB + b"b" + BOMB + b"R.",
]


def torch_zip(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + program)
    return buffer.getvalue()


@pytest.mark.parametrize("program", REFUSED)
def test_a_short_pickle_of_exponential_size_is_refused_in_one_short_message(
    program: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(torch_zip(program))
    assert path.stat().st_size < 500
    with pytest.raises(WeightsError) as caught:
        read_pt(path)
    assert len(str(caught.value)) < 1000


def test_pairs_that_are_one_huge_list_are_no_pairs(tmp_path: Path) -> None:
    # 10**5 references to one list of 10**5 numbers: 10**10 values, in a file of 400 KB.
    program = b"ccollections\nOrderedDict\n((" + b"(" + b"K\x01" * 10**5 + b"lq\0" + b"h\0" * 10**5 + b"ltR."
    path = tmp_path / "bomb.pt"
    path.write_bytes(torch_zip(program))
    with pytest.raises(WeightsError):
        read_pt(path)


def test_whatever_a_message_quotes_is_short() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (
        nested(),
        loop,
        [loop] * 9,
        "x" * 10**6,
        b"x" * 10**6,
        10**5000,
        {1: nested()},
        torch.ones(3),
    ):
        assert len(describe(value)) < 400
    assert describe((1, "a\x1b", None)) == r"tuple of 3: 1, 'a\x1b', None"


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
YAML_BOMBS = [
    ALIASES,
    MERGES,
    "names: &a [*a]\n",
    "a: " + "[" * 5000,
    "nc: " + "9" * 5000,
    "lr0: 2001-99-99",
    "\0",
]


@pytest.mark.parametrize("text", YAML_BOMBS, ids=range(len(YAML_BOMBS)))
def test_aliases_that_stand_for_too_much_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        list_images(str(path), "train")
    with pytest.raises(DataError):
        hyperparameters(TrainOptions("a.cfg", "a.data", hyp=str(path)), build_graph(parse(NET + "[avgpool]")))


def test_plain_aliases_still_count(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "a.yaml").write_text("train: &t images\nval: *t\nnames: [a]\n", encoding="utf-8")
    assert list_images(str(tmp_path / "a.yaml"), "val").names == ("a",)


@pytest.mark.parametrize(
    "lines", ["nc: 1000000000", "nc: 1e9", "nc: -3", "nc: [1]", "names: [[a], b]", "names: 3"]
)
def test_a_count_of_classes_that_nothing_has_is_refused(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    (tmp_path / "images").mkdir()
    path.write_text(f"train: images\n{lines}\n", encoding="utf-8")
    (tmp_path / "images" / "a.png").write_bytes(b"")
    with pytest.raises(DataError):
        list_images(str(path), "train")


READERS: list[Callable[[Path], object]] = [
    load_graph,
    read_tree,
    read_names,
    read_options,
    read_prefix,
    read_checkpoint,
    loading.load,
    lambda path: list_images(str(path), "train"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_a_text_that_never_ends_is_refused(read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(YolorError, match="not a regular file"):
        read(path)


def test_a_checkpoint_is_compared_before_the_network_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tmp_path / "huge.cfg"  # 8.1 GB of weights
    cfg.write_text(NET + "[convolutional]\nfilters=15000\n[convolutional]\nfilters=15000\nsize=3\n")
    torch.save({"module_list.0.Conv2d.weight": torch.zeros(2, 3, 1, 1)}, tmp_path / "a.pt")
    monkeypatch.setattr(loading, "Network", lambda graph: pytest.fail("the network is built"))
    with pytest.raises(WeightsError, match="does not fit"):
        loading.load(cfg, tmp_path / "a.pt")


LONG = {
    "sources": "[convolutional]\n[route]\nlayers=" + ",".join(["-9"] * 100_000),
    "keys": "[convolutional]\n" + "".join(f"filtres{n}=1\n" for n in range(10_000)),
    "sections": "".join(f"[convolutionl{n}]\n" for n in range(5_000)),
    "routes": "[convolutional]\n" + "[route]\nlayers=90000\n" * 5_000,
    "lines": "[convolutional]\n" + "filters\n" * 20_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_faulty_cfg_is_refused_in_the_time_that_it_takes_to_read(text: str) -> None:
    began = time.process_time()
    with pytest.raises(CfgError):
        load = build_graph(parse(NET + text))
        raise load.warnings[0]
    assert time.process_time() - began < 4, (
        "about 0.3 s; 10 s and more where each fault looks at all the others"
    )


class FullDisk(io.RawIOBase):
    """Takes a kilobyte, then no more."""

    def write(self, data: Any) -> int:
        if self.taken > 1024:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken += len(data)
        return len(data)

    def writable(self) -> bool:
        return True

    taken = 0


def test_a_full_disk_is_told_in_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        replace_file(
            tmp_path / "a.pt", lambda _: write_pt({"a": torch.ones(10**4)}, FullDisk()), fault=WeightsError
        )
    assert caught.value.found == "No space left on device"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "record",
    ["[" * 100_000, "{", "3", "[]", "null", '{"cfg": 3, "dialect": "yolor", "format": "yolor-cfg 1"}'],
)
def test_odd_metadata_of_a_safetensors_file_is_named(record: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"module_list.0.Conv2d.weight": torch.ones(1, 1, 1, 1)}, record={})
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    quoted = record.replace('"', '\\"')
    header = data[8 : 8 + length].replace(b'"yolor":"{}"', b'"yolor":"' + quoted.encode() + b'"')
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(path)


TREES = {
    "parent": b"a -1\nb 5\n",
    "short": b"a\n",
    "empty": b"",
    "count": b"a -1\n",
    "random": bytes(range(256)) * 9,
    "number": b"a -1\nb 99999999999999999\n",
}
TREE_CFGS = (
    "[connected]\noutput=4\n[softmax]\ntree=x.tree\n",
    "[convolutional]\nfilters=9\n[region]\nclasses=4\ncoords=4\nnum=1\nanchors=1,1\nsoftmax=1\ntree=x.tree\n",
)


@pytest.mark.parametrize("data", TREES.values(), ids=TREES)
@pytest.mark.parametrize("sections", TREE_CFGS, ids=["softmax", "region"])
def test_a_tree_that_cannot_be_used_is_told_before_the_network_is_built(
    sections: str, data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "x.tree").write_bytes(data)
    (tmp_path / "x.cfg").write_text(NET + sections)
    (warning,) = load_graph(tmp_path / "x.cfg").warnings
    assert warning.key == "tree"
