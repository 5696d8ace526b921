"""What the Python API takes for an image, what it answers with, and how it refuses."""

import io
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_detector import photo, save, text, write, yolor

import yolor_cfg
from yolor_cfg import CfgError, DataError, Detection, Detections, Detector, MissingExtra, YolorError
from yolor_cfg.detect.base import known_classes
from yolor_cfg.detect.inputs import load_image
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.darknet import write_weights

Image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector(*write(tmp_path_factory.mktemp("calls"), text()), NAMES)


def same(got: Detections, want: Detections) -> None:
    assert got.to_dict() == want.to_dict() and len(want)


# --- objects ---


def test_a_result_is_a_list_of_objects(detector: Detector) -> None:
    found = detector(photo())
    objects = list(found)
    assert len(found) == len(objects) == len(found.scores) > 2
    one = objects[0]
    assert isinstance(one, Detection) and one.name == NAMES[one.class_id] and found.image_size == (50, 70)
    assert one.confidence == one.score == max(other.confidence for other in found)
    assert one.box == one.box_xyxy == tuple(found.boxes_xyxy[0].tolist())
    assert one.box_xywh[2] == one.box[2] - one.box[0]
    assert found[0] == one and found[-1] == objects[-1] and list(found[1:3]) == objects[1:3]
    dogs = found[found.classes == 1]
    assert [dog.name for dog in dogs] == ["dog"] * len(dogs) and len(found[[0, 2]]) == 2


def test_a_dict_has_the_words_of_the_json_lines(detector: Detector) -> None:
    made = detector(photo()).to_dict()
    assert made.keys() == {"width", "height", "detections"} and (made["width"], made["height"]) == (70, 50)
    assert made["detections"][0].keys() == {"class", "name", "score", "box_xyxy"}


def test_objects_are_drawn_onto_the_image_they_were_found_in(detector: Detector, tmp_path: Path) -> None:
    image = photo()
    found = detector(image)
    drawn = found.draw(image)
    assert drawn.shape == image.shape and (drawn != image).any()
    np.testing.assert_array_equal(found.draw(save(tmp_path / "a.png", image)), drawn)
    np.testing.assert_array_equal(found.draw(Image.fromarray(image)), drawn)
    np.testing.assert_array_equal(found.draw(image[..., ::-1], bgr=True)[..., ::-1], drawn)
    with pytest.raises(DataError, match="not the image that the objects were found in"):
        found.draw(photo(60, 60))


def test_pandas_and_supervision_are_asked_for_by_their_names(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = detector(photo())
    for package, make in (("pandas", found.to_pandas), ("supervision", found.to_supervision)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=f"pip install {package}") as raised:
            make()
        assert raised.value.exit_code == 5
        module = types.ModuleType(package)
        module.DataFrame = lambda rows, columns: (rows, columns)
        module.Detections = lambda **parts: parts
        monkeypatch.setitem(sys.modules, package, module)
    rows, columns = found.to_pandas()
    assert columns == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert rows[0] == (*found[0].box, found[0].confidence, found[0].class_id, found[0].name)
    parts = found.to_supervision()
    assert parts["xyxy"].shape == (len(found), 4) and parts["data"]["class_name"][0] == found[0].name
    assert parts["class_id"].tolist() == found.classes.tolist()


# --- images ---


def test_one_image_gives_one_result_and_a_list_a_list(detector: Detector, tmp_path: Path) -> None:
    image = photo()
    path = save(tmp_path / "a.png", image)
    want = detector([image])[0]
    planes = torch.from_numpy(image).permute(2, 0, 1)
    for one in (
        image,
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        io.BytesIO(path.read_bytes()),
        planes,
        planes / 255,
        (planes / 255).requires_grad_(),
        planes.double() / 255,
        np.asfortranarray(image),
        Image.fromarray(image),
        Image.open(path),
    ):
        same(detector(one), want)
    for several in ((path, image), iter([path, image]), np.stack([image] * 2), torch.stack([planes] * 2)):
        results = detector(several)
        assert isinstance(results, list) and len(results) == 2
        same(results[1], want)
    assert detector([]) == [] == detector(iter(()))


def test_bgr_is_opencvs_order_of_arrays_alone(detector: Detector, tmp_path: Path) -> None:
    image = photo()
    path = save(tmp_path / "a.png", image)
    want = detector(image)
    for one in (image[..., ::-1], cv2.imread(str(path)), torch.from_numpy(image).permute(2, 0, 1)[[2, 1, 0]]):
        same(detector(one, bgr=True), want)
    same(detector(path, bgr=True), want)
    same(detector(Image.fromarray(image), bgr=True), want)


def in_mode(mode: str) -> "Image.Image":
    shown = Image.fromarray(photo())
    deep = photo()[..., 0].astype(np.uint16) * 257
    return {
        "P": lambda: shown.quantize(12),
        "I;16": lambda: Image.fromarray(deep),
        "I": lambda: Image.fromarray(deep.astype(np.int32)),
        "RGBA": lambda: Image.fromarray(np.dstack([photo(), photo()[..., 1]])),
    }.get(mode, lambda: shown.convert(mode))()


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")]
    + [("P", "gif"), ("CMYK", "jpg"), ("YCbCr", "jpg"), ("1", "bmp"), ("P", "tif")],
)
def test_a_pil_image_is_seen_as_the_same_file_by_its_path(mode: str, suffix: str, tmp_path: Path) -> None:
    image, path = in_mode(mode), tmp_path / f"a.{suffix}"
    if mode == "I":
        cv2.imwrite(str(path), np.asarray(image).astype(np.uint16))
    else:
        image.save(path, quality=100)
    seen = load_image(path, 3)
    np.testing.assert_array_equal(load_image(Image.open(path), 3), seen)
    if suffix == "png":
        np.testing.assert_array_equal(load_image(image, 3), seen)
    assert len(np.unique(seen)) > 1


