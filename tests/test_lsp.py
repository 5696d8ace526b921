"""`yolor lsp`: a real server over standard input and output, and an editor that asks it.

What it should say comes from other commands: `yolor info --json`, `cfg check --json`, `cfg explain --json`.
"""

import json
import random
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lsp_client import ROOT, Editor, apply_edits
from lsprotocol import types
from proofs import SHARED

from yolor_cfg.cli import main
from yolor_cfg.lang.dialect import DIALECTS

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n\n"
TINY = f"""{NET}# the stem é
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=8
size=1
activation=mish

[shortcut]
from=-2
activation=linear

[route]
layers=-1, 0

[convolutional]
filters=18
size=1
activation=linear

[yolo]
mask=0,1,2
anchors=10,13, 16,30, 33,23
classes=1
num=3
"""
SEVERITIES = {"error": 1, "warning": 2, "note": 3}
INVALID = sorted((ROOT / "tests" / "data" / "invalid").glob("*.cfg"))
CORPUS = sorted((SHARED / "corpus" / "cfg").glob("*.cfg"))
FORKS = sorted((SHARED / "golden" / "forks").glob("*.cfg"))
SHIPPED = sorted((ROOT / "cfg").glob("*.cfg"))[::6]
VALID = sorted((ROOT / "tests" / "data" / "valid").glob("*.cfg"))


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    one = Editor()
    yield one
    assert one.end() == (0, "")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def uri(editor: Editor, tiny: Path) -> Iterator[str]:
    """TINY, open."""
    assert editor.open(tiny.as_uri(), TINY) == []
    yield tiny.as_uri()
    assert editor.close(tiny.as_uri()) == []


def yolor(*words: object) -> Any:
    return json.loads(CliRunner().invoke(main, [str(word) for word in words]).stdout)


def place(text: str, word: str) -> tuple[int, int]:
    """Line and character, from 0, of the last character of the first `word`."""
    before = text[: text.index(word) + len(word) - 1]
    return before.count("\n"), len(before) - before.rfind("\n") - 1


def put(uri_: str, editor_: Editor, at: tuple[int, int], text: str) -> list[types.Diagnostic]:
    """Write at this place."""
    here = types.Position(*at)
    return editor_.change(uri_, types.TextDocumentContentChangePartial(types.Range(here, here), text))


def part_of(text: str, place_: types.Range) -> str:
    """The text of a range, which lies in one line, counted in UTF-16."""
    assert place_.start.line == place_.end.line
    line = text.split("\n")[place_.start.line].encode("utf-16-le")
    return line[2 * place_.start.character : 2 * place_.end.character].decode("utf-16-le")


