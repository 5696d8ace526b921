"""The forks of C Darknet, by their own numbers: pjreddie/darknet, sowson/darknet, g-darknet."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.images.fit import default_preprocess
from yolor_cfg.lang.dialect import DARKNET, DIALECTS, PJREDDIE, Dialect
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.heads import YoloRules
from yolor_cfg.ops.iou_losses import OVERLAPS
from yolor_cfg.ops.pixels import PixelObject
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.sections.refused import REFUSED_SECTIONS
from yolor_cfg.train.dist import SyncOuterBatchNorm2d, convert_sync_batchnorm
from yolor_cfg.train.loss import LossRules, detection_loss
from yolor_cfg.train.updates import read_rules
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.fitting import plan_read
from yolor_cfg.weights.layout import WeightsHeader
from yolor_cfg.weights.loading import read_weights
from yolor_cfg.weights.prefix import FilePrefix

NAMES = (
    "gdarknet_yolo_lin",
    "pjr_deconvolutional",
    "pjr_dialect",
    "pjr_l2norm_logistic",
    "pjr_region",
    "sowson_yolo4",
)
STATED = (None, "pjreddie")


class Fork(NamedTuple):
    """A case: the network with its weights, what goes in, the JSON and all arrays."""

    network: Network
    images: torch.Tensor
    meta: dict[str, Any]
    want: Any


def fork(shared: Path, folder: Path, name: str, *, dialect: str | None = None) -> Fork:
    """The case of that name, its weights read from a file as the program writes one."""
    path = shared / "golden/forks" / f"{name}.cfg"
    want = np.load(path.with_suffix(".npz"))
    file = folder / "case.weights"
    file.write_bytes(WeightsHeader().to_bytes() + want["weights"].tobytes())
    network = Network(load_graph(path, ReadOptions(dialect=dialect))).eval()
    read_weights(network, file)
    return Fork(
        network, torch.from_numpy(want["input"]), json.loads(path.with_suffix(".json").read_text()), want
    )


def check_outputs(case: Fork) -> None:
    """Every output that the case has, as the program stores it."""
    indices = [int(name[4:]) for name in case.want if name.startswith("out_")]
    got = case.network.trace(case.images, indices)
    assert indices
    for index, value in got.items():
        error = np.abs(value.numpy() - case.want[f"out_{index}"]).max()
        assert error <= case.meta["tolerance"], f"section {index}: {error}"


@pytest.mark.parametrize("dialect", STATED)
@pytest.mark.parametrize("name", NAMES)
def test_every_section_gives_what_its_program_gave(shared, tmp_path, name, dialect) -> None:
    case = fork(shared, tmp_path, name, dialect=dialect)
    assert case.network.graph.dialect.name == "pjreddie"
    check_outputs(case)


@pytest.mark.parametrize("name", (*NAMES, "pjr_iseg"))
def test_weights_come_back_to_the_byte(shared, tmp_path, name) -> None:
    case = fork(shared, tmp_path, name)
    write_weights(case.network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == (tmp_path / "case.weights").read_bytes()


@pytest.mark.parametrize("name", ["gdarknet_yolo_lin", "sowson_yolo4"])
def test_the_boxes_are_those_of_the_program(shared, tmp_path, name) -> None:
    case = fork(shared, tmp_path, name)
    with torch.no_grad():
        network = case.network
        boxes, objectness, scores = (part[0] for part in network.decode(network(case.images)))
    image = network.graph.image
    likely = objectness > 0.4
    scores = scores * objectness[:, None]
    scores[scores <= 0.4] = 0
    size = torch.tensor([image.width, image.height] * 2)
    got = torch.cat([boxes / size, objectness[:, None], scores], 1)[likely].numpy()
    want = case.want["detections"]  # cell by cell, ours anchor by anchor
    np.testing.assert_allclose(
        got[np.argsort(got[:, 4])], want[np.argsort(want[:, 4])], atol=case.meta["tolerance"]
    )


def training_gradients(case: Fork, targets: torch.Tensor) -> list[torch.Tensor]:
    """The gradients of one step at the maps that the heads read, channels as they are stored."""
    network = case.network.train()
    raws = [raw.detach().requires_grad_() for raw in network(case.images)]
    detection_loss(raws, targets, network, rules=LossRules()).total.backward()
    return [raw.grad.permute(0, 1, 4, 2, 3).flatten(1, 2) for raw in raws]


def test_yolo4_learns_as_in_its_program(shared, tmp_path) -> None:
    case = fork(shared, tmp_path, "sowson_yolo4")
    truth = torch.from_numpy(case.want["truth"]).unflatten(1, (-1, 5))
    image, place = (truth[..., 0] > 0).nonzero(as_tuple=True)
    rows = truth[image, place]
    targets = torch.cat([image[:, None], rows[:, 4:], rows[:, :4]], 1)
    assert len(targets) > 2
    for index, got in zip((3, 6), training_gradients(case, targets), strict=True):
        want = -case.want[f"train_delta_{index}"]
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got.numpy(), want, atol=case.meta["tolerance_train"])


def test_logistic_learns_by_cross_entropy(shared, tmp_path) -> None:
    case = fork(shared, tmp_path, "pjr_l2norm_logistic")
    network, layer = case.network.train(), case.network.module_list[3]
    read = network.trace(case.images, [2])[2].detach()
    np.testing.assert_allclose(read.numpy(), case.want["train_out_2"], atol=case.meta["tolerance_train"])
    cost = layer.cost(read.requires_grad_(), torch.from_numpy(case.want["truth"]))
    cost.backward()
    np.testing.assert_allclose(
        -read.grad.numpy(), case.want["train_delta_3"], atol=case.meta["tolerance_train"]
    )
    assert cost.item() == pytest.approx(case.want["train_cost_3"][0], rel=1e-5)


def objects_of(truth: np.ndarray, height: int, width: int) -> list[PixelObject]:
    """The objects of one image in iseg_layer.c's layout: a class and a mask each, until a class below 0."""
    rows = torch.from_numpy(truth).unflatten(0, (-1, 1 + height * width))
    count = int((rows[:, 0] < 0).nonzero()[0])
    return [PixelObject(int(row[0]), row[1:].view(height, width) > 0) for row in rows[:count]]


