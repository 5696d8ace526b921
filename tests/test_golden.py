"""Our own golden set: what was recorded when the outside references agreed is still what comes out.

The set has to be there and whole, or nothing here is collected: every section by each of its names in each of
its dialects, every difference between the dialects that docs/families.md or a section speaks of, every loss.
"""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden_recipe
import numpy as np
import pytest
import test_dialect
import test_translate
from golden_recipe import GoldenCase, list_cases
from golden_record import GoldenRecord, find_differences, record_case
from make_golden import compare_records, read_records

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.lang import dialect as dialects
from yolor_cfg.sections import SECTIONS, Section
from yolor_cfg.train.losses import LOSSES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
CASES, RECORDS = list_cases(), read_records()
DIFFERS = "# differs: "
MEGABYTES = 3
FACTS = [
    name
    for name in dialects.Dialect._fields
    if getattr(dialects.DARKNET, name) != getattr(dialects.YOLOR, name)
]
ELSEWHERE = {"name", "family", "program", *test_dialect.SHOWN, *test_translate.TRANSLATED}


def graph_of(case: GoldenCase) -> Graph | None:
    """The graph; None where the dialect refuses the text."""
    try:
        return case.graph()
    except CfgError:
        return None


GRAPHS = {case: graph_of(case) for case in CASES}


