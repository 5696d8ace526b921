"""Print Tables 7, A1, A2 and the count columns of A3 of YOLOR's paper (arXiv 2105.04206) beside what the
networks of `networks.family` cost: `python tools/paper_tables.py [--json]`.

Exit code 1 if a cell that a network can give differs in any digit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import floor
from typing import NamedTuple

import click
from paper_counts import (
    CFG,
    CFG_FUSED,
    CONVENTIONS,
    YAML,
    YAML_FUSED,
    PaperConvention,
    PaperCounts,
    count_network,
)

from yolor_cfg.cli.options import format_columns, print_json

EQUAL, UNEQUAL, UNMET, OTHER = "equal", "NOT EQUAL", "no graph gives it", "not a Darknet network"


class PrintedFormat(NamedTuple):
    """How a printed number was counted, in words and as a function; `size` if it is not the row's."""

    description: str
    format_counts: Callable[[PaperCounts], str]
    size: int = 0


PARAMETERS = PrintedFormat("", lambda c: f"{c.parameters}")
MILLIONS = PrintedFormat("rounded", lambda c: f"{c.parameters / 1e6:.0f}M")
MFLOPS = PrintedFormat("", lambda c: f"{c.flops / 1e6:.4f}")
GFLOPS = PrintedFormat("rounded", lambda c: f"{c.flops / 1e9:.1f}G")
GFLOPS_CUT = PrintedFormat("cut off", lambda c: f"{floor(c.flops / 1e8) / 10:.1f}G")
GFLOPS_TIMES_4 = PrintedFormat(
    "4 x the rounded figure", lambda c: f"{4 * round(c.flops / 1e9, 1):.1f}G", size=640
)
GFLOPS_WHOLE = PrintedFormat("rounded", lambda c: f"{c.flops / 1e9:.0f}G")


class PaperEntry(NamedTuple):
    """A row of a table: model, parameters and FLOPs as printed; which of our networks it is, if any, and how
    it was counted."""

    model: str
    parameters: str
    flops: str
    network: str = ""
    convention: PaperConvention = CFG
    figure: PrintedFormat = GFLOPS
    size: int = 1280


class PaperTable(NamedTuple):
    """One of the paper's tables; its rows count parameters in the same way."""

    name: str
    entries: tuple[PaperEntry, ...]
    parameters: PrintedFormat = PARAMETERS


class PaperCell(NamedTuple):
    """A printed number and what our networks give."""

    model: str
    column: str
    paper: str
    ours: str
    convention: str
    verdict: str


TABLES = (
    PaperTable(
        "7: with and without implicit knowledge",
        (
            PaperEntry("baseline 1", "52908989", "117517.2952", "yolov4_csp_fast", CFG, MFLOPS, 640),
            PaperEntry("implicit 1", "52911546", "117519.4372", "yolor_csp_fast", CFG, MFLOPS, 640),
            PaperEntry("baseline 2", "37262204", "326256.1624", "yolov4_p6_light", CFG, MFLOPS),
            PaperEntry("implicit 2", "37265016", "326264.7304", "yolor_p6", CFG, MFLOPS),
        ),
    ),
    PaperTable(
        "A1: lightweight models",
        (
            PaperEntry("Y4-SSS", "9290077", "17.9G", "yolov4_csp_sss", YAML_FUSED, size=640),
            PaperEntry("Y4-SSS, implicit", "9291738", "17.9G", "yolor_csp_sss", YAML_FUSED, size=640),
            PaperEntry("Y4-SSSS", "9205693", "16.1G", "yolov4_csp_ssss", YAML_FUSED, size=640),
            PaperEntry("Y4-SSSS, implicit", "9207354", "16.1G", "yolor_csp_ssss", YAML_FUSED, size=640),
            PaperEntry("U5R5-S", "7266973", "17.0G", "u5r5_s", CFG_FUSED, size=640),
            PaperEntry("U5R5-S, implicit", "7268634", "17.0G", "yolor_u5r5_s", CFG_FUSED, size=640),
        ),
    ),
    PaperTable(
        "A2: large models",
        (
            PaperEntry("YOLOR-P6", "37265016", "326.2G", "yolor_p6", CFG, GFLOPS_CUT),
            PaperEntry("YOLOR-W6", "79873400", "454.0G", "yolor_w6", CFG, GFLOPS_TIMES_4),
            PaperEntry("YOLOR-E6", "115909400", "684.0G", "yolor_e6", YAML, GFLOPS_TIMES_4),
            PaperEntry("YOLOR-D6", "151782680", "936.8G", "yolor_d6", YAML, GFLOPS_TIMES_4),
            PaperEntry("Y4-P6", "127530352", "718.4G", "yolov4_p6", YAML_FUSED, GFLOPS_TIMES_4),
            PaperEntry("U5R5-S6", "12653596", "69.6G", "u5r5_s6", CFG_FUSED, GFLOPS_TIMES_4),
            PaperEntry("U5R5-M6", "35889612", "209.6G", "u5r5_m6", CFG_FUSED, GFLOPS_TIMES_4),
            PaperEntry("U5R5-L6", "77218620", "470.8G", "u5r5_l6", CFG_FUSED, GFLOPS_TIMES_4),
            PaperEntry("U5R5-X6", "141755500", "891.6G", "u5r5_x6", CFG_FUSED, GFLOPS_TIMES_4),
        ),
    ),
    PaperTable(
        "A3: more comparison",
        (
            PaperEntry("YOLOR-P6", "37M", "326G", "yolor_p6", CFG, GFLOPS_WHOLE),
            PaperEntry("YOLOR-P6D", "37M", "326G", "yolor_p6", CFG, GFLOPS_WHOLE),
            PaperEntry("YOLOR-W6", "80M", "454G", "yolor_w6", CFG, GFLOPS_WHOLE),
            PaperEntry("YOLOR-E6", "116M", "684G", "yolor_e6", YAML, GFLOPS_WHOLE),
            PaperEntry("YOLOR-D6", "152M", "937G", "yolor_d6", YAML, GFLOPS_WHOLE),
            PaperEntry("ST-L (HTC++)", "284M", "1470G"),
            PaperEntry("C2 (R2)", "-", "-"),
            PaperEntry("Y4-P5", "71M", "328G", "yolov4_p5", CFG, GFLOPS_WHOLE, 896),
            PaperEntry("Y4-P6", "128M", "718G", "yolov4_p6", YAML_FUSED, GFLOPS_WHOLE),
            PaperEntry("Y4-P7", "287M", "1639G", "yolov4_p7", YAML_FUSED, GFLOPS_WHOLE, 1536),
            PaperEntry("P2", "-", "-"),
            PaperEntry("ST-T (MRCNN)", "86M", "745G"),
            PaperEntry("ST-S (MRCNN)", "107M", "838G"),
            PaperEntry("ST-B (MRCNN)", "145M", "982G"),
            PaperEntry("ST-B (HTC++)", "160M", "1043G"),
            PaperEntry("ST-L (HTC++)", "284M", "1470G"),
            PaperEntry("C2 (DLA)", "-", "-"),
        ),
        MILLIONS,
    ),
)
# Printed cells that no network gives, and why.
EXPLAINED = {
    "326264.7304": "the printed figure leaves a level out: it is the baseline's and 8.568, one for each"
    " prediction of P3, P4 and P5 (255 x 33600); those of all four levels (255 x 34000) are 8.670",
}