def read(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def test_it_says_what_it_can_do(editor: Editor) -> None:
    able = editor.initialized.capabilities
    assert editor.initialized.server_info is not None and editor.initialized.server_info.name == "yolor"
    assert able.position_encoding == "utf-16"
    assert isinstance(able.text_document_sync, types.TextDocumentSyncOptions)
    assert able.text_document_sync.change == types.TextDocumentSyncKind.Incremental
    assert able.hover_provider and able.definition_provider and able.references_provider
    assert able.document_symbol_provider and able.folding_range_provider and able.inlay_hint_provider
    assert able.code_action_provider and able.document_formatting_provider and able.completion_provider


def test_an_editor_is_told_what_cfg_check_says(editor: Editor) -> None:
    """Of each damaged example of the messages: line, kind and words; of text that no program can read, at
    least as much."""
    wanted = defaultdict(list)
    for fault in yolor("cfg", "check", *INVALID, "--json"):
        wanted[fault["path"]].append(fault)
    assert len(INVALID) > 200 and len(wanted) > 200
    for path in INVALID:
        found = {
            (one.range.start.line + 1, one.severity, one.message)
            for one in editor.open(path.as_uri(), read(path))
        }
        for fault in wanted[str(path)]:
            rows = [f"{row}: {fault[row]}" for row in ("found", "allowed", "hint") if fault[row]]
            subject = f"{fault['key']}: " if fault["key"] else ""
            message = "\n".join([subject + fault["message"], *rows])
            assert (max(fault["line"], 1), SEVERITIES[fault["kind"]], message) in found, path
        if len(found) > len(wanted[str(path)]):
            assert len(wanted[str(path)]) == 1 and not wanted[str(path)][0]["key"], path
        assert editor.close(path.as_uri()) == []


def test_a_fault_stands_at_the_key_or_the_value(editor: Editor, uri: str) -> None:
    text = (
        TINY.replace("filters=8", "filers = 8", 1)
        .replace("=mish", "=mush # 1")
        .replace("-1, 0", "-1, 77")
        .replace("[shortcut]", "[ shortcutt ]")
    )
    found = editor.replace(uri, text)
    assert {(part_of(text, one.range), one.code) for one in found if one.severity == 1} == {
        ("filers", "unknown-key"),
        ("[ shortcutt ]", "unknown-section"),
        ("77", "no-such-section-before-this-one"),
    }
    assert {(part_of(text, one.range), one.code) for one in found if one.severity == 2} == {
        ("mush", "unknown-value"),
    }
    assert all(one.source == "yolor" for one in found)


def test_places_are_counted_in_utf_16_behind_what_is_not_ascii(editor: Editor, uri: str) -> None:
    text = TINY.replace("stem é", "stem é 𝄞\f\u2028 猫").replace("stride=2", "𝄞𝄞 = 𝄞2 # 猫")
    (fault,) = editor.replace(uri, text)
    line = text[: text.index("𝄞𝄞 =")].count("\n")
    assert fault.range == types.Range(types.Position(line, 0), types.Position(line, 4))
    assert part_of(text, fault.range) == "𝄞𝄞"


def test_another_encoding_is_spoken_if_the_editor_asks_for_it(tiny: Path) -> None:
    one = Editor(encodings=["utf-8"])
    assert one.initialized.capabilities.position_encoding == "utf-8"
    (fault,) = one.open(tiny.as_uri(), TINY.replace("stride=2", "𝄞=2"))
    assert (fault.range.start.character, fault.range.end.character) == (0, 4)
    assert one.end() == (0, "")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_changes_come_to_their_place_behind_odd_letters_and_line_ends(
    editor: Editor, uri: str, ending: str
) -> None:
    """A form feed and U+2028 end no line, in no editor."""
    text = ("# \f é\u2028 𝄞\x85.\n" + TINY).replace("\n", ending)
    assert editor.replace(uri, text) == []
    line, _ = place(text, "filters")
    found = put(uri, editor, (line, len("filters=8")), "x")
    assert [(one.range.start.line, one.code) for one in found] == [(line, "read-as")]
    gone = types.Range(types.Position(line, 9), types.Position(line, 10))
    assert editor.change(uri, types.TextDocumentContentChangePartial(gone, "")) == []
    start = types.Range(types.Position(0, 5), types.Position(0, 9))
    assert editor.change(uri, types.TextDocumentContentChangePartial(start, "")) == []
    (edit,) = editor.format(uri)
    assert edit.new_text.startswith("# \f é\x85.\n")


def test_several_changes_at_once_are_made_in_their_order(editor: Editor, uri: str) -> None:
    line, _ = place(TINY, "filters")
    at = types.Range(types.Position(line, 9), types.Position(line, 9))
    one = types.TextDocumentContentChangePartial(at, "1")
    assert editor.change(uri, one, one) == []
    assert "8x32x32" not in editor.tell(uri, line - 2, 3) and "811x32x32" in editor.tell(uri, line - 2, 3)


def test_what_is_mended_or_closed_is_taken_back(editor: Editor, tiny: Path) -> None:
    uri = tiny.as_uri()
    assert len(editor.open(uri, TINY.replace("[yolo]", "[yollo"))) == 1
    assert editor.replace(uri, TINY) == []
    assert len(editor.replace(uri, TINY.replace("=mish", "=mush"))) == 1
    assert editor.close(uri) == []


def test_texts_do_not_mix(editor: Editor, uri: str) -> None:
    other = "untitled:other"
    assert [one.code for one in editor.open(other, NET)] == ["this-file-has-no-layers"]
    assert len(editor.symbols(other)) == 1
    assert len(editor.symbols(uri)) == 7
    assert editor.close(other) == []
    assert len(editor.symbols(uri)) == 7


def test_damaged_text_gives_all_of_its_errors_and_the_rest_stays_known(editor: Editor, uri: str) -> None:
    text = TINY.replace("[convolutional]\nfilters=8", "<<<<<<< ours\n[convolutional\nfilters=8")
    text = (
        text.replace("[route]", "[route] x")
        .replace("classes=1", "classes=one")
        .replace("[net]", "words\n[net]")
    )
    found = editor.replace(uri, text)
    told = {(part_of(text, one.range), one.code) for one in found}
    assert told >= {
        ("words", "text-before-the-first-section"),
        ("<<<<<<< ours", "a-merge-conflict-marker"),
        ("[convolutional", "a-section-header-without"),
        ("[route] x", "text-after-a-section-header"),
        ("one", "not-a-whole-number"),
    }
    assert [one.name for one in editor.symbols(uri)][:3] == ["net", "#0 convolutional", "#1 convolutional"]
    assert "8x32x32" in editor.tell(uri, *place(text, "[shortcut]"))


@pytest.mark.parametrize(
    "text",
    ["", "\n", "[", "[]", "=", "[net]", "[net", "\0", "\ud800[net]\n=1", "\r\r[net]\r=\r", "<html>\n" * 99],
)
def test_nothing_that_is_no_cfg_stops_it(editor: Editor, tmp_path: Path, text: str) -> None:
    uri = (tmp_path / "no.cfg").as_uri()
    assert editor.open(uri, text)
    for at in ((0, 0), (0, 1), (1, 0), (99, 9)):
        editor.hover(uri, *at)
        editor.complete(uri, *at)
        editor.definition(uri, *at)
        editor.references(uri, *at)
    assert editor.hints(uri) == []
    editor.format(uri)
    assert editor.close(uri) == []


def test_a_section_is_told_with_its_shape_and_costs(editor: Editor, uri: str, tiny: Path) -> None:
    """The numbers are those of `yolor info`, the readers follow from the sources that it tells."""
    told = yolor("info", tiny, "--json")
    manual = {name: one["sentence"] for one in yolor("info", "--sections", "--json") for name in one["names"]}
    for layer in told["layers"]:
        text = editor.tell(uri, layer["line"] - 1, 2)
        assert f"**`[{layer['type']}] #{layer['index']}`**" in text
        assert manual[layer["type"]] in text
        assert f"- gives: {'x'.join(map(str, layer['shape']))} (" in text
        assert f"- parameters: {layer['parameters']:,}\n" in text
        assert f"- MACs: {layer['macs']:,} for" in text or (layer["macs"] == 0 and "- MACs: 0\n" in text)
        readers = [other for other in told["layers"] if layer["index"] in other["sources"]]
        named = [f"[{one['type']}] #{one['index']}, line {one['line']}" for one in readers]
        last = layer["index"] == len(told["layers"]) - 1
        none = "no section: it is an output of the network" if last else "no section"
        assert text.endswith(f"- read by: {'; '.join(named) or none}")
        for source in layer["sources"]:
            assert f"#{source}: " in text if source >= 0 else "the image, 3x64x64" in text
    whole = editor.tell(uri, 0, 2)
    assert f"- parameters: {told['parameters']:,}\n" in whole and f"- MACs: {told['macs']:,} for" in whole
    assert "- dialect: darknet" in whole


def test_a_key_is_told_in_the_words_of_cfg_explain(editor: Editor, uri: str, tiny: Path) -> None:
    lines = TINY.split("\n")
    seen = 0
    for section in yolor("cfg", "explain", tiny, "--json"):
        for key in section["keys"]:
            text = editor.tell(uri, key["line"] - 1, 1)
            assert text.startswith(f"**`{key['name']}`** in `[{section['section']}]")
            assert key["meaning"] in text
            assert ("- required" if key["default"] == "required" else f"- default: {key['default']}") in text
            assert f"- allowed: {key['allowed']}" in text
            assert ("training alone" in text) == (key["use"] == "training")
            assert lines[key["line"] - 1].startswith(key["name"])
            seen += 1
    assert seen > 20
    assert editor.hover(uri, 4, 0) is None  # a blank line
    assert editor.hover(uri, 5, 3) is None  # a comment


def test_a_number_of_a_section_is_told_as_that_section(editor: Editor, uri: str) -> None:
    text = editor.tell(uri, *place(TINY, "from=-2"))
    assert text.startswith("`-2` leads to section 0:\n\n**`[convolutional] #0`** line 7\n")
    assert "gives: 8x32x32" in text
    line, column = place(TINY, "layers=-1, 0")
    assert editor.tell(uri, line, column).startswith("**`[convolutional] #0`** line 7")
    assert editor.tell(uri, line, column - 3).startswith("`-1` leads to section 2:")
    assert editor.tell(uri, line, 1).startswith("**`layers`** in `[route] #3`")


def labels(items: list[types.CompletionItem]) -> list[str]:
    return [item.label for item in items]


def test_sections_are_offered_behind_a_bracket_if_the_dialect_has_them(editor: Editor, uri: str) -> None:
    """A file that is YOLOR's gets no section of other programs, one that is not told those of all."""
    manual = yolor("info", "--sections", "--json")
    found = editor.complete(uri, 4, 0)
    assert "[" not in {label[0] for label in labels(found)}
    editor.replace(uri, NET + "[co")
    every = {name for one in manual for name in one["names"]} - {"net", "network"}
    assert set(labels(editor.complete(uri, 5, 3))) == every
    text = NET.replace("channels=3", "channels=3\ndialect=yolor") + "[co]\n"
    editor.replace(uri, text)
    (line, column) = place(text, "[co]")
    items = editor.complete(uri, line, column)
    assert set(labels(items)) == {
        name for one in manual if "yolor" in one["dialects"] for name in one["names"]
    } - {"net", "network"}
    (item,) = [item for item in items if item.label == "convolutional"]
    assert isinstance(item.text_edit, types.TextEdit)
    assert apply_edits(text, [item.text_edit]) == text.replace("[co]", "[convolutional]")
    assert isinstance(item.documentation, types.MarkupContent)
    sentence = next(one["sentence"] for one in manual if "convolutional" in one["names"])
    assert item.documentation.value.startswith(sentence)
    editor.replace(uri, "[\n")
    assert "net" in labels(editor.complete(uri, 0, 1))


def test_keys_of_the_section_are_offered_those_that_are_missing_first(editor: Editor, uri: str) -> None:
    line, _ = place(TINY, "activation=mish")
    put(uri, editor, (line, 0), "\n")
    items = editor.complete(uri, line, 0)
    found = labels(items)
    (manual,) = yolor("info", "--sections", "convolutional", "--json")
    known = {key["name"] for key in manual["keys"] if "darknet" in key["dialects"]}
    assert known <= set(found)
    assert set(found[-3:]) == {"filters", "size", "activation"}  # what is there
    assert found.index("stride") < found.index("onlyforward")
    (stride,) = [item for item in items if item.label == "stride"]
    assert stride.detail == "default 1"
    assert isinstance(stride.text_edit, types.TextEdit) and stride.text_edit.new_text == "stride="
    assert isinstance(stride.documentation, types.MarkupContent)
    assert "stride in pixels" in stride.documentation.value
    put(uri, editor, (line, 0), "stri=4")
    (again,) = [item for item in editor.complete(uri, line, 3) if item.label == "stride"]
    assert isinstance(again.text_edit, types.TextEdit) and again.text_edit.new_text == "stride"


def test_values_are_offered(editor: Editor, uri: str) -> None:
    line, _ = place(TINY, "activation=mish")
    found = labels(editor.complete(uri, line, len("activation=")))
    assert {"leaky", "linear", "mish", "logistic"} <= set(found) and found == sorted(found)
    line, _ = place(TINY, "batch_normalize=")
    assert labels(editor.complete(uri, line, len("batch_normalize="))) == ["1", "0"]
    assert editor.complete(uri, 5, 4) == []  # a comment
    put(uri, editor, (3, 0), "dialect=\n")
    assert set(labels(editor.complete(uri, 3, len("dialect=")))) == set(DIALECTS)
    editor.replace(uri, TINY.replace("channels=3", "channels=3\ndialect=jde"))
    assert labels(editor.complete(uri, line + 6, len("activation="))) == ["leaky", "linear"]


def test_the_sections_before_are_offered_with_their_shapes(editor: Editor, uri: str, tiny: Path) -> None:
    layers = yolor("info", tiny, "--json")["layers"]
    line, column = place(TINY, "layers=-1, 0")
    items = editor.complete(uri, line, column)
    assert labels(items) == ["-1", "-2", "-3", "2", "1", "0"]
    for item, index in zip(items, [2, 1, 0, 2, 1, 0], strict=True):
        one = layers[index]
        shape = "x".join(map(str, one["shape"]))
        assert (item.detail or "").startswith(f"[{one['type']}] {shape}, line {one['line']} (")
    edit = items[1].text_edit
    assert isinstance(edit, types.TextEdit)
    assert apply_edits(TINY, [edit]) == TINY.replace("layers=-1, 0", "layers=-1, -2")


def test_definitions_and_references_follow_the_sources(editor: Editor, uri: str, tiny: Path) -> None:
    layers = yolor("info", tiny, "--json")["layers"]
    header = {-1: 0} | {one["index"]: one["line"] - 1 for one in layers}
    for one in layers:
        assert editor.definition(uri, one["line"] - 1, 1) == [header[source] for source in one["sources"]]
        readers = [other for other in layers if one["index"] in other["sources"]]
        found = editor.references(uri, one["line"] - 1, 1)
        blocks = [max(line for line in header.values() if line <= place_.start.line) for place_ in found]
        assert blocks == [header[other["index"]] for other in readers]
    assert editor.definition(uri, *place(TINY, "from=-2")) == [header[0]]
    assert editor.definition(uri, *place(TINY, "layers=-1")) == [header[2]]
    named = editor.references(uri, *place(TINY, "from=-2"))
    assert [part_of(TINY, one) for one in named] == ["[convolutional]", "-2", "0"]


def test_the_outline_names_sections_with_number_and_shape(editor: Editor, uri: str, tiny: Path) -> None:
    layers = yolor("info", tiny, "--json")["layers"]
    net, *others = editor.symbols(uri)
    assert (net.name, net.detail) == ("net", "3x64x64")
    assert [(one.name, one.detail, one.selection_range.start.line + 1) for one in others] == [
        (f"#{one['index']} {one['type']}", "x".join(map(str, one["shape"])), one["line"]) for one in layers
    ]
    assert (net.range.start.line, net.range.end.line) == (0, 3)
    folds = [(one.start_line, one.end_line) for one in editor.folds(uri)]
    assert folds == [(one.range.start.line, one.range.end.line) for one in (net, *others)]


def test_shapes_and_absolute_numbers_stand_beside_the_text(editor: Editor, uri: str, tiny: Path) -> None:
    layers = yolor("info", tiny, "--json")["layers"]
    shown = {(one.position.line, one.position.character): one.label for one in editor.hints(uri)}
    lines = TINY.split("\n")
    wanted = {
        (one["line"] - 1, len(lines[one["line"] - 1])): "x".join(map(str, one["shape"])) for one in layers
    }
    line, column = place(TINY, "layers=-1, 0")
    back = {(place(TINY, "from=-2")[0], 7): "#0", (line, column - 2): "#2"}
    assert shown == {(0, 5): "3x64x64", **wanted, **back}
    assert {one.position.line for one in editor.hints(uri, line, line)} == {line - 1, line}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filters=8\nsize=3", "filers=8\nsize=3"),
        ("=mish", "=mich"),
        ("[shortcut]", "[shortcat]"),
        ("from=-2", "from=2"),
        ("filters=18", "filters=19"),
        ("[route]\n", "[route]\nlayers=0\n"),
        ("stride=2\n", "stride=2\nstride=4\n"),
    ],
)
def test_a_fault_with_one_remedy_is_mended(editor: Editor, uri: str, old: str, new: str) -> None:
    text = TINY.replace(old, new) if "route" not in new else TINY.replace(old, "[route]\nlayers=\n")
    faults = editor.replace(uri, text)
    (action,) = [one for fault in faults for one in editor.actions(uri, fault)]
    assert action.is_preferred and action.kind == types.CodeActionKind.QuickFix
    assert action.edit is not None and action.edit.changes is not None
    mended = apply_edits(text, list(action.edit.changes[uri]))
    assert mended == TINY
    assert editor.replace(uri, mended) == []


