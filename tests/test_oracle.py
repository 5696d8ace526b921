"""OpenCV 4.14, the last that reads Darknet files, as a program that shares nothing with this one."""

import json

import cv2
import golden
import numpy as np
import oracle
import pytest
import torch

pytestmark = oracle.MARKS
NAMES = ("yolov3-tiny", "yolov4-tiny", "yolov4-csp")


@pytest.mark.parametrize("name", NAMES)
def test_opencv_finds_the_same_boxes_and_objectness(name, shared, tmp_path):
    case = next(case for case in golden.darknet_cases() if case.name == name)
    network, (x,), meta, _ = golden.darknet_layers(case)
    with torch.no_grad():
        raws = network(x)
        ours = [
            _as_opencv_orders(network, index, raw)
            for index, raw in zip(network.graph.outputs, raws, strict=True)
        ]
    theirs = _opencv_rows(case, meta, x.numpy(), tmp_path)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other[:, :5], atol=1e-4, rtol=1e-4)


def _as_opencv_orders(network, index, raw):
    """Rows x, y, w, h (fractions of the image), objectness; cells first, then anchors."""
    boxes, objectness, _ = network.module_list[index].decode(raw)
    rows = torch.cat(
        [
            boxes[0] / torch.tensor([network.graph.image.width, network.graph.image.height] * 2),
            objectness[0, :, None],
        ],
        dim=1,
    )
    _, anchors, height, width, _ = raw.shape
    return rows.reshape(anchors, height, width, 5).permute(1, 2, 0, 3).reshape(-1, 5).numpy()


def _opencv_rows(case, meta, x, folder):
    cfg = folder / "copy.cfg"
    size = meta["input"]["shape"][2:]
    lines = case.cfg.read_text().splitlines()
    cfg.write_text("\n".join(_resized(line, size) for line in lines))
    weights = folder / "copy.weights"
    weights.write_bytes(_weights_with_variances_raised(meta))
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(x)
    names = net.getUnconnectedOutLayersNames()
    outputs = dict(zip(names, net.forward(names), strict=True))
    in_order = sorted(outputs, key=lambda name: int(name.split("_")[1]))
    return [outputs[name] for name in in_order]


def _resized(line, size):
    key = line.split("=")[0].strip()
    return {"height": f"height={size[0]}", "width": f"width={size[1]}"}.get(key, line)


def _weights_with_variances_raised(meta):
    maker = golden.module_at(golden.GOLDEN / "darknet" / "make_weights.py")
    raised = [
        array + np.float32(oracle.EPSILON_DIFFERENCE) if entry["role"] == "variance" else array
        for entry, array in maker.arrays(json.loads(json.dumps(meta)))
    ]
    return maker.header(meta) + b"".join(array.astype("<f4").tobytes() for array in raised)
