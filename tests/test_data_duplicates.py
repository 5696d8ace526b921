"""`yolor data duplicates`: changed copies are found, different images are not, leaks come first."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.duplicates.align import COLUMNS, ROWS, _overlay, likeness
from yolor_cfg.data.duplicates.links import _compare_windows, count_steps, link_images
from yolor_cfg.data.duplicates.prints import (
    SIDE,
    ImagePrints,
    describe_windows,
    make_thumbnail,
    read_prints,
)
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes

Picture = np.ndarray[Any, Any]
COUNT = 30


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Drawn images, and blurred noise, which has nothing of shapes."""
    root = tmp_path_factory.mktemp("drawn")
    write_shapes(root / "a", ShapesOptions(COUNT - 6, (144, 192)), seed=4)
    drawn = [cv2.imread(str(path)) for path in sorted((root / "a/images").rglob("*.jpg"))]
    rng = np.random.default_rng(1)
    coarse = (rng.integers(0, 256, (14, 18, 3)).astype(np.uint8) for _ in range(6))
    return [*drawn, *(cv2.resize(one, (192, 144), interpolation=cv2.INTER_CUBIC) for one in coarse)]


def recompress(image: Picture, quality: int) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "square": lambda image: cv2.resize(image, (256, 256)),
    "jpeg 95": lambda image: recompress(image, 95),
    "jpeg 40": lambda image: recompress(image, 40),
    "brighter": lambda image: np.clip(image * 1.15, 0, 255).astype(np.uint8),
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "2 % at the left": lambda image: image[:, 4:],
    "5 % at two sides": lambda image: image[7:, :-9],
    "5 % around": lambda image: image[4:-4, 5:-5],
}


def prints_of(images: list[Picture]) -> ImagePrints:
    greys = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images]
    thumbnails = np.stack([make_thumbnail(np.asarray(grey, np.uint8)) for grey in greys])
    return ImagePrints([str(number).encode() for number in range(len(images))], thumbnails)


def links_of(images: list[Picture], **options: Any) -> set[tuple[int, int, str]]:
    linked = link_images([str(number) for number in range(len(images))], prints_of(images), **options)
    return {(link.one, link.other, link.kind) for link in linked.links}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change: str, pictures: list[Picture]) -> None:
    changed = [np.ascontiguousarray(CHANGES[change](image)) for image in pictures]
    found = links_of([*pictures, *changed])
    assert {(one, other) for one, other, _ in found} == {(n, n + COUNT) for n in range(COUNT)}
    assert all(kind != "mirrored" for *_, kind in found)


def test_a_mirrored_copy_has_a_name_of_its_own(pictures: list[Picture]) -> None:
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in pictures]
    assert links_of([*pictures, *mirrored]) == {(n, n + COUNT, "mirrored") for n in range(COUNT)}
    assert links_of([*pictures, *mirrored], mirrors=False) == set()


def test_different_images_are_never_linked_even_at_a_low_threshold(pictures: list[Picture]) -> None:
    assert links_of(pictures) == set() and links_of(pictures, threshold=0.75) == set()


def test_plain_images_are_compared_by_their_bytes_alone(tmp_path: Path) -> None:
    images = [np.full((64, 96, 3), grey, np.uint8) for grey in (255, 90, 200)]
    images[2][10, 10] = 199
    paths = [str(tiny.save(tmp_path / f"{n}.png", image)) for n, image in enumerate(images)]
    paths.append(str(tmp_path / "copy.png"))
    Path(paths[3]).write_bytes(Path(paths[1]).read_bytes())
    linked = link_images(paths, read_prints(paths))
    assert [(link.one, link.other, link.kind) for link in linked.links] == [(1, 3, "file")]


def test_digests_are_those_of_the_bytes_and_unreadable_files_are_alone(tmp_path: Path) -> None:
    good = tiny.save(tmp_path / "a.png", tiny.photo())
    (tmp_path / "b.png").write_bytes(b"nothing")
    (tmp_path / "c.png").write_bytes(b"nothing")
    paths = [str(good), str(tmp_path / "b.png"), str(tmp_path / "none.png")]
    prints = read_prints(paths)
    assert prints.digests[0] == hashlib.blake2b(good.read_bytes(), digest_size=16).digest()
    assert not prints.thumbnails[1:].any() and link_images(paths, prints).links == []


def test_likeness_is_the_correlation_of_what_both_show(pictures: list[Picture]) -> None:
    """Of one image it is 1, of unlike ones far below the threshold; brightness and contrast do not count."""
    first, second = prints_of(pictures[:2]).thumbnails
    assert likeness(first, first, 0) == pytest.approx(1, abs=1e-6)
    assert likeness(first, second, 0) < 0.6
    lighter = np.clip(first * 0.6 + 60, 0, 255).round().astype(np.uint8)
    assert likeness(first, lighter, 0) > 0.99
    assert likeness(first, 255 - first, 0) == 0
    descriptions = describe_windows(np.stack([first, second]))
    np.testing.assert_allclose([np.linalg.norm(part, axis=1) for part in descriptions], 1, atol=1e-5)