def documented_differences() -> list[str]:
    """The first cells of the table of the families."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip() for row in rows[2:]]


def shown_differences() -> set[str]:
    """The differences that cfgs name in their comments, where the dialects do give different numbers."""
    lines = {case: case.text.splitlines()[0] for case in CASES}
    return {line.removeprefix(DIFFERS) for case, line in lines.items() if is_split(case)}


def is_split(case: GoldenCase) -> bool:
    """Whether the dialects give the case different numbers, or one of them refuses it."""
    keys = [f"{case.name}/{name}" for name in golden_recipe.DIALECT_NAMES]
    return all(key in RECORDS for key in keys) and any(find_differences(*(RECORDS[key] for key in keys)))


def nodes_of_sections() -> Iterator[tuple[GoldenCase, str, Section]]:
    """Each section of each cfg that is read, with the name that its header has."""
    for case, graph in GRAPHS.items():
        if graph is not None:
            for section in (graph.net, *(node.section for node in graph.nodes)):
                yield case, section.raw.name, section


def missing_sections() -> set[tuple[str, str]]:
    """Names of sections and the two dialects in which no case reads them."""
    seen = {(name, case.dialect) for case, name, _ in nodes_of_sections()}
    return {(name, dialect) for name, kind in SECTIONS.items() for dialect in _two_dialects(kind)} - seen


def missing_variants() -> set[type[Section]]:
    """Sections that say that they mean something else in the other dialect, without a case that shows it."""
    facts = {(type(s), fact, case) for case, _, s in nodes_of_sections() for fact in s.facts()}
    telling = {(kind, fact, case) for kind, fact, case in facts if fact in FACTS}
    both = {kind for kind, _, _ in telling if len(_two_dialects(kind)) > 1}
    return both - {kind for kind, _, case in telling if is_split(case)}


def _two_dialects(kind: type[Section]) -> set[str]:
    return set(kind.dialects) & set(golden_recipe.DIALECT_NAMES)


def learned_kinds() -> set[str]:
    """The losses of which a batch with labels that matched was recorded."""
    training = [record.facts.get("training", {"kinds": [], "matches": []}) for record in RECORDS.values()]
    return {kind for one in training for kind in one["kinds"] if all(one["matches"])}


assert RECORDS, "there is no golden set: python tools/make_golden.py"
assert [case.key for case in CASES] == list(RECORDS), "cfgs and numbers are not of the same cases"
assert not missing_sections()
assert not missing_variants()
assert documented_differences() and not set(documented_differences()) - shown_differences()
# Of image labels: tests/test_classify.py; of JDE: tests/test_embedding_loss.py.
assert learned_kinds() == LOSSES.keys() - {"softmax", "logistic", "jde"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_the_recorded_numbers_come_out(case: GoldenCase, one_thread: None) -> None:
    assert list(find_differences(RECORDS[case.key], record_case(case))) == []


def test_the_set_is_small() -> None:
    files = [path for path in golden_recipe.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 2**20


def test_every_documented_difference_is_named_as_the_readme_names_it() -> None:
    named = {case.text.splitlines()[0] for case in CASES}
    shown = {line.removeprefix(DIFFERS) for line in named if line.startswith(DIFFERS)}
    assert shown == set(documented_differences())


@pytest.mark.parametrize("field", [name for name in FACTS if name not in ELSEWHERE])
def test_a_dialect_with_one_fact_of_the_other_is_found_out(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = dialects.DARKNET._replace(**{field: getattr(dialects.YOLOR, field)})
    monkeypatch.setitem(dialects.DIALECTS, "darknet", mixed)
    differing = [case for case in CASES if case.name.startswith("differs-") and case.dialect == "darknet"]
    assert any(any(find_differences(RECORDS[case.key], record_case(case))) for case in differing)


# A deliberate fault in a record makes the comparison fail


CASE = "net-detector-yolor/yolor"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every number and word of a record."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


def change_at(facts: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """Change the value at the end of the way, in place; returns what it was."""
    holder: Any = facts
    for key in path[:-1]:
        holder = holder[key]
    before = holder[path[-1]]
    holder[path[-1]] = change(before)
    return before


def perturb(value: Any) -> Any:
    """Slightly more than rounding: 1e-5 of a number; of a whole number 1; another word."""
    if isinstance(value, float):
        return value + math.copysign(1e-5 * (1 + abs(value)), value)
    return value + 1 if isinstance(value, int) else f"{value}?"


def test_any_perturbed_number_or_word_makes_the_comparison_fail() -> None:
    record = GoldenRecord(RECORDS[CASE].facts, {})
    other = copy.deepcopy(record)
    ways = list(leaves(record.facts))
    assert len(ways) > 200
    for way in ways:
        before = change_at(other.facts, way, perturb)
        (told,) = find_differences(record, other)
        assert told.startswith("".join(f"/{key}" for key in way))
        change_at(other.facts, way, lambda _, before=before: before)
    assert list(find_differences(record, other)) == []


@pytest.mark.parametrize("name", sorted(RECORDS[CASE].arrays))
def test_a_perturbed_array_makes_the_comparison_fail(name: str) -> None:
    record = RECORDS[CASE]
    array = record.arrays[name].copy()
    array.flat[array.size // 2] += 1e-3
    assert len(list(find_differences(record, record._replace(arrays=record.arrays | {name: array})))) == 1
    shorter = record._replace(arrays=record.arrays | {name: array[:-1]})
    assert "shape" in next(find_differences(record, shorter))
    without = {other: values for other, values in record.arrays.items() if other != name}
    assert any(find_differences(record, record._replace(arrays=without)))


def test_a_network_with_one_other_weight_is_found_out(
    monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    case = next(case for case in CASES if case.key == CASE)
    spread = golden_recipe.spread

    def drifted(numbers: np.ndarray, spec: Any) -> np.ndarray:
        values = spread(numbers, spec).copy()
        values.flat[0] += 1e-3
        return values

    monkeypatch.setattr(golden_recipe, "spread", drifted)
    told = "\n".join(find_differences(RECORDS[CASE], record_case(case)))
    assert "/weights/filled" in told and "/nodes/" in told and "head0" in told


def test_a_case_that_one_set_lacks_is_told() -> None:
    fewer = {key: record for key, record in RECORDS.items() if key != CASE}
    assert compare_records(RECORDS, fewer) == compare_records(fewer, RECORDS)
    assert compare_records(RECORDS, fewer) == [f"{CASE}: only in one of the two sets"]
    assert compare_records(RECORDS, RECORDS) == []


def test_numbers_that_are_none_are_compared_too() -> None:
    one = GoldenRecord({"mean": float("nan")}, {})
    assert list(find_differences(one, one)) == []
    assert any(find_differences(one, GoldenRecord({"mean": 1.0}, {})))
