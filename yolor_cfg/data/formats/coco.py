"""COCO's instances JSON: annotated areas, crowds, images without boxes, category ids with gaps."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from yolor_cfg.data.labels import DIFFICULT, NO_AREA, ImageLabels, LabelRow, separate_faults
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, read_text

CocoEntry = Mapping[str, Any]


def list_images(path: str, split: SplitName) -> ImageListing:
    """All images listed in the JSON, whatever the split; the classes are the categories sorted by id."""
    content = _read_document(path)
    categories = sorted(content.get("categories", []), key=lambda one: _require_value(one, "id", path))
    categories = drop_root_category(categories, content["annotations"])
    class_of = {one["id"]: number for number, one in enumerate(categories)}
    images: Sequence[CocoEntry] = content["images"]
    objects: dict[Any, list[CocoEntry]] = defaultdict(list)
    for annotation in content["annotations"]:
        objects[_require_value(annotation, "image_id", path)].append(annotation)
    ids = [_require_value(one, "id", path) for one in images]
    _refuse_unknown_images(objects, ids, path)

    def read(index: int, size: Size) -> ImageLabels:
        annotated = _annotated_size(images[index], size)
        labels = _read_labels(objects.get(ids[index], ()), class_of, size=annotated, path=path)
        return labels._replace(is_sideways=annotated != size and annotated == (size[1], size[0]))

    names = tuple(str(one.get("name", one["id"])) for one in categories)
    return ImageListing(
        "coco",
        names,
        _image_paths(images, path),
        read,
        lambda index: (path,),
        ids,
        category_ids=tuple(class_of),
    )


def drop_root_category(categories: Sequence[CocoEntry], annotations: Sequence[CocoEntry]) -> list[CocoEntry]:
    """The categories without the one that Roboflow adds above all others: alone without a supercategory
    ("none"), and without annotations, it is no class."""
    roots = [one for one in categories if str(one.get("supercategory", "")).lower() == "none"]
    used = {one.get("category_id") for one in annotations}
    if len(roots) != 1 or len(categories) == 1 or roots[0].get("id") in used:
        return list(categories)
    return [one for one in categories if one is not roots[0]]


def _read_document(path: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(read_text(path))
    except json.JSONDecodeError as fault:
        raise DataError("not valid JSON", path=path, line=fault.lineno, found=fault.msg) from None
    wanted = ("images", "annotations") if isinstance(content, dict) else ()
    lists = [key for key in wanted if isinstance(content.get(key), list)]
    if len(lists) < 2:
        raise DataError(
            "not a COCO instances JSON",
            path=path,
            found=", ".join(lists),
            allowed="an object with the lists images, annotations, categories",
        )
    return content


def _require_value(one: CocoEntry, key: str, path: str) -> Any:
    if key not in one:
        raise DataError(f"entry without {key}", path=path, found=json.dumps(one)[:80])
    return one[key]


def _refuse_unknown_images(objects: Mapping[Any, object], ids: Sequence[Any], path: str) -> None:
    strangers = sorted(map(str, set(objects) - set(ids)))
    if strangers:
        found = ", ".join(strangers[:5]) + (" ..." if len(strangers) > 5 else "")
        raise DataError("annotations of images that the JSON does not list", path=path, found=found)


def _image_paths(images: Sequence[CocoEntry], path: str) -> list[str]:
    """The paths of the images; the folder that contains the first image is tried first for all others."""
    bases = _base_folders(path)
    names = [str(_require_value(one, "file_name", path)) for one in images]
    if names and first_existing(names[0], bases) is None:
        tried = ", ".join(os.path.join(base, names[0]) for base in bases)
        raise DataError("images not found", path=path, found=names[0], hint=f"looked for {tried}")
    bases.sort(key=lambda base: not os.path.exists(os.path.join(base, *names[:1])))
    return [first_existing(name, bases) or os.path.join(bases[0], name) for name in names]


def _base_folders(path: str) -> list[str]:
    """The JSON's folder and its parent, with their images/ and the folder in the JSON's name (val2017)."""
    folder = os.path.dirname(os.path.abspath(path))
    above = os.path.dirname(folder)
    part = os.path.splitext(os.path.basename(path))[0].rpartition("_")[2]
    below = ((), ("images",), (part,), ("images", part))
    return [os.path.join(root, *rest) for root in (folder, above) for rest in below] + ["."]


def _annotated_size(image: CocoEntry, size: Size) -> Size:
    """The size that the annotations refer to: the one in the JSON if it has one."""
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else size


def _read_labels(
    objects: Sequence[CocoEntry], class_of: Mapping[Any, int], *, size: Size, path: str
) -> ImageLabels:
    return separate_faults(
        path, [(f"annotation {one.get('id', '?')}", _to_row(one, class_of, size)) for one in objects]
    )


def _to_row(one: CocoEntry, class_of: Mapping[Any, int], size: Size) -> LabelRow | str:
    label = class_of.get(one.get("category_id"))
    if label is None:
        return f"category {one.get('category_id')} is not listed in categories"
    try:
        left, top, width, height = map(float, one["bbox"])
        area = float(one.get("area", NO_AREA))
    except (KeyError, TypeError, ValueError):
        return "bbox is not four numbers (left, top, width, height)"
    rows, columns = size
    centre = (left + width / 2) / columns, (top + height / 2) / rows
    return LabelRow(
        0,
        label,
        float(one.get("track_id", -1)),
        *centre,
        width / columns,
        height / rows,
        DIFFICULT if one.get("difficult") else float(bool(one.get("iscrowd", 0))),
        area,
    )
