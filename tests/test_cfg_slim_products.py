"""`yolor cfg slim` goes through [scale_channels], [sam] and what moves channels; what has to stay is told."""

import random
from pathlib import Path

import pytest
from golden import SHARED
from test_cfg_slim import (
    HEAD,
    NET,
    assert_channels_that_stay_are_equal,
    convolution,
    gone,
    network_of,
    norms_of,
    silence,
)

from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.rewrite.channel_ties import find_ties
from yolor_cfg.rewrite.slim import describe_held, slim

FILES = sorted((SHARED / "corpus" / "cfg").glob("*.cfg"))
PRODUCTS = ("[scale_channels]", "[sam]")


def gate(filters: int) -> str:
    """A gate between 0 and 1, without batch norm."""
    return f"[convolutional]\nfilters={filters}\nsize=1\nactivation=logistic\n"


SQUEEZE = (
    NET
    + convolution(8)  # 0
    + convolution(8, "groups=8")  # 1
    + "[avgpool]\n"
    + convolution(4)  # 3, the squeeze
    + gate(8)  # 4
    + "[scale_channels]\nfrom=-4\n"  # 5: 1 times 4
    + "[dropout]\nprobability=.2\n"
    + convolution(6)  # 7
    + HEAD
)


def test_a_gate_goes_with_the_channels_that_it_scales_whatever_it_is() -> None:
    network = network_of(SQUEEZE)
    silence(network, 0, [1, 2, 3])
    silence(network, 1, [2, 3, 4])
    silence(network, 3, [0])
    made = slim(network, (2 * 3 + 1) / (8 * 3 + 4 + 6))
    assert gone(network, made) == {**dict.fromkeys((0, 1, 2, 4, 5, 6), [2, 3]), 3: [0]}
    assert (made.free, made.removed, made.filters) == (8 * 3 + 4 + 6, 2 * 3 + 1, 8 * 3 + 4 + 6 + 7)
    assert_channels_that_stay_are_equal(network, made)


def test_by_l1_a_gate_with_small_weights_alone_is_no_reason_to_go() -> None:
    network = network_of(SQUEEZE)
    network.state_dict()["module_list.4.Conv2d.weight"][5] *= 1e-3
    for layer in (0, 1):
        network.state_dict()[f"module_list.{layer}.Conv2d.weight"][6] *= 1e-3
    assert gone(network, slim(network, 3 / 34, by="l1"))[4] == [6]


SAM = (
    NET
    + convolution(8)  # 0
    + convolution(8)  # 1, of 0
    + "[route]\nlayers=0\n"
    + convolution(8).replace("leaky", "{}")  # 3, of 0 too
    + "[sam]\nfrom=1\n"
    + convolution(6)  # 5
    + HEAD
)


def test_a_product_of_two_maps_goes_where_one_of_them_is_nothing() -> None:
    network = network_of(SAM.format("leaky"))
    silence(network, 1, [2, 3])
    silence(network, 3, [3, 5])
    made = slim(network, 6 / 30)
    assert gone(network, made) == dict.fromkeys((1, 3, 4), [2, 3, 5])
    assert_channels_that_stay_are_equal(network, made)


def test_a_gate_of_sam_makes_no_channel_zero_but_goes_with_one() -> None:
    network = network_of(SAM.format("logistic"))
    silence(network, 1, [2, 3])
    silence(network, 3, [3, 5])
    made = slim(network, 4 / 30)
    assert gone(network, made) == dict.fromkeys((1, 3, 4), [2, 3])
    assert_channels_that_stay_are_equal(network, made)


def test_a_gate_that_something_else_reads_too_stays_with_what_it_scales() -> None:
    network = network_of(SAM.format("logistic").replace("[yolo]", "[route]\nlayers=3\n" + HEAD, 1))
    silence(network, 1, [2, 3])
    made = slim(network, 0.5)
    assert not {1, 3, 4} & gone(network, made).keys()
    assert "16: activation=logistic makes something of 0 (#3)" in describe_held(made.held)


def test_a_factor_of_a_product_that_is_added_to_a_map_goes_with_both() -> None:
    text = NET + convolution(8) + "[avgpool]\n" + gate(8) + "[scale_channels]\nfrom=0\n"
    network = network_of(text + "[shortcut]\nfrom=0\nactivation=relu\n" + convolution(6) + HEAD)
    silence(network, 0, [0, 6])
    made = slim(network, 4 / 22)
    assert gone(network, made) == dict.fromkeys(range(5), [0, 6])
    assert_channels_that_stay_are_equal(network, made)


def test_channels_that_one_map_scales_go_and_that_map_stays() -> None:
    text = NET + convolution(8) + gate(1) + "[scale_channels]\nfrom=0\nscale_wh=1\n" + convolution(6) + HEAD
    network = network_of(text)
    silence(network, 0, [0, 6])
    made = slim(network, 2 / 14)
    assert gone(network, made) == {0: [0, 6], 2: [0, 6]}
    assert "1: they scale every channel of a map (#2)" in describe_held(made.held)
    assert_channels_that_stay_are_equal(network, made)


