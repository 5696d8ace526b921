"""Tables of docs/implicit.md: a large network that teaches a small one, on labelled images and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import joint_teaching
from implicit_stats import PairedDifference
from implicit_table import Row
from implicit_tables import (
    SeedGroups,
    compare_groups,
    group_rows,
    interval_text,
    judge_all,
    mean_text,
    pick_values,
    table_lines,
)

MARGIN = 2.0
DESIGN = ("width", "images", "unlabeled", "epochs")
WAY_NAMES = {
    "alone": "the labelled images alone",
    "all": "all of them labelled",
    "none": "taught: predictions",
    "plain": "taught: predictions, plain features",
    "z": "taught: predictions, features with z",
}
PAIRS = (
    *(("all", "alone"), ("none", "alone"), ("plain", "alone"), ("z", "alone")),
    *(("none", "all"), ("plain", "all"), ("z", "all")),
    *(("z", "plain"), ("plain", "none"), ("z", "none")),
)
Ways = dict[str, Mapping[str, Row]]
"""The rows of a design by way, then by seed."""


def ways_table() -> Iterator[str]:
    """AP of each way of each design."""
    head = (
        "large is wider by",
        "labelled images",
        "without labels",
        "steps",
        "what is learned from",
        "n",
        "AP",
        "AP50",
    )
    rows = (
        [*_describe(design), WAY_NAMES[way], str(len(ways[way])), *_scores(ways[way])]
        for design, ways in _read_designs().items()
        for way in WAY_NAMES
        if way in ways
    )
    yield from table_lines(head, rows)


def pairs_table() -> Iterator[str]:
    """The differences between ways over the seeds that both have, judged design by design."""
    head = (
        "large is wider by",
        "labelled images",
        "without labels",
        "compared",
        "n",
        "difference of AP",
        "verdict",
    )
    yield from table_lines(head, (row for one in _read_designs().items() for row in _pair_rows(*one)))


def _read_designs() -> dict[tuple[str, ...], Ways]:
    groups: SeedGroups = group_rows(joint_teaching.TABLE.read(), (*DESIGN, "way"))
    designs: dict[tuple[str, ...], Ways] = {}
    for key, rows in groups.items():
        designs.setdefault(key[:-1], {})[key[-1]] = rows
    return designs


def _describe(design: tuple[str, ...]) -> list[str]:
    width, (images, unlabeled, epochs) = design[0], map(int, design[1:])
    steps = epochs * -(-(images + unlabeled) // joint_teaching.BATCH)
    return [f"{2 / float(width):g}", str(images), str(unlabeled), str(steps)]


def _scores(rows: Mapping[str, Row]) -> list[str]:
    return [mean_text(pick_values(rows, score)) for score in ("AP", "AP50")]


def _pair_rows(design: tuple[str, ...], ways: Ways) -> Iterator[list[str]]:
    found: dict[str, PairedDifference] = {}
    for one, other in PAIRS:
        if len(ways.get(one, {}).keys() & ways.get(other, {}).keys()) > 1:
            found[f"{one} - {other}"] = compare_groups(ways[one], ways[other])
    judged = judge_all(found, MARGIN)
    for name, difference in found.items():
        cells = [name, str(difference.n), interval_text(difference), judged.verdicts[name]]
        yield [*_describe(design)[:3], *cells]
