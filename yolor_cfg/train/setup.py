"""From the options of the user and the cfg to all that the training loop needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from yolor_cfg import graph as graphs
from yolor_cfg.data.augment.classifier import ClassifierTransform, read_classifier_augmentation
from yolor_cfg.data.augment.darknet import DarknetTransform, last_head, read_augmentation, read_random_sizes
from yolor_cfg.data.augment.yolor import NINE, YolorHyperparameters, YolorTransform
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader
from yolor_cfg.data.types import DataPart, Dataset, Integers, Transform
from yolor_cfg.data.union import whole_part
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.parallel import all_reduce, local_batch_size
from yolor_cfg.train.datasets import open_holdout_data, open_training_data
from yolor_cfg.train.feeding import (
    JobInputs,
    build_loader,
    build_sampler,
    darknet_sizes,
    find_terms,
    multi_scale_sizes,
)
from yolor_cfg.train.hyperparameters import hyperparameters, limit_warmup
from yolor_cfg.train.identities import Identities, count_identities, identity_notes
from yolor_cfg.train.loss import LossRules, check_losses
from yolor_cfg.train.losses.partial import UNLABELED
from yolor_cfg.train.losses.terms import parse_factors
from yolor_cfg.train.memory import check_batch
from yolor_cfg.train.optim import OptimizerSettings
from yolor_cfg.train.schedule import NOMINAL_BATCH, Cosine, JdeSteps, Policy, Rates, Schedule
from yolor_cfg.train.settings import TrainOptions, refuse_contradictions
from yolor_cfg.train.unlabeled import add_joint_images

DEFAULT_EPOCHS = 300
PAPER_FIRST, PAPER_ALL = 300, 450
JDE_EPOCHS = 30
GIGABYTE = 10**9


class Phase(NamedTuple):
    """From epoch `start` on, the loader of the batches and the schedule of the rates."""

    start: int
    loader: Loader
    schedule: Schedule


@dataclass(frozen=True)
class RecipePlan:
    """What a recipe determines: the phases, the settings of the loss, the number of batches per epoch, in
    total and in an update, and the optimizer."""

    phases: tuple[Phase, ...]
    rules: LossRules
    per_epoch: int
    count: int
    parts: int
    optimizer: OptimizerSettings


@dataclass(frozen=True)
class Job:
    """All about a training run: `count` batches in total, `per_epoch` in an epoch, `batch_size` images in
    each, over all processes, `parts` batches in a (nominal) update. `terms` name the kinds of loss.
    `has_mean_loss`, as in Darknet: gradients are means over the images of an update. `large` is the job of a
    large network that learns at the same time, from the same batches."""

    options: TrainOptions
    graph: Graph
    dataset: Dataset
    holdout: Dataset
    identities: Identities | None
    terms: tuple[str, ...]
    phases: tuple[Phase, ...]
    rules: LossRules
    batch_size: int
    per_epoch: int
    count: int
    parts: int
    is_darknet: bool
    has_mean_loss: bool
    optimizer: OptimizerSettings
    ema: bool
    large: Job | None = None

    @property
    def task_names(self) -> dict[str, tuple[str, ...]]:
        """The classes of each task that the data teaches."""
        return {part.task: part.names for part in self.dataset.parts if part.task}

    @property
    def epochs(self) -> int:
        """The number of epochs; the last may be incomplete."""
        return math.ceil(self.count / self.per_epoch)

    @property
    def counts_iterations(self) -> bool:
        """Whether users count iterations, not epochs: in Darknet's recipe, and by their own option."""
        return self.is_darknet or self.options.max_batches is not None

    @property
    def iterations(self) -> int:
        """The number of (nominal) updates; the last may be incomplete."""
        return math.ceil(self.count / self.parts)

    def find_phase(self, epoch: int) -> Phase:
        """The phase of this epoch."""
        return [phase for phase in self.phases if phase.start <= epoch][-1]

    def is_update_due(self, batch: int, rates: Rates) -> bool:
        """Whether the weights are updated after this batch: in YOLOR if its number is a multiple of
        `accumulate`, so after the first one too; in Darknet after the last of its subdivisions."""
        return (batch + self.is_darknet) % rates.accumulate == 0


