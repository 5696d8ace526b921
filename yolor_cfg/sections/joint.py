"""How the maps of a network for joint detection and embedding (JDE) are told from those of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from yolor_cfg.sections.yolo import EMBEDDING_ANCHORS, JOINT_CHANNELS

if TYPE_CHECKING:
    from yolor_cfg.sections.wiring import Node


def joins_embeddings(nodes: Iterable[Node]) -> bool:
    """Whether every [yolo] reads a [route] of the 24 channels of its boxes and another map, as in the first
    files of Zhongdao/Towards-Realtime-MOT (28514de), which do not give the length of the embedding."""
    by_number = {node.index: node for node in nodes}
    heads = [node for node in by_number.values() if node.section.type == "yolo"]
    return bool(heads) and all(_joins_embedding(head, by_number) for head in heads)


def _joins_embedding(head: Node, by_number: dict[int, Node]) -> bool:
    values, joint = head.section.values, by_number.get(head.sources[0])
    if len(values.get("mask", ())) != EMBEDDING_ANCHORS or values.get("classes") != 1 or joint is None:
        return False
    parts = [by_number[number].shape.channels for number in joint.sources if number in by_number]
    return joint.section.type == "route" and len(parts) > 1 and parts[0] == JOINT_CHANNELS
