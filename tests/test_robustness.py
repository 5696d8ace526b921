"""The checks of tools/robustness.py: they see what they are for, and their short form finds nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import robustness
import robustness_fuzz as fuzz
import robustness_kill as kill
import robustness_load as load
import robustness_scene as scene
import torch
from robustness_mutate import MUTATIONS, mutate
from robustness_networks import make_network_seeds
from robustness_readers import READERS, Input
from robustness_seeds import KINDS, SeedPool, make_seeds
from robustness_table import CheckResult, format_table, read_results, write_results

from yolor_cfg.errors import CfgError, WeightsError, YolorError
from yolor_cfg.export.describe import fact_text
from yolor_cfg.export.facts import parse_facts
from yolor_cfg.runs import clean_run

ROOT = Path(__file__).parents[1]
FIRST = 12
"""Inputs of each kind that the fast test reads."""


@pytest.fixture(scope="module")
def seeds() -> dict[str, SeedPool]:
    return make_seeds(networks=make_network_seeds)


def plan(kind: str, seeds: SeedPool, keep: Path, count: int = FIRST) -> fuzz.FuzzPlan:
    return fuzz.FuzzPlan(kind, seeds, 0, 0, count, keep)


# --- the fuzzer ---


def test_every_kind_has_seeds_mutations_and_a_reader(seeds: dict[str, SeedPool]) -> None:
    assert seeds.keys() == MUTATIONS.keys() == READERS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_number_gives_the_same_input(kind: str, seeds: dict[str, SeedPool], tmp_path: Path) -> None:
    made = [[fuzz.make_input(plan(kind, seeds[kind], tmp_path), n)[:2] for n in range(FIRST)] for _ in (1, 2)]
    assert made[0] == made[1]
    assert len({data for data, _ in made[0]}) > FIRST / 2


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("cfg", "names", "yaml", "images", "networks")]
)
def test_the_readers_take_the_seeds_as_they_are(kind: str, seeds: dict[str, SeedPool]) -> None:
    """Else the fuzzer would only see the first refusal of each."""
    read, suffix = READERS[kind]
    taken = 0
    with fuzz.temporary_folder() as folder:
        for seed in seeds[kind].seeds:
            path = folder / f"input{suffix}"
            path.write_bytes(seed.data)
            try:
                read(Input(seed.data, path, seed.cfg, random.Random(5)))
            except YolorError:
                continue
            taken += 1
    assert taken > len(seeds[kind].seeds) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_inputs_of_each_kind_find_no_fault(
    kind: str, seeds: dict[str, SeedPool], tmp_path: Path
) -> None:
    board = fuzz.Board()
    with fuzz.temporary_folder() as folder:
        for number in range(FIRST):
            data, cfg, rng = fuzz.make_input(plan(kind, seeds[kind], tmp_path), number)
            given = Input(data, folder / f"input{READERS[kind][1]}", cfg, rng)
            assert fuzz.read_input(kind, given, board) == ""
    assert board.taken + board.refused == FIRST


def stop(given: Input) -> None:
    os._exit(3)


def wait(given: Input) -> None:
    while True:
        pass


def wrong(given: Input) -> None:
    raise ValueError("of ours")


def refuse(given: Input) -> None:
    raise CfgError("the user's")


def command(given: Input) -> None:
    os.system("true")


def commanding(given: Input) -> None:
    raise CfgError("x" * 300_000)


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (stop, "the process ended with 3"),
        (wait, "no end after"),
        (wrong, "ValueError: of ours"),
        (command, "Forbidden: os.system"),
        (refuse, ""),
        (commanding, ""),
    ],
)
def test_the_fuzzer_sees_what_a_reader_must_not_do(
    reader, told: str, seeds: dict[str, SeedPool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also an end of its process, after which it goes on with the next input."""
    monkeypatch.setattr(fuzz, "HANG_SECONDS", 0.05)
    monkeypatch.setitem(READERS, "tree", (reader, ".tree"))
    worker = fuzz.FuzzWorker(plan("tree", seeds["tree"], tmp_path, 2))
    pids = {worker._pid}
    while worker.poll():
        pids.add(worker._pid)
        time.sleep(0.01)
    kept = sorted(tmp_path.glob("*.json"))
    assert worker.board.number == 1 and worker.board.faults == len(kept) == (2 if told else 0)
    assert all(told in json.loads(path.read_text())["fault"] for path in kept)
    assert worker.board.refused == (0 if told else 2)
    assert not [left for pid in pids for left in Path(fuzz.memory_place()).glob(f"robustness-{pid}-*")]


def test_a_message_that_commands_the_terminal_is_a_fault() -> None:
    odd = CfgError("x")
    assert fuzz.check_message(odd) == ""
    odd.section = "\x1b"
    assert fuzz.check_message(odd) == ""  # str() of it is printable
    odd.message = ""
    assert "no terminal" in fuzz.check_message(odd)


