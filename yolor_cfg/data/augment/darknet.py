"""C Darknet's augmentation for detectors, from the keys of [net] and of the last head.

`jitter`, `resize`, `letter_box`, `flip`, `hue`, `saturation`, `exposure`, `blur`, `gaussian_noise`, `mixup`,
`mosaic`, `mosaic_bound` and `max` work as in load_data_detection built with OpenCV. `cutmix`, `angle` and
`aspect` have no effect there either: they are for classifiers.

Legend: B boxes, H W size of the input, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from yolor_cfg.data.augment.color import (
    ColorJitter,
    add_noise,
    blend_equally,
    blur_background,
    blur_image,
    jitter_color,
)
from yolor_cfg.data.augment.darknet_boxes import (
    BoxLabels,
    CropView,
    concat_labels,
    crop_labels,
    integer_corners,
    least_side,
    mosaic_labels,
    shuffle_labels,
)
from yolor_cfg.data.augment.darknet_crop import (
    Chances,
    CropRules,
    Margins,
    compute_margins,
    find_quarter,
    lerp,
    mosaic_padding,
)
from yolor_cfg.data.augment.geometry import apply_by_channels, crop_image, resize_bilinear
from yolor_cfg.data.augment.sizes import USUAL_FACTOR, RandomSizes
from yolor_cfg.data.types import BatchItem, Fetch, LabeledImage
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.images.types import Image, Size
from yolor_cfg.sections.net import NetSection

Generator = np.random.Generator
MIXUP, CUTMIX, MOSAIC, CUTMIX_AND_MOSAIC = 1, 2, 3, 4
DETECTOR_MIXING = {CUTMIX: 0, CUTMIX_AND_MOSAIC: MOSAIC}
"""What the kinds with cutmix become for a detector."""
BLUR_BACKGROUND = 1
"""The blur that spares objects; larger numbers are kernel sizes."""
BLUR_PART = 8
"""A kernel is at most the shortest side of any object divided by this."""
FULL_WINDOW = slice(None), slice(None)


class DarknetAugmentation(NamedTuple):
    """The augmentation settings of a cfg. `mixing`: 0, MIXUP or MOSAIC; `most`: the most boxes per item."""

    crop: CropRules = CropRules()
    color_ranges: ColorJitter = ColorJitter()
    flip: bool = True
    blur: int = 0
    gaussian_noise: int = 0
    mixing: int = 0
    mosaic_bound: bool = False
    most: int = 200


def read_augmentation(graph: Graph) -> DarknetAugmentation:
    """The augmentation of a cfg; as in C Darknet, `jitter`, `resize` and `max` are those of its last head."""
    net, head = graph.net, last_head(graph)
    if head.resize <= 0:
        raise head.error("resize", "must be above 0", found=f"{head.resize:g}", hint="1 means no zoom")
    kind = mixing_kind(net)
    return DarknetAugmentation(
        crop=CropRules(head.jitter, head.resize, net.letter_box),
        color_ranges=ColorJitter(net.hue, net.saturation or 1.0, net.exposure or 1.0),
        flip=net.flip,
        blur=net.blur,
        gaussian_noise=net.gaussian_noise,
        mixing=DETECTOR_MIXING.get(kind, kind),
        mosaic_bound=net.mosaic_bound,
        most=head.max,
    )


def mixing_kind(net: NetSection) -> int:
    """How images are mixed, by `mosaic` and `cutmix`, else by `mixup`."""
    told = {(True, True): CUTMIX_AND_MOSAIC, (False, True): CUTMIX, (True, False): MOSAIC}
    return told.get((net.mosaic, net.cutmix), net.mixup)


def read_random_sizes(graph: Graph, *, subdivisions: int = 1, seed: int = 0) -> RandomSizes | None:
    """The random input sizes that the last head asks for; None if the size is fixed."""
    net, chance = graph.net, float(last_head(graph).random)
    if not chance:
        return None
    size = graph.image.height, graph.image.width
    return RandomSizes(
        size, USUAL_FACTOR if chance == 1 else chance, net.resize_step, net.max_batches, subdivisions, seed
    )


def last_head(graph: Graph) -> Any:
    """The head whose keys set the augmentation."""
    heads = [node.section for node in graph.heads if hasattr(node.section, "jitter")]
    if not heads:
        raise CfgError("no head that can be trained on boxes", path=graph.path)
    return heads[-1]


class AugmentParams(NamedTuple):
    """All random choices for one image, except its place in a mosaic."""

    chances: Chances
    flip: bool
    color: ColorJitter
    blur: int
    noise: int


def draw_params(augmentation: DarknetAugmentation, rng: Generator) -> AugmentParams:
    """Flip and noise have probability 1/2; no blur, background blur and `blur` have 1/3 each."""
    left, right, top, bottom, first, last = rng.random(6).tolist()
    flip = augmentation.flip and bool(rng.integers(2))
    hue, saturation, exposure = augmentation.color_ranges
    shade = ColorJitter(
        lerp(-hue, hue, rng.random()), random_factor(saturation, rng), random_factor(exposure, rng)
    )
    blur = (0, BLUR_BACKGROUND, augmentation.blur)[rng.integers(3)] if augmentation.blur > 0 else 0
    noise = augmentation.gaussian_noise if augmentation.gaussian_noise and rng.integers(2) else 0
    return AugmentParams(Chances((left, right, top, bottom), (first, last)), flip, shade, blur, noise)


def random_factor(most: float, rng: Generator) -> float:
    """A number between 1 and `most`, or, with probability 1/2, its reciprocal."""
    number = lerp(1.0, most, rng.random())
    return number if rng.integers(2) else 1 / number


class Tile(NamedTuple):
    """A cropped image [H, W, C] at the input size, its labels, the parameters of the changes still to be
    made, and its padding in pixels of the input (left, top, right, bottom)."""

    image: Image
    labels: BoxLabels
    params: AugmentParams
    padding: tuple[int, int, int, int]


@dataclass(frozen=True)
class DarknetTransform:
    """Makes the training items from `count` images; even with mixing, half of them are single images."""

    augmentation: DarknetAugmentation
    size: Size
    count: int

    def replace_size(self, size: Size) -> DarknetTransform:
        """The same transform for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: Generator, fetch: Fetch) -> BatchItem:
        mixing = self.augmentation.mixing if rng.integers(2) else 0
        if mixing == MOSAIC:
            return self._make_mosaic([index, *rng.integers(self.count, size=3).tolist()], rng, fetch)
        tile = self._make_tile(fetch(index), rng)
        image, labels = finish_tile(tile, rng), tile.labels
        if mixing == MIXUP:
            other = self._make_tile(fetch(int(rng.integers(self.count))), rng)
            image = blend_equally(image, finish_tile(other, rng))
            labels = concat_labels((labels, other.labels), self.augmentation.most)
        return labels.to_item(image)

    def _make_mosaic(self, indices: list[int], rng: Generator, fetch: Fetch) -> BatchItem:
        """Four images, each with its own crop and colours, that meet between 0.2 and 0.8 of the sides."""
        height, width = self.size
        x, y = (int(rng.integers(side // 5, 4 * side // 5, endpoint=True)) for side in (width, height))
        sources = [fetch(index) for index in indices]
        canvas = np.empty((*self.size, sources[0].image.shape[2]), np.uint8)
        parts = []
        for place, source in enumerate(sources):
            tile = self._make_tile(source, rng, place=place)
            part = find_quarter(place, (x, y), spare=tile.padding, size=self.size)
            (left, top, right, bottom), (from_x, from_y) = part
            window = slice(from_y, from_y + bottom - top), slice(from_x, from_x + right - left)
            canvas[top:bottom, left:right] = finish_tile(tile, rng, window)
            parts.append(
                mosaic_labels(tile.labels, part, size=self.size, bound=self.augmentation.mosaic_bound)
            )
        return concat_labels(parts, self.augmentation.most).to_item(canvas)

    def _make_tile(self, source: LabeledImage, rng: Generator, *, place: int | None = None) -> Tile:
        """One image cropped, scaled and perhaps flipped; `place` is its quarter of a mosaic."""
        drawn, image_size = draw_params(self.augmentation, rng), source.image.shape[:2]
        cuts = compute_margins(image_size, self.size, self.augmentation.crop, chances=drawn.chances)
        if place is not None and rng.integers(2) == 0:
            cuts = cuts.shift_for_mosaic(place, flip=drawn.flip)
        shown = CropView(cuts.area(image_size), drawn.flip, self.size)
        labels = crop_labels(shuffle_labels(source, self.augmentation.most, rng), image_size, shown)
        image = resize_bilinear(crop_image(source.image, shown.area), self.size)
        if drawn.flip:
            image = apply_by_channels(image, lambda part: cv2.flip(part, 1))
        seen: Margins = cuts.flip() if drawn.flip else cuts
        if drawn.blur > BLUR_BACKGROUND:
            drawn = drawn._replace(blur=min(drawn.blur, least_side(labels, self.size) // BLUR_PART))
        return Tile(image, labels, drawn, mosaic_padding(seen, image_size, self.size))


def finish_tile(tile: Tile, rng: Generator, window: tuple[slice, slice] = FULL_WINDOW) -> Image:
    """The window of a tile after colour jitter, blur and noise, in this order."""
    drawn = tile.params
    if not drawn.blur:
        image = jitter_color(tile.image[window], drawn.color)
    else:
        image = blur_tile(jitter_color(tile.image, drawn.color), tile.labels, drawn.blur)[window]
    return add_noise(image, drawn.noise, rng) if drawn.noise else image


def blur_tile(image: Image, labels: BoxLabels, blur: int) -> Image:
    """The image blurred as a whole, or only outside the boxes."""
    if blur > BLUR_BACKGROUND:
        return blur_image(image, blur // 2 * 2 + 1)
    height, width = image.shape[:2]
    corners = integer_corners(labels.boxes_xywh, (height, width))
    extent = (labels.boxes_xywh[:, 2:] * (width, height)).astype(np.int64)
    return blur_background(image, np.concatenate([corners[:, :2], corners[:, :2] + extent], axis=1))
