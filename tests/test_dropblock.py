"""[dropout] dropblock=1, by forward_dropout_layer_gpu and dropblock_fast_kernel of C Darknet."""

import pytest
import torch

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network


def dropped_map(keys, *, progress=1.0, side=24):
    """What is left of ones [64, 4, side, side] in training."""
    torch.manual_seed(0)
    net = f"[net]\nwidth={side}\nheight={side}\nchannels=4\n"
    layer = Network(build_graph(parse(f"{net}[dropout]\ndropblock=1\n{keys}\n[avgpool]"))).module_list[0]
    layer.train().progress = progress
    return layer, layer(torch.ones(64, 4, side, side))


@pytest.mark.parametrize(
    ("keys", "progress", "side"),
    [
        ("dropblock_size_abs=5", 1.0, 5),
        ("dropblock_size_abs=5", 0.85, 5),  # they grow until .85 of the training
        ("dropblock_size_abs=10", 0.425, 5),
        ("dropblock_size_rel=.25", 1.0, 6),
        ("dropblock_size_abs=5\ndropblock_size_rel=.5", 1.0, 5),  # parser.c 888: the absolute one counts
        ("", 1.0, 7),  # parser.c 884
        ("dropblock_size_abs=10", 0.01, 1),
    ],
)
def test_a_channel_loses_one_block_at_most(keys, progress, side):
    _, out = dropped_map(f"probability=.5\n{keys}", progress=progress)
    zeros = (out == 0).flatten(0, 1)
    sizes = {(int(z.any(1).sum()), int(z.any(0).sum()), int(z.sum())) for z in zeros if z.any()}
    assert sizes == {(side, side, side * side)}


def test_what_is_left_grows_by_what_is_lost_of_an_image():
    _, out = dropped_map("probability=.3\ndropblock_size_abs=5")
    lost = (out == 0).flatten(1).float().mean(1)
    assert lost.max() > 0
    for image, part in zip(out, lost, strict=True):
        torch.testing.assert_close(image[image != 0], (1 / (1 - part)).expand(int((image != 0).sum())))


def test_blocks_are_drawn_as_often_as_the_probability_says():
    """A place is drawn with probability / side^2, and one place is enough."""
    _, out = dropped_map("probability=.05\ndropblock_size_abs=5")
    drawn = (out == 0).flatten(2).any(-1).float().mean()
    assert drawn == pytest.approx(1 - (1 - 0.05 / 25) ** (24 * 24), abs=0.08)


def test_nothing_is_dropped_at_the_start_nor_in_evaluation():
    layer, out = dropped_map("probability=.5\ndropblock_size_abs=5", progress=0.0)
    assert (out == 1).all()
    layer.eval().progress = 1.0
    assert (layer(torch.ones(1, 4, 24, 24)) == 1).all()
