"""Fixtures that every test may ask for."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import browser
import launching
import proofs
import pytest
from hypothesis import settings
from tiny_detector import Files, text, write

from yolor_cfg.errors import MissingExtra
from yolor_cfg.export.telemetry import import_openvino

sys.path.append(str(Path(__file__).parent / "no_network"))
import outward  # noqa: E402

# How long one example takes depends on what else the machine does, so a deadline would fail by luck.
settings.register_profile("yolor", deadline=None)
settings.load_profile("yolor")

FENCE = pytest.StashKey[outward.Fence]()
SEEN = pytest.StashKey[tuple[int, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """No test reaches another machine, nor does a process that it starts."""
    config.stash[FENCE] = outward.Fence.build()
    config.stash[SEEN] = 0, 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The log of the fence goes; processes that still live have none."""
    session.config.stash[FENCE].log.unlink(missing_ok=True)


def take_attempts(config: pytest.Config) -> list[str]:
    """The attempts to reach another machine since they were asked for last."""
    told, counted = config.stash[FENCE].attempts()
    told_before, counted_before = config.stash[SEEN]
    config.stash[SEEN] = len(told), counted
    return told[told_before:] + [outward.UNROUTABLE] * (counted - counted_before)


@pytest.fixture
def new_attempts(request: pytest.FixtureRequest) -> Callable[[], list[str]]:
    """A function: the attempts to reach another machine since it was asked last."""
    return lambda: take_attempts(request.config)


@pytest.fixture(autouse=True)
def no_way_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that wants to reach another machine fails, also if it goes on as if nothing were. What a browser
    looks for on its own does not count, nor what torch asks about processes."""
    launching.ASKED.clear()
    yield
    attempts = take_attempts(request.config)
    if "window" in request.fixturenames or launching.ASKED:
        attempts = [one for one in attempts if one != outward.UNROUTABLE]
    assert not attempts, attempts


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the shared data is absent, what would be proved with it is skipped, not left out."""
    if any("[" in argument for argument in config.args):
        return
    counts, complete = proofs.read_counts(), proofs.SHARED.is_dir()
    items[:] = proofs.with_absent(items, counts, complete=complete)
    config.stash[proofs.MISMATCHES] = proofs.mismatches(items, counts) if complete else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last line but one: how many proofs ran, how many were skipped for want of the shared data."""
    if terminalreporter.config.option.collectonly:
        session = terminalreporter._session
        terminalreporter.write_line(proofs.collected_summary(session.items if session else ()))
    else:
        terminalreporter.write_line(proofs.summary(terminalreporter.stats))


@pytest.fixture(scope="session")
def openvino() -> ModuleType:
    """OpenVINO as the product imports it: imported by its name alone it would report that to its makers."""
    try:
        module: ModuleType = import_openvino()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    return module


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden outputs, cfgs and pictures: $YOLOR_SHARED, else `shared` beside the repository."""
    if not proofs.SHARED.is_dir():
        proofs.skip_absent()
    return proofs.SHARED


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 20 drawn pictures of 64 x 64, a fifth of them held back."""
    import training

    return training.shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def written_once() -> Iterator[None]:
    """`export_network` and `yolor export` get equal networks in ONNX from one run of torch."""
    import exports

    from yolor_cfg.export import formats

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "make_onnx", exports.make_onnx_once)
        yield


@pytest.fixture
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are made and stay white: painting them takes longer than a tiny network needs for its epochs.
    tests/test_report_charts.py looks at what is painted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: canvas.get_renderer().clear())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small maps gain nothing from threads, and lose much where other programs want the cores; and threads
    that wait for a busy machine count as work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A small detector in a folder of its own."""
    return write(tmp_path_factory.mktemp("tiny"), text())


@pytest.fixture(scope="module")
def window(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[browser.Browser]:
    """A window of a browser."""
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    with browser.open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
    take_attempts(request.config)
