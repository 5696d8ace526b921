"""Runs a network on a data set and scores its detections and its image labels.

Legend: N images, D detections [D, 7] as in `ground_truth.ROW`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.data.rect import RectRules
from yolor_cfg.data.types import Dataset
from yolor_cfg.detect.memory import check_memory
from yolor_cfg.detect.nms import NmsRules, apply_nms, choose_nms
from yolor_cfg.detect.tiles import refuse_tiles
from yolor_cfg.engines.base import Engine
from yolor_cfg.errors import DataError, YolorError, check_choice
from yolor_cfg.evaluate import darknet_map
from yolor_cfg.evaluate.batches import (
    FitOptions,
    Group,
    ImagePlan,
    load_batches,
    rectangle_multiple,
    rectangle_plans,
    split_batches,
)
from yolor_cfg.evaluate.embeddings import NO_VECTORS, score_embeddings
from yolor_cfg.evaluate.forward import PRECISIONS, decode, eval_mode, is_recurrent, run_network
from yolor_cfg.evaluate.ground_truth import (
    Doubles,
    GroundTruth,
    dataset_ground_truth,
    detection_rows,
    no_detections,
)
from yolor_cfg.evaluate.known import keep_known, refuse_other_classes, sort_by_image
from yolor_cfg.evaluate.results import round_detections
from yolor_cfg.evaluate.scores import (
    DEFAULT_METRICS,
    MetricOptions,
    Scores,
    Speed,
    TaskScores,
    score_detections,
    score_label_heads,
    score_parts,
)
from yolor_cfg.evaluate.tiled import FoundInInputs, TileFinder
from yolor_cfg.evaluate.vectors import AreaVectors, object_vectors
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import PREPROCESS_CHOICES, default_preprocess, preprocess_image
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.images.tiles import TileRules
from yolor_cfg.model import Network, Predictions, check_heads
from yolor_cfg.parallel import broadcast_object, gather_objects, this_process
from yolor_cfg.weights.task_choice import network_of_task

TEST_FAULTS = (
    YolorError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a test may raise: images that went missing or are damaged, memory that runs out."""
DARKNET_MAX_DET = 1000
"""The most detections per image for Darknet's metrics; Darknet itself has no limit, but an untrained network
has a million candidates."""
NO_LABELS = np.zeros((0, 1))


class EvalSettings(NamedTuple):
    """How a network is tested; the defaults are YOLOR's.

    With None, `preprocess` and `nms` are those of the network's dialect. `rectangles` lets the letterboxes of
    the yolor dialect follow the aspect ratios of the images, with `padding` strides around (0 when YOLOR
    tests during training); without, each is padded up to a stride, or with `is_padded` to the size of the
    network, as for an exported file for one size. `darknet` runs NMS a second time, by Darknet's rules, for
    Darknet's mAP. `tiling` cuts larger images into tiles.
    """

    batch_size: int = 16
    conf: float = 0.001
    iou: float = 0.65
    max_det: int = 300
    preprocess: str | None = None
    nms: str | None = None
    rectangles: bool = True
    padding: float = 0.5
    is_padded: bool = False
    precision: str = "fp32"
    darknet: bool = False
    metric_options: MetricOptions = DEFAULT_METRICS
    tiling: TileRules | None = None


YOLOR_SETTINGS = EvalSettings()
ProgressCallback = Callable[[int], None]
RunNetwork = Callable[[Tensor], list[Tensor]]


class NetworkDetections(NamedTuple):
    """The detections [D, 7], rounded as in a results file, those by Darknet's rules, the unreadable images
    with the reasons, the speed, and of each readable image its index and the probabilities of its classes
    [N, 1 + K], without columns for classes if no head tells them, and the vectors of objects with an
    identity, as `embeddings` scores them."""

    detections: Doubles
    darknet: Doubles | None
    skipped: tuple[tuple[int, str], ...]
    speed: Speed
    labels: Doubles = NO_LABELS
    vectors: Doubles = NO_VECTORS


class _PartialDetections(NamedTuple):
    """The part of one process: number of images, detections, unreadable images, seconds per stage, labels."""

    images: int
    detections: Doubles
    darknet: Doubles
    skipped: tuple[tuple[int, str], ...]
    seconds: Doubles
    labels: Doubles = NO_LABELS
    vectors: Doubles = NO_VECTORS


