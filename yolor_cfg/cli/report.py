"""`yolor report`: the page of a run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import echo, json_option, print_json, print_stderr

if TYPE_CHECKING:
    from yolor_cfg.report.run.read import RunFiles

COMPARISON = "comparison.html"
EXAMPLES = """\b
Examples:
  yolor report runs/train/exp
  yolor report runs/train/exp runs/train/exp2 -o both.html
  yolor report runs/test/exp runs/test/exp2 --json"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="File to write; default: report.html in the folder of the run, which is replaced; of several runs "
    f"{COMPARISON}.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file of -o.")
@json_option
def report(runs: tuple[str, ...], output: str | None, force: bool, as_json: bool) -> None:
    """Make a page of a run of `yolor train` or `yolor test`; of several, one that compares them.

    RUN is the folder of a run, or a .json file that `yolor bench --json` printed. The page is one HTML file
    that loads nothing: curves, tables, confusion matrix, images with their errors, and how the run was made.
    Each run gets one at its end; a run that was killed is shown as far as it got. Runs are compared with the
    first one: curves over each other, figures, classes with the largest differences first, and what differs
    in options, cfg, data and environment.
    """
    from yolor_cfg.report.run.read import BENCH, read_run
    from yolor_cfg.report.run.write import write_page, write_report

    if output and Path(output).suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"-o {output}: the page is HTML: end the name in .html")
    read = [read_run(Path(run)) for run in runs]
    _tell_problems(read)
    if len(read) == 1 and output is None and read[0].kind != BENCH:
        place = write_report(read[0].folder)
    else:
        alone = read[0].folder.with_suffix(".html") if len(read) == 1 else Path(COMPARISON)
        place = Path(output) if output else alone
        write_page(read, place, force=force)
    if as_json:
        print_json(describe_runs(read, place))
    else:
        echo(f"{place}: {place.stat().st_size / 1e6:.1f} MB")


def _tell_problems(runs: Sequence[RunFiles]) -> None:
    for run in runs:
        for problem in run.problems:
            print_stderr(f"{run.folder}: {problem}", "yellow")


def describe_runs(runs: Sequence[RunFiles], place: Path) -> dict[str, Any]:
    """The figures of each run, and of several what differs, as a JSON object."""
    from yolor_cfg.report.run.compare import class_differences, find_differences

    listed = [_describe_run(run) for run in runs]
    if len(runs) == 1:
        return {"report": str(place), "runs": listed}
    classes = [{"class": name, "AP": values} for name, values in class_differences(runs)]
    return {"report": str(place), "runs": listed, "classes": classes, "differences": find_differences(runs)}


def _describe_run(run: RunFiles) -> dict[str, Any]:
    from yolor_cfg.report.run.figures import run_figures, run_speeds

    return {
        "folder": str(run.folder),
        "kind": run.kind,
        "epochs": len(run.rows),
        "figures": run_figures(run),
        "speed": run_speeds(run),
        "problems": list(run.problems),
    }
