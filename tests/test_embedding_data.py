"""Identities: JDE's data config, six columns, COCO's JSON, joined data sets, and through the augmentation."""

import json
from pathlib import Path

import numpy as np
import pytest

from yolor_cfg.data.augment.darknet import DarknetAugmentation, DarknetTransform
from yolor_cfg.data.augment.yolor import YolorHyperparameters, YolorTransform
from yolor_cfg.data.formats.jde import shift_identities
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import LoadedItem, collate
from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import BatchItem
from yolor_cfg.data.union import GivenData, unite
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import DataError

FEW = KINDS["identities"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "set"
    return write_shapes(folder, ShapesOptions(8, (64, 64), FEW, val_count=2, identities=True))


def jde_config(folder: Path, lists: dict[str, dict[str, list[tuple[str, str]]]]) -> Path:
    """A data config of JDE; each list has images with the text of their labels."""
    import cv2

    content: dict[str, object] = {"root": "root"}
    for split, named in lists.items():
        content[split] = {name: f"./data/{name}.txt" for name in named}
        for name, images in named.items():
            for path, labels in images:
                place = folder / "root" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(place), np.zeros((10, 20, 3), np.uint8))
                text = Path(str(place).replace("images", "labels_with_ids")).with_suffix(".txt")
                text.parent.mkdir(parents=True, exist_ok=True)
                text.write_text(labels)
            (folder / f"{name}.txt").write_text("".join(f"{path}\n" for path, _ in images))
    (folder / "data.json").write_text(json.dumps(content))
    return folder / "data.json"


def test_the_data_config_of_jde_joins_its_lists_and_their_identities(tmp_path: Path) -> None:
    one = [("a/images/x.png", "0 4 .5 .5 .2 .4\n0 -1 .2 .5 .1 .1\n"), ("a/images/y.png", "0 0 .5 .5 .2 .4\n")]
    two = [("b/images/x.png", "0 2 .5 .5 .2 .4\n"), ("b/images/y.png", "0 0 .5 .5 .2 .4\n")]
    lists = {"train": {"one": one, "two": two}, "test": {"three": one[:1]}}
    config = jde_config(tmp_path, lists)
    data = open_data(config)
    # utils/datasets.py: tid_start_index of the second is 4 + 1
    assert [sample.identities.tolist() for sample in data.samples] == [[4, -1], [0], [7], [5]]
    assert data.format == "jde" and data.samples[0].boxes_xywh[0].tolist() == pytest.approx(
        [0.5, 0.5, 0.2, 0.4]
    )
    assert len(open_data(config, split="val").samples) == 1


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"root": ".", "train": {"a": "./data/a.txt"}}')
    with pytest.raises(DataError, match="no such list of images"):
        open_data(tmp_path / "data.json")
    (tmp_path / "data.json").write_text('{"root": ".", "train": {"a": 3}}')
    with pytest.raises(DataError, match="not lists of images"):
        open_data(tmp_path / "data.json")


def test_identities_of_lists_follow_one_another() -> None:
    who, lists = np.array([3, -1, 0, -1, 1, 0]), np.array([0, 0, 1, 1, 1, 2])
    assert shift_identities(who, lists).tolist() == [3, -1, 4, -1, 5, 6]


def test_data_sets_that_are_united_keep_their_identities_apart(drawn: Path) -> None:
    data = open_data(drawn)
    both = unite([data, data], [GivenData("a"), GivenData("b")], {})
    first = np.concatenate([sample.identities for sample in data.samples])
    found = np.concatenate([sample.identities for sample in both.samples])
    assert found.tolist() == [*first.tolist(), *(first + first.max() + 1).tolist()]


def test_coco_gives_identities_as_track_id_or_identity(drawn: Path) -> None:
    document = json.loads((drawn.parent / "annotations/instances_train.json").read_text())
    wanted = [one["track_id"] for one in document["annotations"]]
    for one in document["annotations"]:
        one["identity"] = one.pop("track_id")
    place = drawn.parent / "train.json"
    place.write_text(json.dumps(document))
    found = np.concatenate([sample.identities for sample in open_data(place).samples])
    place.unlink()
    assert found.tolist() == wanted and set(wanted) <= set(range(30))


@pytest.mark.parametrize("kind", ["yolor", "darknet"])
def test_identities_stay_with_their_boxes_through_the_augmentation(drawn: Path, kind: str) -> None:
    data = open_data(drawn)
    # An identity of the drawn shapes tells the class: identities cycle through the classes.
    store = ImageStore(data.samples)
    hyp = YolorHyperparameters(mosaic=0.7, mixup=0.5, fliplr=0.5, flipud=0.5, degrees=10)
    transform = (
        YolorTransform(hyp, (64, 64), len(store.samples))
        if kind == "yolor"
        else DarknetTransform(DarknetAugmentation(mixing=3), (64, 64), len(store.samples))
    )
    seen = 0
    for number in range(12):
        item = BatchItem(*transform(number % len(store.samples), np.random.default_rng(number), store))
        assert item.identities is not None and len(item.identities) == len(item.classes)
        assert (item.identities % 6 == item.classes).all()
        batch = collate([LoadedItem(item, data.samples[0])])
        assert batch is not None and batch.identities is not None
        assert batch.identities.tolist() == item.identities.tolist()
        seen += len(item.classes)
    assert seen > 20