def evaluate(network: Network, dataset: Dataset, *, settings: EvalSettings = YOLOR_SETTINGS) -> Scores:
    """The scores of a network's boxes on a data set. Writes no file; the network's training mode is restored.
    Each of several processes runs its share of the images, process 0 scores, and all receive the scores."""
    collected = collect_detections(network, dataset, settings=settings)
    scores = collected and score_network(
        dataset_ground_truth(dataset), collected, metric_options=settings.metric_options
    )
    everywhere: Scores = broadcast_object(scores)
    return everywhere


def evaluate_tasks(
    network: Network, dataset: Dataset, *, settings: EvalSettings = YOLOR_SETTINGS
) -> TaskScores:
    """Like `evaluate`, the scores of all that the network predicts and the data set can score; of several
    data sets those of each."""
    if dataset.parts:
        own = {part.task: network_of_task(network, part.task) for part in dataset.parts}
        return score_parts(dataset, lambda part, task: evaluate_tasks(own[task], part, settings=settings))
    collected = collect_detections(network, dataset, settings=settings)
    options = settings.metric_options
    scores = collected and score_tasks(network.graph, dataset, collected, metric_options=options)
    everywhere: TaskScores = broadcast_object(scores)
    return everywhere


def score_tasks(
    graph: Graph,
    dataset: Dataset,
    collected: NetworkDetections,
    *,
    metric_options: MetricOptions = DEFAULT_METRICS,
) -> TaskScores:
    """The scores of boxes and of image labels, as far as both the network and the data set have them."""
    boxes = None
    if graph.box_heads and dataset.has_boxes:
        boxes = score_network(dataset_ground_truth(dataset), collected, metric_options=metric_options)
    labels = score_label_heads(graph, dataset, collected.labels)
    skipped = tuple(reason for _, reason in collected.skipped)
    vectors = score_embeddings(collected.vectors) if len(collected.vectors) else None
    count = len(dataset.samples) - len(skipped)
    return TaskScores(boxes, labels, count, skipped, collected.speed, vectors)


def main_figure(graph: Graph, dataset: Dataset, collected: NetworkDetections) -> float:
    """The figure of `main_word`: COCO's AP, or that of the first head that classifies images."""
    scores = score_tasks(graph, dataset, collected)
    return scores.labels[0].ranking if scores.boxes is None else scores.boxes.ap


def score_network(
    ground: GroundTruth, collected: NetworkDetections, *, metric_options: MetricOptions = DEFAULT_METRICS
) -> Scores:
    """The scores of a network's detections; unreadable images are left out."""
    seen = ground.drop_images([image for image, _ in collected.skipped])
    scores = score_detections(
        seen, collected.detections, darknet=collected.darknet, metric_options=metric_options
    )
    skipped = tuple(reason for _, reason in collected.skipped)
    return scores._replace(speed=collected.speed, skipped=skipped, images=scores.images - len(skipped))


def collect_detections(
    network: Network,
    dataset: Dataset,
    *,
    settings: EvalSettings = YOLOR_SETTINGS,
    progress: ProgressCallback | None = None,
    engine: Engine | None = None,
) -> NetworkDetections | None:
    """The detections in all images of the data set; None in all processes but the first. `progress` is called
    with the number of images done so far. An `engine` runs the network in its own precision."""
    check_heads(network)
    refuse_other_classes(dataset, network.graph.classes, path=network.graph.path)
    check_choice(settings.precision, tuple(PRECISIONS))
    if next(network.parameters()).device.type == "cpu":
        check_memory(network.graph, min(settings.batch_size, len(dataset.samples)))
    plans, settings = _plan_images(network, dataset, settings)
    part = _detect_images(network, dataset, plans=plans, settings=settings, progress=progress, engine=engine)
    parts: list[_PartialDetections] = gather_objects(part)
    if not parts:
        return None
    images = max(1, sum(part.images for part in parts))
    speed = Speed(*(np.sum([part.seconds for part in parts], axis=0) / images * 1000).tolist())
    skipped = tuple(sorted(pair for part in parts for pair in part.skipped))
    if len(skipped) == len(dataset.samples):
        found = skipped[0][1] if skipped else "no images"
        raise DataError("no image could be read", path=dataset.origin, found=found)
    detections = keep_known([part.detections for part in parts], dataset)
    darknet = keep_known([part.darknet for part in parts], dataset) if settings.darknet else None
    labels = sort_by_image([part.labels for part in parts if len(part.labels)] or [NO_LABELS])
    vectors = sort_by_image([part.vectors for part in parts if len(part.vectors)] or [NO_VECTORS])
    return NetworkDetections(round_detections(detections), darknet, skipped, speed, labels, vectors)


