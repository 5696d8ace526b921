"""An ONNX model with its convolutions in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.errors import MissingExtra

if TYPE_CHECKING:
    from onnx import ModelProto

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
