"""`adam=1`: in C Darknet only update_convolutional_layer_gpu (convolutional_kernels.cu 1317) knows Adam.

The others, [batchnorm], [connected], weighted [shortcut], implicit and recurrent ones, learn by SGD with
`momentum`: make_implicit_layer leaves `l.adam` at 0, crnn_layer.c 54 makes its convolutions with adam = 0.
"""

import copy

import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.shape import Shape
from yolor_cfg.train.memory import check_batch
from yolor_cfg.train.optim import (
    MixedOptimizer,
    OptimizerSettings,
    build_optimizer,
    parameter_groups,
    set_rates,
)
from yolor_cfg.train.schedule import Rates

CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"
RATE, MOMENTUM = 0.1, 0.5


def build(body, **settings):
    network = Network(build_graph(parse(f"[net]\nwidth=8\nheight=8\nchannels=4\n{body}"))).train()
    chosen = OptimizerSettings("adam", 0.0, 0.9, plain_momentum=MOMENTUM, **settings)
    optimizer = build_optimizer(parameter_groups(network), chosen)
    set_rates(optimizer, Rates(RATE, RATE, 0.9, 1))
    return network, optimizer


def update(network, optimizer, gradient=3.0):
    """How far each parameter moves with this gradient."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return {name: (p - before[name]).mean().item() for name, p in network.named_parameters()}


PLAIN = {
    "connected": "[connected]\noutput=3\nactivation=linear\n",
    "batchnorm": "[batchnorm]\n",
    "crnn": "[crnn]\nhidden=4\noutput=4\nsize=3\npad=1\n",
    "shortcut": "[shortcut]\nfrom=-2\nweights_type=per_feature\nweights_normalization=relu\n",
}


@pytest.mark.parametrize("body", PLAIN.values(), ids=PLAIN)
def test_only_convolutions_learn_by_adam(body):
    network, optimizer = build(CONV + CONV + body)
    moves = update(network, optimizer)
    mine = [move for name, move in moves.items() if name.startswith("module_list.2.")]
    assert mine and mine == pytest.approx([-RATE * 3.0] * len(mine), rel=1e-4)  # SGD: rate x gradient
    assert moves["module_list.0.Conv2d.weight"] == pytest.approx(-RATE, rel=1e-4)  # Adam: rate x sign
    update(network, optimizer)
    buffers = [state["momentum_buffer"] for state in optimizer.state.values() if "momentum_buffer" in state]
    assert len(buffers) == len(mine) and all(bool((b == 3.0 * (1 + MOMENTUM)).all()) for b in buffers)


def test_the_state_of_both_is_saved_and_loaded():
    body = CONV + PLAIN["connected"]
    first, optimizer = build(body)
    update(first, optimizer)
    second, other = build(body)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert isinstance(other, MixedOptimizer)
    assert update(first, optimizer, 1.0) == pytest.approx(update(second, other, 1.0), abs=0)


def test_convolutions_alone_have_adam_itself():
    assert type(build(CONV)[1]) is torch.optim.Adam
    assert isinstance(build(PLAIN["connected"])[1], MixedOptimizer)


def test_a_batch_that_no_memory_holds_is_refused():
    """A trial with --batch-size 99999999 hung for more than a minute."""
    check_batch(4096, image=Shape(3, 64, 64), image_count=2)
    check_batch(5000, image=Shape(3, 64, 64), image_count=5000)
    for number in (4097, 99999999, 10**30):
        with pytest.raises(CfgError, match="a batch of too many images"):
            check_batch(number, image=Shape(3, 64, 64), image_count=2)
    with pytest.raises(CfgError, match="a batch of too many images"):
        check_batch(4096, image=Shape(3, 2**17, 2**17), image_count=2)
