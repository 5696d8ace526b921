"""Joint training in which both networks learn: what each one learns from, its files, its exact state."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import training
from click.testing import CliRunner
from dist_runs import run_in, write_options
from joint_runs import LARGE, joint_options, more_images, network_of, write_large
from launching import processes
from test_train_dist_resume import PROGRAM as RESUMING

from yolor_cfg import load
from yolor_cfg.cli import main
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.train.joint import JointTeacher, watch_features
from yolor_cfg.train.logger import RunLogger
from yolor_cfg.train.loop import Learner, learn_batch, loss_factor, normalize_images, prepare_learners
from yolor_cfg.train.loss import detection_loss
from yolor_cfg.train.run import build_state, resume_run
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, prepare_job
from yolor_cfg.train.state import TrainState, load_state
from yolor_cfg.train.teacher import add_large
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

ALONE = {"joint": None, "joint_learns": False, "joint_images": None}


@pytest.fixture
def said(tmp_path: Path) -> TrainOptions:
    """A run in which a large network learns from nothing."""
    return joint_options(tmp_path, joint=write_large(tmp_path), joint_learns=True)


def build(said: TrainOptions) -> tuple[Job, TrainState]:
    """The job and both networks before the first batch."""
    torch.manual_seed(0)
    job = add_large(prepare_job(said))
    return job, build_state(job, say=lambda text: None)


def gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: own.grad.clone() for name, own in network.named_parameters() if own.grad is not None}


def learn(learner: Learner, batch: Any, job: Job) -> dict[str, torch.Tensor]:
    """The gradients of one batch, in float64."""
    learner.state.network.zero_grad()
    images = normalize_images(batch.images, torch.device("cpu")).double()
    learn_batch(learner, batch, images, rates=job.find_phase(0).schedule(0), now=False)
    return gradients(learner.state.network)


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(own.abs().max()) for own in wanted.values())
    assert largest > 1e-3
    for name, own in wanted.items():
        assert (found[name] - own).abs().max() <= 1e-12 * largest, name


@pytest.mark.parametrize("has_more", [False, True])
def test_each_network_has_the_gradients_of_its_own_training(
    said: TrainOptions, tmp_path: Path, has_more: bool
):
    """The large one those of its labels alone, the small one those with a finished network of equal numbers;
    images without labels teach the large one nothing."""
    more = {"joint_images": more_images(tmp_path), "batch_size": 8} if has_more else {}
    job, state = build(said._replace(**more))
    assert job.large is not None and state.large is not None and state.teacher is not None
    for network in (state.network, state.large.network):
        network.double()
    batch = next(iter(job.phases[0].loader.epoch(0)))
    images = normalize_images(batch.images, torch.device("cpu")).double()
    alone, frozen = copy.deepcopy(state.large.network), copy.deepcopy(state.large.network)
    with watch_features(state.teacher, state.network):
        found = [learn(learner, batch, job) for learner in prepare_learners(job, state)]

    labeled = list(range(len(images)))
    if has_more:
        assert batch.sources is not None
        labeled = (batch.sources == 0).nonzero()[:, 0].tolist()
        assert 0 < len(labeled) < len(images)
    targets = batch.targets[torch.isin(batch.targets[:, 0].long(), torch.tensor(labeled))].clone()
    targets[:, 0] = torch.tensor([labeled.index(int(number)) for number in targets[:, 0]])
    raws = alone.train()(images)
    loss = detection_loss([raw[labeled] for raw in raws], targets, alone, rules=job.rules)
    (loss.total * loss_factor(job, job.find_phase(0).schedule(0))).backward()
    assert_equal(found[0], gradients(alone))

    pairs = state.teacher.pairs
    state.teacher = JointTeacher(frozen.train().requires_grad_(False), pairs, state.teacher.align)
    state.large = None
    with watch_features(state.teacher, state.network):
        (small,) = prepare_learners(job, state)
        assert_equal(found[1], learn(small, batch, job))


def test_the_large_network_learns_as_if_it_were_alone(said: TrainOptions, tmp_path: Path):
    """Same batches, rates, optimizer and EMA: weights are those of a training of its own to the bit, also
    where the small one has frozen layers."""
    both = training.run(said._replace(freeze=2), tmp_path / "runs", "both")
    start = tmp_path / "start.pt"
    torch.manual_seed(0)
    _, state = build(said)
    assert state.large is not None
    save_checkpoint(state.large.network, start)
    alone = said._replace(cfg=str(tmp_path / "large.cfg"), weights=str(start), **ALONE)
    one = training.run(alone, tmp_path / "runs", "alone")
    held = torch.load(both.folder / "weights/last.pt", weights_only=True)["training"]["large"]
    wanted = torch.load(one.folder / "weights/last.pt", weights_only=True)
    for name, tensor in wanted["model"].items():
        assert torch.equal(held["model"][name], tensor), name
    for name, tensor in wanted["training"]["network"].items():
        assert torch.equal(held["training"]["network"][name], tensor), name


def test_each_has_its_files_and_the_small_one_nothing_of_the_large(said: TrainOptions, tmp_path: Path):
    done = training.run(said._replace(val_period=1, save_period=2), tmp_path / "runs")
    weights = done.folder / "weights"
    assert {path.name for path in weights.iterdir()} == {
        *("last.pt", "best.pt", "best.weights", "last_large.pt", "best_large.pt"),
        *("epoch2.pt", "epoch2_large.pt"),
    }
    small = load(tmp_path / "small.cfg", weights / "best.pt")
    held = read_checkpoint(weights / "best.pt")
    assert held.tensors.keys() == small.state_dict().keys()
    assert held.cfg == (tmp_path / "small.cfg").read_text()
    stored = sum(tensor.size for node in small.graph.nodes for tensor in node.tensors)
    assert (weights / "best.weights").stat().st_size == 20 + 4 * stored
    last = torch.load(weights / "last.pt", weights_only=True)
    assert {name for name in last["model"] if not name.startswith("joint.")} == small.state_dict().keys()

    large = load(weights / "best_large.pt")
    kept = read_checkpoint(weights / "last_large.pt")
    assert kept.cfg == LARGE and kept.names == held.names
    assert large.graph.nodes[3].shape.channels == 48
    for name, tensor in last["training"]["large"]["model"].items():
        assert torch.equal(kept.tensors[name], tensor)

    with (done.folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        parts = sum(float(row[f"large_{name}"]) for name in ("box", "objectness", "classes"))
        assert float(row["large_loss"]) == pytest.approx(parts, rel=1e-5)
        assert 0 <= float(row["large_AP"]) <= 1
    again = said._replace(joint=str(weights / "best_large.pt"), joint_learns=False, epochs=1)
    assert "joint" in training.run(again, tmp_path / "runs", "finished").state.rows[-1]


def all_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a state, by its way through the content."""
    found: dict[str, torch.Tensor] = {}

    def walk(value: Any, way: str) -> None:
        if isinstance(value, torch.Tensor):
            found[way] = value
        elif isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, each in items:
                walk(each, f"{way}.{key}")

    walk(torch.load(path, weights_only=True), "")
    return found


