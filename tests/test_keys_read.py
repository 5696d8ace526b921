"""Every declared key is read somewhere: what a cfg may say and nobody obeys would be told "ok" in silence.

A key that joins EXCEPTIONS needs its reason; one that is read by now has to leave.
"""

import ast
from pathlib import Path

import pytest
import tiny_detector as tiny

from yolor_cfg.lang.dialect import DARKNET
from yolor_cfg.lang.keys import Int
from yolor_cfg.lang.syntax import parse
from yolor_cfg.sections import SECTIONS
from yolor_cfg.sections.base import SectionPlace
from yolor_cfg.sections.unused import find_unused_keys

PACKAGE = Path(__file__).parent.parent / "yolor_cfg"
REASONS = {
    "memory, speed or display of C Darknet alone": "max_chart_loss show_receptive_field use_cuda_graph "
    "optimized_memory workspace_size_limit_MB show_details dets_for_show",
    "C Darknet's detectors do not read it in training (classifiers do)": "aspect max_crop min_crop",
    "C Darknet's layer reads it and never uses it": "reorg absolute",
    "read as attributes of the head by name": "nms_kind beta_nms",
}
EXCEPTIONS = {key for keys in REASONS.values() for key in keys.split()}


def names_read():
    """All names that the package's code reads as attributes; a declaration is none."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


def find_unread(sections):
    """The keys that nobody reads and that do not say so either, as those with a reason in `unused` do."""
    read = names_read()
    keys = {name: key for section in sections for name, key in section.keys.items()}
    return {name for name, key in keys.items() if not {name, f"{name}_"} & read and not key.unused}


def test_every_key_is_read_or_has_its_reason():
    assert find_unread(SECTIONS.values()) == EXCEPTIONS


def test_a_key_that_nobody_reads_is_found():
    class Section:
        keys = {"width": Int(0), "no_such_key_in_the_code": Int(0), "told": Int(0, unused="for a reason")}

    assert find_unread([Section]) == {"no_such_key_in_the_code"}


UNUSED = [
    (kind, key)
    for kind in dict.fromkeys(SECTIONS.values())
    for key in kind.own_keys()
    if kind.keys[key].unused
]


@pytest.mark.parametrize(("kind", "key"), UNUSED, ids=lambda each: getattr(each, "__name__", each))
def test_a_key_without_effect_is_told_with_its_reason(kind, key):
    """By the section itself, so by `yolor train` and `yolor cfg check`, and only if it has another value."""
    for value, told in (("7", True), (None, False)):
        lines = [f"{key}={value}"] if told else []
        raw = parse(
            "\n".join(["[net]", "width=32", "height=32", "channels=3", *lines, f"[{kind.names[0]}]", *lines])
        )
        sections = [raw.sections[0 if kind.names[0] == "net" else 1]]
        section = kind(sections[0], SectionPlace(0, DARKNET, "x.cfg"))
        faults = [fault for fault in find_unused_keys(section) if fault.key == key]
        assert bool(faults) == told
        assert all(kind.keys[key].unused in str(fault) for fault in faults)


def test_keys_without_effect_are_told_by_the_check_of_a_cfg(tmp_path):
    cfg = tmp_path / "x.cfg"
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\ntrack=1\n[convolutional]\nfilters=4\nactivation=linear\n"
    )
    result = tiny.yolor("cfg", "check", cfg)
    assert result.exit_code == 0
    assert "x.cfg:5: [net] track: has no effect here" in result.stderr
    assert "x.cfg: ok, but 1 key has no effect here" in result.stdout


def test_ignored_keys_have_reasons_and_are_not_declared():
    for section in SECTIONS.values():
        assert all(section.ignored_keys.values())
        assert not set(section.ignored_keys) & set(section.keys)
