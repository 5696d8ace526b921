"""Sections of other programs that are known and cannot be run, each with the reason."""

from __future__ import annotations

_ACCELERATOR = "it is for an NVIDIA deep-learning accelerator only"

REFUSED_SECTIONS = {
    "odla": f"{_ACCELERATOR}: what it computes and its sizes are in a compiled file",
    "split": f"{_ACCELERATOR}: it takes one of the outputs of [odla], whose sizes the cfg does not give",
    "upsample_dla": f"{_ACCELERATOR}: its data is in the order of that hardware",
    "converter": f"{_ACCELERATOR}: it turns numbers into those of that hardware and back",
    "yolo_bdp": "boxes with a front point, a part of hank-ai/darknet that was never finished nor merged",
    "DyHead": "never published: its module is absent from the source (DijiesitelaQ/TSDetection)",
}
"""By the name of the header: why."""
