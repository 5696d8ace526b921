"""Maps of cells laid over an image: the placement undone, what part of them lies in a box, a picture.

H W are pixels of the image, or of a smaller copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.draw import to_rgb
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Image

Heat = NDArray[np.float32]
MOST_SIDE = 512
"""The longer side of a map over an image, in pixels: finer than the cells of any network."""
OPACITY, DIGITS = 0.72, 4


class HeatSpot(NamedTuple):
    """The map of one score: the number of its detection or label in the result, `map` [H, W] from 0 to 1 over
    the image, the share of it inside the detection's box (None: there is no box, or the map is empty), and
    its highest point in pixels of the image."""

    number: int
    map: Heat
    energy_in_box: float | None
    peak_xy: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, rounded."""
        peak = None if self.peak_xy is None else [round(value, 1) for value in self.peak_xy]
        energy = None if self.energy_in_box is None else round(self.energy_in_box, DIGITS)
        return {**({} if energy is None else {"energy_in_box": energy}), "peak_xy": peak}


@dataclass
class HeatMaps:
    """The maps of an image, of its `detections` or its `labels`; `is_apart`: each is to be a picture of its
    own. Who writes the pictures puts their `files` down here."""

    spots: tuple[HeatSpot, ...]
    of: str = "detections"
    is_apart: bool = False
    files: list[str] = field(default_factory=list)

    def pictures(self, image: Image) -> list[Image]:
        """The image under all maps at once, or under each; RGB [H, W, 3]."""
        maps = [spot.map for spot in self.spots]
        groups = [[one] for one in maps] if self.is_apart else [maps] if maps else []
        return [overlay_heat(image, group) for group in groups]

    def add_to(self, record: dict[str, Any]) -> None:
        """Put into the record of an image what its maps tell, and the files of their pictures."""
        if not self.is_apart:
            record["heatmap"] = self.files[0] if self.files else None
        files: Iterable[str | None] = self.files if self.is_apart else ()
        for spot, file in zip_longest(self.spots, files):
            record[self.of][spot.number]["heat"] = {**spot.to_dict(), **({"file": file} if file else {})}


def lay_over_image(cells: Heat, placement: Placement) -> Heat:
    """The map [h, w] of the input's cells over the image that lies in the input, its longer side MOST_SIDE or
    less; where the image is outside of the input it is 0."""
    size = np.array(placement.image_size)
    height, width = np.maximum(1, np.round(size * min(1.0, MOST_SIDE / size.max()))).astype(int)
    gain = np.array(placement.gain_xy) * size[::-1] / (width, height)  # input pixels per pixel of the map
    stride = np.array(placement.input_size[::-1]) / cells.shape[::-1]
    scale = gain / stride
    start = (0.5 * gain + placement.padding_xy) / stride - 0.5
    matrix = np.array([[scale[0], 0, start[0]], [0, scale[1], start[1]]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    heat = cv2.warpAffine(
        cells, matrix, (int(width), int(height)), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    for axis, count in enumerate((width, height)):
        place = (np.arange(count) + 0.5) * gain[axis] + placement.padding_xy[axis]
        outside = (place < 0) | (place > placement.input_size[::-1][axis])
        heat[(slice(None), outside) if axis == 0 else outside] = 0
    return np.asarray(heat, np.float32)


def make_spot(
    number: int, heat: Heat, *, image_size: tuple[int, int], box: Sequence[float] | None
) -> HeatSpot:
    """The map scaled to a highest value of 1, with what is to be told of it; `box` is xyxy in pixels of the
    image."""
    most = float(heat.max(initial=0.0))
    if not most > 0:
        return HeatSpot(number, np.zeros_like(heat), None, None)
    scaled = heat / most
    per_pixel = np.array(image_size) / heat.shape
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    peak = (float((column + 0.5) * per_pixel[1]), float((row + 0.5) * per_pixel[0]))
    energy = None if box is None else float(scaled[mask_of(box, heat.shape, per_pixel)].sum() / scaled.sum())
    return HeatSpot(number, scaled, energy, peak)


def mask_of(
    box: Sequence[float], shape: tuple[int, ...], per_pixel: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The pixels of a map [H, W] whose middle is in the box; one has `per_pixel` (down, across) pixels of the
    image."""
    y, x = ((np.arange(count) + 0.5) * pixels for count, pixels in zip(shape, per_pixel, strict=True))
    left, top, right, bottom = box
    inside: NDArray[np.bool_] = ((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))
    return inside


def overlay_heat(image: Image, heats: Sequence[Heat]) -> Image:
    """The image [H, W, 3] under the highest of these maps, of which there is one or more; the hotter,
    the less of it is seen."""
    canvas = to_rgb(image)
    height, width = canvas.shape[:2]
    heat = cv2.resize(np.max(heats, axis=0), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = np.clip(heat, 0, 1)
    colors = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    share = (OPACITY * np.sqrt(heat))[..., None]
    mixed: Image = np.round(canvas * (1 - share) + colors * share).astype(np.uint8)
    return mixed
