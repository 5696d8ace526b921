"""C Darknet's numbers: 118 one-section cases and 41 real networks."""

import golden
import numpy as np
import pytest
import torch

from yolor_cfg.detect.nms import NmsRules, apply_nms, choose_nms
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.ops.boxes import to_xywh

MICRO = golden.micro_cases()
NETWORKS = golden.darknet_cases()
# Of yolov3-voc-b2, yolov4, yolov4-csp-swish, densenet201 and resnet152_trident.
TWINS = ("yolov3", "yolov3-spp", "yolov4x-mish", "yolov4-csp", "yolov4-p5", "csresnext50-panet-spp")


def test_the_cases_are_all_there(shared):
    assert (len(MICRO), len(NETWORKS)) == (118, 41)


@pytest.mark.parametrize("case", MICRO, ids=lambda case: case.name)
def test_a_section_computes_what_c_darknet_computes(case):
    _check_case(case)


def quick_networks():
    """The networks as parameters of a test; large ones with a twin of the same sections are slow tests."""
    for case in NETWORKS:
        yield pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name in TWINS else [])


@pytest.mark.parametrize("case", list(quick_networks()))
def test_a_network_computes_what_c_darknet_computes(case):
    _check_case(case)


def test_so_many_cases_have_boxes(shared):
    assert sum("boxes" in np.load(case.numbers).files for case in NETWORKS + MICRO) == 33


def _check_case(case):
    """Layers, and where C Darknet told its boxes those after suppression, of one network built once."""
    run = golden.check_darknet(case)
    if "boxes" in run.want.files:
        run.network.reset()
        _check_all_boxes(*run)


def _check_all_boxes(network, inputs, meta, want):
    """The boxes of the plain suppression, of each image, and of the suppression that the cfg names."""
    with torch.no_grad():
        for x in inputs:
            raws = network(x)
        predictions = network.decode(raws)
    thresh, iou = meta["boxes"]["thresh"], meta["boxes"]["nms"]
    rules = NmsRules(thresh, iou, kind="default", multi_label=False, max_det=10**6)
    _check_boxes(network, predictions, want["boxes"], rules)
    _check_pairs(network, predictions, want, rules._replace(multi_label=True))
    if "boxes_b1" in want.files:
        second = predictions._make(part[1:] for part in predictions)
        _check_boxes(network, second, want["boxes_b1"], rules)
    if "boxes_cfgnms" in want.files:
        own = meta["boxes"]["cfg_nms"]
        assert choose_nms(network.graph, None) == choose_nms(network.graph, "cfg")
        assert choose_nms(network.graph, None) == (own["nms_kind"], pytest.approx(own["beta_nms"]))
        rules = rules._replace(kind=own["nms_kind"], beta=own["beta_nms"])
        _check_boxes(network, predictions, want["boxes_cfgnms"], rules)


def _found(network, predictions, rules):
    """x, y, w, h as fractions, class, probability of each box, best first."""
    size = (network.graph.image.height, network.graph.image.width)
    whole = Placement(size, size, (1.0, 1.0), (0.0, 0.0))
    first = predictions._make(part[:1] for part in predictions)
    boxes, scores, classes = next(apply_nms(first, [whole], rules=rules))
    fractions = to_xywh(boxes) / torch.tensor([size[1], size[0]] * 2)
    return torch.cat([fractions, classes[:, None], scores[:, None]], dim=1).double().numpy()


def _check_boxes(network, predictions, want, rules):
    got = _found(network, predictions, rules)
    assert len(got) == len(want)
    np.testing.assert_array_equal(got[:, 4], want[:, 5])
    np.testing.assert_allclose(got[:, [0, 1, 2, 3, 5]], want[:, [0, 1, 2, 3, 6]], atol=2e-4, rtol=2e-3)


def _check_pairs(network, predictions, want, rules):
    """Every class that survives, by box: the boxes of a pair are those of the row that it names."""
    got = _found(network, predictions, rules)
    assert len(got) == len(want["pairs"])
    expected = want["pairs"][np.argsort(-want["pairs"][:, 2], kind="stable")]
    np.testing.assert_allclose(np.sort(got[:, 5]), np.sort(expected[:, 2]), atol=2e-4, rtol=2e-3)
    assert sorted(got[:, 4]) == sorted(expected[:, 1])
