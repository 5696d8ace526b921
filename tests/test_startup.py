"""What a command loads before it works: facts about modules, no times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolor_cfg.cli.process import calm_threads

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "numpy", "cv2", "pycocotools", "tqdm", "yaml", "matplotlib", "PIL"}
CFG = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=2\nsize=3\npad=1\nactivation=leaky\n"


def loaded(*args: str) -> set[str]:
    """The modules of a process after this command."""
    code = (
        "import sys; from yolor_cfg.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


@pytest.fixture
def cfg(tmp_path: Path) -> str:
    path = tmp_path / "a.cfg"
    path.write_text(CFG)
    return str(path)


@pytest.mark.parametrize("command", [(), ("info",), ("detect",), ("convert",), ("cfg",), ("cfg", "check")])
def test_help_loads_no_library_of_numbers_and_no_graph(command: tuple[str, ...]) -> None:
    modules = loaded(*command, "--help")
    assert modules & HEAVY == set()
    assert "yolor_cfg.graph" not in modules


def test_info_loads_no_library_of_numbers(cfg: str) -> None:
    modules = loaded("info", cfg, "--memory")
    assert "yolor_cfg.count" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("counting", ["exact", "darknet", "paper"])
def test_no_counting_but_thops_loads_a_library_of_numbers(cfg: str, counting: str) -> None:
    assert loaded("info", cfg, "--counting", counting) & (HEAVY | {"thop"}) == set()


def test_a_list_of_sections_loads_no_library_of_numbers() -> None:
    assert loaded("info", "--sections") & HEAVY == set()


@pytest.mark.parametrize("command", [("check",), ("format",)])
def test_work_on_the_text_loads_no_library_of_numbers(command: tuple[str, ...], cfg: str) -> None:
    assert loaded("cfg", *command, cfg) & HEAVY == set()


def test_no_command_that_draws_loads_matplotlib_before_it_does() -> None:
    """The files that draw, loaded; matplotlib's presence would be their own import."""
    commands = ", ".join(f"yolor_cfg.cli.{name}" for name in ("implicit", "anchors", "test", "train"))
    rooms = "yolor_cfg.report.training, yolor_cfg.analysis.implicit_plots, yolor_cfg.analysis.anchor_plot"
    code = f"import sys, {commands}, {rooms}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_command_loads_only_its_own_file(cfg: str) -> None:
    modules = loaded("info", cfg)
    assert "yolor_cfg.cli.info" in modules
    assert modules & {"yolor_cfg.cli.detect", "yolor_cfg.cli.convert", "yolor_cfg.cli.cfg"} == set()


def test_the_commands_have_no_stake_in_difflib_until_a_word_is_wrong() -> None:
    assert "difflib" not in loaded("--help")


def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    calm_threads()
    assert os.environ.pop("GOMP_SPINCOUNT") == "1000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    calm_threads()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_report_needs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"images": 1}')
    assert loaded("report", str(tmp_path)) & {"torch", "matplotlib", "pycocotools"} == set()
