"""The models of implicit knowledge: how they start, what they compute, what they cost."""

from math import pi, sqrt

import numpy as np
import pytest
import torch
from small import graph_of, last_node, network_of
from torch.nn import functional as F

from yolor_cfg.count import count_costs
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node

# What a model may be asked for; with each the value starts as section 4.3 says.
MODELS = {
    "vector": "",
    "network": "model=network",
    "network with a small prior": "model=network\nprior=2",
    "network with one hidden unit": "model=network\nprior=3\nhidden=1\nactivation=relu",
    "network with hidden layers": "model=network\nhidden=12,5\nactivation=mish",
    "network of a saturated activation": "model=network\nhidden=9\nactivation=logistic",
    "factorization": "model=factorization",
    "factorization of one basis vector": "model=factorization\nrank=1",
    "nonnegative factorization": "model=factorization\nnonnegative=1",
    "nonnegative factorization of rank 2": "model=factorization\nnonnegative=1\nrank=2",
}
OPERATORS = {"add": 0.0, "mul": 1.0, "cat": 0.0}
FORMS = {"": "filters=8", "_2d": "atoms=2\nfilters=4"}
DRAWS = 1250  # of 8 numbers each: 10,000


def implicit(text: str) -> Node:
    return last_node(text, dialect="yolor")


def drawn(text: str, draws: int = DRAWS) -> torch.Tensor:
    """The values of freshly built modules, in double precision: [draws, ...]."""
    torch.manual_seed(0)
    section = implicit(text).section
    with torch.no_grad():
        return torch.cat([section.module()() for _ in range(draws)]).double()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_starts_around_what_its_operator_leaves_as_it_is(model, operator, form):
    values = drawn(f"[implicit_{operator}{form}]\n{FORMS[form]}\n{MODELS[model]}")
    # The numbers of one draw hang together, so the mean is known to 0.02 / sqrt(1250) at worst; 3 of those.
    assert values.numel() == 10_000
    assert values.mean().item() == pytest.approx(OPERATORS[operator], abs=0.0017)
    assert values.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_of_one_draw_spread_as_much(model):
    values = drawn(f"[implicit_mul]\nfilters=10000\nprior=7\n{MODELS[model]}\nmean=3\nsigma=.5", 1)
    assert values.mean().item() == pytest.approx(3, abs=0.05 * 0.5)
    assert values.std().item() == pytest.approx(0.5, rel=0.05)


def test_sigma_may_be_called_std_as_in_c_darknet():
    assert drawn("[implicit_add]\nfilters=8\nstd=.3").std().item() == pytest.approx(0.3, rel=0.05)
    assert drawn("[implicit_add]\nfilters=8\nstd=.3\nsigma=.1").std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_without_a_spread_every_model_starts_at_its_mean(model):
    values = drawn(f"[implicit_mul]\nfilters=8\n{MODELS[model]}\nsigma=0", 3)
    np.testing.assert_allclose(values, np.ones(values.shape), atol=1e-6)


@pytest.mark.parametrize("source", ["add", "mul"])
def test_a_chain_leaves_the_start_within_the_five_percent(source):
    graph = graph_of(f"[implicit_{source}]\nfilters=6\n[implicit_add]\nfilters=8\nchain=0", dialect="yolor")
    torch.manual_seed(0)
    before, after = graph.nodes
    with torch.no_grad():
        values = torch.cat(
            [after.section.module(*after.inputs)(before.section.module()()) for _ in range(DRAWS)]
        ).double()
    assert values.mean().item() == pytest.approx(0, abs=0.0017)
    assert values.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_network_is_its_matrices_one_after_another():
    keys = "model=network\nprior=5\nhidden=4,3\nactivation=silu"
    module = implicit(f"[implicit_add]\nfilters=6\n{keys}").section.module()
    first, second, last = module.weights
    z = module.prior[0]
    want = last @ F.silu(second @ F.silu(first @ z))
    torch.testing.assert_close(module()[0, :, 0, 0], want)
    assert [tuple(weight.shape) for weight in module.weights] == [(4, 5), (3, 4), (6, 3)]


