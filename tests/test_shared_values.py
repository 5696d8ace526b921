"""Sections with the same text share what was read: never what depends on more than the text."""

import pickle

from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.sections.base import MAX_DERIVED

NET = "[net]\nwidth={0}\nheight={0}\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n"


def read(text: str, size: int = 8) -> Graph:
    return build_graph(parse(NET.format(size) + text))


def test_a_vector_is_not_taken_for_a_map_of_one_cell() -> None:
    flat = read("[avgpool]\n[softmax]\n[route]\nlayers=-1\n")
    mapped = read("[avgpool]\n[route]\nlayers=-1\n" + CONV)
    assert flat.nodes[2].shape == mapped.nodes[1].shape
    assert (flat.nodes[2].shape.is_map, mapped.nodes[1].shape.is_map) == (False, True)


def test_a_pickle_holds_no_sections_of_other_files() -> None:
    read("[convolutional]\nfilters=31337\nactivation=linear\n")
    data = pickle.dumps(read(CONV))
    assert b"31337" not in data
    again: Graph = pickle.loads(data)
    assert [node.shape for node in again.nodes] == [(4, 8, 8)]


def test_answers_for_one_text_are_bounded() -> None:
    for size in range(8, MAX_DERIVED + 20):
        graph = read("[upsample]\nstride=3\n", size)
        assert graph.nodes[0].shape == (3, 3 * size, 3 * size)
    assert len(graph.nodes[0].section.values.derived) == MAX_DERIVED
