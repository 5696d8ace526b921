"""One way to open a data set; its format is detected."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from yolor_cfg.data.classes import format_names
from yolor_cfg.data.formats import classes as class_folders
from yolor_cfg.data.formats import coco, darknet, folder, jde, voc, yolo
from yolor_cfg.data.formats.folder import split_folders
from yolor_cfg.data.formats.voc_xml import refuse_other_xml
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.scan import scan
from yolor_cfg.data.splits import STAND_INS, MissingSplit, split_of_folder, split_of_name
from yolor_cfg.data.types import Dataset, LabelChecks, Problem, SplitName
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.files import open_regular, reason_of

KINDS = (
    "a Darknet .data file, a YOLO .yaml file, COCO's .json, JDE's .json of lists, a Pascal VOC folder, "
    "a folder with images/ and labels/, what Roboflow, CVAT, LabelImg and Label Studio export, "
    "a folder with a subfolder of images for each class, a .txt list of images"
)
STRICT = LabelChecks()


def list_json(path: str, split: SplitName) -> ImageListing:
    """The images of a JSON: the data config of JDE, or COCO's annotations."""
    return jde.list_images(path, split) if jde.is_config(path) else coco.list_images(path, split)


ListingReader = Callable[[str, SplitName], ImageListing]
READERS_BY_SUFFIX: dict[str, ListingReader] = {
    ".data": darknet.list_images,
    ".yaml": yolo.list_images,
    ".yml": yolo.list_images,
    ".json": list_json,
    ".txt": folder.list_text_file,
}
# The files that may describe a folder; the first pattern that matches counts.
DESCRIPTIONS = ("*.data", "data.y*ml", "*.yaml", "*.yml")


class FoundListing(NamedTuple):
    """The images of a split, the file or folder that was read, and the split that was taken for it."""

    listing: ImageListing
    place: str
    split: SplitName


def open_data(
    path: str | os.PathLike[str],
    *,
    split: SplitName = "train",
    classes: int | None = None,
    checks: LabelChecks = STRICT,
    caches: bool = True,
    whole: bool = False,
) -> Dataset:
    """The images and labels of one split, read and checked. Raises MissingSplit if there is none; `whole`
    takes all images of a data set that is not divided.

    `classes` is the number of classes of the network: data with another number of names are an error.
    With `caches` False the cache of image sizes is neither read nor written.
    """
    found = find_listing(path, split, whole=whole)
    return read_listing(found, classes=classes, checks=checks, caches=caches)


def find_listing(
    path: str | os.PathLike[str], split: SplitName, *, whole: bool = False, known: Sequence[str] = ()
) -> FoundListing:
    """The images of a split; val and test stand in for each other, with a note. `known` are the classes of
    images that one folder in all may be called after."""
    origin = os.fspath(path)
    faults: list[MissingSplit] = []
    reader, place = _find_reader(origin, known)
    last: tuple[SplitName, ...] = ("train",) if whole else ()
    for one in dict.fromkeys((split, *STAND_INS[split], *last)):
        if one == "train" and faults and not faults[0].is_undivided:
            break
        try:
            found = FoundListing(reader(place, one), place, one)
        except MissingSplit as fault:
            faults.append(fault)
            continue
        return found if one == split else _note_stand_in(found, split)
    raise faults[0]


def find_splits(path: str | os.PathLike[str]) -> dict[SplitName, FoundListing]:
    """The images of every split that the data set has itself."""
    reader, place = _find_reader(os.fspath(path))
    found: dict[SplitName, FoundListing] = {}
    faults: list[MissingSplit] = []
    for split in STAND_INS:
        try:
            same = _same_list(reader, place, split, found=found)
            listing = same.listing if same else reader(place, split)
            found[split] = FoundListing(listing, place, split)
        except MissingSplit as fault:
            faults.append(fault)
    if not found:
        raise faults[0]
    return _drop_second_name(found, place)


def _drop_second_name(found: dict[SplitName, FoundListing], place: str) -> dict[SplitName, FoundListing]:
    """Undivided images that are called after a split are that split alone, not train too."""
    told = split_of_name(place) or split_of_folder(place)
    if told and told != "train" and "train" in found and told in found:
        if found["train"].listing.images == found[told].listing.images:
            return {key: one for key, one in found.items() if key != "train"}
    return found


def _same_list(
    reader: ListingReader, place: str, split: SplitName, *, found: Mapping[SplitName, FoundListing]
) -> FoundListing | None:
    """The split that a .data file gives the same list as this one, which need not be read again; a list with
    repeated images is another one for a test."""
    if reader is not darknet.list_images:
        return None
    wanted = darknet.list_of_split(place, split)
    for one in found.values() if wanted else ():
        images = one.listing.images
        if darknet.list_of_split(place, one.split) == wanted and len(set(images)) == len(images):
            return one
    return None


