"""Draw boxes with names and scores onto a copy of an image."""

from __future__ import annotations

import colorsys
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.types import Image

Color = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_HEIGHT = 0.022
"""Height of a capital letter as a fraction of the geometric mean of the image's sides."""
FAR_PIXELS = 1e6
"""As far outside of an image as lines can be drawn."""
MIN_TEXT_PIXELS = 8
"""Pixels a capital letter needs to be readable."""
CAN_DRAW_UNICODE = int(cv2.__version__.partition(".")[0]) >= 5
"""OpenCV 4 draws a question mark for every byte beyond ASCII."""
ASCII_SPELLINGS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"}
)


class DetectionsLike(Protocol):
    """What is drawn and written: boxes_xyxy [M, 4] in pixels, scores [M], classes [M], all class names; where
    they have `angles` [M], in degrees, boxes are turned."""

    @property
    def boxes_xyxy(self) -> Any: ...
    @property
    def scores(self) -> Any: ...
    @property
    def classes(self) -> Any: ...
    @property
    def names(self) -> Sequence[str]: ...


class LabelLike(Protocol):
    """A class of the whole image and its probability."""

    @property
    def class_id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def score(self) -> float: ...


class Detection(NamedTuple):
    """One detection in plain numbers; the box is left, top, right, bottom in pixels. Where the network gives
    an `angle`, in degrees, the object is that box turned by it about its centre, clockwise."""

    class_id: int
    name: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    angle: float | None = None

    @property
    def confidence(self) -> float:
        """The score under another name."""
        return self.score

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        return self.box_xyxy

    @property
    def box_xywh(self) -> tuple[float, float, float, float]:
        """Centre, width and height in pixels."""
        left, top, right, bottom = self.box_xyxy
        return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top

    @property
    def corners(self) -> NDArray[np.float64]:
        """The corners [4, 2] of the box, turned by its angle: from the left end of its top, clockwise."""
        x, y, width, height = self.box_xywh
        turn = np.radians(self.angle or 0)
        across = np.array([np.cos(turn), np.sin(turn)]) * width / 2
        down = np.array([-np.sin(turn), np.cos(turn)]) * height / 2
        return np.array([x, y]) + [-across - down, across - down, across + down, down - across]

    @property
    def bounds_xyxy(self) -> tuple[float, float, float, float]:
        """The upright box around it, which is its own where it has no angle."""
        if not self.angle:
            return self.box_xyxy
        (left, top), (right, bottom) = self.corners.min(axis=0).tolist(), self.corners.max(axis=0).tolist()
        return left, top, right, bottom

    def to_dict(self) -> dict[str, Any]:
        """The words of `yolor detect --json`, rounded: class, name, score, box_xyxy, and the angle if any."""
        return {
            "class": self.class_id,
            "name": self.name,
            "score": round(self.score, 6),
            "box_xyxy": [round(side, 4) for side in self.box_xyxy],
            **({} if self.angle is None else {"angle": round(self.angle, 4)}),
        }


def iter_detections(detections: DetectionsLike) -> Iterator[Detection]:
    """The detections one by one, in order; a class without a name is called by its class id."""
    parts = detections.boxes_xyxy, detections.scores, detections.classes
    rows = zip(*(np.asarray(part).tolist() for part in parts), strict=True)
    given = getattr(detections, "angles", None)
    angles = itertools.repeat(None) if given is None else np.asarray(given).tolist()
    for (box, score, class_id), angle in zip(rows, angles, strict=False):
        name = detections.names[class_id] if class_id < len(detections.names) else str(class_id)
        yield Detection(class_id, name, score, tuple(box), angle)


def draw_detections(image: Image, detections: DetectionsLike) -> Image:
    """A copy of the RGB image [H, W, 3] with a box and a caption for each detection, the best ones on top.

    An image with one channel becomes RGB, one with more than three keeps the first three. Captions stay
    inside the image and apart from each other where there is room; an image too small for text gets none.
    """
    canvas = to_rgb(image)
    finite = (one for one in iter_detections(detections) if np.isfinite(one.bounds_xyxy).all())
    found = sorted(finite, key=lambda one: one.score)
    line = max(1, round(prod(canvas.shape[:2]) ** 0.5 / 300))
    for one in found:
        _draw_box(canvas, one, line)
    plates: list[Caption] = []
    places = np.zeros((len(found), 4), np.int64)
    for one in reversed(found):
        plate = _place_caption(one, canvas.shape[:2], line=line, taken=places[: len(plates)])
        if plate is not None:
            places[len(plates)] = *plate.corner, *plate.size
            plates.append(plate)
    for plate in reversed(plates):
        plate.draw(canvas)
    _draw_labels(canvas, getattr(detections, "labels", None) or ())
    return canvas


def _draw_labels(canvas: Image, labels: Sequence[LabelLike]) -> None:
    """The classes of the whole image, one below the other in its upper left corner, as many as fit."""
    top = 0
    for one in labels:
        plate = _make_plate(one.name, one.class_id, one.score, size=canvas.shape[:2])
        if plate is None or top + plate.size[1] > canvas.shape[0]:
            return
        plate._replace(corner=(0, top)).draw(canvas)
        top += plate.size[1]


