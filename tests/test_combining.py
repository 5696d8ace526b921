"""Several values into one, against formulas written out. Legend: N images, C channels, H W cells."""

import numpy as np
import pytest
import torch
from small import applied, graph_of, last_node, network_of, numbers

from yolor_cfg.errors import CfgError, CfgFaults
from yolor_cfg.model import Network
from yolor_cfg.shape import Shape

CONV = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"
TWO = CONV.format(4) + CONV.format(6)
THREE = CONV.format(4) * 3


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.1 * x)


def module_of(text: str, dialect: str = "darknet") -> torch.nn.Module:
    node = last_node(text, dialect=dialect)
    return node.section.module(*node.inputs).double().eval()


def weighted(text: str, weights: np.ndarray, *inputs, dialect: str = "darknet") -> np.ndarray:
    """What a shortcut with these weights computes."""
    module = module_of(text, dialect)
    with torch.no_grad():
        module.w.copy_(torch.from_numpy(weights))
        return module(*(torch.from_numpy(x) for x in inputs)).numpy()


def applied_to(text: str, *inputs: np.ndarray, dialect: str = "darknet") -> np.ndarray:
    """As `applied`, for inputs that are not the image."""
    with torch.no_grad():
        return module_of(text, dialect)(*(torch.from_numpy(x) for x in inputs)).numpy()


def test_route_concatenates_in_the_order_written():
    a, b = numbers(2, 6, 6, 8), numbers(2, 4, 6, 8, seed=1)
    np.testing.assert_array_equal(applied_to(TWO + "[route]\nlayers=-1,0", a, b), np.concatenate([a, b], 1))
    assert last_node(TWO + "[route]\nlayers=-1,0").sources == (1, 0)


@pytest.mark.parametrize("group", [0, 1])
def test_route_takes_one_group_of_each_source(group):
    a, b = numbers(2, 4, 6, 8), numbers(2, 6, 6, 8, seed=1)
    want = np.concatenate([a[:, 2 * group : 2 * group + 2], b[:, 3 * group : 3 * group + 3]], 1)
    got = applied_to(TWO + f"[route]\nlayers=0,1\ngroups=2\ngroup_id={group}", a, b)
    np.testing.assert_array_equal(got, want)


def test_a_route_to_one_whole_section_hands_it_on():
    x = torch.ones(1, 6, 6, 8)
    assert module_of(TWO + "[route]\nlayers=1")(x) is x
    assert last_node(TWO + "[route]\nlayers=1").section.is_alias
    assert not last_node(TWO + "[route]\nlayers=1\ngroups=2").section.is_alias
    assert not last_node(TWO + "[route]\nlayers=0,1").section.is_alias


def test_a_route_spreads_a_value_of_one_image_over_the_others():
    z, x = numbers(1, 4, 1, 1), numbers(3, 6, 1, 1)
    text = "[implicit_cat]\nfilters=4\n[route]\nlayers=0\n" + CONV.format(6) + "[route]\nlayers=0,2"
    want = np.concatenate([np.repeat(z, 3, axis=0), x], 1)
    np.testing.assert_array_equal(applied_to(text, z, x, dialect="yolor"), want)


def test_route_lhalf_takes_the_first_half_of_each_source():
    a, b = numbers(2, 6, 6, 8), numbers(2, 5, 6, 8, seed=1)
    text = CONV.format(6) + CONV.format(5) + "[route_lhalf]\nlayers=0,1"
    want = np.concatenate([a[:, :3], b[:, :2]], 1)
    np.testing.assert_array_equal(applied_to(text, a, b, dialect="yolor"), want)
    assert last_node(text, dialect="yolor").shape == Shape(5, 6, 8)