def assert_same_states(one: Path, other: Path) -> None:
    first, second = (all_tensors(run / "weights/last.pt") for run in (one, other))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert any(name.startswith(".training.large.training.optimizer.") for name in first)
    assert (one / "results.csv").read_text() == (other / "results.csv").read_text()
    for name in ("best_large.pt", "last_large.pt", "best.pt"):
        kept = [read_checkpoint(run / "weights" / name).tensors for run in (one, other)]
        assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])


@pytest.mark.parametrize("more", [{}, {"precision": "bf16", "joint_align": "plain"}])
def test_a_run_resumes_to_the_bit(said: TrainOptions, tmp_path: Path, monkeypatch, more: dict[str, Any]):
    """Between two updates, though the cfg of the large network is gone by then."""
    said = said._replace(val_period=1, **more)
    whole = training.run(said, tmp_path / "runs", "whole")
    with monkeypatch.context() as patch:
        training.stop_after(patch, 3)
        parts = training.run(said, tmp_path / "runs", "parts")
    assert parts.state.count == 4 < whole.state.count
    saved = torch.load(parts.folder / "weights/last.pt", weights_only=True)["training"]
    assert saved["gradients"] and saved["large"]["training"]["gradients"]
    (tmp_path / "large.cfg").unlink()
    resume_run(parts.folder, drawing=training.DRAWING, say=lambda text: None)
    assert_same_states(whole.folder, parts.folder)


