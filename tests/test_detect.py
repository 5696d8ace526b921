"""`Detector`: from paths and arrays to boxes, against C Darknet's photographs and against formulas."""

import json
import pickle
import time
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from tiny_detector import Files, photo, save, seeded, text, write

from yolor_cfg import Detector
from yolor_cfg.detect import nms
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.nms import NmsRules, apply_nms
from yolor_cfg.detect.run import detect_frames
from yolor_cfg.detect.sources import Frame, open_sources
from yolor_cfg.errors import CfgError, DataError, YolorError
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.read import read_image
from yolor_cfg.model import Predictions
from yolor_cfg.ops.boxes import iou_matrix

WHOLE = Placement((100, 100), (100, 100), (1.0, 1.0), (0.0, 0.0))


def equal(some: Detections, others: Detections) -> None:
    for name in ("boxes_xyxy", "scores", "classes"):
        torch.testing.assert_close(getattr(some, name), getattr(others, name), rtol=1e-4, atol=1e-3)
    assert some.names == others.names


def predictions(boxes: int, classes: int, *, seed: int = 0) -> Predictions:
    """Of one image: as many random boxes in 100 x 100, most of them unlikely."""
    rng = torch.Generator().manual_seed(seed)
    xywh = torch.rand(1, boxes, 4, generator=rng) * torch.tensor([100, 100, 30, 30])
    return Predictions(
        xywh, torch.rand(1, boxes, generator=rng) ** 2, torch.rand(1, boxes, classes, generator=rng) ** 2
    )


def one(found: Predictions, rules: NmsRules) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    (result,) = apply_nms(found, [WHOLE], rules=rules)
    return result


# --- against C Darknet ---

PHOTOGRAPHS = sorted(path.stem for path in (golden.GOLDEN / "darknet/images").glob("*.json"))


def test_two_photographs_are_there_stretched_and_letterboxed(shared: Path) -> None:
    assert len(PHOTOGRAPHS) == 4


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_detector_sees_the_input_and_the_boxes_of_c_darknet(name: str, tmp_path: Path) -> None:
    folder = golden.GOLDEN / "darknet/images"
    case = json.loads((folder / f"{name}.json").read_text())
    want = np.load(folder / f"{name}.npz")
    detector = Detector(
        *seeded(case["network"], tmp_path),
        preprocess=case["preprocess"],
        conf=case["thresh"],
        iou=case["nms"],
        nms="default",
    )
    pixels = detector.prepare(folder / case["image"]).pixels
    np.testing.assert_allclose(pixels.ravel()[want["tensor_idx"]], want["tensor_val"], atol=1e-5)
    (found,) = detector([folder / case["image"]])
    width, height = case["image_size_wh"]
    corners = found.boxes_xyxy.double().numpy() / [width, height, width, height]
    centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    assert found.classes.tolist() == want["boxes"][:, 5].tolist()
    got = np.concatenate([centres, sizes, found.scores.numpy()[:, None]], axis=1)
    np.testing.assert_allclose(got, want["boxes"][:, [0, 1, 2, 3, 6]], atol=2e-4, rtol=2e-3)


# --- what goes in and comes out ---


def test_paths_and_arrays_mixed_give_one_result_each_in_order(tiny: Files, tmp_path: Path) -> None:
    a, b = photo(seed=1), photo(40, 90, seed=2)
    path = save(tmp_path / "a.png", a)
    detector = Detector(*tiny, names=["cat", "dog", "owl"])
    results = detector([path, b, str(path), a])
    assert len(results) == 4
    for result in results:
        boxes, scores, classes = result.boxes_xyxy, result.scores, result.classes
        assert (boxes.shape, scores.shape, classes.shape) == (
            (len(scores), 4),
            (len(scores),),
            (len(scores),),
        )
        assert (boxes.dtype, scores.dtype, classes.dtype) == (torch.float32, torch.float32, torch.int64)
        assert result.names == ("cat", "dog", "owl")
        assert len(scores) > 0 and bool((scores.diff() <= 0).all())
    equal(results[0], results[2])
    equal(results[0], results[3])
    assert not torch.equal(results[0].scores, results[1].scores)


