"""YOLOR's loss against the numbers of its PyTorch code, and what holds for any targets."""

import json
import math

import golden
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.loss import LossRules, NonFiniteLoss, detection_loss, initialize_biases
from yolor_cfg.train.losses.base import last_occurrences
from yolor_cfg.train.targets import match_targets

CASES = ("borders_3x1", "empty_4x3", "overlap_4x3", "random_3x80")
RELATIVE = 1e-5


def cfg_of(anchors, *, classes, strides, size):
    """A network whose heads have these anchors (by head, in pixels) and strides."""
    text = f"[net]\nwidth={size[1]}\nheight={size[0]}\nchannels=3\n"
    flat = ",".join(str(side) for head in anchors for anchor in head for side in anchor)
    first, before = 0, 1
    for head, stride in zip(anchors, strides, strict=True):
        mask = ",".join(str(first + i) for i in range(len(head)))
        count = sum(len(each) for each in anchors)
        text += f"[convolutional]\nfilters=4\nsize=1\nstride={stride // before}\n"
        text += f"[convolutional]\nfilters={len(head) * (classes + 5)}\nsize=1\n"
        text += f"[yolo]\nmask={mask}\nanchors={flat}\nclasses={classes}\nnum={count}\n[route]\nlayers=-3\n"
        first, before = first + len(head), stride
    return text.rsplit("[route]", 1)[0]


def network_of(anchors, *, classes, strides, size):
    text = cfg_of(anchors, classes=classes, strides=strides, size=size)
    return Network(build_graph(parse(text, "loss.cfg"), ReadOptions(dialect="yolor")))


class Case:
    """One golden case: its network, raw maps (leaves), targets, rules and wanted numbers."""

    def __init__(self, shared, name, dtype=torch.float32):
        folder = shared / "golden" / "yolor"
        self.meta = json.loads((folder / "loss" / f"{name}.json").read_text())
        self.want = np.load(folder / "loss" / f"{name}.npz")
        self.network = network_of(
            self.meta["anchors_px"],
            classes=self.meta["classes"],
            strides=self.meta["strides"],
            size=self.meta["image_hw"],
        )
        maps = golden.module_at(folder / "make_state.py").make_raw(**self.meta["raw"])
        self.raws = [torch.from_numpy(array).to(dtype).requires_grad_() for array in maps]
        self.targets = torch.from_numpy(self.want["targets"])
        hyp = self.meta["hyp"]
        self.rules = LossRules(
            box=hyp["box"],
            objectness=hyp["obj"],
            focal_gamma=hyp["fl_gamma"],
            classes=hyp["cls"] * 80 / self.meta["classes"],
            anchor_ratio=hyp["anchor_t"],
        )

    def loss(self, **changes):
        return detection_loss(self.raws, self.targets, self.network, rules=self.rules._replace(**changes))


@pytest.mark.parametrize("name", CASES)
def test_the_components_equal_yolors(shared, name):
    case = Case(shared, name)
    loss = case.loss()
    got = [loss.box.item(), loss.objectness.item(), loss.classes.item(), loss.total.item()]
    want = [case.meta[key] for key in ("box", "obj", "cls", "loss")]
    assert got == pytest.approx(want, rel=RELATIVE)
    assert [head.matches for head in loss.heads] == case.meta["matches"]


