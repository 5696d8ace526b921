"""From what the user says and the cfg to all that the loop goes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from yolor_cfg import graph as graphs
from yolor_cfg.data.augment.darknet import DarknetTransform, last_head, read_augmentation, read_random_sizes
from yolor_cfg.data.augment.sizes import RandomSizes
from yolor_cfg.data.augment.yolor import (
    HYP_PRESETS,
    NINE,
    YolorHyperparameters,
    YolorTransform,
    parse_hyperparameters,
)
from yolor_cfg.data.classes import match_classes
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader, Shard
from yolor_cfg.data.rect import RectRules
from yolor_cfg.data.samplers import BatchSampler, RectBatchSampler, ShuffledBatchSampler
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import (
    Dataset,
    LabelChecks,
    SplitName,
    Transform,
)
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.images.orientation import orientation_rule
from yolor_cfg.images.types import Size
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.parallel import all_reduce, local_batch_size, this_process
from yolor_cfg.train.loss import LossRules
from yolor_cfg.train.schedule import NOMINAL_BATCH, Cosine, CosineHyperparameters, Policy, Rates, Schedule
from yolor_cfg.train.settings import TrainOptions

DEFAULT_EPOCHS = 300
PAPER_FIRST, PAPER_ALL = 300, 450
WARM_PART = 10
"""The warm-up takes at most this part of a training: of short ones its least of 1000 batches would be all."""
MULTI_SCALE = 0.5
SIZE_SEED = 0x517E
"""Keeps the random sizes apart from other random numbers."""
GIGABYTE = 10**9


class Phase(NamedTuple):
    """From epoch `start` on batches come from here, and the rates from there."""

    start: int
    loader: Loader
    schedule: Schedule


@dataclass(frozen=True)
class Job:
    """What a training does. `count` batches in all, `per_epoch` in an epoch, `batch_size` images in each,
    over all processes. `averages_loss` as Darknet does: gradients are means over the images of an update."""

    options: TrainOptions
    graph: Graph
    dataset: Dataset
    holdout: Dataset
    phases: tuple[Phase, ...]
    rules: LossRules
    batch_size: int
    per_epoch: int
    count: int
    is_darknet: bool
    has_mean_loss: bool
    optimizer: dict[str, Any]
    ema: bool

    @property
    def epochs(self) -> int:
        """The last of them may be a part of one."""
        return math.ceil(self.count / self.per_epoch)

    def find_phase(self, epoch: int) -> Phase:
        """What holds in this epoch."""
        return [phase for phase in self.phases if phase.start <= epoch][-1]

    def is_update_due(self, batch: int, rates: Rates) -> bool:
        """Whether the weights are updated after this batch: YOLOR's when its number is a multiple, the first
        one therefore; Darknet's when all of its parts are done."""
        return (batch + self.is_darknet) % rates.accumulate == 0


class JobInputs(NamedTuple):
    """What both recipes start from."""

    options: TrainOptions
    graph: Graph
    images: ImageStore
    sizes: np.ndarray
    batch_size: int

    @property
    def size(self) -> Size:
        """Of the input."""
        return self.graph.image.height, self.graph.image.width

    @property
    def image_count(self) -> int:
        """How many pictures there are."""
        return len(self.images.samples)


