"""From images to detections: preprocess, run, decode, apply NMS, and map back to the pixels of each image.

Legend: N images, B boxes, K classes, M detections.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.heat.mapper import HeatChoice, HeatMapper
from yolor_cfg.detect.image_labels import LabelRange, choose_labels
from yolor_cfg.detect.memory import check_memory
from yolor_cfg.detect.nms import choose_nms, nms_notes, select_boxes
from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.tiles import Prepared, refuse_tiles
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import choose_engine, engine_note
from yolor_cfg.errors import CfgError, YolorError, check_choice
from yolor_cfg.export.facts import is_exported
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.images.fit import PREPROCESS_CHOICES, default_preprocess, preprocess_image
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.images.tiles import TileCall, TileRules, make_rules
from yolor_cfg.images.types import Image
from yolor_cfg.model import Predictions, check_heads
from yolor_cfg.names import class_names, find_names
from yolor_cfg.ops.devices import find_device
from yolor_cfg.weights.finite import find_alarms
from yolor_cfg.weights.loading import LoadedNetwork, open_network, switch_task
from yolor_cfg.weights.prefix import is_checkpoint_file
from yolor_cfg.weights.task_choice import task_note
from yolor_cfg.weights.tasks import (
    TaskKnowledge,
    copy_knowledge,
    set_knowledge,
    share_network,
)

LOG = logging.getLogger("yolor_cfg")
DEGREES = 360  # of a turn


class Detector(ImageDetector):
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
    leave out, or `all`. A pickled detector chooses its engine anew. `task` is a file of `yolor train --task`,
    or the name of one beside the weights. Without `names` they are those of the checkpoint, else of a file
    NAME.names beside NAME.weights or NAME.cfg, else class ids.

    With `tile`, larger images are cut into tiles that overlap: `TileCall` has these options.
    """

    heat: HeatMapper | None = None
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
        task: str | Path | None = None,
        **tiles: Unpack[TileCall],
    ) -> None:
        size, device = _check_input(size, device)
        reading = ReadOptions(dialect, size, strict=strict)
        opened = open_network(cfg, _warn_without(weights, cfg), reading=reading, device=device, cutoff=cutoff)
        opened = _find_names(opened, (weights, cfg) if names is None else ())
        self._plain = _keep_knowledge(opened, names if task is None else None, home=weights or cfg)
        self._whole, opened = opened, _choose_task(opened, task, self._plain.home)
        self.network, self._untold = opened.network, find_alarms(opened.notes)
        check_heads(self.network)
        self.device = find_device(device)
        graph = self.network.graph
        self.names = class_names(opened.names if names is None else names, count=graph.classes)
        self._asked = EngineSettings(engine, precision, tuple(no_rewrite))
        self.engine = choose_engine(self.network, self._asked)
        self.notes = log_notes(opened.notes + nms_notes(graph, nms) + hidden_notes(self.names))
        plain = _choose_rules(graph, nms, multi_label=multi_label, agnostic=agnostic)
        self.rules = change_rules(plain, self.names, conf=conf, iou=iou, max_det=max_det, classes=classes)
        self.preprocess = check_choice(preprocess or default_preprocess(graph), PREPROCESS_CHOICES)
        self.is_recurrent = any(hasattr(layer, "initial_state") for layer in self.network.module_list)
        self.batch_size = _check_batch_size(batch_size, is_recurrent=self.is_recurrent)
        self.tiling = self._choose_tiling(tiles)

    def _choose_tiling(self, tiles: TileCall) -> TileRules | None:
        """The rules by which images are cut; raises CfgError where this network cannot see them so."""
        if unknown := tiles.keys() - TileCall.__annotations__.keys():
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        graph = self.network.graph
        rules = make_rules(tiles, (graph.image.height, graph.image.width))
        if rules:
            labels, recurrent = bool(graph.label_heads), self.is_recurrent
            refuse_tiles(graph.path, labels=labels, is_recurrent=recurrent, preprocess=self.preprocess)
        return rules

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine, which may be bound to this process."""
        return {name: value for name, value in vars(self).items() if name != "engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The detector, with an engine that is here."""
        vars(self).update(state)
        self.engine = choose_engine(self.network, self._asked)

    def explain(self, choice: HeatChoice | None) -> Detector:
        """A detector with the same network that makes heat maps of what it finds, `Detections.heat`; None:
        one that does not. Raises CfgError where the network can have none, and for images in tiles."""
        if choice is not None and self.tiling is not None:
            raise CfgError(
                "heat maps are of whole images", path=self.network.graph.path, hint="leave out --tile"
            )
        other = copy.copy(self)
        other.heat = None if choice is None else HeatMapper(self.network, choice)
        return other

    def task(self, name: str | Path | None) -> Detector:
        """A detector for another task of this network, with which it shares the other tensors: a file that
        `yolor train --task` wrote, or the name of one beside the weights; None is the task of the weights
        themselves. It finds all classes of its task."""
        other = copy.copy(self)
        network = share_network(self._whole.network)
        set_knowledge(network, self._plain.tensors)
        whole = self._whole._replace(network=network, notes=())
        opened = _choose_task(whole, name, self._plain.home)
        names = self._plain.names if name is None else opened.names
        other.network = opened.network
        check_heads(other.network)
        other.names = class_names(names, count=other.network.graph.classes)
        other.rules = self.rules._replace(classes=None)
        other.notes = log_notes(opened.notes)
        other.engine = choose_engine(other.network, self._asked)
        other.heat = self.heat and HeatMapper(other.network, self.heat.choice)
        return other

    def _fit(self, pixels: Image) -> NetworkInput:
        return preprocess_image(pixels, self.network.graph, how=self.preprocess)

    @property
    def channels(self) -> int:
        """Number of channels of the network's input images."""
        return self.network.graph.image.channels

    @property
    def embeds(self) -> bool:
        """Whether its detections have embeddings."""
        return self.network.embeds

    @property
    def warnings(self) -> Sequence[YolorError]:
        """What is odd about the cfg."""
        return self.network.graph.warnings

    @property
    def engine_notes(self) -> tuple[str, ...]:
        """Remarks of the engine, and one line on what runs the network."""
        return *self.engine.notes, engine_note(self.engine, self.network)

    def describe(self) -> dict[str, Any]:
        """Dialect, size, device, engine and precision."""
        graph = self.network.graph
        return {
            "dialect": graph.dialect.name,
            "size": [graph.image.height, graph.image.width],
            "device": self.device.type,
            "engine": self.engine.name,
            "precision": self.engine.precision,
        }

    def detect(self, batch: Sequence[Prepared], rules: NmsRules | None = None) -> list[Detections]:
        """The detections of prepared images: several inputs of one size, or one image in tiles; with heat
        maps, where they are asked for."""
        found = super().detect(batch, rules)
        if self.heat is None:
            return found
        return self.heat.add([item for item in batch if isinstance(item, NetworkInput)], found)

    def reset(self) -> None:
        """Forget the state of a recurrent network."""
        self.network.reset()

    def _wrap(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array)

    def _find(self, batch: Sequence[NetworkInput], rules: NmsRules) -> list[FoundBoxes]:
        predicted = self._predict(stack_inputs(batch), rules.conf)
        found = self._find_boxes(batch, predicted, rules)
        if predicted.labels is None:
            return found
        ranges = _label_ranges(self.network.graph)
        chosen = [
            choose_labels(scores, ranges, names=self.names, least=rules.conf)
            for scores in predicted.labels.numpy()
        ]
        return [one._replace(labels=labels) for one, labels in zip(found, chosen, strict=True)]

    def _find_boxes(
        self, batch: Sequence[NetworkInput], predicted: _Predicted, rules: NmsRules
    ) -> list[FoundBoxes]:
        predictions, angles = predicted.boxes, predicted.angles
        if predictions is None:
            return [FoundBoxes(*self._nothing()) for _ in batch]
        placements = [item.placement for item in batch]
        if angles is not None:  # a clipped box would turn about another centre
            placements = [place._replace(is_clipped=False) for place in placements]
        rows = list(select_boxes(predictions, placements, rules=rules))
        vectors = self._embed([kept.numbers for _, kept in rows], predicted.maps)
        return [
            FoundBoxes(
                boxes_xyxy,
                kept.scores,
                kept.classes,
                None if angles is None else DEGREES * angles[number, kept.numbers],
                embeddings=None if vectors is None else vectors[number],
            )
            for number, (boxes_xyxy, kept) in enumerate(rows)
        ]

    def _embed(self, boxes: Sequence[Tensor], maps: Sequence[Tensor]) -> list[Tensor] | None:
        """The embeddings [M, E] of these boxes of each image, if there are any."""
        if not self.embeds:
            return None
        return [vectors.float().cpu() for vectors in self.network.embed_boxes(maps, boxes)]

    def _decode(self, raws: Sequence[Tensor], least: float) -> _Predicted:
        network = self.network
        labels = network.labels(raws)
        labels = None if labels is None else labels.float().cpu()
        if not network.graph.box_heads:
            return _Predicted(None, None, labels, ())
        predictions, angles = network.decode(raws, least=least), network.angles(raws)
        predictions.scores[..., hidden_classes(self.names)] = 0
        if angles is not None:
            predictions.boxes_xywh[~angles.isfinite()] = torch.nan  # such boxes are left out
        angles = None if angles is None else angles.float().cpu()
        return _Predicted(predictions, angles, labels, raws)

    def _predict(self, pixels: NDArray[np.float32], least: float) -> _Predicted:
        """What the network predicts; boxes of a score of `least` or more."""
        if self.device.type == "cpu" and len(pixels) > self._fitting:
            check_memory(self.network.graph, len(pixels))
            self._fitting = len(pixels)
        try:
            with torch.inference_mode():
                return self._decode(self.engine(torch.from_numpy(pixels)), least)
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            count, _, height, width = pixels.shape
            raise YolorError(
                "not enough memory for the network",
                found=f"{count} x {height}x{width} pixels",
                hint="use a smaller --batch-size or --img-size",
            ) from fault


