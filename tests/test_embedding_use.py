"""Embeddings of detections: through NMS, letterbox and engines, in files, and their figures in a test."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from yolor_cfg import Detector
from yolor_cfg.cli import main
from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.detect.nms import select_boxes
from yolor_cfg.engines.choice import installed_engines
from yolor_cfg.evaluate.embeddings import (
    FALSE_ACCEPT_RATES,
    accept_rates,
    average_precision,
    nearest_boxes,
    score_embeddings,
)
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.boxes import iou, to_xyxy
from yolor_cfg.weights.checkpoint import save_checkpoint

TEXT = (
    "[net]\nwidth=64\nheight=64\nchannels=3\ndialect=yolor\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=4\nstride=4\nactivation=leaky\n"
    "[convolutional]\nfilters=38\nsize=2\nstride=2\nactivation=linear\n"
    "[jde]\nmask=0,1,2\nnum=6\nanchors=8,8, 14,14, 20,20, 26,26, 32,32, 40,40\nclasses=6\nembedding=5\n"
    "[route]\nlayers=0\n[convolutional]\nfilters=38\nsize=4\nstride=4\nactivation=linear\n"
    "[jde]\nmask=3,4,5\nnum=6\nanchors=8,8, 14,14, 20,20, 26,26, 32,32, 40,40\nclasses=6\nembedding=5\n"
)


def save_weights(folder: Path) -> str:
    """A checkpoint of the network above with random weights."""
    torch.manual_seed(0)
    path = folder / "own.pt"
    network = Network(build_graph(parse(TEXT)))
    with torch.no_grad():
        for index in (1, 4):
            network.module_list[index].Conv2d.weight.mul_(4)
    save_checkpoint(network, path, names=["disc", "square", "triangle", "star", "ring", "cross"])
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = ShapesOptions(8, (48, 64), KINDS["identities"], val_count=6, identities=True)
    return write_shapes(tmp_path_factory.mktemp("data") / "set", wanted)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def pictures(data: Path) -> list[Path]:
    return sorted((data.parent / "images").glob("*.jpg"))[:3]


ENGINES = [
    pytest.param(name, marks=[] if name in ("torch", "native") else pytest.mark.slow)
    for name in installed_engines()
    if name != "compiled"
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("preprocess", ["letterbox", "stretch"])
def test_each_box_that_is_kept_has_the_vector_of_its_cell(
    weights: str, data: Path, preprocess: str, engine: str
) -> None:
    detector = Detector(weights, conf=0.2, preprocess=preprocess, engine=engine, batch_size=2)
    found = detector([str(path) for path in pictures(data)])
    assert sum(map(len, found)) > 20
    for path, one in zip(pictures(data), found, strict=True):
        item = detector.prepare(path)
        with torch.no_grad():
            raws = detector.network(torch.from_numpy(item.pixels)[None])
            predictions = detector.network.decode(raws)
        (_, kept), *_ = select_boxes(predictions, [item.placement], rules=detector.rules)
        wanted = detector.network.embeddings(raws)[0, kept.numbers]
        assert one.embeddings is not None and one.embeddings.shape == (len(one), 5)
        torch.testing.assert_close(one.embeddings, wanted, rtol=0, atol=1e-4)
    part = found[0][1:3]
    assert torch.equal(part.embeddings, found[0].embeddings[1:3])


def test_they_are_written_to_a_table_and_to_lines(weights: str, data: Path, tmp_path: Path) -> None:
    options = ["--save-embeddings", "--conf", "0.2", "--json", "--nosave", "--project", tmp_path]
    ran = run("detect", weights, *pictures(data), *options)
    assert ran.exit_code == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    with np.load(tmp_path / "exp/embeddings.npz") as table:
        columns = {name: table[name] for name in table.files}
    rows = [(line, one) for line in lines for one in line["detections"]]
    assert len(rows) == len(columns["embeddings"]) > 20 and columns["embeddings"].dtype == np.float32
    np.testing.assert_allclose(columns["embeddings"], [one["embedding"] for _, one in rows], atol=1e-6)
    np.testing.assert_allclose(columns["boxes_xyxy"], [one["box_xyxy"] for _, one in rows], atol=1e-3)
    assert columns["sources"].tolist() == [line["source"] for line, _ in rows]
    assert set(columns["frames"].tolist()) == {-1} and columns["classes"].tolist() == [
        one["class"] for _, one in rows
    ]
    assert (tmp_path / "exp/detections.jsonl").read_text() == ran.stdout
    plain = run(
        "detect", weights, *pictures(data), "--json", "--nosave", "--conf", "0.2", "--project", tmp_path
    )
    assert "embedding" not in plain.stdout and not (tmp_path / "exp2/embeddings.npz").exists()


def test_frames_of_a_video_and_nothing_found(weights: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 64))
    for shade in (0, 120, 250):
        video.write(np.full((64, 64, 3), shade, np.uint8))
    video.release()
    for conf, least in ((0.2, 1), (1, 0)):
        folder = tmp_path / str(conf)
        ran = run(
            "detect", weights, path, "--save-embeddings", "--conf", conf, "--nosave", "--output", folder
        )
        assert ran.exit_code == 0, ran.stderr
        with np.load(folder / "embeddings.npz") as table:
            assert table["embeddings"].shape == (len(table["frames"]), 5)
            assert len(table["frames"]) >= least and set(table["frames"].tolist()) <= {0, 1, 2}


def test_shards_write_them_into_their_lines(weights: str, data: Path, tmp_path: Path) -> None:
    common = ["--conf", "0.2", "--project", tmp_path, "--name", "s", "--save-embeddings"]
    for number in (1, 2):
        ran = run("detect", weights, *pictures(data), "--shard", f"{number}/2", *common)
        assert ran.exit_code == 0, ran.stderr
    assert run("unite", tmp_path / "s").exit_code == 0
    whole = run("detect", weights, *pictures(data), *common[:-3], "--json", "--nosave", "--save-embeddings")
    assert (tmp_path / "s/detections.jsonl").read_text() == whole.stdout
    with np.load(tmp_path / "s/embeddings.npz") as united, np.load(tmp_path / "exp/embeddings.npz") as one:
        assert {name: table.dtype for name, table in united.items()} == {
            name: table.dtype for name, table in one.items()
        }
        np.testing.assert_allclose(united["embeddings"], one["embeddings"], atol=1e-6)
        np.testing.assert_allclose(united["boxes_xyxy"], one["boxes_xyxy"], atol=1e-2)
        assert all(united[name].tolist() == one[name].tolist() for name in ("classes", "sources", "frames"))
    other = run("detect", weights, *pictures(data), "--shard", "1/2", *common[:-1])
    assert other.exit_code == 2 and "save_embeddings" in other.stderr


def test_a_network_without_them_is_refused(tmp_path: Path, data: Path) -> None:
    text = TEXT.replace("filters=38", "filters=33").replace("embedding=5\n", "")
    path = tmp_path / "plain.pt"
    save_checkpoint(Network(build_graph(parse(text))), path)
    ran = run("detect", path, *pictures(data), "--save-embeddings", "--project", tmp_path)
    assert ran.exit_code == 2 and "gives no embeddings" in ran.stderr and not (tmp_path / "exp").exists()
    assert Detector(str(path))(str(pictures(data)[0])).embeddings is None


# Figures


def drawn_rows(*, rounds: float, seed: int = 3) -> np.ndarray:
    """Image, identity and unit vector of 60 objects, four of them alone with their identity."""
    draw = np.random.default_rng(seed)
    who = np.concatenate([draw.integers(0, 7, 56), [90, 91, 92, 93]])
    centres = draw.normal(size=(94, 6))
    vectors = centres[who] + draw.normal(size=(60, 6)) * rounds
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.column_stack([draw.integers(0, 25, 60), who, vectors])


@pytest.mark.parametrize("rounds", [0.3, 1.0, 2.0])
def test_the_figures_are_those_of_scikit_learn(rounds: float) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rows = drawn_rows(rounds=rounds)
    images, who, vectors = rows[:, 0], rows[:, 1], rows[:, 2:].astype(np.float32)
    likeness = vectors @ vectors.T
    first, fifth, precisions, scores, same = [], [], [], [], []
    for i in range(60):
        others = [j for j in range(60) if images[j] != images[i]]
        right = np.array([who[j] == who[i] for j in others])
        values = likeness[i, others]
        pairs = [j > i for j in others]
        scores += values[pairs].tolist()
        same += right[pairs].tolist()
        if right.any():
            order = np.argsort(-values, kind="stable")
            first.append(right[order[0]])
            fifth.append(right[order[:5]].any())
            precisions.append(metrics.average_precision_score(right, values))
    found = score_embeddings(rows)
    assert (found.objects, found.identities) == (60, len(set(who)))
    assert (found.rank1, found.rank5) == (pytest.approx(np.mean(first)), pytest.approx(np.mean(fifth)))
    assert found.map == pytest.approx(np.mean(precisions), abs=1e-9)
    false, true, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    top = {f: t for f, t in zip(false.tolist(), true.tolist(), strict=True)}  # the last one is the top
    wanted = np.interp(FALSE_ACCEPT_RATES, list(top), list(top.values()))
    np.testing.assert_allclose(found.accepted, wanted, atol=1e-9)


def test_equal_scores_count_at_once() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, hits = np.array([0.9, 0.5, 0.5, 0.5, 0.1], np.float32), np.array([0, 1, 0, 1, 1], bool)
    assert average_precision(scores, hits) == pytest.approx(metrics.average_precision_score(hits, scores))
    false, true, _ = metrics.roc_curve(hits, scores, drop_intermediate=False)
    wanted = np.interp(0.1, *map(list, zip(*dict(zip(false, true, strict=True)).items(), strict=True)))
    assert accept_rates(scores, hits)[0] == pytest.approx(wanted)


def test_objects_of_one_image_are_not_compared_and_lone_ones_ask_for_nothing() -> None:
    vectors = np.eye(3)[[0, 0, 1, 2]]
    rows = np.column_stack([[0, 0, 1, 2], [5, 5, 6, 7], vectors])
    found = score_embeddings(rows)
    assert np.isnan([found.rank1, found.map, *found.accepted]).all() and found.ranking == 0
    rows[1, 0] = 3
    assert score_embeddings(rows).rank1 == 1


def test_the_nearest_box_is_that_of_the_largest_iou() -> None:
    draw = np.random.default_rng(0)
    truth, boxes = draw.uniform(1, 20, (6, 4)), draw.uniform(1, 20, (80, 4))
    wanted = iou(to_xyxy(torch.from_numpy(truth))[:, None], to_xyxy(torch.from_numpy(boxes))[None]).argmax(1)
    assert nearest_boxes(truth, boxes).tolist() == wanted.tolist()
    boxes[3] = np.inf
    assert nearest_boxes(truth, boxes).max() < 80


def test_a_test_reports_them(weights: str, data: Path) -> None:
    ran = run("test", weights, "--data", data, "--json", "--no-save")
    assert ran.exit_code == 0, ran.stderr
    document = json.loads(ran.stdout)["embedding"]
    assert document["objects"] > 5 and set(document["tar_at_far"]) == {f"1e-{k}" for k in range(1, 7)}
    table = run("test", weights, "--data", data, "--no-save").stdout
    assert "rank-1" in table and "TAR@FAR 0.1" in table
    assert "no identities" not in ran.stderr


def test_a_test_without_identities_says_that_embeddings_are_not_scored(
    weights: str, data: Path, tmp_path: Path
) -> None:
    other = tmp_path / data.parent.name
    shutil.copytree(data.parent, other)
    for path in other.rglob("shape*.txt"):
        lines = (line.split() for line in path.read_text().splitlines())
        path.write_text("".join(" ".join([one[0], "-1", *one[2:]]) + "\n" for one in lines))
    ran = run("test", weights, "--data", other / data.name, "--json", "--no-save")
    assert (ran.exit_code, "embedding" in json.loads(ran.stdout)) == (0, False), ran.stderr
    assert "no identities here: embeddings are not scored" in ran.stderr
