"""`yolor export --format ncnn` and `aoti`: the same boxes, or one message that says why not."""

import shutil
from pathlib import Path

import pytest
import torch
from small import drawn_network

from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.export import ncnn_file
from yolor_cfg.export.formats import FORMATS, ExportOptions
from yolor_cfg.export.ncnn_file import foreign_operators
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.run import export_network
from yolor_cfg.model import Network
from yolor_cfg.rewrite.faster import rewrite_for_speed

CONV = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
SPLIT = "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n[convolutional]\nfilters=8\nsize=1\nactivation=mish\n"
HEAD = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nclasses=2\nnum=2\n"
HEAD += "anchors=9,12,25,20\n"
DETECTOR = CONV + SPLIT + "[shortcut]\nfrom=-3\n[maxpool]\nsize=3\nstride=1\n[upsample]\nstride=2\n" + HEAD


def make_network(text: str = DETECTOR, dialect: str = "darknet") -> Network:
    return drawn_network(text, dialect=dialect, image=(3, 32, 48))


@pytest.mark.parametrize("form", ["raw", "decoded"])
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-5), ("fp16", 2e-3)])
def test_ncnn_gives_our_boxes(form: str, precision: str, most: float, tmp_path: Path) -> None:
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    network = make_network()
    options = ExportOptions("ncnn", OnnxSettings(form), precision)
    result = export_network(network, tmp_path, options, rewritten=rewrite_for_speed(network).network)
    (parity,) = result.parities
    assert parity.engine == "ncnn" and not parity.fault
    assert parity.worst < most and (precision == "fp32" or parity.worst > 1e-6)
    assert {one.name for one in tmp_path.iterdir()} >= {"model.ncnn.param", "model.ncnn.bin", "meta.json"}


POINTWISE = "[convolutional]\nfilters=64\nsize=1\nactivation=leaky\n"
C_ORDERS = (
    "reorg]\nstride=2",
    "reorg3d]\nstride=2",
    "reorg3d]\nreverse=1\nstride=2",
    "reorg]\nreverse=1\nstride=2",
)
YOLOR_ORDERS = "reorg]", "dwt]", "focus]\nfilters=4\nsize=3\npad=1\nantialiasing=1\nactivation=leaky"


@pytest.mark.parametrize(("dialect", "sections"), [("darknet", C_ORDERS), ("yolor", YOLOR_ORDERS)])
def test_ncnn_moves_pixels_between_channels(dialect: str, sections: tuple[str, ...], tmp_path: Path) -> None:
    """Each behind a convolution that is not folded into it; the last pool has one cell of padding."""
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    text = "".join(f"{POINTWISE}[{section}\n" for section in sections) + "[maxpool]\nsize=2\nstride=1\n"
    network = make_network(text, dialect)
    (parity,) = export_network(network, tmp_path, ExportOptions("ncnn", OnnxSettings("raw"))).parities
    assert not parity.fault and parity.worst < 1e-5


def test_what_pnnx_leaves_as_it_is_is_no_operator_of_ncnn() -> None:
    lines = (
        "Input in0 0 1 in0",
        "torch.narrow n 1 1 in0 1",
        "pnnx.Expression e 1 1 1 2",
        "Mish m 1 1 2 out0",
    )
    text = "\n".join(["7767517", "4 3", *lines])
    assert foreign_operators(text) == ["torch.narrow", "pnnx.Expression"]


def test_the_section_that_pnnx_cannot_convert_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that knows no max pools."""

    def convert(module: torch.nn.Module, *_: object, **__: object) -> list[str]:
        return ["aten::max_pool2d"] if "PoolLayer" in str(module) else []

    monkeypatch.setattr(ncnn_file, "convert", convert)
    with pytest.raises(CfgError, match="pnnx cannot convert this for ncnn") as told:
        export_network(make_network(), tmp_path, ExportOptions("ncnn"))
    assert (told.value.section, told.value.number, told.value.found) == ("maxpool", 4, "aten::max_pool2d")
    assert not list(tmp_path.iterdir())


def test_ncnn_takes_one_image_of_one_size(tmp_path: Path) -> None:
    for settings in (OnnxSettings(dynamic="batch"), OnnxSettings(batch=2)):
        with pytest.raises(CfgError, match="one image of one size"):
            export_network(make_network(), tmp_path, ExportOptions("ncnn", settings))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="AOTInductor needs a C++ compiler")
def test_compiled_code_gives_our_boxes(tmp_path: Path) -> None:
    result = export_network(make_network(), tmp_path, ExportOptions("aoti", OnnxSettings(dynamic="batch")))
    (parity,) = result.parities
    assert not parity.fault and parity.worst < 1e-5


def test_without_a_compiler_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc

    def refuse() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", refuse)
    with pytest.raises(MissingExtra, match=r"no C\+\+ compiler") as told:
        export_network(make_network(), tmp_path, ExportOptions("aoti"))
    assert "CXX" in told.value.hint and told.value.exit_code == 5


def test_every_format_has_its_engine() -> None:
    from yolor_cfg.export.parity import RUNNERS

    assert {engine for kind in FORMATS.values() for engine in kind.engines} == RUNNERS.keys()
