"""What every detector does with images, whatever runs its network: options of a call, batches, results.

Nothing here needs torch.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from functools import partial
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.arguments import MOST_DETECTIONS, check_argument, parse_count, parse_fraction
from yolor_cfg.detect.ahead import Crew, take_ahead
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.image_labels import ImageLabel
from yolor_cfg.detect.inputs import ImageLike, are_files, list_images, load_image
from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.tiles import Prepared, merge_areas, move_boxes, split_batches
from yolor_cfg.errors import CfgError, DataError, YolorError, check_choice
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.images.tiles import TiledImage, TileRules, tile_image
from yolor_cfg.images.types import Image
from yolor_cfg.lang.keys import suggest_word

LOG = logging.getLogger("yolor_cfg")
HIDDEN_PREFIX = "dont_show"
"""C Darknet shows no class whose name begins so (get_actual_detections in image.c)."""


OneImage = TypeVar("OneImage", bound=ImageLike)
OnError = Literal["raise", "skip"] | Callable[[Any, DataError], object]
"""What an unreadable image does to a call."""


class CallOptions(TypedDict, total=False):
    """Options of one call: `conf`, `iou`, `max_det`, `classes` and `agnostic` in place of the detector's own;
    `bgr` for arrays and tensors in OpenCV's order. An unreadable image raises DataError by default; with
    on_error="skip" it has an empty result whose `error` says why, and a function is told: (image, error)."""

    conf: float | None
    iou: float | None
    max_det: int | None
    classes: Sequence[int | str] | None
    agnostic: bool | None
    bgr: bool
    on_error: OnError


class FoundBoxes(NamedTuple):
    """The objects and the labels of one image, as in `Detections`; arrays or tensors."""

    boxes_xyxy: Any
    scores: Any
    classes: Any
    angles: Any = None
    labels: tuple[ImageLabel, ...] | None = None
    embeddings: Any = None


class ImageDetector(ABC):
    """The part of a detector that does not depend on what runs its network; call it with an image or a list
    of them. `notes` are remarks on how the network was read."""

    names: tuple[str, ...]
    rules: NmsRules
    batch_size: int
    preprocess: str
    notes: tuple[str, ...]
    is_recurrent = False
    tiling: TileRules | None = None
    is_stopped = False
    """Whether nobody waits for results any more: an image in many tiles is not finished then."""
    _untold: Sequence[str] = ()

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels of the network's input images."""

    @property
    def embeds(self) -> bool:
        """Whether its detections have embeddings."""
        return False

    @property
    def embedding_hint(self) -> str:
        """Where they may be had, if its file is to blame that there are none; else empty."""
        return ""

    @property
    def warnings(self) -> Sequence[YolorError]:
        """What is odd about the cfg."""
        return ()

    @property
    @abstractmethod
    def engine_notes(self) -> tuple[str, ...]:
        """Remarks of the engine, and one line on what runs the network."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides its results besides its options, as values of JSON: dialect, size, device, engine,
        precision."""

    def prepare(self, image: ImageLike, *, bgr: bool = False) -> Any:
        """The network's input for one image: a `NetworkInput`, or with `tiling` a `TiledImage` of one that is
        larger than a tile."""
        pixels = load_image(image, self.channels, bgr=bgr)
        tiled = tile_image(pixels, self.tiling) if self.tiling else None
        return self._fit(pixels) if tiled is None else tiled

    @abstractmethod
    def _fit(self, pixels: Image) -> NetworkInput:
        """The network's input for these pixels [h, w, C]."""

    def reset(self) -> None:  # noqa: B027  # most networks have no state
        """Forget the state of a recurrent network."""

    @abstractmethod
    def _find(self, batch: Sequence[NetworkInput], rules: NmsRules) -> Sequence[FoundBoxes]:
        """The objects of each of these inputs of one size."""

    def _wrap(self, array: NDArray[Any]) -> Any:
        """The array as values of a result."""
        return array

    def _nothing(self) -> tuple[Any, Any, Any]:
        """Boxes, scores and classes of no object."""
        boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return self._wrap(boxes), self._wrap(scores), self._wrap(np.zeros(0, np.int64))

    def detect(self, batch: Sequence[Prepared], rules: NmsRules | None = None) -> list[Detections]:
        """The detections of prepared images: several inputs of one size, or one image in tiles."""
        start = time.perf_counter()
        rows = self._find_all(batch, rules or self.rules)
        seconds = (time.perf_counter() - start) / len(batch)
        return [
            Detections(
                found.boxes_xyxy,
                found.scores,
                found.classes,
                self.names,
                item.placement.image_size,
                seconds,
                channels=self.channels,
                angles=found.angles,
                labels=found.labels,
                embeddings=found.embeddings,
            )
            for item, found in zip(batch, rows, strict=True)
        ]

    def _find_all(self, batch: Sequence[Prepared], rules: NmsRules) -> Sequence[FoundBoxes]:
        tiled = [item for item in batch if isinstance(item, TiledImage)]
        if tiled:
            return [self._find_in_tiles(item, rules) for item in tiled]
        return self._find([item for item in batch if isinstance(item, NetworkInput)], rules)

    def _find_in_tiles(self, image: TiledImage, rules: NmsRules) -> FoundBoxes:
        """The objects of an image whose areas are fitted and run batch by batch, not all at once."""
        inputs = (self._fit(image.cut(area)) for area in image.areas)
        batches = split_batches(inputs, self.batch_size)
        found = [one for batch in batches for one in self._find_part(batch, rules)]
        parts = [move_boxes(one[:3], area, image) for area, one in zip(image.areas, found, strict=True)]
        merged, kept = merge_areas(parts, rules)
        more = {name: [getattr(one, name) for one in found] for name in ("angles", "embeddings")}
        extra = {
            name: self._wrap(np.concatenate([np.asarray(value) for value in values])[kept])
            for name, values in more.items()
            if values[0] is not None
        }
        return FoundBoxes(*map(self._wrap, merged[:3]), **extra)

    def _find_part(self, batch: Sequence[NetworkInput], rules: NmsRules) -> Sequence[FoundBoxes]:
        """The objects of a batch of tiles; raises CancelledError once `is_stopped`."""
        if self.is_stopped:
            raise CancelledError
        return self._find(batch, rules)

    @overload
    def __call__(self, images: ImageLike, **call: Unpack[CallOptions]) -> Detections: ...
    @overload
    def __call__(
        self, images: list[OneImage] | tuple[OneImage, ...] | Iterator[OneImage], **call: Unpack[CallOptions]
    ) -> list[Detections]: ...
    def __call__(self, images: Any, **call: Unpack[CallOptions]) -> Detections | list[Detections]:
        """What is found in an image; for a list of images a list, in order. `CallOptions` has the options.

        Raises DataError for an image that cannot be read, unless `on_error` says otherwise.
        """
        untold, self._untold = self._untold, ()
        for text in untold:
            LOG.warning("%s", text)
        rules, bgr, on_error = self._read_call(call)
        listed = list_images(images)
        faults: dict[int, DataError] = {}
        inputs = self._prepare_all([images] if listed is None else listed, faults, bgr=bgr, on_error=on_error)
        with closing(inputs):
            batches = split_batches(inputs, self.batch_size)
            found = [one for batch in batches for one in self.detect(batch, rules)]
        for number, fault in faults.items():
            found.insert(number, Detections(*self._nothing(), self.names, error=fault))
        return found[0] if listed is None else found

    def _read_call(self, call: CallOptions) -> tuple[NmsRules, bool, OnError]:
        """The rules of this call, whether arrays are BGR, and what an unreadable image does."""
        if unknown := call.keys() - CallOptions.__annotations__.keys():
            raise TypeError(f"no such option of a call: {', '.join(sorted(unknown))}")
        on_error = call.pop("on_error", "raise")
        if not callable(on_error):
            check_choice(str(on_error), ("raise", "skip"))
        bgr = call.pop("bgr", False)
        changes: dict[str, Any] = {name: value for name, value in call.items() if value is not None}
        return change_rules(self.rules, self.names, **changes), bgr, on_error

    def _prepare_all(
        self, images: Iterable[ImageLike], faults: dict[int, DataError], *, bgr: bool, on_error: OnError
    ) -> Generator[Prepared, None, None]:
        """The inputs for the images; why one has none goes into `faults`, by its number."""
        crew = Crew(None if not callable(on_error) and are_files(images) else 0)
        jobs = (crew.many.submit(self._try_prepare, image, bgr) for image in images)
        try:
            for number, (image, made) in enumerate(
                take_ahead(jobs, lambda: crew.count_ahead(self.batch_size))
            ):
                if isinstance(made, DataError):
                    made.path = made.path or f"image {number}"
                    _meet_error(image, made, on_error)
                    faults[number] = made
                else:
                    yield made
        finally:
            crew.stop()

    def _try_prepare(self, image: ImageLike, bgr: bool) -> list[tuple[ImageLike, Prepared | DataError]]:
        """The image with its input, or with what is wrong with it."""
        try:
            return [(image, self.prepare(image, bgr=bgr))]
        except DataError as fault:
            return [(image, fault)]


