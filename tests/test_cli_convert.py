"""`yolor convert`: the same network in other files, and nothing lost on the way."""

from pathlib import Path

import click
import pytest
import torch
from tiny_detector import Files, photo, save, text, write, yolor

from yolor_cfg import Detector, load
from yolor_cfg.cli import main
from yolor_cfg.networks import family
from yolor_cfg.weights.darknet import WeightsHeader, write_weights

IMPLICIT = "[implicit_add]\nfilters=24\n[route]\nlayers=-2\n[shift_channels]\nfrom=4\n"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """The tiny detector in the working directory, with a header of its own."""
    monkeypatch.chdir(tmp_path)
    files = write(tmp_path, text())
    write_weights(load(*files), files.weights, header=WeightsHeader(0, 2, 5, seen=32013312), force=True)
    return files


def convert(files: Files, *args: object, code: int = 0) -> str:
    """What the command says on standard error; nothing goes to standard output."""
    result = yolor("convert", *args, "--cfg", files.cfg)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("suffix", ["weights", "pt", "safetensors"])
def test_there_and_back_is_the_same_file_to_the_byte(tiny: Files, suffix: str) -> None:
    told = convert(tiny, tiny.weights, f"there.{suffix}")
    assert told.endswith(f"there.{suffix}: {Path(f'there.{suffix}').stat().st_size:,} bytes\n")
    convert(tiny, f"there.{suffix}", "back.weights")
    assert Path("back.weights").read_bytes() == tiny.weights.read_bytes()


def test_from_one_checkpoint_to_another_names_and_numbers_stay(tiny: Files) -> None:
    Path("a.names").write_text("cat\ndog\nowl\n")
    convert(tiny, tiny.weights, "a.pt", "--names", "a.names")
    convert(tiny, "a.pt", "b.safetensors")
    convert(tiny, "b.safetensors", "c.pt")
    a, c = (torch.load(path, weights_only=True) for path in ("a.pt", "c.pt"))
    assert c["names"] == ["cat", "dog", "owl"]
    assert a["numbers"] == c["numbers"] == {"seen": 32013312}
    assert a["model"].keys() == c["model"].keys()
    assert all(torch.equal(a["model"][name], c["model"][name]) for name in a["model"])


def test_other_names_replace_those_of_a_checkpoint(tiny: Files) -> None:
    Path("a.names").write_text("cat\ndog\nowl\n")
    Path("b.names").write_text("x\ny\nz\n")
    convert(tiny, tiny.weights, "a.pt", "--names", "a.names")
    convert(tiny, "a.pt", "b.pt", "--names", "b.names")
    assert Detector(tiny.cfg, "b.pt").names == ("x", "y", "z")


def test_the_converted_network_computes_the_same(tiny: Files) -> None:
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    want = load(*tiny)(images)
    for path in ("a.pt", "a.safetensors"):
        convert(tiny, tiny.weights, path)
        assert all(torch.equal(a, b) for a, b in zip(load(tiny.cfg, path)(images), want, strict=True))


def test_implicit_parameters_survive_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before, mark, head = text().rpartition("[convolutional]")
    files = write(tmp_path, before + IMPLICIT + mark + head)
    convert(files, files.weights, "a.pt")
    convert(files, "a.pt", "a.safetensors")
    convert(files, "a.safetensors", "a.weights")
    assert Path("a.weights").read_bytes() == files.weights.read_bytes()


def test_a_prefix_holds_the_first_layers_and_loads_with_cutoff(tiny: Files) -> None:
    """20 bytes of header, then for each convolution its weights and four vectors."""
    convert(tiny, tiny.weights, "tiny.conv.2", "--upto", 2)
    floats = (8 * 3 * 9 + 4 * 8) + (16 * 8 * 9 + 4 * 16)
    assert Path("tiny.conv.2").read_bytes() == tiny.weights.read_bytes()[: 20 + 4 * floats]
    assert "use --cutoff 2" in convert(tiny, "tiny.conv.2", "b.pt", code=4)
    assert "layers 0..1 loaded" in convert(tiny, "tiny.conv.2", "b.pt", "--cutoff", 2)


# --- what is refused, and leaves the files as they were ---


