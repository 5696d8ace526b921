"""The output of a run: a new folder with annotated media, labels, crops, detections.jsonl, summary.json.

Nothing is overwritten, and every file is complete or absent: it is written under a hidden name, then renamed.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from yolor_cfg.detect.detections import label_record
from yolor_cfg.detect.embeddings import VectorTable, embedded_records
from yolor_cfg.detect.live import StreamNote
from yolor_cfg.detect.sources import Frame, IncompleteVideo, UnreadableSource
from yolor_cfg.detect.video import VideoClip
from yolor_cfg.images.draw import Detection, DetectionsLike, draw_detections, iter_detections, to_rgb
from yolor_cfg.images.types import Image
from yolor_cfg.runs import EncodedImage, encode_image, new_file, save_encoded, save_image, save_text, writing

Box = tuple[float, float, float, float]
Drawn = Image | EncodedImage | None
"""A picture to be written: pixels of a video, the content of another file, or nothing."""

KEPT_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Images of other kinds are written as .jpg."""
MAX_NAME_BYTES = 220
"""Bytes; file systems allow 255, and a suffix and a number must still fit."""
SHORT_NAME_LENGTH = 50
"""Characters kept of a name that is too long or made from a URL; at most four bytes each."""


class OutputOptions(NamedTuple):
    """What to write besides summary.json; `has_scores` adds the score to each line of the labels,
    `has_embeddings` the embedding to each record, and all of them in embeddings.npz."""

    has_media: bool = True
    has_labels: bool = False
    has_scores: bool = False
    has_crops: bool = False
    has_records: bool = False
    has_embeddings: bool = False


def frame_record(frame: Frame, detections: DetectionsLike, *, has_embeddings: bool = False) -> dict[str, Any]:
    """One line of detections.jsonl: boxes in image pixels, unclipped, so they may extend beyond the image;
    with `has_embeddings` with their embeddings."""
    height, width = frame.image.shape[:2]
    boxes = [one.to_dict() for one in iter_detections(detections)]
    if has_embeddings:
        boxes = list(embedded_records(boxes, detections))
    moment: dict[str, float] = {} if frame.index is None else {"frame": frame.index}
    if frame.time_s is not None:
        moment["time_s"] = round(frame.time_s, 6)
    found = {"detections": boxes, **label_record(detections)}
    heat = getattr(detections, "heat", None)
    if heat is not None:
        heat.add_to(found)
    return {"source": frame.source, **moment, "width": width, "height": height, **found}


def label_lines(frame: Frame, detections: DetectionsLike, *, has_scores: bool = False) -> str:
    """One `class cx cy w h [score]` per line, as fractions of the image; boxes are clipped to it."""
    height, width = frame.image.shape[:2]
    lines = []
    for one, (left, top, right, bottom) in _clip_detections(frame.image, detections):
        numbers = [(left + right) / 2 / width, (top + bottom) / 2 / height]
        numbers += [(right - left) / width, (bottom - top) / height, *([one.score] if has_scores else [])]
        lines.append(" ".join([str(one.class_id), *(f"{number:.6f}" for number in numbers)]) + "\n")
    return "".join(lines)