@pytest.mark.parametrize(("suffix", "quality"), [("jpg", 95), ("png", None), ("tif", None)])
def test_a_pil_image_is_turned_upright_as_its_file_is(suffix: str, quality: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo(50, 70)).save(path, exif=exif, **({"quality": quality} if quality else {}))
    seen = load_image(path, 3)
    assert seen.shape == (70, 50, 3)
    np.testing.assert_array_equal(load_image(Image.open(path), 3), seen)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (None, "this is no image"),
        (3, "found:   int"),
        ({"a": 1}, "found:   dict"),
        ([None], "found:   NoneType"),
        (b"", "the file is empty"),
        (b"no image", "not an image"),
        ("a\0.png", "null byte"),
        (["a\0.png"], "null byte"),
        (photo().astype(np.float32) / 255, "(image * 255).round().astype('uint8')"),
        (photo().astype(np.int64), "int64 (50, 70, 3)"),
        (photo() > 3, "bool (50, 70, 3)"),
        (photo().transpose(2, 0, 1), "image.transpose(1, 2, 0)"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 (0, 4, 3)"),
        (np.zeros((4, 4, 2), np.uint8), "wrong number of channels"),
        (torch.zeros(3, 4), "float32 (3, 4)"),
        (torch.zeros(5, 4, 4), "(3, height, width)"),
        (torch.full((3, 4, 4), 255.0), "divide by 255"),
        (torch.full((3, 4, 4), float("nan")), "not from 0 to 1"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "uint8, or floats from 0 to 1"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "float32 values"),
        (Image.fromarray(np.full((4, 4), -5, np.int32)), "beyond 16 bits"),
    ],
)
def test_what_is_no_image_is_a_data_error_that_says_what_is(
    image: object, says: str, detector: Detector
) -> None:
    with pytest.raises(DataError) as raised:
        detector(image)
    assert says in str(raised.value)


# --- options of a call ---


def test_conf_iou_classes_and_max_det_hold_for_one_call(detector: Detector) -> None:
    everything = detector(photo(), conf=0.0)
    want = detector(photo())
    assert len(everything) > len(want)
    assert {one.name for one in detector(photo(), classes=["dog", 2], conf=0)} == {"dog", "owl"}
    assert {one.name for one in detector([photo()], classes="dog", conf=0)[0]} == {"dog"}
    assert len(detector(photo(), conf=0, iou=0.0)) < len(everything)
    assert len(detector(photo(), conf=0, max_det=1)) == 1
    same(detector(photo()), want)


