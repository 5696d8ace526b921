"""Overlaps against formulas written out, gradients against finite differences, and C Darknet's slopes."""

import math

import darknet_deltas
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.ops.iou_losses import OVERLAPS, ciou, darknet_slopes, diou, giou, iou

KINDS = tuple(OVERLAPS)


def pairs_of(count, *, seed=0):
    """Boxes [count, 4] around 0.5, most of them overlapping, some apart."""
    rng = np.random.default_rng(seed)
    sides = [
        np.column_stack([rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.1, 0.6, (count, 2))])
        for _ in range(2)
    ]
    return [torch.from_numpy(box) for box in sides]


def written_out(a, b):
    """IoU, GIoU, DIoU and CIoU of two boxes, one after the other."""
    ax, ay, aw, ah = a
    bx, by, bw, bh = b
    w = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    h = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    shared = max(w, 0) * max(h, 0)
    union = aw * ah + bw * bh - shared
    cw = max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)
    ch = max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    plain = shared / union
    nearness = ((ax - bx) ** 2 + (ay - by) ** 2) / (cw**2 + ch**2)
    v = 4 / math.pi**2 * (math.atan(aw / ah) - math.atan(bw / bh)) ** 2
    return (
        plain,
        plain - (cw * ch - union) / (cw * ch),
        plain - nearness,
        plain - nearness - v * v / (1 - plain + v),
    )


def test_overlaps_are_their_formulas():
    ours, theirs = pairs_of(200)
    want = np.array([written_out(a, b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])
    got = torch.stack([OVERLAPS[kind](ours, theirs) for kind in ("iou", "giou", "diou", "ciou")], dim=1)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6)
    assert (want[:, 0] == 0).sum() > 5 < (want[:, 0] > 0.2).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_overlap_wholly_in_every_sense(kind):
    boxes = pairs_of(5)[0]
    torch.testing.assert_close(
        OVERLAPS[kind](boxes, boxes), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("overlap", [iou, giou, diou])
def test_gradients_are_those_of_finite_differences(overlap):
    ours, theirs = pairs_of(20)
    assert torch.autograd.gradcheck(overlap, (ours.requires_grad_(), theirs.requires_grad_()))


def test_the_weight_of_cious_shape_term_takes_no_gradient():
    ours, theirs = pairs_of(20)
    shape = (
        4 / math.pi**2 * (torch.atan(ours[:, 2] / ours[:, 3]) - torch.atan(theirs[:, 2] / theirs[:, 3])) ** 2
    )
    weight = shape / (1 - iou(ours, theirs) + shape)

    def with_constant_weight(boxes):
        turn = torch.atan(boxes[:, 2] / boxes[:, 3]) - torch.atan(theirs[:, 2] / theirs[:, 3])
        return (diou(boxes, theirs) - weight * 4 / math.pi**2 * turn**2).sum()

    grads = [
        torch.autograd.grad(loss(ours.requires_grad_()), ours)[0]
        for loss in (lambda boxes: ciou(boxes, theirs).sum(), with_constant_weight)
    ]
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-7)
    assert torch.autograd.gradcheck(with_constant_weight, ours, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_darknets_slopes_are_its_code_line_by_line(kind):
    ours, theirs = pairs_of(300)
    want = [
        darknet_deltas.dx_box_iou(a, b, kind) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)
    ]
    np.testing.assert_allclose(
        darknet_slopes(ours, theirs, kind).numpy(), np.array(want), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_darknets_slopes_are_the_gradient_with_sizes_counted_twice(kind):
    ours, theirs = pairs_of(300)
    meet = iou(ours, theirs) > 0
    ours, theirs = ours[meet].requires_grad_(), theirs[meet]
    (true,) = torch.autograd.grad(OVERLAPS[kind](ours, theirs).sum(), ours)
    got = darknet_slopes(ours.detach(), theirs, kind)
    torch.testing.assert_close(
        got, true * torch.tensor([1.0, 1, 2, 2], dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


def test_darknets_distance_slope_differs_from_the_gradient_as_told():
    ours, theirs = pairs_of(300)
    meet = iou(ours, theirs) > 0
    ours, theirs = ours[meet].requires_grad_(), theirs[meet]
    (near,) = torch.autograd.grad((diou(ours, theirs) - iou(ours, theirs)).sum(), ours)
    got = darknet_slopes(ours.detach(), theirs, "diou") - darknet_slopes(ours.detach(), theirs, "iou")
    torch.testing.assert_close(got[:, 2:], near[:, 2:], rtol=1e-6, atol=1e-6)
    # Along x, y the distance itself has the right slope and the diagonal the other sign.
    low = torch.minimum(*(box[:, :2] - box[:, 2:] / 2 for box in (ours.detach(), theirs)))
    high = torch.maximum(*(box[:, :2] + box[:, 2:] / 2 for box in (ours.detach(), theirs)))
    diagonal = (high - low).square().sum(1, keepdim=True)
    straight = 2 * (theirs - ours.detach())[:, :2] / diagonal
    torch.testing.assert_close(got[:, :2] - straight, straight - near[:, :2], rtol=1e-5, atol=1e-6)


SIZES = [0.0, 1e-30, 1e-7, 0.1, 1.0]


@pytest.mark.parametrize("kind", KINDS)
@given(st.tuples(*[st.sampled_from(SIZES)] * 4), st.tuples(*[st.sampled_from(SIZES)] * 4))
def test_boxes_without_a_size_have_finite_overlaps_and_gradients_in_float32(kind, first, second):
    ours = torch.tensor([first], dtype=torch.float32, requires_grad=True)
    overlap = OVERLAPS[kind](ours, torch.tensor([second], dtype=torch.float32))
    (grad,) = torch.autograd.grad(overlap.sum(), ours)
    assert torch.isfinite(overlap).all() and torch.isfinite(grad).all()