@pytest.mark.parametrize("kind, learning", [("route2", (True, False)), ("route3", (True, False, False))])
def test_no_gradient_flows_into_the_later_sources_of(kind, learning):
    text = THREE + f"[{kind}]\nlayers=" + ",".join(str(i) for i in range(len(learning)))
    inputs = [torch.randn(2, 4, 6, 8, dtype=torch.float64, requires_grad=True) for _ in learning]
    out = module_of(text, "yolor")(*inputs)
    assert torch.equal(out, torch.cat(inputs, 1))
    out.square().sum().backward()
    assert tuple(x.grad is not None for x in inputs) == learning


@pytest.mark.parametrize(
    "text, message",
    [
        ("[route]\nlayers=0\ngroups=2\ngroup_id=2", "group_id: out of bounds"),
        ("[route]\ngroups=2", "layers: missing key"),
        ("[route]\nlayers=0\ngroups=3", "groups: does not divide the channels"),
        ("[route]\nlayers=2", "layers: points outside the sections before this one"),
        ("[shortcut]\nactivation=linear", "from: missing key"),
        ("[sam]\nfrom=-2,0", "from: takes one section"),
        ("[sam]\nfrom=0", "from: channel counts differ"),
        ("[scale_channels]\nfrom=0", "from: the previous section does not have the shape of a scale"),
    ],
)
def test_keys_that_do_not_fit_are_named(text, message):
    with pytest.raises(CfgError, match=message):
        graph_of(TWO + text)


def test_route2_takes_two_sections_and_route3_three():
    for kind, count in (("route2", 2), ("route3", 3)):
        with pytest.raises(CfgError, match="layers: the wrong number of sections") as told:
            graph_of(THREE + f"[{kind}]\nlayers=-1", dialect="yolor")
        assert (told.value.found, told.value.allowed) == ("1", str(count))


@pytest.mark.parametrize("kind, key", [("route", "layers=0,1"), ("shortcut", "from=0"), ("sam", "from=0")])
def test_inputs_of_different_size_are_named_with_their_sections(kind, key):
    text = CONV.format(4) + "[maxpool]\nsize=3\nstride=3\npadding=1\n" + f"[{kind}]\n{key}"
    section = last_node(text.replace("stride=3", "stride=1").replace("padding=1", "padding=2")).section
    shapes = [Shape(4, 2, 3), Shape(4, 6, 8)]
    with pytest.raises(CfgError) as told:
        section.check_map(*reversed(shapes)) if kind == "route" else section.shape(*shapes)
    who = {"route": "#0 is 6x8, #1 is 2x3"}.get(kind, "#1 is 2x3, #0 is 6x8")
    assert (told.value.message, told.value.hint) == ("inputs differ in size", who)


def test_a_shortcut_adds_every_second_pixel_of_a_map_twice_as_large():
    x, large = numbers(2, 4, 3, 4), numbers(2, 4, 6, 8, seed=1)
    text = CONV.format(4) + "[maxpool]\nsize=2\nstride=2\n[shortcut]\nfrom=0"
    graph = graph_of(text)
    assert graph.nodes[-1].shape == Shape(4, 3, 4)
    assert [warning.message[:22] for warning in graph.warnings] == ["inputs differ in size:"]
    want = x.copy()
    for i, j in np.ndindex(3, 4):
        want[:, :, i, j] += large[:, :, 2 * i, 2 * j]
    np.testing.assert_allclose(applied_to(text, x, large), want)
    with pytest.raises(CfgError, match="inputs differ in size"):
        graph_of(text, dialect="yolor")


def test_shortcut_adds_all_sources_then_activates():
    inputs = [numbers(2, 4, 6, 8, seed=seed) for seed in range(3)]
    got = applied_to(THREE + "[shortcut]\nfrom=-2,0\nactivation=leaky", *inputs)
    np.testing.assert_allclose(got, leaky(sum(inputs)), atol=1e-12)


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_a_shortcut_has_the_channels_of_its_input(dialect):
    four, six = numbers(2, 4, 6, 8), numbers(2, 6, 6, 8, seed=1)
    want = six.copy()
    want[:, :4] += four
    np.testing.assert_array_equal(applied_to(TWO + "[shortcut]\nfrom=0", six, four, dialect=dialect), want)
    swapped = CONV.format(6) + CONV.format(4) + "[shortcut]\nfrom=0"
    np.testing.assert_array_equal(applied_to(swapped, four, six, dialect=dialect), four + six[:, :4])


