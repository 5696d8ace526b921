"""The documentation: links lead somewhere, commands are understood, examples give what stands below them."""

from __future__ import annotations

import contextlib
import doctest
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import cli_reference
import click
import pytest
from click.testing import CliRunner

import yolor_cfg
from yolor_cfg.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONF = runpy.run_path(str(DOCS / "conf.py"))
PAGES = sorted({path for pattern in CONF["include_patterns"] for path in ROOT.glob(pattern)})
FENCED = re.compile(r"^(`{3,})(.*?)\n(.*?)^\1`*$", re.M | re.S)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)")
GENERATED = {"cli.md", "cfg-reference.md"}
LEFT_OPEN = re.compile(r"^yolor -|\.\.\.|\b[A-Z]+\b(?!\.)|[<|]| {3,}[^#\s]")
"""A command that is not all there: with more words, names or numbers of the reader's, or an explanation."""
FILLED_IN = re.compile(r"\bN\b|\b\d+|\[section\]|\bval\b|: no such .*|an HTML page|^classes[:=]")
"""What a message has from the case: numbers, names, the system's own words."""


def outside_code(text: str) -> str:
    """The text without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "code", FENCED.sub("", text))


def anchors(page: Path) -> set[str]:
    """The names of the headings of a page, as links write them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,4} (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> Iterator[str]:
    """The command lines of `yolor` in the blocks of code of a page."""
    for block in FENCED.finditer(page.read_text(encoding="utf-8")):
        for line in block[3].replace("\\\n", " ").splitlines():
            if line.startswith("yolor "):
                yield line


def cells(page: Path) -> Iterator[str]:
    """The command lines of `yolor` that begin a cell of a table."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for cell in re.findall(r"(?<=\| )`(yolor [^`]+)`", text):
        yield cell.replace("\\|", "|")


def parse(words: list[str], group: click.Group = main, above: click.Context | None = None) -> None:
    """Read a command line as the program does, without doing anything; raises what is wrong with it, but for
    what is left out."""
    context = click.Context(group, parent=above, help_option_names=["-h", "--help"])
    command = group.get_command(context, words[0])
    if isinstance(command, click.Group):
        return parse(words[1:], command, context)
    assert command is not None, words
    with contextlib.suppress(click.exceptions.Exit, click.MissingParameter):
        command.make_context(words[0], words[1:], parent=context)


def test_every_page_is_in_the_contents_once() -> None:
    trees = TOCTREE.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    listed = sorted((DOCS / f"{line}.md").resolve() for line in lines)
    assert listed == [path for path in PAGES if path != DOCS / "index.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for link in LINK.findall(outside_code(page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](#a-heading) [b](#b) [c](c.md)\n```\n[d](d.md)\n```\n`[e](e.md)`\n")
    assert LINK.findall(outside_code(page.read_text())) == ["#a-heading", "#b", "c.md"]
    assert anchors(page) == {"a-heading"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.parametrize(
    "page", [one for one in PAGES if one.name not in GENERATED], ids=lambda one: one.stem
)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    for line in (*commands(page), *cells(page)):
        if not LEFT_OPEN.search(line.partition("#")[0]):
            parse(shlex.split(line, comments=True)[1:])


def test_a_command_that_is_not_there_is_seen() -> None:
    with pytest.raises(click.UsageError, match="--sped"):
        parse(["cfg", "check", "my.cfg", "--sped"])


def test_the_examples_in_python_give_what_stands_below_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    (draw,) = commands(DOCS / "python.md")
    assert CliRunner().invoke(main, shlex.split(draw)[1:]).exit_code == 0
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = [block[3] for block in FENCED.finditer(text) if block[2] == "python"]
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, "python.md", "python.md", 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(test, out=told.append)
    assert len(blocks) == 4 and result.attempted > 20
    assert result.failed == 0, "".join(told)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.M))
    assert listed == set(yolor_cfg.__all__) - {"__version__"}


def test_every_message_of_the_page_of_errors_is_one_of_the_program() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "yolor_cfg").rglob("*.py"))
    page = (DOCS / "errors.md").read_text(encoding="utf-8").partition("## The cfg")[2]
    rows = re.findall(r"^\| (`[^|]+`) \|", page, re.M)
    said = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    parts = [part.strip() for text in said for part in FILLED_IN.split(text)]
    assert len(said) > 12
    assert [part for part in parts if part not in source] == []


def test_the_reference_of_the_commands_is_up_to_date_and_a_stale_one_is_found(tmp_path: Path) -> None:
    runner, write = CliRunner(), cli_reference.write
    fresh = runner.invoke(write, ["--check"])
    assert (fresh.exit_code, fresh.output) == (0, "")
    args = ["--page", str(tmp_path / "cli.md")]
    assert runner.invoke(write, [*args, "--check"]).exit_code == 1
    assert runner.invoke(write, args).exit_code == 0
    assert (tmp_path / "cli.md").read_bytes() == cli_reference.PAGE.read_bytes()


def test_the_reference_has_every_option_that_the_help_shows() -> None:
    text = cli_reference.PAGE.read_text(encoding="utf-8")
    for name, command in cli_reference.list_commands():
        part = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        assert [one.name for one in shown if f"`{one.opts[0]}`" not in part] == [], name


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smaller = {"--count 1000": "--count 40", "--epochs 8": "--epochs 1", "shape000900": "shape000030"}
    for line in commands(DOCS / "quickstart.md"):
        for long, short in smaller.items():
            line = line.replace(long, short)
        done = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert (tmp_path / "runs/train/my/weights/best.pt").exists()