def test_iseg_gives_classes_and_embeddings_and_learns_by_its_deltas(shared, tmp_path) -> None:
    case = fork(shared, tmp_path, "pjr_iseg")
    assert case.network.graph.dialect.name == "pjreddie"
    got = case.network.trace(case.images, [0, 1])
    for index in (0, 1):
        want = case.want[f"train_out_{index}"]
        np.testing.assert_allclose(got[index].numpy(), want, atol=case.meta["tolerance"])
    objects = [objects_of(truth, 4, 4) for truth in case.want["truth"]]
    assert sum(map(len, objects)) > 2
    deltas = case.network.module_list[1].deltas(got[0], objects)
    np.testing.assert_allclose(deltas.numpy(), case.want["train_delta_1"], atol=case.meta["tolerance"])
    assert deltas.square().sum().item() == pytest.approx(case.want["train_cost_1"][0], rel=1e-5)


@pytest.mark.parametrize(("name", "why"), REFUSED_SECTIONS.items())
def test_a_section_that_cannot_be_run_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(CfgError) as caught:
        build_graph(parse(f"{NET}[{name}]\n"))
    assert caught.value.message == f"cannot be read: {why}" and caught.value.line == 5


NET = "[net]\nwidth=8\nheight=8\nchannels=4\n"
CONV = "[convolutional]\nfilters=4\nactivation=leaky\n"
YOLO = "[convolutional]\nfilters=6\n[yolo]\nmask=0\nclasses=1\nanchors=9,9\n"


def read(text: str, dialect: str | None = "pjreddie") -> Graph:
    return build_graph(parse(NET + text), ReadOptions(dialect=dialect))


