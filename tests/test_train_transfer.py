"""A training begun from other weights: what fits is taken, and what is taken is said."""

import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg.data.shapes import NAMES
from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.train import run
from yolor_cfg.train.transfer import transfer
from yolor_cfg.weights.checkpoint import read_checkpoint, save_checkpoint
from yolor_cfg.weights.darknet import write_weights

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def network_of(folder, classes, **more):
    cfg = folder / f"{classes}.cfg"
    cfg.write_text(training.yolor_text(classes=classes, **more))
    return Network(load_graph(cfg))


def test_classes_are_transferred_by_name_and_the_rest_by_layer(tmp_path, data):
    folder = training.run(training.options(tmp_path, data, epochs=1), tmp_path / "runs").folder
    path = folder / "weights/best.pt"
    old = read_checkpoint(path).tensors
    cfg = tmp_path / "other.cfg"
    cfg.write_text(training.yolor_text(classes=3))
    network = Network(load_graph(cfg))
    fresh_rows = network.state_dict()["module_list.4.Conv2d.weight"].clone().view(3, 8, 32)
    taken = transfer(network, path, names=("new", NAMES[4], NAMES[0]))
    assert taken.classes == (NAMES[4], NAMES[0])
    assert (taken.whole, taken.partial, taken.fresh) == ((0, 1, 2, 3), (4,), ())
    rows = network.state_dict()["module_list.4.Conv2d.weight"].view(3, 8, 32)
    before = old["module_list.4.Conv2d.weight"].view(3, 5 + len(NAMES), 32)
    assert torch.equal(rows[:, :5], before[:, :5])
    assert torch.equal(rows[:, 6], before[:, 5 + 4])
    assert torch.equal(rows[:, 7], before[:, 5])
    assert torch.equal(rows[:, 5], fresh_rows[:, 5])
    first = "module_list.0.Conv2d.weight"
    assert torch.equal(network.state_dict()[first], old[first])
    assert any(NAMES[4] in line for line in taken.describe())


def test_weights_without_a_common_layer_are_refused(tmp_path, data):
    folder = training.run(training.options(tmp_path, data, epochs=1), tmp_path / "runs").folder
    cfg = tmp_path / "other.cfg"
    cfg.write_text("[net]\nheight=64\nwidth=64\nchannels=3\n[convolutional]\nfilters=5\nsize=5\n")
    with pytest.raises(WeightsError):
        transfer(Network(load_graph(cfg)), folder / "weights/best.pt", names=NAMES)


@pytest.mark.parametrize("classes", [80, 6, 1])
def test_a_weights_file_of_another_class_count_gives_all_but_its_classes(tmp_path, classes):
    """Of anchor a, the numbers 0-4 of its rows are x, y, w, h and objectness (yolo_layer.c, entry_index)."""
    old = network_of(tmp_path, classes)
    write_weights(old, tmp_path / "old.weights")
    new = network_of(tmp_path, 2)
    fresh = new.state_dict()["module_list.4.Conv2d.weight"].clone().view(3, 7, 32)
    lines = list(transfer(new, tmp_path / "old.weights", names=("a", "b")).describe())
    assert lines[0].startswith(f"the file is for {classes} class")
    assert lines[1:] == [
        "layers 0-3 taken whole",
        "layer 4 before a head: boxes and objectness taken; the classes are new, as the file does not name "
        "its own",
    ]
    for name, tensor in old.state_dict().items():
        if not name.startswith("module_list.4."):
            assert torch.equal(tensor, new.state_dict()[name]), name
    rows = new.state_dict()["module_list.4.Conv2d.weight"].view(3, 7, 32)
    given = old.state_dict()["module_list.4.Conv2d.weight"].view(3, 5 + classes, 32)
    assert torch.equal(rows[:, :5], given[:, :5])
    assert torch.equal(rows[:, 5:], fresh[:, 5:])


