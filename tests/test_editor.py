"""What an editor is given for damaged text: places that lie in it, and remedies that help."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from lsprotocol import types
from proofs import SHARED
from pygls.workspace import PositionCodec

from yolor_cfg.analysis.editor.faults import Edit, list_remarks, list_remedies, locate, name_fault
from yolor_cfg.analysis.editor.hover import describe_place
from yolor_cfg.analysis.editor.places import NEXT_LINE, find_targets, list_references
from yolor_cfg.analysis.editor.reading import Reading, read_text
from yolor_cfg.cli.lsp.diagnostics import DELAY, Publisher, find_actions
from yolor_cfg.cli.lsp.positions import Positions
from yolor_cfg.cli.lsp.server import CfgServer, OpenText
from yolor_cfg.errors import CfgError

ROOT = Path(__file__).resolve().parents[1]
INVALID = sorted((ROOT / "tests" / "data" / "invalid").glob("*.cfg"))
CORPUS = sorted((SHARED / "corpus" / "cfg").glob("*.cfg"))[::12]


def read(path: Path) -> Reading:
    return read_text(path.read_bytes().decode("utf-8", "replace"), str(path))


def change(reading: Reading, edit: Edit) -> str:
    """The text after an edit."""
    texts = [line.text for line in reading.lines]
    row, old = edit.span.line - 1, texts[edit.span.line - 1]
    end = len(old) if edit.span.end == NEXT_LINE else edit.span.end
    texts[row] = old[: edit.span.start] + edit.text + old[end:]
    return "".join(texts)


def said(fault: CfgError) -> tuple[str, str, str]:
    return fault.message, fault.key, fault.found


@pytest.mark.parametrize("path", [*INVALID, *CORPUS], ids=lambda path: path.stem)
def test_every_fault_has_a_place_in_its_line(path: Path) -> None:
    reading = read(path)
    assert "".join(line.text for line in reading.lines) == path.read_bytes().decode("utf-8", "replace")
    for remark in list_remarks(reading):
        span = locate(reading, remark.fault)
        text = reading.lines[span.line - 1].text.rstrip("\r\n")
        assert span.line == (remark.fault.line or 1)
        assert 0 <= span.start <= span.end <= len(text)
        assert span.start < span.end or not text.strip()
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name_fault(remark.fault))


def test_a_remedy_takes_its_fault_away() -> None:
    """In every damaged example that has one."""
    helped: Counter[str] = Counter()
    for path in INVALID:
        reading = read(path)
        before = Counter(said(remark.fault) for remark in list_remarks(reading))
        for remark in list_remarks(reading):
            for remedy in list_remedies(reading, remark.fault):
                after = list_remarks(read_text(change(reading, remedy.edit), str(path)))
                count = sum(said(one.fault) == said(remark.fault) for one in after)
                assert count < before[said(remark.fault)], (path.stem, remedy)
                helped[remedy.title.partition(" ")[0]] += 1
    assert set(helped) == {"Change", "Set", "Delete", "Say", "Put"}
    assert helped.total() > 40


def test_the_page_shows_what_is_said() -> None:
    page = (ROOT / "docs" / "editor.md").read_text(encoding="utf-8")
    shown = "\n".join(line[2:] for line in page.splitlines() if line.startswith(">"))
    found = describe_place(read(ROOT / "cfg" / "yolor_p6.cfg"), 26, 3)
    assert found is not None and found.text == shown


def test_a_value_taken_from_net_leads_there() -> None:
    text = "[net]\nwidth=8\nheight=8\nembedding_dim = 4\n[convolutional]\nfilters=$embedding_dim\n"
    (span,) = find_targets(read_text(text, "a.cfg"), 6, 10)
    assert (span.line, span.start, span.end) == (4, 0, len("embedding_dim"))


def test_a_text_that_is_no_cfg_gives_few_faults() -> None:
    """A page of the web is not told line by line."""
    reading = read_text("<p>words</p>\n" * 1000, "a.cfg")
    assert 0 < len(list_remarks(reading)) <= 20 and reading.draft is None


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_comment_behind_the_last_header_gets_a_line_of_its_own(end: str) -> None:
    """Also where the text ends behind it."""
    reading = read_text(f"[net]\nwidth=8\n[route]  # of the last{end}", "a.cfg")
    (fault,) = [one.fault for one in list_remarks(reading) if one.fault.message.startswith("a comment after")]
    (remedy,) = list_remedies(reading, fault)
    changed = change(reading, remedy.edit)
    assert changed.splitlines() == ["[net]", "width=8", "[route]", "# of the last"]
    assert name_fault(fault) not in [
        name_fault(one.fault) for one in list_remarks(read_text(changed, "a.cfg"))
    ]


def test_a_section_that_names_itself_leads_nowhere() -> None:
    """`layers=1` in section 1, and 0 places back from it, are faults, not references."""
    reading = read_text("[net]\n[route]\nlayers=0\n[route]\nlayers=1,-1,0\n", "a.cfg")
    first, second = reading.blocks[1:]
    assert list(list_references(reading, first)) == []
    found = [(one.number, one.target, one.span.start) for one in list_references(reading, second)]
    assert found == [(-1, 0, 9), (0, 0, 12)]


def test_a_net_is_told_with_how_many_of_its_sections_have_a_size() -> None:
    whole = "[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n"
    for text, told in (
        (f"{whole}[avgpool]\n", "- sections: 2\n"),
        (f"{whole}[route]\nlayers=9\n", "- sections: 2, 1 of them with a known size\n"),
    ):
        hover = describe_place(read_text(text, "a.cfg"), 1, 2)
        assert hover is not None and told in hover.text


def test_faults_of_a_text_without_net_stand_in_their_own_lines() -> None:
    """A [net] is added to read it by; no line moves."""
    reading = read_text("# no net\n[convolutional]\nfilters=many\n\n[yolo]\nmask=x\n", "a.cfg")
    lines = {(one.fault.key, one.fault.line) for one in list_remarks(reading)}
    assert {("filters", 3), ("mask", 6)} <= lines
    for remark in list_remarks(reading):
        if remark.fault.key:
            span = locate(reading, remark.fault)
            assert remark.fault.key in reading.lines[span.line - 1].text


# --- the editor's side ---


class Written(Publisher):
    """A publisher that notes what it would send."""

    def __init__(self) -> None:
        server = SimpleNamespace(forget=self.forgot, text_document_publish_diagnostics=self.forgot)
        super().__init__(cast("CfgServer", server))
        self.published: list[str] = []

    def forgot(self, *_: object) -> None:
        """Nothing is kept."""

    def publish(self, uri: str) -> None:
        self.published.append(uri)


def test_a_text_is_judged_once_after_changes_in_a_row_and_never_after_it_was_closed() -> None:
    publisher = Written()

    async def write() -> None:
        for _ in range(4):
            publisher.plan("a")
            await asyncio.sleep(DELAY / 8)
        publisher.plan("b")
        publisher.clear("b")
        assert publisher.published == []
        await asyncio.sleep(4 * DELAY)

    asyncio.run(write())
    assert publisher.published == ["a"]


def test_remedies_are_offered_where_the_fault_is_alone() -> None:
    text = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilers=8\n[maxpool]\nsize=2\n"
    reading = read_text(text, "a.cfg")
    codec = PositionCodec(types.PositionEncodingKind.Utf16)
    opened = OpenText("file:///a.cfg", text, reading, Positions([line.text for line in reading.lines], codec))
    remarks = list_remarks(reading)

    def titles(start: tuple[int, int], end: tuple[int, int]) -> list[str]:
        place = types.Range(types.Position(*start), types.Position(*end))
        return [action.title for action in find_actions(opened, remarks, place)]

    wanted = ["Change filers to filters"]
    for inside in (((4, 0), (4, 0)), ((4, 6), (4, 6)), ((4, 3), (5, 0)), ((0, 0), (6, 0))):
        assert titles(*inside) == wanted, inside
    for outside in (((3, 0), (3, 5)), ((4, 7), (4, 8)), ((5, 0), (5, 2)), ((0, 0), (3, 15))):
        assert titles(*outside) == [], outside