def save_set(root: Path, splits: dict[str, dict[str, Picture]], suffix: str = ".png") -> Path:
    for split, images in splits.items():
        for name, image in images.items():
            place = root / f"images/{split}/{name}{suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(place), image)
            label = root / f"labels/{split}/{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "classes.txt").write_text("x\n")
    return root


@pytest.fixture
def leaky(pictures: list[Picture], tmp_path: Path) -> Path:
    """a and e leak from train to val, f mirrored; b and c are nearly the same inside train, b is larger."""
    a, b, d, e, f = pictures[:5]
    train = {"a": a, "b": b, "c": cv2.resize(b, (96, 72)), "d": d, "e": e, "f": f}
    val = {"p": recompress(a, 60), "q": pictures[7], "r": np.ascontiguousarray(e[3:, 4:])}
    val["s"] = np.ascontiguousarray(f[:, ::-1])
    return save_set(tmp_path / "leaky", {"train": train, "val": val})


def run(*args: object) -> tuple[int, Any]:
    done = tiny.yolor("data", "duplicates", *args, "--json")
    return done.exit_code, json.loads(done.stdout)


def stems(group: dict[str, Any]) -> list[str]:
    return sorted(Path(one["path"]).stem for one in group["images"])


def test_leaks_come_first_and_give_exit_code_3(leaky: Path) -> None:
    code, found = run(leaky)
    assert code == 3 and found["leaks"] == 3 and found["sets"] == {"train": 6, "val": 4}
    assert [group["leak"] for group in found["groups"]] == [True, True, True, False]
    assert sorted(map(stems, found["groups"][:3])) == [["a", "p"], ["e", "r"], ["f", "s"]]
    assert stems(found["groups"][3]) == ["b", "c"]
    assert found["kinds"] == {"near": 3, "mirrored": 1}
    code, found = run(leaky, "--split", "train")
    assert code == 0 and list(map(stems, found["groups"])) == [["b", "c"]]
    code, found = run(leaky, "--no-mirrored")
    assert code == 3 and found["leaks"] == 2
    done = tiny.yolor("data", "duplicates", leaky)
    assert done.exit_code == 3 and "3 groups of images stand in several splits" in done.stderr
    assert "mirrored, else nearly the same" in done.stdout and "leak: 2 images" in done.stdout


def test_the_same_pixels_in_another_file_and_the_same_bytes_are_told_apart(
    pictures: list[Picture], tmp_path: Path
) -> None:
    root = save_set(
        tmp_path / "a", {"train": {"a": pictures[0], "b": pictures[1]}, "val": {"c": pictures[2]}}
    )
    cv2.imwrite(str(root / "images/val/again.bmp"), pictures[0])
    (root / "images/val/copy.png").write_bytes((root / "images/train/b.png").read_bytes())
    code, found = run(root)
    assert code == 3 and found["kinds"] == {"file": 1, "pixels": 1}
    kinds = {tuple(stems(group)): group["links"][0]["kind"] for group in found["groups"]}
    assert kinds == {("a", "again"): "pixels", ("b", "copy"): "file"}


def test_another_data_set_is_compared_with(pictures: list[Picture], tmp_path: Path) -> None:
    mine = save_set(tmp_path / "mine", {"train": {"a": pictures[0], "b": pictures[1]}})
    theirs = save_set(tmp_path / "theirs", {"train": {"x": pictures[5], "y": recompress(pictures[1], 50)}})
    assert run(mine)[0] == 0
    code, found = run(mine, "--against", theirs)
    assert code == 3 and list(map(stems, found["groups"])) == [["b", "y"]]
    assert found["sets"] == {"train": 2, "against train": 2}


def test_one_image_in_two_lists_is_a_leak(pictures: list[Picture], tmp_path: Path) -> None:
    root = save_set(tmp_path / "a", {"all": {"a": pictures[0], "b": pictures[1], "c": pictures[2]}})
    for name, words in (("train", "ab"), ("val", "bc")):
        (root / f"{name}.txt").write_text("".join(f"images/all/{word}.png\n" for word in words))
    (root / "a.data").write_text("classes=1\ntrain=train.txt\nvalid=val.txt\nnames=classes.txt\n")
    code, found = run(root / "a.data")
    assert code == 3 and list(map(stems, found["groups"])) == [["b"]]
    assert found["groups"][0]["images"][0]["sets"] == ["train", "val"]


def test_the_list_of_what_to_keep_has_no_leak_and_one_of_each_group(leaky: Path, tmp_path: Path) -> None:
    out = tmp_path / "keep.txt"
    before = sorted(path.name for path in leaky.rglob("*.png"))
    done = tiny.yolor("data", "duplicates", leaky, "--keep-one", out)
    assert done.exit_code == 3 and "2 of 6 images of train" in done.stderr
    assert [Path(line).name for line in out.read_text().splitlines()] == ["b.png", "d.png"]
    assert sorted(path.name for path in leaky.rglob("*.png")) == before
    again = tiny.yolor("data", "duplicates", leaky, "--keep-one", out)
    assert again.exit_code == 3 and "exists already" in again.output
    # The list is data of its own: with val there is no leak any more.
    (tmp_path / "clean.data").write_text(
        f"classes=1\ntrain={out}\nvalid={leaky}/images/val\nnames={leaky}/classes.txt\n"
    )
    assert run(tmp_path / "clean.data")[0] == 0


