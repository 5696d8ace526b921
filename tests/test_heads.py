"""The heads: their keys, raw maps and boxes, against formulas written out and against C Darknet's boxes."""

import json
import math

import golden
import numpy as np
import pytest
import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.lang.tree import parse_tree
from yolor_cfg.model import Network
from yolor_cfg.ops.heads import ClassTree, keep_deepest_class

NET = "[net]\nwidth=64\nheight=32\nchannels={}\n"
WITH_BOXES = ("m_yolo", "m_yolo_new", "m_yolo_xy", "m_gaussian", "m_region", "m_detection")


def network_of(text: str, *, channels: int, dialect: str = "darknet") -> Network:
    return Network(
        build_graph(parse(NET.format(channels) + text, "t.cfg"), ReadOptions(dialect=dialect))
    ).eval()


def graph_of(text: str, *, channels: int, dialect: str = "darknet"):
    return build_graph(parse(NET.format(channels) + text, "t.cfg"), ReadOptions(dialect=dialect))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def decoded_cell(text: str, values: list[float], *, row: int, column: int, dialect: str = "darknet"):
    """The box, objectness and scores of a head with one anchor in the cell whose logits are `values`."""
    network = network_of(text, channels=len(values), dialect=dialect)
    images = torch.zeros(2, len(values), 32, 64, dtype=torch.float64)
    images[1, :, row, column] = torch.tensor(values, dtype=torch.float64)
    raws = network.double()(images)
    boxes, objectness, scores = network.decode(raws)
    at = row * 64 + column
    return boxes[1, at].tolist(), objectness[1, at].item(), scores[1, at].tolist()


def test_a_yolo_box_is_its_cell_plus_a_logistic_and_its_anchor_times_an_exponential():
    text = "[yolo]\nmask=1\nclasses=2\nnum=2\nanchors=1,1, 10,14\nscale_x_y=1.2"
    got = decoded_cell(text, [0.3, -0.7, 0.2, -0.4, 1.5, -1.0, 2.0], row=5, column=9)
    centre = [9 + 1.2 * sigmoid(0.3) - 0.1, 5 + 1.2 * sigmoid(-0.7) - 0.1]
    assert got[0] == pytest.approx([*centre, 10 * math.exp(0.2), 14 * math.exp(-0.4)])
    assert got[1] == pytest.approx(sigmoid(1.5))
    assert got[2] == pytest.approx([sigmoid(-1.0), sigmoid(2.0)])


def test_new_coords_take_the_values_as_they_are_and_square_the_sizes():
    text = "[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=10,14\nscale_x_y=2\nnew_coords=1"
    got = decoded_cell(text, [0.3, 0.6, 0.7, 0.4, 0.9, 0.8], row=1, column=2)
    assert got[0] == pytest.approx([2 + 2 * 0.3 - 0.5, 1 + 2 * 0.6 - 0.5, 10 * 1.4**2, 14 * 0.8**2])
    assert got[1:] == (pytest.approx(0.9), pytest.approx([0.8]))


def test_the_yolor_dialect_decodes_in_one_way_whatever_the_keys_say():
    text = "[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=10,14\nscale_x_y=1.05"
    got = decoded_cell(text, [0.3, -0.7, 0.2, -0.4, 1.5, -1.0], row=5, column=9, dialect="yolor")
    centre = [2 * sigmoid(0.3) - 0.5 + 9, 2 * sigmoid(-0.7) - 0.5 + 5]
    assert got[0] == pytest.approx([*centre, 10 * (2 * sigmoid(0.2)) ** 2, 14 * (2 * sigmoid(-0.4)) ** 2])
    assert got[1:] == (pytest.approx(sigmoid(1.5)), pytest.approx([sigmoid(-1.0)]))


