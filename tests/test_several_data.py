"""Several data sets in one training: their classes, their images, and how they take turns."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import training

from yolor_cfg.data.augment.parts import PartsTransform
from yolor_cfg.data.augment.yolor import HYP_PRESETS, YolorTransform
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader
from yolor_cfg.data.samplers import EpochShares, ShuffledBatchSampler
from yolor_cfg.data.shapes import NAMES
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset
from yolor_cfg.data.union import GivenData, parse_given, title_parts, unite, unite_names
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.train.run import LAST
from yolor_cfg.train.setup import prepare_job

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def write_half(folder: Path, classes: str, *, count: int = 12, seed: int = 0) -> Path:
    """A drawn data set whose .data file says that only these classes are annotated."""
    data = write_shapes(folder, ShapesOptions(count, (64, 64)), seed=seed)
    half = folder / "half.data"
    half.write_text(data.read_text() + f"annotated = {classes}\n")
    return half


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("several")
    return (
        write_half(root / "one", "disc, square, triangle", count=15),
        write_half(root / "two", "star, Ring, CROSS", count=10, seed=1),
    )


def relabel(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return dataset._replace(names=names, annotated=())


def open_both(halves: tuple[Path, Path]) -> list[Dataset]:
    return [open_data(path) for path in halves]


GIVEN = (GivenData("one/half.data"), GivenData("two/half.data"))


def test_the_union_has_the_images_in_a_row_and_a_part_for_each(halves):
    one, two = open_both(halves)
    whole = unite([one, two], GIVEN, {})
    assert [part.name for part in whole.parts] == ["one", "two"]
    assert [(part.first, part.images) for part in whole.parts] == [(0, 12), (12, 8)]
    assert [part.known for part in whole.parts] == [(0, 1, 2), (3, 4, 5)]
    for place, sample in enumerate([*one.samples, *two.samples]):
        found = whole.samples[place]
        assert found.image == sample.image and found.size == sample.size
        assert np.array_equal(found.boxes_xywh, sample.boxes_xywh)
        assert np.array_equal(found.classes, sample.classes)


def test_classes_are_matched_by_name_and_joined_in_order_of_appearance(halves):
    one, two = open_both(halves)
    one = relabel(one, ("a", "b", "c", "d", "e", "f"))
    two = relabel(two, ("x", "D", "c", "y", "b-", "z"))
    whole = unite([one, two], GIVEN, {})
    assert whole.names == ("a", "b", "c", "d", "e", "f", "x", "y", "b-", "z")
    assert whole.parts[1].known == (2, 3, 6, 7, 8, 9)
    new = [6, 3, 2, 7, 8, 9]
    for place, sample in enumerate(two.samples):
        assert whole.samples[12 + place].classes.tolist() == [new[k] for k in sample.classes]
    texts = [problem.reason for problem in whole.problems]
    assert "one and two label 2 classes: c, d" in texts
    assert "one labels 4 classes: a, b, e, f" in texts


def test_one_data_set_that_labels_all_its_classes_stays_as_it_is(data):
    dataset = open_data(data)
    assert unite([dataset], [GivenData("shapes.data")], {}) == dataset
    assert not dataset.parts


def test_one_data_set_that_labels_some_has_a_part(halves):
    whole = unite([open_data(halves[0])], GIVEN[:1], {})
    assert [part.unknown for part in whole.parts] == [(3, 4, 5)]


def test_a_class_that_is_not_in_the_list_is_refused(halves):
    one, two = open_both(halves)
    with pytest.raises(DataError, match="not in the list of classes"):
        unite(
            [one, relabel(two, ("disc", "square", "triangle", "star", "ring", "other"))], GIVEN, {"": NAMES}
        )


def test_annotated_names_are_checked(tmp_path):
    with pytest.raises(DataError) as caught:
        open_data(write_half(tmp_path / "set", "disc, disk", count=5))
    assert caught.value.key == "annotated" and caught.value.found == "disk"


def test_annotated_is_a_key_of_yaml_too(halves, tmp_path):
    file = tmp_path / "half.yaml"
    names = ", ".join(NAMES)
    file.write_text(f"train: {halves[0].parent / 'train.txt'}\nnames: [{names}]\nannotated: [ring, disc]\n")
    assert open_data(file).annotated == ("disc", "ring")


@pytest.mark.parametrize("text", ["annotated =", "annotated = ,", "annotated=\nannotated ="])
def test_annotated_without_a_name_is_refused(tmp_path, text):
    data = write_half(tmp_path / "set", "disc", count=5)
    data.write_text(data.read_text().replace("annotated = disc", text))
    with pytest.raises(DataError, match="annotated: names no class") as caught:
        open_data(data)
    assert caught.value.path == str(data) and "leave out the key" in caught.value.hint
    data.write_text(data.read_text() + "annotated = ring\n")  # as in C Darknet the first value counts
    assert "annotated = ," in text or open_data(data).annotated == ("ring",)


@pytest.mark.parametrize("text", ["annotated:", "annotated: []", 'annotated: ""'])
def test_annotated_without_a_name_is_refused_in_yaml(halves, tmp_path, text):
    file = tmp_path / "half.yaml"
    file.write_text(f"train: {halves[0].parent / 'train.txt'}\nnames: [{', '.join(NAMES)}]\n{text}\n")
    with pytest.raises(DataError, match="annotated: names no class"):
        open_data(file)


def test_names_united():
    assert unite_names([["a", "B c"], ["b_c", "d"]]) == ("a", "B c", "d")
    assert unite_names([["0", "1"], ["a", "b", "c"]]) == ("a", "b", "c")


def test_a_task_stands_before_the_path_unless_that_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_given("night=d/a.data") == GivenData("d/a.data", "night")
    assert parse_given("a b=c.data") == GivenData("a b=c.data")
    Path("night=x.data").write_text("")
    assert parse_given("night=x.data") == GivenData("night=x.data")


def test_titles_tell_data_sets_apart():
    def titles(*paths: str) -> tuple[str, ...]:
        return title_parts([GivenData(path) for path in paths])

    assert titles("a/one.data", "a/two.yaml") == ("one", "two")
    assert titles("a/x.data", "b/x.data") == ("a", "b")
    assert titles("a/x.data", "b/x.data", "b/y.data") == ("a/x", "b/x", "b/y")
    assert titles("x.data", "x.data") == ("x-1", "x-2")


def test_an_image_in_two_data_sets_is_told(halves):
    one = open_data(halves[0])
    whole = unite([one, one], [GivenData("a/half.data"), GivenData("b/half.data")], {})
    assert any("all 12 images of b stand in a too" in problem.reason for problem in whole.problems)


def test_shares_go_through_each_data_set_again_and_again():
    shares = EpochShares.from_weights([1, 3], [10, 4])
    assert sum(shares.counts) == 14 and shares.counts[1] in (10, 11)
    seen = Counter()
    for epoch in range(40):
        picked = shares.pick(7, epoch)
        assert np.array_equal(picked, shares.pick(7, epoch)) and len(set(picked.tolist())) == 14
        places = picked % 14
        assert ((places < 10).sum(), (places >= 10).sum()) == shares.counts
        seen.update(places.tolist())
    for part in (range(10), range(10, 14)):
        counts = [seen[place] for place in part]
        assert max(counts) - min(counts) <= 1


def test_shares_by_size_are_all_images_once():
    shares = EpochShares.from_weights([3, 5], [3, 5])
    assert sorted(shares.pick(0, 2).tolist()) == list(range(8))


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_images_are_mixed_within_their_data_set(halves, mixup):
    whole = unite(open_both(halves), GIVEN, {})
    fetched: list[int] = []
    hyp = HYP_PRESETS["small"]._replace(mosaic=1.0, mixup=mixup)
    parts = tuple(YolorTransform(hyp, (32, 32), part.images) for part in whole.parts)
    store = ImageStore(whole.samples, parts=whole.parts)

    class Store(ImageStore):
        def __call__(self, index):
            fetched.append(index)
            return store(index)

    recipe = PartsTransform(parts, (0, 12))
    plan = ShuffledBatchSampler(20, 4, 0, None, EpochShares.from_weights([1, 1], [12, 8]))
    loader = Loader(Store(whole.samples, parts=whole.parts), recipe, plan, workers=0)
    for batch in loader.epoch(0):
        for sample, source in zip(batch.samples, batch.sources.tolist(), strict=True):
            assert ("two" in sample.image) == bool(source)
    seen = np.array(fetched).reshape(-1, 4 if not mixup else 8)
    assert ((seen < 12).all(axis=1) | (seen >= 12).all(axis=1)).all()
    assert {*np.unique(seen)} > {0, 19} or len(np.unique(seen)) > 15


def test_an_unreadable_image_is_replaced_by_one_of_its_data_set(halves):
    whole = unite(open_both(halves), GIVEN, {})
    store = ImageStore(whole.samples, substitutes=True, parts=whole.parts)
    store.skipped[whole.samples[11].image] = "broken"
    assert store.readable_index(11) == 0 and store.source(11) == 0 and store.source(12) == 1


def test_a_wrong_number_of_weights_or_classes_is_refused(halves, tmp_path):
    both = tuple(map(str, halves))
    said = training.options(tmp_path, halves[0], data_weights=(1.0, 2.0, 3.0))._replace(data=both)
    with pytest.raises(CfgError, match="a weight for each data set"):
        training.run(said, tmp_path)
    five = training.options(tmp_path, halves[0], text=training.yolor_text(classes=5))._replace(data=both)
    with pytest.raises(DataError, match="differ in the number of classes"):
        training.run(five, tmp_path)
    task = training.options(tmp_path, halves[0])._replace(data=(both[0], f"night={both[1]}"))
    with pytest.raises(CfgError, match="no such task"):
        training.run(task, tmp_path)


def test_what_is_validated_on_may_label_all_classes_or_some(halves, tmp_path):
    both = tuple(map(str, halves))
    said = training.options(tmp_path, halves[0], no_val=False)._replace(data=both)
    whole = prepare_job(said._replace(val_data=str(halves[0].with_name("shapes.data"))))
    assert not whole.holdout.parts and whole.holdout.names == NAMES
    some = prepare_job(said._replace(val_data=both[1]))
    assert [part.known for part in some.holdout.parts] == [(3, 4, 5)]
    with pytest.raises(CfgError, match="has this task"):
        prepare_job(said._replace(val_data=f"night={both[1]}"))


def test_a_run_on_several_data_sets_is_repeated_to_the_bit(halves, tmp_path):
    said = training.options(tmp_path, halves[0], epochs=1, data_weights=(1.0, 2.0), no_val=True)
    said = said._replace(data=tuple(map(str, halves)))
    first, second = (training.run(said, tmp_path, name).folder for name in ("a", "b"))
    assert not training.different(first / LAST, second / LAST)
