"""Mish in the form that ONNX Runtime computes fastest: it has no kernel for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ONE, TWO = "mish_one", "mish_two"


def spell_mish(model: ModelProto) -> ModelProto:
    """The model changed in place: x * tanh(softplus(x)) becomes x / (1 + 2 / n), n = e * (e + 2), e = exp(x).

    The two are one function; where e overflows or is 0, x / 1 and x / infinity are its limits. OpenVINO and
    OpenCV have kernels for the first form alone.
    """
    from onnx.numpy_helper import from_array

    nodes = model.graph.node
    found = list(_find_mishes(model))
    for softplus, tanh, product in found:
        place = list(nodes).index(product)
        for node in (product, tanh, softplus):
            nodes.remove(node)
        for node in reversed(_spell(softplus.input[0], product.output[0])):
            nodes.insert(place - 2, node)
    numbers = ((ONE, 1), (TWO, 2)) if found else ()
    model.graph.initializer.extend(from_array(np.array(value, np.float32), name) for name, value in numbers)
    return model


def _find_mishes(model: ModelProto) -> Iterator[tuple[NodeProto, NodeProto, NodeProto]]:
    """Softplus, Tanh and Mul whose values between them nothing else reads."""
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shown = {out.name for out in model.graph.output}
    for softplus in model.graph.node:
        chain = [softplus]
        while len(chain) < 3 and len(readers.get(chain[-1].output[0], ())) == 1:
            chain += readers[chain[-1].output[0]]
        kinds = [node.op_type for node in chain]
        if kinds == ["Softplus", "Tanh", "Mul"] and softplus.input[0] in chain[2].input:
            if not shown & {softplus.output[0], chain[1].output[0]}:
                yield softplus, chain[1], chain[2]


def _spell(x: str, y: str) -> list[NodeProto]:
    """The nodes from the value x to the value y."""
    from onnx.helper import make_node

    e, more, n, part, whole = (f"{y}_mish_{name}" for name in ("e", "more", "n", "part", "whole"))
    return [
        make_node("Exp", [x], [e]),
        make_node("Add", [e, TWO], [more]),
        make_node("Mul", [e, more], [n]),
        make_node("Div", [TWO, n], [part]),
        make_node("Add", [part, ONE], [whole]),
        make_node("Div", [x, whole], [y]),
    ]
