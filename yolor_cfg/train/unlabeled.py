"""Images without labels, which a large network alone teaches: data sets whose labels are not read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from yolor_cfg.count import holds_task_values
from yolor_cfg.data.labels import ImageLabels
from yolor_cfg.data.listing import find_images, text_label_listing
from yolor_cfg.data.overlap import shared_paths, sharing_note
from yolor_cfg.data.sources import FoundListing, find_listing, is_described, read_listing
from yolor_cfg.data.types import Dataset, LabelChecks, Problem
from yolor_cfg.data.union import GivenData, append_unlabeled, title_parts
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.images.types import Size
from yolor_cfg.train.settings import TrainOptions


def add_joint_images(options: TrainOptions, graph: Graph, dataset: Dataset, *, holdout: Dataset) -> Dataset:
    """The data set with the images of `--joint-images` behind its own. Notes tell which of them stand among
    the labelled ones or are tested, and that labels beside them are not read."""
    paths = options.joint_sets
    if not paths:
        return dataset
    if holds_task_values(graph) or any(part.task for part in dataset.parts):
        hint = "train without them, or a network of one task"
        found = f"--joint-images {paths[0]}"
        raise CfgError("images without labels teach no tasks", path=graph.path, found=found, hint=hint)
    opened = [_open_images(path, dataset, strict=options.strict) for path in paths]
    titles = _choose_titles(options, dataset)
    notes = [
        note
        for title, one in zip(titles[-len(paths) :], opened, strict=True)
        for note in _shared_notes(title, one, dataset=dataset, holdout=holdout)
    ]
    whole = append_unlabeled(dataset, opened, titles)
    return whole._replace(problems=(*whole.problems, *notes))


def _choose_titles(options: TrainOptions, dataset: Dataset) -> tuple[str, ...]:
    """Names of the labelled data sets, which keep those that they have, and of those without labels."""
    paths = [GivenData(path) for path in options.joint_sets]
    titles = title_parts([*options.data_sets, *paths])
    labeled = [part.name for part in dataset.parts] or [titles[0]]
    own = titles[-len(paths) :]
    return (*labeled, *(f"{title}-unlabeled" if title in labeled else title for title in own))


def _open_images(path: str, dataset: Dataset, *, strict: bool) -> Dataset:
    """The images of a folder, a list, or the training split of a data set, without their labels."""
    found = _find_images(path)
    images = found.listing.images

    def read(index: int, size: Size) -> ImageLabels:
        return ImageLabels(images[index])

    bare = found.listing._replace(
        names=dataset.names,
        read=read,
        notes=tuple(note for note in found.listing.notes if note.kind == "image"),
        category_ids=(),
        is_labeled=False,
        has_boxes=True,
        top=0,
        annotated=(),
        leaves=(),
        joined={},
    )
    made = read_listing(found._replace(listing=bare), checks=LabelChecks(strict=strict))
    return made._replace(problems=(*made.problems, *_label_notes(found)))


def _find_images(path: str) -> FoundListing:
    """All images of a folder that is not divided, whatever labels they have; else what `--data` takes."""
    if not os.path.isdir(path) or is_described(path):
        return find_listing(path, "train")
    return FoundListing(text_label_listing("folder", (), find_images(path, ["."])), path, "train")


def _find_label_paths(found: FoundListing) -> Iterator[str]:
    """Where labels of the images may be, XML files of Pascal VOC among them."""
    for index, image in enumerate(found.listing.images):
        yield from found.listing.find_label_paths(index)
        folder, name = os.path.split(f"{os.path.splitext(image)[0]}.xml")
        yield os.path.join(folder, name)
        yield os.path.join(os.path.dirname(folder), "Annotations", name)


def _label_notes(found: FoundListing) -> list[Problem]:
    """A note if there are labels, with the first of them."""
    label = next(filter(os.path.isfile, _find_label_paths(found)), None)
    text = f"images without labels: those that are there are not read ({label})"
    return [Problem(found.place, 0, text, "note")] if label else []


def _shared_notes(title: str, images: Dataset, *, dataset: Dataset, holdout: Dataset) -> list[Problem]:
    """Notes on images that are labelled ones too, or that are tested."""
    asked: Sequence[tuple[str, Dataset, str]] = (
        ("the labelled images", dataset, "taught twice"),
        ("val", holdout, "the figures are not those of unseen images"),
    )
    notes = []
    for name, other, told in asked:
        same = shared_paths(other, images)
        if same:
            text = sharing_note(name, title, count=len(same), total=len(images.samples), shown=same[:1])
            notes.append(Problem(images.origin, 0, f"{text}: {told}", "note"))
    return notes