def prepare_job(
    options: TrainOptions, *, graph: Graph | None = None, names: Mapping[str, Sequence[str]] | None = None
) -> Job:
    """The whole job; all errors of the user show here, before training starts. `names` are the classes of the
    run that is resumed, by task."""
    reading = ReadOptions(options.dialect, options.img_size, strict=options.strict)
    graph = graph or graphs.load_graph(options.cfg, reading)
    refuse_contradictions(options)
    _check_heads(graph)
    dataset = open_training_data(options, graph, names or {})
    holdout = open_holdout_data(options, graph, dataset)
    identities = count_identities(graph, dataset)
    dataset = add_joint_images(options, graph, identity_notes(dataset, identities), holdout=holdout)
    batch_size = options.batch_size or graph.net.mini_batch
    local_batch_size(batch_size)
    check_batch(batch_size, image=graph.image, image_count=len(dataset.samples))
    images = ImageStore(
        dataset.samples,
        channels=graph.image.channels,
        substitutes=True,
        strict=options.strict,
        cache_bytes=int(options.cache * GIGABYTE),
        parts=dataset.parts,
    )
    sizes = np.array([sample.size for sample in dataset.samples], np.int32)
    basis = JobInputs(options, graph, images, sizes, batch_size, dataset.parts or (whole_part(dataset),))
    kind = options.recipe or ("yolor" if graph.dialect.is_pytorch else "darknet")
    plan = (_plan_darknet if kind == "darknet" else _plan_yolor)(basis)
    ema = options.ema if options.ema is not None else kind != "darknet" or graph.net.ema_alpha > 0
    terms = find_terms(graph, basis.parts, has_identities=identities is not None)
    return Job(
        options,
        graph,
        dataset,
        holdout,
        identities,
        batch_size=batch_size,
        is_darknet=kind == "darknet",
        has_mean_loss=has_mean_loss(graph),
        ema=ema,
        phases=plan.phases,
        rules=_complete_rules(plan.rules, options, terms),
        terms=terms,
        per_epoch=plan.per_epoch,
        count=plan.count,
        parts=plan.parts,
        optimizer=plan.optimizer,
    )


def _complete_rules(rules: LossRules, options: TrainOptions, terms: tuple[str, ...]) -> LossRules:
    """The rules of a recipe with what the user says of losses."""
    factors = parse_factors(options.loss_weights, terms)
    return rules._replace(unlabeled=UNLABELED[options.unlabeled], factors=factors)


def _check_heads(graph: Graph) -> None:
    """Raise CfgError if there is nothing that can learn."""
    if graph.box_heads or not graph.heads:
        last_head(graph)
    check_losses(graph)


def _plan_yolor(basis: JobInputs) -> RecipePlan:
    """YOLOR's recipe: mosaics, a cosine schedule, updates of 64 images.

    The loss is a sum over the images of an update, so that fewer images also mean a smaller step.
    """
    options = basis.options
    jde = basis.graph.dialect.embeds
    images = options.update_batch or (basis.batch_size if jde else NOMINAL_BATCH)
    hyp = hyperparameters(options, basis.graph)
    if options.rect:
        hyp = hyp._replace(mosaic=0.0)
    paper = options.recipe == "paper"
    plan = build_sampler(basis, multi_scale_sizes(basis))
    per_epoch = len(plan.batches(0))
    nominal = max(round(images / basis.batch_size), 1)
    epochs = options.epochs or (JDE_EPOCHS if jde else PAPER_ALL if paper else DEFAULT_EPOCHS)
    count = options.max_batches * nominal if options.max_batches else epochs * per_epoch
    epochs = math.ceil(count / per_epoch)
    spans = [(0, 4, epochs)]
    if paper:
        first = round(epochs * PAPER_FIRST / PAPER_ALL)
        spans = [(0, 4, max(first, 1)), (first, NINE, epochs)]
    as_if = max(1, round(basis.batch_size * NOMINAL_BATCH / images))  # the schedule expects updates of 64
    phases = []
    for start, tiles, end in spans:
        made = _yolor_transform(basis, hyp, tiles)
        schedule = (JdeSteps if jde else Cosine)(
            limit_warmup(hyp, batches=count, per_epoch=per_epoch),
            epochs=end,
            batches=per_epoch,
            batch_size=as_if,
        )
        phases.append(Phase(start, build_loader(basis, made, plan), schedule))
    gains = (hyp.box, hyp.obj, hyp.cls, hyp.label, hyp.cls_pw, hyp.obj_pw, hyp.anchor_t, hyp.fl_gamma)
    rules = LossRules(*gains, identities=hyp.identity, all_reduce=all_reduce)
    decay = schedule.weight_decay()
    optimizer = OptimizerSettings(options.optimizer or "sgd", weight_decay=decay, momentum=hyp.momentum)
    optimizer = optimizer._replace(decays_all=jde, nesterov=not jde)
    return RecipePlan(tuple(phases), rules, per_epoch, count, nominal, optimizer)


