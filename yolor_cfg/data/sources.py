"""One way to open a data set; its format is detected."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable

from yolor_cfg.data.formats import coco, darknet, folder, voc, yolo
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.scan import scan
from yolor_cfg.data.types import Dataset, LabelChecks, SplitName
from yolor_cfg.errors import DataError

KINDS = (
    "a Darknet .data file, a YOLO .yaml file, COCO's .json, a Pascal VOC folder, "
    "a folder with images/ and labels/, a .txt list of images"
)
STRICT = LabelChecks()
ListingReader = Callable[[str, SplitName], ImageListing]
READERS_BY_SUFFIX: dict[str, ListingReader] = {
    ".data": darknet.list_images,
    ".yaml": yolo.list_images,
    ".yml": yolo.list_images,
    ".json": coco.list_images,
    ".txt": folder.list_text_file,
}
# The files that may describe a folder; the first pattern that matches counts.
DESCRIPTIONS = ("*.data", "data.y*ml", "*.yaml", "*.yml")
INSTANCES = {"train": ("train", "trn"), "val": ("val", "valid"), "test": ("test", "val", "valid")}


def open_data(
    path: str | os.PathLike[str],
    *,
    split: SplitName = "train",
    classes: int | None = None,
    checks: LabelChecks = STRICT,
    caches: bool = True,
) -> Dataset:
    """The images and labels of one split, read and checked.

    `classes` is the number of classes of the network: data with another number of names are an error.
    With `caches` False the cache of image sizes is neither read nor written.
    """
    origin = os.fspath(path)
    reader, place = _find_reader(origin, split)
    listing = reader(place, split)
    if classes is not None and listing.names and len(listing.names) != classes:
        raise DataError(
            "the data set and the network differ in the number of classes",
            path=place,
            found=f"{len(listing.names)} in the data set",
            allowed=f"{classes}, as in the network",
            hint=f"yolor cfg set-classes CFG {len(listing.names)} writes a cfg for this data set",
        )
    return scan(listing, place, checks=checks, classes=classes, caches=caches)


def _find_reader(path: str, split: SplitName) -> tuple[ListingReader, str]:
    """The reader and the path to read: a folder may contain a file that describes it."""
    if os.path.isdir(path):
        return _folder_reader(path, split)
    if not os.path.exists(path):
        raise DataError("no such file or folder", path=path, allowed=KINDS)
    ending = os.path.splitext(path)[1].lower()
    return READERS_BY_SUFFIX.get(ending) or _detect_reader(path), path


def _folder_reader(path: str, split: SplitName) -> tuple[ListingReader, str]:
    for pattern in DESCRIPTIONS:
        files = sorted(glob.glob(os.path.join(glob.escape(path), pattern)))
        if len(files) == 1:
            return _find_reader(files[0], split)
        if files:
            raise DataError(
                "several files describe this folder",
                path=path,
                found=", ".join(files),
                hint="give the path of one of them",
            )
    instances = _find_instances_file(path, split)
    if instances:
        return coco.list_images, instances
    return (voc.list_images if voc.is_voc(path) else folder.list_images), path


def _find_instances_file(path: str, split: SplitName) -> str | None:
    """COCO's annotation file of the split in annotations/, or Roboflow's in the folder of the split."""
    for word in INSTANCES[split]:
        for pattern in (f"annotations/instances_{word}*.json", f"{word}/_annotations.coco.json"):
            files = sorted(glob.glob(os.path.join(glob.escape(path), pattern)))
            if files:
                return files[0]
    return None


def _detect_reader(path: str) -> ListingReader:
    """For a file with an unknown suffix: decided by the first line that is neither blank nor a comment."""
    with open(path, "rb") as file:
        lines = file.read(4096).decode("utf-8-sig", "replace").splitlines()
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    if first.startswith("{"):
        return coco.list_images
    for sign, reader in (("=", darknet.list_images), (":", yolo.list_images)):
        if sign in first:
            return reader
    raise DataError("does not describe a data set", path=path, found=first[:60], allowed=KINDS)
