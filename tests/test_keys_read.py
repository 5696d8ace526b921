"""Keys that nothing here goes by are told with the reason; tests/test_key_use.py sees what reads each."""

import pytest
import tiny_detector as tiny

from yolor_cfg.lang.dialect import DARKNET
from yolor_cfg.lang.syntax import parse
from yolor_cfg.sections import SECTIONS
from yolor_cfg.sections.base import SectionPlace
from yolor_cfg.sections.unused import find_unused_keys

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
