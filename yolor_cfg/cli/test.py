"""`yolor test`: evaluate a network, or detections made elsewhere, on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.habits import TEST_HABITS, HabitCommand, NetworkPaths, check_exported, sort_paths
from yolor_cfg.cli.networks import name_classes
from yolor_cfg.cli.options import echo, is_on, print_stderr, report_warnings
from yolor_cfg.cli.run_report import describe_tested, note_start, note_told
from yolor_cfg.cli.test_folder import is_first_process, results_folder
from yolor_cfg.cli.test_options import EXAMPLES, add_test_options
from yolor_cfg.cli.tile_options import complete_tiling
from yolor_cfg.export.facts import is_exported

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset
    from yolor_cfg.data.union import GivenData
    from yolor_cfg.engines.base import Engine
    from yolor_cfg.errors import YolorError
    from yolor_cfg.evaluate.ground_truth import GroundTruth
    from yolor_cfg.evaluate.record import TestRecord
    from yolor_cfg.evaluate.run import EvalSettings, NetworkDetections
    from yolor_cfg.evaluate.scores import MetricOptions, TaskScores
    from yolor_cfg.graph import Graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.loading import LoadedNetwork

ONE_SIZE = (
    "the file takes images of one size, so all are padded to it; its network is tested on rectangles unless "
    "--no-rect pads its images too"
)


@click.command(cls=HabitCommand, habits=TEST_HABITS, epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] [WEIGHTS]")
@add_test_options
def test(paths: tuple[str, ...], **options: Any) -> None:
    """Evaluate the network CFG with its WEIGHTS on a data set.

    A checkpoint that `yolor train` wrote needs no CFG: it holds its own; so does a file of `yolor export`
    (.onnx, .xml).

    With --predictions and --annotations, detections made elsewhere are scored instead; with --tracks and
    --annotations tracks, by MOTA and IDF1.

    Of a classifier it prints top-1 and top-5, or mAP and F1 where an image may have several classes, and a
    row for each class. Of boxes it prints COCO's 12 metrics; P, R and F1 at the confidence where the mean
    F1 is highest, AP50 and AP as YOLOR computes them; the AP50 of Darknet's `detector map`, for a network
    in its dialect with TP, FP and FN; and the time per image in milliseconds. Images without detections
    count too. Unreadable images are reported and left out.
    """
    note_start()
    files = sort_paths(paths, cfg=options["cfg_file"], weights=options["weights_file"])
    if options["darknet_text"] and options["as_json"]:
        raise click.UsageError("--darknet-text and --json both print to standard output: give one of them")
    if files.others:
        raise click.UsageError(f"an argument too many: {files.others[0]}; the data set is given as --data D")
    if options["tracks"]:
        _test_tracks(files, options)
        return
    if options["predictions"] or options["annotations"]:
        _test_file(files, options)
        return
    if not (files.network and files.weights and options["data"]):
        raise click.UsageError("give CFG WEIGHTS and --data, or --predictions and --annotations")
    check_exported(files, options)
    complete_tiling(options)
    if options["tile"] is not None and options["darknet_text"] == "recall":
        raise click.UsageError("C Darknet's recall is that of whole images: leave out --tile")
    with results_folder(options, saves=options["save"] is not False) as folder:
        _test_network(files, options, folder)


def _report_once(warnings: Sequence[YolorError], notes: Sequence[str]) -> None:
    if is_first_process():
        report_warnings(warnings, notes)
        note_told([*map(str, warnings), *notes])


def _test_file(files: NetworkPaths, options: dict[str, Any]) -> None:
    """Score detections made elsewhere; neither a network nor torch is needed."""
    if (
        files.cfg
        or files.weights
        or options["data"]
        or not (options["predictions"] and options["annotations"])
    ):
        raise click.UsageError("give --predictions and --annotations, or CFG WEIGHTS and --data")
    from yolor_cfg.cli.run_report import TestedData, save_report
    from yolor_cfg.cli.task_scores import print_scores, save_scores
    from yolor_cfg.evaluate.facts import NO_LABELS, TestFindings
    from yolor_cfg.evaluate.results import read_results
    from yolor_cfg.evaluate.scores import TaskScores, score_detections

    ground = _read_ground_truth(options)
    detections = read_results(options["predictions"], ground, say=lambda text: print_stderr(text, "yellow"))
    if not len(detections):
        print_stderr(f"{options['predictions']}: contains no detections, so AP is 0", "yellow")
    boxes = score_detections(ground, detections, metric_options=_make_metric_options(options))
    scores = TaskScores(boxes, (), boxes.images)
    print_scores(scores, ground, options)
    with results_folder(options, saves=bool(options["save"])) as folder:
        save_scores(folder, scores, ground=ground, detections=detections)
        found = TestedData(TestFindings(scores, ground, detections, NO_LABELS), options["annotations"])
        save_report(folder, [found], options)


def _test_tracks(files: NetworkPaths, options: dict[str, Any]) -> None:
    """Score tracks made elsewhere."""
    if files.network or options["data"] or options["predictions"] or not options["annotations"]:
        raise click.UsageError("give --tracks and --annotations, both files of the MOT challenge, alone")
    from yolor_cfg.cli.task_scores import print_track_scores
    from yolor_cfg.evaluate.tracks import read_mot, score_tracks

    truth = read_mot(options["annotations"], is_truth=True)
    print_track_scores(score_tracks(truth, read_mot(options["tracks"])), as_json=options["as_json"])


def _read_ground_truth(options: dict[str, Any]) -> GroundTruth:
    from yolor_cfg.evaluate.ground_truth import coco_ground_truth, dataset_ground_truth

    if options["annotations"].lower().endswith(".json"):
        return coco_ground_truth(options["annotations"])
    return dataset_ground_truth(_open_dataset(options["annotations"], options, graph=None))


def _open_dataset(
    path: str, options: dict[str, Any], *, graph: Graph | None, names: Sequence[str] = (), source: str = ""
) -> Dataset:
    """The data set, which must fit the graph, if there is one, and its `names`, which are those of `source`;
    it may label some of its classes."""
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.kinds import add_test_notes, refuse_missing_boxes
    from yolor_cfg.data.sources import find_listing, read_listing, refuse_other_count
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.data.union import extend_names, has_part_of, labeled_note
    from yolor_cfg.evaluate.ground_truth import problem_lines

    checks = LabelChecks(options["fix_labels"], options["strict"])
    split, classes = options["split"], graph.classes or None if graph else None
    known = names if graph and graph.label_heads else ()
    found = find_listing(path, split or "val", whole=split is None, known=known)
    if graph:
        refuse_missing_boxes(found.listing, graph, path=found.place)
    is_part = not options["by_number"] and has_part_of(names, found.listing.names)
    if not is_part:
        refuse_other_count(found, classes, names, is_fixed=True)
    dataset = read_listing(found, classes=classes, checks=checks, counts=not is_part)
    if is_part:
        dataset = extend_names(dataset, names)
    else:
        dataset = match_classes(dataset, names, source=source, by_number=options["by_number"])
    dataset = add_test_notes(dataset, graph) if graph else dataset
    told = dataset._replace(problems=(*dataset.problems, *labeled_note(dataset)))
    _report_once((), problem_lines(told))
    return dataset


def _make_metric_options(options: dict[str, Any]) -> MetricOptions:
    from yolor_cfg.evaluate.scores import MetricOptions

    return MetricOptions(options["scorer"], options["points"], options["map_iou"], options["map_conf"])


class Tested(NamedTuple):
    """What one data set gave."""

    given: GivenData
    dataset: Dataset
    ground: GroundTruth
    collected: NetworkDetections
    scores: TaskScores | None


def _test_network(files: NetworkPaths, options: dict[str, Any], folder: Path | None) -> None:
    from yolor_cfg.data.union import parse_given
    from yolor_cfg.parallel import local_device, process_group
    from yolor_cfg.weights.task_choice import task_note

    given = tuple(map(parse_given, options["data"]))
    _refuse_second_task(given, options["task"])
    with process_group(options["device"]):
        opened = _load_network(files, options, device=local_device(options["device"]))
        graph = opened.network.graph
        _refuse_mixed_data(given, graph)
        notes = () if all(one.task for one in given) else task_note(graph)
        _report_once(graph.warnings, [*opened.notes, *notes])
        tested = [_test_data(_choose_task(opened, one), one, options) for one in given]
    found = [one for one in tested if one is not None]
    is_darknet = not graph.dialect.is_pytorch
    if len(found) > 1:
        _report_several(found, options, folder, is_darknet=is_darknet)
    elif found:
        _report_single(found[0], options, folder, is_darknet=is_darknet)
    of = describe_tested(files, options)
    _save_report(found, options, folder, graph=graph, of=of)


def _refuse_second_task(given: Sequence[GivenData], chosen: str | None) -> None:
    """--task has chosen one network for all data sets."""
    told = next((one for one in given if one.task), None)
    if chosen is not None and told is not None:
        raise click.UsageError(f"--data {told.text}: --task {chosen} has chosen the task: --data {told.path}")


def _refuse_mixed_data(given: Sequence[GivenData], graph: Graph) -> None:
    """Of several data sets, each says its task where the network's values depend on it."""
    from yolor_cfg.count import holds_task_values

    untold = [one.path for one in given if not one.task]
    if untold and len(given) > 1 and holds_task_values(graph):
        example = f"--data {graph.tasks[0]}={untold[0]}"
        raise click.UsageError(f"--data {untold[0]}: say which task it is of: {example}")


