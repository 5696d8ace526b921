"""Exported files in the place of networks: the same boxes, options, files and messages, and no torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import training
from click.testing import CliRunner
from test_export import CONV, HEAD, NET, make_network

from yolor_cfg import Detector, ExportedDetector
from yolor_cfg.cli import main
from yolor_cfg.cli.calibrate import score_both
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.onnx_nms import NmsLimits
from yolor_cfg.export.run import export_network
from yolor_cfg.model import Network
from yolor_cfg.runs import save_image
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.loading import open_network

NAMES = ("cat", "dog")
FORMS = {
    "raw": ExportOptions(settings=OnnxSettings("raw")),
    "decoded": ExportOptions(),
    "threes": ExportOptions(settings=OnnxSettings(batch=3), nms=NmsLimits(0.05, 0.4, 300, False)),
    "fitting": ExportOptions(preprocess="bgr"),
    "openvino": ExportOptions("openvino"),
    "fitting_openvino": ExportOptions("openvino", nms=NmsLimits(0.05, 0.4, 300, False), preprocess="rgb"),
}
"""Ways to write the network; that with NMS takes three images at a time, `fitting` is with the preprocessing
inside."""
NO_TORCH = """
import sys
sys.modules["torch"] = None
from yolor_cfg.cli import main
main(sys.argv[1:])
"""


class Written:
    """A network, its checkpoint, the files of `FORMS`, and images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network: Network = make_network(
            NET + CONV.format(8, "leaky").replace("stride=1", "stride=4") + HEAD, seed=3
        )
        self.weights = folder / "small.pt"
        save_checkpoint(self.network, self.weights, names=NAMES)
        self.files = {form: self._write(form) for form in FORMS}
        draw = np.random.default_rng(0)
        sizes = [(40, 60), (32, 32), (51, 20), (33, 70)]
        self.images = [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        self.image = folder / "one.png"
        save_image(self.image, self.images[0])

    def _write(self, form: str) -> Path:
        folder = self.folder / form
        folder.mkdir()
        return export_network(self.network, folder, FORMS[form], names=NAMES, checks=False).path


@pytest.fixture(scope="module")
def written(written_once: None, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("exported"))


def invoke(*args: Any) -> Any:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_file_gives_the_boxes_of_the_network(form: str, engine: str, written: Written) -> None:
    if form.endswith("openvino") and engine != "openvino":
        pytest.skip("no file of this engine")
    limits = {"conf": 0.05, "iou": 0.4, "nms": "yolor"}
    wanted = Detector(written.weights, engine="torch", **limits)(written.images)
    file = ExportedDetector(written.files[form], engine=engine, batch_size=2, **limits)
    for ours, theirs in zip(file(written.images), wanted, strict=True):
        assert len(ours) == len(theirs) > 20
        np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4)
        assert ours.names == theirs.names == NAMES and ours.image_size == theirs.image_size


