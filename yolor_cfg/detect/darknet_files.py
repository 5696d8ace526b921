"""The files that C Darknet writes of detections: the JSON of `detector test -out` (detection_to_json in
network.c), and the results of `detector valid` (detector.c) for the servers of VOC, COCO and ImageNet."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

from yolor_cfg.detect.darknet_text import shown_boxes
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame, ImageFile, MediaSource
from yolor_cfg.errors import DataError
from yolor_cfg.files import whole_file
from yolor_cfg.images.draw import Detection
from yolor_cfg.names import MAX_CLASSES
from yolor_cfg.runs import writing

COCO_GAPS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
COCO_IDS = tuple(number for number in range(1, 91) if number not in COCO_GAPS)
"""COCO's ids of its 80 categories."""
COCO_NAME = re.compile(r"(?:.*_)?([0-9]+)")
ClassEntry = tuple[int, str]
"""A class id, which tells the file where each class has one, and the text of an object or an image."""
AddImage = Callable[[Frame, Detections], None]


class DarknetForm(NamedTuple):
    """How a file is made of entries: `entries(number, frame, found)` of the image of that number from 1 on.
    With `is_by_class` each class has a file, PATH + its name + .txt."""

    entries: Callable[[int, Frame, Detections], Iterator[ClassEntry]]
    start: str = ""
    between: str = ""
    end: str = ""
    is_by_class: bool = False
    most_classes: int = MAX_CLASSES


class WantedFile(NamedTuple):
    """A file to write: a key of `FORMS`, and its path, or that with which the paths of its files begin."""

    kind: str
    path: str


def check_sources(wanted: Sequence[WantedFile], sources: Iterable[MediaSource]) -> None:
    """Raise DataError if one of these files cannot tell an image of these sources: before any is read."""
    if any(kind == "coco" for kind, _ in wanted):
        for source in sources:
            _coco_image_id(source.path if isinstance(source, ImageFile) else source.address)


@contextmanager
def darknet_files(wanted: Sequence[WantedFile], names: Sequence[str], *, force: bool) -> Iterator[AddImage]:
    """A function that adds an image to all of these files, which are complete at the end, also where Ctrl-C
    ends the work, and absent after an error. Existing files are replaced only with `force`."""
    with ExitStack() as stack:
        writers = [
            _Writer(FORMS[kind], _open_files(FORMS[kind], path, names, stack=stack, force=force))
            for kind, path in wanted
        ]
        interrupt = None

        def add(frame: Frame, found: Detections) -> None:
            for writer in writers:
                writer.add(frame, found)

        try:
            yield add
        except KeyboardInterrupt as fault:
            interrupt = fault
        for writer in writers:
            writer.finish()
    if interrupt:
        raise interrupt


def _open_files(
    form: DarknetForm, path: str, names: Sequence[str], *, stack: ExitStack, force: bool
) -> list[IO[str]]:
    paths = [path + _file_part(name, path) + ".txt" for name in names] if form.is_by_class else [path]
    if len(names) > form.most_classes:
        allowed = f"at most {form.most_classes}, those of COCO in its order"
        raise DataError("COCO has fewer classes", path=path, found=f"{len(names)} classes", allowed=allowed)
    with writing(Path(paths[0])):
        Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
    partials = [stack.enter_context(whole_file(one, fault=DataError, force=force)) for one in paths]
    return [stack.enter_context(partial.open("w", encoding="utf-8")) for partial in partials]


def _file_part(name: str, path: str) -> str:
    if {os.sep, os.altsep, "\0"} & set(name):
        raise DataError("the name of a class cannot be part of a file's name", path=path, found=name)
    return name


class _Writer:
    """The open files of one form."""

    def __init__(self, form: DarknetForm, files: Sequence[IO[str]]) -> None:
        self._form, self._files = form, files
        self._images = self._entries = 0
        files[0].write(form.start)

    def add(self, frame: Frame, found: Detections) -> None:
        self._images += 1
        for class_id, text in self._form.entries(self._images, frame, found):
            file = self._files[class_id if self._form.is_by_class else 0]
            file.write((self._form.between if self._entries else "") + text)
            self._entries += 1

    def finish(self) -> None:
        self._files[0].write(self._form.end)
        for file in self._files:
            file.close()


