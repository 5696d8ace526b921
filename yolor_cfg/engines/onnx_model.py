"""The ONNX model that other engines are given: from images to the raw maps, of any number and size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from yolor_cfg.engines.raw_maps import RawMaps
from yolor_cfg.errors import YolorError
from yolor_cfg.model import Network

OPSET = 18
INPUT = "images"


def make_raw_model(network: Network) -> bytes:
    """The model, with weights; takes some ten seconds. Raises YolorError for a network that ONNX cannot
    express."""
    graph = network.graph
    image = (
        graph.image
        if graph.has_fixed_size
        else graph.image._replace(
            height=max(graph.image.height, 2 * graph.largest_stride),
            width=max(graph.image.width, 2 * graph.largest_stride),
        )
    )
    sizes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if not graph.has_fixed_size:
        stride = graph.largest_stride
        sizes |= {2: stride * torch.export.Dim("rows"), 3: stride * torch.export.Dim("columns")}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                RawMaps(network).eval(),
                (torch.zeros(2, *image),),
                input_names=[INPUT],
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as cause:  # torch raises what it likes here
        reason = str(cause).strip().partition("\n")[0]
        raise YolorError(
            "the network cannot be exported to ONNX", path=graph.path, found=reason, hint="--engine torch"
        ) from cause
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on libraries that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
