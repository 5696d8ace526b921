"""Every activation against its formula, written out number by number."""

import math

import pytest
import torch

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.ops.activations import activate, activate_

# Bends, steps and both thresholds of the softplus lie between or on these.
POINTS = [-30, -20.5, -6.5, -4.5, -4, -3.2, -2, -1.3, -1, -0.4, 0, 0.3, 1, 1.7, 2, 3.6, 4, 5.5, 7.25, 25]
OVER_CHANNELS = ["normalize_channels", "normalize_channels_softmax", "normalize_channels_softmax_maxval"]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    if x > 20:
        return x
    return math.exp(x) if x < -20 else math.log(math.exp(x) + 1)


def stair(x: float) -> float:
    floor = math.floor(x)
    return math.floor(x / 2) if floor % 2 == 0 else (x - floor) + math.floor(x / 2)


FORMULAS = {
    "linear": lambda x: x,
    "logistic": sigmoid,
    "loggy": lambda x: 2 * sigmoid(x) - 1,
    "tanh": math.tanh,
    "relu": lambda x: x if x > 0 else 0,
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "revleaky": lambda x: x if x > 0 else 0.1 * x,
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (math.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3)),
    "swish": lambda x: x * sigmoid(x),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * math.tanh(softplus(x)),
    "hard_mish": lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
    "plse": lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5,
    "hardtan": lambda x: min(max(x, -1), 1),
    "relu10": lambda x: min(max(x, -1), 1),
    "lelu": lambda x: 10 * math.tanh(x),
    "lhtan": lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
    "stair": stair,
    "h_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "none": lambda x: x,
}


def test_there_is_a_function_for_each_name_of_both_dialects() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS) | set(OVER_CHANNELS)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_is_its_formula(name: str) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64).reshape(1, -1, 1, 1)
    expected = torch.tensor([FORMULAS[name](point) for point in POINTS], dtype=torch.float64)
    torch.testing.assert_close(activate(x, name).flatten(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", OVER_CHANNELS)
def test_a_normalisation_over_channels_is_a_share_of_the_sum_in_its_cell(name: str) -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shift = x.amax(1, keepdim=True) if name.endswith("maxval") else 0
    parts = x.clamp(min=0) if name == "normalize_channels" else torch.exp(x - shift)
    for image, row, column in [(0, 0, 0), (1, 1, 0), (1, 0, 1)]:
        cell = parts[image, :, row, column]
        got = activate(x, name)[image, :, row, column]
        torch.testing.assert_close(got, cell / (1e-4 + sum(cell.tolist())), rtol=1e-12, atol=0)


def test_large_values_overflow_the_softmax_over_channels_only_where_the_maximum_stays() -> None:
    x = torch.tensor([200.0, 199.0]).reshape(1, 2, 1, 1)
    assert not activate(x, "normalize_channels_softmax").isfinite().all()
    shares = activate(x, "normalize_channels_softmax_maxval").flatten()
    expected = torch.tensor([1.0, math.exp(-1)]) / (1e-4 + 1 + math.exp(-1))
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_leaves_its_argument_alone_unless_it_may_overwrite_it(name: str) -> None:
    x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1)) * 3
    kept = x.clone()
    with torch.no_grad():
        expected = activate(x, name)
        assert torch.equal(x, kept)
        torch.testing.assert_close(activate_(x, name), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name, one in ACTIVATIONS.items() if one.in_place])
def test_without_gradients_no_second_map_is_made(name: str) -> None:
    x = torch.randn(1, 4, 3, 5)
    with torch.no_grad():
        assert activate_(x, name).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_gradient_is_that_of_the_formula(name: str) -> None:
    x = torch.tensor([[-5.3, -2.6, -0.7, 0.6, 2.4, 6.3]], dtype=torch.float64).reshape(1, 6, 1, 1)
    assert torch.autograd.gradcheck(lambda value: activate_(value * 1, name), x.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_number_type_stays(name: str, dtype: torch.dtype) -> None:
    assert activate(torch.ones(1, 2, 1, 1, dtype=dtype), name).dtype == dtype
