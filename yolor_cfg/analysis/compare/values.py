"""What the other side computed in each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class OtherValues(NamedTuple):
    """The values of the other side by the number of the layer, as far as they are known: heads as
    `head_form` says. `title` is the other side in words."""

    title: str
    layers: Mapping[int, Tensor]
    head_form: str = "boxes"
    notes: tuple[str, ...] = ()
