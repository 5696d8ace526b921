"""C Darknet's layout: lists of images, labels in labels/ beside images/, class names, a .data file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from yolor_cfg.data.types import Dataset, Sample, SplitName
from yolor_cfg.data.writing.parts import (
    ImageNames,
    WrittenParts,
    bring_image,
    label_lines,
    name_line,
    write_lines,
)
from yolor_cfg.errors import DataError
from yolor_cfg.runs import whole_folder

LISTS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}


def write_darknet(parts: WrittenParts, folder: str | Path, *, links: bool = False) -> Path:
    """Write images/, labels/, a list per split and the names to a new folder; returns its .data file.

    An image that stands in two lists is written once. Crowds are left out, as text labels cannot mark them;
    the difficult objects to validate on stand in files of their own. A label file has six columns if any of
    its objects has an identity.
    """
    names = next(iter(parts.values())).data.names
    with whole_folder(folder, fault=DataError) as root:
        writer = _FolderWriter(root, links)
        for split, part in parts.items():
            lines = [writer.write_sample(split, one) for one in part.data.samples]
            write_lines(root / f"{split}.txt", lines)
        write_lines(root / "classes.names", map(name_line, names))
        lists = [f"{LISTS[split]} = {split}.txt" for split in parts]
        if writer.difficult:
            write_lines(root / "difficult.txt", map(_difficult_line, writer.lines["val"]))
            lists.append("difficult = difficult.txt")
        lists += _annotated_line(next(iter(parts.values())).data)
        write_lines(root / "converted.data", [f"classes = {len(names)}", *lists, "names = classes.names"])
    return Path(folder) / "converted.data"


def _annotated_line(data: Dataset) -> list[str]:
    """Our key for the classes that images are labelled for; none where it is all of them."""
    return [f"annotated = {', '.join(map(name_line, data.annotated))}"] if data.annotated else []


class _FolderWriter:
    """Writes images and labels; `lines` are the lines of the lists so far, by split."""

    def __init__(self, root: Path, links: bool) -> None:
        self.root = root
        self.links = links
        self.lines: dict[str, list[str]] = {}
        self.difficult = 0
        self._names = ImageNames()
        self._written: dict[tuple[str, tuple[str, ...]], str] = {}

    def write_sample(self, split: SplitName, sample: Sample) -> str:
        """Write an image and its labels; returns its line of the list."""
        identified = bool((sample.identities >= 0).any())
        rows = np.flatnonzero(~sample.crowd).tolist()
        text = tuple(label_lines(sample, rows, identities=identified))
        source = os.path.abspath(sample.image)
        if (source, text) not in self._written:
            self._written[source, text] = self._write_new(split, source, text)
        line = self._written[source, text]
        self.lines.setdefault(split, []).append(line)
        if split == "val" and sample.difficult.any():
            self.difficult += 1
            hard = label_lines(sample, np.flatnonzero(sample.difficult).tolist(), identities=identified)
            write_lines((self.root / _difficult_line(line)).with_suffix(".txt"), hard)
        return line

    def _write_new(self, split: SplitName, source: str, text: tuple[str, ...]) -> str:
        name = self._names.choose(split, source)
        bring_image(source, self.root / "images" / split / name, links=self.links)
        write_lines((self.root / "labels" / split / name).with_suffix(".txt"), text)
        return f"images/{split}/{name}"


def _difficult_line(line: str) -> str:
    """C Darknet reads only the label file that belongs to this path."""
    return "difficult" + line.removeprefix("images")
