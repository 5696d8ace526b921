"""Cut layers of absurd sizes, and networks that take images of one size only."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.images.fit import preprocess_image
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.equality import prove_equal, prove_folded
from yolor_cfg.rewrite.translate import translate
from yolor_cfg.train.loss import check_losses

NET = "[net]\nwidth=24\nheight=24\nchannels=3\n"
SELECT = "[select]\nold_output={0}\nkeep=0/1\nbins={0}\noutput={0}\nactivation=linear\n"
POOL = "[maxpool]\nsize=2\nstride=2\n"


@pytest.mark.parametrize(
    "section",
    [
        SELECT.format(2_000_000_000),
        "[conv-select]\nfilters=2147483640\nkeep=0/1\n",
        "[extract]\nprofile=no.json\ninput=0\noutput=0\nold=40000,40000,3,2000\n",
        "[conv-extract]\nprofile=no.json\ninput=-1\noutput=0\nfilters=2147483640\n",
    ],
)
def test_lists_of_billions_are_refused_before_they_are_made(section: str) -> None:
    with pytest.raises(CfgError, match=r"out of bounds|not the size of a layer"):
        build_graph(parse(NET + section + "[detection]\nside=1\nclasses=1\ncoords=4\nnum=1\n"))


@pytest.mark.parametrize("dialect", ["yolor", "jde", "spurs"])
def test_a_dense_layer_gets_images_of_the_size_in_net(dialect: str) -> None:
    text = f"{NET}{POOL}{SELECT.format(5)}"
    graph = build_graph(parse(text), ReadOptions(dialect))
    assert graph.has_fixed_size
    network = Network(graph).double().eval()
    item = preprocess_image(np.zeros((40, 90, 3), np.uint8), graph, how="letterbox")
    assert item.pixels.shape == (3, 24, 24)
    with torch.no_grad():
        assert network(torch.from_numpy(item.pixels)[None].double())[0].numel() == 5
        assert prove_folded(network, network).size == (24, 24)


def test_other_networks_keep_the_shape_of_the_image() -> None:
    graph = build_graph(parse(NET + POOL), ReadOptions("yolor"))
    assert not graph.has_fixed_size
    item = preprocess_image(np.zeros((40, 90, 3), np.uint8), graph, how="letterbox")
    assert item.pixels.shape[1:] != (24, 24)


def test_a_profile_lists_no_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps([[[0] * 7]]))
    text = NET + "[conv-extract]\nprofile=p.json\ninput=-1\noutput=0\nfilters=6\nsize=3\nactivation=linear\n"
    with pytest.raises(CfgError, match="does not fit this section") as caught:
        build_graph(parse(text, str(tmp_path / "a.cfg")))
    assert caught.value.found == "7 numbers up to 0 in list 0"


def test_a_head_that_differs_is_told_with_its_difference() -> None:
    region = "[region]\nanchors=1,1\nclasses=3\ncoords=4\nnum=1\nsoftmax=0\n"
    text = f"{NET}[convolutional]\nfilters=8\nsize=3\nactivation=linear\n{region}"
    graph = build_graph(parse(text), ReadOptions("pjreddie"))
    with pytest.raises(CfgError, match="computes something else") as caught:
        prove_equal(graph, translate(graph, "darknet", "there.cfg"))
    assert float(caught.value.found.rpartition(" ")[2]) > 1e-5


def test_jde_pads_images_to_the_size_in_net() -> None:
    graph = build_graph(parse(NET + POOL), ReadOptions("jde"))
    item = preprocess_image(np.zeros((40, 90, 3), np.uint8), graph, how="letterbox")
    assert item.pixels.shape[1:] == (24, 24)


def test_a_region_with_mask_numbers_says_why_it_is_not_trained() -> None:
    region = "[region]\nanchors=1,1\nclasses=1\ncoords=6\nnum=1\n"
    text = f"{NET}[convolutional]\nfilters=8\nactivation=linear\n{region}"
    graph = build_graph(parse(text), ReadOptions("pjreddie"))
    with pytest.raises(CfgError, match="no detection loss") as caught:
        check_losses(graph)
    assert (caught.value.line, caught.value.allowed) == (8, "coords=4 softmax=1 background=0")
