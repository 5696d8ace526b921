"""What is installed: the wheel, built from the tree and from the sdist, and what works with nothing else."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BACKEND = "import setuptools.build_meta as b, sys; print(getattr(b, sys.argv[1])(sys.argv[2]))"
KERNELS = "yolor_cfg/engines/native/src"
GRAMMAR = "editors/vscode/syntaxes/darknet-cfg.tmLanguage.json"
PAGES = (
    "yolor_cfg/detect/watch/page",
    "yolor_cfg/export/page",
    *(f"yolor_cfg/report/{name}/page" for name in ("dataset", "picture", "run")),
)
SOURCES = ("yolor_cfg", "cfg", "weights", "tests", "tools", "docs", "editors", "examples")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("setuptools") is None, reason="setuptools is not installed"),
]


NO_COMPILER = {"CC": "false", "CXX": "false"}


def run(*command: object, cwd: Path, path: Path | None = None, **more: str) -> str:
    """The standard output of a program that must end well, with `path` as the only addition to sys.path, and
    `more` in its environment."""
    env = {**os.environ, "PYTHONPATH": str(path or ""), **more}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, kind: str, out: Path, **environment: str) -> Path:
    """The wheel or sdist of a tree; built in a copy, since setuptools leaves files behind. Without another
    environment there is no compiler."""
    out.mkdir()
    command = (sys.executable, "-c", BACKEND, f"build_{kind}", out)
    return out / run(*command, cwd=source, **(environment or NO_COMPILER)).split()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is under version control, links as links."""
    copy = tmp_path_factory.mktemp("tree")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    for name in (*SOURCES, ".ci"):
        shutil.copytree(
            ROOT / name,
            copy / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "_kernels*"),
        )
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, "wheel", tmp_path_factory.mktemp("wheel") / "out")


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, "sdist", tmp_path_factory.mktemp("sdist") / "out")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
def test_a_compiler_adds_the_native_engine(tree: Path, tmp_path: Path) -> None:
    own = shutil.copytree(tree, tmp_path / "tree", symlinks=True)
    wheel = build(own, "wheel", tmp_path / "out", CC="gcc", CXX="g++")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = "from yolor_cfg.engines.native.binding import load_library as l; print(l().yc_version())"
    assert run(sys.executable, "-c", program, cwd=tmp_path, path=tmp_path / "site").strip() == "3"


def test_the_wheel_holds_every_module_cfg_and_the_demo_network_and_nothing_else(wheel: Path) -> None:
    held = {name: data for name, data in contents(wheel).items() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for path in [*(ROOT / "yolor_cfg").rglob("*.py"), ROOT / "yolor_cfg" / "py.typed"]
    }
    for folder in (KERNELS, *PAGES):
        for path in (ROOT / folder).iterdir():
            wanted[f"{folder}/{path.name}"] = path.read_bytes()
    networks = "yolor_cfg/networks"
    for path in [*(ROOT / "cfg").glob("*.cfg"), *(ROOT / "weights").glob("yolor_n*_shapes.*")]:
        wanted[f"{networks}/{path.parent.name}/{path.name}"] = path.read_bytes()
    for suffix in ("cfg", "yaml"):
        name = f"weights/yolor_micro_shapes.{suffix}"
        wanted[f"{networks}/{name}"] = (ROOT / name).read_bytes()
    assert held == wanted


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert not any(member.issym() or member.islnk() for member in archive.getmembers())
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert contents(build(source, "wheel", tmp_path / "again")) == contents(wheel)


def test_the_sdist_holds_what_is_needed_to_work_on_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "Makefile", "constraints.txt"}
    tests = {
        str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*") if path.suffix in (".py", ".cfg")
    }
    assert wanted | tests | {"tools/make_cfgs.py", "examples/README.md", GRAMMAR} <= names


def test_commands_that_need_shipped_files_work_from_the_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (place := tmp_path / "place").mkdir()

    def yolor(*args: str) -> str:
        return run(sys.executable, "-m", "yolor_cfg", *args, cwd=place, path=tmp_path / "site")

    assert "yolor_csp" in yolor("new", "--list")
    yolor("new", "yolor_nano", "--classes", "3", "--size", "288x384", "-o", "my.cfg")
    assert "3x288x384" in yolor("info", "my.cfg")
    assert "all" in yolor("demo", "--pictures", "10")