def _plan_darknet(basis: JobInputs) -> RecipePlan:
    """C Darknet's recipe: augmentation, policy and batch of [net]; `subdivisions` follow --batch-size."""
    options, net = basis.options, basis.graph.net
    parts = max(1, round((options.update_batch or net.update_batch) / basis.batch_size))
    per_epoch = math.ceil(basis.image_count / basis.batch_size)
    updates = options.max_batches or (0 if options.epochs else net.max_batches)
    count = updates * parts if updates else (options.epochs or DEFAULT_EPOCHS) * per_epoch
    # Policies and random sizes use these.
    optimizer = darknet_optimizer(basis, images=parts * basis.batch_size)
    net = net.replace_values(
        subdivisions=parts, max_batches=math.ceil(count / parts), momentum=optimizer.momentum
    )
    graph = replace(basis.graph, net=net)
    boxes = basis.learns_boxes
    sizes = read_random_sizes(graph, subdivisions=parts, seed=options.seed) if boxes else None
    by_number = multi_scale_sizes(basis) if sizes is None else darknet_sizes(sizes, per_epoch)
    plan = build_sampler(basis, by_number)
    per_epoch = len(plan.batches(0))
    recipe = _darknet_transform(basis, graph)
    phase = Phase(0, build_loader(basis, recipe, plan), Policy(net, seed=options.seed))
    return RecipePlan((phase,), LossRules(all_reduce=all_reduce), per_epoch, count, parts, optimizer)


def _yolor_transform(basis: JobInputs, hyp: YolorHyperparameters, tiles: int) -> Transform:
    def make(part: DataPart) -> Transform:
        if not basis.is_box_part(part):
            return _classifier_transform(basis, basis.graph, part)
        return YolorTransform(hyp, basis.size, part.images, tiles)

    return basis.make_transform(make)


def _darknet_transform(basis: JobInputs, graph: Graph) -> Transform:
    def make(part: DataPart) -> Transform:
        if not basis.is_box_part(part):
            return _classifier_transform(basis, graph, part)
        return DarknetTransform(read_augmentation(graph), basis.size, part.images)

    return basis.make_transform(make)


def _classifier_transform(basis: JobInputs, graph: Graph, part: DataPart) -> Transform:
    augmentation = read_classifier_augmentation(graph)
    classes = basis.label_classes

    def classes_of(index: int) -> Integers:
        return basis.images.image_classes(part.first + index)

    return ClassifierTransform(augmentation, basis.size, part.images, classes, classes_of)


def darknet_optimizer(basis: JobInputs, *, images: int) -> OptimizerSettings:
    """SGD, or Adam where [net] or the user asks for it, with the numbers of [net].

    C's Adam (adam_update_gpu in blas_kernels.cu) goes by sums of gradients over the `images` of an update, of
    which ours are means: a factor that all but `eps` is free of. It decays biases and gains as well. Only
    convolutions have it; other sections learn by SGD, unless the user names the optimizer.
    """
    net = basis.graph.net
    kind = basis.options.optimizer or ("adam" if net.adam else "sgd")
    if kind == "sgd":
        return OptimizerSettings(kind, weight_decay=net.decay, momentum=net.momentum)
    eps = net.eps / images if has_mean_loss(basis.graph) else net.eps
    plain = net.momentum if basis.options.optimizer is None else None
    settings = OptimizerSettings(kind, net.decay, net.B1, beta2=net.B2, eps=eps, plain_momentum=plain)
    return settings._replace(decays_all=kind == "adam")


def has_mean_loss(graph: Graph) -> bool:
    """Whether gradients are means over the images of an update, as Darknet's, and not sums, as YOLOR's."""
    heads = graph.box_heads or graph.heads
    return all(head.section.loss_kind != "yolor" for head in heads[-1:])
