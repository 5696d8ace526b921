"""What is told of one network among several."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.analysis.models.fields import ReceptiveField, find_field
from yolor_cfg.count import GraphCosts
from yolor_cfg.graph import Graph, Node


class Score(NamedTuple):
    """AP and AP50, from 0 to 1, and where they are from: `data` in a few words, and `key`, which is the same
    for scores on the same images alone."""

    ap: float | None
    ap50: float | None
    data: str
    key: tuple[str, ...]


class Source(NamedTuple):
    """A network as it was given: what it is (`cfg`, `family`, `checkpoint`, `training` or `test`), its graph,
    the files to open it by (cfg "": it has none), the score of its run, the task that it is chosen for."""

    path: str
    kind: str
    graph: Graph
    cfg: str = ""
    weights: str | None = None
    score: Score | None = None
    task: str | None = None


class ImageTime(NamedTuple):
    """Milliseconds of one image: the median and the quartiles; `failed` says why there are none."""

    median_ms: float
    low_ms: float
    high_ms: float
    failed: str = ""


class HeadFacts(NamedTuple):
    """A head: its section and layer, pixels per cell down and across, classes, and how many anchors it has;
    `anchors` are their widths and heights in pixels, where the section states them so. The receptive field
    is that of a cell of what it reads."""

    type: str
    layer: int
    stride: tuple[float, float]
    classes: int
    anchor_count: int
    anchors: tuple[tuple[float, float], ...]
    receptive_field: ReceptiveField


class Model(NamedTuple):
    """One network of the comparison. Memory is the peak of the activations of one image in float32, and
    `file_bytes` the size of its weights: of the file that was given, else of a `.weights` file."""

    name: str
    source: Source
    costs: GraphCosts
    memory_bytes: int
    file_bytes: int
    score: Score | None = None
    timing: ImageTime | None = None

    @property
    def heads(self) -> tuple[HeadFacts, ...]:
        """Its heads in cfg order."""
        return tuple(describe_head(self.source.graph, node) for node in self.source.graph.heads)

    def figure(self, name: str) -> float | None:
        """What it is compared by: `params`, `macs`, `memory`, `time`, `ap` or `ap50`; None if not known."""
        known = {"params": self.costs.parameters, "macs": self.costs.macs, "memory": self.memory_bytes}
        if name in known:
            return known[name]
        if name == "time":
            return self.timing.median_ms if self.timing and not self.timing.failed else None
        value: float | None = getattr(self.score, name, None)
        return value


def describe_head(graph: Graph, node: Node) -> HeadFacts:
    """The facts of a head of the graph."""
    section = node.section
    anchors = tuple(getattr(section, "masked_anchors", ()))
    classes = node.shape.size if section.label_kind else getattr(section, "classes", 0)
    count = len(anchors) or (getattr(section, "num", 0) if hasattr(section, "anchors") else 0)
    stride, field = graph.stride(node.index), find_field(graph, node.index)
    return HeadFacts(section.type, node.index, stride, classes, count, anchors, field)
