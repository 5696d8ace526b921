"""The networks of the ablations in the YOLOR paper (arXiv 2105.04206, Tables 1 to 7), one cfg for each row:
`yolor new table4/mul-iPR` writes it.

A row starts from a network of `NETWORKS` without implicit knowledge and inserts what the row specifies:
before the prediction of each level (feature alignment, iFA), after it (prediction refinement, iPR), and at
the start of each task's branch (Table 3).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks.family import NETWORKS, cfg_text
from yolor_cfg.sections import Section

FAST, CSP, LIGHT = "yolov4_csp_fast", "yolov4_csp", "yolov4_p6_light"
# The paper does not give the length of its embeddings; 512 is that of the work it takes the task from
# (Towards Real-Time Multi-Object Tracking, arXiv 1909.12605).
EMBEDDING_LENGTH = 512


class ImplicitOperator(NamedTuple):
    """The sections of an operator: the implicit one, and the one that combines it with a map."""

    implicit: str
    combine: str


OPERATORS = {
    "+": ImplicitOperator("implicit_add", "shift_channels"),
    "×": ImplicitOperator("implicit_mul", "control_channels"),
    "⊕": ImplicitOperator("implicit_cat", "alternate_channels"),
}


class Ablation(NamedTuple):
    """One row: its name in the paper, the network it starts from, the operators of iFA and iPR ("" for none),
    the model of iFA's z, whether these are the starred variants (iFA: one factor per anchor for its share of
    the features; iPR: only width and height), the second task, whether that has its own implicit knowledge,
    and whether a Markov chain leads to it from the detector's (section 4.2)."""

    paper_name: str
    base: str = FAST
    align: str = ""
    refine: str = ""
    model: str = "vector"
    is_starred: bool = False
    task: str = ""
    own: bool = False
    chain: bool = False


class HeadLevel(NamedTuple):
    """One level of a network without implicit knowledge: its number, counted from the finest; the indices of
    its first section, its prediction and its head; the input and output channels of the prediction, and its
    number of anchors."""

    number: int
    first: int
    prediction: int
    head: int
    features: int
    predictions: int
    anchors: int


BASELINE = Ablation("baseline")
IFA = Ablation("+ iFA", align="+")
JDC = Ablation("JDC", CSP, task="classification")
JDE = Ablation("JDE", CSP, task="embedding")
TABLES: dict[str, dict[str, Ablation]] = {
    "table1": {"baseline": BASELINE, "iFA": IFA},
    "table2": {"baseline": BASELINE, "iPR": Ablation("+ iPR", refine="+")},
    "table3": {
        "baseline": Ablation("baseline", CSP),
        "JDC": JDC,
        "iJDC": JDC._replace(paper_name="+ iJDC", align="+", own=True),
        "iJDC-chain": JDC._replace(paper_name="+ iJDC, chained", align="+", own=True, chain=True),
        "JDE": JDE,
        "iJDE": JDE._replace(paper_name="+ iJDE", align="+", own=True),
        "iJDE-chain": JDE._replace(paper_name="+ iJDE, chained", align="+", own=True, chain=True),
    },
    "table4": {
        "baseline": BASELINE,
        "add-iFA": IFA,
        "mul-iFA": Ablation("× iFA", align="×"),
        "cat-iFA": Ablation("⊕ iFA", align="⊕"),
        "add-iPR": Ablation("+ iPR", refine="+"),
        "mul-iPR": Ablation("× iPR", refine="×"),
    },
    "table5": {
        "baseline": BASELINE,
        "mul-iFA-star": Ablation("× iFA*", align="×", is_starred=True),
        "mul-iPR-star": Ablation("× iPR*", refine="×", is_starred=True),
    },
    "table6": {
        "baseline": BASELINE,
        "iFA": IFA,
        "wiFA": Ablation("+ wiFA", align="+", model="network"),
        "icFA": Ablation("+ icFA", align="+", model="factorization"),
    },
    "table7": {
        "baseline1": Ablation("baseline 1"),
        "implicit1": Ablation("implicit 1", align="+", refine="×"),
        "baseline2": Ablation("baseline 2", LIGHT),
        "implicit2": Ablation("implicit 2", LIGHT, align="+", refine="×"),
    },
}


class _VariantWriter:
    """Writes cfg text; `count` is the number of sections after [net] so far."""

    def __init__(self, text: str, count: int) -> None:
        self.text, self.count = text, count

    def add_note(self, comment: str) -> None:
        """Append a comment after a blank line."""
        self.text += f"\n# {comment}\n"

    def add(self, name: str, **keys: object) -> int:
        """Append a section (`from_` is the key `from`); returns its index."""
        lines = [f"{key.rstrip('_')}={value}" for key, value in keys.items()]
        self.text += "\n".join([f"\n[{name}]", *lines]) + "\n"
        self.count += 1
        return self.count - 1

    def copy(self, section: Section, *, name: str = "", **more: object) -> int:
        """Append a copy of a section, perhaps by another name and with more keys; returns its index."""
        keys = {line.key: line.value for line in section.raw.entries}
        return self.add(name or section.raw.name, **keys, **more)


class _ImplicitIndices(NamedTuple):
    """The indices of the implicit sections, fine to coarse: of the alignment, the refinement, and the second
    task's branches."""

    align: list[int]
    refine: list[int]
    own: list[int]


