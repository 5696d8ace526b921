"""The public YOLOv3, YOLOv4 and YOLOR cfgs and our own: rewritten for each family with an equal, and back."""

from pathlib import Path

import pytest
import torch
from proofs import SHARED

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.equality import LARGEST_DIFFERENCE, carry_tensors, prove_equal, seed_tensors
from yolor_cfg.rewrite.translate import TranslatedText, translate

OWN = Path(__file__).parents[1] / "cfg"
FILES = [
    *(path for path in sorted(SHARED.glob("corpus/cfg/*.cfg")) if "yolo" in path.name.lower()),
    *sorted(OWN.glob("yolov4_*.cfg")),
]
TARGETS = ("darknet", "yolor", "ultralytics")


def is_detector(path: Path) -> bool:
    """Whether it can be read and has heads of YOLOv3 or later."""
    try:
        graph = load_graph(path)
    except CfgError:
        return False
    return any(node.section.type in ("yolo", "yolo4") for node in graph.nodes)


def attempt(graph: Graph, to: str) -> TranslatedText | CfgError:
    """The translation, or why there is none."""
    fault = None
    for path in ("out.cfg", "yolov4.cfg"):  # the order of strides of one family goes by the path
        try:
            return translate(graph, to, path)
        except CfgError as found:
            fault = found
    assert fault is not None
    return fault


@pytest.mark.slow
@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_network_is_equal_in_the_other_family_and_after_the_way_back(path: Path, to: str) -> None:
    if not is_detector(path):
        return
    graph = load_graph(path)
    made = attempt(graph, to)
    if isinstance(made, CfgError):
        assert made.exit_code == 2 and made.path == graph.path
        assert made.section or graph.dialect.name == to
        return
    assert prove_equal(graph, made).difference <= LARGEST_DIFFERENCE
    there = build_graph(parse(made.text, made.graph.path))  # without a dialect stated
    assert there.dialect.name == to
    family = graph.dialect.name if graph.dialect.name in TARGETS else "darknet"
    if family == to:
        return
    back = translate(there, family, "out.cfg")
    assert prove_equal(there, back).difference <= LARGEST_DIFFERENCE
    assert [node.shape for node in back.graph.nodes] == [node.shape for node in graph.nodes]
    assert graph.dialect.name != family or same_tensors(graph, made, back)  # others keep other variances


def same_tensors(graph: Graph, made: TranslatedText, back: TranslatedText) -> bool:
    """Whether tensors come back as they were, but for what is rounded in variances."""
    if graph.image.area > 10**6:
        return True
    first = Network(graph).double().eval()
    with torch.no_grad():
        seed_tensors(first, torch.Generator().manual_seed(1))
        second = carry_tensors(first, made.graph, made.owners)
        third = carry_tensors(second, back.graph, back.owners).state_dict()
    old = first.state_dict()
    return old.keys() == third.keys() and all(torch.allclose(old[n], third[n], atol=1e-12) for n in old)