@pytest.mark.parametrize(("point", "shift"), [("center", 0.0), ("left_top", 0.5), ("right_bottom", -0.5)])
def test_a_gaussian_box_is_less_certain_by_the_mean_of_its_deviations(point, shift):
    text = f"[Gaussian_yolo]\nmask=0\nclasses=1\nnum=1\nanchors=10,14\nyolo_point={point}"
    values = [0.3, 0.1, -0.7, -0.2, 0.2, 0.5, -0.4, -0.9, 1.5, -1.0]
    box, objectness, scores = decoded_cell(text, values, row=5, column=9)
    width, height = 10 * math.exp(0.2), 14 * math.exp(-0.4)
    centre = [9 + sigmoid(0.3) + shift * width, 5 + sigmoid(-0.7) + shift * height]
    deviation = sum(sigmoid(values[i]) for i in (1, 3, 5, 7)) / 4
    assert box == pytest.approx([*centre, width, height])
    assert objectness == pytest.approx(sigmoid(1.5))
    assert scores == pytest.approx([sigmoid(-1.0) * (1 - deviation)])


def test_a_region_box_counts_its_anchor_in_cells_and_shares_a_softmax():
    text = "[maxpool]\nstride=4\nsize=4\npadding=0\n[region]\nnum=1\nclasses=2\nsoftmax=1\nanchors=1.5,2.5"
    network = network_of(text, channels=7)
    values = [0.3, -0.7, 0.2, -0.4, 1.5, -1.0, 2.0]
    images = torch.full((1, 7, 32, 64), -9.0)
    images[0, :, 8, 20] = torch.tensor(values)  # one pixel of cell (2, 5), the largest of its 16
    boxes, objectness, scores = network.decode(network(images))
    at = 2 * 16 + 5
    centre = [4 * (5 + sigmoid(0.3)), 4 * (2 + sigmoid(-0.7))]
    size = [4 * 1.5 * math.exp(0.2), 4 * 2.5 * math.exp(-0.4)]
    assert boxes[0, at].tolist() == pytest.approx([*centre, *size])
    assert objectness[0, at].item() == pytest.approx(sigmoid(1.5))
    assert scores[0, at].tolist() == pytest.approx([1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))])


@pytest.mark.parametrize("root", [0, 1])
def test_a_detection_head_reads_classes_then_objectness_then_boxes(root):
    text = f"[net]\ninputs=44\n[detection]\nclasses=1\ncoords=4\nside=2\nnum=2\nsqrt={root}"
    graph = build_graph(parse(text, "t.cfg"), ReadOptions(dialect="darknet"))
    values = torch.arange(1.0, 45.0) / 44
    boxes, objectness, scores = Network(graph).decode([values[None, :, None, None]])
    # The second box of the cell at row 1, column 0 follows 12 numbers and 5 boxes.
    x, y, width, height = values[12 + 5 * 4 : 12 + 6 * 4].tolist()
    # The image of a vector of 44 numbers is one pixel.
    size = [width**2, height**2] if root else [width, height]
    assert boxes[0, 5].tolist() == pytest.approx([x / 2, (y + 1) / 2, *size])
    assert objectness[0, 5].item() == values[4 + 5]
    assert scores[0].flatten().tolist() == values[[0, 0, 1, 1, 2, 2, 3, 3]].tolist()


def test_boxes_of_another_image_size_keep_their_stride():
    text = "[maxpool]\nstride=8\nsize=8\npadding=0\n[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=10,14"
    network = network_of(text, channels=6)
    boxes = network.decode(network(torch.zeros(1, 6, 48, 40))).boxes_xywh
    assert boxes.shape == (1, 6 * 5, 4)
    assert boxes[0, -1].tolist() == pytest.approx([8 * 4.5, 8 * 5.5, 10, 14])


def test_the_raw_map_is_anchor_major_and_unactivated():
    network = network_of("[yolo]\nmask=0,1\nclasses=1\nnum=2\nanchors=1,1,2,2", channels=12)
    images = torch.randn(2, 12, 32, 64)
    (raw,) = network(images)
    assert raw.shape == (2, 2, 32, 64, 6)
    assert torch.equal(raw[1, 1, 7, 3], images[1, 6:, 7, 3])