def relu_shares(w: np.ndarray) -> np.ndarray:
    return np.maximum(w, 0) / (1e-4 + np.maximum(w, 0).sum(0))


def softmax_shares(w: np.ndarray) -> np.ndarray:
    e = np.exp(w - w.max(0))
    return e / (1e-4 + e.sum(0))


@pytest.mark.parametrize("kind, size", [("per_feature", (3,)), ("per_layer", (3,)), ("per_channel", (3, 4))])
@pytest.mark.parametrize("norm", ["relu", "avg_relu", "softmax"])
def test_a_weighted_shortcut_adds_shares_of_its_sources(kind, size, norm):
    inputs = [numbers(2, 4, 6, 8, seed=seed) for seed in range(3)]
    weights = numbers(*size, seed=5)
    text = THREE + f"[shortcut]\nfrom=-2,0\nweights_type={kind}\nweights_normalization={norm}\n"
    text += "activation=leaky"
    shares = softmax_shares if norm == "softmax" else relu_shares
    parts = shares(weights).reshape(3, -1, 1, 1)
    want = leaky(sum(part * x for part, x in zip(parts, inputs, strict=True)))
    np.testing.assert_allclose(weighted(text, weights, *inputs), want, atol=1e-12)
    assert [tensor.shape for tensor in last_node(text).section.tensors(*last_node(text).inputs)] == [size]


def test_a_weighted_source_with_fewer_channels_uses_the_first_weights():
    six, four, weights = numbers(2, 6, 6, 8), numbers(2, 4, 6, 8, seed=1), numbers(2, 6, seed=2)
    text = TWO + "[shortcut]\nfrom=0\nweights_type=per_channel\nweights_normalization=softmax"
    parts = softmax_shares(weights)[:, :, None, None]
    want = parts[0] * six
    want[:, :4] += parts[1, :4] * four
    np.testing.assert_allclose(weighted(text, weights, six, four), want, atol=1e-12)


def test_darknets_fusion_weights_start_at_1_and_yolors_at_0_which_is_the_mean():
    text = THREE + "[shortcut]\nfrom=-2,0\nweights_type=per_feature\nweights_normalization=relu"
    assert module_of(text).w.tolist() == [1, 1, 1]
    assert module_of(text, "yolor").w.tolist() == [0, 0, 0]
    inputs = [numbers(2, 4, 6, 8, seed=seed) for seed in range(3)]
    np.testing.assert_allclose(applied_to(text, *inputs, dialect="yolor"), sum(inputs) / 3, atol=1e-12)


def test_yolors_weighted_shortcut_takes_twice_the_mean_of_the_sigmoids():
    inputs = [numbers(2, 4, 6, 8, seed=seed) for seed in range(3)]
    weights = numbers(3, seed=4)
    shares = 1 / (1 + np.exp(-weights)) * 2 / 3
    want = sum(share * x for share, x in zip(shares, inputs, strict=True))
    text = THREE + "[shortcut]\nfrom=-2,0\nweights_type=per_feature\nactivation=linear"
    np.testing.assert_allclose(weighted(text, weights, *inputs, dialect="yolor"), want, atol=1e-12)


def test_yolor_passes_over_the_activation_of_a_shortcut_and_says_so():
    a, b = numbers(2, 4, 6, 8), numbers(2, 4, 6, 8, seed=1)
    text = THREE + "[shortcut]\nfrom=0\nactivation=leaky"
    np.testing.assert_array_equal(applied_to(text, a, b, dialect="yolor"), a + b)
    warnings = graph_of(text, dialect="yolor").warnings
    assert [(warning.key, warning.found) for warning in warnings] == [("activation", "leaky")]


