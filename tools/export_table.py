"""Say which networks can be exported to what, and how far each engine is from our own output.

    python tools/export_table.py TABLE.csv CFG... [--way onnx --way openvino]

Each cfg gets the weights of a seed; where NAME.json beside it tells the shape of an input, as golden data do,
that is the size. A row that TABLE.csv already has is not measured again, so that an interrupted run goes on.
Prints the table as Markdown. Exit code 1 when a row is neither equal nor refused with a reason.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import torch
from export_table_text import COLUMNS, EQUAL, REFUSED, TableRow, format_table

from yolor_cfg.errors import YolorError
from yolor_cfg.export.formats import FORMATS, ExportOptions, OnnxStore, may_differ_in_size
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.onnx_nms import NmsLimits
from yolor_cfg.export.parity import EngineParity
from yolor_cfg.export.run import ExportResult, export_network
from yolor_cfg.export.traced import Dynamic, OutputForm
from yolor_cfg.graph import ReadOptions
from yolor_cfg.model import BoxHead, Network
from yolor_cfg.rewrite.faster import rewrite_for_speed
from yolor_cfg.weights.loading import open_network

WAYS = ("onnx", "onnx-dynamic", "onnx-nms", *(name for name in FORMATS if name not in ("onnx", "html")))
MILLION = 1e6
LIMITS = NmsLimits(0.25, 0.45, 300, multi_label=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), default=["onnx"])
def main(table: Path, cfgs: tuple[Path, ...], ways: tuple[str, ...]) -> None:
    """Fill the table and print it."""
    rows = read_rows(table)
    done = {(row["cfg"], row["way"]) for row in rows}
    for cfg in cfgs:
        missing = [way for way in ways if (name_of(cfg), way) not in done]
        for row in measure_all(cfg, missing):
            rows.append(row)
            write_rows(table, rows)
    click.echo("\n".join(format_table(rows)))
    sys.exit(any(row["verdict"] not in (EQUAL, REFUSED) for row in rows))


def measure_all(cfg: Path, ways: Iterable[str]) -> Iterator[TableRow]:
    """The rows of a network."""
    network = None
    for way in ways:
        network = network or RewrittenNetwork(seeded_network(cfg))
        yield from measure(network, name_of(cfg), way=way)


class RewrittenNetwork:
    """A network, its faster form, and the models of that, each traced once for all ways."""

    def __init__(self, network: Network) -> None:
        self.network, self.store = network, OnnxStore()
        self.faster = rewrite_for_speed(network).network


def measure(one: RewrittenNetwork, name: str, *, way: str) -> list[TableRow]:
    """A row for each engine; one for a network that cannot be exported, which says why."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            options = find_options(one.network, way)._replace(store=one.store)
            result = export_network(one.network, Path(folder), options, rewritten=one.faster)
    except YolorError as fault:
        where = f"[{fault.section} #{fault.number}] " if fault.section else ""
        reason = where + fault.message + (f": {fault.found}" if fault.found else "")
        return [new_row(name, way, "", "", reason, REFUSED)]
    except Exception as fault:  # a traceback that a user would see
        return [new_row(name, way, "", "yolor export", "", f"{type(fault).__name__}: {fault}".split("\n")[0])]
    return [make_row(name, way, result=result, parity=parity) for parity in result.parities]


def find_options(network: Network, way: str) -> ExportOptions:
    """Boxes where the network predicts them, else raw maps; as much dynamic as it allows."""
    form, _, more = way.partition("-")
    has_boxes = all(isinstance(network.module_list[index], BoxHead) for index in network.graph.outputs)
    largest: Dynamic = "all" if may_differ_in_size(network.graph) else "batch"
    output: OutputForm = "decoded" if has_boxes or more == "nms" else "raw"
    settings = OnnxSettings(output, largest if more == "dynamic" else "none")
    return ExportOptions(form, settings, nms=LIMITS if more == "nms" else None)


def name_of(cfg: Path) -> str:
    """The folder of the set and the name: `darknet/yolov4`."""
    parts = [part for part in cfg.parts[-3:-1] if part not in ("cfg", "golden")]
    return "/".join([*parts[-1:], cfg.stem])


def golden_options(cfg: Path) -> ReadOptions:
    """The size and dialect that golden data tell of the network."""
    places = (cfg.with_suffix(".json"), cfg.parent.parent / "nets" / f"{cfg.stem}.json")
    place = next((one for one in places if one.exists()), None)
    if place is None:
        return ReadOptions()
    shape = json.loads(place.read_text(encoding="utf-8")).get("input", {}).get("shape", ())
    size = (shape[-2], shape[-1]) if len(shape) == 4 and min(shape[-2:]) > 1 else None
    return ReadOptions("yolor" if place.parent.name == "nets" else None, size)


def seeded_network(cfg: Path) -> Network:
    """The network with weights that keep values of order 1 in every layer."""
    network = open_network(cfg, reading=golden_options(cfg)).network
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = 0.2 * torch.randn(module.num_features, generator=draw)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=draw)
    return network


def make_row(name: str, way: str, *, result: ExportResult, parity: EngineParity) -> TableRow:
    """What an engine made of the file."""
    verdict = parity.fault or ("differs" if parity in result.failures else EQUAL)
    size = f"{result.size / MILLION:.1f}"
    return new_row(name, way, size, parity.engine, f"{parity.worst:.1e}", verdict)


def new_row(*cells: str) -> TableRow:
    return dict(zip(COLUMNS, cells, strict=True))


def read_rows(table: Path) -> list[TableRow]:
    """The rows measured so far."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(table: Path, rows: Iterable[TableRow]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