class ResultsWriter:
    """The files of one run. As a context manager it finishes open files, even after an interruption."""

    def __init__(self, folder: Path, wanted: OutputOptions) -> None:
        """`folder` comes from `new_folder`."""
        self.folder = folder
        self.notes: list[str] = []
        self.labels: Counter[str] = Counter()
        """How many images have a class as the best of their labels, where the network tells any."""
        self._options = wanted
        self._stems: set[str] = set()
        self._clip: VideoClip | None = None
        self._records: IO[str] | None = None
        self._open = ExitStack()
        self._sources: set[str] = set()
        self._frames = 0
        self._class_counts: Counter[str] = Counter()
        self._unreadable: list[UnreadableSource] = []
        self._incomplete: list[IncompleteVideo] = []
        self._vectors = VectorTable()

    def draw(self, frame: Frame, detections: DetectionsLike) -> Drawn:
        """What is to be written of the picture: pixels of a video, the content of another file. Threads may
        call it."""
        if not self._options.has_media:
            return None
        drawn = draw_detections(frame.image, detections)
        return drawn if frame.index is not None else encode_image(_image_suffix(frame.source), drawn)

    def add(self, frame: Frame, detections: DetectionsLike, drawn: Drawn = None) -> None:
        """Write everything asked for of one frame; the frames of a video must come in sequence. `drawn` is
        what `draw` gave."""
        drawn = self.draw(frame, detections) if drawn is None else drawn
        self._sources.add(frame.source)
        self._frames += 1
        self._class_counts.update(one.name for one in iter_detections(detections))
        self.labels.update(one.name for one in (getattr(detections, "labels", None) or ())[:1])
        write = self._save_image if frame.index is None else self._write_frame
        stem = write(frame, drawn)
        if self._options.has_labels:
            text = label_lines(frame, detections, has_scores=self._options.has_scores)
            save_text(self.folder / "labels" / f"{stem}.txt", text)
        if self._options.has_crops:
            self._save_crops(frame, detections, stem=stem)
        self._save_heat(frame, getattr(detections, "heat", None), stem=stem)
        if self._options.has_records:
            self._write_record(frame, detections)
        if self._options.has_embeddings:
            self._vectors.add(frame, detections)

    def skip(self, item: UnreadableSource | IncompleteVideo | StreamNote) -> None:
        """List an unreadable source or an incomplete video in the summary."""
        if isinstance(item, IncompleteVideo):
            self._incomplete.append(item)
        elif isinstance(item, UnreadableSource):
            self._unreadable.append(item)

    def close(self, *, complete: bool = True) -> None:
        """Finish the video and detections.jsonl; write summary.json, which tells if even that failed."""
        try:
            self._finish_clip(is_whole=complete)
            self._open.close()
            if self._options.has_embeddings:
                self._vectors.save(self.folder / "embeddings.npz")
        except BaseException:
            self._save_summary(complete=False)
            raise
        self._save_summary(complete=complete)

    def _save_summary(self, *, complete: bool) -> None:
        save_text(self.folder / "summary.json", json.dumps(self.summary(complete=complete), indent=1) + "\n")

    def summary(self, *, complete: bool = True) -> dict[str, Any]:
        """Counts of the run so far, and the sources that could not be read, or not to their end."""
        return {
            "sources": len(self._sources),
            "frames": self._frames,
            "detections": sum(self._class_counts.values()),
            "classes": dict(self._class_counts.most_common()),
            "unreadable": [{"source": item.source, "reason": item.reason} for item in self._unreadable],
            "incomplete": [
                {"source": item.source, "frames_lost": item.lost, "frames": item.announced}
                for item in self._incomplete
            ],
            "complete": complete and not self._incomplete,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    def _save_image(self, frame: Frame, drawn: Drawn) -> str:
        """Save an annotated image; return the stem of its files, which is unique to it."""
        self._finish_clip()
        stem = self._unique_stem(source_stem(frame.source))
        if isinstance(drawn, EncodedImage):
            save_encoded(self.folder / (stem + _image_suffix(frame.source)), drawn)
        return stem

    def _write_frame(self, frame: Frame, drawn: Drawn) -> str:
        """Append an annotated frame to its video; return the stem of the frame's files."""
        assert frame.index is not None
        if self._clip is None or not self._clip.can_append(frame):
            self._finish_clip()
            self._clip = VideoClip(self.folder / f"{self._unique_stem(source_stem(frame.source))}.mp4", frame)
        if isinstance(drawn, np.ndarray):
            self._clip.write(drawn, frame.time_s)
        self._clip.index = frame.index
        return self._unique_stem(f"{self._clip.path.stem}_{frame.index:06d}")

    def _finish_clip(self, *, is_whole: bool = True) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            clip.close(is_whole=is_whole)
            self.notes += [note for note in clip.notes if note not in self.notes]

    def _save_crops(self, frame: Frame, detections: DetectionsLike, *, stem: str) -> None:
        for number, (one, box) in enumerate(_clip_detections(frame.image, detections)):
            left, top, right, bottom = (int(side) for side in (*np.floor(box[:2]), *np.ceil(box[2:])))
            folder = self.folder / "crops" / _to_file_name(one.name)
            save_image(folder / f"{stem}_{number}.jpg", to_rgb(frame.image[top:bottom, left:right]))

    def _save_heat(self, frame: Frame, heat: Any, *, stem: str) -> None:
        """Save the pictures of heat maps, if there are any, and put their files down there."""
        for picture in heat.pictures(frame.image) if heat else ():
            path = self.folder / f"{self._unique_stem(f'{stem}_heat')}.jpg"
            save_image(path, picture)
            heat.files.append(str(path))

    def _write_record(self, frame: Frame, detections: DetectionsLike) -> None:
        path = self.folder / "detections.jsonl"
        with writing(path):
            if self._records is None:
                partial = self._open.enter_context(new_file(path))
                self._records = self._open.enter_context(partial.open("w", encoding="utf-8"))
            record = frame_record(frame, detections, has_embeddings=self._options.has_embeddings)
            self._records.write(json.dumps(record) + "\n")
            self._records.flush()

    def _unique_stem(self, stem: str) -> str:
        """The stem, with _2, _3, ... if it is taken; case is ignored, as in some file systems."""
        number, fresh = 1, stem
        while fresh.casefold() in self._stems:
            number += 1
            fresh = f"{stem}_{number}"
        self._stems.add(fresh.casefold())
        return fresh


def _image_suffix(source: str) -> str:
    """The suffix of the drawn copy of an image."""
    suffix = Path(source).suffix.lower()
    return suffix if suffix in KEPT_SUFFIXES else ".jpg"


def source_stem(source: str) -> str:
    """The stem of a source's files: its name without suffix; for a URL, host and path."""
    if source.isdecimal():
        return f"camera{source}"
    if "://" in source:
        return _to_file_name(source.partition("://")[2].rpartition("@")[2])  # never a password
    stem = Path(source).stem
    return stem if len(os.fsencode(stem)) <= MAX_NAME_BYTES else stem[:SHORT_NAME_LENGTH]


def _to_file_name(text: str) -> str:
    """The text as the name of a file or folder: a single path component, not hidden, not too long."""
    return re.sub(r"[^\w.+=@()\[\] -]+", "_", text)[:SHORT_NAME_LENGTH].strip(". ") or "unnamed"


def _clip_detections(image: Image, detections: DetectionsLike) -> Iterator[tuple[Detection, Box]]:
    """Each detection that overlaps the image, with its box clipped to it; that around it if it is turned."""
    height, width = image.shape[:2]
    for one in iter_detections(detections):
        left, top, right, bottom = np.clip(one.bounds_xyxy, 0, (width, height, width, height)).tolist()
        if right > left and bottom > top:
            yield one, (left, top, right, bottom)
