"""The folder of `yolor test`, which the first of several processes makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def results_folder(options: dict[str, Any], *, saves: bool) -> Iterator[Path | None]:
    """A new folder, which goes again if the test fails; it is tried before anything is computed. None where
    nothing is saved, and in all processes but the first."""
    from yolor_cfg.runs import trial_folder

    if not saves or not is_first_process():
        yield None
        return
    with trial_folder(options["project"], options["name"]) as folder:
        yield folder


def is_first_process() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
