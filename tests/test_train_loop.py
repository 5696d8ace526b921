"""The training loop: its updates against explicit steps, and the files it writes."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import training
import yaml

from yolor_cfg.data.shapes import NAMES
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.train import loop
from yolor_cfg.train.hyperparameters import hyperparameters, limit_warmup
from yolor_cfg.train.loss import LossRules, NonFiniteLoss, detection_loss, initialize_biases
from yolor_cfg.train.optim import Groups, build_optimizer, set_rates
from yolor_cfg.train.run import build_state, start_run
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.weights.checkpoint import read_checkpoint
from yolor_cfg.weights.loading import open_network

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def test_two_runs_with_one_seed_are_bit_equal_whatever_the_number_of_workers(tmp_path, data):
    said = training.options(tmp_path, data, precision="bf16")
    first = training.run(said, tmp_path / "runs")
    second = training.run(said._replace(workers=2), tmp_path / "runs")
    third = training.run(said._replace(seed=1), tmp_path / "runs")
    paths = [outcome.folder / "weights/last.pt" for outcome in (first, second, third)]
    assert training.different(paths[0], paths[1]) == []
    assert training.different(paths[0], paths[2])
    assert [outcome.folder.name for outcome in (first, second, third)] == ["exp", "exp2", "exp3"]


def written_out(said):
    """YOLOR's training in its simplest form: sums of losses, torch's own SGD, steps at whole multiples."""
    torch.manual_seed(said.seed)
    job = prepare_job(said)
    network = Network(load_graph(said.cfg)).train()
    initialize_biases(network)
    network = network.to(memory_format=torch.channels_last)
    hyp = hyperparameters(said, job.graph)
    named = dict(network.named_parameters())
    kernels = [p for name, p in named.items() if name.endswith("Conv2d.weight")]
    biases = [p for name, p in named.items() if name.endswith("bias")]
    gains = [p for name, p in named.items() if name.endswith("BatchNorm2d.weight")]
    assert len(kernels) + len(biases) + len(gains) == len(named)
    images = 4 * max(round(said.update_batch / 4), 1)
    decay = hyp.weight_decay * images / said.update_batch
    groups = [{"params": gains}, {"params": kernels, "weight_decay": decay}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    rules = LossRules(hyp.box, hyp.obj, hyp.cls)
    count = 0
    for epoch in range(said.epochs):
        for batch in job.phases[0].loader.epoch(epoch):
            rates = job.phases[0].schedule(count)
            by_group = rates.other, rates.other, rates.bias
            for group, rate in zip(optimizer.param_groups, by_group, strict=True):
                group["lr"], group["momentum"] = rate, rates.momentum
            raws = network((batch.images / 255).contiguous(memory_format=torch.channels_last))
            detection_loss(raws, batch.targets, network, rules=rules).total.backward()
            if count % rates.accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            count += 1
    return network


def test_the_loop_equals_its_steps_written_out(tmp_path, data):
    said = training.options(tmp_path, data)
    outcome = training.run(said, tmp_path / "runs")
    wanted = written_out(said).state_dict()
    for name, tensor in outcome.state.network.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-6)


def test_darknets_gradient_is_the_mean_over_the_images_of_an_update(tmp_path, data):
    said = training.options(tmp_path, data, text=training.darknet_text(), epochs=None, update_batch=None)
    job = prepare_job(said)
    rates = job.phases[0].schedule(0)
    assert (rates.accumulate, job.count, job.batch_size) == (2, 12, 4)
    assert loop.loss_factor(job, rates) == 1 / 8
    assert [job.is_update_due(batch, rates) for batch in range(4)] == [False, True, False, True]
    outcome = training.run(said, tmp_path / "runs")
    assert (outcome.state.count, outcome.state.updates) == (12, 6)
    assert not any(group["nesterov"] for group in outcome.state.optimizer.param_groups)


@pytest.mark.parametrize(
    ("batch", "parts", "images"), [(64, 22, 44), (6, 4, 4), (64, 24, 48), (1, 8, 8), (8, 2, 8)]
)
def test_every_part_of_an_update_has_equally_many_images(tmp_path, data, batch, parts, images):
    """parser.c 1162 and detector.c 102: `subdivisions` parts of batch / subdivisions images, rounded down."""
    text = training.darknet_text(f"batch={batch}\nsubdivisions={parts}\nmax_batches=6\n")
    said = training.options(tmp_path, data, text=text, epochs=None, batch_size=None, update_batch=None)
    job = prepare_job(said)
    accumulate = job.phases[0].schedule(0).accumulate
    assert (accumulate, accumulate * job.batch_size, job.count) == (parts, images, 6 * parts)
    told = [str(warning) for warning in job.graph.warnings if "multiple of subdivisions" in str(warning)]
    assert len(told) == (batch != images)


@pytest.mark.parametrize("keys", ["", "B1=.5\nB2=.7\neps=.1\n"])
def test_adam_is_darknets(tmp_path, data, keys):
    """adam_update_gpu in blas_kernels.cu, for convolutional_kernels.cu 1317: sums of gradients
    less decay * images * weight; both moments corrected; eps outside the root; biases and gains decay too."""
    lines = f"batch=8\nsubdivisions=2\nmax_batches=6\nadam=1\nmomentum=.3\ndecay=.01\n{keys}"
    text = training.darknet_text(lines)
    job = prepare_job(training.options(tmp_path, data, text=text, epochs=None, update_batch=None))
    beta1, beta2, eps = (0.5, 0.7, 0.1) if keys else (0.9, 0.999, 1e-6)
    one, rate = torch.tensor([0.5, -2.0]), 0.02
    groups = Groups(
        [torch.nn.Parameter(one.clone())],
        [torch.nn.Parameter(one.clone())],
        [torch.nn.Parameter(one.clone())],
    )
    ours = [parameter for group in groups for parameter in group]
    optimizer = build_optimizer(groups, job.optimizer)
    want, m, v = one.double(), torch.zeros(2), torch.zeros(2)
    for step, sums in enumerate([[3.0, -0.4], [-1.0, 0.8], [0.1, 0.2]], start=1):
        set_rates(optimizer, job.phases[0].schedule(2 * step - 2)._replace(bias=rate, other=rate))
        for parameter in ours:
            parameter.grad = torch.tensor(sums) / 8
        optimizer.step()
        delta = -torch.tensor(sums).double() - 0.01 * 8 * want
        m, v = beta1 * m + (1 - beta1) * delta, beta2 * v + (1 - beta2) * delta * delta
        want = want + rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps)
    for parameter in ours:
        torch.testing.assert_close(parameter.detach().double(), want, rtol=1e-5, atol=1e-6)


def test_the_images_of_a_batch_are_seen_before_its_loss(tmp_path, data):
    """train_network_datum in network.c adds them to `seen` before the forward pass."""
    said = training.options(tmp_path, data, text=training.darknet_text(), epochs=None, update_batch=None)
    job = prepare_job(said)
    state = SimpleNamespace(count=3, batch=3, epoch=0, deltas=None)
    assert loop.batch_rules(job, state).seen == 4 * job.batch_size


def test_a_warm_up_is_at_most_a_tenth_of_the_training(tmp_path, data):
    job = prepare_job(training.options(tmp_path, data, epochs=10))
    assert job.count == 40
    assert job.phases[0].schedule.warmup == 4
    hyp = hyperparameters(job.options, job.graph)
    long = limit_warmup(hyp, batches=30_000, per_epoch=100)
    assert (long.warmup_epochs, long.least_warmup) == (3.0, 1000)


def test_the_paper_trains_a_third_of_its_epochs_on_mosaics_of_nine(tmp_path, data):
    job = prepare_job(training.options(tmp_path, data, recipe="paper", epochs=None))
    assert job.epochs == 450
    tiles = [job.find_phase(epoch).loader.transform.tiles for epoch in (0, 299, 300, 449)]
    assert tiles == [4, 4, 9, 9]


def test_a_run_leaves_its_files(tmp_path, data, monkeypatch):
    monkeypatch.undo()  # charts are painted here
    said = training.options(tmp_path, data, val_period=1, save_period=1)
    folder = training.run(said, tmp_path / "runs").folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "args.yaml",
        "env.json",
        "run.json",
        "model.cfg",
        "results.csv",
        "metrics.jsonl",
        "results.png",
        "train_batch0.jpg",
        "train_batch1.jpg",
        "train_batch2.jpg",
        "weights/last.pt",
        "weights/best.pt",
        "weights/best.weights",
        "weights/epoch1.pt",
        "weights/epoch2.pt",
    }
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert len((folder / "results.csv").read_text().splitlines()) == 3
    assert yaml.safe_load((folder / "args.yaml").read_text())["batch_size"] == 4
    assert (folder / "model.cfg").read_text() == training.yolor_text()
    for name in ("results.png", "train_batch0.jpg"):
        assert training.is_image(cv2.imread(str(folder / name)))


def test_the_three_saved_files_of_the_best_network_give_the_same_maps(tmp_path, data):
    folder = training.run(training.options(tmp_path, data, epochs=1), tmp_path / "runs").folder
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = []
    for name in ("last.pt", "best.pt", "best.weights"):
        opened = open_network(folder / "model.cfg", folder / "weights" / name)
        assert opened.names == (() if name == "best.weights" else NAMES)
        with torch.no_grad():
            maps.append(opened.network(x)[0])
    torch.testing.assert_close(maps[1], maps[0])
    torch.testing.assert_close(maps[2], maps[0])


@pytest.mark.slow
def test_the_losses_in_the_table_fall_while_a_network_learns(tmp_path, data):
    hyp = tmp_path / "hyp.yaml"
    hyp.write_text("lr0: 0.01\nmosaic: 0\nscale: 0\ntranslate: 0\nhsv_h: 0\nhsv_s: 0\nhsv_v: 0\n")
    said = training.options(tmp_path, data, epochs=40, hyp=str(hyp), optimizer="adam", update_batch=4)
    rows = training.run(said, tmp_path / "runs").state.rows
    boxes = [row["box"] for row in rows]
    assert boxes[-1] < 0.75 * boxes[0]


def test_frozen_layers_keep_every_bit(tmp_path, data):
    said = training.options(tmp_path, data, freeze=2, epochs=1)
    torch.manual_seed(said.seed)
    before = {name: tensor.clone() for name, tensor in Network(load_graph(said.cfg)).state_dict().items()}
    after = training.run(said, tmp_path / "runs").state.network.state_dict()
    for name, tensor in after.items():
        layer = int(name.split(".")[1])
        assert torch.equal(tensor, before[name]) == (layer < 2), name


def test_sizes_vary_in_whole_strides_with_multi_scale(tmp_path, data):
    job = prepare_job(training.options(tmp_path, data, multi_scale=True, epochs=4))
    sizes = {batch.images.shape[2:] for epoch in range(4) for batch in job.phases[0].loader.epoch(epoch)}
    assert len(sizes) > 3
    assert all(32 <= side <= 96 and side % 8 == 0 for size in sizes for side in size)


def test_a_non_finite_loss_names_its_head_and_the_last_good_state(tmp_path, data, monkeypatch):
    said = training.options(tmp_path, data, epochs=3)
    original = loop.normalize_images

    def spoilt(images, device):
        spoilt.count += 1
        return original(images, device) * (float("nan") if spoilt.count == 6 else 1.0)

    spoilt.count = 0
    monkeypatch.setattr(loop, "normalize_images", spoilt)
    with pytest.raises(NonFiniteLoss) as caught:
        training.run(said, tmp_path / "runs")
    assert "batch 1 of epoch 2" in str(caught.value)
    assert "[yolo #5]" in str(caught.value)
    last = tmp_path / "runs/exp/weights/last.pt"
    assert str(last) in str(caught.value)
    assert all(tensor.isfinite().all() for tensor in read_checkpoint(last).tensors.values())


def test_training_ends_when_patience_runs_out(tmp_path, data, monkeypatch):
    said = training.options(tmp_path, data, epochs=9, patience=2, val_period=1)
    rank_tests(monkeypatch, [0.1, 0.3, 0.2, 0.2, 0.2])
    outcome = training.run(said, tmp_path / "runs")
    assert (outcome.ending.reason, outcome.state.best_epoch, outcome.state.epoch) == ("patience", 1, 4)


def rank_tests(monkeypatch, rankings):
    """Let the tests of a run give these figures, one after the other."""
    scores = (SimpleNamespace(ranking=one, summary={"AP": one}) for one in rankings)
    monkeypatch.setattr(loop, "evaluate_holdout", lambda job, state: next(scores))


def test_epochs_without_a_test_do_not_end_training(tmp_path, data, monkeypatch):
    said = training.options(tmp_path, data, epochs=9, patience=1, val_period=3)
    rank_tests(monkeypatch, [0.3, 0.2])
    outcome = training.run(said, tmp_path / "runs")
    assert (outcome.ending.reason, outcome.state.best_epoch, outcome.state.epoch) == ("patience", 2, 6)
    assert (outcome.folder / "weights/best.pt").exists()


def test_a_test_that_fails_does_not_end_training(tmp_path, data, monkeypatch):
    def fail(job, state):
        raise RuntimeError("no memory")

    said = training.options(tmp_path, data, epochs=3, patience=1, val_period=1)
    monkeypatch.setattr(loop, "evaluate_holdout", fail)
    drawing = training.DRAWING
    done = start_run(said, project=str(tmp_path / "runs"), name="exp", drawing=drawing, say=lambda text: None)
    assert (done.ending.reason, done.state.epoch) == ("done", 3)


def test_penalties_of_implicit_models_are_added(tmp_path):
    layer = torch.nn.Module()
    layer.penalty = lambda: torch.tensor(2.5)
    assert loop.implicit_penalty(torch.nn.Sequential(layer, torch.nn.Linear(1, 1))).item() == 2.5


def test_contradictions_are_refused_before_anything_is_written(tmp_path, data):
    with pytest.raises(CfgError, match="fp16"):
        training.run(training.options(tmp_path, data, precision="fp16"), tmp_path / "runs")
    with pytest.raises(CfgError, match="not both"):
        training.run(training.options(tmp_path, data, max_batches=3), tmp_path / "runs")
    for more in ({"val_period": 0}, {"no_val": True, "val_period": 1}):
        with pytest.raises(CfgError, match="stops early by what tests"):
            training.run(training.options(tmp_path, data, patience=3, **more), tmp_path / "runs")
    hyp = tmp_path / "hyp.yaml"
    hyp.write_text("lr: 1\n")
    with pytest.raises(DataError, match="unknown hyperparameter"):
        training.run(training.options(tmp_path, data, hyp=str(hyp)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_rectangular_batches_hold_every_image_once(tmp_path, data):
    job = prepare_job(training.options(tmp_path, data, rect=True))
    batches = list(job.phases[0].loader.epoch(0))
    paths = [sample.image for batch in batches for sample in batch.samples]
    assert sorted(paths) == sorted(sample.image for sample in job.dataset.samples)
    assert np.array_equal([batch.images.shape[2:] for batch in batches], [(64, 64)] * len(batches))


def test_images_and_kernels_have_their_channels_last(tmp_path, data):
    job = prepare_job(training.options(tmp_path, data))
    state = build_state(job, say=lambda text: None)
    batch = next(iter(job.phases[0].loader.epoch(0)))
    images = loop.normalize_images(batch.images, torch.device("cpu"))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.max() <= 1
    kernel = state.network.module_list[1].Conv2d.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
