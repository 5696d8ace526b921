"""A sheet of many small pictures in one file: an image, or a page that needs nothing else.

Pictures are made one at a time, so that a sheet of ten thousand images needs no more memory than its file.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from yolor_cfg.errors import YolorError
from yolor_cfg.files import replace_file
from yolor_cfg.images.draw import FONT, drawable_name
from yolor_cfg.images.types import Image
from yolor_cfg.report.dataset.tiles import HEIGHT, WIDTH, Thumbnail, draw_tile
from yolor_cfg.report.elements import plain
from yolor_cfg.runs import encode_image

PAGE = ".html"
LARGE = 0.6
"""Of the letters of a title, as OpenCV scales them, where there is room."""
GAP, CAPTION, TITLE = 8, 18, 34
"""Pixels between tiles, of a caption, and of the title of a section."""
MOST_PIXELS = 120_000_000
"""Of a sheet that is an image; a page may be longer."""
QUALITY = 88
"""Of the JPEG pictures in a page."""


class SheetPart(NamedTuple):
    """A row of tiles, or several, below a title."""

    title: str
    tiles: Sequence[Thumbnail]


class ContactSheet(NamedTuple):
    """What a sheet shows; `columns` is the number of tiles side by side in an image."""

    title: str
    parts: Sequence[SheetPart]
    columns: int = 6


def write_sheet(sheet: ContactSheet, path: str | Path, *, force: bool = False) -> None:
    """Write the sheet in the format of the suffix, whole or not at all. Raises YolorError for an image that
    would be too large, and where a file exists, unless forced."""
    target = Path(path)
    if target.suffix.lower() == PAGE:
        replace_file(target, lambda file: _write_page(sheet, file), fault=YolorError, force=force)
        return
    size = sheet_size(sheet)
    if size[0] * size[1] > MOST_PIXELS or (target.suffix.lower() != ".png" and max(size) > 65_500):
        found = f"{size[1]} x {size[0]} pixels"
        raise YolorError("too large for an image", path=str(path), found=found, hint="end the name in .html")
    data = encode_image(target.suffix.lower(), draw_sheet(sheet)).data
    assert data is not None, path
    replace_file(target, lambda file: file.write(data), fault=YolorError, force=force)


def sheet_size(sheet: ContactSheet) -> tuple[int, int]:
    """Height and width in pixels of the sheet as an image."""
    rows = sum(math.ceil(len(part.tiles) / sheet.columns) for part in sheet.parts)
    titles = TITLE * sum(bool(title) for title in (sheet.title, *(part.title for part in sheet.parts)))
    most = max((len(part.tiles) for part in sheet.parts), default=1)
    columns = max(1, min(sheet.columns, most))
    return titles + rows * (HEIGHT + CAPTION + GAP) + GAP, columns * (WIDTH + GAP) + GAP


def draw_sheet(sheet: ContactSheet) -> Image:
    """The sheet as RGB pixels [H, W, 3]."""
    canvas = np.full((*sheet_size(sheet), 3), 255, np.uint8)
    top = _write_title(canvas, sheet.title, 0) + GAP
    for part in sheet.parts:
        top = _write_title(canvas, part.title, top)
        for number, tile in enumerate(part.tiles):
            row, column = divmod(number, sheet.columns)
            place = top + row * (HEIGHT + CAPTION + GAP), GAP + column * (WIDTH + GAP)
            _place_tile(canvas, tile, place)
        top += math.ceil(len(part.tiles) / sheet.columns) * (HEIGHT + CAPTION + GAP)
    return canvas


def _write_title(canvas: Image, title: str, top: int) -> int:
    """Write it as large as there is room, if there is one; returns where the next thing stands."""
    if not title:
        return top
    text = drawable_name(title, 0)
    width = cv2.getTextSize(text, FONT, LARGE, 1)[0][0]
    scale = LARGE * min(1.0, (canvas.shape[1] - 2 * GAP) / max(1, width))
    cv2.putText(canvas, text, (GAP, top + TITLE - 10), FONT, scale, (30, 34, 44), 1, cv2.LINE_AA)
    return top + TITLE


def _place_tile(canvas: Image, tile: Thumbnail, place: tuple[int, int]) -> None:
    top, left = place
    canvas[top : top + HEIGHT, left : left + WIDTH] = draw_tile(tile)
    text = _fit_text(drawable_name(tile.caption, 0))
    cv2.putText(canvas, text, (left, top + HEIGHT + 13), FONT, 0.4, (90, 96, 110), 1, cv2.LINE_AA)


def _fit_text(text: str) -> str:
    """The end of a text that is too long for a tile: of a path it tells most."""
    while text and cv2.getTextSize(text, FONT, 0.4, 1)[0][0] > WIDTH:
        text = ".." + text[4:] if text.startswith("..") else ".." + text[2:]
    return text


def _write_page(sheet: ContactSheet, file: BinaryIO) -> None:
    """The page, picture by picture."""
    title = plain(sheet.title)
    head = f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>\n"
    view = "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
    file.write(f"{head}{view}<style>\n{read_page_part('page.css')}</style>\n<h1>{title}</h1>\n".encode())
    for part in sheet.parts:
        for text in _part_html(part):
            file.write(text.encode())


def read_page_part(name: str) -> str:
    """A file of the pages."""
    return (resources.files("yolor_cfg.report.dataset") / "page" / name).read_text(encoding="utf-8")


def _part_html(part: SheetPart) -> Iterator[str]:
    """A section, picture by picture."""
    title = f"<h2>{plain(part.title)}</h2>\n" if part.title else ""
    yield f"<section>\n{title}<div class=tiles>\n"
    yield from map(tile_html, part.tiles)
    yield "</div>\n</section>\n"


def tile_html(tile: Thumbnail) -> str:
    """One picture with its caption; its bytes are part of the page."""
    data = base64.b64encode(encode_jpeg(draw_tile(tile))).decode()
    caption, path = plain(tile.caption), plain(tile.path)
    return (
        f'<figure title="{path}"><img width={WIDTH} height={HEIGHT} alt="{caption}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{caption}</figcaption></figure>\n'
    )


def encode_jpeg(image: Image) -> bytes:
    """An RGB image as a JPEG."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    assert done, image.shape
    return data.tobytes()