@pytest.mark.parametrize("text", [YOLO, "[convolutional]\nfilters=7\n[region]\nclasses=2\nsoftmax=1\n"])
def test_a_plain_cfg_stays_with_alexeyabs_darknet(text: str) -> None:
    graph = read(text + CONV.replace("leaky", "leaky\nbatch_normalize=1"), None)
    assert graph.dialect.name == "darknet" and len(graph.notes) == 1
    assert "batch norm in pjreddie" in graph.notes[0].replace("darkflow, ", "")


TOLD = {
    "[shortcut]\nfrom=-2\nalpha=.5\n": "pjreddie",
    "[yolo]\nmask=0\nclasses=1\nanchors=9,9\nrepresentation=lin\n": "pjreddie",
    "[convolutional]\nfilters=6\nactivation=lelu\n": "pjreddie",
    "[shortcut]\nfrom=-2\nweights_type=per_layer\nweights_normalization=relu\n": "darknet",
    "[convolutional]\nfilters=6\ndilation=2\nsize=3\n": "darknet",
    "[crnn]\noutput=4\nhidden=4\npad=1\n": "darknet",
    "[crnn]\noutput_filters=4\nhidden_filters=4\n": "pjreddie",
    "[gru]\noutput=4\ntruth=1\n": "pjreddie",
}


@pytest.mark.parametrize("text", TOLD)
def test_keys_of_one_program_tell_it(text: str) -> None:
    assert read(CONV + CONV.replace("4", "6") + text, None).dialect.name == TOLD[text]


def test_a_fork_reads_over_the_keys_of_alexeyab() -> None:
    graph = read(YOLO + "scale_x_y=1.2\nnew_coords=1\niou_loss=giou\nmax_delta=5\n")
    assert graph.nodes[1].section.rules == YoloRules()
    assert [w.key for w in graph.warnings] == ["scale_x_y", "new_coords", "max_delta"]
    assert all("has no effect" in w.message for w in graph.warnings)
    assert graph.nodes[1].section.iou_loss == "giou" and graph.nodes[1].section.max == 90


def test_alexeyabs_darknet_reads_over_the_keys_of_forks() -> None:
    graph = read(YOLO + "representation=lin\n", "darknet")
    assert [w.key for w in graph.warnings] == ["representation"]
    assert graph.nodes[1].section.rules == YoloRules() and graph.nodes[1].section.max == 200


@pytest.mark.parametrize("key", ["truth", "numload", "dontsave", "smooth"])
def test_what_a_key_of_every_section_does_not_do_here_is_told(key: str) -> None:
    graph = read(CONV + key + "=1\n")
    assert [unused.key for unused in graph.unused_keys()] == [key]


def test_an_lstm_is_stored_gate_by_gate_in_the_order_of_its_program() -> None:
    orders = [
        [tensor.name[:2] for tensor in node.section.tensors(*node.inputs) if tensor.role == "bias"]
        for node in (read("[lstm]\noutput=3\n", name).nodes[0] for name in ("darknet", "pjreddie"))
    ]
    assert orders[0] == ["wf", "wi", "wg", "wo", "uf", "ui", "ug", "uo"]
    assert orders[1] == ["wi", "wf", "wo", "wg", "ui", "uf", "uo", "ug"]


def test_the_candidate_of_a_gru_is_tanh_by_its_key() -> None:
    torch.manual_seed(0)
    network = Network(read("[gru]\noutput=5\ntanh=1\n")).eval()
    cell, x = network.module_list[0], torch.rand(2, 4, 8, 8)
    with torch.no_grad():
        zeros = cell.initial_state(x)
        gate = torch.sigmoid(cell.input_z(x) + cell.state_z(zeros[0]))
        candidate = torch.tanh(cell.input_h(x) + cell.state_h(0 * zeros[0]))
        torch.testing.assert_close(cell(x, zeros)[0], (1 - gate) * candidate)