def _json_entries(number: int, frame: Frame, found: Detections) -> Iterator[ClassEntry]:
    """An object for the image; boxes are fractions of it. A frame of a video has no file name."""
    name = f' "filename":{json.dumps(frame.source, ensure_ascii=False)}, \n' if frame.index is None else ""
    height, width = frame.image.shape[:2]
    objects = ", \n".join(_json_object(one, height, width) for one in _stored_order(shown_boxes(found)))
    yield 0, f'{{\n "frame_id":{number}, \n{name} "objects": [ \n{objects}\n ] \n}}'


def _json_object(one: Detection, height: int, width: int) -> str:
    x, y, w, h = one.box_xywh
    place = (
        f'"center_x":{x / width:f}, "center_y":{y / height:f}, "width":{w / width:f}, "height":{h / height:f}'
    )
    name = json.dumps(one.name, ensure_ascii=False)
    start = f'  {{"class_id":{one.class_id}, "name":{name}, "relative_coordinates":{{{place}}}'
    return f'{start}, "confidence":{one.score:f}}}'


def _stored_order(found: Sequence[Detection]) -> Iterator[Detection]:
    """As Darknet's NMS leaves them: it sorts the boxes by one class after the other, so they stand by the
    score of the last class, then of the one before, ...; of one box the classes by number."""
    boxes = sorted(found, key=lambda one: (one.box, one.class_id))
    groups = [list(same) for _, same in groupby(boxes, key=lambda one: one.box)]
    for same in sorted(groups, key=_class_scores, reverse=True):
        yield from same


def _class_scores(same: Sequence[Detection]) -> list[tuple[int, float]]:
    return [(one.class_id, one.score) for one in reversed(same)]


def _voc_entries(number: int, frame: Frame, found: Detections) -> Iterator[ClassEntry]:
    """Name, score and corners; pixels count from 1."""
    height, width = frame.image.shape[:2]
    for one in found:
        left, top, right, bottom = (side + 1 for side in one.bounds_xyxy)
        box = f"{max(left, 1):f} {max(top, 1):f} {min(right, width):f} {min(bottom, height):f}"
        yield one.class_id, f"{_image_name(frame.source)} {one.score:f} {box}\n"


def _imagenet_entries(number: int, frame: Frame, found: Detections) -> Iterator[ClassEntry]:
    for one in found:
        box = " ".join(f"{side:f}" for side in _clip(one, frame))
        yield one.class_id, f"{number} {one.class_id + 1} {one.score:f} {box}\n"


def _coco_entries(number: int, frame: Frame, found: Detections) -> Iterator[ClassEntry]:
    image = _coco_image_id(frame.source)
    for one in found:
        left, top, right, bottom = _clip(one, frame)
        box = f"{left:f}, {top:f}, {right - left:f}, {bottom - top:f}"
        start = f'{{"image_id":{image}, "category_id":{COCO_IDS[one.class_id]}, "bbox":[{box}]'
        yield one.class_id, f'{start}, "score":{one.score:f}}}'


def _clip(one: Detection, frame: Frame) -> tuple[float, float, float, float]:
    height, width = frame.image.shape[:2]
    left, top, right, bottom = one.bounds_xyxy
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _image_name(source: str) -> str:
    """The name of the file up to its first dot, as C Darknet takes it."""
    return Path(source).name.partition(".")[0]


def _coco_image_id(source: str) -> int:
    """The number that the file's name is or ends in; C Darknet takes no other names than numbers."""
    match = COCO_NAME.fullmatch(_image_name(source))
    if match is None:
        allowed = "a number, as 000000000139.jpg or COCO_val2014_000000000042.jpg"
        raise DataError("the name of the image tells no id of COCO", path=source, allowed=allowed)
    return int(match[1])


FORMS = {
    "json": DarknetForm(_json_entries, "[\n", ", \n", "\n]"),
    "voc": DarknetForm(_voc_entries, is_by_class=True),
    "coco": DarknetForm(_coco_entries, "[\n", ",\n", "\n]\n", most_classes=len(COCO_IDS)),
    "imagenet": DarknetForm(_imagenet_entries),
}
