"""The words of C Darknet's command lines: what they become, what is said, what is refused."""

import shlex
import struct
from pathlib import Path

import pytest
import tiny_detector as tiny
from click.testing import Result

from yolor_cfg.cli.darknet.command import _complete, _find_function
from yolor_cfg.cli.darknet.functions import FUNCTIONS, NewForm
from yolor_cfg.cli.darknet.line import FLAGS, WITH_VALUE, parse_line

DATA = "classes=3\ntrain=train.txt\nvalid=train.txt\nnames=tiny.names\n"
DETECTOR = "obj.data tiny.cfg tiny.weights"


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path, tiny.text())
    tiny.save(tmp_path / "a.png", tiny.photo())
    (tmp_path / "obj.data").write_text(DATA)
    (tmp_path / "train.txt").write_text("a.png\n")
    (tmp_path / "tiny.names").write_text("cat\ndog\ntraffic light\n")
    return tmp_path


def translated(text: str) -> NewForm:
    name, line = _find_function(parse_line(shlex.split(text)))
    return _complete(name, FUNCTIONS[name], line)


def refusal(text: str) -> str:
    result: Result = tiny.yolor("darknet", *shlex.split(text))
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            f"detector test {DETECTOR} a.png b.png -thresh 0.1 -letter_box -dont_show -i 1",
            "detect tiny.cfg tiny.weights a.png b.png --names obj.data --darknet-output --conf 0.1 "
            "--preprocess letterbox --device 1",
        ),
        (
            f"detector test {DETECTOR} a.png -save_labels -out r.json -ext_output -dont_show --force",
            "detect tiny.cfg tiny.weights a.png --names obj.data --ext-output --save-txt --save-darknet "
            "json=r.json --force",
        ),
        (
            f"detector demo {DETECTOR} x.mp4 -out_filename out/res.avi -json_file_output r.json -dont_show",
            "detect tiny.cfg tiny.weights x.mp4 --names obj.data --darknet-output --output out/res "
            "--save-darknet json=r.json",
        ),
        (
            f"detector demo {DETECTOR} -c 2 -benchmark",
            "detect tiny.cfg tiny.weights 2 --names obj.data --darknet-output --nosave",
        ),
        (
            f"detector map {DETECTOR} -iou_thresh 0.75 -points 101 -thresh 0.3",
            "test tiny.cfg tiny.weights --data obj.data --darknet-text map --no-save --map-iou 0.75 --points "
            "101 --map-conf 0.3",
        ),
        (
            f"detector valid {DETECTOR} -out mine",
            "detect tiny.cfg tiny.weights train.txt --names obj.data --nosave --conf 0.001 --iou 0.6 "
            "--max-det 1000000 --save-darknet voc=results/mine",
        ),
        (
            "detector train obj.data tiny.cfg -map -mAP_epochs 2 -clear -gpus 1 -dont_show",
            "train tiny.cfg --data obj.data --val-period 2 --device 1",
        ),
        (
            f"detector train {DETECTOR} -dont_show",
            "train tiny.cfg --data obj.data --weights tiny.weights --no-val",
        ),
        (
            "classifier train obj.data tiny.cfg -topk -dont_show",
            "train tiny.cfg --data obj.data",
        ),
        (
            "detect tiny.cfg tiny.weights a.png -dont_show",
            "detect tiny.cfg tiny.weights a.png --conf 0.24 --darknet-output",
        ),
        (
            "partial tiny.cfg tiny.weights tiny.conv.2 2",
            "convert tiny.weights tiny.conv.2 --cfg tiny.cfg --cutoff 2 --upto 2 --reset-seen",
        ),
    ],
)
def test_a_command_line_becomes_one_of_ours(theirs: str, ours: str) -> None:
    assert shlex.join(translated(theirs).words) == ours


def test_options_stand_anywhere_the_first_counts_and_windows_line_ends_go() -> None:
    usual = translated(f"detector test {DETECTOR} a.png -thresh 0.1 -dont_show")
    line = parse_line(
        ["-thresh", "0.1", "detector", "-dont_show", "test", *DETECTOR.split(), "-thresh", ".9", "a.png\r"]
    )
    assert line.words == ("detector", "test", *DETECTOR.split(), "a.png") and line.options["-thresh"] == "0.1"
    name, rest = _find_function(line)
    assert _complete(name, FUNCTIONS[name], rest) == usual


def test_the_new_form_is_printed_first_and_does_the_same() -> None:
    theirs = ("darknet", "detector", "test", *DETECTOR.split(), "a.png", "-thresh", "0.3", "-dont_show")
    result = tiny.yolor(*theirs)
    start, form = result.stderr.splitlines()[0].split(": ", 1)
    assert start == "new form" and form.startswith("yolor detect ")
    again = tiny.yolor(*shlex.split(form)[1:])
    assert again.stdout.splitlines()[1:] == result.stdout.splitlines()[1:] != []
    assert "new form" not in tiny.yolor(*theirs, "-q").stderr


