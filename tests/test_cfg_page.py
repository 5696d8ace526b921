"""docs/cfg.md: every command on the page prints what the page says."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.cli.cfg import cfg

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cfg.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n\$ (yolor cfg .*?)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the cfgs and weights of the project, where new files may be written."""
    for name in ("cfg", "weights"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("line", "shown"), BLOCKS, ids=[line for line, _ in BLOCKS])
@pytest.mark.usefixtures("folder")
def test_each_example_prints_what_the_page_shows(line: str, shown: str) -> None:
    """`...` on a line of its own stands for lines that are left out."""
    result = CliRunner().invoke(main, line.split()[1:])
    printed = result.output
    for part in shown.split("...\n"):
        assert part in printed, printed
        printed = printed.partition(part)[2]


def test_the_page_names_every_command() -> None:
    for name in cfg.commands:
        assert f"`{name}`" in PAGE, name