class _Predicted(NamedTuple):
    """The boxes, None for a classifier; their angles [N, B] in turns, if they have any; the probabilities
    of the images' classes [N, K], if the network tells them; the raw maps."""

    boxes: Predictions | None
    angles: Tensor | None
    labels: Tensor | None
    maps: Sequence[Tensor]


def _label_ranges(graph: Graph) -> tuple[LabelRange, ...]:
    ranges, first = list[LabelRange](), 0
    for node in graph.label_heads:
        ranges.append(LabelRange(first, node.shape.size, node.section.label_kind == "single"))
        first += node.shape.size
    return tuple(ranges)


def _find_names(opened: LoadedNetwork, files: Sequence[str | Path | None]) -> LoadedNetwork:
    """The network with the class names beside its files, unless it has names."""
    return opened.take_names(*find_names(opened.names, files, count=opened.network.graph.classes))


def _check_input(
    size: int | tuple[int, int] | None, device: str | int
) -> tuple[int | tuple[int, int] | None, str]:
    """Both, if they can be meant; raises CfgError otherwise."""
    checked = None if size is None else check_argument("size", parse_size, size)
    return checked, check_argument("device", parse_device, device)


def _check_batch_size(batch_size: int, *, is_recurrent: bool) -> int:
    """The number; 1 for a recurrent network, whatever is asked for. Raises CfgError if it cannot be meant."""
    most = check_argument("batch_size", partial(parse_count, most=MOST_IN_BATCH), batch_size)
    return 1 if is_recurrent else most


