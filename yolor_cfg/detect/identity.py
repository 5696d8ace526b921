"""What decides the results of a run: the network, how it runs, and its sources."""

from __future__ import annotations

import hashlib
from typing import Any

from yolor_cfg.detect.base import ImageDetector
from yolor_cfg.detect.sources import MediaSources
from yolor_cfg.files import StrPath
from yolor_cfg.images.declared import pixel_limit
from yolor_cfg.images.orientation import orientation_rule


def describe_run(detector: ImageDetector, frames: MediaSources) -> dict[str, Any]:
    """The settings by which a detector finds what it finds in these sources, as values of JSON."""
    listed = "\n".join(map(str, frames.items)).encode("utf-8", "surrogateescape")
    return {
        **detector.describe(),
        "preprocess": detector.preprocess,
        "names": list(detector.names),
        **detector.rules._asdict(),
        **(detector.tiling.describe() if detector.tiling else {}),
        "batch_size": detector.batch_size,
        "vid_stride": frames.reading.vid_stride,
        "ignore_orientation": orientation_rule.ignores,
        "max_pixels": pixel_limit.most,
        "sources": len(frames.items),
        "sources_sha256": hashlib.sha256(listed).hexdigest(),
    }


def describe_files(cfg: StrPath, weights: StrPath) -> dict[str, Any]:
    """The content of cfg and weights."""
    return {"cfg_sha256": hash_file(cfg), "weights_sha256": hash_file(weights)}


def hash_file(path: StrPath) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
