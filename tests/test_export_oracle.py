"""Static exported files give our values in OpenCV 4.14."""

from pathlib import Path

import cv2
import pytest
from test_export import DETECTOR, make_network

from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.run import export_network
from yolor_cfg.export.traced import OutputForm
from yolor_cfg.rewrite.faster import rewrite_for_speed

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not hasattr(cv2.dnn, "readNetFromDarknet"), reason="needs OpenCV 4"),
]


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
@pytest.mark.parametrize("form", ["raw", "decoded"])
def test_static_files_give_our_values_in_opencv_4(form: OutputForm, dialect: str, tmp_path: Path) -> None:
    network = make_network(DETECTOR, dialect)
    options = ExportOptions(settings=OnnxSettings(form))
    result = export_network(network, tmp_path, options, rewritten=rewrite_for_speed(network).network)
    (parity,) = (one for one in result.parities if one.engine == "opencv")
    assert parity.version.startswith("4.") and not parity.fault
    assert parity.worst < 1e-5