def test_the_hidden_vector_of_an_rnn_is_as_long_as_its_output() -> None:
    graph = read("[rnn]\noutput=3\nhidden=7\n")
    assert [tensor.shape for tensor in graph.nodes[0].section.tensors(*graph.nodes[0].inputs)][1] == (3, 256)
    assert [warning.key for warning in graph.warnings] == ["hidden"]


def test_a_batch_norm_has_no_bias_in_the_file_nor_in_the_sum() -> None:
    network = Network(read("[batchnorm]\n")).eval()
    norm, x = network.module_list[0], torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for tensor in (norm.weight, norm.running_mean, norm.running_var):
            tensor.uniform_(0.1, 2)
        mean, deviation = norm.running_mean[:, None, None], norm.running_var.sqrt()[:, None, None]
        want = (x - mean) / (deviation + 1e-6) * norm.weight[:, None, None]
        torch.testing.assert_close(network(x)[0], want)
    assert sorted(network.state_dict()) == [
        f"module_list.0.{name}" for name in ("num_batches_tracked", "running_mean", "running_var", "weight")
    ]


def test_reorg_flattens_cell_by_cell_and_back() -> None:
    x = torch.arange(4 * 64.0).view(1, 4, 8, 8)
    flat = Network(read("[reorg]\nflatten=1\n"))(x)[0]
    assert torch.equal(flat.flatten(), x.permute(0, 2, 3, 1).flatten())
    back = Network(read("[reorg]\nflatten=1\n[reorg]\nflatten=1\nreverse=1\n"))(x)[0]
    assert torch.equal(back, x)
    longer = Network(read("[reorg]\nextra=3\n[connected]\noutput=2\n"))
    assert longer.trace(x, [0])[0].flatten(1).tolist() == [x.flatten().tolist() + [0, 0, 0]]


def test_the_default_of_dropout_is_a_half() -> None:
    shares = [Network(read("[dropout]\n", name)).module_list[0].p for name in ("darknet", "pjreddie")]
    assert shares == [0.2, 0.5]


