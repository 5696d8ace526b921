"""Command lines from YOLOR's train.py, test.py and detect.py, and from Darknet: taken or answered.

The options are those of the three scripts of WongKinYiu/yolor, branch main (their calls of add_argument).
"""

import json
from pathlib import Path

import click
import pytest
import tiny_detector as tiny
from click.testing import Result

from yolor_cfg import Detector
from yolor_cfg.cli.detect import detect
from yolor_cfg.cli.habits import DETECT_HABITS, TEST_HABITS, TRAIN_HABITS, Habits, sort_paths, translate
from yolor_cfg.cli.test import test as scoring
from yolor_cfg.cli.train import train
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.loading import load

YOLOR_TRAIN = """weights cfg data hyp epochs batch-size img-size rect resume nosave notest noautoanchor evolve
bucket cache-images image-weights device multi-scale single-cls adam sync-bn local_rank log-imgs workers
project name exist-ok"""
YOLOR_TEST = """weights data batch-size img-size conf-thres iou-thres task device single-cls augment verbose
save-txt save-conf save-json project name exist-ok cfg names"""
YOLOR_DETECT = """weights source output img-size conf-thres iou-thres device view-img save-txt classes
agnostic-nms augment update cfg names"""
NAMES = ("traffic light", "cat", "dog")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tiny.Files:
    """A cfg and, in place of its weights, a checkpoint that holds cfg and names."""
    made = tiny.write(tmp_path_factory.mktemp("habits"), tiny.text())
    path = made.weights.with_name("best.pt")
    save_checkpoint(load(*made), path, names=NAMES)
    tiny.save(path.with_name("x.png"), tiny.photo())
    return tiny.Files(made.cfg, path)


@pytest.fixture(autouse=True)
def inside(files: tiny.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files.cfg.parent)


def found(*args: object) -> list[dict]:
    result = tiny.yolor("detect", *args, "--json", "--nosave")
    assert result.exit_code == 0, result.output
    return [json.loads(line)["detections"] for line in result.stdout.splitlines()]


def refusal(*args: object) -> str:
    result: Result = tiny.yolor(*args)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize(
    ("command", "names", "habits"),
    [
        (train, YOLOR_TRAIN, TRAIN_HABITS),
        (scoring, YOLOR_TEST, TEST_HABITS),
        (detect, YOLOR_DETECT, DETECT_HABITS),
    ],
)
def test_every_option_of_yolors_scripts_is_taken_or_answered(
    command: click.Command, names: str, habits: Habits
) -> None:
    here = {word for param in command.params for word in param.opts} | {"--verbose"}
    known = here | habits.changed.keys() | habits.answered.keys()
    assert [name for name in names.split() if f"--{name}" not in known] == []
    assert all(words[0].partition("=")[0] in here for words in habits.changed.values() if words)


@pytest.mark.parametrize(
    "args",
    [
        ("best.pt", "x.png"),
        ("tiny.cfg", "best.pt", "x.png"),
        ("best.pt", "tiny.cfg", "x.png"),
        ("--cfg", "tiny.cfg", "--weights", "best.pt", "--source", "x.png"),
        ("--weights", "best.pt", "x.png", "--img-size", "64x96"),
        ("--source", "x.png", "--weights=best.pt", "--device", "", "--batch", "2"),
    ],
)
def test_the_network_is_found_however_it_is_given(args: tuple[str, ...]) -> None:
    (same,) = found("tiny.cfg", "best.pt", "x.png")
    assert same and found(*args) == [same]


def test_python_takes_a_checkpoint_alone(files: tiny.Files) -> None:
    alone = Detector(files.weights)
    assert alone.names == NAMES and alone.network.graph.path == str(files.weights)
    assert load(files.weights).graph.image == load(*files).graph.image


def test_classes_are_joined_by_commas_or_blanks_and_named(files: tiny.Files) -> None:
    some = found("best.pt", "x.png", "--classes", "0", "2")
    assert {one["name"] for one in some[0]} == {"traffic light", "dog"}
    assert found("best.pt", "x.png", "--classes", "Traffic Light,dog") == some
    assert found("best.pt", "--classes", "0", "2", "--source", "x.png") == some
    assert found("--weights", "best.pt", "--classes", "0", "2", "x.png") == some


def test_a_number_stays_a_camera_where_nothing_else_is_a_source() -> None:
    """`yolor detect CFG WEIGHTS 0` is the first camera."""
    assert "no such camera" in tiny.yolor("detect", "best.pt", "--classes", "1", "93").stderr
    assert translate(["--img-size", "640", "0"], DETECT_HABITS) == ["--img-size", "640", "0"]


def test_the_window_of_yolor_is_ours() -> None:
    assert translate(["--view-img"], DETECT_HABITS) == ["--show"]


