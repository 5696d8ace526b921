"""An exported file in the place of a network: its graph from the cfg that the file holds, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from yolor_cfg.engines.exported import ExportedModel, Maps, Predicted, split_outputs
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.images.types import Size
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network, Predictions


class FileNetwork(Network):
    """A network on torch's meta device whose `decode` takes what the file gives out; a file for images of one
    size makes it a network for one size."""

    def __init__(self, model: ExportedModel, size: Size | None = None) -> None:
        """`size`, height and width, is that of the file unless it is given."""
        with torch.device("meta"):
            super().__init__(_file_graph(model, size))
        self.model = model
        self._count = 0

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
        """Whether boxes come with embeddings; not where the file gives out boxes alone."""
        return self.model.form == "raw" and super().embeds

    def labels(self, raws: Sequence[Tensor]) -> Tensor | None:
        """The probabilities of image labels; None where the file gives out boxes alone."""
        return super().labels(raws) if self.model.form == "raw" else None


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


def _file_graph(model: ExportedModel, size: Size | None) -> Graph:
    facts = model.facts
    try:
        graph = build_graph(parse(facts.cfg, model.path), ReadOptions(facts.dialect, size or facts.size))
    except CfgError as fault:
        raise WeightsError("the cfg in this file is damaged", path=model.path, found=fault.message) from None
    return replace(graph, dialect=graph.dialect._replace(takes_net_size=True)) if model.is_static else graph
