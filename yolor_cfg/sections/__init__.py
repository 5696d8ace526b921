"""All sections; importing this fills the table SECTIONS, from header name to class."""

from yolor_cfg.sections import (
    channels,
    combining,
    convolution,
    cuts,
    deconvolution,
    dense,
    detection,
    heads,
    implicit,
    losses,
    net,
    normalization,
    passing,
    pixels,
    pooling,
    products,
    recurrent,
    region,
    resampling,
)
from yolor_cfg.sections.base import SECTIONS, Section, SectionPlace
from yolor_cfg.sections.net import NetSection
from yolor_cfg.sections.tensors import TensorSpec

__all__ = [
    "SECTIONS",
    "NetSection",
    "Section",
    "SectionPlace",
    "TensorSpec",
    "channels",
    "combining",
    "convolution",
    "deconvolution",
    "cuts",
    "dense",
    "detection",
    "heads",
    "implicit",
    "losses",
    "net",
    "normalization",
    "passing",
    "pixels",
    "pooling",
    "products",
    "recurrent",
    "region",
    "resampling",
]