class KilledError(Exception):
    """As if the process were killed."""


@pytest.mark.parametrize("saves", [2, 3])
def test_a_run_killed_between_its_files_resumes_to_the_bit(
    said: TrainOptions, tmp_path: Path, monkeypatch, saves: int
):
    """After the files of the large network are new and before last.pt is, in the first epoch and the second:
    its test, and the end of an epoch, each save."""
    said = said._replace(val_period=1)
    whole = training.run(said, tmp_path / "runs", "whole")
    noted, count = RunLogger.save, 0

    def save_or_die(self: RunLogger, state: TrainState) -> None:
        nonlocal count
        count += 1
        if count == saves:
            raise KilledError
        noted(self, state)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(RunLogger, "save", save_or_die)
        training.run(said, tmp_path / "runs", "parts")
    parts = tmp_path / "runs/parts"
    assert (parts / "weights/best_large.pt").exists()
    resume_run(parts, drawing=training.DRAWING, say=lambda text: None)
    assert_same_states(whole.folder, parts)


def test_a_large_network_goes_on_from_its_weights(said: TrainOptions, tmp_path: Path):
    finished, weights = network_of(LARGE, 3), tmp_path / "finished.pt"
    save_checkpoint(finished, weights)
    wanted = finished.state_dict()
    for more in ({"joint": str(weights)}, {"joint_weights": str(weights)}):
        _, state = build(said._replace(**more))
        assert state.large is not None
        found = state.large.network.state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert all(own.requires_grad for own in state.large.network.parameters())
    _, fresh = build(said)
    assert fresh.large is not None
    name = "module_list.0.Conv2d.weight"
    assert not torch.equal(fresh.large.network.state_dict()[name], wanted[name])


def test_it_learns_by_the_recipe_of_darknet_too(said: TrainOptions, tmp_path: Path):
    """Its optimizer has the settings of the small one, its gradients are means if its own heads want that."""
    (tmp_path / "small.cfg").write_text(training.darknet_text())
    (tmp_path / "large.cfg").write_text(training.darknet_text().replace("filters=32", "filters=48"))
    job, state = build(said._replace(epochs=None))
    assert job.large is not None and state.large is not None
    assert job.large.has_mean_loss and job.large.is_darknet
    settings = [
        [(group["name"], group["momentum"], group["nesterov"]) for group in own.optimizer.param_groups]
        for own in (state, state.large)
    ]
    assert settings[0] == settings[1]
    done = training.run(said._replace(epochs=2, batch_size=4), tmp_path / "runs")
    assert done.state.rows[-1]["large_loss"] > 0


@pytest.mark.slow
def test_two_processes_learn_what_one_does(said: TrainOptions, tmp_path: Path):
    said = said._replace(sync_bn=True)
    whole = training.run(said, tmp_path / "runs", "one")
    two = run_in(2, said, tmp_path)
    states = [all_tensors(folder / "weights/last.pt") for folder in (whole.folder, two)]
    start = build(said)[1].large
    assert start is not None
    moved = 0.0
    for name, tensor in start.network.state_dict().items():
        if not tensor.dtype.is_floating_point:
            continue
        one, two = (state[f".training.large.training.network.{name}"] for state in states)
        torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-4)
        moved = max(moved, float((one - tensor).abs().max()))
    assert moved > 0.01
    assert whole.state.rows[-1]["large_loss"] > 0


