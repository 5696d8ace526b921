"""The native engine against torch in float64: every operation, instruction set and number of threads."""

from __future__ import annotations

import copy

import pytest
import torch
from native import BUILT, LAYERS, NETWORKS, conv, images_for, network_of, step_errors
from torch import Tensor

from yolor_cfg.engines.native import binding
from yolor_cfg.engines.native.binding import NativeError, instruction_sets
from yolor_cfg.engines.native.engine import NativeEngine
from yolor_cfg.model import Network

needs_kernels = pytest.mark.skipif(not BUILT, reason="the native engine is not built (make native)")
SETS = list(instruction_sets()) if BUILT else ["not built"]
EXACT = 2e-6  # of a layer's largest value
PRECISIONS = ("fp32", "bf16")
HAS_MATRIX_UNIT = BUILT and any(one.depth_step > 2 for one in instruction_sets().values())
LUCK = 1.2 if HAS_MATRIX_UNIT else 1.4  # torch's own error in bfloat16 is smaller without AMX

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


def errors(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """The largest difference of each output, relative to its largest value."""
    assert [one.shape for one in found] == [one.shape for one in wanted]
    assert all(one.dtype == torch.float32 for one in found)
    pairs = zip(found, wanted, strict=True)
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs]


def check(network: Network, engine: NativeEngine, images: Tensor, *, bound: float = EXACT) -> None:
    """fp32 within the bound of float64; bf16 within torch's own error in bfloat16, up to luck in rounding."""
    wanted = copy.deepcopy(network).double()(images.double())
    found = engine(images)
    if not engine._builder.narrow:
        assert max(errors(found, wanted)) < bound
        return
    rounded = [one.float() for one in copy.deepcopy(network).bfloat16()(images.bfloat16())]
    for ours, torchs, exact in zip(found, rounded, wanted, strict=True):
        far, far_torch = (ours - exact).abs(), (torchs - exact).abs()
        assert far.mean() < LUCK * far_torch.mean() + 1e-6 * exact.abs().max()
        assert far.max() < 2 * far_torch.max() + 1e-6 * exact.abs().max()


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instructions", SETS)
def test_what_lies_beside_a_map_does_not_reach_it(instructions: str, precision: str) -> None:
    """Memory full of NaN before a call, as after a call with other images: channels that fill no tile, and
    parts of a concatenation that are read alone."""
    beside = conv(13, 1) + "[route]\nlayers=-2\n" + conv(43, 1) + "[route]\nlayers=-3,-1\n"
    for more in (*LAYERS.values(), beside + "[route]\nlayers=-4\n" + conv(20, 3)):
        network = network_of(conv(40, stride=2) + conv(19) + more, image=(3, 20, 26))
        engine = NativeEngine(network, precision=precision, threads=1, instructions=instructions)
        images = images_for(network)
        wanted = [one.clone() for one in engine(images)]
        with torch.inference_mode():
            next(iter(engine._plans.values())).layout.block.fill_(255)
        for one, right in zip(engine(images), wanted, strict=True):
            assert torch.isfinite(one).all() and torch.equal(one, right)


ACTIVATIONS = ("linear", "relu", "leaky", "swish", "mish", "logistic", "relu6")


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, instructions: str, precision: str) -> None:
    """One operation or two."""
    network = network_of(LAYERS[name], image=(3, 20, 26))
    engine = NativeEngine(network, precision=precision, threads=2, instructions=instructions)
    check(network, engine, images_for(network))
    assert not engine.notes


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str, instructions: str, precision: str) -> None:
    """From very small to very large values."""
    network = network_of(conv(24, activation=activation), image=(3, 9, 14))
    network.module_list[0].Conv2d.weight.data *= 40
    engine = NativeEngine(network, precision=precision, threads=1, instructions=instructions)
    check(network, engine, images_for(network) - 0.5)


@needs_kernels
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, precision: str, threads: int, count: int) -> None:
    """Views, concatenations, memory that is used again; two calls in a row."""
    network = network_of(NETWORKS[name], image=(3, 26, 36))
    engine = NativeEngine(network, precision=precision, threads=threads)
    for images in (images_for(network, count), images_for(network, count).flip(3)):
        check(network, engine, images, bound=3 * EXACT)
    assert bool(engine.notes) == (name == "torch between")


@needs_kernels
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("instructions", SETS)
def test_winograd(tile: int, instructions: str) -> None:
    """Both tiles, on maps that they do not divide, of many channels, in few tiles and in many."""
    for height, width in ((7, 10), (33, 50)):
        network = network_of(conv(64, 1) + conv(72), image=(48, height, width))
        engine = NativeEngine(network, threads=2, instructions=instructions, winograd=(tile,))
        check(network, engine, images_for(network))


@needs_kernels
@pytest.mark.parametrize("stem", ["[reorg]\n", "[reorg]\n[reorg]\n", "[dwt]\n"])
@pytest.mark.parametrize("size", [1, 3])
def test_stems(stem: str, size: int) -> None:
    """Re-layouts of the image become a part of the convolution, or stay where zeros around them matter."""
    network = network_of(stem + conv(20, size, activation="silu"), image=(3, 16, 24), dialect="yolor")
    engine = NativeEngine(network, threads=2)
    check(network, engine, images_for(network))
    assert bool(engine.notes) == ("dwt" in stem and size == 3)


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
def test_head(precision: str) -> None:
    """A head's raw map has the network's form, and the next call leaves it as it is."""
    yolo = "[yolo]\nmask=0,1,2\nanchors=1,2,3,4,5,6\nclasses=80\nnum=3\n"
    network = network_of(conv(16, stride=2) + conv(255, 1) + yolo, image=(3, 16, 24))
    engine = NativeEngine(network, precision=precision, threads=2)
    images = images_for(network)
    check(network, engine, images)
    (first,) = engine(images)
    kept = first.clone()
    engine(images * 0)
    assert torch.equal(first, kept) and first.shape == (1, 3, 8, 12, 85)


