"""Detections made elsewhere: COCO results JSON, or the text files of C Darknet's `detector valid`.

Legend: D detections. What is returned is [D, 7] as in `ground.ROW`, in the numbers of the truth.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground import Floats, Ground, described, no_detections, read_json
from yolor_cfg.files import reason_of

FIELDS = ("image_id", "bbox", "score", "category_id")
SHOWN = 10
DARKNET_FIELDS = 6
BOX_DIGITS, SCORE_DIGITS = 3, 5
"""Decimals in predictions.json, as YOLOR writes them."""


def read_results(path: str | Path, ground: Ground) -> Floats:
    """The detections in a .json file, or in a folder of Darknet's .txt files (one a class), or in one such
    file. Raises DataError for what is no result, and for images or classes that the truth does not have."""
    place = Path(path)
    if place.is_dir():
        return _of_folder(place, ground)
    if place.suffix.lower() == ".txt":
        return _joined([_of_text(place, ground, _class_of(place, ground))])
    return of_coco_results(read_json(path), ground, path=str(path))


def of_coco_results(document: Any, ground: Ground, *, path: str) -> Floats:
    """The detections of a list of {"image_id", "bbox", "score", "category_id"}, boxes as left, top, width,
    height in pixels."""
    if not isinstance(document, list):
        raise DataError(
            "these are no COCO results",
            path=path,
            found=described(document),
            allowed=f"a list of objects with {', '.join(FIELDS)}",
        )
    for i, one in enumerate(document):
        if not isinstance(one, dict) or not set(FIELDS) <= one.keys():
            raise _wrong(path, i, found=described(one), allowed=f"an object with {', '.join(FIELDS)}")
    images = _numbers(
        [one["image_id"] for one in document],
        _by_name(ground.image_ids),
        path=path,
        what="image",
        hint="do the results belong to these annotations?",
    )
    classes = _numbers(
        [one["category_id"] for one in document],
        _by_name(ground.category_ids),
        path=path,
        what="category",
        hint=_class_hint([one["category_id"] for one in document], ground),
    )
    rows = [[*_box(one, i, path), _score(one, i, path)] for i, one in enumerate(document)]
    if not rows:
        return no_detections()
    return np.column_stack([images, np.array(rows, dtype=np.float64), classes])


def to_coco_results(detections: Floats, ground: Ground) -> list[dict[str, Any]]:
    """The detections [D, 7] as COCO results, with boxes to 1/1000 pixel and scores to 5 decimals."""
    rows = rounded(detections).tolist()
    return [
        {
            "image_id": ground.image_ids[int(image)],
            "category_id": ground.category_ids[int(label)],
            "bbox": box,
            "score": score,
        }
        for image, *box, score, label in rows
    ]


def rounded(detections: Floats) -> Floats:
    """The detections [D, 7] as a results file holds them."""
    digits = [0, *[BOX_DIGITS] * 4, SCORE_DIGITS, 0]
    return np.stack([detections[:, i].round(digit) for i, digit in enumerate(digits)], axis=1)


def _box(one: Mapping[str, Any], number: int, path: str) -> Sequence[float]:
    box = one["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(_is_finite(side) for side in box)):
        raise _wrong(path, number, found=f"bbox {box}", allowed="[left, top, width, height] in pixels")
    if box[2] < 0 or box[3] < 0:
        raise _wrong(
            path,
            number,
            found=f"bbox {box}",
            allowed="a width and height of 0 or more",
            hint="a bbox is left, top, width, height, not two corners",
        )
    return box


def _score(one: Mapping[str, Any], number: int, path: str) -> float:
    if not _is_finite(one["score"]):
        raise _wrong(path, number, found=f"score {one['score']}", allowed="a number")
    return float(one["score"])


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _wrong(path: str, number: int, *, found: str, allowed: str, hint: str = "") -> DataError:
    return DataError(f"result {number} cannot be used", path=path, found=found, allowed=allowed, hint=hint)


def _by_name(keys: Sequence[int | str]) -> dict[Hashable, int]:
    """The number of each key, also by its text: some files write their ids as words."""
    return {str(key): i for i, key in enumerate(keys)} | {key: i for i, key in enumerate(keys)}


def _numbers(
    keys: Sequence[Any], table: Mapping[Hashable, int], *, path: str, what: str, hint: str
) -> list[int]:
    """The number of each key; raises DataError that names those which the truth does not have."""
    strange = sorted({str(key) for key in keys if isinstance(key, (list, dict)) or key not in table})
    if strange:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise DataError(
            f"the ground truth has no such {what}",
            path=path,
            found=", ".join(strange[:SHOWN]) + more,
            hint=hint,
        )
    return [table[key] for key in keys]


def _class_hint(keys: Sequence[Any], ground: Ground) -> str:
    least, most = min(ground.category_ids, default=0), max(ground.category_ids, default=0)
    shift = "; these look like class numbers from 0" if 0 in keys and least > 0 else ""
    return f"the categories of the truth are {least}..{most}{shift}"


class _Rows(NamedTuple):
    """Of one Darknet file: names of images, and score, left, top, right, bottom of each detection."""

    images: list[str]
    values: list[list[float]]


def _of_folder(folder: Path, ground: Ground) -> Floats:
    """All files of the folder whose names end with a class of the truth."""
    files = {
        label: path for path in sorted(folder.glob("*.txt")) if (label := _label(path, ground)) is not None
    }
    if not files:
        raise DataError(
            "no file here is named after a class of the truth",
            path=str(folder),
            allowed=", ".join(f"comp4_det_test_{name}.txt" for name in ground.names[:3]) + " ...",
            hint="these are the files that `darknet detector valid` leaves in results/",
        )
    return _joined([_of_text(path, ground, label) for label, path in files.items()])


def _label(path: Path, ground: Ground) -> int | None:
    """The class that the file is named after, whatever prefix `-out` gave; of two the longer."""
    fits = [i for i, name in enumerate(ground.names) if path.stem == name or path.stem.endswith("_" + name)]
    return max(fits, key=lambda i: len(ground.names[i]), default=None)


def _class_of(path: Path, ground: Ground) -> int:
    label = _label(path, ground)
    if label is None:
        raise DataError(
            "this file is not named after a class of the truth",
            path=str(path),
            allowed=", ".join(ground.names[:SHOWN]),
            hint="comp4_det_test_NAME.txt",
        )
    return label


def _of_text(path: Path, ground: Ground, label: int) -> Floats:
    """[D, 7] of one class. Darknet's pixels count from 1: it adds 1 to every side, then limits them to the
    image; width and height are the differences of sides."""
    rows = _rows(path)
    if not rows.images:
        return no_detections()
    table = _by_stem(ground)
    images = _numbers(
        rows.images,
        table,
        path=str(path),
        what="image",
        hint="Darknet writes the name of the image without its suffix",
    )
    values = np.array(rows.values)
    corner, far = values[:, 1:3], values[:, 3:5]
    size = np.maximum(far - corner, 0)
    return np.column_stack([images, corner - 1, size, values[:, 0], np.full(len(values), label)])


def _rows(path: Path) -> _Rows:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        raise DataError(f"cannot be read: {reason_of(fault)}", path=str(path)) from None
    rows = _Rows([], [])
    for number, line in enumerate(text.splitlines(), start=1):
        name, *values = line.rsplit(maxsplit=DARKNET_FIELDS - 1) or [""]
        if not line.strip():
            continue
        if len(values) != DARKNET_FIELDS - 1 or not all(_is_number(value) for value in values):
            raise DataError(
                "not a line of `detector valid`",
                path=str(path),
                line=number,
                found=line[:80],
                allowed="image score left top right bottom",
            )
        rows.images.append(name)
        rows.values.append([float(value) for value in values])
    return rows


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) is not None


def _by_stem(ground: Ground) -> dict[Hashable, int]:
    """The number of each image by the name of its file without suffix, and by its id."""
    return _by_name(ground.image_ids) | {Path(file).stem: i for i, file in enumerate(ground.files)}


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate([no_detections(), *parts])
