"""In what precision a network is trained: `auto` is bf16 where the device computes in it, else fp32.

In bf16 convolutions and the maps between layers are bfloat16. Weights, their gradients and updates, the
statistics of batch norms, heads and losses are float32.
"""

from __future__ import annotations

import torch

from yolor_cfg.engines.choice import has_bf16
from yolor_cfg.ops.devices import find_device
from yolor_cfg.parallel import broadcast_object, local_device
from yolor_cfg.train.settings import TrainOptions

AUTO, EXACT = "auto", "fp32"
NOTES = {
    "fp32": "training in fp32",
    "bf16": "training in bf16: heads, losses and weights are float32; --precision fp32 is exact, and slower",
    "fp16": "training in fp16: heads, losses and weights are float32",
}


def choose_precision(options: TrainOptions) -> TrainOptions:
    """The options with a precision in the place of `auto`: that of the first process, in all of them."""
    if options.precision != AUTO:
        return options
    return options._replace(precision=broadcast_object(_suits(find_device(local_device(options.device)))))


def _suits(device: torch.device) -> str:
    return "bf16" if has_bf16(device) else EXACT


def describe_precision(options: TrainOptions) -> str:
    """The line that says in which precision a run is trained."""
    return NOTES[options.precision]
