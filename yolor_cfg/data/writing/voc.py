"""Pascal VOC: JPEGImages/, Annotations/, ImageSets/Main/, with pixels that start at 1 and are whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.extras import PLAIN, AttributeValue, ObjectExtras
from yolor_cfg.data.statistics.channels import read_channel_count
from yolor_cfg.data.types import Integers, Sample
from yolor_cfg.data.writing.parts import (
    CONTROL,
    ImageNames,
    WrittenParts,
    bring_image,
    name_line,
    write_lines,
)
from yolor_cfg.errors import DataError
from yolor_cfg.runs import whole_folder

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc(parts: WrittenParts, folder: str | Path, *, links: bool = False) -> Path:
    """Write the splits to a new folder, with the classes in classes.txt in their order; returns it.

    Crowds are left out, as there is no mark for them.
    """
    writer = _VocWriter(links)
    with whole_folder(folder, fault=DataError) as root:
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / name).mkdir(parents=True)
        for split, part in parts.items():
            lines = []
            for sample, extras in zip(part.data.samples, part.extras, strict=True):
                lines.append(writer.write(root, sample, extras, names=part.data.names))
            write_lines(root / f"ImageSets/Main/{split}.txt", lines)
        write_lines(root / "classes.txt", map(name_line, next(iter(parts.values())).data.names))
    return Path(folder)


class _VocWriter:
    """Writes images with their XML files; the same image with the same objects is written once."""

    def __init__(self, links: bool) -> None:
        self.links = links
        self._names = ImageNames()
        self._written: dict[tuple[str, bytes], str] = {}

    def write(
        self, root: Path, sample: Sample, extras: Sequence[ObjectExtras], *, names: Sequence[str]
    ) -> str:
        """Write one image; returns its stem, which lists of images have."""
        objects = _make_objects(sample, extras, names)
        key = sample.image, b"".join(map(ElementTree.tostring, objects))
        if key not in self._written:
            name = self._names.choose("", sample.image)
            self._written[key] = Path(name).stem
            bring_image(sample.image, root / "JPEGImages" / name, links=self.links)
            tree = ElementTree.ElementTree(_annotation(name, sample, objects))
            ElementTree.indent(tree, "\t")
            place = root / f"Annotations/{self._written[key]}.xml"
            tree.write(place, encoding="utf-8", xml_declaration=True)
        return self._written[key]


def _annotation(name: str, sample: Sample, objects: Sequence[ElementTree.Element]) -> ElementTree.Element:
    """The root of an XML file; of a file name that is not UTF-8 bytes are replaced: the stem counts."""
    height, width = sample.size
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name.encode("utf-8", "replace").decode())
    size = ElementTree.SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", read_channel_count(sample.image))):
        _add(size, key, str(value))
    _add(root, "segmented", "0")
    root.extend(objects)
    return root


def _make_objects(
    sample: Sample, extras: Sequence[ObjectExtras], names: Sequence[str]
) -> list[ElementTree.Element]:
    corners = whole_corners(sample).tolist()
    return [
        _make_object(
            names[sample.classes[row]], corners[row], bool(sample.difficult[row]), extras=extras[row]
        )
        for row in written_rows(sample)
    ]


def written_rows(sample: Sample) -> list[int]:
    """The rows of the boxes that are no crowds; difficult objects are none."""
    rows: list[int] = np.flatnonzero(~sample.crowd | sample.difficult).tolist()
    return rows


def _make_object(
    name: str, corners: Sequence[int], is_difficult: bool, *, extras: ObjectExtras
) -> ElementTree.Element:
    made = ElementTree.Element("object")
    given = dict(PLAIN) | dict(extras.attributes)
    _add(made, "name", name_line(name))
    for key in PLAIN:
        _add(made, key, _format_value(given.pop(key), is_flag=PLAIN[key] is False))
    _add(made, "difficult", str(int(is_difficult)))
    box = ElementTree.SubElement(made, "bndbox")
    for key, corner in zip(CORNERS, corners, strict=True):
        _add(box, key, str(corner))
    if given:
        made.append(_make_attributes(given))
    return made


def _make_attributes(given: Mapping[str, AttributeValue]) -> ElementTree.Element:
    """Attributes that Pascal VOC does not know, as CVAT writes them."""
    made = ElementTree.Element("attributes")
    for key, value in given.items():
        one = ElementTree.SubElement(made, "attribute")
        _add(one, "name", name_line(key))
        _add(one, "value", _format_value(value))
    return made


def _format_value(value: AttributeValue, *, is_flag: bool = False) -> str:
    if isinstance(value, bool):
        return str(int(value)) if is_flag else str(value).lower()
    return repr(value) if isinstance(value, float) else " ".join(CONTROL.sub(" ", str(value)).split())


def _add(above: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(above, name).text = text


def whole_corners(sample: Sample) -> Integers:
    """xmin, ymin, xmax, ymax [B, 4] of each box: pixels from 1 on, both ends inside; one pixel at least."""
    size = np.array(sample.size[::-1])
    low, high = _edges(sample)
    first = np.clip(np.rint(low).astype(np.int64) + 1, 1, size)
    last = np.clip(np.rint(high).astype(np.int64), first, size)
    return np.concatenate([first, last], axis=1)


def edge_shifts(sample: Sample) -> NDArray[np.float64]:
    """By how many pixels whole numbers move the edge of each box [B] that moves most."""
    low, high = _edges(sample)
    corners = whole_corners(sample)
    moved = np.abs(np.concatenate([corners[:, :2] - 1 - low, corners[:, 2:] - high], axis=1))
    return np.asarray(moved.max(axis=1, initial=0.0))


def _edges(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    boxes = sample.boxes_xywh.astype(np.float64) * np.tile(sample.size[::-1], 2)
    return boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
