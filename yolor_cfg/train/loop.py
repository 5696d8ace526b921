"""The training loop. Legend: N images of this process, C channels, H W size of the input, T targets."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from yolor_cfg.data.types import Batch, DataPart
from yolor_cfg.evaluate.forward import PRECISIONS
from yolor_cfg.evaluate.run import TEST_FAULTS, EvalSettings, evaluate_tasks
from yolor_cfg.evaluate.scores import TaskScores
from yolor_cfg.model import Network
from yolor_cfg.parallel import broadcast_buffers, this_process
from yolor_cfg.runs import LOSS_COLUMNS
from yolor_cfg.train.dist import data_parallel, sync_gradients
from yolor_cfg.train.freezing import frozen_layers
from yolor_cfg.train.identities import learner_tensors, sync_learner
from yolor_cfg.train.joint import joint_loss
from yolor_cfg.train.loss import (
    BatchLoss,
    ImageSources,
    Lessons,
    LossRules,
    NonFiniteLoss,
    detection_loss,
    loss_by_source,
)
from yolor_cfg.train.losses.terms import LossTerms
from yolor_cfg.train.optim import set_rates
from yolor_cfg.train.rejection import read_rejection
from yolor_cfg.train.schedule import Rates
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job
from yolor_cfg.train.state import COLUMNS, IMAGES_COLUMN, EpochResults, TrainState, large_column
from yolor_cfg.train.sums import add_source_sums, add_sums, reduce_losses
from yolor_cfg.train.updates import LayerUpdates, set_progress

CHANNELS_LAST = torch.channels_last
LARGEST_BYTE = 255


class Callback(Protocol):
    """Logs and saves the progress of training; it does not influence it."""

    def log_batch(self, state: TrainState, batch: Batch, losses: list[float]) -> None:
        """Called after each batch; `losses` are the total and its parts, as in LOSS_COLUMNS, per image."""

    def log_test_fault(self, state: TrainState, fault: Exception) -> None:
        """Called where the test after an epoch fails."""

    def log_epoch(self, state: TrainState, scores: TaskScores | None, *, best: bool) -> None:
        """Called after each epoch; `scores` is None unless the network was tested."""

    def save(self, state: TrainState) -> None:
        """Save the state; called in all processes."""

    @property
    def is_stop_requested(self) -> bool:
        """Whether training should stop."""


class Ending(NamedTuple):
    """Why training ended: `done`, `patience`, `interrupted` or `terminated`."""

    reason: str


class Learner(NamedTuple):
    """A network that learns: its job and state, what is called with images, the rules of its layers."""

    job: Job
    state: TrainState
    model: nn.Module
    updates: LayerUpdates


def train(job: Job, state: TrainState, callback: Callback) -> Ending:
    """Train from the given state to the end of the job, until patience runs out, or until asked to stop."""
    options = job.options
    device = next(state.network.parameters()).device
    learners = prepare_learners(job, state)
    for epoch in range(state.epoch, job.epochs):
        phase = job.find_phase(epoch)
        for batch in phase.loader.epoch(epoch, start=state.batch):
            rates = phase.schedule(state.count)
            now = job.is_update_due(state.count, rates)
            images = normalize_images(batch.images, device)  # [N, C, H, W] in 0..1
            # A large network that learns too comes first: what it predicts is a target of the small one.
            each = [learn_batch(learner, batch, images, rates=rates, now=now) for learner in learners]
            # ----------------------------------------------------------------------------------- log and save
            for learner, loss in zip(learners, each, strict=True):
                losses, stop = count_batch(learner.state, loss, len(images), stop=callback.is_stop_requested)
            callback.log_batch(state, batch, losses)
            if stop or (now and options.save_steps and state.updates % options.save_steps == 0):
                callback.save(state)
            if stop:
                return Ending("interrupted")
            if state.count >= job.count:
                break
        # -------------------------------------------------------------------------------------- test and save
        is_scored = finish_epoch(learners, callback)
        for learner in learners:
            set_train_mode(learner.state.network, learner.job.options)
        if is_scored and 0 < options.patience < state.epoch - state.best_epoch:
            return Ending("patience")
    return Ending("done")


def prepare_learners(job: Job, state: TrainState) -> list[Learner]:
    """The networks that learn, in training mode: a large one, if it learns too, then that of the job."""
    pairs = [(job, state)]
    if job.large is not None and state.large is not None:
        pairs.insert(0, (job.large, state.large))
    learners = []
    for its, own in pairs:
        others = learner_tensors(own.network)
        model = data_parallel(own.network, exact=its.options.deterministic, others=others)
        learners.append(Learner(its, own, model, LayerUpdates(own.network)))
        set_train_mode(own.network, its.options)
    return learners


def learn_batch(learner: Learner, batch: Batch, images: Tensor, *, rates: Rates, now: bool) -> BatchLoss:
    """The loss of a network for a batch, after a pass through it and back, and an update of its weights if
    that is due `now`; images [N, C, H, W] in 0..1."""
    job, state, model, updates = learner
    set_rates(state.optimizer, rates)
    set_progress(state.network, state.count // rates.accumulate * rates.accumulate / job.count)
    # ----------------------------------------------------------------------------------- forward and backward
    rules = batch_rules(job, state)
    state.network.reset()
    state.network.choose_tasks(batch_tasks(job, batch))
    with sync_gradients(model, now), autocast(images.device, job.options.precision):
        raws = model(images)  # for each head [N, A, H', W', V]
    loss = batch_loss(job, raws, batch, state=state, rules=rules)
    loss = learn_jointly(job, loss, raws, images=images, state=state)
    total = loss.total + implicit_penalty(state.network) * len(images)
    state.scaler.scale(total * loss_factor(job, rates)).backward()
    # ------------------------------------------------------------------------------------------------- update
    if now:
        sync_learner(state.network)
        check_gradients(state, rules)
        update_weights(state, updates)
    return loss._replace(total=loss.total.detach())


def count_batch(state: TrainState, loss: BatchLoss, images: int, *, stop: bool) -> tuple[list[float], bool]:
    """Count a batch and its loss: the total and its parts per image, over all processes, and whether any of
    them should stop."""
    state.count += 1
    state.batch += 1
    losses, stop = reduce_losses(loss, images=images, stop=stop)
    state.sums = add_sums(state.sums, [*losses, 1.0])
    state.source_sums = add_source_sums(state.source_sums, loss)
    return losses, stop


def batch_loss(
    job: Job, raws: list[Tensor], batch: Batch, *, state: TrainState, rules: LossRules
) -> BatchLoss:
    """The loss of a batch, by what its data sets label."""
    targets = batch.targets if job.dataset.has_boxes else None
    who = None if job.identities is None else job.identities.number(batch.identities)
    if job.dataset.parts:
        assert batch.sources is not None
        lessons = Lessons(targets, batch.truth, who)
        sources = ImageSources(batch.sources, job.dataset.parts)
        return loss_by_source(raws, lessons, state.network, rules=rules, sources=sources)
    return detection_loss(raws, targets, state.network, rules=rules, truth=batch.truth, identities=who)


def learn_jointly(
    job: Job, loss: BatchLoss, raws: list[Tensor], *, images: Tensor, state: TrainState
) -> BatchLoss:
    """The loss with what the large network says of the images, if there is one."""
    if state.teacher is None:
        return loss
    with autocast(images.device, job.options.precision):
        found = joint_loss(state.teacher, state.network, raws, images=images, rules=job.rules)
    more = found.predictions + found.features
    return loss._replace(
        total=loss.total + more, joint=more.detach() / (len(images) * this_process().world_size)
    )


def batch_tasks(job: Job, batch: Batch) -> tuple[str, ...]:
    """The task of each image, "" for none in particular; nothing where the network has no tasks."""
    if not job.graph.tasks or batch.sources is None or not job.dataset.parts:
        return ()
    return tuple(job.dataset.parts[source].task for source in batch.sources.tolist())


def update_weights(state: TrainState, updates: LayerUpdates) -> None:
    """Update the weights by their gradients, as far as the layers allow it."""
    held = updates.prepare_gradients(state.updates)
    if any(p.grad is not None for p in state.network.parameters()):
        state.scaler.step(state.optimizer)
        state.scaler.update()
    updates.limit_weights(state.updates)
    state.optimizer.zero_grad(set_to_none=True)
    for parameter, gradient in held.items():
        parameter.grad = gradient
    state.count_update()


def finish_epoch(learners: list[Learner], callback: Callback) -> bool:
    """Test the networks if a test is due, record the results, and save the state; it is saved before the test
    as well, so that no fault in the test costs the work of the epoch. Returns whether there are scores."""
    job, state = learners[-1].job, learners[-1].state
    for learner in learners:
        broadcast_buffers(learner.state.network)
    scores: list[TaskScores | None] = [None] * len(learners)
    if is_tested(job, state.epoch, last=state.epoch + 1 >= job.epochs):
        callback.save(state)
        scores = try_test(learners, callback)
    bests = [close_epoch(*pair) for pair in zip(learners, scores, strict=True)]
    callback.log_epoch(state, scores[-1], best=bests[-1])
    # Last: a run killed before this resumes within this epoch, and tests and logs it again.
    callback.save(state)
    return scores[-1] is not None


def close_epoch(learner: Learner, scores: TaskScores | None) -> bool:
    """Record the results of an epoch and come to the next one; whether they are the best so far."""
    job, state = learner.job, learner.state
    epoch, last = state.epoch, state.epoch + 1 >= job.epochs
    best = scores.ranking > state.best_ap if scores is not None else last and not len(job.holdout.samples)
    if best:
        state.best_ap, state.best_epoch = scores.ranking if scores is not None else state.best_ap, epoch
    state.rows = [*state.rows, summarize_epoch(job, state, scores)]
    state.epoch, state.batch, state.sums, state.source_sums = epoch + 1, 0, [0.0] * len(state.sums), []
    return best


def try_test(learners: list[Learner], callback: Callback) -> list[TaskScores | None]:
    """The scores of each network, or None if a test fails: that is told, and training goes on. Of several
    processes the others would wait for the one that failed, so there it is an error."""
    try:
        return [evaluate_holdout(learner.job, learner.state) for learner in learners]
    except TEST_FAULTS as fault:
        if this_process().world_size > 1:
            raise
        callback.log_test_fault(learners[-1].state, fault)
        return [None] * len(learners)


def is_tested(job: Job, epoch: int, *, last: bool) -> bool:
    """Whether the network is tested after this epoch."""
    period = job.options.val_period
    return bool(len(job.holdout.samples)) and (last or bool(period) and (epoch + 1) % period == 0)


def evaluate_holdout(job: Job, state: TrainState) -> TaskScores:
    """The scores on the validation images; as in YOLOR's training, rectangles have no extra padding."""
    if state.ema is not None:
        broadcast_buffers(state.ema.network)
    settings = EvalSettings(
        batch_size=max(1, job.batch_size // this_process().world_size),
        padding=0.0,
        precision=job.options.precision,
    )
    return evaluate_tasks(state.eval_network, job.holdout, settings=settings)


def summarize_epoch(job: Job, state: TrainState, scores: TaskScores | None) -> EpochResults:
    """The results of an epoch; epochs are counted from 1."""
    count = max(state.sums[-1], 1.0)
    rates = job.find_phase(state.epoch).schedule(state.count - 1)
    row = {"epoch": state.epoch + 1, "updates": state.updates, "lr": rates.other}
    losses = {name: value / count for name, value in zip(LOSS_COLUMNS, state.sums, strict=False)}
    row |= {name: value for name, value in losses.items() if name in learned_columns(job)}
    row |= summarize_sources(job, state)
    row |= LossTerms.values_of(state.network)
    if scores is not None:
        row |= scores.summary
    if state.large is not None:  # whose epoch is closed already
        found = {large_column(name): value for name, value in state.large.rows[-1].items()}
        row |= {name: value for name, value in found.items() if name in COLUMNS}
    return {name: float(value) for name, value in row.items()}


def summarize_sources(job: Job, state: TrainState) -> EpochResults:
    """The losses of each of several data sets per image of it, as `NAME.loss` and so on."""
    row: EpochResults = {}
    for part, (images, *sums) in zip(job.dataset.parts, state.source_sums, strict=False):
        columns = learned_columns(job, part)
        values = zip(LOSS_COLUMNS, [sum(sums), *sums], strict=False)
        found = {f"{part.name}.{name}": value / max(images, 1.0) for name, value in values if name in columns}
        row |= found
        if job.options.joint_images:
            row[f"{part.name}.{IMAGES_COLUMN}"] = images
    return row


def learned_columns(job: Job, part: DataPart | None = None) -> tuple[str, ...]:
    """The columns of the losses that this network has, or of those that one of several data sets gives."""
    if part is not None and not part.is_labeled:
        return ()
    graph = job.graph if part is None else job.graph.keep_heads(part.task)
    has_boxes = part is None or part.has_boxes
    boxes = ("box", "objectness", "classes") if graph.box_heads and has_boxes else ()
    labels = ("labels",) if graph.label_heads else ()
    identity = ("identity",) if boxes and job.identities is not None else ()
    joint = ("joint",) if part is None and job.options.joint is not None else ()
    return ("loss", *boxes, *labels, *identity, *joint)


def set_train_mode(network: Network, options: TrainOptions) -> None:
    """Training mode, except for the frozen layers, whose batch norm statistics stay fixed too."""
    network.train()
    for layer in frozen_layers(network, options):
        layer.eval()


def normalize_images(images: Tensor, device: torch.device) -> Tensor:
    """[N, C, H, W] float32 in 0..1, channels last in memory, from uint8 or from float32 in 0..1."""
    moved = images.to(device, non_blocking=True)
    floats = moved.float() / LARGEST_BYTE if moved.dtype == torch.uint8 else moved.float()
    return floats.contiguous(memory_format=CHANNELS_LAST)


def batch_rules(job: Job, state: TrainState) -> LossRules:
    """The loss rules for this batch; its own images count as seen, as in C Darknet."""
    seen = (state.count + 1) * job.batch_size
    done = state.count // job.parts
    rejection = read_rejection(job.graph.net, state.deltas, updates=done, of=job.iterations)
    place = f"batch {state.batch} of epoch {state.epoch + 1}"
    return job.rules._replace(seen=seen, rejection=rejection, batch=place)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to this precision."""
    kind = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=kind, enabled=kind is not None)


def implicit_penalty(network: Network) -> Tensor:
    """The penalty that implicit models add to the loss of each image."""
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "penalty")]
    found = [penalty for penalty in (layer.penalty() for layer in layers) if penalty is not None]
    return torch.stack(found).sum() if found else torch.zeros((), device=next(network.parameters()).device)


def loss_factor(job: Job, rates: Rates) -> float:
    """The factor on a loss summed over images: Darknet's gradients are means over the images of an update,
    YOLOR's are sums. The world size undoes the averaging of gradients over processes."""
    images = job.batch_size * rates.accumulate if job.has_mean_loss else 1
    return this_process().world_size / images


def reset_non_finite(network: Network) -> None:
    """Set numbers of gradients that are none to 0 (reset_nan_and_inf in blas_kernels.cu)."""
    for parameter in network.parameters():
        if parameter.grad is not None:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)


def check_gradients(state: TrainState, rules: LossRules) -> None:
    """Raise NonFiniteLoss, naming the first bad parameter, before a gradient corrupts the weights.

    With gradient scaling, the scaler skips such updates itself; with `try_fix_nan` such numbers become 0.
    """
    if state.network.graph.net.try_fix_nan:
        reset_non_finite(state.network)
    if state.scaler.is_enabled():
        return
    named = [(name, p.grad) for name, p in state.network.named_parameters() if p.grad is not None]
    if not named or torch.nn.utils.get_total_norm([gradient for _, gradient in named]).isfinite():
        return
    name = next((name for name, gradient in named if not gradient.isfinite().all()), named[0][0])
    nodes = state.network.graph.nodes
    section = (nodes[int(name.split(".")[1])] if name.startswith("module_list.") else nodes[-1]).section
    raise NonFiniteLoss(
        "the gradient is not a finite number",
        path=section.path,
        line=section.line,
        section=section.type,
        number=section.index,
        found=f"{name} in {rules.batch}",
        hint="try a lower learning rate, a longer warm-up, or full precision",
    )
