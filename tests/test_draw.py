"""Drawn pictures and the folder of results."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolor_cfg.detect.sources import Frame, UnreadableSource, open_sources
from yolor_cfg.detect.write import (
    OutputOptions,
    ResultsWriter,
    frame_record,
    label_lines,
    source_stem,
)
from yolor_cfg.errors import YolorError
from yolor_cfg.images.draw import class_color, draw_detections, drawable_name
from yolor_cfg.images.read import read_image
from yolor_cfg.runs import (
    new_file,
    new_folder,
    save_image,
    save_text,
)

ALL = OutputOptions(has_media=True, has_labels=True, has_scores=True, has_crops=True, has_records=True)


class Boxes(NamedTuple):
    boxes_xyxy: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    names: tuple[str, ...]


def boxes(*rows: Sequence[float], names: tuple[str, ...] = ("cat", "dog")) -> Boxes:
    """Rows of left, top, right, bottom, score, class."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].long(), names)


def picture(height: int = 100, width: int = 200, *, channels: int = 3) -> np.ndarray:
    return np.full((height, width, channels), 90, np.uint8)


def frame(source: str = "a/x.jpg", index: int | None = None, *, image: np.ndarray | None = None) -> Frame:
    return Frame(source, index, picture() if image is None else image, fps=10.0)


# --- drawing ---


def test_a_frame_is_drawn_along_the_box_in_the_colour_of_its_class_on_a_copy() -> None:
    image = picture()
    drawn = draw_detections(image, boxes((50, 40, 150, 90, 0.9, 1)))
    assert (image == 90).all()
    for y, x in [(60, 50), (60, 150), (90, 100)]:
        assert tuple(drawn[y, x]) == class_color(1)
    assert (drawn[60, 60:140] == 90).all()


def test_nothing_found_leaves_the_picture_as_it_is() -> None:
    np.testing.assert_array_equal(draw_detections(picture(), boxes()), picture())


@settings(max_examples=60)
@given(
    st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 4, st.floats(0, 1), st.integers(0, 90)), max_size=6),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.sampled_from([1, 2, 3, 4, 7]),
)
def test_any_box_can_be_drawn_on_a_picture_of_any_size(
    rows: list[tuple[float, ...]], size: tuple[int, int], channels: int
) -> None:
    drawn = draw_detections(picture(*size, channels=channels), boxes(*rows, names=("a" * 40,)))
    assert (drawn.shape, drawn.dtype) == ((*size, 3), np.uint8)


def test_a_box_of_infinite_size_is_left_out() -> None:
    drawn = draw_detections(picture(), boxes((0, 0, np.inf, 5, 0.9, 0), (np.nan, 0, 5, 5, 0.9, 0)))
    np.testing.assert_array_equal(drawn, picture())


@pytest.mark.parametrize("corner", [(0, 0), (130, 0), (0, 60), (130, 60)])
def test_a_label_stays_inside_the_picture_in_every_corner(corner: tuple[int, int]) -> None:
    """As many pixels of its white letters are there as in the middle of the picture."""
    left, top = corner
    there = draw_detections(picture(), boxes((left, top, left + 69, top + 39, 0.9, 0)))
    middle = draw_detections(picture(), boxes((60, 40, 129, 79, 0.9, 0)))
    letters = (middle[..., 0] > 140).sum()
    assert letters > 20
    assert (there[..., 0] > 140).sum() == letters


def test_labels_of_equal_boxes_lie_side_by_side() -> None:
    """Each shows about as much of its colour as it does alone, frames left out."""
    rows = [(60, 80, 240, 160, 0.9 - 0.1 * label, label) for label in range(3)]
    drawn = draw_detections(picture(240, 300), boxes(*rows))
    areas = [(drawn == class_color(label)).all(axis=2).sum() for label in range(3)]
    alone = draw_detections(picture(240, 300), boxes(rows[0]))
    frame_only = 2 * (180 + 80)
    assert min(areas) > 0.8 * ((alone == class_color(0)).all(axis=2).sum() - frame_only)


