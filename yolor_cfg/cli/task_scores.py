"""What `yolor test` prints and saves of the scores of a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.options import echo, format_columns, is_on, print_json, print_stderr

if TYPE_CHECKING:
    from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
    from yolor_cfg.evaluate.image_labels import LabelScores
    from yolor_cfg.evaluate.scores import DatasetScores, Scores, TaskScores
    from yolor_cfg.evaluate.tracks import TrackScores

MAX_CLASS_ROWS = 30


class NamedScores(NamedTuple):
    """The scores on one of several data sets, where it is, its labels, and what was found there."""

    scored: DatasetScores
    path: str
    ground: GroundTruth
    detections: Doubles


def print_several(tested: Sequence[NamedScores], options: dict[str, Any], *, is_darknet: bool) -> None:
    """Print the JSON document, or the tables of each data set and one with a row for each."""
    if options["as_json"]:
        print_json(several_document(tested))
        return
    from yolor_cfg.report.tables import dataset_table

    for one in tested:
        echo(f"{one.scored.name}:")
        print_scores(one.scored.scores, one.ground, options, is_darknet=is_darknet)
        echo()
    _print_columns(dataset_table([one.scored for one in tested]), words=(0, 1))


def several_document(tested: Sequence[NamedScores]) -> dict[str, Any]:
    """The scores on each of several data sets as a list of objects, and the mean of each figure."""
    from yolor_cfg.evaluate.scores import mean_summary, scores_document

    each = [
        {
            "name": one.scored.name,
            "task": one.scored.task,
            "path": one.path,
            "classes": list(one.ground.names),
            **scores_document(one.scored.scores, one.ground),
        }
        for one in tested
    ]
    means = mean_summary([one.scored for one in tested])
    mean = {word: value for word, value in means.items() if "." not in word}
    return {"images": sum(one.scored.scores.images for one in tested), "mean": mean, "datasets": each}


def save_several(folder: Path | None, tested: Sequence[NamedScores]) -> None:
    """Write the files of each data set into a folder of its name, and metrics.json of all beside them."""
    from yolor_cfg.report.files import save_metrics

    if folder is None:
        return
    for one in tested:
        place = folder / one.scored.name
        place.mkdir(parents=True)
        _save_files(place, one.scored.scores, ground=one.ground, detections=one.detections)
    save_metrics(folder, several_document(tested))
    _report_folder(folder)


def print_scores(
    scores: TaskScores, ground: GroundTruth, options: dict[str, Any], *, is_darknet: bool = False
) -> None:
    """Print the JSON document or the tables."""
    if options["as_json"]:
        from yolor_cfg.evaluate.scores import scores_document

        print_json(scores_document(scores, ground))
        return
    if options["darknet_text"]:
        _print_darknet(scores, ground, kind=options["darknet_text"])
        return
    if scores.boxes:
        _print_boxes(scores.boxes, ground, every=options["per_class"], is_darknet=is_darknet)
    for one in scores.labels:
        _print_labels(one, every=options["per_class"])
    if scores.embedding:
        from yolor_cfg.report.tables import embedding_rows

        _print_columns(embedding_rows(scores.embedding), words=(0,))
    if scores.speed:
        stages = zip(("pre", "inference", "NMS"), scores.speed, strict=True)
        echo("ms per image: " + ", ".join(f"{name} {value:.1f}" for name, value in stages))


def print_track_scores(scores: TrackScores, *, as_json: bool) -> None:
    """Print how well tracks keep to the objects."""
    from yolor_cfg.evaluate.tracks import tracks_to_dict

    found = tracks_to_dict(scores)
    if as_json:
        print_json({"tracking": found})
        return
    cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in found.values()]
    rows = [(name.replace("_", " "), cell) for name, cell in zip(found, cells, strict=True)]
    _print_columns(rows, words=(0,))


def save_scores(folder: Path | None, scores: TaskScores, *, ground: GroundTruth, detections: Doubles) -> None:
    """Write the files of a test, if any are wanted."""
    if folder is not None:
        _save_files(folder, scores, ground=ground, detections=detections)
        _report_folder(folder)


def _save_files(folder: Path, scores: TaskScores, *, ground: GroundTruth, detections: Doubles) -> None:
    from yolor_cfg.evaluate.scores import scores_document
    from yolor_cfg.report.files import save_label_scores, save_metrics, save_test_results

    metrics = scores_document(scores, ground)
    if scores.boxes:
        save_test_results(folder, scores.boxes, ground=ground, detections=detections, metrics=metrics)
    else:
        save_metrics(folder, metrics)
    save_label_scores(folder, scores.labels)


def _report_folder(folder: Path) -> None:
    """Where the results are, and whether charts are missing there."""
    from yolor_cfg.report.figures import NO_CHARTS, can_draw

    if not can_draw():
        print_stderr(f"{NO_CHARTS}the numbers are in the folder's .csv files", "yellow")
    if not is_on("quiet"):
        echo(f"results saved to {folder}", err=True)


def _print_boxes(scores: Scores, ground: GroundTruth, *, every: bool | None, is_darknet: bool) -> None:
    from yolor_cfg.evaluate.coco import engine_line
    from yolor_cfg.report.darknet import map_summary
    from yolor_cfg.report.tables import class_table, coco_rows

    if not is_on("quiet"):
        echo(engine_line(scores.coco), err=True)
    every = _is_every_class_shown(ground.names, every)
    _print_columns(class_table(scores, ground, every=every), words=(0,))
    _print_columns(coco_rows(scores.coco), words=(0, 1, 2))
    if is_darknet:
        echo(
            "\n".join(
                ["Darknet's `detector map`:", *map_summary(scores.darknet, ground.names, every=every), ""]
            )
        )


def _print_darknet(scores: TaskScores, ground: GroundTruth, *, kind: str) -> None:
    """What C Darknet prints, and nothing else."""
    from yolor_cfg.report.darknet import map_text, top_text

    singles = [one for one in scores.labels if one.kind == "single"]
    if kind == "map" and scores.boxes:
        echo(map_text(scores.boxes.darknet, ground.names))
    elif kind == "top" and singles:
        echo(top_text(singles[-1]))
    else:
        what = {"map": "boxes", "top": "images of one class each"}[kind]
        raise click.UsageError(f"--darknet-text {kind}: there are no {what} to score")


def _print_labels(scores: LabelScores, *, every: bool | None) -> None:
    from yolor_cfg.report.tables import label_line, label_table

    echo(label_line(scores))
    _print_columns(label_table(scores, every=_is_every_class_shown(scores.names, every)), words=(0,))


def _is_every_class_shown(names: Sequence[str], asked: bool | None) -> bool:
    return len(names) <= MAX_CLASS_ROWS or is_on("verbose") if asked is None else asked


def _print_columns(rows: Sequence[Sequence[str]], *, words: Sequence[int]) -> None:
    for line in format_columns(rows, words=words):
        echo(line)
    echo()