def test_the_command_runs_a_file_where_torch_cannot_be_imported(written: Written, tmp_path: Path) -> None:
    """With the lines and the files that it has for the network."""
    args = ["-q", "detect", str(written.image), "--json", "--save-txt", "--conf", "0.05"]
    with_torch = invoke(*args, "--weights", written.weights, "--output", tmp_path / "net")
    without = subprocess.run(
        [
            sys.executable,
            "-c",
            NO_TORCH,
            *args,
            *("--weights", written.files["decoded"], "--output", tmp_path / "file"),
        ],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (with_torch.exit_code, without.returncode) == (0, 0), without.stderr
    theirs, ours = json.loads(with_torch.stdout), json.loads(without.stdout)
    pairs = list(zip(ours.pop("detections"), theirs.pop("detections"), strict=True))
    assert ours == theirs and len(pairs) > 5
    for one, other in pairs:
        np.testing.assert_allclose(one.pop("box_xyxy"), other.pop("box_xyxy"), atol=0.01)
        assert (one["class"], one["name"]) == (other["class"], other["name"])
    names = [{str(one.relative_to(folder)) for one in folder.rglob("*")} for folder in tmp_path.iterdir()]
    assert names[0] == names[1] == {"one.png", "summary.json", "labels", "labels/one.txt"}


def test_a_file_is_tested_like_its_network(written: Written, tmp_path: Path) -> None:
    for number, image in enumerate(written.images):
        save_image(tmp_path / f"{number}.png", image)
        (tmp_path / f"{number}.txt").write_text(f"{number % 2} .5 .5 .4 .4\n")
    (tmp_path / "all.names").write_text("\n".join(NAMES))
    listed = "".join(f"{tmp_path / str(number)}.png\n" for number in range(len(written.images)))
    (tmp_path / "all.txt").write_text(listed)
    (tmp_path / "all.data").write_text("classes=2\nnames=all.names\nvalid=all.txt\n")
    args = ["test", "--data", tmp_path / "all.data", "--json", "--no-save"]
    scores = []
    for path in (written.weights, written.files["decoded"]):
        done = invoke(*args, path)
        assert done.exit_code == 0, done.output
        scores.append(json.loads(done.stdout))
    for name in ("coco", "yolor", "darknet"):
        assert scores[0][name] == pytest.approx(scores[1][name])


def test_a_network_tested_on_padded_images_has_the_figures_of_its_file(tmp_path: Path) -> None:
    """The file takes squares; the network gets rectangles of 64 x 128 and 128 x 64, unless all are padded."""
    text = training.yolor_text().replace("height=64\nwidth=64", "height=128\nwidth=128")
    network = make_network(text, "yolor", seed=3)
    weights = tmp_path / "net.pt"
    save_checkpoint(network, weights, names=training.NAMES)
    (tmp_path / "file").mkdir()
    path = export_network(network, tmp_path / "file", ExportOptions(), checks=False).path
    draw = np.random.default_rng(0)
    for number, size in enumerate([(50, 128), (128, 40), (128, 128), (40, 100)]):
        save_image(tmp_path / f"{number}.png", draw.integers(0, 256, (*size, 3), dtype=np.uint8))
        found = Detector(weights, conf=0.05)(tmp_path / f"{number}.png")
        boxes = found.boxes_xyxy.numpy() / np.tile(size[::-1], 2)
        rows = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])[::9]
        lines = [f"{k} {' '.join(map(str, row))}\n" for k, row in zip(found.classes[::9], rows, strict=True)]
        (tmp_path / f"{number}.txt").write_text("".join(lines))
    (tmp_path / "all.names").write_text("\n".join(training.NAMES))
    (tmp_path / "all.txt").write_text("".join(f"{tmp_path / str(number)}.png\n" for number in range(4)))
    (tmp_path / "all.data").write_text("classes=6\nnames=all.names\nvalid=all.txt\n")
    args = ["test", "--data", tmp_path / "all.data", "--json", "--no-save", "--fix-labels", "clip"]
    said = [invoke(*args, *more) for more in ((path,), (weights, "--no-rect"), (weights,))]
    assert [one.exit_code for one in said] == [0, 0, 0], said[0].output
    file, padded, usual = (json.loads(one.stdout) for one in said)
    assert file["coco"]["AP"] > 0.02 and file["coco"] == pytest.approx(padded["coco"], abs=1e-3)
    assert usual["coco"]["AP"] != pytest.approx(file["coco"]["AP"], rel=0.05)
    both = score_both(open_network(weights), path, str(tmp_path / "all.data"), hidden=True)
    assert both == pytest.approx(
        (padded["coco"]["AP"], file["coco"]["AP"]), abs=1e-3
    )  # as export --data has it
    told = "its network is tested on rectangles unless --no-rect pads its images too"
    assert [told in one.stderr for one in said] == [True, False, False]


