"""Evaluation of a network on a data set, in one process and in two."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny
import torch
from launching import processes

from yolor_cfg.data.types import Dataset, Sample
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.batches import FitOptions, ImagePlan, prepare
from yolor_cfg.evaluate.run import EvalSettings, collect_detections, evaluate
from yolor_cfg.model import Network
from yolor_cfg.weights.loading import load

SIZES = ((50, 70), (64, 96), (90, 40), (120, 130), (33, 90))
NAMES = ("a", "b", "c")
HERE = Path(__file__).parent
TRUE_ABOVE = 0.3
NOTHING = [np.zeros((0, 6))] * len(SIZES)
SQUARE = "height=96\nwidth=96\n"
# What each of the processes runs.
TWO = f"""
import json, pickle, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import torch
from launching import processes
torch.set_num_threads(1)
from yolor_cfg.parallel import process_group
from yolor_cfg.evaluate.run import EvalSettings, evaluate
from yolor_cfg.weights.loading import load
folder, cfg, weights = sys.argv[1:]
dataset = pickle.load(open(folder + "/dataset.pickle", "rb"))
with process_group("cpu") as rank:
    network = load(cfg, weights, dialect="yolor")
    scores = evaluate(network, dataset, settings=EvalSettings(batch_size=2, darknet=True))
    open(f"{{folder}}/scores{{rank.rank}}.pickle", "wb").write(pickle.dumps(scores))
"""


def write_images(folder: Path) -> list[Path]:
    return [tiny.save(folder / f"p{i}.png", tiny.photo(*size, seed=i)) for i, size in enumerate(SIZES)]


def self_made(folder: Path, detector: Detector) -> Dataset:
    """Images whose true boxes are the detector's own confident detections, clipped to the image."""
    paths = write_images(folder)
    rows = []
    for path, (height, width) in zip(paths, SIZES, strict=True):
        found = detector([path])[0]
        corners = found.boxes_xyxy.double().numpy().clip(0, [width, height] * 2)
        corner, far = corners[:, :2], corners[:, 2:]
        rows.append(np.column_stack([corner, far - corner, found.scores, found.classes]))
    return with_truth(paths, rows, above=TRUE_ABOVE)


def with_truth(paths: Sequence[Path], found: Sequence[np.ndarray], *, above: float) -> Dataset:
    """The images with all detections above a score: left, top, width, height, score, class.

    Boxes are cut off at the image, and what nothing is left of overlaps nothing, so it is no truth.
    """
    samples = []
    for path, rows, (height, width) in zip(paths, found, SIZES, strict=True):
        sure = rows[(rows[:, 4] > above) & (rows[:, 2:4] > 0.05).all(1)]
        boxes = np.concatenate([sure[:, :2] + sure[:, 2:4] / 2, sure[:, 2:4]], axis=1)
        fractions = (boxes / [width, height, width, height]).astype(np.float32)
        count = len(sure)
        samples.append(
            Sample(
                str(path),
                fractions,
                sure[:, 5].astype(int),
                np.full(count, -1),
                np.zeros(count, bool),
                sure[:, 2:4].prod(1),
                path.stem,
                (height, width),
                np.zeros(count, bool),
            )
        )
    return Dataset(NAMES, tuple(samples), "made here", "test")


@pytest.fixture
def files(tmp_path: Path) -> tiny.Files:
    torch.set_num_threads(2)
    return tiny.write(tmp_path, tiny.text())


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_a_network_that_equals_the_ground_truth_scores_1(
    files: tiny.Files, tmp_path: Path, dialect: str
) -> None:
    detector = Detector(*files, dialect=dialect, conf=0.001, iou=0.65, multi_label=True)
    dataset = self_made(tmp_path, detector)
    assert sum(len(sample.classes) for sample in dataset.samples) > 20
    settings = EvalSettings(rectangles=False, batch_size=3)
    scores = evaluate(load(*files, dialect=dialect), dataset, settings=settings)
    assert scores.coco.numbers["AR100"] == pytest.approx(1, abs=1e-6)
    if dialect == "darknet":  # something is left of each box
        assert scores.ap == pytest.approx(1, abs=1e-6)
        assert scores.classes.mean.map50 > 0.99
    assert scores.images == len(SIZES)
    assert scores.speed is not None and min(scores.speed) > 0