def _plan_images(
    network: Network, dataset: Dataset, settings: EvalSettings
) -> tuple[list[ImagePlan], EvalSettings]:
    """This process's share of the images, and the settings as the network requires them."""
    graph = network.graph
    how = check_choice(settings.preprocess or default_preprocess(graph), PREPROCESS_CHOICES)
    if is_recurrent(network):
        settings = settings._replace(batch_size=1)
    sizes = np.array([sample.size for sample in dataset.samples], np.int32).reshape(-1, 2)
    square = graph.image.height == graph.image.width
    rectangles = settings.rectangles and not settings.tiling
    if settings.tiling:
        labels, recurrent = bool(graph.label_heads), is_recurrent(network)
        refuse_tiles(graph.path, labels=labels, is_recurrent=recurrent, preprocess=how)
    if rectangles and graph.dialect.is_pytorch and how == "letterbox" and square:
        rules = RectRules(graph.image.width, rectangle_multiple(graph), settings.padding)
        plans = rectangle_plans(sizes, batch_size=settings.batch_size, rules=rules)
    else:
        # In the yolor dialect a letterbox is padded by less than one stride, so input sizes differ.
        plans = [ImagePlan(image, None) for image in range(len(sizes))]
    here = this_process()
    return plans[here.rank :: here.world_size], settings._replace(preprocess=how)


def _detect_images(
    network: Network,
    dataset: Dataset,
    *,
    plans: Sequence[ImagePlan],
    settings: EvalSettings,
    progress: ProgressCallback | None,
    engine: Engine | None,
) -> _PartialDetections:
    assert settings.preprocess is not None
    kinds = choose_rules(network.graph, settings)
    found, darknet = [no_detections()], [no_detections()]
    labels, vectors = list[Doubles](), list[Doubles]()
    skipped: list[tuple[int, str]] = []
    seconds, images = np.zeros(3), 0
    batches = list(split_batches(plans, settings.batch_size))
    run = engine or partial(run_network, network, precision=settings.precision)
    graph = network.graph.fix_size() if settings.is_padded else network.graph
    fit = FitOptions(settings.preprocess, settings.tiling)
    resize = partial(preprocess_image, graph=graph, how=fit.how)
    tiles = TileFinder(resize, partial(_find_kinds, network, kinds=kinds, run=run), settings.batch_size)
    detect = partial(_detect_group, network, kinds=kinds, run=run, dataset=dataset, tiles=tiles)
    with eval_mode(network), torch.inference_mode():
        for batch in load_batches(dataset.samples, graph, batches=batches, fit=fit):
            for group in batch.groups:
                outcome = detect(group)
                found.append(outcome.detections)
                darknet.append(outcome.darknet)
                labels.append(outcome.labels)
                vectors += [outcome.vectors] if len(outcome.vectors) else []
                seconds += outcome.seconds
                images += len(group.images)
            skipped += batch.skipped
            seconds[0] += batch.seconds
            if progress:
                progress(images + len(skipped))
    return _PartialDetections(
        images,
        np.concatenate(found),
        np.concatenate(darknet),
        tuple(skipped),
        seconds,
        np.concatenate(labels or [NO_LABELS]),
        np.concatenate(vectors or [NO_VECTORS]),
    )


