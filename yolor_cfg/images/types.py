"""The types of images and sizes, shared by all packages above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Pixels [H, W, C], 0 to 255; RGB where C is 3."""
Size = tuple[int, int]
"""Height and width in pixels."""
