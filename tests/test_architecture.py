"""The floors: imports go down, and what needs no tensor loads without torch.

The order is that of tools/style_structure.py: a file may import what stands on an earlier line, or in its own
folder.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from style_structure import ORDER, Modules, find_imports, module_name, read_modules, room_of, upward_arrows

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "yolor_cfg"
WITHOUT_TORCH = {"errors", "files", "shape", "runs", "lang", "sections", "graph", "count", "cli", "__init__"}
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def modules() -> Modules:
    return read_modules(ROOT)


def run_python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_file_has_a_floor(modules: Modules) -> None:
    assert len(modules) == len(FILES) > 100
    assert [module for module in modules if room_of(module) not in ORDER] == []


def test_every_folder_of_code_is_a_package_that_gets_installed() -> None:
    folders = {path.parent for path in FILES}
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_floor_names_rooms_that_exist(modules: Modules) -> None:
    assert sorted(ORDER) == sorted({room_of(module) for module in modules})


def test_imports_go_down(modules: Modules) -> None:
    assert sum(map(len, modules.values())) > 100
    assert list(upward_arrows(modules)) == []


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import yolor_cfg.model", ["model"]),
        ("def late():\n    from yolor_cfg.cli import main", ["cli"]),
        ("from yolor_cfg import Detector, graph", ["__init__", "graph"]),
        ("from .. import model", ["model"]),
        ("from ..graph import Graph", ["graph"]),
        ("from .base import Section", ["sections.base"]),
        ("from . import base", ["sections.base"]),
        ("import torch, os.path", []),
    ],
)
def test_every_way_of_importing_is_seen(text: str, modules: list[str], tmp_path: Path) -> None:
    files = [
        tmp_path / "yolor_cfg" / name
        for name in ("graph.py", "model.py", "cli/__init__.py", "sections/base.py", "sections/probe.py")
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known = frozenset(module_name(file, tmp_path) for file in files)
    assert known == {"graph", "model", "cli", "sections.base", "sections.probe"}
    assert [target for _, target in find_imports(files[-1], tmp_path, known)] == modules


def test_language_sections_graph_counting_and_commands_load_without_torch(modules: Modules) -> None:
    rooms = [module for module in modules if room_of(module) in WITHOUT_TORCH]
    assert {"cli", "graph", "count", "sections"} <= set(rooms)
    names = [f"yolor_cfg.{module}".removesuffix(".__init__") for module in rooms]
    tell = "\n    if 'torch' in sys.modules: sys.exit(name + ' loads torch')"
    run_python(f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name){tell}")


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