def stack_inputs(batch: Sequence[NetworkInput]) -> NDArray[Any]:
    """The inputs as a batch; a single one is not copied."""
    pixels = [item.pixels for item in batch]
    return np.stack(pixels) if len(pixels) > 1 else pixels[0][np.newaxis]


def change_rules(
    rules: NmsRules, names: Sequence[str], *, classes: Sequence[int | str] | None = None, **given: Any
) -> NmsRules:
    """The rules with the given numbers and classes, checked as the command line checks its options."""
    changes = {name: _check_rule(name, value) for name, value in given.items()}
    if classes is not None:
        listed = [classes] if isinstance(classes, (str, int)) else classes
        changes["classes"] = known_classes(listed, names)
    return rules._replace(**changes)


def _check_rule(name: str, value: Any) -> Any:
    if name in ("conf", "iou"):
        return check_argument(name, parse_fraction, value)
    return (
        value
        if name == "agnostic"
        else check_argument(name, partial(parse_count, most=MOST_DETECTIONS), value)
    )


def _meet_error(image: Any, fault: DataError, on_error: OnError) -> None:
    """Raise the fault, say nothing, or tell it, as `on_error` wants."""
    if on_error == "raise":
        raise fault
    if callable(on_error):
        on_error(image, fault)


def log_notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    """The notes, which the logger is told too."""
    for note in notes:
        LOG.info("%s", note)
    return notes


