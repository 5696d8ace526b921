"""What was found in one image: arrays, or objects one by one, drawn, and in the words of other libraries.

Legend: M objects.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from yolor_cfg.detect.image_labels import ImageLabel
from yolor_cfg.detect.inputs import ImageLike, load_image
from yolor_cfg.errors import DataError, MissingExtra
from yolor_cfg.images.draw import Detection, draw_detections, iter_detections
from yolor_cfg.images.types import Image, Size

if TYPE_CHECKING:
    from yolor_cfg.detect.heat.maps import HeatMaps

Values = Any
"""A tensor on the CPU or an array."""


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The objects of one image, best first: `len()` is their number, iterating gives each as a `Detection`.

    boxes_xyxy [M, 4] in pixels of the image, scores [M], classes [M] int64: tensors of torch, arrays of numpy
    from an `ExportedDetector`; `names` are those of all classes.
    `image_size` is height, width. `seconds` is the time that the network and NMS took, an image's share of
    its batch. `error` says why an image could not be read; nothing is found in it. `channels` are those of
    the network's images. `angles` [M] are in degrees, clockwise, if the network gives them
    (`[detection] coords=5` of darkflow): an object is its box, turned by its angle about the centre. `labels`
    are the classes of the whole image, best first; None if the network does not tell them. `embeddings`
    [M, E] are unit vectors that tell objects apart, None if the network gives none. `heat` are heat maps of
    what made them, where they were asked for.
    """

    boxes_xyxy: Values
    scores: Values
    classes: Values
    names: tuple[str, ...]
    image_size: Size = (0, 0)
    seconds: float = 0.0
    error: DataError | None = None
    channels: int = 3
    angles: Values | None = None
    labels: tuple[ImageLabel, ...] | None = None
    embeddings: Values | None = None
    heat: HeatMaps | None = None

    def __str__(self) -> str:
        """`2 person, 1 dog`, the most frequent first; `no objects`; of a classifier `cat 0.92, dog 0.05`."""
        counts = Counter(one.name for one in self).most_common()
        objects = ", ".join(format_class_count(*pair) for pair in counts)
        if self.labels is None:
            return objects or "no objects"
        labels = ", ".join(map(str, self.labels)) or "no labels"
        return f"{objects}; {labels}" if objects else labels

    def __repr__(self) -> str:
        return f"<Detections: {self if self.error is None else self.error.message}>"

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return iter_detections(self)

    @overload
    def __getitem__(self, which: int) -> Detection: ...
    @overload
    def __getitem__(self, which: slice | Sequence[int] | Sequence[bool] | Values) -> Detections: ...
    def __getitem__(self, which: Any) -> Detection | Detections:
        """One object for a number; for a slice, a list of numbers or a mask those objects."""
        if isinstance(which, (int, np.integer)):
            return list(self)[which]
        if not isinstance(which, slice):
            which = np.asarray(which, None if np.size(which) else np.int64)
        boxes, scores, classes = (part[which] for part in (self.boxes_xyxy, self.scores, self.classes))
        angles, vectors = (None if part is None else part[which] for part in (self.angles, self.embeddings))
        chosen = {"boxes_xyxy": boxes, "scores": scores, "classes": classes}
        return replace(self, **chosen, angles=angles, embeddings=vectors, heat=None)

    def draw(self, image: ImageLike, *, bgr: bool = False) -> Image:
        """A copy [H, W, 3] of the image with a box and a caption for each object: RGB, or BGR where the
        given array is."""
        pixels = load_image(image, self._channels_of(image))
        if self.image_size != (0, 0) and pixels.shape[:2] != self.image_size:
            found, allowed = ("{} x {} pixels".format(*size) for size in (pixels.shape, self.image_size))
            raise DataError("not the image that the objects were found in", found=found, allowed=allowed)
        drawn = draw_detections(pixels[..., ::-1] if bgr else pixels, self)
        return np.ascontiguousarray(drawn[..., ::-1]) if bgr else drawn

    def _channels_of(self, image: ImageLike) -> int:
        """The channels to draw on: those of an array, else RGB where the network's are grey, else its own."""
        if isinstance(image, np.ndarray) and image.ndim == 3:
            return int(image.shape[2])
        return 3 if self.channels == 1 else self.channels

    def to_dict(self) -> dict[str, Any]:
        """The words of `yolor detect --json`: width, height, detections (class, name, score, box_xyxy)."""
        height, width = self.image_size
        failed = {} if self.error is None else {"error": str(self.error)}
        found = {"detections": [one.to_dict() for one in self], **label_record(self)}
        return {"width": width, "height": height, **found, **failed}

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each object: xmin, ymin, xmax, ymax, confidence, class, name;
        angle, if the network gives any."""
        rows = [(*one.box, one.confidence, one.class_id, one.name) for one in self]
        columns = ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
        table = _import_package("pandas").DataFrame(rows, columns=columns)
        return table if self.angles is None else table.assign(angle=self.angles.tolist())

    def to_supervision(self) -> Any:
        """The objects as `supervision.Detections`, with their names in data["class_name"]."""
        return _import_package("supervision").Detections(
            xyxy=np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4),
            confidence=np.asarray(self.scores, np.float32),
            class_id=np.asarray(self.classes, int),
            data={"class_name": np.array([one.name for one in self], dtype=str)},
        )


def label_record(found: Any) -> dict[str, Any]:
    """The labels of an image as an entry of a JSON object; nothing if there are none to tell."""
    labels = getattr(found, "labels", None)
    return {} if labels is None else {"labels": [one.to_dict() for one in labels]}


def format_class_count(name: str, count: int) -> str:
    """`2 person`; `2 of class 7` where the class has no name."""
    return f"{count} of class {name}" if name.isdecimal() else f"{count} {name}"


def _import_package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        raise MissingExtra(package=name) from cause
