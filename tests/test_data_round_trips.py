"""From every format to every other and back: equal, or exactly what was told is missing."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import layouts
import numpy as np
import pytest
import tiny_detector as tiny
from pycocotools.coco import COCO

from yolor_cfg.data.extras import ObjectExtras
from yolor_cfg.data.sources import find_listing, read_listing
from yolor_cfg.data.types import LabelChecks, SplitName
from yolor_cfg.data.writing.coco import exact_boxes, to_coco
from yolor_cfg.data.writing.losses import FormatName, find_losses
from yolor_cfg.data.writing.parts import ImageNames, WrittenPart, format_fraction, read_part
from yolor_cfg.data.writing.voc import edge_shifts, whole_corners

TARGETS: tuple[FormatName, ...] = ("darknet", "yolo", "coco", "voc")
SPLITS: tuple[SplitName, ...] = ("train", "val")
WIDTH, HEIGHT = 96, 64
COLUMNS = ("boxes_xywh", "classes", "identities", "crowd", "areas", "difficult")
NAMES = ("zebra", "traffic light", "cat", "never seen")
"""Not in the order of the alphabet; one has no object."""


def coco_objects(rng: np.random.Generator, first: int) -> list[dict[str, Any]]:
    """Six objects: sub-pixel boxes, one crowd, one difficult, attributes, a mask and keypoints."""
    made = []
    for number in range(6):
        left, top = rng.uniform(0, 40, 2).round(2).tolist()
        width, height = rng.uniform(3, 20, 2).round(2).tolist()
        made.append(
            {
                "id": 10 * first + number,
                "category_id": (9, 3, 70)[number % 3],
                "bbox": [left, top, width, height],
                "area": round(width * height * (0.7 if number == 4 else 1), 2),
                "iscrowd": int(number == 3),
            }
        )
    made[1] |= {"difficult": 1}
    made[2] |= {"attributes": {"truncated": True, "pose": "Left", "speed": 2.5, "plate": "KA 12"}}
    made[4] |= {"segmentation": [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]], "track_id": 7}
    made[5] |= {"keypoints": [3, 4, 2], "attributes": {"occluded": True}}
    return made


def coco_folder(root: Path) -> Path:
    """Four images, two a split, with ids that are no numbers of files, and categories with gaps."""
    rng = np.random.default_rng(5)
    for split in SPLITS:
        images, notes = [], []
        for number in range(2):
            image_id = 40 + number + 10 * (split == "val")
            name = f"{split}_{number}.png"
            tiny.save(root / f"images/{split}/{name}", tiny.photo(HEIGHT, WIDTH, seed=image_id))
            images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
            notes += [one | {"image_id": image_id} for one in coco_objects(rng, image_id)]
        above = {9: "animals", 3: "", 70: "animals", 80: ""}
        # The classes are the categories in the order of their ids.
        ids = (3, 9, 70, 80)
        categories = [
            {"id": id, "name": name} | ({"supercategory": above[id]} if above[id] else {})
            for id, name in zip(ids, NAMES, strict=True)
        ]
        document = {"images": images, "annotations": notes, "categories": categories}
        place = root / f"annotations/instances_{split}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(document))
    return root


def read(path: Path) -> dict[SplitName, WrittenPart]:
    parts = {}
    for split in SPLITS:
        found = find_listing(path, split)
        data = read_listing(found, checks=LabelChecks(), caches=False)
        parts[split] = read_part(data, found.listing, None)
    return parts


def convert(path: Path, out: Path, target: FormatName, *more: str) -> str:
    done = tiny.yolor("data", "convert", path, out, "--to", target, *more)
    assert done.exit_code == 0, done.output
    return done.stderr


def objects_of(part: WrittenPart) -> dict[str, list[tuple[Any, ...]]]:
    """The objects of each image by its file, in an order that does not depend on the format."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for sample, extras in zip(part.data.samples, part.extras, strict=True):
        rows = []
        for row, one in enumerate(extras):
            rows.append(
                (
                    part.data.names[sample.classes[row]],
                    tuple(sample.boxes_xywh[row].tolist()),
                    float(sample.areas[row]),
                    bool(sample.crowd[row]),
                    bool(sample.difficult[row]),
                    int(sample.identities[row]),
                    tuple(sorted(one.attributes.items())),
                )
            )
        found[Path(sample.image).name] = sorted(rows)
    return found


