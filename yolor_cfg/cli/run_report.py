"""The record of a test, and the page that is made of a run at its end."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.options import echo, is_on, print_stderr

if TYPE_CHECKING:
    from yolor_cfg.cli.habits import NetworkPaths
    from yolor_cfg.evaluate.facts import TestFindings
    from yolor_cfg.evaluate.record import TestRecord
    from yolor_cfg.graph import Graph

BEGAN, TOLD = "yolor_cfg.began", "yolor_cfg.told"
MOST_TOLD = 200


class TestedData(NamedTuple):
    """What a test found in one data set, its place, its name among several, its task."""

    found: TestFindings
    path: str
    name: str = ""
    task: str = ""


def note_start() -> None:
    """Remember when the command began."""
    click.get_current_context().meta[BEGAN] = time.time()


def note_told(lines: Sequence[str]) -> None:
    """Remember warnings and notes that were printed."""
    click.get_current_context().meta.setdefault(TOLD, []).extend(lines)


def command_line() -> str:
    """The command that was given, as a shell takes it."""
    return shlex.join(["yolor", *sys.argv[1:]])


def save_report(
    folder: Path | None,
    tested: Sequence[TestedData],
    options: dict[str, Any],
    *,
    graph: Graph | None = None,
    of: TestRecord | None = None,
) -> None:
    """Write run.json, the record of a test, of what network it may be, and report.html, if the run has a
    folder; whatever hinders that is told, and the other results stay."""
    if folder is None or not tested:
        return
    from yolor_cfg.runs import RECORD, save_record

    with _telling(RECORD):
        own = {"tested": of._asdict()} if of else {}
        save_record(folder, describe_test(tested, options, graph) | own)
        if options["report"]:
            try_report(folder)


def describe_test(
    tested: Sequence[TestedData], options: dict[str, Any], graph: Graph | None
) -> dict[str, Any]:
    """The record as a JSON object."""
    from yolor_cfg.engines.machine import describe_machine, describe_processes
    from yolor_cfg.evaluate.facts import describe_found

    found = [
        {"path": one.path, "folders": _image_folders(one.path)}
        | describe_found(one.found, name=one.name, task=one.task)
        for one in tested
    ]
    told = click.get_current_context().meta.get(TOLD, [])
    return {
        "kind": "test",
        "command": command_line(),
        "folder": str(Path.cwd()),
        **_describe_time(),
        "environment": describe_machine() | (describe_processes() if graph else {}),
        "options": describe_options(options),
        "network": describe_network(graph) if graph else {},
        "told": told[:MOST_TOLD],
        "told_in_all": len(told),
        "tests": found,
    }


def describe_tested(files: NetworkPaths, options: dict[str, Any]) -> TestRecord:
    """What the scores are of."""
    from yolor_cfg.data.union import parse_given
    from yolor_cfg.evaluate.record import TestRecord

    paths = [None if path is None else os.path.abspath(path) for path in (files.network, files.weights)]
    given = map(parse_given, options["data"])
    data = tuple(one._replace(path=os.path.abspath(one.path)).text for one in given)
    chosen = options["split"] or "", options["size"], options["dialect"], options["task"]
    return TestRecord(str(paths[0]), paths[1], data, *chosen)


def _image_folders(path: str) -> list[str]:
    """Where the images of a COCO .json may be: it names them without folders."""
    from yolor_cfg.data.formats.coco import list_image_folders

    listed = list_image_folders(path) if path.lower().endswith(".json") else []
    return [folder for folder in listed if Path(folder).is_dir()]


def _describe_time() -> dict[str, Any]:
    began = click.get_current_context().meta[BEGAN]
    moment = datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")
    return {"begun": moment, "seconds": round(time.time() - began, 3)}


def describe_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the command: value and whether it was given."""
    from click.core import ParameterSource

    source = click.get_current_context().get_parameter_source
    return {
        name: {
            "value": list(value) if isinstance(value, tuple) else value,
            "given": source(name) is ParameterSource.COMMANDLINE,
        }
        for name, value in options.items()
    }


def describe_network(graph: Graph) -> dict[str, Any]:
    """What a report says of the network: path, dialect, input, and its cfg where it has one."""
    document = getattr(graph, "document", None)
    return {
        "path": graph.path,
        "dialect": graph.dialect.name,
        "input": [graph.image.height, graph.image.width],
        "cfg": document.text if document is not None else "",
    }


def try_report(folder: Path) -> None:
    """Write report.html; whatever hinders that is told, and the other results stay."""
    from yolor_cfg.report.run.write import REPORT, write_report

    with _telling(REPORT):
        write_report(folder)
        if not is_on("quiet"):
            echo(f"report: {folder / REPORT}", err=True)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Say why a file is missing instead of ending: the other results are there."""
    from yolor_cfg.errors import describe_fault

    try:
        yield
    except Exception as fault:
        print_stderr(f"no {name}: {describe_fault(fault)}", "yellow")
