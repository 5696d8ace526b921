"""COCO's 12 metrics and the AP of each category, from arrays, by pycocotools, hotcoco or faster-coco-eval.

pycocotools is the reference; the others give its numbers (tests/test_evaluate_coco.py).

Legend: N images, K classes, D detections; in `precision` T IoUs, R recalls, A areas, M detection limits.
"""

from __future__ import annotations

import contextlib
import io
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COCO_DESCRIPTIONS = {
    "AP": ("AP", "0.50:0.95", "all", 100),
    "AP50": ("AP", "0.50", "all", 100),
    "AP75": ("AP", "0.75", "all", 100),
    "APs": ("AP", "0.50:0.95", "small", 100),
    "APm": ("AP", "0.50:0.95", "medium", 100),
    "APl": ("AP", "0.50:0.95", "large", 100),
    "AR1": ("AR", "0.50:0.95", "all", 1),
    "AR10": ("AR", "0.50:0.95", "all", 10),
    "AR100": ("AR", "0.50:0.95", "all", 100),
    "ARs": ("AR", "0.50:0.95", "small", 100),
    "ARm": ("AR", "0.50:0.95", "medium", 100),
    "ARl": ("AR", "0.50:0.95", "large", 100),
}
"""For each of COCO's numbers: precision or recall, IoU, box sizes, and the most detections per image."""
CATEGORY_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
ENGINES = ("auto", "pycocotools", "hotcoco", "faster")
PACKAGES = {"pycocotools": "pycocotools", "hotcoco": "hotcoco", "faster": "faster_coco_eval"}
OLDEST_HOTCOCO = (1, 3)  # the first that takes the ground truth as arrays (COCO.from_arrays)
ABSENT = -1.0
"""What COCO's tools return if the ground truth has no such boxes."""
ID_SHIFT = np.array([1, 0, 0, 0, 0, 0, 1])
"""What makes ids of the indices of image and class in a row of detections."""
ANY_AREA, MOST_DETECTIONS = 0, 2
"""Indices into pycocotools' tables: boxes of all sizes; the 100 best detections per image."""


class CocoScores(NamedTuple):
    """`numbers` by name; `categories` [K, 6] has a column for each of CATEGORY_METRICS. -1 means that the
    ground truth has no such boxes. `engine` is the library used."""

    numbers: dict[str, float]
    categories: Doubles
    engine: str


def score_coco(ground: GroundTruth, detections: Doubles, *, engine: str = "auto") -> CocoScores:
    """The scores of detections [D, 7] over all images of the ground truth, also those without detections.

    Prints nothing and writes no file. `auto` uses the fastest engine that is installed; the results are the
    same.
    """
    engine = choose_engine(engine)
    ground, detections = _sort_images(ground, detections)
    make_judge = _judge_arrays if engine == "hotcoco" else _judge_records
    with contextlib.redirect_stdout(io.StringIO()):
        judge = make_judge(ground, detections, engine=engine)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    values = [float(value) for value in judge.stats[: len(METRICS)]]
    return CocoScores(
        dict(zip(METRICS, values, strict=True)), _category_metrics(judge.eval["precision"]), engine
    )


def choose_engine(engine: str) -> str:
    """The name of an engine that is installed: `auto` is hotcoco, else faster-coco-eval (`faster`), else
    pycocotools. Raises MissingExtra for one that is requested but not installed."""
    if engine not in ENGINES:
        raise CfgError("unknown engine", found=engine, allowed=ENGINES)
    wanted = ("hotcoco", "faster") if engine == "auto" else (engine,)
    found = next((name for name in wanted if _is_installed(name)), None)
    if found is None and engine == "faster":
        raise MissingExtra(package="faster-coco-eval")
    if found is None and engine == "hotcoco":
        raise MissingExtra("eval")
    return found or "pycocotools"


def _is_installed(engine: str) -> bool:
    if find_spec(PACKAGES[engine]) is None:
        return False
    if engine != "hotcoco":
        return True
    numbers = [int(part) for part in version("hotcoco").split(".")[:2] if part.isdecimal()]
    return tuple(numbers) >= OLDEST_HOTCOCO


