"""What reaches a terminal, and what the end of a process leaves behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tiny_detector as tiny

from yolor_cfg.data.types import Problem
from yolor_cfg.detect.sources import IncompleteVideo, UnreadableSource
from yolor_cfg.errors import DataError, YolorError, escape, printable
from yolor_cfg.files import remove_leftovers, replace_file, whole_file
from yolor_cfg.runs import new_folder

ROOT = Path(__file__).parents[1]
COUNT = 60
EVIL = "a\x1b[31m\x9b\x07\u202e\x7fb"
SHOWN = r"a\x1b[31m\x9b\x07\u202e\x7fb"


def test_controls_are_written_as_escapes_and_other_letters_stay() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("été 猫\n\tx") == "été 猫\n\tx"
    assert escape("a\nb\tc\u2028") == r"a\nb\tc\u2028"
    assert escape(os.fsdecode(b"n\xe9")) == r"n\xe9"


def test_no_part_of_a_message_commands_a_terminal() -> None:
    parts = {"path": EVIL, "section": EVIL, "key": EVIL, "found": EVIL, "hint": EVIL}
    fault = YolorError(EVIL, allowed=[EVIL], **parts)
    texts = [str(fault), str(Problem(EVIL, 1, EVIL)), str(UnreadableSource(EVIL, EVIL))]
    for text in [*texts, str(IncompleteVideo(EVIL, 1, 2))]:
        assert printable(text) == text
        assert SHOWN in text


def test_a_name_with_a_line_end_makes_no_second_line() -> None:
    assert str(DataError("gone", path="a\nnote: all is well")) == r"a\nnote: all is well: gone"


def test_names_of_files_and_classes_are_printed_escaped(tmp_path: Path) -> None:
    files = tiny.write(tmp_path, tiny.text())
    image = tiny.save(tmp_path / "x.png", tiny.photo()).rename(tmp_path / f"{EVIL}.png")
    (tmp_path / "bad\x1b.png").write_bytes(b"no image")
    (tmp_path / "n.names").write_text("\n".join(f"{EVIL}{number}" for number in range(3)))
    rest = ("--names", tmp_path / "n.names", "--conf", "0.01", "--project", tmp_path / "runs")
    for option in ("--save-txt", "--ext-output"):
        told = tiny.yolor("detect", *files, image, tmp_path / "bad\x1b.png", option, *rest)
        assert told.exit_code == 0, told.output
        assert printable(told.output) == told.output
        assert SHOWN in told.output and r"bad\x1b.png: skipped" in told.output
    for wrong in ((f"no{EVIL}",), ("detect", f"--{EVIL}"), ("detect", *files, f"none{EVIL}")):
        told = tiny.yolor(*wrong)
        assert told.exit_code in (2, 3)
        assert SHOWN in told.output and printable(told.output) == told.output


def start(folder: Path, *args: object, shell: str = "") -> subprocess.Popen[str]:
    """`yolor detect` on `COUNT` images of a tiny network, its output closed as the shell text says."""
    files = tiny.write(folder, tiny.text())
    image = tiny.save(folder / "x.png", tiny.photo())
    (folder / "list.txt").write_text(f"{image}\n" * COUNT)
    command: Sequence[object] = (
        sys.executable,
        "-m",
        "yolor_cfg",
        "detect",
        *files,
        folder / "list.txt",
        *args,
    )
    words = [*map(str, command), "--project", str(folder), "--name", "run"]
    if shell:
        words = ["bash", "-c", f'"$@" {shell}', "bash", *words]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_end_of_a_process_by_sigterm_writes_the_summary(tmp_path: Path) -> None:
    with start(tmp_path, "--json", "--save-json", "--img-size", "640") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert told.endswith("terminated\n") and "Traceback" not in told
    done = json.loads((tmp_path / "run/summary.json").read_text())
    assert done["complete"] is False
    lines = (tmp_path / "run/detections.jsonl").read_text().splitlines()
    assert 1 <= done["frames"] == len(lines) < COUNT
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_standard_files_that_are_closed_stop_nothing(tmp_path: Path) -> None:
    with start(tmp_path, "--json", shell="<&- 2>&-") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(out.splitlines()) == COUNT
    assert json.loads((tmp_path / "run/summary.json").read_text())["complete"] is True


KILLED = """
import os, sys, time
from pathlib import Path
from yolor_cfg.errors import YolorError
from yolor_cfg.files import whole_file
with whole_file(sys.argv[1], fault=YolorError) as partial:
    partial.write_text("half")
    print(partial, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_left_half_written_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, folder / "a.txt"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        partial = Path(process.stdout.readline().strip())
        remove_leftovers.cache_clear()
        remove_leftovers(str(folder))
        assert partial.read_text() == "half"  # its writer lives
        process.kill()
    assert partial.exists()
    remove_leftovers.cache_clear()
    assert new_folder(tmp_path, "exp") == tmp_path / "exp2"
    assert list(folder.iterdir()) == []


def test_the_next_file_in_a_folder_removes_leftovers_and_nothing_else(tmp_path: Path) -> None:
    others = [tmp_path / name for name in (".x.part", ".0123456789abcdef", "0123456789abcdef.part.pt")]
    for path in (*others, tmp_path / ".0123456789abcdef.part.pt"):
        path.write_text("x")
    remove_leftovers.cache_clear()
    replace_file(tmp_path / "a.txt", lambda file: file.write(b"1"), fault=YolorError)
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.txt"])


def test_two_files_in_one_folder_at_once_keep_their_parts(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a", fault=YolorError) as first:
        first.write_text("1")
        remove_leftovers.cache_clear()
        with whole_file(tmp_path / "b", fault=YolorError) as second:
            second.write_text("2")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["1", "2"]
