"""Rewrites for speed: other sections, the same numbers in float64; what does not fit stays."""

import folding
import pytest
import test_sections_contract as contract
import torch
from folding import apart, lived_in, pictures, shipped
from small import graph_of
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, load_graph
from yolor_cfg.model import Network
from yolor_cfg.rewrite.faster import REWRITES, rewrite_for_speed

EXACT = 1e-12
SMALLEST = 64
CONV = "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"
SIDE = "[convolutional]\nfilters=4\nsize={}\npad=1\nactivation={}\n[route]\nlayers=0\n"


def graph_at(name: str) -> Graph:
    path = folding.CFG / f"{name}.cfg"
    stride = load_graph(path).largest_stride
    return load_graph(path, ReadOptions(size=-(-SMALLEST // stride) * stride))


def outputs(network: Network, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return network(images)


def checked(network: Network, **options) -> Network:
    """The rewritten network, once its outputs are found equal, for two images."""
    faster = rewrite_for_speed(network, **options).network
    images = pictures(network.graph, 2).to(next(network.parameters()).dtype)
    assert apart(outputs(network, images), outputs(faster, images)) <= EXACT
    return faster


def types(network: Network) -> list[str]:
    return [node.section.type for node in network.graph.nodes]


def small(text: str, *, dialect: str = "darknet", image: tuple[int, int, int] = (4, 8, 12)) -> Network:
    return lived_in(graph_of(text, dialect=dialect, image=image))


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_network_gives_the_same_numbers(name):
    network = lived_in(graph_at(name))
    faster = checked(network)
    assert len(faster.graph.nodes) < len(network.graph.nodes)
    assert "reorg" not in types(faster) and not any(module.focus for module in blocks(faster))


def blocks(network: Network):
    return [module for module in network.module_list if hasattr(module, "focus")]


@pytest.mark.parametrize("name", REWRITES)
def test_each_rewrite_alone_is_exact(name):
    network = lived_in(graph_at("yolor_nano"))
    others = [other for other in REWRITES if other != name]
    result = rewrite_for_speed(network, without=others)
    images = pictures(network.graph, 2)
    assert apart(outputs(network, images), outputs(result.network, images)) <= EXACT
    has_none = name in ("dead", "merge")  # no section is dead; batch norms are to be folded first
    assert len(result.notes) == (not has_none)


def test_all_can_be_left_out_and_nothing_else_is_taken():
    network = small(CONV)
    assert rewrite_for_speed(network, without=["all"]).network is network
    with pytest.raises(CfgError, match=r"polish(.|\n)*merge"):
        rewrite_for_speed(network, without=["polish"])


@pytest.mark.parametrize("case", contract.some_quick(6), ids=str)
def test_a_network_with_any_section_gives_the_same_numbers(case):
    torch.manual_seed(0)
    network = Network(case.graph()).double().eval()
    faster = rewrite_for_speed(network).network
    if not network.graph.outputs:  # losses alone
        assert outputs(faster, pictures(network.graph)) == []
        return
    images = pictures(network.graph, 2)
    assert apart(outputs(network, images), outputs(faster, images)) <= 1e-10  # some sum many large values


def test_pools_of_one_input_become_a_chain_of_small_ones():
    pools = (
        "[maxpool]\nsize=13\nstride=1\n[route]\nlayers=0\n[maxpool]\nsize=5\nstride=1\n[route]\nlayers=0\n"
    )
    network = small(f"{CONV}{pools}[maxpool]\nsize=9\nstride=1\n[route]\nlayers=1,3,5,0\n")
    faster = checked(network)
    assert [node.section.size for node in faster.graph.nodes if node.section.type == "maxpool"] == [5, 5, 5]


POOLS = "[maxpool]\n{}\n[route]\nlayers=0\n[maxpool]\nsize=3\nstride={}\n"


@pytest.mark.parametrize("other", ["size=2\nstride=1", "size=5\nstride=1\npadding=2", "size=5\nstride=2"])
def test_other_pools_stay(other):
    stride = 2 if "stride=2" in other else 1
    tail = "" if "padding" in other or "size=2" in other else "[route]\nlayers=-1,1\n"
    network = small(CONV + POOLS.format(other, stride) + tail)
    faster = rewrite_for_speed(network, without=["dead"]).network
    sizes = [node.section.size for node in faster.graph.nodes if node.section.type == "maxpool"]
    assert sizes == [int(other[5]), 3]


def test_parallel_convolutions_become_one():
    sides = SIDE.format(1, "mish") * 3
    network = small(f"{CONV}{sides}[route]\nlayers=1,5,3\n")
    faster = checked(network)
    assert types(faster) == ["convolutional", "convolutional", "route", "route", "route", "route"]
    assert faster.graph.nodes[1].shape.channels == 12


@pytest.mark.parametrize(
    "other",
    [
        SIDE.format(3, "mish"),
        SIDE.format(1, "leaky"),
        SIDE.format(1, "mish").replace("filters=4", "filters=2"),
        SIDE.format(1, "mish").replace("size", "groups=2\nsize"),
        SIDE.format(1, "mish").replace("size", "stride=2\nsize"),
        SIDE.format(1, "mish").replace("activation", "share_index=1\nactivation"),
    ],
)
def test_unlike_convolutions_stay(other):
    network = small(f"{CONV}{SIDE.format(1, 'mish')}{other}[route]\nlayers=1\n")
    faster = rewrite_for_speed(network, without=["dead"]).network
    assert types(faster).count("convolutional") == 3


STEMS = ["[reorg3d]\nstride=2\n", "[reorg3d]\nstride=4\n", "[reorg3d]\nstride=2\n[reorg3d]\nstride=2\n"]


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "keys", ["size=3\npad=1", "size=3\nstride_x=2\nstride_y=1\npadding=2", "size=1\nbatch_normalize=1"]
)
def test_a_stem_of_blocks_goes_into_the_convolution(stem, keys):
    network = small(f"{stem}[convolutional]\nfilters=5\nactivation=mish\n{keys}\n", image=(3, 16, 24))
    assert types(checked(network)) == ["convolutional"]
    assert types(checked(network, without=["fold"])) == ["convolutional"]


def test_a_stem_in_the_middle_goes_too():
    network = small(f"{CONV}[reorg3d]\nstride=2\n{CONV}[reorg3d]\nstride=2\n[route]\nlayers=-1,-1\n")
    assert types(checked(network)) == ["convolutional", "convolutional", "reorg3d", "route"]


@pytest.mark.parametrize(("pad", "left"), [(0, ["convolutional"]), (1, ["dwt", "convolutional"])])
def test_wavelets_go_where_no_border_is_padded(pad, left):
    text = f"[dwt]\n[convolutional]\nfilters=5\nsize=3\npad={pad}\nbatch_normalize=1\nactivation=silu\n"
    network = small(text, dialect="yolor", image=(3, 12, 16))
    assert types(checked(network)) == left
    assert types(checked(network, without=["fold"])) == left


def test_a_stem_that_something_else_reads_stays():
    network = small(f"[reorg3d]\nstride=2\n{CONV}[route]\nlayers=-1,0\n", image=(3, 16, 24))
    assert "reorg3d" in types(checked(network))


def test_padding_that_a_dialect_has_no_words_for_stays():
    text = f"[convolutional]\nfilters=4\nactivation=linear\n[reorg]\nstride=2\n{CONV}"
    for dialect, stays in (("yolor", False), ("ultralytics", True)):
        faster = checked(small(text, dialect=dialect))
        assert ("reorg" in types(faster)) is stays


def test_sections_that_reach_no_output_go():
    network = small(f"{CONV}{CONV}[dropout]\n[route]\nlayers=0\n{CONV}[dropout]\n{CONV}")
    assert types(checked(network)) == ["convolutional"] * 3


def test_a_rewritten_network_shares_no_tensor():
    network = small(f"{CONV}{CONV}")
    faster = rewrite_for_speed(network).network
    own = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in faster.state_dict().values())