@pytest.mark.parametrize(("upto", "cutoff"), [(2, None), (2, 2), (None, 2)])
def test_a_backbone_is_taken_with_and_without_cutoff(tmp_path, upto, cutoff):
    old, new = network_of(tmp_path, 6), network_of(tmp_path, 2)
    write_weights(old, tmp_path / "old.weights", upto=upto)
    text = "\n".join(transfer(new, tmp_path / "old.weights", names=("a", "b"), cutoff=cutoff).describe())
    assert "layers 0-1 taken whole" in text or "layers 0..1 loaded" in text
    for name, tensor in new.state_dict().items():
        if name.endswith("Conv2d.weight"):
            first = int(name.split(".")[1]) < 2
            other = old.state_dict()[name]
            assert (tensor.shape == other.shape and torch.equal(tensor, other)) == first, name


def test_a_file_of_another_network_is_refused(tmp_path):
    write_weights(network_of(tmp_path, 6), tmp_path / "old.weights")
    data = (tmp_path / "old.weights").read_bytes()
    (tmp_path / "old.weights").write_bytes(data[:-8])
    with pytest.raises(WeightsError, match="it belongs to another network"):
        transfer(network_of(tmp_path, 2), tmp_path / "old.weights", names=("a", "b"))


def test_classes_that_are_all_others_are_said_and_taken_by_number_on_request(tmp_path):
    old = network_of(tmp_path, 2)
    save_checkpoint(old, tmp_path / "old.pt", names=("cat", "dog"))
    new = network_of(tmp_path, 2)
    lines = list(transfer(new, tmp_path / "old.pt", names=("car", "bus")).describe())
    assert "layers 0-3 taken whole" in lines
    assert lines[-1] == (
        "layer 4 before a head: boxes and objectness taken; none of the classes in the file (cat, dog) is "
        "among those of the data (car, bus), so the classes are new; --by-number takes them by class id"
    )
    name = "module_list.4.Conv2d.weight"
    assert not torch.equal(new.state_dict()[name], old.state_dict()[name])
    transfer(new, tmp_path / "old.pt", names=("car", "bus"), by_number=True)
    assert torch.equal(new.state_dict()[name], old.state_dict()[name])


def test_a_command_takes_weights_of_another_class_count(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_weights(network_of(tmp_path, 80), tmp_path / "old.weights")
    (tmp_path / "new.cfg").write_text(training.yolor_text())
    args = ("train", "new.cfg", "--data", data, "--weights", "old.weights", "--dry-run")
    result = tiny.yolor(*args)
    assert result.exit_code == 0, result.output
    assert "old.weights: layers 0-3 taken whole" in result.stderr


def test_weights_that_do_not_fit_are_refused_before_the_network_is_built(tmp_path, data, monkeypatch):
    """As `open_network` does: a network of gigabytes is not built for a file that does not fit."""
    other = network_of(tmp_path, len(NAMES)).graph.document.text.replace("filters=8\n", "filters=9\n")
    (tmp_path / "wide.cfg").write_text(other.replace("size=3", "size=5"))
    wide = Network(load_graph(tmp_path / "wide.cfg"))
    write_weights(wide, tmp_path / "wide.weights")
    save_checkpoint(wide, tmp_path / "same_names.pt", names=NAMES)
    alien = {f"module_list.{number}.Conv2d.weight": torch.ones(7) for number in (90, 91)}
    torch.save({"model": alien}, tmp_path / "foreign.pt")
    (tmp_path / "text.pt").write_text("no weights")
    monkeypatch.setattr(run, "Network", None)  # building one fails with a TypeError
    files = ("wide.weights", "same_names.pt", "foreign.pt", "text.pt", "absent.pt")
    fits = {("wide.weights", 2), ("same_names.pt", None)}  # the layers before the cutoff; some of the layers
    for file, cutoff in {(file, cutoff) for file in files for cutoff in (None, 2, 1000)} - fits:
        said = training.options(tmp_path, data, weights=str(tmp_path / file), cutoff=cutoff)
        with pytest.raises(WeightsError):
            training.run(said, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
