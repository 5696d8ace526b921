"""--engine, --precision and --no-rewrite: what runs the network, and how exactly."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.arguments import ENGINE_NAMES, PRECISION_NAMES, REWRITE_NAMES

rewrite_option = click.option(
    "--no-rewrite",
    "no_rewrite",
    type=click.Choice(REWRITE_NAMES),
    multiple=True,
    metavar="NAME",
    help="Leave out one of the rewrites that make the network faster and keep its results but for "
    "rounding: dead (sections nothing reads), fold (batch norms and implicit knowledge into "
    "convolutions), merge (parallel convolutions), stem (rearranged pixels into the first convolution), "
    "spp (large max pools over smaller ones); all: run it as it is written. May be given several times.",
)
ENGINE_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(ENGINE_NAMES),
        default="auto",
        show_default=True,
        help="What runs the network: torch; compiled by torch.compile, onnxruntime or openvino, which "
        "take time to start; native, our own kernels, if they were built. auto: native, else torch.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISION_NAMES),
        default="fp32",
        show_default=True,
        help="Numeric precision of the network: fp32 is exact; bf16 is about twice as fast on processors and "
        "GPUs that have it, with boxes that differ by about a pixel; fp16 requires CUDA. auto: bf16 where "
        "the device has it, else fp32.",
    ),
    rewrite_option,
)


def engine_options(function: Any) -> Any:
    """Add the three options."""
    for option in reversed(ENGINE_OPTIONS):
        function = option(function)
    return function
