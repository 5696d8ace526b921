"""Trains the networks of the YOLOR paper's ablations (arXiv 2105.04206, Tables 1 to 7) at small scale, with
several seeds each, and writes what came out.

    python tools/ablation.py [--variants iFA,mul-iPR] [--seeds 0,1,2] [--jobs 2] [--minutes 60]

A run is a row of docs/ablation.csv, appended when it is done and skipped when it is there, so that a later
call continues; rows of another recipe are told apart by their fingerprint. docs/ablation.md and .png are made
from the rows at the end; `--report` makes them alone. The recipe stands in tools/ablation_recipe.py.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from ablation_recipe import (
    ADJUSTABLE,
    RECIPE,
    USUAL,
    VARIANTS,
    Recipe,
    Run,
    cfg_text,
    data_of,
    fingerprint,
    fingerprints,
    found,
    label_of,
    plain,
    runs_of,
)
from ablation_table import SCORES, Row, append, read_rows, row_of

from yolor_cfg.cli.options import failure
from yolor_cfg.errors import YolorError

INTERRUPTED = 130  # as shells say it: 128 + SIGINT
CACHE = 1.0  # gigabytes of decoded pictures; 600 of 320 px have 0.2
PAUSE = 0.2  # seconds between two looks at the runs
SHOWN = 6  # lines of a failed run's own words


class Task(NamedTuple):
    """A run as its process gets it, in plain values; `folder` keeps what `yolor train` leaves."""

    variant: str
    seed: int
    recipe: Recipe
    data: str
    folder: str

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps({**self._asdict(), "recipe": plain(self.recipe)})

    @staticmethod
    def of(text: str) -> Task:
        """The task of that JSON."""
        values = json.loads(text)
        return Task(**{**values, "recipe": Recipe(**values["recipe"])})


class Keys(click.ParamType):
    """Names of variants with commas between them; `all` are all of them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if value == "all":
            return tuple(dict.fromkeys([*USUAL, *VARIANTS]))
        for word in value.split(","):
            if found(word) is None:
                self.fail(f"no variant {word}; --list names all of them", param, ctx)
        return tuple(dict.fromkeys(str(found(word)) for word in value.split(",")))


class Seeds(click.ParamType):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if not all(word.isdecimal() for word in value.split(",")):
            self.fail(f"{value!r} are no seeds: 0,1,2", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in value.split(",")))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--variants",
    type=Keys(),
    default=USUAL,
    help="names with commas, or all; default: Tables 1, 2, 6, 7 and × iPR of Table 4",
)
@click.option("--seeds", type=Seeds(), default="0,1,2", show_default=True, help="numbers with commas")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="runs side by side, each on one core"
)
@click.option("--minutes", type=click.FloatRange(0), help="begin no run after so many minutes")
@click.option("--train-pictures", type=click.IntRange(1), default=RECIPE.train_pictures, show_default=True)
@click.option("--test-pictures", type=click.IntRange(1), default=RECIPE.test_pictures, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=RECIPE.epochs, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("docs"),
    show_default=True,
    help="folder of ablation.csv, .md and .png",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("runs/ablation"),
    show_default=True,
    help="folder of the drawn pictures and of the runs",
)
@click.option("--list", "listed", is_flag=True, help="say which runs are there, and train nothing")
@click.option("--report", is_flag=True, help="write document and chart anew, and train nothing")
@click.option("--task", hidden=True)
def main(variants: tuple[str, ...], seeds: tuple[int, ...], task: str | None, **options: Any) -> None:
    """Train what is missing and write the tables."""
    try:
        if task:
            click.echo(measured(Task.of(task)).line, nl=False)
        else:
            answer(runs_of(variants, seeds), options)
    except YolorError as fault:
        raise failure(fault) from None


def answer(runs: Sequence[Run], options: dict[str, Any]) -> None:
    """Do what the options ask for."""
    recipe = RECIPE._replace(**{name: options[name] for name in ADJUSTABLE})
    out = options["out"]
    if options["listed"]:
        click.echo("\n".join(listing(runs, read_rows(out / "ablation.csv"), recipe)))
    else:
        out.mkdir(parents=True, exist_ok=True)
        failed = 0 if options["report"] else continued(runs, recipe, options=options)
        report(out, recipe)
        sys.exit(failed > 0)


def report(out: Path, recipe: Recipe) -> None:
    """Document and chart from the rows that are there."""
    from ablation_report import results_of, save_report

    save_report(results_of(read_rows(out / "ablation.csv"), recipe), out)


def listing(runs: Sequence[Run], rows: Sequence[Row], recipe: Recipe) -> Iterator[str]:
    """A line for each run: its name, the paper's, the seed, and the AP if it is there."""
    there = {row.run: row.AP for row in rows}
    prints = fingerprints({run.variant for run in runs}, recipe)
    for run in runs:
        ap = there.get((*run, prints[run.variant]))
        told = "to do" if ap is None else f"AP {100 * ap:.1f}"
        yield f"{run.variant:20} {label_of(run.variant):14} seed {run.seed}  {told}"


def missing(runs: Sequence[Run], rows: Sequence[Row], recipe: Recipe) -> list[Run]:
    """The runs that have no row of this recipe."""
    there = {row.run for row in rows}
    prints = fingerprints({run.variant for run in runs}, recipe)
    return [run for run in runs if (*run, prints[run.variant]) not in there]