def test_where_dialects_are_mixed_each_can_be_stated(editor: Editor, uri: str) -> None:
    text = f"{NET}[implicit_add]\nfilters=4\n[gru]\noutput=4\n"
    (fault,) = editor.replace(uri, text)
    assert fault.code == "this-file-mixes-dialects"
    for action, name in zip(editor.actions(uri, fault), ("darknet", "yolor"), strict=True):
        assert not action.is_preferred and action.edit is not None and action.edit.changes is not None
        mended = apply_edits(text, list(action.edit.changes[uri]))
        assert mended == text.replace("[net]", f"[net]\ndialect={name}")
        assert "this-file-mixes-dialects" not in {one.code for one in editor.replace(uri, mended)}
        assert f"- dialect: {name}," in editor.tell(uri, 0, 1)


def test_a_head_is_told_with_its_cells_and_anchors(editor: Editor, uri: str) -> None:
    """Those that its mask names, of a list of all heads."""
    text = editor.tell(uri, *place(TINY, "[yolo]"))
    assert "- cells: 32 x 32, each of 2 x 2 pixels\n" in text
    assert "- anchors: 10x13, 16x30, 33x23 (width x height in pixels)\n" in text
    editor.replace(uri, TINY.replace("mask=0,1,2", "mask=2,7"))
    assert "- anchors: 33x23 (" in editor.tell(uri, *place(TINY, "[yolo]"))


