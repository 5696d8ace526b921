"""What a `Detector` takes for an image: a path, the bytes of a file, an array, a tensor, a PIL image.

All become RGB pixels [H, W, C] uint8 with the network's number of channels, or a DataError.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import DataError
from yolor_cfg.images.orientation import ORIENTATION_TAG
from yolor_cfg.images.preprocess import match_channels
from yolor_cfg.images.read import decode_image
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_KINDS = (
    "a path, the bytes of a file, a uint8 array [H, W, C] in RGB order, a tensor [C, H, W], a PIL image"
)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
OTHER_MODES = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Modes of PIL that PNG does not have, and what they are converted to; the rest becomes RGB."""
ROUNDING = 1e-3
"""By how much a float may lie outside 0..1: resizing and half precision overshoot."""


class PilImage(Protocol):
    """The part of PIL.Image.Image that is used; PIL itself is not needed."""

    mode: str

    def convert(self, mode: str) -> Any: ...


ImageLike = Union[str, os.PathLike[str], bytes, NDArray[Any], "Tensor", PilImage]


def is_tensor(value: Any) -> TypeGuard[Tensor]:
    """Whether the value is one of torch's tensors, of which there are none until torch is imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def list_images(images: Any) -> Iterable[ImageLike] | None:
    """A list, a batch [N, ...] or another iterable of images; None for a single image."""
    if isinstance(images, np.ndarray):
        is_single = images.ndim in (2, 3) and images.dtype.kind not in "OSU"
    elif is_tensor(images):
        is_single = images.ndim != 4
    else:
        is_single = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or _is_pil(images)
        is_single = is_single or hasattr(images, "read")
    if is_single:
        return None
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise DataError("this is no image", found=type(images).__name__, allowed=IMAGE_KINDS)
    return images


def are_files(images: Any) -> bool:
    """Whether it is a list of several paths or contents of files, which any thread can read at any time."""
    is_list = isinstance(images, (list, tuple)) and len(images) > 1
    return is_list and all(isinstance(one, (str, os.PathLike, bytes)) for one in images)


def load_image(image: ImageLike, channels: int, *, bgr: bool = False) -> Image:
    """The pixels [H, W, channels]; `bgr` says that arrays and tensors have OpenCV's order."""
    if isinstance(image, (str, os.PathLike)):
        return match_channels(_read_path(os.fspath(image), channels), channels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), channels=channels)
    if _is_pil(image):
        return _decode_pil(image, channels)
    if hasattr(image, "read"):
        return decode_image(image.read(), channels=channels)
    if is_tensor(image):
        image = _tensor_pixels(image, channels)
    if not isinstance(image, np.ndarray):
        raise DataError("this is no image", found=type(image).__name__, allowed=IMAGE_KINDS)
    pixels = match_channels(_refuse_planes(image), channels)
    return _reverse_colors(pixels) if bgr else np.ascontiguousarray(pixels)


def _read_path(path: str, channels: int) -> Image:
    if "\0" in path:
        raise DataError("no such file: its name holds a null byte", path=path)
    return read_channels(path, channels)


def _refuse_planes(image: NDArray[Any]) -> NDArray[Any]:
    """The array; raises DataError for the two kinds that are images in other libraries."""
    shape = f"{image.dtype} {image.shape}"
    allowed = "uint8 (height, width, channels) in RGB order"
    if image.dtype.kind == "f" and image.ndim in (2, 3):
        hint = "for values from 0 to 1: (image * 255).round().astype('uint8')"
        raise DataError("this array is not an image", found=shape, allowed=allowed, hint=hint)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] > 4:
        hint = "channels come last in an array: image.transpose(1, 2, 0); in a tensor they come first"
        raise DataError("this array is not an image", found=shape, allowed=allowed, hint=hint)
    return image


