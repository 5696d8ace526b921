"""A detector from a file that `yolor export` wrote: images to detections without torch.

Legend: N images, B boxes, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.arguments import MOST_IN_BATCH, check_argument, parse_count, parse_device, parse_size
from yolor_cfg.detect.base import (
    FoundBoxes,
    ImageDetector,
    change_rules,
    hidden_classes,
    hidden_notes,
    log_notes,
    stack_inputs,
)
from yolor_cfg.detect.image_labels import LabelRange, choose_labels
from yolor_cfg.detect.nms_rules import NmsRules, choose_kind, kind_notes
from yolor_cfg.detect.plain import NumberedBoxes, choose_cells, select_numbered
from yolor_cfg.detect.tiles import refuse_tiles
from yolor_cfg.engines.exported import (
    ExportedModel,
    Maps,
    Predicted,
    split_cells,
    split_labels,
    split_outputs,
)
from yolor_cfg.errors import CfgError, check_choice
from yolor_cfg.export.facts import DETECTIONS, ModelFacts
from yolor_cfg.images.fit import PREPROCESS_CHOICES, InputRules, fit_image
from yolor_cfg.images.preprocess import NetworkInput, Placement
from yolor_cfg.images.tiles import TileCall, TileRules, make_rules
from yolor_cfg.images.types import Image
from yolor_cfg.names import class_names, find_names

if TYPE_CHECKING:
    from yolor_cfg.engines.file_network import FileNetwork


class FileOptions(TileCall, total=False):
    """Options with the meaning that they have for a `Detector`."""

    size: int | tuple[int, int] | None
    device: str | int
    preprocess: str | None
    nms: str | None
    conf: float
    iou: float
    max_det: int
    classes: Sequence[int | str] | None
    agnostic: bool
    multi_label: bool | None
    batch_size: int


class ExportedDetector(ImageDetector):
    """An exported ONNX or OpenVINO file with its preprocessing and NMS: called like a `Detector`, with the
    same results, but arrays where that has tensors; torch is not needed unless the file gives raw maps.

    `engine` is onnxruntime, openvino or auto: that which starts faster, of those that are installed.
    `precision` is fp32, bf16 (OpenVINO) or auto; weights are those of the file, and what is left at None
    comes from it. NMS inside the file comes first: `conf`, `iou` and the rest choose among what it leaves.
    """

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str] | str | Path | None = None,
        *,
        engine: str = "auto",
        precision: str = "fp32",
        **more: Unpack[FileOptions],
    ) -> None:
        if unknown := more.keys() - FileOptions.__annotations__.keys():
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        refuse_device(check_argument("device", parse_device, more.get("device", "cpu")), str(path))
        self.model = ExportedModel(path, engine, precision)
        self._heads: FileNetwork | None = None
        facts = self.model.facts
        self._ranges = [LabelRange(*head[:3]) for head in facts.labels]
        self._input = input_of_file(self.model, more.get("size"))
        _check_fit(self.model, more.get("preprocess"))
        found = find_names(facts.names, [path] if names is None else [], count=facts.classes)
        self.names = class_names(found.names if names is None else names, count=facts.classes)
        told = kind_notes(more.get("nms"), own=facts.nms_kind, is_pytorch=facts.is_pytorch)
        self.notes = log_notes((*found.notes, *told, *hidden_notes(self.names), *file_notes(self.model)))
        self.rules = _make_rules(facts, self.names, more)
        self.preprocess = check_choice(more.get("preprocess") or facts.preprocess, PREPROCESS_CHOICES)
        most = partial(parse_count, most=MOST_IN_BATCH)
        self.batch_size = check_argument("batch_size", most, more.get("batch_size", 1))
        self.tiling = self._choose_tiling(more)

    @property
    def channels(self) -> int:
        """Number of channels of the network's input images."""
        return self.model.facts.channels

    @property
    def engine_notes(self) -> tuple[str, ...]:
        """One line on what runs the file."""
        return (f"engine: {self.model.name}, {self.model.precision}",)

    def describe(self) -> dict[str, Any]:
        """Dialect, size, device, engine and precision."""
        return {
            "dialect": self.model.facts.dialect,
            "size": None if self.model.facts.order else list(self._input.size),
            "device": "cpu",
            "engine": self.model.name,
            "precision": self.model.precision,
        }

    def _fit(self, pixels: Image) -> NetworkInput:
        if self.model.facts.order:
            return _keep_image(pixels, self.model.facts)
        return fit_image(pixels, self._input, how=self.preprocess)

    def _choose_tiling(self, more: FileOptions) -> TileRules | None:
        own = self.model.facts.size if self.model.facts.order else self._input.size
        tiling = make_rules(more, own)
        if tiling:
            labels, path = bool(self._ranges), str(self.model.path)
            refuse_tiles(path, labels=labels, is_recurrent=False, preprocess=self.preprocess)
        return tiling

    @property
    def embeds(self) -> bool:
        """Whether its detections have embeddings."""
        return bool(self.model.facts.embeddings) and self.model.form != DETECTIONS

    @property
    def embedding_hint(self) -> str:
        """Where embeddings may be had, if NMS inside the file is to blame."""
        left_out = self.model.facts.left_out
        if left_out is None and not self.embeds:
            return "an exported file has them if it was written without --nms, by this version or a later one"
        return "NMS inside the file takes them away: export it without --nms" if left_out else ""

    def _find(self, batch: Sequence[NetworkInput], rules: NmsRules) -> list[FoundBoxes]:
        outputs = self.model(stack_inputs(batch))
        found, labels = self._find_boxes(outputs, batch, rules), self._find_labels(outputs)
        if labels is None:
            return found
        chosen = [choose_labels(one, self._ranges, names=self.names, least=rules.conf) for one in labels]
        return [one._replace(labels=own) for one, own in zip(found, chosen, strict=True)]

    def _find_labels(self, outputs: Maps) -> NDArray[np.float32] | None:
        """The probabilities [N, K] of the labels of each image; None where the file tells none."""
        found = split_labels(self.model, outputs)
        if found is None and self.model.form == "raw" and self._ranges:
            from yolor_cfg.engines.file_network import label_maps

            found = label_maps(self._network(), outputs)
        return found

    def _find_boxes(self, outputs: Maps, batch: Sequence[NetworkInput], rules: NmsRules) -> list[FoundBoxes]:
        if not self.model.has_boxes:
            return [FoundBoxes(*self._nothing()) for _ in batch]
        predicted = self._predict(outputs, len(batch), rules.conf)
        predicted.scores[..., hidden_classes(self.names)] = 0
        rows = list(self._select(predicted, batch, rules))
        vectors = self._embed(outputs, [row.numbers for row in rows]) if self.embeds else [None] * len(rows)
        return [FoundBoxes(*row[:3], embeddings=own) for row, own in zip(rows, vectors, strict=True)]

    def _predict(self, outputs: Maps, count: int, least: float) -> Predicted:
        """The boxes that the file predicts with a score of `least` or more."""
        if self.model.form != "raw":
            return split_outputs(self.model, outputs, count)
        from yolor_cfg.engines.file_network import decode_maps

        return decode_maps(self._network(), outputs, least=least)

    def _embed(self, outputs: Maps, numbers: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """The embeddings [M, E] of these boxes of each image."""
        if self.model.form == "raw":
            from yolor_cfg.engines.file_network import embed_maps

            return embed_maps(self._network(), outputs, numbers)
        levels, counts = split_cells(self.model, outputs), self.model.facts.embeddings
        return [choose_cells([level[at] for level in levels], counts, one) for at, one in enumerate(numbers)]

    def _network(self) -> FileNetwork:
        """The network of the file's cfg, for raw maps."""
        from yolor_cfg.engines.file_network import FileNetwork

        self._heads = self._heads or FileNetwork(self.model)
        return self._heads

    def _select(
        self, predicted: Predicted, batch: Sequence[NetworkInput], rules: NmsRules
    ) -> Iterator[NumberedBoxes]:
        if self.model.form == DETECTIONS and self.model.facts.is_clipped:
            rules = rules._replace(iou=1.0)  # clipped boxes overlap more than those that the file compared
        for number, item in enumerate(batch):
            one = Predicted(*(part[number] for part in predicted))
            yield select_numbered(one, item.placement, rules)


def _make_rules(facts: ModelFacts, names: Sequence[str], more: FileOptions) -> NmsRules:
    """The rules of NMS, as `Detector` has them for such a network."""
    asked = more.get("multi_label")
    plain = NmsRules(
        kind=choose_kind(more.get("nms"), own=facts.nms_kind, is_pytorch=facts.is_pytorch),
        beta=facts.nms_beta,
        multi_label=facts.is_pytorch if asked is None else asked,
        agnostic=more.get("agnostic", False),
    )
    limits = {
        name: more.get(name, plain[NmsRules._fields.index(name)]) for name in ("conf", "iou", "max_det")
    }
    return change_rules(plain, names, classes=more.get("classes"), **limits)


def refuse_device(device: str, path: str) -> None:
    """Raise CfgError for anything but a CPU."""
    if device != "cpu":
        raise CfgError("an exported file runs on the CPU here", path=path, found=device, allowed="cpu")


def refuse_own_fit(model: ExportedModel) -> None:
    """Raise CfgError for a file that fits images itself, where inputs are prepared for it."""
    if model.facts.order:
        raise CfgError(
            "a file that fits images itself is not tested: a test prepares its images in its own way",
            path=model.path,
            hint="export it without --preprocess",
        )


def _check_fit(model: ExportedModel, asked: str | None) -> None:
    """Raise CfgError for what a file that fits images itself cannot do."""
    own = model.facts.preprocess
    if model.facts.order and asked not in (None, own):
        raise CfgError("the file fits images in its own way", path=model.path, found=asked, allowed=own)
    if model.facts.order and model.form == "raw":
        raise CfgError(
            "raw maps of a file that fits images itself are not read here",
            path=model.path,
            hint="export it with --output decoded, or without --preprocess",
        )


def _keep_image(image: Image, facts: ModelFacts) -> NetworkInput:
    """The image [h, w, C] itself, for a file that gives boxes in pixels of it."""
    size = image.shape[:2]
    pixels = image[..., ::-1] if facts.order == "bgr" else image
    return NetworkInput(np.ascontiguousarray(pixels), Placement(size, size, (1, 1), (0, 0), facts.is_clipped))


def input_of_file(model: ExportedModel, asked: int | tuple[int, int] | None) -> InputRules:
    """How images are fitted; raises CfgError for a size that the file does not take."""
    facts = model.facts
    if facts.order and asked is not None:
        hint = "leave out the size (--img-size)"
        raise CfgError("the file fits images to its own size", path=model.path, hint=hint)
    if model.is_static:
        size, stride = (model.shape[2], model.shape[3]), None
    else:
        size, stride = facts.size, facts.multiple_of or None
    if asked is not None:
        wanted = check_argument("size", parse_size, asked)
        wanted = (wanted, wanted) if isinstance(wanted, int) else wanted
        _check_size(model, wanted, size)
        size = wanted
    return InputRules(size, facts.is_pytorch, stride)


def _check_size(model: ExportedModel, wanted: tuple[int, int], own: tuple[int, int]) -> None:
    multiple = 0 if model.is_static else model.facts.multiple_of
    if wanted == own or (multiple and not any(side % multiple for side in wanted)):
        return
    allowed = f"multiples of {multiple}" if multiple else "{}x{}".format(*own)
    hint = "" if multiple else "yolor export --dynamic all writes a file for images of all sizes"
    raise CfgError(
        "the file does not take images of this size",
        path=model.path,
        found="{}x{}".format(*wanted),
        allowed=allowed,
        hint=hint,
    )


def file_notes(model: ExportedModel) -> tuple[str, ...]:
    """What a user should know of the file."""
    if model.form != DETECTIONS:
        return ()
    clipped = "; it clips boxes, so iou and agnostic have no effect" if model.facts.is_clipped else ""
    less = f"; it gives no {', '.join(model.facts.left_out)}" if model.facts.left_out else ""
    return (f"NMS is inside the file; what it leaves out by its own limits cannot come back{clipped}{less}",)