@pytest.mark.parametrize("name", CASES)
def test_the_gradients_equal_yolors(shared, name):
    case = Case(shared, name)
    case.loss().total.backward()
    for number, raw in enumerate(case.raws):
        grad = raw.grad.double()
        norms = [part.norm().item() for part in (grad, grad[..., :4], grad[..., 4], grad[..., 5:])]
        assert norms == pytest.approx(case.meta["grad_norm"][number], rel=RELATIVE, abs=1e-9)
        got = grad.flatten().numpy()[case.want[f"head{number}_grad_idx"]]
        want = case.want[f"head{number}_grad_val"]
        np.testing.assert_allclose(got, want, rtol=RELATIVE, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("name", CASES)
def test_the_matches_equal_yolors(shared, name):
    case = Case(shared, name)
    for number, (anchors, stride) in enumerate(
        zip(case.meta["anchors_px"], case.meta["strides"], strict=True)
    ):
        shape = tuple(case.raws[number].shape[2:4])
        found = match_targets(case.targets, torch.tensor(anchors) / stride, shape, ratio=4.0)
        rows = torch.stack([*found.indices, found.classes], dim=1).numpy()
        boxes = found.boxes.numpy()
        order = np.lexsort((*boxes.T[::-1], *rows.T[::-1]))
        np.testing.assert_array_equal(rows[order], case.want[f"head{number}_match"])
        np.testing.assert_allclose(boxes[order], case.want[f"head{number}_tbox"], rtol=1e-6, atol=1e-6)


def test_of_several_matches_in_one_cell_the_last_is_learned(shared):
    case = Case(shared, "overlap_4x3")
    others = case.meta["obj_if_write"]
    assert case.loss().objectness.item() == pytest.approx(others["last"], rel=RELATIVE)
    assert min(abs(others["last"] - others[other]) for other in ("first", "max", "min")) > 1e-3


def test_the_last_occurrence_of_each_key_is_found():
    assert last_occurrences(torch.tensor([3, 1, 3, 2, 1])).tolist() == [4, 3, 2]
    assert last_occurrences(torch.zeros(0, dtype=torch.long)).tolist() == []


def test_totals_and_gradients_of_two_processes_add_up_to_those_of_one(shared):
    whole, halves = Case(shared, "random_3x80"), [Case(shared, "random_3x80") for _ in range(2)]
    total = whole.loss()
    total.total.backward()
    sums = [torch.tensor([2.0]), torch.tensor([float(n) for n in whole.meta["matches"]])]
    parts = []
    for image, half in enumerate(halves):
        mine = half.targets[half.targets[:, 0] == image].clone()
        mine[:, 0] = 0
        answers = iter(sums)  # first the images, then the matches by head
        rules = half.rules._replace(all_reduce=lambda counts, answers=answers: next(answers))
        raws = [raw[image : image + 1] for raw in half.raws]
        parts.append(detection_loss(raws, mine, half.network, rules=rules))
        parts[-1].total.backward()
    for name in ("total", "box", "objectness", "classes"):
        added = sum(getattr(part, name).item() for part in parts)
        assert added == pytest.approx(getattr(total, name).item(), rel=1e-5)
    for number, raw in enumerate(whole.raws):
        added = sum(half.raws[number].grad for half in halves)
        torch.testing.assert_close(added, raw.grad, rtol=1e-4, atol=1e-8)


def small_network(classes=2):
    return network_of(
        [[[8, 8], [12, 20]], [[24, 16], [30, 40]]], classes=classes, strides=[8, 16], size=[32, 48]
    )


def raws_of(network, *, images=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(images, 2, *node.shape[1:], node.shape.channels // 2) for node in network.graph.heads]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


TARGETS = torch.tensor(
    [[0, 1, 0.3, 0.4, 0.3, 0.4], [1, 0, 0.71, 0.55, 0.5, 0.6], [1, 1, 0.2, 0.8, 0.2, 0.3]],
    dtype=torch.float64,
)


@pytest.mark.parametrize(
    "changes",
    [{}, {"label_smoothing": 0.1}, {"focal_gamma": 1.5}, {"class_weight": 2.0, "object_weight": 0.5}],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(changes):
    # What the gradient takes for constant is so here: objectness learns 1 (iou_ratio 0), CIoU's shape term
    # and its weight are 0 to second order, since every box has the shape of its object, 2:3.
    network = network_of([[[8, 12], [10, 15]]], classes=2, strides=[8], size=[32, 48])
    targets = torch.tensor(
        [[0, 1, 0.3, 0.4, 8 / 48, 12 / 32], [1, 0, 0.7, 0.6, 12 / 48, 18 / 32]], dtype=torch.float64
    )
    rules = LossRules(iou_ratio=0.0, box=1.0, **changes)
    raw = raws_of(network)[0].detach()
    raw[..., 3] = raw[..., 2]
    check = lambda value: detection_loss([value], targets, network, rules=rules).total  # noqa: E731
    assert detection_loss([raw], targets, network, rules=rules).heads[0].matches > 6
    assert torch.autograd.gradcheck(check, raw.requires_grad_(), fast_mode=True)


def test_label_smoothing_takes_half_of_itself_from_the_right_class_and_gives_it_to_the_others():
    network = small_network()
    raws = [torch.zeros_like(raw).requires_grad_() for raw in raws_of(network)]
    sharp, soft = (
        detection_loss(raws, TARGETS, network, rules=LossRules(label_smoothing=eps)) for eps in (0.0, 0.2)
    )
    assert soft.classes.item() == pytest.approx(sharp.classes.item())  # log 2 whatever the target at logit 0
    slopes = torch.autograd.grad(soft.total, raws)[0][..., 5:]
    sharp_slopes = torch.autograd.grad(sharp.total, raws)[0][..., 5:]
    torch.testing.assert_close(slopes, sharp_slopes * 0.8)  # .5 - .9 = -.4 in place of -.5


def test_the_focal_factor_is_one_quarter_of_the_square_of_what_is_missing():
    network = small_network()
    raws = [torch.zeros_like(raw) for raw in raws_of(network)]
    plain, focal = (
        detection_loss(raws, TARGETS[:0], network, rules=LossRules(focal_gamma=gamma)) for gamma in (0.0, 2.0)
    )
    assert focal.objectness.item() == pytest.approx(plain.objectness.item() * 0.75 * 0.5**2)


def test_objectness_weighs_by_the_number_of_heads():
    for levels, weights in (
        (1, [4]),
        (2, [4, 1]),
        (3, [4, 1, 0.4]),
        (4, [4, 1, 0.4, 0.1]),
        (5, [4, 1, 0.5, 0.4, 0.1]),
    ):
        network = network_of(
            [[[8, 8]]] * levels, classes=1, strides=[2 ** (i + 1) for i in range(levels)], size=[64, 64]
        )
        raws = [torch.zeros(1, 1, *node.shape[1:], 6) for node in network.graph.heads]
        loss = detection_loss(raws, TARGETS[:0], network, rules=LossRules())
        gain = 3 / levels * (1.4 if levels >= 4 else 1)
        got = [head.objectness.item() for head in loss.heads]
        assert got == pytest.approx([weight * gain * math.log(2) for weight in weights])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1]),
            st.sampled_from([0, 1]),
            *[st.sampled_from([0.0, 1e-7, 0.125, 0.25, 1 / 3, 0.5, 0.999999, 1.0])] * 4,
        ),
        max_size=6,
    )
)
def test_targets_on_borders_of_cells_and_image_stay_inside_and_finite(rows):
    network = small_network()
    raws = raws_of(network, dtype=torch.float32)
    targets = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    loss = detection_loss(raws, targets, network, rules=LossRules())
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss.total, raws))
    for raw, anchors in zip(raws, ([[1, 1], [1.5, 2.5]], [[1.5, 1], [2, 2.5]]), strict=True):
        found = match_targets(targets, torch.tensor(anchors), tuple(raw.shape[2:4]), ratio=4.0)
        assert len(found.image) <= 3 * len(anchors) * len(targets)
        offsets = found.boxes[:, :2]
        assert ((offsets >= -0.5) & (offsets <= 1.5)).all()
        assert raw[found.indices].shape == (len(found.image), 7)


