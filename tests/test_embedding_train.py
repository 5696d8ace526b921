"""Training of embeddings: resumed to the bit, saved without what only training needs, scored."""

from pathlib import Path

import numpy as np
import pytest
import torch
import training

from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.rewrite.translate import translate
from yolor_cfg.train.identities import CLASSIFIER, learner_tensors
from yolor_cfg.train.run import resume_run
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.train.transfer import transfer
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint
from yolor_cfg.weights.loading import load

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

NET = "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=4\n"
BODY = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=4\nstride=4\nactivation=leaky\n"
OWN = (
    NET + "dialect=yolor\n" + BODY + "[convolutional]\nfilters=38\nsize=2\nstride=2\nactivation=linear\n"
    "[jde]\nmask=0,1,2\nnum=3\nanchors=6,6, 9,9, 13,13\nclasses=6\nembedding=5\nid_loss=both\n"
)
JDE = (
    NET
    + "embedding_dim=5\n"
    + BODY
    + "[convolutional]\nfilters=24\nsize=2\nstride=2\nactivation=linear\n[route]\nlayers=-2\n"
    "[convolutional]\nfilters=$embedding_dim\nsize=2\nstride=2\nactivation=linear\n[route]\nlayers=-3,-1\n"
    "[yolo]\nmask=0,1,2,3\nnum=4\nanchors=5,5, 7,7, 9,9, 13,13\nclasses=1\n"
)


def one_class(folder: Path) -> None:
    for place in (folder / "labels").glob("*.txt"):
        rows = [line.split(" ", 1)[1] for line in place.read_text().splitlines()]
        place.write_text("".join(f"0 {row}\n" for row in rows))
    (folder / "shapes.names").write_text("shape\n")
    data = (folder / "shapes.data").read_text()
    (folder / "shapes.data").write_text(data.replace("classes = 6", "classes = 1"))


@pytest.fixture(params=["own", "jde"])
def said(request: pytest.FixtureRequest, tmp_path: Path):
    wanted = ShapesOptions(14, (32, 32), KINDS["identities"], val_count=6, identities=True)
    data = write_shapes(tmp_path / "set", wanted)
    if request.param == "jde":
        one_class(tmp_path / "set")
    text = {"own": OWN, "jde": JDE}[request.param]
    return training.options(tmp_path, data, text=text, batch_size=4, update_batch=8, epochs=3, save_steps=1)


def resume(folder: Path):
    return resume_run(folder, drawing=training.DRAWING, say=lambda text: None)


def test_a_resumed_run_ends_with_the_same_bits(said, tmp_path: Path, monkeypatch) -> None:
    from yolor_cfg.train.logger import RunLogger

    whole = training.run(said, tmp_path, "whole")
    count = 0

    def stop(self) -> bool:
        nonlocal count
        count += 1
        return count == 4

    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "is_stop_requested", property(stop))
        half = training.run(said, tmp_path, "half")
    assert half.ending.reason == "interrupted" and half.state.count < whole.state.count
    again = resume(half.folder)
    assert again.state.count == whole.state.count
    for one, other in (
        (whole.state.network, again.state.network),
        (whole.state.eval_network, again.state.eval_network),
    ):
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys() and f"{CLASSIFIER}.weight" in ours
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (whole.folder / "results.csv").read_text() == (again.folder / "results.csv").read_text()


def test_what_only_training_needs_is_in_its_state_and_not_in_the_network(said, tmp_path: Path) -> None:
    result = training.run(said, tmp_path, "exp")
    own = learner_tensors(result.state.network)
    start = dict(zip(("s_c", "s_r", "s_id"), (-4.15, -4.85, -2.3), strict=True))
    moved = [
        tensor.item() - start.get(name.rpartition(".")[2], -np.log(2))
        for name, tensor in own.items()
        if ".s_" in name
    ]
    assert own and any(abs(value) > 1e-4 for value in moved)
    last = read_checkpoint(result.folder / "weights/last.pt").tensors
    best = read_checkpoint(result.folder / "weights/best.pt").tensors
    assert own.keys() <= last.keys()
    is_jde = result.job.graph.dialect.name == "jde"
    assert own.keys() <= best.keys() if is_jde else not own.keys() & best.keys()
    network = load(result.folder / "model.cfg", result.folder / "weights/best.pt")
    assert not learner_tensors(network)
    row = result.state.rows[-1]
    assert 0 <= row["rank1"] <= 1 and 0 <= row["identity_mAP"] <= 1 and "identity" in row
    further = said._replace(weights=str(result.folder / "weights/last.pt"), epochs=1, max_batches=None)
    state = training.run(further._replace(freeze=0), tmp_path, "further").state
    assert state.network.state_dict().keys() == result.state.network.state_dict().keys()


