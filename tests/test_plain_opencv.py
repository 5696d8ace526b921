"""Plain Darknet for both readers: other words, the same numbers, and a name for what has no other words."""

import plain_cases
import pytest
import torch
from folding import apart, lived_in, pictures
from small import graph_of

from yolor_cfg.model import Network
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.rewrite.to_opencv import to_opencv

BOUND = 1e-10
# What OpenCV 4.14 passes over in silence.
UNREAD = ("dilation=", "antialiasing=", "share_index=", "cbn=", "weights_type=", "scale=", "temperature=")


def network_of(text: str) -> Network:
    return lived_in(graph_of(text, image=plain_cases.IMAGE))


@pytest.mark.parametrize("keep_bn", [False, True])
@pytest.mark.parametrize("name", plain_cases.BOTH)
def test_other_words_give_the_same_numbers(name, keep_bn):
    network = network_of(plain_cases.BOTH[name])
    images = pictures(network.graph, 2)
    with torch.no_grad():
        before = network(images)
        plain = to_plain_darknet(network, keep_bn=keep_bn)
        found = to_opencv(plain)
        assert apart(before, found.network(images)) <= BOUND
        assert apart(before, plain(images)) <= BOUND  # which stays as it was
    text = found.network.graph.document.text
    assert not [key for key in UNREAD if key in text]
    assert found.only_darknet == ()


@pytest.mark.parametrize("name", plain_cases.ONLY_DARKNET)
def test_what_has_no_other_words_is_named_and_stays(name):
    text, reason = plain_cases.ONLY_DARKNET[name]
    network = network_of(text)
    images = pictures(network.graph, 2)
    found = to_opencv(to_plain_darknet(network))
    assert reason in [told.found for told in found.only_darknet]
    assert all(told.line > 0 for told in found.only_darknet)
    with torch.no_grad():
        assert apart(network(images), found.network(images)) <= BOUND
