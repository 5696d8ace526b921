"""Decoding in C++ (engines/native/src/decode.cpp): what `YoloHead.decode_likely` gives, of all heads at once.

Legend: N images, A anchors, H W cells, V values per anchor and cell, K classes, B boxes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_double, c_int32, c_int64, c_void_p
from functools import cache, lru_cache
from math import log
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.heads import SLACK, AnchorGrid, HeadPredictions, YoloHead, YoloRules
from yolor_cfg.ops.native_code import find_library

FIRST = 5  # values before those of the classes
MOST_BOXES = 2**31  # of a head: they are numbered in 32 bits
FiveNumbers = c_int64 * FIRST


class _HeadMap(ctypes.Structure):
    """The structure of the same name in decode.cpp."""

    _fields_ = [
        ("data", c_void_p),
        ("sizes", FiveNumbers),
        ("strides", FiveNumbers),
        ("anchors", ctypes.POINTER(c_double)),
        *((name, c_double) for name in ("stride_x", "stride_y", "spread", "least")),
        *((name, c_int32) for name in ("has_squared_sizes", "has_linear_sizes")),
        ("likely", c_int64),
    ]


@cache
def _load_functions() -> Any:
    """The library with its functions declared; None where it cannot be used."""
    library = find_library()
    if library is not None:
        if not library.yc_can_decode():
            return None
        assert library.yc_head_size() == ctypes.sizeof(_HeadMap)
        library.yc_find_likely.restype = c_int64
        library.yc_find_likely.argtypes = (c_void_p, c_int64)
        library.yc_decode_likely.restype = None
        library.yc_decode_likely.argtypes = (c_void_p, c_int64, *[c_void_p] * 3)
    return library


def decode_natively(
    heads: Iterable[object], raws: Sequence[Tensor], *, least: float
) -> HeadPredictions | None:
    """The boxes of all heads, joined, without those whose objectness is below `least` in all images.

    None where torch has to decode: no library, other heads, tensors that are not float32 on the CPU or have
    gradients.

    Values are rounded once from float64, so they may differ from torch's in the last bits.
    """
    library, least = _load_functions(), least * SLACK
    known = [head for head in heads if type(head) is YoloHead and _fits(head)]
    if library is None or not 0 < least < 1 or len(known) != len(raws) or not _are_plain(raws):
        return None
    kinds = [
        _MapKind(head.grid, head.rules, raw.shape, raw.stride())
        for head, raw in zip(known, raws, strict=True)
    ]
    if any(len(kind.grid.anchors) != kind.shape[1] for kind in kinds):
        return None
    blank = _describe_maps(tuple(kinds))
    maps = type(blank).from_buffer_copy(blank)
    for one, raw in zip(maps, raws, strict=True):
        one.data, one.least = raw.data_ptr(), log(least / (1 - least))
    return _run(library, maps, raws[0].shape)


def _run(library: Any, maps: Any, shape: Sequence[int]) -> HeadPredictions:
    """The boxes in maps of which the first has this shape."""
    count = library.yc_find_likely(maps, len(maps))
    if count < 0:
        raise MemoryError("decoding ran out of memory")
    images, values = shape[0], shape[4]
    scores = torch.empty(images, count, values - FIRST)
    found = torch.empty(images, count, 4), torch.empty(images, count), scores
    library.yc_decode_likely(maps, len(maps), *(part.data_ptr() for part in found))
    return found


def _fits(head: YoloHead) -> bool:
    """Whether the head decodes by the rules that the C++ code knows."""
    return head.rules.has_sigmoid and not head.rules.box_channels


def _are_plain(raws: Sequence[Tensor]) -> bool:
    """Whether the C++ code can read all maps; at least one image each, as many values."""
    return all(
        type(raw) is Tensor
        and raw.dtype == torch.float32
        and raw.device.type == "cpu"
        and not raw.requires_grad
        and raw.ndim == FIRST
        and 0 < raw.numel() < MOST_BOXES
        and raw.shape[0] == raws[0].shape[0]
        and raw.shape[4] == raws[0].shape[4]
        for raw in raws
    )


class _MapKind(NamedTuple):
    """All about a raw map but where it is in memory."""

    grid: AnchorGrid
    rules: YoloRules
    shape: Sequence[int]
    strides: Sequence[int]

    def describe(self) -> _HeadMap:
        """The structure without place and threshold."""
        sides = [side for anchor in self.grid.anchors for side in anchor]
        return _HeadMap(
            *(None, FiveNumbers(*self.shape), FiveNumbers(*self.strides), (c_double * len(sides))(*sides)),
            *(*self.grid.stride, self.rules.spread, 0.0),
            *(self.rules.has_squared_sizes, self.rules.has_linear_sizes),
        )


@lru_cache(maxsize=64)
def _describe_maps(kinds: tuple[_MapKind, ...]) -> Any:
    """The structures of maps of these kinds, in one block."""
    return (_HeadMap * len(kinds))(*(kind.describe() for kind in kinds))
