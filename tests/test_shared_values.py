"""Sections with the same text share what was read: never what depends on more than the text."""

import pickle

from yolor_cfg.count import count_costs
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.sections.base import MAX_DERIVED

NET = "[net]\nwidth={0}\nheight={0}\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n"


def read(text: str, size: int = 8, dialect: str | None = None) -> Graph:
    return build_graph(parse(NET.format(size) + text), ReadOptions(dialect))


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


def test_equal_sections_keep_their_own_numbers_and_lines() -> None:
    graph = read(CONV + CONV + CONV)
    _, second, third = graph.nodes
    assert second.answers is third.answers
    assert [(node.index, node.line) for node in graph.nodes] == [(0, 5), (1, 9), (2, 13)]
    costs = count_costs(graph).nodes
    assert [cost.number for cost in costs] == [0, 1, 2]
    assert [cost.parameters for cost in costs] == [4 * 3 + 4, 4 * 4 + 4, 4 * 4 + 4]


def test_the_same_text_in_another_dialect_is_another_section() -> None:
    text = "[convolutional]\nfilters=4\nsize=3,5\npad=1\nactivation=linear\n"
    listed, single = (count_costs(read(text, dialect=name)).parameters for name in ("yolor", "darknet"))
    assert single == 4 * 3 * 3 * 3 + 4
    assert listed != single


def test_an_odd_value_is_told_on_each_of_its_lines() -> None:
    odd = CONV.replace("size=1", "size=1  # wide")
    graph = read(odd + odd + odd.replace("filters=4", "filters=5"))
    assert [warning.line for warning in graph.warnings if warning.key == "size"] == [7, 11, 15]
