"""Which kinds of labels a data set has, and which ones a network learns."""

from __future__ import annotations

from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.types import Dataset, Problem
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.graph import Graph


def refuse_missing_boxes(listing: ImageListing, graph: Graph, *, path: str) -> None:
    """Raise DataError if the images have classes alone and the network predicts nothing but boxes."""
    if not listing.is_labeled or not listing.images or listing.has_boxes or graph.label_heads:
        return
    raise DataError(
        "no boxes: the images have classes alone",
        path=path,
        found=f"folders or paths that name {count_of(len(listing.names), 'class')}",
        allowed=f"labels with boxes, which {graph.path} predicts",
        hint="no label file is beside the images; a classifier ends in [softmax] or [logistic]",
    )


def add_kind_notes(dataset: Dataset, graph: Graph) -> Dataset:
    """The data set with notes on what boxes are used for, and on images that do not fit a softmax."""
    if not dataset.is_labeled or not len(dataset.samples):
        return dataset
    return dataset._replace(problems=(*dataset.problems, *_kind_notes(dataset, graph)))


def _kind_notes(dataset: Dataset, graph: Graph) -> list[Problem]:
    notes = []
    if not dataset.has_boxes and graph.box_heads:
        notes.append("no boxes here: the heads that predict boxes learn nothing and are not scored")
    kinds = [node.section.label_kind for node in graph.label_heads]
    if kinds == ["single"]:
        odd = sum(len(sample.image_classes) != 1 for sample in dataset.samples)
        if odd:
            of = count_of(len(dataset.samples), "image")
            notes.append(f"{odd} of {of} have not exactly one class, as a softmax expects of each")
    return [Problem(dataset.origin, 0, text, "note") for text in notes]
