"""What Darknet's programs of 2013 to 2015 read and later ones do not."""

import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
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


JOINT = (
    "[net]\nwidth=64\nheight=64\nchannels=3\n"
    "[convolutional]\nfilters=8\nsize=3\nstride=8\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=24\nsize=1\nactivation=linear\n"
    "[route]\nlayers=-2\n[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
    "[route]\nlayers=-3,-1\n[yolo]\nmask=0,1,2,3\nanchors=4,5,6,7,8,9,10,11\nclasses=1\nnum=4\n"
)


def test_the_first_files_of_jde_are_told_by_their_maps():
    graph = build_graph(parse(JOINT))
    assert graph.dialect.name == "jde"
    assert "[net] has no embedding_dim" in str(graph.warnings[0])
    stated = build_graph(parse(JOINT), ReadOptions(dialect="jde"))
    assert [node.shape for node in graph.nodes] == [node.shape for node in stated.nodes]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filters=24", "filters=25"),
        ("-3,-1", "-1,-3"),
        ("classes=1", "classes=2"),
        ("mask=0,1,2,3", "mask=0,1,2"),
        ("channels=3", "channels=3\ndialect=darknet"),
        ("[route]\nlayers=-3,-1", "[convolutional]\nfilters=40"),
    ],
)
def test_what_only_resembles_them_is_refused_as_before(old, new):
    assert old in JOINT
    with pytest.raises(CfgError, match="wrong number of channels"):
        build_graph(parse(JOINT.replace(old, new)))


@pytest.mark.parametrize("key", ["joint", "objectness", "background", "nuisance"])
def test_the_detection_of_2015_is_told_from_that_of_today(key):
    text = REGION.replace("region", "detection")
    (told,) = build_graph(parse(f"{text}{key} = 0\n")).warnings
    assert f"{key}: the [detection] of before November 2015, read as today's" in str(told)
    assert f"found:   {key}=0" in str(told) and "side by side" in str(told)