def test_a_comment_behind_a_header_gets_a_line_of_its_own(editor: Editor, uri: str) -> None:
    (fault,) = editor.replace(uri, TINY.replace("[route]", "[route]  # both"))
    (action,) = editor.actions(uri, fault)
    assert action.edit is not None and action.edit.changes is not None
    mended = apply_edits(TINY.replace("[route]", "[route]  # both"), list(action.edit.changes[uri]))
    assert mended == TINY.replace("[route]", "[route]\n# both")


def test_a_list_is_not_replaced_by_one_of_its_numbers(editor: Editor, uri: str) -> None:
    """The hint is about one number, and does not say which."""
    text = TINY.replace("channels=3", "channels=3\ndialect=yolor").replace("mask=0,1,2", "mask=0,1x,2")
    (fault,) = [one for one in editor.replace(uri, text) if "did you mean 1?" in one.message]
    assert editor.actions(uri, fault) == []


def test_formatting_is_that_of_cfg_format(editor: Editor, uri: str, tiny: Path) -> None:
    loose = TINY.replace("=", " = ").replace("[route]", "\n\n\n[ route ]").replace("\n", "\r\n")
    tiny.write_bytes(loose.encode())
    wanted = CliRunner().invoke(main, ["cfg", "format", str(tiny)]).stdout
    editor.replace(uri, loose)
    (edit,) = editor.format(uri)
    assert edit.new_text == wanted
    assert edit.range.start == types.Position(0, 0) and edit.range.end.line == loose.count("\n")
    editor.replace(uri, wanted)
    assert editor.format(uri) == []


