"""One run by many processes, in parts: files of JSON lines, each with a marker when it is done.

A part is a block of sources in the order of the list; shard i of n does the i-th part and every n-th after
it. So the parts one after the other are the lines of a run that was not divided, in its order, and what a
shard did not finish may be done by any number of other ones. Part and marker are written whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from yolor_cfg.detect.embeddings import VectorTable
from yolor_cfg.detect.sources import Frame, IncompleteVideo, UnreadableSource
from yolor_cfg.detect.write import frame_record
from yolor_cfg.errors import CfgError, DataError, YolorError, shorten
from yolor_cfg.files import StrPath, read_regular, reason_of, replace_file
from yolor_cfg.images.draw import DetectionsLike, iter_detections
from yolor_cfg.runs import clean_run, new_file, save_text, writing

SETTINGS = "settings.json"
MOST_SHARDS = 1_000_000
MOST_PART_SIZE, PARTS_A_SHARD = 1000, 4
"""Unless told otherwise a shard has four parts or more, of at most 1000 sources."""
MOST_NAMED = 5
"""Missing parts that a message names."""


class RunShard(NamedTuple):
    """Number `number` of `total`, from 1."""

    number: int = 1
    total: int = 1

    def owned_parts(self, parts: int) -> range:
        """Its parts of so many, numbered from 0."""
        return range(self.number - 1, parts, self.total)

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> RunShard:
    """`2/8` as a RunShard; raises ValueError for anything else than I/N with 1 <= I <= N."""
    number, _, count = text.partition("/")
    if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in (number, count)):
        raise ValueError(f"{text!r} is not I/N, such as 2/8: the second of eight shards")
    shard = RunShard(int(number), int(count))
    if not 1 <= shard.total <= MOST_SHARDS:
        raise ValueError(f"{text!r}: the number of shards is from 1 to {MOST_SHARDS}")
    if not 1 <= shard.number <= shard.total:
        raise ValueError(f"{text!r}: shards are counted from 1 to {shard.total}")
    return shard


def choose_part_size(sources: int, shards: int) -> int:
    """How many sources a part has if nobody says."""
    return max(1, min(MOST_PART_SIZE, -(-sources // (PARTS_A_SHARD * shards))))


class RunParts(NamedTuple):
    """The parts of a run: their folder and what the shards agreed on."""

    folder: Path
    sources: int
    size: int

    @property
    def total(self) -> int:
        """How many parts there are."""
        return -(-self.sources // self.size)

    def block(self, number: int) -> slice:
        """The sources of a part."""
        return slice(number * self.size, (number + 1) * self.size)

    def lines_path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{number:08d}.jsonl"

    def marker_path(self, number: int) -> Path:
        """The file that says that a part is done."""
        return self.folder / f"part-{number:08d}.done"

    def read_marker(self, number: int) -> dict[str, Any] | None:
        """What the marker of a part says; None if the part is not done or not as it was then."""
        try:
            marker = json.loads(read_regular(self.marker_path(number)))
            is_whole = self.lines_path(number).stat().st_size == marker["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return marker if is_whole else None


def open_parts(folder: Path, settings: Mapping[str, Any], *, part_size: int | None, shards: int) -> RunParts:
    """The parts in this folder, which is made if it is not there, for a run with these settings (`sources` is
    the number of sources). Raises CfgError if the folder holds anything else than parts of the same run."""
    sources = settings["sources"]
    wanted = {**settings, "part_size": part_size or choose_part_size(sources, shards)}
    place = folder / SETTINGS
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not place.exists() and any(not one.name.startswith(".") for one in folder.iterdir()):
            raise CfgError("holds other results", path=str(folder), hint="give another --name")
    clean_run(folder)
    stored = _agree_on(place, wanted)
    if part_size is None:
        wanted["part_size"] = stored.get("part_size")
    _refuse_others(folder, stored, json.loads(json.dumps(wanted)))
    return RunParts(folder, sources, stored["part_size"])


def _agree_on(place: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the file; those that are wanted if no other shard was there before."""
    text = json.dumps(wanted, indent=1) + "\n"
    if not place.exists():
        try:
            replace_file(place, lambda file: file.write(text.encode()), fault=YolorError)
        except YolorError:
            if not place.exists():  # else another shard was faster
                raise
    return read_settings(place)


def read_settings(place: Path) -> dict[str, Any]:
    """The settings of a run in parts; raises DataError if the file does not hold them."""
    try:
        stored = json.loads(read_regular(place))
    except FileNotFoundError:
        hint = "yolor detect ... --shard I/N --project FOLDER writes them"
        raise DataError("no parts of a run are here", path=str(place.parent), hint=hint) from None
    except OSError as fault:
        raise DataError(f"cannot be read: {reason_of(fault)}", path=str(place)) from None
    except ValueError:
        raise DataError("not valid JSON", path=str(place)) from None
    numbers = [stored.get(name) for name in ("sources", "part_size")] if isinstance(stored, dict) else [0]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise DataError("not the settings of a run in parts", path=str(place))
    return dict(stored)


