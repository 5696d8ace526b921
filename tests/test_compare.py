"""`yolor compare`: the first layer that differs and its cause, each proved by putting that very fault in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.analysis.compare.causes import Diagnosis, FaultFinder, diagnose
from yolor_cfg.analysis.compare.compare import (
    ABSENT,
    DIFFERS,
    EQUAL,
    INHERITS,
    NetworkComparison,
    compare_layers,
)
from yolor_cfg.analysis.compare.hypothesis import LayerCase
from yolor_cfg.analysis.compare.layers import LayerRun, measure
from yolor_cfg.analysis.compare.operations import _pool
from yolor_cfg.analysis.compare.picture import draw_picture, fit_picture, other_fits
from yolor_cfg.analysis.compare.rounding import _beyond
from yolor_cfg.analysis.compare.sources import (
    array_values,
    engine_values,
    network_values,
    read_arrays,
)
from yolor_cfg.analysis.compare.values import OtherValues, run_guarded
from yolor_cfg.errors import DataError, MissingExtra, WeightsError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.pooling import max_pool2d_zero_pad
from yolor_cfg.rewrite.equality import seed_tensors
from yolor_cfg.weights.layout import file_layout

CFG = """[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=mish
[maxpool]
size=2
stride=1
[shortcut]
from=-2
activation=linear
[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
activation=swish
[upsample]
stride=2
[route]
layers=-1,3
[reorg]
stride=2
[route]
layers=-1
groups=2
group_id=1
[convolutional]
filters=16
size=1
activation=linear
[yolo]
mask=0,1
num=4
classes=3
anchors=4,5, 7,9, 12,9, 20,20
scale_x_y=1.1
[route]
layers=8
[convolutional]
filters=16
size=1
activation=logistic
[yolo]
mask=2,3
num=4
classes=3
anchors=4,5, 7,9, 12,9, 20,20
scale_x_y=2
new_coords=1
"""

CONV0, CONV1, POOL, CONV4, UPSAMPLE, ROUTE, REORG, GROUP, CONV9, HEAD, HEAD2 = (
    0,
    1,
    2,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    13,
)


def graph_of(text: str = CFG, *, dialect: str = "darknet", eps: float | None = None) -> Graph:
    return build_graph(parse(text, "small.cfg"), ReadOptions(dialect, bn_eps=eps))


def network_of(text: str = CFG, *, dialect: str = "darknet", eps: float | None = None) -> Network:
    """The network of a text with the same seeded weights, whatever is read otherwise."""
    source = Network(graph_of()).eval()
    with torch.no_grad():
        seed_tensors(source, torch.Generator().manual_seed(0))
    network = Network(graph_of(text, dialect=dialect, eps=eps)).eval()
    network.load_state_dict(source.state_dict())
    return network


def changed(change: Callable[[dict[str, Tensor]], object]) -> Network:
    """The network with other tensors."""
    network = network_of()
    with torch.no_grad():
        change({name.removeprefix("module_list."): one for name, one in network.state_dict().items()})
    return network


def images_of(network: Network) -> Tensor:
    return fit_picture(draw_picture(network), network.graph, "stretch")


def compared(other: Network | OtherValues) -> tuple[NetworkComparison, Diagnosis | None]:
    """The plain network beside another one or its values."""
    network = network_of()
    form = other.head_form if isinstance(other, OtherValues) else "boxes"
    run = LayerRun(network, images_of(network), form)
    values = (
        network_values(run, other, title="other", tolerance=1e-4, find_value=FaultFinder(run, 1e-4, {}))
        if isinstance(other, Network)
        else other
    )
    found = compare_layers(run, values)
    return found, next(iter(diagnose(run, found, {})), None)


def told(other: Network | OtherValues) -> tuple[int, str, str]:
    """The first layer that differs, the name of the best cause and its text; empty if none explains it."""
    found, why = compared(other)
    assert found.first is not None and why is not None
    best = why.causes[0] if why.causes else None
    return found.first.node.index, best.name if best else "", best.text if best else ""


def exchange(tensors: dict[str, Tensor], one: str, other: str) -> None:
    kept = tensors[one].clone()
    tensors[one].copy_(tensors[other])
    tensors[other].copy_(kept)


def shift(first: int, by: int) -> Network:
    """The network whose tensors from a layer on are read so many numbers behind their place."""
    network = network_of()
    state, slots = network.state_dict(), file_layout(network.graph)
    flat = torch.cat([state[slot.name].reshape(-1) for slot in slots])
    read = torch.cat([flat[by:], flat[:by]])
    with torch.no_grad():
        for slot in slots:
            if slot.index >= first:
                state[slot.name].copy_(read[slot.offset : slot.end].reshape(state[slot.name].shape))
    return network


def test_equal_networks_are_equal() -> None:
    found, why = compared(network_of())
    assert found.is_equal and why is None
    assert {one.verdict for one in found.layers} == {EQUAL}


@pytest.mark.parametrize("eps", [1e-3, 1e-4])
def test_another_epsilon_is_named_and_explains_every_layer(eps: float) -> None:
    found, why = compared(network_of(eps=eps))
    assert found.first is not None and found.first.node.index == CONV0
    assert why and why.causes[0].name == "batch norm epsilon"
    assert f"epsilon {eps:g} inside the root, here 1e-05" in why.causes[0].text
    assert len(why.explained) == len(found.differing) == 3


def test_an_epsilon_beside_the_root_is_named() -> None:
    first, name, text = told(network_of(dialect="pjreddie"))
    assert (first, name) == (CONV0, "batch norm epsilon") and "1e-06 beside the root" in text


EDITS = {
    "mish for swish": ("activation=mish", "activation=swish", CONV1, "activation", "activation swish"),
    "relu for leaky": ("activation=leaky", "activation=relu", CONV0, "activation", "activation relu"),
    "route order": ("layers=-1,3", "layers=3,-1", ROUTE, "route order", "#3, #5"),
    "the first group": ("group_id=1", "group_id=0", GROUP, "route group", "group 0"),
    "spread": ("scale_x_y=1.1", "scale_x_y=1.05", HEAD, "scale_x_y", "1.05, here 1.1"),
    "new_coords": ("\nnew_coords=1", "", HEAD2, "new_coords", "new_coords=0"),
    "anchors": ("mask=0,1", "mask=2,3", HEAD, "anchors", "mask=2,3"),
    "average for maximum": ("[maxpool]", "[local_avgpool]", POOL, "pooling kind", "mean"),
    "reorg3d": ("[reorg]", "[reorg3d]", REORG, "reorg order", "reorg_order=rows"),
}


@pytest.mark.parametrize("name", EDITS)
def test_another_line_in_the_cfg_is_named(name: str) -> None:
    old, new, first, cause, text = EDITS[name]
    assert CFG.count(old) >= 1
    other = network_of(CFG.replace(old, new, 1))
    run = LayerRun(other, images_of(other))
    assert told(OtherValues("other", run.values()))[:2] == (first, cause)
    assert text in told(OtherValues("other", run.values()))[2]


TENSORS: dict[str, tuple[Callable[[], Network], int, str, str]] = {
    "statistics exchanged": (
        lambda: changed(lambda t: exchange(t, "0.BatchNorm2d.running_mean", "0.BatchNorm2d.running_var")),
        CONV0,
        "batch norm statistics",
        "mean and variance exchanged",
    ),
    "statistics absent": (
        lambda: changed(
            lambda t: (t["4.BatchNorm2d.running_mean"].zero_(), t["4.BatchNorm2d.running_var"].fill_(1))
        ),
        CONV4,
        "batch norm statistics",
        "no running statistics",
    ),
    "scales and biases exchanged": (
        lambda: changed(lambda t: exchange(t, "1.BatchNorm2d.weight", "1.BatchNorm2d.bias")),
        CONV1,
        "batch norm statistics",
        "scales and biases of batch norm exchanged",
    ),
    "kernels turned": (
        lambda: changed(lambda t: t["1.Conv2d.weight"].copy_(t["1.Conv2d.weight"].flip(2, 3))),
        CONV1,
        "kernel order",
        "turned by 180 degrees",
    ),
    "no bias": (lambda: changed(lambda t: t["9.Conv2d.bias"].zero_()), CONV9, "bias", "no biases"),
    "header of 20 bytes read as 16": (
        lambda: shift(0, -1),
        CONV0,
        "file header",
        "16 bytes where the file has 20",
    ),
    "header of 16 bytes read as 20": (
        lambda: shift(0, 1),
        CONV0,
        "file header",
        "20 bytes where the file has 16",
    ),
    "biases of a layer missing": (lambda: shift(CONV4, -8), CONV4, "shifted weights", "8 numbers before"),
    "float16 weights": (
        lambda: changed(lambda t: t["4.Conv2d.weight"].copy_(t["4.Conv2d.weight"].half().float())),
        CONV4,
        "half precision",
        "kernels rounded to float16",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_were_read_otherwise_are_named(name: str) -> None:
    make, first, cause, text = TENSORS[name]
    found = told(make())
    assert found[:2] == (first, cause) and text in found[2], found


def test_8_bit_kernels_are_named() -> None:
    def to_8_bits(tensors: dict[str, Tensor]) -> None:
        for filters in tensors["9.Conv2d.weight"]:
            step = filters.abs().max() / 127
            filters.copy_((filters / step).round() * step)

    assert told(changed(to_8_bits)) == (CONV9, "quantisation", "kernels of 8 bits, a scale for each filter")


def test_few_coarse_levels_are_no_8_bits() -> None:
    values = LayerRun(network_of(), images_of(network_of())).values()
    coarse = {index: (4 * value).round() / 4 for index, value in values.items() if index == CONV0}
    found, why = compared(OtherValues("other", coarse))
    assert not found.is_equal and why is not None and why.causes == ()


@pytest.mark.parametrize("bits", [16, 8])
def test_values_of_fewer_bits_are_named(bits: int) -> None:
    value = LayerRun(network_of(), images_of(network_of())).values()[CONV0]
    step = value.abs().max() / 127
    short = value.half().float() if bits == 16 else (value / step).round() * step
    cause = (
        ("half precision", "values rounded to float16")
        if bits == 16
        else ("quantisation", "values of at most 256 levels")
    )
    found, why = compared(OtherValues("other", {CONV0: short}))
    assert why and (why.causes[0].name, why.causes[0].text) == cause


def test_a_fault_of_its_own_kind_is_unexplained() -> None:
    noise = 1 + 0.2 * torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(5))
    found, why = compared(changed(lambda tensors: tensors["1.Conv2d.weight"].mul_(noise)))
    assert found.first is not None and found.first.node.index == CONV1
    assert why and why.causes == () and why.tried > 50


def test_two_faults_at_once_are_unexplained_and_not_half_explained() -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["1.Conv2d.weight"].copy_(tensors["1.Conv2d.weight"].flip(2, 3))
        exchange(tensors, "1.BatchNorm2d.weight", "1.BatchNorm2d.bias")

    found, why = compared(changed(spoil))
    assert found.first is not None and found.first.node.index == CONV1
    assert why and why.causes == ()


def test_layers_behind_a_fault_only_inherit_it() -> None:
    found, _ = compared(changed(lambda tensors: tensors["4.Conv2d.weight"].mul_(1.5)))
    assert [one.verdict for one in found.layers] == [EQUAL] * 4 + [DIFFERS] + [INHERITS] * 9


def test_the_cause_of_small_differences_that_add_up_is_named() -> None:
    network = network_of()
    run = LayerRun(network, images_of(network))
    other = network_values(
        run, network_of(eps=2e-5), title="other", tolerance=1e-4, find_value=FaultFinder(run, 1e-4, {})
    )
    measured = [one for one in compare_layers(run, other, 0.0).layers if one.own and one.difference]
    own = max(one.own.largest for one in measured if one.own)
    whole = max(one.difference.largest for one in measured if one.difference)
    assert whole > 1.2 * own
    found = compare_layers(run, other, (own + whole) / 2)
    assert found.first is not None and found.first.verdict == INHERITS and found.differing == ()
    assert found.telling is not None and found.telling.own is not None and found.telling.own.largest == own


def test_values_that_are_not_known_are_passed_over() -> None:
    values = LayerRun(network_of(), images_of(network_of())).values()
    found, _ = compared(OtherValues("other", {HEAD2: values[HEAD2]}))
    assert found.is_equal and [one.verdict for one in found.layers] == [ABSENT] * 13 + [EQUAL]


def test_a_fault_is_found_in_a_layer_whose_value_is_not_known() -> None:
    other = changed(lambda tensors: tensors["4.Conv2d.weight"].copy_(tensors["4.Conv2d.weight"].flip(2, 3)))
    values = LayerRun(other, images_of(other)).values()
    found, why = compared(
        OtherValues("other", {index: one for index, one in values.items() if index not in (4, 5)})
    )
    assert found.first is not None and found.first.node.index == ROUTE
    assert why and (why.node.index, why.causes[0].name) == (CONV4, "kernel order")


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_our_engines_are_equal_and_bfloat16_is_named(engine: str) -> None:
    network = network_of()
    run = LayerRun(network, images_of(network))
    assert compare_layers(run, engine_values(run, engine, "fp32")).is_equal
    found = compare_layers(run, engine_values(run, engine, "bf16"))
    why = diagnose(run, found, {})[0]
    assert why and why.causes[0].text == "values rounded to bfloat16"


PICTURE = tiny.photo(40, 50)
FITS: dict[str, tuple[Callable[[Graph], Tensor], str]] = {
    "letterbox": (lambda graph: fit_picture(PICTURE, graph, "letterbox"), "in C Darknet's letterbox"),
    "yolor": (lambda graph: other_fits(PICTURE, graph)["in YOLOR's letterbox"], "in YOLOR's letterbox"),
    "opencv": (
        lambda graph: other_fits(PICTURE, graph)["stretched by OpenCV, bilinear"],
        "by OpenCV, bilinear",
    ),
    "bgr": (lambda graph: fit_picture(PICTURE, graph, "stretch").flip(1), "BGR"),
    "0..255": (lambda graph: 255 * fit_picture(PICTURE, graph, "stretch"), "in 0..255"),
    "bgr in 0..255": (lambda graph: 255 * fit_picture(PICTURE, graph, "stretch").flip(1), "BGR, in 0..255"),
    "mean": (
        lambda graph: (
            fit_picture(PICTURE, graph, "stretch") - torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        ),
        "less the mean of ImageNet",
    ),
    "-1..1": (lambda graph: 2 * fit_picture(PICTURE, graph, "stretch") - 1, "in -1..1"),
}


@pytest.mark.parametrize("name", FITS)
def test_other_preprocessing_is_named(name: str, tmp_path: Path) -> None:
    fit, text = FITS[name]
    network = network_of()
    run = LayerRun(network, fit_picture(PICTURE, network.graph, "stretch"), "darknet")
    there = LayerRun(network_of(), fit(network.graph), "darknet").values()
    np.savez(tmp_path / "values.npz", **{f"layer_{index}": value.numpy() for index, value in there.items()})
    other = array_values(run, read_arrays(str(tmp_path / "values.npz")), "values.npz")
    found = compare_layers(run, other)
    why = diagnose(run, found, other_fits(PICTURE, network.graph))[0]
    assert found.first is not None and found.first.node.index == CONV0
    assert why and why.causes[0].name == "preprocessing"
    assert why.causes[0].text == f"the input {text}" or text in why.causes[0].text


def test_infinite_values_are_equal_on_both_sides_alone() -> None:
    ours = torch.tensor([1.0, float("inf")])
    assert measure(ours, ours.clone()).largest == 0
    assert measure(ours, torch.tensor([1.0, 2.0])).largest == float("inf")
    assert measure(ours, torch.tensor([1.0])).largest == float("inf")


def test_windows_that_start_elsewhere_are_named() -> None:
    other = network_of()
    conv = other.module_list[CONV4].Conv2d
    conv.padding = (0, 0)  # as TensorFlow pads an even map at stride 2: behind it alone
    conv.register_forward_pre_hook(lambda _, given: (F.pad(given[0], (0, 1, 0, 1)),))
    assert told(other) == (CONV4, "convolution padding", "padding 0 before the map, here 1")


def test_a_second_cause_in_a_later_layer_is_told_too() -> None:
    network = network_of()
    run = LayerRun(network, images_of(network))
    other = network_of(CFG.replace("scale_x_y=1.1", "scale_x_y=1.2"), eps=1e-3)
    found = compare_layers(run, OtherValues("other", LayerRun(other, images_of(other)).values()))
    told_of = [(one.node.index, one.causes[0].name, len(one.explained)) for one in diagnose(run, found, {})]
    assert told_of == [(CONV0, "batch norm epsilon", 3), (HEAD, "scale_x_y", 1)]


def test_faults_of_other_libraries_become_messages() -> None:
    def fail() -> None:
        raise ValueError("first line\nsecond line")

    def miss() -> None:
        raise ImportError("no such module")

    with pytest.raises(WeightsError, match="cannot be run") as caught:
        run_guarded(fail, "cannot be run")
    assert caught.value.found == "first line"
    with pytest.raises(MissingExtra):
        run_guarded(miss, "cannot be run")


def test_zeros_beyond_the_border_of_a_pool_are_named() -> None:
    other = network_of()
    other.module_list[POOL].function = max_pool2d_zero_pad
    first, name, text = told(other)
    assert (first, name) == (POOL, "pooling padding") and "of zeros before the map" in text


def test_what_rounding_does_not_explain_is_left_of_a_difference() -> None:
    ours = torch.tensor([2.0, -1.0, 0.5, 0.5])
    theirs = ours + torch.tensor([0.5, -0.25, 0.1, 0.0])
    largest, mean = _beyond(ours, theirs, 0.2)
    assert largest == pytest.approx(0.3 / 2) and mean == pytest.approx((0.3 + 0.05) / 4 / 1)
    zeros = torch.zeros(3)
    assert _beyond(zeros, zeros, 0.1) == (0, 0) and _beyond(zeros, zeros + 1, 0.25) == (0.75, 0.75)
    infinite = torch.tensor([float("inf"), 1.0])
    assert _beyond(infinite, infinite, 0.1) == (0, 0)


def test_a_damaged_file_of_values_is_one_message(tmp_path: Path) -> None:
    """A byte changed here and there, the end cut off, and another kind of file by that name."""
    place = tmp_path / "values.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(place, layer_0=rng.random((1, 8, 20, 20)))
    whole = place.read_bytes()
    messages = set()
    for number in range(300):
        data = bytearray(whole[: int(rng.integers(len(whole)))] if number % 3 == 0 else whole)
        for at in rng.integers(len(data), size=3) if data else ():
            data[at] = rng.integers(256)
        place.write_bytes(data)
        try:
            read_arrays(str(place))
        except DataError as fault:
            messages.add(fault.message)
    assert messages == {"not a .npz file of NumPy"}
    with place.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="not a .npz file") as caught:
        read_arrays(str(place))
    assert caught.value.found == "a single array (.npy)"


@pytest.mark.parametrize("before", [0, 1, 2])
def test_windows_that_start_elsewhere_are_as_many_on_a_map_that_is_not_square(before: int) -> None:
    text = "[net]\nheight=7\nwidth=10\nchannels=2\n[maxpool]\nsize=3\nstride=2\n"
    network = Network(build_graph(parse(text)))
    images = torch.rand(1, 2, 7, 10)
    (node,) = network.graph.nodes
    found = _pool(LayerCase(LayerRun(network, images), node, [images]), F.max_pool2d, before=before, fill=0.0)
    assert found.shape == (1, *node.shape)
    rows, columns = (range(2 * n - before, 2 * n - before + 3) for n in (1, 3))
    shown = images[0, :, [y for y in rows if 0 <= y < 7]][:, :, [x for x in columns if 0 <= x < 10]]
    assert torch.equal(found[0, :, 1, 3], shown.amax(dim=(1, 2)))