def test_a_plain_darknet_is_made_of_what_both_have_and_the_rest_is_refused() -> None:
    """The epsilon outside the root is folded away; a [yolo4] becomes a [yolo]."""
    torch.manual_seed(0)
    text = CONV + "batch_normalize=1\n[batchnorm]\n"
    text += "[convolutional]\nfilters=6\n[yolo4]\nmask=0\nclasses=1\nanchors=9,9\nscale_x_y=1.2\n"
    network = Network(read(text)).eval()
    plain = to_plain_darknet(network)
    x = torch.rand(2, 4, 8, 8)
    with torch.no_grad():
        for got, want in zip(plain.decode(plain(x)), network.decode(network(x)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert plain.graph.dialect.name == "darknet" and plain.graph.nodes[-1].section.type == "yolo"
    for part in ("[deconv]\nfilters=6\n", "[shortcut]\nfrom=0\nalpha=2\n", "[l2norm]\n", "[gru]\ntanh=1\n"):
        with pytest.raises(CfgError, match="plain Darknet cannot compute this"):
            to_plain_darknet(Network(read(CONV + CONV + part)))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes x, y, w, h."""
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
        for i in (0, 1)
    ]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


ANCHORS = np.array([[9, 12], [20, 16.0]])


def first_yolo_deltas(raw: np.ndarray, truths: np.ndarray, ignore: float) -> np.ndarray:
    """yolo_layer.c of pjreddie/darknet: raw [A, H, W, 7] of a 32 x 32 image, truths (class, x, y, w, h)."""
    out = raw.copy()
    out[..., [0, 1, 4, 5, 6]] = 1 / (1 + np.exp(-raw[..., [0, 1, 4, 5, 6]]))
    delta, (anchors, height, width, _) = np.zeros_like(raw), raw.shape
    for a, j, i in np.ndindex(anchors, height, width):
        x, y, w, h, objectness = out[a, j, i, :5]
        box = np.array([(i + x) / width, (j + y) / height, *(np.exp([w, h]) * ANCHORS[a] / 32)])
        best = max((iou(box, truth[1:]) for truth in truths), default=0)
        delta[a, j, i, 4] = 0 if best > ignore else -objectness
    for kind, x, y, w, h in truths:
        i, j = int(x * width), int(y * height)
        shapes = [iou(np.array([0, 0, *(size / 32)]), np.array([0, 0, w, h])) for size in ANCHORS]
        a = int(np.argmax(shapes))
        aims = [x * width - i, y * height - j, *np.log(np.array([w, h]) * 32 / ANCHORS[a])]
        was_set = delta[a, j, i, 5] != 0
        delta[a, j, i, :4] = (2 - w * h) * (aims - out[a, j, i, :4])
        delta[a, j, i, 4] = 1 - out[a, j, i, 4]
        if not was_set:
            delta[a, j, i, 5:] = -out[a, j, i, 5:]
        delta[a, j, i, 5 + int(kind)] = 1 - out[a, j, i, 5 + int(kind)]
    return delta


@pytest.mark.parametrize("ignore", [0.1, 0.6])
def test_yolo_learns_as_in_the_first_darknet(ignore: float) -> None:
    text = (
        NET.replace("8", "32") + "[convolutional]\nfilters=14\nstride=8\n[yolo]\nmask=0,1\nclasses=2\nnum=2\n"
    )
    text += f"anchors=9,12, 20,16\nignore_thresh={ignore}\n"
    network = Network(build_graph(parse(text), ReadOptions(dialect="pjreddie"))).double()
    raw = torch.randn(1, 2, 4, 4, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    truths = np.array([[0, 0.4, 0.3, 0.6, 0.5], [1, 0.42, 0.31, 0.61, 0.45], [1, 0.8, 0.8, 0.3, 0.35]])
    targets = torch.from_numpy(np.insert(truths, 0, 0, axis=1))
    detection_loss([raw.requires_grad_()], targets, network, rules=LossRules()).total.backward()
    want = -first_yolo_deltas(raw.detach().numpy()[0], truths, ignore)
    np.testing.assert_allclose(raw.grad.numpy()[0], want, atol=1e-10)


def test_boxes_by_overlap_learn_as_in_g_darknet() -> None:
    """dx_box_iou in its box.c: the true slopes by centre and size, of the overlap of boxes that meet."""
    text = NET.replace("8", "32") + "[convolutional]\nfilters=7\nstride=8\n[yolo]\nmask=0\nclasses=2\nnum=1\n"
    text += "anchors=9,12\nrepresentation=lin\niou_normalizer=.5\ncls_normalizer=.25\n"
    network = Network(build_graph(parse(text), ReadOptions(dialect="pjreddie"))).double()
    raw = torch.randn(1, 1, 4, 4, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    raw[..., 2:4] = 1.5 + raw[..., 2:4] / 10
    truth = torch.tensor([0.4, 0.3, 0.35, 0.5], dtype=torch.float64)
    targets = torch.tensor([[0, 1, *truth.tolist()]], dtype=torch.float64)
    detection_loss([raw.requires_grad_()], targets, network, rules=LossRules()).total.backward()
    got = raw.grad[0, 0, 1, 1]
    box = network.decode([raw.detach()])[0][0, 5].clone() / 32
    box.requires_grad_()
    (slopes,) = torch.autograd.grad(OVERLAPS["iou"](box, truth), box)
    torch.testing.assert_close(got[:4], -0.5 * slopes, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got[4], 0.25 * (raw.detach()[0, 0, 1, 1, 4].sigmoid() - 1))


NORM = CONV + "batch_normalize=1\n"
SHOWN = {
    "runs_foreign_activations": CONV.replace("leaky", "gelu"),
    "bn_eps": NORM,
    "bn_eps_outside_root": NORM,
    "bn_momentum": NORM,
    "ignores_foreign_keys": "[maxpool]\nsize=1\nstride_x=2\n",
    "learns_as_first": YOLO,
    "region_form": "[convolutional]\nfilters=7\n[region]\nclasses=2\n",
    "box_limit": YOLO,
    "region_box_limit": "[convolutional]\nfilters=7\n[region]\nclasses=2\nsoftmax=1\n",
    "shortcut_form": "[maxpool]\n[maxpool]\n[maxpool]\n[shortcut]\nfrom=-2,-3\n",
    "adam_eps": CONV,
    "letterboxes": CONV,
    "old_header_is_short": CONV,
    "norm_has_bias": "[maxpool]\n[batchnorm]\n",
    "lstm_gates": "[lstm]\noutput=3\n",
    "gru_takes_tanh": "[gru]\noutput=3\ntanh=1\n",
    "rnn_has_hidden": "[rnn]\noutput=3\nhidden=5\n",
    "crnn_is_padded": "[crnn]\noutput_filters=3\n",
    "dropout_share": "[dropout]\n",
}


def old_header_bytes(graph: Graph) -> int:
    """The length of a header of version 0.2000, in which matrices are transposed; 0 if none fits."""
    head = struct.pack("<3iI", 0, 2000, 0, 64)
    floats = sum(tensor.size for node in graph.nodes for tensor in node.section.tensors(*node.inputs))
    try:
        plan = plan_read(graph, FilePrefix("old.weights", head + bytes(64), 16 + 4 * floats))
    except WeightsError:
        return 0
    assert plan.header.seen == 64 and plan.header.to_bytes() == head
    return plan.header.size_bytes


def outcome(text: str, fact: str, value: object) -> list[object]:
    """What becomes of a cfg in the first Darknet's dialect with another value of one fact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DIALECTS, "pjreddie", PJREDDIE._replace(**{fact: value}))
        try:
            graph = read(text)
        except CfgError as fault:
            return [fault.message]
    torch.manual_seed(0)
    network, node = Network(graph).eval(), graph.nodes[-1]
    norms = [(part.eps, part.momentum) for part in network.modules() if hasattr(part, "momentum")]
    last = network.trace(torch.linspace(-1, 1, 256).view(1, 4, 8, 8), [node.index])[node.index]
    names = [tensor.name for tensor in node.section.tensors(*node.inputs)]
    told = [
        graph.net.eps,
        default_preprocess(graph),
        old_header_bytes(graph),
        *(getattr(node.section, name, None) for name in ("max", "learns_plain_classes", "probability")),
    ]
    return [node.shape, [one.message for one in graph.warnings], norms, last.tolist(), names, told]


def test_every_fact_in_which_the_first_darknet_differs_is_seen() -> None:
    differing = {name for name in Dialect._fields if getattr(DARKNET, name) != getattr(PJREDDIE, name)}
    assert differing - {"name", "family", "program"} == set(SHOWN)
    for fact, text in SHOWN.items():
        assert outcome(text, fact, getattr(PJREDDIE, fact)) != outcome(text, fact, getattr(DARKNET, fact)), (
            fact
        )


def test_net_bounds_the_weights_of_all_sections_in_the_first_darknet() -> None:
    text = NET + "clip=.5\n" + CONV
    limits = [
        read_rules(Network(build_graph(parse(text), ReadOptions(dialect=name))))[0].limit
        for name in ("darknet", "pjreddie")
    ]
    assert limits == [0, 0.5]


def test_a_batch_norm_without_bias_learns_over_several_processes_too() -> None:
    network = Network(read("[batchnorm]\n"))
    convert_sync_batchnorm(network)
    norm = network.module_list[0]
    assert isinstance(norm, SyncOuterBatchNorm2d) and not norm.bias.any()
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    assert "module_list.0.bias" not in network.state_dict()


@pytest.mark.parametrize("name", ["pjr_deconvolutional", "sowson_yolo4", "pjr_dialect"])
def test_a_network_without_its_batch_norms_gives_the_same(shared, tmp_path, name) -> None:
    case = fork(shared, tmp_path, name)
    folded = fold(case.network).network.eval()
    assert not [part for part in folded.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    check_outputs(case._replace(network=folded))
