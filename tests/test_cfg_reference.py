"""docs/cfg-reference.md is what the classes give; it names all sections, keys, facts and activations."""

import re
from pathlib import Path

import cfg_reference
import pytest
from click.testing import CliRunner

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DARKNET, DIALECTS, FAMILIES, Dialect
from yolor_cfg.lang.keys import Int
from yolor_cfg.sections import SECTIONS, Section
from yolor_cfg.sections.manual import describe_key, format_default
from yolor_cfg.sections.refused import REFUSED_SECTIONS

PAGE = cfg_reference.PAGE.read_text(encoding="utf-8")


def part_of(kind: type[Section]) -> str:
    """What the page says of a section."""
    heading = f"\n## {', '.join(f'[{name}]' for name in kind.names)}\n"
    assert PAGE.count(heading) == 1
    return PAGE.partition(heading)[2].partition("\n## ")[0]


def rows_of(part: str) -> dict[str, list[str]]:
    """The rows of a table by what is in their first cell."""
    rows = [line[2:-2].split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def test_the_page_is_what_the_classes_give() -> None:
    result = CliRunner().invoke(cfg_reference.main, ["--check"])
    assert (result.exit_code, result.output) == (0, "")


def test_a_page_of_other_classes_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    args = ["--page", str(page)]
    assert CliRunner().invoke(cfg_reference.main, [*args, "--check"]).exit_code == 1
    assert CliRunner().invoke(cfg_reference.main, args).exit_code == 0
    assert CliRunner().invoke(cfg_reference.main, [*args, "--check"]).exit_code == 0
    monkeypatch.setattr(SECTIONS["convolutional"].keys["filters"], "help", "number of cats")
    stale = CliRunner().invoke(cfg_reference.main, [*args, "--check"])
    assert stale.exit_code == 1 and "out of date" in stale.output


@pytest.mark.parametrize("kind", sorted(set(SECTIONS.values()), key=lambda kind: kind.names), ids=str)
def test_a_section_has_a_row_for_each_of_its_keys(kind: type[Section]) -> None:
    assert list(rows_of(part_of(kind))) == [*kind.own_keys(), *kind.ignored_keys]


def test_a_row_says_unit_use_dialects_and_reason() -> None:
    yolo = rows_of(part_of(SECTIONS["yolo"]))
    assert yolo["anchors"][2] == "pixels" and yolo["jitter"][4] == "training"
    assert yolo["representation"][5] == "pjreddie" and yolo["sim_thresh"][4] == "none"
    assert yolo["sim_thresh"][6].endswith("; not used here: no tracking is done here")
    assert yolo["max"][1] == "200; 90 in pjreddie"


def test_facts_in_which_dialects_differ_are_there_with_their_meaning() -> None:
    differing = {
        fact for fact in Dialect._fields if len({getattr(one, fact) for one in DIALECTS.values()}) > 1
    }
    facts = rows_of(PAGE.partition("| fact |")[2].partition("\n## ")[0])
    assert set(facts) == differing - {"name", "family", "program"}
    assert [name for name, row in facts.items() if not row[1]] == []
    assert facts["bn_eps"][2:5] == ["1e-05", "1e-06", "0.0001"]
    assert max(len(cell) for row in facts.values() for cell in row[2:]) < 80


def test_a_fact_too_long_for_its_cell_is_listed_below_the_table() -> None:
    lists = "".join(line for line in PAGE.splitlines() if line.startswith("`only_keys` of yolor"))
    assert set(DIALECTS["yolor"].only_keys) <= set(re.findall(r"\w+", lists))


def test_every_activation_says_which_dialects_know_it() -> None:
    rows = rows_of(PAGE.partition("\n## Activations\n")[2])
    assert set(ACTIVATIONS) | {f"[{name}]" for name in REFUSED_SECTIONS} == set(rows)
    assert [cell.strip() for cell in rows["leaky"][1:]] == ["yes"] * len(DIALECTS)
    assert "yes" not in rows["mish"][-1]
    assert rows["silu"][1].strip() == "foreign" and rows["gelu"][3].strip() == "foreign"


def test_a_default_that_follows_another_key_names_it() -> None:
    class Example(Section):
        width = Int(2)
        height = Int(lambda section: section.width)
        depth = Int(lambda section: section.width - 1)
        most = Int(lambda section: section.dialect.box_limit)
        every = Int(lambda section: sum(range(section.width)))

    told = {name: format_default(Example, Example.keys[name]) for name in Example.own_keys()}
    limit = f"{DARKNET.box_limit}; 90 in pjreddie"
    assert told == {
        "width": "2",
        "height": "width",
        "depth": "width - 1",
        "most": limit,
        "every": "from other keys",
    }


def test_the_page_of_the_families_names_each_and_every_section_that_is_refused() -> None:
    page = cfg_reference.PAGE.with_name("families.md").read_text(encoding="utf-8")
    said = page.partition("\n\n")[2].partition("\n\n")[0]
    assert [name for name in REFUSED_SECTIONS if f"`[{name}]`" not in said] == []
    assert f"--dialect {'|'.join(FAMILIES)}`" in " ".join(page.split())


@pytest.mark.parametrize(
    ("section", "key", "told"),
    [
        ("PEP", "compress", "required"),
        ("route", "layers", "required"),
        ("convolutional", "filters", "1; required in yolor, ultralytics, jde"),
        ("convolutional", "size", "1"),
    ],
)
def test_a_key_that_has_to_be_given_shows_no_default(section: str, key: str, told: str) -> None:
    assert describe_key(SECTIONS[section], key).default == told
