"""Text labels: the meaning of a line, and every fault with its file and line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.data.label_files import label_paths
from yolor_cfg.data.labels import DataFaults, LabelRow, check_rows, parse_labels
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Dataset, LabelChecks
from yolor_cfg.errors import DataError

FAULTS = {
    "3 0.5 0.5 0.1 0.1": "class 3 is not in 0..2",
    "-1 0.5 0.5 0.1 0.1": "class -1 is not in 0..2",
    "0.5 0.5 0.5 0.1 0.1": "class 0.5 is not a whole number",
    "0 0.95 0.5 0.2 0.1": "the box is outside 0..1: x 0.85..1.05, y 0.45..0.55",
    "0 50 60 10 20": "the box is outside 0..1: x 45..55, y 50..70",
    "0 0.5 0.5 0 0.1": "the box is empty: width 0, height 0.1",
    "0 0.5 0.5 -0.1 0.1": "the box is empty: width -0.1, height 0.1",
    "0 nan 0.5 0.1 0.1": "a value is not finite",
    "0 0.5 inf 0.1 0.1": "a value is not finite",
    "nan 0.5 0.5 0.1 0.1": "a value is not finite",
    "0 0.5 0.5 0.1": "4 columns instead of 5 (class cx cy w h)",
    "0 0.5 0.5 0.1 0.1 0.9\n0 0.5 0.5 0.2 0.2": "6 columns instead of 5 (class cx cy w h); 6 columns "
    "(class identity cx cy w h) need 6 columns in every line",
    "0 0.9 0.5 0.5 0.1 0.1": "identity 0.9 is not a whole number (columns: class identity cx cy w h)",
    "0 0.1 0.1 0.5 0.1 0.5 0.5 0.2": "8 columns instead of 5 (class cx cy w h); a polygon has x and y for "
    "3 or more points",
    "cat 0.5 0.5 0.1 0.1": "'cat' is not a number",
    "0,0.5,0.5,0.1,0.1": "'0,0.5,0.5,0.1,0.1' is not a number",
}


def a_folder(root: Path, *labels: str) -> Path:
    """A .data file with three classes and one image, 40 x 20, per text of labels."""
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number, text in enumerate(labels):
        cv2.imwrite(str(root / "images" / f"{number}.png"), np.zeros((20, 40, 3), np.uint8))
        (root / "labels" / f"{number}.txt").write_text(text)
    (root / "a.txt").write_text("".join(f"images/{number}.png\n" for number in range(len(labels))))
    (root / "a.names").write_text("cat\ndog\nowl\n")
    description = root / "a.data"
    description.write_text("classes=3\ntrain = a.txt\nvalid = a.txt\nnames = a.names\n")
    return description


def opened(root: Path, *labels: str, fix: str | None = None) -> Dataset:
    return open_data(a_folder(root, *labels), checks=LabelChecks(fix), caches=False)


@pytest.mark.parametrize(("line", "reason"), FAULTS.items(), ids=list(FAULTS.values()))
def test_a_faulty_line_is_reported_with_file_line_and_reason(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataFaults) as caught:
        opened(tmp_path, "", f"\n{line}\n")
    first, *_ = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'labels' / '1.txt'}:2: {reason}"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("line", FAULTS)
def test_dropping_removes_the_faulty_lines_and_reports_them(line: str, tmp_path: Path) -> None:
    data = opened(
        tmp_path,
        f"1 0.5 0.5 0.25 0.25\n{line}\n" if len(line.split("\n")[0].split()) != 6 else line,
        fix="drop",
    )
    assert all(label in (0, 1) for label in data.samples[0].classes)
    assert (data.samples[0].boxes_xywh <= 1).all()
    assert [problem.kind for problem in data.problems][:1] == ["label"]


def test_twenty_faults_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataFaults) as caught:
        opened(tmp_path, "9 .5 .5 .1 .1\n" + "".join(f"8 .5 .5 .1 .{i + 100}\n" for i in range(29)))
    lines = str(caught.value).splitlines()
    assert len([line for line in lines if "is not in 0..2" in line]) == 20
    assert lines[20].startswith("30 faults in ") and "--fix-labels" in lines[-1]


def test_clipping_cuts_a_box_at_the_border_and_drops_empty_ones(tmp_path: Path) -> None:
    data = opened(
        tmp_path, "0 0.95 0.5 0.2 0.4\n1 1.5 0.5 0.2 0.2\n7 .5 .5 .1 .1\n2 .5 .5 .2 .2\n", fix="clip"
    )
    np.testing.assert_allclose(data.samples[0].boxes_xywh, [[0.925, 0.5, 0.15, 0.4], [0.5, 0.5, 0.2, 0.2]])
    assert [problem.line for problem in data.problems] == [1, 2, 3]


def test_a_box_pushed_over_the_border_by_rounding_is_unchanged(tmp_path: Path) -> None:
    data = opened(tmp_path, "0 0.7501 0.5 0.5 1\n")
    np.testing.assert_array_equal(data.samples[0].boxes_xywh, np.float32([[0.7501, 0.5, 0.5, 1]]))


def test_duplicate_lines_count_once_with_a_note(tmp_path: Path) -> None:
    data = opened(tmp_path, "0 .5 .5 .2 .2\n0 0.50 0.5 0.2 0.2\n1 .5 .5 .2 .2\n")
    assert data.samples[0].classes.tolist() == [0, 1]
    (problem,) = data.problems
    assert problem.reason == "1 duplicate label: each counts once, but every time in Darknet's mAP"


def test_a_polygon_becomes_the_box_around_its_points(tmp_path: Path) -> None:
    data = opened(tmp_path, "2 0.1 0.2 0.5 0.3 0.3 0.8\n0 .5 .5 .2 .2\n")
    np.testing.assert_allclose(data.samples[0].boxes_xywh[0], [0.3, 0.5, 0.4, 0.6], atol=1e-6)
    assert data.problems[0].kind == "note"


def test_six_columns_in_every_line_hold_an_identity(tmp_path: Path) -> None:
    data = opened(tmp_path, "0 17 .5 .5 .2 .2\n1 -1 .5 .5 .2 .2\n", "0 .5 .5 .2 .2\n")
    assert [sample.identities.tolist() for sample in data.samples] == [[17, -1], [-1]]
    assert data.samples[0].classes.tolist() == [0, 1]


words = st.sampled_from([b"0", b"1", b".5", b"0.2", b"1.5", b"-1", b"nan", b"1e9"])
label_lines = st.lists(words, min_size=4, max_size=9).map(b" ".join)


@given(st.lists(st.binary(max_size=60) | label_lines, max_size=6))
def test_no_bytes_break_the_reader_and_what_it_accepts_is_a_box(lines: list[bytes]) -> None:
    read = parse_labels(b"\n".join(lines), "a.txt")
    rows = np.array(read.rows, np.float64).reshape(-1, len(LabelRow._fields))
    kept = check_rows(rows, classes=None, fix="clip").rows
    assert np.isfinite(kept[:, 1:7]).all() and (kept[:, 5:7] > 0).all()
    assert len(rows) + len(read.faults) + read.duplicates == sum(
        bool(line.split()) for line in b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").splitlines()
    )


def test_an_absurd_class_id_is_a_fault_without_class_names(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "a.txt").write_text("999999999 .5 .5 .5 .5")
    with pytest.raises(DataFaults, match="class 1e\\+09 is not in 0..65535"):
        open_data(tmp_path, caches=False)


def test_a_byte_order_mark_and_windows_line_endings_do_not_matter() -> None:
    lines = parse_labels(b"\xef\xbb\xbf0 .5 .5 .2 .2\r\n\r\n1 .5 .5 .2 .2\r\n", "a.txt")
    assert [(row.line, row.class_id) for row in lines.rows] == [(1, 0), (3, 1)]


def test_checking_agrees_with_each_rule_written_out() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((4000, 9))
    rows[:, 1], rows[:, 2] = rng.integers(-1, 5, 4000), -1
    rows[:, 3:7] = rng.uniform(-0.2, 1.2, (4000, 4))
    expected = [
        0 <= row[1] < 3
        and row[5] > 0
        and row[6] > 0
        and min(row[3] - row[5] / 2, row[4] - row[6] / 2) >= -1e-3
        and max(row[3] + row[5] / 2, row[4] + row[6] / 2) <= 1 + 1e-3
        for row in rows
    ]
    checked = check_rows(rows, classes=3, fix="drop")
    assert 20 < sum(expected) < 3980
    assert checked.kept.tolist() == expected
    assert [number for number, _ in checked.faults] == np.flatnonzero(~np.array(expected)).tolist()


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("d/images/a.jpg", "d/labels/a.txt"),
        ("d/images/train/a.jpg", "d/labels/train/a.txt"),
        ("images/d/images/a.jpg", "images/d/labels/a.txt"),
        ("images/d/images/a.jpg", "labels/d/images/a.txt"),
        ("d/JPEGImages/a.jpeg", "d/labels/a.txt"),
        ("d/train/a.png", "d/labels/train/a.txt"),
        ("d/pictures/a.png", "d/labels/a.txt"),
        ("d/a.b.jpg", "d/a.b.txt"),
        ("d/a.jpg", "d/labels/a.txt"),
    ],
)
def test_labels_are_found_by_every_common_rule(image: str, label: str, tmp_path: Path) -> None:
    assert label in label_paths(image)
    for path in (image, label):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(tmp_path / image), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / label).write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "list.txt").write_text(image)
    assert len(open_data(tmp_path / "list.txt", caches=False).samples[0].classes) == 1


def test_without_any_label_the_error_lists_the_paths_tried(tmp_path: Path) -> None:
    description = a_folder(tmp_path, "")
    (tmp_path / "labels" / "0.txt").unlink()
    with pytest.raises(DataError, match="no labels found") as caught:
        open_data(description, caches=False)
    image = str(tmp_path / "images" / "0.png")
    assert all(place in str(caught.value) for place in [image, *label_paths(image)])
