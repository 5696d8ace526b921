"""Networks in ONNX, written once for all the tests that export the same one: torch takes seconds for each."""

import hashlib

import onnx

from yolor_cfg.export.onnx_file import DEFAULT_SETTINGS, OnnxSettings, make_onnx
from yolor_cfg.model import Network

_written: dict[str, bytes] = {}


def make_onnx_once(network: Network, settings: OnnxSettings = DEFAULT_SETTINGS) -> onnx.ModelProto:
    """What `make_onnx` gave for equal modules, cfg and numbers, as a model of its own."""
    what = hashlib.sha256(
        repr((network, network.graph.document.text, network.graph.image, settings)).encode()
    )
    for name, tensor in network.state_dict().items():
        what.update(name.encode() + tensor.numpy().tobytes())
    key = what.hexdigest()
    if key not in _written:
        _written[key] = make_onnx(network, settings).SerializeToString()
    return onnx.load_from_string(_written[key])
