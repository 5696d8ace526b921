"""Softmax, its class tree, and what losses leave behind."""

import numpy as np
import pytest
import torch
from small import applied, graph_of, last_node, network_of, numbers

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.paths import resolve_cfg_path
from yolor_cfg.lang.tree import parse_tree, read_tree
from yolor_cfg.shape import Shape

TREE = "animal -1\nthing -1\ncat 0\ndog 0\nbird 0\npoodle 3\npug 3\ncup 1\n"


def softmax(x: np.ndarray, temperature: float = 1) -> np.ndarray:
    e = np.exp(x / temperature)
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("temperature", [1, 2, 0.5])
def test_each_group_of_a_softmax_sums_to_1(groups, temperature):
    x = numbers(3, 4, 1, 2)
    parts = np.split(x.reshape(3, 8), groups, axis=1)
    want = np.concatenate([softmax(part, temperature) for part in parts], axis=1)
    got = applied(f"[softmax]\ngroups={groups}\ntemperature={temperature}", x)
    np.testing.assert_allclose(got, want[:, :, None, None], atol=1e-12)


def test_a_softmax_is_a_head_and_stored_as_a_matrix():
    network = network_of("[avgpool]\n[softmax]\n[cost]")
    x = torch.randn(3, 4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        (out,), values = network(x), network.trace(x, [1, 2])
    assert network.graph.outputs == (1,)
    assert (tuple(out.shape), tuple(values[1].shape)) == ((3, 4, 1, 1), (3, 4))
    assert torch.equal(values[2], torch.zeros(3, 4, dtype=torch.float64))


def test_a_softmax_takes_all_numbers_of_a_map():
    node = last_node("[softmax]")
    assert node.shape == Shape(4 * 6 * 8, 1, 1)
    x = numbers(2, 4, 6, 8)
    np.testing.assert_allclose(applied("[softmax]", x).reshape(2, -1), softmax(x.reshape(2, -1)), atol=1e-12)


def test_siblings_of_a_tree_share_a_softmax(tmp_path):
    (tmp_path / "t.tree").write_text(TREE)
    x = numbers(3, 8, 1, 1)
    got = applied(f"[softmax]\ntree={tmp_path / 't.tree'}\ntemperature=2", x)[:, :, 0, 0]
    flat = x[:, :, 0, 0]
    for run in (slice(0, 2), slice(2, 5), slice(5, 7), slice(7, 8)):
        np.testing.assert_allclose(got[:, run], softmax(flat[:, run], 2), atol=1e-12)


def test_a_tree_says_parents_leaves_and_runs_of_siblings():
    tree = parse_tree(TREE)
    assert tree.parents == (-1, -1, 0, 0, 0, 3, 3, 1)
    assert tree.group_sizes == (2, 3, 2, 1)
    leaves = [name for name, leaf in zip(tree.names, tree.leaf_flags, strict=True) if leaf]
    assert leaves == ["cat", "bird", "poodle", "pug", "cup"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("a -1\nb", 2),
        ("a -1\n\nb 1\n", 3),
        ("a 0\n", 1),
        ("a -2\n", 1),
        ("", 1),
        ("a -1\nb " + "9" * 5000, 2),  # more digits than int() takes
    ],
)
def test_a_malformed_line_of_a_tree_is_reported(text, line):
    with pytest.raises(CfgError, match=f"t.tree:{line}: ") as caught:
        parse_tree(text, "t.tree")
    assert caught.value.line == line


def test_a_name_that_is_too_long_for_a_file_is_told_as_one_that_is_not_there(tmp_path):
    with pytest.raises(CfgError, match="cannot be read: file name too long"):
        read_tree(resolve_cfg_path("a" * 300, str(tmp_path / "a.cfg")))


def test_the_tree_of_yolo9000_has_9418_classes(shared):
    tree = read_tree(shared / "golden" / "darknet" / "data" / "9k.tree")
    assert (len(tree.names), sum(tree.group_sizes), tree.parents[:5]) == (9418, 9418, (-1, -1, -1, -1, 0))


def module_of_tree(cfg_folder, name: str) -> None:
    from yolor_cfg import graph

    cfg = cfg_folder / "x.cfg"
    cfg.write_text(f"[net]\nchannels=8\nheight=1\nwidth=1\n[softmax]\ntree={name}")
    node = graph.load_graph(cfg).nodes[-1]
    node.section.module(*node.inputs)


def test_a_tree_is_found_beside_the_cfg_then_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "cfgs").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CfgError, match="tree: the tree cannot be read: no such file"):
        module_of_tree(tmp_path / "cfgs", "t.tree")
    (tmp_path / "here" / "t.tree").write_text(TREE)
    module_of_tree(tmp_path / "cfgs", "t.tree")
    (tmp_path / "cfgs" / "t.tree").write_text("too -1\nfew -1\n")
    with pytest.raises(CfgError, match="number of classes is not") as caught:
        module_of_tree(tmp_path / "cfgs", "t.tree")
    assert caught.value.allowed == "8" and caught.value.found.startswith("2 in ")


@pytest.mark.parametrize(
    "keys, message", [("groups=5", "does not divide the input"), ("temperature=0", "out of bounds")]
)
def test_an_impossible_softmax_is_refused(keys, message):
    with pytest.raises(CfgError, match=message):
        graph_of(f"[softmax]\n{keys}")


def test_a_contrastive_loss_leaves_zeros_and_is_no_output():
    text = "[convolutional]\nfilters=14\n[yolo]\nclasses=2\nnum=2\n[route]\nlayers=0\n"
    network = network_of(text + "[contrastive]\nclasses=2\nyolo_layer=1")
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        value = network.trace(x, [3])[3]
    assert torch.equal(value, torch.zeros(2, 14 * 6 * 8, dtype=torch.float64))
    assert network.graph.outputs == (1,)


def test_the_yolo_section_of_a_contrastive_loss_must_stand_before_it():
    with pytest.raises(CfgError, match="yolo_layer: no such section"):
        graph_of("[contrastive]\nyolo_layer=3")


def test_an_unknown_cost_type_warns_and_becomes_the_squared_error():
    graph = graph_of("[softmax]\n[cost]\ntype=square")
    assert graph.nodes[-1].section.type_ == "sse"
    assert [warning.key for warning in graph.warnings] == ["type"]
