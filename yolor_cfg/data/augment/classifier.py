"""C Darknet's augmentation for classifiers, from the keys of [net].

`min_crop`, `max_crop`, `angle`, `aspect`, `flip`, `hue`, `saturation`, `exposure`, `mixup`, `cutmix`,
`mosaic`, `blur` and `label_smooth_eps` work as in load_data_augment (data.c). Whether images are mixed is
drawn for each of them; C Darknet draws it for all that a thread loads.

Legend: H W size of the input, C channels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.augment.color import ColorJitter, blur_image
from yolor_cfg.data.augment.darknet import (
    CUTMIX,
    CUTMIX_AND_MOSAIC,
    MIXUP,
    MOSAIC,
    mixing_kind,
    random_factor,
)
from yolor_cfg.data.augment.float_color import distort_colors
from yolor_cfg.data.types import BatchItem, Fetch, Floats, Integers
from yolor_cfg.graph import Graph
from yolor_cfg.images.preprocess import resize_darknet
from yolor_cfg.images.types import Image, Size

Generator = np.random.Generator
NO_BOXES = np.zeros((0, 4), np.float32)
CUT_SIDES = 0.3, 0.8
"""Of an image that cutmix pastes, as fractions of the input."""
MOSAIC_MARGIN = 0.2
BLUR_CHANCE, USUAL_KERNEL = 4, 15


class ClassifierAugmentation(NamedTuple):
    """The settings of a cfg: the range of the shorter side in pixels before cropping, the largest turn in
    degrees, the largest factor on the aspect ratio, colours, mixing, blur, label smoothing."""

    crop: tuple[int, int]
    angle: float = 0.0
    aspect: float = 1.0
    color_ranges: ColorJitter = ColorJitter()
    flip: bool = True
    mixing: int = 0
    blur: int = 0
    smoothing: float = 0.0


def read_classifier_augmentation(graph: Graph) -> ClassifierAugmentation:
    """The augmentation of a cfg."""
    net = graph.net
    return ClassifierAugmentation(
        (net.min_crop, net.max_crop),
        net.angle,
        net.aspect or 1.0,
        ColorJitter(net.hue, net.saturation or 1.0, net.exposure or 1.0),
        net.flip,
        mixing_kind(net),
        net.blur,
        net.label_smooth_eps,
    )


class TurnedView(NamedTuple):
    """How an image is seen: turned by `radians`, scaled by `scale`, its aspect ratio changed, its middle
    moved by `shift_xy` pixels of the square crop."""

    radians: float
    scale: float
    shift_xy: tuple[float, float]
    aspect: float


def draw_view(size: Size, side: int, augmentation: ClassifierAugmentation, *, rng: Generator) -> TurnedView:
    """The view (random_augment_image) of an image of this height and width in a square of this side."""
    aspect = random_factor(augmentation.aspect, rng)
    shorter = int(rng.integers(min(augmentation.crop), max(augmentation.crop), endpoint=True))
    height, width = size
    scale = shorter / max(1, int(min(height, width * aspect)))
    radians = math.radians(rng.uniform(-augmentation.angle, augmentation.angle))
    spare = max((width * scale / aspect - side) / 2, 0.0), max((height * scale - side) / 2, 0.0)
    x, y = (float(rng.uniform(-most, most)) for most in spare)
    return TurnedView(radians, scale, (x, y), aspect)


def crop_view(image: Image, view: TurnedView, side: int) -> Floats:
    """[side, side, C] float32 in 0..1, interpolated bilinearly (rotate_crop_image); black outside."""
    height, width = image.shape[:2]
    (dx, dy), scale, aspect = view.shift_xy, view.scale, view.aspect
    x = ((np.arange(side) - side / 2) / scale * aspect + dx / scale * aspect)[None]
    y = ((np.arange(side) - side / 2) / scale + dy / scale)[:, None]
    cos, sin = math.cos(view.radians), math.sin(view.radians)
    columns = (cos * x - sin * y + width / 2).astype(np.float32)
    rows = (sin * x + cos * y + height / 2).astype(np.float32)
    return sample_bilinear(image, rows, columns)


def sample_bilinear(image: Image, rows: Floats, columns: Floats) -> Floats:
    """The image [h, w, C] at these places, as float32 in 0..1; 0 outside (bilinear_interpolate)."""
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    result: Floats = np.zeros((*rows.shape, image.shape[2]), np.float32)
    for y, across in ((0, 1 - down), (1, down)):
        for x, along in ((0, 1 - right), (1, right)):
            result += (across * along).astype(np.float32) * _pixels(image, top + y, left + x)
    return result


def _pixels(image: Image, rows: Integers, columns: Integers) -> Floats:
    height, width = image.shape[:2]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = image[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.asarray(found.astype(np.float32) / np.float32(255) * inside[..., None], np.float32)


@dataclass(frozen=True)
class ClassifierTransform:
    """Makes the training items from `count` images; `classes_of` gives the classes that an image has, of
    `classes` in all. It is asked once the image is read, as another may stand in for one that cannot be."""

    augmentation: ClassifierAugmentation
    size: Size
    count: int
    classes: int
    classes_of: Callable[[int], Integers]

    def replace_size(self, size: Size) -> ClassifierTransform:
        """The same transform for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: Generator, fetch: Fetch) -> BatchItem:
        image, truth = self._make_one(index, rng, fetch)
        mixing = self.augmentation.mixing if rng.integers(2) else 0
        if mixing == CUTMIX_AND_MOSAIC:
            mixing = int(rng.integers(CUTMIX, MOSAIC, endpoint=True))
        if mixing:
            others = rng.integers(self.count, size=3 if mixing == MOSAIC else 1).tolist()
            parts = [(image, truth), *(self._make_one(other, rng, fetch) for other in others)]
            image, truth = MIXERS[mixing]([part for part, _ in parts], [has for _, has in parts], rng)
        image = self._blur(image, rng)
        return BatchItem(image, NO_BOXES, np.zeros(0, np.int64), truth=truth)

    def _make_one(self, index: int, rng: Generator, fetch: Fetch) -> tuple[Floats, Floats]:
        """One image and how much it has of each class."""
        source, side = fetch(index), max(self.size)
        view = draw_view(source.image.shape[:2], side, self.augmentation, rng=rng)
        image = crop_view(source.image, view, side)
        if self.augmentation.flip and rng.integers(2):
            image = image[:, ::-1]
        hue, saturation, exposure = self.augmentation.color_ranges
        shade = ColorJitter(
            float(rng.uniform(-hue, hue)), random_factor(saturation, rng), random_factor(exposure, rng)
        )
        image = distort_colors(image, shade)
        if image.shape[:2] != self.size:
            image = resize_darknet(image, self.size).transpose(1, 2, 0)
        return image, smooth_truth(self.classes_of(index), self.classes, self.augmentation.smoothing)

    def _blur(self, image: Floats, rng: Generator) -> Floats:
        kernel = self.augmentation.blur
        if not kernel or rng.integers(BLUR_CHANCE):
            return image
        odd = (USUAL_KERNEL if kernel == 1 else kernel) // 2 * 2 + 1
        whole = np.asarray((image * 255).round(), np.uint8)
        return blur_image(whole, odd).astype(np.float32) / np.float32(255)