@pytest.mark.parametrize("dialect, section", [("yolor", "reorg"), ("darknet", "reorg3d")])
def test_filters_before_blocks_of_pixels_take_all_pixels_along(dialect: str, section: str) -> None:
    net = NET + f"dialect={dialect}\n"
    network = network_of(net + convolution(5) + f"[{section}]\nstride=2\n" + convolution(6) + HEAD)
    silence(network, 0, [1, 4])
    made = slim(network, 2 / 11)
    assert gone(network, made) == {
        0: [1, 4],
        1: sorted(5 * pixel + row for pixel in range(4) for row in (1, 4)),
    }
    assert_channels_that_stay_are_equal(network, made)


@pytest.mark.parametrize(
    "between",
    [
        "[dropout]\ndropblock=1\n",
        "[local_avgpool]\nsize=2\nstride=2\n",
        "[maxpool]\nsize=2\nstride=2\nantialiasing=1\n",
        "[activation]\nactivation=mish\n",
        "[avgpool]\n",
    ],
)
def test_filters_before_what_leaves_each_channel_to_itself_go(between: str) -> None:
    network = network_of(NET + convolution(5) + between + convolution(6) + HEAD)
    silence(network, 0, [1, 4])
    made = slim(network, 2 / 11)
    assert gone(network, made) == {0: [1, 4], 1: [1, 4]}
    assert_channels_that_stay_are_equal(network, made)


@pytest.mark.parametrize(
    "between, told",
    [
        ("[reorg]\nstride=2\n", "8: [reorg] needs them (#1)"),
        ("[upsample]\nstride=-2\n", "8: [upsample] needs them (#1)"),
        ("[batchnorm]\n", "8: [batchnorm] needs them (#1)"),
        ("[sam]\nfrom=-1\nactivation=logistic\n", "8: [sam] needs them (#1)"),
        (convolution(6, "groups=2"), "14: [convolutional] with groups needs them (#1)"),
        (convolution(8) + convolution(8, "share_index=1"), "16: a layer with shared weights needs them (#1)"),
        (convolution(4).replace("leaky", "logistic"), "4: activation=logistic makes something of 0 (#1)"),
        (gate(3).replace("logistic", "relu"), "3: they have no batch norm, by which --by bn goes (#1)"),
        (
            "[route]\nlayers=0\ngroups=1\n[convolutional]\nsize=1\n",
            "1: their section has no line filters= (#2)",
        ),
    ],
)
def test_what_has_to_stay_is_told_with_the_section_that_needs_it(between: str, told: str) -> None:
    network = network_of(NET + convolution(8) + between + convolution(6) + HEAD)
    made = slim(network, 0.5)
    assert told in describe_held(made.held)
    filters = sum(len(one.Conv2d.weight) for one in network.module_list if isinstance(one, ConvBlock))
    assert made.filters == filters == made.free + sum(made.held.values())


def has_product(path: Path) -> bool:
    """Whether the file multiplies maps."""
    return any(name in path.read_text(errors="replace") for name in PRODUCTS)


def silence_some(network: Network, seed: int) -> None:
    """Silence filters at random, never the first: in layers of equal width many of the same, so that whole
    groups are silent."""
    chance = random.Random(seed)
    common: dict[int, set[int]] = {}
    for layer, norm in norms_of(network).items():
        width = norm.num_features
        shared = common.setdefault(width, {row for row in range(1, width) if chance.random() < 0.25})
        own = {row for row in range(1, width) if chance.random() < 0.05}
        silence(network, layer, shared | own)


def params() -> list[object]:
    """The files; those with as many numbers as YOLOv4 are slow."""
    return [
        pytest.param(path, marks=[pytest.mark.slow] if "yolov4" in path.name else [], id=path.stem)
        for path in FILES
        if has_product(path)
    ]


@pytest.mark.skipif(not FILES, reason="the corpus is not here")
@pytest.mark.parametrize("path", params())
def test_files_of_the_corpus_with_products_lose_zeros_alone(path: Path) -> None:
    network = network_of(path.read_text(), size=64)
    silence_some(network, 3)
    gains = {layer: norm.weight.abs().tolist() for layer, norm in norms_of(network).items()}
    groups = [group for group in find_ties(network).groups_of(gains) if group.cause is None]
    silent = sum(len(group.filters) for group in groups if group.worth == 0)
    made = slim(network, silent / sum(len(group.filters) for group in groups))
    assert made.removed == silent > 50
    products = {node.index for node in network.graph.nodes if f"[{node.section.type}]" in PRODUCTS}
    assert len(products & gone(network, made).keys()) >= len(products) / 2
    assert_channels_that_stay_are_equal(network, made)
