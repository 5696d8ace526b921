"""Large images in tiles: where the tiles lie, which boxes are kept, and that each object is told once."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_detector import HEAD, Files, close, detect, photo, save, text, write, yolor

from yolor_cfg import CfgError, Detector, ExportedDetector, load
from yolor_cfg.data.shapes import NAMES, ObjectOptions, draw_shapes
from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.tiles import AreaBoxes, merge_areas, move_boxes
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.run import export_network
from yolor_cfg.images.tiles import TileArea, TiledImage, TileRules, are_whole, plan_tiles, shared_pixels

TRAINED = Path(__file__).parents[1] / "weights/yolor_nano_shapes.pt"
sides = st.integers(1, 700)
overlaps = st.floats(0, 0.9)


# --- where tiles lie ---


@given(st.tuples(sides, sides), st.tuples(st.integers(1, 300), st.integers(1, 300)), overlaps)
def test_tiles_of_one_size_cover_each_pixel(
    size: tuple[int, int], tile: tuple[int, int], overlap: float
) -> None:
    overlap = min(overlap, 0.5)
    seen = np.zeros(size, np.int32)
    areas = plan_tiles(size, TileRules(tile, overlap))
    for area in areas:
        assert 0 <= area.top < area.bottom <= size[0] and 0 <= area.left < area.right <= size[1]
        seen[area.top : area.bottom, area.left : area.right] += 1
    assert seen.min() >= 1
    shapes = {(area.bottom - area.top, area.right - area.left) for area in areas}
    assert shapes == {(min(size[0], tile[0]), min(size[1], tile[1]))}
    assert len(areas) == len(set(areas))


@given(sides, st.integers(1, 300), overlaps, st.data())
def test_what_is_no_longer_than_the_overlap_is_whole_in_a_tile(
    side: int, tile: int, overlap: float, data: st.DataObject
) -> None:
    shared = shared_pixels(tile, overlap)
    assert shared >= min(tile - 1, tile * overlap)
    length = data.draw(st.integers(0, min(side, shared)))
    start = data.draw(st.integers(0, side - length))
    areas = plan_tiles((side, 1), TileRules((tile, 1), overlap))
    assert any(area.top <= start and start + length <= area.bottom for area in areas)


@given(st.integers(301, 5000), st.integers(2, 300), overlaps)
def test_there_are_as_few_tiles_as_the_overlap_allows(side: int, tile: int, overlap: float) -> None:
    count = len(plan_tiles((side, 1), TileRules((tile, 1), overlap)))
    step = tile - shared_pixels(tile, overlap)
    assert tile + (count - 2) * step < side <= tile + (count - 1) * step


# --- which boxes are kept ---


def boxes_of(rows: list[tuple[float, ...]]) -> AreaBoxes:
    """Rows of left, top, right, bottom, score, class, whether it is cut."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return AreaBoxes(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64),
        table[:, 6] > 0,
        np.zeros(len(table), bool),
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod((high - low).clip(0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_without_cut_boxes_it_is_plain_nms_over_all_tiles() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(200):
        left, top = rng.uniform(0, 100, 2)
        wide, high = rng.uniform(10, 40, 2)
        rows.append((left, top, left + wide, top + high, rng.random(), rng.integers(3), 0))
    halves = boxes_of(rows[:120]), boxes_of(rows[120:])
    every = boxes_of(rows)
    for agnostic in (False, True):
        kept: list[int] = []
        for one in np.argsort(-every.scores, kind="stable"):
            rivals = [o for o in kept if agnostic or every.classes[o] == every.classes[one]]
            if all(iou(every.boxes_xyxy[one], every.boxes_xyxy[other]) <= 0.4 for other in rivals):
                kept.append(int(one))
        merged, numbers = merge_areas(halves, NmsRules(iou=0.4, agnostic=agnostic))
        assert numbers.tolist() == kept and 20 < len(kept) < 180
        np.testing.assert_array_equal(merged.boxes_xyxy, every.boxes_xyxy[kept])
        assert merge_areas(halves, NmsRules(iou=0.4, agnostic=agnostic, max_det=7))[1].tolist() == kept[:7]


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ((50, 0, 80, 40, 0.9, 0, 1), [0.7]),  # half of the whole box, with a better score
        ((50, 0, 80, 40, 0.9, 0, 0), [0.9, 0.7]),  # the same, which no tile cuts: another object
        ((50, 0, 80, 40, 0.9, 1, 1), [0.9, 0.7]),  # of another class
        ((70, 0, 110, 40, 0.9, 0, 1), [0.9, 0.7]),  # a quarter of it lies in the whole box
    ],
)
def test_a_part_that_its_tile_cuts_gives_way_to_the_whole_object(
    part: tuple[float, ...], kept: list[float]
) -> None:
    whole = (0, 0, 80, 40, 0.7, 0, 0)
    merged, _ = merge_areas([boxes_of([part]), boxes_of([whole])], NmsRules())
    assert merged.scores.tolist() == pytest.approx(kept)


