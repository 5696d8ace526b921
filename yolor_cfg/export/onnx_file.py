"""A network as an ONNX model: traced by torch, slimmed by onnxslim, then made plain for engines that read less.

Needs the extra `export`. What each rule is for was tried with the engines; docs/export.md tells.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from yolor_cfg.errors import MissingExtra
from yolor_cfg.export.onnx_plain import make_plain
from yolor_cfg.export.traced import IMAGES, Dynamic, ExampleInputs, OutputForm, TracedNetwork, make_inputs
from yolor_cfg.model import Network

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
    # A batch that may differ is told from a fixed one by an example that is not 1.
    batch = settings.batch if settings.dynamic == "none" else max(2, settings.batch)
    inputs = make_inputs(module, batch)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (inputs.images, *inputs.states),
            input_names=[IMAGES, *_state_names(inputs)],
            output_names=[*module.output_names(), *(f"{name}_after" for name in _state_names(inputs))],
            dynamic_shapes=_dynamic_shapes(network, inputs, settings.dynamic),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        model = slim(program.model_proto)
    return make_plain(model)


def _import_onnxslim() -> Any:
    """onnxslim's `slim`, once all libraries of the extra are there."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        from onnxslim import slim
    except ImportError as cause:
        raise MissingExtra("export") from cause
    return slim


def _state_names(inputs: ExampleInputs) -> list[str]:
    return [f"state_{number}" for number in range(len(inputs.states))]


def _dynamic_shapes(network: Network, inputs: ExampleInputs, dynamic: Dynamic) -> tuple[Any, ...] | None:
    """For each argument of the module, which of its sizes may differ."""
    if dynamic == "none":
        return None
    batch = torch.export.Dim("batch", min=1)
    sizes: dict[int, Any] = {0: batch}
    if dynamic == "all":
        stride = network.graph.largest_stride
        sizes |= {2: stride * torch.export.Dim("rows"), 3: stride * torch.export.Dim("columns")}
    states = tuple({0: batch} for _ in inputs.states)
    return (sizes, states) if states else (sizes,)


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
