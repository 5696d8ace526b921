"""An exported file in the place of a network: its graph from the cfg that the file holds, no weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.engines.exported import (
    ExportedModel,
    Maps,
    Predicted,
    split_cells,
    split_labels,
    split_outputs,
)
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.export.facts import DETECTIONS
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.images.types import Size
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network, Predictions
from yolor_cfg.ops.embeddings import choose_vectors


class FileNetwork(Network):
    """A network on torch's meta device whose `decode` takes what the file gives out; a file for images of one
    size makes it a network for one size."""

    def __init__(self, model: ExportedModel, size: Size | None = None) -> None:
        """`size`, height and width, is that of the file unless it is given."""
        with torch.device("meta"):
            super().__init__(_file_graph(model, size))
        self.model = model
        self._count = 0
        self.eval()  # in training heads with image labels give out what is before their last function

    def run(self, images: Tensor) -> list[Tensor]:
        """The outputs of the file for images [N, C, H, W]."""
        self._count = len(images)
        return [torch.from_numpy(output) for output in self.model(images.contiguous().numpy())]

    def decode(self, raws: Sequence[Tensor], *, least: float = 0) -> Predictions:
        """Boxes and scores from what `run` gave."""
        if self.model.form == "raw":
            return super().decode(raws, least=least)
        found = split_outputs(self.model, [raw.numpy() for raw in raws], self._count)
        return Predictions(*(torch.from_numpy(part) for part in found))

    @property
    def embeds(self) -> bool:
        """Whether boxes come with embeddings; not where NMS is inside the file."""
        if self.model.form == "raw":
            return super().embeds
        return bool(self.model.facts.embeddings) and self.model.form != DETECTIONS

    def embed_boxes(self, raws: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """The embeddings [M, E] of these boxes of each image, from what `run` gave."""
        if self.model.form == "raw":
            return super().embed_boxes(raws, boxes)
        levels = [torch.from_numpy(one) for one in split_cells(self.model, [raw.numpy() for raw in raws])]
        sizes = zip(self.model.facts.embeddings, levels, strict=True)
        counts = [count * level[0, 0].numel() for count, level in sizes]
        return [
            choose_vectors([level[image] for level in levels], counts, one) for image, one in enumerate(boxes)
        ]

    def labels(self, raws: Sequence[Tensor]) -> Tensor | None:
        """The probabilities of image labels; None where the file does not give them."""
        if self.model.form == "raw":
            return super().labels(raws)
        found = split_labels(self.model, [raw.numpy() for raw in raws])
        return None if found is None else torch.from_numpy(found)


class FileEngine:
    """The file of a `FileNetwork` as an engine; what it gives is for the `decode` of that network."""

    def __init__(self, network: FileNetwork) -> None:
        self.name, self.precision = network.model.name, network.model.precision
        self.notes: tuple[str, ...] = ()
        self._run = network.run

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The outputs of the file for images [N, C, H, W]."""
        return self._run(images)


def decode_maps(network: FileNetwork, outputs: Maps, *, least: float) -> Predicted:
    """The boxes of the raw maps of heads, as arrays."""
    with torch.inference_mode():
        found = network.decode([torch.from_numpy(output) for output in outputs], least=least)
    return Predicted(*(part.float().numpy() for part in found))


def label_maps(network: FileNetwork, outputs: Maps) -> NDArray[np.float32] | None:
    """The probabilities [N, K] of image labels, of the raw maps of heads."""
    found = network.labels([torch.from_numpy(output) for output in outputs])
    return None if found is None else found.float().numpy()


def embed_maps(
    network: FileNetwork, outputs: Maps, boxes: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float32]]:
    """The embeddings [M, E] of these boxes of each image, of the raw maps of heads."""
    chosen = [torch.from_numpy(one) for one in boxes]
    found = network.embed_boxes([torch.from_numpy(output) for output in outputs], chosen)
    return [vectors.float().numpy() for vectors in found]


def _file_graph(model: ExportedModel, size: Size | None) -> Graph:
    facts = model.facts
    try:
        graph = build_graph(parse(facts.cfg, model.path), ReadOptions(facts.dialect, size or facts.size))
    except CfgError as fault:
        raise WeightsError("the cfg in this file is damaged", path=model.path, found=fault.message) from None
    return graph.fix_size() if model.is_static else graph
