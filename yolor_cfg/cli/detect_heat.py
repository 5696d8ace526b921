"""`yolor detect --heatmap`: the detector that makes heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import report_warnings

if TYPE_CHECKING:
    from yolor_cfg.detect.base import ImageDetector

NOTE = "heat maps are by torch, of the network as it is written"


def add_heat(detector: ImageDetector, output: dict[str, Any]) -> ImageDetector:
    """The detector, which makes heat maps if they are asked for; UsageError where it cannot."""
    if output["heatmap"] is None:
        if output["heatmap_layer"] is not None:
            raise click.UsageError("--heatmap-layer goes with --heatmap")
        return detector
    from yolor_cfg.detect.exported import ExportedDetector

    if isinstance(detector, ExportedDetector):
        raise click.UsageError(
            "--heatmap needs the gradients of a network: give its cfg and weights, not an exported file"
        )
    from yolor_cfg.detect.heat.mapper import HeatChoice
    from yolor_cfg.detect.pipeline import Detector

    assert isinstance(detector, Detector)
    which, head = output["heatmap"]
    report_warnings((), [NOTE])
    return detector.explain(HeatChoice(which, head, output["heatmap_layer"]))
