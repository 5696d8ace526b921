"""Two processes train as one does."""

import json
from pathlib import Path

import pytest
import torch
import training
from dist_runs import run_in
from launching import processes

from yolor_cfg.train.dist import SyncBatchNorm2d, convert_sync_batchnorm
from yolor_cfg.train.run import LAST

NORMS = """
import sys, torch
torch.set_num_threads(1)
from torch import distributed
from yolor_cfg.parallel import process_group
from yolor_cfg.train.dist import SyncBatchNorm2d
x, y = (torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
plain, synced = torch.nn.BatchNorm2d(3).double(), SyncBatchNorm2d(3).double()
for norm in (plain, synced):
    torch.nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(2))
whole = x.clone().requires_grad_()
(plain(whole) * y).pow(2).sum().backward()
with process_group("cpu") as rank:
    mine = slice(0, 2) if rank.rank == 0 else slice(2, 6)
    part = x[mine].clone().requires_grad_()
    (synced(part) * y[mine]).pow(2).sum().backward()
    for parameter in synced.parameters():
        distributed.all_reduce(parameter.grad)
    torch.testing.assert_close(part.grad, whole.grad[mine], rtol=1e-5, atol=1e-5)
    for one, other in zip(synced.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)
    for one, other in zip(synced.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.shapes(tmp_path_factory.mktemp("data"), count=24)


def relative(found: list[float], wanted: list[float]) -> float:
    pairs = zip(found, wanted, strict=True)
    return max(abs(a - b) / abs(b) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["yolor", "darknet"])
def test_two_processes_with_synchronised_norms_train_as_one(tmp_path, data, dialect):
    darknet = training.darknet_text("batch=8\nlearning_rate=.0001\n")
    text = training.yolor_text() if dialect == "yolor" else darknet
    said = training.options(tmp_path, data, text=text, batch_size=4, epochs=2, sync_bn=True, val_period=2)
    folders = [run_in(world, said, tmp_path) for world in (1, 2)]
    losses = [json.loads((folder / "losses.json").read_text()) for folder in folders]
    assert len(losses[0]) == len(losses[1]) == 10
    for part in range(4):
        assert relative(*[[step[part] for step in steps] for steps in losses[::-1]]) < 1e-5
    one, two = (training.weights_of(folder / LAST) for folder in folders)
    for name in [name for name in two if not name.startswith("optimizer.")]:
        tensor = two[name]
        torch.testing.assert_close(tensor, one[name], rtol=1e-4, atol=1e-4, msg=name)
    rows = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in folders]
    assert rows[1]["AP"] == pytest.approx(rows[0]["AP"], abs=1e-4)
    assert rows[0]["updates"] == rows[1]["updates"] > 4


@pytest.mark.slow
def test_synchronised_norms_equal_torchs_over_all_images_forward_backward_and_statistics():
    processes(NORMS, world=2)


def test_a_swapped_norm_has_the_same_tensors_and_in_one_process_the_same_result():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4, eps=1e-4, momentum=0.03))
    plain, before = network[1], dict(network.state_dict())
    convert_sync_batchnorm(network)
    swapped = network[1]
    assert type(swapped) is SyncBatchNorm2d
    assert (swapped.eps, swapped.momentum) == (1e-4, 0.03)
    after = network.state_dict(keep_vars=False)
    assert before.keys() == after.keys()
    assert all(before[name].data_ptr() == after[name].data_ptr() for name in before)
    x = torch.rand(2, 4, 3, 3)
    assert torch.equal(plain.eval()(x), swapped.eval()(x))
