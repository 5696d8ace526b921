"""Another number of classes, or another image size, written into the text of a cfg."""

from __future__ import annotations

from typing import Any, NamedTuple

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.graph import DEFAULT_OPTIONS, Draft, Node, ReadOptions, build_graph, draft_graph, raise_faults
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.syntax import Document, parse
from yolor_cfg.sections import Section

# What AlexeyAB's README says of training on data of one's own.
BATCHES_PER_CLASS, LEAST_BATCHES = 2000, 6000
STEP_PERCENTAGES = (80, 90)
SIDES = {"width", "height"}
WIDTH_KEYS = ("filters", "output")
"""The keys that set how many channels a section gives."""


class ClassCount(NamedTuple):
    """How many classes there are to be, and how many images train them (0 where nobody said)."""

    classes: int
    images: int = 0

    @property
    def max_batches(self) -> int:
        """Iterations by Darknet's advice."""
        return max(self.classes * BATCHES_PER_CLASS, self.images, LEAST_BATCHES)


def replace_classes(document: Document, wanted: ClassCount, reading: ReadOptions = DEFAULT_OPTIONS) -> str:
    """The text of the cfg for this many classes: heads, what sets their input, and the length of training.

    Heads that do not fit the section before them are mended; raises CfgError for every other fault, and where
    the new text would not be a network.
    """
    draft = draft_graph(document, reading)
    heads = _class_heads(draft)
    change = _ClassChange(draft, {node.index: node for node in draft.nodes}, TextEdits.nothing(), {})
    for node in heads:
        head: Any = node.section
        _refuse_unclear_classes(node)
        change.set_classes(head, wanted.classes)
        width = head.channels_for(wanted.classes, node.inputs[0])
        change.set_width(node, node.sources[0], width)
    if "classes" in heads[0].section.keys:  # the advice is for detectors
        change.set_schedule(wanted)
    text = apply_text_edits(document, change.edits)
    build_graph(parse(text, document.path), reading._replace(dialect=draft.told.dialect.name))
    return text


def replace_size(document: Document, size: tuple[int, int], reading: ReadOptions = DEFAULT_OPTIONS) -> str:
    """The text of the cfg for this image height and width; raises CfgError where the network does not take
    it."""
    draft = draft_graph(document, reading._replace(size=size))
    raise_faults(draft.faults, document.path)
    if not SIDES & draft.net.lines.keys() and "inputs" in draft.net.lines:
        found = f"inputs={draft.net.inputs}"
        raise draft.net.error("inputs", "a network on vectors has no image size", found=found)
    edits = TextEdits.nothing()
    for key, length in zip(("height", "width"), size, strict=True):
        edits.set_key(draft.net.raw, draft.net.lines, (key, str(length)))
    return apply_text_edits(document, edits)


def _class_heads(draft: Draft) -> list[Node]:
    """The heads with boxes of classes, else those of a classifier; raises CfgError if there are none, and for
    faults that are not theirs alone."""
    sections = _class_sections(draft)
    nodes = [node for node in draft.nodes if node.index in sections]
    raise_faults([fault for fault in draft.faults if fault.number not in sections], draft.net.path)
    if len(nodes) < len(sections):
        raise_faults(draft.faults, draft.net.path)
    if not nodes:
        raise CfgError(
            "no head of this network has classes",
            path=draft.net.path,
            allowed="[yolo], [Gaussian_yolo], [jde], [region], [detection], [softmax], [cost]",
        )
    return nodes


def _refuse_unclear_classes(node: Node) -> None:
    """Raise CfgError for the head of a classifier that does not read one number for each class."""
    groups, x = getattr(node.section, "groups", 1), node.inputs[0]
    if "classes" not in node.section.keys and (x.area > 1 or groups > 1):
        raise node.section.error(
            "groups" if groups > 1 else "",
            "does not read one number for each class",
            found=str(x) if groups == 1 else str(groups),
            hint="change the filters by hand",
        )


