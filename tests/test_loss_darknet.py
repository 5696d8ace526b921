"""C Darknet's losses: their gradients against the deltas that its C code writes (tests/darknet_deltas.py),
against finite differences where they are true losses, and what heads learn from them."""

import inspect

import darknet_deltas
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.sections import SECTIONS, Section
from yolor_cfg.train.loss import LossRules, check_losses, detection_loss

WIDTH, HEIGHT = 24, 16
NET = f"[net]\nwidth={WIDTH}\nheight={HEIGHT}\nchannels=3\n[convolutional]\nfilters={{}}\nsize=1\nstride=4\n"
ANCHORS = "anchors=5,4, 9,8, 6,12, 14,10"
RULES = LossRules(seen=20000)


def network_of(section, *, filters):
    text = NET.format(filters) + section
    return Network(build_graph(parse(text, "loss.cfg"), ReadOptions(dialect="darknet"))).double()


def yolo(keys="", *, name="yolo", values=5):
    section = f"[{name}]\nmask=1,3,0\nclasses=3\nnum=4\n{ANCHORS}\n{keys}"
    return network_of(section, filters=3 * (3 + values))


def region(keys="", *, classes=4, coords=4):
    section = f"[region]\nclasses={classes}\nnum=2\ncoords={coords}\nanchors=1.2,1.1, 2.5,2.0\n{keys}"
    return network_of(section, filters=2 * (classes + 1 + coords))


def detection(keys=""):
    head = f"[detection]\nclasses=3\ncoords=4\nside=3\nnum=2\n{keys}"
    text = "[net]\nwidth=6\nheight=6\nchannels=3\n[connected]\noutput=117\nactivation=linear\n" + head
    return Network(build_graph(parse(text, "loss.cfg"), ReadOptions(dialect="darknet"))).double()


def raw_of(network, *, seed=0, images=2, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    node = network.graph.heads[0]
    if node.section.type == "detection":
        raw = torch.rand(images, node.shape.channels, 1, 1, generator=generator, dtype=torch.float64)
        if node.section.softmax:
            raw[:, :27] = raw[:, :27].unflatten(1, (9, 3)).softmax(2).flatten(1, 2)
        return raw
    anchors = node.shape.channels // (
        node.section.classes + (9 if node.section.type == "Gaussian_yolo" else 5)
    )
    shape = (images, anchors, *node.shape[1:], node.shape.channels // anchors)
    raw = torch.randn(shape, generator=generator, dtype=torch.float64) * spread
    return raw.sigmoid() if getattr(node.section, "new_coords", False) else raw


def targets_of(network, *, seed=1, images=2, each=6):
    """Objects (class, x, y, w, h) by image, several in one cell among them, and the same as one tensor."""
    rng = np.random.default_rng(seed)
    truths = []
    for _ in range(images):
        boxes = np.column_stack([rng.uniform(0.02, 0.98, (each, 2)), rng.uniform(0.1, 0.7, (each, 2))])
        boxes[1, :2] = boxes[0, :2] + 1e-3  # one cell, two objects
        boxes[2] = boxes[0] + 1e-3
        classes = rng.integers(0, network.graph.heads[0].section.classes, each)
        truths.append([(int(c), *map(float, box)) for c, box in zip(classes, boxes, strict=True)])
    rows = [(image, *truth) for image, group in enumerate(truths) for truth in group]
    return truths, torch.tensor(rows, dtype=torch.float64)


def gradient(network, raw, targets, rules=RULES):
    raw = raw.clone().requires_grad_()
    loss = detection_loss([raw], targets, network, rules=rules)
    loss.total.backward()
    assert all(torch.isfinite(part) for part in (loss.total, loss.box, loss.objectness, loss.classes))
    return raw.grad


BOXES = [f"iou_loss={kind}\niou_normalizer=.07" for kind in ("iou", "giou", "diou", "ciou")]
COMMON = (
    "",
    "scale_x_y=1.1\nobj_normalizer=.4",
    "ignore_thresh=.2",
    "ignore_thresh=.2\ntruth_thresh=.35",
    "ignore_thresh=.15\ntruth_thresh=.3\nobjectness_smooth=1\niou_thresh=.3",
    "objectness_smooth=1\nignore_thresh=.1",
    "iou_thresh=.2\nlabel_smooth_eps=.1",
    "iou_thresh=.4\niou_thresh_kind=giou",
    "iou_thresh=.3\niou_thresh_kind=ciou\ncounters_per_class=30,10,7\ncls_normalizer=.5",
    "iou_thresh=.3\niou_thresh_kind=diou\nlabel_smooth_eps=.8\ntruth_thresh=.3",
    "counters_per_class=3,0,40\nmax_delta=2\niou_loss=giou\niou_thresh=.2\ntruth_thresh=.25",
    "iou_loss=ciou\nmax_delta=.05\niou_thresh=.2\nscale_x_y=1.05\nobjectness_smooth=1",
    "delta_normalizer=1",
    *BOXES,
)
YOLO = (*COMMON, "focal_loss=1", "focal_loss=1\ntruth_thresh=.3\niou_thresh=.2")


@pytest.mark.parametrize("coords", ["", "new_coords=1\nscale_x_y=2"], ids=["exp", "new_coords"])
@pytest.mark.parametrize("keys", YOLO, ids=lambda keys: keys.replace("\n", " ") or "defaults")
def test_yolo_moves_the_map_by_darknets_deltas(keys, coords):
    network = yolo(keys + "\n" + coords if "scale" not in keys else keys + "\n" + coords[:12])
    for seed in range(2):
        raw, (truths, targets) = raw_of(network, seed=seed), targets_of(network, seed=seed)
        section = network.graph.heads[0].section
        want = -darknet_deltas.Yolo(section, raw.numpy(), truths, (WIDTH, HEIGHT)).run()
        got = gradient(network, raw, targets).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)
        assert np.abs(want[..., :4]).max() > 1e-3 < np.abs(want[..., 5:]).max()


