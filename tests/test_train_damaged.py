"""Damaged runs, full disks and impossible options end in one message and an exit code, not in a traceback."""

import errno
import os
import re
import shutil
from pathlib import Path

import pytest
import tiny_detector as tiny
import torch
import training
import yaml

from yolor_cfg.cli.train import _find_run_folder
from yolor_cfg.errors import DataError, WeightsError
from yolor_cfg.files import remove_leftovers
from yolor_cfg.runs import clean_run
from yolor_cfg.train import state
from yolor_cfg.train.record import LATER, load_options
from yolor_cfg.train.run import resume_run
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.weights.torch_file import write_pt

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    return training.run(training.options(folder, data, epochs=1), folder / "runs").folder


@pytest.fixture
def damaged(run_folder, tmp_path):
    return Path(shutil.copytree(run_folder, tmp_path / "exp"))


def edit_state(folder, change):
    content = torch.load(folder / "weights/last.pt", weights_only=True)
    change(content)
    torch.save(content, folder / "weights/last.pt")


def cut(path, part):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def edit_options(folder, **values):
    path = folder / "args.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def drop_options(folder, *names):
    path = folder / "args.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({name: value for name, value in values.items() if name not in names}))


DAMAGES = {
    "no files": lambda f: [shutil.rmtree(f), f.mkdir()],
    "no folder": shutil.rmtree,
    "no args": lambda f: (f / "args.yaml").unlink(),
    "args empty": lambda f: (f / "args.yaml").write_text(""),
    "args cut": lambda f: cut(f / "args.yaml", 0.03),
    "args a list": lambda f: (f / "args.yaml").write_text("- 1\n- 2\n"),
    "args a word": lambda f: (f / "args.yaml").write_text("nothing"),
    "args no yaml": lambda f: (f / "args.yaml").write_text("a: [1, {"),
    "args no text": lambda f: (f / "args.yaml").write_bytes(b"\xff\xfe\x00cfg"),
    "args unknown": lambda f: edit_options(f, colour="red"),
    "args without optimizer": lambda f: drop_options(f, "optimizer"),
    "args of another optimizer": lambda f: edit_options(f, optimizer="adam"),
    "args of other kinds": lambda f: edit_options(f, epochs="many"),
    "args of other choices": lambda f: edit_options(f, precision="fp33"),
    "args negative": lambda f: edit_options(f, batch_size=-4),
    "args huge": lambda f: edit_options(f, seed=2**70),
    "no model.cfg": lambda f: (f / "model.cfg").unlink(),
    "model.cfg empty": lambda f: (f / "model.cfg").write_text(""),
    "model.cfg cut": lambda f: cut(f / "model.cfg", 0.7),
    "model.cfg of others": lambda f: (f / "model.cfg").write_text(
        training.yolor_text().replace("filters=8\n", "filters=12\n")
    ),
    "no last.pt": lambda f: (f / "weights/last.pt").unlink(),
    "last.pt empty": lambda f: (f / "weights/last.pt").write_bytes(b""),
    "last.pt cut": lambda f: cut(f / "weights/last.pt", 0.5),
    "last.pt text": lambda f: (f / "weights/last.pt").write_text("weights"),
    "last.pt a folder": lambda f: [(f / "weights/last.pt").unlink(), (f / "weights/last.pt").mkdir()],
    "last.pt is best.pt": lambda f: shutil.copy(f / "weights/best.pt", f / "weights/last.pt"),
    "state without network": lambda f: edit_state(f, lambda c: c["training"].pop("network")),
    "state without optimizer": lambda f: edit_state(f, lambda c: c["training"]["optimizer"].clear()),
    "state of others": lambda f: edit_state(f, lambda c: c.update(training=[1, 2])),
    "state with odd counts": lambda f: edit_state(f, lambda c: c["training"].update(epoch="one")),
    "state with odd rows": lambda f: edit_state(f, lambda c: c["training"].update(rows=[1])),
    "state without randomness": lambda f: edit_state(f, lambda c: c["training"].update(random=None)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_run_is_refused_in_one_message(damaged, kind):
    DAMAGES[kind](damaged)
    result = tiny.yolor("train", "--resume", damaged)
    assert result.exit_code in (2, 3, 4), result.output
    assert "Traceback" not in result.output
    assert str(damaged) in result.stderr.split("\n  hint")[0]


OPTION = ": not a value of this option\n  found:   "
RECORDS = {
    "missing": (
        lambda text: text.replace("optimizer: adamw\n", "").replace("hyp: small\n", ""),
        ": not the options of a run as they were saved\n  found:   missing: hyp, optimizer\n",
    ),
    "unknown": (lambda text: text + "colour: red\n", "found:   unknown: colour\n"),
    "optimizer": ("optimizer: zzz", f": optimizer{OPTION}'zzz'\n  allowed: null, sgd, adam, adamw\n"),
    "hyp": ("hyp: 3", f": hyp{OPTION}3\n  allowed: text or null\n"),
    "workers": ("workers: [1, 2]", f"{OPTION}list of 2: 1, 2\n  allowed: a whole number from 0 to 1024\n"),
    "epochs": ("epochs: abc", f"{OPTION}'abc'\n  allowed: a whole number from 1 to 1000000000 or null\n"),
    "img_size": (
        "img_size: [a]",
        f"{OPTION}list of 1: 'a'\n  allowed: a number of pixels or [height, width]",
    ),
    "cut": (
        lambda text: "cfg: a.cfg\ndata: b.data\nweig",
        ":3: the record of the run's options is not valid",
    ),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_damaged_options_are_told_by_key(tmp_path, kind):
    change, message = RECORDS[kind]
    path, said = tmp_path / "args.yaml", TrainOptions("a.cfg", "b.data", hyp="small", optimizer="adamw")
    text = yaml.safe_dump(said.to_dict())
    if isinstance(change, str):
        key = change.partition(":")[0]
        text, change = re.sub(f"(?m)^{key}:.*", change, text), str
    path.write_text(change(text))
    with pytest.raises(DataError) as caught:
        load_options(tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path)) and "restore the file" in str(caught.value)


def test_options_that_came_later_may_be_missing(tmp_path):
    said = TrainOptions("a.cfg", "b.data", epochs=3)
    old = {name: value for name, value in said.to_dict().items() if name not in LATER}
    (tmp_path / "args.yaml").write_text(yaml.safe_dump(old))
    assert len(old) == len(said) - len(LATER) and load_options(tmp_path) == said


def test_another_optimizer_than_that_of_the_state_is_refused(damaged):
    edit_options(damaged, optimizer="adam", epochs=2)
    with pytest.raises(WeightsError) as caught:
        resume_run(damaged, drawing=training.DRAWING, say=print)
    assert "saved with another optimizer\n  found:   sgd\n  allowed: adam\n" in str(caught.value)


def test_a_run_whose_name_ends_as_a_checkpoint_is_a_folder(damaged):
    named = damaged.rename(damaged.parent / "exp.pt")
    assert _find_run_folder(str(named), "runs") == named


def test_files_that_are_written_anew_may_be_damaged(damaged):
    for name in ("results.csv", "metrics.jsonl", "env.json", "results.png"):
        (damaged / name).write_bytes(b"\xff")
    assert resume_run(damaged, drawing=training.DRAWING, say=print).ending.reason == "done"


def test_last_pt_runs_no_code(damaged):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch evil",)

    torch.save({"training": Evil()}, damaged / "weights/last.pt")
    result = tiny.yolor("train", "--resume", damaged)
    assert result.exit_code == 4 and not Path("evil").exists()


def test_resume_takes_the_checkpoint_of_a_run_too(damaged):
    assert _find_run_folder(str(damaged / "weights/last.pt"), "runs") == damaged


def test_leftovers_of_a_killed_run_go_at_the_next_start(damaged):
    left = [damaged / f".{'0a' * 8}.part.csv", damaged / f"weights/.{'1b' * 8}.part.pt"]
    mine = damaged / "weights/.my.part.pt"
    for start in (
        lambda: resume_run(damaged, drawing=training.DRAWING, say=print),
        lambda: clean_run(damaged),
    ):
        for path in [*left, mine]:
            path.write_text("x")
        remove_leftovers.cache_clear()  # a process does it once for each folder
        start()
        assert not any(path.exists() for path in left) and mine.exists()


@pytest.mark.parametrize("room", [0, 2000])
def test_a_full_disk_is_one_message_and_the_last_state_stays(damaged, monkeypatch, room):
    class Full:
        """A disk with room for so many bytes."""

        def __init__(self, file):
            self.file, self.left = file, room

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    before = (damaged / "weights/last.pt").read_bytes()
    monkeypatch.setattr(state, "write_pt", lambda content, file: write_pt(content, Full(file)))
    edit_options(damaged, epochs=2)
    result = tiny.yolor("train", "--resume", damaged)
    assert result.exit_code == 4 and "Traceback" not in result.output
    assert "last.pt: cannot be written" in result.stderr and "No space left on device" in result.stderr
    assert (damaged / "weights/last.pt").read_bytes() == before
    assert not list(damaged.rglob(".*"))


@pytest.mark.parametrize(
    "options",
    [
        ("--seed", 2**64),
        ("--seed", -1),
        ("--cache", "nan"),
        ("--cache", "inf"),
        ("--device", "meta"),
        ("--device", "cuda:99999999999999999999"),
        ("--batch-size", 10**12),
        ("--update-batch", 10**30),
        ("--epochs", 10**30),
        ("--max-batches", 10**30),
        ("--workers", 10**9),
        ("--img-size", "1" * 400),
    ],
)
def test_impossible_options_are_refused(run_folder, data, tmp_path, options):
    args = ("train", run_folder / "model.cfg", "--data", data, "--project", tmp_path, *options)
    result = tiny.yolor(*args)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "lr0: 2026-01-01\n",
        f"lr0: {'9' * 5000}\n",
        "lr00: 1\n",
        "lr0: [1]\n",
        "[" * 5000,
        "lr0: .nan\n",
        "lr0: \n",
        "\x00",
    ],
)
def test_odd_hyp_files_are_refused(run_folder, data, tmp_path, text):
    hyp = tmp_path / "hyp.yaml"
    hyp.write_text(text)
    args = ("train", run_folder / "model.cfg", "--data", data, "--project", tmp_path / "runs", "--hyp", hyp)
    result = tiny.yolor(*args)
    assert result.exit_code == 3, result.output
    assert str(hyp) in result.stderr and "Traceback" not in result.output and len(result.stderr) < 3000


def test_options_come_back_as_they_were():
    said = TrainOptions("a.cfg", "b.data", img_size=(64, 96), cache=0.5, ema=False, max_batches=3)
    assert TrainOptions.from_dict(said.to_dict()) == said