def _draw_box(canvas: Image, one: Detection, line: int) -> None:
    """Its outline; a box with an angle is turned, and what is outside the image is left out."""
    if one.angle:
        corners = one.corners.clip(-FAR_PIXELS, FAR_PIXELS).round().astype(np.int32)
        cv2.polylines(canvas, [corners], isClosed=True, color=class_color(one.class_id), thickness=line)
        return
    left, top, right, bottom = _clip_to_pixels(one.box_xyxy, *canvas.shape[:2])
    cv2.rectangle(canvas, (left, top), (right, bottom), class_color(one.class_id), line)


def class_color(class_id: int) -> Color:
    """The colour of a class, always the same; neighbours are far apart in hue and differ in lightness."""
    hue = (0.58 + class_id * 0.61803398875) % 1  # steps by the golden ratio keep hues far apart
    lightness, saturation = ((0.50, 0.90), (0.38, 0.85), (0.62, 0.80))[class_id % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def drawable_name(name: str, class_id: int, *, unicode: bool = CAN_DRAW_UNICODE) -> str:
    """The name as OpenCV can draw it; if that is ASCII only, without accents, or else as `class 3`."""
    name = " ".join(name.split())
    if unicode or name.isascii():
        return name
    apart = unicodedata.normalize("NFKD", name.translate(ASCII_SPELLINGS))  # letters, then their accents
    plain = apart.encode("ascii", "ignore").decode().strip()
    return plain if any(letter.isalnum() for letter in plain) else f"class {class_id}"


class Caption(NamedTuple):
    """Text on a filled plate; `corner` is the upper left one."""

    text: str
    corner: tuple[int, int]
    size: tuple[int, int]
    margin: int
    scale: float
    thickness: int
    color: Color

    def draw(self, canvas: Image) -> None:
        """Fill the plate and write the text in black or white, whichever is easier to read on it."""
        (left, top), (width, height) = self.corner, self.size
        cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), self.color, cv2.FILLED)
        ink = (0, 0, 0) if np.dot(self.color, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
        place = left + self.margin, top + height - self.margin
        cv2.putText(canvas, self.text, place, FONT, self.scale, ink, self.thickness, cv2.LINE_AA)


def to_rgb(image: Image) -> Image:
    """A copy [H, W, 3] of an image: a single channel is repeated, of many the first three are kept."""
    pixels = image.reshape(*image.shape[:2], -1)
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(np.repeat(pixels[..., :1], 3, axis=2))
    return pixels[..., :3].copy(order="C")


def _clip_to_pixels(box_xyxy: Sequence[float], height: int, width: int) -> tuple[int, int, int, int]:
    """The box in whole pixels, clipped to the image."""
    left, top, right, bottom = (round(side) for side in box_xyxy)
    return (
        min(max(left, 0), width - 1),
        min(max(top, 0), height - 1),
        min(max(right, 0), width - 1),
        min(max(bottom, 0), height - 1),
    )


def _place_caption(
    one: Detection, size: tuple[int, int], *, line: int, taken: NDArray[np.int64]
) -> Caption | None:
    """The caption of one detection where it hides the least of the others, `taken` [P, 4] (left, top, width,
    height); None if it cannot fit."""
    made = _make_plate(one.name, one.class_id, one.score, size=size)
    if made is None:
        return None
    height, width = size
    plate = made.size
    box = _clip_to_pixels(one.bounds_xyxy, height, width)
    corners = np.array(list(_caption_corners(box, plate, line=line)), np.int64)
    corners = corners.clip(0, (width - plate[0], height - plate[1]))  # into the image
    left, top = corners[_covered_areas(corners, plate, taken).argmin()].tolist()
    return made._replace(corner=(left, top))


def _make_plate(name: str, class_id: int, score: float, *, size: tuple[int, int]) -> Caption | None:
    """The caption at the upper left corner of an image of this height and width; None if it cannot fit."""
    height, width = size
    letters = max(MIN_TEXT_PIXELS, round((height * width) ** 0.5 * TEXT_HEIGHT))
    thickness = max(1, round(letters / 12))
    scale = cv2.getFontScaleFromHeight(FONT, letters, thickness)
    text = f"{drawable_name(name, class_id)} {score:.2f}"
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    margin = max(2, letters // 3)
    plate = text_width + 2 * margin, text_height + 2 * margin
    if plate[0] > width or plate[1] > height:
        return None
    return Caption(text, (0, 0), plate, margin, scale, thickness, class_color(class_id))


def _covered_areas(
    corners: NDArray[np.int64], size: tuple[int, int], taken: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[K] how many pixels of the plates `taken` [P, 4] one of this size covers at each corner [K, 2]."""
    starts = np.maximum(corners[:, None], taken[:, :2])  # [K, P, 2]
    ends = np.minimum(corners[:, None] + size, taken[:, :2] + taken[:, 2:])
    areas: NDArray[np.int64] = (ends - starts).clip(0).prod(axis=2).sum(axis=1)
    return areas


def _caption_corners(box: Sequence[int], plate: tuple[int, int], *, line: int) -> Iterator[tuple[int, int]]:
    """Where a caption can go, best first: above, inside at top, below, inside at bottom; left, then right."""
    left, top, right, bottom = box
    width, height = plate
    half = line // 2
    low, high = top - half, bottom + half + 1
    for x in (left - half, right + half + 1 - width):
        for y in (low - height, low, high, high - height):
            yield x, y
