"""Task packs: a few hundred numbers beside a network that many tasks share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg import Detector, load
from yolor_cfg.cli import cfg_task, habits
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.lang.lists import RESERVED_TASKS
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ActivationLayer
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.rewrite import task_places
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.rewrite.task_places import add_task_places
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint
from yolor_cfg.weights.loading import open_network
from yolor_cfg.weights.safetensors_file import read_beside, write_safetensors
from yolor_cfg.weights.tasks import (
    apply_task,
    check_task_name,
    implicit_tensors,
    read_task,
    save_task,
)

NAMES = tuple(f"kind{number}" for number in range(6))


class Trained(NamedTuple):
    """A cfg with places for tasks, its weights, the pack of a task, and the folder of the run."""

    cfg: Path
    weights: Path
    pack: Path
    run: Path


@pytest.fixture(scope="module")
def base() -> Network:
    return seeded(training.yolor_text())


def seeded(text: str) -> Network:
    """A network of random weights whose batch norms are not at their start."""
    torch.manual_seed(0)
    network = Network(load_graph_of(text)).eval()
    for name, tensor in network.state_dict().items():
        if "running_var" in name or name.endswith("BatchNorm2d.weight"):
            tensor.uniform_(0.5, 1.5)
    return network


def load_graph_of(text: str):
    from yolor_cfg.graph import build_graph
    from yolor_cfg.lang.syntax import parse

    return build_graph(parse(text, "small.cfg"))


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize(("where", "count"), [("neck", 2), ("heads", 1)])
def test_places_for_tasks_change_nothing(base, where, count):
    made = add_task_places(base, where)
    assert len(made.places) == count
    assert all(map(torch.equal, base(picture()), made.network(picture())))


@torch.inference_mode()
@pytest.mark.parametrize("where", ["neck", "heads"])
def test_a_folded_task_costs_nothing(base, where):
    network = add_task_places(base, where).network.double()
    for number, tensor in enumerate(implicit_tensors(network).values()):
        tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)))
    folded = fold(network).network
    assert not any(isinstance(layer, ImplicitModel | ActivationLayer) for layer in folded.module_list)
    assert len(folded.graph.nodes) == len(fold(base).network.graph.nodes)
    for wanted, found in zip(network(picture().double()), folded(picture().double()), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_an_activation_that_others_share_stays():
    text = training.yolor_text().replace(
        "[convolutional]\nfilters=33",
        "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n[activation]\nactivation=mish\n"
        "[shortcut]\nfrom=-2\nactivation=linear\n[convolutional]\nfilters=33",
    )
    network = seeded(text).double()
    folded = fold(network).network
    assert sum(isinstance(layer, ActivationLayer) for layer in folded.module_list) == 1
    with torch.inference_mode():
        for wanted, found in zip(network(picture().double()), folded(picture().double()), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_other_dialects_are_refused():
    network = seeded(tiny.text())
    with pytest.raises(CfgError, match="YOLOR's dialect alone"):
        add_task_places(network)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Network) -> Trained:
    """A task of drawn shapes with other names, learned in a few steps."""
    folder = tmp_path_factory.mktemp("tasks")
    made = add_task_places(base).network
    data = training.shapes(folder)
    names = data.parent / "shapes.names"
    names.write_text("\n".join(NAMES))
    weights = folder / "base.pt"
    save_checkpoint(made, weights, names=tuple("abcdef"))
    said = training.options(
        folder, data, text=made.graph.document.text, weights=str(weights), task="kinds", train_only="implicit"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder_of_run = training.run(said, folder / "runs").folder
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    return Trained(
        folder / "small.cfg", weights, folder_of_run / "weights/kinds.task.safetensors", folder_of_run
    )


def test_only_implicit_knowledge_learns(trained):
    before, after = (
        read_checkpoint(path).tensors for path in (trained.weights, trained.run / "weights/last.pt")
    )
    own = implicit_tensors(load(trained.cfg, trained.weights)).keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == own
    assert read_checkpoint(trained.run / "weights/best.pt").names == NAMES


def test_the_pack_has_what_was_learned_and_nothing_else(trained):
    pack = read_task(trained.pack)
    best = read_checkpoint(trained.run / "weights/best.pt").tensors
    assert pack.names == NAMES
    assert pack.task == "kinds"
    assert pack.tensors.keys() == implicit_tensors(load(trained.cfg, trained.weights)).keys()
    assert all(torch.equal(tensor, best[name]) for name, tensor in pack.tensors.items())
    assert trained.pack.stat().st_size < trained.weights.stat().st_size / 4


@torch.inference_mode()
def test_a_task_makes_the_trained_network_of_the_base(trained):
    found = load(trained.cfg, trained.weights, task=trained.pack)(picture())
    wanted = load(trained.run / "weights/best.pt")(picture())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)  # an average of equal numbers is rounded


def test_a_detector_switches_tasks_and_back_to_the_bit(trained, tmp_path):
    beside = trained.weights.parent / "kinds.task.safetensors"
    beside.write_bytes(trained.pack.read_bytes())
    image = tiny.photo(64, 64)
    plain = Detector(trained.cfg, trained.weights, conf=0.001)
    before = plain(image)
    other = plain.task("kinds")
    switched = other(image)
    assert (plain.names, other.names) == (tuple("abcdef"), NAMES)
    for again in (plain(image), other.task(None)(image)):
        assert torch.equal(again.boxes_xyxy, before.boxes_xyxy)
        assert torch.equal(again.scores, before.scores)
    assert not np.array_equal(switched.scores, before.scores)
    opened = Detector(trained.cfg, trained.weights, conf=0.001, task=trained.pack)(image)
    assert torch.equal(opened.scores, switched.scores)
    shared = [
        mine.data_ptr() == its.data_ptr()
        for (name, mine), its in zip(
            plain.network.state_dict().items(), other.network.state_dict().values(), strict=True
        )
        if name not in implicit_tensors(plain.network)
    ]
    assert all(shared)


def test_names_of_the_caller_are_those_of_the_first_task(trained):
    names = tuple("uvwxyz")
    plain = Detector(trained.cfg, trained.weights, names)
    assert plain.task(trained.pack).names == NAMES
    assert plain.task(trained.pack).task(None).names == plain.names == names
    assert Detector(trained.cfg, trained.weights, names, task=trained.pack).task(None).names == tuple(
        "abcdef"
    )


def test_a_pack_of_another_network_is_refused(trained, tmp_path):
    network = load(trained.cfg, trained.weights)
    pack = read_task(trained.pack)
    next(iter(network.parameters())).data += 1e-3
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match="learned with other weights"):
        apply_task(network, pack, path=trained.pack)
    other = tmp_path / "other.cfg"
    other.write_text(trained.cfg.read_text().replace("filters=16", "filters=12"))
    with pytest.raises(WeightsError, match="learned with other cfg"):
        apply_task(load(other), pack, path=trained.pack)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_comments_and_the_input_size_do_not_count(trained, tmp_path):
    other = tmp_path / "other.cfg"
    other.write_text("# another comment\n" + trained.cfg.read_text().replace("height=64", "height = 96"))
    network = load(other, trained.weights)
    (note,) = apply_task(network, read_task(trained.pack), path=trained.pack)
    assert "14 numbers" not in note


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "val", "x" * 65])
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(CfgError, match="not the name of a task"):
        check_task_name(name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("detect", "{cfg}", "{weights}", "x.jpg", "--task", "night"), "no such task"),
        (("detect", "{cfg}", "{weights}", "x.jpg", "--task", "{weights}"), "is not a safetensors file"),
        (("train", "{cfg}", "--data", "d", "--task", "night"), "give its --weights"),
        (
            ("train", "{cfg}", "--data", "d", "--weights", "{weights}", "--task", "a/b"),
            "not the name of a task",
        ),
        (("train", "{cfg}", "--data", "d", "--weights", "{weights}", "--task", ""), "not the name of a task"),
        (("convert", "{weights}", "o.pt", "--task", "night"), "no such task"),
        (("test", "{cfg}", "{weights}", "--data", "d", "--task", "night"), "no such task"),
    ],
)
def test_what_cannot_be_a_task_is_said(trained, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = tiny.yolor(*(word.format(**trained._asdict()) for word in words))
    assert result.exit_code in (2, 3, 4)
    assert said in result.stderr


@pytest.mark.parametrize(
    "words",
    ["detect {net} x.jpg", "test {net} --data d", "export {net}", "convert {weights} o.pt", "bench {net}"]
    + ["info {cfg}", "info {weights}", "implicit {net}", "train {cfg} --weights {weights} --data x=d"],
)
def test_a_name_that_is_no_task_is_wrong_usage_in_every_command(trained, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = trained._asdict() | {"net": f"{trained.cfg} {trained.weights}"}
    own = () if "--data x=d" in words else ("--task", "night")
    result = tiny.yolor(*words.format(**known).split(), *own)
    assert (result.exit_code, "no such task" in result.stderr) == (2, True), result.stderr


def write_classes(folder: Path, data: Path, count: int) -> Path:
    """The data set under a list of so many names."""
    (folder / f"{count}.names").write_text("".join(f"n{number}\n" for number in range(count)))
    other = data.with_name(f"{count}.data")
    keys = [line for line in data.read_text().splitlines() if line.split()[0] not in ("classes", "names")]
    other.write_text("\n".join([*keys, f"classes = {count}", f"names = {folder / f'{count}.names'}\n"]))
    return other


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_data_set_of_other_classes_gets_a_hint_that_works(trained, command, tmp_path, monkeypatch):
    """The heads of the weights stay; a list of as many names is taken, and a cfg of their own by others."""
    monkeypatch.chdir(tmp_path)
    data = training.shapes(tmp_path)
    own = {
        "train": (
            trained.cfg,
            "--weights",
            trained.weights,
            "--task",
            "x",
            "--epochs",
            1,
            "--no-val",
            "--data",
        ),
        "test": (trained.cfg, trained.weights, "--no-save", "--by-number", "--data"),
    }[command]
    few, more = (tiny.yolor(command, *own, write_classes(tmp_path, data, count)) for count in (2, 7))
    assert (few.exit_code, more.exit_code) == (3, 3)
    hint = "the network keeps its heads: add 4 names that no label has to use to the list of the data set"
    assert hint in few.stderr and "set-classes" not in few.stderr
    assert "yolor cfg set-classes CFG 7 writes a cfg to train as a whole" in more.stderr
    done = tiny.yolor(command, *own, write_classes(tmp_path, data, 6))
    assert done.exit_code == 0, done.stderr
    if command == "train":
        assert tiny.yolor("cfg", "set-classes", trained.cfg, 7, "-o", "seven.cfg").exit_code == 0
        words = ("seven.cfg", "--weights", trained.weights, "--epochs", 1, "--no-val", "--data")
        done = tiny.yolor("train", *words, write_classes(tmp_path, data, 7))
        assert done.exit_code == 0, done.stderr


def write_pack(trained, path, names, change):
    """The pack under other names of classes, its tensors changed."""
    pack = read_task(trained.pack)
    record = {**read_beside(trained.pack), "names": names}
    write_safetensors(path, {name: change(tensor) for name, tensor in pack.tensors.items()}, record=record)


def test_a_pack_that_is_not_finite_or_lacks_names_is_told(trained, tmp_path):
    names = read_task(trained.pack).names
    write_pack(trained, tmp_path / "odd.task.safetensors", list(names), lambda tensor: tensor * torch.nan)
    opened = open_network(trained.cfg, trained.weights, task=tmp_path / "odd.task.safetensors")
    assert [note.split(" in the weights")[0] for note in opened.notes][-1] == "NaN or infinity"
    write_pack(trained, tmp_path / "few.task.safetensors", list(names[:-1]), lambda tensor: tensor)
    with pytest.raises(WeightsError, match="the names of this task are damaged") as caught:
        load(trained.cfg, trained.weights, task=tmp_path / "few.task.safetensors")
    assert (caught.value.found, caught.value.allowed) == ("5 names", "6 classes")


def test_a_file_whose_name_is_no_tasks_is_given_by_its_path(trained, tmp_path):
    weights = shutil.copy(trained.weights, tmp_path / "w.pt")
    odd = shutil.copy(trained.pack, tmp_path / "a b.task.safetensors")
    (tmp_path / "folder.task.safetensors").mkdir()
    with pytest.raises(CfgError, match="no such task") as caught:
        load(trained.cfg, weights, task="a b")
    assert "a b" not in str(caught.value.allowed) and "folder" not in str(caught.value.allowed)
    assert f"--task '{odd}'" in caught.value.hint
    load(trained.cfg, weights, task=odd)


def test_a_pack_is_no_network(trained):
    for paths in ((trained.pack,), (trained.cfg, trained.pack)):
        with pytest.raises(WeightsError, match="not a whole network") as caught:
            load(*paths)
        assert (caught.value.path, "--task" in caught.value.hint) == (str(trained.pack), True)


def test_a_file_of_tensors_is_no_task(trained, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(load(trained.cfg, trained.weights), other)
    with pytest.raises(WeightsError, match="is not a task"):
        read_task(other)


def test_the_command_adds_places_and_converts_weights(base, tmp_path):
    cfg, weights = tmp_path / "small.cfg", tmp_path / "small.pt"
    cfg.write_text(training.yolor_text())
    save_checkpoint(base, weights)
    out = tmp_path / "tasks.pt"
    result = tiny.yolor("cfg", "add-task", cfg, "--weights", weights, out)
    assert result.exit_code == 0, result.stderr
    assert "1 place: a task has 64 numbers of its own" in result.stderr
    assert "+[implicit_mul]" in result.stdout
    with torch.inference_mode():
        made = load(tmp_path / "small-tasks.cfg", out)
        assert all(map(torch.equal, base(picture()), made(picture())))
    again = tiny.yolor("cfg", "add-task", cfg)
    assert again.exit_code
    assert "exists already" in again.stderr


@torch.inference_mode()
def test_a_task_folds_into_a_plain_network(trained, tmp_path):
    plain = tmp_path / "plain.weights"
    result = tiny.yolor("convert", trained.weights, plain, "--task", trained.pack, "--fold-implicit")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "plain.names").read_text().split() == list(NAMES)
    network = load(tmp_path / "plain.cfg", plain)
    assert not any(isinstance(layer, ImplicitModel) for layer in network.module_list)
    task = load(trained.cfg, trained.weights, task=trained.pack)
    for (one, _, scores), (other, _, wanted) in zip(
        *([[*net.decode(net(picture()))]] for net in (network, task)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-5)


def test_a_pack_with_an_average_has_the_digest_of_the_network_that_learned(base, tmp_path):
    average = add_task_places(base).network
    shared = add_task_places(base).network
    for name, tensor in average.state_dict().items():
        if name not in implicit_tensors(average) and tensor.is_floating_point():
            tensor *= 1 + 1e-7
    path = tmp_path / "x.task.safetensors"
    save_task(average, path, task="x", names=NAMES, shared=shared)
    apply_task(shared, read_task(path), path=path)


def test_the_command_knows_the_places_that_there_are():
    assert cfg_task.PLACES == task_places.PLACES
    assert set(habits.SPLITS) <= set(RESERVED_TASKS)
