"""A test of a class tree ranks its leaves alone, or the classes that `leaves=` of a .data file names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg import Detector
from yolor_cfg.data.kinds import add_kind_notes
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset, Sample
from yolor_cfg.data.union import GivenData, select_part, unite
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.scores import score_label_heads
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import save_checkpoint

CLASSES = ("animal", "thing", "cat", "dog", "bird", "poodle", "pug", "cup")
PARENTS = (-1, -1, 0, 0, 0, 3, 3, 1)
LEAVES = ("cat", "bird", "poodle", "pug", "cup")
CFG = (
    "[net]\nheight=8\nwidth=8\nchannels=3\nbatch=4\nlearning_rate=.01\nmax_batches=4\n"
    "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=linear\n[avgpool]\n[softmax]\n"
)
KEYS = "classes = 8\ntrain = all.list\nvalid = all.list\nlabels = all.labels\nnames = all.names\ntop = 2\n"


def c_accuracies(
    given: np.ndarray, wanted: list[int], leaves: tuple[str, ...], k: int
) -> tuple[float, float]:
    """validate_classifier_single in classifier.c, with change_leaves and hierarchy_predictions of tree.c and
    top_k of utils.c, for the probabilities `given` [N, K] of classes given their parents."""
    leaf = [name in leaves if leaves else number not in PARENTS for number, name in enumerate(CLASSES)]
    first = among = 0
    for row, class_id in zip(given.astype(np.float32), wanted, strict=True):
        predictions = row.copy()
        for j, parent in enumerate(PARENTS):
            if parent >= 0:
                predictions[j] *= predictions[parent]
        for j, is_leaf in enumerate(leaf):
            if not is_leaf:
                predictions[j] = 0
        indexes = [-1] * k
        for i in range(len(predictions)):
            current = i
            for j in range(k):
                if indexes[j] < 0 or (current >= 0 and predictions[current] > predictions[indexes[j]]):
                    current, indexes[j] = indexes[j], current
                    if current < 0:
                        break
        first += indexes[0] == class_id
        among += class_id in indexes
    return first / len(wanted), among / len(wanted)


def write_tree(folder: Path, *, ending: str = "tree=t.tree\n") -> Path:
    """A cfg that ends in a class tree; the images of a data set of its classes, and their lists."""
    (folder / "t.tree").write_text("".join(f"{n} {p}\n" for n, p in zip(CLASSES, PARENTS, strict=True)))
    (folder / "tree.cfg").write_text(CFG.format(8) + ending)
    rng, paths = np.random.default_rng(5), []
    for number in range(24):
        paths.append(f"{number:02d}_{CLASSES[number % 8]}.png")
        cv2.imwrite(str(folder / paths[-1]), rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    (folder / "all.list").write_text("".join(f"{path}\n" for path in paths))
    (folder / "all.labels").write_text("".join(f"_{name}.\n" for name in CLASSES))
    (folder / "all.names").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "tree.data").write_text(KEYS)
    return folder / "tree.data"


def add_leaves(data: Path, *names: str) -> Path:
    """The .data file with a list of leaves."""
    (data.parent / "some.leaves").write_text("".join(f"{name}\n" for name in names))
    other = data.with_name("leaves.data")
    other.write_text(KEYS + "leaves = some.leaves\n")
    return other


def tree_graph(folder: Path) -> Graph:
    return build_graph(parse((folder / "tree.cfg").read_text(), str(folder / "tree.cfg")))


def save_weights(folder: Path) -> Path:
    """Random weights, far enough from 0 that classes differ."""
    torch.manual_seed(2)
    network = Network(tree_graph(folder))
    for parameter in network.parameters():
        parameter.data.mul_(20)
    save_checkpoint(network, folder / "tree.pt", names=CLASSES)
    return folder / "tree.pt"


def labeled(wanted: list[int], **more: object) -> Dataset:
    """A data set of these classes, without images."""
    none = np.zeros(0, np.int64)
    boxes = np.zeros((0, 4), np.float32)
    samples = tuple(
        Sample(
            f"{n}.png", boxes, none, none, none > 0, boxes[:, 0], n, (8, 8), none > 0, labels=np.array([k])
        )
        for n, k in enumerate(wanted)
    )
    return Dataset(CLASSES, samples, "x.data", "darknet", has_boxes=False)._replace(**more)


@pytest.mark.parametrize("leaves", [(), ("dog", "cup", "strange"), ("animal", "cat", "pug")])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_accuracies_are_those_of_c_darknet(tmp_path, leaves, k):
    write_tree(tmp_path)
    graph = tree_graph(tmp_path)
    layer = Network(graph).module_list[-1].eval()
    x = 2 * torch.randn(200, 8, 1, 1, generator=torch.Generator().manual_seed(k))
    given, absolute = layer(x)[:, :, 0, 0], layer.label_scores(layer(x))
    wanted = np.random.default_rng(k).integers(0, 8, 200).tolist()
    rows = np.column_stack([np.arange(200), absolute.numpy().astype(float)])
    (found,) = score_label_heads(graph, labeled(wanted, leaves=leaves, top=k), rows)
    assert (found.top1, found.top) == pytest.approx(c_accuracies(given.numpy(), wanted, leaves, k), abs=1e-12)
    unranked = [n for n, name in enumerate(CLASSES) if name not in (leaves or LEAVES)]
    assert found.confusion[:, [n for n in unranked if n > 0]].sum() == 0


def test_the_command_and_a_training_rank_the_leaves(tmp_path):
    data = write_tree(tmp_path)
    weights, some = save_weights(tmp_path), add_leaves(data, "dog", "cup")
    network = Detector(tmp_path / "tree.cfg", weights)
    images = [tmp_path / line for line in (tmp_path / "all.list").read_text().split()]
    for file, ranked in ((data, LEAVES), (some, ("dog", "cup"))):
        result = tiny.yolor("test", tmp_path / "tree.cfg", weights, "--data", file, "--json", "--no-save")
        assert result.exit_code == 0, result.stderr
        said = f"the class of {24 - 3 * len(ranked)} of 24 images is no leaf of the class tree"
        assert said in result.stderr
        scores = json.loads(result.stdout)["classification"]
        best = []
        for path in images:  # the five best of all classes have one that is ranked: checked by `next`
            labels = network(path).labels
            best.append(next(one.name for one in labels if one.name in ranked))
        right = [path.stem.endswith(f"_{name}") for path, name in zip(images, best, strict=True)]
        assert scores["top1"] == pytest.approx(np.mean(right))
        for row in scores["per_class"]:  # three images are of each class
            own = sum(name == row["name"] for name, good in zip(best, right, strict=True) if good)
            assert row["R"] == pytest.approx(own / 3) and (row["P"] == 0 or row["name"] in ranked)
    said = training.options(tmp_path, some, text=(tmp_path / "tree.cfg").read_text(), epochs=2, val_period=1)
    done = training.run(said, tmp_path / "runs")
    last = done.folder / "weights/last.pt"
    row = list(csv.DictReader((done.folder / "results.csv").open()))[-1]
    result = tiny.yolor("test", tmp_path / "tree.cfg", last, "--data", some, "--json", "--no-save")
    scores = json.loads(result.stdout)["classification"]
    assert (scores["top1"], scores["top2"]) == pytest.approx((float(row["top1"]), float(row["topk"])))
    assert scores["top2"] == pytest.approx(2 / 8)  # the two that are ranked are the best two of each image


def test_detect_shows_classes_above_leaves_too(tmp_path):
    """predict_classifier in classifier.c: hierarchy_predictions with only_leaves = 0."""
    write_tree(tmp_path)
    labels = Detector(tmp_path / "tree.cfg", save_weights(tmp_path))(tmp_path / "00_animal.png").labels
    assert labels[0].name in ("animal", "thing") and labels[0].score >= labels[1].score


def test_what_leaves_do_not_fit_is_said(tmp_path):
    data = write_tree(tmp_path)
    graph = tree_graph(tmp_path)
    reasons = [
        [note.reason for note in add_kind_notes(open_data(file, caches=False), one).problems]
        for one in (graph, build_graph(parse(CFG.format(8))))
        for file in (data, add_leaves(data, "cat", "wolf"))
    ]
    assert reasons[0] == [
        "the class of 9 of 24 images is no leaf of the class tree: in a test that is always wrong"
    ]
    assert reasons[1][-1] == "1 of 2 lines of leaves= are not in the class tree: wolf"
    assert reasons[2:] == [[], ["leaves= is not used: the network has no class tree"]]
    with pytest.raises(DataError, match="leaves: none of these is in the class tree") as caught:
        add_kind_notes(open_data(add_leaves(data, "wolf", "fox"), caches=False), graph)
    assert caught.value.found == "wolf, fox"
    data.write_text(KEYS + "leaves = nowhere\n")
    with pytest.raises(DataError, match="leaves: no such file or folder"):
        open_data(data, caches=False)


def test_each_of_several_data_sets_has_its_own_leaves(tmp_path):
    data = write_tree(tmp_path)
    files = [data, add_leaves(data, "dog")]
    sets = [open_data(file, caches=False) for file in files]
    whole = unite(sets, [GivenData(str(file)) for file in files], {"": CLASSES})
    assert [select_part(whole, part).leaves for part in whole.parts] == [(), ("dog",)]
