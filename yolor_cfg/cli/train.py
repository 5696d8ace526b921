"""`yolor train`: train a network on a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.habits import TRAIN_HABITS, HabitCommand, sort_paths
from yolor_cfg.cli.options import (
    INTERRUPTED_CODE,
    CommandError,
    echo,
    is_on,
    print_json,
    print_stderr,
    unpack_single,
)
from yolor_cfg.cli.run_report import command_line, try_report
from yolor_cfg.cli.train_options import EXAMPLES, NEWEST_RUN, add_train_options
from yolor_cfg.errors import shell_word

if TYPE_CHECKING:
    from yolor_cfg.train.logger import Progress, TrainDrawing
    from yolor_cfg.train.run import TrainResult
    from yolor_cfg.train.settings import TrainOptions

SIGNAL_EXIT_CODES = {"interrupted": INTERRUPTED_CODE, "terminated": 143}
"""Exit codes of runs ended by a signal."""
TASK_BATCH = 8
"""Images in a batch of a task that is added."""
CLI_ONLY_OPTIONS = ("resume", "project", "name", "dry_run", "as_json", "size", "report")


@click.command(cls=HabitCommand, habits=TRAIN_HABITS, epilog=EXAMPLES)
@click.argument("cfg", required=False, type=click.Path())
@click.option("--cfg", "cfg_file", type=click.Path(), metavar="FILE", help="The same as CFG, as in YOLOR.")
@add_train_options
def train(cfg: str | None, cfg_file: str | None, **options: Any) -> None:
    """Train the network CFG on a data set.

    Settings not given as options come from the cfg's [net]. The results are written to a new folder:
    weights/best.pt is the checkpoint with the best AP, weights/last.pt is what --resume continues from.
    SIGINT and SIGTERM save everything and end the run after the current batch.
    """
    from yolor_cfg.parallel import process_group, this_process

    files = sort_paths([cfg] if cfg else [], cfg=cfg_file, weights=options["weights"])
    cfg, options["weights"] = files.network, files.weights
    if cfg and not files.cfg:
        options["dialect"] = options["dialect"] or _held_dialect(cfg)
    if not options["resume"] and not (cfg and options["data"]):
        raise click.UsageError("give CFG and --data, or --resume RUN")
    folder = _resume_folder(cfg, options)
    with _enter_origin(folder, options) as folder, process_group(_choose_device(folder, options)):
        if options["dry_run"]:
            _dry_run(cfg, folder, options)
            return
        outcome = _run_training(cfg, folder, options)
        _save_final_plots(outcome)
        first = this_process().rank == 0
        if first and options["report"]:
            try_report(outcome.folder)
    _report_end(outcome, first=first, as_json=options["as_json"])


def _held_dialect(checkpoint: str) -> str | None:
    """The dialect of the cfg in a checkpoint; the run's own copy of the cfg does not state it."""
    from yolor_cfg.weights.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint).dialect


def _make_options(cfg: str | None, options: dict[str, Any]) -> TrainOptions:
    from yolor_cfg.train.settings import LISTS_OF_PATHS, TrainOptions

    if not cfg:
        raise click.UsageError("give CFG and --data")
    if options["task"] is not None:
        _prepare_task(options)
    same = {name: value for name, value in options.items() if name not in CLI_ONLY_OPTIONS}
    same |= {name: unpack_single(options[name]) for name in LISTS_OF_PATHS}
    return TrainOptions(cfg=cfg, img_size=options["size"], **same)


def _prepare_task(options: dict[str, Any]) -> None:
    """What --task implies: the network of --weights as it is, and only its implicit knowledge learns, by
    AdamW at a rate for it alone, with an update after each batch."""
    from yolor_cfg.weights.tasks import check_task_name

    check_task_name(options["task"])
    if not options["weights"]:
        raise click.UsageError("--task adds to a network that is trained: give its --weights")
    options["train_only"] = "implicit"
    usual = {"hyp": "task", "optimizer": "adamw", "batch_size": TASK_BATCH}
    options |= {name: options[name] or value for name, value in usual.items()}
    options["update_batch"] = options["update_batch"] or options["batch_size"]


