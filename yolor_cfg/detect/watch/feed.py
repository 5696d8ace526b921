"""The newest picture with its detections, for any number of clients, none of which holds up the others."""

from __future__ import annotations

import json
import time
from collections import deque
from functools import cached_property
from threading import Condition, Lock
from typing import Any

import cv2

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame
from yolor_cfg.detect.write import frame_record
from yolor_cfg.images.draw import draw_detections

KEPT_LINES = 1000
"""Lines of JSON that wait for a client who reads slowly; older ones are lost to it."""
PACE_FRAMES = 30
"""So many frames tell how many there are in a second."""
QUALITY = 85


class Shot:
    """One image with what is in it; it is drawn and encoded when the first client asks for it."""

    def __init__(self, frame: Frame, found: Detections, number: int) -> None:
        self.number = number
        self._frame, self._found = frame, found
        self._lock = Lock()

    def encode(self) -> bytes:
        """The drawn image as a JPEG file."""
        with self._lock:  # else each of several clients would draw it
            return self._jpeg

    @cached_property
    def _jpeg(self) -> bytes:
        drawn = draw_detections(self._frame.image, self._found)
        bgr = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert done, drawn.shape
        return data.tobytes()


class Feed:
    """What clients wait for: the newest shot, and the last lines of JSON in order. Frames count from 1."""

    def __init__(self, *, has_embeddings: bool = False) -> None:
        self._has_embeddings = has_embeddings
        self._changed = Condition()
        self._shot: Shot | None = None
        self._lines: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)
        self._times: deque[float] = deque(maxlen=PACE_FRAMES)
        self._state = {"network_ms": 0.0, "latency_ms": 0.0}
        self.is_over = False

    def publish(self, frame: Frame, found: Detections) -> None:
        """Let clients have this image and its line."""
        line = json.dumps(frame_record(frame, found, has_embeddings=self._has_embeddings)) + "\n"
        now = time.monotonic()
        with self._changed:
            number = 1 if self._shot is None else self._shot.number + 1
            self._shot = Shot(frame, found, number)
            self._lines.append((number, line))
            self._times.append(now)
            self._state = {"network_ms": found.seconds * 1000, "latency_ms": (now - frame.read_at) * 1000}
            self._changed.notify_all()

    def close(self) -> None:
        """There will be no more; clients are told."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def next_shot(self, after: int, seconds: float) -> Shot | None:
        """The newest shot once there is one of a higher number; None at the end or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_over or self._newest() > after, seconds)
            return self._shot if self._newest() > after else None

    def next_lines(self, after: int, seconds: float) -> tuple[int, str]:
        """The number of the newest line and all lines after that number, of those that are kept; no text at
        the end or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_over or self._newest() > after, seconds)
            return self._newest(), "".join(line for number, line in self._lines if number > after)

    def newest(self) -> int:
        """The number of the newest frame; 0 before the first."""
        with self._changed:
            return self._newest()

    def describe(self) -> dict[str, Any]:
        """Frames so far and in a second, milliseconds of the network, and from reading an image to its
        detections."""
        with self._changed:
            times, state = list(self._times), self._state
            count = self._newest()
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        pace = (len(times) - 1) / span if span > 0 else 0.0
        rounded = {name: round(value, 1) for name, value in {"fps": pace, **state}.items()}
        return {"frames": count, **rounded, "is_over": self.is_over}

    def _newest(self) -> int:
        return 0 if self._shot is None else self._shot.number