def test_filters_that_do_not_fit_are_told_in_numbers():
    text = "[convolutional]\nfilters=8\n[yolo]\nmask=0,1,2\nclasses=80\nnum=3\nanchors=1,1,2,2,3,3"
    with pytest.raises(CfgError) as caught:
        graph_of(text, channels=3)
    assert str(caught.value) == (
        "t.cfg:9: [yolo #1] classes: the previous section has the wrong number of channels\n"
        "  found:   filters=8\n  allowed: filters=255\n  hint:    filters = len(mask) * (classes + 5)"
        "; yolor cfg set-classes CFG 80 sets it"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "[convolutional]\nfilters=24\n[yolo]\nmask=0,1,2\nnum=3\nclasses=80",
            "filters = len(mask) * (classes + 5); classes=3 would fit",
        ),
        (
            "[convolutional]\nfilters=36\n[Gaussian_yolo]\nmask=0,1,2\nnum=3\nclasses=80",
            "filters = len(mask) * (classes + 9); classes=3 would fit",
        ),
        (
            "[convolutional]\nfilters=16\n[region]\nnum=2\nclasses=80",
            "filters = num * (classes + 5); classes=3 would fit",
        ),
        (
            "[connected]\noutput=10\n[detection]\nnum=2\nclasses=80\ncoords=4",
            "output = side * side * (num * (coords + 1) + classes)",
        ),
    ],
)
def test_a_class_count_that_would_fit_is_offered(text, hint):
    with pytest.raises(CfgError, match="wrong number of") as caught:
        graph_of(text, channels=3)
    assert caught.value.hint == f"{hint}; yolor cfg set-classes CFG 80 sets it"


def test_masks_beyond_the_anchors_count_as_a_half_in_darknet():
    graph = graph_of("[yolo]\nmask=0,2\nclasses=1\nnum=3\nanchors=10,14, 20,28", channels=12)
    assert graph.nodes[0].section.masked_anchors == ((10, 14), (0.5, 0.5))
    (warning,) = graph.warnings
    assert (warning.key, warning.message, warning.found) == ("mask", "index beyond the last anchor", "2")


def test_masks_beyond_the_anchors_are_an_error_in_yolor():
    with pytest.raises(CfgError, match="mask: index beyond the last anchor"):
        graph_of("[yolo]\nmask=0,2\nclasses=1\nnum=3\nanchors=10,14, 20,28", channels=12, dialect="yolor")


def test_without_mask_and_anchors_there_are_num_anchors_of_a_half():
    head = graph_of("[yolo]\nclasses=1\nnum=2", channels=12).nodes[0].section
    assert head.masked_anchors == ((0.5, 0.5), (0.5, 0.5))


def test_more_anchors_than_num_are_told():
    graph = graph_of("[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=10,14, 20,28", channels=6)
    assert [(w.key, w.message) for w in graph.warnings] == [("anchors", "more anchors than num")]


def test_an_unknown_suppression_runs_as_the_default_in_darknet():
    graph = graph_of("[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=1,1\nnms_kind=softnms", channels=6)
    assert graph.nodes[0].section.nms_kind == "default"
    assert graph.warnings[0].key == "nms_kind"


TREE = "animal -1\nthing -1\ncat 0\ndog 0\ncar 1\npuppy 3\nold_dog 3\n"


def test_siblings_share_a_softmax_and_add_up_to_their_parent():
    tree = parse_tree(TREE)
    hierarchy = ClassTree.from_parents(tree.parents, tree.group_sizes)
    logits = torch.randn(3, 5, 7, dtype=torch.float64)
    given = hierarchy.conditional_probabilities(logits)
    for siblings in ([0, 1], [2, 3], [4], [5, 6]):
        torch.testing.assert_close(given[..., siblings], logits[..., siblings].softmax(-1))
    total = hierarchy.absolute_probabilities(given)
    torch.testing.assert_close(total[..., 6], given[..., 6] * given[..., 3] * given[..., 0])
    torch.testing.assert_close(total[..., [2, 3]].sum(-1), total[..., 0])


