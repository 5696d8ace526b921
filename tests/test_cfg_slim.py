"""`yolor cfg slim`: filters that matter least go, and nothing else of the network changes."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from yolor_cfg.cli import main
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.implicit import ImplicitTensor
from yolor_cfg.rewrite.channel_ties import find_ties, keeps_zero
from yolor_cfg.rewrite.slim import SlimNetwork, describe_held, slim
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import new_header
from yolor_cfg.weights.loading import open_network

ROOT = Path(__file__).resolve().parents[1]
NET = "[net]\nwidth=16\nheight=16\nchannels=3\n"
HEAD = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nnum=1\nanchors=4,5\nclasses=2\n"


def convolution(filters: int, *keys: str) -> str:
    lines = [
        "[convolutional]",
        "batch_normalize=1",
        f"filters={filters}",
        "size=3",
        "pad=1",
        "activation=leaky",
    ]
    return "\n".join([*lines, *keys]) + "\n"


ROUND = (
    NET
    + convolution(6)  # 0, tied to 1
    + convolution(6)
    + "[shortcut]\nfrom=-2\nactivation=linear\n"  # 2
    + "[maxpool]\nsize=2\nstride=2\n"
    + convolution(8)  # 4
    + "[upsample]\nstride=2\n[route]\nlayers=-1,2\n"  # 5, 6
    + convolution(10)  # 7
    + HEAD  # 8, 9
)


def network_of(text: str, seed: int = 0, *, size: int | None = None) -> Network:
    """In float64, with weights and batch norms of random numbers; all gains are between a half and 1."""
    torch.manual_seed(seed)
    network = Network(build_graph(parse(text, "a.cfg"), ReadOptions(size=size))).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1)
    return network


def norms_of(network: Network) -> dict[int, nn.BatchNorm2d]:
    """The batch norms of its convolutions, by layer."""
    modules = enumerate(network.module_list)
    return {index: one.norm for index, one in modules if isinstance(one, ConvBlock) and one.has_norm}


def silence(network: Network, layer: int, rows: Iterable[int]) -> None:
    """Let these filters give zeros."""
    norm = norms_of(network)[layer]
    for row in rows:
        norm.weight.data[row] = norm.bias.data[row] = 0


def vectors_of(network: Network) -> dict[int, ImplicitTensor]:
    """Its implicit vectors, by layer."""
    return {i: one for i, one in enumerate(network.module_list) if isinstance(one, ImplicitTensor)}


def gone(network: Network, made: SlimNetwork) -> dict[int, list[int]]:
    """By layer, the channels that went."""
    missing = {
        node.index: sorted(set(range(node.shape.channels)) - set(made.kept[node.index]))
        for node in network.graph.nodes
    }
    return {index: channels for index, channels in missing.items() if channels}


def values_of(network: Network) -> list[torch.Tensor]:
    """What every layer gives."""
    image = torch.rand(
        2, *network.graph.image, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    layers = range(len(network.graph.nodes))
    with torch.no_grad():
        return network.step(image, network.states(image), layers=layers)[0]


def assert_channels_that_stay_are_equal(before: Network, made: SlimNetwork) -> None:
    for index, (old, new) in enumerate(zip(values_of(before), values_of(made.network), strict=True)):
        if not before.graph.nodes[index].section.is_head:
            old = old[:, list(made.kept[index])]
        torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-11)


def test_filters_without_gain_and_bias_go_and_every_other_channel_of_every_layer_stays_equal() -> None:
    network = network_of(ROUND)
    for layer, rows in {0: [1, 4], 1: [1, 4], 4: [0, 7], 7: [2, 3, 5]}.items():
        silence(network, layer, rows)
    free = 6 + 6 + 8 + 10
    made = slim(network, 9 / free)
    assert (made.free, made.removed, made.filters) == (free, 9, free + 7)
    assert describe_held(made.held) == ["7: [yolo] needs them (#9)"]
    assert gone(network, made) == {
        **dict.fromkeys((0, 1, 2, 3), [1, 4]),  # the convolutions, their sum, and the pool
        **dict.fromkeys((4, 5), [0, 7]),
        6: [0, 7, 8 + 1, 8 + 4],
        7: [2, 3, 5],
    }
    assert_channels_that_stay_are_equal(network, made)
    filters = [getattr(node.section, "filters", None) for node in made.network.graph.nodes]
    assert filters == [4, 4, None, None, 6, None, None, 7, 7, None]


def test_a_filter_that_a_shortcut_adds_to_one_that_matters_stays() -> None:
    network = network_of(ROUND)
    silence(network, 0, range(6))
    made = slim(network, 0.3)
    assert made.kept[0] == made.kept[1] == made.kept[2]
    assert made.removed == 9
    silence(network, 4, [3])
    assert gone(network, slim(network, 1 / 30)) == {4: [3], 5: [3], 6: [3]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["yolor_micro.cfg", "yolor_nano.cfg"])
def test_networks_with_implicit_knowledge_lose_zeros_alone(name: str, seed: int) -> None:
    network = network_of((ROOT / "cfg" / name).read_text(), seed, size=64)
    chance = torch.Generator().manual_seed(seed)
    norms, vectors = norms_of(network), vectors_of(network)
    for layer, norm in norms.items():
        rows = torch.nonzero(torch.rand(norm.num_features, generator=chance) < 0.3)
        silence(network, layer, rows.flatten().tolist())
    for vector in vectors.values():
        vector.implicit.data[torch.rand(vector.implicit.shape, generator=chance) < 0.5] = 0

    def is_silent(layer: int, row: int) -> bool:
        worth = norms[layer].weight if layer in norms else vectors[layer].implicit.flatten()
        return not worth[row]

    scores = {layer: [0.0] * network.graph.nodes[layer].shape.channels for layer in (*norms, *vectors)}
    groups = [group.filters for group in find_ties(network).groups_of(scores) if group.cause is None]
    silent = [filters for filters in groups if all(is_silent(*one) for one in filters)]
    count = sum(one.layer in norms for filters in silent for one in filters)
    free = sum(one.layer in norms for filters in groups for one in filters)
    made = slim(network, count / free)
    assert made.removed == count > 50
    assert set(gone(network, made)) & vectors.keys(), "some of the vectors are shorter"
    assert_channels_that_stay_are_equal(network, made)


@pytest.mark.parametrize(
    "between",
    [
        convolution(8, "groups=4"),
        "[reorg]\nstride=2\n",
        "[upsample]\nstride=-2\n",
        "[reorg]\nstride=2\n[reorg]\nstride=2\nreverse=1\n",
        "[shortcut]\nfrom=-1\nactivation=logistic\n",
        "[maxpool]\nmaxpool_depth=1\nout_channels=4\nstride=1\nsize=1\n",
        "[batchnorm]\n",
        "[sam]\nfrom=-1\nactivation=logistic\n",
        "[activation]\nactivation=logistic\n",
    ],
)
def test_channels_that_reach_anything_else_stay(between: str) -> None:
    network = network_of(NET + convolution(8) + between + convolution(6) + HEAD)
    made = slim(network, 0.5)
    assert made.kept[0] == tuple(range(8)) and made.removed == 3
    assert list(gone(network, made)) == [len(network.graph.nodes) - 3], "those of the last convolution"


def test_filters_before_a_route_with_groups_go_place_by_place() -> None:
    network = network_of(
        NET + convolution(9) + "[route]\nlayers=-1\ngroups=3\ngroup_id=1\n" + convolution(6) + HEAD
    )
    silence(network, 0, [1, 4, 7, 2])
    silence(network, 2, [5])
    made = slim(network, 4 / 15)
    assert gone(network, made) == {0: [1, 4, 7], 1: [1], 2: [5]}, "2 stays: 5 and 8 matter"
    assert_channels_that_stay_are_equal(network, made)


def test_a_depthwise_filter_goes_with_the_channel_that_it_reads() -> None:
    network = network_of(NET + convolution(8) + convolution(8, "groups=8") + convolution(6) + HEAD)
    silence(network, 0, [1, 2, 3])
    silence(network, 1, [2, 3, 4])
    made = slim(network, 4 / 22)
    assert gone(network, made) == {0: [2, 3], 1: [2, 3]}
    assert made.network.graph.nodes[1].section.groups == 6
    assert_channels_that_stay_are_equal(network, made)


def after_implicit(section: str, combine: str, keys: str = "") -> Network:
    """Of a convolution, 0, whose channels a section, 1, adds to or multiplies, and a convolution, 4."""
    combined = f"[{section}]\nfilters=8\n{keys}[route]\nlayers=0\n[{combine}]\nfrom=1\n"
    return network_of(NET + convolution(8) + combined + convolution(6) + HEAD)


@pytest.mark.parametrize("tasks", ["", "task=a,b\n"])
def test_a_value_that_is_added_goes_with_its_channel_if_both_are_nothing(tasks: str) -> None:
    network = after_implicit("implicit_add", "shift_channels", tasks)
    silence(network, 0, [1, 2, 3])
    vectors_of(network)[1].implicit.data[:, [2, 3, 5]] = 0
    made = slim(network, 2 / 14)
    assert gone(network, made) == dict.fromkeys((0, 1, 2, 3), [2, 3])
    assert (made.removed, made.filters) == (2, 14 + 7), "implicit values are not counted"
    assert_channels_that_stay_are_equal(network, made)


@pytest.mark.parametrize("combine", ["control_channels", "select_channels"])
def test_a_factor_goes_with_its_channel_and_has_no_say(combine: str) -> None:
    network = after_implicit("implicit_mul", combine)
    silence(network, 0, [0, 6])
    made = slim(network, 2 / 14)
    assert gone(network, made) == dict.fromkeys((0, 1, 2, 3), [0, 6])
    assert_channels_that_stay_are_equal(network, made)


def test_implicit_values_that_a_convolution_reads_stay() -> None:
    network = network_of(
        NET + "[implicit_add]\nfilters=8\n" + convolution(4) + "[route]\nlayers=-1\n" + convolution(6) + HEAD
    )
    made = slim(network, 0.5)
    assert made.kept[0] == tuple(range(8))


def test_filters_whose_weights_another_layer_uses_stay() -> None:
    shared = convolution(3) + convolution(3, "share_index=0") + convolution(6) + HEAD
    made = slim(network_of(NET + shared), 0.5)
    assert made.kept[0] == made.kept[1] == (0, 1, 2) and len(made.kept[2]) == 3


@pytest.mark.parametrize("name", ["leaky", "mish", "silu", "relu", "linear", "swish", "hard_mish"])
def test_activations_that_keep_zero(name: str) -> None:
    assert keeps_zero(name)


@pytest.mark.parametrize("name", ["logistic", "normalize_channels_softmax"])
def test_activations_that_make_something_of_zero(name: str) -> None:
    assert not keeps_zero(name)
    text = NET + convolution(6).replace("leaky", name) + convolution(6) + HEAD
    assert slim(network_of(text), 0.5).kept[0] == tuple(range(6))


def test_every_layer_keeps_a_tenth_of_its_filters_rounded_up() -> None:
    network = network_of(NET + convolution(30) + convolution(11) + HEAD)
    made = slim(network, 0.99)
    assert (len(made.kept[0]), len(made.kept[1]), len(made.kept[2])) == (3, 2, 7)


def test_by_l1_the_filters_with_the_smallest_weights_go() -> None:
    network = network_of(NET + convolution(5) + convolution(6).replace("batch_normalize=1\n", "") + HEAD)
    for layer, row in ((0, 3), (1, 2), (1, 4)):
        network.state_dict()[f"module_list.{layer}.Conv2d.weight"][row] *= 0.01
    made = slim(network, 3 / 11, by="l1")
    assert (made.kept[0], made.kept[1]) == ((0, 1, 2, 4), (0, 1, 3, 5))


def test_a_network_of_which_nothing_can_go_is_refused() -> None:
    with pytest.raises(CfgError, match="no filter of this network can go") as refused:
        slim(network_of(NET + HEAD), 0.5)
    assert "batch_normalize=1" in refused.value.hint
    assert refused.value.found == "--by bn; 7: [yolo] needs them (#1)"


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", "slim", *(str(arg) for arg in args)])


def test_the_command_writes_cfg_and_weights_that_fit_and_tells_the_costs(tmp_path: Path) -> None:
    cfg, weights = tmp_path / "a.cfg", tmp_path / "a.weights"
    cfg.write_text("# mine\n" + ROUND)
    network = network_of(ROUND).float()
    silence(network, 7, [2, 3, 5])
    write_weights(network, weights, header=new_header(network.graph, 64))
    result = yolor(cfg, weights, "--ratio", "0.1")
    assert result.exit_code == 0, result.output
    assert "-filters=10\n+filters=7\n" in result.stdout
    assert "3 of 37 filters went, 30 could: " in result.stderr
    assert "stay: 7: [yolo] needs them (#9)\n" in result.stderr
    small = open_network(tmp_path / "a-slim.cfg", tmp_path / "a-slim.weights").network
    assert [node.shape.channels for node in small.graph.nodes][7] == 7
    assert (tmp_path / "a-slim.cfg").read_text().startswith("# mine\n")
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(small(images), network(images), rtol=1e-4, atol=1e-5)
    again = yolor(cfg, weights, "--ratio", "0.1")
    assert again.exit_code == 4 and "--force" in again.stderr
    assert load_graph(cfg).nodes[7].shape.channels == 10
    assert yolor(cfg, weights, "--ratio", "1").exit_code == 2
    # A new file with the old text is written as well, and said to be.
    same = yolor(cfg, weights, "--ratio", "0", "-o", tmp_path / "same.cfg")
    assert f"{tmp_path / 'same.cfg'}: written" in same.stderr
    assert (tmp_path / "same.cfg").read_text() == cfg.read_text()
