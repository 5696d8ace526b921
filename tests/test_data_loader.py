"""Batches: the same for any number of workers, rectangular as in YOLOR, resumable, and split among ranks."""

import json
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolor_cfg.data.eval_transforms import (
    DarknetEvalTransform,
    YolorEvalTransform,
    boxes_to_input,
    letterbox_image,
)
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader, Shard
from yolor_cfg.data.rect import RectRules, rect_batches
from yolor_cfg.data.samplers import RectBatchSampler, SequentialBatchSampler, ShuffledBatchSampler
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Batch, BatchItem, Dataset, Fetch
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import letterbox, stretch, yolor_letterbox

COUNT = 11


class Noisy:
    """A random transform: a fetched image, another one, and a random number."""

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItem:
        image, boxes, classes = fetch(index)
        other = fetch(int(rng.integers(COUNT)))
        mixed = cv2.resize(image, (32, 32)) // 2 + cv2.resize(other.image, (32, 32)) // 2
        return BatchItem(mixed + rng.integers(0, 9, mixed.shape, np.uint8), boxes, classes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eleven small images of several sizes; image i has i boxes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for number in range(COUNT):
        height, width = rng.integers(20, 70, 2).tolist()
        cv2.imwrite(
            str(root / "images" / f"{number:02d}.png"), rng.integers(0, 256, (height, width, 3), np.uint8)
        )
        rows = rng.uniform(0.3, 0.6, (number, 4))
        text = "".join(f"{number % 3} " + " ".join(map(str, row)) + "\n" for row in rows.tolist())
        (root / "labels" / f"{number:02d}.txt").write_text(text)
    return open_data(root, caches=False)


def loader(data: Dataset, workers: int = 0, share: Shard | None = None, cache_bytes: int = 0) -> Loader:
    share = share or Shard()
    images = ImageStore(data.samples, cache_bytes=cache_bytes)
    return Loader(
        images, Noisy(), ShuffledBatchSampler(COUNT, 4, seed=5), seed=5, shard=share, workers=workers
    )


def assert_equal(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
        assert [a.image for a in one.samples] == [b.image for b in other.samples]
        assert one.placements == other.placements


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_makes_the_same_batches(data: Dataset, workers: int) -> None:
    assert_equal(list(loader(data).epoch(3)), list(loader(data, workers, cache_bytes=10**6).epoch(3)))


def test_ranks_share_one_global_batch_item_by_item(data: Dataset) -> None:
    alone = list(loader(data).epoch(1))
    ranks = [list(loader(data, 2, Shard(rank, 2)).epoch(1)) for rank in (0, 1)]
    for number, batch in enumerate(alone):
        for rank in (0, 1):
            assert torch.equal(ranks[rank][number].images, batch.images[rank::2])


def test_an_epoch_resumes_at_any_batch_as_if_never_interrupted(data: Dataset) -> None:
    whole = list(loader(data, 2).epoch(2))
    assert_equal(whole[2:], list(loader(data, 2).epoch(2, start=2)))


def test_epochs_and_seeds_differ_in_order_and_in_random_numbers(data: Dataset) -> None:
    orders = {
        tuple(
            np.concatenate([b.indices for b in ShuffledBatchSampler(COUNT, 4, seed).batches(epoch)]).tolist()
        )
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4
    first, second = (next(iter(loader(data).epoch(epoch))) for epoch in (0, 1))
    assert not torch.equal(first.images, second.images)


def test_shuffled_batches_are_full_and_cover_every_image() -> None:
    rows = [batch.indices for batch in ShuffledBatchSampler(COUNT, 4).batches(0)]
    assert [len(row) for row in rows] == [4, 4, 4]
    assert set(np.concatenate(rows).tolist()) == set(range(COUNT))
    assert rows[2].tolist()[3] == rows[0].tolist()[0]


def test_a_batch_larger_than_the_data_set_repeats_the_order() -> None:
    (only,) = ShuffledBatchSampler(3, 8).batches(0)
    assert sorted(only.indices[:3].tolist()) == [0, 1, 2] and len(only.indices) == 8


def test_targets_name_their_image_and_images_stay_uint8_channels_last(data: Dataset) -> None:
    batch = next(
        iter(
            Loader(
                ImageStore(data.samples),
                YolorEvalTransform((64, 96)),
                SequentialBatchSampler(COUNT, 5),
                workers=0,
            ).epoch(0)
        )
    )
    assert (batch.images.dtype, tuple(batch.images.shape)) == (torch.uint8, (5, 3, 64, 96))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.dtype == torch.float32
    assert batch.targets[:, 0].int().tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert batch.targets[:, 1].int().tolist() == [1, 2, 2, 0, 0, 0, 1, 1, 1, 1]


def test_in_order_every_image_comes_once_and_the_last_batch_is_short(data: Dataset) -> None:
    batches = list(
        Loader(
            ImageStore(data.samples), YolorEvalTransform((64, 64)), SequentialBatchSampler(COUNT, 4)
        ).epoch(0)
    )
    assert [len(batch.samples) for batch in batches] == [4, 4, 3]
    assert [s.image for batch in batches for s in batch.samples] == [s.image for s in data.samples]


def test_placements_map_targets_back_to_the_boxes_of_the_image(data: Dataset) -> None:
    recipes = (
        YolorEvalTransform((64, 96)),
        DarknetEvalTransform((64, 96), stretch),
        DarknetEvalTransform((64, 96), letterbox),
    )
    for recipe in recipes:
        for batch in Loader(
            ImageStore(data.samples), recipe, SequentialBatchSampler(COUNT, 1), workers=0
        ).epoch(0):
            (sample,), (placement,) = batch.samples, batch.placements
            corners = placement.to_image(batch.targets[:, 2:].double().numpy() * np.tile((96, 64), 2))
            centre, half = sample.boxes_xywh[:, :2], sample.boxes_xywh[:, 2:] / 2
            expected = np.concatenate([centre - half, centre + half], axis=1) * np.tile(sample.size[::-1], 2)
            np.testing.assert_allclose(corners, expected, atol=1e-3)


def test_the_yolor_eval_image_is_that_of_detection_when_whole_pixels_agree(data: Dataset) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    canvas, _ = letterbox_image(image, (128, 128))
    expected = (yolor_letterbox(image, (128, 128)).pixels.transpose(1, 2, 0) * 255).round()
    np.testing.assert_array_equal(canvas, expected)


def golden_rect(shared: Path) -> dict:
    return json.loads((shared / "golden" / "yolor" / "geometry.json").read_text())["rect"]


def test_rectangular_batches_are_those_of_yolor(shared: Path) -> None:
    golden = golden_rect(shared)
    sizes = np.array(golden["image_hw"], np.int32)
    for case in golden["cases"]:
        rules = RectRules(case["img_size"], case["stride"], case["pad"])
        batches = rect_batches(sizes, batch_size=case["batch_size"], rules=rules)
        assert [list(batch.size) for batch in batches] == case["batch_shapes_hw"]
        found = [(image, number) for number, batch in enumerate(batches) for image in batch.indices.tolist()]
        assert found == [(item["image"], item["batch"]) for item in case["items"]]


def test_labels_and_gains_in_rectangular_batches_are_those_of_yolor(shared: Path) -> None:
    golden = golden_rect(shared)
    boxes = np.array([[0.5, 0.4, 0.3, 0.2], [0.1, 0.9, 0.2, 0.1]], np.float32)
    for case in golden["cases"]:
        for item in case["items"]:
            image = np.zeros((*golden["image_hw"][item["image"]], 1), np.uint8)
            canvas, place = letterbox_image(image, tuple(item["tensor_hw"]), long_side=case["img_size"])
            assert list(canvas.shape[:2]) == item["tensor_hw"]
            np.testing.assert_allclose(place.gain_xy[::-1], item["ratio_hw"], rtol=1e-6)
            assert list(place.padding_xy) == item["half_pad_wh"]
            expected = np.array(item["labels"])[:, 1:]
            np.testing.assert_allclose(boxes_to_input(boxes, place), expected, rtol=1e-6, atol=1e-7)


def test_rectangular_batches_give_each_batch_its_own_size(data: Dataset) -> None:
    plan = RectBatchSampler(data.samples.sizes, 4, RectRules(64, 32, 0.5))
    batches = list(Loader(ImageStore(data.samples), YolorEvalTransform((64, 64), 64), plan).epoch(0))
    assert [tuple(b.images.shape[2:]) for b in batches] == [p.size for p in plan.batches(0)]
    assert len({tuple(b.images.shape) for b in batches}) > 1


@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_any_number_of_channels_reaches_the_batch(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, channels), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "a.txt").write_text("0 .5 .5 .5 .5\n")
    samples = open_data(tmp_path, caches=False).samples
    for recipe in (
        YolorEvalTransform((32, 32)),
        YolorEvalTransform((48, 64)),
        DarknetEvalTransform((32, 32), stretch),
    ):
        batch = next(
            iter(
                Loader(ImageStore(samples, channels=channels), recipe, SequentialBatchSampler(1, 1)).epoch(0)
            )
        )
        assert tuple(batch.images.shape) == (1, channels, *recipe.size)
    np.testing.assert_allclose(batch.images[0].numpy().transpose(1, 2, 0), pixels / 255, atol=1e-6)


def broken(data: Dataset, tmp_path: Path) -> list:
    """The samples, where sample 3 points to a file that is not an image."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nno image at all IEND....")
    samples = list(data.samples)
    samples[3] = samples[3]._replace(image=str(bad))
    return samples


def test_an_image_that_becomes_unreadable_is_skipped_and_reported(data: Dataset, tmp_path: Path) -> None:
    images = ImageStore(broken(data, tmp_path))
    batches = list(Loader(images, YolorEvalTransform((64, 64)), SequentialBatchSampler(COUNT, 4)).epoch(0))
    assert [len(batch.samples) for batch in batches] == [3, 4, 3]
    assert list(images.skipped) == [str(tmp_path / "bad.png")]
    with pytest.raises(DataError, match="bad.png"):
        list(
            Loader(
                ImageStore(broken(data, tmp_path), strict=True),
                YolorEvalTransform((64, 64)),
                SequentialBatchSampler(COUNT, 4),
            ).epoch(0)
        )


@pytest.mark.parametrize("workers", [0, 3])
def test_in_training_the_next_image_replaces_an_unreadable_one(
    data: Dataset, tmp_path: Path, workers: int
) -> None:
    images = ImageStore(broken(data, tmp_path), substitutes=True)
    (batch,) = Loader(
        images, YolorEvalTransform((64, 64)), SequentialBatchSampler(5, 5), workers=workers
    ).epoch(0)
    assert [Path(sample.image).name for sample in batch.samples] == [
        "00.png",
        "01.png",
        "02.png",
        "04.png",
        "04.png",
    ]
    assert batch.targets[:, 0].int().tolist().count(3) == 4


def test_without_any_readable_image_training_stops_with_the_reason(tmp_path: Path, data: Dataset) -> None:
    samples = [data.samples[0]._replace(image=str(tmp_path / "none.png"))] * 3
    with pytest.raises(DataError, match="no such file"):
        list(
            Loader(
                ImageStore(samples, substitutes=True),
                YolorEvalTransform((64, 64)),
                ShuffledBatchSampler(3, 2),
            ).epoch(0)
        )


def test_crowds_are_not_trained_on(data: Dataset) -> None:
    sample = data.samples[4]._replace(crowd=np.array([True, False, True, False]))
    assert len(ImageStore([sample])(0).classes) == 2


def test_an_image_is_decoded_once_within_the_cache_limit(data: Dataset, monkeypatch) -> None:
    calls: list[str] = []
    from yolor_cfg.data import images

    def counted(path: str, channels: int) -> np.ndarray:
        calls.append(path)
        return np.zeros((10, 10, channels), np.uint8)

    monkeypatch.setattr(images, "read_channels", counted)
    images = ImageStore(data.samples, cache_bytes=3 * 300)
    for _ in range(2):
        for index in range(COUNT):
            assert not images(index).image.flags.writeable
    assert len(calls) == COUNT + (COUNT - 3)


def test_a_loader_that_is_left_early_stops_its_threads(data: Dataset) -> None:
    import threading

    before = threading.active_count()
    batches = loader(data, 3).epoch(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_memory_stays_flat_over_epochs(data: Dataset) -> None:
    made = Loader(
        ImageStore(data.samples), YolorEvalTransform((320, 320)), ShuffledBatchSampler(COUNT, 8), workers=2
    )

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for epoch in range(10):
        list(made.epoch(epoch))
    before = peak()
    for epoch in range(60):
        for _ in made.epoch(epoch):
            continue
    assert peak() - before < 20_000
