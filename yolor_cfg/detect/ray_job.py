"""A detector as a class for Ray Data's `map_batches`, and the job of `yolor ray`: images in, parquet out.

    from yolor_cfg.detect.ray_job import BatchDetector, detect_dataset
    rows = detect_dataset(ray.data.read_parquet("s3://.../images"), Detector("net.cfg", "net.weights"))
    rows.write_parquet("s3://.../found")

A row of the result has the path, width and height of an image in pixels, its boxes [M][4] (left, top, right,
bottom in pixels of the image), scores [M], classes [M] and `error`: why it could not be read, else null.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.detect.sources import ImageFile, open_sources
from yolor_cfg.errors import CfgError, DataError, MissingExtra, YolorError, escape

PATH, DATA = "path", "bytes"
"""The columns that are read: with the bytes of the files the paths are names only."""
MOST_ROWS, TASKS = 256, 4
"""An actor has four tasks or more of at most so many images: what is done again if it is lost."""


class JobOptions(NamedTuple):
    """How the job runs: so many actors, each with so many cores and GPUs, and images in a batch."""

    actors: int = 1
    cpus: float = 1
    gpus: float = 0
    batch_size: int = 16


DEFAULT_JOB = JobOptions()


class BatchDetector:
    """Called with a table of images (columns `path` or `bytes`, or both), it returns what is in them."""

    def __init__(self, detector: Any, threads: int = 1) -> None:
        """`detector` is a Detector, or a reference to one in Ray's object store."""
        torch.set_num_threads(threads)
        self.detector = detector if isinstance(detector, Detector) else import_module("ray").get(detector)

    def __call__(self, table: Any) -> Any:
        """pyarrow's table of results, a row for each row."""
        paths = _read_column(table, PATH) or [None] * len(table)
        images: Sequence[Any] = _read_column(table, DATA) or paths
        found = self.detector([image or b"" for image in images], on_error="skip")
        return make_table(paths, found)


def _read_column(table: Any, name: str) -> list[Any]:
    return table.column(name).to_pylist() if name in table.column_names else []


def make_table(paths: Sequence[str | None], found: Sequence[Detections]) -> Any:
    """The detections of images as pyarrow's table."""
    arrow = import_module("pyarrow")
    sides = [one.image_size for one in found]
    columns = {
        PATH: (paths, arrow.string()),
        "width": ([width for _, width in sides], arrow.int32()),
        "height": ([height for height, _ in sides], arrow.int32()),
        "boxes": ([one.boxes_xyxy.tolist() for one in found], arrow.list_(arrow.list_(arrow.float64()))),
        "scores": ([one.scores.tolist() for one in found], arrow.list_(arrow.float64())),
        "classes": ([one.classes.tolist() for one in found], arrow.list_(arrow.int64())),
        "error": ([one.error and one.error.message for one in found], arrow.string()),
    }
    return arrow.table({name: arrow.array(list(values), kind) for name, (values, kind) in columns.items()})


def import_ray() -> Any:
    """The module ray.data, and no statistics sent; raises MissingExtra without it, or where Ray is installed
    without what its part for data needs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import_module("pyarrow")
        return import_module("ray.data")
    except ImportError as cause:
        raise MissingExtra("ray", hint=str(cause)) from cause


def detect_dataset(
    dataset: Any,
    detector: Detector,
    *,
    job: JobOptions = DEFAULT_JOB,
    worker: type[BatchDetector] = BatchDetector,
) -> Any:
    """A Dataset of results for a Dataset of images. Ray Data replaces an actor that is lost and does again
    what it had not finished; rows come in any order."""
    data = import_ray()
    threads = max(1, int(job.cpus))
    return dataset.map_batches(
        worker,
        fn_constructor_args=(import_module("ray").put(detector), threads),
        batch_size=job.batch_size,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(size=job.actors),
        num_cpus=job.cpus,
        num_gpus=job.gpus,
    )


def open_dataset(sources: Sequence[str], actors: int = 1) -> Any:
    """A Dataset with a row for each image: of parquet files and folders of them (columns `path` or `bytes`),
    or of what `yolor detect` takes, without videos."""
    data = import_ray()
    tables = [absolute_place(source) for source in sources if is_parquet(source)]
    if not tables:
        return data.from_arrow(list(_list_paths(sources, actors)))
    if len(tables) < len(sources):
        raise CfgError("parquet and other sources do not go together", found=", ".join(sources))
    dataset = data.read_parquet(tables)
    known = [name for name in (PATH, DATA) if name in dataset.schema().names]
    if not known:
        names = ", ".join(dataset.schema().names)
        raise DataError("no images in these tables", path=tables[0], found=names, allowed=f"{PATH} or {DATA}")
    return dataset.select_columns(known)


def absolute_place(text: str) -> str:
    """A path as Ray's workers understand it, which run elsewhere; an address as it is."""
    return text if "://" in text else os.path.abspath(text)


def is_parquet(source: str) -> bool:
    """Whether a source is a parquet file, or a folder or an address with a name like one."""
    return source.rstrip("/").lower().endswith((".parquet", ".parquet/*"))


def _list_paths(sources: Sequence[str], actors: int) -> Iterator[Any]:
    """Tables of paths, each of which is one task."""
    arrow = import_module("pyarrow")
    paths = []
    for item in open_sources(sources).items:
        if not isinstance(item, ImageFile):
            raise DataError("not an image; yolor detect reads videos", path=escape(item.address))
        paths.append(os.path.abspath(item.path))
    rows = max(1, min(MOST_ROWS, -(-len(paths) // (TASKS * actors))))
    for start in range(0, len(paths), rows):
        yield arrow.table({PATH: paths[start : start + rows]})


def count_results(out: str, expected: int) -> dict[str, int]:
    """How many images there are in the parquet files of a job, and how many of them could not be read; raises
    YolorError if there are not as many as were given to it."""
    rows = import_module("pyarrow.dataset").dataset(out, format="parquet")
    images = rows.count_rows()
    if images != expected:
        raise YolorError("the results are not complete", path=out, found=f"{images} of {expected} images")
    failed = import_module("pyarrow.compute").field("error").is_valid()
    return {"images": images, "unreadable": rows.count_rows(filter=failed)}
