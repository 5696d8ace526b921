"""Joint training: what a large network predicts and sees is a target of a small one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import training
from joint_runs import LARGE, joint_options, network_of, save_large, write_large

from yolor_cfg import load
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.model import Network
from yolor_cfg.train.joint import (
    JointTeacher,
    add_feature_maps,
    joint_loss,
    pair_heads,
    watch_features,
)
from yolor_cfg.train.losses.base import LossRules
from yolor_cfg.train.run import resume_run
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint

NAMES = ("circle", "square", "triangle")


def losses_of(small: Network, large: Network, align: str = "plain", seed: int = 1):
    """The loss of the small network for two images, and its raw maps."""
    teacher = JointTeacher(large, pair_heads(small.graph, large.graph), align)
    torch.manual_seed(seed)
    add_feature_maps(small, teacher)
    images = torch.rand(2, 3, 64, 64)
    with watch_features(teacher, small):
        raws = small(images)
        for raw in raws:
            raw.retain_grad()
        return joint_loss(teacher, small, raws, images=images, rules=LossRules()), raws


def test_a_network_has_nothing_to_learn_from_itself():
    small, large = network_of(training.yolor_text()), network_of(training.yolor_text())
    found, raws = losses_of(small, large, "none")
    found.predictions.backward()
    assert raws[0].grad[..., 4:].abs().max() < 1e-9
    assert raws[0].grad[..., :4].abs().max() < 1e-6  # CIoU of equal boxes
    assert found.features == 0


def test_equal_features_cost_nothing_and_others_do():
    small, large = network_of(training.yolor_text()), network_of(training.yolor_text())
    found, _ = losses_of(small, large, "z")
    assert found.features > 0.1
    teacher = JointTeacher(large, pair_heads(small.graph, large.graph), "z")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():  # a map that gives each channel mean 0 and variance 1
        seen = large.trace(images, [3])[3]
        std = (seen.var(dim=(0, 2, 3), correction=0) + 1e-5).sqrt()
        convolution = small.get_submodule("joint.0").convolution
        convolution.weight.copy_(torch.diag(1 / std)[:, :, None, None])
        convolution.bias.copy_(-seen.mean(dim=(0, 2, 3)) / std)
    with watch_features(teacher, small):
        same = joint_loss(teacher, small, small(images), images=images, rules=LossRules())
    assert same.features < 1e-10


def test_the_loss_of_predictions_is_what_the_text_says():
    small, large = network_of(training.yolor_text()), network_of(LARGE, 7)
    rules = LossRules(box=0.3, objectness=0.5, classes=0.7)
    teacher = JointTeacher(large, pair_heads(small.graph, large.graph), "none")
    images = torch.rand(2, 3, 64, 64)
    raw, wanted = (network(images)[0].double() for network in (small, large))
    p, t = raw.sigmoid(), wanted.sigmoid()
    entropy = -(t * p.log() + (1 - t) * (1 - p).log())
    from yolor_cfg.ops.iou_losses import ciou

    layer = small.module_list[small.graph.outputs[0]]
    overlap = ciou(*(torch.cat(layer.box_parts(one), dim=-1) for one in (raw, wanted)))
    share = t[..., 4] / t[..., 4].sum()
    # YOLOR's weights: 3 / levels, the finest level's objectness four times, classes by 80 of them
    by_hand = 3 * 0.3 * (share * (1 - overlap)).sum() + 3 * 4 * 0.5 * entropy[..., 4].mean()
    by_hand += 3 * 0.7 / 80 * (share * entropy[..., 5:].sum(-1)).sum()
    with watch_features(teacher, small):
        found = joint_loss(teacher, small, small(images), images=images, rules=rules)
    torch.testing.assert_close(found.predictions.double(), 2 * by_hand, rtol=1e-5, atol=1e-6)


def test_heads_of_no_equal_stride_are_refused():
    coarse = training.yolor_text().replace("stride=1", "stride=2")
    with pytest.raises(CfgError, match="no head of the large network has the stride"):
        pair_heads(network_of(training.yolor_text()).graph, network_of(coarse).graph)


def test_nothing_of_the_large_network_is_left(tmp_path: Path):
    said = joint_options(tmp_path, joint=save_large(tmp_path), epochs=2, val_period=1, deterministic=False)
    done = training.run(said, tmp_path / "runs")
    best = read_checkpoint(done.folder / "weights/best.pt").tensors
    plain = load(tmp_path / "small.cfg", done.folder / "weights/best.pt")
    assert best.keys() == plain.state_dict().keys()
    assert "joint" in (done.folder / "results.csv").read_text().splitlines()[0]
    stored = sum(tensor.size for node in plain.graph.nodes for tensor in node.tensors)
    assert (done.folder / "weights/best.weights").stat().st_size == 20 + 4 * stored
    alone = training.run(said._replace(joint=None), tmp_path / "runs", "alone")
    mine, other = (read_checkpoint(one.folder / "weights/best.pt").tensors for one in (done, alone))
    assert not torch.equal(mine["module_list.0.Conv2d.weight"], other["module_list.0.Conv2d.weight"])


def test_a_run_with_a_large_network_resumes_to_the_bit(tmp_path: Path, monkeypatch):
    said = joint_options(tmp_path, joint=save_large(tmp_path), epochs=2)
    training.check_resume(said, tmp_path / "runs", monkeypatch, stop=3)


def test_a_run_is_not_taught_by_another_network_from_some_batch_on(tmp_path: Path, monkeypatch):
    said = joint_options(tmp_path, joint=save_large(tmp_path), epochs=2, deterministic=False)
    with monkeypatch.context() as inner:
        training.stop_after(inner, 2)
        begun = training.run(said, tmp_path / "runs")
    before = (begun.folder / "weights/last.pt").read_bytes()
    save_large(tmp_path, seed=4)
    with pytest.raises(WeightsError, match="taught by another large network"):
        resume_run(begun.folder, drawing=training.DRAWING, say=lambda text: None)
    assert (begun.folder / "weights/last.pt").read_bytes() == before
    save_large(tmp_path)
    done = resume_run(begun.folder, drawing=training.DRAWING, say=lambda text: None)
    assert done.ending.reason == "done"


def test_a_large_network_without_weights_or_with_other_classes_is_refused(tmp_path: Path):
    data = training.shapes(tmp_path)
    said = training.options(tmp_path, data)
    with pytest.raises(CfgError, match="has no weights"):
        training.run(said._replace(joint=write_large(tmp_path)), tmp_path / "runs")
    for more in ({"joint_weights": "x.weights"}, {"joint_align": "plain"}):
        with pytest.raises(CfgError, match="there is no large network that teaches"):
            training.run(said._replace(**more), tmp_path / "runs")
    with pytest.raises(CfgError, match="no such file"):
        training.run(said._replace(joint=str(tmp_path / "typo.pt")), tmp_path / "runs")
    other = tmp_path / "other.pt"
    save_checkpoint(network_of(training.yolor_text(classes=4)), other, names=tuple("abcd"))
    with pytest.raises(CfgError, match="has other classes"):
        training.run(said._replace(joint=str(other)), tmp_path / "runs")
