"""From images to detections: preprocess, run, decode, apply NMS, and map back to the pixels of each image.

Legend: N images, B boxes, K classes, M detections.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.arguments import (
    MOST_DETECTIONS,
    MOST_IN_BATCH,
    check_argument,
    parse_count,
    parse_device,
    parse_fraction,
    parse_size,
)
from yolor_cfg.detect.ahead import Crew, take_ahead
from yolor_cfg.detect.detections import Detections, no_objects
from yolor_cfg.detect.inputs import ImageLike, are_files, list_images, load_image
from yolor_cfg.detect.memory import check_memory
from yolor_cfg.detect.nms import NmsRules, choose_nms, nms_notes, select_boxes
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import choose_engine
from yolor_cfg.errors import CfgError, DataError, YolorError, check_choice
from yolor_cfg.graph import ReadOptions
from yolor_cfg.images.fit import (
    PREPROCESS_CHOICES,
    default_preprocess,
    preprocess_image,
)
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.lang.keys import suggest_word
from yolor_cfg.model import Predictions, check_heads
from yolor_cfg.names import class_names
from yolor_cfg.ops.devices import find_device
from yolor_cfg.weights.finite import find_alarms
from yolor_cfg.weights.loading import open_network
from yolor_cfg.weights.prefix import is_checkpoint_file

LOG = logging.getLogger("yolor_cfg")
DEGREES = 360  # of a turn
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


class Detector:
    """A network with its preprocessing, decoding and NMS; call it with an image or a list of them.

    An image is a path, the bytes of a file, an RGB array [H, W, 3] uint8, a tensor [3, H, W] or a PIL image.
    One of our checkpoints alone is enough. Everything left at None comes from the cfg: the size, stretch or
    letterbox, the kind of NMS. In the yolor dialect every class of a box above `conf` is reported
    (`multi_label`), in the darknet dialect the best one; classes named `dont_show...` are not. A recurrent
    network processes its images one by one, as successive frames, until `network.reset()`. Without
    weights the network has random ones, with a warning to the logger `yolor_cfg`. `notes` are remarks on how
    the network was read; that logger gets them too (level info).

    `engine` (auto, torch, compiled, onnxruntime, openvino, native) runs a rewritten copy of `network` in this
    `precision` (fp32, bf16, fp16, or auto: bf16 where the processor has it); `no_rewrite` names rewrites to
    leave out, or `all`. A pickled detector chooses its engine anew.
    """

    _fitting = 0
    """So many images in a batch are known to fit into memory."""

    def __init__(
        self,
        cfg: str | Path,
        weights: str | Path | None = None,
        names: Sequence[str] | str | Path | None = None,
        *,
        dialect: str | None = None,
        size: int | tuple[int, int] | None = None,
        device: str | int = "cpu",
        preprocess: str | None = None,
        nms: str | None = None,
        conf: float = 0.25,
        iou: float = 0.45,
        max_det: int = 300,
        classes: Sequence[int | str] | None = None,
        agnostic: bool = False,
        multi_label: bool | None = None,
        batch_size: int = 1,
        cutoff: int | None = None,
        strict: bool = False,
        engine: str = "auto",
        precision: str = "fp32",
        no_rewrite: Sequence[str] = (),
    ) -> None:
        size = None if size is None else check_argument("size", parse_size, size)
        device = check_argument("device", parse_device, device)
        reading = ReadOptions(dialect, size, strict=strict)
        opened = open_network(cfg, _warn_without(weights, cfg), reading=reading, device=device, cutoff=cutoff)
        self.network, self._untold = opened.network, find_alarms(opened.notes)
        check_heads(self.network)
        self.device = find_device(device)
        graph = self.network.graph
        self.names = class_names(opened.names if names is None else names, count=graph.classes)
        self._hidden = [i for i, name in enumerate(self.names) if name.startswith(HIDDEN_PREFIX)]
        kind, beta = choose_nms(graph, nms)
        self._asked = EngineSettings(engine, precision, tuple(no_rewrite))
        self.engine = choose_engine(self.network, self._asked)
        self.notes = _log_notes(opened.notes + nms_notes(graph, nms) + _hidden_notes(self.names))
        chosen = graph.dialect.is_pytorch if multi_label is None else multi_label
        plain = NmsRules(kind=kind, beta=beta, multi_label=chosen, agnostic=agnostic)
        limits: dict[str, Any] = {"conf": conf, "iou": iou, "max_det": max_det, "classes": classes}
        self.rules = _change_rules(plain, self.names, **limits)
        self.preprocess = check_choice(preprocess or default_preprocess(graph), PREPROCESS_CHOICES)
        self.is_recurrent = any(hasattr(layer, "initial_state") for layer in self.network.module_list)
        most = check_argument("batch_size", partial(parse_count, most=MOST_IN_BATCH), batch_size)
        self.batch_size = 1 if self.is_recurrent else most

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine, which may be bound to this process."""
        return {name: value for name, value in vars(self).items() if name != "engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The detector, with an engine that is here."""
        vars(self).update(state)
        self.engine = choose_engine(self.network, self._asked)

    @overload
    def __call__(self, images: ImageLike, **call: Unpack[CallOptions]) -> Detections: ...
    @overload
    def __call__(
        self, images: list[OneImage] | tuple[OneImage, ...] | Iterator[OneImage], **call: Unpack[CallOptions]
    ) -> list[Detections]: ...
    def __call__(self, images: Any, **call: Unpack[CallOptions]) -> Detections | list[Detections]:
        """What is found in an image; for a list of images a list, in order. `CallOptions` has the options.

        Raises DataError for an image that cannot be read, unless `on_error` says otherwise. Of a list of
        paths or bytes the next are read by other threads while the network runs, unless `on_error` is a
        function.
        """
        while self._untold:
            LOG.warning("%s", self._untold.pop())
        rules, bgr, on_error = self._read_call(call)
        listed = list_images(images)
        faults: dict[int, DataError] = {}
        inputs = self._prepare_all([images] if listed is None else listed, faults, bgr=bgr, on_error=on_error)
        with closing(inputs):
            found = [one for batch in self._batches(inputs) for one in self.detect(batch, rules)]
        for number, fault in faults.items():
            found.insert(number, no_objects(self.names, fault))
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
        return _change_rules(self.rules, self.names, **changes), bgr, on_error

    def _prepare_all(
        self, images: Iterable[ImageLike], faults: dict[int, DataError], *, bgr: bool, on_error: OnError
    ) -> Generator[NetworkInput, None, None]:
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

    def _try_prepare(self, image: ImageLike, bgr: bool) -> list[tuple[ImageLike, NetworkInput | DataError]]:
        """The image with its input, or with what is wrong with it."""
        try:
            return [(image, self.prepare(image, bgr=bgr))]
        except DataError as fault:
            return [(image, fault)]

    def prepare(self, image: ImageLike, *, bgr: bool = False) -> NetworkInput:
        """The network's input for one image."""
        pixels = load_image(image, self.channels, bgr=bgr)
        return preprocess_image(pixels, self.network.graph, how=self.preprocess)

    def detect(self, batch: Sequence[NetworkInput], rules: NmsRules | None = None) -> list[Detections]:
        """The detections of prepared images, all of one size."""
        start = time.perf_counter()
        rules = rules or self.rules
        predictions, angles = self._predict(np.stack([item.pixels for item in batch]), rules.conf)
        placements = [item.placement for item in batch]
        if angles is not None:  # a clipped box would turn about another centre
            placements = [place._replace(is_clipped=False) for place in placements]
        rows = list(select_boxes(predictions, placements, rules=rules))
        seconds = (time.perf_counter() - start) / len(batch)
        return [
            Detections(
                boxes_xyxy,
                kept.scores,
                kept.classes,
                self.names,
                placement.image_size,
                seconds,
                channels=self.channels,
                angles=None if angles is None else DEGREES * angles[number, kept.numbers],
            )
            for number, ((boxes_xyxy, kept), placement) in enumerate(zip(rows, placements, strict=True))
        ]

    @property
    def channels(self) -> int:
        """Number of channels of the network's input images."""
        return self.network.graph.image.channels

    def _predict(self, pixels: NDArray[np.float32], least: float) -> tuple[Predictions, Tensor | None]:
        """What the network predicts with a score of `least` or more, and the angles [N, B] of its boxes, if
        they have any, in turns."""
        if self.device.type == "cpu" and len(pixels) > self._fitting:
            check_memory(self.network.graph, len(pixels))
            self._fitting = len(pixels)
        try:
            with torch.inference_mode():
                raws = self.engine(torch.from_numpy(pixels))
                predictions = self.network.decode(raws, least=least)
                angles = self.network.angles(raws)
                predictions.scores[..., self._hidden] = 0
                if angles is not None:
                    predictions.boxes_xywh[~angles.isfinite()] = torch.nan  # such boxes are left out
                return predictions, None if angles is None else angles.float().cpu()
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            count, _, height, width = pixels.shape
            raise YolorError(
                "not enough memory for the network",
                found=f"{count} x {height}x{width} pixels",
                hint="use a smaller --batch-size or --img-size",
            ) from fault

    def _batches(self, prepared: Iterable[NetworkInput]) -> Iterator[list[NetworkInput]]:
        batch: list[NetworkInput] = []
        for item in prepared:
            if batch and (len(batch) == self.batch_size or item.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def _change_rules(
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


def _warn_without(weights: str | Path | None, cfg: str | Path) -> str | Path | None:
    """The weights; a warning where neither they nor a checkpoint are given."""
    if weights is None and not is_checkpoint_file(cfg):
        LOG.warning("%s: no weights are given: the network has random ones", cfg)
    return weights


def _log_notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    for note in notes:
        LOG.info("%s", note)
    return notes


def _hidden_notes(names: Sequence[str]) -> tuple[str, ...]:
    hidden = [name for name in names if name.startswith(HIDDEN_PREFIX)]
    return (f"hidden, as their names ask for: {', '.join(hidden)}",) if hidden else ()


def known_classes(classes: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """The class ids of these ids and names; raises CfgError for one that the network does not have."""
    return tuple(_known_class(label, names) for label in classes)


def _known_class(label: int | str, names: Sequence[str]) -> int:
    """A name counts before a number; of names that differ in case alone the exact one is meant."""
    if isinstance(label, str):
        for spelling in (names, [name.lower() for name in names]):
            word = label if spelling is names else label.lower()
            if spelling.count(word) == 1:
                return spelling.index(word)
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    has_names = not all(name.isdecimal() for name in names)
    raise CfgError(
        "no such class in this network",
        found=str(label),
        allowed=f"0..{len(names) - 1}" + (", or a name" if has_names else ""),
        hint=suggest_word(str(label), list(names)) if has_names else "",
    )


def is_out_of_memory(fault: Exception) -> bool:
    """True for the out-of-memory errors of Python and torch; torch has a class of its own only on GPUs."""
    words = str(fault).lower()
    return isinstance(fault, MemoryError) or ("memory" in words and ("alloc" in words or "out of" in words))
