"""`yolor data stats`: every figure against numpy or pycocotools on the same files; the page stands alone."""

import json
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"
WIDTH, HEIGHT = 96, 64
NAMES = ("disc", "square", "star")


def write_data(root: Path, rows: dict[str, list[tuple[int, float, float, float, float]]]) -> Path:
    """Images of 96 x 64 with boxes: class, left, top, width, height in pixels; those called v... are val."""
    for stem, boxes in rows.items():
        split = "val" if stem.startswith("v") else "train"
        tiny.save(root / f"images/{split}/{stem}.png", tiny.photo(HEIGHT, WIDTH, seed=len(stem) + len(boxes)))
        lines = [
            f"{k} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}\n"
            for k, x, y, w, h in boxes
        ]
        place = root / f"labels/{split}/{stem}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(lines))
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


ROWS: dict[str, list[tuple[int, float, float, float, float]]] = {
    "t0": [(0, 4, 5, 20, 10), (1, 30, 20, 8, 30), (0, 0, 40, 12, 12)],
    "t1": [(0, 4, 5, 20, 10)],
    "t2": [],
    "v0": [(1, 50, 10, 40, 40), (0, 10, 10, 6, 6), (1, 84, 2, 12, 20)],
}


def stats(path: Path, *args: object) -> dict[str, Any]:
    done = tiny.yolor("data", "stats", path, "--json", *args)
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("small"), ROWS)


def test_counts_of_images_boxes_and_classes(small: Path) -> None:
    found = stats(small)
    assert (found["images"], found["empty"], found["boxes"]) == (4, 1, 7)
    assert [(name, part["images"], part["boxes"]) for name, part in found["splits"].items()] == [
        ("train", 3, 4),
        ("val", 1, 3),
    ]
    disc, square, star = found["classes"]
    assert (disc["name"], disc["images"], disc["boxes"], disc["per_image"]) == ("disc", 3, 4, 4 / 3)
    assert disc["side"] == pytest.approx(np.median(np.sqrt([200, 144, 200, 36])), rel=1e-5)
    assert disc["aspect"][1] == pytest.approx(np.median([2, 1, 2, 1]), rel=1e-5)
    assert (square["truncated"], disc["truncated"]) == (1, 1)
    assert star["boxes"] == 0 and found["absent"] == ["star"]
    assert found["imbalance"] == pytest.approx(4 / 3)
    assert found["together"] == [{"classes": ["disc", "square"], "images": 2, "lift": 2 * 4 / (3 * 2)}]
    assert found["objects"] == [1, 1, 0, 2] and found["channels"] == {"3": 4}
    centres = np.array(found["centres"])
    assert centres.sum() == 7 and centres[int(10 / 64 * 24), int(14 / 96 * 24)] == 2
    assert found["common_sizes"] == [{"width": 96, "height": 64, "images": 4}]


def test_sizes_are_those_of_pycocotools(shared: Path) -> None:
    """Of every category of coco_mini, by the area ranges of its evaluation."""
    place = shared / "data/coco_mini/annotations/instances_val.json"
    found = stats(place, "--split", "val")
    truth = COCO(str(place))
    ranges = dict(zip(COCOeval(truth).params.areaRngLbl, COCOeval(truth).params.areaRng, strict=True))
    wanted: dict[str, dict[str, int]] = {}
    for name, (low, high) in ranges.items():
        for key in truth.getAnnIds(areaRng=[low, high], iscrowd=False):
            one = truth.loadCats(truth.anns[key]["category_id"])[0]["name"]
            wanted.setdefault(one, {}).setdefault(name, 0)
            wanted[one][name] += 1
    assert len(found["classes"]) == len(truth.getCatIds()) and found["images"] == len(truth.imgs)
    for row in found["classes"]:
        own = wanted.get(row["name"], {})
        assert [row[key] for key in ("small", "medium", "large")] == [
            own.get(key, 0) for key in ("small", "medium", "large")
        ], row["name"]
        ids = truth.getCatIds(catNms=[row["name"]])
        assert row["boxes"] == len(truth.getAnnIds(catIds=ids, iscrowd=False))
        assert row["crowds"] == len(truth.getAnnIds(catIds=ids, iscrowd=True))


