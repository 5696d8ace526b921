"""Live streams, from a server of motion JPEG in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest
from tiny_detector import Files, yolor

from yolor_cfg.detect.live import StreamNote
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.detect.run import detect_frames
from yolor_cfg.detect.sources import Frame, open_sources


class Camera:
    """What the server sends: to each connection so many frames, each a grey of its own, then the end."""

    def __init__(self, lengths: list[int], pause: float) -> None:
        self.lengths, self.pause = lengths, pause
        self.connections = 0
        self.gone = Event()

    def parts(self) -> Iterator[bytes]:
        number = self.connections
        self.connections += 1
        for index in range(self.lengths[number]):
            grey = np.full((48, 64, 3), (10 * index + 5) % 250, np.uint8)
            data = cv2.imencode(".jpg", grey)[1].tobytes()
            yield (
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                + data
                + b"\r\n"
            )
            time.sleep(self.pause)


@contextmanager
def serving(camera: Camera) -> Iterator[str]:
    """The address of the camera."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if camera.connections >= len(camera.lengths):
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for part in camera.parts():
                    self.wfile.write(part)
            except OSError:
                camera.gone.set()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live.mjpg"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolor_cfg.detect.live.WAITS_S", (0.02, 0.02))


def test_frames_that_come_too_fast_are_dropped_and_the_newest_is_seen(
    tiny: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network takes longer than ten frames: each that it sees is newer than those it missed."""
    detector = Detector(*tiny)
    detect = detector.detect

    def slow(batch, rules=None):
        time.sleep(0.1)
        return detect(batch, rules)

    monkeypatch.setattr(detector, "detect", slow)
    seen: list[Frame] = []
    with serving(Camera([60], 0.005)) as address:
        sources = open_sources([address])
        count = detect_frames(detector, sources, found=lambda f, _: seen.append(f), skipped=lambda _: None)
    numbers = [frame.index for frame in seen]
    assert count == len(seen) < 30
    assert numbers == sorted(set(numbers)) and numbers[-1] == 59
    for frame in seen:
        assert frame.index is not None
        assert abs(int(frame.image.mean()) - (10 * frame.index + 5) % 250) < 3
    (note,) = sources.drop_notes()
    assert f": {60 - count} of 60 frames dropped" in note


def test_a_stream_that_breaks_off_is_connected_again(tiny: Files, tmp_path: Path) -> None:
    """Numbers and times go on; the command ends with what it has when nobody answers any more."""
    camera = Camera([5, 4], 0.03)
    with serving(camera) as address:
        result = yolor("detect", *tiny, address, "--json", "--nosave", "--project", tmp_path)
    assert result.exit_code == 0
    assert camera.connections == 2
    lines = [line for line in result.stderr.splitlines() if address in line]
    assert [line.partition(": ")[2] for line in lines if "dropped" not in line] == [
        "the stream has ended or broken off; connecting again in 0.02 s",
        "connected again",
        "the stream has ended or broken off; connecting again in 0.02 s",
        "the stream has ended or broken off; connecting again in 0.02 s",
        "given up after 2 attempts",
    ]
    found = [json.loads(line) for line in result.stdout.splitlines()]
    numbers = [line["frame"] for line in found]
    assert numbers == sorted(set(numbers)) and 5 <= numbers[-1] <= 8
    times = [line["time_s"] for line in found]
    assert times == sorted(times)


def test_a_stream_that_is_interrupted_ends_at_once(tiny: Files) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    camera = Camera([10_000], 0.01)
    with serving(camera) as address:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            detect_frames(Detector(*tiny), open_sources([address]), found=stop, skipped=lambda _: None)
        assert camera.gone.wait(5)
        assert time.monotonic() - start < 5


def test_a_file_behind_an_address_is_read_frame_by_frame(shared: Path) -> None:
    """A recorded video says how long it is: none of its frames is dropped."""
    data = (shared / "data/samples/cards_pan.mp4").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            with suppress(OSError):  # the reader seeks by another connection
                self.wfile.write(data[begin:])

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        items = list(open_sources([f"http://127.0.0.1:{server.server_port}/cards.mp4"]))
    finally:
        server.shutdown()
        server.server_close()
    assert [item.index for item in items if isinstance(item, Frame)] == list(range(45))
    assert not any(isinstance(item, StreamNote) for item in items)
