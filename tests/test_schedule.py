"""Learning rates, accumulation and EMA equal those of YOLOR's own training loop."""

import json
import math

import golden
import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.optim import (
    ModelEMA,
    OptimizerSettings,
    build_optimizer,
    ema_decay,
    parameter_groups,
    set_rates,
)
from yolor_cfg.train.schedule import Cosine, CosineHyperparameters, Policy

PATH = golden.GOLDEN / "yolor" / "schedules.json"
TABLE = json.loads(PATH.read_text()) if PATH.exists() else {"training": [], "ema": {"values": {}}}
RUNS = TABLE["training"]
BIG = "[net]\nwidth=32\nheight=32\nchannels=3\n"


def schedule_of(run):
    return Cosine(
        CosineHyperparameters(**run["hyp"]),
        epochs=run["epochs"],
        batches=run["nb"],
        batch_size=run["total_batch_size"],
    )


def test_the_reference_is_there(shared):
    assert len(RUNS) == 5


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"batch{run['total_batch_size']}")
def test_rates_equal_yolors_and_have_no_lag(run):
    schedule = schedule_of(run)
    assert schedule.warmup == run["nw"]
    assert schedule.weight_decay() == pytest.approx(run["weight_decay_scaled"], rel=1e-6)
    for epoch, factor in run["cosine"].items():
        assert schedule.factor(int(epoch)) == pytest.approx(factor, rel=1e-6)
    for row in run["iterations"]:
        rates = schedule(row["ni"])
        want = row.get("lr_without_lag", row["lr_other"])
        bias = row.get("lr_without_lag", row["lr_bias"])
        assert (rates.other, rates.bias) == (pytest.approx(want, rel=1e-6), pytest.approx(bias, rel=1e-6))
        assert rates.momentum == pytest.approx(row["momentum"], rel=1e-6)
        assert rates.accumulate == row["accumulate"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"batch{run['total_batch_size']}")
def test_the_original_is_an_epoch_late_after_its_warm_up(run):
    late = [row for row in run["iterations"] if row.get("lr_without_lag", row["lr_other"]) != row["lr_other"]]
    schedule = schedule_of(run)
    for row in late:
        assert row["lr_other"] == pytest.approx(
            run["hyp"]["lr0"] * schedule.factor(row["epoch"] - 1), rel=1e-6
        )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"batch{run['total_batch_size']}")
def test_updates_fall_on_the_same_batches(run):
    schedule = schedule_of(run)
    steps, rows = 0, {row["ni"]: row for row in run["iterations"]}
    for batch in range(max(rows) + 1):
        stepped = batch % schedule(batch).accumulate == 0
        steps += stepped
        if batch in rows:
            assert (stepped, steps) == (rows[batch]["optimizer_step"], rows[batch]["steps_so_far"])


def test_the_ema_decays_as_yolors():
    for updates, decay in TABLE["ema"]["values"].items():
        assert ema_decay(int(updates)) == pytest.approx(decay, rel=1e-6)


def test_the_ema_of_a_known_walk_is_yolors(shared):
    network = Network(build_graph(parse(BIG + "[convolutional]\nfilters=1\nactivation=linear")))
    conv = network.module_list[0].Conv2d
    torch.nn.init.constant_(conv.weight, 1.0)
    torch.nn.init.constant_(conv.bias, 0.0)
    average, rows = (
        ModelEMA(network),
        {row[0]: row[1:] for row in TABLE["ema"]["trace"]["rows_update_weight_bias"]},
    )
    mean = average.network.module_list[0].Conv2d
    for k in range(1, max(rows) + 1):
        with torch.no_grad():
            conv.weight.fill_(1 + 0.1 * k)
            conv.bias.fill_(-0.2 * k)
        average.update(network)
        if k in rows:
            assert [mean.weight[0, 0, 0, 0].item(), mean.bias.item()] == pytest.approx(rows[k], rel=1e-6)


def test_statistics_are_averaged_too_and_counters_are_copied():
    text = BIG + "[convolutional]\nbatch_normalize=1\nfilters=2\nactivation=silu\n"
    network = Network(build_graph(parse(text))).train()
    average = ModelEMA(network)
    expected = {name: tensor.double() for name, tensor in network.state_dict().items()}
    for update in (1, 2, 3):
        network(torch.rand(2, 3, 32, 32))
        average.update(network)
        share = 0.9999 * (1 - math.exp(-update / 2000))
        for name, live in network.state_dict().items():
            expected[name] = share * expected[name] + (1 - share) * live.double()
    for name, mean in average.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert mean == 3
        else:
            torch.testing.assert_close(mean.double(), expected[name], rtol=1e-6, atol=1e-7)


