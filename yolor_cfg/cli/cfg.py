"""`yolor cfg`: check, format and change the text of a cfg."""

from __future__ import annotations

import click

from yolor_cfg.cli.cfg_edit import set_anchors, set_classes, set_size
from yolor_cfg.cli.options import cfg_argument, dialect_option, echo, json_option, print_json, print_stderr
from yolor_cfg.errors import CfgError, CfgFaults, YolorError

CFG_FAULT_CODE = 2


@click.group()
def cfg() -> None:
    """Check, format and change cfg files."""


for command in (set_classes, set_size, set_anchors):
    cfg.add_command(command)


@cfg.command()
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(), metavar="CFG...")
@dialect_option
@json_option
def check(cfgs: tuple[str, ...], dialect: str | None, as_json: bool) -> None:
    """Report every error and warning in each CFG.

    Warnings count as errors here. A file without either prints `CFG: ok`; the exit code is 2 if any file has
    one. Keys that have no effect here are told as well, and are no fault of the file.
    """
    findings = {path: _find_faults(path, dialect) for path in cfgs}
    unused = {path: _find_unused_keys(path, dialect) for path in cfgs}
    if as_json:
        both = [fault for path in cfgs for fault in (*findings[path], *unused[path])]
        print_json([_to_json(fault) for fault in both])
    else:
        _report_faults(findings, unused)
    if any(findings.values()):
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


def _find_faults(path: str, dialect: str | None) -> list[CfgError]:
    """Errors and warnings, sorted by line."""
    from yolor_cfg.graph import ReadOptions, load_graph

    found: list[CfgError] = []
    try:
        load_graph(path, ReadOptions(dialect=dialect, strict=True))
    except CfgFaults as faults:
        found += faults.faults
    except CfgError as fault:
        found.append(fault)
    return sorted({str(fault): fault for fault in found}.values(), key=lambda fault: fault.line)


def _find_unused_keys(path: str, dialect: str | None) -> list[CfgError]:
    """Warnings about keys without effect; none for a file that cannot be read."""
    from yolor_cfg.graph import ReadOptions, load_graph

    try:
        return load_graph(path, ReadOptions(dialect=dialect)).unused_keys()
    except CfgError:
        return []


def _report_faults(findings: dict[str, list[CfgError]], unused: dict[str, list[CfgError]]) -> None:
    for path, faults in findings.items():
        for warning in unused[path]:
            print_stderr(str(warning), "yellow")
        if faults:
            print_stderr(str(CfgFaults(faults, path)), "red")
            continue
        count = len(unused[path])
        more = f", but {count} {'key has' if count == 1 else 'keys have'} no effect here" if count else ""
        echo(f"{path}: ok{more}")


def _to_json(fault: CfgError) -> dict[str, str | int | None]:
    names = ("path", "line", "section", "number", "key", "message", "found", "allowed", "hint")
    return {name: getattr(fault, name) for name in names}
