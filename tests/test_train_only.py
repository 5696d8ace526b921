"""Only implicit knowledge trained: everything else stays bit-identical, in the network and in its EMA."""

import pytest
import torch
import training

from yolor_cfg.data.shapes import NAMES
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.train.loop import set_train_mode
from yolor_cfg.train.run import build_state
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.weights.loading import open_network

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

IMPLICIT = (4, 5, 6)
VALUES = 3 * (5 + len(NAMES))


def text() -> str:
    """The small network with a vector, a factorization and a network with a chain in front of its head."""
    body, head = training.yolor_text().rsplit("[convolutional]", 1)
    convolution, yolo = head.split("[yolo]")
    knowledge = (
        "[implicit_add]\nfilters=32\n"
        f"[implicit_mul]\nfilters={VALUES}\nmodel=factorization\nrank=4\nsparse=.001\n"
        f"[implicit_add]\nfilters={VALUES}\nmodel=network\nprior=6\nhidden=5\nchain=4\n"
    )
    places = f"[route]\nlayers=3\n[shift_channels]\nfrom=4\n[convolutional]{convolution}"
    return f"{body}{knowledge}{places}[control_channels]\nfrom=5\n[shift_channels]\nfrom=6\n[yolo]{yolo}"


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def of_layers(names: dict[str, torch.Tensor], layers: tuple[int, ...]) -> set[str]:
    return {name for name in names if int(name.split(".")[1]) in layers}


@pytest.mark.parametrize(("freeze", "layers", "count"), [(0, IMPLICIT, 7), (5, IMPLICIT[1:], 6)])
def test_only_implicit_knowledge_changes_bit_for_bit(tmp_path, data, freeze, layers, count):
    first = training.options(tmp_path, data, text=text(), epochs=1)
    weights = training.run(first, tmp_path / "runs").folder / "weights/best.pt"
    before = open_network(first.cfg, weights).network.state_dict()
    said = first._replace(train_only="implicit", freeze=freeze, weights=str(weights), epochs=2)
    state = training.run(said, tmp_path / "runs").state
    assert state.updates >= 4
    wanted = of_layers(before, layers)
    assert len(wanted) == count
    for network in (state.network, state.eval_network):
        assert changed(before, network.state_dict()) == wanted


def test_what_is_frozen_is_in_evaluation_mode_and_unknown_to_the_optimizer(tmp_path, data):
    said = training.options(tmp_path, data, text=text(), train_only="implicit")
    state = build_state(prepare_job(said), say=lambda line: None)
    set_train_mode(state.network, said)
    modes = [number for number, layer in enumerate(state.network.module_list) if layer.training]
    assert modes == list(IMPLICIT)
    known = sum(len(group["params"]) for group in state.optimizer.param_groups)
    assert known == len(of_layers(dict(state.network.named_parameters()), IMPLICIT))


def test_darknets_own_implicit_section_counts(tmp_path, data):
    body, head = training.darknet_text().rsplit("[convolutional]", 1)
    implicit = "[implicit]\nfilters=24\nmean=1\n[scale_channels]\nfrom=-2\n"
    said = training.options(
        tmp_path,
        data,
        text=f"{body}{implicit}[convolutional]{head}",
        epochs=1,
        train_only="implicit",
        update_batch=4,
    )
    torch.manual_seed(said.seed)
    before = Network(load_graph(said.cfg)).state_dict()
    after = training.run(said, tmp_path / "runs").state.network.state_dict()
    assert changed(before, after) == {"module_list.4.implicit"}


def test_a_run_without_trainable_parameters_is_refused(tmp_path, data):
    for more, words in (
        ({"train_only": "implicit"}, "no implicit section in this network"),
        ({"train_only": "implicit", "text": text(), "freeze": 7}, "nothing is left to learn"),
        ({"freeze": 100}, "nothing is left to learn"),
    ):
        with pytest.raises(CfgError, match=words):
            training.run(training.options(tmp_path, data, **more), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
