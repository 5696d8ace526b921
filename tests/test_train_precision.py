"""In what precision a run is trained, what stays float32 in it, and that it resumes in its own."""

from __future__ import annotations

import pytest
import torch
import training
import yaml
from torch import Tensor

from yolor_cfg.train import loop, precision, run
from yolor_cfg.train.loop import autocast
from yolor_cfg.train.precision import choose_precision
from yolor_cfg.train.run import build_state, resume_run
from yolor_cfg.train.setup import prepare_job

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def said_by(found: list[str], word: str) -> list[str]:
    return [line for line in found if line.startswith(word)]


@pytest.mark.parametrize(("able", "name"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_device_has_it_and_is_recorded_as_that(
    tmp_path, data, monkeypatch, able, name
):
    monkeypatch.setattr(precision, "has_bf16", lambda device: able)
    said, found = training.options(tmp_path, data, epochs=1, precision="auto"), []
    outcome = run.start_run(
        said, project=str(tmp_path / "runs"), name="exp", drawing=training.DRAWING, say=found.append
    )
    assert yaml.safe_load((outcome.folder / "args.yaml").read_text())["precision"] == name
    assert len(said_by(found, f"training in {name}")) == 1


def test_what_was_asked_for_is_taken(tmp_path, data, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    said = training.options(tmp_path, data, precision="fp32")
    assert choose_precision(said) is said


def test_a_run_in_bf16_resumes_bit_equal_and_in_bf16_whatever_the_device_has(tmp_path, data, monkeypatch):
    said = training.options(tmp_path, data, precision="bf16", update_batch=12)
    whole = training.run(said, tmp_path / "runs", "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        parts = training.run(said, tmp_path / "runs", "parts")
    assert 0 < parts.state.count < whole.state.count
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    ended = resume_run(parts.folder, drawing=training.DRAWING, say=lambda text: None)
    assert ended.job.options.precision == "bf16" and ended.state.count == whole.state.count
    assert training.different(whole.folder / run.LAST, parts.folder / run.LAST) == []


def stop_after(patch: pytest.MonkeyPatch, batches: int) -> None:
    """Stop a run after so many batches."""
    usual = loop.reduce_losses
    seen: list[int] = []

    def count(loss, *, images, stop):
        seen.append(images)
        losses, _ = usual(loss, images=images, stop=stop)
        return losses, len(seen) == batches

    patch.setattr(loop, "reduce_losses", count)


def test_in_bf16_maps_are_bfloat16_and_heads_statistics_and_gradients_float32(tmp_path, data):
    said = training.options(tmp_path, data, precision="bf16")
    state = build_state(prepare_job(said), say=lambda text: None)
    network, seen = state.network.train(), {}
    for number, layer in enumerate(network.module_list):
        layer.register_forward_hook(lambda its, given, out, at=number: seen.update({at: out.dtype}))
    with autocast(torch.device("cpu"), "bf16"):
        raws = network(torch.rand(2, 3, 64, 64))
    sum(raw.sum() for raw in raws).backward()
    heads = {node.index for node in network.graph.nodes if node.section.is_head}
    wanted = {at: torch.float32 if at in heads else torch.bfloat16 for at in seen}
    assert heads and seen == wanted
    kept: list[Tensor] = [*network.parameters(), *(p.grad for p in network.parameters()), *network.buffers()]
    assert all(tensor.dtype == torch.float32 for tensor in kept if tensor.is_floating_point())