def test_a_checkpoint_of_a_jde_network_has_the_names_of_jde(said, tmp_path: Path) -> None:
    result = training.run(said._replace(epochs=1), tmp_path, "exp")
    held = torch.load(result.folder / "weights/best.pt", weights_only=True)["model"]
    if result.job.graph.dialect.name != "jde":
        assert "module_list.0.Conv2d.weight" in held
        return
    wanted = {
        f"module_list.0.batch_norm_0.{part}" for part in ("weight", "bias", "running_mean", "running_var")
    }
    wanted |= {"module_list.0.conv_0.weight", "module_list.1.conv_1.bias", "module_list.3.conv_3.weight"}
    wanted |= {f"module_list.5.yolo_5.{part}" for part in ("s_c", "s_r", "s_id")}
    assert wanted | {"classifier.weight", "classifier.bias"} <= held.keys()
    assert not [name for name in held if "Conv2d" in name]


def test_fewer_identities_than_there_are_are_refused(tmp_path: Path) -> None:
    wanted = ShapesOptions(14, (32, 32), KINDS["identities"], val_count=6, identities=True)
    data = write_shapes(tmp_path / "set", wanted)
    said = training.options(tmp_path, data, text=OWN + "identities=2\n")
    with pytest.raises(CfgError, match="fewer than the data set has"):
        prepare_job(said)
    more = prepare_job(training.options(tmp_path, data, text=OWN + "identities=500\n"))
    assert more.identities is not None and more.identities.total == 500


def test_data_without_identities_teach_the_boxes_alone(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "set", ShapesOptions(14, (32, 32), val_count=6))
    said = training.options(tmp_path, data, text=OWN, batch_size=4, epochs=1)
    result = training.run(said, tmp_path, "exp")
    assert any("embeddings learn nothing" in one.reason for one in result.job.dataset.problems)
    assert result.state.rows[-1]["identity"] == 0 and "rank1" not in result.state.rows[-1]


def test_weights_for_other_classes_keep_their_embeddings(tmp_path: Path) -> None:
    old = Network(build_graph(parse(OWN)))
    save_checkpoint(old, tmp_path / "old.pt", names=("a", "b", "c", "d", "e", "f"))
    text = OWN.replace("filters=38", "filters=29").replace("classes=6", "classes=3")
    new = Network(build_graph(parse(text)))
    taken = transfer(new, tmp_path / "old.pt", names=("f", "x", "a"))
    assert taken.partial == (1,) and set(taken.classes) == {"f", "a"}
    ours, theirs = (network.module_list[1].Conv2d.weight for network in (new, old))
    assert torch.equal(ours[24:], theirs[33:])
    ours, theirs = ours[:24].unflatten(0, (3, 8)), theirs[:33].unflatten(0, (3, 11))
    assert torch.equal(ours[:, :5], theirs[:, :5])
    assert torch.equal(ours[:, 5], theirs[:, 10]) and torch.equal(ours[:, 7], theirs[:, 5])
    assert not torch.equal(ours[:, 6], theirs[:, 6])


def test_other_programs_get_no_embeddings() -> None:
    network = Network(build_graph(parse(OWN))).eval()
    with pytest.raises(CfgError, match=r"\[jde #2\]") as caught:
        to_plain_darknet(network)
    assert "no embeddings" in caught.value.hint
    with pytest.raises(CfgError, match=r"\[jde #2\]"):
        translate(network.graph, "ultralytics", "own.cfg")
