"""Train the networks of the YOLOR paper's ablations (arXiv 2105.04206, Tables 1 to 7) at small scale, with
several seeds each, and write the results.

    python tools/ablation.py [--variants iFA,mul-iPR] [--seeds 0,1,2] [--jobs 2] [--minutes 60]

Each finished run appends a row to docs/ablation.csv. Runs that have a row are skipped, so a later call
continues; a fingerprint tells rows of different recipes apart. docs/ablation.md and .png are made
from the rows at the end; `--report` makes nothing else. The recipe is in tools/ablation_recipe.py.
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
    DEFAULT_VARIANTS,
    RECIPE,
    VARIANTS,
    AblationRecipe,
    AblationRun,
    cfg_text,
    find_variant,
    fingerprint,
    fingerprints,
    plan_runs,
    prepare_data,
    recipe_dict,
    variant_label,
)
from ablation_table import SCORES, RunRow, append_row, parse_row, read_rows

from yolor_cfg.cli.options import TextParam, to_command_error
from yolor_cfg.errors import YolorError

INTERRUPTED = 130  # as shells say it: 128 + SIGINT
CACHE = 1.0  # gigabytes of decoded images; 600 of 320 px take 0.2
PAUSE = 0.2  # seconds between two checks of the runs
LOG_LINES = 6  # how many of a failed run's last lines are shown


class Task(NamedTuple):
    """A run as passed to its process, in plain values; `folder` keeps what `yolor train` writes."""

    variant: str
    seed: int
    recipe: AblationRecipe
    data: str
    folder: str

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps({**self._asdict(), "recipe": recipe_dict(self.recipe)})

    @staticmethod
    def from_json(text: str) -> Task:
        """The task of that JSON."""
        values = json.loads(text)
        return Task(**{**values, "recipe": AblationRecipe(**values["recipe"])})


class VariantNames(TextParam):
    """Names of variants, separated by commas; `all` stands for every one."""

    name = "names"

    def parse(self, text: str) -> tuple[str, ...]:
        if text == "all":
            return tuple(dict.fromkeys([*DEFAULT_VARIANTS, *VARIANTS]))
        for word in text.split(","):
            if find_variant(word) is None:
                raise ValueError(f"no variant {word}; --list names all of them")
        return tuple(dict.fromkeys(str(find_variant(word)) for word in text.split(",")))


class Seeds(TextParam):
    """Whole numbers, separated by commas."""

    name = "numbers"

    def parse(self, text: str) -> tuple[int, ...]:
        if not all(word.isdecimal() for word in text.split(",")):
            raise ValueError(f"{text!r} are no seeds; write them as 0,1,2")
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--variants",
    type=VariantNames(),
    default=DEFAULT_VARIANTS,
    help="names separated by commas, or all; default: Tables 1, 2, 6, 7 and × iPR of Table 4",
)
@click.option("--seeds", type=Seeds(), default="0,1,2", show_default=True, help="numbers separated by commas")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="runs side by side, each on one core"
)
@click.option("--minutes", type=click.FloatRange(0), help="start no run after this many minutes")
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
    help="folder for the drawn images and the runs",
)
@click.option("--list", "listed", is_flag=True, help="list the runs and their results; train nothing")
@click.option("--report", is_flag=True, help="rewrite the document and the chart; train nothing")
@click.option("--task", hidden=True)
def main(variants: tuple[str, ...], seeds: tuple[int, ...], task: str | None, **options: Any) -> None:
    """Train the missing runs and write the tables."""
    try:
        if task:
            click.echo(measure_task(Task.from_json(task)).line, nl=False)
        else:
            execute(plan_runs(variants, seeds), options)
    except YolorError as fault:
        raise to_command_error(fault) from None


def execute(runs: Sequence[AblationRun], options: dict[str, Any]) -> None:
    """Do what the options ask for."""
    recipe = RECIPE._replace(**{name: options[name] for name in ADJUSTABLE})
    out = options["out"]
    if options["listed"]:
        click.echo("\n".join(run_lines(runs, read_rows(out / "ablation.csv"), recipe)))
    else:
        out.mkdir(parents=True, exist_ok=True)
        failed = 0 if options["report"] else train_missing(runs, recipe, options=options)
        report(out, recipe)
        sys.exit(failed > 0)


def report(out: Path, recipe: AblationRecipe) -> None:
    """Write the document and the chart from the rows of the file."""
    from ablation_report import save_report, select_results

    from yolor_cfg.report.figures import NO_CHARTS, can_draw

    save_report(select_results(read_rows(out / "ablation.csv"), recipe), out)
    if not can_draw():
        click.echo(f"{NO_CHARTS}the numbers are in {out / 'ablation.csv'}", err=True)


def run_lines(runs: Sequence[AblationRun], rows: Sequence[RunRow], recipe: AblationRecipe) -> Iterator[str]:
    """A line for each run: its name, the paper's name, the seed, and the AP where it is known."""
    there = {row.run_key: row.AP for row in rows}
    prints = fingerprints({run.variant for run in runs}, recipe)
    for run in runs:
        ap = there.get((*run, prints[run.variant]))
        told = "to do" if ap is None else f"AP {100 * ap:.1f}"
        yield f"{run.variant:20} {variant_label(run.variant):14} seed {run.seed}  {told}"


