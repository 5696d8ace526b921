"""What is declared of the use of each key (`use`, `unused`, `idle`, `untrained`) is what reads it."""

from collections.abc import Iterator
from typing import NamedTuple

import key_reads
import pytest
import test_sections_contract as contract
import torch
from key_reads import BOXES, CHECKED, RUN, Reads

from yolor_cfg.lang.keys import BOTH, INFERENCE, NONE, TRAINING
from yolor_cfg.sections import SECTIONS, Section
from yolor_cfg.sections.manual import find_use
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import read_weights

KINDS = tuple(dict.fromkeys(SECTIONS.values()))
READ_ALL_THE_SAME = {
    "dialect": "read from the text, before there are sections",
    "embedding_layer": "only asked whether that section is there",
    "focal_loss": "of [yolo4]: read, and then that of its program counts, which has none",
}


class Used(NamedTuple):
    """A key of a section, what is declared to go by it, and what reads it in any section that has it."""

    kind: type[Section]
    key: str
    use: str
    readers: frozenset[str]


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reads]:
    with pytest.MonkeyPatch.context() as patch:
        yield key_reads.record(patch, tmp_path_factory.mktemp("reads"))


@pytest.fixture(scope="module")
def used(reads: Reads) -> list[Used]:
    found = []
    for kind in KINDS:
        for name, key in kind.keys.items():
            use, _ = find_use(kind, name)
            sharing = [other for other in KINDS if other.keys.get(name) is key]
            those = [kind] if use == NONE else sharing
            readers = {reader for reader, seen in reads.items() if any((one, name) in seen for one in those)}
            if name not in READ_ALL_THE_SAME or use == TRAINING:
                found.append(Used(kind, name, use, frozenset(readers)))
    return found


def test_what_shapes_a_network_is_read_where_it_is_built_or_checked(used: list[Used]) -> None:
    assert [one for one in used if one.use == BOTH and not one.readers & {RUN, CHECKED}] == []


def test_what_is_for_inference_alone_is_read_where_boxes_are_found(used: list[Used]) -> None:
    assert [one for one in used if one.use == INFERENCE and not {BOXES} <= one.readers - {RUN}] == []


def test_what_is_for_training_alone_is_read_there(used: list[Used]) -> None:
    assert [one for one in used if one.use == TRAINING and not one.readers & {TRAINING, RUN}] == []
    assert [one for one in used if one.use == TRAINING and BOXES in one.readers] == []


def test_what_has_no_use_is_read_nowhere(used: list[Used]) -> None:
    assert [one for one in used if one.use == NONE and one.readers - {CHECKED}] == []


def test_each_use_has_its_keys(used: list[Used]) -> None:
    assert {one.use for one in used} == {BOTH, INFERENCE, TRAINING, NONE}


def test_a_wrong_declaration_is_found(used: list[Used], reads: Reads) -> None:
    """Were jitter declared to shape networks, or classes to be for training, the tests above would fail."""
    by_name = {(one.kind.names[0], one.key): one.readers for one in used}
    assert not by_name["yolo", "jitter"] & {RUN, CHECKED, BOXES}
    assert RUN in by_name["yolo", "classes"] and "classes" not in {key for _, key in built_for_training(used)}


def built_for_training(used: list[Used]) -> list[tuple[type[Section], str]]:
    """Keys for training alone that modules are built with: their effect has to tell."""
    return [(one.kind, one.key) for one in used if one.use == TRAINING and RUN in one.readers]


def test_keys_for_training_that_modules_are_built_with_change_no_output(used: list[Used], tmp_path) -> None:
    tried = set()
    for kind, name in built_for_training(used):
        for case in (one for one in contract.CASES if one.kind is kind):
            plain, other = outputs(case, tmp_path), outputs(case, tmp_path, name)
            assert all(torch.equal(*pair) for pair in zip(plain, other, strict=True)), (kind, name)
            tried.add((kind, name))
    assert tried == set(built_for_training(used)) and tried


def outputs(case: contract.Case, folder, name: str = "") -> tuple[torch.Tensor, ...]:
    """What a trained network gives, with another value of this key than it was trained with."""
    network = contract.Network(case.graph()).eval()
    path = folder / "same.weights"
    if name:
        index = network.graph.nodes[-1].index
        key = case.kind.keys[name]
        default = key.default_for(network.graph.nodes[index].section)
        value = int(1 - default) if isinstance(default, int) else 1 - default
        lines = [line for line in case.text.splitlines() if not line.startswith(f"{name}=")]
        text = "\n".join([*lines, f"{name}={value}"])
        graph = contract.build_graph(contract.parse(text), contract.ReadOptions(dialect=case.dialect))
        network = contract.Network(graph).eval()
        read_weights(network, path)
    else:
        torch.manual_seed(0)
        write_weights(network, path, force=True)
    torch.manual_seed(0)
    with torch.no_grad():
        return network(torch.rand(contract.IMAGES, *network.graph.image))
