"""The losses of [softmax] and [logistic]: against torch's, and against C Darknet's formulas written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.loss import BatchLoss, LossRules, check_losses, detection_loss

NET = "[net]\nheight=1\nwidth=1\nchannels={}\n"
TREE = "animal -1\nthing -1\ncat 0\ndog 0\nbird 0\npoodle 3\npug 3\ncup 1\n"
BOX = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.4]])


def network_of(text: str, channels: int = 5, dialect: str = "darknet") -> Network:
    graph = build_graph(parse(NET.format(channels) + text, "c.cfg"), ReadOptions(dialect))
    return Network(graph).double().train()


def learnt(
    network: Network, x: torch.Tensor, truth: torch.Tensor, **rules: float
) -> tuple[BatchLoss, torch.Tensor]:
    """The loss of what a network of a head alone gives for its input, and the gradient of that input."""
    x = x.clone().requires_grad_()
    loss = detection_loss(network(x[:, :, None, None]), None, network, rules=LossRules(**rules), truth=truth)
    (gradient,) = torch.autograd.grad(loss.total, x)
    return loss, gradient


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 5, dtype=torch.float64) * 3


def one_hot(*classes: int, of: int = 5) -> torch.Tensor:
    return F.one_hot(torch.tensor(classes), of).double()


def test_a_softmax_learns_by_torchs_cross_entropy(x):
    wanted = torch.tensor([1, 4, 0, 0])
    loss, gradient = learnt(network_of("[softmax]"), x, one_hot(*wanted.tolist()))
    leaf = x.clone().requires_grad_()
    theirs = F.cross_entropy(leaf, wanted, reduction="sum")
    assert loss.total.item() == pytest.approx(theirs.item(), abs=1e-12)
    assert (
        loss.labels.item() == pytest.approx(theirs.item() / 4)
        and loss.box == loss.objectness == loss.classes == 0
    )
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, leaf)[0])


def test_the_gradient_is_c_darknets_whatever_the_truth_and_the_temperature(x):
    """softmax_x_ent_cpu in blas.c: delta = t - p, which the layer hands on as it is."""
    truth = torch.tensor([[0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0.3, 0, 0, 0, 0.7], [0, 0, 0, 0, 0]]).double()
    _, gradient = learnt(network_of("[softmax]\ntemperature=2"), x, truth)
    e = np.exp(x.numpy() / 2)
    torch.testing.assert_close(gradient.numpy(), e / e.sum(1, keepdims=True) - truth.numpy())


def test_smoothed_labels_are_torchs_soft_targets(x):
    truth = one_hot(1, 4, 0, 0) * 0.9 + 0.02
    loss, _ = learnt(network_of("[softmax]"), x, truth)
    assert loss.total.item() == pytest.approx(F.cross_entropy(x, truth, reduction="sum").item())


def test_each_group_has_its_own_cross_entropy():
    x = torch.randn(3, 6, dtype=torch.float64)
    truth = torch.cat([one_hot(0, 2, 1, of=3), one_hot(1, 1, 2, of=3)], dim=1)
    loss, _ = learnt(network_of("[softmax]\ngroups=2", 6), x, truth)
    parts = (
        F.cross_entropy(x[:, :3], truth[:, :3], reduction="sum"),
        F.cross_entropy(x[:, 3:], truth[:, 3:], reduction="sum"),
    )
    assert loss.total.item() == pytest.approx(sum(part.item() for part in parts))


def test_in_a_tree_the_ancestors_are_true_and_groups_without_truth_are_left_alone(tmp_path):
    """fill_hierarchy in data.c: a pug (6) is a dog (3), an animal (0); nothing is said of cups (7)."""
    (tmp_path / "t.tree").write_text(TREE)
    x = torch.randn(1, 8, dtype=torch.float64)
    loss, gradient = learnt(network_of(f"[softmax]\ntree={tmp_path / 't.tree'}", 8), x, one_hot(6, of=8))
    groups = ((slice(0, 2), 0), (slice(2, 5), 1), (slice(5, 7), 1))
    parts = [F.cross_entropy(x[:, part], torch.tensor([place])) for part, place in groups]
    assert loss.total.item() == pytest.approx(sum(part.item() for part in parts))
    assert gradient[0, 7] == 0 and bool((gradient[0, :7] != 0).all())


def test_a_logistic_learns_by_torchs_binary_cross_entropy_of_what_is_known(x):
    truth = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, np.nan, 0, np.nan, 1], [np.nan] * 5]).double()
    network = network_of("[logistic]", dialect="pjreddie")
    loss, gradient = learnt(network, x, truth, labels=0.5)
    known = truth.isfinite()
    theirs = F.binary_cross_entropy(x.sigmoid()[known], truth[known], reduction="sum")
    assert loss.total.item() == pytest.approx(theirs.item() / 2)
    p = 1 / (1 + np.exp(-x.numpy()))  # logistic_x_ent_cpu in blas.c: delta = t - p
    np.testing.assert_allclose(gradient.numpy(), np.where(known, p - truth.numpy(), 0) / 2)


def test_images_without_labels_teach_a_softmax_nothing(x):
    truth = one_hot(1, 4, 0, 0)
    truth[1:3] = np.nan
    loss, gradient = learnt(network_of("[softmax]"), x, truth)
    few, _ = learnt(network_of("[softmax]"), x[[0, 3]], truth[[0, 3]])
    assert loss.total.item() == pytest.approx(few.total.item()) and bool((gradient[1:3] == 0).all())


def test_extreme_numbers_give_finite_losses():
    x = torch.tensor([[2000.0, -2000, 0, 0, 0]]).double()
    loss, gradient = learnt(network_of("[softmax]"), x, one_hot(1))
    assert loss.total.item() == pytest.approx(4000) and gradient[0, :2].tolist() == [1, -1]


@pytest.mark.parametrize(("keys", "factor"), [("", 3), ("noloss=1\n", 2)])
def test_a_cost_behind_a_softmax_adds_the_same_gradient_again(x, keys, factor):
    """cost_layer.c adds scale (t - p) to the delta of the layer before it, which is not cleared in
    between."""
    truth = one_hot(1, 4, 0, 0)
    plain = learnt(network_of("[softmax]"), x, truth)[1]
    twice = learnt(network_of(f"[softmax]\n{keys}[cost]\nscale=2"), x, truth)[1]
    torch.testing.assert_close(twice, plain * factor)


def test_a_softmax_that_nothing_trains_is_refused():
    with pytest.raises(CfgError, match="noloss: nothing trains this head"):
        check_losses(network_of("[softmax]\nnoloss=1").graph)


def test_smoothed_labels_and_a_tree_are_refused_together(tmp_path):
    """C Darknet would take every class of the tree for true: fill_hierarchy asks for any truth but 0."""
    (tmp_path / "t.tree").write_text(TREE)
    text = NET.format(8) + f"label_smooth_eps=.1\n[softmax]\ntree={tmp_path / 't.tree'}"
    with pytest.raises(CfgError, match="label_smooth_eps: a class tree takes no smoothed labels"):
        check_losses(build_graph(parse(text)))


def joint(dialect: str) -> Network:
    text = (
        f"[net]\ndialect={dialect}\nheight=32\nwidth=32\nchannels=3\n"
        "[convolutional]\nfilters=7\nsize=3\nstride=8\npad=1\nactivation=linear\n"
        "[yolo]\nmask=0\nnum=1\nanchors=9,9\nclasses=2\n[route]\nlayers=0\n"
        "[convolutional]\nfilters=2\nactivation=linear\n[avgpool]\n[logistic]\n"
    )
    return Network(build_graph(parse(text, "joint.cfg"))).train()


@pytest.mark.parametrize("dialect", ["yolor", "pjreddie"])
def test_boxes_and_image_labels_are_learnt_together_and_what_is_missing_is_not(dialect):
    network = joint(dialect)
    raws = network(torch.rand(2, 3, 32, 32))
    rules, truth = LossRules(labels=0.25), torch.tensor([[0.0, 1], [1, 1]])
    both = detection_loss(raws, BOX, network, rules=rules, truth=truth)
    boxes = detection_loss(raws, BOX, network, rules=rules)
    labels = detection_loss(raws, None, network, rules=rules, truth=truth)
    assert both.total.item() == pytest.approx(boxes.total.item() + labels.total.item())
    assert both.total.item() == pytest.approx(2 * sum(part.item() for part in both.parts), rel=1e-5)
    theirs = F.binary_cross_entropy_with_logits(raws[1].flatten(1), truth, reduction="sum") / 4
    assert (
        labels.total.item() == pytest.approx(theirs.item()) and labels.objectness == 0 and boxes.labels == 0
    )
    head = network.module_list[3].Conv2d.weight
    assert torch.autograd.grad(boxes.total, head, allow_unused=True) == (None,)


def test_two_heads_learn_the_classes_of_one_list_one_after_the_other():
    text = (
        "[convolutional]\nfilters=2\n[softmax]\n[route]\nlayers=-3\n[convolutional]\nfilters=3\n[softmax]\n"
    )
    network = Network(build_graph(parse(NET.format(4) + "[convolutional]\nfilters=4\n" + text))).train()
    assert network.graph.classes == 5
    raws = network(torch.rand(2, 4, 1, 1))
    truth = torch.cat([one_hot(0, 1, of=2), one_hot(2, 0, of=3)], dim=1).float()
    loss = detection_loss(raws, None, network, rules=LossRules(), truth=truth)
    parts = zip(raws, truth.split((2, 3), dim=1), strict=True)
    theirs = sum(F.cross_entropy(raw.flatten(1), part, reduction="sum").item() for raw, part in parts)
    assert loss.total.item() == pytest.approx(theirs, rel=1e-5)
