"""The floors: imports go down, and what needs no tensor loads without torch.

The order below is that of the design: a file may import what stands on an earlier line, or in its own folder.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "yolor_cfg"
# From the bottom to the top; a name stands for `name.py` or for every file in the folder `name/`.
FLOORS = (
    ("errors", "files", "shape", "runs"),
    ("lang", "ops"),
    ("sections",),
    ("graph", "count", "model"),
    ("weights", "rewrite", "images", "parallel", "names", "networks"),
    ("detect", "data"),
    ("evaluate",),
    ("train",),
    ("report", "analysis"),
    ("cli", "__init__", "__main__"),
)
ORDER = [part for floor in FLOORS for part in floor]
WITHOUT_TORCH = {"errors", "files", "shape", "runs", "lang", "sections", "graph", "count", "cli", "__init__"}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def module_of(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part of the package for each import of the file, those inside functions included."""
    folder = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            modules = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        names = [module.split(".") for module in modules]
        yield from ((node.lineno, named_part(rest)) for package, *rest in names if package == "yolor_cfg")


def named_part(names: list[str]) -> str:
    """`graph` for yolor_cfg.graph.Graph; what is no file or folder comes from the package's own __init__."""
    first = names[0] if names else "__init__"
    exists = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
    return first if exists else "__init__"


def run_python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_file_has_a_floor() -> None:
    assert FILES
    assert [path.relative_to(ROOT).as_posix() for path in FILES if part_of(path) not in ORDER] == []


def test_every_folder_of_code_is_a_package_that_gets_installed() -> None:
    folders = {path.parent for path in FILES}
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_floor_names_rooms_that_exist() -> None:
    assert sorted(ORDER) == sorted({part_of(path) for path in FILES})


def test_imports_go_down() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {part_of(path)} imports {part}"
        for path in FILES
        for line, part in imported(path)
        if part != part_of(path) and ORDER.index(part) > ORDER.index(part_of(path))
    ]
    assert upward == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("import yolor_cfg.model", ["model"]),
        ("def late():\n    from yolor_cfg.cli import main", ["cli"]),
        ("from yolor_cfg import Detector, graph", ["__init__", "graph"]),
        ("from .. import model", ["model"]),
        ("from ..graph import Graph", ["graph"]),
        ("from .base import Section", ["sections"]),
        ("import torch, os.path", []),
    ],
)
def test_every_way_of_importing_is_seen(text: str, parts: list[str], tmp_path: Path, monkeypatch) -> None:
    for name in ("graph.py", "model.py", "cli/__init__.py", "sections/base.py", "sections/probe.py"):
        file = tmp_path / "yolor_cfg" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "yolor_cfg")
    assert [part for _, part in imported(tmp_path / "yolor_cfg/sections/probe.py")] == parts


def test_language_sections_graph_counting_and_commands_load_without_torch() -> None:
    modules = [module_of(path) for path in FILES if part_of(path) in WITHOUT_TORCH]
    assert {"yolor_cfg.cli", "yolor_cfg.graph", "yolor_cfg.count", "yolor_cfg.sections"} <= set(modules)
    tell = "\n    if 'torch' in sys.modules: sys.exit(name + ' loads torch')"
    run_python(f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name){tell}")


def test_help_loads_neither_torch_nor_numpy_nor_opencv() -> None:
    code = """
import sys
from yolor_cfg.cli import main
sys.argv = ["yolor", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *{"torch", "numpy", "cv2"} & set(sys.modules))
"""
    *printed, loaded = run_python(code)
    assert any("Usage" in line for line in printed)
    assert loaded == "loaded:"