def test_boxes_are_measured_in_the_input(small: Path) -> None:
    """A letterbox of 192 scales 96 x 64 by 2, of 96x32 by a half."""
    before = stats(small)["classes"][0]["side"]
    assert stats(small, "--img-size", 192)["classes"][0]["side"] == pytest.approx(2 * before)
    assert stats(small, "--img-size", "32x96")["classes"][0]["side"] == pytest.approx(before / 2)
    assert stats(small, "--img-size", "32x96")["size"] == [32, 96]


def test_classes_may_be_chosen_by_name_or_id(small: Path) -> None:
    for words in (("--classes", "Square"), ("--classes", "1"), ("--class", "square, 1")):
        found = stats(small, *words)
        assert found["boxes"] == 3 and [row["name"] for row in found["classes"]] == ["square"]
        assert found["images"] == 4 and found["empty"] == 2
    for word in ("squid", str(len(NAMES)), "-1"):
        wrong = tiny.yolor("data", "stats", small, "--classes", word)
        assert wrong.exit_code == 3 and word in wrong.output and "disc, square, star" in wrong.output


def test_labels_worth_a_look_are_found_and_no_others(tmp_path: Path) -> None:
    odd = write_data(
        tmp_path / "odd",
        {
            "t0": [(0, 10, 10, 2, 9), (1, 0, 0, 96, 64), (2, 1, 30, 90, 4)],
            "t1": [(0, 10, 10, 20, 20), (0, 10.5, 10, 20, 20), (1, 10, 10.5, 20, 20), (2, 50, 10, 20, 20)],
            "t2": [(0, 40, 40, 20, 20), (1, 45, 45, 20, 20)],
            "v0": [(1, 50, 10, 40, 40)],
        },
    )
    with (odd / "labels/val/v0.txt").open("a") as file:
        file.write((odd / "labels/val/v0.txt").read_text())
    found = stats(odd)["oddities"]
    # t1: the second and the first box are one, the third is both of another class.
    assert found["counts"] == {
        "tiny": 1,
        "thin": 1,
        "whole": 1,
        "repeated": 1,
        "duplicate": 1,
        "two classes": 2,
    }
    shown = [
        (one["kind"], Path(one["image"]).stem, one["class"], one.get("other")) for one in found["labels"]
    ]
    assert shown == [
        ("tiny", "t0", "disc", None),
        ("thin", "t0", "star", None),
        ("whole", "t0", "square", None),
        ("repeated", "v0", "square", None),
        ("duplicate", "t1", "disc", "disc"),
        ("two classes", "t1", "square", "disc"),
        ("two classes", "t1", "square", "disc"),
    ]
    # At four times the size the side of 2 pixels is 8; the one of 4 was thin, not tiny, already.
    assert "tiny" not in stats(odd, "--img-size", 384)["oddities"]["counts"]