def test_a_box_is_whole_in_a_tile_that_it_ends_inside_of_or_with_the_image() -> None:
    boxes = np.array(
        [
            [100, 20, 150, 60],
            [110, 0, 150, 60],
            [110, 20, 199.5, 60],
            [110, 20, 150, 100],
            [110, 20, 150, 60],
        ]
    )
    areas = [TileArea(0, 100, 100, 200), TileArea(0, 60, 100, 160)]
    whole = are_whole(boxes, areas, (300, 400))
    assert whole[:, 0].tolist() == [False, True, False, False, True]
    assert whole[:, 1].tolist() == [True, True, False, False, True]
    assert are_whole(boxes, areas, (100, 200))[:, 0].tolist() == [False, True, True, True, True]


def test_a_cut_box_that_another_tile_holds_whole_is_left_to_that_tile() -> None:
    image = TiledImage(
        np.zeros((100, 180, 3), np.uint8), tuple(plan_tiles((100, 180), TileRules((100, 100))))
    )
    found = np.array([[85.0, 10, 100, 40], [10, 10, 100, 40]]), np.ones(2), np.zeros(2, int)
    part = move_boxes(found, image.areas[0], image)
    assert part.cut.tolist() == [True, True] and part.elsewhere.tolist() == [True, False]
    assert merge_areas([part], NmsRules())[1].tolist() == [1]


# --- detectors ---


@pytest.fixture(scope="module")
def trained() -> Iterator[Detector]:
    yield Detector(TRAINED, tile=True, tile_whole=False)


def lone_object(size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """An image of one object on a plain ground, and its box as the network sees it."""
    image = np.full((size, size, 3), 120, np.uint8)
    cv2.circle(image, (70, 80), 22, (200, 40, 40), -1)
    found = Detector(TRAINED)(image)
    assert len(found) == 1 and found.scores[0] > 0.5
    return image, found.boxes_xyxy.numpy()


def test_an_image_no_larger_than_a_tile_is_as_without(tiny: Files) -> None:
    for size in ((64, 96), (50, 70), (64, 90)):
        image = photo(*size)
        assert Detector(*tiny, tile=True)(image).to_dict() == Detector(*tiny)(image).to_dict()
    assert Detector(*tiny, tile=True)(photo(64, 97)).to_dict() != Detector(*tiny)(photo(64, 97)).to_dict()


def test_what_moves_by_whole_tiles_moves_its_boxes_by_as_much() -> None:
    image, box = lone_object()
    detector = Detector(TRAINED, tile=True, tile_overlap=0, tile_whole=False, batch_size=3)
    for row in range(2):
        for column in range(3):
            canvas = np.full((2 * 192, 3 * 192, 3), 120, np.uint8)
            canvas[row * 192 :, column * 192 :][:192, :192] = image
            found = detector(canvas)
            moved = box + np.array([column * 192, row * 192] * 2)
            np.testing.assert_allclose(found.boxes_xyxy.numpy(), moved, atol=0.01)


def test_an_object_is_told_once_wherever_it_lies(trained: Detector) -> None:
    image, box = lone_object()
    patch, (left, top) = image[50:110, 40:100], (40, 50)
    for x, y in [(0, 0), (340, 340), *((150 + step, 130 + 7 * step % 90) for step in range(0, 90, 9))]:
        canvas = np.full((400, 400, 3), 120, np.uint8)
        canvas[y : y + 60, x : x + 60] = patch
        found = trained(canvas)
        assert len(found) == 1, (x, y, list(found))
        moved = box[0] + np.array([x - left, y - top] * 2)
        assert iou(found.boxes_xyxy[0].numpy(), moved) > 0.7


def test_the_tiles_of_an_image_do_not_depend_on_the_batch(tiny: Files) -> None:
    images = [photo(150, 260), photo(60, 90), photo(64, 96, seed=2), photo(70, 200)]
    one, many = (Detector(*tiny, tile=64, batch_size=size) for size in (1, 5))
    for a, b in zip(one(images), many(images), strict=True):
        assert len(a) and a.classes.tolist() == b.classes.tolist()
        np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, atol=1e-3)