def test_roboflows_copies_of_one_image_belong_together_by_name(
    pictures: list[Picture], tmp_path: Path
) -> None:
    names = [f"street_jpg.rf.{'0123456789abcdef' * 2}", f"street_jpg.rf.{'fedcba9876543210' * 2}"]
    root = tmp_path / "a"
    save_set(root, {"all": dict(zip(names, pictures[:2], strict=True))})
    code, found = run(root / "images/all/../../")
    assert code == 0 and found["kinds"] == {"augmented": 1}


def test_the_sheet_shows_the_groups_side_by_side(leaky: Path, tmp_path: Path) -> None:
    page, image = tmp_path / "pairs.html", tmp_path / "pairs.png"
    assert tiny.yolor("data", "duplicates", leaky, "--sheet", page).exit_code == 3
    text = page.read_text()
    assert text.count("<img") == 8 and text.count("leak: train, val") == 3 and "mirrored" in text
    assert tiny.yolor("data", "duplicates", leaky, "--sheet", image).exit_code == 3
    assert cv2.imread(str(image)).shape[1] == 2 * 248 + 8


def test_work_grows_by_blocks_and_progress_reaches_its_end(pictures: list[Picture]) -> None:
    steps = []
    link_images(["x"] * COUNT, prints_of(pictures), mirrors=True, progress=lambda: steps.append(1))
    assert len(steps) == count_steps(COUNT, mirrors=True) == 2
    assert count_steps(20_000, mirrors=False) == 40


def test_images_without_labels_are_compared_and_unreadable_ones_are_told(
    pictures: list[Picture], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        tiny.save(tmp_path / f"{name}.png", pictures[0])
    (tmp_path / "c.png").write_bytes(b"nothing")
    done = tiny.yolor("data", "duplicates", tmp_path)
    assert done.exit_code == 0 and "the same bytes" in done.stdout
    assert f"note: {tmp_path}/c.png: not an image" in done.stderr


def test_a_file_that_would_not_be_written_is_told_before_any_image_is_read(
    leaky: Path, tmp_path: Path
) -> None:
    out = tmp_path / "keep.txt"
    out.write_text("mine")
    for option, code in (("--keep-one", 3), ("--sheet", 1)):
        page = tmp_path / "page.html"
        name = out if option == "--keep-one" else page
        page.write_text("mine")
        done = tiny.yolor("data", "duplicates", leaky, option, name)
        assert done.exit_code == code and "exists already" in done.stderr and not done.stdout
        assert name.read_text() == "mine"
    args = ("--sheet", tmp_path / "x.html", "--keep-one", tmp_path / "x.html", "--force")
    done = tiny.yolor("data", "duplicates", leaky, *args)
    assert done.exit_code == 2 and "name the same file" in done.stderr
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("placing", [(1.0, 1.0, 0.0, 0.0), (0.9, 1.1, 3.0, -2.0), (1.05, 0.95, -1.5, 4.0)])
def test_a_placing_says_where_the_middle_of_each_pixel_lies(placing: tuple[float, ...]) -> None:
    """Of an image whose values are its own coordinates, counted from the corner of the first pixel."""
    across, down = placing[0] * COLUMNS + placing[2], placing[1] * ROWS + placing[3]
    inside = (across >= 0.5) & (across <= SIDE - 0.5) & (down >= 0.5) & (down <= SIDE - 0.5)
    for own, wanted in ((COLUMNS, across), (ROWS, down)):
        overlay = _overlay(own, np.array(placing))
        assert np.abs(overlay.pixels - wanted)[inside].max() < 0.04  # OpenCV knows 32nds of a pixel
        ends = (across >= 0) & (across <= SIDE) & (down >= 0) & (down <= SIDE)
        assert (overlay.common == ends).all() and inside.mean() > 0.8


def test_the_window_that_is_most_alike_is_the_one_to_start_from() -> None:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(5, 7)).astype(np.float32)
    windows = [rng.normal(size=(4, 7)).astype(np.float32) for _ in range(3)]
    each = np.stack([block @ window.T for window in windows])
    best, part = _compare_windows(block, windows)
    np.testing.assert_allclose(best, each.max(axis=0), rtol=1e-5)
    assert (part == each.argmax(axis=0)).all() and len(set(part.ravel().tolist())) == 3


@pytest.mark.parametrize(("spread", "is_flat"), [(0.8, True), (4.0, False)])
def test_a_thumbnail_that_shows_nothing_is_empty(spread: float, is_flat: bool) -> None:
    grey = (120 + spread * np.random.default_rng(0).normal(size=(SIDE, SIDE))).round().astype(np.uint8)
    assert (not make_thumbnail(grey).any()) == is_flat