def _refuse_others(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    others = [name for name in wanted if stored.get(name) != wanted[name]]
    others += [name for name in stored if name not in wanted]
    if others:
        here, there = (", ".join(f"{name} {side.get(name)}" for name in others) for side in (wanted, stored))
        raise CfgError(
            "the parts in this folder were made with other settings",
            path=str(folder),
            found=shorten(here, 400),
            allowed=shorten(there, 400),
            hint="give the same options and sources, or another --name",
        )


class PartWriter:
    """The lines of a part and what is counted of them."""

    def __init__(self, file: IO[str], *, has_embeddings: bool = False) -> None:
        self._file, self._has_embeddings = file, has_embeddings
        self._sources: set[str] = set()
        self._frames = 0
        self._classes: Counter[str] = Counter()
        self._unreadable: list[dict[str, Any]] = []
        self._incomplete: list[dict[str, Any]] = []

    def add(self, frame: Frame, detections: DetectionsLike) -> None:
        """Write the line of an image."""
        self._sources.add(frame.source)
        self._frames += 1
        self._classes.update(one.name for one in iter_detections(detections))
        record = frame_record(frame, detections, has_embeddings=self._has_embeddings)
        self._file.write(json.dumps(record) + "\n")

    def skip(self, item: object) -> None:
        """Note an unreadable source or an incomplete video."""
        if isinstance(item, UnreadableSource):
            self._unreadable.append({"source": item.source, "reason": item.reason})
        elif isinstance(item, IncompleteVideo):
            lost = {"frames_lost": item.lost, "frames": item.announced}
            self._incomplete.append({"source": item.source, **lost})

    def marker(self, size: int) -> dict[str, Any]:
        """What the marker of the part says; its file has `size` bytes."""
        return {
            "bytes": size,
            "sources": len(self._sources),
            "frames": self._frames,
            "classes": dict(self._classes),
            "unreadable": self._unreadable,
            "incomplete": self._incomplete,
        }


@contextmanager
def new_part(parts: RunParts, number: int, *, has_embeddings: bool = False) -> Iterator[PartWriter]:
    """What writes a part; when all went well, it gets its name, and then its marker."""
    path = parts.lines_path(number)
    with new_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        writer = PartWriter(file, has_embeddings=has_embeddings)
        yield writer
    with writing(path):
        marker = writer.marker(path.stat().st_size)
    save_text(parts.marker_path(number), json.dumps(marker) + "\n")


def unite_parts(folder: StrPath) -> dict[str, Any]:
    """Write detections.jsonl and summary.json, as a run that was not divided does, and with embeddings
    embeddings.npz of its numbers, which are rounded; return the summary.

    Raises DataError if a part is not done. A source in two parts is counted twice.
    """
    settings = read_settings(Path(folder) / SETTINGS)
    parts = RunParts(Path(folder), settings["sources"], settings["part_size"])
    markers = [parts.read_marker(number) for number in range(parts.total)]
    _refuse_missing(parts, [number for number, marker in enumerate(markers) if marker is None])
    with new_file(parts.folder / "detections.jsonl") as partial, partial.open("wb") as file:
        for number in range(parts.total):
            with parts.lines_path(number).open("rb") as lines:
                shutil.copyfileobj(lines, file)
    if settings.get("save_embeddings"):
        _save_vectors(parts.folder)
    summary = sum_markers([marker for marker in markers if marker])
    save_text(parts.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def _save_vectors(folder: Path) -> None:
    """embeddings.npz of the lines of detections.jsonl."""
    table = VectorTable()
    with (folder / "detections.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            table.add_record(json.loads(line))
    table.save(folder / "embeddings.npz")


def _refuse_missing(parts: RunParts, missing: list[int]) -> None:
    if missing:
        names = ", ".join(parts.lines_path(number).name for number in missing[:MOST_NAMED])
        raise DataError(
            f"{len(missing)} of {parts.total} parts are not done",
            path=str(parts.folder),
            found=names + (", ..." if len(missing) > MOST_NAMED else ""),
            hint="run the shards again: parts that are done are passed over",
        )


def sum_markers(markers: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary.json of all these parts."""
    classes: Counter[str] = Counter()
    for marker in markers:
        classes.update(marker["classes"])
    incomplete = [item for marker in markers for item in marker["incomplete"]]
    return {
        "sources": sum(marker["sources"] for marker in markers),
        "frames": sum(marker["frames"] for marker in markers),
        "detections": classes.total(),
        "classes": dict(classes.most_common()),
        "unreadable": [item for marker in markers for item in marker["unreadable"]],
        "incomplete": incomplete,
        "complete": not incomplete,
    }
