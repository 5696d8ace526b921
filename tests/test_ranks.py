"""Where each of several processes computes."""

import pytest
import torch
import training
from launching import processes

from yolor_cfg.errors import CfgError
from yolor_cfg.parallel import local_device, process_group
from yolor_cfg.train import run
from yolor_cfg.train.record import load_options
from yolor_cfg.train.setup import prepare_job


@pytest.mark.parametrize(
    ("device", "local", "own"),
    [
        ("cuda", "3", "cuda:3"),
        ("cuda", "", "cuda"),
        ("cuda:1", "3", "cuda:1"),
        ("cpu", "3", "cpu"),
    ],
)
def test_cuda_is_each_process_own_gpu(monkeypatch, device, local, own):
    monkeypatch.setenv("LOCAL_RANK", local)
    assert local_device(device) == own


def test_what_is_kept_of_a_run_is_the_device_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    asked = []
    monkeypatch.setattr(run, "find_device", lambda device: asked.append(device) or torch.device("cpu"))
    said = training.options(tmp_path, training.shapes(tmp_path, count=6), device="cuda", precision="bf16")
    job = prepare_job(said)
    run.build_state(job, say=lambda text: None)
    run.save_run_info(tmp_path, job)
    assert asked == ["cuda:3"]
    assert load_options(tmp_path).device == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_several_processes_for_gpus_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(CfgError, match="no such device"), process_group("cuda"):
        pass


WAITING = """
import os
import torch
from torch import distributed
from yolor_cfg.errors import YolorError
from yolor_cfg.parallel import process_group

try:
    with process_group("cpu") as rank:
        distributed.barrier()
        if rank.rank == 1:
            os._exit(0)
        distributed.all_reduce(torch.ones(1))
except YolorError as fault:
    assert "another process of this run has ended" in str(fault), fault
else:
    raise AssertionError("nobody was missed")
"""


def test_a_process_whose_partner_is_gone_says_so():
    processes(WAITING, world=2)
