"""What Darknet's programs of 2013 to 2015 read and later ones do not."""

import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network

VECTORS = "[conn]\ninput=6\noutput = 5\nactivation=ramp\n\n[conn]\noutput = 4\nactivation=ramp\n\n[softmax]\n"
REGION = (
    "[net]\nwidth=8\nheight=8\nchannels=2\n[connected]\noutput=52\nactivation=linear\n"
    "[region]\nclasses=3\ncoords=4\nrescore=1\nside=2\nnum=2\nsqrt=1\n"
)


@pytest.mark.parametrize("name", ["conn", "connected"])
def test_a_first_layer_of_2013_gives_the_length_of_its_vectors(name):
    graph = build_graph(parse(VECTORS.replace("conn", name)))
    assert graph.image == (6, 1, 1)
    assert [node.shape.channels for node in graph.nodes] == [5, 4, 4]
    assert [str(warning).splitlines()[0] for warning in graph.warnings] == [
        "<text>:1: [net] the file does not start with [net]"
    ]
    output = Network(graph).eval()(torch.rand(2, 6, 1, 1))
    assert torch.allclose(output[0].flatten(1).sum(1), torch.ones(2))


def test_the_length_counts_in_a_first_layer_of_vectors_alone():
    with pytest.raises(CfgError, match=r"the first section must be \[net\]"):
        build_graph(parse("[conv]\ninput=6\nfilters=2\n"))
    told = build_graph(parse("[net]\ninputs=6\n" + VECTORS)).warnings
    assert ["input: unknown key" in str(warning) for warning in told] == [True]


def test_the_region_of_2015_is_the_detection_of_today():
    early, today = (build_graph(parse(text)) for text in (REGION, REGION.replace("region", "detection")))
    assert [node.section.type for node in early.nodes] == ["connected", "detection"]
    warning = str(early.warnings[0])
    assert "<text>:8: [region #1] the [region] of 2015, today's [detection]" in warning
    assert len(early.warnings) == 1 and not today.warnings
    torch.manual_seed(0)
    one, other = (Network(graph).eval() for graph in (early, today))
    other.load_state_dict(one.state_dict())
    image = torch.rand(1, 2, 8, 8)
    assert torch.equal(one(image)[0], other(image)[0])


def test_the_softmax_of_that_region_did_more():
    told = build_graph(parse(REGION + "softmax=1\n")).warnings
    assert ["softmax: only the classes are changed" in str(warning) for warning in told] == [False, True]


def test_a_region_without_side_stays_what_it_is():
    text = REGION.replace("side=2\n", "").replace("output=52", "output=16")
    assert [node.section.type for node in build_graph(parse(text)).nodes] == ["connected", "region"]
