"""The data config of JDE (Zhongdao/Towards-Realtime-MOT): a JSON of lists of images, several for each split.

`{"root": FOLDER, "train": {NAME: LIST}, "test": {...}, "test_emb": {...}}`: the images are relative to root,
their labels are in `labels_with_ids/` in the place of `images/`, six columns with identities. The identities
of a list follow those of the lists before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from yolor_cfg.data.formats.coco_schema import describe_json, read_json
from yolor_cfg.data.label_files import label_paths
from yolor_cfg.data.listing import (
    ImageListing,
    find_images,
    join_lists,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.splits import missing_split
from yolor_cfg.data.types import Dataset, Integers, Samples, SplitName
from yolor_cfg.errors import DataError

KEYS: dict[SplitName, str] = {"train": "train", "val": "test", "test": "test_emb"}
MOST_BYTES = 1 << 20
"""Of a config; a larger JSON holds annotations."""
IMAGES, LABELS = "images", "labels_with_ids"


def is_config(path: str) -> bool:
    """Whether a JSON file is such a config."""
    if not os.path.isfile(path) or os.path.getsize(path) > MOST_BYTES:
        return False
    content = read_json(path)
    return isinstance(content, dict) and any(isinstance(content.get(key), dict) for key in KEYS.values())


def list_images(path: str, split: SplitName) -> ImageListing:
    """The images of one split: val is JDE's `test`, test its `test_emb`."""
    content = read_json(path)
    lists = content.get(KEYS[split])
    if not lists:
        raise missing_split(split, path, found=", ".join(map(str, content)), allowed=(KEYS[split],))
    if not isinstance(lists, dict) or not all(isinstance(place, str) for place in lists.values()):
        allowed = '{"name": "list of images"}'
        raise DataError(
            "not lists of images", path=path, key=KEYS[split], found=describe_json(lists), allowed=allowed
        )
    parts = [find_images(_find_list(place, path), list(_folders(content, path))) for place in lists.values()]
    listing = text_label_listing(
        "jde", (), unique_images(join_lists(parts), split), paths_of=identified_paths
    )
    joined = {image: number for number, part in enumerate(parts) for image in part.images}
    return listing._replace(joined=joined)


def _folders(content: Mapping[str, Any], path: str) -> Iterator[str]:
    """Where the images are: in root; a root that is not there was that of another computer."""
    beside = os.path.dirname(os.path.abspath(path))
    root = content.get("root")
    if isinstance(root, str):
        yield os.path.join(beside, root)
    yield beside


def _find_list(place: str, path: str) -> str:
    """A list of images: as it is given, or beside the config, where its folder `./data` is that of the config
    itself."""
    beside = os.path.dirname(os.path.abspath(path))
    tried = [place, os.path.join(beside, place), os.path.join(beside, os.path.basename(place))]
    found = next((one for one in tried if os.path.exists(one)), None)
    if found is None:
        raise DataError("no such list of images", path=path, found=place, hint=f"looked in {beside}")
    return found


def identified_paths(image: str) -> list[str]:
    """Where the labels of an image may be, those with identities first."""
    stem = os.path.splitext(image)[0] + ".txt"
    return list(dict.fromkeys([stem.replace(IMAGES, LABELS), *label_paths(image)]))


def number_lists(dataset: Dataset, joined: Mapping[str, int]) -> Dataset:
    """The data set with the identities of each list moved behind those of the lists before."""
    samples = dataset.samples
    if not joined or not isinstance(samples, Samples):
        return dataset
    counts = np.diff(samples.starts)
    lists = np.repeat(np.array([joined[path] for path in samples.paths], np.int64), counts)
    identities = shift_identities(samples.columns.identities, lists)
    columns = samples.columns._replace(identities=identities)
    moved = Samples(
        samples.paths,
        samples.ids,
        samples.sizes,
        starts=samples.starts,
        columns=columns,
        labels=samples.labels,
    )
    return dataset._replace(samples=moved)


def shift_identities(identities: Integers, lists: Integers) -> Integers:
    """Identities [T] of the lists with these numbers [T], made distinct; unknown ones stay -1."""
    moved, first = identities.copy(), 0
    for number in np.unique(lists):
        mine = (lists == number) & (identities >= 0)
        moved[mine] += first
        first += int(identities[lists == number].max(initial=-1)) + 1
    return moved
