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


def test_the_cases_are_all_there(shared):
    assert (len(MICRO), len(NETWORKS)) == (118, 41)


@pytest.mark.parametrize("case", MICRO, ids=lambda case: case.name)
def test_a_section_computes_what_c_darknet_computes(case):
    golden.check_darknet(case)


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)
def test_a_network_computes_what_c_darknet_computes(case):
    golden.check_darknet(case)


BOXED = [case for case in NETWORKS + MICRO if "boxes" in np.load(case.numbers).files]


@pytest.mark.parametrize("case", BOXED, ids=lambda case: case.name)
def test_the_boxes_after_suppression_are_c_darknets(case):
    network, inputs, meta, want = golden.darknet_layers(case)
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
        _check_boxes(
            network,
            predictions,
            want["boxes_cfgnms"],
            rules._replace(kind=own["nms_kind"], beta=own["beta_nms"]),
        )


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
