"""Fixtures that every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# How long one example takes depends on what else the machine does, so a deadline would fail by luck.
settings.register_profile("yolor", deadline=None)
settings.load_profile("yolor")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden outputs, cfgs and pictures: $YOLOR_SHARED, else `shared` beside the repository."""
    folder = Path(os.environ.get("YOLOR_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} is not a folder (set YOLOR_SHARED)")
    return folder
