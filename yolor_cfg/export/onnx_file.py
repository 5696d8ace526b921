"""A network as an ONNX model: traced by torch, slimmed by onnxslim, made plain for engines that read less.

Needs the libraries of the extra `export`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.export.facts import IMAGES
from yolor_cfg.export.onnx_plain import add_constant_outputs, find_constant_outputs, make_plain
from yolor_cfg.export.traced import (
    Dynamic,
    ExampleInputs,
    OutputForm,
    TracedNetwork,
    make_inputs,
    output_names,
    state_names,
)
from yolor_cfg.graph import Node
from yolor_cfg.images.types import Size
from yolor_cfg.model import Network, RecurrentLayer

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
NOISY_LOGGERS = ("torch.onnx", "torch.onnx._internal.exporter", "onnxscript", "onnx_ir")


class OnnxSettings(NamedTuple):
    """What the model gives out, what may differ from call to call, and how many images it takes otherwise."""

    form: OutputForm = "decoded"
    dynamic: Dynamic = "none"
    batch: int = 1


DEFAULT_SETTINGS = OnnxSettings()


def make_onnx(network: Network, settings: OnnxSettings = DEFAULT_SETTINGS) -> ModelProto:
    """The model of a network; its inputs are `images` and the recurrent state, if there is one.

    Raises MissingExtra without the libraries, CfgError for `decoded` where the heads predict no boxes.
    """
    slim = _import_onnxslim()
    module = TracedNetwork(network, settings.form).eval()
    with _quiet(), torch.no_grad():
        try:
            model = _trace(module, settings)
        except Exception as cause:  # torch raises what it likes here
            reason = str(cause.__cause__ or cause).strip().partition("\n")[0]
            raise CfgError("cannot be expressed in ONNX", path=network.graph.path, found=reason) from cause
        constants = find_constant_outputs(model)
        return make_plain(add_constant_outputs(slim(model), constants))


def make_raw_model(network: Network) -> ModelProto:
    """The model of the heads' raw maps for any number of images, of any size that fits the network."""
    dynamic: Dynamic = "batch" if network.graph.has_fixed_size else "all"
    return make_onnx(network, OnnxSettings("raw", dynamic))


def _trace(module: TracedNetwork, settings: OnnxSettings) -> ModelProto:
    """The model as torch writes it."""
    inputs = make_inputs(module, _example_batch(settings), size=_example_size(module.network, settings))
    program = torch.onnx.export(
        module,
        (inputs.images, *inputs.states),
        input_names=[IMAGES, *state_names(inputs)],
        output_names=output_names(module, inputs),
        dynamic_shapes=dynamic_shapes(module.network, inputs, settings.dynamic),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _example_batch(settings: OnnxSettings) -> int:
    """A batch that may differ is told from a fixed one by an example that is not 1."""
    return settings.batch if settings.dynamic == "none" else max(2, settings.batch)


def _example_size(network: Network, settings: OnnxSettings) -> Size:
    """The same holds for maps: none of an example of several sizes is one cell."""
    image, stride = network.graph.image, network.graph.largest_stride
    if settings.dynamic != "all":
        return image.height, image.width
    return max(image.height, 2 * stride), max(image.width, 2 * stride)


def _import_onnxslim() -> Any:
    """onnxslim's `slim`, once all libraries of the extra are there."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        from onnxslim import slim
    except ImportError as cause:
        raise MissingExtra("export") from cause
    return slim


def dynamic_shapes(network: Network, inputs: ExampleInputs, dynamic: Dynamic) -> tuple[Any, ...] | None:
    """For each argument of the module, which of its sizes may differ."""
    if dynamic == "none":
        return None
    batch = torch.export.Dim("batch", min=1)
    sizes: dict[int, Any] = {0: batch}
    states = tuple({0: batch} for _ in inputs.states)
    if dynamic == "all":
        stride, sides = network.graph.largest_stride, (torch.export.Dim("rows"), torch.export.Dim("columns"))
        sizes |= {axis: stride * side for axis, side in enumerate(sides, start=2)}
        for state, grown in zip(states, count_state_cells(network), strict=True):
            state.update({axis: n * side for axis, n, side in zip((2, 3), grown, sides, strict=True) if n})
    return (sizes, states) if states else (sizes,)


def count_state_cells(network: Network) -> list[tuple[int, int]]:
    """Of each recurrent state the rows and columns for each multiple of the largest stride; 0 where it has
    one size for all images. Raises CfgError for a state that grows otherwise."""
    counts = []
    for node, layer in zip(network.graph.nodes, network.module_list, strict=True):
        few, many = (_state_sizes(network, layer, n) for n in (3, 4))
        counts += [_grown_by(node, *sizes) for sizes in zip(few, many, strict=True)]
    return counts


def _grown_by(node: Node, small: Size, large: Size) -> Size:
    """What a state of these sizes, for three and four strides a side, grows by."""
    grown = (large[0] - small[0], large[1] - small[1])
    if any(n and 3 * n != size for n, size in zip(grown, small, strict=True)):
        fault = "its state does not grow in step with the image"
        raise node.section.error("", fault, found="--dynamic all", allowed="none, batch")
    return grown


def _state_sizes(network: Network, layer: nn.Module, count: int) -> list[Size]:
    """The heights and widths of a layer's states, if any, for an image of `count` largest strides a side."""
    if not isinstance(layer, RecurrentLayer):
        return []
    side = count * network.graph.largest_stride
    images = torch.zeros(1, network.graph.image.channels, side, side, device="meta")
    return [(state.shape[2], state.shape[3]) for state in layer.initial_state(images)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's remarks on libraries that are not needed."""
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