def _class_sections(draft: Draft) -> set[int]:
    """The numbers of the heads: of all with the key `classes`, else of each [softmax], else of each loss."""
    able = [section for section in draft.sections if hasattr(section, "channels_for")]
    kinds = (
        [section for section in able if "classes" in section.keys],
        [section for section in able if section.is_head],
        able,
    )
    return {section.index for section in next(filter(None, kinds), [])}


class _ClassChange(NamedTuple):
    """The changes made so far; `widths` are those of the sections that have been given one."""

    draft: Draft
    nodes: dict[int, Node]
    edits: TextEdits
    widths: dict[int, int]

    def set_classes(self, section: Any, classes: int) -> None:
        """`classes`; a list of counters belongs to the old data set, so it becomes a comment."""
        if getattr(section, "tree", ""):
            raise section.error(
                "tree",
                "the classes are those of this tree",
                found=section.tree,
                hint="delete tree= first: a flat list of classes has none",
            )
        if "classes" in section.keys:
            self._set_key(section, "classes", str(classes))
        if len(section.values.get("counters_per_class", ())) not in (0, classes):
            self.edits.silenced.add(section.lines["counters_per_class"].number)

    def set_width(self, head: Node, index: int, width: int) -> None:
        """Give a section so many channels, in its own key or in those of the sections that it reads."""
        if index not in self.nodes:
            raise head.section.error(
                "classes",
                "the image itself goes into this head",
                hint="put a [convolutional] before it",
            )
        node = self.nodes[index]
        if self.widths.setdefault(index, width) != width:
            raise head.section.error(
                "classes",
                "two heads need different channels of one section",
                found=f"{self.widths[index]} and {width} channels of section {index}, line {node.line}",
                hint="give each head a [convolutional] of its own",
            )
        keys = [key for key in WIDTH_KEYS if key in node.section.keys]
        if keys and not getattr(node.section, "keeps_width", False):
            self._scale_key(node, keys[0], width)
            return
        changes = node.section.resize_inputs(width, *node.inputs)
        if all(change.old == change.new for change in changes) and node.shape.channels != width:
            raise node.section.error(
                "",
                "the channels of a head cannot be changed through this section",
                found=f"{width} channels are needed, {node.shape.channels} come out",
                hint="change it and the sections before it by hand",
            )
        for source, change in zip(node.sources, changes, strict=True):
            if change.old != change.new or source in self.widths:
                self.set_width(head, source, change.new)

    def set_schedule(self, wanted: ClassCount) -> None:
        """max_batches and the steps at 80 % and 90 % of it; earlier steps stay as far as they come first."""
        net = self.draft.net
        if self.draft.told.dialect.is_pytorch and "max_batches" not in net.lines:
            return
        total = wanted.max_batches
        self._set_key(net, "max_batches", str(total))
        if net.policy != "steps" or not net.steps or not net.scales:
            return
        last = [total * percent // 100 for percent in STEP_PERCENTAGES]
        early = [step for step in net.steps[: -len(last)] if step < last[0]]
        paired = net.scales[: len(net.steps)]
        kept = paired[: len(early)] + paired[-len(last) :]
        scales = [*kept, *[kept[-1]] * (len(early) + len(last) - len(kept))]
        self._set_key(net, "steps", ",".join(map(str, early + last)))
        if tuple(scales) != net.scales:
            self._set_key(net, "scales", ",".join(f"{scale:.12g}" for scale in scales))

    def _scale_key(self, node: Node, key: str, width: int) -> None:
        """`filters` or `output`; a matrix has so many numbers of each atom."""
        atoms = getattr(node.section, "atoms", 1)
        filters, rest = divmod(width, atoms)
        if rest:
            raise node.section.error(
                key, "does not divide", found=count_of(width, "number"), allowed=f"a multiple of {atoms}"
            )
        self._set_key(node.section, key, str(filters))

    def _set_key(self, section: Section, key: str, value: str) -> None:
        if key not in section.lines or str(getattr(section, key)) != value:
            self.edits.set_key(section.raw, section.lines, (key, value))
