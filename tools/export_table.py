"""Say which networks can be exported to what, and how far each engine is from our own output.

    python tools/export_table.py TABLE.csv CFG... [--format onnx --format openvino]

Each cfg gets the weights of a seed. A row that TABLE.csv already has is not measured again, so that an
interrupted run goes on. Prints the table as Markdown; exit code 1 when a row is neither equal nor refused
with a reason.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click
import torch

from yolor_cfg.errors import YolorError
from yolor_cfg.export.formats import FORMATS, ExportOptions
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.parity import EngineParity
from yolor_cfg.export.run import ExportResult, export_network
from yolor_cfg.model import Network
from yolor_cfg.rewrite.faster import rewrite_for_speed
from yolor_cfg.weights.loading import open_network

COLUMNS = ("cfg", "format", "megabytes", "engine", "relative", "verdict")
MILLION = 1e6
TableRow = dict[str, str]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "formats", multiple=True, type=click.Choice(list(FORMATS)), default=["onnx"])
def main(table: Path, cfgs: tuple[Path, ...], formats: tuple[str, ...]) -> None:
    """Fill the table and print it."""
    rows = read_rows(table)
    done = {(row["cfg"], row["format"]) for row in rows}
    for cfg in cfgs:
        for name in formats:
            if (cfg.stem, name) not in done:
                rows += measure(cfg, name)
                write_rows(table, rows)
    click.echo("\n".join(format_rows(rows)))
    sys.exit(any(row["verdict"] not in ("equal", "refused") for row in rows))


def measure(cfg: Path, name: str) -> list[TableRow]:
    """A row for each engine; one for a network that cannot be exported, which says why."""
    try:
        network = seeded_network(cfg)
        with tempfile.TemporaryDirectory() as folder:
            faster = rewrite_for_speed(network).network
            options = ExportOptions(name, OnnxSettings("raw"))
            result = export_network(network, Path(folder), options, rewritten=faster)
    except YolorError as fault:
        return [new_row(cfg.stem, name, "", "", fault.message, "refused")]
    return [make_row(cfg.stem, name, result=result, parity=parity) for parity in result.parities]


def seeded_network(cfg: Path) -> Network:
    """The network with weights that keep values of order 1 in every layer."""
    network = open_network(cfg).network
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = 0.2 * torch.randn(module.num_features, generator=draw)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=draw)
    return network


def make_row(cfg: str, name: str, *, result: ExportResult, parity: EngineParity) -> TableRow:
    """What an engine made of the file."""
    verdict = parity.fault or ("differs" if parity in result.failures else "equal")
    size = f"{result.size / MILLION:.1f}"
    return new_row(cfg, name, size, parity.engine, f"{parity.worst:.1e}", verdict)


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


def format_rows(rows: Iterable[TableRow]) -> list[str]:
    """The table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return lines + ["| " + " | ".join(row[column] for column in COLUMNS) + " |" for row in rows]


if __name__ == "__main__":
    main()
