"""The objects in an XML file of Pascal VOC, in any encoding that Python knows."""

from __future__ import annotations

import codecs
import math
import os
import re
from typing import NamedTuple
from xml.etree import ElementTree

from yolor_cfg.data.extras import NOTHING, PLAIN, ObjectExtras, make_attributes, parse_attribute
from yolor_cfg.errors import DataError
from yolor_cfg.files import HEAD_BYTES, MOST_LABEL_BYTES, open_regular, read_regular, reason_of
from yolor_cfg.images.types import Size
from yolor_cfg.names import decode_text, tell_encoding

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*\?>""")
CVAT_FILE, CVAT_ROOT = (
    "annotations.xml",
    re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<annotations[\s>]"),
)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BOM = b"\xef\xbb\xbf"
EXPATS_OWN = frozenset({"utf-8", "utf8", "utf-16", "us-ascii", "iso-8859-1"})
ROOT_TAGS = frozenset("folder filename path size segmented object".split())
OBJECT_TAGS = frozenset("name difficult bndbox attributes polygon mask part pose truncated occluded".split())
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """One object of an XML file: its class name, its corners as text, whether it is marked difficult, and
    what it has besides."""

    name: str
    corners: list[str]
    difficult: bool
    extras: ObjectExtras = NOTHING


class VocFile(NamedTuple):
    """What an XML file holds: its objects, and the height and width of the image if it tells them."""

    objects: list[VocObject]
    size: Size | None


def read_voc(file: str) -> VocFile | str | None:
    """What an XML file holds, or what is wrong with it; None if there is no such file."""
    try:
        root = _parse_xml(read_regular(file, MOST_LABEL_BYTES), file)
    except FileNotFoundError:
        return None
    except OSError as fault:
        return f"cannot be read: {reason_of(fault)}"
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as fault:
        return f"not valid XML: {fault}"
    return VocFile([_parse_object(one) for one in root.iter("object")], _parse_size(root))


def refuse_other_xml(path: str) -> None:
    """Raise DataError for XML given in place of the folder that it stands in, and for CVAT's own format, or a
    folder with it: it describes all images in one file."""
    place = os.path.join(path, CVAT_FILE) if os.path.isdir(path) else path
    try:
        with open_regular(place) as file:
            is_cvat = CVAT_ROOT.match(file.read(HEAD_BYTES)) is not None
    except OSError:
        return
    if is_cvat:
        hint = "export from CVAT as Ultralytics YOLO, YOLO 1.1, COCO 1.0 or Pascal VOC 1.1"
        raise DataError("CVAT's own XML is not read", path=place, hint=hint)
    if place == path and path.lower().endswith(".xml"):
        hint = "of Pascal VOC give the folder that has Annotations/, or images with XML files beside them"
        raise DataError("XML of one image is no data set", path=path, hint=hint)


def unknown_tags(file: str) -> set[str]:
    """The elements of a file that are not read, those of objects behind `object.`; none of a faulty file."""
    try:
        root = _parse_xml(read_regular(file, MOST_LABEL_BYTES), file)
    except (OSError, ElementTree.ParseError, ValueError, LookupError, RecursionError):
        return set()
    inside = {
        f"object.{child.tag}" for one in root.iter("object") for child in one if child.tag not in OBJECT_TAGS
    }
    return inside | {child.tag for child in root if child.tag not in ROOT_TAGS}


def parse_number(text: str) -> float | None:
    """The finite number that a text is; None for all else, also what only Python takes for one."""
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None


def _parse_xml(data: bytes, file: str) -> ElementTree.Element:
    """What the XML parser cannot decode itself, as most Chinese encodings, is decoded by Python."""
    declared = DECLARATION.match(data.removeprefix(BOM))
    if declared is None:
        return _parse_undeclared(data, file)
    encoding = declared[1].decode("ascii")
    if encoding.lower() in EXPATS_OWN:
        return ElementTree.fromstring(data)
    text = data.decode(_usual_name(encoding))
    return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff"), count=1))


def _parse_undeclared(data: bytes, file: str) -> ElementTree.Element:
    """XML that says no encoding is UTF-8, or UTF-16 with its mark; else one is guessed and told."""
    text, encoding = ("", "") if data.startswith(UTF16_MARKS) else decode_text(data)
    if not encoding:
        return ElementTree.fromstring(data)
    root = ElementTree.fromstring(text)
    tell_encoding(os.path.dirname(file), encoding, ": XML files without an encoding")
    return root


def _usual_name(encoding: str) -> str:
    """gb18030 reads gbk and gb2312 too, and files that say one and use the other."""
    return "gb18030" if encoding.lower() in ("gb2312", "gbk", "cp936") else encoding


def _parse_size(root: ElementTree.Element) -> Size | None:
    """Many tools write 0 for what they do not know."""
    sides = [parse_number(root.findtext(f"size/{key}", "").strip()) for key in ("height", "width")]
    height, width = (int(side or 0) for side in sides)
    return (height, width) if height > 0 and width > 0 else None


def _parse_object(one: ElementTree.Element) -> VocObject:
    corners = [one.findtext(f"bndbox/{key}", "").strip() for key in CORNERS]
    difficult = one.findtext("difficult", "0").strip() not in ("", "0")
    return VocObject(one.findtext("name", "").strip(), corners, difficult, _parse_extras(one))


def _parse_extras(one: ElementTree.Element) -> ObjectExtras:
    """The attributes of Pascal VOC, and those of CVAT: `attributes/attribute` with name and value."""
    own = {key: one.findtext(key, "").strip() for key in PLAIN}
    more = [
        (each.findtext("name", "").strip(), each.findtext("value", "").strip())
        for each in one.iter("attribute")
    ]
    given = {key: text for key, text in own.items() if text} | {
        name: parse_attribute(text) for name, text in more if name and name != "difficult"
    }
    mask = one.find("polygon") is not None or one.find("mask") is not None
    return ObjectExtras(None, make_attributes(given), mask, one.find("part") is not None)