def test_one_size_may_stand_twice_and_two_are_answered() -> None:
    assert translate(["--img", "1280", "1280", "x"], TRAIN_HABITS) == ["--img", "1280", "x"]
    assert "--img 640x480 for height x width" in refusal("detect", "best.pt", "x.png", "--img", "640", "480")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("detect", "best.pt", "x.png", "--augment"), "leave it out"),
        (("test", "best.pt", "--data", "d", "--task", "study"), "--img-size N"),
        (("test", "best.pt", "--data", "d", "--task=speed"), "every test prints its speed"),
        (("test", "best.pt", "--data", "d", "--single-cls"), "set-classes"),
        (("train", "--cfg", "tiny.cfg", "--data", "d", "--evolve"), "--hyp FILE.yaml"),
        (("train", "--local_rank=0", "--cfg", "tiny.cfg", "--data", "d"), "torchrun"),
        (("train", "--cfg", "tiny.cfg", "--weights", "", "--img", "640", "320", "--data", "d"), "one size"),
        (("detect", "tiny.weights", "x.png"), "Missing argument 'SOURCE...'"),
        (("test", "tiny.weights", "--data", "d"), "give CFG WEIGHTS and --data"),
        (("train", "--weights", "tiny.weights", "--data", "d"), "give CFG and --data"),
        (("convert", "tiny.weights", "a.pt"), "tiny.weights holds no cfg"),
        (("test", "tiny.cfg", "best.pt", "d.data"), "--data D"),
        (("detect", "obj.data", "tiny.cfg", "best.pt", "x.png"), "--names obj.data"),
        (("detector", "map", "obj.data", "tiny.cfg", "best.pt"), "`yolor darknet detector ...`"),
        (("train", "--cfg", "tiny.cfg", "--data", "d", "-gpus", "0,1"), "--device 0"),
    ],
)
def test_what_has_no_place_here_is_answered_in_one_message(args: tuple[str, ...], says: str) -> None:
    assert says in " ".join(refusal(*args).split())


def test_words_with_another_name_here_are_translated() -> None:
    line = ["--adam", "--notest", "--noautoanchor", "--cache-images", "my.cfg", "--", "--adam"]
    same = ["--optimizer", "adam", "--val-period", "0", "--cache=1000", "my.cfg", "--", "--adam"]
    assert translate(line, TRAIN_HABITS) == same
    assert translate(["--save-json", "-dont_show"], TEST_HABITS) == ["--save"]
    assert translate(["-map", "-clear", "-i", "0"], TRAIN_HABITS) == ["--device", "0"]
    assert translate(["-dont_show", "--agnostic"], DETECT_HABITS) == ["--agnostic-nms"]


def test_an_empty_path_is_none_as_in_yolor() -> None:
    """train.py --cfg my.cfg --weights ''"""
    assert sort_paths(["my.cfg"], cfg="", weights="") == ("my.cfg", None, ())


def test_output_is_the_folder_of_the_results(tmp_path: Path) -> None:
    """--output inference/output of YOLOR's detect.py, which deletes it first; nothing is deleted here."""
    for name in ("output", "output2"):
        result = tiny.yolor("detect", "best.pt", "x.png", "--output", tmp_path / "inference/output")
        assert result.exit_code == 0 and (tmp_path / f"inference/{name}/x.png").is_file()


def test_a_checkpoint_alone_is_tested_described_converted_and_trained_on(
    files: tiny.Files, tmp_path: Path
) -> None:
    data = write_shapes(tmp_path / "shapes", ShapesOptions(8, (60, 80)))
    path = tmp_path / "six.pt"
    save_checkpoint(load(tiny.write(tmp_path, tiny.text(classes=6)).cfg), path)
    for args in (
        ("info", files.weights),
        ("info", files.weights, "--folded"),
        ("convert", files.weights, tmp_path / "out.weights"),
        ("test", path, "--data", data, "--task", "train", "--batch", "4", "--verbose", "--no-save"),
        ("test", "--weights", path, "--data", data, "--names", tmp_path / "shapes/shapes.names", "--no-save"),
        ("train", "--weights", path, "--data", data, "--dry-run", "--img", "64", "64"),
        ("train", path, "--data", data, "--dry-run", "--batch-size", "4", "--hyp", "small"),
    ):
        result = tiny.yolor(*args)
        assert result.exit_code == 0, (args, result.output)


def test_a_checkpoint_of_another_program_needs_its_cfg(files: tiny.Files, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "yolor.pt"
    torch.save({"model": load(*files).state_dict()}, path)
    result = tiny.yolor("detect", path, "x.png")
    assert result.exit_code == 4 and "give its cfg too, before the checkpoint" in result.stderr
    assert found(files.cfg, path, "x.png")


@pytest.mark.parametrize("name", ["smal", "smal.yaml", "data/hyp.scratch.1280.yaml"])
def test_hyperparameters_that_are_no_file_name_the_built_in_ones(name: str, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "shapes", ShapesOptions(4, (60, 80)))
    cfg = tiny.write(tmp_path, tiny.text(classes=6, net="dialect=yolor\n")).cfg
    text = refusal("train", cfg, "--data", data, "--dry-run", "--hyp", name)
    assert "scratch1280, finetune1280" in text and name in text and "did you mean s" in text
