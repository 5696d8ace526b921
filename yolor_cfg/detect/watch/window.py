"""A window with the drawn images, and the keys that it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame
from yolor_cfg.detect.write import source_stem
from yolor_cfg.errors import YolorError
from yolor_cfg.images.draw import draw_detections
from yolor_cfg.images.read import silence_stderr
from yolor_cfg.images.types import Image
from yolor_cfg.runs import save_image

TITLE = "yolor detect"
LOOK_MS = 30
"""How often a window that waits for a key looks whether it was closed."""
MOST_SIDE = 1200
"""Pixels; larger images are shown smaller."""
QUIT, PAUSE, SAVE = (ord("q"), ord("Q"), 27), (ord(" "),), (ord("s"), ord("S"))
PROBE = f"import cv2; cv2.namedWindow('{TITLE}'); cv2.destroyAllWindows()"
PROBE_S = 30


class WindowClosed(Exception):
    """The user has seen enough."""


def check_display() -> None:
    """Raise YolorError where no window can be opened. OpenCV would end the whole process there, so a window
    is tried in another one."""
    needs_one = sys.platform.startswith("linux")
    if needs_one and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        hint = "over ssh: ssh -X; or --serve :8080 shows the picture in a browser"
        raise YolorError("no window can be opened: there is no display", hint=hint)
    if "headless" in _gui_name():
        hint = "pip uninstall opencv-python-headless, then pip install --force-reinstall opencv-python"
        raise YolorError("no window can be opened: this OpenCV was built without windows", hint=hint)
    command = [sys.executable, "-c", PROBE]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=PROBE_S, check=False)
        failed = tried.returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY", "")
        hint = "--serve :8080 shows the picture in a browser"
        raise YolorError("no window can be opened: the display does not take one", found=display, hint=hint)


def _gui_name() -> str:
    """What OpenCV opens windows with; `headless` for builds without."""
    text = cv2.getBuildInformation()
    found = [line.split(":", 1)[1].strip() for line in text.splitlines() if "GUI:" in line]
    return "headless" if not found or found[0] in ("NONE", "NO") else found[0]


class ImageWindow:
    """Shows one image after the other; it lives in the main thread."""

    def __init__(self) -> None:
        self._keep_last: Callable[[], None] | None = None
        with silence_stderr:  # Qt tells of fonts that it does not find
            cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
            cv2.waitKey(1)

    def show(self, frame: Frame, found: Detections, folder: Path) -> None:
        """Show the image and do what the keys ask for; images that the user saves go to `kept/` in the
        folder. Raises WindowClosed after q, Esc or a closed window."""
        drawn = draw_detections(frame.image, found)
        cv2.imshow(TITLE, _fit_screen(drawn))
        keep = partial(_keep, frame, drawn, folder)
        self._keep_last = keep if frame.index is None else None
        is_paused = self._take_key(cv2.waitKey(1), keep)
        while is_paused:
            is_paused = not self._take_key(self._wait(), keep)

    def wait(self) -> None:
        """Let the last image, if it is not of a video, stay until another key than that which saves it."""
        while self._keep_last and self._wait() in SAVE:
            self._keep_last()

    def _take_key(self, key: int, keep: Callable[[], None]) -> bool:
        """Whether the key changes between going on and pausing."""
        if key in QUIT or not self._is_open():
            raise WindowClosed
        if key in SAVE:
            keep()
        return key in PAUSE

    def _wait(self) -> int:
        """The next key; raises WindowClosed if the window is closed."""
        while self._is_open():
            key = cv2.waitKey(LOOK_MS)
            if key != -1:
                return key
        raise WindowClosed

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1


def _keep(frame: Frame, drawn: Image, folder: Path) -> None:
    """Save the drawn image."""
    number = "" if frame.index is None else f"_{frame.index:06d}"
    save_image(folder / "kept" / f"{source_stem(frame.source)}{number}.png", drawn)


def _fit_screen(drawn: Image) -> Image:
    """BGR, no larger than a screen."""
    scale = MOST_SIDE / max(drawn.shape[:2])
    shown = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in drawn.shape[:2])
        shown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(shown, np.uint8)


@contextmanager
def open_window() -> Iterator[ImageWindow]:
    """A window that closes with the context."""
    window = ImageWindow()
    try:
        yield window
    finally:
        cv2.destroyAllWindows()
        cv2.waitKey(1)