def test_a_dialect_can_be_stated(tiny: Path) -> None:
    one = Editor("--dialect", "ultralytics")
    one.open(tiny.as_uri(), TINY)
    assert "- dialect: ultralytics" in one.tell(tiny.as_uri(), 0, 1)
    assert one.end() == (0, "")


@pytest.mark.parametrize("path", [*FORKS, *SHIPPED], ids=lambda path: path.stem)
def test_files_of_each_family_are_told_as_info_tells_them(editor: Editor, path: Path) -> None:
    """Each section's shape in the outline, and every key has something to be said of it."""
    told, uri = yolor("info", path, "--json"), path.as_uri()
    text = read(path)
    editor.open(uri, text)
    _, *others = editor.symbols(uri)
    assert [one.detail for one in others] == ["x".join(map(str, one["shape"])) for one in told["layers"]]
    assert f"- dialect: {told['dialect']}" in editor.tell(uri, *place(text, "[net]"))
    keys = [number for number, line in enumerate(text.split("\n")) if re.match(r"\w+ *=", line)]
    for number in keys[:60]:
        assert editor.tell(uri, number, 1).startswith("**`")
    editor.close(uri)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_headers_are_found_behind_every_kind_of_line_end(editor: Editor, path: Path) -> None:
    """Byte order marks, CR, LF, both, form feeds: the places that are told hold the headers."""
    text, uri = read(path), path.as_uri()
    editor.open(uri, text)
    lines = re.split(r"\r\n|\n|\r", text)
    told = [part_of("\n".join(lines), one.selection_range) for one in editor.symbols(uri)]
    assert told == [found[1] for line in lines if (found := re.match(r"[\ufeff\s]*(\[.*?\])", line))]
    assert len(told) > 1
    editor.close(uri)


