"""The data set that networks are scored on, as `yolor test` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolor_cfg.data.sources import FoundListing
    from yolor_cfg.data.types import Dataset
    from yolor_cfg.weights.loading import LoadedNetwork


def find_test_data(data: str, known: Sequence[str] = ()) -> FoundListing:
    """The images to test on, as `yolor test` chooses them; `known` are the classes that a network tells of
    whole images."""
    from yolor_cfg.data.sources import find_listing

    return find_listing(data, "val", whole=True, known=known)


def open_test_data(data: str, opened: LoadedNetwork) -> Dataset:
    """The data set, its classes in the network's order, as `yolor test` reads it; labels are clipped. Raises
    DataError if it has no boxes for the heads that predict them."""
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.kinds import refuse_missing_boxes
    from yolor_cfg.data.sources import read_listing, refuse_other_count
    from yolor_cfg.data.types import LabelChecks

    graph = opened.network.graph
    listing = find_test_data(data, opened.names if graph.label_heads else ())
    classes = graph.classes
    refuse_missing_boxes(listing.listing, graph, path=listing.place, spares_labels=False)
    refuse_other_count(listing, classes, opened.names, is_fixed=True)
    dataset = read_listing(listing, classes=classes, checks=LabelChecks("clip", False))
    return match_classes(dataset, opened.names, source=opened.names_source, by_number=False)
