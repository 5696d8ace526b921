"""`yolor cfg`: check, format and change the text of a cfg."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.cfg_diff import diff
from yolor_cfg.cli.cfg_edit import set_anchors, set_classes, set_size
from yolor_cfg.cli.cfg_explain import explain
from yolor_cfg.cli.cfg_head import add_head
from yolor_cfg.cli.cfg_slim import slim
from yolor_cfg.cli.cfg_task import add_task
from yolor_cfg.cli.options import cfg_argument, dialect_option, echo, json_option, print_json, print_stderr
from yolor_cfg.errors import CfgError, CfgFaults, YolorError, count_of, escape

if TYPE_CHECKING:
    from yolor_cfg.analysis.cfg_check import Remark

CFG_FAULT_CODE = 2
ERROR, WARNING, NOTE = "error", "warning", "note"
NO_EFFECT = "has no effect here"
COLORS = {ERROR: "red", WARNING: "yellow", NOTE: "yellow"}


@click.group()
def cfg() -> None:
    """Check, format and change cfg files."""


for command in (explain, diff, set_classes, set_size, set_anchors, add_head, add_task, slim):
    cfg.add_command(command)


@cfg.command()
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(), metavar="CFG...")
@dialect_option
@json_option
def check(cfgs: tuple[str, ...], dialect: str | None, as_json: bool) -> None:
    """Report every error and warning in each CFG.

    What stops every command is an `error:`, what is odd but runs a `warning:`; both are faults here. A file
    without either prints `CFG: ok`; the exit code is 2 if any file has one. Keys that have no effect, and
    what is unusual but often meant, are told in a `note:` each, and are no fault of the file.
    """
    findings = {path: _find_remarks(path, dialect) for path in cfgs}
    if as_json:
        print_json([_to_json(remark) for path in cfgs for remark in findings[path]])
    else:
        for path, remarks in findings.items():
            _report(path, remarks)
    if any(remark.kind != NOTE for remarks in findings.values() for remark in remarks):
        raise click.exceptions.Exit(CFG_FAULT_CODE)


@cfg.command("format")
@cfg_argument
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE instead of standard output."
)
@click.option("--in-place", is_flag=True, help="Overwrite CFG itself.")
@click.option("--force", is_flag=True, help="Let -o overwrite an existing file.")
def format_(cfg: str, output: str | None, in_place: bool, force: bool) -> None:
    """Print CFG in normal form.

    That is `key=value`, one blank line between sections, and comments kept.
    """
    from yolor_cfg.files import replace_file
    from yolor_cfg.graph import read_document
    from yolor_cfg.lang.syntax import normalize_document

    output = None if output == "-" else output
    if output and in_place:
        raise click.UsageError("--in-place and -o cannot be used together")
    document = read_document(cfg)
    data = normalize_document(document).encode(document.encoding)
    if output or in_place:
        replace_file(output or cfg, lambda file: file.write(data), fault=YolorError, force=force or in_place)
    else:
        click.echo(data, nl=False)


def _find_remarks(path: str, dialect: str | None) -> list[Remark]:
    """All that is said about the file."""
    from yolor_cfg.analysis.cfg_check import Remark, find_remarks
    from yolor_cfg.graph import ReadOptions, collect_rarely, draft_graph, read_document

    try:
        with collect_rarely():
            document = read_document(path)
            return find_remarks(document, draft_graph(document, ReadOptions(dialect=dialect)))
    except CfgError as fault:
        return [Remark("error", fault)]


def _report(path: str, remarks: list[Remark]) -> None:
    """Print the remarks about a file: notes, at most MAX_PRINTED faults, and their number."""
    faults = [remark for remark in remarks if remark.kind != NOTE]
    notes = [remark for remark in remarks if remark.kind == NOTE]
    for kind, fault in (*notes, *faults[: CfgFaults.MAX_PRINTED]):
        print_stderr(f"{kind}: {fault}", COLORS[kind])
    if len(faults) > 1:
        numbers = Counter(remark.kind for remark in faults)
        told = ", ".join(count_of(numbers[kind], kind) for kind in (ERROR, WARNING) if numbers[kind])
        print_stderr(f"{told}: {len(faults)} faults in {escape(path)}", "red")
    if not faults:
        echo(f"{path}: ok{_count_notes(notes)}")


def _count_notes(notes: list[Remark]) -> str:
    """How many notes there are, and what they are about if all are about one thing."""
    count = len(notes)
    if any(note.fault.message != NO_EFFECT for note in notes):
        return f", with {count_of(count, 'note')}"
    return f", but {count} {'key has' if count == 1 else 'keys have'} no effect here" if count else ""


def _to_json(remark: Remark) -> dict[str, str | int | None]:
    names = ("path", "line", "section", "number", "key", "message", "found", "allowed", "hint")
    return {"kind": remark.kind} | {name: getattr(remark.fault, name) for name in names}
