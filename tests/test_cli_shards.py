"""`yolor detect --shard` and `yolor unite`: the parts together are the run that was not divided."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_detector import Files, save_pictures, yolor

IMAGES = 11


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a folder of images of which one cannot be read."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path, ((50 + number % 3 * 10, 70) for number in range(IMAGES)))
    (tmp_path / "pictures/04.png").write_bytes(b"no image")
    return tmp_path


def shard(tiny: Files, which: str, *args: object, size: object = 2, code: int = 0) -> str:
    """What a shard says, which ends with this exit code."""
    sizes = ["--part-size", size] if size else []
    result = yolor("detect", *tiny, "pictures", "--shard", which, *sizes, *args)
    assert result.exit_code == code, result.stderr
    return result.stderr


def whole(tiny: Files, *args: object) -> tuple[bytes, dict]:
    """Lines and summary of a run over all sources."""
    args = ("--save-json", "--nosave", "--name", "whole", *args)
    assert yolor("detect", *tiny, "pictures", *args).exit_code == 0
    return outcome("whole")


def outcome(name: str) -> tuple[bytes, dict]:
    folder = Path("runs/detect") / name
    summary = json.loads((folder / "summary.json").read_text())
    return (folder / "detections.jsonl").read_bytes(), summary


def unite(code: int = 0) -> str:
    result = yolor("unite", "runs/detect/exp")
    assert result.exit_code == code
    return result.stderr


def times() -> dict[str, int]:
    """When each part was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path("runs/detect/exp").glob("part-*")}


@pytest.mark.parametrize(("count", "size"), [(1, None), (2, 2), (3, 1), (4, None), (2, 100)])
def test_the_union_of_the_shards_is_the_run_that_was_not_divided(
    tiny: Files, count: int, size: int | None, here: Path
) -> None:
    for number in range(count, 0, -1):
        shard(tiny, f"{number}/{count}", size=size)
    unite()
    assert outcome("exp") == whole(tiny)
    parts = sorted(Path("runs/detect/exp").glob("part-*.jsonl"))
    assert b"".join(path.read_bytes() for path in parts) == outcome("exp")[0]
    assert outcome("exp")[1]["unreadable"][0]["source"] == "pictures/04.png"


def test_a_list_with_a_video_is_divided_by_its_sources(tiny: Files, here: Path, shared: Path) -> None:
    lines = [f"pictures/{number:02d}.png" for number in range(3)] + [
        str(shared / "data/samples/cards_pan.mp4")
    ]
    Path("list.txt").write_text("\n".join(lines))
    for number in (1, 2):
        assert yolor("detect", *tiny, "list.txt", "--shard", f"{number}/2").exit_code == 0
    unite()
    assert yolor("detect", *tiny, "list.txt", "--save-json", "--nosave", "--name", "whole").exit_code == 0
    assert outcome("exp") == outcome("whole")
    assert outcome("exp")[1]["frames"] == 3 + 45


def test_what_is_done_is_passed_over_and_what_is_missing_is_done_again(tiny: Files, here: Path) -> None:
    shard(tiny, "1/2")
    before = times()
    assert "3 done before" in shard(tiny, "1/2")
    assert times() == before
    folder = Path("runs/detect/exp")
    (folder / "part-00000002.done").unlink()
    with (folder / "part-00000004.jsonl").open("a") as lines:
        lines.write("{}\n")  # not as it was when it was done
    assert "1 done before" in shard(tiny, "1/2")
    again = {name for name, time in times().items() if before[name] != time}
    assert {name.split(".")[0] for name in again} == {"part-00000002", "part-00000004"}
    found = unite(code=3)
    assert "3 of 6 parts are not done" in found and "part-00000001.jsonl" in found
    assert not (folder / "detections.jsonl").exists()
    shard(tiny, "1/1", size=None)  # another number of shards ends what the first ones began
    unite()
    assert outcome("exp") == whole(tiny)