def engine_line(scores: CocoScores) -> str:
    """Which library computed COCO's metrics, in one line."""
    package = PACKAGES[scores.engine].replace("_", "-")
    other = "" if scores.engine == "pycocotools" else "; --scorer pycocotools for the reference"
    return f"COCO's metrics by {package} {version(package)}{other}"


def _judge_records(ground: GroundTruth, detections: Doubles, *, engine: str) -> Any:
    """The evaluator of pycocotools or faster-coco-eval, which take a dict for each box."""
    is_faster = engine == "faster"
    home = import_module("faster_coco_eval" if is_faster else "pycocotools.coco")
    judge = home.COCOeval_faster if is_faster else import_module("pycocotools.cocoeval").COCOeval
    truth = _to_coco_truth(home.COCO(), ground)
    return judge(truth, _to_coco_detections(truth, home.COCO(), detections=detections), "bbox")


def _judge_arrays(ground: GroundTruth, detections: Doubles, *, engine: str) -> Any:
    """The evaluator of hotcoco, which takes arrays."""
    home = import_module(engine)
    truth = home.COCO.from_arrays(
        *_list_ids(ground),
        ground.images + 1,
        ground.classes + 1,
        ground.boxes_ltwh,
        area=ground.areas,
        iscrowd=ground.crowd.astype(np.int64),
    )
    return home.COCOeval(truth, truth.load_res(detections + ID_SHIFT), "bbox")


def _list_ids(ground: GroundTruth) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images and the categories as COCO's tools list them, with ids from 1."""
    images = [{"id": i + 1, "height": h, "width": w} for i, (h, w) in enumerate(ground.sizes.tolist())]
    return images, [{"id": i + 1, "name": name} for i, name in enumerate(ground.names)]


def _sort_images(ground: GroundTruth, detections: Doubles) -> tuple[GroundTruth, Doubles]:
    """Both with the images numbered by rising id, as pycocotools takes them: of equal scores the detection in
    the first image ranks first."""
    ids = ground.image_ids
    order = sorted(range(len(ids)), key=lambda image: (isinstance(ids[image], str), ids[image]))
    places = np.empty(len(ids), dtype=np.int64)
    places[order] = np.arange(len(ids))
    detections = detections.copy()
    detections[:, 0] = places[detections[:, 0].astype(np.int64)]
    return ground._replace(sizes=ground.sizes[order], images=places[ground.images]), detections


def _to_coco_truth(coco: Any, ground: GroundTruth) -> Any:
    """The ground truth as a COCO object. Ids start at 1: its matching takes annotation id 0 for no match."""
    columns = (ground.images, ground.classes, ground.boxes_ltwh, ground.areas, ground.crowd)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    images, categories = _list_ids(ground)
    coco.dataset = {
        "images": images,
        "categories": categories,
        "annotations": [
            {
                "id": i + 1,
                "image_id": image + 1,
                "category_id": label + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for i, (image, label, box, area, crowd) in enumerate(rows)
        ],
    }
    coco.createIndex()
    return coco


def _to_coco_detections(truth: Any, empty: Any, *, detections: Doubles) -> Any:
    """The detections as a COCO object; pycocotools' `loadRes` fails on an empty list."""
    if len(detections):
        return truth.loadRes(detections + ID_SHIFT)
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _category_metrics(precision: NDArray[np.float64]) -> Doubles:
    """[K, 6] from precision [T, R, K, A, M]; the IoUs are 0.5, 0.55 ... 0.95."""
    best = precision[..., MOST_DETECTIONS]
    all_areas = best[..., ANY_AREA]
    tables = [all_areas, all_areas[0:1], all_areas[5:6], best[..., 1], best[..., 2], best[..., 3]]
    return np.stack([_present_means(table) for table in tables], axis=1)


def _present_means(table: NDArray[np.float64]) -> Doubles:
    """[K] means of [T, R, K], ignoring the -1 of absent entries."""
    there = table > ABSENT
    count = there.sum(axis=(0, 1))
    total = np.where(there, table, 0).sum(axis=(0, 1))
    return np.where(count > 0, total / np.maximum(count, 1), ABSENT)