@needs_kernels
def test_sizes() -> None:
    """Each size of images gets a plan of its own."""
    network = network_of(NETWORKS["csp"], image=(3, 26, 36))
    engine = NativeEngine(network, threads=2)
    for size in ((26, 36), (32, 64), (26, 36)):
        images = torch.rand(2, 3, *size)
        assert max(errors(engine(images), copy.deepcopy(network).double()(images.double()))) < 3 * EXACT


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("text", ["csp", "stem", "concatenated twice"])
def test_an_engine_that_owns_the_network_frees_its_weights(text: str, precision: str) -> None:
    """Outputs are the same at every size; weights that are packed keep their shape alone."""
    text = {"stem": "[reorg]\n" + conv(20) + conv(24)}.get(text) or NETWORKS[text]
    network = network_of(
        text, image=(3, 24, 36), dialect="yolor" if text.startswith("[reorg]") else "darknet"
    )
    plain = NativeEngine(copy.deepcopy(network), precision=precision, threads=1)
    owner = NativeEngine(network, precision=precision, threads=1, releases=True)
    for size in ((24, 36), (32, 64), (24, 36)):
        images = torch.rand(1, 3, *size)
        for one, wanted in zip(owner(images), plain(images), strict=True):
            assert one.shape == wanted.shape and torch.allclose(one, wanted, rtol=1e-4, atol=1e-5)
    weights = [module.weight for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert any(weight.untyped_storage().nbytes() == 4 < weight.numel() for weight in weights)


@needs_kernels
def test_recurrent_in_torch() -> None:
    """A network that remembers runs as it is, and a note says so."""
    network = network_of(
        conv(8) + "[crnn]\noutput=3\nhidden=5\nsize=1\nactivation=leaky\nbatch_normalize=1\n", image=(3, 8, 8)
    )
    engine = NativeEngine(network)
    assert engine.notes == ("runs in torch: it is recurrent",)
    images = images_for(network)
    first = engine(images)
    network.reset()
    assert torch.equal(first[0], network(images)[0])


@needs_kernels
def test_profile() -> None:
    """The time and the multiplications of each operation."""
    network = network_of(conv(16) + conv(32, stride=2), image=(3, 16, 16))
    times = NativeEngine(network, threads=1).profile(images_for(network))
    assert [one.label for one in times] == ["image", "conv 3x3/1", "conv 3x3/2"]
    assert [one.macs for one in times] == [0, 16 * 27 * 256, 32 * 144 * 64]
    assert all(one.seconds > 0 for one in times)


def test_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the message says what to do."""
    monkeypatch.setattr(binding, "kernels_path", lambda: None)
    binding.load_library.cache_clear()
    binding.instruction_sets.cache_clear()
    with pytest.raises(NativeError, match="was not built: install a C\\+\\+ compiler"):
        NativeEngine(network_of(conv(4), image=(3, 8, 8)))


@needs_kernels
def test_wrong_arguments() -> None:
    """Precisions and instruction sets that there are not."""
    network = network_of(conv(4), image=(3, 8, 8))
    with pytest.raises(NativeError, match="no such precision"):
        NativeEngine(network, precision="fp8")
    with pytest.raises(NativeError, match="lacks these instructions"):
        NativeEngine(network, instructions="neon")


@needs_kernels
@pytest.mark.parametrize("name", NETWORKS)
def test_each_step(name: str) -> None:
    """Each step of a plan, from the inputs that it really gets."""
    network = network_of(NETWORKS[name], image=(3, 26, 36))
    found = list(step_errors(NativeEngine(network, threads=2), images_for(network, 2)))
    assert len(found) >= 5 and max(one.error for one in found) < EXACT


@needs_kernels
def test_results_do_not_depend_on_the_sizes_before() -> None:
    """How a convolution is computed is decided for the size of the cfg, not for the first images."""
    text = conv(48, stride=2) + conv(64, stride=2) + conv(64) + conv(96) + conv(64)
    sizes, network = ((16, 20), (160, 224)), network_of(text, image=(3, 64, 96))
    plain = NativeEngine(copy.deepcopy(network), threads=1)
    ways = []
    for size in sizes:
        plain(torch.rand(1, 3, *size))
        ways.append([(op.kind, op.tile) for op in list(plain._plans.values())[-1].ops])
    assert ways[0] != ways[1]  # by the size alone they would be computed in other ways
    images = torch.rand(1, 3, *sizes[1])
    first, later = (NativeEngine(copy.deepcopy(network), threads=1, releases=True) for _ in range(2))
    later(torch.rand(1, 3, *sizes[0]))
    assert all(map(torch.equal, first(images), later(images)))


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
def test_heads_that_fuse_maps(precision: str) -> None:
    """[yolo] from=: each head reads the maps of all, here of three sizes and with boxes of the own one."""
    head = "[yolo]\nfrom={}\nclasses=2\nnum=3\nmask={}\nanchors=8,8, 16,16, 32,32\n"
    filters = 1 * (5 + 2) + 3
    text = conv(16, stride=2)
    for _ in range(3):
        text += conv(24, stride=2) + f"[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n"
        text += "[route]\nlayers=-2\n"
    maps = "2,5,8"
    for number, place in enumerate((8, 5, 2)):
        text += f"[route]\nlayers={place}\n" + head.format(maps, number)
    network = network_of(text, image=(3, 64, 96), dialect="ultralytics")
    engine = NativeEngine(network, precision=precision, threads=1)
    for size in ((64, 96), (96, 64)):
        check(network, engine, torch.rand(2, 3, *size))