def test_an_exported_file_finds_the_same_in_tiles(tiny: Files, tmp_path: Path) -> None:
    path = export_network(load(*tiny), tmp_path, ExportOptions(), names="abc", checks=False).path
    image = photo(150, 260)
    tiling = {"tile": True, "tile_overlap": 0.3}
    want, got = Detector(*tiny, **tiling)(image), ExportedDetector(path, **tiling)(image)
    assert len(want) > 20 and got.classes.tolist() == want.classes.tolist()
    np.testing.assert_allclose(got.boxes_xyxy, want.boxes_xyxy, rtol=1e-4, atol=0.01)
    assert isinstance(got.boxes_xyxy, np.ndarray)


def test_numbers_that_cannot_be_meant_are_refused(tiny: Files) -> None:
    for wrong, message in (
        ({"tile": "large"}, "not an image size"),
        ({"tile": 64, "tile_overlap": 0.95}, "range 0<=x<=0.9"),
    ):
        with pytest.raises(CfgError, match=message):
            Detector(*tiny, **wrong)
    with pytest.raises(TypeError, match="tile_size"):
        Detector(*tiny, tile_size=64)


def rewritten(cfg: Path, content: str) -> Path:
    cfg.write_text(content)
    return cfg


def test_networks_that_do_not_see_tiles_refuse_them(tmp_path: Path) -> None:
    cfg = text()
    files = write(tmp_path, cfg)
    with pytest.raises(CfgError, match="crop"):
        Detector(*files, tile=True, preprocess="crop")
    memory = "[crnn]\nhidden=4\noutput=24\nsize=3\npad=1\nactivation=leaky\n"
    at = cfg.index(HEAD.splitlines()[0], cfg.index("filters=24"))
    with pytest.raises(CfgError, match="remember"):
        Detector(rewritten(files.cfg, cfg[:at] + memory + cfg[at:]), tile=True)
    labels = "[avgpool]\n[softmax]\n"
    with pytest.raises(CfgError, match="classify"):
        Detector(rewritten(files.cfg, cfg[:at] + labels), tile=True)


