"""Files in C Darknet's forms: complete or absent, and with the ids of COCO."""

import json
from pathlib import Path

import pytest
import tiny_detector as tiny
import torch

from yolor_cfg import DataError, Detections
from yolor_cfg.detect.darknet_files import COCO_IDS, WantedFile, check_sources, darknet_files
from yolor_cfg.detect.darknet_text import format_image
from yolor_cfg.detect.sources import Frame, ImageFile, Video

NAMES = ("cat", "dont_show_people", "dog")


def found(names: tuple[str, ...] = NAMES) -> Detections:
    boxes = torch.tensor([[-7.0, 5.0, 35.0, 55.0], [7.0, 10.0, 14.0, 20.0], [7.0, 10.0, 14.0, 20.0]])
    return Detections(boxes, torch.tensor([0.75, 0.5, 0.25]), torch.tensor([0, 2, 1]), names)


def write(
    kind: str, path: Path | str, *sources: str, names: tuple[str, ...] = NAMES, stop: type | None = None
) -> None:
    with darknet_files([WantedFile(kind, str(path))], names, force=False) as add:
        for source in sources:
            add(Frame(source, None, tiny.photo(50, 70)), found(names))
        if stop:
            raise stop


def test_boxes_of_classes_that_are_called_dont_show_are_not_shown(tmp_path: Path) -> None:
    text = format_image(Frame("a.png", None, tiny.photo()), found(), has_places=False)
    assert text.splitlines()[1:] == ["cat: 75%", "dog: 50%"]
    write("json", tmp_path / "a.json", "a.png")
    (image,) = json.loads((tmp_path / "a.json").read_text())
    # By the score of the last class, then of those before, as NMS sorts class by class.
    assert [one["name"] for one in image["objects"]] == ["dog", "cat"]
    place = {"center_x": 0.2, "center_y": 0.6, "width": 0.6, "height": 1.0}
    assert image["objects"][1]["relative_coordinates"] == place


def test_a_file_name_with_quotes_is_json(tmp_path: Path) -> None:
    write("json", tmp_path / "a.json", 'a "b".png', "c.png")
    images = json.loads((tmp_path / "a.json").read_text())
    assert [(one["frame_id"], one["filename"]) for one in images] == [(1, 'a "b".png'), (2, "c.png")]


def test_ctrl_c_leaves_a_complete_file_and_an_error_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("json", tmp_path / "a.json", "a.png", stop=KeyboardInterrupt)
    assert len(json.loads((tmp_path / "a.json").read_text())) == 1
    with pytest.raises(ZeroDivisionError):
        write("json", tmp_path / "b.json", "a.png", stop=ZeroDivisionError)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_cocos_ids_come_from_the_names_of_images(tmp_path: Path) -> None:
    assert len(COCO_IDS) == 80 and COCO_IDS[-1] == 90 and COCO_IDS[11] == 13
    write("coco", tmp_path / "a.json", "x/000000000139.jpg", "COCO_val2014_000000000042.jpg")
    results = json.loads((tmp_path / "a.json").read_text())
    assert {one["image_id"] for one in results} == {139, 42}
    assert results[0] == {"image_id": 139, "category_id": 1, "bbox": [0, 5, 35, 45], "score": 0.75}
    with pytest.raises(DataError, match="tells no id of COCO"):
        write("coco", tmp_path / "b.json", "street.jpg")
    with pytest.raises(DataError, match="COCO has fewer classes"):
        write("coco", tmp_path / "b.json", names=tuple(map(str, range(81))))


def test_an_image_without_an_id_of_coco_is_told_before_any_is_read() -> None:
    sources = [ImageFile("a/000139.jpg"), Video("b/12.mp4"), ImageFile("street.jpg")]
    with pytest.raises(DataError, match=r"^street\.jpg: the name of the image tells no id of COCO"):
        check_sources([WantedFile("json", "a.json"), WantedFile("coco", "b.json")], sources)
    check_sources([WantedFile("coco", "b.json")], sources[:2])
    check_sources([WantedFile("voc", "b")], sources)


def test_vocs_pixels_count_from_1_and_a_class_is_no_folder(tmp_path: Path) -> None:
    write("voc", tmp_path / "new/comp_", "x/street.b.jpg")
    assert (
        tmp_path / "new/comp_cat.txt"
    ).read_text() == "street 0.750000 1.000000 6.000000 36.000000 50.000000\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"comp_{name}.txt" for name in sorted(NAMES)
    ]
    write("voc", f"{tmp_path}/folder/", "x/street.b.jpg")
    assert len(list((tmp_path / "folder").iterdir())) == 3
    with pytest.raises(DataError, match="cannot be part of a file's name"):
        write("voc", tmp_path / "comp_", names=("a", "../b", "c"))


def test_nothing_found_is_valid_too(tmp_path: Path) -> None:
    for kind in ("json", "coco"):
        write(kind, tmp_path / kind)
        assert json.loads((tmp_path / kind).read_text()) == []
