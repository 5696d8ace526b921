"""Images of a page: sized down, kept inside it, and limited in number and in bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolor_cfg.errors import YolorError
from yolor_cfg.images.read import read_image
from yolor_cfg.images.types import Image
from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.boxes import draw_boxes

MOST_BYTES = 3_000_000
"""Of all images of a page, as they are written in it: no page has more than 5 MB."""
PHOTO_SIDE, SHEET_SIDE = 480, 1200
DRAWN_SIDE = 340
"""The longer side of an image with boxes, in units of the drawing: captions are as large on each."""
QUALITY = 78


class Album:
    """The images of a page, `most` bytes of them. `folders` are where the paths of images may start from."""

    def __init__(self, folders: Sequence[Path], most: int | None = None) -> None:
        self.folders, self.bytes, self.left_out = folders, 0, 0
        self.most = MOST_BYTES if most is None else most

    def embed(self, path: str, side: int) -> tuple[str, tuple[int, int]] | None:
        """The image as a data: address, and its width and height there; None where it cannot be read, or
        where the page is full."""
        place = self._find(path)
        if place is None or self.bytes >= self.most:
            self.left_out += place is not None
            return None
        try:
            small = shrink(read_image(place), side)
        except YolorError:
            return None
        _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        text = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        if self.bytes + len(text) > self.most:
            self.left_out += 1
            return None
        self.bytes += len(text)
        return text, (small.shape[1], small.shape[0])

    def _find(self, path: str) -> Path | None:
        places = [*(folder / path for folder in self.folders), Path(path)]
        return next((place for place in places if place.is_file()), None)


def shrink(image: Image, side: int) -> Image:
    """The image [H, W, 3] with no side longer than `side`."""
    height, width = image.shape[:2]
    gain = min(1.0, side / max(height, width))
    size = max(1, round(width * gain)), max(1, round(height * gain))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA) if gain < 1 else image, np.uint8)


def show_sheet(album: Album, path: Path) -> str:
    """A sheet of images as it is; nothing where it is not there."""
    found = album.embed(str(path), SHEET_SIDE)
    if found is None:
        return ""
    address, (width, height) = found
    picture = wrap("img", src=address, width=width, height=height, alt=path.name)
    return wrap("figure", picture + wrap("figcaption", plain(path.name)), class_="sheet")


def show_judged(album: Album, image: Mapping[str, Any], names: Sequence[str]) -> str:
    """An image with its true boxes and the detections, each by its verdict; without the image, its boxes on
    grey ground."""
    height, width = image["size"]
    address, _ = album.embed(str(image["file"]), PHOTO_SIDE) or ("", None)
    scale = DRAWN_SIDE / max(height, width, 1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frame: dict[str, Any] = {"width": size[0], "height": size[1]}
    ground = wrap("image", href=address, **frame) if address else wrap("rect", class_="nothing", **frame)
    boxes = draw_boxes(image, names, scale=scale, size=size)
    drawing = wrap("svg", ground + boxes, viewBox=f"0 0 {size[0]} {size[1]}", role="img")
    return wrap("figure", drawing + _write_caption(image, is_there=bool(address)), class_="judged")


def _write_caption(image: Mapping[str, Any], *, is_there: bool) -> str:
    shown = len(image["truth"]) + len(image["found"])
    more = f"; {shown} of {image['boxes']} boxes" if image.get("boxes", shown) > shown else ""
    lost = "" if is_there else "; the image is not there, or the page is full"
    text = f"{image['right']} right, {image['errors']} errors{more}{lost}"
    return wrap("figcaption", _name_file(image) + wrap("span", plain(text)))


def _name_file(image: Mapping[str, Any]) -> str:
    return wrap("b", plain(Path(str(image["file"])).name))


def show_classified(album: Album, image: Mapping[str, Any], names: Sequence[str]) -> str:
    """An image with its true classes and those that the network gives it."""
    found = album.embed(str(image["file"]), PHOTO_SIDE // 2)
    picture = wrap("img", src=found[0], width=found[1][0], height=found[1][1], alt="") if found else ""
    truth = ", ".join(names[k] for k in image["truth"]) or "no class"
    said = ", ".join(f"{names[k]} {share:.2f}" for k, share in image["found"][:3])
    lines = _name_file(image)
    lines += wrap("span", plain(f"true: {truth}")) + wrap("span", plain(f"said: {said}"))
    return wrap("figure", picture + wrap("figcaption", lines), class_="classified")