def test_weights_without_their_normalization_are_refused_in_darknet():
    with pytest.raises(CfgError, match="weights_normalization: missing key") as told:
        graph_of(THREE + "[shortcut]\nfrom=0\nweights_type=per_feature")
    assert told.value.allowed == "relu, softmax"


def test_all_faults_of_the_keys_are_told_together():
    with pytest.raises(CfgFaults, match="2 faults") as told:
        graph_of(THREE + "[shortcut]\nactivation=leaky\n[route]\nlayers=0\ngroup_id=1")
    assert [fault.key for fault in told.value.faults] == ["from", "group_id"]


def test_a_shortcut_costs_an_addition_for_each_source_and_twice_that_when_weighted():
    plain = last_node(THREE + "[shortcut]\nfrom=-2,0")
    heavy = last_node(THREE + "[shortcut]\nfrom=-2,0\nweights_type=per_feature\nweights_normalization=relu")
    assert plain.section.bflops(plain.shape, *plain.inputs) == pytest.approx(2 * 4 * 6 * 8 / 1e9)
    assert heavy.section.bflops(heavy.shape, *heavy.inputs) == pytest.approx(4 * 4 * 6 * 8 / 1e9)


@pytest.mark.parametrize("activation", ["linear", "leaky", "mish", "relu6"])
@pytest.mark.parametrize("kind", ["shortcut", "sam"])
@pytest.mark.parametrize("learning", [False, True])
def test_no_input_is_written_into(kind, activation, learning):
    inputs = [torch.randn(2, 4, 6, 8, dtype=torch.float64) for _ in range(2)]
    copies = [x.clone() for x in inputs]
    with torch.set_grad_enabled(learning):
        module_of(THREE + f"[{kind}]\nfrom=0\nactivation={activation}")(*inputs)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))


def test_sam_is_the_elementwise_product_then_the_activation():
    a, b = numbers(2, 4, 6, 8), numbers(2, 4, 6, 8, seed=1)
    text = THREE + "[sam]\nfrom=0\nactivation=leaky"
    np.testing.assert_allclose(applied_to(text, a, b), leaky(a * b))
    np.testing.assert_allclose(applied_to(text, a, b, dialect="yolor"), a * b)


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_scale_channels_has_a_number_for_each_channel_of_the_map(dialect):
    scale, x = numbers(2, 4, 1, 1), numbers(2, 4, 6, 8, seed=1)
    text = CONV.format(4) + "[avgpool]\n[scale_channels]\nfrom=0"
    want = np.stack([[x[n, c] * scale[n, c, 0, 0] for c in range(4)] for n in range(2)])
    np.testing.assert_array_equal(applied_to(text, scale, x, dialect=dialect), want)
    assert last_node(text, dialect=dialect).shape == Shape(4, 6, 8)


def test_scale_channels_with_scale_wh_has_a_number_for_each_pixel():
    scale, x = numbers(2, 1, 6, 8), numbers(2, 4, 6, 8, seed=1)
    text = CONV.format(4) + CONV.format(1) + "[scale_channels]\nfrom=0\nscale_wh=1\nactivation=leaky"
    want = leaky(np.stack([x[:, c] * scale[:, 0] for c in range(4)], axis=1))
    np.testing.assert_array_equal(applied_to(text, scale, x), want)


@pytest.mark.parametrize("name", ["empty", "silence"])
def test_empty_hands_on_its_input(name):
    x = torch.ones(1, 4, 6, 8)
    node = last_node(f"[{name}]")
    assert node.section.module(*node.inputs)(x) is x
    assert node.section.is_alias and node.section.type == "empty"