def smooth_truth(present: Integers, classes: int, smoothing: float) -> Floats:
    """[K]: 1 for the classes that are present, 0 for the others; smoothed, as fill_truth_smooth does."""
    truth = np.full(classes, smoothing / max(classes - 1, 1), np.float32)
    truth[present] = 1 - smoothing
    return truth


def mix_equally(images: Sequence[Floats], truths: Sequence[Floats], rng: Generator) -> tuple[Floats, Floats]:
    """The means of two images and of what they have."""
    half = np.float32(0.5)
    return (images[0] + images[1]) * half, (truths[0] + truths[1]) * half


def paste_part(images: Sequence[Floats], truths: Sequence[Floats], rng: Generator) -> tuple[Floats, Floats]:
    """The first image with a rectangle of the second at its place, and what they have by area."""
    height, width = images[0].shape[:2]
    (cut_h, y), (cut_w, x) = (_draw_cut(side, rng) for side in (height, width))
    share: np.float32 = np.float32(cut_w * cut_h / (width * height))
    image = images[0].copy()
    image[y : y + cut_h, x : x + cut_w] = images[1][y : y + cut_h, x : x + cut_w]
    return image, truths[0] * (1 - share) + truths[1] * share


def _draw_cut(side: int, rng: Generator) -> tuple[int, int]:
    """Length and start of the part that is pasted."""
    low, high = (int(side * share) for share in CUT_SIDES)
    length = int(rng.integers(low, high, endpoint=True))
    return length, int(rng.integers(max(1, side - length)))


def join_quarters(
    images: Sequence[Floats], truths: Sequence[Floats], rng: Generator
) -> tuple[Floats, Floats]:
    """Four images that meet at a point, each at its place, and what they have by area."""
    height, width = images[0].shape[:2]
    y, x = (
        int(rng.integers(int(side * MOSAIC_MARGIN), int(side * (1 - MOSAIC_MARGIN)), endpoint=True))
        for side in (height, width)
    )
    image, truth = np.empty_like(images[0]), np.zeros_like(truths[0])
    for number, (part, has) in enumerate(zip(images, truths, strict=True)):
        rows = slice(y, None) if number > 1 else slice(y)
        columns = slice(x, None) if number % 2 else slice(x)
        image[rows, columns] = part[rows, columns]
        truth += has * np.float32(image[rows, columns, 0].size / (height * width))
    return image, truth


MIXERS = {MIXUP: mix_equally, CUTMIX: paste_part, MOSAIC: join_quarters}
