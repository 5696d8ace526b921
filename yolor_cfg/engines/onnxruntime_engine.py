"""ONNX Runtime, on the CPU, in float32: it has no kernels for bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from yolor_cfg.export.facts import IMAGES
from yolor_cfg.export.onnx_file import make_raw_model
from yolor_cfg.export.onnx_mish import spell_mish
from yolor_cfg.model import Network


class OnnxruntimeEngine:
    """The network as an ONNX model in a session that uses as many threads as torch."""

    name = "onnxruntime"

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        import onnxruntime

        self.precision = precision
        self.notes: tuple[str, ...] = ()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = spell_mish(make_raw_model(network)).SerializeToString()
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The raw maps, as `Engine` says."""
        results = self._session.run(None, {IMAGES: images.contiguous().numpy()})
        return [torch.from_numpy(result) for result in results]
