"""The formats: how each is written, and by which engines a file of it can be tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.export.describe import fact_text, write_metadata
from yolor_cfg.export.facts import RT_INFO
from yolor_cfg.export.half import halve
from yolor_cfg.export.onnx_file import OnnxSettings, dynamic_shapes, make_onnx
from yolor_cfg.export.onnx_nms import NmsLimits, add_nms
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.export.traced import TracedNetwork, make_inputs
from yolor_cfg.files import replace_file
from yolor_cfg.model import Network

if TYPE_CHECKING:
    from onnx import ModelProto


class ExportOptions(NamedTuple):
    """What is written: the format, the model's form, its precision (fp32 or fp16), NMS inside or None."""

    format: str = "onnx"
    settings: OnnxSettings = OnnxSettings()
    precision: str = "fp32"
    nms: NmsLimits | None = None


class FormatWriter(Protocol):
    """Writes a network to a file of one format; `facts` go into it too."""

    def __call__(
        self, network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]
    ) -> None: ...


class ExportFormat(NamedTuple):
    """The name of the file, the function that writes it, the engines that run it, and its precisions."""

    file: str
    write: FormatWriter
    engines: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32", "fp16")
    has_nms: bool = True


def _write_onnx(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    data = _make_model(network, options, facts).SerializeToString()
    replace_file(path, lambda file: file.write(data), fault=DataError, force=False)


def _make_model(network: Network, options: ExportOptions, facts: dict[str, Any]) -> ModelProto:
    model = make_onnx(network, options.settings)
    if options.precision == "fp16":
        model = halve(model)
    if options.nms is not None:
        model = add_nms(model, options.nms)
    write_metadata(model, facts)
    return model


def _write_openvino(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    """By way of ONNX. Without being told OpenVINO stores weights in float16, with what is beyond its range
    cut off."""
    openvino = import_openvino()
    data = _make_model(network, options._replace(precision="fp32"), facts).SerializeToString()
    model = openvino.Core().read_model(data)
    for name, value in facts.items():
        model.set_rt_info(fact_text(value), [RT_INFO, name])
    openvino.save_model(model, str(path), compress_to_fp16=options.precision == "fp16")


def _write_pt2(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    """torch's own exported program; `torch.export.load(path).module()` is a function of images."""
    module = TracedNetwork(network, options.settings.form).eval()
    batch = options.settings.batch if options.settings.dynamic == "none" else max(2, options.settings.batch)
    inputs = make_inputs(module, batch)
    shapes = dynamic_shapes(network, inputs, options.settings.dynamic)
    with torch.no_grad():
        program = torch.export.export(module, (inputs.images, *inputs.states), dynamic_shapes=shapes)
    texts = {f"{name}.json": fact_text(value) for name, value in facts.items()}
    torch.export.save(program, path, extra_files=texts)


FORMATS = {
    "onnx": ExportFormat("model.onnx", _write_onnx, ("onnxruntime", "openvino", "opencv")),
    "openvino": ExportFormat("model.xml", _write_openvino, ("openvino",)),
    "pt2": ExportFormat("model.pt2", _write_pt2, ("torch",), ("fp32",), has_nms=False),
}


def check_export(network: Network, options: ExportOptions) -> None:
    """Raise CfgError for what does not go together."""
    kind = FORMATS[options.format]
    if options.precision not in kind.precisions:
        raise CfgError(
            f"no {options.precision} in this format", found=options.format, allowed=", ".join(kind.precisions)
        )
    if options.nms is not None and not kind.has_nms:
        raise CfgError("no NMS in this format", found=options.format, hint="leave out --nms")
    if options.nms is not None and options.settings.form != "decoded":
        raise CfgError("NMS needs decoded boxes", found=f"--output {options.settings.form}")
    if options.settings.dynamic == "all" and network.graph.has_fixed_size:
        raise CfgError(
            "this network takes images of one size alone",
            path=network.graph.path,
            found="--dynamic all",
            allowed="none, batch",
        )
