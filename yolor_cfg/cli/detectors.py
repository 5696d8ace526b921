"""The detector of a command: of a network, or of an exported file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yolor_cfg.cli.habits import NETWORK_ALONE
from yolor_cfg.cli.options import report_warnings
from yolor_cfg.export.facts import is_exported

if TYPE_CHECKING:
    from yolor_cfg.detect.base import ImageDetector


def make_detector(cfg: str, weights: str, options: dict[str, Any]) -> ImageDetector:
    """The detector; what there is to say of it is printed."""
    detector = _open_file(weights, options) if is_exported(weights) else _open_network(cfg, weights, options)
    notes = [*detector.notes, *detector.engine_notes]
    if all(name.isdecimal() for name in detector.names):
        notes.append("the classes have no names; use --names FILE to name them")
    if detector.is_recurrent and options["batch_size"] > 1:
        notes.append("a recurrent network processes its images one by one; --batch-size is 1")
    report_warnings(detector.warnings, notes)
    return detector


def _open_network(cfg: str, weights: str, options: dict[str, Any]) -> ImageDetector:
    from yolor_cfg.detect.pipeline import Detector

    return Detector(cfg, weights, **options)


def _open_file(path: str, options: dict[str, Any]) -> ImageDetector:
    """The detector of an exported file, which torch is not needed for."""
    from yolor_cfg.detect.exported import ExportedDetector

    return ExportedDetector(path, **{name: options[name] for name in options.keys() - NETWORK_ALONE})
