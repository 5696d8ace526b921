"""Boxes that are turned by an angle: [detection] coords=5 of a darkflow fork."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolor_cfg import Detector


def angled(folder: Path) -> tuple[Path, Path]:
    """darkflow's [detection] of one cell, in which only the bias speaks: a box and its angle, by the order
    of the parts in darkflow 50265c1 (cython_utils/cy_yolo_findboxes.pyx)."""
    cfg, weights = folder / "turned.cfg", folder / "turned.weights"
    cfg.write_text(
        "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=7\nactivation=linear\n"
        "[detection]\nside=1\nclasses=1\nnum=1\ncoords=5\n"
    )
    biases = np.array([1, 0.9, 0.5, 0.5, 0.5, 0.25, 0.125], np.float32)
    header = struct.pack("<4i", 0, 1, 0, 0)
    weights.write_bytes(header + biases.tobytes() + np.zeros(7 * 192, np.float32).tobytes())
    return cfg, weights


def test_an_angle_is_a_turn_of_the_box_in_pixels_of_the_image(tmp_path: Path) -> None:
    # net/yolo/predict.py of darkflow 50265c1: angle * 360 turns the box of w * width, h * height pixels;
    # calulating_IOU.py: the vertices are x -+ (b * w +- a * h) ..., those of cv2.boxPoints.
    detector = Detector(*angled(tmp_path))
    image = np.zeros((80, 160, 3), np.uint8)
    (one,) = found = detector(image)
    assert one.to_dict() == {
        "class": 0, "name": "0", "score": 0.9, "box_xyxy": [40, 30, 120, 50], "angle": 45
    }  # fmt: skip
    expected = cv2.boxPoints(((80, 40), (80, 20), 45))
    np.testing.assert_allclose(sorted(one.corners.tolist()), sorted(expected.tolist()), atol=1e-3)
    drawn = found.draw(image).any(axis=2)
    for x, y in [*one.corners, *(one.corners + np.roll(one.corners, 1, axis=0)) / 2]:
        assert drawn[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].any()
    assert not drawn[39:42, 42:50].any()  # where the upright box would have its left side
    assert found[:0].to_dict()["detections"] == []


def test_a_letterboxed_box_turns_about_its_own_centre(tmp_path: Path) -> None:
    (one,) = Detector(*angled(tmp_path), preprocess="letterbox")(np.zeros((80, 160, 3), np.uint8))
    assert one.box_xywh == pytest.approx((80, 40, 80, 40))
    assert one.angle == 45


def test_boxes_whose_angle_is_no_number_are_left_out(tmp_path: Path) -> None:
    cfg, weights = angled(tmp_path)
    stored = bytearray(weights.read_bytes())
    stored[16 + 6 * 4 : 16 + 7 * 4] = struct.pack("<f", np.nan)
    weights.write_bytes(stored)
    assert not Detector(cfg, weights)(np.zeros((8, 8, 3), np.uint8))