def test_an_existing_file_stays_unless_force_is_given(tiny: Files) -> None:
    for name in ("a.weights", "a.pt", "a.safetensors"):
        Path(name).write_text("mine")
        message = convert(tiny, tiny.weights, name, code=4)
        assert "exists already\n  hint:    use --force" in message
        assert Path(name).read_text() == "mine"
        convert(tiny, tiny.weights, name, "--force")
        assert Path(name).stat().st_size > 1000


def test_a_file_may_be_written_onto_itself_with_force(tiny: Files) -> None:
    before = tiny.weights.read_bytes()
    convert(tiny, tiny.weights, tiny.weights, "--force")
    assert tiny.weights.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["a.onnx"], 2, "OUT must end in one of .weights, .pt, .safetensors; found .onnx"),
        (["a"], 2, "found no suffix"),
        (
            ["a.pt", "--upto", "2"],
            2,
            "--upto works only with .weights files; a .pt file holds the whole network",
        ),
        (["a.weights", "--upto", "99"], 4, "allowed: 1..6"),
        (["a.weights", "--names", "a.names"], 2, "--names works only with .pt and .safetensors files"),
        (["a.pt", "--names", "a.names"], 3, "the number of names does not match the number of classes"),
        (["a.pt", "--names", "no.names"], 3, "no.names: the names cannot be read: no such file or directory"),
        (["nowhere/a.pt"], 4, "nowhere/a.pt: cannot be written"),
        (["nowhere/a.weights"], 4, "nowhere/a.weights: cannot be written"),
        (["a.names/a.weights"], 4, "a.names is not a folder"),
    ],
)
def test_what_makes_no_sense_is_one_message_and_no_file(
    tiny: Files, args: list[str], code: int, message: str, tmp_path: Path
) -> None:
    Path("a.names").write_text("cat\n")
    before = sorted(tmp_path.rglob("*"))
    assert message in convert(tiny, tiny.weights, *args, code=code)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no.weights", "no.weights: the weights cannot be read: no such file or directory"),
        ("a.png", "a.png: this is an image, not a weights file"),
        ("other.weights", "other.weights: longer than the network by 100 floats"),
        (".", ".: the weights cannot be read: is a directory"),
    ],
)
def test_something_else_than_weights_is_refused(tiny: Files, source: str, message: str) -> None:
    save(Path("a.png"), photo())
    Path("other.weights").write_bytes(tiny.weights.read_bytes() + bytes(400))
    assert convert(tiny, source, "out.pt", code=4).startswith(message)
    assert not Path("out.pt").exists()


def test_the_cfg_of_another_network_is_refused_for_every_format(tiny: Files, tmp_path: Path) -> None:
    convert(tiny, tiny.weights, "a.pt")
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", text(classes=5))
    for source in (tiny.weights, "a.pt"):
        message = convert(other, source, "out.pt", code=4)
        assert "classes=3" in message
    assert not Path("out.pt").exists()


def test_a_cfg_must_be_named(tiny: Files) -> None:
    result = yolor("convert", tiny.weights, "a.pt")
    assert result.exit_code == 2 and "missing option '--cfg'" in result.stderr


def test_the_examples_in_the_help_are_commands_that_the_parser_takes() -> None:
    command = main.get_command(click.Context(main), "convert")
    assert command is not None
    lines = [line.strip() for line in command.get_help(click.Context(command)).splitlines()]
    examples = [line.split() for line in lines if line.startswith("yolor convert ")]
    assert len(examples) == 4
    for words in examples:
        with command.make_context("convert", words[2:]) as context:
            assert context.params["cfg"].endswith(".cfg")


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """yolor_micro with seeded weights, at its smallest size."""
    folder = tmp_path_factory.mktemp("micro")
    cfg = folder / "micro.cfg"
    cfg.write_text(family.cfg_text("yolor_micro", family.NETWORKS["yolor_micro"]._replace(size=64)))
    torch.manual_seed(0)
    write_weights(load(cfg), folder / "micro.weights")
    return Files(cfg, folder / "micro.weights")


