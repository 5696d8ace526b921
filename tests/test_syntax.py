"""Cfg text to sections and back: everything odd that is still a cfg, and that writing loses nothing."""

import json
from pathlib import Path
from time import process_time

import pytest

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import format_document, normalize_document, parse, parse_bytes, quote_text

FOLDER = Path(__file__).parent / "data" / "valid"
CFGS = sorted(FOLDER.glob("*.cfg"))
per_cfg = pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"


def graph_of(path: Path) -> Graph:
    return build_graph(parse_bytes(path.read_bytes(), path.name))


def test_each_valid_cfg_has_its_meaning_beside_it() -> None:
    assert {path.stem for path in CFGS} == {path.stem for path in FOLDER.glob("*.json")}
    assert len(CFGS) >= 36


@per_cfg
def test_a_valid_cfg_means_what_stands_beside_it(path: Path) -> None:
    graph = graph_of(path)
    sections = [
        {"type": node.section.type, "line": node.line, "keys": dict(node.section.values)}
        for node in graph.nodes
    ]
    found = {
        "dialect": graph.dialect.name,
        "encoding": graph.document.encoding,
        "net": dict(graph.net.values),
        "sections": sections,
        "warnings": [str(warning).split("\n")[0] for warning in graph.warnings],
        "notes": list(graph.notes),
    }
    assert json.loads(json.dumps(found)) == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


@per_cfg
def test_what_was_read_is_written_to_the_byte(path: Path) -> None:
    document = parse_bytes(path.read_bytes(), path.name)
    assert format_document(document).encode(document.encoding) == path.read_bytes()
    assert document.text == format_document(document)


@per_cfg
def test_the_normal_form_means_the_same(path: Path) -> None:
    graph = graph_of(path)
    text = normalize_document(graph.document)
    again = build_graph(parse(text, path.name))
    assert normalize_document(again.document) == text
    assert again.net.values == graph.net.values
    assert [node.section.values for node in again.nodes] == [node.section.values for node in graph.nodes]
    assert [node.shape for node in again.nodes] == [node.shape for node in graph.nodes]


def test_the_normal_form_has_no_blanks_one_empty_line_between_sections_and_all_comments() -> None:
    first = "# top\r\n\r\n [ net ]  # x\r\n width = 32\r\n\r\n\r\n"
    text = first + "[convolutional]\r\n\tfilters=\t8 # eight\r\n; end"
    wanted = "# top\n\n[net]  # x\nwidth=32\n\n[convolutional]\nfilters=8 # eight\n; end\n"
    assert normalize_document(parse(text)) == wanted


def test_lines_are_numbered_as_an_editor_does() -> None:
    document = parse("\ufeff# one\r\n\r\n[net]\r\nwidth=1\r\n\r\n[x]\r\n")
    assert [(section.name, section.line) for section in document.sections] == [("net", 3), ("x", 6)]
    assert [line.number for line in document.lines] == [1, 2, 3, 4, 5, 6]


def test_only_the_first_equals_sign_splits() -> None:
    (entry,) = parse("[net]\nanchors = a=b = c\n").sections[0].entries
    assert (entry.key, entry.value) == ("anchors", "a=b = c")


def test_a_lone_cr_ends_a_line_only_where_there_is_no_lf() -> None:
    assert [line.key for line in parse("[net]\rwidth=1\rheight=2").sections[0].entries] == ["width", "height"]
    (entry,) = parse("[net]\nwidth=1\r2\n").sections[0].entries
    assert entry.value == "1\r2"


def test_form_feeds_and_line_separators_of_unicode_end_no_line() -> None:
    document = parse("[net]\nwidth=1\x0c\u2028\n# a\u2028b\n")
    assert [line.kind for line in document.lines] == ["header", "entry", "comment"]


def test_bytes_that_are_no_utf8_come_back_as_they_were() -> None:
    data = b"[net]\n# \xe9\xff\x80\nwidth=1\n"
    document = parse_bytes(data)
    assert document.encoding == "latin-1"
    assert format_document(document).encode(document.encoding) == data


def test_a_row_of_equals_signs_is_a_merge_marker_only_when_it_has_seven() -> None:
    for ornament in ("======", "========", "=======x", "# ======="):
        assert parse(f"[net]\n{ornament}\n").sections[0].entries == ()
    with pytest.raises(CfgError, match="merge-conflict marker"):
        parse("[net]\n  =======  \n")


def test_the_earliest_format_has_its_net_in_the_first_layer() -> None:
    document = parse("[conv]\nwidth=8\nheight=9\nfilters=2\nchannels=1\n[softmax]\n")
    assert [line.key for line in document.net.entries] == ["width", "height", "channels"]
    assert [raw.name for raw in document.layers] == ["conv", "softmax"]
    assert [line.key for line in document.layers[0].entries] == ["filters"]


def test_a_quoted_line_is_short_and_safe_to_print() -> None:
    assert quote_text("a\x1b[31m\tb\r\n") == "a?[31m b"
    assert len(quote_text("x" * 1000)) == 60


def test_a_cfg_of_350_sections_is_read_in_some_tens_of_milliseconds() -> None:
    section = "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
    text = NET + section * 350
    build_graph(parse(text))
    assert min(timed(text) for _ in range(5)) < 0.15


def timed(text: str) -> float:
    """Processor seconds for reading the text."""
    start = process_time()
    build_graph(parse(text))
    return process_time() - start