def compare_table(table: PaperTable) -> Iterator[PaperCell]:
    """The parameters and FLOPs of each row, beside what our networks give."""
    for entry in table.entries:
        unit = "MFLOPs" if entry.figure is MFLOPS else "FLOPs"
        yield _compare_cell(entry, "parameters", entry.parameters, figure=table.parameters)
        yield _compare_cell(entry, unit, entry.flops, figure=entry.figure)


def _compare_cell(entry: PaperEntry, column: str, paper: str, *, figure: PrintedFormat) -> PaperCell:
    if not entry.network:
        return PaperCell(entry.model, column, paper, "", "", OTHER)
    size = figure.size or entry.size
    ours = figure.format_counts(count_network(entry.network, entry.convention, size))
    at_size = [] if column == "parameters" else [f"at {size}"]
    convention = ", ".join(
        [entry.network, str(entry.convention), *at_size, *filter(None, [figure.description])]
    )
    verdict = UNMET if paper in EXPLAINED else EQUAL if ours == paper else UNEQUAL
    return PaperCell(entry.model, column, paper, ours, convention, verdict)


def convention_rows(size: int = 640) -> list[tuple[str, ...]]:
    """A row for each YOLOv4 and YOLOR of the tables: its parameters under the four conventions, then its
    MFLOPs at that size."""
    # U5R5 comes from other code, of which there is only one form.
    ours = [entry for table in TABLES for entry in table.entries if entry.convention != CFG_FUSED]
    names = dict.fromkeys(entry.network for entry in ours if entry.network)
    rows = []
    for name in names:
        all_four = [count_network(name, convention, size) for convention in CONVENTIONS]
        rows.append(
            (
                name,
                *(PARAMETERS.format_counts(c) for c in all_four),
                *(MFLOPS.format_counts(c) for c in all_four),
            )
        )
    return rows


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document in place of the tables.")
def main(as_json: bool) -> None:
    """Print every count of the paper's tables beside ours."""
    tables = {table.name: list(compare_table(table)) for table in TABLES}
    units = ("parameters", "MFLOPs at 640")
    heads = ("network", *(f"{unit} ({convention})" for unit in units for convention in CONVENTIONS))
    if as_json:
        found = [{"table": name, "cells": [cell._asdict() for cell in rows]} for name, rows in tables.items()]
        kinds = [dict(zip(heads, row, strict=True)) for row in convention_rows()]
        print_json({"tables": found, "explained": EXPLAINED, "conventions": kinds})
    else:
        click.echo("\n".join(_format_tables(tables, [heads, *convention_rows()])))
    sys.exit(any(cell.verdict == UNEQUAL for rows in tables.values() for cell in rows))


def _format_tables(tables: dict[str, list[PaperCell]], kinds: list[tuple[str, ...]]) -> Iterator[str]:
    for name, rows in tables.items():
        yield f"Table {name}"
        yield from format_columns(
            [("model", "column", "paper", "ours", "ours is", ""), *rows], words=[0, 1, 4, 5]
        )
        yield from (f"  {cell.paper}: {EXPLAINED[cell.paper]}" for cell in rows if cell.verdict == UNMET)
        yield ""
    yield "How much the conventions differ"
    yield from format_columns(kinds, words=[0])
    verdicts = [cell.verdict for rows in tables.values() for cell in rows]
    told = [f"{verdicts.count(verdict)} {verdict}" for verdict in (EQUAL, UNEQUAL, UNMET, OTHER)]
    yield f"\n{len(verdicts)} cells: {', '.join(told)}"


if __name__ == "__main__":
    main()
