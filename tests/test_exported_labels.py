"""Image labels and embeddings of exported files: those of the network, in `detect` and in `test`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import torch
from test_embedding_use import TEXT as EMBEDDING_TEXT
from test_exported import NO_TORCH

from yolor_cfg import Detector, ExportedDetector
from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import CfgError
from yolor_cfg.export.formats import ExportOptions, OnnxStore
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.onnx_nms import NmsLimits
from yolor_cfg.export.run import export_network
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import save_checkpoint

NAMES = ("disc", "square", "triangle", "star", "ring", "cross")
LABELS = "[route]\nlayers=0\n[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[avgpool]\n"
TEXTS = {
    "both": EMBEDDING_TEXT + LABELS + "[logistic]\n",
    "single": EMBEDDING_TEXT[: EMBEDDING_TEXT.index("[convolutional]\nfilters=38")]
    + LABELS[16:]
    + "[softmax]\n",
}
LIMITS = {"conf": 0.3, "iou": 0.4, "nms": "yolor"}
FORMS = {
    "decoded": ExportOptions(),
    "raw": ExportOptions(settings=OnnxSettings("raw")),
    "nms": ExportOptions(nms=NmsLimits(0.3, 0.4, 300, True)),
}


class Written:
    """The networks' checkpoints, the files of `FORMS`, and drawn images with identities."""

    def __init__(self, folder: Path) -> None:
        shapes = ShapesOptions(4, (64, 64), KINDS["identities"], val_count=3, identities=True)
        self.data = write_shapes(folder / "set", shapes)
        self.images = sorted((self.data.parent / "images").iterdir())
        self.weights, self.files = dict[str, Path](), dict[tuple[str, str], Path]()
        for name, text in TEXTS.items():
            torch.manual_seed(0)
            network = Network(build_graph(parse(text))).eval()
            with torch.no_grad():
                for layer in network.module_list:
                    if hasattr(layer, "Conv2d") and layer.Conv2d.bias is not None:
                        layer.Conv2d.weight.mul_(4)
            self.weights[name] = folder / f"{name}.pt"
            save_checkpoint(network, self.weights[name], names=NAMES)
            self._export(network, folder, name)

    def _export(self, network: Network, folder: Path, name: str) -> None:
        store = OnnxStore()
        for form, options in FORMS.items():
            if name == "both" or form == "raw":
                place = folder / f"{name}_{form}"
                place.mkdir()
                made = export_network(
                    network, place, options._replace(store=store), names=NAMES, checks=False
                )
                self.files[name, form] = made.path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("labels"))


def label_numbers(found: Any) -> dict[tuple[int, str], float]:
    return {(one.class_id, one.name): one.score for one in found.labels}


def label_names(line: dict[str, Any]) -> set[tuple[int, str]]:
    return {(one["class"], one["name"]) for one in line["labels"]}


def in_order(found: Any) -> np.ndarray:
    """An order of detections that rounding does not change: equal scores may come either way."""
    return np.lexsort(np.round(np.asarray(found.boxes_xyxy), 1).T)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "name, form", [("both", "decoded"), ("both", "raw"), ("both", "nms"), ("single", "raw")]
)
def test_a_file_gives_the_labels_and_embeddings_of_the_network(written, name, form, engine):
    wanted = Detector(written.weights[name], engine="torch", **LIMITS)(written.images)
    file = ExportedDetector(written.files[name, form], engine=engine, batch_size=2, **LIMITS)
    for ours, theirs in zip(file(written.images), wanted, strict=True):
        labels, others = label_numbers(ours), label_numbers(theirs)
        assert labels == pytest.approx(others, abs=1e-5) and (len(labels) == 5 or name == "both") and labels
        assert len(ours) == len(theirs) and bool(len(ours)) == (name == "both")
        if name == "single" or form == "nms":
            assert ours.embeddings is None
            continue
        mine, other = in_order(ours), in_order(theirs)
        boxes = [np.asarray(one.boxes_xyxy)[by] for one, by in ((ours, mine), (theirs, other))]
        np.testing.assert_allclose(*boxes, rtol=1e-4, atol=1e-2)
        vectors = [np.asarray(one.embeddings)[by] for one, by in ((ours, mine), (theirs, other))]
        np.testing.assert_allclose(*vectors, atol=1e-4)


