"""YOLOR's augmentation: mosaics of 4 or 9 images, a random affine map, mixup, colour jitter, flips.

Legend: B boxes, H W size of the input. Every random function takes its generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.augment.color import COLOR_CHANNELS, apply_luts, blend_images, yolor_luts
from yolor_cfg.data.augment.geometry import (
    BoxArray,
    Scene,
    WarpMatrix,
    find_patch,
    flip_scene,
    gray_canvas,
    merge_scenes,
    paste_scene,
    to_scene,
    warp_boxes,
    warp_image,
)
from yolor_cfg.data.types import BatchItem, Fetch, LabeledImage
from yolor_cfg.errors import DataError, describe
from yolor_cfg.images.types import Size
from yolor_cfg.lang.keys import DECIMAL_PATTERN, suggest_word

Generator = np.random.Generator
NINE = 9
MIXUP_SHAPE = 8.0
LEAST_SIDE, LEAST_PART, MOST_ASPECT = 2, 0.1, 20
TINY = 1e-16


class YolorHyperparameters(NamedTuple):
    """The hyperparameters of YOLOR's hyp files, by the same names; those unused here are for the training
    loop; `label` and `identity`, which are ours, are the weights of heads that classify images, and of
    embeddings. Ranges are +-: degrees for
    rotation and shear, fractions of the input for translate, fractions of 1 for scale and hsv; mosaic,
    mixup and the flips are probabilities."""

    lr0: float = 0.01
    lrf: float = 0.2
    warmup_epochs: float = 3.0
    warmup_momentum: float = 0.8
    warmup_bias_lr: float = 0.1
    momentum: float = 0.937
    weight_decay: float = 0.0005
    box: float = 0.05
    cls: float = 0.5
    cls_pw: float = 1.0
    obj: float = 1.0
    obj_pw: float = 1.0
    label: float = 0.1
    identity: float = 0.1
    iou_t: float = 0.2
    anchor_t: float = 4.0
    fl_gamma: float = 0.0
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.5
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    mosaic: float = 1.0
    mixup: float = 0.0


SCRATCH_1280 = YolorHyperparameters()
SMALL = SCRATCH_1280._replace(
    lr0=0.003,
    lrf=0.02,
    warmup_epochs=1.0,
    warmup_bias_lr=0.003,
    weight_decay=0.05,
    box=0.1,
    cls=4.0,
    translate=0.1,
    scale=0.3,
    mosaic=0.5,
    hsv_s=0.4,
    hsv_v=0.3,
)
HYP_PRESETS: Mapping[str, YolorHyperparameters] = {
    "scratch640": YolorHyperparameters(cls=0.3, obj=0.7, translate=0.1, scale=0.9),
    "scratch1280": SCRATCH_1280,
    "finetune1280": SCRATCH_1280._replace(scale=0.8, mixup=0.2),
    "paper": SCRATCH_1280._replace(translate=0.1),
    # Of Zhongdao/Towards-Realtime-MOT; there sizes are scaled by 0.5 to 1.2.
    "jde": SCRATCH_1280._replace(
        momentum=0.9,
        weight_decay=0.0001,
        hsv_h=0.0,
        hsv_s=0.5,
        hsv_v=0.5,
        degrees=5.0,
        translate=0.1,
        scale=0.35,
        shear=2.0,
        mosaic=0.0,
    ),
    # Ours: for training from scratch on a few hundred images of a few classes with --optimizer adamw.
    "small": SMALL,
    # Ours: for a few hundred numbers that learn alone, with --optimizer adamw: a factor that has to change
    # its sign needs steps of its own size, and cannot learn images by heart.
    "task": SMALL._replace(lr0=0.1, warmup_epochs=0.0, warmup_bias_lr=0.1, weight_decay=0.0, mosaic=0.0),
}


class Bounds(NamedTuple):
    """What a hyperparameter may be; with `is_open` none of the two ends."""

    least: float
    most: float = math.inf
    is_open: bool = False

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, float) or not math.isfinite(number):
            return False
        return self.least < number < self.most if self.is_open else self.least <= number <= self.most

    @property
    def text(self) -> str:
        """The bounds in words."""
        if self.most == math.inf:
            return f"more than {self.least:g}" if self.is_open else f"{self.least:g} or more"
        return f"{self.least:g} to {self.most:g}" + (", without both" if self.is_open else "")


FRACTION, POSITIVE, NOT_NEGATIVE = Bounds(0, 1), Bounds(0, is_open=True), Bounds(0)
HYP_BOUNDS: Mapping[str, Bounds] = {
    **dict.fromkeys(YolorHyperparameters._fields, FRACTION),
    **dict.fromkeys(("warmup_epochs", "box", "cls", "obj", "label", "identity", "fl_gamma"), NOT_NEGATIVE),
    **dict.fromkeys(("cls_pw", "obj_pw"), POSITIVE),
    "momentum": Bounds(0, 0.9999),
    "warmup_momentum": Bounds(0, 0.9999),
    "lr0": Bounds(0, 1, is_open=True),
    "anchor_t": Bounds(1, is_open=True),  # at 1 no anchor fits any box
    "degrees": Bounds(0, 360),
    "shear": Bounds(0, 89),
    "perspective": Bounds(0, 0.01),
}
FOREIGN_NAMES = frozenset(
    "anchors auto_augment bgr copy_paste copy_paste_mode crop_fraction cutmix dfl erasing giou kobj "
    "label_smoothing loss_ota nbs paste_in pose".split()
)
"""In the hyp files of YOLOv5 and its successors; nothing here reads them."""


def parse_hyperparameters(values: Mapping[str, object], path: str = "") -> YolorHyperparameters:
    """The hyperparameters of a parsed hyp file; missing ones are as in scratch1280."""
    unknown = [name for name in values if name not in HYP_BOUNDS and name not in FOREIGN_NAMES]
    if unknown:
        raise DataError(
            "unknown hyperparameter",
            path=path,
            found=", ".join(unknown),
            allowed=sorted(HYP_BOUNDS),
            hint=suggest_word(unknown[0], sorted(HYP_BOUNDS)),
        )
    numbers: dict[str, float] = {}
    for name, bounds in HYP_BOUNDS.items():
        if name in values:
            number = _read_number(values[name])
            if number is None or number not in bounds:
                message = "not a number" if number is None else "out of bounds"
                raise DataError(
                    message, path=path, key=name, found=describe(values[name]), allowed=bounds.text
                )
            numbers[name] = number
    return YolorHyperparameters(**numbers)


def _read_number(value: object) -> float | None:
    """YAML 1.1 takes 1e-3 for text, since it has no point: here it is the number that people mean."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not DECIMAL_PATTERN.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class YolorTransform:
    """Makes the training items from `count` images; a mosaic has `tiles` images, 4 or 9.

    A rectangular input can have mosaics too; for YOLOR's rectangular batches set mosaic=0.
    """

    hyp: YolorHyperparameters
    size: Size
    count: int
    tiles: int = 4

    def replace_size(self, size: Size) -> YolorTransform:
        """The same transform for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: Generator, fetch: Fetch) -> BatchItem:
        hyp = self.hyp
        if rng.random() < hyp.mosaic:
            scene = self.mosaic(index, rng, fetch)
            if rng.random() < hyp.mixup:
                other = self.mosaic(int(rng.integers(self.count)), rng, fetch)
                scene = mixup_scenes(scene, other, ratio=float(rng.beta(MIXUP_SHAPE, MIXUP_SHAPE)))
        else:
            scene = random_affine(letterbox_scene(fetch(index), self.size), hyp, size=self.size, rng=rng)
        return random_flip(augment_hsv(scene, hyp, rng), hyp, rng).to_item()

    def mosaic(self, index: int, rng: Generator, fetch: Fetch) -> Scene:
        """Image `index` and random others on a canvas twice as large, then warped to the input size."""
        others = rng.integers(self.count, size=self.tiles - 1).tolist()
        sources = [fetch(number) for number in (index, *others)]
        make = mosaic9 if self.tiles == NINE else mosaic4
        return random_affine(make(sources, self.size, rng), self.hyp, size=self.size, rng=rng)


def fit_scene(source: LabeledImage, size: Size) -> Scene:
    """The image scaled to fit `size`, in whole pixels rounded down."""
    height, width = source.image.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    return to_scene(source, (max(1, int(height * ratio)), max(1, int(width * ratio))))


def letterbox_scene(source: LabeledImage, size: Size) -> Scene:
    """The image scaled to fit, centred on grey; if the padding is odd, its larger half is right or bottom.

    As in YOLOR, the boxes are shifted by the unrounded half of the padding.
    """
    scene = fit_scene(source, size)
    top, left = ((whole - part) / 2 for whole, part in zip(size, scene.size, strict=True))
    canvas = gray_canvas(size, scene.image.shape[2])
    patch = find_patch(scene, (round(left - 0.1), round(top - 0.1)), size)
    boxes = scene.boxes_xyxy + (left, top, left, top)
    return paste_scene(canvas, scene, patch)._replace(boxes_xyxy=boxes)


def mosaic4(sources: Sequence[LabeledImage], size: Size, rng: Generator) -> Scene:
    """Four images, in reading order, that meet at a point in the middle half of a grey canvas [2H, 2W].

    Boxes are clipped to the canvas, not to their tile: no image overlaps another.
    """
    height, width = size
    y, x = int(rng.uniform(height / 2, height * 3 / 2)), int(rng.uniform(width / 2, width * 3 / 2))
    canvas = gray_canvas((2 * height, 2 * width), sources[0].image.shape[2])
    scenes = []
    for place, source in enumerate(sources):
        scene = fit_scene(source, size)
        below, after = divmod(place, 2)
        origin = x if after else x - scene.size[1], y if below else y - scene.size[0]
        scenes.append(paste_scene(canvas, scene, find_patch(scene, origin, (2 * height, 2 * width))))
    return clip_scene(merge_scenes(canvas, scenes))


def mosaic9(sources: Sequence[LabeledImage], size: Size, rng: Generator) -> Scene:
    """One image with eight around it on a canvas [3H, 3W], cropped to a random part [2H, 2W].

    As in YOLOR, each image is placed next to the one before, clockwise from the top, so later ones may cover
    earlier ones, whose boxes are kept.
    """
    height, width = size
    scenes = [fit_scene(source, size) for source in sources]
    canvas = gray_canvas((3 * height, 3 * width), scenes[0].image.shape[2])
    placed = [
        paste_scene(canvas, scene, find_patch(scene, origin, (3 * height, 3 * width)))
        for scene, origin in zip(scenes, mosaic9_origins(scenes, size), strict=True)
    ]
    y, x = int(rng.uniform(0, height)), int(rng.uniform(0, width))
    window = canvas[y : y + 2 * height, x : x + 2 * width]
    whole = merge_scenes(window, placed)
    return clip_scene(whole._replace(boxes_xyxy=whole.boxes_xyxy - (x, y, x, y)))


def mosaic9_origins(scenes: Sequence[Scene], size: Size) -> Iterator[tuple[int, int]]:
    """Left, top of the nine images: the first at W, H; then top, top right, right and so on around it."""
    (top, left), (h0, w0) = size, scenes[0].size
    bottom, right = top + h0, left + w0
    yield left, top
    hp, wp = h0, w0
    for place, (h, w) in enumerate(scene.size for scene in scenes[1:]):
        yield (
            (left, top - h),
            (left + wp, top - h),
            (right, top),
            (right, top + hp),
            (right - w, bottom),
            (right - wp - w, bottom),
            (left - w, bottom - h),
            (left - w, bottom - hp - h),
        )[place]
        hp, wp = h, w


def clip_scene(scene: Scene) -> Scene:
    """Boxes clipped to the image; those outside become empty."""
    height, width = scene.size
    return scene._replace(boxes_xyxy=scene.boxes_xyxy.clip(0, (width, height, width, height)))


def random_affine(scene: Scene, hyp: YolorHyperparameters, *, size: Size, rng: Generator) -> Scene:
    """The image scaled, rotated, sheared and translated about its centre, cropped to `size`."""
    matrix, scale = affine_matrix(scene.size, size, hyp, rng=rng)
    image = warp_image(scene.image, matrix, size)
    boxes = warp_boxes(scene.boxes_xyxy, matrix).clip(0, (size[1], size[0], size[1], size[0]))
    kept = box_candidates(scene.boxes_xyxy * scale, boxes)
    who = None if scene.identities is None else scene.identities[kept]
    return Scene(image, boxes[kept], scene.classes[kept], who)


def affine_matrix(
    source: Size, size: Size, hyp: YolorHyperparameters, *, rng: Generator
) -> tuple[WarpMatrix, float]:
    """The matrix [3, 3] from canvas pixels to input pixels, and its scale.

    Applied in the order: centre to the origin, perspective, rotation with scale, shear, translation.
    """
    centre, perspective, rotation, shear, translation = (np.eye(3) for _ in range(5))
    centre[:2, 2] = -source[1] / 2, -source[0] / 2
    perspective[2, :2] = rng.uniform(-hyp.perspective, hyp.perspective, 2)
    angle = math.radians(rng.uniform(-hyp.degrees, hyp.degrees))
    scale = float(rng.uniform(1 - hyp.scale, 1 + hyp.scale))
    along, across = scale * math.cos(angle), scale * math.sin(angle)
    rotation[:2, :2] = (along, across), (-across, along)  # counter-clockwise, as y points down
    shear[0, 1], shear[1, 0] = np.tan(np.radians(rng.uniform(-hyp.shear, hyp.shear, 2)))
    shares = rng.uniform(0.5 - hyp.translate, 0.5 + hyp.translate, 2)
    translation[:2, 2] = shares * (size[1], size[0])
    return translation @ shear @ rotation @ perspective @ centre, scale


def box_candidates(before_xyxy: BoxArray, after_xyxy: BoxArray) -> NDArray[np.bool_]:
    """Which boxes to keep [B]: wider and higher than 2 pixels, more than a tenth of their former area, and an
    aspect ratio below 20."""
    (w, h), (w0, h0) = ((boxes[:, 2:] - boxes[:, :2]).T for boxes in (after_xyxy, before_xyxy))
    aspect = np.maximum(w / (h + TINY), h / (w + TINY))
    seen = w * h / (w0 * h0 + TINY) > LEAST_PART
    return np.asarray((w > LEAST_SIDE) & (h > LEAST_SIDE) & seen & (aspect < MOST_ASPECT))


def mixup_scenes(first: Scene, second: Scene, *, ratio: float) -> Scene:
    """Two images of the same size blended, with the boxes of both."""
    return merge_scenes(blend_images(first.image, second.image, ratio), (first, second))


def augment_hsv(scene: Scene, hyp: YolorHyperparameters, rng: Generator) -> Scene:
    """Hue, saturation and value scaled by random factors; images that are not RGB are left alone."""
    ranges = hyp.hsv_h, hyp.hsv_s, hyp.hsv_v
    gains = rng.uniform(-1, 1, 3) * ranges + 1
    if scene.image.shape[2] != COLOR_CHANNELS or not any(ranges):
        return scene
    return scene._replace(image=apply_luts(scene.image, yolor_luts(gains.tolist())))


def random_flip(scene: Scene, hyp: YolorHyperparameters, rng: Generator) -> Scene:
    """Flipped vertically and horizontally, each with its probability."""
    for axis, chance in ((0, hyp.flipud), (1, hyp.fliplr)):
        if rng.random() < chance:
            scene = flip_scene(scene, axis=axis)
    return scene