def ablation_text(table: str, row: str, *, base: str = "", classes: int = 80) -> str:
    """The whole cfg text of that row; `base` replaces the paper's network."""
    ablation = TABLES[table][row]
    base = base or ablation.base
    plain = NETWORKS[base]._replace(implicit=False)
    graph = build_graph(parse(cfg_text(base, plain, classes=classes)))
    title = (
        f"# Table {table[5:]}, {ablation.paper_name} ({base}): a row of the ablations in the YOLOR paper.\n\n"
    )
    levels = _find_levels(graph)
    w = _VariantWriter(title + _body_text(graph, levels[0].first), levels[0].first)
    implicit = _write_implicit(w, ablation, levels)
    features = [_write_head(w, ablation, level, graph=graph, implicit=implicit) for level in levels]
    if ablation.task == "classification":
        _write_classification(w, features, implicit.own, classes=classes)
    return w.text


def _find_levels(graph: Graph) -> list[HeadLevel]:
    """The levels of a network, from its graph. Its heads are at the end, all with the same sections."""
    ends = [head.index for head in graph.heads]
    length = ends[1] - ends[0]
    assert all(after - before == length for before, after in pairwise(ends)), ends
    levels = []
    for number, head in enumerate(graph.heads):
        prediction = graph.nodes[head.sources[0]]
        anchors = len(head.section.values["mask"])
        levels.append(
            HeadLevel(
                number,
                head.index - length + 1,
                prediction.index,
                head.index,
                prediction.inputs[0].channels,
                prediction.shape.channels,
                anchors,
            )
        )
    return levels


def _body_text(graph: Graph, end: int) -> str:
    """[net] and all sections before `end`, with their comments."""
    last = graph.nodes[end - 1].section.raw.entries[-1].number
    first = graph.document.net.line
    return "".join(line.text for line in graph.document.lines if first <= line.number <= last)


def _write_implicit(w: _VariantWriter, ablation: Ablation, levels: list[HeadLevel]) -> _ImplicitIndices:
    """Write all implicit sections together, after the neck."""
    if ablation.align or ablation.refine:
        w.add_note("implicit knowledge, for each level from the finest")
    align, refine = [], []
    if ablation.align:
        keys = {} if ablation.model == "vector" else {"model": ablation.model}
        sizes = [level.anchors if ablation.is_starred else level.features for level in levels]
        align = [w.add(OPERATORS[ablation.align].implicit, filters=size, **keys) for size in sizes]
    if ablation.refine:
        sizes = [2 * level.anchors if ablation.is_starred else level.predictions for level in levels]
        refine = [w.add(OPERATORS[ablation.refine].implicit, filters=size) for size in sizes]
    branches = levels[-1:] if ablation.task == "classification" else levels
    own = [
        w.add(
            "implicit_add",
            filters=level.features,
            **({"chain": align[level.number]} if ablation.chain else {}),
        )
        for level in branches
        if ablation.own
    ]
    return _ImplicitIndices(align, refine, own)


def _write_head(
    w: _VariantWriter, ablation: Ablation, level: HeadLevel, *, graph: Graph, implicit: _ImplicitIndices
) -> int:
    """Write one level's head with its implicit knowledge; returns the index of its features."""
    w.add_note(f"head {level.number}, stride {graph.stride(level.head)[0]:.0f}")
    features = level.first - 1
    for node in graph.nodes[level.first : level.prediction]:
        features = w.copy(node.section)
    if implicit.align:
        keys = {"group": "anchors", "anchors": level.anchors} if ablation.is_starred else {}
        w.add(OPERATORS[ablation.align].combine, from_=implicit.align[level.number], **keys)
    prediction = w.copy(graph.nodes[level.prediction].section)
    if implicit.refine:
        keys = {"only": "wh", "anchors": level.anchors} if ablation.is_starred else {}
        w.add(OPERATORS[ablation.refine].combine, from_=implicit.refine[level.number], **keys)
    head = graph.nodes[level.head].section
    if ablation.task == "embedding":
        own = implicit.own[level.number] if implicit.own else None
        w.add("route", layers=f"{prediction},{_write_embedding(w, features, own)}")
        w.copy(head, name="jde", embedding=EMBEDDING_LENGTH)
    else:
        w.copy(head)
    return features


def _write_classification(w: _VariantWriter, features: list[int], own: list[int], *, classes: int) -> None:
    """Classify the whole image (several classes may be present) from the coarsest level's features."""
    w.add_note("joint classification: a probability for each class of the whole image")
    w.add("route", layers=features[-1])
    if own:
        w.add("shift_channels", from_=own[0])
    w.add("avgpool")
    w.add("convolutional", size=1, stride=1, pad=1, filters=classes, activation="linear")
    w.add("logistic")


def _write_embedding(w: _VariantWriter, features: int, own: int | None) -> int:
    """An embedding for each cell of a level, to tell objects apart; returns its index."""
    w.add_note(f"joint embedding: a vector of {EMBEDDING_LENGTH} for each cell, behind the boxes")
    w.add("route", layers=features)
    if own is not None:
        w.add("shift_channels", from_=own)
    return w.add("convolutional", size=1, stride=1, pad=1, filters=EMBEDDING_LENGTH, activation="linear")


def row_named(table: str, word: str) -> str:
    """The row of that name, or of that name in the paper (`+iFA`, `×iPR*`; blanks are ignored).

    Raises CfgError if the table has no such row.
    """
    for row, ablation in TABLES[table].items():
        if word.replace(" ", "") in (row, ablation.paper_name.replace(" ", "")):
            return row
    raise CfgError(f"no such row in {table}", found=word, allowed=list(TABLES[table]))