KILLED = """
import os, signal, sys
from yolor_cfg.cli import main
from yolor_cfg.detect.parts import PartWriter
add, count = PartWriter.add, []
def add_some(*args):
    add(*args)
    count.append(args)
    if len(count) == 6:  # in the middle of the third part
        os.kill(os.getpid(), signal.SIGKILL)
PartWriter.add = add_some
main(sys.argv[1:])
"""


def test_a_shard_that_was_killed_half_way_goes_on_where_it_was(tiny: Files, here: Path) -> None:
    command = ["detect", *tiny, "pictures", "--shard", "1/2", "--part-size", "3", "-q"]
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, command)], env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == -signal.SIGKILL
    folder = Path("runs/detect/exp")
    assert sorted(times()) == ["part-00000000.done", "part-00000000.jsonl"]
    assert any(path.name.startswith(".") for path in folder.iterdir())  # the part that it was at
    before = times()
    assert "1 done before" in shard(tiny, "1/2", size=3)
    assert before.items() <= times().items()
    assert not any(path.name.startswith(".") for path in folder.iterdir())
    shard(tiny, "2/2", size=3)
    unite()
    assert outcome("exp") == whole(tiny)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--conf", ".3"), "conf 0.3"),
        (("--img-size", "32"), "size [32, 32]"),
        (("--part-size", "3"), "part_size 3"),
        (("--engine", "torch", "--batch-size", "2"), "batch_size 2"),
        (("--ignore-orientation",), "ignore_orientation True"),
        (("pictures/00.png",), "sources 12"),
    ],
)
def test_other_settings_than_those_of_the_parts_are_refused(
    tiny: Files, args: tuple[str, ...], word: str, here: Path
) -> None:
    shard(tiny, "1/2", size=None if "--part-size" in args else 2)
    before = times()
    said = shard(tiny, "2/2", *args, size=None, code=2)
    assert "made with other settings" in said and word in said and "another --name" in said
    assert times() == before


def test_other_weights_and_renamed_images_are_refused(tiny: Files, here: Path) -> None:
    shard(tiny, "1/2")
    other = Files(tiny.cfg, here / "other.weights")
    data = tiny.weights.read_bytes()
    other.weights.write_bytes(data[:-4] + b"\0\0\0\0")
    assert "weights_sha256" in shard(other, "2/2", code=2)
    Path("pictures/10.png").rename("pictures/11.png")
    assert "sources_sha256" in shard(tiny, "2/2", code=2)


@pytest.mark.parametrize(
    ("which", "word"),
    [
        ("3/2", "counted from 1 to 2"),
        ("0/2", "counted from 1 to 2"),
        ("1/0", "number of shards"),
        ("1", "not I/N"),
        ("-1/2", "not I/N"),
        ("1/2/3", "not I/N"),
        ("1/9999999", "number of shards"),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(tiny: Files, which: str, word: str, here: Path) -> None:
    assert word in shard(tiny, which, code=2)
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["--save-txt", "--save-conf", "--save-crop", "--json", "--ext-output"])
def test_options_that_write_elsewhere_do_not_go_with_shards(tiny: Files, option: str, here: Path) -> None:
    assert "leave out --" in shard(tiny, "1/2", option, code=2)


def test_a_folder_of_another_run_a_live_source_and_a_damaged_file_are_refused(
    tiny: Files, here: Path
) -> None:
    assert yolor("detect", *tiny, "pictures", "--nosave").exit_code == 0
    assert "holds other results" in shard(tiny, "1/2", code=2)
    assert "no parts of a run are here" in unite(code=3)
    live = yolor("detect", *tiny, "rtsp://127.0.0.1/x", "--shard", "1/2")
    assert live.exit_code == 2 and "live source" in live.stderr
    assert yolor("detect", *tiny, "pictures", "--part-size", "3").exit_code == 2
    shard(tiny, "1/2", "--name", "mine")
    for content in ("{", "[]", '{"sources": 0, "part_size": 1}'):
        Path("runs/detect/mine/settings.json").write_text(content)
        shard(tiny, "1/2", "--name", "mine", code=3)


def test_more_shards_than_parts_do_nothing_and_say_so(tiny: Files, here: Path) -> None:
    assert "0 parts of 6" in shard(tiny, "9/9")
    assert times() == {}
