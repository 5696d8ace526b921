"""darkflow's cut layers and JDE's heads: the recorded numbers, the facts of both programs, their files."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yolor_cfg import graph as graphs
from yolor_cfg.analysis.class_edit import ClassCount, replace_classes
from yolor_cfg.count import count_costs
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.edit import apply_edits
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks.blocks import CfgWriter, NetworkStyle
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.rewrite.translate import translate
from yolor_cfg.train.layout import use_channels_last
from yolor_cfg.train.loss import check_losses
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import new_header
from yolor_cfg.weights.loading import load, read_weights

DARKFLOW = ("darkflow_select", "darkflow_conv_select", "darkflow_extract")
NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"


def copied(shared: Path, name: str, folder: Path) -> tuple[Path, Any]:
    """A case with its weights, and the profile that it names, in a folder; and its numbers."""
    numbers = np.load(shared / f"golden/forks/{name}.npz")
    cfg = folder / f"{name}.cfg"
    cfg.write_bytes((shared / f"golden/forks/{name}.cfg").read_bytes())
    weights = struct.pack("<3iQ", 0, 2, 0, 0) + numbers["weights"].tobytes()
    cfg.with_suffix(".weights").write_bytes(weights)
    lists = [numbers[key].tolist() for key in sorted(numbers) if key.startswith("profile_")]
    if lists:
        (folder / "p.profile").write_text(json.dumps([lists]))
    return cfg, numbers


def tolerance(shared: Path, name: str) -> float:
    meta: dict[str, float] = json.loads((shared / f"golden/forks/{name}.json").read_text())
    return meta["tolerance"]


def network_of(cfg: Path, dialect: str | None = None) -> Network:
    network = Network(graphs.load_graph(cfg, ReadOptions(dialect))).eval()
    read_weights(network, cfg.with_suffix(".weights"))
    return network


def read(text: str, dialect: str | None = None) -> Graph:
    return build_graph(parse(text), ReadOptions(dialect))


def applied(text: str, x: torch.Tensor, dialect: str = "darkflow") -> torch.Tensor:
    """The output of a network in evaluation mode."""
    _, channels, height, width = x.shape
    head = f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n"
    with torch.no_grad():
        out: torch.Tensor = Network(read(head + text, dialect)).eval()(x)[0]
    return out


# darkflow


def test_a_new_file_of_darkflow_has_the_header_that_darkflow_reads(tmp_path: Path) -> None:
    graph = read(NET + "[convolutional]\nfilters=2\nactivation=linear\n", "darkflow")
    network, file = Network(graph), tmp_path / "new.weights"
    write_weights(network, file)
    assert struct.unpack_from("<4i", file.read_bytes()) == (0, 1, 0, 0)
    assert file.stat().st_size == count_costs(graph).weights_bytes == 16 + 4 * (2 + 2 * 3)
    assert new_header(graph, 2**40).to_bytes()[12:] == b"\xff" * 4


@pytest.mark.parametrize("name", DARKFLOW)
@pytest.mark.parametrize("dialect", [None, "darkflow"])
def test_what_is_cut_out_of_whole_tensors_is_as_recorded(shared, tmp_path, name, dialect) -> None:
    cfg, numbers = copied(shared, name, tmp_path)
    network = network_of(cfg, dialect)
    assert network.graph.dialect.name == "darkflow"
    assert not network.graph.warnings
    wanted = {int(key[4:]): numbers[key] for key in numbers if key.startswith("out_")}
    got = network.trace(torch.from_numpy(numbers["input"]), wanted)
    for index, value in wanted.items():
        near = got[index].numpy().reshape(value.shape)
        np.testing.assert_allclose(near, value, rtol=0, atol=tolerance(shared, name))
    write_weights(network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes()[16:] == numbers["weights"].tobytes()


@pytest.mark.parametrize("name", DARKFLOW)
def test_cut_layers_are_small_ones_in_plain_darknet_and_fold(shared, tmp_path, name) -> None:
    cfg, numbers = copied(shared, name, tmp_path)
    network = network_of(cfg)
    x = torch.from_numpy(numbers["input"])
    plain, folded = to_plain_darknet(network), fold(network).network
    with torch.no_grad():
        wanted = network(x)[0]
        torch.testing.assert_close(plain(x)[0], wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(folded(x)[0], wanted, rtol=0, atol=1e-5)
    kinds = {node.section.type for node in plain.graph.nodes}
    assert plain.graph.dialect.name == "darknet"
    assert not kinds & {"select", "conv-select", "conv-extract", "extract"}
    assert sum(p.numel() for p in plain.parameters()) < sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", DARKFLOW)
def test_cut_layers_train_and_trace(shared, tmp_path, name) -> None:
    cfg, numbers = copied(shared, name, tmp_path)
    network = network_of(cfg)
    x = torch.from_numpy(numbers["input"])
    for node, layer in zip(network.graph.nodes, network.module_list, strict=True):
        if node.section.darknet_form == "cut":
            seen = torch.rand(2, *node.inputs[0])
            with torch.no_grad():
                traced = torch.export.export(layer, (seen,)).module()
                torch.testing.assert_close(traced(seen), layer(seen))
    network.train()
    use_channels_last(network)
    network(x.contiguous(memory_format=torch.channels_last))[0].sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_darkflow_joins_equal_maps_alone_and_takes_a_thousandth_of_new_statistics() -> None:
    conv = "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nactivation=leaky\n"
    (norm,) = (part for part in Network(read(NET + conv, "darkflow")).modules() if hasattr(part, "momentum"))
    assert norm.momentum == 0.001 and type(norm).__name__ == "OuterBatchNorm2d"
    foreign = read(NET + conv + "groups=2\ndilation=2\nstride_x=2\n", "darkflow")
    assert foreign.nodes[0].shape == (2, 8, 8) and foreign.nodes[0].section.groups == 1
    assert len(foreign.warnings) == 4  # and that the last section describes the output
    with pytest.raises(CfgError):
        read(NET + conv + "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1,-2\n", "darkflow")


EXTRACT = "[conv-extract]\nprofile={}\ninput=-1\noutput=0\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"


@pytest.mark.parametrize("content", [None, ""])
def test_without_its_profile_the_uncut_network_is_built_and_said_once(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / "tiny.profile").write_text(content)
    cfg = tmp_path / "tiny.cfg"
    second = EXTRACT.replace("input=-1\noutput=0", "input=0\noutput=1")
    cfg.write_text(NET + (EXTRACT + second).format("tiny.profile", "tiny.profile") + "[region]\nclasses=1\n")
    graph = graphs.load_graph(cfg)
    assert [node.shape.channels for node in graph.nodes] == [6, 6, 6]
    (warning,) = graph.warnings
    assert warning.found == "tiny.profile" and "uncut" in warning.message
    with pytest.raises(CfgError, match="uncut"):
        graphs.load_graph(cfg, ReadOptions(strict=True))


def test_extract_reads_a_vector_or_the_channels_of_a_map(tmp_path) -> None:
    (tmp_path / "p.json").write_text("[[2, 0], [3, 1], [1]]")
    lines = "[extract]\nprofile=p.json\ninput={}\noutput={}\nold={}\nactivation=linear\n"
    cfg = tmp_path / "a.cfg"
    first = "[conv-extract]\nprofile=p.json\ninput=-1\noutput=0\nfilters=4\nsize=1\nactivation=linear\n"
    cfg.write_text(NET + first + lines.format(0, 1, "8,8,4,5") + lines.format(1, 2, "5,2"))
    network = load(cfg)
    x = torch.rand(2, 3, 8, 8)
    conv, dense, last = (layer.state_dict() for layer in network.module_list)
    with torch.no_grad():
        maps = F.conv2d(x, conv["Conv2d.weight"], conv["Conv2d.bias"])[:, [2, 0]]
        rows = [channel * 64 + cell for channel in (0, 2) for cell in range(64)]
        flat = maps.flatten(1) @ dense["Linear.weight"][[3, 1]][:, rows].T + dense["Linear.bias"][[3, 1]]
        wanted = flat @ last["Linear.weight"][[1]][:, [3, 1]].T + last["Linear.bias"][[1]]
        torch.testing.assert_close(network(x)[0].flatten(1), wanted)


@pytest.mark.parametrize(
    ("size", "stride", "length"), [(3, 2, 8), (3, 2, 7), (2, 2, 7), (2, 1, 6), (5, 3, 8)]
)
def test_a_pool_pads_what_its_last_window_needs(size, stride, length) -> None:
    x = torch.randn(1, 2, length, length)
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + size - length, 0)
    padded = F.pad(x, [total // 2, total - total // 2] * 2, value=-torch.inf)
    wanted = F.max_pool2d(padded, size, stride)
    text = f"[maxpool]\nsize={size}\nstride={stride}\npadding=3\n"
    torch.testing.assert_close(applied(text, x), wanted)


def test_reorg_makes_channels_of_patches_by_rows() -> None:
    x = torch.rand(1, 2, 6, 6)
    patches = x.unflatten(2, (2, 3)).unflatten(4, (2, 3))  # [N, C, H, row, W, column]
    wanted = patches.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    torch.testing.assert_close(applied("[reorg]\nstride=3\n", x), wanted)
    assert not torch.equal(applied("[convolutional]\nfilters=4\nactivation=linear\n", x), wanted)


def test_softmax_has_no_groups_and_dropout_keeps_its_share() -> None:
    x = torch.randn(2, 6, 1, 1)
    torch.testing.assert_close(applied("[softmax]\ngroups=2\ntemperature=3\n", x), x.softmax(1))
    cells = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(
        applied("[softmax]\ngroups=1\n", cells).flatten(1), cells.softmax(1).flatten(1)
    )
    network = Network(read(NET + "[dropout]\nprobability=.3\n", "darkflow"))
    assert network.module_list[0].p == pytest.approx(0.7)


def test_the_classes_that_stay_are_not_set_by_their_number() -> None:
    select = "[select]\nold_output=11\nkeep=1/1\nbins=1\noutput=11\nactivation=linear\n"
    text = NET + select.replace("1/1", "0/1") + "[detection]\nclasses=1\ncoords=4\nside=1\nnum=2\n"
    assert read(text).nodes[1].shape.channels == 11
    with pytest.raises(CfgError, match="cannot be changed through this section"):
        replace_classes(parse(text), ClassCount(2))


def test_a_crop_always_scales_and_only_two_activations_are_known() -> None:
    x = torch.rand(1, 3, 4, 4)
    crop = "[crop]\ncrop_width=4\ncrop_height=4\nnoadjust=1\n"
    torch.testing.assert_close(applied(crop, x), 2 * x - 1)
    with pytest.raises(CfgError, match="unknown value"):
        read(NET + "[convolutional]\nfilters=2\nactivation=relu\n", "darkflow")


CROP = "[crop]\ncrop_width=6\ncrop_height=4\n"


def test_a_crop_gives_the_size_of_the_input_wherever_it_stands() -> None:
    # utils/process.py of darkflow: h and w are those of [net], then of each [crop]; inp_size is what is left.
    convolution = "[convolutional]\nfilters=2\nactivation=linear\n"
    for text in (CROP + convolution, convolution + CROP + convolution):
        graph = read(NET + text, "darkflow")
        assert graph.image == (3, 4, 6)
        assert [node.shape[1:] for node in graph.nodes] == [(4, 6)] * len(graph.nodes)
        x = torch.rand(1, 3, 4, 6)
        assert Network(graph).eval()(x)[0].shape[2:] == (4, 6)
        assert read(NET + text, "darknet").image == (3, 8, 8)
    assert read(NET + convolution + CROP, "darkflow").image == (3, 8, 8)  # the last section only describes
    asked = build_graph(parse(NET + CROP + convolution), ReadOptions("darkflow", (10, 12)))
    assert asked.nodes[0].shape == (3, 10, 12)


def test_the_size_of_a_crop_is_written_for_other_programs() -> None:
    text = NET + CROP + "[convolutional]\nfilters=2\nactivation=linear\n[dropout]\n"
    graph = read(text, "darkflow")
    told = translate(graph, "darknet", "there.cfg")
    plain = to_plain_darknet(Network(graph).eval()).graph
    for other in (told.graph, plain):
        assert other.dialect.name == "darknet"
        assert build_graph(parse(other.document.text), ReadOptions("darknet")).image == (3, 4, 6)
    assert [change.what for change in told.changes if change.section == "net"] == ["width=6", "height=4"]


def test_a_header_of_twenty_bytes_is_told(shared, tmp_path) -> None:
    cfg, _ = copied(shared, "darkflow_select", tmp_path)
    told = read_weights(Network(graphs.load_graph(cfg)), cfg.with_suffix(".weights")).notes
    assert any("header" in note for note in told)
    body = cfg.with_suffix(".weights").read_bytes()[20:]
    cfg.with_suffix(".weights").write_bytes(struct.pack("<3iI", 0, 1, 0, 0) + body)
    assert not read_weights(Network(graphs.load_graph(cfg)), cfg.with_suffix(".weights")).notes


# [detection] coords=5


def test_five_coordinates_are_boxes_with_an_angle() -> None:
    side, classes, num = 3, 2, 2
    text = f"[net]\ninputs=126\n[detection]\nside={side}\nclasses={classes}\nnum={num}\ncoords=5\nsqrt=1\n"
    network = Network(read(text)).eval()
    assert network.graph.dialect.name == "darkflow"
    raw = torch.rand(2, side**2 * (classes + num * 6))
    boxes = raw[:, side**2 * (classes + num) :].reshape(2, side, side, num, 5)
    got = network.decode([raw[:, :, None, None]])
    head = network.module_list[0]
    torch.testing.assert_close(head.angles(raw), boxes[..., 4].flatten(1))
    torch.testing.assert_close(got.boxes_xywh[:, :, 2:], boxes[..., 2:4].square().flatten(1, 3))
    columns = torch.arange(side)[None, None, :, None]
    centres = (boxes[..., 0] + columns) / side
    torch.testing.assert_close(got.boxes_xywh[:, :, 0], centres.flatten(1))
    assert read(text + "[gru]\noutput=2\n").dialect.name == "darknet", "only where the rest allows it"


# JDE


def test_jde_predicts_boxes_and_embeddings_as_recorded(shared, tmp_path) -> None:
    cfg, numbers = copied(shared, "jde_yolo", tmp_path)
    network = network_of(cfg)
    assert network.graph.dialect.name == "jde" and not network.graph.warnings
    near = tolerance(shared, "jde_yolo")
    with torch.no_grad():
        raws = network(torch.from_numpy(numbers["input"]))
    recorded = [torch.from_numpy(numbers[f"eval_in_{index}"]) for index in (8, 16)]
    for raw, wanted in zip(raws, recorded, strict=True):
        torch.testing.assert_close(raw, wanted, rtol=0, atol=near)
    wanted = torch.from_numpy(numbers["eval"])
    found = network.decode(recorded)
    # Exponentials of an untrained network: sizes of up to 700,000 pixels, so the tolerance is relative too.
    torch.testing.assert_close(found.boxes_xywh, wanted[..., :4], rtol=1e-5, atol=near)
    torch.testing.assert_close(found.objectness, wanted[..., 4], rtol=0, atol=near)
    torch.testing.assert_close(network.embeddings(recorded), wanted[..., 6:], rtol=0, atol=near)
    assert found.scores.shape == (2, 640, 1) and bool((found.scores == 1).all())
    check_losses(network.graph)


def test_a_checkpoint_of_jde_is_read_without_its_classifier(shared, tmp_path) -> None:
    cfg, _ = copied(shared, "jde_yolo", tmp_path)
    network = network_of(cfg)
    names = {"Conv2d": "conv", "BatchNorm2d": "batch_norm"}
    held = {"classifier.weight": torch.ones(7, 8), "classifier.bias": torch.ones(7)}
    held |= {f"module_list.8.yolo_8.{name}": torch.ones(1) for name in ("s_c", "s_r", "s_id")}
    for name, tensor in network.state_dict().items():
        start, index, part, last = name.split(".")
        held[f"{start}.{index}.{names[part]}_{index}.{last}"] = tensor
    torch.save({"epoch": 1, "model": held, "optimizer": None}, tmp_path / "jde.pt")
    again = load(cfg, tmp_path / "jde.pt").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())


def test_other_heads_give_no_embeddings() -> None:
    text = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=0\nclasses=1\nnum=1\nanchors=9,9\n"
    network = Network(read(NET + text))
    with pytest.raises(CfgError, match="gives no embeddings"):
        network.embeddings(network(torch.rand(1, 3, 8, 8)))


def test_a_name_stands_for_the_value_in_net_in_any_dialect() -> None:
    text = NET + "embedding_dim = 6 # long\n[convolutional]\nfilters = $embedding_dim\nactivation=leaky\n"
    for dialect in ("jde", "darknet", "yolor", None):
        graph = read(text, dialect)
        assert graph.nodes[0].shape.channels == 6
        assert graph.document.text == text
    assert read(text).dialect.name == "jde"
    assert read(text.replace("$embedding_dim", "$ width")).nodes[0].shape.channels == 8


def test_a_name_in_net_stands_for_the_value_of_a_key_above() -> None:
    # utils/parse_config.py of JDE: the value is looked up when the line is read, so that names may follow
    # one another, and the last of two values counts from its line on.
    text = (
        "[net]\nwidth=16\nheight = $width\nwidth=8\nchannels=3\nbatch=$height\n"
        "[convolutional]\nfilters=$height\n"
    )
    graph = read(text)
    assert graph.dialect.name == "jde"
    assert (graph.image, graph.net.batch, graph.nodes[0].shape.channels) == ((3, 16, 8), 16, 16)
    assert graph.document.text == text
    with pytest.raises(CfgError, match=r"<text>:2: \[net\] width: \[net\] has no such key"):
        read("[net]\nwidth=$height\nheight=16\nchannels=3\n[convolutional]\nfilters=2\n")


def test_a_name_in_net_is_edited_and_written_as_a_number() -> None:
    text = "[net]\nwidth=16\nheight=$width\nchannels=3\n[convolutional]\nfilters=2\nactivation=leaky\n"
    graph = read(text, "darknet")
    assert "height=32" in apply_edits(graph.document, {graph.net.lines["height"].number: "32"})
    assert "height=16" in to_plain_darknet(Network(graph).eval()).graph.document.text


class Jde(CfgWriter):
    """A YOLOv3 with an embedding in each of its heads, from the description of the sheet."""

    def plain(self, filters: object, size: int) -> None:
        self.add("convolutional", filters=filters, size=size, stride=1, pad=1, activation="linear")

    def residuals(self, filters: int, count: int) -> int:
        last = self.conv(3, filters, stride=2)
        for _ in range(count):
            self.conv(1, filters // 2)
            self.conv(3, filters)
            last = self.shortcut()
        return last

    def head(self, width: int, mask: str) -> None:
        for _ in range(3):
            self.conv(1, width // 2)
            self.conv(3, width)
        self.plain(24, 1)
        self.route(-3)
        self.plain("$embedding_dim", 3)
        self.route(-3, -1)
        self.add("yolo", mask=mask, anchors=",".join(map(str, range(4, 28))), classes=1, num=12)

    def join(self, width: int, skip: int) -> None:
        self.route(-7)
        self.conv(1, width)
        self.add("upsample", stride=2)
        self.add("route", layers=f"-1,{skip}")


def jde_cfg(width: int, height: int) -> str:
    writer = Jde(NetworkStyle("leaky"))
    writer.add_net(width=width, height=height, channels=3, embedding_dim=512)
    writer.start_part("all")
    writer.conv(3, 32)
    ends = [writer.residuals(64 * 2**stage, count) for stage, count in enumerate((1, 2, 8, 8, 4))]
    writer.head(1024, "8,9,10,11")
    writer.join(256, ends[3])
    writer.head(512, "4,5,6,7")
    writer.join(128, ends[2])
    writer.head(256, "0,1,2,3")
    return writer.text


@pytest.mark.parametrize(
    ("width", "height", "boxes", "macs"),
    [(1088, 608, 54264, 135.481), (864, 480, 34020, 84.938), (576, 320, 15120, 37.750)],
)
def test_the_published_jde_counts(width, height, boxes, macs) -> None:
    graph = read(jde_cfg(width, height))
    tensors = [one for node in graph.nodes for one in node.section.tensors(*node.inputs)]
    loss_weights = 9  # s_c, s_r and s_id of each head, which no .weights file holds
    assert [node.index for node in graph.heads] == [85, 100, 115] and not graph.warnings
    assert sum(one.size for one in tensors if one.is_parameter) + loss_weights == 65664817
    assert sum(one.size for one in tensors) == 65717416
    assert sum(4 * node.shape.area for node in graph.heads) == boxes
    total = sum(node.section.macs(node.shape, *node.inputs) for node in graph.nodes)
    assert round(total / 1e9, 3) == macs
    assert all(across == down for across, down in (graph.stride(node.index) for node in graph.heads))
