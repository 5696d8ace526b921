"""[grl] and [dc] of MS-DAYOLO."""

import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.domains import GradientReversal

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
BOXES = "[route]\nlayers=0\nuse_target=0\n[yolo]\nmask=0\nanchors=3,4\nclasses=2\nnum=1\nuse_target=0\n"
BRANCH = "[grl]\nweight=0.5\n[convolutional]\nfilters=1\nactivation=linear\n[dc]\n"


def test_a_detector_of_two_domains_gives_boxes_and_probabilities():
    graph = build_graph(parse(NET + "[convolutional]\nfilters=7\nactivation=linear\n" + BRANCH + BOXES))
    assert graph.dialect.name == "darknet" and not graph.warnings
    assert graph.outputs == (5,)
    told = {(warning.key, warning.found) for warning in graph.unused_keys()}
    assert told == {("use_target", "0")}
    network = Network(graph).eval()
    seen = {}
    for number in (1, 2, 3):
        module = network.module_list[number]
        module.register_forward_hook(
            lambda _, given, out, number=number: seen.update({number: (given[0], out)})
        )
    network(torch.rand(1, 3, 8, 8))
    assert torch.equal(*seen[1])
    assert torch.allclose(seen[3][1], 1 / (1 + torch.exp(-seen[2][1])))


def test_the_gradient_turns_round():
    x = torch.tensor([[[[2.0]], [[3.0]]]], requires_grad=True)
    module = GradientReversal(0.5).train()
    assert torch.equal(module(x), x)
    (module(x) ** 2).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, -0.5 * 2 * x)
    assert module.eval()(x) is x


def test_a_domain_is_one_channel():
    with pytest.raises(CfgError, match="wrong number of channels"):
        build_graph(parse(NET + "[convolutional]\nfilters=2\n[dc]\n"))