def _choose_task(opened: LoadedNetwork, given: GivenData) -> LoadedNetwork:
    """The network of the task of the data set."""
    from yolor_cfg.weights.loading import switch_task

    tasks = opened.network.graph.tasks
    if given.task and given.task not in tasks:
        known = ", ".join(tasks) or f"it names none: --data {given.path}"
        raise click.UsageError(f"--data {given.task}={given.path}: no such task in the cfg ({known})")
    return switch_task(opened, given.task, None) if given.task else opened


def _test_data(opened: LoadedNetwork, given: GivenData, options: dict[str, Any]) -> Tested | None:
    """What the network finds in one data set; None in all processes but the first."""
    from yolor_cfg.evaluate.ground_truth import dataset_ground_truth
    from yolor_cfg.evaluate.run import score_tasks

    graph = opened.network.graph
    dataset = _open_dataset(given.path, options, graph=graph, names=opened.names, source=opened.names_source)
    if options["darknet_text"] == "recall":
        _print_recall(opened.network, dataset)
        return None
    collected = _collect_detections(opened, dataset, options)
    if collected is None:
        return None
    ground, scores = dataset_ground_truth(dataset), None
    if dataset.is_labeled:
        scores = score_tasks(graph, dataset, collected, metric_options=_make_metric_options(options))
        for reason in scores.skipped:
            print_stderr(f"left out: {reason}", "yellow")
    return Tested(given, dataset, ground, collected, scores)