def losses_of(parts: dict[SplitName, WrittenPart], target: FormatName) -> dict[tuple[str, str], int]:
    return {(loss.split, loss.kind): loss.number for loss in find_losses(parts, target)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    """The same data set in each format, as far as the format holds it."""
    root = tmp_path_factory.mktemp("formats")
    places: dict[FormatName, Path] = {"coco": coco_folder(root / "coco")}
    for target in ("darknet", "yolo", "voc"):
        convert(places["coco"], root / target, target)
        places[target] = root / target
    return places


@pytest.mark.parametrize("there", TARGETS)
@pytest.mark.parametrize("here", TARGETS)
def test_there_and_back_is_equal_but_for_what_was_told(
    here: FormatName, there: FormatName, sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    before = read(sources[here])
    told = convert(sources[here], tmp_path / "there", there)
    middle = read(tmp_path / "there")
    convert(tmp_path / "there", tmp_path / "back", here)
    after = read(tmp_path / "back")
    lost = losses_of(before, there)
    for loss in find_losses(before, there):
        assert f"note: {loss.text}" in told
    for split in SPLITS:
        old, new = before[split], after[split]
        assert new.data.names == old.data.names
        assert [one.size for one in new.data.samples] == [one.size for one in old.data.samples]
        assert_same_objects(old, new, lost={kind: n for (part, kind), n in lost.items() if part == split})
        for one, other in zip(old.data.samples, new.data.samples, strict=True):
            assert Path(one.image).read_bytes() == Path(other.image).read_bytes()
        if here == "coco":
            kept = [one.image_id for one in new.data.samples] == [one.image_id for one in old.data.samples]
            assert kept == (("image ids" not in {kind for _, kind in lost}) or there == "coco")
            assert (new.data.category_ids == old.data.category_ids) == ((split, "category ids") not in lost)
            assert (new.above == old.above) == ((split, "supercategories") not in lost)
    assert {split: len(part.data.samples) for split, part in middle.items()} == {"train": 2, "val": 2}


def assert_same_objects(old: WrittenPart, new: WrittenPart, *, lost: dict[str, int]) -> None:
    """Every difference between the objects of two parts is one that was counted."""
    gone = lost.get("crowds", 0) + lost.get("difficult", 0) + lost.get("copies", 0)
    total = sum(len(one.classes) for one in old.data.samples)
    assert sum(len(one.classes) for one in new.data.samples) == total - gone
    counts = dict.fromkeys(("boxes", "areas", "identities", "attributes"), 0)
    before, after = objects_of(old), objects_of(new)
    assert before.keys() == after.keys()
    for name, rows in before.items():
        left = [row for row in rows if not (row[3] and not row[4] and "crowds" in lost)]
        left = [row for row in left if not (row[4] and "difficult" in lost)]
        assert len(left) == len(after[name])
        for one, other in zip(left, after[name], strict=True):
            assert one[0] == other[0] and one[3:5] == other[3:5]
            moved = one[1] != other[1]
            counts["boxes"] += moved
            # An area of its own goes lost where there is no place; where the box moved, so does its area.
            counts["areas"] += abs(one[2] - other[2]) > 1e-4 * one[2] and not moved
            counts["identities"] += one[5] != other[5]
            counts["attributes"] += one[6] != other[6]
    for kind in ("identities", "attributes"):
        assert counts[kind] == lost.get(kind, 0), kind
    assert counts["boxes"] <= lost.get("boxes", 0)
    if not counts["boxes"]:
        assert counts["areas"] == lost.get("areas", 0)


def test_the_numbers_of_cocos_json_come_back_as_they_were(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    """By pycocotools: what went through text labels has the digits that it came with."""
    convert(sources["coco"], tmp_path / "text", "yolo")
    convert(tmp_path / "text", tmp_path / "json", "coco")
    old = COCO(str(sources["coco"] / "annotations/instances_train.json"))
    new = COCO(str(tmp_path / "json/annotations/instances_train.json"))
    wanted = sorted(one["bbox"] for one in old.anns.values() if not (one["iscrowd"] or one.get("difficult")))
    assert sorted(one["bbox"] for one in new.anns.values()) == wanted
    same = tmp_path / "same"
    convert(sources["coco"], same, "coco")
    kept = COCO(str(same / "annotations/instances_train.json"))
    for key, one in old.anns.items():
        other = kept.anns[key]
        for field in ("image_id", "category_id", "bbox", "area", "attributes", "track_id"):
            assert one.get(field) == other.get(field), field
    assert [one["supercategory"] for one in kept.cats.values() if "supercategory" in one] == ["animals"] * 2


def test_float32_fractions_are_written_with_digits_that_read_back() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 20_000).astype(np.float32)
    values = np.concatenate([values, np.float32([1e-7, 0.1, 0.5, 1, 2**-20, 1 / 3])])
    texts = [format_fraction(value) for value in values]
    assert (np.array([float(text) for text in texts]).astype(np.float32) == values).all()
    assert texts[-5:-3] == ["0.1", "0.5"] and max(map(len, texts)) <= 16


def test_pascal_voc_says_the_largest_shift_and_opens_in_any_xml_reader(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    told = convert(sources["coco"], tmp_path / "voc", "voc")
    before = read(sources["coco"])["train"]
    largest = 0.0
    for sample, extras in zip(before.data.samples, before.extras, strict=True):
        root = ElementTree.parse(tmp_path / f"voc/Annotations/{Path(sample.image).stem}.xml").getroot()
        assert [root.findtext(f"size/{key}") for key in ("width", "height")] == [str(WIDTH), str(HEIGHT)]
        kept = [row for row in range(len(extras)) if not sample.crowd[row] or sample.difficult[row]]
        for row, one in zip(kept, root.iter("object"), strict=True):
            x, y, w, h = (sample.boxes_xywh[row].astype(np.float64) * (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist()
            edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            read_back = [int(one.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
            there = (read_back[0] - 1, read_back[1] - 1, read_back[2], read_back[3])
            largest = max(largest, *(abs(a - b) for a, b in zip(edges, there, strict=True)))
            assert one.findtext("difficult") == str(int(sample.difficult[row]))
            assert one.findtext("pose") == extras[row].attributes.get("pose", "Unspecified")
    assert 0.3 < largest <= 0.5
    assert f"10 boxes are moved to whole pixels, by {largest:.3f} at most" in told


def test_a_box_keeps_one_whole_pixel_at_least(sources: dict[FormatName, Path]) -> None:
    sample = read(sources["coco"])["train"].data.samples[0]
    boxes = np.float32([[0.5, 0.5, 1e-3, 1e-3], [0.999, 0.5, 2e-3, 0.5]])
    small = sample._replace(boxes_xywh=boxes, size=(100, 100))
    corners = whole_corners(small)
    assert (corners[:, 2:] >= corners[:, :2]).all() and corners.min() >= 1 and corners.max() <= 100
    assert edge_shifts(small).max() == pytest.approx(0.95, abs=0.06)


def test_boxes_in_pixels_have_the_fewest_digits(sources: dict[FormatName, Path]) -> None:
    sample = read(sources["coco"])["train"].data.samples[0]
    fractions = np.float32(
        [[(12.25 + 7.5 / 2) / WIDTH, (3 + 40.13 / 2) / HEIGHT, 7.5 / WIDTH, 40.13 / HEIGHT]]
    )
    assert exact_boxes(sample._replace(boxes_xywh=fractions)) == [[12.25, 3, 7.5, 40.13]]


def test_what_is_told_names_each_kind(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    told = convert(sources["coco"], tmp_path / "yolo", "yolo")
    for words in (
        "train: 2 crowds are left out: text labels cannot mark them",
        "train: 2 difficult objects are left out: text labels cannot mark them",
        "train: 2 annotated areas are left out: text labels have none but that of the box",
        "train: 2 identities are left out: text labels have no place for them",
        "train: 4 objects with attributes are left out: only class and box stay",
        "train: 2 masks are left out: only boxes are written",
        "train: 2 objects with keypoints are left out: only the box stays",
        "train: 2 image ids are left out",
        "train: 4 category ids are left out",
        "train: 12 annotation ids are left out",
        "train: 2 supercategories are left out",
    ):
        assert words in told, (words, told)


def test_images_are_copied_or_linked(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    for target in TARGETS:
        for links in (False, True):
            out = tmp_path / f"{target}{links}"
            convert(sources["coco"], out, target, *(["--link"] if links else []))
            pictures = list(out.rglob("*.png"))
            assert len(pictures) == 4 and all(one.is_symlink() == links for one in pictures)


def test_the_yaml_is_of_ultralytics_form(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    import yaml

    convert(sources["coco"], tmp_path / "yolo", "yolo")
    content = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert Path(content["path"]) == tmp_path / "yolo"
    assert content["names"] == dict(enumerate(NAMES))
    for split in SPLITS:
        images = Path(content["path"], content[split])
        for image in images.iterdir():
            label = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
            assert all(len(line.split()) == 5 for line in label.read_text().splitlines())
    (tmp_path / "yolo").rename(tmp_path / "moved")
    assert len(read(tmp_path / "moved")["train"].data.samples) == 2


def test_half_a_conversion_is_not_left(
    sources: dict[FormatName, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """A disk that is full after the second image."""
    import shutil

    copied = []

    def copy(source: str, target: Path) -> None:
        if len(copied) == 2:
            raise OSError(28, "No space left on device", str(target))
        copied.append(target)
        target.write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    for target in TARGETS:
        copied.clear()
        done = tiny.yolor("data", "convert", sources["coco"], tmp_path / target, "--to", target)
        assert done.exit_code in (1, 3) and "no space left" in done.output.lower()
        assert not (tmp_path / target).exists()


def test_an_existing_folder_is_refused_and_left_alone(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    for target in TARGETS:
        out = tmp_path / target
        out.mkdir()
        (out / "mine.txt").write_text("x")
        done = tiny.yolor("data", "convert", sources["coco"], out, "--to", target)
        assert done.exit_code == 3 and "not empty" in done.output
        assert [one.name for one in out.iterdir()] == ["mine.txt"]


def test_voc_stems_that_lists_would_read_otherwise_are_changed_and_told(tmp_path: Path) -> None:
    root = tmp_path / "a"
    layouts.images_and_labels(
        root, [layouts.Shown(stem, [(0, 4, 4, 9, 9)]) for stem in ("dog 1", "a.jpg", "b")]
    )
    layouts.write_text_file(root / "classes.txt", "cat\ndog\n")
    told = convert(root, tmp_path / "voc", "voc")
    assert "2 images get another file name" in told
    found = find_listing(tmp_path / "voc", "train")
    data = read_listing(found, checks=LabelChecks(), caches=False)
    assert sorted(Path(one.image).name for one in data.samples) == ["a_jpg.png", "b.png", "dog_1.png"]
    assert data.names == ("cat", "dog")


def test_a_json_holds_cocos_format_alone(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    done = tiny.yolor("data", "convert", sources["coco"], tmp_path / "a.json", "--to", "voc")
    assert done.exit_code == 2 and "give a folder for --to voc" in done.output


def test_extras_of_dropped_labels_do_not_shift_to_others(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    """The second annotation is faulty: attributes and ids of the others stay theirs."""
    root = coco_folder(tmp_path / "a")
    place = root / "annotations/instances_train.json"
    document = json.loads(place.read_text())
    document["annotations"][1]["bbox"] = [0, 0, 0, 5]
    document["annotations"][3]["bbox"] = "none"
    place.write_text(json.dumps(document))
    convert(root, tmp_path / "b", "coco", "--fix-labels", "drop")
    after = json.loads((tmp_path / "b/annotations/instances_train.json").read_text())["annotations"]
    kept = [one for number, one in enumerate(document["annotations"]) if number not in (1, 3)]
    assert [(one["id"], one.get("attributes")) for one in after] == [
        (one["id"], one.get("attributes")) for one in kept
    ]


def test_attributes_that_say_nothing_are_no_loss() -> None:
    from yolor_cfg.data.extras import make_attributes, parse_attribute

    assert make_attributes({"pose": "Unspecified", "truncated": "0", "occluded": 0}) == {}
    assert make_attributes({"truncated": "1", "x": None}) == {"truncated": True}
    assert [parse_attribute(text) for text in ("true", "-3", "2.50", "1e3", "KA 12", "")] == [
        True,
        -3,
        2.5,
        1000.0,
        "KA 12",
        "",
    ]
    assert ObjectExtras().attributes == {}


def test_keys_of_the_json_that_are_not_read_are_named(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "a")
    place = root / "annotations/instances_train.json"
    document = json.loads(place.read_text()) | {"info": {"year": 2026}, "licenses": []}
    document["images"][1]["license"] = 3
    document["annotations"][0]["score"] = 0.5
    place.write_text(json.dumps(document))
    told = convert(root, tmp_path / "b", "coco")
    assert (
        "train: not written, since it is not read: info, licenses, images.license, annotations.score" in told
    )
    assert "val: not written" not in told


def test_supercategories_stay_with_their_classes_where_splits_number_them_otherwise(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "a")
    place = root / "annotations/instances_val.json"
    document = json.loads(place.read_text())
    swapped = {3: 9, 9: 3, 70: 70, 80: 80}
    for one in (*document["categories"], *document["annotations"]):
        key = "id" if "name" in one else "category_id"
        one[key] = swapped[one[key]]
    place.write_text(json.dumps(document))
    convert(root, tmp_path / "b", "coco")
    after = json.loads((tmp_path / "b/annotations/instances_val.json").read_text())["categories"]
    assert {one["name"]: one.get("supercategory", "") for one in after} == {
        one["name"]: one.get("supercategory", "") for one in document["categories"]
    }


def test_the_depth_of_a_grey_image_is_one(tmp_path: Path) -> None:
    root = tmp_path / "a"
    layouts.images_and_labels(root, [layouts.Shown("g", [(0, 4, 4, 9, 9)])])
    layouts.write_text_file(root / "classes.txt", "cat\ndog\n")
    tiny.save(root / "images/g.png", tiny.photo(48, 64, channels=1))
    convert(root, tmp_path / "voc", "voc")
    assert ElementTree.parse(tmp_path / "voc/Annotations/g.xml").getroot().findtext("size/depth") == "1"


def test_repeated_images_and_labels_and_ids_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    place = layouts.darknet(tmp_path / "a", layouts.make_split(3, 1))
    with (tmp_path / "a/train.txt").open("a") as file:
        file.write("obj/t1.png\n")
    label = tmp_path / "a/obj/t0.txt"
    label.write_text(label.read_text() * 3)
    told = convert(place, tmp_path / "yolo", "yolo")
    assert "train: 1 repeated image is left out: a folder has each once" in told
    assert "train: 2 repeated labels are left out: each is written once" in told
    assert len(list((tmp_path / "yolo/images/train").iterdir())) == 3
    # Darknet's list keeps that an image counts twice.
    again = convert(place, tmp_path / "darknet", "darknet")
    assert "repeated image" not in again
    assert len((tmp_path / "darknet/train.txt").read_text().split()) == 4
    assert len(list((tmp_path / "darknet/images/train").iterdir())) == 3
    root = coco_folder(tmp_path / "c")
    for split in SPLITS:
        json_place = root / f"annotations/instances_{split}.json"
        document = json.loads(json_place.read_text())
        for one in document["images"]:
            one["id"] = f"x{one['id']}"
        for one in document["annotations"]:
            one["image_id"] = f"x{one['image_id']}"
        json_place.write_text(json.dumps(document))
    assert "train: 2 image ids are left out" in convert(root, tmp_path / "d", "coco")
    ids = json.loads((tmp_path / "d/annotations/instances_train.json").read_text())["images"]
    assert [one["id"] for one in ids] == [1, 2]


def test_equal_boxes_that_would_be_one_line_are_counted(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "a")
    place = root / "annotations/instances_train.json"
    document = json.loads(place.read_text())
    document["annotations"].append(document["annotations"][0] | {"id": 1})
    place.write_text(json.dumps(document))
    told = convert(root, tmp_path / "yolo", "yolo")
    assert "train: 1 repeated label is left out" in told
    assert "repeated label" not in convert(root, tmp_path / "voc", "voc")


def test_elements_of_xml_that_are_not_read_are_named(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    convert(sources["coco"], tmp_path / "voc", "voc")
    file = tmp_path / "voc/Annotations/train_0.xml"
    text = file.read_text()
    assert text.count("<pose>") == 5
    text = text.replace("<pose>", "<actions><jumping>1</jumping></actions><pose>", 1)
    file.write_text(text.replace("<segmented>", "<source><database>x</database></source><segmented>"))
    told = convert(tmp_path / "voc", tmp_path / "again", "voc")
    assert "train: not written, since it is not read: object.actions, source" in told
    root = coco_folder(tmp_path / "a")
    place = root / "annotations/instances_train.json"
    document = json.loads(place.read_text())
    document["annotations"][0]["attributes"] = {"tags": ["a", "b"], "color": "red"}
    place.write_text(json.dumps(document))
    told = convert(root, tmp_path / "b", "coco")
    assert "train: not written, since it is not read: annotations.attributes.tags\n" in told


@pytest.mark.parametrize(
    ("given", "written"), [((7, 9), (7, 9)), ((7, 7), (1, 2)), ((7, None), (1, 2)), ((None, None), (1, 2))]
)
def test_ids_of_annotations_are_kept_if_all_have_their_own(
    sources: dict[FormatName, Path], given: tuple[int | None, ...], written: tuple[int, ...]
) -> None:
    data = read(sources["coco"])["train"].data
    sample = data.samples[0]
    pair = sample._replace(**{name: getattr(sample, name)[:2] for name in COLUMNS})
    extras = [[ObjectExtras(id=one) for one in given]]
    document = to_coco(data._replace(samples=[pair]), extras=extras, files=["a.jpg"])
    assert [one["id"] for one in document["annotations"]] == list(written)


def test_names_that_differ_in_case_alone_become_different_files() -> None:
    """Some file systems would take them for one."""
    names = ImageNames()
    given = ("a.jpg", "A.JPG", "a.png", "b.jpg")
    chosen = [names.choose("train", f"{number}/{name}") for number, name in enumerate(given)]
    assert chosen[0] == "a.jpg" and chosen[3] == "b.jpg"
    assert len({Path(name).stem.casefold() for name in chosen}) == 4
    assert names.choose("val", "x/a.jpg") == "a.jpg"


def test_boxes_on_whole_pixels_are_not_told_to_move(tmp_path: Path) -> None:
    """As fractions some of them are no float32 numbers, but nearer to the pixel than any of it shows."""
    root = coco_folder(tmp_path / "a")
    for split in SPLITS:
        place = root / f"annotations/instances_{split}.json"
        document = json.loads(place.read_text())
        for number, one in enumerate(document["annotations"]):
            one["bbox"] = [7 + number % 5, 11, 17, 13]
        place.write_text(json.dumps(document))
    assert "whole pixels" not in convert(root, tmp_path / "voc", "voc")


def test_difficult_objects_of_train_have_no_list(sources: dict[FormatName, Path], tmp_path: Path) -> None:
    """C Darknet asks for it where it validates alone."""
    out = tmp_path / "out"
    convert(sources["coco"], out, "darknet", "--split", "train")
    assert not (out / "difficult").exists() and not (out / "difficult.txt").exists()
    assert "difficult" not in (out / "converted.data").read_text()
    convert(sources["coco"], tmp_path / "both", "darknet")
    hard = sorted(path.name for path in (tmp_path / "both/difficult").rglob("*.txt"))
    assert hard == ["val_0.txt", "val_1.txt"]