def test_a_factorization_is_the_basis_mixed_by_the_coefficients():
    module = implicit("[implicit_add]\nfilters=6\nmodel=factorization\nrank=4").section.module()
    want = sum(c * z for c, z in zip(module.coefficients[0], module.basis, strict=True))
    torch.testing.assert_close(module()[0, :, 0, 0], want)


def test_a_factor_starts_at_one_and_what_the_model_says_is_added():
    module = implicit("[implicit_mul]\nfilters=6\nmodel=factorization\nrank=4").section.module()
    torch.testing.assert_close(module()[0, :, 0, 0], 1 + module.coefficients[0] @ module.basis)


def test_in_a_matrix_the_rows_share_the_basis_and_the_weights():
    factors = implicit("[implicit_add_2d]\natoms=3\nfilters=6\nmodel=factorization\nrank=4").section.module()
    torch.testing.assert_close(factors()[0, :, :, 0], factors.coefficients @ factors.basis)
    network = implicit("[implicit_add_2d]\natoms=3\nfilters=6\nmodel=network\nprior=5").section.module()
    rows = torch.stack([network.weights[0] @ z for z in network.prior])
    torch.testing.assert_close(network()[0, :, :, 0], rows)


def test_nothing_in_a_nonnegative_factorization_counts_as_negative():
    keys = "model=factorization\nrank=4\nnonnegative=1"
    module = implicit(f"[implicit_add]\nfilters=6\n{keys}").section.module()
    floor = -0.02 * sqrt(2 * 4 / (pi - 2))
    with torch.no_grad():
        module.coefficients[0, 0] = -0.7
        module.basis[1] = -0.5
        value = module()[0, :, 0, 0]
        torch.testing.assert_close(value, module.coefficients.abs()[0] @ module.basis.abs() + floor)
        module.basis.zero_()
        torch.testing.assert_close(module()[0, :, 0, 0], torch.full((6,), floor))


def test_a_sparse_factorization_pays_for_its_coefficients():
    module = implicit("[implicit_add]\nfilters=6\nmodel=factorization\nrank=4\nsparse=.25").section.module()
    assert module.penalty().item() == pytest.approx(0.25 * module.coefficients.abs().sum().item())
    module.penalty().backward()
    torch.testing.assert_close(module.coefficients.grad, 0.25 * module.coefficients.sign())


@pytest.mark.parametrize("keys", ["", "model=network", "model=factorization", "model=network\nhidden=3"])
def test_others_pay_nothing(keys):
    assert implicit(f"[implicit_add]\nfilters=6\n{keys}").section.module().penalty() is None


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_of_every_model_is_learned(model):
    torch.manual_seed(3)
    module = implicit(f"[implicit_add]\nfilters=6\n{MODELS[model]}").section.module()
    (module() * torch.randn(6)[:, None, None]).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


SIZES = {
    # 2 x filters numbers in the prior, filters of them out; as many basis vectors and coefficients.
    "": 10,
    "model=network": 20 + 20 * 10,
    "model=factorization": 20 + 20 * 10,
    "model=network\nprior=5": 5 + 5 * 10,
    "model=network\nprior=5\nhidden=4,7": 5 + 5 * 4 + 4 * 7 + 7 * 10,
    "model=factorization\nrank=3": 3 + 3 * 10,
    "model=factorization\nprior=4": 4 + 4 * 10,
    "chain=0": 10 + 10 * 4,
    "model=factorization\nrank=3\nchain=0": 3 + 3 * 10 + 10 * 4,
}


def behind_another(keys: str) -> Graph:
    return graph_of(f"[implicit_add]\nfilters=4\n[implicit_add]\nfilters=10\n{keys}", dialect="yolor")


@pytest.mark.parametrize("keys", SIZES)
def test_parameters_and_multiplications_of_a_model(keys):
    graph = behind_another(keys)
    node, cost = graph.nodes[1], count_costs(graph).nodes[1]
    vectors = [
        tensor.size
        for tensor in node.section.tensors(*node.inputs)
        if tensor.role in ("implicit", "prior", "coefficients")
    ]
    assert cost.parameters == SIZES[keys]
    assert cost.macs == SIZES[keys] - sum(vectors), "each matrix is multiplied by one vector"
    assert node.section.decayed() == ()


