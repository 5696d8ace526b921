"""`yolor cfg check` and `yolor cfg format`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from yolor_cfg.cli import main
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import load_graph

GOOD = "[net]\nwidth=8\nheight=8\nchannels=1\n\n[convolutional]\nfilters=1\nactivation=linear\n"
LOOSE = """# mine
[net]\x20
 width = 8\r
height= 8
channels =1



[convolutional]
; one
filters=1\x20
activation=linear"""
TIDY = """# mine

[net]
width=8
height=8
channels=1

[convolutional]
; one
filters=1
activation=linear
"""


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", *(str(arg) for arg in args)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.cfg"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A warning on line 9, an error of its value on line 8."""
    path = tmp_path / "bad.cfg"
    path.write_text(GOOD.replace("activation=linear", "stride=none\ncolour=red"))
    return path


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    path = tmp_path / "loose.cfg"
    path.write_bytes(LOOSE.encode())
    return path


def test_a_good_file_is_one_line(good: Path) -> None:
    result = yolor("check", good)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{good}: ok\n", "")


def test_errors_and_warnings_are_told_together_by_line(bad: Path) -> None:
    result = yolor("check", bad)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = (result.stderr.index(f"{bad}:{line}: ") for line in (8, 9))
    assert first < second
    assert result.stderr.endswith(f"2 faults in {bad}\n")


def test_each_remark_says_what_it_is(bad: Path, good: Path) -> None:
    good.write_text(GOOD.replace("channels=1", "channels=1\ntrack=1"))
    result = yolor("check", bad, good)
    told = [line for line in result.stderr.splitlines() if not line.startswith("  ")]
    assert [line.partition(": ")[0] for line in told] == ["error", "warning", "1 error, 1 warning", "note"]
    assert told[2] == f"1 error, 1 warning: 2 faults in {bad}"
    kinds = [remark["kind"] for remark in json.loads(yolor("check", bad, good, "--json").stdout)]
    assert kinds == ["error", "warning", "note"]


def test_a_warning_alone_is_a_fault(good: Path) -> None:
    good.write_text(GOOD + "colour=red\n")
    result = yolor("check", good)
    assert result.exit_code == 2 and "unknown key" in result.stderr


def test_a_warning_does_not_hide_faults_of_wiring(good: Path) -> None:
    good.write_text(GOOD + "colour=red\n[route]\nlayers=-5\n")
    told = json.loads(yolor("check", good, "--json").stdout)
    assert [(fault["line"], fault["message"]) for fault in told] == [
        (9, "unknown key"),
        (11, "no such section before this one"),
    ]


def test_checking_goes_on_after_a_fault_of_wiring_where_the_rest_can_be_sized(good: Path) -> None:
    """Two wrong heads and a wrong route are told together, behind an unknown section too."""
    head = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nnum=1\nclasses=4\n"
    good.write_text(f"{GOOD}{head}[route]\nlayers=0\n{head}[route]\nlayers=99\n[maxpool]\n[mystery]\n")
    told = json.loads(yolor("check", good, "--json").stdout)
    wrong = "the previous section has the wrong number of channels"
    outside = "no such section before this one"
    assert [fault["message"] for fault in told] == [wrong, wrong, outside, "unknown section"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("policy=steps\n", "needs steps= and scales="),  # parser.c 1254
        ("policy=steps\nsteps=5\n", "needs steps= and scales="),
        ("batch=2\nsubdivisions=2\ncontrastive=1\n", "needs two images at once"),  # parser.c 1214
    ],
)
def test_what_c_refuses_in_net_is_an_error(keys: str, message: str, good: Path) -> None:
    good.write_text(GOOD.replace("channels=1\n", f"channels=1\n{keys}"))
    told = json.loads(yolor("check", good, "--json").stdout)
    assert [fault["message"] for fault in told] == [message]
    with pytest.raises(CfgError, match=message):
        load_graph(good)


def test_lists_for_the_steps_and_two_images_at_once_are_no_fault(good: Path) -> None:
    keys = "policy=steps\nsteps=5\nscales=.1\nbatch=4\nsubdivisions=2\ncontrastive=1\n"
    good.write_text(GOOD.replace("channels=1\n", f"channels=1\n{keys}"))
    assert load_graph(good).warnings == ()


def test_every_file_is_checked_and_one_bad_one_is_enough(good: Path, bad: Path) -> None:
    result = yolor("check", bad, good, "nowhere.cfg")
    assert result.exit_code == 2
    assert f"{good}: ok" in result.stdout
    assert "nowhere.cfg: the cfg cannot be read" in result.stderr


def test_json_lists_each_fault_once(bad: Path, good: Path) -> None:
    told = json.loads(yolor("check", bad, good, "--json").stdout)
    assert [(fault["path"], fault["line"], fault["key"]) for fault in told] == [
        (str(bad), 8, "stride"),
        (str(bad), 9, "colour"),
    ]
    assert set(told[0]) == {
        "kind",
        "path",
        "line",
        "section",
        "number",
        "key",
        "message",
        "found",
        "allowed",
        "hint",
    }


def test_the_dialect_decides_what_is_said(good: Path) -> None:
    good.write_text(GOOD.replace("linear", "linaer"))
    results = [yolor("check", good, "--json", "--dialect", name) for name in ("darknet", "yolor")]
    told = [fault["message"] for result in results for fault in json.loads(result.stdout)]
    assert told == ["unknown value: relu is used, as in C Darknet (AlexeyAB/darknet)", "unknown value"]


def test_check_wants_a_file() -> None:
    assert yolor("check").exit_code == 2