# --- commands ---


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_detect_prints_and_writes_the_boxes_of_the_whole_image(tiny: Files, here: Path) -> None:
    save(here / "a.png", image := photo(150, 260))
    (line,) = detect(tiny, "a.png", "--save-txt", "--tile", "--tile-overlap", "0.4")
    want = Detector(*tiny, tile=True, tile_overlap=0.4)(image)
    close([line], [{"source": "a.png", **want.to_dict()}])
    rows = np.loadtxt("runs/detect/exp/labels/a.txt", ndmin=2)
    boxes = np.array([one["box_xyxy"] for one in line["detections"]]).clip(0, (260, 150) * 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / (260, 150)
    np.testing.assert_allclose(rows[:, 1:3], centres, atol=0.01)
    (alone,) = detect(tiny, "a.png", "--nosave", "--tile=64x64", "--no-tile-whole")
    close([alone], [{"source": "a.png", **Detector(*tiny, tile=64, tile_whole=False)(image).to_dict()}])


def test_shards_in_tiles_are_the_run_that_was_not_divided(tiny: Files, here: Path) -> None:
    for number in range(3):
        save(here / f"p/{number}.png", photo(100, 120, seed=number))
    whole = detect(tiny, "p", "--nosave", "--tile", "64", "--name", "whole")
    for shard in ("1/2", "2/2"):
        assert yolor("detect", *tiny, "p", "--tile", "64", "--shard", shard).exit_code == 0
    other = yolor("detect", *tiny, "p", "--shard", "1/2")
    assert other.exit_code == 2 and "tile" in other.stderr
    assert yolor("unite", "runs/detect/exp").exit_code == 0
    lines = Path("runs/detect/exp/detections.jsonl").read_text().splitlines()
    close([json.loads(line) for line in lines], whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile-overlap", "0.3"), "--tile-overlap goes with --tile"),
        (("--no-tile-whole",), "--tile-whole goes with --tile"),
        (("--tile", "a.png"), "--tile own"),
        (("--tile", "64", "--tile-overlap", "1"), "0<=x<=0.9"),
        (("--tile", "--preprocess", "crop"), "not run on images in tiles"),
    ],
)
def test_what_makes_no_sense_is_one_message(
    tiny: Files, here: Path, words: tuple[str, ...], message: str
) -> None:
    save(here / "a.png", photo())
    result = yolor("detect", *tiny, "a.png", *words)
    assert result.exit_code == 2 and message in result.stderr


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of large scenes with small objects."""
    folder = tmp_path_factory.mktemp("scenes")
    side = 800
    objects = ObjectOptions(radii=(10 / side, 22 / side), most=30, has_class_colors=True)
    lines = []
    for number in range(3):
        drawn = draw_shapes(np.random.default_rng([11, number]), (side, side), objects)
        save(folder / f"images/{number}.png", drawn.image)
        rows = zip(drawn.classes, drawn.boxes_xywh, strict=True)
        labels = "".join(f"{label} {' '.join(f'{v:.6f}' for v in box)}\n" for label, box in rows)
        (folder / "labels").mkdir(exist_ok=True)
        (folder / f"labels/{number}.txt").write_text(labels)
        lines.append(f"images/{number}.png")
    (folder / "val.txt").write_text("\n".join(lines) + "\n")
    (folder / "shapes.names").write_text("\n".join(NAMES) + "\n")
    (folder / "s.data").write_text("classes=6\nvalid=val.txt\nnames=shapes.names\n")
    return folder


def scores(scenes: Path, *words: str) -> dict:
    result = yolor("test", TRAINED, "--data", scenes / "s.data", "--no-save", "--json", *words)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    coco: dict = found["coco"]
    return coco


def test_tiles_find_small_objects_that_the_whole_image_hides(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes)
    whole, tiled = scores(scenes), scores(scenes, "--tile")
    assert whole["AP50"] < 0.3 and tiled["AP50"] > 0.9
    assert scores(scenes, "--tile", "800", "--no-rect") == scores(scenes, "--no-rect")


def test_a_test_in_tiles_scores_what_detect_finds_in_them(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes)
    same = ("--tile", "--conf", "0.1", "--iou", "0.5")
    result = yolor("test", TRAINED, "--data", "s.data", *same, "--batch-size", "2")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(Path("runs/test/exp/predictions.json").read_text())
    lines = detect(Files(TRAINED, TRAINED), "images", *same, "--multi-label", "--nosave")[0:3]
    found = [(d["score"], d["box_xyxy"]) for line in lines for d in line["detections"]]
    assert len(found) == len(rows) > 20
    for (score, box), row in zip(sorted(found), sorted(rows, key=lambda row: row["score"]), strict=True):
        assert score == pytest.approx(row["score"], abs=1e-4) and len(box) == 4


def test_a_signal_ends_an_image_that_would_take_hours(tiny: Files, here: Path) -> None:
    save(here / "large.png", photo(600, 600))  # 360,000 tiles
    words = ["detect", *map(str, tiny), "large.png", "--tile", "1", "--workers", "2", "--serve", ":0"]
    running = subprocess.Popen(
        [sys.executable, "-m", "yolor_cfg", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TRAINED.parents[1])},
    )
    assert running.stderr is not None
    while "serving" not in running.stderr.readline():
        assert running.poll() is None
    time.sleep(1.5)  # the tiles are under way
    running.terminate()
    try:
        assert running.wait(timeout=30) == 143
    finally:
        running.kill()
        running.stderr.close()


MEASURE = """
import resource, sys
import numpy as np
from yolor_cfg import Detector
side = int(sys.argv[3])
detector = Detector(*sys.argv[1:3], tile=1000, batch_size=4)
image = np.zeros((side, side, 3), np.uint8)
detector(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_an_image_of_8000_pixels_a_side_takes_the_memory_of_its_pixels(tiny: Files) -> None:
    used = []
    for side in (1000, 8000):
        command = [sys.executable, "-c", MEASURE, *map(str, tiny), str(side)]
        used.append(int(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    pixels = (8000**2 - 1000**2) * 3 / 2**20  # MiB
    assert used[1] - used[0] < pixels + 60
