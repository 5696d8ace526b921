"""The classifiers that people wrote: each is taken by `detect` and by the start of training."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import training
from golden import SHARED

from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import load_graph
from yolor_cfg.images.fit import default_preprocess, preprocess_image
from yolor_cfg.model import Network, check_heads
from yolor_cfg.shape import Shape
from yolor_cfg.train.run import start_run
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import prepare_job

INDEX = SHARED / "corpus" / "index.csv"
ROWS = list(csv.DictReader(INDEX.open(encoding="utf-8"))) if INDEX.exists() else []
FILES = [SHARED / "corpus/cfg" / row["file"] for row in ROWS if row["task"] == "classification"]
TOLD = {
    "pjreddie__darknet__resnext152-32x4d__59c82f7.cfg": "a merge-conflict marker",
    "pjreddie__darknet__rbms__4cb0020.cfg": "no head that can be trained",
    "pjreddie__darknet__writing__9b15df5.cfg": "no head that can be trained",
    "pjreddie__darknet__writing__ebee3ed.cfg": "no head that can be trained",
}
"""The one that is damaged, and those that tell no classes: restricted Boltzmann machines, and pen strokes."""
STAND_IN = "root -1\n" + "".join(f"n{number} 0\n" for number in range(9417))
"""A tree for the one file that names one, which is not in the corpus."""
TAKEN = [path for path in FILES if path.name not in TOLD]
SMALL = [
    path for path in TAKEN if any(word in path.name for word in ("cifar", "go.test__7", "nist__9", "chess"))
]


def data_for(folder: Path, classes: int, image: Shape) -> Path:
    """Images of so many classes, as Darknet's classifiers are given them."""
    suffix = ".png" if image.channels in (1, 3) else ".npy"
    for number in range(min(4, classes)):
        rng, shape = (
            np.random.default_rng(number),
            (image.height + 5, image.width + 2, max(3, image.channels)),
        )
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        path = folder / f"c{number}_{suffix}"
        np.save(path, pixels) if suffix == ".npy" else cv2.imwrite(str(path), pixels)
    (folder / "images.list").write_text("".join(f"{path.name}\n" for path in sorted(folder.glob("c*_.*"))))
    (folder / "labels.list").write_text("".join(f"c{number}_\n" for number in range(classes)))
    text = "train = images.list\nvalid = images.list\nlabels = labels.list\n"
    (folder / "some.data").write_text(f"classes = {classes}\n{text}")
    return folder / "some.data"


def options_of(path: Path, folder: Path) -> TrainOptions:
    graph = load_graph(path)
    data = data_for(folder, graph.classes, graph.image)
    return TrainOptions(str(path), str(data), max_batches=1, batch_size=2, update_batch=2, workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.name)
def test_a_classifier_gives_labels_and_can_be_trained(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/9k.tree").write_text(STAND_IN)
    said = options_of(path, tmp_path)
    job = prepare_job(said)
    graph = job.graph
    batch = next(job.find_phase(0).loader.epoch(0))
    assert batch.truth is not None and batch.truth.shape[1] == graph.classes
    assert (batch.truth.sum(dim=1) - 1).abs().max() < 1e-5
    assert tuple(batch.images.shape[1:]) == tuple(graph.image) and default_preprocess(graph) == "crop"
    image = np.zeros((40, 70, graph.image.channels), np.uint8)
    assert preprocess_image(image, graph, how="crop").pixels.shape == tuple(graph.image)
    with torch.device("meta"):
        network = Network(graph).eval()
        check_heads(network)
        labels = network.labels(network(torch.rand(2, *graph.image)))
    assert labels is not None and labels.shape == (2, graph.classes)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_a_small_one_is_run_and_trained_for_a_step(path: Path, tmp_path: Path) -> None:
    said = options_of(path, tmp_path)
    outcome = start_run(
        said._replace(no_val=True), project=str(tmp_path), name="exp", drawing=training.DRAWING, say=len
    )
    assert outcome.state.updates == 1 and outcome.state.rows[0]["labels"] > 0
    found = Detector(outcome.folder / "weights/best.pt")(next(tmp_path.glob("c0_.*")))
    assert found.labels and len(found.labels) == min(5, outcome.job.graph.classes)


@pytest.mark.skipif(not FILES, reason="the corpus is not here")
def test_what_tells_no_classes_is_refused_by_a_message(tmp_path: Path) -> None:
    for name, message in TOLD.items():
        path = SHARED / "corpus/cfg" / name
        with pytest.raises(CfgError, match=message):
            graph = load_graph(path)
            said = TrainOptions(str(path), str(data_for(tmp_path, 2, Shape(3, 8, 8))), batch_size=2)
            prepare_job(said, graph=graph)
    assert len(FILES) == 63 and len(TAKEN) == 59