def test_a_name_that_several_classes_have_tells_their_numbers() -> None:
    names = ["cat", "dog", "Cat", "dog"]
    assert known_classes(["cat", "Cat", 3, "1"], names) == (0, 2, 3, 1)
    for name, numbers in (("dog", "1, 3"), ("CAT", "0, 2")):
        with pytest.raises(CfgError, match="^several classes have this name") as raised:
            known_classes([name], names)
        assert raised.value.found == f"{name}: {numbers}"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"conf": 1.5}, "conf: 1.5 is not in the range 0<=x<=1."),
        ({"conf": float("nan")}, "conf: nan is not in the range 0<=x<=1."),
        ({"iou": "much"}, "iou: 'much' is not a valid float."),
        ({"max_det": 0}, "max_det: 0 is not in the range x>=1."),
        ({"max_det": 2.5}, "max_det: '2.5' is not a valid integer."),
        ({"classes": ["bird"]}, "no such class in this network"),
    ],
)
def test_arguments_are_checked_with_the_messages_of_the_command(
    option: dict, text: str, detector: Detector
) -> None:
    with pytest.raises(CfgError) as raised:
        detector(photo(), **option)
    assert str(raised.value).startswith(text)
    if "classes" not in option and "nan" not in text and "2.5" not in text:
        ((name, value),) = option.items()
        said = yolor("detect", "a.pt", "x.png", f"--{name.replace('_', '-')}", value).stderr
        assert text.partition(": ")[2] in said


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"size": "4x"}, "'4x' is not an image size: use 416 for a square"),
        ({"size": (64, 96, 3)}, "'64x96x3' is not an image size"),
        ({"size": 99999}, "at most 268,435,456 are allowed"),
        ({"batch_size": 10**30}, "batch_size: a number of that length is not in the range"),
        ({"device": "0,1"}, "names 2 devices"),
        ({"device": "meta"}, "no such device here"),
        ({"preprocess": "cut"}, "unknown value"),
        ({"nms": "soft"}, "unknown value"),
    ],
)
def test_a_detector_checks_its_arguments(option: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(CfgError) as raised:
        Detector(*write(tmp_path, text()), **option)
    assert says in str(raised.value)


def test_an_unknown_option_of_a_call_is_a_type_error(detector: Detector) -> None:
    with pytest.raises(TypeError, match="confidence"):
        detector(photo(), confidence=0.5)


# --- unreadable images ---


def test_one_unreadable_image_does_not_cost_the_batch(detector: Detector, tmp_path: Path) -> None:
    images = [tmp_path / "no.png", photo(), b"no image", photo(seed=1), None]
    told: list[tuple[object, DataError]] = []
    for on_error in ("skip", lambda image, fault: told.append((image, fault))):
        results = detector(images, on_error=on_error)
        assert [len(found) > 0 for found in results] == [False, True, False, True, False]
        assert [found.error is None for found in results] == [False, True, False, True, False]
        same(results[3], detector(photo(seed=1)))
    assert str(results[0].error) == f"{tmp_path}/no.png: no such file or directory"
    assert str(results[2].error).startswith("image 2: not an image")
    assert [image for image, _ in told] == [images[0], images[2], None]
    assert detector("no.png", on_error="skip").to_dict()["error"].startswith("no.png: no such file")
    with pytest.raises(DataError, match="image 1: not an image"):
        detector(images[1:3] + images[2:], on_error="raise")
    with pytest.raises(CfgError, match="raise, skip"):
        detector(images, on_error="ignore")


def test_all_errors_are_importable_and_kinds_of_one(detector: Detector) -> None:
    for name in ("CfgError", "CfgFaults", "DataError", "MissingExtra", "WeightsError"):
        assert issubclass(getattr(yolor_cfg, name), YolorError) and name in yolor_cfg.__all__


def test_a_detector_without_weights_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = write(tmp_path, text())
    Detector(*made)
    assert not caplog.records
    Detector(made.cfg)
    assert "no weights are given" in caplog.messages[0]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told_by_the_commands_and_in_python(tmp_path, caplog, number):
    """Such a network finds nothing; that alone would look like an image without objects."""
    files = write(tmp_path, text())
    network = yolor_cfg.load(*files)
    with torch.no_grad():
        network.module_list[2].Conv2d.weight[1, 2, 0, 0] = number
    checkpoint, image = tmp_path / "odd.pt", save(tmp_path / "a.png", photo())
    write_weights(network, files.weights, force=True)
    save_checkpoint(network, checkpoint)
    told = "NaN or infinity in the weights of [convolutional #2] (line "
    for weights in (files.weights, checkpoint):
        result = yolor("detect", files.cfg, weights, image, "--project", tmp_path)
        assert result.exit_code == 0 and result.stderr.count(told) == 1
        found = Detector(files.cfg, weights)
        assert len(caplog.records) == 0
        found(image), found(image)
        assert [record.levelname for record in caplog.records if told in record.message] == ["WARNING"]
        caplog.clear()
        yolor_cfg.load(files.cfg, weights)
        assert [record.levelname for record in caplog.records if told in record.message] == ["WARNING"]
        caplog.clear()