def hidden_classes(names: Sequence[str]) -> list[int]:
    """The class ids that are never reported, as their names ask for."""
    return [number for number, name in enumerate(names) if name.startswith(HIDDEN_PREFIX)]


def hidden_notes(names: Sequence[str]) -> tuple[str, ...]:
    """A note on them, if there are any."""
    hidden = [names[number] for number in hidden_classes(names)]
    return (f"hidden, as their names ask for: {', '.join(hidden)}",) if hidden else ()


def known_classes(classes: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """The class ids of these ids and names; raises CfgError for one that the network does not have."""
    return tuple(_known_class(label, names) for label in classes)


def _known_class(label: int | str, names: Sequence[str]) -> int:
    """A name counts before a number; of names that differ in case alone the exact one is meant."""
    numbers = _numbers_of(label, names) if isinstance(label, str) else []
    if len(numbers) > 1:
        found = f"{label}: {', '.join(map(str, numbers))}"
        raise CfgError("several classes have this name", found=found, allowed="the number of a class")
    if numbers:
        return numbers[0]
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    has_names = not all(name.isdecimal() for name in names)
    raise CfgError(
        "no such class in this network",
        found=str(label),
        allowed=f"0..{len(names) - 1}" + (", or a name" if has_names else ""),
        hint=suggest_word(str(label), list(names)) if has_names else "",
    )


def _numbers_of(label: str, names: Sequence[str]) -> list[int]:
    exact = [number for number, name in enumerate(names) if name == label]
    return exact or [number for number, name in enumerate(names) if name.lower() == label.lower()]