def _print_recall(network: Network, dataset: Dataset) -> None:
    from yolor_cfg.evaluate.darknet_recall import count_recall

    for counts in count_recall(network, dataset):
        echo(str(counts))


def _report_single(one: Tested, options: dict[str, Any], folder: Path | None, *, is_darknet: bool) -> None:
    from yolor_cfg.cli.predictions import save_predictions
    from yolor_cfg.cli.task_scores import print_scores, save_scores

    if one.scores is None:
        save_predictions(folder, one.ground, one.collected.detections, as_json=options["as_json"])
        return
    print_scores(one.scores, one.ground, options, is_darknet=is_darknet)
    save_scores(folder, one.scores, ground=one.ground, detections=one.collected.detections)


def _report_several(
    tested: Sequence[Tested], options: dict[str, Any], folder: Path | None, *, is_darknet: bool
) -> None:
    """What each data set gave, in a folder of its own, and the means."""
    from yolor_cfg.cli.task_scores import NamedScores, print_several, save_several
    from yolor_cfg.data.union import title_parts
    from yolor_cfg.errors import DataError
    from yolor_cfg.evaluate.scores import DatasetScores

    named = []
    for name, one in zip(title_parts([one.given for one in tested]), tested, strict=True):
        if one.scores is None:
            raise DataError("no annotations to test on", path=one.dataset.origin, hint="test it alone")
        scores = DatasetScores(name, one.given.task, one.scores)
        named.append(NamedScores(scores, one.given.path, one.ground, one.collected.detections))
    print_several(named, options, is_darknet=is_darknet)
    save_several(folder, named)


