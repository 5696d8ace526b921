"""Arguments of commands and of Python calls: one check and one message for both.

Every function returns the value or raises ValueError with what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from yolor_cfg.errors import CfgError

MOST_DETECTIONS = 1_000_000
MOST_IN_BATCH = 1_000_000
MOST_PIXELS = 1 << 28
"""Pixels of a network's input: a single map of them in float32 takes a gigabyte."""
MOST_COUNTED = 10**12
"""Of whatever an option counts."""
OWN_SIZE = "own"
"""The size of tiles that is the network's own."""
MOST_OVERLAP = 0.9
"""Of the side of a tile: a pixel is in a hundred tiles then."""
TRAIN_BOUNDS: dict[str, tuple[int, int]] = {
    "cutoff": (1, MOST_COUNTED),
    "epochs": (1, 10**9),
    "max_batches": (1, MOST_COUNTED),
    "batch_size": (1, 2**20),
    "update_batch": (1, 2**20),
    "freeze": (0, MOST_COUNTED),
    "cache": (0, 10**6),
    "workers": (0, 1024),
    "seed": (0, 2**63 - 1),
    "patience": (0, MOST_COUNTED),
    "save_period": (0, MOST_COUNTED),
    "save_steps": (0, MOST_COUNTED),
    "val_period": (0, MOST_COUNTED),
    "max_pixels": (1, MOST_COUNTED),
}
"""The least and the most of each number of a training run, as an option and in the record of the run."""

ENGINE_NAMES = ("auto", "torch", "compiled", "onnxruntime", "openvino", "native")
PRECISION_NAMES = ("fp32", "bf16", "fp16", "auto")
REWRITE_NAMES = ("all", "dead", "fold", "merge", "stem", "spp")
"""How a network is run; engines.choice and rewrite.faster know what each means."""

Value = TypeVar("Value")


def parse_fraction(value: Any) -> float:
    """A number from 0 to 1."""
    number: float = _to_number(value, float, "float")
    if not 0 <= number <= 1:  # as for NaN
        raise ValueError(f"{number} is not in the range 0<=x<=1.")
    return number


def parse_count(value: Any, most: int) -> int:
    """A whole number from 1 to `most`."""
    number: int = _to_number(value, int, "integer")
    if not 1 <= number <= most:
        text = str(value) if abs(number) < 10**20 else "a number of that length"
        raise ValueError(f"{text} is not in the range {'x>=1' if number < 1 else f'x<={most}'}.")
    return number


def _to_number(value: Any, kind: Callable[[Any], Any], name: str) -> Any:
    """The number; neither True nor a number with a fraction counts as a whole one."""
    try:
        number = kind(value)
        if isinstance(value, bool) or (not isinstance(value, str) and number != value and value == value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{str(value)[:60]!r} is not a valid {name}.") from None
    return number


def parse_size(value: Any) -> int | tuple[int, int]:
    """An int for a square, else (height, width), from a number, a pair or text such as 416 and 416x320."""
    text = "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    match = re.fullmatch(r"\s*([1-9][0-9]{0,4})(?:\s*[xX\u00d7]\s*([1-9][0-9]{0,4}))?\s*", text)
    if match is None:
        raise ValueError(
            f"{text[:60]!r} is not an image size: use 416 for a square, 416x320 for height x width"
        )
    height, width = int(match[1]), int(match[2] or match[1])
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{text[:60]!r} is {height * width:,} pixels, and at most {MOST_PIXELS:,} are allowed"
        )
    return (height, width) if match[2] else height


def parse_tile(value: Any) -> int | tuple[int, int] | bool:
    """True, also as the text `own`, for the network's own size, or a size."""
    return True if value is True or value == OWN_SIZE else parse_size(value)


def parse_overlap(value: Any) -> float:
    """A fraction of a side that neighbouring tiles share."""
    number = parse_fraction(value)
    if number > MOST_OVERLAP:
        raise ValueError(f"{number} is not in the range 0<=x<={MOST_OVERLAP}.")
    return number


def parse_device(value: Any) -> str:
    """torch's name of the device; a number is that GPU, as in YOLOR; several are answered with the way to
    use them."""
    word = str(value).strip().lower()
    numbers = re.fullmatch(r"(?:cuda:)?(\d+(?:\s*,\s*\d+)*)\s*,?", word)
    if numbers is None:
        return word
    gpus = [part.strip().lstrip("0") or "0" for part in numbers[1].split(",")]
    if len(gpus) == 1:
        return f"cuda:{gpus[0][:9]}"
    raise ValueError(
        f"{word[:60]!r} names {len(gpus)} devices, and a process uses one; to train or test on all of them: "
        f"CUDA_VISIBLE_DEVICES={','.join(gpus)[:60]} torchrun --nproc-per-node {len(gpus)} "
        "-m yolor_cfg train ... --device cuda"
    )


def check_argument(name: str, check: Callable[[Any], Value], value: Any) -> Value:
    """The checked value of an argument of a Python call; raises CfgError, with its name as the key."""
    try:
        return check(value)
    except ValueError as fault:
        raise CfgError(str(fault), key=name) from None