def test_what_is_other_here_is_said_once() -> None:
    notes = translated(f"detector test {DETECTOR} a.png -save_labels -points 3").notes
    assert any("labels/" in note for note in notes)
    assert "-points has no effect in `detector test`, as in C Darknet" in notes
    assert any("no window is opened" in note for note in notes)
    assert translated(f"detector map {DETECTOR} -letter_box -dont_show").notes == (
        "-letter_box has no effect in `detector map`, as in C Darknet",
    )


def test_the_ports_of_a_demo_are_served() -> None:
    form = translated(f"detector demo {DETECTOR} a.mp4 -json_port 8070 -mjpeg_port 8090 -dont_show")
    assert form.words[form.words.index("--serve") :] == ("--serve", ":8070", "--serve", ":8090")
    assert any("/stream.mjpg" in note for note in form.notes)
    assert any("/detections.jsonl" in note for note in form.notes)


def test_the_iterations_of_weights_are_not_gone_on_with_and_that_is_said() -> None:
    data = Path("tiny.weights").read_bytes()
    Path("seen.weights").write_bytes(data[:12] + struct.pack("<Q", 6400) + data[20:])
    line = "detector train obj.data tiny.cfg {} -dont_show"
    (note,) = translated(line.format("seen.weights")).notes
    assert "6,400 images" in note and "-clear" in note
    assert not translated(line.format("seen.weights -clear")).notes
    assert not translated(line.format("tiny.weights")).notes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            f"detector test {DETECTOR} -treshold 1",
            "no such option of C Darknet: -treshold; did you mean -thresh?",
        ),
        (f"detector test {DETECTOR} -thresh", "-thresh needs a value"),
        (f"detector test {DETECTOR} a.png -thresh high", "'--conf-thres'"),
        (f"detector demo {DETECTOR} -http_post_host a.b", "-http_post_host: nothing is sent"),
        (f"detector demo {DETECTOR} x.mp4 -time_limit_sec 9", "timeout -s INT"),
        (f"detector demo {DETECTOR} -c front", "-c front: not a whole number"),
        (
            f"detector train {DETECTOR} -gpus 0,1",
            "torchrun --standalone --nproc-per-node=2 -m yolor_cfg train",
        ),
        ("detector tset a b c", "did you mean detector test?"),
        ("detector test obj.data tiny.cfg", "usage: yolor darknet detector test DATA CFG WEIGHTS"),
        ("detector calc_anchors obj.data -width 416", "give -width and -height"),
        ("avrage tiny.cfg out a b", "did you mean average?"),
        ("ops tiny.cfg", "`yolor info CFG` counts operations"),
        ("", "give a function of C Darknet; known are detector test"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(line: str, words: str) -> None:
    assert words in refusal(line)


def test_another_threshold_in_class_trees_is_refused_only_where_there_is_a_tree() -> None:
    assert translated(f"detector test {DETECTOR} a.png -hier 0.9").words
    assert translated(f"detector test {DETECTOR} a.png -hier 0.50").words
    Path("tiny.cfg").write_text(tiny.text() + "\n[region]\ntree = data/9k.tree\n")
    assert "-hier 0.9: classes in a tree go by 0.5" in refusal(f"detector test {DETECTOR} a.png -hier 0.9")


@pytest.mark.parametrize("line", ["eval=kitti", "eval=bdd", "map=coco9k.map"])
def test_results_of_other_servers_are_refused(line: str) -> None:
    Path("obj.data").write_text(f"{DATA}{line}\n")
    assert "such results are not written" in refusal(f"detector valid {DETECTOR}")


def test_files_that_exist_are_kept_unless_force_is_given() -> None:
    Path("r.json").write_text("mine")
    line = ["darknet", "detector", "test", *DETECTOR.split(), "a.png", "-dont_show", "-out", "r.json"]
    result = tiny.yolor(*line)
    assert result.exit_code == 3 and Path("r.json").read_text() == "mine" and not Path("runs").exists()
    assert tiny.yolor(*line, "--force").exit_code == 0 and Path("r.json").read_text().startswith("[\n{")


def test_every_option_that_a_function_has_is_one_of_c_darknet() -> None:
    for name, function in FUNCTIONS.items():
        assert set(function.options) <= FLAGS | WITH_VALUE, name
        for option, meaning in function.options.items():
            placed = any("{}" in word for word in meaning.words)
            assert not meaning.words or placed == (option in WITH_VALUE), (name, option)


def test_the_help_of_a_function_tells_its_options_in_our_words() -> None:
    result = tiny.yolor("darknet", "detector", "test", "--help")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0 and f"detector test {FUNCTIONS['detector test'].usage}" in text
    assert "-letter_box --preprocess letterbox" in text and "-out --save-darknet json=FILE" in text
    everything = tiny.yolor("darknet", "-h").stdout
    assert all(f"  {name} {function.usage}" in everything for name, function in FUNCTIONS.items())


def test_options_of_ours_are_handed_on_or_refused_where_none_of_our_commands_runs() -> None:
    assert translated(f"detector map {DETECTOR} --fix-labels=clip").words[-1] == "--fix-labels=clip"
    assert "no such option: --fast; only --force" in refusal("average tiny.cfg o.weights tiny.weights --fast")
    assert "--darknet-text and --json" in refusal(f"detector map {DETECTOR} --json")