@pytest.mark.parametrize("point", ["center", "left_top", "right_bottom"])
@pytest.mark.parametrize(
    "keys",
    [*COMMON, "uc_normalizer=.3\nmax_delta=.2", "iou_loss=giou\nuc_normalizer=2"],
    ids=lambda keys: keys.replace("\n", " ") or "defaults",
)
def test_gaussian_yolo_moves_the_map_by_darknets_deltas(keys, point):
    network = yolo(f"{keys}\nyolo_point={point}", name="Gaussian_yolo", values=9)
    raw, (truths, targets) = raw_of(network), targets_of(network)
    section = network.graph.heads[0].section
    want = -darknet_deltas.Gaussian(section, raw.numpy(), truths, (WIDTH, HEIGHT)).run()
    np.testing.assert_allclose(gradient(network, raw, targets).numpy(), want, rtol=1e-6, atol=1e-8)


REGION = (
    "",
    "softmax=1",
    "bias_match=1\nsoftmax=1",
    "rescore=1\nsoftmax=1\ncoord_scale=2\nobject_scale=5",
    "classfix=-1\nsoftmax=1",
    "classfix=1\nthresh=.2",
    "classfix=2\nthresh=.15\nsoftmax=1\nclass_scale=.7",
    "focal_loss=1\nsoftmax=1\nnoobject_scale=.3",
    "thresh=.1",
)


