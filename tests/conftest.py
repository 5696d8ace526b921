"""Fixtures that every test may ask for."""

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 20 drawn pictures of 64 x 64, a fifth of them held back."""
    import training

    return training.shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small maps gain nothing from threads, and lose much where other programs want the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