def read_listing(
    found: FoundListing,
    *,
    classes: int | None = None,
    checks: LabelChecks = STRICT,
    caches: bool = True,
    counts: bool = True,
) -> Dataset:
    """The images and labels of a listing, read and checked, like `open_data`; with `counts` False the data
    may have another number of names than the network."""
    if counts:
        refuse_other_count(found, classes)
    listing, place, _ = found
    scanned = scan(listing, place, checks=checks, classes=classes, caches=caches)
    return jde.number_lists(scanned, listing.joined)


def refuse_other_count(
    found: FoundListing, classes: int | None, names: Sequence[str] = (), *, is_fixed: bool = False
) -> None:
    """Raise DataError, which shows both lists, if the data have another number of names than the network,
    whose number is what it is with `is_fixed`."""
    ours = found.listing.names
    if classes is None or not ours or len(ours) == classes:
        return
    theirs = f": {format_names(names)}" if names else ""
    raise DataError(
        "the data set and the network differ in the number of classes",
        path=found.place,
        found=f"{len(ours)} in the data set: {format_names(ours)}",
        allowed=f"{classes}, as in the network{theirs}",
        hint=count_hint(len(ours), classes, is_fixed=is_fixed),
    )


def count_hint(ours: int, theirs: int, *, is_fixed: bool) -> str:
    """What to do where data of `ours` classes meet a network of `theirs`; with `is_fixed` its heads stay as
    they are, as in a test, and in the training of a task."""
    if not is_fixed:
        return f"yolor cfg set-classes CFG {ours} writes a cfg for this data set"
    if ours < theirs:
        more = count_of(theirs - ours, "name")
        return f"the network keeps its heads: add {more} that no label has to use to the list of the data set"
    train = f"yolor cfg set-classes CFG {ours} writes a cfg to train as a whole"
    return f"the network keeps its heads; for another one {train}"


def _note_stand_in(found: FoundListing, split: SplitName) -> FoundListing:
    what = "its images are not divided: all count" if found.split == "train" else f"{found.split} is read"
    note = Problem(found.place, 0, f"no {split} split: {what}", "note")
    return found._replace(listing=found.listing._replace(notes=(note, *found.listing.notes)))


def _find_reader(path: str, known: Sequence[str] = ()) -> tuple[ListingReader, str]:
    """The reader and the path to read: a folder may contain a file that describes it."""
    if os.path.isdir(path):
        reader, place = _folder_reader(path, known)
        if reader is voc.list_images:
            refuse_other_xml(path)
        return reader, place
    refuse_other_xml(path)
    if not os.path.exists(path):
        raise DataError("no such file or folder", path=path, allowed=KINDS)
    ending = os.path.splitext(path)[1].lower()
    return READERS_BY_SUFFIX.get(ending) or _detect_reader(path), path


def _folder_reader(path: str, known: Sequence[str]) -> tuple[ListingReader, str]:
    for pattern in DESCRIPTIONS:
        files = sorted(glob.glob(os.path.join(glob.escape(path), pattern)))
        if len(files) == 1:
            return _find_reader(files[0])
        if files:
            raise DataError(
                "several files describe this folder",
                path=path,
                found=", ".join(files),
                hint="give the path of one of them",
            )
    if coco.find_files(path):
        return coco.list_folder, path
    if class_folders.is_divided_by_class(path, known):
        return partial(class_folders.list_images, known=known), path
    voc.refuse_part(path.rstrip("/"))
    return (voc.list_images if voc.is_voc(path) else _list_folder), path


def _list_folder(path: str, split: SplitName) -> ImageListing:
    """The images of a folder without a file that describes it."""
    return folder.list_images(path, split)._replace(
        label_hint=partial(class_folders.describe_lone_class, path)
    )


def is_described(folder: str) -> bool:
    """Whether a file in the folder, or folders in it, tell which images are of which split."""
    patterns = [os.path.join(glob.escape(folder), pattern) for pattern in (*DESCRIPTIONS, "ImageSets")]
    return any(map(glob.glob, patterns)) or bool(coco.find_files(folder) or split_folders(folder))


def _detect_reader(path: str) -> ListingReader:
    """For a file with an unknown suffix: decided by the first line that is neither blank nor a comment."""
    try:
        with open_regular(path) as file:
            lines = file.read(4096).decode("utf-8-sig", "replace").splitlines()
    except OSError as fault:
        raise DataError(reason_of(fault), path=path) from None
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    if first.startswith("{"):
        return list_json
    for sign, reader in (("=", darknet.list_images), (":", yolo.list_images)):
        if sign in first:
            return reader
    raise DataError("does not describe a data set", path=path, found=first[:60], allowed=KINDS)
