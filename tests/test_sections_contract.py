"""The contract that every section class keeps, shown on its own examples; a new section needs no new test.

An example is a fragment of a cfg; its last section is the one examined. N = 2 images throughout.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node, ReadOptions, build_graph
from yolor_cfg.lang.dialect import MAIN_DIALECTS
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, Key
from yolor_cfg.lang.lists import FloatList, IntList
from yolor_cfg.lang.syntax import Document, parse
from yolor_cfg.model import Network
from yolor_cfg.ops.windows import ALL, CellSpan
from yolor_cfg.ops.windows import Path as ReadPath
from yolor_cfg.sections import SECTIONS, NetSection, Section
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import read_weights

NET = "[net]\nwidth=24\nheight=16\nchannels=8\n"
IMAGES = 2
CLASSES = sorted(set(SECTIONS.values()) - {NetSection}, key=lambda kind: kind.names)
# Other values of a key, by its kind, that are tried to see whether the key changes anything.
OTHERS: dict[type[Key[Any]], tuple[str, ...]] = {
    Int: ("0", "1", "2", "3", "4", "6", "-1", "-2"),
    Flag: ("0", "1"),
    Float: ("0", "0.5", "2"),
    IntList: ("0", "1", "2", "3", "0,1", "-2"),
    FloatList: ("1,1", "2,3", "1,1,2,2"),
}


class Case(NamedTuple):
    """One example in one dialect, without the lines that are `without`."""

    kind: type[Section]
    number: int
    dialect: str
    without: str = ""

    @property
    def text(self) -> str:
        example = self.kind.examples[self.number]
        lines = (example if example.startswith("[net]") else NET + example).split("\n")
        return "\n".join(line for line in lines if line != self.without)

    @property
    def is_again(self) -> bool:
        """Whether another dialect of the section reads this example too, and comes first."""
        return self.dialect != dialects_of(self.kind, self.kind.examples[self.number])[0]

    def graph(self) -> Graph:
        return build_graph(parse(self.text), ReadOptions(dialect=self.dialect))


class Made(NamedTuple):
    """An example as a network; the node examined with its module, what goes in and what came out."""

    network: Network
    node: Node
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Tensor


def dialects_of(kind: type[Section], example: str) -> tuple[str, ...]:
    """Those of the two main dialects that have the section, else its first; or the one that it names."""
    own = main_dialects(kind)
    return tuple(name for name in kind.dialects if name in own and "dialect=" not in example) or own_dialect(
        kind, example
    )


def main_dialects(kind: type[Section]) -> set[str]:
    return set(kind.dialects) & set(MAIN_DIALECTS) or set(kind.dialects[:1])


def own_dialect(kind: type[Section], example: str) -> tuple[str, ...]:
    return tuple(name for name in kind.dialects if f"dialect={name}\n" in example)


def cases() -> Iterator[Case]:
    """Every example in every dialect of its section in which it can be read."""
    for kind in CLASSES:
        for number, example in enumerate(kind.examples):
            for dialect in dialects_of(kind, example):
                case = Case(kind, number, dialect)
                try:
                    case.graph()
                except CfgError:
                    continue
                yield case


def some_quick(step: int) -> list[Any]:
    """All cases as parameters of a test; all but every `step`-th are slow."""
    return [
        pytest.param(case, marks=[pytest.mark.slow] if number % step else [])
        for number, case in enumerate(cases())
    ]


LOOSE = ("reorg", "reorg3d")
"""In Darknet's forms the rows that are read depend on the height: told are those of any height."""
CASES = list(cases())
per_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind.names[0]}-{c.number}-{c.dialect}")
per_example = pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[pytest.mark.slow] if c.is_again else []) for c in CASES],
    ids=lambda c: f"{c.kind.names[0]}-{c.number}-{c.dialect}",
)
"""As `per_case`; an example in its second dialect is a slow test."""
per_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.names[0])


def made(case: Case, dtype: torch.dtype = torch.float32) -> Made:
    """The example run once on random images, in evaluation mode."""
    torch.manual_seed(0)
    graph = case.graph()
    network = Network(graph).eval().to(dtype)
    seen: dict[str, Any] = {}
    module = network.module_list[-1]
    module.register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs, output=output))
    with torch.no_grad():
        network(torch.rand(IMAGES, *graph.image, dtype=dtype))
    module._forward_hooks.clear()
    output = seen["output"][0] if isinstance(seen["output"], tuple) else seen["output"]
    return Made(network, graph.nodes[-1], module, seen["inputs"], output)