def _run_training(cfg: str | None, folder: Path | None, options: dict[str, Any]) -> TrainResult:
    from yolor_cfg.train.run import resume_run, start_run

    bar = _ProgressBar(hidden=is_on("quiet") or options["as_json"])
    drawing = _make_drawing()._replace(show_progress=bar.show)
    try:
        if folder is not None:
            _warn_unused_options(cfg, folder, options)
            return resume_run(folder, drawing=drawing, say=bar.say)
        said = _make_options(cfg, options)
        return start_run(said, project=options["project"], name=options["name"], drawing=drawing, say=bar.say)
    finally:
        bar.close()


def _resume_folder(cfg: str | None, options: dict[str, Any]) -> Path | None:
    """The folder of the run to resume; None for a new run."""
    from yolor_cfg.train.record import load_options

    if options["resume"]:
        return _find_run_folder(options["resume"], options["project"])
    # When a process fails, torchrun restarts all of them with the same command line.
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    said = _make_options(cfg, options)
    folders = [state.parents[1] for state in _find_checkpoints(options["project"])]
    return next((folder for folder in reversed(folders) if _is_run_of(said, load_options(folder))), None)


def _is_run_of(said: TrainOptions, begun: TrainOptions) -> bool:
    """Whether a run was begun with these options; `auto` was recorded as the precision that it stood for."""
    return begun == (said._replace(precision=begun.precision) if said.precision == "auto" else said)


@contextmanager
def _enter_origin(folder: Path | None, options: dict[str, Any]) -> Iterator[Path | None]:
    """Work in the folder where the run was started, if its data are found from there alone."""
    from yolor_cfg.train.origin import find_origin
    from yolor_cfg.train.record import load_options

    origin = Path.cwd() if folder is None else find_origin(folder, load_options(folder))
    if folder is None or origin == Path.cwd():
        yield folder
        return
    _print_first_process(f"note: paths are those of {origin}, where the run was started")
    options["project"] = os.path.abspath(options["project"])
    folder = folder.resolve()
    with chdir(origin):
        yield folder


def _choose_device(folder: Path | None, options: dict[str, Any]) -> str:
    from yolor_cfg.train.record import load_options

    return str(options["device"]) if folder is None else load_options(folder).device


def _warn_unused_options(cfg: str | None, folder: Path, options: dict[str, Any]) -> None:
    """A run resumes with its original options: warn of others given with --resume, which have no effect."""
    from click.core import ParameterSource

    from yolor_cfg.train.record import load_options

    begun, source = load_options(folder), click.get_current_context().get_parameter_source
    said = _make_options(cfg or begun.cfg, options)
    given = [
        name
        for name in said._fields
        if source("size" if name == "img_size" else name) is ParameterSource.COMMANDLINE
    ]
    unused = [name.replace("_", "-") for name in given if getattr(said, name) != getattr(begun, name)]
    if unused:
        _print_first_process(
            f"note: ignored: {', '.join(unused)}; a resumed run keeps the options in {folder}/args.yaml"
        )


def _save_final_plots(outcome: TrainResult) -> None:
    """Save the final plots of a run that was not ended by a signal."""
    from yolor_cfg.parallel import this_process
    from yolor_cfg.report.figures import NO_CHARTS, can_draw
    from yolor_cfg.report.training import save_labels, try_best_plots
    from yolor_cfg.train.journal import add_tests

    if outcome.ending.reason not in SIGNAL_EXIT_CODES:
        tests = try_best_plots(outcome.folder, outcome.job, say=_print_first_process)
        if this_process().rank == 0:
            add_tests(outcome.folder, tests)
            save_labels(outcome.folder, outcome.job.dataset)
    if not can_draw():
        _print_first_process(f"{NO_CHARTS}the numbers are in the folder's .csv files")


