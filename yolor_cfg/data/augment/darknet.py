"""C Darknet's recipe for detectors, from the keys of [net] and of the last head.

`jitter`, `resize`, `letter_box`, `flip`, `hue`, `saturation`, `exposure`, `blur`, `gaussian_noise`, `mixup`,
`mosaic`, `mosaic_bound` and `max` do what they do in load_data_detection built with OpenCV. `cutmix`, `angle`
and `aspect` do nothing there either: they are for classifiers.

Legend: B boxes, H W size of the input, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from yolor_cfg.data.augment.colour import Shade, averaged, blurred, blurred_behind, noisy, shaded
from yolor_cfg.data.augment.darknet_boxes import (
    Labels,
    Shown,
    cropped_labels,
    joined_labels,
    least_side,
    mosaic_labels,
    shuffled,
    whole_corners,
)
from yolor_cfg.data.augment.darknet_crop import (
    Chances,
    CropRules,
    Margins,
    between,
    margins,
    padding,
    quarter,
)
from yolor_cfg.data.augment.geometry import by_channels, cropped, resized
from yolor_cfg.data.augment.sizes import USUAL_FACTOR, RandomSizes
from yolor_cfg.data.types import Fetch, Item, Picture
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.images.types import Image, Size

Generator = np.random.Generator
MIXUP, CUTMIX, MOSAIC, BOTH = 1, 2, 3, 4
USED = {CUTMIX: 0, BOTH: MOSAIC}
"""What a detector makes of the kinds that have cutmix in them."""
BEHIND = 1
"""The blur that spares objects; larger numbers are the sizes of kernels."""
BLUR_PART = 8
"""A kernel is no larger than this part of the shortest side of an object."""
WHOLE = slice(None), slice(None)


class DarknetRecipe(NamedTuple):
    """What the cfg says of augmentation. `mixing` is 0, MIXUP or MOSAIC; `most` boxes fit an input."""

    crop: CropRules = CropRules()
    ranges: Shade = Shade()
    flip: bool = True
    blur: int = 0
    gaussian_noise: int = 0
    mixing: int = 0
    mosaic_bound: bool = False
    most: int = 200


def recipe_of(graph: Graph) -> DarknetRecipe:
    """The recipe of a cfg: `jitter`, `resize` and `max` are those of its last head, as in C Darknet."""
    net, head = graph.net, last_head(graph)
    if head.resize <= 0:
        raise head.error("resize", "not above 0", found=f"{head.resize:g}", hint="1 does not zoom")
    kind = {(True, True): BOTH, (False, True): CUTMIX, (True, False): MOSAIC}.get(
        (net.mosaic, net.cutmix), net.mixup
    )
    return DarknetRecipe(
        crop=CropRules(head.jitter, head.resize, net.letter_box),
        ranges=Shade(net.hue, net.saturation or 1.0, net.exposure or 1.0),
        flip=net.flip,
        blur=net.blur,
        gaussian_noise=net.gaussian_noise,
        mixing=USED.get(kind, kind),
        mosaic_bound=net.mosaic_bound,
        most=head.max,
    )


def sizes_of(graph: Graph, *, parts: int = 1, seed: int = 0) -> RandomSizes | None:
    """The random sizes that the last head asks for; None where they do not change."""
    net, chance = graph.net, float(last_head(graph).random)
    if not chance:
        return None
    size = graph.image.height, graph.image.width
    return RandomSizes(
        size, USUAL_FACTOR if chance == 1 else chance, net.resize_step, net.max_batches, parts, seed
    )


def last_head(graph: Graph) -> Any:
    """The head whose keys say how pictures are varied."""
    heads = [node.section for node in graph.heads if hasattr(node.section, "jitter")]
    if not heads:
        raise CfgError("no head that is trained on boxes", path=graph.path)
    return heads[-1]


class Draw(NamedTuple):
    """All that chance decides about one picture, but where it goes in a mosaic."""

    chances: Chances
    flip: bool
    shade: Shade
    blur: int
    noise: int


def draw(recipe: DarknetRecipe, rng: Generator) -> Draw:
    """Even chances for the flip, for noise, and thirds for no blur, the blur behind objects, `blur`."""
    left, right, top, bottom, first, last = rng.random(6).tolist()
    flip = recipe.flip and bool(rng.integers(2))
    hue, saturation, exposure = recipe.ranges
    shade = Shade(between(-hue, hue, rng.random()), factor(saturation, rng), factor(exposure, rng))
    blur = (0, BEHIND, recipe.blur)[rng.integers(3)] if recipe.blur > 0 else 0
    noise = recipe.gaussian_noise if recipe.gaussian_noise and rng.integers(2) else 0
    return Draw(Chances((left, right, top, bottom), (first, last)), flip, shade, blur, noise)


def factor(most: float, rng: Generator) -> float:
    """A number between 1 and `most`, or as often one divided by it."""
    number = between(1.0, most, rng.random())
    return number if rng.integers(2) else 1 / number


class Tile(NamedTuple):
    """A cropped picture [H, W, C] in the input's size, its labels, what is still to be done to its pixels,
    and its padding in pixels of the input (left, top, right, bottom)."""

    image: Image
    labels: Labels
    draw: Draw
    padding: tuple[int, int, int, int]


@dataclass(frozen=True)
class DarknetTraining:
    """Makes the items of an epoch over `count` pictures: half of them single ones, where the recipe mixes."""

    recipe: DarknetRecipe
    size: Size
    count: int

    def at(self, size: Size) -> DarknetTraining:
        """The same for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: Generator, fetch: Fetch) -> Item:
        mixing = self.recipe.mixing if rng.integers(2) else 0
        if mixing == MOSAIC:
            return self._mosaic([index, *rng.integers(self.count, size=3).tolist()], rng, fetch)
        tile = self._tile(fetch(index), rng)
        image, labels = finished(tile, rng), tile.labels
        if mixing == MIXUP:
            other = self._tile(fetch(int(rng.integers(self.count))), rng)
            image = averaged(image, finished(other, rng))
            labels = joined_labels((labels, other.labels), self.recipe.most)
        return Item(image, *labels)

    def _mosaic(self, indices: list[int], rng: Generator, fetch: Fetch) -> Item:
        """Four pictures, each cropped and coloured for itself, that meet between 0.2 and 0.8 of the sides."""
        height, width = self.size
        x, y = (int(rng.integers(side // 5, 4 * side // 5, endpoint=True)) for side in (width, height))
        pictures = [fetch(index) for index in indices]
        canvas = np.empty((*self.size, pictures[0].image.shape[2]), np.uint8)
        parts = []
        for place, picture in enumerate(pictures):
            tile = self._tile(picture, rng, place=place)
            part = quarter(place, (x, y), spare=tile.padding, size=self.size)
            (left, top, right, bottom), (from_x, from_y) = part
            window = slice(from_y, from_y + bottom - top), slice(from_x, from_x + right - left)
            canvas[top:bottom, left:right] = finished(tile, rng, window)
            parts.append(mosaic_labels(tile.labels, part, size=self.size, bound=self.recipe.mosaic_bound))
        return Item(canvas, *joined_labels(parts, self.recipe.most))

    def _tile(self, picture: Picture, rng: Generator, *, place: int | None = None) -> Tile:
        """One picture cropped, scaled and perhaps mirrored; `place` is its quarter of a mosaic."""
        drawn, image_size = draw(self.recipe, rng), picture.image.shape[:2]
        cuts = margins(image_size, self.size, self.recipe.crop, chances=drawn.chances)
        if place is not None and rng.integers(2) == 0:
            cuts = cuts.gathered(place, mirrored=drawn.flip)
        shown = Shown(cuts.area(image_size), drawn.flip, self.size)
        labels = cropped_labels(shuffled(picture, self.recipe.most, rng), image_size, shown)
        image = resized(cropped(picture.image, shown.area), self.size)
        if drawn.flip:
            image = by_channels(image, lambda part: cv2.flip(part, 1))
        seen: Margins = cuts.mirrored() if drawn.flip else cuts
        if drawn.blur > BEHIND:
            drawn = drawn._replace(blur=min(drawn.blur, least_side(labels, self.size) // BLUR_PART))
        return Tile(image, labels, drawn, padding(seen, image_size, self.size))


def finished(tile: Tile, rng: Generator, window: tuple[slice, slice] = WHOLE) -> Image:
    """The window of a tile with its colours changed, then blurred, then noisy."""
    drawn = tile.draw
    if not drawn.blur:
        image = shaded(tile.image[window], drawn.shade)
    else:
        image = softened(shaded(tile.image, drawn.shade), tile.labels, drawn.blur)[window]
    return noisy(image, drawn.noise, rng) if drawn.noise else image


def softened(image: Image, labels: Labels, blur: int) -> Image:
    """Blurred behind the boxes, or all of it."""
    if blur > BEHIND:
        return blurred(image, blur // 2 * 2 + 1)
    height, width = image.shape[:2]
    corners = whole_corners(labels.boxes_xywh, (height, width))
    extent = (labels.boxes_xywh[:, 2:] * (width, height)).astype(np.int64)
    return blurred_behind(image, np.concatenate([corners[:, :2], corners[:, :2] + extent], axis=1))