def test_a_region_of_a_tree_reads_the_file_beside_the_cfg(tmp_path):
    (tmp_path / "t.tree").write_text(TREE)
    text = NET.format(12) + "[region]\nclasses=7\nnum=1\nanchors=1,1\ntree=t.tree"
    network = Network(build_graph(parse(text, str(tmp_path / "t.cfg")), ReadOptions(dialect="darknet")))
    given = network.trace(torch.randn(1, 12, 32, 64), [0])[0][..., 5:]
    for siblings in ([0, 1], [2, 3], [4], [5, 6]):
        torch.testing.assert_close(given[..., siblings].sum(-1), torch.ones(1, 32, 64, 1))


def test_a_tree_of_another_number_of_classes_is_refused(tmp_path):
    (tmp_path / "t.tree").write_text(TREE)
    text = NET.format(8) + "[region]\nclasses=3\nnum=1\nanchors=1,1\ntree=t.tree"
    with pytest.raises(CfgError, match="tree: its number of classes is not"):
        Network(build_graph(parse(text, str(tmp_path / "t.cfg")), ReadOptions(dialect="darknet")))


def test_a_head_exports_and_decodes_what_the_network_does():
    network = network_of("[yolo]\nmask=0,1\nclasses=1\nnum=2\nanchors=1,1,2,2", channels=12)
    head, images = network.module_list[0], torch.randn(2, 12, 32, 64)
    program = torch.export.export(head, (images,))
    torch.testing.assert_close(program.module()(images), head(images))


