"""Live streams: the newest frame when one is asked for, and a new connection where one breaks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Condition, Event, Thread

import cv2
from cv2.typing import MatLike

from yolor_cfg.detect.walk import FrameWalk
from yolor_cfg.errors import count_of, escape, shorten

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each try to connect again; a frame that arrives makes the next loss the first again."""
LOOK_S = 0.2
"""How often a thread that waits looks whether it is to end."""

NumberedFrame = tuple[int, float | None, MatLike]
"""Number, time in seconds and pixels (BGR)."""


@dataclass(frozen=True)
class StreamNote:
    """What happens to the connection of a live source."""

    source: str
    text: str

    def __str__(self) -> str:
        return f"{escape(shorten(self.source))}: {self.text}"


@dataclass
class StreamState:
    """What became of the frames of a live source: found, and dropped of these; set `is_over` to end it."""

    is_over: Event = field(default_factory=Event)
    found: int = 0
    taken: int = 0

    @property
    def dropped(self) -> int:
        """Frames that newer ones replaced before anyone asked for them."""
        return self.found - self.taken

    def notes(self, address: str) -> list[str]:
        """A line about the frames that were dropped, if any."""
        share = f"{self.dropped} of {count_of(self.found, 'frame')}"
        reason = "dropped: they came faster than the network runs"
        return [f"{address}: {share} {reason}"] if self.dropped else []


class LiveStream:
    """The newest frames of a stream, which a thread reads as they come, and messages about its connection."""

    def __init__(
        self,
        capture: cv2.VideoCapture,
        connect: Callable[[], cv2.VideoCapture],
        *,
        state: StreamState,
        stride: int,
    ) -> None:
        """`connect` opens the stream again; of `stride` frames one counts."""
        self._capture, self._connect = capture, connect
        self._state, self._stride = state, stride
        self._changed = Condition()
        self._newest: NumberedFrame | None = None
        self._messages: deque[str] = deque()
        self._thread = Thread(
            target=self._read, name="yolor-stream", daemon=True
        )  # it may wait for the network

    def __iter__(self) -> Iterator[NumberedFrame | str]:
        self._thread.start()
        while (item := self._wait()) is not None:
            yield item

    def _wait(self) -> NumberedFrame | str | None:
        """The next thing to tell; None when there will be no more."""
        with self._changed:
            while not (self._newest or self._messages or self._state.is_over.is_set()):
                if not self._thread.is_alive():
                    return None
                self._changed.wait(LOOK_S)
            if self._newest is None:
                return self._messages.popleft() if self._messages else None
            newest, self._newest = self._newest, None
            self._state.taken += 1
            return newest

    def _read(self) -> None:
        first = failed = 0
        start = time.monotonic()
        while True:
            walk = FrameWalk(self._capture, "", is_live=True, stride=self._stride)
            begin = time.monotonic() - start if first else 0.0
            for index, seconds, pixels in walk:
                self._keep((first + index, None if seconds is None else begin + seconds, pixels))
                if self._state.is_over.is_set():
                    break
            self._capture.release()
            first, failed = first + walk.grabbed, 0 if walk.grabbed else failed + 1
            if self._state.is_over.is_set() or not self._reconnect(failed):
                return

    def _keep(self, frame: NumberedFrame) -> None:
        with self._changed:
            self._state.found += 1
            self._newest = frame
            self._changed.notify()

    def _reconnect(self, failed: int) -> bool:
        """Whether the stream is open again; so many tries were in vain before."""
        for wait in WAITS_S[failed:]:
            self._tell(f"the stream has ended or broken off; connecting again in {wait:g} s")
            if self._state.is_over.wait(wait):
                return False
            self._capture = self._connect()
            if self._capture.isOpened():
                self._tell("connected again")
                return True
        self._tell(f"given up after {count_of(len(WAITS_S), 'attempt')}")
        return False

    def _tell(self, text: str) -> None:
        with self._changed:
            self._messages.append(text)
            self._changed.notify()
