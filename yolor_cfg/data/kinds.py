"""Which kinds of labels a data set has, and which ones a network learns."""

from __future__ import annotations

from yolor_cfg.data.types import Dataset, Problem
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.graph import Graph


def check_kinds(dataset: Dataset, graph: Graph) -> Dataset:
    """The data set; raises DataError if it has no labels of the kind that the network predicts. Notes tell
    what boxes are used for, and which images do not fit a softmax."""
    if not dataset.is_labeled or not len(dataset.samples):
        return dataset
    if not (dataset.has_boxes or graph.label_heads):
        raise DataError(
            "no boxes: the images have classes alone",
            path=dataset.origin,
            found=f"folders or paths that name {count_of(len(dataset.names), 'class')}",
            allowed=f"labels with boxes, which {graph.path} predicts",
            hint="no label file is beside the images; a classifier ends in [softmax] or [logistic]",
        )
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
