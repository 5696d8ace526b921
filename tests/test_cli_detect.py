"""`yolor detect` as its users meet it: results, options, and what it says when something is wrong."""

import errno
import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import golden
import numpy as np
import pytest
import torch
from tiny_detector import Files, close, detect, photo, save, seeded, text, write, yolor

from yolor_cfg import Detector
from yolor_cfg.cli import main
from yolor_cfg.detect.sources import open_sources
from yolor_cfg.images.read import read_image

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = sorted(path.stem for path in (golden.GOLDEN / "darknet/images").glob("*.json"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a folder `pictures` of three."""
    monkeypatch.chdir(tmp_path)
    for number, size in enumerate([(50, 70), (60, 60), (50, 70)]):
        save(tmp_path / f"pictures/{number}.png", photo(*size, seed=number))
    return tmp_path


def results(here: Path) -> list[str]:
    """Every file below runs/detect."""
    folder = here / "runs/detect"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


# --- against C Darknet ---


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_command_finds_in_a_photograph_what_c_darknet_finds(name: str, here: Path) -> None:
    folder = golden.GOLDEN / "darknet/images"
    case = json.loads((folder / f"{name}.json").read_text())
    want = np.load(folder / f"{name}.npz")["boxes"]
    options = [
        "--conf",
        case["thresh"],
        "--iou",
        case["nms"],
        "--preprocess",
        case["preprocess"],
        "--nms",
        "default",  # `boxes` of the file are those of plain IoU
    ]
    (line,) = detect(seeded(case["network"], here), folder / case["image"], *options)
    width, height = case["image_size_wh"]
    assert (line["width"], line["height"], len(line["detections"])) == (width, height, case["boxes"])
    got = []
    for one in line["detections"]:
        left, top, right, bottom = np.array(one["box_xyxy"]) / [width, height, width, height]
        got.append([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, one["score"]])
    assert [one["class"] for one in line["detections"]] == want[:, 5].tolist()
    np.testing.assert_allclose(got, want[:, [0, 1, 2, 3, 6]], atol=2e-4, rtol=2e-3)


# --- sources ---


def test_a_photograph_is_seen_upright_unless_its_orientation_is_ignored(tiny: Files, here: Path) -> None:
    """Orientation 6: a quarter turn clockwise, as cv2.imread makes it."""
    data = save(here / "phone.jpg", photo(50, 70)).read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (here / "phone.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    )
    for args, size in (((), (50, 70)), (("--ignore-orientation",), (70, 50)), ((), (50, 70))):
        (line,) = detect(tiny, "phone.jpg", *args)
        assert (line["width"], line["height"]) == size


def test_a_folder_a_glob_a_list_and_standard_input_give_the_same(tiny: Files, here: Path) -> None:
    (here / "pictures/list.txt").write_text("0.png\n1.png\n2.png\n")
    folder = detect(tiny, "pictures")
    assert [line["source"] for line in folder] == [f"pictures/{number}.png" for number in range(3)]
    close(detect(tiny, "pictures/*.png"), folder)
    close(detect(tiny, "pictures/list.txt"), folder)
    close(detect(tiny, "-", stdin=b"pictures/0.png\r\npictures/1.png\npictures/2.png"), folder)
    close(detect(tiny, "pictures/0.png", "pictures/[12].png"), folder)


@pytest.mark.parametrize(("video", "count"), [("cards_pan", 45), ("openlabeling-video", 40)])
def test_every_frame_of_a_video_is_reported_drawn_and_labelled(
    tiny: Files, video: str, count: int, shared: Path, here: Path
) -> None:
    path = shared / f"data/samples/{video}.mp4"
    lines = detect(tiny, path, "--save-txt", "--batch-size", 4)
    assert [line["frame"] for line in lines] == list(range(count))
    drawn = list(open_sources([here / f"runs/detect/exp/{video}.mp4"]))
    assert len(drawn) == count
    assert drawn[0].image.shape == (lines[0]["height"], lines[0]["width"], 3)
    labels = sorted((here / "runs/detect/exp/labels").iterdir())
    assert [len(path.read_text().splitlines()) for path in labels] == [
        len(line["detections"]) for line in lines
    ]
    assert summary(here / "runs/detect/exp")["frames"] == count


def test_every_second_frame_of_a_video_is_that_of_the_whole(tiny: Files, shared: Path, here: Path) -> None:
    path = shared / "data/samples/cards_pan.mp4"
    close(detect(tiny, path, "--nosave", "--vid-stride", 2), detect(tiny, path, "--nosave")[::2])


# --- what is left behind ---


def test_everything_that_can_be_saved_is_saved(tiny: Files, here: Path) -> None:
    (here / "a.names").write_text("cat\ndog\nowl\n")
    options = [
        "--names",
        "a.names",
        "--save-txt",
        "--save-conf",
        "--save-crop",
        "--save-json",
        "--max-det",
        2,
    ]
    lines = detect(tiny, "pictures", *options)
    folder = here / "runs/detect/exp"
    files = results(here)
    assert [name for name in files if "crops" not in name] == [
        "exp/0.png",
        "exp/1.png",
        "exp/2.png",
        "exp/detections.jsonl",
        "exp/labels/0.txt",
        "exp/labels/1.txt",
        "exp/labels/2.txt",
        "exp/summary.json",
    ]
    assert [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()] == lines
    crops = [
        f"exp/crops/{one['name']}/{Path(line['source']).stem}_{number}.jpg"
        for line in lines
        for number, one in enumerate(line["detections"])
    ]
    assert sorted(crops) == [name for name in files if "crops" in name]
    assert not np.array_equal(read_image(folder / "0.png"), read_image("pictures/0.png"))
    label, *numbers = (folder / "labels/0.txt").read_text().split()[:6]
    first = lines[0]["detections"][0]
    left, top, right, bottom = np.clip(first["box_xyxy"], 0, [70, 50, 70, 50])
    expected = [
        (left + right) / 140,
        (top + bottom) / 100,
        (right - left) / 70,
        (bottom - top) / 50,
        first["score"],
    ]
    assert int(label) == first["class"]
    np.testing.assert_allclose([float(number) for number in numbers], expected, atol=2e-6)
    told = summary(folder)
    assert (told["sources"], told["frames"], told["detections"], told["complete"]) == (3, 3, 6, True)
    assert set(told["classes"]) <= {"cat", "dog", "owl"}


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (["--nosave"], ["summary.json"]),
        ([], ["0.png", "summary.json"]),
        (["--nosave", "--save-txt"], ["labels/0.txt", "summary.json"]),
        (["--nosave", "--save-conf"], ["labels/0.txt", "summary.json"]),
        (["--nosave", "--save-json"], ["detections.jsonl", "summary.json"]),
    ],
)
def test_only_what_is_asked_for_is_written(
    tiny: Files, options: list[str], files: list[str], here: Path
) -> None:
    detect(tiny, "pictures/0.png", *options)
    assert results(here) == [f"exp/{name}" for name in files]


def test_a_second_run_gets_a_second_folder_and_the_first_stays(tiny: Files, here: Path) -> None:
    detect(tiny, "pictures/0.png")
    before = {name: (here / "runs/detect" / name).stat().st_mtime_ns for name in results(here)}
    result = yolor("detect", *tiny, "pictures/0.png")
    assert result.stderr.endswith("results saved to runs/detect/exp2\n")
    assert {name: (here / "runs/detect" / name).stat().st_mtime_ns for name in before} == before
    assert results(here) == ["exp/0.png", "exp/summary.json", "exp2/0.png", "exp2/summary.json"]


def test_the_place_and_the_name_can_be_chosen(tiny: Files, here: Path) -> None:
    detect(tiny, "pictures/0.png", "--project", "elsewhere/deep", "--name", "mine")
    assert (here / "elsewhere/deep/mine/0.png").exists()
    assert not (here / "runs").exists()


def test_standard_output_holds_json_lines_alone_and_notes_go_to_standard_error(
    tiny: Files, here: Path
) -> None:
    result = yolor("detect", *tiny, "pictures", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(line) for line in lines] == [["source", "width", "height", "detections"]] * 3
    assert [list(one) for one in lines[0]["detections"][:1]] == [["class", "name", "score", "box_xyxy"]]
    assert "3 images, " in result.stderr and "use --names FILE to name them" in result.stderr
    assert yolor("detect", *tiny, "pictures").stdout == ""


def test_quiet_says_nothing_at_all(tiny: Files, here: Path) -> None:
    result = yolor("-q", "detect", *tiny, "pictures")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_one_picture_is_one_picture(tiny: Files, here: Path) -> None:
    assert (
        "\n1 image, 1 detection: 1 of class "
        in yolor("detect", *tiny, "pictures/0.png", "--max-det", 1).stderr
    )


def test_a_file_name_that_is_no_unicode_is_reported_and_written(tiny: Files, here: Path) -> None:
    os.rename(b"pictures/0.png", b"pictures/\xff.png")
    (line,) = detect(tiny, "pictures/\udcff.png", "--save-txt", "--save-crop", "--save-json")
    assert line["source"] == "pictures/\udcff.png"
    assert (here / "runs/detect/exp/\udcff.png").exists()


# --- options ---


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_batches_of_three_give_the_same_as_single_pictures(tiny: Files, dialect: str, here: Path) -> None:
    save(here / "pictures/10.png", photo(30, 200, seed=5))
    single = detect(tiny, "pictures", "--dialect", dialect)
    close(detect(tiny, "pictures", "--dialect", dialect, "--batch-size", 3), single)
    assert all(line["detections"] for line in single)


def test_a_size_is_height_by_width(tiny: Files, here: Path) -> None:
    (line,) = detect(tiny, "pictures/0.png", "--img-size", "320x416")
    (found,) = Detector(*tiny, size=(320, 416))(["pictures/0.png"])
    assert [one["class"] for one in line["detections"]] == found.classes.tolist()
    boxes = [one["box_xyxy"] for one in line["detections"]]
    np.testing.assert_allclose(boxes, found.boxes_xyxy, atol=1e-3)


def test_options_mean_what_the_python_arguments_mean(tiny: Files, here: Path) -> None:
    for options, arguments in (
        (["--conf-thres", 0.4, "--iou-thres", 0.2], {"conf": 0.4, "iou": 0.2}),
        (["--classes", "0, 2"], {"classes": [0, 2]}),
        (["--agnostic-nms"], {"agnostic": True}),
        (["--multi-label"], {"multi_label": True}),
        (["--dialect", "yolor", "--best-label"], {"dialect": "yolor", "multi_label": False}),
        (["--nms", "diounms"], {"nms": "diounms"}),
        (["--nms", "greedynms"], {"nms": "greedynms"}),
        (["--nms", "yolor"], {"nms": "yolor"}),
        (["--max-det", 3], {"max_det": 3}),
        (["--preprocess", "letterbox"], {"preprocess": "letterbox"}),
    ):
        (line,) = detect(tiny, "pictures/0.png", *options)
        (found,) = Detector(*tiny, **arguments)(["pictures/0.png"])
        assert [one["class"] for one in line["detections"]] == found.classes.tolist(), options
        scores = [one["score"] for one in line["detections"]]
        np.testing.assert_allclose(scores, found.scores, atol=1e-5, err_msg=str(options))


def test_a_grey_network_takes_grey_pictures(here: Path) -> None:
    files = write(here, text(channels=1))
    save(here / "grey.png", photo(channels=1))
    (line,) = detect(files, "grey.png")
    assert line["detections"]
    assert read_image("runs/detect/exp/grey.png").shape == (50, 70, 3)


def test_classes_are_given_by_name_or_number(tiny: Files, here: Path) -> None:
    (here / "a.names").write_text("cat\ndog\nOwl\n")
    named = ("pictures/0.png", "--names", "a.names")
    by_number = detect(tiny, *named, "--classes", "0,2")
    assert detect(tiny, *named, "--classes", "cat, owl") == by_number
    assert detect(tiny, *named, "--classes", "0,Owl") == by_number
    assert {one["class"] for line in by_number for one in line["detections"]} <= {0, 2}
    message = refusal(here, *tiny, *named, "--classes", "dogg", code=2)
    assert "allowed: 0..2, or a name" in message and "did you mean dog?" in message


def test_names_come_from_a_data_file_beside_its_names(tiny: Files, here: Path) -> None:
    (here / "data").mkdir()
    (here / "data/a.names").write_text("cat\ndog\nowl\n")
    (here / "data/a.data").write_text("names = a.names\n")
    (line,) = detect(tiny, "pictures/0.png", "--names", "data/a.data")
    assert {one["name"] for one in line["detections"]} <= {"cat", "dog", "owl"}
    assert "to name them" not in yolor("detect", *tiny, "pictures/0.png", "--names", "data/a.data").stderr


def test_a_checkpoint_brings_its_names(tiny: Files, here: Path) -> None:
    (here / "a.names").write_text("cat\ndog\nowl\n")
    yolor("convert", tiny.weights, "a.pt", "--cfg", tiny.cfg, "--names", "a.names")
    assert Detector(tiny.cfg, "a.pt").names == ("cat", "dog", "owl")
    plain = detect(tiny, "pictures/0.png")
    close(detect(Files(tiny.cfg, here / "a.pt"), "pictures/0.png"), plain)


def test_predict_is_the_same_command(tiny: Files, here: Path) -> None:
    assert yolor("predict", *tiny, "pictures/0.png").exit_code == 0


# --- pictures that are odd ---


def test_what_cannot_be_read_is_named_counted_and_skipped(tiny: Files, here: Path) -> None:
    whole = (here / "pictures/1.png").read_bytes()
    (here / "pictures/half.png").write_bytes(whole[: len(whole) // 2])
    result = yolor("detect", *tiny, "pictures", "nowhere.txt", "--json")
    assert result.exit_code == 3  # a source that does not exist is told before anything runs
    result = yolor("detect", *tiny, "pictures", "--json", "--batch-size", 2)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    reason = "the file is truncated: it ends before the image does"
    assert f"pictures/half.png: skipped: {reason}\n" in result.stderr
    assert "; 1 unreadable\n" in result.stderr
    told = summary(here / "runs/detect/exp")
    assert told["unreadable"] == [{"source": "pictures/half.png", "reason": reason}]
    assert (told["frames"], told["complete"]) == (3, True)


def test_the_exit_code_is_3_when_nothing_could_be_read(tiny: Files, here: Path) -> None:
    (here / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (here / "b.jpg").write_bytes(b"")
    result = yolor("detect", *tiny, "a.jpg", "b.jpg", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.endswith(
        "a.jpg: skipped: the file is truncated: it ends before the image does\n"
        "b.jpg: skipped: the file is empty\n"
        "no image could be read\n  found:   2 unreadable sources\n"
    )
    assert len(summary(here / "runs/detect/exp")["unreadable"]) == 2


@pytest.mark.parametrize("preprocess", ["stretch", "letterbox"])
@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_a_picture_of_one_pixel_and_lines_of_one_are_pictures(
    tiny: Files, dialect: str, preprocess: str, here: Path
) -> None:
    for size in ((1, 1), (1, 900), (900, 1)):
        path = save(here / "odd" / f"{size[0]}x{size[1]}.png", photo(*size))
        options = [
            "--dialect",
            dialect,
            "--preprocess",
            preprocess,
            "--save-crop",
            "--save-txt",
            "--conf",
            0.05,
        ]
        (line,) = detect(tiny, path, *options)
        assert (line["height"], line["width"]) == size


def test_forty_megapixels_take_seconds(tiny: Files, here: Path) -> None:
    save(here / "huge.jpg", photo(5000, 8000))
    start = time.process_time()
    (line,) = detect(tiny, "huge.jpg")
    assert (line["width"], line["height"]) == (8000, 5000)
    assert read_image("runs/detect/exp/huge.jpg").shape == (5000, 8000, 3)
    assert time.process_time() - start < 20


# --- mistakes of a new user: one message, an exit code, nothing left behind ---


def refusal(here: Path, *args: object, code: int) -> str:
    """The message of a run that must fail with this code, without traceback or any new file."""
    before = sorted(here.rglob("*"))
    result = yolor("detect", *args)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(here.rglob("*")) == before
    return result.stderr


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ("no.cfg", "no.cfg: the cfg cannot be read: no such file or directory"),
        ("pictures", "pictures: the cfg cannot be read: is a directory"),
        ("empty.cfg", "empty.cfg:1: this file has no sections"),
        ("pictures/0.png", "pictures/0.png: this is not a text file"),
        ("tiny.weights", "tiny.weights: this is not a text file"),
    ],
)
def test_something_else_than_a_cfg_is_exit_code_2(tiny: Files, cfg: str, message: str, here: Path) -> None:
    (here / "empty.cfg").write_text("")
    (here / "tiny.weights").write_bytes(tiny.weights.read_bytes())
    assert refusal(here, cfg, tiny.weights, "pictures", code=2).startswith(message)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("no.weights", "no.weights: the weights cannot be read: no such file or directory"),
        ("pictures", "pictures: the weights cannot be read: is a directory"),
        ("empty.weights", "empty.weights: this is an empty file, not a weights file"),
        ("pictures/0.png", "pictures/0.png: this is an image, not a weights file"),
        ("page.weights", "page.weights: this is an HTML page, not a weights file"),
        ("other.weights", "other.weights: longer than the network by"),
        ("half.weights", "half.weights: "),
    ],
)
def test_something_else_than_the_weights_is_exit_code_4(
    tiny: Files, weights: str, message: str, here: Path
) -> None:
    data = tiny.weights.read_bytes()
    (here / "empty.weights").write_bytes(b"")
    (here / "page.weights").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (here / "other.weights").write_bytes(data + bytes(400))
    (here / "half.weights").write_bytes(data[: len(data) // 2])
    assert refusal(here, tiny.cfg, weights, "pictures", code=4).startswith(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pictures/no.png", "pictures/no.png: no such file or folder"),
        ("picture", "picture: no such file or folder"),
        ("nothing", "nothing: no images or videos here\n  found:   1 file of other kinds"),
        ("*.gif", "*.gif: no images or videos here\n  found:   no files"),
        ("list.txt", "list.txt: the list is empty"),
    ],
)
def test_a_source_that_leads_nowhere_is_exit_code_3(
    tiny: Files, source: str, message: str, here: Path
) -> None:
    (here / "nothing").mkdir()
    (here / "nothing/notes.md").write_text("x")
    (here / "list.txt").write_text("\n")
    assert message in refusal(here, *tiny, source, code=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--img-size", "0"], "'0' is not an image size: use 416 for a square, 416x320 for height x width"),
        (["--img-size", "-1"], "'-1' is not an image size"),
        (["--img-size", "abc"], "'abc' is not an image size"),
        (["--classes", "cat"], "no such class in this network\n  found:   cat\n  allowed: 0..2"),
        (["--classes", "0,,2"], "'0,,2' is not a list of classes such as 0,2,person"),
        (["--classes", "0,3"], "no such class in this network\n  found:   3\n  allowed: 0..2"),
        (["--conf", "25"], "25.0 is not in the range 0<=x<=1"),
        (["--device", "gpu"], "no such device here\n  found:   gpu"),
        (["--device", "99"], "no such device here\n  found:   cuda:99"),
        (["--device", "0,1"], "CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc-per-node 2 -m yolor_cfg train"),
        (["--shown"], "No such option '--shown'"),
        (["--batch-size", "0"], "0 is not in the range x>=1"),
    ],
)
def test_an_option_that_makes_no_sense_is_exit_code_2(
    tiny: Files, options: list[str], message: str, here: Path
) -> None:
    assert message in refusal(here, *tiny, "pictures", *options, code=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_exit_code_2(tiny: Files, here: Path) -> None:
    message = refusal(here, *tiny, "pictures", "--device", "cuda", code=2)
    assert message.startswith("no such device here\n  found:   cuda\n  allowed: cpu")


def test_no_source_is_a_usage_error(tiny: Files, here: Path) -> None:
    assert "Missing argument 'SOURCE...'" in refusal(here, *tiny, code=2)


def test_a_size_whose_maps_do_not_meet_is_told_with_sizes_that_fit(here: Path) -> None:
    """The map of stride 16, doubled, is 64 high and that of stride 8 is 63."""
    before, mark, head = text().rpartition("[convolutional]")
    files = write(here, f"{before}[upsample]\n[route]\nlayers=-1,2\n{mark}{head}")
    message = refusal(here, *files, "pictures", "--img-size", "500", code=2)
    assert "the image size does not fit" in message
    assert "allowed: 496, 512\n" in message and "a multiple of 16" in message
    assert yolor("detect", *files, "pictures", "--img-size", "496", "--max-det", 3).exit_code == 0


def test_wrong_names_are_one_message_and_exit_code_3(tiny: Files, here: Path) -> None:
    (here / "a.names").write_text("cat\ndog\n")
    assert refusal(here, *tiny, "pictures", "--names", "a.names", code=3) == (
        "a.names: the number of names does not match the number of classes\n"
        "  found:   2 names\n  allowed: 3 names\n"
    )


def test_a_backbone_is_refused_before_anything_is_written(here: Path) -> None:
    files = write(here, text().rpartition("[convolutional]")[0] + "[avgpool]\n")
    assert "[avgpool #4] predicts no boxes" in refusal(here, *files, "pictures", code=2)


def test_pictures_of_other_channels_are_skipped_with_the_reason(here: Path) -> None:
    result = yolor("detect", *write(here, text(channels=5)), "pictures/0.png")
    assert result.exit_code == 3
    assert "pictures/0.png: skipped: the image has 3 channels, not 5\n" in result.stderr


@pytest.mark.parametrize("project", ["file/runs", "/proc", "/proc/deep/runs"])
def test_a_place_that_cannot_be_written_is_exit_code_1(tiny: Files, project: str, here: Path) -> None:
    (here / "file").write_text("x")
    message = refusal(here, *tiny, "pictures", "--project", project, code=1)
    assert message.count("cannot be written: ") == 1
    assert message.endswith("\n  hint:    choose another folder with --project\n")


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(
    tiny: Files, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 1:
            write_bytes(path, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    result = yolor("detect", *tiny, "pictures")
    assert result.exit_code == 1
    assert "runs/detect/exp/1.png: cannot be written\n  found:   No space left on device\n" in result.stderr
    assert results(here) == ["exp/0.png", "exp/summary.json"]
    assert summary(here / "runs/detect/exp")["complete"] is False


def test_the_user_s_own_files_are_as_they_were(tiny: Files, here: Path) -> None:
    """The results go among the pictures, under the name of one of them."""
    before = {path: path.read_bytes() for path in (here / "pictures").iterdir()}
    assert yolor("detect", *tiny, "pictures", "--project", "pictures", "--name", "0.png").exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert (here / "pictures/0.png2/summary.json").exists()


def test_control_c_keeps_what_is_done_and_says_that_it_is_not_all(
    tiny: Files, shared: Path, here: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "yolor_cfg",
        "detect",
        *map(str, tiny),
        shared / "data/samples/cards_pan.mp4",
        "--img-size",
        "1600",
        "--json",
        "--save-json",
        "--project",
        here,
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.endswith("interrupted\n") and "Traceback" not in told
    done = summary(here / "exp")
    assert done["complete"] is False
    assert 1 <= done["frames"] < 45
    lines = (here / "exp/detections.jsonl").read_text().splitlines()
    assert 1 + len(rest.splitlines()) == len(lines) == done["frames"]
    assert len(list(open_sources([here / "exp/cards_pan.mp4"]))) == done["frames"]
    assert [path.name for path in (here / "exp").iterdir() if path.name.startswith(".")] == []


def test_a_reader_that_went_away_ends_the_run_without_a_message(tiny: Files, here: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "yolor_cfg",
        "-q",
        "detect",
        *map(str, tiny),
        here / "pictures",
        "--json",
        "--project",
        here,
    ]
    read, write_end = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode != 0


# --- help ---


def command() -> click.Command:
    found = main.get_command(click.Context(main), "detect")
    assert found is not None
    return found


def test_every_option_is_explained() -> None:
    options = [param for param in command().params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_examples_in_the_help_are_commands_that_the_parser_takes(here: Path) -> None:
    lines = [
        line.split("  (")[0].strip() for line in command().get_help(click.Context(command())).splitlines()
    ]
    examples = [shlex.split(line.split(" > ")[0]) for line in lines if line.startswith("yolor detect ")]
    assert len(examples) >= 4
    for words in examples:
        with command().make_context("detect", words[2:]) as context:
            assert len(context.params["paths"]) > 1


def test_the_defaults_of_the_command_are_those_of_python() -> None:
    defaults = inspect.signature(Detector).parameters
    options = {param.name: param for param in command().params}
    shared_names = defaults.keys() & options.keys()
    assert {"conf", "iou", "max_det", "batch_size", "device", "size", "nms", "classes"} <= shared_names
    with command().make_context("detect", ["a.cfg", "a.weights", "a.jpg"]) as context:
        values = {name: context.params[name] for name in shared_names - {"cfg", "weights"}}
    assert values == {name: defaults[name].default for name in values}


# --- engines ---


def test_one_line_says_what_runs_the_network(tiny: Files, here: Path) -> None:
    options = ("--engine", "torch", "--precision", "bf16", "--no-rewrite", "merge", "--no-rewrite", "spp")
    done = yolor("detect", *tiny, "pictures", *options)
    assert done.exit_code == 0
    assert done.stderr.count("engine: torch, bf16\n") == 1


@pytest.mark.parametrize("names", [["all"], ["fold", "stem"]])
def test_rewrites_can_be_left_out(names: list[str], tiny: Files, here: Path) -> None:
    options = [word for name in names for word in ("--no-rewrite", name)]
    close(detect(tiny, "pictures", *options), detect(tiny, "pictures"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "tensorrt"], "'tensorrt' is not one of"),
        (["--engine", "onnxruntime", "--precision", "bf16"], "onnxruntime in bf16 on cpu"),
        (["--precision", "fp16"], "fp16 on cpu"),
        (["--no-rewrite", "polish"], "'polish' is not one of"),
    ],
)
def test_engines_that_cannot_be_had_are_usage_errors(
    options: list[str], said: str, tiny: Files, here: Path
) -> None:
    done = yolor("detect", *tiny, "pictures", *options)
    assert done.exit_code == 2
    assert said in done.stderr
