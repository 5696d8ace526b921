"""Sections with kernels against loops over their formulas. N images, C channels, H W cells, k kernel side."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse, parse_bytes
from yolor_cfg.model import Network
from yolor_cfg.sections import NetSection

NET = "[net]\nwidth=9\nheight=7\nchannels=4\n"
YOLOR = NET + "dialect=yolor\n"


def graph_of(text: str, net: str = NET) -> Graph:
    return build_graph(parse_bytes((net + text).encode(), "test.cfg"))


def network_of(text: str, net: str = NET) -> Network:
    """The network in float64 with random tensors; variances lie between 0.5 and 1.5."""
    network = Network(graph_of(text, net)).double().eval()
    generator = torch.Generator().manual_seed(7)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.5
            tensor.uniform_(low, low + 1, generator=generator)
    return network


def image(channels: int = 4, height: int = 7, width: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, channels, height, width, dtype=torch.float64, generator=generator)


def last(network: Network, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(x)[-1].numpy()


def arrays(network: Network, index: int = -1) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.module_list[index].state_dict().items()}


def outputs(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return np.ndindex(*shape)


def correlated(x, weight, *, strides=(1, 1), pad=0, dilation=1, groups=1, outside=0.0) -> np.ndarray:
    """The sum of products in each window; x [N, C, H, W], weight [filters, C / groups, k, k]."""
    filters, channels, k, _ = weight.shape
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=outside)
    reach = dilation * (k - 1) + 1
    height, width = (x.shape[2] - reach) // strides[0] + 1, (x.shape[3] - reach) // strides[1] + 1
    y = np.zeros((x.shape[0], filters, height, width))
    for n, f, i, j in outputs(y.shape):
        top, left, first = i * strides[0], j * strides[1], f // (filters // groups) * channels
        window = x[n, first : first + channels, top : top + reach : dilation, left : left + reach : dilation]
        y[n, f, i, j] = (window * weight[f]).sum()
    return y


def each(vector: np.ndarray) -> np.ndarray:
    return vector[:, None, None]


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.1 * x)


@pytest.mark.parametrize(
    ("keys", "how"),
    [
        ("size=3\npad=1", {"pad": 1}),
        ("size=3\npadding=2", {"pad": 2}),
        ("size=3\npad=1\npadding=2", {"pad": 1}),
        ("size=4\npad=1", {"pad": 2}),
        ("size=1\npadding=1", {"pad": 1}),
        ("size=2\nstride=3", {"strides": (3, 3)}),
        ("size=3\nstride_x=2\nstride_y=3", {"strides": (3, 2)}),
        ("size=3\nstride=2\nstride_x=1", {"strides": (2, 1)}),
        ("size=3\nstride=2\nstride_x=0", {"strides": (2, 2)}),
        ("size=3\ngroups=2", {"groups": 2}),
        ("size=3\ngroups=4\npad=1", {"groups": 4, "pad": 1}),
        ("size=3\npad=1\ndilation=2", {"pad": 2, "dilation": 2}),
        ("size=2\npadding=1\ndilation=3", {"pad": 3, "dilation": 3}),
        ("size=1\npadding=1\ndilation=3", {"pad": 1}),
    ],
)
def test_a_convolution_is_the_sum_of_products_in_its_window(keys: str, how: dict) -> None:
    network, x = network_of(f"[convolutional]\nfilters=8\nactivation=leaky\n{keys}"), image()
    got, own = last(network, x), arrays(network)
    expected = leaky(correlated(x.numpy(), own["Conv2d.weight"], **how) + each(own["Conv2d.bias"]))
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert got.shape[1:] == network.graph.nodes[0].shape


@pytest.mark.parametrize(("net", "eps"), [(NET, 1e-5), (YOLOR, 1e-4), (NET + "bn_eps=0.01\n", 0.01)])
@pytest.mark.parametrize("key", ["batch_normalize", "cbn"])
def test_batch_norm_adds_the_epsilon_of_the_dialect_under_the_root(net: str, eps: float, key: str) -> None:
    network = network_of(f"[convolutional]\nfilters=3\nsize=1\nactivation=linear\n{key}=1", net)
    norm = network.module_list[0].BatchNorm2d
    norm.running_var.mul_(1e-4)
    own, x = arrays(network), image()
    scale = own["BatchNorm2d.weight"] / np.sqrt(own["BatchNorm2d.running_var"] + eps)
    raw = correlated(x.numpy(), own["Conv2d.weight"])
    expected = (raw - each(own["BatchNorm2d.running_mean"])) * each(scale) + each(own["BatchNorm2d.bias"])
    np.testing.assert_allclose(last(network, x), expected, atol=1e-9)
    assert "Conv2d.bias" not in own


@pytest.mark.parametrize(("net", "momentum"), [(NET, 0.1), (YOLOR, 0.03)])
def test_running_means_follow_at_the_pace_of_the_dialect(net: str, momentum: float) -> None:
    text = "[convolutional]\nfilters=3\nsize=1\nactivation=linear\nbatch_normalize=1"
    network = network_of(text, net).train()
    before, x = arrays(network)["BatchNorm2d.running_mean"].copy(), image()
    raw = correlated(x.numpy(), arrays(network)["Conv2d.weight"])
    network(x)
    after = arrays(network)["BatchNorm2d.running_mean"]
    np.testing.assert_allclose(after, (1 - momentum) * before + momentum * raw.mean((0, 2, 3)), atol=1e-12)


def test_with_and_without_gradients_a_block_gives_the_same_and_keeps_its_input() -> None:
    network, x = network_of("[convolutional]\nfilters=3\nsize=3\nbatch_normalize=1\nactivation=mish"), image()
    kept = x.clone()
    np.testing.assert_allclose(last(network, x), network(x)[0].detach().numpy(), atol=1e-12)
    assert torch.equal(x, kept)


def test_a_convolution_without_keys_has_one_filter_of_one_pixel_and_the_logistic_function() -> None:
    network, x = network_of("[convolutional]\npad=0"), image()
    own = arrays(network)
    raw = correlated(x.numpy(), own["Conv2d.weight"]) + own["Conv2d.bias"]
    assert own["Conv2d.weight"].shape == (1, 4, 1, 1)
    np.testing.assert_allclose(last(network, x), 1 / (1 + np.exp(-raw)), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "kernel", "zeros"), [(1, np.outer([1, 2, 1], [1, 2, 1]) / 16, 1), (2, np.ones((2, 2)) / 4, 0)]
)
def test_antialiasing_moves_by_one_and_then_blurs_each_channel_with_the_stride(kind, kernel, zeros) -> None:
    keys = f"filters=3\nsize=3\npad=1\nstride_x=2\nstride_y=3\nactivation=leaky\nantialiasing={kind}"
    network, x = network_of(f"[convolutional]\n{keys}"), image()
    own = arrays(network)
    sharp = leaky(correlated(x.numpy(), own["Conv2d.weight"], pad=1) + each(own["Conv2d.bias"]))
    blur = np.stack([kernel[None]] * 3)
    expected = correlated(sharp, blur, strides=(3, 2), pad=zeros, groups=3)
    np.testing.assert_allclose(last(network, x), expected, atol=1e-12)
    node = network.graph.nodes[0]
    assert expected.shape[1:] == node.shape
    # The blur multiplies by no weight.
    assert node.section.macs(node.shape, *node.inputs) == (3 * 4 * 9) * (7 * 9)


@pytest.mark.parametrize("bin_output", [0, 1])
def test_xnor_is_a_convolution_of_signs_with_minus_one_outside(bin_output: int) -> None:
    keys = "filters=5\nsize=3\npad=1\nstride=2\nxnor=1\nbatch_normalize=1\nactivation=leaky"
    network, x = network_of(f"[convolutional]\n{keys}\nbin_output={bin_output}"), image()
    own = arrays(network)
    # C Darknet folds the batch norm first and takes signs and mean sizes of what comes out.
    scale = own["BatchNorm2d.weight"] / np.sqrt(own["BatchNorm2d.running_var"] + 1e-5)
    folded = own["Conv2d.weight"] * scale[:, None, None, None]
    binary = np.where(folded > 0, 1, -1) * np.abs(folded).mean((1, 2, 3), keepdims=True)
    raw = correlated(np.where(x.numpy() > 0, 1, -1), binary, strides=(2, 2), pad=1, outside=-1.0)
    raw += each(own["BatchNorm2d.bias"] - own["BatchNorm2d.running_mean"] * scale)
    np.testing.assert_allclose(last(network, x), raw if bin_output else leaky(raw), atol=1e-12)


def test_xnor_counts_a_thirty_second_of_the_operations_and_one_group() -> None:
    graph = graph_of("[convolutional]\nfilters=8\nsize=3\npad=1\nxnor=1\ngroups=2")
    node = graph.nodes[0]
    assert node.section.bflops(node.shape, *node.inputs) == 2 * (8 * 4 * 9) * (7 * 9) / 1e9 / 32
    assert [str(warning.key) for warning in graph.warnings] == ["groups"]


def test_xnor_learns_weights_fully_and_inputs_between_minus_one_and_one() -> None:
    network = network_of("[convolutional]\nfilters=2\nxnor=1\nactivation=linear")
    conv, x = network.module_list[0].Conv2d, image().requires_grad_()
    network(x)[0].sum().backward()
    sign_sums = np.where(x.detach().numpy() > 0, 1, -1).sum((0, 2, 3))
    np.testing.assert_allclose(conv.weight.grad[0].flatten().numpy(), sign_sums, atol=1e-12)
    assert torch.equal(x.grad == 0, x.detach().abs() > 1)


SHARED = "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"


def test_a_borrower_computes_with_the_lenders_tensors_and_its_own_stride_and_activation() -> None:
    text = SHARED + SHARED.replace("leaky", "linear") + "stride=2\n"
    shared = network_of(f"{text}share_index=-1")
    twin = network_of(text)
    twin.module_list[1].load_state_dict(shared.module_list[0].state_dict())
    twin.module_list[0].load_state_dict(shared.module_list[0].state_dict())
    np.testing.assert_allclose(last(shared, image()), last(twin, image()), atol=1e-12)
    assert not shared.module_list[1].state_dict()
    assert shared.graph.nodes[1].section.tensors(*shared.graph.nodes[1].inputs) == []
    assert len(list(shared.parameters())) == 3


def test_a_lender_learns_from_its_borrower() -> None:
    network = network_of(f"{SHARED}{SHARED}share_index=0\n[dropout]\n")
    lender, borrower = network.module_list[:2]
    borrower(image()).sum().backward()
    assert lender.Conv2d.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SHARED.replace("size=3", "size=1") + SHARED + "share_index=-1", "weight 4x4x1x1"),
        ("[convolutional]\nfilters=4\nsize=3\n" + SHARED + "share_index=-1", "bias 4, weight 4x4x3x3"),
        (SHARED + SHARED + "share_index=0\n" + SHARED + "share_index=1", "none"),
        ("[maxpool]\nsize=2\nstride=1\n" + SHARED + "share_index=0", "none"),
    ],
)
def test_tensors_that_do_not_fit_cannot_be_borrowed(text: str, found: str) -> None:
    with pytest.raises(CfgError, match="tensors of that section do not fit") as fault:
        graph_of(text)
    assert fault.value.key == "share_index"
    assert fault.value.found.endswith(found)
    assert fault.value.allowed.endswith("weight 4x4x3x3")


def test_a_section_cannot_borrow_from_one_that_comes_later() -> None:
    with pytest.raises(CfgError, match="no such section before"):
        graph_of(SHARED + "share_index=1\n" + SHARED)


def test_flipped_marks_the_weights_alone() -> None:
    node = graph_of("[convolutional]\nfilters=3\nsize=3\nflipped=1\nbatch_normalize=1").nodes[0]
    assert [tensor.role for tensor in node.section.tensors(*node.inputs) if tensor.flipped] == ["weight"]


@pytest.mark.parametrize(
    ("filters", "sizes", "shares"), [(20, "3,5", [15, 5]), (28, "3,5,7", [18, 7, 3]), (32, "1,3", [29, 3])]
)
def test_kernel_sizes_share_the_filters_so_that_each_has_as_many_weights(filters, sizes, shares) -> None:
    graph = graph_of(f"[convolutional]\nfilters={filters}\nsize={sizes}\nbatch_normalize=1", YOLOR)
    section, inputs = graph.nodes[0].section, graph.nodes[0].inputs
    weights = [tensor for tensor in section.tensors(*inputs) if tensor.role == "weight"]
    assert [tensor.shape[0] for tensor in weights] == shares
    # The same from the linear system: all shares times their areas equal, their sum the filters.
    areas = np.array([int(size) ** 2 for size in sizes.split(",")], float)
    system = np.vstack([np.ones(len(areas)), np.diag(areas) - np.roll(np.diag(areas), 1, axis=0)])
    solution = np.linalg.lstsq(system, np.array([filters] + [0] * len(areas), float), rcond=None)[0]
    assert solution.round().astype(int).tolist() == shares


def test_kernels_of_several_sizes_stand_side_by_side_in_the_output() -> None:
    network = network_of("[convolutional]\nfilters=20\nsize=3,5\nstride=2\nactivation=leaky", YOLOR)
    own, x = arrays(network), image()
    parts = [
        correlated(x.numpy(), own[f"MixConv2d.m.{k}.weight"], strides=(2, 2), pad=k + 1)
        + each(own[f"MixConv2d.m.{k}.bias"])
        for k in range(2)
    ]
    np.testing.assert_allclose(last(network, x), leaky(np.concatenate(parts, axis=1)), atol=1e-12)
    stored = network.graph.nodes[0].section.tensors(*network.graph.nodes[0].inputs)
    assert [tensor.role for tensor in stored] == ["bias", "bias", "weight", "weight"]


@pytest.mark.parametrize(
    ("keys", "key", "hint"),
    [
        ("filters=7\nsize=3,5,7", "filters", "8 can be divided"),
        ("filters=20\nsize=3,4", "size", ""),
        ("filters=20\nsize=3,5\ngroups=2", "groups", ""),
        ("filters=20\nsize=0", "size", ""),
        ("size=3", "filters", "number of filters"),
    ],
)
def test_what_a_list_of_sizes_cannot_do_is_an_error_at_its_key(keys: str, key: str, hint: str) -> None:
    with pytest.raises(CfgError) as fault:
        graph_of(f"[convolutional]\n{keys}", YOLOR)
    assert fault.value.key == key
    assert fault.value.hint == hint


def test_the_number_of_filters_that_is_hinted_at_can_be_shared() -> None:
    with pytest.raises(CfgError) as fault:
        graph_of("[convolutional]\nfilters=2\nsize=3,5,7", YOLOR)
    number, words = fault.value.hint.split(maxsplit=1)
    assert words == "can be divided"
    graph_of(f"[convolutional]\nfilters={number}\nsize=3,5,7", YOLOR)


def test_c_darknet_reads_the_first_of_several_sizes() -> None:
    graph = graph_of("[convolutional]\nfilters=20\nsize=3,5\npadding=1")
    assert graph.nodes[0].section.tensors(*graph.nodes[0].inputs)[-1].shape == (20, 4, 3, 3)
    assert [warning.key for warning in graph.warnings] == ["size"]


def test_focus_takes_even_even_odd_even_even_odd_odd_odd_pixels_row_first() -> None:
    net = "[net]\nwidth=10\nheight=6\nchannels=4\n"
    network = network_of("[focus]\nfilters=5\nsize=3\npad=1\nactivation=linear", net)
    own, x = arrays(network), image(height=6, width=10)
    pixels = x.numpy()
    parts = [pixels[..., dy::2, dx::2] for dy, dx in ((0, 0), (1, 0), (0, 1), (1, 1))]
    cells = np.concatenate(parts, axis=1)
    expected = correlated(cells, own["Conv2d.weight"], pad=1) + each(own["Conv2d.bias"])
    np.testing.assert_allclose(last(network, x), expected, atol=1e-12)


def test_focus_needs_even_sides() -> None:
    with pytest.raises(CfgError, match="width and height must be even"):
        graph_of("[focus]\nfilters=5", YOLOR)


def interpolated(plane: np.ndarray, row: float, column: float) -> float:
    """The value between the pixels of a padded plane [H + 2, W + 2]: corners and place are kept inside it."""
    bottom, right = plane.shape[0] - 1, plane.shape[1] - 1
    top, left = np.floor(row), np.floor(column)
    rows, columns = np.clip([top, top + 1], 0, bottom), np.clip([left, left + 1], 0, right)
    row, column = np.clip(row, 0, bottom), np.clip(column, 0, right)
    down = [1 + rows[0] - row, 1 - (rows[1] - row)]
    across = [1 + columns[0] - column, 1 - (columns[1] - column)]
    corners = np.ix_(rows.astype(int), columns.astype(int))
    return (np.outer(down, across) * plane[corners]).sum()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_deformable_convolution_looks_where_its_offsets_say(stride: int) -> None:
    text = f"[deformableconvolutional]\nfilters=3\nsize=3\nstride={stride}\npad=1\nactivation=linear"
    network, x = network_of(text, YOLOR), image()
    own, pixels = arrays(network), image().numpy()
    small = {
        name: correlated(pixels, own[f"DeformConv2d.{name}.weight"], strides=(stride, stride), pad=1)
        + each(own[f"DeformConv2d.{name}.bias"])
        for name in ("p_conv", "m_conv")
    }
    offsets, amounts = small["p_conv"], 1 / (1 + np.exp(-small["m_conv"]))
    padded = np.pad(pixels, [(0, 0), (0, 0), (1, 1), (1, 1)])
    expected = np.zeros((2, 3, *offsets.shape[2:]))
    for n, i, j, element in outputs((2, *offsets.shape[2:], 9)):
        row = 1 + stride * i + element // 3 - 1 + offsets[n, element, i, j]
        column = 1 + stride * j + element % 3 - 1 + offsets[n, 9 + element, i, j]
        seen = np.array([interpolated(plane, row, column) for plane in padded[n]]) * amounts[n, element, i, j]
        expected[n, :, i, j] += own["DeformConv2d.conv.weight"][:, :, element // 3, element % 3] @ seen
    np.testing.assert_allclose(last(network, x), expected + each(own["DeformConv2d.conv.bias"]), atol=1e-10)


@pytest.mark.parametrize(("size", "pad"), [(3, 1), (2, 1), (5, 2)])
def test_undeformed_it_is_half_a_centred_convolution(size: int, pad: int) -> None:
    text = f"[deformableconvolutional]\nfilters=3\nsize={size}\nactivation=linear"
    network, x = network_of(text, YOLOR), image()
    for name, tensor in network.module_list[0].named_parameters():
        if "p_conv" in name or "m_conv" in name:
            tensor.data.zero_()
    own = arrays(network)
    whole = correlated(x.numpy(), own["DeformConv2d.conv.weight"], pad=pad)[:, :, :7, :9]
    np.testing.assert_allclose(last(network, x), whole / 2 + each(own["DeformConv2d.conv.bias"]), atol=1e-12)


def test_a_connected_section_reads_channel_by_channel_and_stores_its_norm_after_the_weights() -> None:
    network, x = network_of("[connected]\noutput=5\nbatch_normalize=1\nactivation=leaky"), image()
    own = {name.partition(".")[2]: value for name, value in arrays(network).items() if "BatchNorm" in name}
    raw = x.numpy().reshape(2, -1) @ arrays(network)["Linear.weight"].T
    raw = (raw - own["running_mean"]) / np.sqrt(own["running_var"] + 1e-5) * own["weight"] + own["bias"]
    np.testing.assert_allclose(last(network, x)[:, :, 0, 0], leaky(raw), atol=1e-12)
    stored = network.graph.nodes[0].section.tensors(*network.graph.nodes[0].inputs)
    assert [tensor.role for tensor in stored] == ["bias", "weight", "scale", "mean", "variance"]
    assert [tensor.role for tensor in stored if tensor.transposable] == ["weight"]


@pytest.mark.parametrize(("size", "stride", "pad"), [(3, 2, 1), (3, 1, 0), (2, 3, 0), (5, 2, 2)])
def test_a_local_section_has_kernels_and_biases_for_each_place(size: int, stride: int, pad: int) -> None:
    keys = f"filters=3\nsize={size}\nstride={stride}\npad={pad}\nactivation=linear"
    network, x = network_of(f"[local]\n{keys}"), image()
    own = arrays(network)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    got = last(network, x)
    assert got.shape[1:] == own["bias"].shape == network.graph.nodes[0].shape
    for n, f, i, j in outputs(got.shape):
        window = padded[n, :, i * stride : i * stride + size, j * stride : j * stride + size]
        expected = (window * own["weight"][i * got.shape[3] + j, f]).sum() + own["bias"][f, i, j]
        np.testing.assert_allclose(got[n, f, i, j], expected, atol=1e-12)


def test_a_padding_for_which_darknet_announces_another_size_than_it_fills_is_an_error() -> None:
    with pytest.raises(CfgError, match="does not match size") as fault:
        graph_of("[local]\nsize=5\npad=1")
    assert fault.value.allowed == "0, 2"


@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
def test_local_response_normalisation_keeps_the_running_sum_that_c_darknet_keeps(size: int) -> None:
    text = f"[lrn]\nalpha=0.02\nbeta=0.6\nkappa=1.5\nsize={size}"
    x = image(channels=6)
    got = last(network_of(text, NET.replace("channels=4", "channels=6")), x)
    squares = x.numpy() ** 2
    total = 1.5 + 0.02 * squares[:, : size // 2].sum(1)
    for channel in range(6):
        leaves, enters = channel - (size - 1) // 2 - 1, channel + size // 2
        if channel and leaves >= 0:
            total = total - 0.02 * squares[:, leaves]
        if channel and enters < 6:
            total = total + 0.02 * squares[:, enters]
        np.testing.assert_allclose(got[:, channel], x.numpy()[:, channel] * total**-0.6, atol=1e-12)


@pytest.mark.parametrize(("header", "net", "eps"), [("batchnorm", NET, 1e-5), ("BatchNorm2d", YOLOR, 1e-4)])
def test_a_batch_norm_by_itself_has_its_tensors_right_below_the_section(header, net, eps) -> None:
    network, x = network_of(f"[{header}]", net), image()
    own = arrays(network)
    scale = own["weight"] / np.sqrt(own["running_var"] + eps)
    expected = (x.numpy() - each(own["running_mean"])) * each(scale) + each(own["bias"])
    np.testing.assert_allclose(last(network, x), expected, atol=1e-12)
    stored = network.graph.nodes[0].section.tensors(*network.graph.nodes[0].inputs)
    assert [tensor.name for tensor in stored] == ["bias", "weight", "running_mean", "running_var"]


@pytest.mark.parametrize(
    ("keys", "key"),
    [("filters=6\ngroups=4", "groups"), ("filters=16\ngroups=16", "groups"), ("size=0", "size")],
)
def test_groups_divide_filters_and_channels_and_kernels_have_pixels(keys: str, key: str) -> None:
    with pytest.raises(CfgError) as fault:
        graph_of(f"[convolutional]\n{keys}")
    assert fault.value.key == key


def test_what_only_the_gpu_code_of_c_darknet_does_is_told_and_left_out() -> None:
    graph = graph_of("[convolutional]\nsize=3\nrotate=1\nassisted_excitation=1")
    assert [warning.key for warning in graph.warnings] == ["rotate"]


def test_keys_of_net_have_the_defaults_of_c_darknet() -> None:
    net = graph_of("[convolutional]\nfilters=1").net
    assert (net.learning_rate, net.momentum, net.decay) == (0.001, 0.9, 1e-4)
    assert (net.power, net.policy) == (4, "constant")
    assert (net.max_crop, net.min_crop, net.flip, net.batch, net.adam) == (18, 9, True, 1, False)
    assert (net.B1, net.B2, net.eps) == (0.9, 0.999, 1e-6)
    assert (net.angle, net.saturation, net.max_chart_loss) == (0, 1, 20)


def test_every_key_that_files_have_in_net_is_known(shared) -> None:
    used = set()
    for path in (shared / "corpus" / "cfg").glob("*.cfg"):
        found = re.match(r"[^\[]*\[net(?:work)?\]([^\[]*)", path.read_text(errors="replace"))
        used |= set(re.findall(r"^\s*([A-Za-z]\w*)\s*=", found.group(1), re.MULTILINE)) if found else set()
    assert len(used) > 50
    assert used - set(NetSection.keys) - set(NetSection.ignored_keys) == set()


def test_channels_that_groups_do_not_divide_are_left_out_as_in_c_darknet():
    text = "[net]\nwidth=4\nheight=4\nchannels=7\n[convolutional]\nfilters=6\ngroups=3\nactivation=linear"
    graph = build_graph(parse(text), ReadOptions(dialect="darknet"))
    network, x = Network(graph), torch.randn(2, 7, 4, 4)
    conv = network.module_list[0].Conv2d
    assert conv.weight.shape == (6, 2, 1, 1)
    torch.testing.assert_close(network(x)[0], F.conv2d(x[:, :6], conv.weight, conv.bias, groups=3))
    assert "the last ones are not read" in str(graph.warnings[0])
