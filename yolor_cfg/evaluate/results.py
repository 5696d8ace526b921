"""Detections from files: COCO results JSON, or the text files of C Darknet's `detector valid`.

Legend: D detections, [D, 7] as in `ground_truth.ROW`, by image index and class id of the ground truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.data.formats.coco_schema import describe_json, finite_number, read_json
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth, no_detections
from yolor_cfg.files import read_regular, reason_of

FIELDS = ("image_id", "bbox", "score", "category_id")
SHOWN = 10
DARKNET_FIELDS = 6
Say = Callable[[str], None]
BOX_DIGITS, SCORE_DIGITS = 3, 5
"""Decimals in predictions.json, as YOLOR writes them."""


def _say_nothing(text: str) -> None:
    """Where notes are not wanted."""


def read_results(path: str | Path, ground: GroundTruth, *, say: Say = _say_nothing) -> Doubles:
    """The detections of a .json file, of a folder of Darknet's .txt files (one per class), or of one such
    file; `say` gets a note where images are matched by name. Raises DataError for malformed results, and for
    images or classes that are not in the ground truth."""
    place = Path(path)
    if place.is_dir():
        return _read_darknet_folder(place, ground)
    if place.suffix.lower() == ".txt":
        return _concat([_read_darknet_file(place, ground, _require_class_id(place, ground))])
    return parse_coco_results(read_json(str(path)), ground, path=str(path), say=say)


def parse_coco_results(document: Any, ground: GroundTruth, *, path: str, say: Say = _say_nothing) -> Doubles:
    """The detections of a list of {"image_id", "bbox", "score", "category_id"}; boxes are left, top, width,
    height in pixels."""
    if not isinstance(document, list):
        raise DataError(
            "not COCO results",
            path=path,
            found=describe_json(document),
            allowed=f"a list of objects with {', '.join(FIELDS)}",
        )
    for i, one in enumerate(document):
        if not isinstance(one, dict) or not set(FIELDS) <= one.keys():
            raise _result_error(
                path, i, found=describe_json(one), allowed=f"an object with {', '.join(FIELDS)}"
            )
    names, labels = ([one[field] for one in document] for field in ("image_id", "category_id"))
    by_stem = _are_stems(names, ground)
    images = _find_indices(
        names,
        _index_by_stem(ground) if by_stem else _index_by_key(ground.image_ids),
        path=path,
        what="image",
        hint="do the results belong to these annotations?",
    )
    by_number = by_stem and _are_class_ids(labels, ground, path)
    if by_stem:
        count = ", categories by class ids from 0" if by_number else ""
        say(f"{path}: images are matched by file name{count}: the ground truth has other ids")
    classes = _find_indices(
        labels,
        _index_by_key(range(len(ground.names)) if by_number else ground.category_ids),
        path=path,
        what="category",
        hint=_class_hint(labels, ground),
    )
    rows = [[*_parse_box(one, i, path), _parse_score(one, i, path)] for i, one in enumerate(document)]
    if not rows:
        return no_detections()
    return np.column_stack([images, np.array(rows, dtype=np.float64), classes])


def _are_stems(keys: Sequence[Any], ground: GroundTruth) -> bool:
    """Whether all of these are file names without suffix, as in results of a data set without ids: none is an
    id of the ground truth, and no two images there have the same name."""
    stems, ids = {Path(file).stem for file in ground.files}, _index_by_key(ground.image_ids)
    are_names = all(isinstance(key, str) and key in stems and key not in ids for key in keys)
    return bool(keys) and are_names and len(stems) == len(ground.files)


def _are_class_ids(keys: Sequence[Any], ground: GroundTruth, path: str) -> bool:
    """Whether categories of results without ids are class ids from 0; raises DataError if they may be both
    these and the ids of the ground truth, which are others."""
    count, ids = len(ground.names), ground.category_ids
    fits = all(type(key) is int and 0 <= key < count for key in keys)
    if not fits or ids == tuple(range(count)):
        return False
    if set(keys) <= set(ids):
        raise DataError(
            "categories may be class ids from 0 or the ids of the ground truth",
            path=path,
            found=", ".join(map(str, sorted(set(keys))[:SHOWN])),
            hint="give the data set that the results are from as --annotations",
        )
    return True


def to_coco_results(detections: Doubles, ground: GroundTruth) -> list[dict[str, Any]]:
    """The detections [D, 7] as COCO results, boxes rounded to 1/1000 pixel and scores to 5 decimals."""
    rows = round_detections(detections).tolist()
    return [
        {
            "image_id": ground.image_ids[int(image)],
            "category_id": ground.category_ids[int(label)],
            "bbox": box,
            "score": score,
        }
        for image, *box, score, label in rows
    ]


def round_detections(detections: Doubles) -> Doubles:
    """The detections [D, 7] rounded as in a results file."""
    digits = [0, *[BOX_DIGITS] * 4, SCORE_DIGITS, 0]
    return np.stack([detections[:, i].round(digit) for i, digit in enumerate(digits)], axis=1)


def _parse_box(one: Mapping[str, Any], number: int, path: str) -> Sequence[float]:
    box = one["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(_is_finite(side) for side in box)):
        raise _result_error(path, number, found=f"bbox {box}", allowed="[left, top, width, height] in pixels")
    if box[2] < 0 or box[3] < 0:
        raise _result_error(
            path,
            number,
            found=f"bbox {box}",
            allowed="a width and height of 0 or more",
            hint="a bbox is left, top, width, height; it is not two corners",
        )
    return box


def _parse_score(one: Mapping[str, Any], number: int, path: str) -> float:
    if not _is_finite(one["score"]):
        raise _result_error(path, number, found=f"score {one['score']}", allowed="a number")
    return float(one["score"])


def _is_finite(value: Any) -> bool:
    return finite_number(value) is not None


def _result_error(path: str, number: int, *, found: str, allowed: str, hint: str = "") -> DataError:
    return DataError(f"result {number} cannot be used", path=path, found=found, allowed=allowed, hint=hint)


def _index_by_key(keys: Sequence[int | str]) -> dict[Hashable, int]:
    """The index of each key, also by its text: some files write ids as strings."""
    return {str(key): i for i, key in enumerate(keys)} | {key: i for i, key in enumerate(keys)}


def _find_indices(
    keys: Sequence[Any], table: Mapping[Hashable, int], *, path: str, what: str, hint: str
) -> list[int]:
    """The index of each key; raises DataError with the keys that are not in the ground truth."""
    strange = sorted({str(key) for key in keys if isinstance(key, (list, dict, bool)) or key not in table})
    if strange:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise DataError(
            f"the ground truth has no such {what}",
            path=path,
            found=", ".join(strange[:SHOWN]) + more,
            hint=hint,
        )
    return [table[key] for key in keys]


def _class_hint(keys: Sequence[Any], ground: GroundTruth) -> str:
    least, most = min(ground.category_ids, default=0), max(ground.category_ids, default=0)
    shift = "; these look like class ids from 0" if 0 in keys and least > 0 else ""
    return f"the category ids of the ground truth are {least}..{most}{shift}"


class _DarknetRows(NamedTuple):
    """The rows of one Darknet file: image names, and score, left, top, right, bottom of each detection."""

    images: list[str]
    values: list[list[float]]


def _read_darknet_folder(folder: Path, ground: GroundTruth) -> Doubles:
    """The detections of all files whose names end with a class name of the ground truth."""
    files = {
        label: path
        for path in sorted(folder.glob("*.txt"))
        if (label := _file_class_id(path, ground)) is not None
    }
    if not files:
        raise DataError(
            "no file is named after a class of the ground truth",
            path=str(folder),
            allowed=", ".join(f"comp4_det_test_{name}.txt" for name in ground.names[:3]) + " ...",
            hint="`darknet detector valid` writes these files to results/",
        )
    return _concat([_read_darknet_file(path, ground, label) for label, path in files.items()])


def _file_class_id(path: Path, ground: GroundTruth) -> int | None:
    """The class id of the longest name that the file name ends with, whatever the `-out` prefix."""
    fits = [i for i, name in enumerate(ground.names) if path.stem == name or path.stem.endswith("_" + name)]
    return max(fits, key=lambda i: len(ground.names[i]), default=None)


def _require_class_id(path: Path, ground: GroundTruth) -> int:
    label = _file_class_id(path, ground)
    if label is None:
        raise DataError(
            "not named after a class of the ground truth",
            path=str(path),
            allowed=", ".join(ground.names[:SHOWN]),
            hint="comp4_det_test_NAME.txt",
        )
    return label


def _read_darknet_file(path: Path, ground: GroundTruth, class_id: int) -> Doubles:
    """[D, 7] of one class. Darknet's pixels count from 1: it adds 1 to every side, then clips them to the
    image; width and height are the differences of the sides."""
    rows = _read_rows(path)
    if not rows.images:
        return no_detections()
    table = _index_by_stem(ground)
    images = _find_indices(
        rows.images,
        table,
        path=str(path),
        what="image",
        hint="Darknet writes the file name of the image without its suffix",
    )
    values = np.array(rows.values)
    corner, far = values[:, 1:3], values[:, 3:5]
    size = np.maximum(far - corner, 0)
    return np.column_stack([images, corner - 1, size, values[:, 0], np.full(len(values), class_id)])


def _read_rows(path: Path) -> _DarknetRows:
    try:
        text = read_regular(path).decode("utf-8", errors="replace")
    except OSError as fault:
        raise DataError(f"cannot be read: {reason_of(fault)}", path=str(path)) from None
    rows = _DarknetRows([], [])
    for number, line in enumerate(text.splitlines(), start=1):
        name, *values = line.rsplit(maxsplit=DARKNET_FIELDS - 1) or [""]
        if not line.strip():
            continue
        if len(values) != DARKNET_FIELDS - 1 or not all(_is_number(value) for value in values):
            raise DataError(
                "not an output line of `detector valid`",
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


def _index_by_stem(ground: GroundTruth) -> dict[Hashable, int]:
    """The index of each image by its file stem and by its id."""
    return _index_by_key(ground.image_ids) | {Path(file).stem: i for i, file in enumerate(ground.files)}


def _concat(parts: Sequence[Doubles]) -> Doubles:
    return np.concatenate([no_detections(), *parts])
