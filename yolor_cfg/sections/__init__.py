"""All sections; importing this fills the table SECTIONS, from header name to class."""

from yolor_cfg.sections import (
    attention,
    channels,
    combining,
    convolution,
    deformable,
    dense,
    detection,
    heads,
    implicit,
    losses,
    net,
    normalization,
    passing,
    pooling,
    recurrent,
    resampling,
    separable,
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
    "attention",
    "channels",
    "combining",
    "convolution",
    "deformable",
    "dense",
    "detection",
    "heads",
    "implicit",
    "losses",
    "net",
    "normalization",
    "passing",
    "pooling",
    "recurrent",
    "resampling",
    "separable",
]