def missing_runs(
    runs: Sequence[AblationRun], rows: Sequence[RunRow], recipe: AblationRecipe
) -> list[AblationRun]:
    """The runs that have no row of this recipe."""
    there = {row.run_key for row in rows}
    prints = fingerprints({run.variant for run in runs}, recipe)
    return [run for run in runs if (*run, prints[run.variant]) not in there]


# ------------------------------------------------------------------------------- the program that starts them


def train_missing(runs: Sequence[AblationRun], recipe: AblationRecipe, *, options: dict[str, Any]) -> int:
    """Train the missing runs, several at a time, and return how many failed. When interrupted, the runs in
    progress stop and leave no row."""
    table, work = options["out"] / "ablation.csv", options["work"]
    todo = missing_runs(runs, read_rows(table), recipe)
    click.echo(f"{len(runs) - len(todo)} of {len(runs)} runs are there", err=True)
    if not todo:
        return 0
    data = prepare_data(recipe, work).resolve()
    end = math.inf if options["minutes"] is None else time.monotonic() + 60 * options["minutes"]
    folder = work.resolve() / "runs"
    tasks = [Task(*run, recipe, str(data), str(folder)) for run in todo]
    # Whoever ends this program in the usual way ends its runs too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run_tasks(tasks, table, jobs=options["jobs"], end=end)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(INTERRUPTED)


def run_tasks(tasks: Sequence[Task], table: Path, *, jobs: int, end: float) -> int:
    """Run the tasks, `jobs` at a time, starting none after `end`; return how many failed."""
    waiting, failed = list(tasks), 0
    active: dict[subprocess.Popen[str], Task] = {}
    try:
        while active or (waiting and time.monotonic() < end):
            while waiting and len(active) < jobs and time.monotonic() < end:
                task = waiting.pop(0)
                active[start_task(task)] = task
            time.sleep(PAUSE)
            for process in [process for process in active if process.poll() is not None]:
                failed += not finish_task(process, active.pop(process), table)
    finally:
        for process in active:
            process.terminate()
        for process in active:
            process.wait()
    return failed


def start_task(task: Task) -> subprocess.Popen[str]:
    """Its process, on one core, so that parallel runs do not disturb one another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--task", task.text]
    log = log_path(task)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as words:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=words, text=True)


def log_path(task: Task) -> Path:
    """The run's log file."""
    return Path(task.folder) / f"{task_name(task)}.log"


def task_name(task: Task) -> str:
    """A file name of this run alone."""
    return f"{task.variant.replace('/', '_')}-s{task.seed}-{fingerprint(task.variant, task.recipe)}"


def finish_task(process: subprocess.Popen[str], task: Task, table: Path) -> bool:
    """Whether the run succeeded; its row is then in the table."""
    line, _ = process.communicate()
    if process.returncode:
        words = log_path(task).read_text(encoding="utf-8").splitlines()[-LOG_LINES:]
        click.echo("\n".join([f"{task.variant} seed {task.seed} failed:", *words]), err=True)
        return False
    row = parse_row(line.rstrip())
    append_row(table, row)
    click.echo(f"{task.variant} seed {task.seed}: AP {100 * row.AP:.1f} in {row.seconds:.0f} s", err=True)
    return True


# ---------------------------------------------------------------------------------------- a run's own process


def measure_task(task: Task) -> RunRow:
    """Train the variant on one thread and test its averaged weights after the last epoch."""
    import cv2
    import torch

    from yolor_cfg.evaluate.run import EvalSettings, evaluate

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.perf_counter()
    outcome = train_task(task)
    if outcome.ending.reason != "done":
        sys.exit(INTERRUPTED)
    state, job = outcome.state, outcome.job
    # As training itself tests, so that the figures are those of the last point of the curve.
    settings = EvalSettings(batch_size=job.batch_size, padding=0.0, precision=task.recipe.precision)
    numbers = evaluate(state.eval_network, job.holdout, settings=settings).coco.numbers
    seconds = time.perf_counter() - began
    return RunRow(
        task.variant,
        task.seed,
        fingerprint(task.variant, task.recipe),
        task.recipe.epochs,
        **{name: numbers[name] for name in SCORES},
        parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        seconds=seconds,
        AP_by_epoch=tuple(row.get("AP", math.nan) for row in state.rows),
    )


def train_task(task: Task) -> Any:
    """What `yolor train` makes of it."""
    from yolor_cfg.report.batch_sheet import contact_sheet
    from yolor_cfg.report.training import plot_results
    from yolor_cfg.train.logger import TrainDrawing
    from yolor_cfg.train.run import start_run

    folder = Path(task.folder)
    cfg, hyp = folder / f"{task_name(task)}.cfg", folder / f"{task_name(task)}.hyp.yaml"
    cfg.write_text(cfg_text(task.variant, task.recipe), encoding="utf-8")
    hyp.write_text(json.dumps(dict(task.recipe.hyp)))  # JSON is YAML
    return start_run(
        train_options(task, cfg, hyp),
        project=task.folder,
        name=task_name(task),
        drawing=TrainDrawing(contact_sheet, plot_results),
        say=lambda text: click.echo(text, err=True),
    )


def train_options(task: Task, cfg: Path, hyp: Path) -> Any:
    """The recipe in the words of `yolor train`."""
    from yolor_cfg.train.settings import TrainOptions

    recipe = task.recipe
    return TrainOptions(
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