def _save_report(
    tested: Sequence[Tested], options: dict[str, Any], folder: Path | None, *, graph: Graph, of: TestRecord
) -> None:
    """The record of the test and its page, where there are figures."""
    from yolor_cfg.cli.run_report import TestedData, save_report
    from yolor_cfg.data.union import title_parts
    from yolor_cfg.evaluate.facts import TestFindings

    found = []
    names = title_parts([one.given for one in tested]) if len(tested) > 1 else [""]
    for name, one in zip(names, tested, strict=False):
        if one.scores is not None:
            skipped = tuple(image for image, _ in one.collected.skipped)
            rows = one.collected.detections, one.collected.labels, skipped
            facts = TestFindings(one.scores, one.ground, *rows, one.dataset)
            found.append(TestedData(facts, one.given.path, name, one.given.task))
    save_report(folder, found, options, graph=graph, of=of)


def _load_network(files: NetworkPaths, options: dict[str, Any], *, device: str) -> LoadedNetwork:
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network

    reading = ReadOptions(options["dialect"], options["size"], strict=options["strict"])
    assert files.network
    if is_exported(files.network):
        opened = _open_file(files.network, options)
    else:
        opened = open_network(
            files.network,
            files.weights,
            reading=reading,
            device=device,
            cutoff=options["cutoff"],
            task=options["task"],
        )
    return name_classes(opened, (files.weights, files.cfg), given=options["names"])


def _open_file(path: str, options: dict[str, Any]) -> LoadedNetwork:
    """An exported file in the place of a network."""
    from yolor_cfg.detect.exported import file_notes, input_of_file, refuse_device, refuse_own_fit
    from yolor_cfg.engines.exported import ExportedModel
    from yolor_cfg.engines.file_network import FileNetwork
    from yolor_cfg.weights.loading import LoadedNetwork

    refuse_device(options["device"], path)
    model = ExportedModel(path, options["engine"], options["precision"])
    refuse_own_fit(model)
    network = FileNetwork(model, input_of_file(model, options["size"]).size)
    how = options["preprocess"] or model.facts.preprocess
    notes = (ONE_SIZE,) if model.is_static and model.facts.is_pytorch and how == "letterbox" else ()
    return LoadedNetwork(network.eval(), model.facts.names, (*file_notes(model), *notes))


def _choose_engine(network: Network, options: dict[str, Any]) -> Engine:
    from yolor_cfg.engines.base import EngineSettings
    from yolor_cfg.engines.choice import choose_engine
    from yolor_cfg.engines.file_network import FileEngine, FileNetwork

    if isinstance(network, FileNetwork):
        return FileEngine(network)
    asked = EngineSettings(options["engine"], options["precision"], options["no_rewrite"])
    return choose_engine(network, asked)


def _make_settings(network: Network, options: dict[str, Any]) -> EvalSettings:
    """The settings; a network for images of one size does not get rectangles of others."""
    from yolor_cfg.evaluate.run import EvalSettings
    from yolor_cfg.images.tiles import make_rules

    same = ("batch_size", "conf", "iou", "max_det", "preprocess")
    padded = options["no_rect"]
    rectangles = not (padded or network.graph.has_fixed_size)
    usual = {name: options[name] for name in same}
    own = (network.graph.image.height, network.graph.image.width)
    tiling = make_rules(options, own)
    return EvalSettings(**usual, rectangles=rectangles, is_padded=padded, darknet=True, tiling=tiling)


def _collect_detections(
    opened: LoadedNetwork, dataset: Dataset, options: dict[str, Any]
) -> NetworkDetections | None:
    from tqdm import tqdm

    from yolor_cfg.evaluate.run import collect_detections
    from yolor_cfg.parallel import this_process
    from yolor_cfg.train.memory import keep_freed_memory

    keep_freed_memory()
    engine = _choose_engine(opened.network, options)
    settings = _make_settings(opened.network, options)
    # None: hidden if standard error is not a terminal.
    hidden = True if is_on("quiet") or options["as_json"] or this_process().rank else None
    with tqdm(total=len(dataset.samples) // this_process().world_size, unit="img", disable=hidden) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        return collect_detections(
            opened.network, dataset, settings=settings, progress=progress, engine=engine
        )
