"""Splits: every class in its share, similar images together, what stands in two splits told."""

import json
import shlex
import shutil
from pathlib import Path

import cv2
import layouts
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.divide import divide, split_sizes
from yolor_cfg.data.overlap import similar_names
from yolor_cfg.data.similar import join_groups, similar_groups
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Sample
from yolor_cfg.runs import PARTIAL_FOLDER

SPLITS = layouts.make_split()


def sample(*classes: int) -> Sample:
    count = len(classes)
    nothing = np.zeros(count, bool)
    return Sample(
        "",
        np.full((count, 4), 0.5, np.float32),
        np.array(classes, np.int64),
        np.full(count, -1),
        nothing,
        np.ones(count, np.float32),
        0,
        (8, 8),
        nothing,
    )


def test_every_class_has_its_share_in_every_split() -> None:
    """The right numbers are the shares themselves: 10 of 50, 4 of 20, 2 of 10, 4 of 20 without labels."""
    samples = [*[sample(0)] * 50, *[sample(1, 0)] * 20, *[sample(2)] * 10, *[sample()] * 20]
    numbers = divide(samples, np.arange(100), (0.8, 0.2), seed=3, classes=3)
    kinds = np.repeat([0, 1, 2, 3], [50, 20, 10, 20])
    assert np.bincount(kinds[numbers == 1]).tolist() == [10, 4, 2, 4]
    again = divide(samples, np.arange(100), (0.8, 0.2), seed=3, classes=3)
    other = divide(samples, np.arange(100), (0.8, 0.2), seed=4, classes=3)
    assert (numbers == again).all() and (numbers != other).any()


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.7, 0.2, 0.1), (0.34, 0.66)])
@pytest.mark.parametrize("count", [7, 40, 301])
def test_splits_have_their_sizes_and_groups_stay_whole(shares: tuple[float, ...], count: int) -> None:
    rng = np.random.default_rng(count)
    samples = [sample(*rng.integers(0, 5, rng.integers(0, 4))) for _ in range(count)]
    groups = np.where(np.arange(count) % 10 == 1, np.arange(count) - 1, np.arange(count))
    numbers = divide(samples, groups, shares, seed=0, classes=5)
    assert np.abs(np.bincount(numbers) - split_sizes(count, shares)).max() <= 1
    assert (numbers == numbers[groups]).all()


def test_copies_resized_ones_and_frames_of_one_scene_are_similar(tmp_path: Path) -> None:
    first, second = tiny.photo(90, 120, seed=1), tiny.photo(90, 120, seed=2)
    moved = first.copy()
    moved[10:16, 10:16] = 255
    images = [first, second, cv2.resize(first, (60, 45)), moved, 255 - first, np.zeros_like(first)]
    paths = [str(tiny.save(tmp_path / f"{number}.png", image)) for number, image in enumerate(images)]
    paths.append(str(tmp_path / "copy.png"))
    Path(paths[-1]).write_bytes(Path(paths[5]).read_bytes())
    for name, seed in (("x_jpg.rf.0123456789abcdef0", 7), ("x_jpg.rf.fedcba98765432100", 8)):
        paths.append(str(tiny.save(tmp_path / f"{name}.png", tiny.photo(seed=seed))))
    paths.append(str(tiny.save(tmp_path / "grey.png", np.full_like(first, 9))))
    assert similar_groups(paths).tolist() == [0, 1, 0, 0, 4, 5, 5, 7, 7, 9]


def test_similar_images_stay_in_one_split(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path / "a", layouts.make_split(10))
    for stem in ("t0", "t1"):
        pixels = cv2.imread(str(root / f"images/{stem}.png"))
        for number in range(3):
            cv2.imwrite(str(root / f"images/{stem}_{number}.png"), cv2.resize(pixels, (96 + number, 80)))
    result = tiny.yolor("data", "split", root, "--val", 0.25)
    assert result.exit_code == 0, result.output
    assert "8 similar images in 2 groups, each" in result.output
    parts = [open_data(tmp_path / "a_split", split=split, caches=False) for split in ("train", "val")]
    stems = [{Path(one.image).stem.split("_")[0] for one in part.samples} for part in parts]
    assert not stems[0] & stems[1] and len(parts[1].samples) == 4


def test_images_that_are_all_alike_are_divided_one_by_one_and_that_is_told(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path / "a", SPLITS)
    same = (root / "images/t0.png").read_bytes()
    for path in (root / "images").iterdir():
        path.write_bytes(same)
    result = tiny.yolor("data", "split", root, "--val", 0.5, "--out", tmp_path / "b")
    assert result.exit_code == 0 and "too similar" in result.output
    assert len(open_data(tmp_path / "b", split="val", caches=False).samples) == 3


