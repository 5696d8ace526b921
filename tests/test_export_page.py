"""`yolor export --format html`: what the page holds, what its JavaScript computes, the page in a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import browser
import cv2
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from small import drawn_network

from yolor_cfg.cli import main
from yolor_cfg.detect.nms import NmsRules, apply_nms
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.errors import CfgError, DataError, MissingExtra
from yolor_cfg.export import web_runtime
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.half import store_half
from yolor_cfg.export.onnx_file import make_onnx
from yolor_cfg.export.onnx_nms import NmsLimits
from yolor_cfg.export.page_file import PageOptions, read_page_model, read_part, write_page
from yolor_cfg.export.run import export_network
from yolor_cfg.images.preprocess import (
    LetterboxOptions,
    NetworkInput,
    Placement,
    letterbox,
    stretch,
    yolor_letterbox,
)
from yolor_cfg.model import Network, Predictions
from yolor_cfg.weights.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
HEAD = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nclasses=2\nnum=2\n"
HEAD += "anchors=9,12,25,20\n"
DETECTOR = CONV.format(8) + CONV.format(16) + HEAD
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def make_network(text: str = DETECTOR, dialect: str = "darknet", channels: int = 3) -> Network:
    return drawn_network(text, dialect=dialect, image=(channels, 64, 64))


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder that looks like the npm package."""
    home = tmp_path / "node_modules" / "onnxruntime-web"
    (home / "dist").mkdir(parents=True)
    (home / "package.json").write_text('{"version": "9.8.7"}')
    (home / web_runtime.SCRIPT).write_text("export default 1")
    (home / web_runtime.WASM).write_bytes(b"\0asm")
    return tmp_path / "node_modules"


def run_js(code: str) -> object:
    """What `answer` is after the code behind that of the page."""
    assert NODE is not None
    text = read_part("boxes.js") + code + "\nconsole.log(JSON.stringify(answer))"
    done = subprocess.run([NODE, "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return make_onnx(make_network())


def test_a_page_holds_all_that_it_needs(model: onnx.ModelProto, tmp_path: Path, runtime: Path) -> None:
    path = tmp_path / "model.html"
    graph, given = make_network().graph, {"limits": NmsLimits(), "page": PageOptions(runtime)}
    write_page(model, path, graph=graph, names=("cat", "</script>"), **given)
    text = path.read_text()
    assert read_page_model(path) == model.SerializeToString()
    assert "ONNX Runtime Web 9.8.7" in text and "Permission is hereby granted" in text
    assert text.count("</script>") == 5
    facts = json.loads(text.partition('id="facts">')[2].partition("<")[0])
    assert facts["names"] == ["cat", "</script>"]
    assert facts["net"] == {"channels": 3, "height": 64, "width": 64, "fit": "stretch", "multiple_of": 4}
    for word in ("src=", "href=", "fetch(", "importScripts", "new Worker", "url("):
        assert word not in text.partition('id="facts"')[0] + text.rpartition("</script>\n<script>")[2]


def test_a_network_above_the_limit_is_refused_with_the_limit(model: onnx.ModelProto, tmp_path: Path) -> None:
    given = {"limits": NmsLimits(), "page": PageOptions(None, 0.001)}
    with pytest.raises(CfgError, match="too large for a page") as told:
        write_page(model, tmp_path / "model.html", graph=make_network().graph, names=(), **given)
    assert told.value.allowed == "up to 0.001 MB" and "--page-limit 1" in told.value.hint


def test_what_a_page_cannot_do_is_refused(tmp_path: Path) -> None:
    recurrent = "[crnn]\noutput_filters=4\nhidden_filters=4\npad=1\n" + HEAD
    with pytest.raises(CfgError, match="no state from image to image") as told:
        export_network(make_network(recurrent), tmp_path, ExportOptions("html"))
    assert (told.value.section, told.value.number) == ("crnn", 0)
    with pytest.raises(CfgError, match="1 or 3 channels"):
        export_network(make_network(channels=4), tmp_path, ExportOptions("html"))


def test_the_runtime_is_asked_for_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtra, match=f"npm pack onnxruntime-web@{web_runtime.VERSION}") as told:
        web_runtime.open_runtime()
    assert "Node.js" in told.value.hint and "--onnxruntime-web" in told.value.hint
    with pytest.raises(DataError, match="not onnxruntime-web"):
        web_runtime.open_runtime(tmp_path)


def test_stored_halves_compute_in_float32(model: onnx.ModelProto) -> None:
    import onnxruntime

    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    sizes, found = [], []
    for one in (model, store_half(onnx.ModelProto.FromString(model.SerializeToString()))):
        data = one.SerializeToString()
        sizes.append(sum(len(tensor.raw_data) for tensor in one.graph.initializer if len(tensor.dims) == 4))
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"images": image})[0])
    assert sizes[1] < 0.51 * sizes[0]
    assert 0 < np.abs(found[0] - found[1]).max() < 1e-2 * np.abs(found[0]).max()


