"""A test of embeddings on images in tiles: an object has the vector that its tile gives it."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny
from test_embedding_use import save_weights

from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.evaluate.run import EvalSettings, collect_detections
from yolor_cfg.images.read import read_image
from yolor_cfg.images.tiles import TileRules, are_whole, plan_tiles
from yolor_cfg.weights.loading import open_network

SIZE, TILE = (150, 200), 64
RULES = TileRules((TILE, TILE), 0.3, has_whole=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several tiles, of objects with identities."""
    objects = KINDS["identities"]._replace(radii=(0.05, 0.12))
    wanted = ShapesOptions(8, SIZE, objects, val_count=6, identities=True)
    return write_shapes(tmp_path_factory.mktemp("large") / "set", wanted)


def corners(boxes_xywh: np.ndarray) -> np.ndarray:
    centre, half = boxes_xywh[:, :2], boxes_xywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1) * (SIZE[::-1] * 2)


def vectors(path: str, dataset: Dataset, tiling: TileRules | None = None, batch_size: int = 3) -> np.ndarray:
    network = open_network(path, path).network
    found = collect_detections(
        network, dataset, settings=EvalSettings(batch_size, rectangles=False, tiling=tiling)
    )
    assert found is not None
    return found.vectors


def write_tiles(large: Path, folder: Path) -> tuple[Path, list[tuple[int, int]]]:
    """Each tile that alone holds objects whole as an image of its own with these; the image and the number of
    each object there."""
    dataset, tiles = open_data(large, split="val", caches=False), plan_tiles(SIZE, RULES)
    listed, places = list[str](), list[tuple[int, int]]()
    for image, sample in enumerate(dataset.samples):
        boxes = corners(sample.boxes_xywh)
        whole = are_whole(boxes, tiles, SIZE)
        pixels = read_image(sample.image)
        for number, tile in enumerate(tiles):
            mine = np.flatnonzero(whole[:, number] & (whole.sum(axis=1) == 1))
            if not len(mine):
                continue
            name = f"{image}_{number}"
            tiny.save(folder / f"images/{name}.png", pixels[tile.top : tile.bottom, tile.left : tile.right])
            moved = (boxes[mine] - (tile.left, tile.top) * 2) / TILE
            lines = [
                f"{label} {who} {(a + c) / 2:.9f} {(b + d) / 2:.9f} {c - a:.9f} {d - b:.9f}\n"
                for label, who, (a, b, c, d) in zip(
                    sample.classes[mine], sample.identities[mine], moved, strict=True
                )
            ]
            (folder / "labels").mkdir(exist_ok=True)
            (folder / f"labels/{name}.txt").write_text("".join(lines))
            listed.append(f"images/{name}.png\n")
            places += [(image, int(one)) for one in mine]
    (folder / "val.txt").write_text("".join(listed))
    (folder / "tiles.data").write_text("classes=6\nvalid=val.txt\n")
    return folder / "tiles.data", places


def test_an_object_in_one_tile_alone_has_the_vector_of_that_tile_by_itself(
    weights: str,
    large: Path,
    tmp_path: Path,
) -> None:
    data, places = write_tiles(large, tmp_path)
    assert len(places) >= 5
    names = {"names": tuple("abcdef")}
    alone = vectors(weights, open_data(data, split="val", caches=False)._replace(**names))
    whole = open_data(large, split="val", caches=False)
    tiled = vectors(weights, whole, RULES)
    counts = [len(sample.identities) for sample in whole.samples]
    assert len(tiled) == sum(counts)
    first = np.cumsum([0, *counts])
    same = tiled[[first[image] + number for image, number in places]]
    assert same[:, 1].tolist() == alone[:, 1].tolist()
    assert np.allclose(same[:, 2:], alone[:, 2:], atol=1e-5)
    untiled = vectors(weights, whole)[[first[image] + number for image, number in places]]
    assert not np.allclose(same[:, 2:], untiled[:, 2:], atol=1e-2)


def test_vectors_do_not_depend_on_the_batch(weights: str, large: Path) -> None:
    whole = open_data(large, split="val", caches=False)
    tiled = [vectors(weights, whole, RULES._replace(has_whole=True), size) for size in (1, 7)]
    assert np.allclose(*tiled, atol=1e-5)


def test_tiles_of_the_size_of_the_image_change_nothing(weights: str, large: Path) -> None:
    whole = open_data(large, split="val", caches=False)
    assert np.array_equal(vectors(weights, whole, TileRules(SIZE)), vectors(weights, whole))


def test_a_test_in_tiles_reports_embeddings(
    weights: str,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = tiny.yolor("test", weights, "--data", large, "--tile", "--json", "--no-save")
    assert ran.exit_code == 0, ran.stderr
    document = json.loads(ran.stdout)["embedding"]
    objects = sum(len(one.identities) for one in open_data(large, split="val", caches=False).samples)
    assert document["objects"] == objects and 0 <= document["rank1"] <= 1