@per_class
def test_a_section_has_a_sentence_and_examples_in_each_of_its_dialects(kind: type[Section]) -> None:
    sentence = (vars(kind).get("__doc__") or "").strip()
    assert sentence.split("\n\n")[0].endswith((".", ":")), kind
    assert {case.dialect for case in CASES if case.kind is kind} >= main_dialects(kind)
    assert {case.number for case in CASES if case.kind is kind} == set(range(len(kind.examples)))


@per_class
def test_every_key_of_a_section_has_a_help(kind: type[Section]) -> None:
    assert [name for name, key in kind.keys.items() if not key.help] == []
    assert [name for name, text in kind.ignored_keys.items() if not text] == []


@per_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inferred_shape_is_the_real_one(case: Case, dtype: torch.dtype) -> None:
    run = made(case, dtype)
    shape = tuple(run.output.shape)
    if run.node.section.is_head and len(shape) == 5:
        images, anchors, height, width, numbers = shape
        shape = images, anchors * numbers, height, width
    # What depends on no image is computed once.
    alone = max((len(x) for x in run.inputs if isinstance(x, Tensor)), default=1)
    assert shape == (alone, *run.node.shape)
    assert run.output.dtype == dtype


@per_case
def test_two_macs_are_what_torch_counts(case: Case) -> None:
    run = made(case)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run.module(*run.inputs)
    macs = run.node.section.macs(run.node.shape, *run.node.inputs) * len(run.output)
    assert 2 * macs == counter.get_total_flops()


@per_case
def test_every_tensor_of_the_state_is_in_tensors_with_its_shape(case: Case) -> None:
    run = made(case)
    state = {name: tuple(tensor.shape) for name, tensor in run.module.state_dict().items()}
    told = {tensor.name: tensor.shape for tensor in run.node.section.tensors(*run.node.inputs)}
    assert told == {name: shape for name, shape in state.items() if not name.endswith("num_batches_tracked")}
    trained = {name for name, _ in run.module.named_parameters()}
    stored = run.node.section.tensors(*run.node.inputs)
    assert {tensor.name for tensor in stored if tensor.is_parameter} == trained
    assert set(run.node.section.decayed()) <= trained


@per_case
def test_weights_written_read_and_written_are_the_same_bytes(case: Case, tmp_path: Path) -> None:
    first, second = tmp_path / "first.weights", tmp_path / "second.weights"
    network = made(case).network
    write_weights(network, first)
    # What is written is never flipped, so it is read by the cfg without that key.
    again = Network(case._replace(without="flipped=1").graph()).eval()
    read_weights(again, first)
    write_weights(again, second)
    assert second.read_bytes() == first.read_bytes()
    stored = [tensor for node in network.graph.nodes for tensor in node.section.tensors(*node.inputs)]
    header = 16 if network.graph.dialect.has_short_header else 20
    assert first.stat().st_size == header + 4 * sum(tensor.size for tensor in stored)


@per_example
def test_a_section_traces_for_export(case: Case) -> None:
    run = made(case)
    traced = torch.export.export(run.module, run.inputs).module()
    with torch.no_grad():
        wanted, got = run.module(*run.inputs), traced(*run.inputs)
    torch.testing.assert_close(got, wanted)


@per_case
def test_a_section_writes_into_none_of_its_inputs(case: Case) -> None:
    run = made(case)
    before = [x.clone() for x in run.inputs if isinstance(x, Tensor)]
    with torch.no_grad():
        run.module(*run.inputs)
    assert all(torch.equal(x, y) for x, y in zip(before, run.inputs, strict=False))


@per_case
def test_a_section_that_takes_a_state_has_an_initial_one(case: Case) -> None:
    run = made(case)
    takes_state = "state" in inspect.signature(run.module.forward).parameters
    assert takes_state == hasattr(run.module, "initial_state")
    if takes_state:
        *inputs, state = run.inputs
        assert isinstance(state, tuple) and all(part.shape[0] == IMAGES for part in state)
        assert all(not part.any() for part in state), "the first state is zero"
        _, after = run.module(*inputs, state)
        assert [part.shape for part in after] == [part.shape for part in state]