def test_a_kept_fault_is_read_again(seeds: dict[str, SeedPool], tmp_path: Path) -> None:
    made = plan("tree", seeds["tree"], tmp_path)
    fuzz.keep_fault(made, 3, "a fault")
    assert fuzz.replay(tmp_path / "tree-0-3.json", seeds["tree"]) == ""
    assert (tmp_path / "tree-0-3.input").read_bytes() == mutate(
        "tree", seeds["tree"], random.Random("0 tree 3")
    )[0]


def test_results_are_read_back_and_the_table_adds_them_up(tmp_path: Path) -> None:
    results = [CheckResult("a", 1000, 1, 0.25, 12, ("a fault",)), CheckResult("b", 2, 0, 1)]
    write_results(results, tmp_path / "a.json")
    assert read_results(tmp_path / "a.json") == results
    table = format_table(results)
    assert (
        "| a | 1,000 | 1 | 0.25 | 12 |" in table and "| all | 1,002 | 1 |" in table and "a: a fault" in table
    )


# --- what is whole ---


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b"{"),
        ("a.jsonl", b'{"a": 1}\n{"a"'),
        ("a.csv", b"a,b\n1"),
        ("a.jpg", b"\xff\xd8\xff"),
        ("a.pt", b"PK"),
        ("a.txt", b"0 0.5 0.5 0."),
        ("a.mp4", b"ftyp"),
        ("a.strange", b""),
    ],
)
def test_a_file_that_is_not_whole_is_seen(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert len(scene.check_whole(tmp_path)) == 1
    (tmp_path / name).rename(tmp_path / f".{'0' * 16}.part{Path(name).suffix}")
    assert scene.check_whole(tmp_path) == []


def test_states_that_differ_in_one_number_are_told_apart() -> None:
    one = {"a": [torch.ones(2), {"b": float("nan")}], "c": 1}
    assert kill.differences(one, {"a": [torch.ones(2), {"b": float("nan")}], "c": 1}) == []
    assert kill.differences(one, {"a": [torch.ones(2), {"b": 0.0}], "c": 2}) == [".a.1.b", ".c"]


def test_the_slope_of_memory_is_that_of_the_samples() -> None:
    """100 images a second and 3 MB more in each: 30 MB per 1000 images; the warm-up does not count."""
    samples = [(second, 500.0 if second < 20 else 200 + 3.0 * second) for second in range(1, 101)]
    assert load.slope(samples, 10_000) == pytest.approx(30)


def test_what_a_killed_run_left_among_the_crops_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "crops/cat" / f".{'a' * 16}.part.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    (left.parent / "0.jpg").write_bytes(b"whole")
    clean_run(tmp_path)
    assert [path.name for path in left.parent.iterdir()] == ["0.jpg"]


# --- what the fuzzer found ---


def test_metadata_with_a_number_that_no_float_holds_is_refused(seeds: dict[str, SeedPool]) -> None:
    facts = json.loads(seeds["metadata"].seeds[0].data)
    assert parse_facts({name: fact_text(value) for name, value in facts.items()}, "a.onnx").nms_beta == 0.6
    facts["nms"]["beta"] = 10**400
    with pytest.raises(WeightsError, match="the metadata of this file is damaged"):
        parse_facts({name: fact_text(value) for name, value in facts.items()}, "a.onnx")


# --- the tool itself ---


@pytest.mark.slow
@pytest.mark.parametrize("group", ["fuzz", "kill", "disk", "sudden", "load", "crowd"])
def test_the_short_form_of_every_check_finds_nothing(group: str, tmp_path: Path) -> None:
    names = [f"fuzz-{kind}" for kind in KINDS] if group == "fuzz" else [group]
    words = [word for name in names for word in ("--only", name)]
    tool = [
        sys.executable,
        str(ROOT / "tools/robustness.py"),
        "--short",
        *words,
        "--keep",
        str(tmp_path / "kept"),
    ]
    done = subprocess.run(
        [*tool, "--json", str(tmp_path / "a.json")], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_results(tmp_path / "a.json")
    assert [one.check for one in results] == names and all(one.tries for one in results)


def test_a_signal_before_a_command_begins_has_the_documented_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiny_detector as tiny

    from yolor_cfg.cli import LazyGroup

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LazyGroup, "parse_args", interrupt)
    result = tiny.yolor("info", "x.cfg")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "fuzz-names", "--count", "0"], "0 is not 1 or more"),
        (["--only", "fuzz-names", "--count", "-3"], "-3 is not 1 or more"),
        (["--table", "no.json"], "no such file: no.json"),
        (["--replay", "names-1-31.json"], "no such file: names-1-31.json"),
        (["--replay", "other.json"], "other.json is not named after a kind"),
    ],
)
def test_checks_that_would_try_nothing_are_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["robustness.py", *words])
    with pytest.raises(SystemExit) as end:
        robustness.main()
    assert end.value.code == 2 and message in capsys.readouterr().err
