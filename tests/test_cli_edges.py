"""Options and streams at their edges: one message, an exit code, no traceback, and work that goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_detector import Files, photo, save, text, write, yolor

from yolor_cfg.detect import memory
from yolor_cfg.errors import YolorError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("edges")
    save(folder / "x.png", photo())
    return write(folder, text())


@pytest.mark.parametrize(
    ("command", "option", "value", "says"),
    [
        ("detect", "--conf", "nan", "nan is not in the range 0<=x<=1"),
        ("detect", "--iou", "inf", "inf is not in the range 0<=x<=1"),
        ("detect", "--conf", "1_0", "is not in the range"),
        ("detect", "--max-det", "9" * 30, "a number of that length is not in the range x<=1000000"),
        ("detect", "--max-det", "9" * 5000, "is not a valid integer"),
        ("detect", "--batch-size", "1000001", "x<=1000000"),
        ("detect", "--vid-stride", "9" * 25, "is not in the range"),
        ("detect", "--img-size", "99999", "at most 268,435,456 are allowed"),
        ("detect", "--device", "meta", "no such device here"),
        ("detect", "--device", "privateuseone", "no such device here"),
        ("detect", "--device", "cuda:" + "9" * 40, "no such device here"),
        ("detect", "--device", "nonsense", "no such device here"),
        ("test", "--conf", "nan", "nan is not in the range"),
        ("test", "--map-iou", "nan", "nan is not in the range"),
        ("test", "--map-iou", "1", "1 is not in the range 0<=x<1"),
        ("test", "--max-det", "9" * 30, "x<=1000000"),
        ("test", "--batch-size", "0", "0 is not in the range x>=1"),
        ("test", "--img-size", "32768", "1,073,741,824 pixels"),
    ],
)
def test_an_option_at_its_edge_is_answered(
    command: str, option: str, value: str, says: str, tiny: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.cfg.parent)
    rest = ["x.png"] if command == "detect" else ["--data", "none.data"]
    result = yolor(command, *tiny, *rest, option, value)
    assert result.exit_code == 2 and says in result.stderr, result.output


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("detect", ("--tile=-1",), "Invalid value for '--tile': '-1' is not an image size: use 416"),
        ("detect", ("--tile", "-1"), "Invalid value for '--tile': '-1' is not an image size: use 416"),
        ("test", ("--tile=-64x64",), "'-64x64' is not an image size"),
        ("train", ("--cache=-1",), "Invalid value for '--cache': -1.0 is not in the range 0<=x"),
    ],
)
def test_a_negative_number_where_there_may_be_none_is_no_option(
    command: str, words: tuple[str, ...], says: str, tiny: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.cfg.parent)
    rest = ["x.png"] if command == "detect" else ["--data", "none.data"]
    result = yolor(command, *tiny, *rest, *words)
    assert result.exit_code == 2 and says in result.stderr, result.output
    after = yolor(command, *tiny, *rest, "--", *words)
    assert says not in after.stderr


def test_a_dash_is_standard_output_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = yolor("new", "yolor_micro", "-o", "-")
    assert result.exit_code == 0 and "[net]" in result.stdout and not list(tmp_path.iterdir())
    (tmp_path / "a.cfg").write_text(result.stdout)
    assert yolor("cfg", "format", "a.cfg", "-o", "-").stdout == yolor("cfg", "format", "a.cfg").stdout
    assert yolor("cfg", "set-classes", "a.cfg", "3", "-o", "-").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.cfg"]


def test_a_file_that_cannot_be_made_in_a_folder_that_exists_has_a_hint_that_helps() -> None:
    assert "choose another folder" in yolor("new", "yolor_micro", "-o", "/proc/x.cfg").stderr


def test_an_empty_folder_is_told_in_a_line(tiny: Files, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    *notes, fault, found, allowed = yolor("detect", *tiny, tmp_path).stderr.splitlines()
    assert all(note.startswith("note: ") and len(note) < 200 for note in notes)
    assert "1 file of other kinds" in found and len(fault + found + allowed) < 300


@pytest.mark.parametrize(
    "how", ["closed", *(pytest.param(how, marks=pytest.mark.slow) for how in ("broken", "full"))]
)
def test_the_work_goes_on_where_standard_error_takes_nothing(how: str, tiny: Files, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "yolor_cfg", "detect", *map(str, tiny), str(tiny.cfg.parent / "x.png")]
    read, end = os.pipe()
    os.close(read)
    stderr = end if how == "broken" else os.open("/dev/full", os.O_WRONLY)
    line = ["sh", "-c", '"$@" 2>&-', "sh", *command] if how == "closed" else command
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, stderr=stderr, cwd=tmp_path, env=env, check=False)
    os.close(end)
    assert done.returncode == 0
    assert (tmp_path / "runs/detect/exp/summary.json").is_file()


def test_a_batch_that_does_not_fit_into_the_machine_is_refused(
    tiny: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux kills a program that takes more than there is, without a message."""
    from yolor_cfg.graph import load_graph

    graph = load_graph(tiny.cfg)
    memory.check_memory(graph, 1)
    with pytest.raises(YolorError, match="not enough memory for the network") as raised:
        memory.check_memory(graph, 10**12)
    assert "1000000000000 x 64x96 pixels need" in str(raised.value)
    monkeypatch.setattr(memory, "memory_limit", lambda: 1000)
    result = yolor("detect", *tiny, tiny.cfg.parent / "x.png")
    assert result.exit_code == 1 and "use a smaller --batch-size or --img-size" in result.stderr
