"""OpenCV 4, the last that reads Darknet files, as a program that shares nothing with this one."""

import cv2
import pytest

MARKS = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not hasattr(cv2.dnn, "readNetFromDarknet"),
        reason="needs OpenCV 4: make test-all runs this in a venv of its own",
    ),
]
"""Of tests that run in an environment with OpenCV 4."""
EPSILON_DIFFERENCE = 9e-6
"""OpenCV's importer adds 1e-6 to a variance, C Darknet 1e-5."""