def test_no_images_give_no_results(tiny: Files) -> None:
    assert Detector(*tiny)([]) == []


def test_a_batch_array_is_a_list_of_images(tiny: Files) -> None:
    batch = np.stack([photo(seed=1), photo(seed=2)])
    detector = Detector(*tiny, batch_size=2)
    for got, want in zip(detector(batch), detector(list(batch)), strict=True):
        equal(got, want)


def test_a_detector_that_was_pickled_finds_the_same(tiny: Files) -> None:
    detector = Detector(*tiny, names=["cat", "dog", "owl"], size=(96, 64), conf=0.3)
    again = pickle.loads(pickle.dumps(detector))
    for got, want in zip(again([photo()]), detector([photo()]), strict=True):
        equal(got, want)
    assert again.rules == detector.rules


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_batches_of_three_find_what_single_images_find(tiny: Files, dialect: str) -> None:
    """In the yolor dialect pictures of other shapes become inputs of other shapes."""
    images = [photo(seed=i, width=70 if i < 4 else 200) for i in range(7)]
    single = Detector(*tiny, dialect=dialect)(images)
    for got, want in zip(Detector(*tiny, dialect=dialect, batch_size=3)(images), single, strict=True):
        equal(got, want)


def test_images_are_prepared_batch_by_batch(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand images would not fit into memory at once."""
    detector = Detector(*tiny, batch_size=2)
    events: list[str] = []
    prepare, found = detector.prepare, detector.detect
    monkeypatch.setattr(detector, "prepare", lambda image, **how: events.append("in") or prepare(image))
    monkeypatch.setattr(detector, "detect", lambda batch, _: events.append("out") or found(batch))
    detector([photo()] * 6)
    assert events == ["in"] * 3 + ["out", "in", "in"] + ["out", "in"] + ["out"]


def test_the_size_is_a_square_or_height_and_width(tiny: Files) -> None:
    assert Detector(*tiny, size=128).network.graph.image == (3, 128, 128)
    assert Detector(*tiny, size=(320, 416)).prepare(photo()).pixels.shape == (3, 320, 416)


def test_a_grey_network_sees_grey_files_colour_files_and_grey_arrays_alike(tmp_path: Path) -> None:
    files = write(tmp_path, text(channels=1))
    grey = photo(channels=1)
    colour = save(tmp_path / "colour.png", grey.repeat(3, axis=2))
    detector = Detector(*files)
    results = detector([save(tmp_path / "grey.png", grey), colour, grey, grey[..., 0]])
    for result in results[1:]:
        equal(result, results[0])


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (photo().astype(np.float32) / 255, "found:   float32 (50, 70, 3)"),
        (photo(channels=4), "found:   4"),
        (np.zeros((0, 5, 3), np.uint8), "found:   uint8 (0, 5, 3)"),
        (np.zeros((2, 5, 5, 3), np.uint8), "found:   uint8 (2, 5, 5, 3)"),
        (None, "found:   NoneType"),
    ],
)
def test_an_array_that_is_no_picture_of_the_network_is_a_data_error(
    tiny: Files, image: object, found: str
) -> None:
    with pytest.raises(DataError) as raised:
        Detector(*tiny)([image])
    assert found in str(raised.value)


def test_a_missing_file_is_a_data_error_with_its_path(tiny: Files, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        Detector(*tiny)([tmp_path / "no.png"])
    assert str(raised.value) == f"{tmp_path}/no.png: no such file or directory"


def test_a_network_without_boxes_and_labels_is_refused_at_once(tmp_path: Path) -> None:
    files = write(tmp_path, text().rpartition("[convolutional]")[0])
    with pytest.raises(CfgError) as raised:
        Detector(*files)
    assert "[convolutional #3] predicts no boxes" in str(raised.value)


def test_a_network_of_losses_alone_is_refused_at_once(tmp_path: Path) -> None:
    files = write(tmp_path, "[net]\nwidth=32\nheight=32\nchannels=3\n[cost]\n")
    with pytest.raises(CfgError, match="cost #0. predicts nothing"):
        Detector(*files)


def test_heads_of_other_class_counts_are_refused(tmp_path: Path) -> None:
    conv = "[convolutional]\nfilters=21\nsize=1\nactivation=linear\n"
    second = f"[route]\nlayers=3\n{conv}[yolo]\nmask=0,1,2\nnum=3\nclasses=2\nanchors=1,1,2,2,3,3\n"
    with pytest.raises(CfgError) as raised:
        Detector(*write(tmp_path, text() + second))
    assert "classes: the heads differ in their number of classes\n  found:   2\n  allowed: 3" in str(
        raised.value
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"nms": "soft"},
            "unknown value\n  found:   soft\n  allowed: default, greedynms, diounms, cfg, yolor",
        ),
        ({"preprocess": "cut"}, "unknown value\n  found:   cut\n  allowed: stretch, letterbox, crop"),
        ({"classes": [0, 3]}, "no such class in this network\n  found:   3\n  allowed: 0..2"),
    ],
)
def test_choices_that_do_not_exist_are_refused_with_those_that_do(
    tiny: Files, options: dict, message: str
) -> None:
    with pytest.raises(CfgError) as raised:
        Detector(*tiny, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory_is_an_error_with_a_way_out(
    tiny: Files, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(*tiny)

    def full(*_: object) -> None:
        raise fault

    monkeypatch.setattr(detector, "engine", full)
    with pytest.raises(YolorError, match="not enough memory") as raised:
        detector([photo()])
    assert (raised.value.hint, raised.value.exit_code) == ("use a smaller --batch-size or --img-size", 1)


def test_a_fault_of_ours_is_not_called_lack_of_memory(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(*tiny)
    monkeypatch.setattr(detector.network, "decode", lambda raws, least: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        detector([photo()])


# --- names ---


def test_names_come_from_a_list_a_names_file_or_a_data_file(tiny: Files, tmp_path: Path) -> None:
    (tmp_path / "a.names").write_bytes("\ufeffcat\r\nété\r\nowl \r\n\r\n".encode())
    (tmp_path / "a.data").write_text("classes= 3\nnames = a.names\n")
    for names in (["cat", "été", "owl"], tmp_path / "a.names", str(tmp_path / "a.data")):
        assert Detector(*tiny, names=names).names == ("cat", "été", "owl")
    assert Detector(*tiny).names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.names",
            b"cat\ndog\n",
            "the number of names does not match the number of classes\n  found:   2 names",
        ),
        ("a.names", b"", "the file of class names is empty\n  allowed: one name per line"),
        ("a.names", b"cat\n\ndog\n", "a class without a name"),
        (
            "a.png",
            b"\x89PNG\r\n\x1a\n\0\0",
            "this is not a list of names\n  allowed: a text file, one name per line",
        ),
        ("a.data", b"classes=3\n", "no names= in this .data file\n  allowed: names = file.names"),
        (
            "a.data",
            b"names = a.data\n",
            "the number of names does not match the number of classes\n  found:   1 name",
        ),
    ],
)
def test_names_that_do_not_fit_are_one_clear_error(
    tiny: Files, name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as raised:
        Detector(*tiny, names=tmp_path / name)
    where, _, what = str(raised.value).partition(": ")
    assert where.removesuffix(":2") == str(tmp_path / name) and what.startswith(message)


def test_a_missing_names_file_is_named_also_when_a_data_file_leads_to_it(tiny: Files, tmp_path: Path) -> None:
    (tmp_path / "a.data").write_text("names = gone.names\n")
    for path, message in (
        ("no.names", "the names cannot be read: no such file or directory"),
        ("a.data", "names: no such file or folder\n  found:   gone.names\n  hint:    looked for "),
    ):
        with pytest.raises(DataError) as raised:
            Detector(*tiny, names=tmp_path / path)
        assert str(raised.value).startswith(f"{tmp_path / path}: {message}")


# --- which boxes are reported ---


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms"])
@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("agnostic", [True, False])
def test_looking_at_the_best_candidates_first_changes_nothing(
    kind: str, multi_label: bool, agnostic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = predictions(120, 6)
    for most, classes in ((1, None), (15, None), (60, (0, 3)), (10**6, None)):
        rules = NmsRules(
            0.05, 0.3, kind, multi_label=multi_label, agnostic=agnostic, max_det=most, classes=classes
        )
        monkeypatch.setattr(nms, "FIRST_PAIRS", 10**9)
        at_once = one(found, rules)
        monkeypatch.setattr(nms, "FIRST_PAIRS", 3)
        for got, want in zip(one(found, rules), at_once, strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("kind", ["default", "diounms", "yolor"])
@pytest.mark.parametrize("multi_label", [True, False])
def test_the_classes_asked_for_are_those_of_the_full_report(kind: str, multi_label: bool) -> None:
    found, rules = predictions(150, 6), NmsRules(0.05, 0.4, kind, multi_label=multi_label, max_det=10**6)
    boxes, scores, classes = one(found, rules)
    asked = (classes == 1) | (classes == 4)
    got = one(found, rules._replace(classes=(1, 4)))
    assert 0 < asked.sum() < len(asked)
    for some, want in zip(got, (boxes[asked], scores[asked], classes[asked]), strict=True):
        assert torch.equal(some, want)


@pytest.mark.parametrize("kind", ["default", "yolor"])
def test_agnostic_leaves_no_two_boxes_that_overlap(kind: str) -> None:
    """In the ordinary report boxes of different classes do overlap."""
    rules = NmsRules(0.05, 0.3, kind, agnostic=True, max_det=10**6)
    boxes, _, _ = one(predictions(150, 6), rules)
    overlaps = iou_matrix(boxes, boxes).fill_diagonal_(0)
    assert len(boxes) > 10 and overlaps.max() <= 0.3
    together, _, _ = one(predictions(150, 6), rules._replace(agnostic=False))
    assert iou_matrix(together, together).fill_diagonal_(0).max() > 0.3


@pytest.mark.parametrize("kind", ["default", "yolor"])
def test_the_most_that_is_reported_is_the_best_of_all(kind: str) -> None:
    found, rules = predictions(150, 6), NmsRules(0.05, 0.4, kind, multi_label=True, max_det=10**6)
    boxes, scores, classes = one(found, rules)
    for got, want in zip(
        one(found, rules._replace(max_det=7)), (boxes[:7], scores[:7], classes[:7]), strict=True
    ):
        assert torch.equal(got, want)


def test_the_distance_of_centres_saves_boxes_from_suppression() -> None:
    """It is taken off the overlap, so greedynms and diounms keep a superset, here a larger one."""
    found = predictions(150, 2)
    kept = {
        kind: set(one(found, NmsRules(0.05, 0.3, kind, max_det=10**6))[1].tolist())
        for kind in ("default", "greedynms", "diounms")
    }
    assert len(kept["default"]) < len(kept["greedynms"])
    assert kept["greedynms"] == kept["diounms"]


@pytest.mark.parametrize("kind", ["default", "yolor"])
def test_boxes_without_end_or_number_are_left_out(kind: str) -> None:
    boxes = torch.tensor(
        [[[50.0, 50, 10, 10], [50, 50, torch.inf, 9], [torch.nan, 1, 2, 3], [1, 1, 1e30, 1]]]
    )
    found = Predictions(boxes, torch.full((1, 4), 0.9), torch.full((1, 4, 1), 0.9))
    assert one(found, NmsRules(kind=kind))[0].tolist() == [[45, 45, 55, 55]]


@pytest.mark.parametrize("kind", ["default", "greedynms", "yolor"])
def test_a_million_candidates_take_two_seconds_at_most(kind: str, one_thread: None) -> None:
    """22743 boxes are those of three heads at 608; usual are 0.1 to 0.4 s."""
    found = predictions(22743, 80)
    assert (found.scores[0] * found.objectness[0, :, None] > 0.001).sum() > 10**6
    rules = NmsRules(0.001, 0.45, kind, multi_label=True)
    start = time.thread_time()
    assert len(one(found, rules)[1]) == 300
    assert time.thread_time() - start < 2


# --- recurrent networks ---


def recurrent(folder: Path) -> Files:
    """The tiny detector with a recurrent layer before its head."""
    crnn = "[crnn]\nbatch_normalize=1\nsize=3\npad=1\noutput=24\nhidden=8\nactivation=leaky\n"
    before, mark, after = text().rpartition("[convolutional]")
    return write(folder, before + crnn + mark + after)


def test_a_recurrent_network_starts_anew_with_each_picture_and_each_video(
    shared: Path, tmp_path: Path
) -> None:
    detector = Detector(*recurrent(tmp_path), batch_size=4)
    path = save(tmp_path / "a.png", photo())
    video = shared / "data/samples/cards_pan.mp4"
    found: list[tuple[Frame, Detections]] = []
    sources = open_sources([path, video, video, path], vid_stride=15)
    assert detect_frames(detector, sources, found=lambda *pair: found.append(pair), skipped=pytest.fail) == 8
    alone, films = [pair[1] for pair in (found[0], found[7])], [pair[1] for pair in found[1:7]]
    equal(*alone)
    for first, second in zip(films[:3], films[3:], strict=True):
        equal(first, second)
    detector.network.reset()
    frames = [pair[0].image for pair in found[1:4]]
    for got, want in zip(films[:3], detector(frames), strict=True):
        equal(got, want)
    detector.network.reset()
    assert not torch.equal(detector([frames[2]])[0].scores, films[2].scores)


def test_an_array_in_rgb_order_is_what_the_file_is(tiny: Files, shared: Path) -> None:
    path = shared / "data/samples/dog.jpg"
    equal(*Detector(*tiny)([path, read_image(path)]))


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_a_class_named_dont_show_is_hidden_and_leaves_its_boxes_to_the_next_best(
    tiny: Files, dialect: str
) -> None:
    """image.c 306: get_actual_detections passes over names that begin with dont_show."""
    settings = {"dialect": dialect, "conf": 0.05, "max_det": 1000}
    every = Detector(*tiny, **settings, multi_label=True)([photo()])[0]
    hiding = Detector(*tiny, ["a", "dont_show_b", "c"], **settings, multi_label=True)
    shown = every.classes != 1
    assert 0 < shown.sum() < len(shown)
    found = hiding([photo()])[0]
    assert torch.equal(found.boxes_xyxy, every.boxes_xyxy[shown])
    assert torch.equal(found.classes, every.classes[shown])
    assert "hidden, as their names ask for: dont_show_b" in hiding.notes
    (best,) = Detector(*tiny, ["a", "dont_show_b", "c"], **settings, multi_label=False)([photo()])
    (others,) = Detector(*tiny, **settings, multi_label=False, classes=[0, 2])([photo()])
    assert len(best.classes) > len(others.classes)


def test_the_kind_that_the_cfg_names_is_used_and_noted_where_another_is_asked_for(tmp_path: Path) -> None:
    """detector.c 1703 and 1897: C Darknet's `detector test` goes by the head's nms_kind."""
    cfg = tmp_path / "named.cfg"
    cfg.write_text(text().replace("[yolo]\n", "[yolo]\nnms_kind=diounms\nbeta_nms=.7\n"))
    plain, own = Detector(cfg, None, nms="default"), Detector(cfg, None)
    assert (plain.rules.kind, own.rules.kind, own.rules.beta) == ("default", "diounms", 0.7)
    assert any("C Darknet goes by the cfg, which says nms_kind=diounms" in note for note in plain.notes)
    assert not any("nms_kind" in note for note in own.notes)
