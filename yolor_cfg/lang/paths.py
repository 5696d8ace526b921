"""The files that a cfg names."""

from __future__ import annotations

import os
from pathlib import Path


def resolve_cfg_path(name: str, cfg: str) -> Path:
    """A file named in a cfg: relative to the folder of the cfg, else to the current folder."""
    near = Path(cfg).parent / name
    return near if os.path.isfile(near) else Path(name)  # which unlike Path.is_file never raises
