"""`task=` in a cfg: heads and implicit values for some tasks, and the network of one task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny
import torch
from click.testing import CliRunner

from yolor_cfg import Detector, load
from yolor_cfg.analysis.implicit import collect_knowledge
from yolor_cfg.cli import main
from yolor_cfg.count import count_tasks
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks.catalog import Changes, new_cfg
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.rewrite.task_places import add_task_places
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.task_choice import choose_graph, select_task, task_note

YOLO = "[yolo]\nmask=0,1,2\nanchors=3,3, 5,5, 8,8\nclasses={classes}\nnum=3\n{task}"
TEXT = (
    """[net]
dialect=yolor
width=32
height=32
channels=3
[convolutional]
filters=8
size=3
stride=4
pad=1
activation=linear
[implicit_mul]
filters=8
task=day,night
[implicit_add]
filters=8
model=factorization
rank=3
task=night,dusk
[implicit_add]
filters=8
model=network
prior=5
chain=-1
task=night,dusk
[route]
layers=0
[control_channels]
from=1
[shift_channels]
from=2
[shift_channels]
from=3
[activation]
activation=silu
[convolutional]
filters=21
size=1
activation=linear
"""
    + YOLO.format(classes=2, task="task=day,night\n")
    + """[route]
layers=8
[convolutional]
filters=24
size=1
activation=linear
"""
    + YOLO.format(classes=3, task="task=dusk\n")
)
TASKS = ("day", "night", "dusk")


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(build_graph(parse(TEXT, "tasks.cfg"))).double().eval()


@pytest.fixture
def files(tmp_path: Path, network: Network) -> tuple[str, str]:
    cfg, weights = tmp_path / "tasks.cfg", tmp_path / "tasks.pt"
    cfg.write_text(TEXT)
    names = {"day": ["car", "bus"], "night": ["owl", "bat"], "dusk": ["a", "b", "c"]}
    save_checkpoint(network.float(), weights, names=names["dusk"], kept={"task_names": names})
    return str(cfg), str(weights)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@torch.inference_mode()
def test_each_image_of_a_batch_can_have_its_task(network):
    images = pictures(3)
    alone = []
    for task in TASKS:
        network.choose_tasks([task])
        alone.append(network(images))
    network.choose_tasks(["dusk", "day", "night"])
    for head, mixed in enumerate(network(images)):
        wanted = [alone[TASKS.index(task)][head][i] for i, task in enumerate(("dusk", "day", "night"))]
        torch.testing.assert_close(mixed, torch.stack(wanted), rtol=1e-13, atol=1e-13)
    assert not torch.equal(alone[0][0], alone[1][0])


@torch.inference_mode()
@pytest.mark.parametrize(("task", "heads", "classes"), [("day", 1, 2), ("night", 1, 2), ("dusk", 1, 3)])
def test_the_network_of_a_task_computes_the_same(network, task, heads, classes):
    images = pictures(2)
    network.choose_tasks([task])
    wanted = [raw for raw in network(images) if raw.shape[-1] == 5 + classes]
    chosen = select_task(network, task)
    assert (len(chosen.graph.heads), chosen.graph.classes, chosen.graph.tasks) == (heads, classes, ())
    for found in (chosen, fold(chosen).network):
        torch.testing.assert_close(found(images), wanted, rtol=1e-12, atol=1e-12)
    assert not any("implicit" in node.section.type for node in fold(chosen).network.graph.nodes)


def test_a_task_shares_the_memory_of_the_others(network):
    chosen = select_task(network, "night")
    assert chosen.module_list[0].Conv2d.weight.data_ptr() == network.module_list[0].Conv2d.weight.data_ptr()


def test_a_task_without_values_has_the_neutral_ones(network):
    chosen = select_task(network, "dusk")
    assert chosen.graph.nodes[1].section.type == "implicit_mul"
    assert chosen.module_list[1].implicit.unique().tolist() == [1.0]


def test_unknown_tasks_are_refused(network):
    with pytest.raises(CfgError, match="no head serves this task") as caught:
        select_task(network, "dawn")
    assert caught.value.allowed == "day, night, dusk"


def test_the_costs_of_tasks():
    rows = {one.task: one for one in count_tasks(build_graph(parse(TEXT)))}
    # The heads' convolutions have 21 x 8 + 21 and 24 x 8 + 24 numbers; dusk has a rank 3 and a prior of 5.
    assert (rows["day"].parameters, rows["day"].values) == (8, 8)
    assert (rows["night"].parameters, rows["night"].values) == (8 + 3 + 5, 16)
    assert (rows["dusk"].parameters, rows["dusk"].values) == (3 + 5 + 24 * 8 + 24, 8)
    convolution, head = 8 * 27 + 8, 21 * 8 + 21
    assert rows["day"].parameters_needed == convolution + 8 + head
    assert rows["dusk"].macs == 24 * 8 * 64


def test_implicit_knowledge_is_told_by_task(network):
    found = collect_knowledge(network)
    assert [(one.index, one.task) for one in found.layers] == [
        (1, "day"),
        (1, "night"),
        (2, "night"),
        (2, "dusk"),
        (3, "night"),
        (3, "dusk"),
    ]
    factors = network.module_list[2]
    wanted = (factors.coefficients @ factors.basis)[1].detach().numpy()
    np.testing.assert_allclose(found.layers[3].values, wanted, atol=1e-12)
    np.testing.assert_array_equal(found.layers[3].coefficients, factors.coefficients[1:].detach().numpy())


def test_a_detector_switches_between_tasks(files):
    detector = Detector(*files, conf=0.01, task="night")
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    night = detector(image)
    assert detector.names == ("owl", "bat")
    dusk = detector.task("dusk")
    assert (dusk.names, dusk.network.graph.classes) == (("a", "b", "c"), 3)
    dusk(image)
    again = dusk.task("night")(image)
    assert again.to_dict() == night.to_dict() and len(night)
    with pytest.raises(CfgError, match="differ in their number of classes") as caught:
        detector.task(None)
    assert caught.value.hint == "choose one of the tasks: --task day|night|dusk"


@torch.inference_mode()
@pytest.mark.parametrize("stated", [True, False])
def test_the_weights_of_a_task_have_its_cfg_beside_them(files, tmp_path, stated):
    weights, out = files[1], tmp_path / "dusk.weights"
    if not stated:  # then the checkpoint alone tells the dialect and the epsilon
        text = TEXT.replace("dialect=yolor\n", "").replace(
            "filters=8\nsize", "batch_normalize=1\nfilters=8\nsize"
        )
        torch.manual_seed(0)
        network = Network(build_graph(parse(text), ReadOptions("yolor", bn_eps=0.02))).eval()
        save_checkpoint(network, weights, kept={"task_names": {"dusk": ["a", "b", "c"]}}, force=True)
    made = tiny.yolor("convert", weights, out, "--task", "dusk")
    assert made.exit_code == 0, made.stderr
    whole, alone = load(weights, task="dusk"), load(tmp_path / "dusk.cfg", out)
    assert all(map(torch.equal, whole(pictures(1).float()), alone(pictures(1).float())))
    assert "task=" not in (tmp_path / "dusk.cfg").read_text()
    assert (tmp_path / "dusk.names").read_text() == "a\nb\nc\n"
    for words, said in (
        ((tmp_path / "tasks.weights", "--task", "day"), "tasks.cfg: exists already"),
        (
            (tmp_path / "part.weights", "--task", "day", "--upto", "1"),
            "--upto counts the layers of the whole",
        ),
        ((tmp_path / "part.weights", "--task", ""), "allowed: day, night, dusk"),
    ):
        refused = tiny.yolor("convert", weights, *words)
        assert refused.exit_code and said in refused.stderr


@pytest.mark.parametrize("name", ["", "dawn", "a/b", ".."])
def test_a_detector_names_the_tasks_that_there_are(files, name):
    with pytest.raises(CfgError, match="no such task") as caught:
        Detector(*files, task="day").task(name)
    assert (caught.value.found, caught.value.allowed) == (f"task {name!r}", "day, night, dusk")


def test_the_commands_take_a_task(files, tmp_path):
    (cfg, weights), runner = files, CliRunner()
    shown = runner.invoke(main, ["info", cfg])
    assert "implicit_mul (day, night)" in shown.output and "parameters alone" in shown.output
    document = json.loads(runner.invoke(main, ["info", cfg, "--json"]).stdout)
    assert [one["task"] for one in document["tasks"]] == [*TASKS]
    out = str(tmp_path / "night.weights")
    refused = runner.invoke(main, ["convert", weights, out, "--fold-implicit"])
    assert refused.exit_code == 2 and "choose it with --task (day, night, dusk)" in refused.output
    assert runner.invoke(main, ["convert", weights, out, "--fold-implicit", "--task", "night"]).exit_code == 0
    assert (tmp_path / "night.names").read_text() == "owl\nbat\n"
    plain = load(tmp_path / "night.cfg", out)
    whole = load(cfg, weights, task="night")
    images = pictures(1).float()
    torch.testing.assert_close(
        plain.decode(plain(images)).boxes_xywh, whole.decode(whole(images)).boxes_xywh, rtol=1e-4, atol=1e-4
    )
    shown = runner.invoke(main, ["implicit", weights])
    assert "implicit_mul (night)" in shown.output and shown.exit_code == 0


@torch.inference_mode()
def test_places_for_several_tasks(tmp_path):
    runner, cfg = CliRunner(), tmp_path / "two.cfg"
    args = ["new", "yolor_micro", "--classes", "3", "--size", "64", "--tasks", "day,night", "-o", str(cfg)]
    assert runner.invoke(main, args).exit_code == 0
    graph = load_graph(cfg)
    assert graph.tasks == ("day", "night")
    torch.manual_seed(0)
    two = Network(graph).eval()
    plain = Network(build_graph(parse(new_cfg("yolor_micro", Changes(3, 64)), "one.cfg"))).eval()
    with pytest.raises(CfgError, match="names a task twice"):
        add_task_places(plain, tasks=("day", "day"))
    made = add_task_places(plain, "heads", tasks=("day", "night")).network
    images = pictures(1).float()
    assert all(map(torch.equal, made(images), plain(images)))
    assert {
        tuple(t.shape[:1]) for t in (n.implicit for n in made.module_list if getattr(n, "tasks", ()))
    } == {(2,)}
    assert len(select_task(two, "day").graph.nodes) == len(two.graph.nodes)
    refused = runner.invoke(main, ["new", "yolor_micro", "--tasks", "val", "-o", str(tmp_path / "x.cfg")])
    assert (refused.exit_code, "not the name of a task" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench", "{weights}", "--task", "dawn"), "allowed: day, night, dusk"),
        (("info", "{cfg}", "--folded"), "choose it with --task (day, night, dusk)"),
        (("info", "{weights}", "--task", ""), "allowed: day, night, dusk"),
        (("implicit", "{weights}", "--task", "dawn"), "allowed: day, night, dusk"),
        (("cfg", "translate", "{cfg}", "--to", "darknet"), "choose one with --task (day, night, dusk)"),
        (("cfg", "translate", "{cfg}", "--to", "darknet", "--task", "dawn"), "no head serves this task"),
        (("detect", "model.onnx", "x.jpg", "--task", ""), "--task: model.onnx is an exported file"),
    ],
)
def test_no_command_takes_a_task_in_silence(files, words, said):
    cfg, weights = files
    refused = tiny.yolor(*(word.format(cfg=cfg, weights=weights) for word in words))
    assert refused.exit_code in (2, 4)
    assert said in refused.stderr


def test_what_runs_without_a_task_is_told(files, caplog):
    graph = load_graph(files[0])
    assert task_note(graph) == (
        "this network has values for the tasks day, night, dusk: --task chooses; now day",
    )
    heads = TEXT[: TEXT.index("[implicit_mul]")] + TEXT[TEXT.index("[convolutional]\nfilters=21") :]
    several = build_graph(parse(heads.replace("layers=8", "layers=0")))
    assert task_note(several) == (
        "the heads of all tasks (day, night, dusk) run together, with one list of names: --task chooses",
    )
    assert not task_note(choose_graph(several, "dusk"))
    with caplog.at_level("INFO", "yolor_cfg"):
        load(*files)
    assert task_note(graph)[0] in caplog.messages


def test_info_and_implicit_show_one_task(files):
    cfg, weights = files
    alone = json.loads(tiny.yolor("info", cfg, "--task", "dusk", "--json").stdout)
    rows = {one["task"]: one for one in json.loads(tiny.yolor("info", cfg, "--json").stdout)["tasks"]}
    assert alone["parameters"] - 8 == rows["dusk"]["parameters_needed"]  # 8 neutral numbers of [implicit_mul]
    shown = json.loads(tiny.yolor("implicit", weights, "--task", "dusk", "--json").stdout)
    assert [(one["index"], one["task"]) for one in shown["layers"]] == [(2, "dusk"), (3, "dusk")]


@pytest.mark.slow
def test_bench_runs_a_task(files):
    words = ("--engine", "torch", "--precision", "fp32", "--batch", "1", "--turns", "1", "--json")
    result = tiny.yolor("bench", *files, "--task", "dusk", *words)
    rows = json.loads(result.stdout)
    assert [(one["task"], one["difference"] < 1e-5) for one in rows] == [("dusk", True)] * 2
