"""ONNX that engines of few words read as meant: every attribute written out, pooling padded explicitly.

An attribute that is left out has ONNX's default, but other defaults in some engines (MNN's epsilon); with
`ceil_mode` engines disagree on the last row.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

POOLS = ("MaxPool", "AveragePool")
WINDOWED = ("Conv", "ConvTranspose", *POOLS)


def make_plain(model: ModelProto) -> ModelProto:
    """The model changed in place: padding moved into pools, every attribute of every node written out."""
    _absorb_padding(model)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        _write_out(node, opset, weights)
    return model


def find_constant_outputs(model: ModelProto) -> list[TensorProto]:
    """The outputs that do not depend on the images: torch writes them as weights, which no model may give
    out."""
    outputs = {output.name for output in model.graph.output}
    found: list[TensorProto] = []
    for tensor in model.graph.initializer:
        if tensor.name in outputs:
            found.append(type(tensor).FromString(tensor.SerializeToString()))
    return found


def add_constant_outputs(model: ModelProto, constants: Sequence[TensorProto]) -> ModelProto:
    """The model changed in place, with a node that gives out each of these; onnxslim drops them."""
    from onnx import helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name for node in model.graph.node for name in node.output}
    for tensor in constants:
        if tensor.name in made:
            continue
        if tensor.name in weights:
            model.graph.initializer.remove(weights[tensor.name])
        output, tensor.name = tensor.name, f"{tensor.name}_constant"
        model.graph.initializer.append(tensor)
        model.graph.node.append(helper.make_node("Identity", [tensor.name], [output], name=tensor.name))
    return model


def _absorb_padding(model: ModelProto) -> None:
    """A Pad with -inf before a MaxPool becomes the pool's own padding, which never counts."""
    nodes = model.graph.node
    makers = {name: node for node in nodes for name in node.output}
    for pool in [node for node in nodes if node.op_type == "MaxPool"]:
        pad = makers.get(pool.input[0])
        borders = None if pad is None else _lowest_borders(pad, model)
        if pad is None or borders is None:
            continue
        own = _attribute(pool, "pads")
        before = list(own.ints) if own is not None else [0] * 4
        _set_ints(pool, "pads", [one + other for one, other in zip(before, borders, strict=True)])
        pool.input[0] = pad.input[0]
    drop_unread(model)


def _lowest_borders(pad: NodeProto, model: ModelProto) -> list[int] | None:
    """Padding above, left, below, right of a Pad that fills rows and columns with -inf; None for another."""
    from onnx.numpy_helper import to_array

    known = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}
    if pad.op_type != "Pad" or len(pad.input) != 3 or not all(name in known for name in pad.input[1:]):
        return None
    pads, value = known[pad.input[1]].tolist(), known[pad.input[2]]
    if len(pads) != 8 or value != -np.inf or any(pads[axis] for axis in (0, 1, 4, 5)):
        return None
    return [*pads[2:4], *pads[6:8]]


def drop_unread(model: ModelProto) -> ModelProto:
    """The model without Pads and constants that nothing reads."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {out.name for out in graph.output}
    for node in [node for node in graph.node if node.op_type == "Pad" and node.output[0] not in read]:
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    return model


def _write_out(node: NodeProto, opset: int, weights: dict[str, TensorProto]) -> None:
    """Add the attributes that the node leaves to their defaults."""
    import onnx

    if not onnx.defs.has(node.op_type, node.domain):
        return
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    given = {attribute.name for attribute in node.attribute}
    if node.op_type in WINDOWED:
        _write_window(node, weights, known=schema.attributes)
    for name, attribute in schema.attributes.items():
        default = attribute.default_value
        # auto_pad is left out: some engines read any value as one of its SAME forms.
        if name not in given and name != "auto_pad" and default.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.append(default)


def _write_window(node: NodeProto, weights: dict[str, TensorProto], *, known: Container[str]) -> None:
    """Size, strides, padding and dilation of a window, which ONNX derives from the weights or takes as 1; in
    opset 18 an AveragePool has no dilation."""
    size = _attribute(node, "kernel_shape")
    if size is None:
        _set_ints(node, "kernel_shape", list(weights[node.input[1]].dims[2:]))
    rank = 2 if size is None else len(size.ints)
    for name, values in (("strides", [1] * rank), ("dilations", [1] * rank), ("pads", [0] * (2 * rank))):
        if name in known and _attribute(node, name) is None:
            _set_ints(node, name, values)


def _attribute(node: NodeProto, name: str) -> AttributeProto | None:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _set_ints(node: NodeProto, name: str, values: list[int]) -> None:
    from onnx.helper import make_attribute

    old = _attribute(node, name)
    if old is not None:
        node.attribute.remove(old)
    node.attribute.append(make_attribute(name, values))
