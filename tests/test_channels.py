"""Implicit knowledge and what a map does with it, against formulas written out."""

import numpy as np
import pytest
import torch
from small import graph_of, last_node, network_of, numbers

from yolor_cfg.errors import CfgError
from yolor_cfg.shape import Shape

VECTOR = "[implicit_add]\nfilters={}\n"
MATRIX = "[implicit_add_2d]\natoms={}\nfilters={}\n"
MAP = "[convolutional]\nfilters=6\nactivation=linear\n"


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def spread(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(z, (len(x), z.shape[1], *x.shape[2:]))


FORMULAS = {
    "shift_channels": lambda x, z: x + spread(z, x),
    "control_channels": lambda x, z: x * spread(z, x),
    "select_channels": lambda x, z: x * spread(sigmoid(z), x),
    "alternate_channels": lambda x, z: np.concatenate([spread(z, x), x], axis=1),
}


def computed(text: str, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """What the last section makes of the map x and the vector z."""
    node = last_node(text, dialect="yolor")
    module = node.section.module(*node.inputs)
    out = module(torch.from_numpy(x), torch.from_numpy(z)).numpy()
    assert out.shape == (len(x), *node.shape)
    return out


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("images", [1, 3])
def test_a_map_is_combined_with_one_number_a_channel(kind, images):
    x, z = numbers(3, 6, 6, 8), numbers(images, 6, 1, 1, seed=1)
    text = MAP + VECTOR.format(6) + f"[route]\nlayers=0\n[{kind}]\nfrom=1"
    np.testing.assert_allclose(computed(text, x, z), FORMULAS[kind](x, z), atol=1e-12)


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("images", [1, 3])
def test_the_2d_form_reads_a_matrix_as_a_vector(kind, images):
    x, z = numbers(3, 6, 6, 8), numbers(images, 2, 3, 1, seed=1)
    text = MAP + MATRIX.format(2, 3) + f"[route]\nlayers=0\n[{kind}_2d]\nfrom=1"
    want = FORMULAS[kind](x, z.reshape(images, 6, 1, 1))
    np.testing.assert_allclose(computed(text, x, z), want, atol=1e-12)


@pytest.mark.parametrize("kind", FORMULAS)
def test_z_may_be_computed_from_a_map_or_be_one(kind):
    x, z = numbers(3, 6, 6, 8), numbers(3, 6, 6, 8, seed=1)
    text = MAP + MAP + f"[{kind}]\nfrom=0"
    np.testing.assert_allclose(computed(text, x, z), FORMULAS[kind](x, z), atol=1e-12)


def test_alternate_channels_may_add_another_number_of_channels():
    text = MAP + VECTOR.format(4) + "[route]\nlayers=0\n[alternate_channels]\nfrom=1"
    assert last_node(text, dialect="yolor").shape == Shape(10, 6, 8)


@pytest.mark.parametrize("kind", sorted(set(FORMULAS) - {"alternate_channels"}))
@pytest.mark.parametrize("source, form", [(VECTOR.format(5), ""), (MATRIX.format(5, 1), "_2d")])
def test_both_channel_counts_are_named_when_they_differ(kind, source, form):
    with pytest.raises(CfgError, match="channel counts differ") as told:
        graph_of(MAP + source + f"[route]\nlayers=0\n[{kind}{form}]\nfrom=1", dialect="yolor")
    assert (told.value.key, told.value.found, told.value.allowed) == (
        "from",
        "5 in z, 6 in the feature map",
        "6",
    )


def test_a_z_of_another_size_than_the_map_is_refused():
    text = MAP + "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=0\n[shift_channels]\nfrom=1"
    with pytest.raises(CfgError, match="inputs differ in size") as told:
        graph_of(text, dialect="yolor")
    assert (told.value.found, told.value.allowed) == ("3x4", "1x1, 6x8")


@pytest.mark.parametrize("kind", FORMULAS)
def test_channels_need_one_source(kind):
    for keys, message in (("", "from: missing key"), ("from=0,1", "from: takes one section")):
        with pytest.raises(CfgError, match=message):
            graph_of(MAP + MAP + f"[{kind}]\n{keys}", dialect="yolor")


STARTS = {"add": (0.0, 0.02), "mul": (1.0, 0.02), "cat": (0.0, 0.02)}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize(
    "form, keys, shape", [("", "filters=4000", (4000, 1, 1)), ("_2d", "atoms=40\nfilters=100", (40, 100, 1))]
)
def test_yolors_implicit_starts_normally_distributed(kind, form, keys, shape):
    torch.manual_seed(0)
    node = last_node(f"[implicit_{kind}{form}]\n{keys}", dialect="yolor")
    z = node.section.module().implicit
    assert (node.shape, node.sources, tuple(z.shape)) == (Shape(*shape), (), (1, *shape))
    mean, std = STARTS[kind]
    # 4000 numbers: the mean is known to 0.0003 and the spread to 0.0002 (one standard deviation each).
    assert z.mean().item() == pytest.approx(mean, abs=0.0015)
    assert z.std().item() == pytest.approx(std, abs=0.001)
    assert node.section.decayed() == ()


def test_mean_and_std_of_an_implicit_may_be_given():
    torch.manual_seed(0)
    z = last_node("[implicit_mul]\nfilters=4000\nmean=3\nstd=.5", dialect="yolor").section.module().implicit
    assert (z.mean().item(), z.std().item()) == pytest.approx((3, 0.5), abs=0.04)


def test_darknets_implicit_starts_evenly_spread_around_its_mean():
    torch.manual_seed(0)
    node = last_node("[implicit]\nfilters=500\natoms=8\nmean=2\nstd=.3")
    z = node.section.module(*node.inputs).implicit
    assert (node.shape, tuple(z.shape)) == (Shape(500, 8, 1), (1, 500, 8, 1))
    assert 1.7 <= z.min().item() < 1.71 and 2.29 < z.max().item() <= 2.3
    assert z.std().item() == pytest.approx(0.3 / 3**0.5, abs=0.01)
    assert node.section.decayed() == ("implicit",)


def test_darknets_implicit_has_128_filters_of_one_atom_and_lies_within_a_fifth_of_0():
    node = last_node("[implicit]")
    z = node.section.module(*node.inputs).implicit
    assert node.shape == Shape(128, 1, 1) and z.abs().max().item() <= 0.2


def test_an_implicit_needs_its_size():
    for kind, keys in (("implicit_add", ["filters"]), ("implicit_cat_2d", ["atoms", "filters"])):
        with pytest.raises(CfgError) as told:
            graph_of(f"[{kind}]", dialect="yolor")
        assert [fault.key for fault in getattr(told.value, "faults", [told.value])] == keys


def test_darknets_implicit_is_stored_once_for_each_image():
    network = network_of("[implicit]\nfilters=3\natoms=2")
    with torch.no_grad():
        value = network.trace(torch.zeros(5, 4, 6, 8, dtype=torch.float64), [0])[0]
    z = network.module_list[0].implicit
    assert tuple(value.shape) == (5, 3, 2, 1) and all(torch.equal(image, z[0]) for image in value)


def test_darknets_control_of_channels_is_an_implicit_scale():
    text = MAP + "[implicit]\nfilters=6\nmean=1\n[scale_channels]\nfrom=0"
    network, x = network_of(text), torch.randn(3, 4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        values = network.trace(x, [0, 2])
    z = network.module_list[1].implicit.detach()
    np.testing.assert_allclose(values[2], values[0] * z, atol=1e-12)


def test_what_an_implicit_returns_is_not_the_learned_tensor():
    for text, dialect, inputs in (
        ("[implicit_add]\nfilters=4", "yolor", ()),
        ("[implicit]\nfilters=4", "darknet", (torch.zeros(1, 4, 6, 8),)),
    ):
        node = last_node(text, dialect=dialect)
        module = node.section.module(*node.inputs)
        kept = module.implicit.detach().clone()
        with torch.no_grad():
            module(*inputs).add_(1)
        assert torch.equal(module.implicit, kept)


def test_a_convolution_may_mix_the_atoms_of_an_implicit():
    text = MAP + MATRIX.format(3, 6) + "[convolutional]\nfilters=1\nactivation=linear\n"
    text += "[route]\nlayers=0\n[shift_channels_2d]\nfrom=2"
    network, x = network_of(text, dialect="yolor"), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        values = network.trace(x, [0, 4])
    conv, z = network.module_list[2].Conv2d, network.module_list[1].implicit
    mixed = (z[0, :, :, 0] * conv.weight[0, :, 0]).sum(0) + conv.bias  # [6]
    np.testing.assert_allclose(values[4], values[0] + mixed.detach()[:, None, None], atol=1e-12)


def test_the_gradient_of_a_shift_is_the_sum_over_images_and_cells():
    text = MAP + VECTOR.format(6) + "[route]\nlayers=0\n[shift_channels]\nfrom=1"
    network, x = network_of(text, dialect="yolor"), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    (out,) = network(x)
    pull = torch.randn_like(out)
    (out * pull).sum().backward()
    gradient = network.module_list[1].implicit.grad[0, :, 0, 0]
    np.testing.assert_allclose(gradient, pull.sum((0, 2, 3)), atol=1e-12)


# One box of each anchor: x y w h, objectness, 3 classes; two anchors in the map.
BOXES = "[convolutional]\nfilters=16\nactivation=linear\n"
PARTS = {"xy": [0, 1], "wh": [2, 3], "obj": [4], "classes": [5, 6, 7]}
NEUTRAL = {"shift_channels": 0.0, "control_channels": 1.0, "select_channels": np.inf}


@pytest.mark.parametrize("form", ["", "_2d"])
@pytest.mark.parametrize("kind", NEUTRAL)
@pytest.mark.parametrize("part", PARTS)
def test_only_some_values_of_each_anchor_are_changed(part, kind, form):
    which = np.concatenate([np.array(PARTS[part]), 8 + np.array(PARTS[part])])
    x, z = numbers(3, 16, 6, 8), numbers(1, len(which), 1, 1, seed=1)
    text = BOXES + VECTOR.format(len(which)) + "[route]\nlayers=0\n"
    text += f"[{kind}{form}]\nfrom=1\nanchors=2\nonly={part}"
    full = np.full((1, 16, 1, 1), NEUTRAL[kind])
    full[:, which] = z
    np.testing.assert_allclose(computed(text, x, z), FORMULAS[kind](x, full), atol=1e-12)
    rest = np.setdiff1d(np.arange(16), which)
    np.testing.assert_array_equal(computed(text, x, z)[:, rest], x[:, rest])


def test_of_a_vector_for_all_channels_only_the_part_counts():
    x, z = numbers(3, 16, 6, 8), numbers(1, 16, 1, 1, seed=1)
    text = BOXES + VECTOR.format(16) + "[route]\nlayers=0\n[control_channels]\nfrom=1\nanchors=2\nonly=wh"
    want = x.copy()
    for channel in (2, 3, 10, 11):
        want[:, channel] *= z[0, channel]
    np.testing.assert_allclose(computed(text, x, z), want, atol=1e-12)


@pytest.mark.parametrize("kind", NEUTRAL)
def test_a_group_is_an_anchors_share_of_the_channels(kind):
    x, z = numbers(3, 6, 6, 8), numbers(1, 3, 1, 1, seed=1)
    text = MAP + VECTOR.format(3) + f"[route]\nlayers=0\n[{kind}]\nfrom=1\ngroup=anchors"
    np.testing.assert_allclose(computed(text, x, z), FORMULAS[kind](x, z.repeat(2, axis=1)), atol=1e-12)


def test_channels_that_cannot_be_shared_out_evenly_go_to_the_nearest_anchor():
    x, z = numbers(1, 16, 6, 8), numbers(1, 3, 1, 1, seed=1)
    text = BOXES + VECTOR.format(3) + "[route]\nlayers=0\n[control_channels]\nfrom=1\ngroup=anchors"
    want = x * z[:, [channel * 3 // 16 for channel in range(16)]]
    np.testing.assert_allclose(computed(text, x, z), want, atol=1e-12)


def test_one_number_an_anchor_may_be_for_its_sizes_alone():
    x, z = numbers(2, 16, 6, 8), numbers(1, 2, 1, 1, seed=1)
    text = BOXES + VECTOR.format(2) + "[route]\nlayers=0\n"
    text += "[control_channels]\nfrom=1\nanchors=2\nonly=wh\ngroup=anchors"
    want = x.copy()
    want[:, 2:4] *= z[0, 0]
    want[:, 10:12] *= z[0, 1]
    np.testing.assert_allclose(computed(text, x, z), want, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "filters", "key", "message"),
    [
        ("only=wh\nanchors=2", 5, "from", "channel counts differ"),
        ("only=wh\nanchors=5", 6, "only", "the channels do not match this number of anchors"),
        ("only=wh\nanchors=4", 8, "only", "the channels do not match this number of anchors"),
        ("group=anchors", 4, "from", "channel counts differ"),
        ("group=anchors\nanchors=17", 17, "anchors", "more anchors than channels"),
        ("only=sizes", 4, "only", "unknown value"),
        ("group=levels", 4, "group", "unknown value"),
    ],
)
def test_a_part_that_does_not_fit_is_told(keys, filters, key, message):
    with pytest.raises(CfgError, match=message) as told:
        graph_of(
            BOXES + VECTOR.format(filters) + f"[route]\nlayers=0\n[control_channels]\nfrom=1\n{keys}",
            dialect="yolor",
        )
    assert told.value.key == key


def test_alternate_channels_has_no_part():
    text = BOXES + VECTOR.format(4) + "[route]\nlayers=0\n[alternate_channels]\nfrom=1\nonly=wh"
    assert [warning.key for warning in graph_of(text, dialect="yolor").warnings] == ["only"]


PROJECTED = "[route]\nlayers=0\n[project_channels]\nfrom=1\nfilters=3"


@pytest.mark.parametrize("source", [VECTOR.format(18), MATRIX.format(3, 6)])
def test_a_projection_is_a_pointwise_convolution_by_the_vectors(source):
    x, z = torch.randn(2, 6, 6, 8).double(), torch.randn(1, 18, 1, 1).double()
    node = last_node(MAP + source + PROJECTED, dialect="yolor")
    got = node.section.module(*node.inputs)(x, z.reshape(1, *node.inputs[1]))
    torch.testing.assert_close(got, torch.nn.functional.conv2d(x, z.reshape(3, 6, 1, 1)))
    assert node.section.macs(node.shape, *node.inputs) == 3 * 6 * 6 * 8


def test_an_image_may_bring_vectors_of_its_own():
    x, z = torch.randn(2, 6, 6, 8).double(), torch.randn(2, 18, 1, 1).double()
    node = last_node(MAP + VECTOR.format(18) + PROJECTED, dialect="yolor")
    want = torch.einsum("nkc,nchw->nkhw", z.reshape(2, 3, 6), x)
    torch.testing.assert_close(node.section.module(*node.inputs)(x, z), want)


def test_a_projection_needs_as_many_numbers_as_its_vectors_have():
    with pytest.raises(CfgError, match="the wrong number of values in z") as told:
        graph_of(MAP + VECTOR.format(12) + PROJECTED, dialect="yolor")
    assert (told.value.key, told.value.found, told.value.allowed) == ("from", "12 values in z", "18")