def test_dropout_does_nothing_but_in_training():
    x = numbers(2, 4, 6, 8)
    np.testing.assert_array_equal(applied("[dropout]\nprobability=.5", x), x)
    node = last_node("[dropout]\nprobability=.25")
    torch.manual_seed(0)
    out = node.section.module(*node.inputs).train()(torch.ones(1, 4, 60, 80))
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0, 1 / 0.75])
    assert (out == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_shortcut_leaves_the_stored_value_of_its_input_alone():
    text = CONV.format(3) + CONV.format(5) + "[shortcut]\nfrom=0\n[route]\nlayers=1"
    network, x = network_of(text, dialect="yolor"), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        want = network.module_list[1](network.module_list[0](x))
        torch.testing.assert_close(network.trace(x, [3])[3], want)


# The source of the values: parse_route and parse_shortcut of C Darknet count commas, and atoi("") is 0.
@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("[route]\nlayers=-1,", (2, 0)),
        ("[route]\nlayers=-1, -2 ,", (2, 1, 0)),
        ("[route]\nlayers=1,,", (1, 0, 0)),
        ("[shortcut]\nfrom=-2,", (2, 1, 0)),
        ("[shortcut]\nfrom=-2,\nactivation=linear", (2, 1, 0)),
        ("[route]\nlayers=-1, # the last", (2, 0)),
    ],
)
def test_behind_a_comma_at_the_end_stands_section_0_as_in_c(text, sources):
    graph = graph_of("[convolutional]\nfilters=4\n" * 3 + text)
    assert graph.nodes[-1].sources == sources
    assert any("Darknet reads" in str(warning) for warning in graph.warnings)


def test_the_factor_of_a_product_is_one_number_also_with_a_comma():
    """parse_sam and parse_scale_channels of C Darknet read one number, whatever follows."""
    assert graph_of("[convolutional]\nfilters=4\n" * 2 + "[sam]\nfrom=0,").nodes[-1].sources == (1, 0)


def test_the_comma_is_named_where_section_0_does_not_fit():
    with pytest.raises(CfgError, match="a trailing comma is followed by a 0"):
        graph_of("[convolutional]\nfilters=4\n[maxpool]\nstride=2\n[route]\nlayers=-1,")


def test_yolors_reader_takes_no_comma_at_the_end():
    with pytest.raises(CfgError, match="a trailing comma"):
        graph_of("[convolutional]\nfilters=4\n[route]\nlayers=-1,", dialect="yolor")


JOINED = CONV.format(4) + "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=0,-1\ngroups={}\n"


@pytest.mark.parametrize("groups", [1, 2])
def test_a_route_of_different_sizes_is_one_vector(groups):
    # parse_route in parser.c leaves it without height and width; forward_route_layer joins the numbers.
    text = JOINED.format(groups) + f"group_id={groups - 1}"
    x, small = numbers(2, 4, 6, 8), numbers(2, 4, 3, 4, seed=1)
    route = graph_of(text + "\n[connected]").nodes[2]
    assert tuple(route.shape) == (4 * (48 + 12) // groups, 1, 1)
    kept = 4 - 4 // groups
    want = np.concatenate([x[:, kept % 4 :].reshape(2, -1), small[:, kept % 4 :].reshape(2, -1)], axis=1)
    got = route.section.module(*route.inputs)(torch.from_numpy(x), torch.from_numpy(small))
    np.testing.assert_array_equal(got[..., 0, 0], want)


@pytest.mark.parametrize(
    "reader", ["[connected]\noutput=5", "[dropout]\n[softmax]", "[lstm]\noutput=3", "[cost]"]
)
def test_what_needs_no_map_reads_a_route_of_different_sizes(reader):
    graph = graph_of(JOINED.format(1) + reader)
    assert [warning.key for warning in graph.warnings] == ["layers"]
    assert Network(graph)(torch.zeros(1, *graph.image))[0].isfinite().all()


@pytest.mark.parametrize(
    "reader",
    ["", "[convolutional]", "[dropout]\n[avgpool]", "[route]\nlayers=-1,0\n[maxpool]", "[batchnorm]"],
)
def test_what_needs_a_map_refuses_a_route_of_different_sizes(reader):
    # parser.c: "Layer before convolutional layer must output image."
    with pytest.raises(CfgError) as told:
        graph_of(JOINED.format(1) + reader)
    assert told.value.message == "inputs differ in size" and told.value.section == "route"
