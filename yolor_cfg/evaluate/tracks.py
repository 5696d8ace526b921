"""Tracks against ground truth, both as text files of the MOT challenge: MOTA and IDF1, by TrackEval.

A line is `frame,id,left,top,width,height[,confidence,...]`, frames and ids being whole numbers, boxes in
pixels. In ground truth a confidence of 0 marks a line that does not count. Legend: R rows, G objects and T
tracks of one frame.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import DataError, MissingExtra, shorten
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.files import MOST_LABEL_BYTES, read_regular, reason_of

LEAST_COLUMNS = 6
FRAME, ID, BOX, FLAG = 0, 1, slice(2, 6), 6
SHARES = ("MOTA", "MOTP", "IDF1", "IDP", "IDR")
COUNTS = ("CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "ML")
"""The names of TrackEval."""
CAPITALS = {"mota": "MOTA", "motp": "MOTP", "idf1": "IDF1"}


class TrackScores(NamedTuple):
    """CLEAR MOT's figures and those of identities: MOTA, the mean IoU of what was found (MOTP), IDF1 with its
    precision and recall; counts of objects (boxes), of identities, of false positives, misses, switches of
    identity and gaps, and of identities tracked for at least 80 % and at most 20 % of their boxes."""

    mota: float
    motp: float
    idf1: float
    id_precision: float
    id_recall: float
    frames: int
    objects: int
    identities: int
    false_positives: int
    misses: int
    switches: int
    gaps: int
    mostly_tracked: int
    mostly_lost: int


def read_mot(path: str, *, is_truth: bool = False) -> Doubles:
    """The rows [R, 6] of a file: frame, id, left, top, width, height. Raises DataError with the line."""
    try:
        text = read_regular(path, MOST_LABEL_BYTES).decode("utf-8-sig", "replace")
    except OSError as fault:
        raise DataError(reason_of(fault), path=path) from None
    rows = [_read_line(line, path=path, number=number) for number, line in enumerate(text.splitlines(), 1)]
    kept = [row[:LEAST_COLUMNS] for row in rows if row and not (is_truth and row[FLAG : FLAG + 1] == [0.0])]
    found = np.array(kept, np.float64).reshape(-1, LEAST_COLUMNS)
    _refuse_doubles(found, path)
    return found


def _read_line(line: str, *, path: str, number: int) -> list[float]:
    words = line.replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [np.nan]
    whole = all(value.is_integer() for value in values[: BOX.start]) if np.isfinite(values).all() else False
    if words and (len(values) < LEAST_COLUMNS or not whole):
        allowed = "frame,id,left,top,width,height[,confidence,...]"
        raise DataError("not a line of tracks", path=path, line=number, found=shorten(line), allowed=allowed)
    return values if words else []


def _refuse_doubles(rows: Doubles, path: str) -> None:
    pairs, counts = np.unique(rows[:, [FRAME, ID]], axis=0, return_counts=True)
    if (counts > 1).any():
        frame, identity = pairs[counts > 1][0].astype(np.int64).tolist()
        raise DataError("an id twice in one frame", path=path, found=f"frame {frame}, id {identity}")


def score_tracks(truth: Doubles, tracks: Doubles) -> TrackScores:
    """The scores of tracks; raises MissingExtra without TrackEval."""
    clear, identity = _import_metrics()
    data = _frames_of(truth, tracks)
    with redirect_stdout(StringIO()):
        by_clear = clear({"PRINT_CONFIG": False}).eval_sequence(data)
        by_identity = identity({"PRINT_CONFIG": False}).eval_sequence(data)
    shares = {**by_clear, **by_identity}
    mota, motp, idf1, precision, recall = (float(shares[name]) for name in SHARES)
    frames, objects, identities = (data[f"num_{name}"] for name in ("timesteps", "gt_dets", "gt_ids"))
    counts = [int(by_clear[name]) for name in COUNTS]
    return TrackScores(mota, motp, idf1, precision, recall, frames, objects, identities, *counts)


def _import_metrics() -> tuple[Any, Any]:
    try:
        clear, identity = (import_module(f"trackeval.metrics.{name}") for name in ("clear", "identity"))
    except ImportError as cause:
        raise MissingExtra("track") from cause
    return clear.CLEAR, identity.Identity


def _frames_of(truth: Doubles, tracks: Doubles) -> dict[str, Any]:
    """What TrackEval's metrics read: ids from 0 on by frame, and the IoU of all pairs."""
    frames = np.unique(np.concatenate([truth[:, FRAME], tracks[:, FRAME]]))
    ours, theirs = _number_ids(truth), _number_ids(tracks)
    pairs = [(truth[:, FRAME] == frame, tracks[:, FRAME] == frame) for frame in frames]
    return {
        "num_timesteps": len(frames),
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(tracks),
        "num_gt_ids": len(np.unique(ours)),
        "num_tracker_ids": len(np.unique(theirs)),
        "gt_ids": [ours[mine] for mine, _ in pairs],
        "tracker_ids": [theirs[found] for _, found in pairs],
        "similarity_scores": [overlaps(truth[mine, BOX], tracks[found, BOX]) for mine, found in pairs],
    }


def _number_ids(rows: Doubles) -> NDArray[np.int64]:
    return np.unique(rows[:, ID], return_inverse=True)[1].astype(np.int64).reshape(-1)


def overlaps(objects: Doubles, others: Doubles) -> Doubles:
    """The IoU of boxes [G, 4] and [T, 4] (left, top, width, height): [G, T]."""
    low, low2 = objects[:, None, :2], others[None, :, :2]
    size, size2 = objects[:, None, 2:], others[None, :, 2:]
    shared = (np.minimum(low + size, low2 + size2) - np.maximum(low, low2)).clip(0).prod(axis=-1)
    whole = size.prod(axis=-1) + size2.prod(axis=-1) - shared
    found: Doubles = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return found


def tracks_to_dict(scores: TrackScores) -> dict[str, Any]:
    """The scores as a JSON object."""
    return {CAPITALS.get(name, name): value for name, value in scores._asdict().items()}
