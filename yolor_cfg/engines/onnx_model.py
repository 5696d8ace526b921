"""The ONNX model that other engines are given: from images to the raw maps, of any number and size."""

from __future__ import annotations

from yolor_cfg.errors import YolorError
from yolor_cfg.export.onnx_file import OnnxSettings, make_onnx
from yolor_cfg.export.traced import IMAGES
from yolor_cfg.model import Network

INPUT = IMAGES


def make_raw_model(network: Network) -> bytes:
    """The model, with weights; takes some ten seconds. Raises YolorError for a network that cannot be
    exported, MissingExtra without the libraries."""
    dynamic = OnnxSettings("raw", "batch" if network.graph.has_fixed_size else "all")
    try:
        data: bytes = make_onnx(network, dynamic).SerializeToString()
    except YolorError:
        raise
    except Exception as cause:  # torch raises what it likes here
        raise YolorError(
            "the network cannot be exported to ONNX",
            path=network.graph.path,
            found=str(cause).strip().partition("\n")[0],
            hint="--engine torch",
        ) from cause
    return data