def _keep_knowledge(
    opened: LoadedNetwork, names: Sequence[str] | str | Path | None, *, home: str | Path
) -> TaskKnowledge:
    """What a network knows by its own weights; without `names` those of its file."""
    return TaskKnowledge(copy_knowledge(opened.network), opened.names if names is None else names, home)


def _choose_task(opened: LoadedNetwork, task: str | Path | None, home: str | Path) -> LoadedNetwork:
    """The network of the task; without one the whole of it, with a note where tasks differ."""
    if task is not None:
        return switch_task(opened, task, home)
    return opened._replace(notes=(*opened.notes, *task_note(opened.network.graph)))


def _choose_rules(graph: Graph, nms: str | None, *, multi_label: bool | None, agnostic: bool) -> NmsRules:
    """The rules of NMS, with the usual limits."""
    kind, beta = choose_nms(graph, nms)
    every_class = graph.dialect.is_pytorch if multi_label is None else multi_label
    return NmsRules(kind=kind, beta=beta, multi_label=every_class, agnostic=agnostic)


def _warn_without(weights: str | Path | None, cfg: str | Path) -> str | Path | None:
    """The weights; a warning where neither they nor a checkpoint are given. An exported file is refused."""
    if is_exported(cfg):
        hint = f"yolor_cfg.ExportedDetector({str(cfg)!r})"
        raise CfgError("an exported file is no cfg", path=str(cfg), hint=hint)
    if weights is None and not is_checkpoint_file(cfg):
        LOG.warning("%s: no weights are given: the network has random ones", cfg)
    return weights


def is_out_of_memory(fault: Exception) -> bool:
    """True for the out-of-memory errors of Python and torch; torch has a class of its own only on GPUs."""
    words = str(fault).lower()
    return isinstance(fault, MemoryError) or ("memory" in words and ("alloc" in words or "out of" in words))