def test_eighty_classes_have_eighty_colours_and_neighbours_differ_widely() -> None:
    colours = np.array([class_color(label) for label in range(80)])
    assert len(set(map(tuple, colours.tolist()))) == 80
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 100).all()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("dog", "dog"), ("été", "ete"), ("Straße", "Strasse"), ("猫", "class 3"), ("a\nb", "a b")],
)
def test_a_name_beyond_ascii_is_spelt_in_ascii_for_opencv_4(name: str, shown: str) -> None:
    assert drawable_name(name, 3, unicode=False) == shown


def test_a_name_beyond_ascii_stays_where_opencv_draws_it() -> None:
    assert drawable_name("été 猫", 3, unicode=True) == "été 猫"


# --- one line for one detection ---


def test_a_record_holds_the_boxes_in_pixels_under_the_agreed_keys() -> None:
    assert frame_record(frame(), boxes((-10, 20, 60.5, 80, 0.5, 1))) == {
        "source": "a/x.jpg",
        "width": 200,
        "height": 100,
        "detections": [{"class": 1, "name": "dog", "score": 0.5, "box_xyxy": [-10, 20, 60.5, 80]}],
    }


def test_the_record_of_a_video_tells_the_frame_and_a_class_without_name_its_number() -> None:
    line = frame_record(frame("v.mp4", 7), boxes((0, 0, 1, 1, 0.5, 5)))
    assert (line["frame"], line["detections"][0]["name"]) == (7, "5")


def test_label_lines_are_fractions_cut_off_at_the_border() -> None:
    found = boxes((50, 20, 150, 60, 0.75, 1), (-100, 50, 100, 150, 0.5, 0), (300, 0, 400, 50, 0.9, 0))
    assert label_lines(frame(), found, has_scores=True) == (
        "1 0.500000 0.400000 0.500000 0.400000 0.750000\n0 0.250000 0.750000 0.500000 0.500000 0.500000\n"
    )
    assert label_lines(frame(), found).splitlines()[0] == "1 0.500000 0.400000 0.500000 0.400000"


# --- the folder ---


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_count_up_and_leave_the_earlier_ones_alone(tmp_path: Path) -> None:
    made = [new_folder(tmp_path / "runs/detect", "exp") for _ in range(3)]
    assert [path.name for path in made] == ["exp", "exp2", "exp3"]
    (made[1] / "kept").write_text("x")
    (made[0]).rmdir()
    assert new_folder(tmp_path / "runs/detect", "exp").name == "exp"
    assert (made[1] / "kept").read_text() == "x"


