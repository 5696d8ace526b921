"""Plain Darknet: our own reading of it, in the darknet dialect, gives the boxes of the YOLOR network."""

import golden
import numpy as np
import pytest
import torch
from folding import CFG, apart, lived_in, pictures, shipped
from small import graph_of
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.sections import SECTIONS

BOUND = 1e-10
# What OpenCV's importer has code for.
OPENCV = {
    "convolutional",
    "maxpool",
    "avgpool",
    "route",
    "shortcut",
    "upsample",
    "yolo",
    "scale_channels",
    "sam",
}
START = "[convolutional]\nfilters=6\nsize=3\npad=1\nbatch_normalize=1\nactivation=silu\n"
YOLO = "[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n"
HEAD = f"[convolutional]\nfilters=16\nsize=1\nactivation=linear\n{YOLO}"


def graph_at(name: str) -> Graph:
    stride = load_graph(CFG / f"{name}.cfg").largest_stride
    return load_graph(CFG / f"{name}.cfg", ReadOptions(size=-(-64 // stride) * stride))


def types(network: Network) -> list[str]:
    return [node.section.type for node in network.graph.nodes]


def checked(network: Network, *, keep_bn: bool = False) -> Network:
    """The plain network, once its boxes (or outputs) are found equal."""
    plain = to_plain_darknet(network, keep_bn=keep_bn)
    assert not plain.graph.dialect.is_pytorch
    assert "activation=silu" not in plain.graph.document.text
    assert all("darknet" in SECTIONS[name].dialects for name in types(plain))
    # The text alone must say which dialect it is in.
    assert not build_graph(parse(plain.graph.document.text)).dialect.is_pytorch
    images = pictures(network.graph, 2)
    with torch.no_grad():
        before, after = network(images), plain(images)
        if network.graph.heads[0].section.is_head:
            before, after = list(network.decode(before)), list(plain.decode(after))
    assert apart(before, after) <= BOUND
    return plain


def yolor_net(text: str, *, image: tuple[int, int, int] = (4, 6, 8)) -> Network:
    return lived_in(graph_of(text, dialect="yolor", image=image))


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_network_finds_the_same_boxes_as_plain_darknet(name):
    plain = checked(lived_in(graph_at(name)))
    assert set(types(plain)) <= OPENCV
    assert not any(isinstance(module, _BatchNorm) for module in plain.modules())
    assert {(head.section.scale_x_y, head.section.new_coords) for head in plain.graph.heads} == {(2, True)}


@pytest.mark.parametrize("name", ["yolor_nano", "yolor_csp_ssss_dwt_paper"])
def test_kept_batch_norms_get_darknets_epsilon_and_other_variances(name):
    network = lived_in(graph_at(name))
    plain = checked(network, keep_bn=True)
    assert {norm.eps for norm in norms_of(plain)} == {1e-5}
    eps = network.graph.net.bn_eps or 1e-4
    for old, new in zip(norms_of(network), norms_of(plain), strict=True):
        torch.testing.assert_close(new.running_var, old.running_var + eps - 1e-5, rtol=1e-12, atol=0)


def norms_of(network: Network) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def test_a_variance_that_would_become_negative_is_refused():
    network = yolor_net(START + HEAD)
    norm = network.module_list[0].BatchNorm2d
    norm.eps = 1e-6
    norm.running_var.fill_(1e-7)
    with pytest.raises(CfgError, match="a variance is too small"):
        to_plain_darknet(network, keep_bn=True)


GOLDEN_WITHOUT_TWIN = {
    "deform": "[deformableconvolutional #2]",
    "pools": "[maxpool",
}


@pytest.mark.parametrize("case", golden.yolor_cases(), ids=lambda case: case.name)
def test_a_golden_network_is_said_or_refused_by_name(case):
    network = golden.yolor_network(case).network
    if case.name in GOLDEN_WITHOUT_TWIN:
        with pytest.raises(CfgError) as refused:
            to_plain_darknet(network)
        assert GOLDEN_WITHOUT_TWIN[case.name] in str(refused.value)
    else:
        checked(network)


@pytest.mark.parametrize(
    "text",
    [
        f"[reorg]\n{START}{HEAD}",
        f"[dwt]\n{START}{HEAD}",
        f"[focus]\nfilters=6\nsize=3\npad=1\nbatch_normalize=1\nactivation=silu\n{HEAD}",
        f"{START}[convolutional]\nfilters=20\nsize=3,5\nstride=2\npad=1\nactivation=mish\n{HEAD}",
        f"[convolutional]\nfilters=28\nsize=3,5,7\npad=1\nbatch_normalize=1\nactivation=silu\n{HEAD}",
        # A convolution that shares the weights of another one has kernels of its own in no reader but C's.
        f"{START}[convolutional]\nfilters=6\nsize=3\npad=1\nbatch_normalize=1\nactivation=silu\n"
        f"[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=leaky\n"
        f"share_index=1\n{HEAD}",
        f"{START}[silence]\n[dropout]\n[reorg3d]\n[route]\nlayers=-1,0\n{HEAD}",
        f"[silence]\n{START}{HEAD}",
        f"{START}{START}[route_lhalf]\nlayers=-1,-2\n{HEAD}",
        f"{START}{START}[route2]\nlayers=-1,0\n[route3]\nlayers=-1,0,1\n{HEAD}",
        f"{START}{START}{START}[shortcut]\nfrom=-2,0\nactivation=leaky\n{HEAD}",
        f"{START}{START}{START}[shortcut]\nfrom=-2,0\nweights_type=per_feature\n{HEAD}",
        f"{START}[convolutional]\nfilters=4\nactivation=silu\n[shortcut]\nfrom=0\n{HEAD}",
        f"{START}[maxpool]\nsize=2\nstride=2\n{HEAD}",
        f"{START}[maxpool]\nsize=4\nstride=2\npadding=1\n{HEAD}",
        f"{START}[maxpool]\nsize=5\nstride=1\n{HEAD}",
        f"{START}[local_avgpool]\nsize=2\nstride=2\n{HEAD}",
        f"{START}[local_avgpool]\nsize=3\nstride=1\n{HEAD}",
        f"{START}[local_avgpool]\nsize=3\nstride_x=2\nstride_y=1\n{HEAD}",
        f"{START}[avgpool]\n[scale_channels]\nfrom=0\nactivation=leaky\n{HEAD}",
        f"{START}{START}[sam]\nfrom=0\nactivation=leaky\n{HEAD}",
        f"{START}[upsample]\nstride=2\n{HEAD}",
        f"{START}[avgpool]\n[route]\nlayers=0\n[control_channels]\nfrom=1\n{HEAD}",
        f"{START}[avgpool]\n[route]\nlayers=0\n[select_channels]\nfrom=1\n{HEAD}",
        f"{START}{START}[control_channels]\nfrom=0\n[shift_channels]\nfrom=0\n"
        f"[alternate_channels]\nfrom=0\n{HEAD}",
        f"{START}[implicit_add]\nfilters=6\n[route]\nlayers=0\n[shift_channels]\nfrom=1\n{START}{HEAD}",
        f"{START}[implicit_cat]\nfilters=2\n[route]\nlayers=0\n[alternate_channels]\nfrom=1\n{START}{HEAD}",
        f"{START}[BatchNorm2d]\n[activation]\nactivation=silu\n{HEAD}",
        f"{START}{HEAD}[route]\nlayers=0\n[convolutional]\nfilters=8\nsize=1\nactivation=linear\n"
        "[jde]\nmask=0\nanchors=2,3\nclasses=3\nnum=1\n",
        f"{START}[convolutional]\nfilters=16\nsize=1\nactivation=leaky\n"
        f"[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n",
        f"{START}{HEAD}[route]\nlayers=1\n[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n",
        f"{START}[implicit_mul]\nfilters=16\n[route]\nlayers=0\n"
        f"[convolutional]\nfilters=16\nsize=1\nactivation=silu\n"
        "[control_channels]\nfrom=1\n[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n",
        START,
    ],
)
def test_this_has_a_twin_that_opencv_reads_too(text):
    assert set(types(checked(yolor_net(text)))) <= OPENCV


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{START}[maxpool]\nsize=2\nstride=1\n{HEAD}", "[maxpool #1]"),
        (f"{START}[local_avgpool]\nsize=2\nstride=1\n{HEAD}", "[local_avgpool #1]"),
        (f"{START}[deformableconvolutional]\nfilters=4\nsize=3\n{HEAD}", "[deformableconvolutional #1]"),
        (f"{START}[avgpool]\n[route]\nlayers=0\n[shift_channels]\nfrom=1\n{HEAD}", "[shift_channels #3]"),
        (
            "[convolutional]\nfilters=7\nactivation=silu\n[route_lhalf]\nlayers=-1\n" + HEAD,
            "[route_lhalf #1]",
        ),
        (f"{START}{HEAD}{HEAD}", "[yolo #2]"),
    ],
)
def test_what_has_no_twin_is_refused_at_its_line(text, place):
    with pytest.raises(CfgError, match="plain Darknet cannot compute this") as refused:
        to_plain_darknet(yolor_net(text))
    assert place in str(refused.value)
    assert refused.value.line > 0


def test_a_darknet_network_stays_one_and_loses_its_batch_norms():
    network = lived_in(graph_of(f"{START}[maxpool]\nsize=2\nstride=1\n{HEAD}"))
    plain = checked(network)
    assert types(plain) == types(network)
    assert not any(isinstance(module, _BatchNorm) for module in plain.modules())


def test_a_reorg_is_a_permutation_and_wavelets_have_a_bias_of_a_half():
    networks = [yolor_net(f"[{name}]\n{START}{HEAD}", image=(3, 8, 8)) for name in ("reorg", "dwt")]
    reorg, wavelets = (to_plain_darknet(network).module_list[0].Conv2d for network in networks)
    assert reorg.stride == (2, 2)
    assert np.array_equal(reorg.weight.flatten(1).sum(1).detach(), np.ones(12))
    assert set(reorg.weight.unique().tolist()) == {0, 1}
    assert wavelets.bias.tolist() == [0] * 3 + [0.5] * 9
    assert set(wavelets.weight.abs().unique().tolist()) == {0, 0.25}


def test_net_keeps_its_size_and_loses_the_words_of_ours():
    text = to_plain_darknet(Network(graph_at("yolor_csp_sss_paper"))).graph.document.text
    assert "\nwidth=640\nheight=640\nchannels=3\n" in text
    assert "dialect=" not in text
    assert "bn_eps=" not in text
