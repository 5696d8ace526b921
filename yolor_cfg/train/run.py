"""A training run and its folder: options, results per epoch, sample batches, weights.

The folder has args.yaml, env.json, model.cfg, results.csv, metrics.jsonl, results.png, train_batch*.jpg and
weights/{last.pt, best.pt, best.weights}. last.pt has everything needed to resume. A large network that learns
too is in weights/{last_large.pt, best_large.pt}, for use; to resume it is in last.pt, so that no state of one
network ever meets another state of the other.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from yolor_cfg import graph as graphs
from yolor_cfg.engines.machine import describe_machine, describe_processes
from yolor_cfg.errors import CfgError, WeightsError, YolorError, count_of, describe_fault
from yolor_cfg.evaluate.ground_truth import problem_lines
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.model import Network
from yolor_cfg.ops.devices import find_device
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.parallel import broadcast_object, local_device, this_process
from yolor_cfg.runs import clean_run, folder_lock, save_image, save_text, trial_folder
from yolor_cfg.train.dist import convert_sync_batchnorm
from yolor_cfg.train.event_log import open_events
from yolor_cfg.train.freezing import freeze, set_deterministic
from yolor_cfg.train.hyperparameters import unused_hyperparameters
from yolor_cfg.train.identities import add_learner
from yolor_cfg.train.job_facts import describe_job
from yolor_cfg.train.joint import JointTeacher, add_feature_maps, pair_heads, watch_features
from yolor_cfg.train.journal import Journal, Printer
from yolor_cfg.train.layout import join_norms, use_channels_last, widen_heads
from yolor_cfg.train.logger import LAST, SHEETS, RunLogger, StopSignal, TrainDrawing, describe_course
from yolor_cfg.train.loop import Ending, train
from yolor_cfg.train.loss import NonFiniteLoss, initialize_biases
from yolor_cfg.train.losses.terms import LEARNED, TERMS, LossTerms
from yolor_cfg.train.memory import keep_freed_memory
from yolor_cfg.train.optim import ModelEMA, build_optimizer, darknet_ema_decay, ema_decay, parameter_groups
from yolor_cfg.train.origin import CFG, ENVIRONMENT, FOLDER, MODEL, read_run_cfg
from yolor_cfg.train.precision import EXACT, choose_precision, describe_precision
from yolor_cfg.train.record import ARGS, load_options
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, prepare_job
from yolor_cfg.train.state import TrainState, load_state, saved_large, saved_names
from yolor_cfg.train.teacher import add_large, open_teacher
from yolor_cfg.train.transfer import WeightsLoader, plan_weights, restore_learner
from yolor_cfg.train.updates import apply_rules, rate_factors
from yolor_cfg.weights.loading import read_graph

NEVER = 2**31 - 1
"""More updates than any training has."""
MAX_WARNINGS = 20
"""The most warnings about the cfg that are printed."""


class TrainResult(NamedTuple):
    """The folder of the run, how it ended, its final state, and its job."""

    folder: Path
    ending: Ending
    state: TrainState
    job: Job


def start_run(
    options: TrainOptions, *, project: str, name: str, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    """Start a new run in a new folder."""
    keep_freed_memory()
    options = choose_precision(options)
    torch.manual_seed(options.seed)
    set_deterministic(options)
    journal = Journal(say, drawing.command)
    job = add_large(prepare_job(options, graph=_read_graph(options)))
    report_faults(job, journal.say)
    state = build_state(job, say=journal.say)
    say(describe_precision(options))
    say(describe_course(job))
    with _new_run_folder(project, name) as folder, _sole_use(folder):
        if this_process().rank == 0:
            save_run_info(folder, job)
        return _run_training(folder, job, state, drawing=drawing, journal=journal)


def _read_graph(options: TrainOptions) -> Graph:
    reading = ReadOptions(options.dialect, options.img_size, strict=options.strict)
    return read_graph(options.cfg, reading)


@contextmanager
def _new_run_folder(project: str, name: str) -> Iterator[Path]:
    """A new folder for all processes; it goes if the run fails before there is anything to resume."""
    is_first = this_process().rank == 0
    with trial_folder(project, name, proof=LAST) if is_first else nullcontext(Path()) as folder:
        yield Path(broadcast_object(str(folder)))


def resume_run(folder: Path, *, drawing: TrainDrawing, say: Printer) -> TrainResult:
    """Resume a run in its folder where it stopped, with its original options; refused while it is running."""
    keep_freed_memory()
    options = load_options(folder)
    with _sole_use(folder):
        if this_process().rank == 0:
            clean_run(folder)
        return _resume_training(folder, options, drawing=drawing, say=say)


def _resume_training(
    folder: Path, options: TrainOptions, *, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    journal = Journal(say, drawing.command)
    job, state = _load_run(folder, options, journal.say)
    if state.epoch >= job.epochs:
        say(f"{folder} is finished: all of its {count_of(job.epochs, 'epoch')} are done")
    else:
        say(f"resuming {folder} after batch {state.batch} of epoch {state.epoch + 1}")
    return _run_training(folder, job, state, drawing=drawing, journal=journal)


def _load_run(folder: Path, options: TrainOptions, say: Printer) -> tuple[Job, TrainState]:
    """The job and the last state of a run."""
    torch.manual_seed(options.seed)
    set_deterministic(options)
    reading = ReadOptions(options.dialect, options.img_size, strict=options.strict)
    graph = _read_run_graph(folder, options, reading)
    job = prepare_job(options, graph=graph, names=saved_names(folder / LAST))
    job = add_large(job, saved_large(folder / LAST) if options.joint_learns else None)
    report_faults(job, say)
    state = build_state(job, say=say, starts=False)
    load_state(state, folder / LAST)
    return job, state


def report_faults(job: Job, say: Printer) -> None:
    """Print the warnings about the cfg and the problems of the data."""
    graphs_of_it = [job.graph] if job.large is None else [job.graph, job.large.graph]
    warnings = [str(fault) for graph in graphs_of_it for fault in (*graph.warnings, *graph.unused_keys())]
    more = [f"{len(warnings)} warnings in all, yolor cfg check lists them"] if warnings[MAX_WARNINGS:] else []
    problems = [line for dataset in (job.dataset, job.holdout) for line in problem_lines(dataset)]
    unused = unused_hyperparameters(job.options)
    foreign = [f"{job.options.hyp}: no effect here: {', '.join(unused)}"] if unused else []
    for line in [*warnings[:MAX_WARNINGS], *more, *foreign, *problems]:
        say(line)


def build_state(job: Job, *, say: Printer, starts: bool = True) -> TrainState:
    """The state before the first batch; with `starts` False weights are not set, as a saved state follows."""
    options = job.options
    weights = _plan_weights(job) if starts else None  # a file that does not fit costs no network
    network = Network(job.graph)
    if starts:
        initialize_biases(network)
    _load_weights(network, weights, options, say=say)
    device = find_device(local_device(options.device))
    network.to(device)
    use_channels_last(network)
    join_norms(network)
    if options.precision != EXACT:
        widen_heads(network)
    if options.sync_bn:
        convert_sync_batchnorm(network)
    freeze(network, options)
    apply_rules(network)
    add_learner(network, job.identities)
    if options.loss_weights == LEARNED:
        network.add_module(TERMS, LossTerms(job.terms).to(device))
    large = None if job.large is None else _build_large(job.large, say=say, starts=starts)
    if large is None:
        teacher = open_teacher(options, job.graph, job.dataset.names)
    else:
        pairs = pair_heads(job.graph, large.network.graph)
        teacher = JointTeacher(large.network, pairs, options.joint_align, learns=True)
    add_feature_maps(network, teacher)
    if starts:
        restore_learner(network, options.weights)
    factors = rate_factors(network)
    optimizer = build_optimizer(parameter_groups(network), job.optimizer, factors=factors)
    if job.is_darknet:
        for group in optimizer.param_groups:
            group.update({"nesterov": False} if "nesterov" in group else {})
    ema = ModelEMA(network, decay=_choose_ema_decay(job)) if job.ema else None
    return TrainState(network, ema, optimizer, _build_scaler(job, device), teacher, large)


def _build_large(job: Job, *, say: Printer, starts: bool) -> TrainState:
    """The state of a large network that learns too."""
    if starts:
        image, origin = job.graph.image, job.options.weights or "nothing"
        say(f"{job.options.cfg} learns too, from {origin}, on images of {image.height}x{image.width}")
    return build_state(job, say=say, starts=starts)


def _choose_ema_decay(job: Job) -> Callable[[int], float]:
    """YOLOR's, or in Darknet's recipe that of `ema_alpha`."""
    alpha = job.graph.net.ema_alpha
    return darknet_ema_decay(alpha, job.iterations) if job.is_darknet and alpha else ema_decay


def _build_scaler(job: Job, device: torch.device) -> torch.amp.GradScaler:
    """For half precision; `loss_scale` of [net] is constant, as in C Darknet."""
    enabled, scale = job.options.precision == "fp16", job.graph.net.loss_scale
    if scale == 1:
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.amp.GradScaler(device.type, init_scale=scale, growth_interval=NEVER, enabled=enabled)


def _load_weights(
    network: Network, weights: WeightsLoader | None, options: TrainOptions, *, say: Printer
) -> None:
    """Load the weights of the user, if any, and say what was taken of them."""
    if weights is None:
        return
    taken = weights(network)
    for line in taken.describe():
        say(f"{options.weights}: {line}")
    own = {number for number, layer in enumerate(network.module_list) if isinstance(layer, ImplicitModel)}
    if options.task and {*taken.partial, *taken.fresh} - own:
        raise WeightsError(
            "a task is added to a network that is whole",
            path=options.weights or "",
            found="layers that the file does not have, or not in these sizes",
            hint="give the weights of this very cfg; its number of classes has to be that of the data",
        )


def _plan_weights(job: Job) -> WeightsLoader | None:
    """What loads the weights given by the user, if any."""
    options, names = job.options, job.dataset.names
    if not options.weights:
        return None
    by_number = options.by_number or options.task is not None
    return plan_weights(job.graph, options.weights, names=names, cutoff=options.cutoff, by_number=by_number)


def _read_run_graph(folder: Path, options: TrainOptions, reading: ReadOptions) -> Graph:
    """The graph of a run's cfg, at its first path; what is wrong with the run's file is told of that file."""
    try:
        return graphs.build_graph(read_run_cfg(folder, options), reading)
    except CfgError:
        graphs.load_graph(folder / MODEL, reading)
        raise


def save_run_info(folder: Path, job: Job) -> None:
    """Write args.yaml, env.json and model.cfg."""
    (folder / "weights").mkdir(exist_ok=True)
    save_text(folder / ARGS, yaml.safe_dump(job.options.to_dict(), sort_keys=False))
    record = {CFG: str(Path(job.graph.path).absolute()), **environment()}
    save_text(folder / ENVIRONMENT, json.dumps(record, indent=1) + "\n")
    save_text(folder / MODEL, job.graph.document.text)


def environment() -> dict[str, Any]:
    """The software and hardware of the run, and the folder from which its paths lead to its data."""
    return {FOLDER: str(Path.cwd()), **describe_machine(), **describe_processes()}


@contextmanager
def _sole_use(folder: Path) -> Iterator[None]:
    """Raise YolorError, in every process, if another training writes to this folder."""
    with folder_lock(folder) if this_process().rank == 0 else nullcontext(True) as has_it:
        if not broadcast_object(has_it):
            hint = "wait until it ends, or start a new run with --weights"
            raise YolorError("another process is training this run", path=str(folder), hint=hint)
        yield


def _run_training(
    folder: Path, job: Job, state: TrainState, *, drawing: TrainDrawing, journal: Journal
) -> TrainResult:
    stop = StopSignal()
    with (
        _noting_faults(journal, folder),
        open_events(folder, job.options, updates=state.updates) as events,
    ):
        logger = RunLogger(folder, job, drawing=drawing, journal=journal, stop=stop, events=events)
        if this_process().rank == 0:
            journal.open(folder, describe_job(job), epoch=state.epoch)
        with stop.listen(), watch_features(state.teacher, state.network):
            ending = train(job, state, logger)
    if ending.reason == "interrupted" and stop.signal == signal.SIGTERM:
        ending = Ending("terminated")
    journal.close(ending.reason)
    return TrainResult(folder, ending, state, job)


@contextmanager
def _noting_faults(journal: Journal, folder: Path) -> Iterator[None]:
    """Note what ends the run before its time."""
    try:
        yield
    except BaseException as fault:
        if isinstance(fault, NonFiniteLoss) and (folder / LAST).exists():
            fault.hint += f"; the last good state is {folder / LAST}"
        journal.close(describe_fault(fault))
        raise


def dry_run(options: TrainOptions, *, project: str, name: str, drawing: TrainDrawing, say: Printer) -> Path:
    """Prepare everything and draw the first batches into a new folder, without training."""
    options = choose_precision(options)
    job = add_large(prepare_job(options, graph=_read_graph(options)))
    report_faults(job, say)
    build_state(job, say=say)
    say(describe_precision(options))
    say(describe_course(job))
    with trial_folder(project, name) as folder:
        draw_first_batches(folder, job, drawing)
    return folder


def dry_run_resumed(folder: Path, *, project: str, name: str, drawing: TrainDrawing, say: Printer) -> Path:
    """Prepare to resume a run, which is left alone, and draw its next batches into a new folder."""
    job, state = _load_run(folder, load_options(folder), say)
    say(f"{folder} would go on after batch {state.batch} of epoch {state.epoch + 1}")
    done, start = divmod(state.batch, job.per_epoch)
    with trial_folder(project, name) as new:
        draw_first_batches(new, job, drawing, epoch=state.epoch + done, start=start)
    return new


def draw_first_batches(
    folder: Path, job: Job, drawing: TrainDrawing, *, epoch: int = 0, start: int = 0
) -> None:
    """Save the first batches from there on as images."""
    batches = job.find_phase(epoch).loader.epoch(epoch, start=start)
    for number, batch in zip(range(SHEETS), batches, strict=False):
        save_image(folder / f"train_batch{number}.jpg", drawing.draw_batch(batch, job.dataset.names))