def _reverse_colors(image: Image) -> Image:
    """RGB from BGR, RGBA from BGRA; other numbers of channels have no such order."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(image.shape[2])
    return image if order is None else np.ascontiguousarray(image[..., order])


def _tensor_pixels(tensor: Tensor, channels: int) -> Image:
    """[H, W, C] from [C, H, W], uint8 or floats from 0 to 1."""
    import torch

    found = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    if (
        tensor.ndim != 3
        or tensor.shape[0] not in (1, channels)
        or 0 in tensor.shape
        or tensor.layout != torch.strided
    ):
        allowed = f"({channels}, height, width) in RGB order"
        raise DataError("this tensor is not an image", found=found, allowed=allowed)
    pixels = tensor.detach().cpu().permute(1, 2, 0)
    if pixels.is_floating_point():
        pixels = _to_bytes(pixels.float(), found)
    if pixels.dtype != torch.uint8:
        raise DataError("this tensor is not an image", found=found, allowed="uint8, or floats from 0 to 1")
    return np.asarray(pixels.numpy(), np.uint8)


def _to_bytes(pixels: Tensor, found: str) -> Tensor:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # as for NaN
        message = "the values of this tensor are not from 0 to 1"
        hint = "do not normalise by mean and deviation; divide by 255 where they are from 0 to 255"
        raise DataError(message, found=f"{found}, {low:g} to {high:g}", hint=hint)
    return (pixels * 255).round().clamp(0, 255).byte()


def _is_pil(image: Any) -> bool:
    return any(kind.__module__.startswith("PIL.") for kind in type(image).__mro__)


def _decode_pil(image: Any, channels: int) -> Image:
    """A PIL image, as the same file is read by its path: the palette applied, alpha dropped, turned upright,
    of 16 bits the upper ones."""
    try:
        image.load()  # PIL itself turns a TIFF upright when it reads the pixels
        if (image.mode, channels) == ("RGB", 3) and not image.getexif().get(ORIENTATION_TAG):
            return np.array(image)
        return decode_image(_encode_png(image), channels=channels)
    except (OSError, ValueError, SyntaxError, TypeError) as fault:
        found = str(fault).splitlines()[:1] or [type(fault).__name__]
        raise DataError(
            "the PIL image cannot be read", found=f"{found[0][:200]}, mode {image.mode}"
        ) from None


def _encode_png(image: Any) -> bytes:
    """The image as an uncompressed PNG file, with its orientation; that of numbers of 16 bits is not kept."""
    if image.mode == "F":
        raise DataError("the image has float32 values, not 8 or 16 bits")
    if image.mode.startswith("I"):
        return _encode_deep(np.asarray(image))
    if image.mode == "CMYK":
        image = _show_inks(image)
    shown = image if image.mode in PNG_MODES else image.convert(OTHER_MODES.get(image.mode, "RGB"))
    file = io.BytesIO()
    exif = image.getexif()
    orientation = exif.get(ORIENTATION_TAG)
    exif.clear()
    if orientation:
        exif[ORIENTATION_TAG] = orientation
    shown.save(file, "PNG", compress_level=0, exif=exif.tobytes())
    return file.getvalue()


def _encode_deep(values: NDArray[Any]) -> bytes:
    """Grey values from 0 to 65535 as a PNG file of 16 bits."""
    if values.size and not (values.min() >= 0 and values.max() <= 0xFFFF):
        raise DataError(
            "the image has values beyond 16 bits",
            found=f"{values.min()} to {values.max()}",
            allowed="0..65535",
        )
    done, data = cv2.imencode(".png", values.astype(np.uint16))
    assert done
    return data.tobytes()


def _show_inks(image: Any) -> Any:
    """A PIL image in RGB from one in cyan, magenta, yellow and black, rounded as OpenCV does."""
    inks = np.asarray(image).astype(np.int32)
    white = 255 - inks[..., 3:]
    shown = image.convert("RGB")
    shown.frombytes((white - (inks[..., :3] * white >> 8)).astype(np.uint8).tobytes())
    return shown
