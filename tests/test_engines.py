"""Engines: the network's raw maps from each, in float32; what does not go together is said."""

import pickle
from pathlib import Path

import pytest
import test_sections_contract as contract
import torch
from folding import apart, lived_in, pictures
from small import graph_of
from torch import Tensor

from yolor_cfg import Detector
from yolor_cfg.arguments import ENGINE_NAMES, REWRITE_NAMES
from yolor_cfg.detect.nms import NmsRules, apply_nms
from yolor_cfg.engines import choice
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import ENGINES, choose_engine, engine_note, has_bf16, is_installed
from yolor_cfg.engines.fused import FusedConvolution, can_fuse, mish_
from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.rewrite.faster import REWRITE_CHOICES
from yolor_cfg.shape import Shape
from yolor_cfg.weights.loading import load

BCCD = Path(__file__).parents[1] / "weights/yolor_bccd.pt"
CONV = "[convolutional]\nfilters=8\nsize=3\npad=1\nbatch_normalize=1\nactivation={}\n"
OTHERS = [name for name in ENGINES if name not in ("torch", "native")]


@pytest.fixture(scope="module")
def bccd() -> Network:
    return load(BCCD, size=128)


@pytest.fixture(scope="module")
def cells(bccd: Network) -> Tensor:
    """Blurred noise, in which the network finds something."""
    coarse = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.interpolate(coarse, 128, mode="bicubic").clamp(0, 1)


def run(engine, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return engine(images)


def test_the_names_in_help_are_those_that_there_are():
    assert set(ENGINE_NAMES) == {"auto", *ENGINES}
    assert REWRITE_NAMES == REWRITE_CHOICES


@pytest.mark.parametrize("case", contract.some_quick(6), ids=str)
def test_torch_runs_every_section(case):
    torch.manual_seed(0)
    network = Network(case.graph()).eval()
    images = pictures(network.graph, 2).float()
    wanted = run(network, images)
    for precision in ("fp32", "bf16"):
        network.reset()
        raws = run(choose_engine(network, EngineSettings("torch", precision)), images)
        assert all(raw.dtype == torch.float32 for raw in raws)
        assert [raw.shape for raw in raws] == [raw.shape for raw in wanted]
        if wanted and precision == "fp32":
            assert apart(wanted, raws) <= 1e-3  # some sum many large values


@pytest.mark.parametrize("name", ACTIVATIONS)
@torch.inference_mode()
def test_an_activation_is_the_same_with_its_convolution(name):
    block = ConvBlock(torch.nn.Conv2d(4, 8, 3, padding=1), None, name)
    x = 9 * torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(0))
    assert apart([block(x)], [FusedConvolution(block, Shape(4, 9, 7))(x)]) <= 1e-5


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_mish_by_one_exponential_is_mish(order):
    spread = torch.linspace(-90, 90, 2 * 3 * 200 * 100).view(2, 3, 200, 100)  # more than a chunk
    for values in (spread, torch.full((1, 2, 3, 3), torch.nan), torch.zeros(1, 4, 0, 5)):
        x = values.bfloat16().contiguous(memory_format=order)
        wanted = torch.nn.functional.mish(x.double())
        assert mish_(x) is x
        torch.testing.assert_close(x.double(), wanted, rtol=2**-8, atol=2e-6, equal_nan=True)


def test_convolutions_are_fused_where_torch_can():
    network = lived_in(graph_of(CONV.format("mish") + CONV.format("swish"))).float()
    engine = choose_engine(network, EngineSettings("torch"))
    kinds = {type(layer) for layer in engine._network.module_list}
    assert kinds == ({FusedConvolution} if can_fuse() else kinds)
    assert not any(isinstance(layer, FusedConvolution) for layer in network.module_list)


def test_bf16_is_as_near_as_bf16_can_be(bccd, cells):
    wanted = run(bccd, cells)
    raws = run(choose_engine(bccd, EngineSettings("torch", "bf16")), cells)
    assert 0 < apart(wanted, raws) < 0.3
    assert apart(wanted, run(choose_engine(bccd), cells)) < 1e-4