def test_a_command_that_a_message_tells_can_be_pasted(tmp_path: Path) -> None:
    root = layouts.label_studio(tmp_path / "my 'first' data", SPLITS)
    divided = root.with_name(f"{root.name}_split")
    checked = tiny.yolor("data", "check", root)
    refused = tiny.yolor("data", "stats", root, "--split", "val")
    assert "no val split" in checked.stderr and "no val split" in refused.stderr
    for told in (checked, refused):
        _, command, *_ = told.stderr.split("`")
        _, *words = shlex.split(command)
        assert tiny.yolor(*words).exit_code == 0 and divided.is_dir()
        shutil.rmtree(divided)


def test_a_divided_set_is_divided_anew_only_when_asked(tmp_path: Path) -> None:
    root = layouts.coco_folders(tmp_path / "a", SPLITS)
    refused = tiny.yolor("data", "split", root)
    assert refused.exit_code == 3 and "is divided already" in refused.output and "--all" in refused.output
    result = tiny.yolor(
        "data", "split", root, "--all", "--val", 0.25, "--test", 0.25, "--out", tmp_path / "b"
    )
    assert result.exit_code == 0, result.output
    parts = [open_data(tmp_path / "b", split=split, caches=False) for split in ("train", "val", "test")]
    assert [len(part.samples) for part in parts] == [4, 2, 2]
    assert sum(len(one.classes) for part in parts for one in part.samples) == sum(
        len(shown.boxes) for images in SPLITS.values() for shown in images
    )


def test_a_test_split_stays_when_the_rest_is_divided(tmp_path: Path) -> None:
    root = tmp_path / "a"
    layouts.images_and_xml(root, SPLITS["train"], "train", "train")
    layouts.images_and_xml(root, SPLITS["val"], "test", "test")
    result = tiny.yolor("data", "split", root, "--val", 0.34)
    assert result.exit_code == 0, result.output
    parts = [open_data(f"{root}_split", split=split, caches=False) for split in ("train", "val", "test")]
    assert [len(part.samples) for part in parts] == [4, 2, 2]
    assert {Path(one.image).stem for one in parts[2].samples} == {"v0", "v1"}


def test_check_reads_all_splits_and_finds_images_that_stand_in_two(tmp_path: Path) -> None:
    root = layouts.split_folders(tmp_path, SPLITS)
    (root / "val/images/copy.png").write_bytes((root / "train/images/t3.png").read_bytes())
    (root / "val/labels/copy.txt").write_text("7 .5 .5 .1 .1\n")
    result = tiny.yolor("data", "check", root)
    assert result.exit_code == 3 and "val/labels/copy.txt:1: class 7 is not in 0..1" in result.output
    assert f"1 of 3 images of val stands in train too: {root}/train/images/t3.png and" in result.output
    document = json.loads(tiny.yolor("data", "check", root, "--json").stdout)
    assert [document["splits"][split]["images"] for split in ("train", "val")] == [6, 3]
    assert document["images"] == 6
    # The counts of the first split stand at the top too.
    first = document["splits"]["train"]
    assert {key: document[key] for key in first} == first and document["faults"]
    for split in ("train", "val"):
        counts = document["splits"][split]
        rows = [row.split()[0] for file in (root / split).rglob("*.txt") for row in file.open()]
        of_classes = {name: rows.count(str(k)) for k, name in enumerate(("cat", "dog"))}
        assert counts["classes"] == of_classes and counts["boxes"] == sum(of_classes.values()) > 0
    only = json.loads(tiny.yolor("data", "check", root, "--split", "val", "--json").stdout)
    assert list(only["splits"]) == ["val"] and only["images"] == 3


def test_check_tells_of_one_list_for_train_and_val(tmp_path: Path) -> None:
    description = layouts.darknet(tmp_path, SPLITS)
    description.write_text(description.read_text().replace("valid.txt", "train.txt"))
    result = tiny.yolor("data", "check", description)
    assert result.exit_code == 0 and "all 6 images of val stand in train too" in result.output
    out = tiny.yolor("data", "convert", description, tmp_path / "out")
    assert out.exit_code == 0 and len(list((tmp_path / "out/images").rglob("*.png"))) == 6
    assert len(open_data(tmp_path / "out", split="val", caches=False).samples) == 6


def test_a_json_file_holds_one_split_and_the_others_are_named(tmp_path: Path) -> None:
    folder = layouts.roboflow_voc(tmp_path / "data", SPLITS)
    out = tiny.yolor("data", "convert", folder, tmp_path / "a.json")
    assert out.exit_code == 0 and "val is not written: --split val" in out.output
    out = tiny.yolor("data", "convert", folder, tmp_path / "b.json", "--split", "val")
    assert out.exit_code == 0 and "is not written" not in out.output