@pytest.mark.parametrize("seen", [0, 12800])
@pytest.mark.parametrize("keys", REGION, ids=lambda keys: keys.replace("\n", " ") or "defaults")
def test_region_moves_the_map_by_darknets_deltas(keys, seen):
    network = region(keys)
    raw, (truths, targets) = raw_of(network), targets_of(network)
    want = -darknet_deltas.region(network.graph.heads[0].section, raw.numpy(), truths, seen=seen)
    got = gradient(network, raw, targets, LossRules(seen=seen)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("keys", REGION, ids=lambda keys: keys.replace("\n", " ") or "defaults")
def test_region_with_more_coords_moves_the_same_values(keys):
    """forward_region_layer in region_layer.c: boxes are coords + classes + 1 values apart, and the first 5 +
    classes are used, with the classes behind the objectness."""
    plain, wide = region(keys), region(keys, coords=6)
    raw, (_, targets) = raw_of(plain), targets_of(plain)
    spare = torch.full((*raw.shape[:4], 2), 7.0, dtype=raw.dtype)
    got = gradient(wide, torch.cat([raw, spare], dim=4), targets)
    assert torch.equal(got[..., :-2], gradient(plain, raw, targets)) and not got[..., -2:].any()


def test_detection_with_more_coords_is_refused_with_the_way_out():
    """fill_truth_region in data.c writes 5 + classes numbers a cell, forward_detection_layer in
    detection_layer.c reads them 1 + coords + classes apart: C Darknet learns from wrong labels."""
    head = "[detection]\nclasses=3\ncoords=5\nside=3\nnum=2\n"
    text = "[net]\nwidth=6\nheight=6\nchannels=3\n[connected]\noutput=135\nactivation=linear\n" + head
    graph = build_graph(parse(text, "loss.cfg"), ReadOptions(dialect="darknet"))
    with pytest.raises(CfgError, match="loss.cfg:10: .*coords: no detection loss") as caught:
        check_losses(graph)
    assert (caught.value.found, caught.value.allowed) == ("5", "4")
    assert "output=117 before the head" in caught.value.hint  # side * side * (num * 5 + classes)


@pytest.mark.parametrize("keys", ["", "classfix=1\nthresh=.15", "classfix=2\nthresh=.1"])
def test_region_moves_a_tree_of_classes_by_darknets_deltas(keys, tmp_path):
    parents = (-1, -1, 0, 0, 0, 1, 1)
    (tmp_path / "t.tree").write_text("".join(f"c{k} {p}\n" for k, p in enumerate(parents)))
    network = region(f"softmax=1\ntree={tmp_path / 't.tree'}\n{keys}", classes=7)
    raw, (truths, targets) = raw_of(network), targets_of(network)
    section = network.graph.heads[0].section
    want = -darknet_deltas.region(section, raw.numpy(), truths, parents=parents, seen=20000)
    np.testing.assert_allclose(gradient(network, raw, targets).numpy(), want, rtol=1e-7, atol=1e-10)


DETECTION = (
    "",
    "sqrt=1",
    "rescore=1\nobject_scale=2\nnoobject_scale=.5\nclass_scale=3\ncoord_scale=5",
    "forced=1\nsqrt=1",
)


@pytest.mark.parametrize("keys", DETECTION, ids=lambda keys: keys.replace("\n", " ") or "defaults")
def test_detection_moves_the_map_by_darknets_deltas(keys):
    network = detection(keys)
    raw, (truths, targets) = raw_of(network), targets_of(network)
    want = -darknet_deltas.detection(network.graph.heads[0].section, raw.flatten(1).numpy(), truths)
    got = gradient(network, raw, targets).flatten(1).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_detection_takes_the_nearest_box_where_none_overlaps():
    network = detection("sqrt=1")
    raw = torch.zeros(1, 117, 1, 1, dtype=torch.float64)
    raw[0, 45 + 5 :: 8] = 0.4  # y of the second box of each cell
    truths = [[(1, 0.6, 0.55, 0.2, 0.3)]]
    want = -darknet_deltas.detection(network.graph.heads[0].section, raw.flatten(1).numpy(), truths)
    got = gradient(network, raw, torch.tensor([[0, *truths[0][0]]], dtype=torch.float64)).flatten(1).numpy()
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_detection_with_a_softmax_moves_what_it_reads_by_darknets_deltas():
    network = detection("softmax=1")
    raw, (truths, targets) = raw_of(network), targets_of(network)
    logits = raw.clone()
    logits[:, :27] = raw[:, :27].log()
    read = logits.requires_grad_()
    head = network.module_list[1]
    detection_loss([head(read)], targets, network, rules=RULES).total.backward()
    want = -darknet_deltas.detection(network.graph.heads[0].section, raw.flatten(1).numpy(), truths)
    np.testing.assert_allclose(read.grad.flatten(1).numpy(), want, rtol=1e-9, atol=1e-12)


def test_delta_normalizer_scales_every_gradient_of_a_head():
    plain, scaled = yolo("iou_loss=ciou"), yolo("iou_loss=ciou\ndelta_normalizer=.25")
    raw, (_, targets) = raw_of(plain), targets_of(plain)
    torch.testing.assert_close(gradient(scaled, raw, targets), gradient(plain, raw, targets) / 4)


def test_heads_share_the_objects_by_their_masks():
    """An object belongs to the head whose mask holds the anchor most like it, and to no other."""
    heads = [
        yolo().graph.heads[0].section,
        network_of(f"[yolo]\nmask=2\nclasses=3\nnum=4\n{ANCHORS}", filters=8),
    ]
    large = torch.tensor([[0, 0, 0.5, 0.5, 14 / WIDTH, 10 / HEIGHT]], dtype=torch.float64)
    tall = torch.tensor([[0, 0, 0.5, 0.5, 6 / WIDTH, 12 / HEIGHT]], dtype=torch.float64)
    counts = []
    for network in (yolo(), heads[1]):
        raw = raw_of(network, images=1)
        counts.append(
            [detection_loss([raw], rows, network, rules=RULES).heads[0].matches for rows in (large, tall)]
        )
    assert counts == [[1, 0], [0, 1]]


TRUE_LOSSES = {
    "yolo mse": lambda: yolo("scale_x_y=1.1\niou_thresh=.3\nignore_thresh=2"),
    "yolo mse new_coords": lambda: yolo("new_coords=1\nscale_x_y=2\ntruth_thresh=2\nignore_thresh=2"),
    "region": lambda: region("softmax=1\nbias_match=1\nthresh=2"),
    "region squares": lambda: region("bias_match=1\nthresh=2"),
    "detection": lambda: detection("sqrt=1\nforced=1"),
    "detection softmax": lambda: detection("softmax=1\nforced=1"),
}


@pytest.mark.parametrize("kind", TRUE_LOSSES)
def test_gradients_are_those_of_finite_differences(kind):
    network = TRUE_LOSSES[kind]()
    raw, (_, targets) = raw_of(network, images=1), targets_of(network, images=1)
    rules = LossRules(seen=0)
    check = lambda value: detection_loss([value], targets, network, rules=rules).total  # noqa: E731
    assert torch.autograd.gradcheck(check, raw.requires_grad_(), fast_mode=True)


def test_the_density_of_a_gaussian_box_falls_along_darknets_delta():
    """Along activated values, as C Darknet takes it: the slopes by finite differences."""
    network = yolo("ignore_thresh=2\niou_normalizer=1", name="Gaussian_yolo", values=9)
    raw = raw_of(network, images=1)
    targets = torch.tensor([[0, 1, 0.45, 0.55, 0.5, 0.6]], dtype=torch.float64)
    got = gradient(network, raw, targets)[..., :8]
    place = tuple(got.abs().sum(-1).nonzero()[0].tolist())

    def density(move):
        shifted = raw.clone()
        shifted[place][:8] = move
        return detection_loss([shifted], targets, network, rules=RULES).box.item()

    at = raw[place][:8]
    for number in range(8):
        step = torch.zeros(8, dtype=torch.float64)
        step[number] = 1e-6
        slope = (density(at + step) - density(at - step)) / 2e-6
        probability = at[number].sigmoid().item()
        logistic = 1 if number in (4, 6) else probability * (1 - probability)
        # Two classes would share; one is raised, so nothing is divided.
        assert slope == pytest.approx(got[place][number].item() * logistic, rel=1e-5)


EVERY_HEAD = {
    "yolo": lambda: yolo("iou_thresh=.2\ntruth_thresh=.4"),
    "yolo4": lambda: yolo("iou_thresh=.2\ntruth_thresh=.4", name="yolo4"),
    "yolo ciou new_coords": lambda: yolo("new_coords=1\nscale_x_y=2\niou_loss=ciou\niou_thresh=.2"),
    "gaussian": lambda: yolo("truth_thresh=.4", name="Gaussian_yolo", values=9),
    "region": lambda: region("softmax=1\nrescore=1"),
    "detection": lambda: detection("sqrt=1\nrescore=1"),
}
JDE = {"jde": lambda: yolo(name="jde")}  # no head of C Darknet's: YOLOR's loss in either dialect


def test_every_head_has_a_loss_in_this_dialect_too():
    tested = {make().graph.heads[0].section.type for make in {**EVERY_HEAD, **JDE}.values()}
    none = inspect.getattr_static(Section, "loss_kind")
    kinds = {kind for kind in SECTIONS.values() if inspect.getattr_static(kind, "loss_kind") is not none}
    of_images = {"softmax", "logistic"}  # not of boxes: tests/test_classify.py
    assert tested == {kind.names[0] for kind in kinds} - of_images


@pytest.mark.parametrize("kind", {**EVERY_HEAD, **JDE})
def test_a_batch_without_objects_teaches_that_there_are_none(kind):
    network = {**EVERY_HEAD, **JDE}[kind]()
    raw = raw_of(network).float().requires_grad_()
    loss = detection_loss([raw], torch.zeros(0, 6), network, rules=RULES)
    loss.total.backward()
    assert loss.box.item() == loss.classes.item() == 0 < loss.objectness.item()
    assert torch.isfinite(raw.grad).all() and raw.grad.abs().sum() > 0


BORDERS = [0.0, 1e-7, 0.25, 1 / 3, 0.5, 0.999999, 1.0]


@pytest.mark.parametrize("kind", EVERY_HEAD)
@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1]), st.sampled_from([-1, 0, 2, 9]), *[st.sampled_from(BORDERS)] * 4),
        max_size=5,
    )
)
def test_objects_on_borders_without_size_or_of_no_class_stay_finite(kind, rows):
    network = EVERY_HEAD[kind]()
    raw = raw_of(network).float().requires_grad_()
    targets = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    detection_loss([raw], targets, network, rules=RULES).total.backward()
    assert torch.isfinite(raw.grad).all()


def test_of_an_images_objects_only_the_first_max_count():
    few, all_of_them = yolo("max=2"), yolo()
    raw, (_, targets) = raw_of(few), targets_of(few)
    kept = torch.cat([targets[targets[:, 0] == image][:2] for image in range(2)])
    torch.testing.assert_close(gradient(few, raw, targets), gradient(all_of_them, raw, kept))
    assert not torch.allclose(gradient(few, raw, targets), gradient(all_of_them, raw, targets))


def test_the_total_is_the_parts_by_image_times_the_images():
    network = yolo("iou_loss=ciou")
    raw, (_, targets) = raw_of(network), targets_of(network)
    loss = detection_loss([raw], targets, network, rules=RULES)
    assert loss.total.item() == pytest.approx(2 * (loss.box + loss.objectness + loss.classes).item())


def test_counters_must_be_one_for_each_class():
    with pytest.raises(CfgError, match="not one value for each class"):
        yolo("counters_per_class=1,2")