@pytest.mark.parametrize("option", ["--fuse", "--fold-implicit"])
def test_a_folded_network_finds_the_same_boxes_in_files_of_its_own(
    micro: Files, option: str, tmp_path: Path
) -> None:
    convert(micro, micro.weights, tmp_path / "out.weights", option)
    before, after = load(*micro), load(tmp_path / "out.cfg", tmp_path / "out.weights")
    assert after.graph.dialect.name == ("darknet" if option == "--fold-implicit" else "yolor")
    assert not any(node.section.type.startswith("implicit") for node in after.graph.nodes)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for mine, theirs in zip(before.decode(before(images)), after.decode(after(images)), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-4)


def test_plain_darknet_gets_its_suffixes_and_can_keep_batch_norms(micro: Files, tmp_path: Path) -> None:
    told = convert(micro, micro.weights, tmp_path / "plain", "--fold-implicit", "--keep-bn")
    assert f"{tmp_path / 'plain.cfg'}: " in told
    text = (tmp_path / "plain.cfg").read_text()
    assert "batch_normalize=1" in text and "new_coords=1" in text and "[implicit" not in text


def test_a_cfg_is_never_written_over(micro: Files, tmp_path: Path) -> None:
    (tmp_path / "out.cfg").write_text("mine")
    assert "exists already" in convert(micro, micro.weights, tmp_path / "out.weights", "--fuse", code=1)
    assert (tmp_path / "out.cfg").read_text() == "mine" and not (tmp_path / "out.weights").exists()
    beside = micro.cfg.with_suffix(".weights")
    assert "is the input cfg" in convert(micro, micro.weights, beside, "--fuse", "--force", code=2)


@pytest.mark.parametrize("words", [("--keep-bn",), ("--fuse", "--upto", "3")])
def test_options_that_do_not_go_together_are_a_usage_error(
    micro: Files, words: tuple[str, ...], tmp_path: Path
) -> None:
    convert(micro, micro.weights, tmp_path / "out.weights", *words, code=2)


def test_a_folded_checkpoint_still_says_what_was_learned(micro: Files, tmp_path: Path) -> None:
    convert(micro, micro.weights, tmp_path / "folded.pt", "--fuse")
    before = yolor("implicit", micro.cfg, micro.weights)
    after = yolor("implicit", tmp_path / "folded.cfg", tmp_path / "folded.pt")
    assert before.exit_code == after.exit_code == 0, after.stderr
    assert before.stdout == after.stdout and "implicit_add" in after.stdout


def test_a_folded_pair_gets_the_names_that_its_checkpoint_held(tiny: Files) -> None:
    Path("a.names").write_text("cat\ndog\nowl\n")
    convert(tiny, tiny.weights, "a.pt", "--names", "a.names")
    told = convert(tiny, "a.pt", "plain.weights", "--fold-implicit")
    assert "plain.names: 3 names" in told
    assert Path("plain.names").read_text() == "cat\ndog\nowl\n"
    convert(tiny, tiny.weights, "given.weights", "--fuse", "--names", "a.names")
    assert Path("given.names").read_text() == "cat\ndog\nowl\n"
    convert(tiny, tiny.weights, "without.weights", "--fuse")
    assert not Path("without.names").exists()
    Path("b.names").write_text("mine\n")
    assert "b.names: exists already" in convert(tiny, "a.pt", "b.weights", "--fold-implicit", code=3)
    assert Path("b.names").read_text() == "mine\n" and not Path("b.weights").exists()


@pytest.mark.parametrize(("reader", "code"), [(None, 0), ("darknet", 0), ("opencv", 2)])
def test_what_only_darknet_runs_is_a_warning_or_for_opencv_an_error(
    reader: str | None, code: int, tmp_path: Path
) -> None:
    """OpenCV 4.14 passes over xnor and dilation in silence: see test_plain_oracle."""
    conv = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
    files = Files(tmp_path / "x.cfg", tmp_path / "x.weights")
    files.cfg.write_text(f"[net]\nwidth=16\nheight=16\nchannels=3\n{conv}dilation=2\n{conv}xnor=1\n")
    write_weights(load(files.cfg), files.weights)
    options = ["--for", reader] if reader else []
    told = convert(files, files.weights, tmp_path / "plain", "--fold-implicit", *options, code=code)
    assert ("only C Darknet runs this, not OpenCV" in told) == (reader != "darknet")
    assert (tmp_path / "plain.weights").exists() == (code == 0)
    if code == 0:
        assert ("dilation=2" in (tmp_path / "plain.cfg").read_text()) == (reader == "darknet")