def test_the_mode_of_all_modules_is_restored(files: tiny.Files, tmp_path: Path) -> None:
    dataset = self_made(tmp_path, Detector(*files, dialect="darknet"))
    network = load(*files, dialect="darknet").train()
    network.module_list[0].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluate(network, dataset)
    assert network.training and not network.module_list[0].training and network.module_list[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_batch_size_changes_nothing_without_rectangles(files: tiny.Files, tmp_path: Path) -> None:
    dataset = self_made(tmp_path, Detector(*files, dialect="yolor"))
    network = load(*files, dialect="yolor")
    one, many = (
        collect_detections(network, dataset, settings=EvalSettings(batch_size=n, rectangles=False))
        for n in (1, 5)
    )
    assert one is not None and many is not None
    np.testing.assert_allclose(one.detections, many.detections, atol=2e-3)


def test_unreadable_images_are_reported_and_left_out_of_the_scores(files: tiny.Files, tmp_path: Path) -> None:
    detector = Detector(*files, dialect="darknet", conf=0.001, iou=0.65, multi_label=True)
    dataset = self_made(tmp_path, detector)
    path = Path(dataset.samples[1].image)
    path.write_bytes(path.read_bytes()[:100])
    scores = evaluate(load(*files, dialect="darknet"), dataset)
    assert scores.ap == pytest.approx(1, abs=1e-6)
    assert scores.images == len(SIZES) - 1
    assert len(scores.skipped) == 1 and str(path) in scores.skipped[0]
    for sample in dataset.samples:
        Path(sample.image).unlink()
    with pytest.raises(DataError, match="no image could be read"):
        evaluate(load(*files, dialect="darknet"), dataset)


def test_a_data_set_with_another_number_of_classes_is_refused(files: tiny.Files, tmp_path: Path) -> None:
    dataset = self_made(tmp_path, Detector(*files, dialect="darknet"))._replace(names=("a", "b"))
    with pytest.raises(DataError, match="number of classes"):
        evaluate(load(*files, dialect="darknet"), dataset)


def square_network(folder: Path) -> tuple[tiny.Files, Network]:
    (folder / "square").mkdir()
    files = tiny.write(folder / "square", tiny.text().replace("height=64\nwidth=96\n", SQUARE))
    return files, load(*files, dialect="yolor")


@pytest.mark.parametrize("size", [(50, 70), (200, 90), (31, 32)])
def test_a_box_in_the_rectangle_is_mapped_back(tmp_path: Path, size: tuple[int, int]) -> None:
    _, network = square_network(tmp_path)
    image = np.zeros((*size, 3), np.uint8)
    top, bottom, left, right = 10, 30, 12, 28
    image[top:bottom, left:right] = 255
    path = tiny.save(tmp_path / "box.png", image)
    empty = np.zeros(0, int)
    sample = Sample(str(path), np.zeros((0, 4), np.float32), *[empty] * 4, 1, size, empty)
    inputs = (128, 192) if size[0] < size[1] else (192, 128)
    item = prepare(sample, network.graph, plan=ImagePlan(0, inputs), fit=FitOptions("letterbox"))
    assert item.pixels.shape == (3, *inputs)
    rows, columns = (np.flatnonzero((item.pixels[0] > 0.6).any(axis=axis)) for axis in (1, 0))
    corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
    centre, extent = (corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]
    back = item.placement.to_image(np.concatenate([centre, extent])[None])[0]
    np.testing.assert_allclose(back, [left, top, right, bottom], atol=1.6 * max(size) / 96)


def test_boxes_for_coco_are_cut_at_the_border_in_the_darknet_dialect_and_those_of_its_map_are_not(
    tmp_path: Path,
) -> None:
    """detector.c 478 (print_cocos): xmin, ymin at least 0, xmax, ymax at most the size of the image."""
    cfg, weights = tiny.write(tmp_path, tiny.text())
    dataset = with_truth(write_images(tmp_path), NOTHING, above=1)
    settings = EvalSettings(darknet=True, conf=0.005, iou=0.45, max_det=1000)
    collected = collect_detections(load(cfg, weights, dialect="darknet"), dataset, settings=settings)
    assert collected is not None and collected.darknet is not None
    found, whole = collected.detections, collected.darknet
    height, width = np.array(SIZES)[whole[:, 0].astype(int)].T
    low, high = whole[:, 1:3], whole[:, 1:3] + whole[:, 3:5]
    assert (low < -1).any() and (high > np.stack([width, height], axis=1) + 1).any()
    left, top = np.maximum(low, 0).T
    right, bottom = np.minimum(high[:, 0], width), np.minimum(high[:, 1], height)
    cut = np.stack([left, top, right - left, bottom - top], axis=1)
    seen = (cut[:, 2:] > 0).all(axis=1) & (found[:, 3:5] > 0).all(axis=1)
    np.testing.assert_allclose(found[seen, 1:5], cut[seen], atol=1.1e-3)


def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    files, network = square_network(tmp_path)
    settings = EvalSettings(batch_size=2, darknet=True)
    first = collect_detections(
        network, with_truth(paths := write_images(tmp_path), NOTHING, above=1), settings=settings
    )
    assert first is not None
    found = [first.detections[first.detections[:, 0] == image, 1:] for image in range(len(SIZES))]
    dataset = with_truth(paths, found, above=float(np.quantile(first.detections[:, 5], 0.95)))
    (tmp_path / "dataset.pickle").write_bytes(pickle.dumps(dataset))
    alone = evaluate(network, dataset, settings=settings)
    assert alone.coco.numbers["AR100"] == pytest.approx(1, abs=1e-6)
    assert alone.objects > 20 and 0 < alone.darknet.map < 1
    processes(TWO, tmp_path, *files, world=2)
    for number in (0, 1):
        scores = pickle.loads((tmp_path / f"scores{number}.pickle").read_bytes())
        assert scores.coco.numbers == pytest.approx(alone.coco.numbers, abs=1e-6)
        assert scores.darknet.map == pytest.approx(alone.darknet.map, abs=1e-6)
        assert (scores.images, scores.detections) == (alone.images, alone.detections)