def test_format_prints_the_normal_form_and_changes_nothing(loose: Path) -> None:
    result = yolor("format", loose)
    assert (result.exit_code, result.stdout) == (0, TIDY)
    assert loose.read_bytes() == LOOSE.encode()


def test_format_in_place_replaces_the_file_and_leaves_nothing_beside_it(loose: Path) -> None:
    assert yolor("format", loose, "--in-place").exit_code == 0
    assert loose.read_text() == TIDY
    assert os.listdir(loose.parent) == [loose.name]


def test_the_normal_form_is_its_own_normal_form(loose: Path) -> None:
    yolor("format", loose, "--in-place")
    assert yolor("format", loose).stdout == TIDY


def test_format_keeps_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "old.cfg"
    path.write_bytes("# gr\u00fcn\n".encode("latin-1") + GOOD.encode())
    result = yolor("format", path)
    assert result.stdout_bytes == "# gr\u00fcn\n\n".encode("latin-1") + GOOD.encode()


def test_format_writes_elsewhere_but_replaces_only_with_force(loose: Path) -> None:
    out = loose.with_name("out.cfg")
    assert yolor("format", loose, "-o", out).exit_code == 0
    assert out.read_text() == TIDY
    out.write_text("precious")
    refused = yolor("format", loose, "-o", out)
    assert refused.exit_code == 1 and "--force" in refused.stderr
    assert out.read_text() == "precious"
    assert yolor("format", loose, "-o", out, "--force").exit_code == 0
    assert out.read_text() == TIDY


def test_format_takes_one_place_to_write_to(loose: Path) -> None:
    assert yolor("format", loose, "-o", "x.cfg", "--in-place").exit_code == 2


def test_a_folder_that_is_not_there_is_one_message(loose: Path) -> None:
    result = yolor("format", loose, "-o", loose.parent / "missing" / "x.cfg")
    assert result.exit_code == 1
    assert result.stderr.startswith(str(loose.parent / "missing" / "x.cfg"))


def test_what_is_no_cfg_is_not_formatted(tmp_path: Path) -> None:
    path = tmp_path / "chat.cfg"
    path.write_text("hello\n[net]\n")
    result = yolor("format", path, "--in-place")
    assert result.exit_code == 2
    assert path.read_text() == "hello\n[net]\n"


def test_formatting_keeps_what_a_cfg_says(shared: Path) -> None:
    from yolor_cfg.lang.syntax import parse, parse_bytes

    changed = []
    for path in sorted((shared / "corpus" / "cfg").glob("*.cfg")):
        result = yolor("format", path)
        if result.exit_code:
            continue
        before, after = parse_bytes(path.read_bytes()), parse_bytes(result.stdout_bytes)
        said = [
            [(s.name, [(e.key, e.value) for e in s.entries]) for s in document.sections]
            for document in (before, after)
        ]
        if said[0] != said[1] or not parse(result.stdout).sections:
            changed.append(path.name)
    assert changed == []


HEAD = "[yolo]\nmask=0,1,2\nclasses=1\nnum=3\nanchors=1,2,3,4,5,6\n"
CONV = "[convolutional]\nfilters={}\nactivation=linear\n"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("[foo]\n[route]\nlayers=-1,9\n", ["", "layers"]),  # an unknown section hides no reference
        (CONV.format(17) + HEAD + "[route]\nlayers=0\n" + HEAD, ["classes", "classes"]),
        (CONV.format(17) + HEAD.replace("num=3", "num=x") + "nms_kind=?\n", ["classes", "num", "nms_kind"]),
        (
            CONV.format("y") + "[route]\nlayers=7\n" + CONV.format(9) + "groups=2",
            ["filters", "layers", "groups"],
        ),
        (
            "[shortcut]\nfrom=9\nweights_type=a\nweights_normalization=b",
            ["from", "weights_type", "weights_normalization"],
        ),
    ],
)
def test_check_tells_every_fault_of_a_section_and_of_those_behind_it(tmp_path, text, keys):
    (tmp_path / "n.cfg").write_text("[net]\nwidth=32\nheight=32\nchannels=3\n" + text)
    found = json.loads(yolor("check", "--json", "--dialect", "darknet", tmp_path / "n.cfg").stdout)
    assert [fault["key"] for fault in found] == keys


def test_a_faulty_net_hides_neither_its_other_faults_nor_those_of_the_sections(tmp_path):
    net = "[net]\nwidth=a\nheight=32\nchannels=3\npolicy=steps\nbatch=2\nsubdivisions=2\ncontrastive=1\n"
    (tmp_path / "n.cfg").write_text(net + "[route]\nlayers=5")
    found = json.loads(yolor("check", "--json", "--dialect", "darknet", tmp_path / "n.cfg").stdout)
    assert [fault["key"] for fault in found] == ["width", "policy", "contrastive", "layers"]


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        # cost_layer.c 130: the limit is found, then set to 0 before it is used
        ("[cost]\nratio=.5\n", "ratio", "C Darknet sets the limit"),
        # network.c 115: it multiplies the subdivisions of sequences
        ("", "seq_scales", "single images are trained here, not sequences"),
    ],
)
def test_what_has_no_effect_in_training_is_told_with_the_reason(
    good: Path, text: str, key: str, why: str
) -> None:
    net = "policy=steps\nsteps=1,2\nscales=.1,.1\n" + ("" if text else "seq_scales=.5,.5\n")
    good.write_text(GOOD.replace("\n\n", f"\n{net}\n") + text)
    result = yolor("check", good, "--json")
    (remark,) = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (remark["kind"], remark["key"], remark["message"]) == ("note", key, "has no effect here")
    assert remark["hint"].startswith(why)
