"""What `yolor detect` prints for each image: a line for people, C Darknet's text, nothing."""

import re
from pathlib import Path

import pytest
import torch
from tiny_detector import Files, photo, save, text, write, yolor

from yolor_cfg import Detections, Detector
from yolor_cfg.detect.darknet_text import format_image
from yolor_cfg.detect.sources import Frame


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("lines")
    for number in range(3):
        save(folder / f"{number}.png", photo(seed=number))
    (folder / "my.names").write_text("cat\ndog\ntraffic light\n")
    return write(folder, text())


@pytest.fixture(autouse=True)
def inside(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tiny.cfg.parent)
    return tiny.cfg.parent


def lines(tiny: Files, *args: object) -> tuple[list[str], list[str]]:
    result = yolor("detect", *tiny, *args, "--nosave")
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines(), result.stderr.splitlines()


def test_each_image_has_a_line_with_counts_by_class_and_the_time(tiny: Files) -> None:
    out, err = lines(tiny, "0.png", "1.png", "2.png", "--names", "my.names", "--batch-size", 2)
    assert out == []
    found = Detector(*tiny, "my.names")(["0.png", "1.png", "2.png"])
    for number, one in enumerate(found):
        (line,) = (line for line in err if line.startswith(f"{number}.png: "))
        assert re.fullmatch(rf"{number}\.png: {re.escape(str(one))}, \d+ ms", line)
    assert re.fullmatch(r"(\d+ (cat|dog|traffic light)(, |$))+", str(found[0]))


def test_an_image_without_objects_and_classes_without_names_have_words(tiny: Files) -> None:
    assert any(
        re.fullmatch(r"0\.png: no objects, \d+ ms", line) for line in lines(tiny, "0.png", "--conf", 1)[1]
    )
    assert any(re.match(r"0\.png: \d+ of class \d, ", line) for line in lines(tiny, "0.png")[1])


def test_quiet_is_silent_and_json_lines_stand_alone(tiny: Files) -> None:
    assert lines(tiny, "0.png", "-q") == ([], [])
    out, err = lines(tiny, "0.png", "--json")
    assert len(out) == 1 and not any(line.startswith("0.png: ") for line in err)


def test_the_text_is_that_of_c_darknet() -> None:
    """draw_detections_v3 of image.c: left to right, the best class of a box first, %.0f%%, %4.0f."""
    boxes = torch.tensor([[20.5, 7.4, 1020.5, 30.4], [-0.3, 2.5, 9.7, 5.0], [20.5, 7.4, 1020.5, 30.4]])
    found = Detections(boxes, torch.tensor([0.9, 0.505, 0.3]), torch.tensor([1, 2, 0]), ("a", "b b", "c"))
    frame = Frame("x.png", None, photo())
    assert format_image(frame, found).splitlines()[1:] == [
        "c: 50%\t(left_x:   -0   top_y:    3   width:   10   height:    3)",
        "b b: 90%\t(left_x:   21   top_y:    7   width: 1000   height:   23)",
        "a: 30%\t(left_x:   21   top_y:    7   width: 1000   height:   23)",
    ]
    assert re.fullmatch(
        r"x\.png: Predicted in \d+\.\d{6} milli-seconds\.", format_image(frame, found).splitlines()[0]
    )


@pytest.mark.parametrize("option", ["--ext-output", "-ext_output"])
def test_darknets_text_goes_to_standard_output_with_every_class_of_a_box(option: str, tiny: Files) -> None:
    out, _ = lines(tiny, "0.png", option, "--names", "my.names", "-thresh", 0.1)
    several = Detector(*tiny, multi_label=True, conf=0.1)("0.png")
    assert len(several) > len(Detector(*tiny, conf=0.1)("0.png"))
    assert out[0].startswith("0.png: Predicted in ") and len(out) == 1 + len(several)
    left = [int(re.search(r"left_x: *(-?\d+)", line)[1]) for line in out[1:]]
    assert left == sorted(left)


def test_two_kinds_of_standard_output_are_a_usage_error(tiny: Files) -> None:
    assert yolor("detect", *tiny, "0.png", "--json", "--ext-output").exit_code == 2
