"""`yolor export --format ncnn`: what pnnx does not convert is said otherwise, or the section is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import drawn_network
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.export import ncnn_file, ncnn_run
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.parity import compare_engine
from yolor_cfg.export.run import export_network
from yolor_cfg.export.trials import make_trials
from yolor_cfg.model import Network
from yolor_cfg.ops.pnnx import keep_from, positive_or_exp, take_indices
from yolor_cfg.rewrite.faster import rewrite_for_speed

CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
REGION = "[region]\nanchors=1.08,1.19, 3.42,4.41\nclasses=2\ncoords=4\nnum=2\nsoftmax=1\n"
SELECT = (
    "[conv-select]\nbatch_normalize=1\nsize=1\nstride=1\npad=1\nfilters=18\nkeep=2,1/4\nactivation=linear\n"
)
YOLO = "[yolo]\nmask=0,1\nclasses=2\nnum=2\nanchors=9,12,25,20\n"
CRNN = "[crnn]\nbatch_normalize=1\nsize=3\npad=1\noutput=14\nhidden=6\nactivation=leaky\n"
VECTORS = "[connected]\noutput=6\nactivation=leaky\n[gru]\noutput=5\n[gru]\noutput=4\n"
TRACKED = CONV.format(4) + CONV.format(8) + CONV.format(14) + YOLO + "embedding_layer=1\n"


def make_network(text: str, dialect: str = "darknet") -> Network:
    return drawn_network(text, dialect=dialect, image=(3, 16, 24))


NETWORKS = {
    "region": (CONV.format(14) + REGION, "darknet", "decoded"),
    "region that empties boxes": (CONV.format(14) + REGION + "classfix=-1\n", "darknet", "decoded"),
    "conv-select": (CONV.format(6) + SELECT + REGION, "darkflow", "decoded"),
    "gru": (VECTORS, "darknet", "raw"),
    "crnn with batch norms": (CONV.format(6) + CRNN + YOLO, "darknet", "decoded"),
    "a section that only a loss reads": (TRACKED, "darknet", "decoded"),
    "a batch norm first": ("[batchnorm]\n" + CONV.format(4), "pjreddie", "raw"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_ncnn_gives_our_values(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    text, dialect, form = NETWORKS[name]
    network = make_network(text, dialect)
    options = ExportOptions("ncnn", OnnxSettings(form))
    result = export_network(network, tmp_path, options, rewritten=rewrite_for_speed(network).network)
    (parity,) = result.parities
    assert not parity.fault and parity.worst < 1e-5
    assert all(one.largest > 0 for one in parity.outputs)


HALF = torch.tensor(0.5)
EDGES = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 0.2, 1.0, -1.0, 90.0, -90.0])
EDGES = torch.cat([EDGES, HALF[None], HALF.nextafter(torch.ones(()))[None], HALF.nextafter(-HALF)[None]])


@pytest.mark.parametrize(
    "function",
    [lambda x: keep_from(x, 0.5), positive_or_exp, lambda x: take_indices(x, (3, 0, 7, 7), 0)],
)
def test_the_forms_for_pnnx_are_exact(function: Callable[[Tensor], Tensor]) -> None:
    traced = torch.jit.trace(function, torch.zeros(len(EDGES)), check_trace=False)
    for operator in ("aten::where", "aten::index_select", "aten::gt", "aten::lt"):
        assert operator not in str(traced.graph)
    assert traced(EDGES).tolist() == function(EDGES).tolist()


def test_a_crash_of_ncnn_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "crash.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", encoding="utf-8")
    monkeypatch.setattr(ncnn_run, "__file__", str(program))
    monkeypatch.setattr("yolor_cfg.export.parity.engine_version", lambda _: "1")
    trials = make_trials(make_network(CONV.format(4)), OnnxSettings("raw"), "")
    parity = compare_engine("ncnn", tmp_path / "model.ncnn.param", trials=trials)
    assert parity is not None and parity.fault == "ncnn crashed (SIGSEGV)"


def test_a_file_that_ncnn_cannot_load_is_one_message(tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    path = tmp_path / "model.ncnn.param"
    path.write_text("7767517\n1 1\nNoSuchLayer a 0 1 out0\n", encoding="utf-8")
    trials = make_trials(make_network(CONV.format(4)), OnnxSettings("raw"), "")
    parity = compare_engine("ncnn", path, trials=trials)
    assert parity is not None and parity.fault == "ncnn cannot load the file"


@pytest.mark.parametrize(
    ("whole", "by_kind", "section"),
    [
        (["aten::lt"], {"YoloHead": ["aten::unflatten"], "RnnCell": ["aten::lt", "x"]}, "crnn"),
        (["pnnx crashed (SIGSEGV)"], {"YoloHead": ["pnnx crashed (SIGSEGV)"]}, "yolo"),
        (["aten::lt"], {"YoloHead": ["aten::unflatten"]}, ""),
    ],
)
def test_a_section_is_named_for_what_the_whole_network_was_refused_for(
    whole: list[str], by_kind: dict[str, list[str]], section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections by themselves may leave operators that the network does not; they are tried with a state."""

    def convert(module: torch.nn.Module, inputs: tuple[Tensor, ...], *_: object, **__: object) -> list[str]:
        if hasattr(module, "network"):
            return whole
        module(*inputs)
        return next((left for kind, left in by_kind.items() if kind in str(module)), [])

    monkeypatch.setattr(ncnn_file, "convert", convert)
    network = make_network(CONV.format(6) + CRNN + YOLO)
    with pytest.raises(CfgError, match="pnnx cannot convert this for ncnn") as told:
        ncnn_file.write_ncnn(network, Path("model.ncnn.param"), form="decoded", is_half=False)
    assert told.value.section == section and told.value.found == whole[0]


def test_the_second_of_two_sections_alike_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of maps: of the same size, and of two sizes, of which pnnx converts only the first."""
    sums = (
        "[shortcut]\nfrom=-2\nactivation=linear\n"
        + CONV.format(4)
        + "[shortcut]\nfrom=0\nactivation=linear\n"
    )
    same = CONV.format(4) + CONV.format(4).replace("stride=2", "stride=1") + sums
    network = make_network(same, "pjreddie")

    def convert(module: torch.nn.Module, inputs: tuple[Tensor, ...], *_: object, **__: object) -> list[str]:
        sizes = {one.shape[-1] for one in inputs}
        return ["Tensor.slice"] if hasattr(module, "network") or len(sizes) > 1 else []

    monkeypatch.setattr(ncnn_file, "convert", convert)
    with pytest.raises(CfgError, match="pnnx cannot convert this for ncnn") as told:
        ncnn_file.write_ncnn(network, Path("model.ncnn.param"), form="raw", is_half=False)
    assert (told.value.section, told.value.number) == ("shortcut", 4)
