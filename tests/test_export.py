"""`yolor export`: what the files hold, and that every engine gets from them what our own network gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from exports import make_onnx_once

from yolor_cfg.cli import main
from yolor_cfg.detect.exported import ExportedDetector
from yolor_cfg.detect.nms import NmsRules, apply_nms
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.errors import CfgError
from yolor_cfg.export import formats
from yolor_cfg.export.describe import COLUMNS
from yolor_cfg.export.formats import FORMATS, ExportOptions, OnnxStore
from yolor_cfg.export.onnx_file import OnnxSettings, count_state_cells, make_onnx
from yolor_cfg.export.onnx_fit import fit_by_rules, fit_rules, fit_text
from yolor_cfg.export.onnx_mish import spell_mish
from yolor_cfg.export.onnx_nms import NmsLimits, add_nms
from yolor_cfg.export.onnx_preprocess import HEADER
from yolor_cfg.export.run import export_network, find_first_difference, write_plain_file
from yolor_cfg.export.traced import TracedNetwork, make_inputs
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.faster import rewrite_for_speed
from yolor_cfg.weights.checkpoint import save_checkpoint

pytestmark = pytest.mark.usefixtures("written_once")

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=1\npad=1\nactivation={}\n"
HEAD = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nclasses=2\nnum=2\n"
HEAD += "anchors=3,4,9,8\n"
# The first pool has an odd cell of padding, for which torch itself would need ceil_mode.
DETECTOR = NET + CONV.format(8, "mish") + "[maxpool]\nsize=2\nstride=2\n" + CONV.format(8, "leaky")
DETECTOR += "[maxpool]\nsize=3\nstride=2\n[reorg3d]\nstride=2\n[upsample]\nstride=2\n" + HEAD
RECURRENT = "[net]\ninputs=6\n[gru]\noutput=4\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"


def make_network(text: str, dialect: str = "darknet", seed: int = 0) -> Network:
    """Seeded weights, the statistics of batch norms among them."""
    network = Network(build_graph(parse(text), ReadOptions(dialect))).eval()
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = torch.rand(tensor.shape, generator=draw)
            tensor.copy_(spread + 0.5 if "var" in name else spread - 0.5)
    return network


def run_onnx(model: onnx.ModelProto, *inputs: torch.Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    named = {place.name: value.numpy() for place, value in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, named))


def in_order(table: np.ndarray) -> np.ndarray:
    return table[np.lexsort(table.T.round(3))]


@pytest.mark.parametrize("name", ["onnx", "openvino", "pt2"])
def test_each_format_gives_our_boxes_in_each_engine(name: str, tmp_path: Path) -> None:
    network = make_network(DETECTOR)
    result = export_network(
        network, tmp_path, ExportOptions(name), rewritten=rewrite_for_speed(network).network
    )
    assert [one.engine for one in result.parities] == list(FORMATS[name].engines)
    assert not result.failures
    assert max(one.worst for one in result.parities) < 1e-5


def test_nodes_say_all_that_engines_may_take_otherwise() -> None:
    model = make_onnx_once(make_network(DETECTOR, seed=3))
    pools = [
        {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        for node in model.graph.node
        if node.op_type == "MaxPool"
    ]
    assert [pool["pads"] for pool in pools] == [[0, 0, 1, 1], [1, 1, 1, 1]]
    wanted = {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "storage_order"}
    assert all(wanted <= pool.keys() and not pool["ceil_mode"] for pool in pools)
    assert "Pad" not in {node.op_type for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    wanted = {"kernel_shape", "strides", "pads", "dilations", "group"}
    assert all(wanted <= {one.name for one in node.attribute} for node in convolutions)


def test_mish_is_computed_without_tanh_and_stays_mish() -> None:
    """The limits too; and a tanh that something else reads stays."""
    text = "<ir_version: 10, opset_import: ['' : 18]> g (float[N] x) => (float[N] y, float[N] t) {{\n{}}}"
    body = "s = Softplus(x)\nt0 = Tanh(s)\n{}\nu = Softplus(x)\nt = Tanh(u)\n"
    text = text.replace("'", '"').format(body.format("y = Mul(x, t0)"))
    model = spell_mish(onnx.parser.parse_model(text))
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Exp", "Add", "Mul", "Div", "Add", "Div", "Softplus", "Tanh"]
    x = torch.cat([torch.linspace(-120, 120, 9601), torch.tensor([-3e38, 3e38, float("inf")])])
    found = run_onnx(model, x)[0]
    wanted = torch.nn.functional.mish(x.double()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def test_pixels_become_channels_without_slices_with_steps() -> None:
    text = NET + CONV.format(4, "leaky") + "[reorg]\n" + CONV.format(4, "leaky") + "[dwt]\n"
    network = make_network(text, "yolor")
    model = make_onnx(network, OnnxSettings("raw"))
    assert "Slice" not in {node.op_type for node in model.graph.node}
    inputs = make_inputs(TracedNetwork(network, "raw"), 1, seed=2)
    with torch.inference_mode():
        (wanted,) = network.step(inputs.images, {})[0]
    np.testing.assert_allclose(run_onnx(model, inputs.images)[0], wanted.numpy(), atol=1e-6)


def test_a_file_has_no_attribute_that_its_opset_lacks() -> None:
    """Dilation of average pools came after opset 18; joining NMS checks the whole model."""
    text = DETECTOR.replace("[maxpool]\nsize=3\nstride=2\n", "[local_avgpool]\nsize=2\nstride=2\n")
    model = add_nms(make_onnx_once(make_network(text)), NmsLimits(multi_label=False))
    onnx.checker.check_model(model, full_check=True)
    (pool,) = (node for node in model.graph.node if node.op_type == "AveragePool")
    assert {"kernel_shape", "strides", "pads", "count_include_pad"} <= {one.name for one in pool.attribute}


def test_number_and_size_of_images_may_differ() -> None:
    network = make_network(DETECTOR, "yolor", seed=3)
    model = make_onnx_once(network, OnnxSettings("decoded", "all"))
    for shape in ((1, 3, 32, 64), (3, 3, 96, 32)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            (wanted,) = TracedNetwork(network, "decoded")(images)
        (found,) = run_onnx(model, images)
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_a_state_goes_in_and_out() -> None:
    network = make_network(RECURRENT)
    model = make_onnx_once(network, OnnxSettings("raw"))
    first, second = (torch.full((1, 6, 1, 1), value) for value in (0.3, 0.8))
    _, state = run_onnx(model, first, torch.zeros(1, 4, 1, 1))
    found, _ = run_onnx(model, second, torch.from_numpy(state))
    with torch.inference_mode():
        network(first)
        (wanted,) = network(second)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("multi_label", [True, False])
def test_nms_inside_keeps_the_boxes_of_our_own(multi_label: bool) -> None:
    network = make_network(DETECTOR, seed=3)
    limits = NmsLimits(0.05, 0.4, 300, multi_label)
    inputs = make_inputs(TracedNetwork(network, "decoded"), 1)
    (rows,) = run_onnx(add_nms(make_onnx_once(network), limits), inputs.images)
    rules = NmsRules(conf=0.05, iou=0.4, max_det=10_000, multi_label=multi_label)
    with torch.inference_mode():
        predictions = network.decode(network(inputs.images))
    placement = Placement((32, 32), (32, 32), (1.0, 1.0), (0.0, 0.0))
    ((boxes, scores, classes),) = apply_nms(predictions, [placement], rules=rules)
    wanted = np.column_stack([boxes, scores, classes])
    found = rows[:, [COLUMNS.index(name) for name in ("x1", "y1", "x2", "y2", "score", "class")]]
    assert len(found) == len(wanted) > 5
    np.testing.assert_allclose(in_order(found), in_order(wanted), rtol=1e-4, atol=1e-3)


def test_the_first_section_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose second convolution was damaged on its way."""
    from yolor_cfg.export import formats

    network = make_network(DETECTOR)
    plain = formats.make_onnx

    def damage(network: Network, settings: OnnxSettings) -> onnx.ModelProto:
        model = plain(network, settings)
        node = [node for node in model.graph.node if node.op_type == "Conv"][1]
        weight = next(one for one in model.graph.initializer if one.name == node.input[1])
        weight.raw_data = (onnx.numpy_helper.to_array(weight) * 1.5).tobytes()
        return model

    monkeypatch.setattr(formats, "make_onnx", damage)
    node = find_first_difference(network, ExportOptions(), engine="onnxruntime", tolerance=1e-4)
    assert node is not None and node.index == 2


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    network = make_network(DETECTOR)
    limits = NmsLimits(0.25, 0.45, 300, False)
    with pytest.raises(CfgError, match="no fp16 in this format"):
        export_network(network, tmp_path, ExportOptions("pt2", precision="fp16"))
    with pytest.raises(CfgError, match="NMS needs decoded boxes"):
        export_network(network, tmp_path, ExportOptions(settings=OnnxSettings("raw"), nms=limits))
    with pytest.raises(CfgError, match="no NMS in this format"):
        export_network(network, tmp_path, ExportOptions("pt2", nms=limits))
    with pytest.raises(CfgError, match="predicts no boxes"):
        export_network(make_network(RECURRENT.removesuffix("[softmax]\n")), tmp_path, ExportOptions())
    with pytest.raises(CfgError, match="no preprocessing in this format"):
        export_network(network, tmp_path, ExportOptions("pt2", preprocess="rgb"))
    with pytest.raises(CfgError, match="takes one image a call"):
        export_network(network, tmp_path, ExportOptions(settings=OnnxSettings(batch=2), preprocess="rgb"))
    with pytest.raises(CfgError, match="one size alone"):
        export_network(make_network(RECURRENT), tmp_path, ExportOptions(settings=OnnxSettings("raw", "all")))
    assert not list(tmp_path.iterdir())


