"""What sections ask of training. C Darknet, network_kernels.cu: 172 (stopbackward), 185 (onlyforward),
291-294 (burnin_update, train_only_bn, dont_update); convolutional_kernels.cu: 1300 (learning_rate), 1378
(clip).
"""

import pytest
import torch

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.loop import reset_non_finite
from yolor_cfg.train.optim import (
    ModelEMA,
    OptimizerSettings,
    build_optimizer,
    darknet_ema_decay,
    parameter_groups,
    set_rates,
)
from yolor_cfg.train.schedule import Rates
from yolor_cfg.train.updates import LayerUpdates, apply_rules, rate_factors

LAYERS, BEFORE, AT, BEHIND = 3, 0, 1, 2
CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=linear\n"


def weights_over_updates(keys, *, updates=5, net="", decay=0.0):
    """The kernels of three convolutions before and after each update; the middle one has the keys."""
    torch.manual_seed(0)
    text = f"[net]\nwidth=8\nheight=8\nchannels=3\n{net}\n{CONV}{CONV}{keys}\n{CONV}"
    network = Network(build_graph(parse(text))).train()
    apply_rules(network)
    factors = rate_factors(network)
    settings = OptimizerSettings("sgd", weight_decay=decay, momentum=0.0)
    optimizer = build_optimizer(parameter_groups(network), settings, factors=factors)
    set_rates(optimizer, Rates(0.1, 0.1, 0.0, 1))
    rules, rows = LayerUpdates(network), []
    for done in range(updates + 1):
        rows.append([layer.Conv2d.weight.detach().clone() for layer in network.module_list])
        (network(torch.rand(2, 3, 8, 8))[0] * torch.rand(2, 4, 8, 8)).sum().backward()
        rules.prepare_gradients(done)
        optimizer.step()
        rules.limit_weights(done)
        optimizer.zero_grad()
    return rows, network


def moves(rows, layer):
    """In which of the updates the kernels of this layer change."""
    return [not torch.equal(a[layer], b[layer]) for a, b in zip(rows, rows[1:], strict=False)]


def test_gradients_of_skipped_updates_add_up():
    """update_network_gpu (network_kernels.cu 291) skips the layer, so weight_updates_gpu keeps its sum."""
    network = Network(build_graph(parse(f"[net]\nwidth=8\nheight=8\nchannels=3\n{CONV}dont_update=2\n")))
    rules, weight = LayerUpdates(network), network.module_list[0].Conv2d.weight
    for done, held, total in ((0, True, None), (1, True, None), (2, False, 3.0)):
        weight.grad = torch.ones_like(weight) + (0 if weight.grad is None else weight.grad)
        waiting = rules.prepare_gradients(done)
        assert (weight in waiting) == held
        assert total is None and weight.grad is None or bool((weight.grad == total).all())
        weight.grad = waiting.get(weight)


def test_numbers_that_are_none_become_0_with_try_fix_nan():
    """reset_nan_and_inf in blas_kernels.cu."""
    network = Network(build_graph(parse(f"[net]\nwidth=8\nheight=8\nchannels=3\n{CONV}")))
    weight = network.module_list[0].Conv2d.weight
    weight.grad = torch.ones_like(weight)
    weight.grad[0, 0, 0] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    reset_non_finite(network)
    assert weight.grad[0, 0, 0].tolist() == [0, 0, 0] and weight.grad[1:].eq(1).all()


def test_the_number_of_ema_alpha_counts_from_half_of_the_training_on():
    """network.c 430: before max_batches / 2 there is no average."""
    decay = darknet_ema_decay(0.9, 100)
    assert [decay(update) for update in (1, 50, 51, 100)] == [0, 0, 0.9, 0.9]
    layer = torch.nn.Linear(1, 1, bias=False)
    average = ModelEMA(layer, decay=decay)
    want = 0.0
    for update in range(1, 60):
        torch.nn.init.constant_(layer.weight, float(update))
        average.update(layer)
        want = float(update) if update <= 50 else 0.9 * want + 0.1 * update
    assert average.network.weight.item() == pytest.approx(want)


@pytest.mark.parametrize(
    ("keys", "net", "before", "at", "behind"),
    [
        ("", "", "11111", "11111", "11111"),
        ("stopbackward=1", "", "00000", "00000", "11111"),
        ("stopbackward=3", "", "00011", "00011", "11111"),
        ("onlyforward=1", "", "00000", "00000", "11111"),
        ("dont_update=2", "", "11111", "00111", "11111"),
        ("burnin_update=2", "burn_in=2", "11111", "00011", "11111"),
        ("train_only_bn=1", "", "00000", "00000", "11111"),
        ("learning_rate=0", "", "11111", "00000", "11111"),
    ],
)
def test_a_section_says_which_updates_change_it(keys, net, before, at, behind):
    rows, _ = weights_over_updates(keys, net=net)
    found = ["".join(str(int(moved)) for moved in moves(rows, layer)) for layer in range(LAYERS)]
    assert found == [before, at, behind]


def test_weight_decay_goes_on_where_gradients_stop():
    """update_network_gpu updates these layers all the same, but none before stopbackward=1 (train=0)."""
    rows, _ = weights_over_updates("stopbackward=3", updates=1, decay=0.5)
    for layer in (BEFORE, AT):
        torch.testing.assert_close(rows[1][layer], rows[0][layer] * (1 - 0.1 * 0.5))
    rows, _ = weights_over_updates("stopbackward=1", updates=1, decay=0.5)
    assert torch.equal(rows[1][BEFORE], rows[0][BEFORE])
    torch.testing.assert_close(rows[1][AT], rows[0][AT] * (1 - 0.1 * 0.5))


def test_learning_rate_is_a_factor():
    whole, _ = weights_over_updates("", updates=1)
    part, _ = weights_over_updates("learning_rate=.25", updates=1)
    torch.testing.assert_close(part[1][AT] - part[0][AT], 0.25 * (whole[1][AT] - whole[0][AT]))
    assert torch.equal(part[1][BEHIND], whole[1][BEHIND])


def test_clip_bounds_the_weights():
    rows, _ = weights_over_updates("clip=.01", updates=1)
    assert rows[0][AT].abs().max() > 0.01
    assert rows[1][AT].abs().max() == pytest.approx(0.01)
    assert rows[1][BEHIND].abs().max() > 0.01


@pytest.mark.parametrize("keys", ["stopbackward=1", "train_only_bn=1", "dont_update=9"])
def test_statistics_change_in_layers_that_do_not_learn(keys):
    _, network = weights_over_updates(keys)
    for layer in network.module_list:
        assert layer.BatchNorm2d.running_mean.abs().max() > 0