def reported(predictions, image: int, *, thresh: float, nms: float, size: tuple[int, int]) -> np.ndarray:
    """What C Darknet reports of one image: rows x, y, w, h (fractions), class, probability."""
    boxes, objectness, scores = (tensor[image].double().numpy() for tensor in predictions)
    boxes = boxes / np.array([size[1], size[0]] * 2)
    chances = objectness[:, None] * scores
    chances[chances <= thresh] = 0
    alive = np.flatnonzero(chances.any(axis=1))
    boxes, chances = boxes[alive], chances[alive]
    for k in np.flatnonzero(chances.any(axis=0)):
        order = [i for i in np.argsort(-chances[:, k], kind="stable") if chances[i, k] > 0]
        for place, i in enumerate(order):
            if chances[i, k] > 0:
                chances[[j for j in order[place + 1 :] if iou(boxes[i], boxes[j]) > nms], k] = 0
    kept = np.flatnonzero(chances.any(axis=1))
    best = chances[kept].argmax(axis=1)
    rows = np.column_stack([boxes[kept], best, chances[kept, best]])
    return rows[np.argsort(-rows[:, 5], kind="stable")]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes given by centre and size."""
    low = np.maximum(a[:2] - a[2:4] / 2, b[:2] - b[2:4] / 2)
    high = np.minimum(a[:2] + a[2:4] / 2, b[:2] + b[2:4] / 2)
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def check_boxes(case: golden.Case) -> None:
    """The boxes of every image of a case, after a greedy suppression, are C Darknet's."""
    network, (images,), meta, want = golden.darknet_layers(case)
    with torch.no_grad():
        predictions = network.decode(network(images))
    rule = {"thresh": meta["boxes"]["thresh"], "nms": meta["boxes"]["nms"], "size": images.shape[2:]}
    for image, name in enumerate(name for name in ("boxes", "boxes_b1") if name in want.files):
        rows = reported(predictions, image, **rule)
        expected = want[name][:, [0, 1, 2, 3, 5, 6]]
        assert rows.shape == expected.shape, (case.name, name)
        nearest = np.abs(rows[:, None] - expected[None]).max(axis=2).argmin(axis=0)
        assert sorted(nearest) == list(range(len(rows))), (case.name, name)
        np.testing.assert_allclose(rows[nearest], expected, atol=2e-4, rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("name", WITH_BOXES)
def test_the_boxes_are_those_of_c_darknet(shared, name):
    case = next(case for case in golden.micro_cases() if case.name == name)
    assert json.loads(case.meta.read_text())["boxes"]["count"] > 0
    check_boxes(case)


def test_of_a_tree_only_the_deepest_class_above_one_half_is_reported():
    absolute = torch.tensor([[0.9, 0.1, 0.7, 0.2], [0.4, 0.6, 0.1, 0.3], [0.5, 0.2, 0.1, 0.1]])
    expected = torch.tensor([[0.0, 0.0, 0.7, 0.0], [0.0, 0.6, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(keep_deepest_class(absolute), expected)


def test_boxes_of_five_coordinates_are_read_as_if_they_had_four():
    # detection_layer.c makes side * side * (num * (1 + coords) + classes) outputs; get_detection_detections
    # reads the boxes from side * side * (classes + num) on, four numbers each.
    text = "[net]\ninputs=52\n[detection]\nclasses=1\ncoords=5\nside=2\nnum=2\nsqrt=1"
    graph = build_graph(parse(text, "t.cfg"), ReadOptions(dialect="darknet"))
    values = torch.arange(1.0, 53.0)[None] / 52
    network = Network(graph)
    assert torch.equal(network.trace(values, [0])[0], values)
    boxes, objectness, scores = network.decode([values[..., None, None]])
    x, y, width, height = values[0, 12 + 5 * 4 : 12 + 6 * 4].tolist()
    assert boxes[0, 5].tolist() == pytest.approx([x / 2, (y + 1) / 2, width**2, height**2])
    assert objectness[0, 5].item() == values[0, 4 + 5]
    assert scores.shape == (1, 8, 1)
    assert [warning.key for warning in graph.warnings] == ["coords"]


def test_a_region_box_of_five_coordinates_is_read_from_where_four_would_put_it():
    # region_layer.c: forward_region_layer takes a box to have coords + classes + 1 values, get_region_boxes
    # classes + 5.
    network = network_of(
        "[region]\nnum=2\nclasses=2\ncoords=5\nsoftmax=1\nanchors=1,2,3,4", channels=16
    ).double()
    images = torch.randn(1, 16, 32, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stored = images[0].reshape(2, 8, 32, 64).permute(2, 3, 0, 1).clone()  # rows, columns, anchors, values
    stored[..., 4] = stored[..., 4].sigmoid()
    stored[..., 5:7] = stored[..., 5:7].softmax(-1)
    torch.testing.assert_close(network.trace(images, [0])[0][0], stored)
    flat = stored.flatten().tolist()
    boxes, objectness, scores = network.decode(network(images))
    row, column, anchor = 1, 2, 1
    at = flat[((row * 64 + column) * 2 + anchor) * 7 :][:7]
    place = (anchor * 32 + row) * 64 + column
    centre = [column + sigmoid(at[0]), row + sigmoid(at[1])]
    assert boxes[0, place].tolist() == pytest.approx([*centre, 3 * math.exp(at[2]), 4 * math.exp(at[3])])
    assert objectness[0, place].item() == pytest.approx(at[4])
    assert scores[0, place].tolist() == pytest.approx(at[5:])


@pytest.mark.parametrize("head", ["[detection]\nside=1\ncoords={}", "[region]\nclasses=1\ncoords={}"])
def test_fewer_than_four_coordinates_are_refused(head):
    for coords in (1, 3, 0, -1):
        with pytest.raises(CfgError) as caught:
            graph_of(head.format(coords), channels=6)
        assert caught.value.key == "coords" and caught.value.allowed == "4"


def test_heads_with_different_classes_are_not_decoded_together() -> None:
    # As in yolov4-tiny-3l with classes=80, 80 and 1: each head is right, all boxes are not one list.
    head = "[convolutional]\nfilters={}\nactivation=linear\n[yolo]\nmask=0\nclasses={}\nanchors=9,9\n"
    text = "[net]\nwidth=32\nheight=32\nchannels=3\n" + head.format(7, 2) + head.format(6, 1)
    network = Network(build_graph(parse(text, "two.cfg"), ReadOptions("darknet"))).eval()
    raws = network(torch.rand(1, 3, 32, 32))
    with pytest.raises(CfgError, match="differ in their number of classes"):
        network.decode(raws)