def test_the_command_leaves_a_model_its_facts_and_the_comparison(tmp_path: Path) -> None:
    weights = tmp_path / "small.pt"
    save_checkpoint(make_network(DETECTOR, seed=3), weights, names=("cat", "dog"))
    args = [
        "export",
        str(weights),
        "--precision",
        "fp16",
        "--nms",
        "--json",
        "--project",
        str(tmp_path / "runs"),
    ]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert all(engine["agrees"] for engine in told["parity"]["engines"])
    folder = tmp_path / "runs" / "exp"
    facts = json.loads((folder / "meta.json").read_text())
    assert facts["names"] == ["cat", "dog"] and facts["preprocess"] == {"kind": "stretch", "inside": False}
    assert facts["heads"] == [{"name": "yolo_0", "stride": [4.0, 4.0], "anchors": [[3.0, 4.0], [9.0, 8.0]]}]
    model = onnx.load(folder / "model.onnx")
    stored = {entry.key: entry.value for entry in model.metadata_props}
    assert stored["cfg"] == facts["cfg"] and json.loads(stored["names"]) == ["cat", "dog"]
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    types = {one.data_type for one in model.graph.initializer if one.name in kernels}
    assert kernels and types == {onnx.TensorProto.FLOAT16}
    assert json.loads((folder / "parity.json").read_text()) == told["parity"]


