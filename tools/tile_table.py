"""Prints the table of docs/watch.md: the AP on drawn scenes of 2048 x 2048 pixels, resized, in
tiles, and with boxes merged by IoU alone.

    python tools/tile_table.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolor_cfg import Detector
from yolor_cfg.data.shapes import NAMES, DrawnImage, ObjectOptions, draw_shapes
from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.tiles import AreaBoxes, merge_areas, move_boxes
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth, detection_rows
from yolor_cfg.evaluate.results import round_detections
from yolor_cfg.evaluate.scores import score_detections
from yolor_cfg.images.tiles import TiledImage, TileRules, tile_image

WEIGHTS = Path(__file__).parents[1] / "weights/yolor_nano_shapes.pt"
SIDE, SCENES = 2048, 6
KINDS = {
    "small": ObjectOptions((9 / SIDE, 22 / SIDE), most=80, has_class_colors=True),
    "mixed": ObjectOptions((9 / SIDE, 200 / SIDE), most=50, has_class_colors=True),
}
"""Radii from 9 pixels: the network takes 192 x 192 pixels and learned radii from 10 to 46."""
RULES = NmsRules(conf=0.01, iou=0.5)
REPORTED = 0.25


class TableWay(NamedTuple):
    """How large images are seen; `merge` makes one list of the boxes of all areas."""

    name: str
    overlap: float
    has_whole: bool
    is_plain: bool = False


TABLE_WAYS = (
    TableWay("resized to the network's input, no tiles", -1, True),
    TableWay("tiles, overlap 0.2, NMS by IoU alone", 0.2, True, True),
    *(TableWay(f"tiles, overlap {overlap:g}", overlap, True) for overlap in (0.0, 0.1, 0.2, 0.3)),
    TableWay("tiles, overlap 0.2, without the whole image", 0.2, False),
)


def draw(kind: str) -> list[DrawnImage]:
    """The scenes."""
    size, options = (SIDE, SIDE), KINDS[kind]
    return [draw_shapes(np.random.default_rng([7, seed]), size, options) for seed in range(SCENES)]


def truth_of(scenes: Sequence[DrawnImage]) -> GroundTruth:
    """The objects of the scenes."""
    boxes = np.concatenate([scene.boxes_xywh for scene in scenes]).astype(np.float64) * SIDE
    counts = [len(scene.classes) for scene in scenes]
    ltwh = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    none = np.zeros(len(boxes), bool)
    numbers = range(SCENES)
    return GroundTruth(
        names=NAMES,
        category_ids=tuple(range(len(NAMES))),
        image_ids=tuple(numbers),
        files=tuple(map(str, numbers)),
        sizes=np.full((SCENES, 2), SIDE),
        images=np.repeat(numbers, counts),
        boxes_ltwh=ltwh,
        classes=np.concatenate([scene.classes for scene in scenes]),
        areas=ltwh[:, 2:].prod(axis=1),
        crowd=none,
        difficult=none,
    )


def find(detector: Detector, scene: DrawnImage, way: TableWay) -> AreaBoxes:
    """The boxes of a scene."""
    rules = TileRules((192, 192), max(way.overlap, 0), way.has_whole)
    image = tile_image(scene.image, rules)
    assert image is not None
    areas = image.areas[:1] if way.overlap < 0 else image.areas
    parts = [_find_area(detector, image, number, is_plain=way.is_plain) for number in range(len(areas))]
    return merge_areas(parts, RULES)[0]


def _find_area(detector: Detector, image: TiledImage, number: int, *, is_plain: bool) -> AreaBoxes:
    found = detector(image.cut(image.areas[number]))
    boxes = move_boxes((found.boxes_xyxy, found.scores, found.classes), image.areas[number], image)
    none = np.zeros_like(boxes.cut)
    return boxes._replace(cut=none, elsewhere=none) if is_plain else boxes


def table_lines(detector: Detector, kind: str) -> Iterator[str]:
    """A line for each way."""
    scenes = draw(kind)
    truth = truth_of(scenes)
    for way in TABLE_WAYS:
        each = map(partial(find, detector, way=way), scenes)
        found: Doubles = np.concatenate([detection_rows(n, one, clips=None) for n, one in enumerate(each)])
        scores = score_detections(truth, round_detections(found))
        count = int((found[:, 5] > REPORTED).sum())
        objects = len(truth.classes)
        yield f"| {kind} | {way.name} | {scores.ap:.3f} | {scores.ap50:.3f} | {count} of {objects} |"


def main() -> None:
    """Print the table."""
    detector = Detector(WEIGHTS, conf=RULES.conf, iou=RULES.iou)
    print("| scenes | how | AP | AP50 | boxes above 0.25, of objects |\n|---|---|---:|---:|---:|")
    for kind in KINDS:
        for line in table_lines(detector, kind):
            print(line, flush=True)


if __name__ == "__main__":
    main()
