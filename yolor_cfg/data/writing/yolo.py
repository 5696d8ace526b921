"""The layout of Ultralytics and YOLOv5: images/SPLIT/, labels/SPLIT/, data.yaml."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import yaml

from yolor_cfg.data.types import Sample
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

DESCRIPTION = "data.yaml"


def write_yolo(parts: WrittenParts, folder: str | Path, *, links: bool = False) -> Path:
    """Write the splits to a new folder; returns the path of its data.yaml.

    Lines have five columns; crowds and difficult objects are left out, as nothing can mark them. `path` is
    absolute, since programs look for a relative one in places of their own.
    """
    names = ImageNames()
    with whole_folder(folder, fault=DataError) as root:
        for split, part in parts.items():
            for sample in {one.image: one for one in part.data.samples}.values():
                _write_sample(root, split, sample, names=names, links=links)
        data = next(iter(parts.values())).data
        content: dict[str, object] = {
            "path": os.path.abspath(folder),
            **{split: f"images/{split}" for split in parts},
            "names": dict(enumerate(map(name_line, data.names))),
            **({"annotated": list(map(name_line, data.annotated))} if data.annotated else {}),
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (root / DESCRIPTION).write_text(text, encoding="utf-8", errors="surrogateescape")
    return Path(folder) / DESCRIPTION


def _write_sample(root: Path, split: str, sample: Sample, *, names: ImageNames, links: bool) -> None:
    name = names.choose(split, sample.image)
    bring_image(sample.image, root / "images" / split / name, links=links)
    rows = np.flatnonzero(~sample.crowd).tolist()
    target = (root / "labels" / split / name).with_suffix(".txt")
    write_lines(target, label_lines(sample, rows, identities=False))