def test_auto_precision_goes_by_the_processor(bccd, monkeypatch):
    for there, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(choice, "has_bf16", lambda device, there=there: there)
        assert choose_engine(bccd, EngineSettings(precision="auto")).precision == precision
        engine = choose_engine(bccd)
        assert engine.precision == "fp32"
        assert ("--precision auto" in engine_note(engine, bccd)) is there
    assert has_bf16(torch.device("cpu")) is torch.cpu._is_avx512_bf16_supported()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("torch", "fp16"), "torch in fp16 on cpu"),
        (("auto", "fp16"), "in fp16 on cpu"),
        (("onnxruntime", "bf16"), "onnxruntime in bf16"),
        (("tensorrt",), "tensorrt"),
        (("torch", "int7"), "int7"),
    ],
)
def test_what_does_not_go_together_is_said(settings, said, bccd):
    with pytest.raises(CfgError, match=said):
        choose_engine(bccd, EngineSettings(*settings))


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "export"), ("openvino", "openvino")])
def test_an_engine_that_is_not_installed_names_its_extra(name, extra, bccd, monkeypatch):
    monkeypatch.setattr(choice, "_has_module", lambda module: False)
    with pytest.raises(MissingExtra, match=rf"pip install .yolor-cfg\[{extra}\].") as raised:
        choose_engine(bccd, EngineSettings(name))
    assert raised.value.exit_code == 5


def test_a_recurrent_network_runs_itself_in_torch():
    network = Network(graph_of("[crnn]\noutput_filters=4\nhidden_filters=4\npad=1\n")).eval()
    images = pictures(network.graph).float()
    engine = choose_engine(network)
    first, second = run(engine, images), run(engine, images)
    assert apart(first, second) > 0
    network.reset()
    assert apart(first, run(engine, images)) == 0
    with pytest.raises(CfgError, match="recurrent"):
        choose_engine(network, EngineSettings("openvino"))


@pytest.mark.parametrize("kind", ["yolor", "default", "greedynms"])
@pytest.mark.parametrize("conf", [0.001, 0.1, 0.4, 0.9])
def test_detections_are_the_same_if_only_likely_boxes_are_decoded(kind, conf, bccd, cells):
    raws = run(choose_engine(bccd), cells)
    whole, likely = bccd.decode(raws), bccd.decode(raws, least=conf)
    assert likely.objectness.shape[1] <= whole.objectness.shape[1]
    placements = [Placement((128, 128), (128, 128), (1, 1), (0, 0))] * 3
    rules = NmsRules(conf, kind=kind, multi_label=True)
    found = [apply_nms(one, placements, rules=rules) for one in (whole, likely)]
    for one, other in zip(*found, strict=True):
        for (x, y), least in zip(zip(one, other, strict=True), (1.3e-4, 0, 0), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-6, atol=least)


def test_few_boxes_are_decoded_at_a_high_threshold(bccd, cells):
    raws = run(choose_engine(bccd), cells)
    few = bccd.decode(raws, least=0.25)
    assert 0 < few.objectness.shape[1] < bccd.decode(raws).objectness.shape[1] / 4


def test_a_pickled_detector_finds_the_same():
    detector = Detector(BCCD, size=128, conf=0.05, precision="bf16", no_rewrite=["merge"])
    again = pickle.loads(pickle.dumps(detector))
    image = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    assert (again.engine.name, again.engine.precision) == (detector.engine.name, "bf16")
    one, other = detector(image), again(image)
    assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_engines_give_the_same_maps(name, bccd, cells):
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    engine = choose_engine(bccd, EngineSettings(name))
    others = [] if name == "compiled" else [cells[:1, :, :96]]  # that takes a minute for each size
    for images in (cells, *others):
        raws = run(engine, images)
        assert {raw.dtype for raw in raws} == {torch.float32}
        assert apart(run(bccd, images), raws) < 1e-4
