"""Each faulty cfg in data/invalid gives the whole message that stands beside it.

A file with `strict` in its name is read strictly, as `yolor cfg check` reads: its warnings are errors.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse_bytes
from yolor_cfg.model import Network

FOLDER = Path(__file__).parent / "data" / "invalid"
CFGS = sorted(FOLDER.glob("*.cfg"))
# One of them holds a real fault too, to show both kinds in one run.
ODD = [path for path in CFGS if "strict" in path.stem and path.stem != "strict_all_of_a_file"]
PACKAGE = Path(__file__).resolve().parents[1] / "yolor_cfg"
# In which argument the message of a call stands.
MESSAGE_AT = {"CfgError": 0, "BadValue": 0, "_fault": 0, "error": 1, "fault": 1, "warn": 1}
MESSAGE_AT |= {"tell": 1, "tell_it": 1, "_odd_line": 1, "_tell_odd": 1}
# A remark of `yolor cfg check`; errors of `yolor train`.
TOLD_LATER = {
    "has no effect here": "unused.py",
    "no detection loss": "region.py",
    "trains no classifier here": "losses.py",
}


@pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
def test_a_faulty_cfg_gives_its_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)  # trees are named relative to the cfg
    with pytest.raises(CfgError) as caught, torch.device("meta"):
        Network(
            build_graph(parse_bytes(path.read_bytes(), path.name), ReadOptions(strict="strict" in path.stem))
        )
    assert str(caught.value) + "\n" == path.with_suffix(".err").read_text(encoding="utf-8")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", ODD, ids=lambda path: path.stem)
def test_what_only_strict_reading_refuses_is_a_warning_otherwise(path: Path) -> None:
    warnings = build_graph(parse_bytes(path.read_bytes(), path.name)).warnings
    told = path.with_suffix(".err").read_text(encoding="utf-8")
    assert warnings and all(str(warning) in told for warning in warnings)


def test_each_message_has_its_cfg_and_each_cfg_its_message() -> None:
    assert {path.stem for path in CFGS} == {path.stem for path in FOLDER.glob("*.err")}


def test_every_message_of_the_language_and_the_sections_is_among_them() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.err"))
    files = [*PACKAGE.glob("lang/*.py"), *PACKAGE.glob("sections/*.py"), PACKAGE / "graph.py"]
    written = {text: path.name for path in sorted(files) for text in messages(path)}
    assert len(written) > 60
    missing = {text: name for text, name in written.items() if text not in told}
    assert missing == TOLD_LATER


def messages(path: Path) -> Iterator[str]:
    """The fixed text of every message in a file; of an f-string its longest fixed part."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            place = MESSAGE_AT.get(name, len(node.args))
            fixed = [
                part.value
                for argument in node.args[place : place + 1]
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            yield from sorted(fixed, key=len)[-1:]