def look_around(editor: Editor, path: Path, *, places: int, seed: int) -> None:
    """Ask about many places of a file; an error of the server is an exception here."""
    text, uri, chance = read(path), path.as_uri(), random.Random(seed)
    editor.open(uri, text)
    lines = text.split("\n")
    for _ in range(places):
        line = chance.randrange(len(lines))
        at = line, chance.randint(0, len(lines[line]))
        editor.hover(uri, *at)
        editor.complete(uri, *at)
        editor.definition(uri, *at)
        editor.references(uri, *at)
    assert len(editor.symbols(uri)) == len(re.findall(r"(?m)^\s*\[", text))
    editor.hints(uri)
    editor.folds(uri)
    editor.format(uri)
    editor.close(uri)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.slow] if number % 24 else [])
        for number, path in enumerate(CORPUS)
    ],
)
def test_a_cfg_that_somebody_wrote_can_be_looked_at_everywhere(editor: Editor, path: Path) -> None:
    look_around(editor, path, places=12, seed=1)


def test_it_loads_no_library_of_numbers(tiny: Path) -> None:
    code = (
        "import sys; from yolor_cfg.cli.lsp.command import make_server; make_server()\n"
        "from yolor_cfg.analysis.editor.hover import describe_place\n"
        "from yolor_cfg.analysis.editor.faults import list_remarks\n"
        "from yolor_cfg.analysis.editor.reading import read_text\n"
        "reading = read_text(open(sys.argv[1]).read(), sys.argv[1]); list_remarks(reading)\n"
        "for line in reading.lines: describe_place(reading, line.number, 1)\n"
        "print(*{'torch', 'numpy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pygls", "pygls.lsp.server"):  # also where another test has imported them
        monkeypatch.setitem(sys.modules, name, None)
    done = CliRunner().invoke(main, ["lsp"])
    assert (done.exit_code, done.stderr) == (5, "pip install 'yolor-cfg[lsp]'\n")


