"""What differs between two networks: layers aligned, keys by the values that count, sizes and costs.

Comments, order of keys, spelling of numbers and defaults that are written out make no difference; a reference
is equal where it leads to the same layer, whatever its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.lang.keys import BOTH, NONE, Key, SectionNumber
from yolor_cfg.lang.lists import RefList
from yolor_cfg.sections import Section
from yolor_cfg.sections.manual import find_use, format_value

MAX_CELLS = 4_000_000  # pairs of layers that are weighed; beyond, layers are paired by their order
DIALECT_KEY = "dialect"  # of [net]: what it changes is told by the facts
PAIR_SCORE, KEYS_SCORE, CHANNELS_SCORE = 0.5, 1.5, 0.5
"""What it is worth to pair two layers of one type, at most for their equal keys, and for equal channels."""
SAME, CHANGED, RESIZED, ADDED, REMOVED = "same", "changed", "resized", "added", "removed"


class KeyChange(NamedTuple):
    """A key, or a fact of the dialect, whose value differs; a value that is a default is marked as one."""

    key: str
    before: str
    after: str
    use: str


class LayerPair(NamedTuple):
    """Two layers that stand for each other, or one that has no counterpart."""

    before: Node | None
    after: Node | None
    changes: tuple[KeyChange, ...] = ()

    @property
    def kind(self) -> str:
        """What became of the layer; one is resized if nothing but its input differs."""
        if self.before is None or self.after is None:
            return ADDED if self.before is None else REMOVED
        if self.changes:
            return CHANGED
        return SAME if (self.before.shape, self.before.inputs) == self._sizes_after else RESIZED

    @property
    def _sizes_after(self) -> Any:
        return (self.after.shape, self.after.inputs) if self.after else None


class CfgDiff(NamedTuple):
    """Two networks, what differs in [net], and all of their layers in order."""

    before: Graph
    after: Graph
    net: tuple[KeyChange, ...]
    pairs: tuple[LayerPair, ...]

    @property
    def is_equal(self) -> bool:
        """Whether they are one network, trained in one way."""
        return not self.net and all(pair.kind == SAME for pair in self.pairs)


def compare_graphs(before: Graph, after: Graph) -> CfgDiff:
    """What differs between two networks."""
    aligned = list(_align(before.nodes, after.nodes))
    known = {old.index: new.index for old, new in aligned if old and new} | {IMAGE_INDEX: IMAGE_INDEX}
    pairs = tuple(
        LayerPair(old, new, tuple(find_changes(old.section, new.section, known)) if old and new else ())
        for old, new in aligned
    )
    net = [change for change in find_changes(before.net, after.net, known) if change.key != DIALECT_KEY]
    return CfgDiff(before, after, (*net, *_find_facts(before, after)), pairs)


def _find_facts(before: Graph, after: Graph) -> Iterator[KeyChange]:
    """The facts in which the dialects differ, as far as a section goes by them."""
    sections = [node.section for node in (*before.nodes, *after.nodes)]
    for fact in dict.fromkeys(fact for section in sections for fact in section.facts()):
        old, new = (getattr(graph.dialect, fact) for graph in (before, after))
        if old != new:
            yield KeyChange(f"{fact} of the dialect", format_value(old), format_value(new), BOTH)


def find_changes(old: Section, new: Section, known: Mapping[int, int]) -> Iterator[KeyChange]:
    """The keys that one of two sections of the same type gives and that differ in value. `known` leads from
    numbers of layers to those of their counterparts."""
    for name in dict.fromkeys((*old.lines, *new.lines)):
        key = old.keys.get(name)
        if key is None:
            before, after = (_quote_foreign(section, name) for section in (old, new))
            if before != after:
                yield KeyChange(name, before, after, NONE)
        elif not _is_same(key, (old, new), known):
            before, after = (_quote_value(section, key) for section in (old, new))
            yield KeyChange(name, before, after, find_use(type(old), name)[0])


def _quote_foreign(section: Section, name: str) -> str:
    """The text of a key that means nothing here."""
    return section.lines[name].value if name in section.lines else "none"


def _quote_value(section: Section, key: Key[Any]) -> str:
    value = format_value(getattr(section, key.attribute))
    return value if key.name in section.values else f"{value} (default)"


def _is_same(key: Key[Any], sections: tuple[Section, Section], known: Mapping[int, int]) -> bool:
    before, after = (getattr(section, key.attribute) for section in sections)
    if not isinstance(key, RefList | SectionNumber) or before in (None, ()) or after in (None, ()):
        return bool(before == after)
    numbers, others = (
        section.resolve_refs(value if isinstance(value, tuple) else (value,), key.name, forward=True)
        for section, value in zip(sections, (before, after), strict=True)
    )
    return tuple(map(known.get, numbers)) == others


def _align(before: Sequence[Node], after: Sequence[Node]) -> Iterator[tuple[Node | None, Node | None]]:
    """Layers with their counterparts, in order: what is equal at both ends, and between them the pairs of one
    type that have most in common."""
    likeness = _Likeness()
    start = _count_equal(before, after, likeness)
    most, shift = min(len(before), len(after)) - start, len(after) - len(before)
    end = min(_count_equal(before[::-1], after[::-1], likeness, shift=shift), most)
    yield from zip(before[:start], after[:start], strict=True)
    rest = before[start : len(before) - end], after[start : len(after) - end]
    yield from _align_rest(*rest, likeness)
    yield from zip(before[len(before) - end :], after[len(after) - end :], strict=True)


def _count_equal(
    before: Sequence[Node], after: Sequence[Node], likeness: _Likeness, *, shift: int = 0
) -> int:
    """How many layers from the start on are equal, and read layers of the same number or, at the end of the
    files, of the number that is `shift` further on."""
    count = 0
    for old, new in zip(before, after, strict=False):
        sources = zip(old.sources, new.sources, strict=False)
        leads_there = all(theirs - ours in (0, shift) for ours, theirs in sources)
        if not (likeness.is_equal(old.section, new.section) and leads_there):
            break
        count += 1
    return count


def _align_rest(
    before: Sequence[Node], after: Sequence[Node], likeness: _Likeness
) -> Iterator[tuple[Node | None, Node | None]]:
    if len(before) * len(after) > MAX_CELLS:
        numbers = [(i, i) for i in range(min(len(before), len(after))) if _same_type(before[i], after[i])]
    else:
        numbers = _best_pairs(before, after, likeness)
    for (i, j), (next_i, next_j) in pairwise([(-1, -1), *numbers, (len(before), len(after))]):
        if i >= 0:
            yield before[i], after[j]
        yield from ((node, None) for node in before[i + 1 : next_i])
        yield from ((None, node) for node in after[j + 1 : next_j])


def _same_type(old: Node, new: Node) -> bool:
    return old.section.type == new.section.type


def _best_pairs(before: Sequence[Node], after: Sequence[Node], likeness: _Likeness) -> list[tuple[int, int]]:
    """The pairs, in order, whose scores have the largest sum (Needleman and Wunsch, with free gaps)."""
    width = len(after) + 1
    sums = [[0.0] * width for _ in range(len(before) + 1)]  # [i][j]: the best of before[i:] and after[j:]
    for i in reversed(range(len(before))):
        below, row = sums[i + 1], sums[i]
        for j in reversed(range(len(after))):
            row[j] = max(below[j], row[j + 1], below[j + 1] + likeness.score(before[i], after[j]))
    pairs, i, j = [], 0, 0
    while i < len(before) and j < len(after):
        score = likeness.score(before[i], after[j])
        if score and sums[i][j] == sums[i + 1][j + 1] + score:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif sums[i][j] == sums[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


class _Likeness:
    """How much two layers have in common, worked out once for all with the same text."""

    def __init__(self) -> None:
        self._contents: dict[int, int] = {}  # by the id of a section, which lives as long as its graph
        self._numbers: dict[Any, int] = {}
        self._shares: dict[tuple[int, int], float] = {}

    def is_equal(self, old: Section, new: Section) -> bool:
        """Whether they have the same keys, but for where they refer to."""
        return self._content(old) == self._content(new)

    def score(self, old: Node, new: Node) -> float:
        """What it is worth to pair these layers; 0 if they are of different types."""
        if not _same_type(old, new):
            return 0.0
        has_channels = old.shape.channels == new.shape.channels
        return PAIR_SCORE + KEYS_SCORE * self._share(old.section, new.section) + CHANNELS_SCORE * has_channels

    def _share(self, old: Section, new: Section) -> float:
        """Of the keys that one of them gives, the part that is equal."""
        question = self._content(old), self._content(new)
        if question not in self._shares:
            names = {*self._names(old), *self._names(new)}
            equal = sum(getattr(old, name, None) == getattr(new, name, None) for name in names)
            self._shares[question] = equal / len(names) if names else 1.0
        return self._shares[question]

    def _content(self, section: Section) -> int:
        if id(section) not in self._contents:
            values = tuple((name, getattr(section, name)) for name in sorted(self._names(section)))
            number = self._numbers.setdefault((section.type, values), len(self._numbers))
            self._contents[id(section)] = number
        return self._contents[id(section)]

    @staticmethod
    def _names(section: Section) -> list[str]:
        """The attributes of the keys that it gives, without those that refer to layers."""
        keys = [section.keys[name] for name in section.values]
        return [key.attribute for key in keys if not isinstance(key, RefList | SectionNumber)]