@pytest.mark.parametrize(("name", "form"), [("both", "decoded"), ("single", "raw")])
def test_the_command_tells_them_without_torch(written, tmp_path, name, form):
    words = ["-q", "detect", str(written.images[0]), "--json", "--nosave", "--conf", "0.3"]
    words += ["--save-embeddings"] * (name == "both")
    theirs = tiny.yolor(*words, "--weights", written.weights[name], "--output", tmp_path / "net")
    there = [NO_TORCH, *words, "--weights", written.files[name, form], "--output", tmp_path / "file"]
    root = Path(__file__).resolve().parents[1]
    ours = subprocess.run(
        [sys.executable, "-c", *there], cwd=root, capture_output=True, text=True, check=False
    )
    assert (theirs.exit_code, ours.returncode) == (0, 0), ours.stderr
    (one, other) = (json.loads(text.stdout) for text in (theirs, ours))
    assert label_names(one) == label_names(other)
    if name == "both":
        assert len(one["detections"]) == len(other["detections"]) > 5
        assert all(len(found["embedding"]) == 5 for found in other["detections"])
        with np.load(tmp_path / "net/embeddings.npz") as a, np.load(tmp_path / "file/embeddings.npz") as b:
            assert sorted(a) == sorted(b)
            orders = [np.lexsort(np.round(one["boxes_xyxy"], 1).T) for one in (a, b)]
            np.testing.assert_allclose(a["embeddings"][orders[0]], b["embeddings"][orders[1]], atol=1e-4)


def test_a_file_without_embeddings_says_so(written):
    file = written.files["both", "nms"]
    refused = tiny.yolor("detect", file, written.images[0], "--save-embeddings")
    assert refused.exit_code == 2 and "NMS inside the file takes them away: export it" in refused.stderr
    assert "cannot come back; it gives no embeddings" in ExportedDetector(file).notes[0]
    assert ExportedDetector(file)(written.images[0]).labels  # those of whole images stay
    refused = tiny.yolor("detect", written.files["single", "raw"], written.images[0], "--save-embeddings")
    assert refused.exit_code == 2 and "--nms" not in refused.stderr
    with pytest.raises(CfgError, match="NMS needs boxes"):
        single = Detector(written.weights["single"]).network
        export_network(single, written.data.parent, FORMS["nms"], checks=False)


def test_export_tells_of_embeddings_that_nms_takes_away(written, tmp_path):
    words = ("--format", "onnx", "--nms", "--no-check", "--project", tmp_path)
    result = tiny.yolor("export", written.weights["both"], *words)
    assert "note: NMS inside the file takes away the embeddings; without --nms it has them" in result.stderr
    assert json.loads((tmp_path / "exp/meta.json").read_text())["left_out"] == ["embeddings"]
    result = tiny.yolor("export", written.weights["both"], *words[:2], *words[3:])
    assert result.exit_code == 0 and "takes away" not in result.stderr
    assert json.loads((tmp_path / "exp2/meta.json").read_text())["left_out"] == []


def test_labels_and_embeddings_of_a_file_are_scored(written):
    """Both files take images of one size; the network of the yolor dialect is tested on padded rectangles."""
    found = []
    for form in ("decoded", "raw"):
        done = tiny.yolor("test", written.files["both", form], "--data", written.data, "--json", "--no-save")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout))
    for key, name in (("multilabel", "mAP"), ("multilabel", "F1"), ("embedding", "mAP"), ("coco", "AP")):
        assert found[0][key][name] == pytest.approx(found[1][key][name], abs=1e-6)


def test_a_classifier_in_a_file_is_scored(written, tmp_path):
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in NAMES:
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(2):
                image = draw.integers(0, 256, (70, 80, 3), np.uint8)
                cv2.imwrite(str(tmp_path / "set" / split / name / f"{number}.png"), image)
    found = []
    for path in (written.weights["single"], written.files["single", "raw"]):
        done = tiny.yolor(
            "test", path, "--data", tmp_path / "set", "--json", "--project", tmp_path, "--name", path.stem
        )
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout)["classification"])
    for name in ("top1", "top5", "mAP", "F1"):
        assert found[0][name] == pytest.approx(found[1][name])
    made = {one.stem for one in (tmp_path / "model").iterdir()}
    assert {"labels_confusion_matrix", "labels_PR_curve", "labels_per_class"} <= made
