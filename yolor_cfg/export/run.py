"""Writes an exported network into a folder, with what programs need to know of it, and tries it there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.export.describe import FileForm, describe_file
from yolor_cfg.export.formats import FORMATS, ExportOptions, OnnxStore, check_export
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.parity import TOLERANCES, EngineParity, compare_engine
from yolor_cfg.export.trials import make_trials
from yolor_cfg.graph import Node
from yolor_cfg.model import Network
from yolor_cfg.runs import save_text

UNABLE = {("opencv", "int8")}
"""OpenCV 5.0 has no int8 pooling behind quantized convolutions (pool2_int8_layer.cpp)."""


class ExportResult(NamedTuple):
    """The file, how large it is, and what each installed engine made of it."""

    path: Path
    size: int
    parities: tuple[EngineParity, ...]
    tolerance: float

    @property
    def failures(self) -> tuple[EngineParity, ...]:
        """The engines that could not run the file or got something else."""
        return tuple(parity for parity in self.parities if not parity.worst <= self.tolerance)


def export_network(
    network: Network,
    folder: Path,
    options: ExportOptions,
    *,
    names: Sequence[str] = (),
    rewritten: Network | None = None,
    checks: bool = True,
) -> ExportResult:
    """Write the model and meta.json into the folder, and with `checks` parity.json, which compares the file
    with the network as it was read; the file is written from `rewritten`, a faster form of it, if given.

    Raises CfgError for what does not go together, MissingExtra for missing libraries.
    """
    check_export(network, options)
    options = options._replace(store=options.store or OnnxStore())
    faster = rewritten or network
    kind = FORMATS[options.format]
    file = FileForm(options.settings.form, options.nms is not None, options.preprocess)
    facts = describe_file(network.graph, names, file)
    if options.precision == "int8" and options.calibration:
        facts |= {"precision": "int8", "calibration": options.calibration.describe()}
    path = folder / kind.file
    kind.write(faster, path, options=options, facts=facts)
    save_text(folder / "meta.json", json.dumps(facts, indent=1) + "\n")
    parities = _compare(network, faster, path=path, options=options) if checks else ()
    result = ExportResult(path, _size_of(path), parities, TOLERANCES[options.precision])
    if checks:
        save_text(folder / "parity.json", json.dumps(parity_facts(result), indent=1) + "\n")
    return result


def _size_of(path: Path) -> int:
    """Bytes of the file and of what belongs to it under the same name."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.stem}.*"))


def _compare(
    network: Network, faster: Network, *, path: Path, options: ExportOptions
) -> tuple[EngineParity, ...]:
    """The file against the network as it was read, in each engine that is installed. A file with NMS is
    compared by a twin without it: which of two equal boxes stays is no property of the network. The twin of
    one with preprocessing gives the fitted image too."""
    has_nms = options.nms is not None and FORMATS[options.format].has_nms
    if has_nms or (options.preprocess and not options.shows_input):
        twin_options = options._replace(nms=None, shows_input=bool(options.preprocess))
        with tempfile.TemporaryDirectory() as folder:
            twin = Path(folder) / path.name
            FORMATS[options.format].write(faster, twin, options=twin_options, facts={})
            return _compare(network, faster, path=twin, options=twin_options)
    engines = [one for one in FORMATS[options.format].engines if (one, options.precision) not in UNABLE]
    photo = options.calibration.images[0] if options.calibration else ""
    trials = make_trials(network, options.settings, options.preprocess, photo=photo)
    found = (compare_engine(engine, path, trials=trials) for engine in engines)
    return tuple(parity for parity in found if parity is not None)


def write_plain_file(network: Network, folder: Path, options: ExportOptions) -> Path:
    """The same model in the folder without NMS and preprocessing inside; its path."""
    kind = FORMATS[options.format]
    facts = describe_file(network.graph, (), FileForm(options.settings.form, False, ""))
    plain = options._replace(nms=None, preprocess="")
    kind.write(network, folder / kind.file, options=plain, facts=facts)
    return folder / kind.file


def find_first_difference(
    network: Network, options: ExportOptions, *, engine: str, tolerance: float
) -> Node | None:
    """The first section whose value differs in the engine, with all values as outputs and no rewrites; None
    if all are equal there, so that a rewrite or a later step is at fault."""
    kind = FORMATS[options.format]
    plain = options._replace(settings=OnnxSettings("layers"), nms=None, preprocess="")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / kind.file
        kind.write(network, path, options=plain, facts={})
        parity = compare_engine(engine, path, trials=make_trials(network, plain.settings, ""))
    assert parity is not None
    places = (number for number, one in enumerate(parity.outputs) if not one.relative <= tolerance)
    first = next(places, None)
    return None if first is None else network.graph.nodes[first]


def parity_facts(result: ExportResult) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "tolerance": result.tolerance,
        "engines": [
            {
                "engine": one.engine,
                "version": one.version,
                "agrees": one.worst <= result.tolerance,
                **({"fault": one.fault} if one.fault else {}),
                "outputs": [output._asdict() for output in one.outputs],
            }
            for one in result.parities
        ],
    }
