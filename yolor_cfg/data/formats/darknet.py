"""Darknet's `.data` file: `key = value` lines that point to lists of images and to the class names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yolor_cfg.data.classes import pick_annotated
from yolor_cfg.data.formats.path_classes import list_by_path
from yolor_cfg.data.label_files import darknet_label_paths
from yolor_cfg.data.listing import (
    ImageListing,
    ListedImages,
    find_images,
    repeated_names,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.splits import missing_split
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.names import (
    data_folders,
    data_names,
    empty_keys,
    first_existing,
    locate,
    read_names_file,
    read_options,
    repeated_keys,
)

KEYS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


def list_images(path: str, split: SplitName) -> ImageListing:
    """The images of one split; paths are relative to the .data file, else to the working directory."""
    options = read_options(path)
    bases = data_folders(path)
    key = next((key for key in KEYS[split] if options.get(key)), None)
    if key is None:
        raise missing_split(split, path, found=", ".join(options) or "no key", allowed=KEYS[split])
    place = locate(options[key], bases, what=key, path=path)
    listed = find_images(place, bases)
    if options.get("labels"):
        listing = list_by_path(unique_images(listed, split), options, path)
    else:
        listing = _list_with_boxes(listed, options, split, path=path)
    return listing._replace(
        notes=(*listing.notes, *_file_notes(options, key, path)),
        annotated=_annotated_names(options, listing.names, path),
        leaves=_read_leaves(options, path),
    )


def _list_with_boxes(
    listed: ListedImages, options: dict[str, str], split: SplitName, *, path: str
) -> ImageListing:
    """The images with the label files beside them."""
    difficult = {} if split != "val" else _difficult_images(options, listed.images, path=path)
    names, images = data_names(options, path), unique_images(listed, split)
    listing = text_label_listing("darknet", names, images, paths_of=darknet_label_paths, difficult=difficult)
    return listing._replace(notes=(*listing.notes, *_name_notes(options, names, path)))


def _annotated_names(options: Mapping[str, str], names: Sequence[str], path: str) -> tuple[str, ...]:
    """The classes that the images are labelled for, by `annotated=` (ours): names with commas between."""
    if "annotated" not in {*options, *empty_keys(path)}:
        return ()
    given = [name.strip() for name in options.get("annotated", "").split(",")]
    return pick_annotated([name for name in given if name], names, path)


def _read_leaves(options: Mapping[str, str], path: str) -> tuple[str, ...]:
    """The lines of the `leaves=` file, which are names in a class tree."""
    if "leaves" not in options:
        return ()
    return read_names_file(locate(options["leaves"], data_folders(path), what="leaves", path=path))


def list_of_split(path: str, split: SplitName) -> str | None:
    """The value that names the images of a split; None if there is none, or if more decides on the labels."""
    options = read_options(path)
    if "difficult" in options or "labels" in options:
        return None
    return next((options[key] for key in KEYS[split] if options.get(key)), None)


def _file_notes(options: Mapping[str, str], key: str, path: str) -> Iterator[Problem]:
    """What is not used of the file, or read in another place than it says."""
    bases = data_folders(path)
    for name in (key, "names"):
        if name in options and first_existing(options[name], bases) is None:
            place = locate(options[name], bases, what=name, path=path)
            yield Problem(path, 0, f"{name}={options[name]} is not there: {place} is read", "note")
    for number, text in repeated_keys(path):
        yield Problem(path, number, text, "note")
    if "backup" in options and key == "train":
        text = f"backup={options['backup']} is not used: checkpoints go to the folder of the run"
        yield Problem(path, 0, f"{text}, see --project", "note")


def _name_notes(options: Mapping[str, str], names: Sequence[str], path: str) -> Iterator[Problem]:
    if "names" in options:
        place = locate(options["names"], data_folders(path), what="names", path=path)
        for first, second, reason in repeated_names(names):
            yield Problem(place, second + 1, f"classes {first} and {second}: {reason}", "note")


def _difficult_images(options: Mapping[str, str], images: Sequence[str], *, path: str) -> dict[str, str]:
    """For each image the one whose labels are its difficult objects: C Darknet pairs the two lists line by
    line, and reads only the label files of the second."""
    listed = options.get("difficult")
    if not listed:
        return {}
    bases = data_folders(path)
    place = locate(listed, bases, what="difficult", path=path)
    others = find_images(place, bases, needs_images=False).images
    if len(others) < len(images):
        raise DataError(
            "too few images in the list of difficult objects",
            path=path,
            key="difficult",
            found=f"{len(others)} in {listed}",
            allowed=f"{len(images)}, one for each image of the split, in its order",
        )
    return dict(zip(images, others, strict=False))
