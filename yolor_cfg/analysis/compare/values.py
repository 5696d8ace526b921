"""What the other side computed in each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor

from yolor_cfg.errors import MissingExtra, WeightsError, YolorError, shorten

Found = TypeVar("Found")


class OtherValues(NamedTuple):
    """The values of the other side by the number of the layer, as far as they are known: heads as
    `head_form` says. `title` is the other side in words."""

    title: str
    layers: Mapping[int, Tensor]
    head_form: str = "boxes"
    notes: tuple[str, ...] = ()


def run_guarded(work: Callable[[], Found], message: str) -> Found:
    """What the work of another library gives; whatever it raises becomes a WeightsError with this message,
    and a MissingExtra where the library is not installed."""
    try:
        return work()
    except YolorError:
        raise
    except ImportError as cause:
        raise MissingExtra("export") from cause
    except Exception as cause:  # every library raises its own kinds
        reason = shorten(str(cause).strip().split("\n")[0])
        raise WeightsError(message, found=reason or type(cause).__name__) from None
