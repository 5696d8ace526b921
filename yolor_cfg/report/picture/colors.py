"""The colours of a picture, on light and on dark ground."""

from __future__ import annotations

import math
from typing import NamedTuple

from yolor_cfg.report.picture.types import KNOWLEDGE, NEXT, ROUTE, SUM, WEIGHTS, Layer

SHADES = 8
"""Steps from a layer with hardly any of the multiply-adds to the one with most of them; 0 is none at all."""


class Theme(NamedTuple):
    """Colours as `#rrggbb`; `shades` are those of layers, `shade_texts` of the texts on them."""

    ground: str
    card: str
    edge: str
    text: str
    faint: str
    shades: tuple[str, ...]
    shade_texts: tuple[str, ...]
    implicit: str
    implicit_edge: str
    head_edge: str
    mark: str
    links: dict[str, str]


LIGHT = Theme(
    ground="#f4f5f7",
    card="#ffffff",
    edge="#d5d9e0",
    text="#1c2330",
    faint="#6a7383",
    shades=(
        "#eef0f3",
        "#fff3d6",
        "#ffe6ad",
        "#ffd37f",
        "#ffb957",
        "#fb9a3c",
        "#f0742c",
        "#d94a26",
        "#b02a2a",
    ),
    shade_texts=("#1c2330",) * 7 + ("#ffffff",) * 2,
    implicit="#ece4ff",
    implicit_edge="#8250df",
    head_edge="#1c2330",
    mark="#0969da",
    links={
        NEXT: "#8b95a5",
        ROUTE: "#3b7dd8",
        SUM: "#1a9268",
        KNOWLEDGE: "#8250df",
        WEIGHTS: "#a0728a",
    },
)
DARK = Theme(
    ground="#12151b",
    card="#1b2029",
    edge="#343c4a",
    text="#e6eaf1",
    faint="#98a3b5",
    shades=(
        "#2a303b",
        "#3a3325",
        "#4f4022",
        "#694e1e",
        "#875d1a",
        "#a96d18",
        "#cd7d1e",
        "#ee9136",
        "#ffb56b",
    ),
    shade_texts=("#e6eaf1",) * 6 + ("#15181e",) * 3,
    implicit="#35285a",
    implicit_edge="#b392f0",
    head_edge="#e6eaf1",
    mark="#58a6ff",
    links={
        NEXT: "#6f7b8e",
        ROUTE: "#6ca7f5",
        SUM: "#3fc28f",
        KNOWLEDGE: "#b392f0",
        WEIGHTS: "#c995af",
    },
)
TASKS = ("#0e8f9e", "#d6409f", "#7a9a01", "#e5484d", "#5b5bd6", "#ad7f00")
"""Of the tasks in the order of the cfg, on either ground; more than six start again."""
STRIDES = ("#9aa5b8", "#5aa9e6", "#2f80c9", "#26669f", "#6f5bb5", "#9c4f96", "#c2456f", "#d9534f")
"""Of strides 1, 2, 4, ... on either ground."""


def find_shade(layer: Layer, most: float) -> int:
    """0 for a layer without multiply-adds, else 1 to SHADES; `most` is the largest share of a layer."""
    return math.ceil(SHADES * math.sqrt(layer.peak / most)) if layer.share else 0


def task_color(tasks: tuple[str, ...], task: str) -> str:
    """The colour of one of the tasks of a network."""
    return TASKS[tasks.index(task) % len(TASKS)]


def stride_color(stride: float) -> str:
    """The colour of a stride; of vectors, which have none, that of the image."""
    level = round(math.log2(stride)) if stride > 1 else 0
    return STRIDES[min(level, len(STRIDES) - 1)]
