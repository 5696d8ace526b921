"""Text in pages and drawings: whatever a file, a class or a cfg is called, it is text there and no more."""

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolor_cfg.data.duplicates.findings import Findings
from yolor_cfg.report.dataset.charts import bars_svg, histogram_svg, map_svg, matrix_svg
from yolor_cfg.report.dataset.pairs import pairs_sheet
from yolor_cfg.report.dataset.sheet import write_sheet
from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.picture.layout import arrange
from yolor_cfg.report.picture.page import draw_page
from yolor_cfg.report.picture.svg import draw_svg
from yolor_cfg.report.picture.types import Layer, Picture, Stage
from yolor_cfg.report.run.markup import change_of, format_number, format_seconds
from yolor_cfg.report.scatter.draw import draw_scene
from yolor_cfg.report.scatter.page import write_page
from yolor_cfg.report.scatter.svg import write_svg
from yolor_cfg.report.scatter.types import AxisText, Mark, Scatter
from yolor_cfg.shape import Shape

ODD = "</title></text><script>alert(1)</script>\"'&]]>\x00\x0b\x1b\x7f\x85\u202e\ufffe\uffff\udcff"
"""Ends of elements, quotes, what XML has no place for, half of a surrogate pair."""
SHOWN = ODD.translate({code: f"\\x{code:02x}" for code in (0, 11, 27, 127, 133)}).translate(
    {0x202E: "\\u202e", 0xFFFE: "\\ufffe", 0xFFFF: "\\uffff", 0xDCFF: "\\xff"}
)


def texts_of(drawing: str) -> list[str]:
    """All texts of a drawing, which is whole XML that can be written to a file."""
    root = ElementTree.fromstring(drawing.encode())
    assert not [one for one in root.iter() if "script" in str(one.tag)]
    return ["".join(one.itertext()) for one in root.iter()]


@given(st.text(max_size=40))
def test_any_text_is_the_same_text_in_an_element_and_in_an_attribute(text: str) -> None:
    element = ElementTree.fromstring(wrap("p", plain(text), data_name=text).encode())
    shown = "".join(element.itertext())
    assert shown == html.unescape(plain(text))
    assert element.attrib["data-name"] == shown.translate({9: " ", 10: " "})  # as XML reads attributes
    if text.isprintable() and not set(text) & {"\ufffe", "\uffff"}:
        assert shown == text


def test_names_of_all_kinds_stay_text_in_a_chart_of_networks() -> None:
    axis = AxisText(ODD, lambda value: ODD)
    chart = Scatter(ODD, axis, axis, (Mark("a", 1, 1, told=ODD), Mark("b", 2, 0.5, 1)), (ODD, "other"))
    scene = draw_scene(chart)
    texts = texts_of(write_svg(scene))
    assert texts.count(SHOWN) > 8
    page = write_page(scene, [("name", "x"), (ODD, "1")], words=[0], notes=[ODD])
    assert "<script" not in page and page.count("&lt;script&gt;alert(1)") > 10 and page.encode()


def test_names_of_all_kinds_stay_text_in_a_picture_of_a_network() -> None:
    layers = tuple(
        Layer(number, ODD, Shape(3, 8, 8), tasks=(ODD,), text=ODD, macs=5, share=0.5) for number in range(2)
    )
    picture = Picture(ODD, (Stage(ODD, 8, 8, 8.0, layers),), (), (ODD, "second"), ((ODD, ODD),))
    texts = texts_of(draw_svg(arrange(picture)))
    assert SHOWN in texts and f"task {SHOWN}" in texts and f"{SHOWN} {SHOWN}" in texts
    page = draw_page(picture)
    assert "<script>alert" not in page.partition("<body")[2]


def test_names_of_all_kinds_stay_text_in_charts_of_a_data_set() -> None:
    bars = texts_of(bars_svg([(ODD, (1, 2, 3))]))
    assert f"{SHOWN}: 1" in bars and "6" in bars
    histogram = texts_of(histogram_svg([1, 2], [ODD, "b"], x_label=ODD))
    assert SHOWN in histogram and f"{SHOWN}: 1" in histogram
    matrix = texts_of(matrix_svg(np.array([[3, 1], [1, 2]]), [ODD, "b"]))
    assert f"{SHOWN} and b: 1 images, 33% of those with {SHOWN}" in matrix
    assert "7" in texts_of(map_svg(np.array([[0, 7], [1, 0]])))


@pytest.mark.parametrize(("counts", "marks"), [([1], ["0", "0.5", "1"]), ([3, 1], ["0", "1.5", "3"])])
def test_the_lines_of_a_histogram_are_named_by_their_height(counts: list[int], marks: list[str]) -> None:
    root = ElementTree.fromstring(histogram_svg(counts, ["a"] * len(counts), x_label="x"))
    names = [
        one.text for one in root.iter() if one.get("class") == "faint" and one.get("text-anchor") == "end"
    ]
    assert names == marks


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_columns_of_a_histogram_are_as_high_as_their_counts(counts: list[int]) -> None:
    root = ElementTree.fromstring(histogram_svg(counts, ["a"] * len(counts), x_label="x"))
    heights = [float(one.attrib["height"]) for one in root.iter() if one.get("class") == "bar"]
    assert heights == pytest.approx([150 * count / max(1, *counts) for count in counts], abs=0.06)


def test_a_folder_whose_name_is_no_text_has_a_sheet(tmp_path: Path) -> None:
    place = tmp_path / "sheet.html"
    write_sheet(pairs_sheet(Findings([], []), ODD), place)
    found = re.search(r"<h1>(.*)</h1>", place.read_text(encoding="utf-8"))
    assert found and html.unescape(found[1]).startswith(f"{SHOWN}: 0 groups")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"),
        (90, "90 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (7199, "120.0 min"),
        (9000, "2.5 h"),
        (172800, "2.0 d"),
    ],
)
def test_a_duration_is_written_in_a_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (1234, "1,234"), (0.0, "0.000"), (0.00123, "0.00123"), (0.5, "0.500")],
)
def test_a_number_has_as_many_digits_as_make_sense(value: float | None, text: str) -> None:
    assert format_number(value) == text
    assert format_number(1234.56) == "1,234.6" and format_number(-0.0012) == "-0.0012"


@pytest.mark.parametrize(
    ("value", "is_score", "text", "kind"),
    [
        (0.0004, True, "+0.000", "same"),
        (-0.012, True, "-0.012", "down"),
        (0.5, True, "+0.500", "up"),
        (250.25, False, "+250.2", ""),
        (None, True, "–", ""),
    ],
)
def test_a_difference_has_a_sign_and_a_score_a_colour(
    value: float | None, is_score: bool, text: str, kind: str
) -> None:
    cell = change_of(value, is_score=is_score)
    assert (cell.html, cell.kind) == (text, f"number {kind}".rstrip())
