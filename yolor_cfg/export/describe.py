"""What a program that runs an exported network needs to know: sizes, preprocessing, classes, outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from yolor_cfg.export.facts import EMBEDDINGS, IMAGE, IMAGES, LABELS, LEFT_OUT, PREDICTIONS
from yolor_cfg.export.traced import head_names
from yolor_cfg.graph import Graph, last_head_value
from yolor_cfg.images.fit import default_preprocess
from yolor_cfg.images.preprocess import DARKNET_FILL, YOLOR_FILL

if TYPE_CHECKING:
    from onnx import ModelProto

COLUMNS = ("image", "x1", "y1", "x2", "y2", "score", "class")
"""Of the detections of a model with NMS."""


class FileForm(NamedTuple):
    """What a file gives (decoded, raw), whether NMS is inside, and the order of the channels of the images
    that it fits itself; empty if it does not."""

    form: str
    has_nms: bool
    order: str


def describe_file(graph: Graph, names: Sequence[str], file: FileForm) -> dict[str, Any]:
    """The model as JSON: its input, preprocessing, classes, heads, its whole cfg, its output."""
    return {
        "input": _describe_image(graph, file.order) if file.order else _describe_input(graph),
        "preprocess": {**_describe_preprocess(graph), "inside": bool(file.order)},
        "classes": graph.classes,
        "names": list(names),
        "nms": {
            "kind": last_head_value(graph, "nms_kind", "default"),
            "beta": last_head_value(graph, "beta_nms", 0.6),
        },
        "heads": [
            _describe_head(graph, index, name=name)
            for index, name in zip(graph.outputs, head_names(graph), strict=True)
        ],
        LABELS: list(_describe_labels(graph)),
        EMBEDDINGS: [] if file.has_nms else _count_cell_boxes(graph),
        LEFT_OUT: [EMBEDDINGS] if file.has_nms and _count_cell_boxes(graph) else [],
        "dialect": graph.dialect.name,
        "cfg": graph.document.text,
        "output": _describe_output(file, graph),
    }


def _describe_labels(graph: Graph) -> Iterator[dict[str, Any]]:
    """Of each head with image labels its classes; `plain` where its output are their probabilities."""
    first = 0
    for node in graph.label_heads:
        is_plain = not getattr(node.section, "tree", "")
        is_single, length = node.section.label_kind == "single", node.shape.size
        yield {"first": first, "length": length, "single": is_single, "plain": is_plain}
        first += length


def _count_cell_boxes(graph: Graph) -> list[int]:
    """How many boxes a cell has, of each head with embeddings; nothing unless all heads have them."""
    sections = [node.section for node in graph.box_heads]
    if not all(section.has_embedding for section in sections):
        return []
    return [len(getattr(section, "masked_anchors", ())) for section in sections]


def _describe_input(graph: Graph) -> dict[str, Any]:
    image = graph.image
    return {
        "name": IMAGES,
        "layout": "NCHW",
        "channels": image.channels,
        "height": image.height,
        "width": image.width,
        "values": "0..1",
        "order": "RGB" if image.channels == 3 else "as in the file",
        "multiple_of": 0 if graph.has_fixed_size else graph.largest_stride,
    }


def _describe_image(graph: Graph, order: str) -> dict[str, Any]:
    """Of a model that fits an image of any size itself."""
    return {
        "name": IMAGE,
        "layout": "NHWC",
        "channels": graph.image.channels,
        "height": "any",
        "width": "any",
        "values": "0..255, uint8",
        "order": order.upper() if graph.image.channels == 3 else "as in the file",
    }


def _describe_output(file: FileForm, graph: Graph) -> str:
    """The outputs in words."""
    if file.form != "decoded":
        return "the raw map of each head: [N, anchors, rows, columns, values] for detectors"
    parts = [_describe_boxes(file)] if graph.box_heads else []
    if graph.label_heads:
        parts.append(f"{LABELS} [N, classes]: the probabilities of the classes of an image")
    if not file.has_nms and _count_cell_boxes(graph):
        parts.append(
            f"{EMBEDDINGS}_0 ... [N, E, rows, columns]: the vectors of the cells of each head, of any length"
        )
    return "; ".join(parts)


def _describe_boxes(file: FileForm) -> str:
    of = "image" if file.order else "input"
    if file.has_nms:
        return f"detections [M, 7]: {', '.join(COLUMNS)}; corners in pixels of the {of}"
    return (
        f"{PREDICTIONS} [N, B, 5 + classes]: centre x, centre y, width, height in pixels of the {of}, "
        "objectness, then the probability of each class; a score is their product"
    )


def write_metadata(model: ModelProto, facts: dict[str, Any]) -> None:
    """The facts inside the model, each as JSON under its name."""
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, fact_text(value)


def fact_text(value: Any) -> str:
    """A fact as it stands in a file: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _describe_preprocess(graph: Graph) -> dict[str, Any]:
    """How an image becomes the input; a letterbox has a colour at its borders."""
    how = default_preprocess(graph)
    if how != "letterbox":
        return {"kind": how}
    fill = YOLOR_FILL / 255 if graph.dialect.is_pytorch else DARKNET_FILL
    return {"kind": how, "fill": fill}


def _describe_head(graph: Graph, index: int, *, name: str) -> dict[str, Any]:
    """The name of its raw map, its stride down and across, and its anchors in the order of the map."""
    section = graph.nodes[index].section
    anchors = getattr(section, "masked_anchors", ())
    return {
        "name": name,
        "stride": list(graph.stride(index)),
        "anchors": [list(pair) for pair in anchors],
    }
