"""An ONNX model in float16: all of its convolutions, or its weights alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import MissingExtra

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST_STORED = 64
"""Numbers in a tensor; fewer are not worth a cast."""
LARGEST_HALF, LEAST_HALF = 65504.0, 6.2e-5
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def halve(model: ModelProto) -> ModelProto:
    """The model with weights and maps in float16; its inputs and outputs, and what is computed from the raw
    maps of the heads, stay in float32: sizes of boxes overflow in float16."""
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as cause:
        raise MissingExtra("export") from cause
    blocked = _names_behind_heads(model)
    return _sort_nodes(convert_float_to_float16(model, keep_io_types=True, node_block_list=blocked))


def store_half(model: ModelProto) -> ModelProto:
    """The model changed in place so that it stores its weights in float16 and computes in float32; weights
    that float16 cannot hold to its full precision stay as they are."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or not _fits_half(numpy_helper.to_array(tensor)):
            continue
        name, stored = tensor.name, f"{tensor.name}_half"
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _fits_half(values: NDArray[np.float32]) -> bool:
    """Whether the numbers that matter, those above a thousandth of the largest, are normal in float16."""
    largest = float(np.abs(values).max(initial=0))
    return values.size >= SMALLEST_STORED and LEAST_HALF * 1000 < largest <= LARGEST_HALF


def _sort_nodes(model: ModelProto) -> ModelProto:
    """The model with every node after those that it reads, as OpenCV needs it."""
    import onnx_ir

    sorted_model = onnx_ir.from_proto(model)
    sorted_model.graph.sort()
    return onnx_ir.to_proto(sorted_model)


def _names_behind_heads(model: ModelProto) -> list[str]:
    """The nodes from which no convolution is reached any more, named where they have no name, but for the
    convolutions."""
    readers: dict[str, list[int]] = {}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        for name in node.input:
            readers.setdefault(name, []).append(number)
    leads: dict[int, bool] = {}
    for number, node in reversed(list(enumerate(model.graph.node))):
        behind = (leads[reader] for name in node.output for reader in readers.get(name, ()))
        leads[number] = node.op_type in HEAVY or any(list(behind))
    return [node.name for number, node in enumerate(model.graph.node) if not leads[number]]
