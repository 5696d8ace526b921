"""A network for ncnn: traced by torch, converted by pnnx (the extra `ncnn`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.export.ncnn_run import describe_end
from yolor_cfg.export.traced import OutputForm, TracedNetwork, make_inputs
from yolor_cfg.graph import Node
from yolor_cfg.model import BoxHead, Network, RecurrentLayer

FILES = {"ncnnparam": "model.ncnn.param", "ncnnbin": "model.ncnn.bin"}
SPARE_FILES = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")
LOWEST = torch.finfo(torch.float32).min
"""In place of minus infinity, which pnnx writes for the padding of max pools and ncnn cannot read."""
OPERATOR = re.compile(r"[A-Z]\w*")
"""How ncnn calls its own; what pnnx could not convert keeps a name of torch's, such as torch.narrow."""


def write_ncnn(network: Network, path: Path, *, form: OutputForm, is_half: bool) -> None:
    """`model.ncnn.param` at this path and `model.ncnn.bin` beside it; inputs are in0, in1, ..., outputs out0,
    out1, ..., all without the axis of the batch.

    Raises MissingExtra without pnnx, CfgError for what it cannot convert, with the section.
    """
    module = TracedNetwork(network, form).eval()
    inputs = make_inputs(module, 1)
    with tempfile.TemporaryDirectory() as folder:
        foreign = convert(module, (inputs.images, *inputs.states), Path(folder), is_half=is_half)
        if foreign:
            raise _refuse(network, foreign, form)
        for name in FILES.values():
            shutil.move(Path(folder) / name, path.parent / name)


def convert(module: nn.Module, inputs: Sequence[Tensor], folder: Path, *, is_half: bool = False) -> list[str]:
    """Write the files into the folder; the operators that pnnx left as they are, or what it said when it
    failed."""
    traced = folder / "traced.pt"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, tuple(inputs), check_trace=False).save(str(traced))
    shapes = ",".join(f"[{','.join(map(str, one.shape))}]f32" for one in inputs)
    places = [f"{key}={folder / name}" for key, name in FILES.items()]
    places += [f"{key}={folder / f'spare.{key}'}" for key in SPARE_FILES]
    command = [_find_pnnx(), str(traced), f"inputshape={shapes}", f"fp16={int(is_half)}", *places]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    made = folder / FILES["ncnnparam"]
    if done.returncode or not made.is_file():
        return [describe_end("pnnx", done.returncode)]
    text = made.read_text(encoding="utf-8").replace("=-inf", f"={LOWEST:.9g}")
    made.write_text(text, encoding="utf-8")
    return foreign_operators(text)


def foreign_operators(text: str) -> list[str]:
    """The operators of a .param file that are none of ncnn's; its first two lines are numbers."""
    kinds = (line.split()[0] for line in text.splitlines()[2:] if line.strip())
    return list(dict.fromkeys(kind for kind in kinds if not OPERATOR.fullmatch(kind)))


def _find_pnnx() -> str:
    try:
        import pnnx
    except ImportError as cause:
        raise MissingExtra("ncnn") from cause
    return str(pnnx.EXEC_PATH)


def _refuse(network: Network, foreign: list[str], form: OutputForm) -> CfgError:
    """The error, with the first section of which pnnx by itself leaves one of these operators; with none
    where it takes every section alone."""
    fault = CfgError("pnnx cannot convert this for ncnn", path=network.graph.path, found=", ".join(foreign))
    for node, layer in _different_layers(network):
        with tempfile.TemporaryDirectory() as folder:
            alone = convert(*_trace_alone(node, layer, form), Path(folder))
        common = [one for one in alone if one in foreign]
        if common:
            raw = node.section.raw
            fault.section, fault.number, fault.line = raw.name, node.index, raw.line
            fault.found = ", ".join(common)
            break
    return fault


class _LayerAlone(nn.Module):
    """forward(*inputs, *states) -> what a layer computes, boxes for a head."""

    def __init__(self, layer: nn.Module, inputs: int, *, has_boxes: bool) -> None:
        super().__init__()
        self.layer, self.inputs, self.has_boxes = layer, inputs, has_boxes

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.layer, RecurrentLayer):
            value, after = self.layer(*given[: self.inputs], given[self.inputs :])
            return (value, *after)
        value = self.layer(*given)
        if self.has_boxes and isinstance(self.layer, BoxHead):
            return tuple(self.layer.decode(value))
        return (value,)


def _trace_alone(node: Node, layer: nn.Module, form: OutputForm) -> tuple[nn.Module, list[Tensor]]:
    """A layer as a module, and an input of it."""
    image = node.section.image
    given = [torch.zeros(1, *shape) for shape in node.inputs]
    if isinstance(layer, RecurrentLayer):
        given += layer.initial_state(torch.zeros(1, image.channels, image.height, image.width))
    return _LayerAlone(layer, len(node.inputs), has_boxes=form == "decoded").eval(), given


def _different_layers(network: Network) -> Iterator[tuple[Node, nn.Module]]:
    """The first section with each text, in their order, but none that reads nothing. What has no weights may
    do other things to other sizes."""
    seen = set()
    for node, layer in zip(network.graph.nodes, network.module_list, strict=True):
        kind = (node.section.type, str(layer), node.inputs if not list(layer.parameters()) else ())
        if node.inputs and kind not in seen:
            seen.add(kind)
            yield node, layer