def test_the_network_says_what_it_will_lose(tmp_path: Path) -> None:
    """One head with stride 16 and anchors 20x20, 40x30, 60x70, input 64 x 96, images stretched: the second
    disc has the cell and the anchor of the first, the square another cell, the star another anchor."""
    rows = [
        (0, 20, 20, 20, 20),
        (0, 21, 21, 19, 20),
        (1, 60, 20, 20, 20),
        (2, 10, 15, 40, 30),
        (2, 70, 50, 9, 9),
    ]
    root = write_data(tmp_path / "a", {"t0": [tuple(row) for row in rows], "t1": [(0, 20, 20, 20, 20)]})
    cfg = tmp_path / "tiny.cfg"
    cfg.write_text(tiny.text())
    found = stats(root, "--cfg", cfg)["network"]
    assert (found["boxes"], found["below_cell"], found["finest"]) == (6, 1, [16, 16])
    anchors = np.array([(20, 20), (40, 30), (60, 70)], float)
    slots = set()
    for image, boxes in (("t0", rows), ("t1", [(0, 20, 20, 20, 20)])):
        for _, x, y, w, h in boxes:
            common = np.minimum((w, h), anchors).prod(axis=1)
            best = int((common / (w * h + anchors.prod(axis=1) - common)).argmax())
            slots.add((image, best, int((x + w / 2) // 16), int((y + h / 2) // 16)))
    assert found["shared"] == 6 - len(slots) == 1 and found["shared_by_class"] == {"disc": 1}
    assert (found["preprocess"], found["filled"], found["size"]) == ("stretch", 1, [64, 96])
    wide = stats(root, "--cfg", cfg, "--img-size", "128x96")["network"]
    assert wide["widened"] == pytest.approx(0.5)
    letterboxed = tmp_path / "letter.cfg"
    letterboxed.write_text(tiny.text(net="letter_box=1\n"))
    padded = stats(root, "--cfg", letterboxed, "--img-size", "128x96")["network"]
    assert padded["filled"] == pytest.approx(0.5) and padded["preprocess"] == "letterbox"


def test_the_table_has_a_row_for_each_class_and_splits_side_by_side(small: Path) -> None:
    done = tiny.yolor("data", "stats", small)
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["train", "val", "all"] and lines[1] == ["images", "3", "1", "4"]
    rows = {words[0]: words for words in reversed(lines) if words}
    assert rows["disc"][1:3] == ["4", "#" * 24] and rows["square"][1:3] == ["3", "#" * 18]
    assert ["disc", "and", "square", "2", "1.3"] in lines
    assert "classes without a box  1    star" in done.stdout


class Page:
    """An HTML file as a reader would load it."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")

    def drawings(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", self.text, re.S)]


def test_the_page_needs_nothing_else_and_shows_the_numbers(small: Path, tmp_path: Path) -> None:
    cfg = tmp_path / "tiny.cfg"
    cfg.write_text(tiny.text())
    place = tmp_path / "stats.html"
    done = tiny.yolor("data", "stats", small, "--cfg", cfg, "--sheet", place)
    assert done.exit_code == 0, done.output
    page = Page(place)
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:)\w+", page.text)
    assert set(re.findall(r"https?://[^\"'\s<]+", page.text)) <= {"http://www.w3.org/2000/svg"}
    bars, *others = page.drawings()
    ns = "{http://www.w3.org/2000/svg}"
    widths: dict[str, float] = {}
    for bar in bars.iter(f"{ns}rect"):
        name = bar.findtext(f"{ns}title", "").partition(":")[0]
        widths[name] = widths.get(name, 0) + float(bar.attrib["width"])
    assert widths["square"] / widths["disc"] == pytest.approx(3 / 4, rel=1e-3)
    assert len(others) == 4
    for words in ("What tiny.cfg sees", "Without a box: star", "Splits", "at the border"):
        assert words in page.text
    again = tiny.yolor("data", "stats", small, "--sheet", place)
    assert again.exit_code == 1 and "exists already" in again.output
    assert tiny.yolor("data", "stats", small, "--sheet", place, "--force").exit_code == 0


def test_names_of_classes_and_files_cannot_break_the_page(tmp_path: Path) -> None:
    root = write_data(tmp_path / "a", {"t<b>0&": [(0, 10, 10, 2, 9)], "v0": [(1, 5, 5, 9, 9)]})
    (root / "classes.txt").write_text("<script>alert(1)</script>\n\"'&\nstar\n")
    place = tmp_path / "p.html"
    assert tiny.yolor("data", "stats", root, "--sheet", place).exit_code == 0
    text = place.read_text()
    assert "<script" not in text and "&lt;script&gt;" in text and "t&lt;b&gt;0&amp;.png" in text
    assert len(Page(place).drawings()) >= 4


def test_grey_and_alpha_are_told_from_the_header(tmp_path: Path) -> None:
    from yolor_cfg.data.statistics.channels import count_channels, read_channel_count

    pixels = tiny.photo(20, 30, channels=4)
    paths = []
    for name, image in (
        ("grey.png", pixels[..., 0]),
        ("grey.jpg", pixels[..., 0]),
        ("colour.jpg", pixels[..., :3]),
        ("alpha.png", pixels),
        ("colour.bmp", pixels[..., :3]),
    ):
        paths.append(str(tmp_path / name))
        assert cv2.imwrite(paths[-1], image)
    np.save(tmp_path / "stack.npy", tiny.photo(20, 30, channels=6))
    paths.append(str(tmp_path / "stack.npy"))
    assert [read_channel_count(path) for path in paths] == [1, 1, 3, 4, 3, 6]
    assert count_channels(paths) == {1: 2, 3: 2, 4: 1, 6: 1}
    for name, content in (
        ("no.png", b"nothing"),
        ("no.npy", b""),
        ("zip.npy", b"PK\x03\x04"),
        ("cut.jpg", JPEG),
    ):
        (tmp_path / name).write_bytes(content)
        assert read_channel_count(str(tmp_path / name)) == 0, name


def test_images_with_classes_alone_have_no_boxes_to_look_at(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        tiny.save(tmp_path / f"a/train/{name}/0.png", tiny.photo(seed=len(name)))
    done = tiny.yolor("data", "stats", tmp_path / "a")
    assert done.exit_code == 3 and "no boxes to look at" in done.output


# Sheets


def read_sheet(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_a_sheet_shows_each_image_with_its_boxes_in_the_colour_of_the_class(tmp_path: Path) -> None:
    """Plain grey images: what is not grey between the captions is a frame or a name."""
    from yolor_cfg.images.draw import class_color

    root = write_data(tmp_path / "a", {"t0": [(0, 20, 10, 40, 30)], "t1": [(1, 30, 20, 20, 20)]})
    for path in (root / "images").rglob("*.png"):
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    out = tmp_path / "sheet.png"
    done = tiny.yolor("data", "sheet", root, out, "--sort", "most")
    assert done.exit_code == 0 and "2 images" in done.stderr, done.output
    image = read_sheet(out)
    assert image.shape[1] == 2 * 248 + 8
    gain = 240 / WIDTH  # 96 x 64 fills 240 x 160, 10 pixels below the top of its tile
    for column, (label, x, y, w, h) in enumerate([(0, 20, 10, 40, 30), (1, 30, 20, 20, 20)]):
        left, top = 8 + column * 248, 34 + 8 + 10
        tile = image[top : top + 160, left : left + 240]
        frame = (tile[..., ::-1] == class_color(label)).all(axis=2)
        rows, columns = np.nonzero(frame[int(y * gain) + 2 :])
        assert abs(columns.min() - x * gain) <= 1 and abs(columns.max() + 1 - (x + w) * gain) <= 1
        assert abs(rows.max() + int(y * gain) + 3 - (y + h) * gain) <= 1


def test_orders_of_a_sheet_are_what_they_say(tmp_path: Path) -> None:
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.data.statistics.table import label_table
    from yolor_cfg.report.dataset.choose import SheetChoice, crop_parts, image_part

    root = write_data(
        tmp_path / "a",
        {
            "t0": [(0, 4, 5, 20, 10), (1, 30, 20, 8, 30)],
            "t1": [(0, 4, 5, 60, 50)],
            "t2": [],
            "t3": [(1, 10, 10, 2, 2), (1, 30, 10, 9, 9), (0, 60, 10, 9, 9)],
        },
    )
    table = label_table(open_data(root, caches=False))

    def order(name: str, count: int = 9, seed: int = 0) -> list[str]:
        return [Path(one.path).stem for one in image_part(table, SheetChoice(count, name, seed)).tiles]

    assert order("most") == ["t3", "t0", "t1"] and order("most", 2) == ["t3", "t0"]
    assert order("largest")[0] == "t1" and order("smallest")[0] == "t3" and order("oddest") == ["t3"]
    assert sorted(order("random")) == ["t0", "t1", "t3"]
    assert len({tuple(order("random", seed=seed)) for seed in range(12)}) > 2
    assert order("random", seed=5) == order("random", seed=5)
    parts = crop_parts(table, SheetChoice(2, "smallest"), (0, 1, 2))
    assert [part.title for part in parts] == ["disc: 3 boxes", "square: 3 boxes"]
    assert [len(part.tiles) for part in parts] == [2, 2]
    assert parts[1].tiles[0].caption.endswith("2x2")
    (odd,) = crop_parts(table, SheetChoice(9, "oddest"), (0, 1, 2))
    assert odd.title == "square: 3 boxes" and [one.caption[:6] for one in odd.tiles] == ["tiny: "]


def test_a_sheet_of_single_objects_and_of_chosen_classes(small: Path, tmp_path: Path) -> None:
    page = tmp_path / "crops.html"
    done = tiny.yolor("data", "sheet", small, page, "--crops", "--class", "square", "--count", 2)
    assert done.exit_code == 0 and "2 objects" in done.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 2 and "square: 3 boxes" in text and "disc" not in text
    empty = tiny.yolor("data", "sheet", small, tmp_path / "no.jpg", "--class", "star")
    assert empty.exit_code == 3 and "no image has such a box" in empty.output
    assert not (tmp_path / "no.jpg").exists()
    wrong = tiny.yolor("data", "sheet", small, tmp_path / "no.txt")
    assert wrong.exit_code == 2 and ".html" in wrong.output


def test_a_sheet_that_is_too_large_for_an_image_is_refused_before_it_is_drawn(
    small: Path, tmp_path: Path
) -> None:
    from yolor_cfg.errors import YolorError
    from yolor_cfg.report.dataset.sheet import ContactSheet, SheetPart, write_sheet
    from yolor_cfg.report.dataset.tiles import Thumbnail

    tile = Thumbnail("nowhere.png", "x", np.zeros((0, 4)), (), ())
    many = ContactSheet("t", [SheetPart("", [tile] * 4000)])
    with pytest.raises(YolorError, match="too large for an image") as fault:
        write_sheet(many, tmp_path / "a.jpg")
    assert ".html" in fault.value.hint and not (tmp_path / "a.jpg").exists()


def test_a_page_of_many_images_holds_one_at_a_time(small: Path, tmp_path: Path) -> None:
    """The most memory for 400 tiles is hardly more than for 40."""
    import tracemalloc

    from yolor_cfg.report.dataset.sheet import ContactSheet, SheetPart, write_sheet
    from yolor_cfg.report.dataset.tiles import Thumbnail

    path = str(next((small / "images").rglob("*.png")))
    tile = Thumbnail(path, "x", np.array([[4.0, 4, 20, 20]]), (0,), NAMES)
    peaks = []
    for count in (40, 400):
        tracemalloc.start()
        write_sheet(ContactSheet("t", [SheetPart("", [tile] * count)]), tmp_path / f"{count}.html")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "400.html").stat().st_size > 5 * (tmp_path / "40.html").stat().st_size
    assert peaks[1] < peaks[0] + 500_000


def test_an_image_that_cannot_be_read_is_a_grey_tile() -> None:
    from yolor_cfg.report.dataset.tiles import GROUND, Thumbnail, draw_tile

    tile = draw_tile(Thumbnail("nowhere.png", "x", np.zeros((0, 4)), (), ()))
    assert tile.shape == (180, 240, 3) and (tile == GROUND).mean() > 0.9 and (tile != GROUND).any()


def test_a_stack_of_channels_shows_its_first_three(tmp_path: Path) -> None:
    from yolor_cfg.report.dataset.tiles import Thumbnail, draw_tile

    stack = np.zeros((60, 80, 6), np.uint8)
    stack[..., 1], stack[..., 4] = 200, 90
    np.save(tmp_path / "s.npy", stack)
    tile = draw_tile(Thumbnail(str(tmp_path / "s.npy"), "x", np.zeros((0, 4)), (), ()))
    assert (tile == (0, 200, 0)).all()


def test_a_data_set_without_a_box_has_figures_a_page_and_a_sheet(tmp_path: Path) -> None:
    """The JSON of a test set lists images and classes alone."""
    for number in range(2):
        tiny.save(tmp_path / f"{number}.png", tiny.photo(40, 60, seed=number))
    images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in range(2)]
    place = tmp_path / "test.json"
    place.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "x"}]}))
    cfg = tmp_path / "tiny.cfg"
    cfg.write_text(tiny.text())
    found = stats(place, "--cfg", cfg, "--sheet", tmp_path / "page.html")
    assert (found["images"], found["boxes"], found["empty"], found["absent"]) == (2, 0, 2, ["x"])
    assert found["network"]["boxes"] == 0 and found["oddities"] == {"counts": {}, "labels": []}
    assert "None of the checks found one" in (tmp_path / "page.html").read_text()
    done = tiny.yolor("data", "sheet", place, tmp_path / "all.png")
    assert done.exit_code == 0 and "2 images" in done.stderr


def test_a_class_is_chosen_by_its_whole_name_with_commas(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "d")
    (tmp_path / "d/classes.txt").write_text("disc, large\nsquare\nstar\n")
    args = ("--class", "disc, large", "--class", "square,star")
    assert [one["name"] for one in stats(tmp_path / "d", "--class", "disc, large")["classes"]] == [
        "disc, large"
    ]
    assert len(stats(tmp_path / "d", *args)["classes"]) == 3
    done = tiny.yolor("data", "sheet", tmp_path / "d", tmp_path / "sheet.jpg", *args[:2])
    assert done.exit_code == 0 and "3 images" in done.stderr, done.output


def test_no_box_is_no_even_share(tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", {"t0": []})
    assert stats(data)["imbalance"] is None
    assert re.search(r"most to least frequent class +-", tiny.yolor("data", "stats", data).stdout)


def test_what_is_left_out_and_what_is_not_there_are_told_apart(small: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", {"t0": [(0, 4, 5, 20, 10), (7, 4, 5, 20, 20)]})
    assert "note: 1 fault left out" in tiny.yolor("data", "stats", data).stderr
    done = tiny.yolor("data", "sheet", data, tmp_path / "s.jpg", "--sort", "oddest")
    assert done.exit_code == 3 and "no label is worth a look" in done.stderr and "1 box\n" in done.stderr
    done = tiny.yolor("data", "stats", data, "--dialect", "yolor")
    assert done.exit_code == 2 and "--cfg, which is not given" in done.stderr


def test_a_sheet_never_takes_the_place_of_an_image_of_the_data(tmp_path: Path) -> None:
    assert tiny.yolor("data", "draw", tmp_path / "own", "--count", 3, "--size", 64).exit_code == 0
    image = next((tmp_path / "own/images").iterdir())
    (tmp_path / "link.jpg").symlink_to(image)
    before = image.read_bytes()
    calls = (("sheet",), ("stats", "--sheet"), ("duplicates", "--sheet"), ("duplicates", "--keep-one"))
    for out, (name, *option) in product((image, tmp_path / "link.jpg"), calls):
        done = tiny.yolor("data", name, tmp_path / "own", *option, out, "--force")
        assert (done.exit_code, "an image of the data set" in done.stderr) == (3, True)
    assert image.read_bytes() == before
