"""How often `yolor data duplicates` finds a changed image, and how often it takes two images for one.

`python tools/duplicate_rates.py --count 1000` draws images, changes each in every way, compares the changed
with the original, and the originals with each other; it prints a table in Markdown. `--images FOLDER` takes
images of yours. `--scale N` measures the time for N drawn images instead.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from yolor_cfg.data.duplicates.links import link_images
from yolor_cfg.data.duplicates.prints import ImagePrints, make_thumbnail, read_prints
from yolor_cfg.data.shapes import KINDS, MIXED
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.images.read import read_image
from yolor_cfg.images.types import Image

ImageChange = Callable[[Image, np.random.Generator], Image]
SIZE = (192, 256)


def recompress(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def shrink(image: Image, gain: float) -> Image:
    small = cv2.resize(image, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def crop(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Without this share of the height and of the width, somewhere at the borders."""
    height, width = image.shape[:2]
    top, left = (rng.random(2) * share * (height, width)).astype(int)
    rows, columns = round(height * (1 - share)), round(width * (1 - share))
    return np.asarray(image[top : top + rows, left : left + columns], np.uint8)


def scale_values(image: Image, gain: float) -> Image:
    return np.asarray(np.clip(image * gain, 0, 255), np.uint8)


CHANGES: dict[str, ImageChange] = {
    "half the size": lambda image, rng: shrink(image, 0.5),
    "a quarter of the size": lambda image, rng: shrink(image, 0.25),
    "stretched to a square": lambda image, rng: np.asarray(cv2.resize(image, (416, 416)), np.uint8),
    "JPEG quality 95": lambda image, rng: recompress(image, 95),
    "JPEG quality 60": lambda image, rng: recompress(image, 60),
    "JPEG quality 30": lambda image, rng: recompress(image, 30),
    "20 % brighter": lambda image, rng: scale_values(image, 1.2),
    "30 % darker": lambda image, rng: scale_values(image, 0.7),
    "grey": lambda image, rng: np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2),
    "2 % cut off": lambda image, rng: crop(image, 0.02, rng),
    "5 % cut off": lambda image, rng: crop(image, 0.05, rng),
    "10 % cut off": lambda image, rng: crop(image, 0.10, rng),
    "5 % cut off, half the size, JPEG 50": lambda image, rng: recompress(
        shrink(crop(image, 0.05, rng), 0.5), 50
    ),
    "mirrored": lambda image, rng: image[:, ::-1],
    "mirrored, 2 % cut off": lambda image, rng: crop(image[:, ::-1], 0.02, rng),
}


def make_prints(images: Sequence[Image]) -> ImagePrints:
    """As they would be read from files of their own."""
    greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8) for image in images]
    return ImagePrints(
        [bytes([i >> 8 & 255, i & 255]) for i in range(len(images))], np.stack([*map(make_thumbnail, greys)])
    )


def find_rate(images: Sequence[Image], change: ImageChange) -> tuple[float, int]:
    """The share of the images whose changed copy is in their group, and the groups with different images."""
    rng = np.random.default_rng(0)
    prints = make_prints([*images, *(np.ascontiguousarray(change(image, rng)) for image in images)])
    count = len(images)
    linked = link_images([f"{number}" for number in range(2 * count)], prints)
    right = (linked.groups[:count] == linked.groups[count:]).mean()
    mixed = sum(len({number % count for number in group}) > 1 for group in linked.members())
    return float(right), mixed


def draw_images(folder: Path, kind: str, count: int) -> list[str]:
    write_shapes(folder / kind, ShapesOptions(count, SIZE, KINDS.get(kind, MIXED)), seed=11)
    return sorted(str(path) for path in (folder / kind).rglob("*.jpg"))


def measure_scale(count: int) -> None:
    """Print how long reading and comparing takes."""
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_images(Path(folder), "mixed", count)
        start = time.perf_counter()
        prints = read_prints(paths)
        middle = time.perf_counter()
        linked = link_images(paths, prints)
        end = time.perf_counter()
    times = f"read {middle - start:.1f} s, compared {end - middle:.1f} s"
    print(f"{count:,} images: {times}, {len(linked.links)} links")


def print_table(named: dict[str, list[Image]]) -> None:
    print("| change | " + " | ".join(f"{name} ({len(images):,})" for name, images in named.items()) + " |")
    print("|---|" + "---:|" * len(named))
    for words, change in CHANGES.items():
        rates = [find_rate(images, change) for images in named.values()]
        cells = (f"{found:.1%}" + (f", {mixed} wrong" if mixed else "") for found, mixed in rates)
        print(f"| {words} | " + " | ".join(cells) + " |", flush=True)
    for name, images in named.items():
        linked = link_images([str(number) for number in range(len(images))], make_prints(images))
        pairs = len(images) * (len(images) - 1) // 2
        print(f"\n{name}: {len(linked.links)} links in {pairs:,} pairs of different images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--images", type=Path, action="append", default=[])
    parser.add_argument("--scale", type=int)
    options = parser.parse_args()
    if options.scale:
        measure_scale(options.scale)
        return
    print_table(collect_images(options.count, options.images))


def collect_images(count: int, places: Sequence[Path]) -> dict[str, list[Image]]:
    """Drawn images and those of folders, BGR, by name."""
    named = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("mixed", "coloured"):
            paths = draw_images(Path(folder), kind, count)
            named[f"drawn, {kind}"] = [np.ascontiguousarray(read_image(path)[..., ::-1]) for path in paths]
    for place in places:
        paths = sorted(str(path) for path in place.rglob("*.jpg"))
        named[place.name] = [np.ascontiguousarray(read_image(path)[..., ::-1]) for path in paths]
    return named


if __name__ == "__main__":
    main()