def test_folders_asked_for_at_the_same_time_are_all_different(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(new_folder(tmp_path, "exp"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20


def test_a_place_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(YolorError) as raised:
        new_folder(tmp_path / "file/runs", "exp")
    assert str(raised.value) == (
        f"{tmp_path}/file/runs: cannot be written: not a directory\n"
        "  hint:    choose another folder with --project"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(YolorError, match="permission denied"):
        new_folder(tmp_path / "shut", "exp")


def test_a_file_that_fails_half_way_is_absent_and_the_old_one_stays(tmp_path: Path) -> None:
    save_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), new_file(tmp_path / "a.txt") as part:
        part.write_text("ne")
        raise RuntimeError
    assert files(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_saved_picture_is_the_picture(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_image(tmp_path / "été.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "été.png"), image)


def test_results_of_pictures_are_media_labels_crops_records_and_a_summary(tmp_path: Path) -> None:
    found = boxes((50, 20, 150, 60, 0.75, 1), (0, 0, 20, 30, 0.5, 0), names=("a/../cat", "dog"))
    with ResultsWriter(tmp_path, ALL) as results:
        results.add(frame("in/x.png"), found)
        results.add(frame("in/y.gif"), boxes())
        results.skip(UnreadableSource("in/z.jpg", "the file is empty"))
    assert files(tmp_path) == [
        "crops/a_.._cat/x_1.jpg",
        "crops/dog/x_0.jpg",
        "detections.jsonl",
        "labels/x.txt",
        "labels/y.txt",
        "summary.json",
        "x.png",
        "y.jpg",
    ]
    assert read_image(tmp_path / "crops/dog/x_0.jpg").shape == (40, 100, 3)
    assert len((tmp_path / "labels/x.txt").read_text().splitlines()) == 2
    assert (tmp_path / "labels/y.txt").read_text() == ""
    lines = [json.loads(line) for line in (tmp_path / "detections.jsonl").read_text().splitlines()]
    assert lines == [frame_record(frame("in/x.png"), found), frame_record(frame("in/y.gif"), boxes())]
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "sources": 2,
        "frames": 2,
        "detections": 2,
        "classes": {"dog": 1, "a/../cat": 1},
        "unreadable": [{"source": "in/z.jpg", "reason": "the file is empty"}],
        "incomplete": [],
        "complete": True,
    }


def test_only_the_summary_is_written_when_nothing_else_is_wanted(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, OutputOptions(has_media=False)) as results:
        results.add(frame(), boxes((0, 0, 9, 9, 0.9, 0)))
    assert files(tmp_path) == ["summary.json"]


def test_sources_of_one_name_keep_their_own_files(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, OutputOptions(has_labels=True)) as results:
        for source in ("a/x.jpg", "b/x.jpg", "b/X.png", "b/x_2.jpg"):
            results.add(frame(source), boxes())
    pictures = [name for name in files(tmp_path) if name.endswith(("jpg", "png"))]
    assert len(pictures) == 4
    assert len({name.lower() for name in pictures}) == 4
    assert len(list((tmp_path / "labels").iterdir())) == 4


def test_a_video_becomes_a_video_of_as_many_frames_and_a_label_file_for_each(
    tmp_path: Path, shared: Path
) -> None:
    sources = open_sources([shared / "data/samples/cards_pan.mp4"], vid_stride=9)
    with ResultsWriter(tmp_path, OutputOptions(has_labels=True, has_records=True)) as results:
        for item in [*sources, *sources]:
            results.add(item, boxes((10, 10, 60, 60, 0.5, 1)))
    assert [name for name in files(tmp_path) if name.endswith("mp4")] == ["cards_pan.mp4", "cards_pan_2.mp4"]
    again = list(open_sources([tmp_path / "cards_pan.mp4"]))
    assert len(again) == 5
    assert again[0].image.shape == next(iter(sources)).image.shape
    assert again[0].fps == pytest.approx(15 / 9, rel=0.01)
    assert (tmp_path / "labels/cards_pan_000036.txt").exists()
    assert len((tmp_path / "detections.jsonl").read_text().splitlines()) == 10


def test_a_stream_that_changes_its_size_stays_one_video(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, OutputOptions()) as results:
        for index, size in enumerate([(60, 80), (30, 40), (61, 81)]):
            results.add(frame("rtsp://me:secret@host/live", index, image=picture(*size)), boxes())
    assert [item.image.shape for item in open_sources([tmp_path / "host_live.mp4"])] == [(60, 80, 3)] * 3


def test_an_interrupted_run_leaves_whole_files_and_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ResultsWriter(tmp_path, OutputOptions(has_records=True)) as results,
    ):
        results.add(frame("v.mp4", 0), boxes())
        raise KeyboardInterrupt
    assert files(tmp_path) == ["detections.jsonl", "summary.json", "v.mp4"]
    assert json.loads((tmp_path / "summary.json").read_text())["complete"] is False
    assert len(list(open_sources([tmp_path / "v.mp4"]))) == 1


@pytest.mark.parametrize(
    ("source", "stem"),
    [("a/b, c.d.jpg", "b, c.d"), ("0", "camera0"), ("rtsp://u:p@10.0.0.1:554/x?y=1", "10.0.0.1_554_x_y=1")],
)
def test_a_stem_is_the_file_name_or_the_legible_part_of_an_address(source: str, stem: str) -> None:
    assert source_stem(source) == stem


def test_a_name_too_long_for_the_disk_is_shortened(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, OutputOptions()) as results:
        results.add(frame("a/" + "é" * 120 + ".jpg"), boxes())
    assert files(tmp_path) == ["summary.json", "é" * 50 + ".jpg"]


def test_plain_opencv_reads_the_drawn_picture(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, OutputOptions()) as results:
        results.add(frame("x.png"), boxes((50, 20, 150, 60, 0.75, 1)))
    expected = draw_detections(picture(), boxes((50, 20, 150, 60, 0.75, 1)))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png"))[..., ::-1], expected)
