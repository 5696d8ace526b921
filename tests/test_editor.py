"""What an editor is given for damaged text: places that lie in it, and remedies that help."""

import re
from collections import Counter
from pathlib import Path

import pytest
from proofs import SHARED

from yolor_cfg.analysis.editor.faults import Edit, list_remarks, list_remedies, locate, name_fault
from yolor_cfg.analysis.editor.hover import describe_place
from yolor_cfg.analysis.editor.places import NEXT_LINE, find_targets
from yolor_cfg.analysis.editor.reading import Reading, read_text
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
