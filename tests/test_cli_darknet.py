"""`yolor darknet` beside what C Darknet printed and wrote (tests/data/darknet/README.md)."""

import hashlib
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny

HERE = Path(__file__).parent / "data/darknet"
FILES = ("tiny.data", "tiny.cfg", "tiny.weights")
CLASSIFIER = ("classifier.data", "classifier.cfg", "classifier.weights")
OTHER_LINES = re.compile(
    r" GPU isn't used|mini_batch = | seen 64| Detection layer| classes = |32 32$| TOP calc|Set -points"
    r"| `-points| rank = "
)
"""What C Darknet prints besides: its build, the network, progress, advice."""
NUMBER = re.compile(r"-?\d+\.\d{4,}")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("images", "classes"):
        shutil.copytree(HERE / name, tmp_path / name)
    for path in HERE.glob("*.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def darknet(*args: object, stdin: bytes | None = None) -> str:
    result = tiny.yolor("darknet", *args, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def recorded(name: str) -> list[str]:
    """The lines of C Darknet without those besides, prompts and progress."""
    text = (HERE / "recorded" / name).read_bytes().decode()
    lines = [line.rpartition("\r")[2].replace("Enter Image Path: ", "") for line in text.split("\n")]
    return [line for line in lines if line and not OTHER_LINES.match(line)]


def own(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def assert_close(ours: list[str], theirs: list[str], *, atol: float = 2e-5) -> None:
    """Equal lines, but for the last decimals of numbers with many and for times."""
    plain = [[NUMBER.sub("#", line) for line in lines] for lines in (ours, theirs)]
    assert plain[0] == plain[1]
    numbers = [[float(text) for line in lines if "Predicted" not in line for text in NUMBER.findall(line)]
               for lines in (ours, theirs)]  # fmt: skip
    np.testing.assert_allclose(*numbers, rtol=2e-5, atol=atol)


def test_detector_test_prints_and_writes_what_c_does_for_a_list_on_standard_input() -> None:
    args = ("detector", "test", *FILES, "-dont_show", "-thresh", 0.4, "-out", "result.json")
    out = darknet(*args, stdin=Path("train.txt").read_bytes())
    assert_close(own(out), recorded("test.txt"))
    assert_close(
        Path("result.json").read_text().split("\n"), (HERE / "recorded/out.json").read_text().split("\n")
    )
    assert len(json.loads(Path("result.json").read_text())) == 4


@pytest.mark.parametrize("more", [(), ("-letter_box",)])
def test_ext_output_prints_the_places_of_boxes(more: tuple[str, ...]) -> None:
    args = ("-ext_output", "detector", *more, "test", "-thresh", "0.3", *FILES, "-dont_show", "images/1.png")
    name = "letter_box.txt" if more else "ext_output.txt"
    assert_close(own(darknet(*args)), recorded(name))


@pytest.mark.parametrize(
    ("name", "options"),
    [("map.txt", ""), ("map_points.txt", "-points 11 -iou_thresh 0.6 -thresh 0.9")],
)
def test_detector_map_prints_the_figures_of_c(name: str, options: str) -> None:
    assert own(darknet("detector", "map", *FILES, *options.split())) == recorded(name)


def test_detector_recall_prints_the_lines_of_c() -> None:
    assert own(darknet("detector", "recall", *FILES)) == recorded("recall.txt")


def sorted_rows(path: Path) -> np.ndarray:
    """Image, score, corners, so that near scores do not change the order."""
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    return np.array(sorted(rows, key=lambda row: (row[0], *(round(side, 2) for side in row[2:]))))


@pytest.mark.parametrize("name", ["cat", "dog", "traffic light"])
def test_detector_valid_writes_the_files_of_c_for_voc(name: str) -> None:
    darknet("detector", "valid", *FILES)
    ours, theirs = (
        sorted_rows(folder / f"comp4_det_test_{name}.txt") for folder in (Path("results"), HERE / "recorded")
    )
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-3)


def test_detector_valid_writes_cocos_json_and_imagenets_lines() -> None:
    """By the formats of print_cocos and print_imagenet_detections in detector.c: the boxes are those of VOC's
    files, whose pixels count from 1, but clipped from 0 on."""
    darknet("detector", "valid", *FILES)
    voc = np.concatenate([np.loadtxt(path, converters=float, ndmin=2)[:, :2] for path in
                          sorted(Path("results").glob("*_cat.txt"))])  # fmt: skip
    for kind in ("coco", "imagenet"):
        Path("tiny.data").write_text((HERE / "tiny.data").read_text() + f"eval={kind}\nresults={kind}\n")
        darknet("detector", "valid", *FILES, "-out", "mine")
    text = Path("coco/mine.json").read_text()
    line = (
        r'\{"image_id":\d+, "category_id":[123], "bbox":\[(\d+\.\d{6}, ){3}\d+\.\d{6}\], "score":0\.\d{6}\},?'
    )
    assert text.startswith("[\n{") and text.endswith("}\n]\n")
    assert all(re.fullmatch(line, row) for row in text.splitlines()[1:-1])
    coco = [one for one in json.loads(text) if one["category_id"] == 1]
    assert sorted((one["image_id"], one["score"]) for one in coco) == sorted(map(tuple, voc.tolist()))
    rows = [line.split() for line in Path("imagenet/mine.txt").read_text().splitlines()]
    assert {row[0] for row in rows} == set("1234") and {row[1] for row in rows} == set("123")
    cats = [one["bbox"] for one in coco]
    corners = [(*box[:2], box[0] + box[2], box[1] + box[3]) for box in cats]
    ours = [tuple(map(float, row[3:])) for row in rows if row[1] == "1"]
    np.testing.assert_allclose(ours, corners, atol=3e-6)


def test_calc_anchors_prints_and_writes_in_the_form_of_c() -> None:
    out = darknet("detector", "calc_anchors", *FILES, "-num_of_clusters", 3, "-width", 96, "-height", 64)
    theirs = (HERE / "recorded/anchors.txt").read_bytes().decode()
    lines = out.splitlines()
    for start in (" num_of_clusters", " read labels", "counters_per_class"):
        assert next(line for line in lines if line.startswith(start)) in theirs
    assert (
        Path("counters_per_class.txt").read_bytes() == (HERE / "recorded/counters_per_class.txt").read_bytes()
    )
    anchors = Path("anchors.txt").read_text()
    assert re.fullmatch(r"( *\d+, *\d+, ){2} *\d+, *\d+", anchors) and lines[-1] == f"anchors = {anchors}"
    pairs = np.array(anchors.split(","), float).reshape(3, 2)
    assert (np.diff(pairs.prod(axis=1)) > 0).all()
    share, c_share = (float(re.search(r"avg IoU = ([\d.]+) % ", text)[1]) for text in (out, theirs))
    assert share >= c_share  # the best of ten starts, beside one


def test_calc_anchors_writes_decimals_for_cells_and_overwrites_only_with_force() -> None:
    args = ("detector", "calc_anchors", "tiny.data", "-num_of_clusters", 2, "-width", 12, "-height", 8)
    darknet(*args)
    before = Path("anchors.txt").read_text()
    assert re.fullmatch(r"(\d+\.\d{4},\d+\.\d{4}(, )?){2}", before)
    result = tiny.yolor("darknet", *args)
    assert result.exit_code == 1 and "exists already" in result.stderr and not result.stdout
    darknet(*args, "--force")
    assert Path("anchors.txt").read_text() == before


def test_partial_and_average_write_the_bytes_of_c() -> None:
    data = Path("tiny.weights").read_bytes()
    numbers = np.frombuffer(data, "<f4", offset=20)
    Path("b.weights").write_bytes(data[:20] + numbers[::-1].tobytes())
    Path("c.weights").write_bytes(data[:20] + (2 * numbers).astype("<f4").tobytes())
    darknet("partial", "tiny.cfg", "tiny.weights", "partial.conv.3", 3)
    darknet("average", "tiny.cfg", "average.weights", "tiny.weights", "b.weights", "c.weights")
    for line in (HERE / "recorded/weights.sha256").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == digest, name


def test_partial_forgets_the_images_seen_and_convert_does_not() -> None:
    data = Path("tiny.weights").read_bytes()
    Path("seen.weights").write_bytes(data[:12] + struct.pack("<Q", 6400) + data[20:])
    darknet("partial", "tiny.cfg", "seen.weights", "zero", 2)
    tiny.yolor("convert", "seen.weights", "kept", "--cfg", "tiny.cfg", "--upto", 2)
    assert [struct.unpack_from("<Q", Path(name).read_bytes(), 12)[0] for name in ("zero", "kept")] == [
        0,
        6400,
    ]


def test_average_leaves_alone_what_c_does_and_says_so() -> None:
    """`average` in darknet.c: convolutions whole, of connected layers weights and biases, nothing else."""
    data = Path("gru.weights").read_bytes()
    numbers = np.frombuffer(data, "<f4", offset=20)
    Path("twice.weights").write_bytes(data[:20] + (3 * numbers).astype("<f4").tobytes())
    result = tiny.yolor("darknet", "average", "gru.cfg", "mean.weights", "gru.weights", "twice.weights")
    assert "batch norm of [connected], [gru], [lstm]" in result.stderr
    ratio = np.frombuffer(Path("mean.weights").read_bytes(), "<f4", offset=20) / numbers
    connected = 4 + 12 + 12 * 32  # of the convolution all; then biases and weights
    assert np.allclose(ratio[:connected], 2) and np.allclose(ratio[-4 - 32 :], 2)
    assert (ratio[connected : -4 - 32] == 1).all()


def test_statistics_prints_the_figures_of_c() -> None:
    assert own(darknet("statistics", "gru.cfg", "gru.weights")) == recorded("statistics.txt")
    assert darknet("statistics", "tiny.cfg", "tiny.weights").split() == []


def test_oneoff_puts_a_classifier_into_each_anchor_behind_the_numbers_of_its_box() -> None:
    """`oneoff` in darknet.c, which knows only 9372 filters; here a file has as many as it has."""
    conv = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"
    text = "[net]\nheight=4\nwidth=4\nchannels=1\n" + conv.format(2) + conv.format(3 * (5 + 6))
    Path("tree.cfg").write_text(text + "[region]\nanchors=1,1,2,2,3,3\nnum=3\nclasses=6\ncoords=4\n")
    numbers = np.arange(1, 1 + 2 + 2 + 4 * (1 + 2), dtype="<f4")  # 4 filters of 2 channels in the end
    Path("classifier.weights").write_bytes(struct.pack("<3iQ", 0, 2, 5, 77) + numbers.tobytes())
    darknet("oneoff", "tree.cfg", "classifier.weights", "out.weights")
    data = Path("out.weights").read_bytes()
    found = np.frombuffer(data, "<f4", offset=20)
    assert struct.unpack_from("<3iQ", data) == (0, 2, 5, 0)
    assert found[:4].tolist() == numbers[:4].tolist()
    biases, weights = found[4 : 4 + 33].reshape(3, 11), found[4 + 33 :].reshape(3, 11, 2)
    for third in range(3):
        assert biases[third].tolist() == [0] * 5 + numbers[4:8].tolist() + [0] * 2
        assert weights[third, 5:9].ravel().tolist() == numbers[8:].tolist()
        assert (weights[third] == weights[0]).all()


def test_oneoff_refuses_other_networks_and_files_that_do_not_fit() -> None:
    assert tiny.yolor("darknet", "oneoff", "gru.cfg", "gru.weights", "x.weights").exit_code == 2
    result = tiny.yolor("darknet", "oneoff", "tiny.cfg", "tiny.weights", "x.weights")
    assert result.exit_code == 4 and "does not end with the filters of a classifier" in result.stderr
    assert not Path("x.weights").exists()


def test_classifier_predict_prints_the_best_classes_and_valid_its_last_line() -> None:
    out = darknet("classifier", "predict", *CLASSIFIER, "images/0.png", "-t", 4)
    assert_close(own(out), recorded("predict.txt"))
    assert (
        len(own(darknet("classifier", "predict", *CLASSIFIER, "images/0.png"))) == 1 + 3
    )  # top=3 in the data
    assert own(darknet("classifier", "valid", *CLASSIFIER)) == recorded("top.txt")[-1:]


def test_detector_train_trains_and_tests_only_with_map() -> None:
    cfg = Path("tiny.cfg").read_text().replace("[net]", "[net]\nbatch=2\nsubdivisions=1\nmax_batches=2\n", 1)
    Path("train.cfg").write_text(cfg)
    args = ("detector", "train", "tiny.data", "train.cfg", "tiny.weights", "-dont_show")
    for run, more in (("exp", ()), ("exp2", ("-map",))):
        darknet(*args, *more)
        header, *rows = (Path("runs/train") / run / "results.csv").read_text().splitlines()
        assert (Path("runs/train") / run / "weights/last.pt").exists()
        assert bool(rows[-1].split(",")[header.split(",").index("AP")].strip()) == bool(more)