@per_class
def test_the_examples_give_every_key_that_matters_another_value_than_its_default(kind: type[Section]) -> None:
    ours = [case for case in CASES if case.kind is kind]
    given = {name for case in ours for name in changed_keys(case)}
    left = [name for name in kind.own_keys() if name not in given]
    assert [name for name in left if any(matters(case, kind.keys[name]) for case in ours)] == []


def matters(case: Case, key: Key[Any]) -> bool:
    """Whether another value of the key gives another shape, other MACs or other tensors."""
    before = measured(case)
    return any(measured(case, key.name, text) not in (None, before) for text in others(key))


def others(key: Key[Any]) -> tuple[str, ...]:
    if isinstance(key, Choice):
        return key.options
    return next((texts for kind, texts in OTHERS.items() if isinstance(key, kind)), ())


def measured(case: Case, name: str = "", text: str = "") -> object:
    """Shape, MACs and tensors of the example, with a key set to `text`; None where that cannot be."""
    try:
        graph = build_graph(changed(case, name, text), ReadOptions(case.dialect)) if name else case.graph()
    except CfgError:
        return None
    node = graph.nodes[-1]
    section = node.section
    return node.shape, section.macs(node.shape, *node.inputs), section.tensors(*node.inputs)


def changed(case: Case, name: str, text: str) -> Document:
    """The example with this value for that key of its last section."""
    before, bracket, last = case.text.rpartition("[")
    lines = [line for line in last.split("\n") if line.partition("=")[0].strip() != name]
    return parse("\n".join([before + bracket + lines[0], *lines[1:], f"{name}={text}"]))


def changed_keys(case: Case) -> Iterator[str]:
    """The keys to which the example gives another value than their default."""
    section = case.graph().nodes[-1].section
    for name, value in section.values.items():
        default = section.keys[name].default
        if value != (default(section) if callable(default) else default):
            yield name


@per_case
def test_a_cell_of_the_output_is_computed_from_the_cells_that_it_says_it_reads(case: Case) -> None:
    run = made(case, torch.float64)
    section, out, inputs = run.node.section, run.node.shape, run.node.inputs
    if section.is_loss:
        return
    sights = section.sights(out, *inputs)
    assert len(sights) == len(inputs)
    for number, (sight, x) in enumerate(zip(sights, inputs, strict=True)):
        for axis in (0, 1):
            touched = touched_cells(run, number, axis)  # [outputs, inputs]
            for cell in range(out[1 + axis]):
                told = told_cells(sight[axis], cell)
                assert_read(touched[cell], told, x[1 + axis], exact=section.type not in LOOSE)


def touched_cells(run: Made, number: int, axis: int) -> Tensor:
    """Of rows (axis 0) or columns, which of an output change with which of an input [outputs, inputs]: those
    that are NaN where it is."""
    length = run.node.inputs[number][1 + axis]
    *values, state = [*run.inputs, None] if len(run.inputs) == len(run.node.inputs) else run.inputs
    many = [value[:1].repeat(length, 1, 1, 1) for value in values]
    for cell in range(length):
        many[number][cell].select(1 + axis, cell).fill_(torch.nan)
    more = () if state is None else (tuple(part[:1].repeat(length, 1, 1, 1) for part in state),)
    with torch.no_grad():
        found = run.module(*many, *more)
    found = found[0] if isinstance(found, tuple) else found
    if found.dim() == 5:
        found = found.movedim(-1, 1).flatten(1, 2)
    found = found.expand(length, -1, -1, -1)
    return found.isnan().any(1).any(2 - axis).T


def told_cells(path: ReadPath, cell: int) -> CellSpan:
    """What a cell reads through these windows."""
    cells = CellSpan(cell, cell)
    for window in path or ():
        cells = window.reach(cells)
    return ALL if path is None else cells


def assert_read(touched: Tensor, told: CellSpan, length: int, *, exact: bool) -> None:
    """The cells that were found lie in those told, and reach as far where the map does not end before."""
    found = touched.nonzero().flatten().tolist()
    inside = CellSpan(max(told.first, 0), min(told.last, length - 1))
    if not found:
        assert inside.is_empty, (found, told)
        return
    assert inside.first <= found[0] and found[-1] <= inside.last, (found, told)
    if exact and told != ALL:
        assert told.first < 0 or found[0] == told.first, (found, told)
        assert told.last >= length or found[-1] == told.last, (found, told)
