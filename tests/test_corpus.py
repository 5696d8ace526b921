"""244 cfgs that people wrote: all build but those that are listed in data/corpus_refused.json with their
message."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from golden import SHARED
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node, build_graph
from yolor_cfg.lang.syntax import Document, format_document, normalize_document, parse, parse_bytes
from yolor_cfg.model import Network

FILES = sorted((SHARED / "corpus" / "cfg").glob("*"))
REFUSED = json.loads((Path(__file__).parent / "data" / "corpus_refused.json").read_text(encoding="utf-8"))
BUILDING = [path for path in FILES if path.name not in {**REFUSED["private"], **REFUSED["damaged"]}]
IMAGES = 2


class Count(NamedTuple):
    """How many cfgs there are and how many build."""

    files: int
    built: int


# These may rise and never fall.
EVERYBODY = Count(files=244, built=235)
ALEXEYAB = Count(files=84, built=82)


def name_of(path: Path) -> str:
    return path.name


def document_of(path: Path) -> Document:
    return parse_bytes(path.read_bytes(), path.name)


def graph_of(path: Path) -> Graph | None:
    try:
        return build_graph(document_of(path))
    except CfgError:
        return None


def as_value(node: Node, output: Tensor | tuple[Tensor, ...]) -> tuple[int, ...]:
    """The shape of a module's output as other sections see it: heads give anchors and numbers apart."""
    shape = tuple((output[0] if isinstance(output, tuple) else output).shape)
    if not node.section.is_head or len(shape) == 4:
        return shape
    images, anchors, height, width, numbers = shape
    return images, anchors * numbers, height, width


def test_so_many_cfgs_build(shared: Path) -> None:
    built = [path.name for path in FILES if graph_of(path) is not None]
    assert Count(len(FILES), len(built)) == EVERYBODY
    with (shared / "corpus" / "index.csv").open(newline="", encoding="utf-8") as file:
        alexeyab = [row["file"] for row in csv.DictReader(file) if row["repo"] == "AlexeyAB/darknet"]
    assert Count(len(alexeyab), len(set(built).intersection(alexeyab))) == ALEXEYAB


def one_of(count: int) -> list[ParameterSet]:
    """All of them as parameters of a test; all but one of so many are slow tests."""
    return [
        pytest.param(path, id=name_of(path), marks=[pytest.mark.slow] if number % count else [])
        for number, path in enumerate(BUILDING)
    ]


@pytest.mark.parametrize("path", one_of(8))
def test_inferred_shapes_are_the_real_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHARED / "golden" / "darknet")  # one names data/9k.tree
    graph = build_graph(document_of(path))
    with torch.device("meta"), torch.no_grad():
        network = Network(graph).eval()
        shapes: dict[int, tuple[int, ...]] = {}
        for node, module in zip(graph.nodes, network.module_list, strict=True):
            module.register_forward_hook(
                lambda module, inputs, output, node=node: shapes.update({node.index: as_value(node, output)})
            )
        network(torch.empty(IMAGES, *graph.image))
    assert shapes == {node.index: (IMAGES, *node.shape) for node in graph.nodes}


@pytest.mark.parametrize(("name", "lines"), REFUSED["private"].items())
def test_private_sections_of_forks_are_named(name: str, lines: list[str], shared: Path) -> None:
    with pytest.raises(CfgError) as caught:
        build_graph(document_of(shared / "corpus" / "cfg" / name))
    assert [line for line in str(caught.value).splitlines() if line[0] != " "] == lines


@pytest.mark.parametrize(("name", "lines"), REFUSED["damaged"].items())
def test_damaged_cfgs_are_refused_with_the_reason(name: str, lines: list[str], shared: Path) -> None:
    with pytest.raises(CfgError) as caught:
        build_graph(document_of(shared / "corpus" / "cfg" / name))
    assert str(caught.value).splitlines() == lines


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_read_is_written_to_the_byte(path: Path) -> None:
    data = path.read_bytes()
    if b"<<<<<<<" in data:
        with pytest.raises(CfgError, match="merge-conflict marker"):
            document_of(path)
        return
    document = document_of(path)
    assert format_document(document).encode(document.encoding) == data


@pytest.mark.parametrize("path", one_of(4))
def test_the_normal_form_means_the_same(path: Path) -> None:
    document = document_of(path)
    again = build_graph(parse(normalize_document(document), path.name))
    assert normalize_document(again.document) == normalize_document(document)
    graph = build_graph(document)
    assert again.net.values == graph.net.values
    assert [(node.section.type, node.section.values, node.shape) for node in again.nodes] == [
        (node.section.type, node.section.values, node.shape) for node in graph.nodes
    ]
