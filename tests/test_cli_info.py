"""`yolor info` and the manners of every command: what goes to stdout, to stderr, and the exit code."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import thop
import torch
from click.testing import CliRunner, Result
from torch import nn

from yolor_cfg.cli import COMMANDS, main
from yolor_cfg.cli.info import COUNTINGS as CHOICES
from yolor_cfg.cli.options import SizeParam
from yolor_cfg.count import COUNTINGS
from yolor_cfg.sections import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
CFG = f"[net]\nwidth=16\nheight=8\nchannels=2\n\n{CONV}\n{CONV}[upsample]\n[route]\nlayers=-1,0\n"
MACS = (3 * 3 * 2 * 4) * (4 * 8) + (3 * 3 * 4 * 4) * (2 * 4)
PARAMETERS = (3 * 3 * 2 * 4 + 8) + (3 * 3 * 4 * 4 + 8)


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def process(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yolor_cfg", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(CFG)
    return path


@pytest.fixture
def odd_cfg(tmp_path: Path) -> Path:
    """A cfg with 23 warnings."""
    path = tmp_path / "odd.cfg"
    path.write_text(CFG + "".join(f"word{i}=1\n" for i in range(23)))
    return path


def row(result: Result, index: int) -> list[str]:
    lines = [line.split() for line in result.stdout.splitlines()]
    return next(line for line in lines if line and line[0] == str(index))


def test_json_has_exactly_the_documented_keys(cfg: Path) -> None:
    told = json.loads(yolor("info", cfg, "--json").stdout)
    totals = ["parameters", "parameters_folded", "macs", "gflops", "weights_bytes"]
    assert list(told) == ["dialect", "layers", "heads", *totals]
    keys = ["index", "line", "type", "sources", "shape", "parameters", "macs", "bflops"]
    assert [list(layer) for layer in told["layers"]] == [keys] * 4


def test_json_numbers_follow_from_the_formulas(cfg: Path) -> None:
    told = json.loads(yolor("info", cfg, "--json").stdout)
    assert (told["macs"], told["gflops"]) == (MACS, 2 * MACS / 1e9)
    assert (told["parameters"], told["parameters_folded"]) == (PARAMETERS, PARAMETERS - 8)
    assert told["weights_bytes"] == 20 + 4 * (PARAMETERS + 4 * 4)
    assert told["layers"][0]["bflops"] == pytest.approx(2 * (3 * 3 * 2 * 4) * (4 * 8) / 1e9)


def test_json_wiring_is_absolute_and_the_image_is_minus_one(cfg: Path) -> None:
    layers = json.loads(yolor("info", cfg, "--json").stdout)["layers"]
    assert [layer["sources"] for layer in layers] == [[-1], [0], [1], [2, 0]]
    assert [layer["shape"] for layer in layers] == [[4, 4, 8], [4, 2, 4], [4, 4, 8], [8, 4, 8]]


def test_json_types_are_canonical_and_lines_are_those_of_the_headers(tmp_path: Path) -> None:
    path = tmp_path / "alias.cfg"
    path.write_text("# a comment\n[net]\nwidth=8\nheight=8\nchannels=1\n[conv]\nfilters=1\n")
    layer = json.loads(yolor("info", path, "--json").stdout)["layers"][0]
    assert (layer["type"], layer["line"]) == ("convolutional", 6)


FLOPS = {
    "exact": 2 * MACS,
    "darknet": 2 * MACS,
    # one batch norm element for each output, which the paper counts twice and thop four times
    "paper": 2 * (MACS + 2 * (4 * 4 * 8 + 4 * 2 * 4)),
    "thop": 2 * (MACS + 4 * (4 * 4 * 8 + 4 * 2 * 4) + 4 * 4 * 8),
}


@pytest.mark.parametrize("counting", FLOPS)
def test_json_of_a_counting_has_its_parameters_and_flops_of_layers_and_of_all(
    cfg: Path, counting: str
) -> None:
    plain = json.loads(yolor("info", cfg, "--json").stdout)
    told = json.loads(yolor("info", cfg, "--json", "--counting", counting).stdout)
    assert [*plain, "counting", "flops", "mflops"] + ["terms"] * (counting == "thop") == list(told)
    assert (told["counting"], told["parameters"], told["macs"]) == (counting, PARAMETERS, MACS)
    flops = pytest.approx(FLOPS[counting])
    assert (told["flops"], sum(layer["flops"] for layer in told["layers"])) == (flops, flops)
    assert (told["mflops"] * 1e6, told["gflops"] * 1e9) == (flops, flops)


def test_the_papers_figures_are_printed_to_the_last_digit() -> None:
    without, implicit = ("52,908,989", "117517.2952"), ("52,911,546", "117519.4372")
    for name, (parameters, mflops) in {"yolov4_csp_fast": without, "yolor_csp_fast": implicit}.items():
        printed = yolor("info", ROOT / "cfg" / f"{name}.cfg", "--counting", "paper").stdout.splitlines()
        assert f"parameters    {parameters}" in printed
        assert any(line.startswith("FLOPs") and f"({mflops} MFLOPs)" in line for line in printed)


def test_a_counting_names_itself_and_has_one_column_of_flops(cfg: Path) -> None:
    table = yolor("info", cfg, "--counting", "thop")
    assert row(table, 2)[-1] == f"{2 * 4 * 4 * 8}"
    assert table.stdout.split("\n")[0].split()[-2:] == ["parameters", "FLOPs"]
    assert "counting      thop: FLOPs are 2 x what thop 0.1.1 counts" in table.stdout


def test_thop_itself_is_run_and_its_sum_is_explained_section_by_section(cfg: Path) -> None:
    told = json.loads(yolor("info", cfg, "--json", "--counting", "thop").stdout)
    image = torch.empty(1, 2, 8, 16)
    convs = [nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.Conv2d(4, 4, 3, 2, 1, bias=False)]
    plain = nn.Sequential(
        convs[0], nn.BatchNorm2d(4), convs[1], nn.BatchNorm2d(4), nn.Upsample(scale_factor=2)
    )
    operations, _ = thop.profile(plain, (image,), verbose=False)
    assert told["flops"] == 2 * operations == sum(term["flops"] for term in told["terms"])
    assert [term["layers"] for term in told["terms"]] == [[0, 1], [0, 1], [2]]
    lines = yolor("info", cfg, "--counting", "thop").stdout.splitlines()
    assert any(line.startswith("counted by    thop 0.1.1") for line in lines)
    assert f"+{2 * 4 * 4 * 8}  2 for each upsampled value: [upsample #2]" in lines[-1]


def test_without_thop_its_figures_are_those_of_our_rules_and_a_note_says_so(
    cfg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = json.loads(yolor("info", cfg, "--json", "--counting", "thop").stdout)
    monkeypatch.setitem(sys.modules, "thop", None)
    result = yolor("info", cfg, "--json", "--counting", "thop")
    assert json.loads(result.stdout) == ran
    assert "note: thop cannot be imported" in result.stderr
    assert "counted by    our rules" in yolor("info", cfg, "--counting", "thop").stdout


def test_what_our_rules_do_not_explain_is_said(cfg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_more(module: nn.Conv2d, *_: object) -> None:
        module.total_ops += 1

    monkeypatch.setitem(thop.profile.__globals__["register_hooks"], nn.Conv2d, one_more)
    told = json.loads(yolor("info", cfg, "--json", "--counting", "thop").stdout)
    assert told["terms"][-1] == {
        "reason": "for no reason that is known here",
        "flops": 2 * 2 - 2 * MACS,
        "layers": [0, 1],
    }
    assert told["flops"] == sum(term["flops"] for term in told["terms"])


def test_what_a_counting_does_not_know_is_a_dash(tmp_path: Path) -> None:
    path = tmp_path / "implicit.cfg"
    path.write_text("[net]\nwidth=8\nheight=8\nchannels=1\n[implicit_add]\nfilters=4\n")
    assert row(yolor("info", path, "--counting", "darknet"), 0)[-2:] == ["4", "-"]
    layer = json.loads(yolor("info", path, "--counting", "darknet", "--json").stdout)["layers"][0]
    assert layer["flops"] is None


def test_the_countings_of_the_command_are_those_that_exist(cfg: Path) -> None:
    assert tuple(COUNTINGS) == CHOICES
    assert "'neper' is not one of" in yolor("info", cfg, "--counting", "neper").stderr


def test_memory_adds_the_peak(cfg: Path) -> None:
    """The route reads the upsampled map and the first one while it makes a map of twice their size."""
    told = json.loads(yolor("info", cfg, "--json", "--memory").stdout)
    assert told["peak_activation_bytes"] == 4 * (4 * 4 * 8 + 4 * 4 * 8 + 8 * 4 * 8)
    assert "at [route #3]" in yolor("info", cfg, "--memory").stdout


def test_a_row_tells_geometry_shapes_and_costs(cfg: Path) -> None:
    table = yolor("info", cfg)
    assert row(table, 0)[:7] == ["0", "6", "convolutional", "4", "3x3/2", "2x8x16", "4x4x8"]
    assert row(table, 2)[:6] == ["2", "21", "upsample", "x2", "4x2x4", "4x4x8"]
    assert row(table, 3)[3:7] == ["2,0", "2", "*", "4x4x8"]


def test_the_table_is_aligned(cfg: Path) -> None:
    lines = yolor("info", cfg).stdout.splitlines()[:5]
    words = ("line", "6", "14", "21", "22")
    assert len({line.index(word) + len(word) for line, word in zip(lines, words, strict=True)}) == 1


@pytest.mark.parametrize(("text", "shape"), [("32", [4, 16, 16]), ("32x64", [4, 16, 32])])
@pytest.mark.parametrize("option", ["--img-size", "--img", "--imgsz"])
def test_the_size_is_a_square_or_height_x_width(cfg: Path, option: str, text: str, shape: list[int]) -> None:
    told = json.loads(yolor("info", cfg, option, text, "--json").stdout)
    assert told["layers"][0]["shape"] == shape


@pytest.mark.parametrize("text", ["0", "32x", "x32", "-32", "32x32x3", "big", "3.5", "", "123456"])
def test_other_sizes_are_usage_errors(cfg: Path, text: str) -> None:
    result = yolor("info", cfg, f"--img-size={text}")
    assert result.exit_code == 2 and "height x width" in result.stderr


def test_a_size_is_read_from_text_once() -> None:
    assert SizeParam().convert((4, 5), None, None) == (4, 5)


def test_warnings_go_to_stderr_at_most_twenty_and_then_their_number(odd_cfg: Path) -> None:
    result = yolor("info", odd_cfg, "--json")
    assert json.loads(result.stdout)["dialect"] == "darknet"
    assert result.stderr.count("unknown key") == 20
    assert "23 warnings in" in result.stderr


@pytest.mark.parametrize("order", [("-q", "info"), ("info", "-q")])
def test_quiet_silences_warnings_before_or_after_the_command(odd_cfg: Path, order: tuple[str, str]) -> None:
    result = yolor(*order, odd_cfg)
    assert (result.exit_code, result.stderr) == (0, "")


def test_verbose_shows_every_warning(odd_cfg: Path) -> None:
    assert yolor("-v", "info", odd_cfg).stderr.count("unknown key") == 23


def test_strict_makes_warnings_errors(odd_cfg: Path) -> None:
    result = yolor("info", odd_cfg, "--strict")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "23 faults in" in result.stderr


@pytest.mark.parametrize(("dialect", "told"), [("yolor", "yolor"), ("darknet", "darknet")])
def test_the_dialect_can_be_stated(cfg: Path, dialect: str, told: str) -> None:
    assert json.loads(yolor("info", cfg, "--dialect", dialect, "--json").stdout)["dialect"] == told


def test_an_assumed_dialect_is_said_in_one_note(tmp_path: Path) -> None:
    path = tmp_path / "pool.cfg"
    path.write_text("[net]\nwidth=8\nheight=8\nchannels=1\n[maxpool]\nsize=2\nstride=2\n")
    (note,) = yolor("info", path).stderr.splitlines()
    assert note.startswith("note: ") and "[maxpool]" in note and "--dialect" in note
    assert yolor("info", path, "--dialect", "darknet").stderr == ""


def test_colours_only_on_a_terminal_and_never_with_no_color(
    odd_cfg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yellow = "\x1b[33m"
    coloured = CliRunner().invoke(main, ["info", str(odd_cfg)], color=True)
    assert yellow in coloured.stderr
    assert yellow not in yolor("info", odd_cfg).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert yellow not in CliRunner().invoke(main, ["info", str(odd_cfg)], color=True).stderr


@pytest.mark.parametrize("args", [("info", "nowhere.cfg"), ("info", ROOT / "tests")])
def test_what_cannot_be_read_is_one_message_without_traceback(args: tuple[object, ...]) -> None:
    result = process(*args)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{args[1]}: the cfg cannot be read")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("order", [("--debug", "info"), ("info", "--debug")])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(order: tuple[str, str]) -> None:
    result = process(*order, "nowhere.cfg")
    assert result.returncode == 2 and "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out.json"), 1, "out.json: permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no space left on device\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    fault: BaseException, code: int, text: str, cfg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise fault

    monkeypatch.setattr("yolor_cfg.graph.load_graph", refuse)
    result = yolor("info", cfg)
    assert (result.exit_code, result.stderr) == (code, text)


def test_a_reader_that_went_away_is_no_error_message(odd_cfg: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "yolor_cfg", "-q", "info", "--sections", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


@pytest.mark.parametrize(("word", "meant"), [("inof", "info"), ("detekt", "detect"), ("predikt", "predict")])
def test_an_unknown_command_names_the_closest(word: str, meant: str) -> None:
    result = yolor(word)
    assert result.exit_code == 2 and f"did you mean {meant}?" in result.stderr


def test_a_word_like_no_command_gets_no_guess() -> None:
    result = yolor("zzzzzz")
    assert result.exit_code == 2 and "did you mean" not in result.stderr


def test_help_lists_each_command_with_its_own_sentence() -> None:
    text = " ".join(yolor("-h").stdout.split())
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert f"{name} {command.get_short_help_str(limit=40).removesuffix('...')}" in text


def test_predict_is_detect() -> None:
    context = click.Context(main)
    assert main.get_command(context, "predict") is main.get_command(context, "detect")
    assert "predict" not in main.list_commands(context)


@pytest.mark.parametrize("args", [("info",), ("info", "a.cfg", "b.cfg")])
def test_info_wants_one_cfg(args: tuple[str, ...]) -> None:
    assert yolor(*args).exit_code == 2


def test_the_list_of_sections_is_the_table_of_sections() -> None:
    lines = yolor("info", "--sections").stdout.splitlines()
    assert len(lines) == len(set(SECTIONS.values()))
    assert {name for line in lines for name in SECTIONS if f"[{name}]" in line} == set(SECTIONS)


def test_the_sections_for_machines_name_every_key() -> None:
    sections = json.loads(yolor("info", "--sections", "--json").stdout)
    told = {section["names"][0]: [key["name"] for key in section["keys"]] for section in sections}
    assert told == {kind.names[0]: list(kind.keys) for kind in SECTIONS.values()}


def test_the_sections_for_machines_say_what_goes_by_each_key() -> None:
    (yolo,) = json.loads(yolor("info", "--sections", "yolo", "--json").stdout)
    keys = {key["name"]: key for key in yolo["keys"]}
    assert {name: keys[name]["use"] for name in ("mask", "nms_kind", "jitter", "sim_thresh")} == {
        "mask": "both",
        "nms_kind": "inference",
        "jitter": "training",
        "sim_thresh": "none",
    }
    assert keys["sim_thresh"]["reason"] == "no tracking is done here" and keys["mask"]["reason"] == ""
    assert keys["anchors"]["unit"] == "pixels" and keys["representation"]["dialects"] == ["pjreddie"]


def test_the_manual_of_a_section_says_use_unit_and_reason() -> None:
    lines = yolor("info", "--sections", "yolo").stdout.splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line.startswith("  ")}
    assert (
        rows["jitter"] == "jitter 0.2 number training maximum random crop, as a part of the image (fraction)"
    )
    assert rows["sim_thresh"].endswith(
        "none similarity above which two detections belong to the same track; "
        "not used here: no tracking is done here"
    )


def test_a_section_is_shown_with_its_keys_their_defaults_and_their_meaning() -> None:
    lines = yolor("info", "--sections", "convolutional").stdout.splitlines()
    assert lines[0].startswith("[convolutional]")
    filters = next(line for line in lines if line.split()[:1] == ["filters"])
    assert "1; required in yolor, ultralytics, jde  1 or more" in filters
    first_words = {line.split()[0] for line in lines if line}
    assert set(SECTIONS["convolutional"].own_keys()) <= first_words


def test_an_alias_in_brackets_shows_the_section_too() -> None:
    assert yolor("info", "--sections", "[conv]").stdout == yolor("info", "--sections", "convolutional").stdout


def test_an_unknown_section_names_the_closest() -> None:
    result = yolor("info", "--sections", "convolutionl")
    assert result.exit_code == 2 and "did you mean convolutional?" in result.stderr


@pytest.mark.slow
def test_every_file_of_the_corpus_that_loads_has_a_table(shared: Path) -> None:
    failed = []
    for path in sorted((shared / "corpus" / "cfg").glob("*.cfg")):
        result = yolor("-q", "info", path)
        if result.exit_code not in (0, 2) or (result.exit_code == 2) != (result.stdout == ""):
            failed.append(path.name)
    assert failed == []


def test_folded_shows_the_network_without_implicit_knowledge_and_what_stays() -> None:
    cfg = ROOT / "cfg" / "yolor_csp_ssss_paper.cfg"
    result = yolor("info", cfg, "--folded", "--json", "--img-size", "64")
    assert result.exit_code == 0, result.stderr
    layers = json.loads(result.stdout)["layers"]
    assert not any(layer["type"].startswith(("implicit", "shift", "control")) for layer in layers)
    assert "[BatchNorm2d #57] (line" in result.stderr
    assert "stays: an activation comes before it" in result.stderr


def test_a_long_list_of_sources_is_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "many.cfg"
    sources = ",".join(["-1"] * 5000)
    path.write_text(f"[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\n[route]\nlayers={sources}\n")
    result = CliRunner().invoke(main, ["info", str(path)])
    assert result.exit_code == 0 and "0,0,0,... (5,000)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 200
