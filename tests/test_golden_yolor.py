"""The numbers of YOLOR's PyTorch code: layers, heads, decoded boxes, gradients and training mode."""

import golden
import numpy as np
import pytest
import torch

CASES = golden.yolor_cases()
# The reference values are float32 roundings of a float64 run.
RAW, PIXELS, GRADIENT = 2e-6, 5e-5, 1e-5


def test_the_cases_are_all_there(shared):
    assert len(CASES) == 19


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_and_head_equals_yolors(case):
    run = golden.yolor_network(case)
    layers = [
        int(name[5:8]) for name in run.want.files if name.startswith("layer") and name.endswith("_shape")
    ]
    with torch.no_grad():
        for index, value in run.network.trace(run.images, layers).items():
            golden.check_samples(f"layer{index:03d}", value, run.want, atol=RAW, rtol=RAW)
        raws = run.network(run.images)
        for number, raw in enumerate(raws):
            golden.check_samples(f"head{number}_raw", raw, run.want, atol=RAW, rtol=RAW)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decoded_boxes_equal_yolors(case):
    run = golden.yolor_network(case)
    with torch.no_grad():
        boxes, objectness, scores = run.network.decode(run.network(run.images))
    joined = torch.cat([boxes, objectness[..., None], scores], dim=-1)
    golden.check_samples("dec_all", joined, run.want, atol=PIXELS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradients_flow_as_in_yolor(case):
    run = golden.yolor_network(case)
    raws = run.network(run.images)
    cotangents = run.maker.make_cotangents(run.meta["cotangent_seed"], [tuple(raw.shape) for raw in raws])
    loss = sum((raw * torch.from_numpy(c)).sum() for raw, c in zip(raws, cotangents, strict=True))
    loss.backward()
    parameters = dict(run.network.named_parameters())
    assert loss.item() == pytest.approx(float(run.want["grad_loss"]), rel=GRADIENT, abs=1e-9)
    got = [parameters[name].grad for name in run.meta["param_names"]]
    norms = [0.0 if grad is None else grad.norm().item() for grad in got]
    sums = [0.0 if grad is None else grad.sum().item() for grad in got]
    np.testing.assert_allclose(norms, run.want["grad_norm"], rtol=GRADIENT, atol=1e-9)
    np.testing.assert_allclose(sums, run.want["grad_sum"], rtol=GRADIENT, atol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_training_mode_uses_batch_statistics_as_yolor_does(case):
    run = golden.yolor_network(case)
    if "train_head0_raw_shape" not in run.want.files:
        assert run.meta["bn_names"] is None, "only cases without batch statistics leave this out"
        return
    run.network.train()
    with torch.no_grad():
        raws = run.network(run.images)
    for number, raw in enumerate(raws):
        golden.check_samples(f"train_head{number}_raw", raw, run.want, atol=RAW, rtol=RAW)
    state = run.network.state_dict()
    norms = [
        [state[f"{name}.{stat}"].norm().item() for stat in ("running_mean", "running_var")]
        for name in run.meta["bn_names"]
    ]
    np.testing.assert_allclose(norms, run.want["train_bn_norm"], rtol=1e-5)
