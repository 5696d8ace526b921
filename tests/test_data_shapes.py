"""The synthetic data set: seeded, with exact boxes, readable in every format it is written in."""

from pathlib import Path

import numpy as np
import pytest

from yolor_cfg.data.shapes import IDENTITIES, LEAST_SEEN, NAMES, SHAPES, draw_shapes, identity_look
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import DataError

AREAS = {
    "disc": np.pi * 0.95**2,
    "square": 1.56**2,
    "ring": np.pi * (0.94**2 - 0.5**2),
    "cross": 2 * 1.9 * 0.6 - 0.6**2,
    "triangle": 3 * np.sqrt(3) / 4,
    "star": 5 * 0.42 * np.sin(np.pi / 5),
}


def drawn(seed: int, size: tuple[int, int] = (96, 128)):
    return draw_shapes(np.random.default_rng(seed), size)


@pytest.mark.parametrize("name", NAMES)
def test_each_shape_has_the_area_of_its_formula_and_lies_in_the_unit_circle(name: str) -> None:
    side = (np.arange(1200) + 0.5) / 500 - 1.2
    points = np.stack(np.meshgrid(side, side)).astype(np.float32)
    inside = SHAPES[name](points) < 0
    assert inside.mean() * 2.4**2 == pytest.approx(AREAS[name], rel=0.01)
    assert np.hypot(*points)[inside].max() <= 1.12


def test_equal_seeds_draw_equal_images_and_others_do_not() -> None:
    one, same, other = drawn(3), drawn(3), drawn(4)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.image, other.image)


def test_boxes_lie_in_the_image_on_whole_pixels() -> None:
    for seed in range(40):
        drawing = drawn(seed)
        centre, half = drawing.boxes_xywh[:, :2], drawing.boxes_xywh[:, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        pixels = corners * [128, 96, 128, 96]
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
        assert (corners >= -1e-6).all() and (corners <= 1 + 1e-6).all()
        assert (drawing.boxes_xywh[:, 2:] > 0).all()


class WithoutGrain:
    """A generator whose normal noise is zero."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __getattr__(self, name: str):
        return getattr(self.rng, name)

    def normal(self, mean: float, deviation: float, size: tuple[int, ...]) -> np.ndarray:
        return np.zeros(size)


def code(number: int) -> np.ndarray:
    """A colour whose red and green, as shares of blue, lie on a circle: no shaded mixture of others is it."""
    angle = number * np.pi / 4
    return 0.55 + 0.35 * np.array([np.cos(angle), np.sin(angle), 0])


def test_a_box_encloses_just_what_is_seen_of_its_object(monkeypatch) -> None:
    """On black, in even light, without grain, every object in its own colour: to 2 pixels."""
    monkeypatch.setattr(
        "yolor_cfg.data.shapes._background", lambda rng, size: np.zeros((*size, 3), np.float32)
    )
    monkeypatch.setattr(
        "yolor_cfg.data.shapes._illumination", lambda rng, size, depth: np.ones(size, np.float32)
    )
    painted: list[int] = []

    def surface(points, edge, one):
        painted.append(len(painted))
        return np.broadcast_to(code(painted[-1]), (*edge.shape, 3)).astype(np.float32)

    monkeypatch.setattr("yolor_cfg.data.shapes._surface", surface)
    errors = []
    for seed in range(30):
        painted.clear()
        drawing = draw_shapes(WithoutGrain(seed), (192, 256))
        pixels = drawing.image.astype(float) / 255
        for number, (x, y, w, h) in enumerate(drawing.boxes_xywh * [256, 192, 256, 192]):
            share = pixels[..., :2] / np.maximum(pixels[..., 2:], 0.2) - code(number)[:2] / code(number)[2]
            rows, columns = np.nonzero((np.linalg.norm(share, axis=2) < 0.15) & (pixels[..., 2] > 0.25))
            seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            errors.append(np.abs(np.subtract(seen, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))).max())
    assert len(errors) > 60
    assert max(errors) <= 2


def test_classes_identities_sizes_and_empty_images_all_occur() -> None:
    drawings = [drawn(seed, (160, 160)) for seed in range(150)]
    boxes = np.concatenate([drawing.boxes_xywh for drawing in drawings])
    classes = np.concatenate([drawing.classes for drawing in drawings])
    identities = np.concatenate([drawing.identities for drawing in drawings])
    assert set(classes.tolist()) == set(range(len(NAMES)))
    assert (classes == identities % len(NAMES)).all() and len(set(identities.tolist())) > IDENTITIES * 0.9
    assert any(len(drawing.classes) == 0 for drawing in drawings)
    assert boxes[:, 2:].max() > 0.4 and (boxes[:, 2:].max(axis=1) < 0.13).mean() > 0.1


def test_objects_overlap_but_half_of_each_is_seen() -> None:
    assert LEAST_SEEN == 0.5
    overlaps = 0
    for seed in range(60):
        boxes = drawn(seed).boxes_xywh
        low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
        common = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0).prod(axis=2)
        overlaps += int((np.triu(common, 1) > 0).sum())
    assert overlaps > 20


def test_an_identity_looks_the_same_in_every_data_set() -> None:
    assert identity_look(7).colors[0].tolist() == identity_look(7).colors[0].tolist()
    assert len({identity_look(i).colors[0].tobytes() for i in range(IDENTITIES)}) == IDENTITIES


@pytest.mark.parametrize("identities", [False, True])
def test_what_is_written_reads_back_alike_from_darknet_and_from_coco(
    identities: bool, tmp_path: Path
) -> None:
    description = write_shapes(tmp_path / "a", ShapesOptions(10, (96, 128), identities=identities), seed=1)
    for split, count in (("train", 8), ("val", 2)):
        text = open_data(description, split=split, caches=False)
        coco = open_data(tmp_path / "a" / "annotations" / f"instances_{split}.json", caches=False)
        assert text.names == coco.names == NAMES and len(text.samples) == count
        for one, other in zip(text.samples, coco.samples, strict=True):
            np.testing.assert_allclose(one.boxes_xywh, other.boxes_xywh, atol=1e-6)
            assert one.classes.tolist() == other.classes.tolist()
            assert identities == (one.identities.tolist() == other.identities.tolist()) or not len(
                one.classes
            )
    first = draw_shapes(np.random.default_rng([1, 0]), (96, 128))
    np.testing.assert_allclose(
        open_data(description, caches=False).samples[0].boxes_xywh, first.boxes_xywh, atol=1e-6
    )


def test_two_writings_with_one_seed_are_equal_to_the_byte_and_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shapes(tmp_path / name, ShapesOptions(3, (64, 64)), seed=2)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 3 + 3 + 2 + 2 + 2
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    with pytest.raises(DataError, match="not empty"):
        write_shapes(tmp_path / "a", ShapesOptions(3))


def test_a_folder_that_holds_anything_of_the_users_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_shapes(tmp_path, ShapesOptions(3))
    assert [path.name for path in tmp_path.iterdir()] == ["train.txt"]
    with pytest.raises(DataError, match=r"train\.txt: no new folder can be made"):
        write_shapes(tmp_path / "train.txt", ShapesOptions(3))
    assert (tmp_path / "train.txt").read_text() == "mine"