def _detect_group(
    network: Network,
    group: Group,
    *,
    kinds: Sequence[NmsRules],
    run: RunNetwork,
    dataset: Dataset,
    tiles: TileFinder,
) -> _PartialDetections:
    """The detections by each set of NMS rules; only the first is timed. C Darknet clips the boxes of its COCO
    results to the image, but not those of its mAP."""
    if group.tiled is not None:
        clips = not network.graph.dialect.is_pytorch
        sample = dataset.samples[group.images[0]]
        areas = AreaVectors(network, sample, group.tiled) if network.embeds else None
        return _detect_tiled(group, tiles, kinds=kinds, clips=clips, vectors=areas)
    start = time.perf_counter()
    raws = run(torch.from_numpy(group.pixels))
    labels = _group_labels(network, group, raws)
    if not network.graph.box_heads:
        seconds = np.array([0.0, time.perf_counter() - start, 0.0])
        return _PartialDetections(len(group.images), no_detections(), no_detections(), (), seconds, labels)
    predictions = decode(network, raws, least=min(rules.conf for rules in kinds))
    middle = time.perf_counter()
    found = _group_detections(predictions, group, kinds[0], clips=not network.graph.dialect.is_pytorch)
    seconds = np.array([0.0, middle - start, time.perf_counter() - middle])
    darknet = _group_detections(predictions, group, kinds[1]) if len(kinds) > 1 else no_detections()
    samples = {image: dataset.samples[image] for image in group.images}
    vectors = object_vectors(network, raws, predictions, placements=group.placements, samples=samples)
    return _PartialDetections(len(group.images), found, darknet, (), seconds, labels, vectors)


def _detect_tiled(
    group: Group, tiles: TileFinder, *, kinds: Sequence[NmsRules], clips: bool, vectors: AreaVectors | None
) -> _PartialDetections:
    """Like `_detect_group`, of one image in tiles; all of its time counts as that of the network."""
    start, (number,), image = time.perf_counter(), group.images, group.tiled
    assert image is not None
    usual, *more = tiles.find_in(image, kinds, vectors.look_in if vectors else None)
    found = detection_rows(number, usual, clips=image.placement.image_size if clips else None)
    darknet = detection_rows(number, more[0], clips=None) if more else no_detections()
    seconds = np.array([0.0, time.perf_counter() - start, 0.0])
    of_objects = NO_VECTORS if vectors is None else vectors.rows(number)
    return _PartialDetections(1, found, darknet, (), seconds, np.full((1, 1), float(number)), of_objects)


def _find_kinds(
    network: Network, batch: Sequence[NetworkInput], *, kinds: Sequence[NmsRules], run: RunNetwork
) -> FoundInInputs:
    """What the network finds in these inputs, by each set of NMS rules too."""
    raws = run(torch.from_numpy(np.stack([item.pixels for item in batch])))
    predictions = decode(network, raws, least=min(rules.conf for rules in kinds))
    placements = [item.placement for item in batch]
    kept = [list(apply_nms(predictions, placements, rules=rules)) for rules in kinds]
    return FoundInInputs(raws, predictions, kept)


def _group_labels(network: Network, group: Group, raws: Sequence[Tensor]) -> Doubles:
    """The indices of the images and the probabilities of their classes [N, 1 + K]."""
    found = network.labels(raws) if network.graph.label_heads else None
    scores = np.zeros((len(group.images), 0)) if found is None else found.double().cpu().numpy()
    return np.column_stack([np.array(group.images, np.float64), scores])


def choose_rules(graph: Graph, settings: EvalSettings) -> list[NmsRules]:
    """The NMS rules: those of the network's dialect, every class of a box; for Darknet's metrics also
    those of `detector map`."""
    kind, beta = choose_nms(graph, "cfg")
    usual, _ = choose_nms(graph, settings.nms)
    rules = [NmsRules(settings.conf, settings.iou, usual, beta, multi_label=True, max_det=settings.max_det)]
    if settings.darknet:
        least, most = darknet_map.CONF, DARKNET_MAX_DET
        rules.append(NmsRules(least, darknet_map.IOU, kind, beta, multi_label=True, max_det=most))
    return rules


def _group_detections(
    predictions: Predictions, group: Group, rules: NmsRules, *, clips: bool = False
) -> Doubles:
    """[D, 7] for the images of a group; boxes in pixels of the original image, clipped to it if `clips`."""
    found = apply_nms(predictions, group.placements, rules=rules)
    sizes = [place.image_size if clips else None for place in group.placements]
    images = zip(group.images, found, sizes, strict=True)
    return np.concatenate([detection_rows(image, one, clips=size) for image, one, size in images])
