"""`yolor cfg explain`: values in use with their lines, beside what the classes of the sections say."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from yolor_cfg.cli import main
from yolor_cfg.sections import SECTIONS
from yolor_cfg.sections.manual import describe_key

CFG = """\
[net]
width=64
height=64
channels=3
learning_rate=.002
[convolutional]
# the first
filters=8 ; eight
stride=2
activation=leaky
[convolutional]
filters=8 ; eight
stride=2
activation=leaky
[convolutional]
filters=18
colour=red
[yolo]
mask=0
classes=13
anchors=4,5
focal_loss=1
map=other
"""


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", "explain", *(str(arg) for arg in args)])


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "a.cfg"
    path.write_text(CFG)
    return path


def explained(*args: object) -> list[dict[str, Any]]:
    result = yolor(*args, "--json")
    assert result.exit_code == 0, result.output
    sections: list[dict[str, Any]] = json.loads(result.stdout)
    return sections


def keys_of(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key["name"]: key for key in section["keys"]}


def test_each_line_of_the_file_is_told_with_its_value_and_what_its_class_says(cfg: Path) -> None:
    sections = explained(cfg)
    assert [(one["section"], one["number"]) for one in sections] == [
        ("net", None),
        ("convolutional", 0),
        ("convolutional", 1),
        ("convolutional", 2),
        ("yolo", 3),
    ]
    told = {(key["line"], key["name"]) for section in sections for key in section["keys"]}
    lines = enumerate(CFG.splitlines(), start=1)
    assert told == {(number, text.partition("=")[0]) for number, text in lines if "=" in text}
    for section in sections:
        kind = SECTIONS[section["section"]]
        for name, key in keys_of(section).items():
            if name in kind.keys:
                manual = describe_key(kind, name)
                assert (key["meaning"], key["unit"]) == (manual.meaning, manual.unit)
                assert (key["default"], key["allowed"]) == (manual.default, manual.allowed)
    assert keys_of(sections[1])["filters"]["value"] == 8
    assert keys_of(sections[0])["learning_rate"]["meaning"] == "learning rate"


def test_one_section_is_told_with_all_its_keys_and_their_defaults(cfg: Path) -> None:
    (section,) = explained(cfg, "--section", 1)
    keys = keys_of(section)
    assert (keys["stride"]["value"], keys["stride"]["line"]) == (2, 13)
    assert (keys["size"]["value"], keys["size"]["line"]) == ([1], None)
    assert set(SECTIONS["convolutional"].own_keys()) <= keys.keys()
    assert (section["inputs"], section["shape"]) == ([[8, 32, 32]], [8, 16, 16])


def test_a_default_that_follows_other_keys_is_worked_out(cfg: Path) -> None:
    assert keys_of(explained(cfg, "--section", "net")[0])["max_crop"]["value"] == 2 * 64


@pytest.mark.parametrize("word", ["1", "#1", ":11", ":14"])
def test_a_section_is_found_by_its_number_and_by_any_of_its_lines(word: str, cfg: Path) -> None:
    assert [section["line"] for section in explained(cfg, "--section", word)] == [11]


@pytest.mark.parametrize("word", ["convolutional", "[convolutional]", "conv"])
def test_a_name_means_all_sections_of_that_name_and_its_aliases(word: str, cfg: Path) -> None:
    assert [section["number"] for section in explained(cfg, "--section", word)] == [0, 1, 2]


def test_what_is_not_in_the_file_is_refused_with_what_is(cfg: Path) -> None:
    result = yolor(cfg, "--section", "upsample")
    assert result.exit_code == 2
    assert result.stderr == (
        f"{cfg}: no such section in this file\n  found:   upsample\n"
        "  allowed: convolutional, net, yolo; 0 to 3; :LINE\n"
    )


def test_the_table_shows_sections_that_say_the_same_once(cfg: Path) -> None:
    text = yolor(cfg).stdout
    assert "[convolutional] #0, line 6; the same: #1\n" in text
    assert text.count("number of filters") == 2
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["stride"])
    assert row[:4] == ["stride", "2", "9", "1"] and row[-3:] == ["stride", "in", "pixels"]


def test_a_key_without_effect_is_told_with_the_reason_and_an_unknown_one_as_such(cfg: Path) -> None:
    sections = explained(cfg)
    assert keys_of(sections[4])["map"]["use"] == "none" and keys_of(sections[4])["map"]["reason"]
    assert "no key of this section" in keys_of(sections[3])["colour"]["meaning"]


def test_a_faulty_file_is_explained_all_the_same_and_its_faults_are_counted(cfg: Path) -> None:
    cfg.write_text(CFG.replace("stride=2", "stride=none", 1))
    result = yolor(cfg)
    assert result.exit_code == 0 and "1 fault in" in result.stderr and "yolor cfg check" in result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["stride"])
    assert row[:3] == ["stride", "faulty", "9"]
    assert keys_of(explained(cfg, "--section", 0)[0])["stride"]["value"] is None


def test_without_a_file_it_is_the_manual_of_the_section() -> None:
    assert yolor("--section", "yolo").stdout == (
        CliRunner().invoke(main, ["info", "--sections", "yolo"]).stdout
    )
    assert yolor().exit_code == 2 and "give CFG, or --section NAME" in yolor().stderr
