"""Devices by their names."""

from __future__ import annotations

import torch

from yolor_cfg.errors import CfgError


def find_device(device: str | torch.device) -> torch.device:
    """The torch device of that name, or the GPU of that number; raises CfgError if this machine has none, and
    for torch's meta device, which computes nothing."""
    try:
        where = torch.device(f"cuda:{device}" if str(device).isdecimal() else device)
        torch.empty(0, device=where)
        if where.type == "meta":
            raise RuntimeError("a meta device computes nothing")
    except (RuntimeError, AssertionError, ImportError, AttributeError, ValueError, OverflowError) as fault:
        raise CfgError(
            "no such device here",
            found=str(device),
            allowed="cpu, or cuda or mps if torch finds such a GPU",
            hint=str(fault).splitlines()[0][:200],
        ) from fault
    return where