def prepare_job(options: TrainOptions, *, graph: Graph | None = None, names: Sequence[str] = ()) -> Job:
    """The whole job; every fault of the user's shows here, before any time is spent. `names` are the classes
    of the run that goes on."""
    graph = graph or graphs.load_graph(
        options.cfg, ReadOptions(options.dialect, options.img_size, strict=options.strict)
    )
    _refuse_contradictions(options)
    last_head(graph)
    dataset, holdout = _data(options, graph, "train"), _data(options, graph, "val")
    by_number = options.by_number
    dataset = match_classes(dataset, names, source="the run", by_number=by_number)
    holdout = match_classes(holdout, dataset.names, source="the training split", by_number=by_number)
    if not len(dataset.samples):
        raise DataError("no pictures to train on", path=dataset.origin)
    batch_size = options.batch_size or max(1, graph.net.batch // graph.net.subdivisions)
    local_batch_size(batch_size)
    pictures = ImageStore(
        dataset.samples,
        channels=graph.image.channels,
        substitutes=True,
        strict=options.strict,
        cache_bytes=int(options.cache * GIGABYTE),
    )
    sizes = np.array([sample.size for sample in dataset.samples], np.int32)
    basis = JobInputs(options, graph, pictures, sizes, batch_size)
    kind = options.recipe or ("yolor" if graph.dialect.is_yolor else "darknet")
    parts = (_darknet_parts if kind == "darknet" else _yolor_parts)(basis)
    ema = options.ema if options.ema is not None else kind != "darknet" or graph.net.ema_alpha > 0
    return Job(
        options,
        graph,
        dataset,
        holdout,
        batch_size=batch_size,
        is_darknet=kind == "darknet",
        has_mean_loss=getattr(graph.heads[-1].section, "loss_kind", "") != "yolor",
        ema=ema,
        **parts,
    )


def _refuse_contradictions(options: TrainOptions) -> None:
    if options.precision == "fp16" and not options.device.startswith("cuda"):
        raise CfgError("fp16 is for CUDA", found=f"--device {options.device}", allowed="fp32, bf16")
    if options.rect and this_process().world_size > 1:
        raise CfgError(
            "rectangular batches are not all of one length, so one process must have them",
            found=f"--rect with {this_process().world_size} processes",
        )
    if options.epochs and options.max_batches:
        raise CfgError("give --epochs or --max-batches, not both")


def _data(options: TrainOptions, graph: Graph, split: SplitName) -> Dataset:
    orientation_rule.ignores = options.ignore_orientation
    checks = LabelChecks(options.fix_labels, options.strict)  # type: ignore[arg-type]
    return open_data(options.data, split=split, classes=graph.classes or None, checks=checks)


def hyperparameters(options: TrainOptions, graph: Graph) -> YolorHyperparameters:
    """By the name of a recipe, from a file, or by the size of the input where neither is given."""
    if options.hyp and options.hyp in HYP_PRESETS:
        return HYP_PRESETS[options.hyp]
    if options.hyp:
        with open(options.hyp, encoding="utf-8") as file:
            values = yaml.safe_load(file)
        if not isinstance(values, dict):
            raise DataError("not a file of hyperparameters", path=options.hyp, allowed="name: number")
        return parse_hyperparameters(values, options.hyp)
    if options.recipe == "paper":
        return HYP_PRESETS["paper"]
    return HYP_PRESETS["scratch1280" if graph.image.width > 640 else "scratch640"]


def _yolor_parts(basis: JobInputs) -> dict[str, Any]:
    """YOLOR's way: mosaics, cosine, updates of 64 images.

    Its loss is a sum over them, so that with fewer images in an update the step becomes smaller as well.
    """
    options = basis.options
    images = options.update_batch or NOMINAL_BATCH
    hyp = hyperparameters(options, basis.graph)
    if options.rect:
        hyp = hyp._replace(mosaic=0.0)
    paper = options.recipe == "paper"
    plan = _build_sampler(basis, multi_scale_sizes(basis))
    per_epoch = len(plan.batches(0))
    nominal = max(round(images / basis.batch_size), 1)
    epochs = options.epochs or (PAPER_ALL if paper else DEFAULT_EPOCHS)
    count = options.max_batches * nominal if options.max_batches else epochs * per_epoch
    epochs = math.ceil(count / per_epoch)
    spans = ((0, 4, epochs),)
    if paper:
        first = round(epochs * PAPER_FIRST / PAPER_ALL)
        spans = ((0, 4, max(first, 1)), (first, NINE, epochs))  # type: ignore[assignment]
    as_if = max(1, round(basis.batch_size * NOMINAL_BATCH / images))  # the schedule's updates have 64
    phases = []
    for start, tiles, end in spans:
        recipe = YolorTransform(hyp, basis.size, basis.image_count, tiles)
        schedule = Cosine(
            limit_warmup(hyp, batches=count, per_epoch=per_epoch),
            epochs=end,
            batches=per_epoch,
            batch_size=as_if,
        )
        phases.append(Phase(start, _build_loader(basis, recipe, plan), schedule))
    rules = LossRules(
        hyp.box, hyp.obj, hyp.cls, hyp.cls_pw, hyp.obj_pw, hyp.anchor_t, hyp.fl_gamma, all_reduce=all_reduce
    )
    decay = schedule.weight_decay()
    return {
        "phases": tuple(phases),
        "rules": rules,
        "per_epoch": per_epoch,
        "count": count,
        "optimizer": {"kind": options.optimizer or "sgd", "weight_decay": decay, "momentum": hyp.momentum},
    }


def limit_warmup(hyp: YolorHyperparameters, *, batches: int, per_epoch: int) -> CosineHyperparameters:
    """The recipe's rates; its warm-up of 3 epochs and 1000 batches at least is cut down to a tenth of all
    batches."""
    most = batches // WARM_PART
    recipe = CosineHyperparameters(
        hyp.lr0,
        hyp.lrf,
        hyp.momentum,
        hyp.weight_decay,
        hyp.warmup_epochs,
        hyp.warmup_momentum,
        hyp.warmup_bias_lr,
    )
    return recipe._replace(
        warmup_epochs=min(hyp.warmup_epochs, most / per_epoch),
        least_warmup=max(1, min(recipe.least_warmup, most)),
    )


def _darknet_parts(basis: JobInputs) -> dict[str, Any]:
    """C Darknet's way: the augmentation, policy and batch of [net]; `subdivisions` follow --batch-size."""
    options, net = basis.options, basis.graph.net
    parts = max(1, round((options.update_batch or net.batch) / basis.batch_size))
    per_epoch = math.ceil(basis.image_count / basis.batch_size)
    updates = options.max_batches or (0 if options.epochs else net.max_batches)
    count = updates * parts if updates else (options.epochs or DEFAULT_EPOCHS) * per_epoch
    # The policies count in these, so they are put where the policies look for them.
    net.values.update(subdivisions=parts, max_batches=math.ceil(count / parts))
    sizes = read_random_sizes(basis.graph, subdivisions=parts, seed=options.seed)
    by_number = multi_scale_sizes(basis) if sizes is None else _darknet_sizes(sizes, per_epoch)
    plan = _build_sampler(basis, by_number)
    per_epoch = len(plan.batches(0))
    recipe = DarknetTransform(read_augmentation(basis.graph), basis.size, basis.image_count)
    phase = Phase(0, _build_loader(basis, recipe, plan), Policy(net))
    momentum = net.B1 if net.adam else net.momentum
    return {
        "phases": (phase,),
        "rules": LossRules(all_reduce=all_reduce),
        "per_epoch": per_epoch,
        "count": count,
        "optimizer": {
            "kind": options.optimizer or ("adam" if net.adam else "sgd"),
            "weight_decay": net.decay,
            "momentum": momentum,
        },
    }


SizeSchedule = Callable[[int, int], Size] | None


def _darknet_sizes(sizes: RandomSizes, per_epoch: int) -> SizeSchedule:
    return lambda epoch, number: sizes.input_size(epoch * per_epoch + number)


def multi_scale_sizes(basis: JobInputs) -> SizeSchedule:
    """With --multi-scale a size for each batch from half to one and a half of the input, in whole strides."""
    if not basis.options.multi_scale:
        return None
    stride, seed = basis.graph.largest_stride, basis.options.seed

    def size_of(epoch: int, number: int) -> Size:
        rng = np.random.default_rng([SIZE_SEED, seed, epoch, number])
        gain = rng.uniform(1 - MULTI_SCALE, 1 + MULTI_SCALE)
        height, width = (max(stride, round(side * gain / stride) * stride) for side in basis.size)
        return height, width

    return size_of


def _build_sampler(basis: JobInputs, size_of: SizeSchedule) -> BatchSampler:
    options = basis.options
    if options.rect:
        rules = RectRules(max(basis.size), basis.graph.largest_stride, pad=0.0)
        return RectBatchSampler(basis.sizes, basis.batch_size, rules, options.seed)
    return ShuffledBatchSampler(basis.image_count, basis.batch_size, options.seed, size_of)


def _build_loader(basis: JobInputs, recipe: Transform, plan: BatchSampler) -> Loader:
    here = this_process()
    return Loader(
        basis.images,
        recipe,
        plan,
        basis.options.seed,
        Shard(here.rank, here.world_size),
        basis.options.workers,
    )


def set_deterministic(options: TrainOptions) -> None:
    """Make torch's own sums come in one order: always on the CPU, on a GPU when it is asked for.

    On the CPU this costs nothing that can be measured; a GPU becomes slower.
    """
    asked = options.deterministic or not options.device.startswith("cuda")
    torch.use_deterministic_algorithms(asked, warn_only=not options.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def frozen_layers(network: Network, options: TrainOptions) -> list[torch.nn.Module]:
    """The layers that do not learn, nor change their statistics: the first ones, and where implicit knowledge
    alone is trained all that hold none."""
    alone = options.train_only == "implicit"
    return [
        layer
        for number, layer in enumerate(network.module_list)
        if number < options.freeze or (alone and not isinstance(layer, ImplicitModel))
    ]


def freeze(network: Network, options: TrainOptions) -> None:
    """Take the parameters of the frozen layers out of the training; an error where none is left."""
    for layer in frozen_layers(network, options):
        layer.requires_grad_(False)
    if any(parameter.requires_grad for parameter in network.parameters()):
        return
    path, layers = network.graph.path, network.module_list
    if options.train_only and not any(isinstance(layer, ImplicitModel) for layer in layers):
        raise CfgError(
            "there is no implicit section in this network",
            path=path,
            found=f"--train-only {options.train_only}",
        )
    raise CfgError(
        "nothing is left to learn",
        path=path,
        found=f"--freeze {options.freeze}",
        allowed=f"fewer than the {len(layers)} layers, so that some with parameters are left",
    )
