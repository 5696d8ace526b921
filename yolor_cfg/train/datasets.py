"""The images to train on and those to validate on, with the kinds of labels that the network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolor_cfg.count import holds_task_values
from yolor_cfg.data.classes import match_classes
from yolor_cfg.data.kinds import add_kind_notes, refuse_missing_boxes
from yolor_cfg.data.overlap import shared_paths, sharing_note
from yolor_cfg.data.sources import count_hint, find_listing, read_listing, refuse_other_count
from yolor_cfg.data.types import Dataset, LabelChecks, Problem, SplitName
from yolor_cfg.data.union import GivenData, class_table, unite
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.graph import Graph
from yolor_cfg.images.declared import MAX_PIXELS, pixel_limit
from yolor_cfg.images.orientation import orientation_rule
from yolor_cfg.train.settings import TrainOptions


def open_training_data(options: TrainOptions, graph: Graph, names: Mapping[str, Sequence[str]]) -> Dataset:
    """The images to train on; of several data sets the union, with a part for each. `names` are the classes
    of the run that is resumed, by task."""
    given = options.data_sets
    _refuse_pack_of_tasks(options, graph)
    _refuse_strange_tasks(given, graph)
    _refuse_other_weights(options)
    opened = [_open_split(options, graph, one, split="train", alone=len(given) == 1) for one in given]
    for dataset in opened:
        if not dataset.is_labeled or not len(dataset.samples):
            what = "images" if dataset.is_labeled else "annotations"
            raise DataError(f"no {what} to train on", path=dataset.origin)
    if len(given) == 1:
        own = names.get(given[0].task, ())
        opened = [match_classes(opened[0], own, source="the run", by_number=options.by_number)]
    dataset = unite(opened, given, names, by_number=options.by_number)
    _refuse_other_union(dataset, graph, is_fixed=bool(options.task))
    return _note_idle_tasks(dataset, given, graph)


def _note_idle_tasks(dataset: Dataset, given: Sequence[GivenData], graph: Graph) -> Dataset:
    """The data set with a note on the tasks of the cfg that no data set teaches."""
    idle = [task for task in graph.tasks if task not in {one.task for one in given}]
    if not idle or not all(one.task for one in given):
        return dataset
    what = "these tasks" if idle[1:] else "this task"
    text = f"no data set of {', '.join(idle)}: what is of {what} learns nothing"
    return dataset._replace(problems=(*dataset.problems, Problem(graph.path, 0, text, "note")))


def open_holdout_data(options: TrainOptions, graph: Graph, dataset: Dataset) -> Dataset:
    """The images to validate on; none with --no-val. A note tells if they are trained on too."""
    if options.no_val:
        return dataset._replace(samples=(), problems=(), parts=())
    given = options.val_sets
    alone = len(given) == 1 and not dataset.parts
    known = () if dataset.has_boxes else dataset.names
    opened = [_open_split(options, graph, one, split="val", alone=alone, known=known) for one in given]
    for one in opened:
        if not one.is_labeled:
            raise DataError("no annotations to validate on", path=one.origin)
    holdout = opened[0]
    if alone:
        source, by_number = "the training split", options.by_number
        holdout = match_classes(holdout, dataset.names, source=source, by_number=by_number)
    else:
        holdout = _unite_holdout(opened, given, dataset, by_number=options.by_number)
    same = shared_paths(dataset, holdout)
    if not same:
        return holdout
    text = sharing_note("train", "val", count=len(same), total=len(holdout.samples), shown=same[:1])
    note = Problem(holdout.origin, 0, f"{text}: the figures are not those of unseen images", "note")
    return holdout._replace(problems=(note, *holdout.problems))


def _unite_holdout(
    opened: Sequence[Dataset], given: Sequence[GivenData], dataset: Dataset, *, by_number: bool
) -> Dataset:
    """The union, numbered as what is trained on; the table of classes is told of the latter alone."""
    lists = {part.task: part.names for part in dataset.parts} or {"": dataset.names}
    for one in given:
        if one.task not in lists:
            tasks = [task for task in lists if task]
            raise CfgError(
                "no data set to train on has this task" if one.task else "say which task the data set tests",
                found=f"--val-data {one.text}",
                allowed=", ".join(f"--val-data {task}={one.path}" for task in tasks) or "--val-data PATH",
            )
    holdout = unite(opened, given, lists, by_number=by_number)
    told = {text for part in holdout.parts for text in class_table([part])} | {*class_table(holdout.parts)}
    kept = [problem for problem in holdout.problems if problem.reason not in told]
    return holdout._replace(problems=tuple(kept))


def _refuse_pack_of_tasks(options: TrainOptions, graph: Graph) -> None:
    """A pack is for a network of one task; where the cfg has values for several, data sets say whom they
    teach."""
    if options.task and holds_task_values(graph):
        raise CfgError(
            "the cfg has values for tasks of its own",
            path=graph.path,
            found=f"--task {options.task}",
            allowed=", ".join(f"--data {task}=PATH" for task in graph.tasks),
            hint="--task adds a task to a cfg that names none (yolor cfg add-task)",
        )


def _refuse_strange_tasks(given: Sequence[GivenData], graph: Graph) -> None:
    """Raise CfgError for a data set of a task that the cfg does not have."""
    tasks = graph.tasks
    for one in given:
        if one.task and one.task not in tasks:
            raise CfgError(
                "no such task in the cfg",
                path=graph.path,
                found=f"--data {one.text}",
                allowed=", ".join(tasks) or "no section has task=: give --data PATH",
            )
        if not one.task and holds_task_values(graph):
            raise CfgError(
                "the cfg has values for each task: say which task the data set teaches",
                path=graph.path,
                found=f"--data {one.path}",
                allowed=", ".join(f"--data {task}={one.path}" for task in tasks),
            )


def _refuse_other_weights(options: TrainOptions) -> None:
    weights, more = options.data_weights, len(options.joint_sets)
    count = len(options.data_sets) + more
    if weights is not None and len(weights) != count:
        raise CfgError(
            "a weight for each data set is wanted",
            found=f"--data-weights {','.join(f'{weight:g}' for weight in weights)}",
            allowed=f"{count}, one for each --data{' and then each --joint-images' if more else ''}",
        )


def _refuse_other_union(dataset: Dataset, graph: Graph, *, is_fixed: bool) -> None:
    """Raise DataError if the classes of several data sets are not as many as those of the network."""
    for part in dataset.parts:
        wanted = graph.classes_of(part.task)
        if wanted and len(part.names) != wanted:
            members = [one for one in dataset.parts if one.task == part.task]
            raise DataError(
                "the data sets and the network differ in the number of classes",
                path=", ".join(one.origin for one in members),
                found=f"{len(part.names)} in the data sets: {'; '.join(class_table(members))}",
                allowed=f"{wanted}, as in the network",
                hint=count_hint(len(part.names), wanted, is_fixed=is_fixed),
            )


def _open_split(
    options: TrainOptions,
    graph: Graph,
    given: GivenData,
    *,
    split: SplitName,
    alone: bool,
    known: Sequence[str] = (),
) -> Dataset:
    """A data set; one that is not `alone` may have fewer classes than the network. `known` are the classes of
    images that are learned."""
    orientation_rule.ignores = options.ignore_orientation
    pixel_limit.most = options.max_pixels or MAX_PIXELS
    checks = LabelChecks(options.fix_labels, options.strict)
    whole = split == "val" and options.val_data is not None
    found = find_listing(given.path, split, whole=whole, known=known)
    own = graph.keep_heads(given.task)
    refuse_missing_boxes(found.listing, own, path=found.place)
    classes = graph.classes_of(given.task) or None
    if alone:
        refuse_other_count(found, classes, is_fixed=bool(options.task))
    dataset = read_listing(found, classes=classes, checks=checks, counts=False)
    return add_kind_notes(dataset, own)