def _find_run_folder(run: str, project: str) -> Path:
    """The named folder, or the one with the most recent checkpoint."""
    from yolor_cfg.errors import DataError

    if run != NEWEST_RUN:
        is_file = Path(run).suffix == ".pt" and not Path(run).is_dir()  # the checkpoint itself, as in YOLOR
        return Path(os.path.normpath(Path(run).parent / "..")) if is_file else Path(run)
    states = _find_checkpoints(project)
    if not states:
        raise DataError("no run to resume", path=project)
    return states[-1].parents[1]


def _find_checkpoints(project: str) -> list[Path]:
    """The last checkpoint of each run there, newest last."""
    return sorted(Path(project).glob("*/weights/last.pt"), key=lambda path: path.stat().st_mtime)


def _make_drawing() -> TrainDrawing:
    from yolor_cfg.report.batch_sheet import contact_sheet
    from yolor_cfg.report.training import plot_results
    from yolor_cfg.train.logger import TrainDrawing

    return TrainDrawing(contact_sheet, plot_results, command=command_line())


class _ProgressBar:
    """On a terminal, the progress of an epoch; messages replace the bar."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden = True if hidden else None  # None: hidden if standard error is not a terminal
        self.bar: Any = None

    def show(self, progress: Progress) -> None:
        """Update the bar after a batch."""
        from tqdm import tqdm

        done, count = progress.done, progress.of
        if self.bar is None:
            self.bar = tqdm(
                total=count,
                initial=done - 1,
                unit="batch",
                leave=False,
                disable=self.hidden,
            )
        self.bar.set_description_str(progress.place, refresh=False)
        self.bar.set_postfix_str(f"loss {progress.loss:.4g}", refresh=False)
        self.bar.update(done - self.bar.n)
        if done == count:
            self.close()

    def say(self, text: str) -> None:
        """Print a message in place of the bar, which the next batch brings back."""
        self.close()
        _print_first_process(text)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None


def _print_first_process(text: str) -> None:
    from yolor_cfg.parallel import this_process

    if not is_on("quiet") and this_process().rank == 0:
        echo(text, err=True)


def _dry_run(cfg: str | None, folder: Path | None, options: dict[str, Any]) -> None:
    from yolor_cfg.parallel import this_process
    from yolor_cfg.train.run import dry_run, dry_run_resumed

    places = {"project": options["project"], "name": options["name"]}
    drawing, say = _make_drawing(), _print_first_process
    if folder is None:
        new = dry_run(_make_options(cfg, options), **places, drawing=drawing, say=say)
    else:
        _warn_unused_options(cfg, folder, options)
        new = dry_run_resumed(folder, **places, drawing=drawing, say=say)
    say(f"the first batches are in {new}")
    if options["as_json"] and this_process().rank == 0:
        print_json({"folder": str(new)})


def _report_end(outcome: TrainResult, *, first: bool, as_json: bool) -> None:
    """The final message: the results, or how to resume."""
    state, folder = outcome.state, outcome.folder
    if as_json and first:
        print_json(
            {
                "folder": str(folder),
                "ending": outcome.ending.reason,
                "best_epoch": state.best_epoch + 1 or None,
                "best_AP": state.best_ap,
                "updates": state.updates,
                "rows": state.rows,
            }
        )
    if outcome.ending.reason in SIGNAL_EXIT_CODES:
        text = f"stopped after update {state.updates}; resume with: yolor train --resume {shell_word(folder)}"
        code = SIGNAL_EXIT_CODES[outcome.ending.reason]
        raise CommandError(text, code) if first else click.exceptions.Exit(code)
    if not first:
        return
    if outcome.ending.reason == "patience":
        print_stderr(f"AP has not improved since epoch {state.best_epoch + 1}", "yellow")
    _print_first_process(f"results saved to {folder}")
