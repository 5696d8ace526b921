"""`yolor detect --show`: a window on a display of its own (Xvfb), with keys pressed by xdotool."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detector import Files, photo, save, yolor

from yolor_cfg import Detector
from yolor_cfg.detect.watch import window
from yolor_cfg.errors import YolorError

MISSING = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
on_display = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here: no window is tested")


class Display:
    """A screen in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read, write = os.pipe()
        # Xvfb would choose :0 in each of two networks (tests/no_network) and remove the other's socket file.
        command = [
            "Xvfb",
            f":{100 + os.getpid() % 50_000}",
            "-displayfd",
            str(write),
            "-screen",
            "0",
            "1000x700x24",
            "-noreset",
            "-fbdir",
            str(folder),
        ]
        self.process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as told:
            self.name = f":{told.readline().strip()}"
        self.environment = {**os.environ, "DISPLAY": self.name}
        self.environment.pop("WAYLAND_DISPLAY", None)

    def pixels(self) -> np.ndarray:
        """What is on the screen [H, W, 3], RGB; the file is in the format of xwd."""
        data = (self.folder / "Xvfb_screen0").read_bytes()
        header = np.frombuffer(data[:100], ">u4")
        start, width, height, pitch, colors = header[[0, 4, 5, 12, 19]].tolist()
        rows = np.frombuffer(data, np.uint8, pitch * height, start + 12 * colors).reshape(height, pitch)
        return rows[:, : 4 * width].reshape(height, width, 4)[..., 2::-1]

    def shows(self, image: np.ndarray) -> bool:
        """Whether the image is somewhere on the screen."""
        screen = np.ascontiguousarray(self.pixels())
        return float(cv2.matchTemplate(screen, image, cv2.TM_SQDIFF_NORMED).min()) < 1e-3

    def xdotool(self, *words: str) -> str:
        command = ["xdotool", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout.strip()

    def find_window(self) -> str:
        return self.xdotool("search", "--name", window.TITLE)

    def wait_for_image(self, image: np.ndarray) -> None:
        """Wait until the image is seen. On a busy machine the Qt in OpenCV's wheel now and then misses that
        its window was mapped, and paints nothing from then on; so the window is mapped again."""
        for _ in range(10):
            with suppress(AssertionError):
                return wait_for(lambda: self.find_window() and self.shows(image), 4)
            for word in ("windowunmap", "windowmap"):
                self.xdotool(word, self.find_window())
        raise AssertionError("the image was not seen")

    def press(self, key: str) -> None:
        self.xdotool("key", "--window", self.find_window(), key)


def wait_for(state: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Display]:
    screen = Display(tmp_path_factory.mktemp("screen"))
    yield screen
    screen.process.terminate()
    screen.process.wait()


def start(tiny: Files, folder: Path, display: Display, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "yolor_cfg", "detect", *map(str, tiny), *words, "--show"]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, env=display.environment)


@on_display
def test_an_image_stays_until_a_key_and_s_saves_what_is_seen(
    tiny: Files, tmp_path: Path, display: Display
) -> None:
    image = photo(200, 300)
    save(tmp_path / "a.png", image)
    drawn = Detector(*tiny)(image).draw(image)
    process = start(tiny, tmp_path, display, "a.png")
    display.wait_for_image(drawn)
    assert (tmp_path / "runs/detect/exp/summary.json").exists() and process.poll() is None
    display.press("s")
    kept = tmp_path / "runs/detect/exp/kept/a.png"
    wait_for(kept.exists)
    np.testing.assert_array_equal(cv2.imread(str(kept))[..., ::-1], drawn)
    assert process.poll() is None
    display.press("x")
    assert process.wait(20) == 0
    assert b"Traceback" not in (tmp_path / "err").read_bytes()
    assert b"font" not in (tmp_path / "err").read_bytes()


@pytest.mark.slow
@on_display
@pytest.mark.parametrize("key", ["q", "Escape"])
def test_space_pauses_a_video_and_a_key_ends_it_with_what_was_seen(
    tiny: Files, tmp_path: Path, display: Display, key: str
) -> None:
    clip = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (96, 64))
    for number in range(6000):
        clip.write(photo(64, 96, seed=number % 3) if number < 3 else np.zeros((64, 96, 3), np.uint8))
    clip.release()
    process = start(tiny, tmp_path, display, "a.avi", "--save-json", "--workers", "0", "--json")

    def lines() -> int:
        return (tmp_path / "out").read_bytes().count(b"\n")

    wait_for(lambda: lines() > 3)
    display.press("space")
    time.sleep(0.3)
    before = lines()
    time.sleep(0.5)
    assert lines() == before and process.poll() is None
    display.press("space")
    wait_for(lambda: lines() > before)
    display.press(key)
    assert process.wait(20) == 0
    folder = tmp_path / "runs/detect/exp"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["frames"] == lines() < 6000 and summary["complete"] is False
    assert (folder / "detections.jsonl").read_text().count("\n") == lines() and (folder / "a.mp4").exists()


@on_display
def test_a_display_that_takes_no_window_is_one_message(
    monkeypatch: pytest.MonkeyPatch, display: Display
) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display.name)
    window.check_display()
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(YolorError, match="the display does not take one"):
        window.check_display()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a display")
def test_without_a_display_there_is_one_message_and_nothing_is_written(
    tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    save(tmp_path / "a.png", photo())
    result = yolor("detect", *tiny, "a.png", "--show")
    assert result.exit_code == 1 and "there is no display" in result.stderr and "--serve" in result.stderr
    assert not Path("runs").exists()
    assert yolor("detect", *tiny, "a.png", "--show", "--shard", "1/2").exit_code == 2


def test_an_opencv_without_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(YolorError, match="built without windows"):
        window.check_display()


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((700, 900), (700, 900)),
        ((2400, 1200), (1200, 600)),
        ((1, 5000), (1, 1200)),
        ((5000, 3), (1200, 1)),
    ],
)
def test_an_image_larger_than_a_screen_is_shown_smaller_and_keeps_its_shape(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    """A line of pixels too, of which no size becomes 0."""
    image = np.full((*size, 3), (200, 100, 50), np.uint8)
    fitted = window._fit_screen(image)
    assert fitted.shape == (*shown, 3) and (fitted == (50, 100, 200)).all()