# ------------------------------------------------------------------------------- the program that starts them


def continued(runs: Sequence[Run], recipe: Recipe, *, options: dict[str, Any]) -> int:
    """Do what is missing, some runs at a time; the number of those that failed. When interrupted, the runs in
    progress end and leave no row."""
    table, work = options["out"] / "ablation.csv", options["work"]
    todo = missing(runs, read_rows(table), recipe)
    click.echo(f"{len(runs) - len(todo)} of {len(runs)} runs are there", err=True)
    if not todo:
        return 0
    data = data_of(recipe, work).resolve()
    end = math.inf if options["minutes"] is None else time.monotonic() + 60 * options["minutes"]
    folder = work.resolve() / "runs"
    tasks = [Task(*run, recipe, str(data), str(folder)) for run in todo]
    # Whoever ends this program in the usual way ends its runs too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return side_by_side(tasks, table, jobs=options["jobs"], end=end)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(INTERRUPTED)


def side_by_side(tasks: Sequence[Task], table: Path, *, jobs: int, end: float) -> int:
    """Run the tasks, `jobs` at a time, beginning none after `end`; the number of those that failed."""
    waiting, failed = list(tasks), 0
    active: dict[subprocess.Popen[str], Task] = {}
    try:
        while active or (waiting and time.monotonic() < end):
            while waiting and len(active) < jobs and time.monotonic() < end:
                task = waiting.pop(0)
                active[started(task)] = task
            time.sleep(PAUSE)
            for process in [process for process in active if process.poll() is not None]:
                failed += not kept(process, active.pop(process), table)
    finally:
        for process in active:
            process.terminate()
        for process in active:
            process.wait()
    return failed


def started(task: Task) -> subprocess.Popen[str]:
    """Its process, on one core: runs side by side do not disturb one another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--task", task.text]
    log = log_of(task)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as words:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=words, text=True)


def log_of(task: Task) -> Path:
    """Where the run says how it goes."""
    return Path(task.folder) / f"{name_of(task)}.log"


def name_of(task: Task) -> str:
    """A file name for this run and no other."""
    return f"{task.variant.replace('/', '_')}-s{task.seed}-{fingerprint(task.variant, task.recipe)}"


def kept(process: subprocess.Popen[str], task: Task, table: Path) -> bool:
    """Whether the run went well; then its row is in the table."""
    line, _ = process.communicate()
    if process.returncode:
        words = log_of(task).read_text(encoding="utf-8").splitlines()[-SHOWN:]
        click.echo("\n".join([f"{task.variant} seed {task.seed} failed:", *words]), err=True)
        return False
    row = row_of(line.rstrip())
    append(table, row)
    click.echo(f"{task.variant} seed {task.seed}: AP {100 * row.AP:.1f} in {row.seconds:.0f} s", err=True)
    return True


# ---------------------------------------------------------------------------------------- a run's own process


def measured(task: Task) -> Row:
    """Train the variant on one thread and test its averaged weights after the last epoch."""
    import cv2
    import torch

    from yolor_cfg.evaluate.run import Settings, evaluate

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.perf_counter()
    outcome = trained(task)
    if outcome.ending.reason != "done":
        sys.exit(INTERRUPTED)
    state, job = outcome.state, outcome.job
    # As training itself tests, so that the figures are those of the last point of the curve.
    settings = Settings(batch_size=job.batch_size, padding=0.0, precision=task.recipe.precision)
    numbers = evaluate(state.tested, job.holdout, settings=settings).coco.numbers
    seconds = time.perf_counter() - began
    return Row(
        task.variant,
        task.seed,
        fingerprint(task.variant, task.recipe),
        task.recipe.epochs,
        **{name: numbers[name] for name in SCORES},
        parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        seconds=seconds,
        AP_by_epoch=tuple(row.get("AP", math.nan) for row in state.rows),
    )


def trained(task: Task) -> Any:
    """What `yolor train` makes of it."""
    from yolor_cfg.report.pictures import contact_sheet
    from yolor_cfg.report.training import results_picture
    from yolor_cfg.train.run import Drawing, begin

    folder = Path(task.folder)
    cfg, hyp = folder / f"{name_of(task)}.cfg", folder / f"{name_of(task)}.hyp.yaml"
    cfg.write_text(cfg_text(task.variant, task.recipe), encoding="utf-8")
    hyp.write_text(json.dumps(dict(task.recipe.hyp)))  # JSON is YAML
    return begin(
        options_of(task, cfg, hyp),
        project=task.folder,
        name=name_of(task),
        drawing=Drawing(contact_sheet, results_picture),
        say=lambda text: click.echo(text, err=True),
    )


def options_of(task: Task, cfg: Path, hyp: Path) -> Any:
    """The recipe in the words of `yolor train`."""
    from yolor_cfg.train.settings import Options

    recipe = task.recipe
    return Options(
        str(cfg),
        task.data,
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        update_batch=recipe.update_batch,
        hyp=str(hyp),
        optimizer=recipe.optimizer,
        cache=CACHE,
        workers=1,
        precision=recipe.precision,
        seed=task.seed,
        val_period=recipe.val_every,
    )


if __name__ == "__main__":
    main()
