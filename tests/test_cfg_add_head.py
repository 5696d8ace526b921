"""`yolor cfg add-head`: where a head is added, what else changes; the old network stays as it was."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from proofs import SHARED, skip_absent

from yolor_cfg.analysis.cfg_diff import compare_graphs
from yolor_cfg.analysis.head_add import AddedHead, add_head
from yolor_cfg.analysis.head_weights import move_weights
from yolor_cfg.cli import main
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.transfer import plan_weights
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import new_header
from yolor_cfg.weights.loading import open_network

CFG = Path(__file__).resolve().parents[1] / "cfg"
CORPUS = SHARED / "corpus" / "cfg"
ANCHORS = "10,14, 23,27, 37,58, 81,82"


def convolution(filters: int, size: int = 3, stride: int = 1) -> str:
    return (
        f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        "activation=leaky\n\n"
    )


def head(mask: str) -> str:
    return (
        "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n\n"
        f"[yolo]\nmask = {mask}  # mine\nanchors = {ANCHORS}\nclasses=2\nnum=4\nignore_thresh=.7\n\n"
    )


NET = "# a net\n[net]\nwidth=64\nheight=64\nchannels=3\n\n"
BACKBONE = "".join(convolution(8 * 2**i, stride=2) + convolution(8 * 2**i) for i in range(4))  # to stride 16
COARSE = convolution(32, 1) + convolution(64) + head("2,3")  # 8 to 11
UP = (
    "[route]\nlayers=-4\n\n" + convolution(16, 1) + "[upsample]\nstride=2\n\n[route]\nlayers=-1, 5\n\n"
)  # to 15
FINE = convolution(32, 1) + convolution(64) + head("0,1")  # 16 to 19
SMALL = NET + BACKBONE + COARSE + UP + FINE
SINGLE = NET + convolution(14, stride=8) + head("0,1").partition("\n\n")[2]
ODD = NET.replace("64", "72") + convolution(8, stride=16) + convolution(8) + head("0,1")


def graph_of(text: str, dialect: str | None = None) -> Graph:
    return build_graph(parse(text, "a.cfg"), ReadOptions(dialect))


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", "add-head", *(str(arg) for arg in args)])


def strides_of(graph: Graph) -> list[float]:
    return [graph.stride(index)[0] for index in graph.outputs]


def seeded(graph: Graph) -> Network:
    """The network with weights that are not those of its start."""
    torch.manual_seed(1)
    network = Network(graph).eval()
    for tensor in network.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand_like(tensor) * 0.2 + 0.05)
    return network


def outputs_of(network: Network) -> list[torch.Tensor]:
    image = network.graph.image
    with torch.no_grad():
        return network(torch.rand(1, *image, generator=torch.Generator().manual_seed(2)))


def assert_old_outputs_stay(old: Network, new: Network, added: AddedHead) -> None:
    """The heads of the old network give to the bit what they gave; the new one gives a map of its own."""
    before = dict(zip(old.graph.outputs, outputs_of(old), strict=True))
    after = dict(zip(new.graph.outputs, outputs_of(new), strict=True))
    for index, value in before.items():
        assert torch.equal(after.pop(added.number_of(index)), value)
    (value,) = after.values()
    assert value.isfinite().all() and value.std() > 0


def test_a_finer_head_joins_the_fused_features_with_the_backbone_of_its_stride() -> None:
    added = add_head(graph_of(SMALL), 2)
    assert strides_of(added.graph) == [16, 8, 4]
    nodes = added.graph.nodes
    assert (added.start, added.size, added.is_behind) == (20, 12, True)
    assert nodes[20].sources == (16,), "the 1x1 convolution that the finest head is made from"
    assert nodes[23].sources == (3,), "the last map of stride 4 on the way down"
    assert nodes[25].sources == (24, 22) and nodes[25].shape == (32, 16, 16)
    assert nodes[-2].shape.channels == 2 * (2 + 5)
    kinds = [node.section.type for node in nodes[20:]]
    assert kinds[:6] == ["route", "convolutional", "upsample", "route", "convolutional", "route"]
    assert kinds[6:] == ["convolutional"] * 5 + ["yolo"]


def test_a_coarser_head_goes_on_from_the_coarsest_by_a_stride_of_2() -> None:
    added = add_head(graph_of(SMALL), 5)
    assert strides_of(added.graph) == [16, 8, 32]
    assert added.graph.nodes[20].sources == (8,) and added.graph.nodes[21].shape == (32, 2, 2)
    heads = [node.section for node in added.graph.heads]
    assert [one.mask for one in heads] == [(2, 3), (0, 1), (4, 5)]
    assert all(one.anchors == (10, 14, 23, 27, 37, 58, 81, 82, 74, 116, 162, 164) for one in heads)


def test_anchors_of_a_finer_head_come_first_and_masks_move_on() -> None:
    """Half of 10,14 and 23,27, in whole pixels."""
    heads = [node.section for node in add_head(graph_of(SMALL), 2).graph.heads]
    assert [one.mask for one in heads] == [(4, 5), (2, 3), (0, 1)]
    assert all(one.anchors == (5, 7, 12, 14, 10, 14, 23, 27, 37, 58, 81, 82) for one in heads)
    assert all(one.num == 6 for one in heads)


def test_anchors_of_ones_own_may_be_another_number_than_those_of_the_other_heads() -> None:
    graph = add_head(graph_of(SMALL), 2, [(3, 4), (5, 6), (7.5, 8)]).graph
    new = graph.heads[-1].section
    assert new.mask == (0, 1, 2) and new.anchors[:6] == (3, 4, 5, 6, 7.5, 8)
    assert graph.nodes[-2].shape.channels == 3 * (2 + 5)
    assert graph.heads[0].section.mask == (5, 6)


def test_keys_comments_and_order_stay_as_they_are() -> None:
    text = add_head(graph_of(SMALL), 2).text
    wanted = SMALL.replace("mask = 2,3 ", "mask = 4,5 ").replace("mask = 0,1 ", "mask = 2,3 ")
    wanted = wanted.replace(ANCHORS, "5,7,  12,14,  " + ANCHORS).replace("num=4", "num=6")
    assert text.startswith(wanted) and "# a head at P2" in text[len(wanted) :]
    assert text.count("ignore_thresh=.7") == 3, "the new head learns as the others do"


def test_the_line_endings_of_the_file_are_kept() -> None:
    text = add_head(graph_of(SMALL.replace("\n", "\r\n")), 2).text
    assert text.count("\r\n") == text.count("\n")
    assert add_head(graph_of(SMALL.rstrip()), 2).graph.nodes[-1].section.type == "yolo"


def test_the_old_network_is_part_of_the_new_one() -> None:
    graph = graph_of(SMALL)
    added, old = add_head(graph, 2), seeded(graph)
    assert_old_outputs_stay(old, move_weights(old, added.graph, added.number_of), added)


def test_training_takes_the_weights_of_the_old_network_as_they_are(tmp_path: Path) -> None:
    graph = graph_of(SMALL)
    added, old = add_head(graph, 2), seeded(graph)
    path = tmp_path / "old.weights"
    write_weights(old, path, header=new_header(graph, 0))
    new = Network(added.graph).eval()
    taken = plan_weights(added.graph, path, names=("a", "b"))(new)
    assert {*taken.whole, *taken.partial} == {node.index for node in graph.nodes if node.tensors} and min(
        taken.fresh
    ) >= added.start
    assert_old_outputs_stay(old, new, added)


@pytest.mark.parametrize("level", [2, 6])
def test_before_the_finest_head_of_yolor_references_to_what_follows_are_corrected(level: int) -> None:
    """YOLOR's loss weights the heads by their order: a finer one comes first. All layers stay what they were:
    the comparison follows references, whatever their numbers are."""
    graph = load_graph(CFG / "yolor_csp.cfg")
    added = add_head(graph, level)
    assert strides_of(added.graph) == ([4, 8, 16, 32] if level == 2 else [8, 16, 32, 64])
    assert added.is_behind == (level == 6)
    diff = compare_graphs(graph, added.graph)
    pairs = [pair for pair in diff.pairs if pair.before and pair.after]
    for old in graph.nodes:
        assert added.graph.nodes[added.number_of(old.index)].sources == tuple(
            map(added.number_of, old.sources)
        )
    changed = [pair for pair in pairs if pair.changes]
    keys = {pair.before.index: {one.key for one in pair.changes} for pair in changed if pair.before}
    heads = {"anchors", "num", "mask"} if level == 2 else {"anchors", "num"}
    assert keys == dict.fromkeys(graph.outputs, heads)
    assert len(diff.pairs) - len(pairs) == added.size


def test_absolute_and_relative_references_across_the_new_layers_are_both_corrected() -> None:
    """In the dialect of YOLOR, with the finest head first and a coarser one that starts from before it."""
    start = "".join(convolution(8 * 2**i, stride=2) + convolution(8 * 2**i) for i in range(3))
    first = convolution(32, 1) + "[route]\nlayers=6\n\n" + convolution(64) + head("0,1")  # 6 to 10
    second = "[route]\nlayers=-5\n\n" + convolution(16, stride=2) + "[route]\nlayers=-1,12 # twice\n\n"
    text = NET.replace("width", "dialect=yolor\nwidth") + start + first + second + head("2,3")
    graph = graph_of(text)
    added = add_head(graph, 2)
    assert (added.start, added.size) == (7, 12) and strides_of(added.graph) == [4, 8, 16]
    for old in graph.nodes[7:]:
        new = added.graph.nodes[added.number_of(old.index)]
        assert new.sources == tuple(map(added.number_of, old.sources))
    assert "layers=-17\n" in added.text and "layers=-1,24 # twice\n" in added.text
    network = seeded(graph)
    assert_old_outputs_stay(network, move_weights(network, added.graph, added.number_of), added)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("AlexeyAB__darknet__yolov3.cfg", [32, 16, 8, 4]),
        ("AlexeyAB__darknet__yolov4.cfg", [8, 16, 32, 4]),
        ("AlexeyAB__darknet__yolov4-tiny.cfg", [32, 16, 8]),
        ("AlexeyAB__darknet__yolov4-csp.cfg", [8, 16, 32, 4]),
        ("AlexeyAB__darknet__yolov7.cfg", [8, 16, 32, 4]),
        ("AlexeyAB__darknet__yolov4-p6.cfg", [8, 16, 32, 64, 4]),
    ],
)
def test_real_networks_take_a_finer_head(name: str, levels: Sequence[int]) -> None:
    if not CORPUS.is_dir():
        skip_absent()
    graph = load_graph(CORPUS / name)
    added = add_head(graph, min(levels).bit_length() - 1)
    assert strides_of(added.graph) == levels
    masks = [number for node in added.graph.heads for number in node.section.mask]
    known = [number for node in graph.heads for number in node.section.mask]
    assert len(set(masks)) == len(masks) - (len(known) - len(set(known)))
    kinds = [pair.kind for pair in compare_graphs(graph, added.graph).pairs]
    assert kinds.count("added") == added.size and "removed" not in kinds
    assert kinds.count("changed") == len(graph.outputs)


@pytest.mark.parametrize(
    ("text", "level", "message"),
    [
        (SMALL, 1, "no such place for a head"),
        (SMALL, 3, "no such place for a head"),
        (SMALL.replace("=64", "=80"), 5, "does not divide into the cells of a head at P5"),
        (
            NET.replace("64", "72") + convolution(8, stride=16) + convolution(8) + head("0,1"),
            2,
            "its stride is no power of 2",
        ),
        (SMALL.replace(ANCHORS, "1,1," + ANCHORS[5:], 1), 2, "the heads have different lists of anchors"),
        (SMALL + "[route]\nlayers=16\n" + head("0,1"), 2, "several heads have the same stride"),
        (
            NET + convolution(14, stride=8) + head("0,1").partition("\n\n")[2],
            2,
            "no two convolutions before this head",
        ),
        (NET + convolution(8, stride=8) + convolution(8) + head("0,1"), 2, "no feature map for a head at P2"),
        (SMALL.replace("width", "dialect=ultralytics\nwidth"), 2, "knows heads of stride 32, 16, 8 alone"),
        (NET + convolution(8), 2, "no head of this network has anchors"),
        (
            NET + convolution(14, stride=8) + "[region]\nanchors=1,1, 2,2\nnum=2\nclasses=2\n",
            2,
            "another head cannot stand beside this one",
        ),
    ],
)
def test_where_there_is_no_place_it_is_refused_with_the_reason(text: str, level: int, message: str) -> None:
    with pytest.raises(CfgError) as refused:
        add_head(graph_of(text), level)
    assert message in refused.value.message and refused.value.path == "a.cfg"


def test_the_command_shows_the_difference_and_writes_a_new_file(tmp_path: Path) -> None:
    cfg = tmp_path / "a.cfg"
    cfg.write_text(SMALL)
    result = yolor(cfg, "p2", "--anchors", "3,4, 5,6")
    assert result.exit_code == 0, result.output
    anchors = "+anchors = 3,4,  5,6,  10,14, 23,27, 37,58, 81,82"
    for line in ("-mask = 2,3  # mine", "+mask = 4,5  # mine", anchors):
        assert f"\n{line}\n" in result.stdout
    assert "new: 12 layers, 20 to 31" in result.stderr
    assert "layers 0 to 19 are where they were" in result.stderr
    assert strides_of(load_graph(tmp_path / "a-p2.cfg")) == [16, 8, 4] and cfg.read_text() == SMALL
    again = yolor(cfg, "P2")
    assert again.exit_code != 0 and "a-p2.cfg" in again.stderr and "--force" in again.stderr
    assert yolor(cfg, "Q2").exit_code == 2 and yolor(cfg, "P4", "--force").exit_code == 2


def test_the_weights_for_the_new_network_are_written_too(tmp_path: Path) -> None:
    cfg, weights, out = tmp_path / "a.cfg", tmp_path / "a.weights", tmp_path / "b.pt"
    cfg.write_text(SMALL)
    old = seeded(load_graph(cfg))
    write_weights(old, weights, header=new_header(old.graph, 640))
    result = yolor(cfg, "P2", "--weights", weights, out)
    assert result.exit_code == 0, result.output
    new = open_network(tmp_path / "a-p2.cfg", out).network
    assert_old_outputs_stay(old, new, add_head(old.graph, 2))
    refused = yolor(cfg, "P2", "-o", tmp_path / "c.cfg", "--weights", weights, out)
    assert refused.exit_code == 4 and not (tmp_path / "c.cfg").exists()
