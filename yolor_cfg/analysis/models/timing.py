"""How long each network takes for one image here: all take turns, as in `yolor bench`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from yolor_cfg.analysis.models.types import ImageTime, Source
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.race import Contestant, race


def time_sources(
    sources: Sequence[Source],
    *,
    settings: EngineSettings,
    device: str,
    turns: int,
    tell: Callable[[str], None],
) -> list[ImageTime]:
    """The time of one image of each network's size in an engine. Each network has a process of its own, all
    at once, so that the machine's other work is as hard on one as on the other."""
    with TemporaryDirectory() as folder:
        files = [source.cfg or _write_cfg(source, Path(folder) / str(i)) for i, source in enumerate(sources)]
        pairs = zip(files, sources, strict=True)
        contestants = [
            _make_contestant(cfg, source, settings)._replace(device=device) for cfg, source in pairs
        ]
        results = race(contestants, (1,), turns=turns, tell=tell)
    return [ImageTime(one.median_ms, one.low_ms, one.high_ms, one.failed) for one in results]


def _make_contestant(cfg: str, source: Source, settings: EngineSettings) -> Contestant:
    graph, weights = source.graph, None if source.weights == cfg else source.weights
    size = graph.image.height, graph.image.width
    return Contestant(cfg, weights, settings, graph.dialect.name, size, task=source.task)


def _write_cfg(source: Source, folder: Path) -> str:
    """A file for a network that is none."""
    folder.mkdir()
    path = folder / "network.cfg"
    path.write_text(source.graph.document.text, encoding="utf-8")
    return str(path)
