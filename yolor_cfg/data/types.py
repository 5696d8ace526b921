"""The types shared by the readers, the transforms, the data loader and the evaluation.

Legend: N images, B boxes of one image, T boxes of all images, K classes, C channels, H W size of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import escape, shorten
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
    """How to treat faulty labels (None: an error that lists them) and unreadable images.

    "clip" clips boxes to the image and drops labels that cannot be fixed; "drop" drops every faulty label.
    `strict` makes an unreadable image an error; otherwise it is reported and skipped.
    """

    fix: Fix | None = None
    strict: bool = False


class Problem(NamedTuple):
    """One fault, or one thing that was fixed; `line` is 0 if it belongs to no line."""

    path: str
    line: int
    reason: str
    kind: Literal["label", "image", "note"] = "label"

    def __str__(self) -> str:
        place = escape(shorten(self.path))
        where = f"{place}:{self.line}" if self.line else place
        return f"{where}: {escape(shorten(self.reason))}"


NO_COPIES = np.zeros(0, np.int64)


class Sample(NamedTuple):
    """One image and its boxes: centre, width and height as fractions of the image.

    `identities` are -1 if none are given; `areas` are in pixels^2, as annotated, else width x height of the
    box; a crowd box stands for many objects: it is not trained on, and tests treat it as COCO does. A
    difficult object is marked as a crowd too; besides, a detection on it is no error by any count. `copies`
    are the further lines of a label file that say the same, which C Darknet counts; empty: none. `labels`
    are the classes of the image as a whole, None if none are given: then its boxes tell them.
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
    copies: Integers = NO_COPIES
    labels: Integers | None = None

    @property
    def image_classes(self) -> Integers:
        """The classes of the image, ascending: as given, else those that it has a box of."""
        return np.unique(self.classes) if self.labels is None else self.labels


class Samples(Sequence[Sample]):
    """All samples, stored in columns: boxes of all images [T, 4]; image i has rows starts[i]:starts[i + 1].

    A hundred thousand samples are a few arrays instead of half a million; the samples returned are views.
    """

    def __init__(
        self,
        paths: Sequence[str],
        ids: Sequence[int | str],
        sizes: NDArray[np.int32],
        *,
        starts: Integers,
        columns: BoxColumns,
        labels: LabelColumn | None = None,
    ) -> None:
        self.paths = paths
        self.ids = ids
        self.sizes = sizes
        self.starts = starts
        self.columns = columns
        self.labels = labels

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
        boxes, classes, identities, crowd, areas, difficult, copies = self.columns
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
            copies[rows],
            None if self.labels is None else self.labels.image_classes(index),
        )


class BoxColumns(NamedTuple):
    """The labels of all samples, one row per box; see `Sample`."""

    boxes_xywh: Floats
    classes: Integers
    identities: Integers
    crowd: NDArray[np.bool_]
    areas: Floats
    difficult: NDArray[np.bool_]
    copies: Integers


class LabelColumn(NamedTuple):
    """The classes of whole images, ascending; those of image i are classes[starts[i]:starts[i + 1]]."""

    starts: Integers
    classes: Integers

    def image_classes(self, index: int) -> Integers:
        """The classes of one image."""
        return self.classes[int(self.starts[index]) : int(self.starts[index + 1])]


class DataPart(NamedTuple):
    """One of the data sets that a Dataset is made of: images first..first + images - 1 of all.

    `task` is the task that it was given to, "" if none; `names` is the list that the class ids of its images
    refer to, `known` those of them that it labels, ascending: of the others nobody knows whether they are
    there. `has_boxes`, `top`, `is_labeled` and `leaves` are as in `Dataset`.
    """

    name: str
    origin: str
    task: str
    first: int
    images: int
    names: tuple[str, ...]
    known: tuple[int, ...]
    has_boxes: bool = True
    top: int = 0
    is_labeled: bool = True
    leaves: tuple[str, ...] = ()

    @property
    def rows(self) -> slice:
        """The places of its images among all."""
        return slice(self.first, self.first + self.images)

    @property
    def unknown(self) -> tuple[int, ...]:
        """The classes that it does not label."""
        return tuple(sorted(set(range(len(self.names))) - set(self.known)))


class Dataset(NamedTuple):
    """Images with labels, whatever their format; `category_ids` are COCO's ids of the classes, `repeated` the
    images that the list of a test names again, once for each further time; without `is_labeled` they are
    to be tested without labels. Without `has_boxes` the labels are those of whole images; `top` is the k of
    the top-k accuracy that the data set asks for, 0 if none; `leaves` are the names of the classes of a tree
    that are ranked, empty: its leaves. `annotated` are the names of the classes that all images are labelled
    for, empty: of all of them; `parts` are the data sets that it is made of; empty:
    it is one, and labels all classes."""

    names: tuple[str, ...]
    samples: Sequence[Sample]
    origin: str
    format: str
    problems: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ()
    is_labeled: bool = True
    has_boxes: bool = True
    top: int = 0
    parts: tuple[DataPart, ...] = ()
    annotated: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[int, ...]:
        """The classes that its images are labelled for."""
        return tuple(k for k, name in enumerate(self.names) if not self.annotated or name in self.annotated)


class LabeledImage(NamedTuple):
    """What `fetch` returns: an image [H, W, C] uint8, read-only, and its labels without crowds."""

    image: Image
    boxes_xywh: Floats
    classes: Integers

    @property
    def identities(self) -> Integers | None:
        """The identities of the boxes [B], as in `Sample`; None if none are given."""
        return None


class IdentifiedImage(LabeledImage):
    """A labelled image with identities, which stand beside the three parts."""

    _identities: Integers

    @staticmethod
    def join(labeled: LabeledImage, identities: Integers) -> IdentifiedImage:
        """The image with these identities [B]."""
        made = IdentifiedImage(*labeled)
        made._identities = identities
        return made

    @property
    def identities(self) -> Integers:
        """The identities of the boxes [B], as in `Sample`."""
        return self._identities


class BatchItem(NamedTuple):
    """What a transform returns: an image [H, W, C], uint8 or float32 in 0..1, and boxes as fractions of it.

    `placement` maps boxes back to the original image; None if several images are mixed. `truth` [K] is how
    much the image has of each class; None: what its boxes tell. `identities` [B] are as in `Sample`; None:
    none are known.
    """

    image: InputPixels
    boxes_xywh: Floats
    classes: Integers
    placement: Placement | None = None
    truth: Floats | None = None
    identities: Integers | None = None


Fetch = Callable[[int], LabeledImage]
BatchItemLike = BatchItem | tuple[InputPixels, Floats, Integers]


class Transform(Protocol):
    """Makes one item from image `index`, and from others that it fetches, with the given generator."""

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItemLike: ...


class SizedTransform(Transform, Protocol):
    """A transform whose input size can be replaced, for batches of different sizes."""

    def replace_size(self, size: Size) -> Transform: ...


class Batch(NamedTuple):
    """Images [N, C, H, W] RGB, uint8 or float32 in 0..1, and targets [T, 6] float32.

    A target is: image index in the batch, class id, centre x y, width, height as fractions of the input.
    `truth` [N, K] float32 is how much each image has of each class, NaN where that is not known; None if no
    head asks for it. `sources` [N] int64 is the index of each image's data set in `Dataset.parts`, 0 where
    there is only one. `identities` [T] int64 are those of the targets, -1 where none is known.
    """

    images: Tensor
    targets: Tensor
    samples: tuple[Sample, ...]
    placements: tuple[Placement, ...]
    truth: Tensor | None = None
    sources: Tensor | None = None
    identities: Tensor | None = None
