"""The PyTorch programs that speak cfg: their golden numbers, and what else they read in their own way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.dialect import DARKNET, DIALECTS
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.heads import YoloHead
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.train.loss import LossRules, detection_loss, initialize_biases
from yolor_cfg.weights.layout import WeightsHeader
from yolor_cfg.weights.loading import read_weights

PROGRAMS = {
    "spurs_depthwise": "spurs",
    "spurs_se": "spurs",
    "spurs_ghost": "spurs",
    "nano_pep_ep_fca": "nano",
    "mcmot_deconvolutional": "mcmot",
    "tsdetection_cbam": "yolor",
    "yolo_asff": "ultralytics",
}
NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
DEPTHWISE = "[depthwise]\nfilters=3\nsize=3\nstride=1\npad=1\nbatch_normalize=1\nactivation=h_swish\n"
HEAD = (
    "[convolutional]\nfilters=7\nsize=1\nstride={}\npad=1\nactivation=linear\n"
    "[yolo]\nmask=0\nclasses=2\nnum=1\nanchors=20,12\nscale_x_y=1.2\nnew_coords=1\n"
)


def read(text: str, path: str = "", dialect: str | None = None) -> Graph:
    return build_graph(parse(NET + text, path), ReadOptions(dialect))


def weights_file(numbers: np.ndarray, folder: Path) -> Path:
    path = folder / "x.weights"
    path.write_bytes(WeightsHeader().to_bytes() + numbers.astype("<f4").tobytes())
    return path


def boxes_of(network: Network, raws: list[Tensor]) -> Tensor:
    """x y w h, objectness and scores of all boxes [N, B, 5 + K]."""
    found = network.decode(raws)
    return torch.cat([found.boxes_xywh, found.objectness[..., None], found.scores], dim=-1)


# What the sources computed


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("is_stated", [False, True])
def test_a_network_computes_what_its_program_computes(
    name: str, is_stated: bool, shared: Path, tmp_path: Path
) -> None:
    folder = shared / "golden" / "forks"
    want, meta = np.load(folder / f"{name}.npz"), json.loads((folder / f"{name}.json").read_text())
    graph = load_graph(folder / f"{name}.cfg")
    assert graph.dialect.name == PROGRAMS[name]
    if is_stated:
        graph = load_graph(folder / f"{name}.cfg", ReadOptions(graph.dialect.family))
    network = Network(graph).eval()
    assert read_weights(network, weights_file(want["weights"], tmp_path)).notes == ()
    images = torch.from_numpy(want["input"])
    with torch.no_grad():
        check_outputs(network, network.trace(images, range(len(graph.nodes))), (want, meta["tolerance"]))


def check_outputs(network: Network, values: dict[int, Tensor], told: tuple[Any, float]) -> None:
    """Each map, and the boxes. The tolerance is absolute for values of order 1; some maps have values of 275,
    and the sizes of boxes are exponentials."""
    want, tolerance = told
    raws = [values[index] for index in network.graph.outputs]
    compared = 0
    for key in want.files:
        kind, _, index = key.partition("_")
        if kind not in ("out", "raw", "decoded"):
            continue
        value = values[int(index)] if index.isdigit() else boxes_of(network, raws)
        if kind == "out" and value.ndim == 5:
            value = boxes_of(network, raws)
        np.testing.assert_allclose(value.numpy(), want[key], atol=tolerance, rtol=tolerance, err_msg=key)
        compared += 1
    assert compared >= len(raws)


# What the text means to them


@pytest.mark.parametrize(
    ("path", "strides"),
    [
        ("cfg/yolov3-mobilenet.cfg", [32, 16, 8]),
        ("cfg/yolov4-mobilenet.cfg", [8, 16, 32]),
        ("cfg/cd53s.cfg", [8, 16, 32]),
        ("cfg/yolov4-tiny.cfg", [32, 16, 8]),
    ],
)
def test_the_strides_of_heads_follow_their_order_and_the_name_of_the_file(path, strides) -> None:
    graph = read(DEPTHWISE + "".join(HEAD.format(2) + "[route]\nlayers=0\n" for _ in range(4)), path)
    heads = [Network(graph).module_list[node.index] for node in graph.heads]
    assert [head.grid.stride for head in heads] == [(one, one) for one in (*strides, 2)]
    told = [one for one in graph.warnings if "place among the heads" in one.message]
    assert len(told) == 3 and "stride 32" in {one.found.partition(",")[0] for one in told}


def test_heads_decode_as_version_three_whatever_the_keys_say() -> None:
    network = Network(read(DEPTHWISE + HEAD.format(1)))
    raw = torch.randn(1, 1, 64, 64, 7)
    centre, size = boxes_of(network, [raw])[0, :, :4].split(2, dim=-1)
    cells = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"), dim=-1)
    values = raw[0, 0]
    torch.testing.assert_close(centre, ((values[..., :2].sigmoid() + cells) * 32).flatten(0, 1))
    torch.testing.assert_close(size, (values[..., 2:4].exp() * torch.tensor([20.0, 12])).flatten(0, 1))


def test_groups_of_a_route_are_the_second_half_of_the_section_before() -> None:
    graph = read(DEPTHWISE.replace("=3\ns", "=6\ns") + "[maxpool]\nsize=1\n[route]\nlayers=-2\ngroups=3\n")
    network, images = Network(graph).eval(), torch.rand(1, 3, 64, 64)
    values = network.trace(images, [1, 2])
    assert torch.equal(values[2], values[1][:, 3:])
    assert "second half" in graph.warnings[-1].message
    with pytest.raises(CfgError, match="takes one section"):
        read(DEPTHWISE + "[route]\nlayers=-1,0\ngroups=2\n")


@pytest.mark.parametrize(
    ("first", "line", "cells"),
    [
        (DEPTHWISE, "size=2\npad=1", 63),
        ("[PEP]\nfilters=3\ncompress=2\n", "size=3\npad=0", 64),
        ("[PEP]\nfilters=3\ncompress=2\n", "size=4\npad=0", 63),
    ],
)
def test_convolutions_are_padded_as_the_program_pads_them(first: str, line: str, cells: int) -> None:
    graph = read(f"{first}[convolutional]\nfilters=2\nstride=1\nactivation=leaky\n{line}\n")
    assert graph.nodes[-1].shape[1:] == (cells, cells)


@pytest.mark.parametrize(("word", "slope"), [("swish", 1.0), ("lekay", 1.0), ("none", 1.0), ("leaky", 0.1)])
def test_a_name_that_the_program_does_not_know_is_the_identity(word: str, slope: float) -> None:
    text = "[convolutional]\nfilters=1\nsize=1\nstride=1\npad=1\nactivation="
    network = Network(read(f"{DEPTHWISE}{text}{word}\n")).eval()
    block = network.module_list[1]
    with torch.no_grad():
        x = -torch.rand(1, 3, 2, 2)
        torch.testing.assert_close(block(x).clamp(max=0), (block.Conv2d(x) * slope).clamp(max=0))


def test_training_keys_of_darknet_do_not_hinder_a_fork() -> None:
    graph = build_graph(
        parse(
            NET + "mosaic=1\nletter_box=1\npolicy=steps\nburn_in=1000\nsteps=5\nscales=.1\n"
            "[convolutional]\nfilters=3\nactivation=relu6\npadding=1\ndilation=2\nstopbackward=1\n"
            + DEPTHWISE
            + HEAD.format(1)
            + "iou_thresh_kind=iou\nobj_normalizer=1\nmax_delta=5\n"
        )
    )
    assert graph.dialect.name == "spurs"
    assert graph.nodes[0].shape == graph.image  # dilation and padding mean nothing here
    told = [one.key for one in graph.warnings if "no effect" in one.message]
    assert {"padding", "dilation", "stopbackward", "obj_normalizer"} <= set(told)


def test_h_swish_and_none_tell_the_fork_and_are_relu_in_c_darknet() -> None:
    for word in ("h_swish", "none"):
        text = f"[convolutional]\nfilters=3\nactivation={word}\n"
        assert read(text).dialect.name == "spurs"
        assert read(text, dialect="darknet").nodes[0].section.activation == "relu"
        assert read(text + "[connected]\noutput=2\n").dialect.name == "darknet"


# What is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[se]\nfilters=4\n", "not the channels of the section before"),
        ("[se]\nreduction=4\n", "too few channels"),
        (DEPTHWISE.replace("filters=3", "filters=4"), "not a multiple of the channels"),
        (DEPTHWISE.replace("pad=1\n", ""), "missing key"),
        ("[PEP]\n", "missing key"),
        ("[CBAM]\n", "too few channels"),
        ("[DyHead]\nfilters=3\nnum_blocks=2\nfrom=-1\n", "its module is absent from the source"),
        (HEAD.format(1).replace("=7", "=8"), "wrong number of channels"),
        (HEAD.format(1).replace("=7", "=8") + "from=0,0\n", "wrong number of channels"),
    ],
)
def test_what_the_source_cannot_run_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(CfgError) as caught:
        read(text)
    assert words in str(caught.value)


def test_a_file_that_its_program_wrote_lacks_what_that_leaves_out(tmp_path: Path) -> None:
    network = Network(read("[convolutional]\nfilters=4\n[PEP]\nfilters=4\ncompress=2\n"))
    loaded = read_weights(network, weights_file(np.arange(16.0), tmp_path))
    assert network.module_list[0].Conv2d.weight.flatten().tolist() == list(range(4, 16))
    assert "yolo-nano" in loaded.notes[0] and "[PEP]" in loaded.notes[0]


def test_a_file_that_its_program_wrote_lacks_the_last_section(tmp_path: Path) -> None:
    text = DEPTHWISE + "[convolutional]\nfilters=2\nactivation=linear\n"
    network = Network(read(text))
    loaded = read_weights(network, weights_file(np.arange(39.0), tmp_path))
    assert network.module_list[0].DepthWise2d.weight.flatten()[-1] == 38
    assert "leaves out the last section" in loaded.notes[0]


# That each fact of these dialects is seen


SEEN = {
    "conv_padding": ("spurs", DEPTHWISE + "[convolutional]\nfilters=2\nsize=2\npad=1\n"),
    "takes_second_half": ("spurs", DEPTHWISE + "[route]\nlayers=-1\ngroups=3\n"),
    "head_strides": ("spurs", DEPTHWISE + HEAD.format(1)),
    "reversing_words": ("ultralytics", HEAD.format(1)),
    "keeping_words": ("spurs", DEPTHWISE + HEAD.format(1)),
    "ignores_foreign_keys": ("spurs", DEPTHWISE + "[convolutional]\nfilters=2\npadding=3\n"),
    "box_form": ("spurs", DEPTHWISE + HEAD.format(32)),
    "unknown_activation": ("spurs", DEPTHWISE + "[convolutional]\nfilters=2\nactivation=swish\n"),
    "bn_eps": ("ultralytics", "[convolutional]\nfilters=2\nbatch_normalize=1\n"),
    "bn_momentum": ("nano", "[PEP]\nfilters=3\ncompress=2\n"),
    "has_kernel_lists": ("mcmot", "[convolutional]\nfilters=9\nsize=3,5\npad=1\nactivation=leaky\n"),
}


def outcome(dialect: str, text: str) -> list[object]:
    """Sizes, warnings, modules with their numbers, and how the heads decode."""
    try:
        graph = read(text, "cfg/yolov4-tiny.cfg", dialect)
    except CfgError as fault:
        return [fault.message]
    network = Network(graph)
    heads = [(head.grid, head.rules) for head in network.module_list if isinstance(head, YoloHead)]
    activations = [node.section.activations for node in graph.nodes]
    told = [str(one) for one in graph.warnings]
    return [[node.shape for node in graph.nodes], told, str(network), heads, activations]


@pytest.mark.parametrize("fact", SEEN)
def test_another_value_of_a_fact_is_seen(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, text = SEEN[fact]
    before = outcome(name, text)
    assert before == outcome(name, text)
    monkeypatch.setitem(DIALECTS, name, DIALECTS[name]._replace(**{fact: getattr(DARKNET, fact)}))
    assert outcome(name, text) != before


# What is said in plain Darknet

PLAIN = """
[convolutional]
batch_normalize=1
filters=16
size=4
stride=2
pad=1
dilation=2
activation=relu6
[depthwise]
batch_normalize=1
filters=32
size=4
stride=4
pad=1
activation=none
[maxpool]
size=3
stride=1
[route]
layers=-2
groups=4
"""


@pytest.mark.parametrize("keep_bn", [False, True])
def test_plain_darknet_computes_the_same_boxes(keep_bn: bool) -> None:
    network = Network(read(PLAIN + HEAD.format(4).replace("linear", "swish"))).eval()
    images = torch.rand(1, 3, 64, 64)
    plain = to_plain_darknet(network, keep_bn=keep_bn)
    assert plain.graph.dialect.name == "darknet" and not plain.graph.warnings
    torch.testing.assert_close(boxes_of(plain, plain(images)), boxes_of(network, network(images)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (DEPTHWISE.replace("=3\ns", "=6\ns") + "[se]\nreduction=2\n" + HEAD.format(32), "[se]"),
        (DEPTHWISE + HEAD.format(32), "activation=h_swish"),
        (PLAIN + HEAD.format(1), "a stride of 32"),
        (PLAIN + HEAD.format(4).replace("=7", "=8") + "from=-1\n", "from="),
        ("[PEP]\nfilters=3\ncompress=2\n" + HEAD.format(1), "[PEP]"),
    ],
)
def test_what_plain_darknet_has_no_words_for_is_named(text: str, found: str) -> None:
    with pytest.raises(CfgError, match="plain Darknet cannot compute this") as caught:
        to_plain_darknet(Network(read(text)).eval())
    assert found in caught.value.found


# What they learn


def test_the_first_biases_are_those_of_the_boxes_not_of_the_weights_of_maps() -> None:
    network = Network(read(HEAD.format(32).replace("=7", "=8") + "from=0\n"))
    before = network.module_list[0].Conv2d.bias.detach().clone()
    assert initialize_biases(network) == ()
    changed = (network.module_list[0].Conv2d.bias != before).tolist()
    assert changed == [False] * 4 + [True] * 3 + [False]


@pytest.mark.parametrize("dialect", ["spurs", "yolor"])
def test_a_head_learns_the_boxes_that_it_decodes(dialect: str, one_thread: None) -> None:
    text = (
        DEPTHWISE
        if dialect == "spurs"
        else "[maxpool]\nsize=1\n[implicit_add]\nfilters=1\n[route]\nlayers=0\n"
    )
    network = Network(read(text + HEAD.format(32).replace("new_coords=1\n", "")))
    assert network.graph.dialect.name == dialect
    raw = torch.zeros(1, 1, 2, 2, 7, requires_grad=True)
    targets = torch.tensor([[0, 1, 0.7, 0.65, 0.4, 0.3]])
    optimizer = torch.optim.Adam([raw], lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        detection_loss([raw], targets, network, rules=LossRules()).total.backward()
        optimizer.step()
    found = boxes_of(network, [raw.detach()])[0]
    best = found[found[:, 4].argmax()]
    torch.testing.assert_close(best[:4] / 64, targets[0, 2:], atol=0.02, rtol=0)
    assert best[4] > 0.9 and best[6] > 0.9 > 0.1 > best[5]


# [shortcut] and strides

TWO = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"


@pytest.mark.parametrize(("dialect", "fits"), [("nano", False), ("jde", False), ("ultralytics", True)])
def test_nano_and_jde_add_one_section_of_the_same_shape(dialect: str, fits: bool) -> None:
    # models.py of both: layer_outputs[-1] + layer_outputs[int(from)]; ultralytics fits channels
    two = TWO + TWO.replace("=4", "=6")
    assert read(two.replace("=6", "=4") + "[shortcut]\nfrom=-2\n", dialect=dialect).nodes[-1].shape[0] == 4
    for added in ("-2", "-2,-1"):
        if fits:
            assert read(f"{two}[shortcut]\nfrom={added}\n", dialect=dialect).nodes[-1].shape[0] == 6
        else:
            with pytest.raises(CfgError, match=r"\[shortcut #2\] from: "):
                read(f"{two}[shortcut]\nfrom={added}\n", dialect=dialect)


@pytest.mark.parametrize(
    ("dialect", "both", "sides"),
    [
        ("darknet", (16, 32), (16, 32)),
        ("yolor", (21, 21), (16, 32)),
        ("ultralytics", (21, 21), (16, 32)),
        ("mcmot", (21, 21), (16, 32)),
        ("spurs", (21, 21), (64, 64)),
        ("nano", (21, 21), (64, 64)),
        ("jde", (21, 21), (64, 64)),
    ],
)
def test_which_of_the_strides_of_a_convolution_counts(dialect: str, both: Any, sides: Any) -> None:
    # models.py of yolor, ultralytics, mcmot: mdef["stride"] if "stride" in mdef else (stride_y, stride_x);
    # spurs, nano, JDE read mdef["stride"] alone; make_convolutional_layer of C Darknet's parser.c: the sides.
    keys = "[convolutional]\nfilters=2\nactivation=linear\nstride_x=2\nstride_y=4\n"
    for text, expected in ((keys + "stride=3\n", (22, 22) if both == (21, 21) else both), (keys, sides)):
        graph = read(text, dialect=dialect)
        assert graph.nodes[0].shape[1:] == expected
        counts = expected == (16, 32)
        told = [one.key for one in graph.warnings if "has no effect in" in one.message]
        assert told == ([] if counts else ["stride_x", "stride_y"])
        if graph.dialect.is_pytorch:
            plain = to_plain_darknet(Network(graph).eval()).graph
            assert plain.nodes[0].shape[1:] == expected


def test_a_note_says_where_strides_of_two_sides_are_read_otherwise() -> None:
    keys = "[convolutional]\nfilters=2\nactivation=leaky\nstride_x=2\nstride_y=2\n"
    (note,) = read(keys + "stride=1\n").notes
    assert "[convolutional] in yolor, ultralytics, jde" in note
    assert read(keys).notes == ()


def test_pools_of_pytorch_programs_go_by_stride() -> None:
    # models.py of yolor, ultralytics, mcmot, JDE: mdef["stride"]
    keys = "[maxpool]\nsize=2\nstride=2\nstride_x=4\n"
    assert read(keys, dialect="darknet").nodes[0].shape[1:] == (32, 16)
    for dialect in ("yolor", "ultralytics", "mcmot", "jde"):
        assert read(keys, dialect=dialect).nodes[0].shape[1:] == (32, 32)


@pytest.mark.parametrize(("word", "is_applied"), [("leaky", True), ("mish", False), ("linear", False)])
def test_mcmot_applies_leaky_to_sums_and_nothing_else(word: str, is_applied: bool) -> None:
    # models.py:176 of CaptainEven/YOLOV4_MCMOT: a LeakyReLU(.1) if mdef["activation"] == "leaky"
    graph = read(f"{TWO}[shortcut]\nfrom=-1\nactivation={word}\n", dialect="mcmot")
    network = Network(graph).eval()
    x = torch.randn(2, 4, 3, 3)
    expected = torch.nn.functional.leaky_relu(2 * x, 0.1) if is_applied else 2 * x
    torch.testing.assert_close(network.module_list[1](x, x), expected)
    assert [one.key for one in graph.warnings] == (["activation"] if word == "mish" else [])
    plain = to_plain_darknet(network)
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(plain(images), network(images), rtol=1e-4, atol=1e-5)
