"""Batch norm and activation as one, against torch's own two."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from yolor_cfg.engines.native import norms
from yolor_cfg.engines.native.norms import NormRun, apply_norm, norm_kernel_sets, normalize_activate
from yolor_cfg.ops.activations import activate

SETS = list(norm_kernel_sets())
NAMES = ("linear", "relu", "leaky", "silu", "mish")
LAST = torch.channels_last

pytestmark = pytest.mark.skipif(not SETS, reason="the native kernels are not built (make native)")


def fresh_norm(channels: int, dtype: torch.dtype = torch.float32) -> nn.BatchNorm2d:
    """A batch norm in training with gains and biases that are not those of the start."""
    norm = nn.BatchNorm2d(channels, eps=1e-4, momentum=0.03).to(dtype)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias, -1, 1)
    return norm


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random values around 3, channels last."""
    return (torch.randn(*shape, dtype=torch.float64) * 2 + 3).to(dtype).contiguous(memory_format=LAST)


def joint(x: Tensor, norm: nn.BatchNorm2d, activation: str, kind: str = SETS[-1] if SETS else "") -> Tensor:
    """By the kernels of one instruction set."""
    run = NormRun(norm, activation, norm_kernel_sets()[kind])
    return apply_norm(x, norm.weight, norm.bias, run=run)


def gradients(out: Tensor, x: Tensor, norm: nn.BatchNorm2d, upstream: Tensor) -> list[Tensor]:
    """Of the input, the gains and the biases."""
    return list(torch.autograd.grad(out, [x, norm.weight, norm.bias], upstream))


def error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference relative to the largest value."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


def compare(
    shape: tuple[int, ...], activation: str, kind: str, *, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """The errors of the kernels against torch in float64, and those of torch itself in the same type."""
    torch.manual_seed(len(activation) + shape[1])
    norm = fresh_norm(shape[1])
    x, upstream = maps(*shape, dtype=dtype), maps(*shape, dtype=dtype) - 3
    found = {}
    runs = {
        "ours": (norm, x),
        "torch": (copy.deepcopy(norm), x),
        "exact": (copy.deepcopy(norm).double(), x.double()),
    }
    for name, (its, values) in runs.items():
        leaf = values.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        out = joint(leaf, its, activation, kind) if name == "ours" else activate(its(leaf), activation)
        parts = gradients(out, leaf, its, upstream.to(out.dtype))
        found[name] = [out.detach(), *parts, its.running_mean, its.running_var]
    ours, torchs, exact = found["ours"], found["torch"], found["exact"]
    return {
        "ours": max(error(a, b) for a, b in zip(ours, exact, strict=True)),
        "torch": max(error(a, b) for a, b in zip(torchs, exact, strict=True)),
    }


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("shape", [(2, 16, 9, 7), (3, 35, 64, 40), (1, 3, 5, 4)])
def test_float32_is_as_exact_as_torch(shape: tuple[int, ...], activation: str, kind: str) -> None:
    """Output, gradients and running statistics, with channels that do and do not fill the vectors."""
    errors = compare(shape, activation, kind)
    assert errors["ours"] < max(2e-6, 2 * errors["torch"])


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("activation", NAMES)
def test_bfloat16_is_as_exact_as_torch(activation: str, kind: str) -> None:
    """Maps in bfloat16, all else float32."""
    errors = compare((3, 35, 64, 40), activation, kind, dtype=torch.bfloat16)
    assert errors["ours"] < 1.5 * errors["torch"]


@pytest.mark.parametrize("activation", NAMES)
def test_gradients_in_float64_are_those_of_torch(activation: str) -> None:
    """The same C++ on double, against finite differences and, to 1e-10, torch's own two steps."""
    torch.manual_seed(5)
    norm = fresh_norm(3, torch.float64)
    x = maps(2, 3, 4, 5, dtype=torch.float64).requires_grad_()

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        run = NormRun(norm, activation, norm_kernel_sets()[SETS[0]])
        return apply_norm(x, weight, bias, run=run)

    assert torch.autograd.gradcheck(run, (x, norm.weight, norm.bias))
    upstream = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    ours = gradients(run(x, norm.weight, norm.bias), x, norm, upstream)
    torchs = gradients(activate(norm(x), activation), x, norm, upstream)
    assert all(error(a, b) < 1e-10 for a, b in zip(ours, torchs, strict=True))


def test_one_thread_and_two_give_the_same_bits() -> None:
    """The units do not depend on the number of threads."""
    x, found = maps(4, 24, 80, 64), []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        norm, leaf = fresh_norm(24), x.clone().requires_grad_()
        out = joint(leaf, norm, "silu")
        found.append([out, *gradients(out, leaf, norm, x), norm.running_var])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_gradients_of_a_part_of_a_concatenation_are_read_where_they_lie() -> None:
    """And those in another order after they have been brought into the right one."""
    norm, leaf, whole = fresh_norm(16), maps(2, 16, 8, 6).requires_grad_(), maps(2, 40, 8, 6)
    part = whole[:, 8:24]
    assert norms.order_rows(part)[0].data_ptr() == part.data_ptr()
    wanted = gradients(joint(leaf, norm, "mish"), leaf, norm, part.contiguous(memory_format=LAST))
    for upstream in (part, part.contiguous()):
        found = gradients(joint(leaf, norm, "mish"), leaf, norm, upstream)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    spread = gradients(joint(leaf, norm, "mish").sum(), leaf, norm, torch.ones(()))  # an expanded gradient
    full = gradients(joint(leaf, norm, "mish"), leaf, norm, torch.ones_like(leaf))
    assert all(torch.equal(a, b) for a, b in zip(spread, full, strict=True))


def test_large_means_do_not_spoil_the_variance() -> None:
    """Squares around the mean, not the difference of two large sums."""
    norm = nn.BatchNorm2d(16, momentum=1.0)
    x = torch.randn(4, 16, 64, 64).contiguous(memory_format=LAST)
    joint(x + 1000, norm, "linear")
    assert norm.running_var is not None
    wanted = (x + 1000).double().var((0, 2, 3))
    assert error(norm.running_var, wanted) < 1e-5


def test_what_is_no_number_stays_visible() -> None:
    """A NaN in a channel makes all of the channel NaN, as in torch, after every activation."""
    for activation in NAMES:
        x = maps(1, 4, 3, 3)
        x[0, 2, 1, 1] = float("nan")
        lost = joint(x, fresh_norm(4), activation).isnan().all((0, 2, 3))
        assert lost.tolist() == [False, False, True, False]


def test_what_has_no_kernel_is_left_to_torch() -> None:
    """Other norms, activations, orders in memory and one value alone."""
    x = maps(2, 8, 4, 4)
    assert normalize_activate(x, fresh_norm(8), "silu") is not None
    assert normalize_activate(x.contiguous(), fresh_norm(8), "silu") is None
    assert normalize_activate(x, fresh_norm(8), "elu") is None
    assert normalize_activate(x, fresh_norm(8).eval(), "silu") is None
    assert normalize_activate(x.double(), fresh_norm(8), "silu") is None
    assert normalize_activate(maps(1, 8, 1, 1), fresh_norm(8), "silu") is None
    assert normalize_activate(x, nn.BatchNorm2d(8, momentum=None), "silu") is None