def test_targets_without_a_size_match_nothing():
    targets = torch.tensor([[0, 0, 0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5, 0, 0.2]])
    assert len(match_targets(targets, torch.tensor([[1.0, 1.0]]), (4, 4), ratio=4.0).image) == 0


def test_half_precision_maps_are_widened_even_under_autocast():
    network = small_network()
    raws = [raw.detach().bfloat16().requires_grad_() for raw in raws_of(network)]
    wide = [raw.detach().float() for raw in raws]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = detection_loss(raws, TARGETS, network, rules=LossRules())
    assert loss.total.dtype == torch.float32
    assert loss.total.item() == detection_loss(wide, TARGETS, network, rules=LossRules()).total.item()


def test_a_loss_that_is_no_number_names_batch_and_head():
    network = small_network()
    raws = raws_of(network)
    with torch.no_grad():
        raws[1][0, 0, 0, 0, 4] = math.nan
    with pytest.raises(NonFiniteLoss) as caught:
        detection_loss(raws, TARGETS, network, rules=LossRules(batch="epoch 3, batch 17"))
    text = str(caught.value)
    assert "[yolo #6]" in text and "epoch 3, batch 17" in text and "objectness nan" in text


def test_a_classifier_has_no_loss_for_boxes():
    text = "[net]\nwidth=4\nheight=4\nchannels=3\n[avgpool]\n[softmax]"
    network = Network(build_graph(parse(text, "c.cfg"), ReadOptions(dialect="darknet")))
    with pytest.raises(Exception, match="no detection loss"):
        detection_loss([torch.zeros(1, 3, 1, 1)], TARGETS[:0], network, rules=LossRules())


CONTROL = "[implicit_mul]\nfilters=14\n[route]\nlayers=-2\n[control_channels]\nfrom=-2\n"


@pytest.mark.parametrize("between", ["", CONTROL], ids=["directly", "behind control_channels"])
def test_first_biases_say_eight_objects_an_image_and_any_class(between):
    text = (
        "[net]\nwidth=64\nheight=32\nchannels=3\n[convolutional]\nfilters=14\nsize=1\nstride=16\n"
        + between
        + "[yolo]\nmask=0,1\nclasses=2\nnum=2\nanchors=4,5, 6,7"
    )
    network = Network(build_graph(parse(text, "b.cfg"), ReadOptions(dialect="yolor")))
    bias = network.module_list[0].Conv2d.bias
    before = bias.detach().clone().view(2, 7)
    assert initialize_biases(network) == ()
    added = bias.detach().view(2, 7) - before
    torch.testing.assert_close(added[:, :4], torch.zeros(2, 4))
    torch.testing.assert_close(added[:, 4], torch.full((2,), math.log(8 / (640 / 16) ** 2)))
    torch.testing.assert_close(added[:, 5:], torch.full((2, 2), math.log(0.6 / (2 - 0.99))))


def test_a_head_without_a_biased_convolution_before_it_is_named():
    text = "[net]\nwidth=8\nheight=8\nchannels=6\n[maxpool]\nsize=3\n[yolo]\nmask=0\n"
    text += "classes=1\nnum=1\nanchors=4,5"
    assert initialize_biases(Network(build_graph(parse(text, "b.cfg"), ReadOptions(dialect="yolor")))) == (
        "[yolo] #1",
    )