def test_the_groups_of_yolor_csp_are_yolors():
    groups = parameter_groups(Network(load_graph("cfg/yolor_csp.cfg")))
    assert (len(groups.others), len(groups.decayed), len(groups.biases)) == (118, 115, 115)


def test_rates_reach_the_optimizer_by_group():
    network = Network(
        build_graph(parse(BIG + "[convolutional]\nbatch_normalize=1\nfilters=2\nactivation=linear"))
    )
    rates = Cosine(CosineHyperparameters(), epochs=10, batches=10, batch_size=8)(5)
    for kind in ("sgd", "adam", "adamw"):
        optimizer = build_optimizer(parameter_groups(network), OptimizerSettings(kind, 0.1, 0.9))
        set_rates(optimizer, rates)
        got = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
        assert got == {"others": (rates.other, 0), "decayed": (rates.other, 0.1), "biases": (rates.bias, 0)}


@pytest.mark.parametrize(
    ("policy", "step", "factor"),
    [
        ("policy=constant", 700, 1.0),
        ("policy=steps\nsteps=100,600,900\nscales=.1,.5,.1", 700, 0.05),
        ("policy=step\nstep=200\nscale=.5", 700, 0.125),
        ("policy=poly\npower=2\nmax_batches=1000", 700, 0.3**2),
        ("policy=exp\ngamma=.999", 700, 0.999**700),
        ("policy=sigmoid\ngamma=.01\nstep=600", 700, 1 / (1 + math.exp(1))),
        # network.c 145: the first step that lies ahead ends the search.
        ("policy=steps\nsteps=40000,5000\nscales=.1,.1", 6000, 1.0),
        ("policy=steps\nsteps=500,5000,600\nscales=.1,.1,.1", 700, 0.1),
        # network.c 164: a cycle ends when it is exceeded, so its last step has learning_rate_min.
        ("policy=sgdr\nsgdr_cycle=500\nlearning_rate_min=0", 500, 0.0),
        ("policy=sgdr\nsgdr_cycle=500\nlearning_rate_min=0\nsgdr_mult=3", 2000, 0.0),
        ("policy=sgdr\nmax_batches=400\nlearning_rate_min=0", 500, (1 + math.cos(math.pi * 100 / 800)) / 2),
        ("policy=steps\nsteps=100\nscales=.1\nburn_in=1000\npower=4", 700, 0.7**4),
    ],
)
def test_a_policy_is_its_formula(policy, step, factor):
    net = build_graph(parse(BIG + f"learning_rate=.02\n{policy}\n[avgpool]")).net
    assert Policy(net).rate(step) == pytest.approx(0.02 * factor, abs=1e-12)


def darknet_net(lines):
    return build_graph(parse(BIG + f"learning_rate=.01\n{lines}\n[avgpool]")).net


def test_an_iteration_is_counted_before_its_update():
    """train_network_datum in network.c counts the images first: burn_in=4 power=1 starts at .01 * 1/4."""
    policy = Policy(darknet_net("batch=4\nsubdivisions=2\nburn_in=4\npower=1"))
    rates = [policy(batch).other for batch in range(10)]
    assert rates == pytest.approx([0.0025] * 2 + [0.005] * 2 + [0.0075] * 2 + [0.01] * 4)


def test_the_random_policy_is_a_power_of_an_even_draw():
    """get_current_rate in network.c: learning_rate * pow(rand_uniform(0, 1), power), drawn at each update;
    the mean of u^3 is 1/4, of u^6 1/7."""
    net = darknet_net("batch=4\nsubdivisions=2\npolicy=random\npower=3")
    policy = Policy(net, seed=5)
    factors = torch.tensor([policy.rate(step) for step in range(1, 4001)]) / 0.01
    assert factors.mean() == pytest.approx(1 / 4, abs=0.02)
    assert factors.square().mean() == pytest.approx(1 / 7, abs=0.02)
    assert 0 < factors.min() and factors.max() <= 1
    assert policy(6) == policy(7) != policy(8)
    assert policy(6) == Policy(net, seed=5)(6) != Policy(net, seed=6)(6)


def test_a_policy_of_steps_needs_a_step():
    with pytest.raises(CfgError, match=r"step.*out of bounds"):
        darknet_net("policy=step\nstep=0")
