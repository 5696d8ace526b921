"""Which kinds of labels a data set has, and which ones a network learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolor_cfg.data.classes import format_names
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.types import Dataset, Problem
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.graph import Graph, Node


def refuse_missing_boxes(
    listing: ImageListing, graph: Graph, *, path: str, spares_labels: bool = True
) -> None:
    """Raise DataError if the images have classes alone and the network predicts nothing but boxes; without
    `spares_labels` also if it predicts classes of images besides."""
    if not listing.is_labeled or not listing.images or listing.has_boxes or not graph.box_heads:
        return
    if spares_labels and graph.label_heads:
        return
    raise DataError(
        "no boxes: the images have classes alone",
        path=path,
        found=f"folders or paths that name {count_of(len(listing.names), 'class')}",
        allowed=f"labels with boxes, which {graph.path} predicts",
        hint="no label file is beside the images; a classifier ends in [softmax] or [logistic]",
    )


def add_test_notes(dataset: Dataset, graph: Graph) -> Dataset:
    """As `add_kind_notes`, with a note where a network has embeddings and nothing tells objects apart."""
    noted = add_kind_notes(dataset, graph)
    if not dataset.is_labeled or not any(node.section.has_embedding for node in graph.heads):
        return noted
    if any((sample.identities >= 0).any() for sample in dataset.samples):
        return noted
    note = Problem(dataset.origin, 0, "no identities here: embeddings are not scored", "note")
    return noted._replace(problems=(*noted.problems, note))


def add_kind_notes(dataset: Dataset, graph: Graph) -> Dataset:
    """The data set with notes on what boxes are used for, on images that do not fit a softmax, and on the
    leaves of class trees. Raises DataError if none of its `leaves` is in the tree."""
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
    notes += _leaf_notes(dataset, graph)
    return [Problem(dataset.origin, 0, text, "note") for text in notes]


def leaf_flags(head: Node, leaves: Sequence[str], *, path: str) -> tuple[bool, ...]:
    """For each class of a head that classifies images, whether a test ranks it: all, but for a class tree.

    As in C Darknet (change_leaves in tree.c) these are the leaves of the tree or, if any are given, the
    classes with these names in the file of the tree, wherever they stand. Raises DataError if it has none
    of them.
    """
    tree = head.section.label_tree(head.shape.size)
    if tree is None:
        return (True,) * head.shape.size
    wanted = set(leaves)
    flags = tuple(name in wanted for name in tree.names) if leaves else tree.leaf_flags
    if not any(flags):
        found, allowed = format_names(leaves), format_names(tree.names)
        message = "none of these is in the class tree of the network"
        raise DataError(message, path=path, key="leaves", found=found, allowed=allowed)
    return flags


def _leaf_notes(dataset: Dataset, graph: Graph) -> Iterator[str]:
    """On `leaves` that are not used, and on images that no network could get right."""
    heads = graph.label_heads
    flags = [one for head in heads for one in leaf_flags(head, dataset.leaves, path=dataset.origin)]
    unranked = {k for k, is_leaf in enumerate(flags) if not is_leaf}
    inner = sum(not unranked.isdisjoint(one.image_classes[:1].tolist()) for one in dataset.samples)
    if inner:
        of = count_of(len(dataset.samples), "image")
        yield f"the class of {inner} of {of} is no leaf of the class tree: in a test that is always wrong"
    trees = [head.section.label_tree(head.shape.size) for head in heads]
    known = {name for tree in trees if tree is not None for name in tree.names}
    if dataset.leaves and not known:
        yield "leaves= is not used: the network has no class tree"
    strange = [name for name in dataset.leaves if name not in known]
    if known and strange:
        of = count_of(len(dataset.leaves), "line")
        yield f"{len(strange)} of {of} of leaves= are not in the class tree: {format_names(strange)}"
