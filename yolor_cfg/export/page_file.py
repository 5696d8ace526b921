"""One HTML file that finds objects in images and in the camera's pictures, offline: the network, ONNX Runtime
Web, preprocessing and NMS in one page without any other file."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.export.web_runtime import WebRuntime, open_runtime
from yolor_cfg.files import replace_file
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import default_preprocess
from yolor_cfg.model import AngleHead, Network, RecurrentLayer

if TYPE_CHECKING:
    from onnx import ModelProto

MILLION = 1e6
HIDDEN_PREFIX = "dont_show"
Limits = tuple[float, float, int, bool]
"""As NmsLimits: score, overlap, detections, several classes of one box."""
MODEL_MARK = '<script type="text/plain" id="model">'


class PageOptions(NamedTuple):
    """Where ONNX Runtime Web lies (None: npm fetches it), and the largest network, in megabytes."""

    runtime: Path | None = None
    limit: float = 20.0


def check_page(network: Network) -> None:
    """Raise CfgError for a network whose boxes a page cannot find."""
    graph = network.graph
    reasons = {
        index: reason
        for index, layer in enumerate(network.module_list)
        for kind, reason in REASONS.items()
        if isinstance(layer, kind) and getattr(layer, "has_angles", True)
    }
    for index, reason in reasons.items():
        raw = graph.nodes[index].section.raw
        raise CfgError(reason, path=graph.path, line=raw.line, section=raw.name, number=index)
    if graph.image.channels not in (1, 3):
        found = f"channels={graph.image.channels}"
        raise CfgError("browsers read images of 1 or 3 channels", path=graph.path, found=found)


REASONS: dict[Any, str] = {
    RecurrentLayer: "a page keeps no state from image to image",
    AngleHead: "a page draws upright boxes alone",
}


def find_fit(graph: Graph) -> str:
    """How the page fits an image to the input: `stretch`, C Darknet's letterbox or YOLOR's."""
    if default_preprocess(graph) == "stretch":
        return "stretch"
    return "yolor" if graph.dialect.is_pytorch else "darknet"


def write_page(
    model: ModelProto, path: Path, *, graph: Graph, names: Sequence[str], limits: Limits, page: PageOptions
) -> None:
    """The page for a model with `predictions`; raises CfgError for one above the limit."""
    data = model.SerializeToString()
    _check_size(data, page.limit, graph)
    runtime = open_runtime(page.runtime)
    text = fill_page(describe_page(graph, names, limits), data, runtime=runtime)
    replace_file(path, lambda file: file.write(text.encode()), fault=DataError, force=False)


def describe_page(graph: Graph, names: Sequence[str], limits: Limits) -> dict[str, Any]:
    """What the page's own code goes by: the input, the rules of NMS, the names."""
    conf, iou, most, multi_label = limits
    last = graph.heads[-1].section
    own = str(getattr(last, "nms_kind", "default"))
    image = graph.image
    return {
        "title": Path(graph.path).stem or "network",
        "net": {
            "channels": image.channels,
            "height": image.height,
            "width": image.width,
            "fit": find_fit(graph),
            "multiple_of": 0 if graph.has_fixed_size else graph.largest_stride,
        },
        "rules": {
            "kind": "yolor" if graph.dialect.is_pytorch else own,
            "beta": float(getattr(last, "beta_nms", 0.6)),
            "conf": conf,
            "iou": iou,
            "max_det": most,
            "multi_label": multi_label,
            "hidden": [number for number, name in enumerate(names) if name.startswith(HIDDEN_PREFIX)],
        },
        "names": list(names),
    }


def fill_page(facts: dict[str, Any], model: bytes, *, runtime: WebRuntime) -> str:
    """The text of the page."""
    net = facts["net"]
    classes = f"{len(facts['names'])} classes, " if facts["names"] else ""
    parts = {
        "VERSION": _own_version(),
        "TITLE": html.escape(facts["title"]),
        "SUBTITLE": f"Object detection in the browser: {classes}input {net['width']} x {net['height']}",
        "SOURCE": html.escape(facts["title"]),
        "RUNTIME_VERSION": html.escape(runtime.version),
        "STYLE": read_part("page.css"),
        "LICENSE": read_part("onnxruntime-license.txt"),
        "BOXES": read_part("boxes.js"),
        "PAGE": read_part("page.js"),
        "FACTS": json.dumps(facts).replace("<", "\\u003c"),
        "MODEL": _pack(model),
        "RUNTIME": _pack(runtime.script),
        "WASM": _pack(runtime.wasm),
    }
    pieces = read_part("page.html").split("@")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _own_version() -> str:
    """Of the installed package; nothing for a tree that is not installed."""
    try:
        return metadata.version("yolor-cfg")
    except metadata.PackageNotFoundError:
        return ""


def read_part(name: str) -> str:
    """The text of a file that the page is made of."""
    return (resources.files("yolor_cfg.export") / "page" / name).read_text(encoding="utf-8")


def read_page_model(path: Path) -> bytes:
    """The ONNX model inside a page."""
    _, _, rest = path.read_text(encoding="utf-8").partition(MODEL_MARK)
    return gzip.decompress(base64.b64decode(rest.partition("<")[0]))


def _pack(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _check_size(data: bytes, limit: float, graph: Graph) -> None:
    size = len(data) / MILLION
    if size > limit:
        raise CfgError(
            "the network is too large for a page",
            path=graph.path,
            found=f"{size:.1f} MB",
            allowed=f"up to {limit:g} MB",
            hint=f"a browser can take its time over it: --page-limit {int(size) + 1}",
        )
