"""The formats: how each is written, and by which engines a file of it can be tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch.export import ExportedProgram

from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.export.describe import fact_text, write_metadata
from yolor_cfg.export.facts import RT_INFO
from yolor_cfg.export.half import halve, store_half
from yolor_cfg.export.ncnn_file import write_ncnn
from yolor_cfg.export.onnx_file import OnnxSettings, dynamic_shapes, make_onnx
from yolor_cfg.export.onnx_fit import fit_rules
from yolor_cfg.export.onnx_mish import spell_mish
from yolor_cfg.export.onnx_nms import NmsLimits, add_nms
from yolor_cfg.export.onnx_preprocess import PreprocessOptions, add_preprocess
from yolor_cfg.export.page_file import PageOptions, check_page, find_fit, write_page
from yolor_cfg.export.quantize import FUSED, Calibration, InputForm
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.export.torch_file import check_compiler, write_package, write_program
from yolor_cfg.export.traced import TracedNetwork, make_inputs
from yolor_cfg.files import replace_file
from yolor_cfg.graph import Graph
from yolor_cfg.model import Network, RecurrentLayer

if TYPE_CHECKING:
    from onnx import ModelProto


class OnnxStore:
    """Models that were made, so that files that differ in what is put around one are traced once: with sizes
    open that takes most of the time."""

    def __init__(self) -> None:
        self._models: dict[tuple[Network, OnnxSettings], bytes] = {}

    def make(self, network: Network, settings: OnnxSettings) -> ModelProto:
        """`make_onnx`, or a copy of what it gave for this network before."""
        key = network, settings
        if key not in self._models:
            self._models[key] = make_onnx(network, settings).SerializeToString()
        import onnx

        return onnx.load_from_string(self._models[key])


class ExportOptions(NamedTuple):
    """What is written: the format, the model's form, its precision (fp32, fp16 or int8), NMS inside or None.

    `preprocess` (rgb, bgr, or empty for none inside) is the order of the channels of the image that the model
    then takes; with `shows_input` it also gives the fitted image. `page` concerns a page alone, `calibration`
    int8 alone. `store` keeps traced models.
    """

    format: str = "onnx"
    settings: OnnxSettings = OnnxSettings()
    precision: str = "fp32"
    nms: NmsLimits | None = None
    preprocess: str = ""
    shows_input: bool = False
    page: PageOptions = PageOptions()
    calibration: Calibration | None = None
    store: OnnxStore | None = None

    def make_onnx(self, network: Network) -> ModelProto:
        """The model without anything around it, from the store if there is one."""
        return self.store.make(network, self.settings) if self.store else make_onnx(network, self.settings)


class FormatWriter(Protocol):
    """Writes a network to a file of one format; `facts` go into it too."""

    def __call__(
        self, network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]
    ) -> None: ...


class ExportFormat(NamedTuple):
    """The name of the file, the function that writes it, the engines that run it, its precisions (the default
    first), whether NMS can be inside, and whether the number of images or their size may be open."""

    file: str
    write: FormatWriter
    engines: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32", "fp16")
    has_nms: bool = True
    has_dynamic: bool = True


def _write_onnx(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    model = _make_model(network, options, facts)
    data = (model if options.precision == "fp16" else spell_mish(model)).SerializeToString()
    replace_file(path, lambda file: file.write(data), fault=DataError, force=False)


def _make_model(network: Network, options: ExportOptions, facts: dict[str, Any]) -> ModelProto:
    if options.precision == "int8" and options.calibration:
        model = _make_int8(network, options, options.calibration)
    else:
        model = options.make_onnx(network)
    if options.precision == "fp16" and options.format == "onnx":
        model = halve(model)
    if options.nms is not None:
        model = add_nms(model, options.nms)
    if options.preprocess:
        model = _put_preprocess_inside(model, network, options)
    write_metadata(model, facts)
    return model


def _make_int8(network: Network, options: ExportOptions, calibration: Calibration) -> ModelProto:
    def make() -> tuple[ModelProto, Graph, InputForm]:
        form = InputForm(options.settings.batch, options.settings.dynamic != "all")
        return options.make_onnx(network), network.graph, form

    extra = FUSED if options.format == "openvino" else {}
    return calibration.quantize((network, options.settings, options.format), make, extra=extra)


def _put_preprocess_inside(model: ModelProto, network: Network, options: ExportOptions) -> ModelProto:
    rules = fit_rules(network.graph, one_size=options.settings.dynamic != "all")
    asked = PreprocessOptions(rules, options.preprocess, options.shows_input)
    return add_preprocess(model, network.graph, asked)


def _write_openvino(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    """By way of ONNX. Without being told OpenVINO stores weights in float16, with what is beyond its range
    cut off."""
    openvino = import_openvino()
    data = _make_model(network, options, facts).SerializeToString()
    model = openvino.Core().read_model(data)
    for name, value in facts.items():
        model.set_rt_info(fact_text(value), [RT_INFO, name])
    openvino.save_model(model, str(path), compress_to_fp16=options.precision == "fp16")


def _write_pt2(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    write_program(_make_program(network, options.settings), path, facts=facts)


def _write_aoti(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    check_compiler()
    write_package(_make_program(network, options.settings), path, facts=facts)


def _make_program(network: Network, settings: OnnxSettings) -> ExportedProgram:
    """The network traced by torch.export."""
    module = TracedNetwork(network, settings.form).eval()
    batch = settings.batch if settings.dynamic == "none" else max(2, settings.batch)
    inputs = make_inputs(module, batch)
    shapes = dynamic_shapes(network, inputs, settings.dynamic)
    with torch.no_grad():
        return torch.export.export(module, (inputs.images, *inputs.states), dynamic_shapes=shapes)


def _write_ncnn(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    """Its files hold no facts."""
    write_ncnn(network, path, form=options.settings.form, is_half=options.precision == "fp16")


def _write_html(network: Network, path: Path, *, options: ExportOptions, facts: dict[str, Any]) -> None:
    """The network computes in float32, since float16 moves large boxes; fp16 halves what is stored. YOLOR's
    letterbox makes inputs of many sizes."""
    graph = network.graph
    is_sized = graph.has_fixed_size or find_fit(graph) != "yolor"
    model = spell_mish(make_onnx(network, options.settings._replace(dynamic="none" if is_sized else "all")))
    if options.precision == "fp16":
        model = store_half(model)
    limits = options.nms or NmsLimits(multi_label=graph.dialect.is_pytorch)
    write_page(model, path, graph=graph, names=facts.get("names", ()), limits=limits, page=options.page)


FORMATS = {
    "onnx": ExportFormat(
        "model.onnx", _write_onnx, ("onnxruntime", "openvino", "opencv"), ("fp32", "fp16", "int8")
    ),
    "openvino": ExportFormat("model.xml", _write_openvino, ("openvino",), ("fp32", "fp16", "int8")),
    "pt2": ExportFormat("model.pt2", _write_pt2, ("torch",), ("fp32",), has_nms=False),
    "aoti": ExportFormat("model.pt2", _write_aoti, ("aoti",), ("fp32",), has_nms=False),
    "ncnn": ExportFormat("model.ncnn.param", _write_ncnn, ("ncnn",), has_nms=False, has_dynamic=False),
    "html": ExportFormat("model.html", _write_html, ("page",), ("fp16", "fp32"), has_nms=False),
}


def check_export(network: Network, options: ExportOptions) -> None:
    """Raise CfgError for what does not go together."""
    kind = FORMATS[options.format]
    if options.precision not in kind.precisions:
        raise CfgError(
            f"no {options.precision} in this format", found=options.format, allowed=", ".join(kind.precisions)
        )
    if options.precision == "int8":
        _check_int8(network, options)
    if options.format == "html":
        _check_html(network, options)
    elif options.nms is not None and not kind.has_nms:
        raise CfgError("no NMS in this format", found=options.format, hint="leave out --nms")
    if options.nms is not None and not network.graph.box_heads:
        raise CfgError("NMS needs boxes", path=network.graph.path, found="image labels alone")
    if options.nms is not None and options.settings.form != "decoded":
        raise CfgError("NMS needs decoded boxes", found=f"--output {options.settings.form}")
    if not kind.has_dynamic and (options.settings.dynamic != "none" or options.settings.batch != 1):
        found = f"--dynamic {options.settings.dynamic} --batch {options.settings.batch}"
        raise CfgError("this format takes one image of one size", found=found, allowed="none, 1")
    if options.preprocess:
        _check_preprocess(options)
    if options.settings.dynamic == "all" and not may_differ_in_size(network.graph):
        raise CfgError(
            "this network takes images of one size alone",
            path=network.graph.path,
            found="--dynamic all",
            allowed="none, batch",
        )


def may_differ_in_size(graph: Graph) -> bool:
    """Whether images of any multiple of the largest stride fit, that of [net] being one: behind a [crop] it
    may be none."""
    sides = graph.image.height, graph.image.width
    return not graph.has_fixed_size and not any(side % graph.largest_stride for side in sides)


def _check_int8(network: Network, options: ExportOptions) -> None:
    if not options.calibration or not options.calibration.images:
        hint = "give images like those it will see: --calibrate FOLDER, a list of images, or a data file"
        raise CfgError("int8 needs images to calibrate with", path=network.graph.path, hint=hint)
    if any(isinstance(layer, RecurrentLayer) for layer in network.module_list):
        allowed = FORMATS[options.format].precisions[:-1]
        raise CfgError(
            "no int8 for a network with a state", path=network.graph.path, found="int8", allowed=allowed
        )


def _check_preprocess(options: ExportOptions) -> None:
    """Images of several sizes make no batch."""
    if not FORMATS[options.format].has_nms:
        raise CfgError("no preprocessing in this format", found=options.format, hint="leave out --preprocess")
    if options.settings.batch > 1 or options.settings.dynamic == "batch":
        raise CfgError(
            "a model with its preprocessing takes one image a call",
            found=f"--batch {options.settings.batch} --dynamic {options.settings.dynamic}",
            allowed="--batch 1, --dynamic none or all",
        )


def _check_html(network: Network, options: ExportOptions) -> None:
    """A page decides by itself about NMS and what may differ from call to call."""
    check_page(network)
    form, dynamic, batch = options.settings
    if form == "raw" or dynamic != "none" or batch != 1:
        raise CfgError(
            "a page takes one image at a time and shows its boxes",
            found=f"--output {form} --dynamic {dynamic} --batch {batch}",
            hint="leave out --output, --dynamic and --batch",
        )
