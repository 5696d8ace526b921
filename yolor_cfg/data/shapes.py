"""A synthetic data set: coloured shapes on shaded, noisy backgrounds, seeded, with exact boxes.

A shape is a signed distance function in its own coordinates: points [2, H, W] with x to the right, y down,
the shape inside the unit circle; negative inside. It yields the anti-aliased edge, the rim and the texture.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Floats, Integers
from yolor_cfg.images.types import Image, Size

PixelGrid = NDArray[np.float32]
Generator = np.random.Generator

IDENTITIES = 120
"""The number of identities; each keeps its class, colours and texture, while pose and light vary."""
LEAST_RADIUS = 6.0
"""In pixels, however small the image is."""
LEAST_SEEN = 0.5
"""The fraction of an object that stays visible: with less it could not be recognized."""
EMPTY = 0.04
"""The fraction of images without objects."""
MAX_TRIES = 12


def _disc(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.hypot(p[0], p[1]) - 0.95
    return distance


def _ring(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.abs(np.hypot(p[0], p[1]) - 0.72) - 0.22
    return distance


def _square(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.maximum(np.abs(p[0]), np.abs(p[1])) - 0.78
    return distance


def _triangle(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.maximum(np.abs(p[0]) * math.sqrt(0.75) - p[1] * 0.5, p[1]) - 0.5
    return distance


def _cross(p: PixelGrid) -> PixelGrid:
    wide, high = np.abs(p[0]), np.abs(p[1])
    lying, standing = np.maximum(wide - 0.95, high - 0.3), np.maximum(wide - 0.3, high - 0.95)
    distance: PixelGrid = np.minimum(lying, standing)
    return distance


def _star(p: PixelGrid) -> PixelGrid:
    """Five points: folding the angle maps all ten edges onto one; inner corners lie at 0.42."""
    tenth = math.pi / 5
    angle = np.abs(np.mod(np.arctan2(p[0], -p[1]), 2 * tenth) - tenth)
    across, along = 0.42 * math.sin(tenth), 1 - 0.42 * math.cos(tenth)
    radius, edge = np.hypot(p[0], p[1]), math.hypot(across, along)
    turned = np.cos(tenth - angle) * across + np.sin(tenth - angle) * along
    distance: PixelGrid = (radius * turned - across) / edge
    return distance


SHAPES: dict[str, Callable[[PixelGrid], PixelGrid]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
NAMES = tuple(SHAPES)


def _bar(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.maximum(np.abs(p[0]) - 0.95, np.abs(p[1]) - 0.28)
    return distance


def _moon(p: PixelGrid) -> PixelGrid:
    distance: PixelGrid = np.maximum(np.hypot(p[0], p[1]) - 0.95, 0.8 - np.hypot(p[0] - 0.5, p[1]))
    return distance


def _hexagon(p: PixelGrid) -> PixelGrid:
    wide, high = np.abs(p[0]), np.abs(p[1])
    distance: PixelGrid = np.maximum(wide * math.sqrt(0.75) + high / 2, high) - 0.8
    return distance


def _dumbbell(p: PixelGrid) -> PixelGrid:
    ends = np.hypot(np.abs(p[0]) - 0.55, p[1]) - 0.4
    distance: PixelGrid = np.minimum(ends, np.maximum(np.abs(p[0]) - 0.55, np.abs(p[1]) - 0.15))
    return distance


CLASS_SHAPES: dict[str, Callable[[PixelGrid], PixelGrid]] = {
    **SHAPES,
    "bar": _bar,
    "moon": _moon,
    "hexagon": _hexagon,
    "dumbbell": _dumbbell,
}
"""Those of images with one object each, for classifiers: the others and four more."""
CLASS_NAMES = tuple(CLASS_SHAPES)
CLASS_RADII = 0.25, 0.42
CLASS_TURN = math.pi / 8
PLAIN = 0
"""The texture that is one colour."""

# How much of the second colour a texture has at a point, in the coordinates of the shape: 0..1.
TEXTURES: tuple[Callable[[PixelGrid], PixelGrid], ...] = (
    lambda p: np.zeros_like(p[0]),
    lambda p: np.clip(0.5 + 6 * np.sin(p[0] * 9), 0, 1),
    lambda p: np.clip(0.5 + 9 * np.sin(p[0] * 7) * np.sin(p[1] * 7), 0, 1),
    lambda p: np.clip(4 * (np.cos(p[0] * 9) + np.cos(p[1] * 9) - 0.7), 0, 1),
    lambda p: np.clip(0.5 + 6 * np.sin(np.hypot(p[0], p[1]) * 13), 0, 1),
    lambda p: np.clip(0.5 + p[1] * 0.7, 0, 1),
)


class ObjectOptions(NamedTuple):
    """The radii of objects as fractions of the shorter side; the most objects an image has; whether each
    class has its own colours, which a network learns in minutes (otherwise only the shape tells the class);
    and how many identities there are."""

    radii: tuple[float, float] = (0.05, 0.24)
    most: int = 8
    has_class_colors: bool = False
    identities: int = IDENTITIES


MIXED = ObjectOptions()
FEW = ObjectOptions(radii=(0.1, 0.2), most=5, identities=30)
"""Few identities, large enough to be told apart: a network learns them in minutes."""
KINDS = {"mixed": MIXED, "coloured": ObjectOptions(has_class_colors=True), "identities": FEW}
OWN_HUES, HUE_SPREAD = 0.6, 0.03
"""With class colours: the fraction of a class's sector of the hue circle that is used, so that classes stay
apart; and how much the second hue of an object differs from its first."""


class Appearance(NamedTuple):
    """What an identity looks like: class id, two colours (RGB 0..1), texture, brightness of the rim."""

    class_id: int
    colors: tuple[PixelGrid, PixelGrid]
    texture: int
    rim: float


class PlacedObject(NamedTuple):
    """One object of an image: identity, look, centre and radius in pixels, angle, direction of light."""

    identity: int
    look: Appearance
    center_xy: tuple[float, float]
    radius: float
    angle: float
    light: tuple[float, float]


class DrawnImage(NamedTuple):
    """An image [H, W, 3] uint8 RGB and its objects: boxes [B, 4] of the visible parts, as fractions."""

    image: Image
    boxes_xywh: Floats
    classes: Integers
    identities: Integers


def _hsv_to_rgb(hue: float, saturation: float, value: float) -> PixelGrid:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def identity_look(identity: int, *, has_class_colors: bool = False) -> Appearance:
    """The look of one identity, the same in every data set; identities cycle through the classes."""
    rng = np.random.default_rng([0x5A4E, identity])
    label, hue = identity % len(NAMES), rng.random()
    if has_class_colors:
        hue = (label + hue * OWN_HUES) / len(NAMES)
    first = _hsv_to_rgb(hue, rng.uniform(0.55, 1), rng.uniform(0.65, 1))
    other = rng.uniform(-HUE_SPREAD, HUE_SPREAD) if has_class_colors else rng.uniform(0.12, 0.88)
    second = _hsv_to_rgb(hue + other, rng.uniform(0.2, 0.9), rng.uniform(0.25, 1))
    texture = int(rng.integers(len(TEXTURES)))
    return Appearance(label, (first, second), texture, float(rng.choice([1.0, 0.75, 0.5])))


def draw_single(rng: Generator, size: Size, class_id: int) -> Image:
    """An image [H, W, 3] uint8 RGB with one object of this class of `CLASS_NAMES`, of one colour and mostly
    inside it; equal generators draw equal images."""
    canvas, owner = _background(rng, size), np.full(size, -1, np.int16)
    radius = rng.uniform(*CLASS_RADII) * min(size)
    centre = rng.uniform(0.35, 0.65) * size[1], rng.uniform(0.35, 0.65) * size[0]
    turn, light = rng.uniform(-CLASS_TURN, CLASS_TURN), rng.uniform(0, 2 * math.pi)
    look = identity_look(int(rng.integers(IDENTITIES)))._replace(class_id=class_id, texture=PLAIN)
    one = PlacedObject(0, look, centre, radius, turn, (math.cos(light), math.sin(light)))
    _paint(canvas, owner, one, number=0)
    return _shade(canvas, rng)


def draw_shapes(rng: Generator, size: Size, objects: ObjectOptions = MIXED) -> DrawnImage:
    """One image of this height and width; equal generators draw equal images.

    At least half of every object is visible; boxes enclose the pixels that it covers by half or more.
    """
    canvas = _background(rng, size)
    placed = _place_objects(rng, size, objects) if rng.random() >= EMPTY else []
    return _paint_all(canvas, placed, rng)


def draw_frame(rng: Generator, size: Size, placed: Sequence[PlacedObject]) -> DrawnImage:
    """Like `draw_shapes`, with these objects from back to front, of each of which something is seen: a frame
    of a video, if equal generators draw the others."""
    return _paint_all(_background(rng, size), placed, rng)


def _paint_all(canvas: PixelGrid, placed: Sequence[PlacedObject], rng: Generator) -> DrawnImage:
    owner = np.full(canvas.shape[:2], -1, np.int16)
    for number, one in enumerate(placed):
        _paint(canvas, owner, one, number=number)
    image = _shade(canvas, rng)
    boxes = [_mask_box(owner == number) for number in range(len(placed))]
    return DrawnImage(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([one.look.class_id for one in placed], np.int64),
        np.array([one.identity for one in placed], np.int64),
    )


def _shade(canvas: PixelGrid, rng: Generator) -> Image:
    """The canvas [H, W, 3] lit from one side, with noise, as uint8."""
    size = canvas.shape[:2]
    lit = canvas * _illumination(rng, size, 0.18)[..., None]
    shaded = lit + rng.normal(0, rng.uniform(0.004, 0.03), canvas.shape)
    return np.asarray((shaded.clip(0, 1) * 255).round(), np.uint8)


def _mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Centre and size of the box around the mask, as fractions."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    centre = (left + right) / 2 / width, (top + bottom) / 2 / height
    return *centre, (right - left) / width, (bottom - top) / height


def _illumination(rng: Generator, size: Size, depth: float) -> PixelGrid:
    """[H, W] around 1: light that falls off to one side, plus smooth noise."""
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1])
    slope = rows[:, None] * math.sin(angle) + columns[None] * math.cos(angle)
    return np.asarray(1 + depth * (slope * 0.7 + _clouds(rng, size, int(rng.integers(2, 6)))), np.float32)


def _clouds(rng: Generator, size: Size, cells: int) -> PixelGrid:
    """[H, W] smooth noise of about -1..1, `cells` waves along each side."""
    coarse = rng.normal(0, 0.5, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _background(rng: Generator, size: Size) -> PixelGrid:
    """[H, W, 3] in 0..1: two muted colours that blend into each other, with grain, sometimes with stripes."""
    hue = rng.random()
    first = _hsv_to_rgb(hue, rng.uniform(0, 0.35), rng.uniform(0.25, 0.9))
    second = _hsv_to_rgb(hue + rng.normal(0, 0.08), rng.uniform(0, 0.35), rng.uniform(0.25, 0.9))
    large, small = int(rng.integers(2, 5)), int(rng.integers(12, 40))
    mix = 0.5 + 0.5 * _clouds(rng, size, large) + 0.12 * _clouds(rng, size, small)
    if rng.random() < 0.35:
        mix = mix + 0.25 * _planks(rng, size)
    mix = mix.clip(0, 1)[..., None]
    return np.asarray(first * (1 - mix) + second * mix, np.float32)


def _planks(rng: Generator, size: Size) -> PixelGrid:
    """[H, W] of -1..1: soft parallel bands in some direction."""
    angle, waves = rng.uniform(0, math.pi), rng.uniform(4, 14)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / max(size)
    bands: PixelGrid = np.sin((x * math.cos(angle) + y * math.sin(angle)) * waves * 2 * math.pi)
    return bands


def _place_objects(rng: Generator, size: Size, objects: ObjectOptions) -> list[PlacedObject]:
    """Objects from back to front; none hides too much of another, and none is cut too much."""
    placed: list[PlacedObject] = []
    owner = np.full(size, -1, np.int16)
    full: list[int] = []
    wanted = int(rng.integers(1, objects.most + 1))
    for _ in range(wanted * MAX_TRIES):
        if len(placed) == wanted:
            break
        one = _random_object(rng, size, objects)
        tried, area = owner.copy(), _object_mask(owner, one)[1]
        _mark_owner(tried, one, len(placed))
        seen = np.bincount(tried[tried >= 0], minlength=len(placed) + 1)
        if (seen >= LEAST_SEEN * np.array([*full, area])).all():
            placed, owner, full = [*placed, one], tried, [*full, area]
    return placed


def _random_object(rng: Generator, size: Size, objects: ObjectOptions) -> PlacedObject:
    """Sizes are uniform in their logarithm, so small objects are as frequent as large ones."""
    low, high = (math.log(share * min(size)) for share in objects.radii)
    radius = max(LEAST_RADIUS, math.exp(rng.uniform(low, max(low, high))))
    centre = rng.uniform(0, size[1]), rng.uniform(0, size[0])
    light = rng.uniform(0, 2 * math.pi)
    identity = int(rng.integers(objects.identities))
    look = identity_look(identity, has_class_colors=objects.has_class_colors)
    angle = rng.uniform(0, 2 * math.pi)
    return PlacedObject(identity, look, centre, radius, angle, (math.cos(light), math.sin(light)))


def _points(rows: slice, columns: slice, one: PlacedObject) -> PixelGrid:
    """[2, h, w] pixel centres of a window, in the coordinates of the object."""
    y, x = np.mgrid[rows, columns].astype(np.float32) + 0.5
    x, y = (x - one.center_xy[0]) / one.radius, (y - one.center_xy[1]) / one.radius
    cos, sin = math.cos(one.angle), math.sin(one.angle)
    return np.stack([x * cos + y * sin, y * cos - x * sin])


def _object_window(size: Size, one: PlacedObject, *, reach: float) -> tuple[slice, slice]:
    """Rows and columns of the image within `reach` radii of the object, plus one pixel."""
    (x, y), extent = one.center_xy, one.radius * reach + 1
    rows = slice(max(0, int(y - extent)), max(0, min(size[0], int(y + extent) + 1)))
    return rows, slice(max(0, int(x - extent)), max(0, min(size[1], int(x + extent) + 1)))


def _object_mask(owner: NDArray[np.int16], one: PlacedObject) -> tuple[NDArray[np.bool_], int]:
    """The pixels of its window that the object covers by half, and its whole area, also outside the image."""
    distance = CLASS_SHAPES[CLASS_NAMES[one.look.class_id]]
    inside = distance(_points(*_object_window(owner.shape, one, reach=1), one)) < 0
    reach = int(one.radius) + 2
    left, top = (int(value) - reach for value in one.center_xy)
    all_of_it = distance(_points(slice(top, top + 2 * reach), slice(left, left + 2 * reach), one)) < 0
    return inside, int(all_of_it.sum())


def _mark_owner(owner: NDArray[np.int16], one: PlacedObject, number: int) -> None:
    inside, _ = _object_mask(owner, one)
    owner[_object_window(owner.shape, one, reach=1)][inside] = number


def _paint(canvas: PixelGrid, owner: NDArray[np.int16], one: PlacedObject, *, number: int) -> None:
    """Draw the shadow, then the object, on the canvas [H, W, 3]; its pixels become `number` in owner."""
    distance = CLASS_SHAPES[CLASS_NAMES[one.look.class_id]]
    shift = 0.12 * one.radius
    x, y = one.center_xy
    behind = one._replace(center_xy=(x - one.light[0] * shift, y - one.light[1] * shift))
    window = _object_window(owner.shape, behind, reach=1.3)
    shadow = np.clip(0.5 - distance(_points(*window, behind)) * 5, 0, 1)
    canvas[window] *= 1 - 0.4 * shadow[..., None]
    window = _object_window(owner.shape, one, reach=1.1)
    points = _points(*window, one)
    edge = distance(points)
    cover = np.clip(0.5 - edge * one.radius, 0, 1)[..., None]
    canvas[window] = canvas[window] * (1 - cover) + _surface(points, edge, one) * cover
    _mark_owner(owner, one, number)


def _surface(points: PixelGrid, edge: PixelGrid, one: PlacedObject) -> PixelGrid:
    """[h, w, 3]: the texture, a darker rim, and light from one side."""
    look = one.look
    mix = TEXTURES[look.texture](points)[..., None]
    colour = look.colors[0] * (1 - mix) + look.colors[1] * mix
    rim = np.where(edge > -0.1, look.rim, 1.0)
    cos, sin = math.cos(one.angle), math.sin(one.angle)
    x, y = points[0] * cos - points[1] * sin, points[0] * sin + points[1] * cos
    light = 1 + 0.22 * (x * one.light[0] + y * one.light[1])
    return np.asarray((colour * (rim * light)[..., None]).clip(0, 1), np.float32)
