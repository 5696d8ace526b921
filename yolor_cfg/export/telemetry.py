"""OpenVINO without its reports to its makers."""

from __future__ import annotations

import sys
from typing import Any, cast

from yolor_cfg.errors import MissingExtra

TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The module. Importing it reports that to its makers (openvino/tools/ovc/__init__.py), unless the
    package that does so cannot be imported."""
    cast("dict[str, Any]", sys.modules).setdefault(TELEMETRY, None)
    try:
        import openvino
    except ImportError as cause:
        raise MissingExtra("openvino") from cause
    return openvino