def fit_here(fit: str, image: np.ndarray, multiple: int) -> NetworkInput:
    if fit == "yolor":
        return yolor_letterbox(image, (48, 64), fit=LetterboxOptions(multiple or None))
    return {"stretch": stretch, "darknet": letterbox}[fit](image, (48, 64))


@needs_node
@pytest.mark.parametrize("fit", ["stretch", "darknet", "yolor"])
def test_the_input_in_javascript_is_ours_to_the_bit(fit: str) -> None:
    draw = np.random.default_rng(1)
    for height, width, multiple in ((37, 53, 0), (96, 128, 32), (10, 100, 32), (64, 48, 0), (1, 7, 32)):
        image = cv2.blur(draw.integers(0, 256, (height, width, 3), dtype=np.uint8), (3, 3))
        image = image.reshape(height, width, 3)
        wanted = fit_here(fit, image, multiple)
        rgba = np.dstack([image, np.full((height, width), 255, np.uint8)])
        net = {"channels": 3, "height": 48, "width": 64, "fit": fit, "multiple_of": multiple}
        call = f"prepare(new Uint8Array({rgba.ravel().tolist()}), {height}, {width}, {json.dumps(net)})"
        found = run_js(f"const one = {call}; const answer = {{...one, data: [...one.data]}};")
        shape = (found["channels"], found["height"], found["width"])
        assert shape == wanted.pixels.shape
        assert np.array_equal(np.float32(found["data"]).reshape(shape), wanted.pixels)
        place = wanted.placement
        assert (*found["placement"]["gain"], *found["placement"]["padding"]) == (
            *place.gain_xy,
            *place.padding_xy,
        )


@needs_node
def test_grey_in_javascript_is_opencvs() -> None:
    image = np.random.default_rng(2).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    rgba = np.dstack([image, np.full((9, 11), 255, np.uint8)])
    found = run_js(f"const answer = [...pickChannels(new Uint8Array({rgba.ravel().tolist()}), 1)];")
    assert found == cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).ravel().tolist()


@needs_node
@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms", "yolor"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_nms_in_javascript_is_ours(kind: str, multi_label: bool) -> None:
    draw = np.random.default_rng(3)
    boxes = np.column_stack([draw.uniform(0, 100, (300, 2)), draw.uniform(10, 60, (300, 2))])
    rows = np.column_stack([boxes, draw.random((300, 4))]).astype(np.float32)
    rows[7, 2] = np.inf
    place = Placement((90, 120), (96, 128), (1.0625, 1.0625), (0.25, 0.1875), kind == "yolor")
    rules = NmsRules(0.3, 0.4, kind, 0.8, multi_label, max_det=40)
    parts = torch.from_numpy(rows[None])
    predictions = Predictions(parts[..., :4], parts[..., 4], parts[..., 5:].clone())
    predictions.scores[..., 1] = 0
    ((wanted, scores, labels),) = apply_nms(predictions, [place], rules=rules)
    facts = {"kind": kind, "beta": 0.8, "conf": 0.3, "iou": 0.4, "max_det": 40, "multi_label": multi_label}
    placement = {"gain": place.gain_xy, "padding": place.padding_xy, "isClipped": place.is_clipped}
    where = {"placement": placement, "height": 90, "width": 120}
    values = json.dumps(rows.ravel().tolist()).replace("Infinity", "1e400")
    call = (
        f"select(new Float32Array({values}), 8, {json.dumps(where)}, {json.dumps({**facts, 'hidden': [1]})})"
    )
    found = run_js(f"const answer = {call};")
    assert len(found) == len(wanted) > 10
    assert [one["label"] for one in found] == labels.tolist()
    np.testing.assert_array_equal(np.float32([one["score"] for one in found]), scores.numpy())
    np.testing.assert_array_equal(np.float32([one["box"] for one in found]), wanted.numpy())