def test_a_signal_ends_it_although_it_waits_for_input() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "yolor_cfg", "lsp"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None and server.stdout is not None
    body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    server.stdin.flush()
    assert server.stdout.readline().startswith(b"Content-Length")
    server.terminate()
    assert server.wait(timeout=30) == -signal.SIGTERM


def talk(*messages: bytes) -> subprocess.CompletedProcess[bytes]:
    """What a server answers to these bodies, and to a header of what is no body."""
    start = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    framed = [
        one if b"\r\n" in one else b"Content-Length: %d\r\n\r\n%s" % (len(one), one)
        for one in (start, *messages)
    ]
    command = [sys.executable, "-m", "yolor_cfg", "lsp"]
    return subprocess.run(
        command, cwd=ROOT, input=b"".join(framed), capture_output=True, timeout=60, check=False
    )


def test_a_text_that_is_not_open_is_told_as_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed.cfg").write_text("[net]\n")
    named = b'"textDocument":{"uri":"%s"}' % (tmp_path / "closed.cfg").as_uri().encode()
    done = talk(
        b'{"jsonrpc":"2.0","id":2,"method":"textDocument/documentSymbol","params":{%s}}' % named,
        b'{"jsonrpc":"2.0","method":"textDocument/didChange","params":'
        b"{%s}}" % named.replace(b"}", b',"version":2},"contentChanges":[{"text":"[net]"}]'),
        b'{"jsonrpc":"2.0","method":"textDocument/didClose","params":{%s}}' % named,
        b'{"jsonrpc":"2.0","id":3,"method":"shutdown"}',
        b'{"jsonrpc":"2.0","method":"exit"}',
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b'"error": {"code": -32602, "message": "this text is not open: file:') == 1
    assert b"raceback" not in done.stdout and b"KeyError" not in done.stdout
    assert b'"id": 3, "jsonrpc": "2.0", "result": null' in done.stdout


def test_a_message_that_no_memory_holds_ends_it_with_one_line() -> None:
    done = talk(b"Content-Length: 99999999999999999\r\n\r\n{}")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert b"larger than the memory" in done.stderr