def test_the_folder_of_one_split_is_not_train_too(tmp_path: Path) -> None:
    folder = layouts.roboflow_darknet(tmp_path, layouts.make_split(6, 6)) / "valid"
    result = tiny.yolor("data", "check", folder, "--json")
    assert list(json.loads(result.stdout)["splits"]) == ["val"] and "stand in" not in result.output
    out = tiny.yolor("data", "split", folder, "--out", tmp_path / "out")
    assert out.exit_code == 0 and "6 images (train 5, val 1)" in out.output


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("cat", "Cat", "dog"), [("cat", "Cat", "case")]),
        (("helmet", "helmett"), [("helmet", "helmett", "one letter")]),
        (("person", "persom"), [("person", "persom", "one letter")]),
        (("person", "preson"), [("person", "preson", "one letter")]),
        (("WBC", "RBC"), []),
        (("car", "cat"), []),
        (("limit30", "limit50"), []),
        (("k0", "k1", "k10"), []),
        (("dog", "horse"), []),
    ],
)
def test_classes_that_look_misspelt_are_paired(
    names: tuple[str, ...], pairs: list[tuple[str, str, str]]
) -> None:
    assert list(similar_names(names)) == pairs


def test_check_tells_of_a_class_that_is_spelt_in_two_ways(tmp_path: Path) -> None:
    root = layouts.voc(tmp_path, SPLITS)
    file = root / "Annotations/v0.xml"
    file.write_text(file.read_text().replace("cat", "Cat"))
    assert "the classes 'Cat' and 'cat' differ by case" in tiny.yolor("data", "check", root).output


def test_a_draw_that_was_killed_does_not_mix_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / "a" / PARTIAL_FOLDER / "images"
    left.mkdir(parents=True)
    (left / "shape000000.jpg").write_bytes(b"half")
    (left / "shape000099.jpg").write_bytes(b"old")
    result = tiny.yolor("data", "draw", tmp_path / "a", "--count", 4, "--size", 32)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "a/images").iterdir()) == [
        f"shape{number:06d}.jpg" for number in range(4)
    ]
    assert not (tmp_path / "a" / PARTIAL_FOLDER).exists()
    assert len(open_data(tmp_path / "a", caches=False).samples) == 3


def test_a_draw_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yolor_cfg.data.write_shapes._write_lists", fail)
    assert tiny.yolor("data", "draw", tmp_path / "a", "--count", 4, "--size", 32).exit_code == 130
    assert not (tmp_path / "a").exists()


def test_groups_of_two_kinds_are_joined() -> None:
    """0 and 2 are together in one, 2 and 3 in the other, 1 and 4 in the other alone."""
    assert join_groups(np.array([0, 1, 0, 3, 4]), np.array([0, 1, 2, 2, 1])).tolist() == [0, 1, 0, 0, 1]


def test_after_a_split_no_image_leaks_cut_or_mirrored(tmp_path: Path) -> None:
    """Every image has a mirrored copy and one with a border cut off; the splits share none of them."""
    root = tmp_path / "a"
    for number in range(8):
        pixels = tiny.photo(96, 128, seed=number)
        for name, image in (("a", pixels), ("b", pixels[:, ::-1]), ("c", pixels[4:, 5:])):
            tiny.save(root / f"images/{number}{name}.png", np.ascontiguousarray(image))
            layouts.write_text_file(root / f"labels/{number}{name}.txt", "0 0.5 0.5 0.2 0.2\n")
    layouts.write_text_file(root / "classes.txt", "cat\n")
    result = tiny.yolor("data", "split", root, "--val", 0.25)
    assert result.exit_code == 0 and "24 similar images in 8 groups" in result.output, result.output
    found = tiny.yolor("data", "duplicates", tmp_path / "a_split", "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["leaks"] == 0
    assert sum(json.loads(found.stdout)["kinds"].values()) == 16


@pytest.mark.parametrize(
    "args",
    [
        ("data", "split", "d", "--val", "nan"),
        ("data", "split", "d", "--test", "nan"),
        ("compare", "a.cfg", "a.weights", "--against", "b.weights", "--tolerance", "nan"),
        ("export", "a.cfg", "a.weights", "--page-limit", "nan"),
        ("train", "a.cfg", "--data", "d", "--cache", "nan"),
    ],
)
def test_nan_is_no_number_for_an_option(args: tuple[str, ...]) -> None:
    done = tiny.yolor(*args)
    assert done.exit_code == 2 and "nan is not a number" in done.stderr, done.output


def test_of_many_classes_that_a_split_lacks_the_first_are_named(tmp_path: Path) -> None:
    for number in range(4):
        tiny.save(tmp_path / f"d/{number}.png", tiny.photo(24, 24, seed=number))
        rows = (f"{number * 100 + k} .5 .5 .5 .5\n" for k in range(100))
        (tmp_path / f"d/{number}.txt").write_text("".join(rows))
    (tmp_path / "d/classes.txt").write_text("".join(f"kind {k}\n" for k in range(400)))
    done = tiny.yolor("data", "split", tmp_path / "d", "--val", "0.25")
    (note,) = (line for line in done.stderr.splitlines() if "train has no image of" in line)
    assert "(100 in all): too few" in note and len(note) < 600, note