def test_the_command_writes_a_page(tmp_path: Path, runtime: Path) -> None:
    weights = tmp_path / "cats.pt"
    save_checkpoint(make_network(dialect="yolor"), weights, names=("cat", "dog"))
    args = ["export", str(weights), "--format", "html", "--onnxruntime-web", str(runtime)]
    done = CliRunner().invoke(main, [*args, "--project", str(tmp_path / "runs"), "--conf", "0.5"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "runs" / "exp" / "model.html").read_text()
    facts = json.loads(text.partition('id="facts">')[2].partition("<")[0])
    assert facts["title"] == "cats" and facts["net"]["fit"] == "yolor"
    assert facts["rules"]["kind"] == "yolor" and facts["rules"]["conf"] == 0.5
    done = CliRunner().invoke(main, [*args, "--project", str(tmp_path / "runs"), "--batch", "2"])
    assert done.exit_code == 2 and "one image at a time" in done.output


# What PNG files hold is the same everywhere; of seeded weights a single level could show in another box.
PHOTOGRAPHS = ("data/samples/dog.png", "data/samples/person.png")
CELLS = ("data/bccd/images/BloodImage_00010.jpg", "data/bccd/images/BloodImage_00042.jpg")


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "letter_box"), [("yolor", 0), ("darknet", 0), ("darknet", 1)])
def test_the_page_finds_the_boxes_of_yolor_detect(
    shared: Path, tmp_path: Path, window: browser.Browser, dialect: str, letter_box: int
) -> None:
    """Tests fetch nothing: the runtime has to be here, as after a first `yolor export --format html`."""
    if dialect == "yolor":
        weights, images = (
            ROOT / "weights" / "yolor_bccd.pt",
            (*CELLS, *PHOTOGRAPHS, "data/samples/giraffe.jpg"),
        )
    else:
        weights, images = tmp_path / "seeded.pt", PHOTOGRAPHS
        save_checkpoint(make_network(f"letter_box={letter_box}\n" + DETECTOR), weights)
    detector = Detector(weights)
    try:
        runtime = web_runtime.open_runtime()
    except MissingExtra as fault:
        pytest.skip(str(fault))
    assert runtime.version == web_runtime.VERSION
    limits = NmsLimits(multi_label=detector.rules.multi_label)
    result = export_network(
        detector.network,
        tmp_path,
        ExportOptions("html", precision="fp16" if dialect == "yolor" else "fp32", nms=limits),
        names=detector.names,
    )
    total = 0
    window.open(result.path)
    window.wait("document.body.dataset.state === 'ready'")
    for name in images:
        window.run("document.body.dataset.state = 'ready'")
        window.give_file("#file", shared / name)
        window.wait("['done', 'failed'].includes(document.body.dataset.state)")
        found = window.run("return yolor.detections")
        total += check_same(detector(str(shared / name)), found)
    window.run("document.getElementById('camera').click()")
    window.wait("document.body.dataset.state === 'done' && stream")
    assert total > 5


def check_same(wanted: object, found: list[dict[str, object]]) -> int:
    """How many boxes there are; all are within a pixel, of the same class, but for those at the threshold."""
    boxes, scores, classes = (np.asarray(part) for part in (wanted.boxes_xyxy, wanted.scores, wanted.classes))
    places = np.array([one["box"] for one in found]).reshape(-1, 4)
    for here, there in ((0, 1), (1, 0)):
        sides = [
            (boxes, scores, classes),
            (places, [one["score"] for one in found], [one["label"] for one in found]),
        ]
        for box, score, label in zip(*sides[here], strict=True):
            others = sides[there][0][np.asarray(sides[there][2]) == label]
            nearest = np.abs(others - box).max(axis=1).min(initial=np.inf)
            assert nearest < 1 or abs(score - 0.25) < 0.01
    return len(boxes)
