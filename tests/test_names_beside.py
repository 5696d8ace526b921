"""Class names in NAME.names beside NAME.weights or NAME.cfg are found where nothing else names classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg import Detector
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import plain_names, read_checkpoint, save_checkpoint
from yolor_cfg.weights.darknet import write_weights

NAMES = ("disc", "square", "triangle", "star", "ring", "cross")
BACK = NAMES[::-1]


@pytest.fixture
def files(tmp_path: Path) -> tiny.Files:
    """A network in a .weights file, which holds no names."""
    (tmp_path / "net.cfg").write_text(training.yolor_text())
    torch.manual_seed(0)
    network = Network(build_graph(parse(training.yolor_text())))
    write_weights(network, tmp_path / "last.weights")
    return tiny.Files(tmp_path / "net.cfg", tmp_path / "last.weights")


def write_names(folder: Path, stem: str, *names: str) -> Path:
    place = folder / f"{stem}.names"
    place.write_text("".join(f"{name}\n" for name in names))
    return place


def test_those_beside_the_weights_come_before_those_beside_the_cfg(files, tmp_path):
    assert Detector(*files).names == tuple("012345")
    beside = write_names(tmp_path, "net", *BACK)
    assert Detector(*files).names == BACK
    assert f"the classes are named by {beside}" in Detector(*files).notes
    first = write_names(tmp_path, "last", *NAMES)
    assert Detector(*files).names == NAMES
    told = f"the classes are named by {first}; {beside} names them otherwise, --names chooses"
    assert told in Detector(*files).notes
    for others in (NAMES, NAMES[1:]):
        write_names(tmp_path, "net", *others)
        assert f"the classes are named by {first}" in Detector(*files).notes


def test_names_that_are_given_or_held_come_first_and_nothing_is_told(files, tmp_path):
    for stem in ("net", "last", "held"):
        write_names(tmp_path, stem, *BACK)
    given = Detector(*files, names=tuple("abcdef"))
    assert given.names == tuple("abcdef") and not any("named by" in note for note in given.notes)
    save_checkpoint(given.network, tmp_path / "held.pt", names=NAMES)
    held = Detector(tmp_path / "held.pt")
    assert held.names == NAMES and not any("named by" in note for note in held.notes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\nb\n", "the number of names does not match the number of classes (2 names, not 6 names)"),
        (b"\0\1\2", "this is not a list of names"),
        (b"\n", "the file of class names is empty"),
    ],
)
def test_a_file_beside_that_does_not_fit_is_told_and_left_alone(files, tmp_path, content, reason):
    beside = tmp_path / "last.names"
    beside.write_bytes(content)
    detector = Detector(*files)
    assert detector.names == tuple("012345")
    assert f"{beside} is not used: {reason}" in detector.notes


def test_what_convert_writes_for_a_task_detect_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = Network(build_graph(parse(training.yolor_text() + "task=day\n", "two.cfg")))
    save_checkpoint(
        network, tmp_path / "two.pt", names=NAMES, kept={"task_names": plain_names({"day": BACK})}
    )
    tiny.save_pictures(tmp_path, [(64, 64)])
    assert tiny.yolor("convert", "two.pt", "day.weights", "--task", "day").exit_code == 0
    result = tiny.yolor("detect", "day.cfg", "day.weights", "pictures", "--conf", "0", "--json")
    assert result.exit_code == 0 and "note: the classes are named by day.names" in result.stderr
    found = json.loads(result.stdout)["detections"]
    assert found and all(one["name"] == BACK[one["class"]] for one in found)


def test_test_matches_classes_by_the_names_beside(files, tmp_path):
    """The data set has the same names in another order."""
    data = training.shapes(tmp_path, count=5)
    words = ("test", *files, "--data", data, "--json", "--no-save")
    plain = json.loads(tiny.yolor(*words).stdout)["per_category"]
    write_names(tmp_path, "last", *BACK)
    result = tiny.yolor(*words)
    assert "classes are numbered by their names, as in " + str(tmp_path / "last.names") in result.stderr
    turned = json.loads(result.stdout)["per_category"]
    assert [one["name"] for one in turned.values()] == [*BACK]
    assert [one["name"] for one in plain.values()] == [*NAMES]
    write_names(tmp_path, "last", *"abcdef")
    refused = tiny.yolor(*words)
    assert refused.exit_code == 3 and f"other classes than {tmp_path / 'last.names'}" in refused.stderr
    assert tiny.yolor(*words, "--by-number").exit_code == 0


def test_a_checkpoint_and_an_exported_file_keep_them(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_names(tmp_path, "last", *BACK)
    result = tiny.yolor("convert", files.weights, "out.pt", "--cfg", files.cfg)
    assert result.exit_code == 0 and read_checkpoint("out.pt").names == BACK, result.stderr
    again = tiny.yolor("convert", files.weights, "again.weights", "--cfg", files.cfg)
    assert again.exit_code == 0 and "named by" not in again.stderr  # such a file holds no names
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (the extra `export`)")
    result = tiny.yolor("export", *files, "--format", "onnx", "--no-check")
    assert result.exit_code == 0, result.stderr
    meta = json.loads(next(Path("runs/export/exp").glob("meta.json")).read_text())
    assert tuple(meta["names"]) == BACK