def test_files_and_options_that_do_not_fit_are_told(written: Written, tmp_path: Path) -> None:
    decoded = written.files["decoded"]
    with pytest.raises(CfgError, match="does not take images of this size"):
        ExportedDetector(decoded, size=64)
    for option, value, said in (("size", 32, "its own size"), ("preprocess", "letterbox", "its own way")):
        with pytest.raises(CfgError, match=said):
            ExportedDetector(written.files["fitting"], **{option: value})
    with pytest.raises(CfgError, match="ExportedDetector"):
        Detector(decoded)
    with pytest.raises(CfgError, match="does not run such a file"):
        ExportedDetector(written.files["openvino"], engine="onnxruntime")
    for damage in (b"", b"no model"):
        (tmp_path / "bad.onnx").write_bytes(damage)
        with pytest.raises(WeightsError, match="cannot read this file"):
            ExportedDetector(tmp_path / "bad.onnx")
    with pytest.raises(WeightsError, match="cannot be read: no such file"):
        ExportedDetector(tmp_path / "none.onnx")
    assert "holds its network" in invoke("detect", "a.cfg", decoded, "a.png").output
    assert invoke("detect", decoded, "a.png", "--dialect", "yolor").exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cfg", None, "not written by `yolor export`"),
        ("names", "[", "is damaged"),
        ("input", "[]", "is damaged"),
        ("preprocess", "[]", "is damaged"),
        ("preprocess", '{"kind": "stretch", "inside": true}', "is damaged"),
        ("classes", "3", "is damaged"),
        ("dialect", "klingon", "is damaged"),
    ],
)
def test_a_file_with_other_facts_is_refused(
    name: str, value: str | None, said: str, written: Written, tmp_path: Path
) -> None:
    model = onnx.load(written.files["decoded"])
    facts = {one.key: one.value for one in model.metadata_props}
    facts = (
        {**facts, name: value} if value is not None else {key: facts[key] for key in facts.keys() - {name}}
    )
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, tmp_path / "other.onnx")
    done = invoke("detect", tmp_path / "other.onnx", written.image)
    assert done.exit_code == 4 and said in done.output and "other.onnx" in done.output


def test_an_unknown_option_is_refused(written):
    with pytest.raises(TypeError, match="no such option: cnof"):
        ExportedDetector(written.files["decoded"], cnof=0.5)


@pytest.mark.parametrize("name", ["model.pt2", "list.txt", "model"])
def test_other_files_are_told_from_exported_ones(name):
    with pytest.raises(CfgError, match="not an exported file that runs here"):
        ExportedDetector(name)


@pytest.mark.usefixtures("openvino")
def test_an_xml_file_without_its_weights_says_so(written, tmp_path):
    alone = tmp_path / "model.xml"
    alone.write_bytes(written.files["openvino"].read_bytes())
    with pytest.raises(WeightsError, match="weights beside the .xml file are missing") as told:
        ExportedDetector(alone)
    assert told.value.path == str(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(b"\0" * 8)
    with pytest.raises(WeightsError, match="cannot read this file") as told:
        ExportedDetector(alone)
    assert "src/" not in told.value.found.split(" ")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("detect", "model.pt2", "x.jpg"), "only .onnx and .xml run here"),
        (("detect", "model.html", "x.jpg"), "only .onnx and .xml run here"),
        (("bench", "model.onnx"), "is an exported file"),
        (("export", "{weights}", "--order", "bgr"), "--order belongs to --preprocess"),
        (("export", "{weights}", "--conf", "0.3"), "--conf belongs to --nms"),
        (("export", "{weights}", "--max-det", "3"), "--max-det belongs to --nms"),
        (("detect", "model.onnx"), "files of `yolor export`"),
    ],
)
def test_what_a_command_has_no_use_for_is_said(words, said, written):
    result = CliRunner().invoke(main, [word.format(weights=written.weights) for word in words])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_what_does_not_go_together_is_said_before_anything_else(written):
    result = CliRunner().invoke(main, ["export", str(written.weights), "--output", "raw", "--nms"])
    assert result.exit_code == 2
    assert "folded" not in result.stderr
    assert "NMS needs decoded boxes" in result.stderr
