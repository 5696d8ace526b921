"""What passes between the readers, the recipes, the loader and the scores.

Legend: N images, B boxes of one image, T boxes of all images, K classes, C channels, H W size of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Image, Size

if TYPE_CHECKING:
    from torch import Tensor

InputPixels = NDArray[np.uint8] | NDArray[np.float32]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SplitName = Literal["train", "val", "test"]
Fix = Literal["clip", "drop"]


class LabelChecks(NamedTuple):
    """What happens to faulty labels (None: an error that lists them) and to unreadable pictures.

    "clip" cuts boxes at the border of the picture and drops what cannot be mended, "drop" drops every faulty
    label. `strict` makes an unreadable picture an error; else it is named and left out.
    """

    fix: Fix | None = None
    strict: bool = False


class Problem(NamedTuple):
    """One thing that is wrong or was put right; `line` is 0 where the file has no lines to name."""

    path: str
    line: int
    reason: str
    kind: Literal["label", "image", "note"] = "label"

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.reason}"


class Sample(NamedTuple):
    """One picture and its boxes: centre, width and height as fractions of the picture.

    `identities` are -1 where none is given; `areas` are pixels^2 as annotated, else the box's width x height;
    a crowd box stands for many objects: it is not trained on and counts as COCO says in a test. A difficult
    object is taken for a crowd; besides, a detection on it is no error by any count.
    """

    image: str
    boxes_xywh: Floats
    classes: Integers
    identities: Integers
    crowd: NDArray[np.bool_]
    areas: Floats
    image_id: int | str
    size: Size
    difficult: NDArray[np.bool_]


class Samples(Sequence[Sample]):
    """All samples kept in columns: boxes of all images [T, 4], image i owning rows starts[i]:starts[i + 1].

    A hundred thousand samples are a few arrays, not half a million. What it hands out are views of them.
    """

    def __init__(
        self,
        paths: Sequence[str],
        ids: Sequence[int | str],
        sizes: NDArray[np.int32],
        *,
        starts: Integers,
        columns: BoxColumns,
    ) -> None:
        self.paths = paths
        self.ids = ids
        self.sizes = sizes
        self.starts = starts
        self.columns = columns

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return tuple(self._sample_at(i) for i in range(len(self))[index])
        return self._sample_at(range(len(self))[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self._sample_at(index) for index in range(len(self)))

    def _sample_at(self, index: int) -> Sample:
        rows = slice(int(self.starts[index]), int(self.starts[index + 1]))
        boxes, classes, identities, crowd, areas, difficult = self.columns
        height, width = self.sizes[index].tolist()
        return Sample(
            self.paths[index],
            boxes[rows],
            classes[rows],
            identities[rows],
            crowd[rows],
            areas[rows],
            self.ids[index],
            (height, width),
            difficult[rows],
        )


class BoxColumns(NamedTuple):
    """The boxes of all samples, one row each: see `Sample`."""

    boxes_xywh: Floats
    classes: Integers
    identities: Integers
    crowd: NDArray[np.bool_]
    areas: Floats
    difficult: NDArray[np.bool_]


class Dataset(NamedTuple):
    """Pictures with boxes, whatever format they came in; `category_ids` are COCO's ids of the classes, and
    `repeated` the images that the list of a test names again, each as often as it does."""

    names: tuple[str, ...]
    samples: Sequence[Sample]
    origin: str
    format: str
    problems: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ()


class LabeledImage(NamedTuple):
    """What `fetch` gives: a picture [H, W, C] uint8, not to be written into; its boxes without crowds."""

    image: Image
    boxes_xywh: Floats
    classes: Integers


class BatchItem(NamedTuple):
    """What a recipe gives: pixels [H, W, C], uint8 or float32 in 0..1, and boxes as fractions of them.

    `placement` brings boxes back to the picture; None where pixels of several pictures are mixed.
    """

    image: InputPixels
    boxes_xywh: Floats
    classes: Integers
    placement: Placement | None = None


Fetch = Callable[[int], LabeledImage]
BatchItemLike = BatchItem | tuple[InputPixels, Floats, Integers]


class Transform(Protocol):
    """Makes one item of picture `index`, and of others that it fetches, with the generator it is given."""

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItemLike: ...


class SizedTransform(Transform, Protocol):
    """A recipe that can be had for another input size, for batches whose sizes differ."""

    def replace_size(self, size: Size) -> Transform: ...


class Batch(NamedTuple):
    """Images [N, C, H, W] RGB, uint8 or float32 in 0..1, and targets [T, 6] float32.

    A target is: number of the image in the batch, class, centre x y, width, height as fractions of the input.
    """

    images: Tensor
    targets: Tensor
    samples: tuple[Sample, ...]
    placements: tuple[Placement, ...]