@pytest.mark.slow
def test_two_processes_stopped_or_killed_end_bit_equal(said: TrainOptions, tmp_path: Path):
    """Between updates, each with the pending gradients of both networks."""
    project = tmp_path / "runs"
    args = write_options(said._replace(update_batch=12, save_steps=1, epochs=3), tmp_path)
    processes(RESUMING, args, project, 5, 8, world=2)
    for name in ("stopped", "broken"):
        states = [all_tensors(project / run / "weights/last.pt") for run in ("whole", name)]
        assert states[0].keys() == states[1].keys()
        assert [key for key in states[0] if not torch.equal(states[0][key], states[1][key])] == []


def refuse(said: TrainOptions, match: str) -> CfgError:
    with pytest.raises(CfgError, match=match) as caught:
        add_large(prepare_job(said))
    return caught.value


def test_what_cannot_learn_together_is_refused_in_words(said: TrainOptions, tmp_path: Path):
    refuse(said._replace(joint=None), "there is no large network that teaches")
    refuse(said._replace(task="day"), "a task is added to a network that is finished")
    refuse(said._replace(joint=str(tmp_path / "typo.cfg")), "no such file")
    large = tmp_path / "large.cfg"
    texts = {
        "has other classes": training.yolor_text(classes=4),
        "no head of the large network has the stride": LARGE.replace("stride=1", "stride=2"),
        "a network with several tasks": LARGE + "task=day\n",
        "reads other images": LARGE.replace("channels=3", "channels=1"),
        "learns from other labels": LARGE + "[route]\nlayers=3\n[convolutional]\nfilters=6\nsize=1\n"
        "activation=linear\n[avgpool]\n[logistic]\n",
    }
    for match, text in texts.items():
        large.write_text(text)
        with pytest.raises(CfgError, match=match):
            build(said)


def test_sizes_that_do_not_fit_the_large_network_are_refused(said: TrainOptions, tmp_path: Path):
    """A side path of stride 16 takes no sides that are multiples of 8 alone."""
    conv = "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=linear\n"
    head = LARGE[LARGE.rindex("[convolutional]") :]
    trunk = LARGE.removesuffix(head)
    (tmp_path / "large.cfg").write_text(f"{trunk}{conv}[upsample]\nstride=2\n[route]\nlayers=-1,3\n{head}")
    add_large(prepare_job(said))
    fault = refuse(said._replace(multi_scale=True), "does not take all sizes")
    assert fault.found == "sides that are multiples of 8" and fault.allowed == "multiples of 16"


def test_the_command_says_what_learns_from_what(said: TrainOptions, tmp_path: Path):
    """And `yolor test` takes the large network."""
    project = tmp_path / "runs"
    words = [said.cfg, "--data", str(said.data), "--joint", str(said.joint), "--joint-learns"]
    words += ["--epochs", "1", "--batch-size", "4", "--workers", "0", "--project", str(project)]
    done = CliRunner().invoke(main, ["train", *words])
    assert done.exit_code == 0, done.output
    assert f"{said.joint} learns too, from nothing, on images of 64x64" in done.output
    assert "large_loss" in done.output and "large_AP" in done.output
    weights = project / "exp/weights/best_large.pt"
    tested = ["test", str(weights), "--data", str(said.data), "--project", str(project)]
    assert CliRunner().invoke(main, tested).exit_code == 0
    alone = CliRunner().invoke(main, ["train", *words[:3], "--joint-learns"])
    assert alone.exit_code == 2 and "there is no large network that teaches" in alone.output


def test_without_weights_the_option_is_named(said: TrainOptions, tmp_path: Path):
    with pytest.raises(CfgError, match="has no weights") as caught:
        build(said._replace(joint_learns=False))
    assert "--joint-learns" in caught.value.hint


def test_a_state_of_other_options_is_refused(said: TrainOptions, tmp_path: Path):
    done = training.run(said._replace(epochs=1), tmp_path / "runs")
    _, alone = build(said._replace(**ALONE))
    with pytest.raises(WeightsError, match="saved with other options"):
        load_state(alone, done.folder / "weights/last.pt")
