"""The extension for VS Code: its files say what the program says, and its grammar knows every line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.keys import SectionNumber
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import ENTRY, HEADER, number_lines, section_name
from yolor_cfg.sections import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "editors" / "vscode"
CFGS = sorted([*(ROOT / "cfg").glob("*.cfg"), *(ROOT / "tests" / "data" / "valid").glob("*.cfg")])


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


PACKAGE = load("package.json")
(GRAMMAR_ENTRY,) = PACKAGE["contributes"]["grammars"]
GRAMMAR = load(GRAMMAR_ENTRY["path"])
(LANGUAGE,) = PACKAGE["contributes"]["languages"]
RULES = GRAMMAR["repository"]


def expressions(node: Any) -> Iterator[str]:
    """Every regular expression in a grammar."""
    if isinstance(node, dict):
        yield from (node[name] for name in ("match", "begin", "end") if name in node)
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from expressions(one)


def includes(node: Any) -> Iterator[str]:
    """Every rule that a grammar refers to."""
    if isinstance(node, dict):
        yield from [node["include"]] if "include" in node else []
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from includes(one)


def test_the_files_name_each_other() -> None:
    assert GRAMMAR["scopeName"] == GRAMMAR_ENTRY["scopeName"]
    assert GRAMMAR_ENTRY["language"] == LANGUAGE["id"]
    assert load(LANGUAGE["configuration"])["comments"] == {"lineComment": "#"}
    assert (FOLDER / PACKAGE["main"]).is_file()
    assert {name.removeprefix("#") for name in includes(GRAMMAR)} == set(RULES)


def test_every_regular_expression_is_one() -> None:
    found = [*expressions(GRAMMAR), LANGUAGE["firstLine"], load(LANGUAGE["configuration"])["wordPattern"]]
    assert len(found) > 10
    for one in found:
        re.compile(one)


def test_the_extension_reads_the_settings_that_there_are() -> None:
    code = (FOLDER / PACKAGE["main"]).read_text(encoding="utf-8")
    settings = {name.removeprefix("yolor.") for name in PACKAGE["contributes"]["configuration"]["properties"]}
    assert set(re.findall(r'settings\(\)\.get\("(\w+)"\)', code)) == settings
    (command,) = PACKAGE["contributes"]["commands"]
    assert f'registerCommand("{command["command"]}"' in code
    assert f'const LANGUAGE = "{LANGUAGE["id"]}"' in code
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert settings <= set(re.findall(r"`yolor\.(\w+)`", readme))


def test_the_words_are_those_of_the_language() -> None:
    dialects = PACKAGE["contributes"]["configuration"]["properties"]["yolor.dialect"]["enum"]
    assert dialects == ["", *sorted(DIALECTS)]
    activations = re.search(r"\(\?:([\w|]+)\)", RULES["activation"]["match"])
    assert activations is not None and set(activations[1].split("|")) == set(ACTIVATIONS)
    naming = {
        key.name
        for kind in SECTIONS.values()
        for key in kind.keys.values()
        if isinstance(key, (RefList, SectionNumber))
    }
    keys = re.search(r"\(([\w|]+)\)", RULES["reference"]["begin"])
    assert keys is not None and set(keys[1].split("|")) == naming


@pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
def test_the_grammar_takes_lines_for_what_they_are(path: Path) -> None:
    """As the parser does: headers with their name, keys, comments."""
    for line in number_lines(path.read_bytes().decode("utf-8-sig", "replace")):
        text = line.text.rstrip("\r\n")
        header, entry = re.match(RULES["header"]["match"], text), re.match(RULES["entry"]["begin"], text)
        assert (header is not None) == (line.kind == HEADER), text
        assert header is None or "".join(header[2].split()) == section_name(line)
        assert (entry is not None) == (line.kind == ENTRY), text
        assert entry is None or "".join(entry[1].split()) == line.key


@pytest.mark.parametrize(
    ("text", "is_darknet"),
    [("[net]", True), (" [ network ] # x", True), ("[global]", False), ("net=1", False), ("[nets]", False)],
)
def test_only_a_file_that_starts_with_net_is_taken(text: str, is_darknet: bool) -> None:
    assert (re.match(LANGUAGE["firstLine"], text) is not None) == is_darknet
    code = (FOLDER / PACKAGE["main"]).read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^const NET = /(.*)/;$", code, re.M)
    assert (re.match(pattern, text) is not None) == is_darknet