def test_rows_of_a_matrix_cost_their_own_priors_and_products():
    text = "[implicit_add_2d]\natoms=3\nfilters=10\nmodel=network\nprior=5"
    cost = count_costs(graph_of(text, dialect="yolor")).nodes[0]
    assert (cost.parameters, cost.macs) == (3 * 5 + 5 * 10, 3 * 5 * 10)


def test_a_chain_adds_a_matrix_times_the_other_tasks_value():
    text = "[implicit_mul]\nfilters=4\n[implicit_add]\nfilters=6\nmodel=factorization\nchain=-1"
    network = network_of(text, dialect="yolor")
    assert network.graph.nodes[1].sources == (0,)
    with torch.no_grad():
        values = network.trace(torch.zeros(3, 4, 6, 8).double(), [0, 1])
    module = network.module_list[1]
    want = module.compute_value()[0, :, 0, 0] + module.link @ values[0][0, :, 0, 0]
    torch.testing.assert_close(values[1][0, :, 0, 0], want)
    assert tuple(values[1].shape) == (1, 6, 1, 1)


def test_a_chain_may_come_from_a_matrix_and_go_to_one():
    text = "[implicit_add_2d]\natoms=2\nfilters=3\n[implicit_mul_2d]\natoms=5\nfilters=2\nchain=0"
    network = network_of(text, dialect="yolor")
    with torch.no_grad():
        values = network.trace(torch.zeros(1, 4, 6, 8).double(), [0, 1])
    module = network.module_list[1]
    want = module.implicit.flatten() + module.link @ values[0].flatten()
    torch.testing.assert_close(values[1].flatten(), want)


def test_a_chain_teaches_the_task_it_comes_from():
    text = "[implicit_add]\nfilters=4\n[implicit_add]\nfilters=6\nchain=0\n[shift_channels]\nfrom=1"
    network = network_of(text.replace("[shift", "[route]\nlayers=1\n[shift"), dialect="yolor")
    (out,) = network(torch.zeros(1, 4, 6, 8).double())
    out.sum().backward()
    assert network.module_list[0].implicit.grad.abs().min() > 0
    assert network.module_list[1].link.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("keys", "key", "message", "allowed"),
    [
        ("model=matrix", "model", "unknown value", "factorization, network, vector"),
        ("model=network\nprior=0", "prior", "out of bounds", "1 or more"),
        ("model=network\nhidden=4,0", "hidden", "out of bounds", "1 or more"),
        ("model=network\nhidden=4\nactivation=sulky", "activation", "unknown value", None),
        ("model=factorization\nrank=0", "rank", "out of bounds", "1 or more"),
        ("model=factorization\nsparse=-1", "sparse", "out of bounds", "0 or more"),
        ("sigma=-1", "sigma", "out of bounds", "0 or more"),
        ("chain=0,0", "chain", "takes one section", "one number"),
        ("chain=1", "chain", "no such section before this one", None),
    ],
)
def test_a_key_out_of_range_is_told(keys, key, message, allowed):
    with pytest.raises(CfgError, match=message) as told:
        behind_another(keys)
    assert told.value.key == key
    assert allowed is None or told.value.allowed == allowed


def test_a_chain_from_a_map_is_refused():
    with pytest.raises(CfgError, match="the output of that section is a feature map") as told:
        graph_of("[maxpool]\nsize=3\n[implicit_add]\nfilters=4\nchain=0", dialect="yolor")
    assert (told.value.key, told.value.found) == ("chain", "6x8")


@pytest.mark.parametrize(
    ("keys", "useless"),
    [
        ("rank=4", ["rank"]),
        ("model=network\nrank=4\nsparse=.1", ["rank", "sparse"]),
        ("model=factorization\nhidden=4\nactivation=silu\nprior=3", ["activation", "hidden"]),
        ("model=network\nactivation=silu", ["activation"]),
        ("model=network\nhidden=3\nactivation=silu\nprior=3", []),
    ],
)
def test_keys_of_another_model_are_told(keys, useless):
    told = [warning.key for warning in behind_another(keys).warnings if warning.key]
    assert told == useless