def test_a_network_of_nan_is_not_called_equal(tmp_path: Path) -> None:
    network = make_network(DETECTOR)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    save_checkpoint(network, tmp_path / "nan.pt")
    words = ["export", str(tmp_path / "nan.pt"), "--project", str(tmp_path / "runs")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and "all values of the network are NaN" in done.output


@pytest.mark.parametrize("one_size", [True, False])
@pytest.mark.parametrize(("dialect", "key"), [("darknet", ""), ("darknet", "letter_box=1\n"), ("yolor", "")])
def test_a_model_fits_images_to_the_bit(dialect: str, key: str, one_size: bool) -> None:
    """Against our own preprocessing: shrunk, enlarged, halved, one row, as it is."""
    text = DETECTOR.replace("32\nchannels", "64\n" + key + "channels")
    graph = build_graph(parse(text), ReadOptions(dialect))
    rules = fit_rules(graph, one_size=one_size)
    header = HEADER.format(ir=10, opset=18)
    model = onnx.parser.parse_model(header + fit_text(graph, rules, has_places=True, is_bgr=True))
    onnx.checker.check_model(model, full_check=True)
    draw = torch.Generator().manual_seed(2)
    for size in ((200, 71), (17, 23), (64, 128), (1, 9), (64, 32), (33, 500)):
        image = torch.randint(256, (*size, 3), generator=draw, dtype=torch.uint8)
        pixels, *places = run_onnx(model, image.flip(-1)[None])
        wanted = fit_by_rules(image.numpy(), graph, rules)
        np.testing.assert_array_equal(pixels[0], wanted.pixels)
        placement = wanted.placement
        for found, value in zip(places, (placement.gain_xy, placement.padding_xy, size[::-1]), strict=True):
            np.testing.assert_allclose(found, value, atol=2e-5)


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_preprocessing_and_nms_inside_give_the_boxes_of_detect(dialect: str, tmp_path: Path) -> None:
    network = make_network(DETECTOR, dialect, seed=3)
    nms = NmsLimits(0.05, 0.4, 300, dialect == "yolor")
    dynamic = "all" if dialect == "yolor" else "none"  # as detect, which pads a letterbox no further
    options = ExportOptions(settings=OnnxSettings("decoded", dynamic), nms=nms, preprocess="rgb")
    result = export_network(network, tmp_path, options)
    assert [one.engine for one in result.parities] == ["onnxruntime", "openvino", "opencv"]
    assert not result.failures
    assert {output.name for one in result.parities for output in one.outputs} == {"predictions", "images"}
    weights = tmp_path / "small.pt"
    save_checkpoint(network, weights)
    image = torch.randint(256, (49, 80, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    (rows,) = run_onnx(onnx.load(result.path), image[None])
    detector = Detector(weights, conf=0.05, iou=0.4, engine="torch")
    found = detector(image.numpy())
    wanted = np.column_stack([found.boxes_xyxy, found.scores, found.classes])
    assert len(rows) == len(wanted) > 5
    order = [COLUMNS.index(name) for name in ("x1", "y1", "x2", "y2", "score", "class")]
    np.testing.assert_allclose(in_order(rows[:, order]), in_order(wanted), rtol=1e-4, atol=1e-3)
    (tmp_path / "plain").mkdir()
    plain = export_network(
        network, tmp_path / "plain", options._replace(nms=None, preprocess="bgr"), checks=False
    )
    for path in (result.path, plain.path):
        ours = ExportedDetector(path, conf=0.05, iou=0.4)(image.numpy())
        assert ours.image_size == found.image_size
        table = np.column_stack([ours.boxes_xyxy, ours.scores, ours.classes])
        np.testing.assert_allclose(in_order(table), in_order(wanted), rtol=1e-4, atol=1e-3)
    facts = json.loads((tmp_path / "meta.json").read_text())
    assert facts["input"]["layout"] == "NHWC" and facts["preprocess"]["inside"]


STATE_OF_MAPS = f"""{NET}[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky
[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky
[shortcut]\nfrom=-2\nalpha=.5\nactivation=linear
[upsample]\nstride=2
[crnn]\noutput_filters=3\nhidden_filters=2\nactivation=leaky
"""


def test_states_grow_with_the_images() -> None:
    """Of 2x2 pixels a cell; the sum of maps of two sizes leaves the number of images open."""
    network = make_network(STATE_OF_MAPS, "pjreddie", seed=2)
    model = make_onnx_once(network, OnnxSettings("raw", "all"))
    draw = torch.Generator().manual_seed(1)
    for images, rows, columns in ((1, 2, 3), (3, 4, 2)):
        x = torch.rand(images, 3, 4 * rows, 4 * columns, generator=draw)
        state = torch.rand(images, 2, 2 * rows, 2 * columns, generator=draw)
        with torch.inference_mode():
            wanted = TracedNetwork(network, "raw")(x, state)
        for ours, theirs in zip(wanted, run_onnx(model, x, state), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)


def test_a_state_that_grows_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network(STATE_OF_MAPS, "pjreddie", seed=2)
    grow = lambda images: (images.new_zeros(1, 2, 1 + images.shape[2] // 4, 1),)  # noqa: E731
    monkeypatch.setattr(network.module_list[4], "initial_state", grow)
    with pytest.raises(CfgError, match="does not grow in step with the image") as told:
        count_state_cells(network)
    assert (told.value.section, told.value.number) == ("crnn", 4)


def test_sizes_that_are_no_multiples_of_the_stride_cannot_be_open(tmp_path: Path) -> None:
    """Behind a crop to 12 pixels a map of 3 cells has a stride of 32 / 3."""
    network = make_network(
        NET + "[crop]\ncrop_width=12\ncrop_height=12\n" + 2 * "[maxpool]\nsize=2\nstride=2\n"
    )
    options = ExportOptions("onnx", OnnxSettings("raw", "all"))
    with pytest.raises(CfgError, match="images of one size alone"):
        export_network(network, tmp_path, options)


def test_files_around_one_model_are_traced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, its twin for the comparison, and the plain file that --data tests."""
    traced = []

    def trace(network: Network, settings: OnnxSettings) -> onnx.ModelProto:
        traced.append(settings)
        return make_onnx_once(network, settings)

    monkeypatch.setattr(formats, "make_onnx", trace)
    network = make_network(DETECTOR, "yolor", seed=3)
    settings = OnnxSettings("decoded")
    options = ExportOptions("onnx", settings, nms=NmsLimits(), preprocess="rgb", store=OnnxStore())
    result = export_network(network, tmp_path, options)
    assert onnx.load(result.path).graph.input[0].name == "image" and not result.failures
    plain = write_plain_file(network, tmp_path, options._replace(format="openvino"))
    assert traced == [settings] and plain.exists()


def test_an_output_that_does_not_depend_on_the_image_is_given_out_too() -> None:
    """torch writes it as a weight, which neither onnx's checker nor ONNX Runtime accept as an output."""
    constant = "[implicit_add]\nfilters=14\n[yolo]\nmask=0,1\nclasses=2\nnum=2\nanchors=3,4,9,8\n"
    network = make_network(DETECTOR + constant, "yolor")
    images = torch.rand(1, 3, 32, 32)
    model = make_onnx(network, OnnxSettings("raw"))
    onnx.checker.check_model(model, full_check=True)
    with torch.no_grad():
        wanted = network(images)
    found = run_onnx(model, images)
    assert len(found) == len(wanted)
    for ours, theirs in zip(wanted, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-4, atol=1e-4)
