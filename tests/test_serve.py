"""`yolor detect --serve`: real clients, several at once, of which none holds up the detection."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import browser
import cv2
import numpy as np
import pytest
from tiny_detector import Files, photo, save_pictures, yolor

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame
from yolor_cfg.detect.watch.feed import KEPT_LINES, PACE_FRAMES, Feed
from yolor_cfg.detect.watch.server import MOST_CONNECTIONS, Address, parse_address, serving
from yolor_cfg.errors import YolorError

LOCAL = Address("127.0.0.1", 0)


def found(count: int = 1) -> Detections:
    boxes = np.tile(np.float32([10, 10, 30, 30]), (count, 1))
    return Detections(boxes, np.full(count, 0.5, np.float32), np.zeros(count, int), ("cat",), (50, 70), 0.01)


def frame(number: int) -> Frame:
    return Frame("clip.mp4", number, photo(seed=number % 5))


@contextmanager
def running(feed: Feed, pause: float = 0.005) -> Iterator[list[float]]:
    """A detection that publishes frames until the end; how long each of them took to publish."""
    over, times = threading.Event(), list[float]()

    def run() -> None:
        while not over.is_set():
            begin = time.perf_counter()
            feed.publish(frame(len(times)), found())
            times.append(time.perf_counter() - begin)
            time.sleep(pause)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def get(address: Address, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{address}{path.lstrip('/')}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as fault:
        return fault.code, dict(fault.headers), fault.read()


def ask(address: Address, text: str) -> bytes:
    """The first bytes of the answer to a request written by hand."""
    with socket.create_connection((address.host, address.port), timeout=10) as client:
        client.sendall(text.replace("\n", "\r\n").encode())
        return client.recv(4096)


# --- pages ---


def test_the_page_the_picture_and_the_state_are_served() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        feed.publish(replace(frame(1), read_at=time.monotonic() - 0.25), found(2))
        status, headers, page = get(address, "/")
        assert status == 200 and b"/stream.mjpg" in page and headers["Content-Type"].startswith("text/html")
        assert re.findall(rb"(?:src|href)=.?(?:https?:)?//", page) == []
        status, headers, picture = get(address, "/frame.jpg")
        shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        difference = np.abs(shown[..., ::-1].astype(int) - found(2).draw(photo(seed=1))).mean()
        assert shown.shape == (50, 70, 3) and difference < 12
        state = json.loads(get(address, "/status.json")[2])
        assert state["frames"] == 2 and state["network_ms"] == 10 and 250 <= state["latency_ms"] < 60_000
        for headers in (get(address, path)[1] for path in ("/", "/frame.jpg", "/nothing")):
            assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"


def test_other_paths_and_methods_are_refused() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        for path in ("/nothing", "/page/watch.html", "/../setup.cfg", "/%2e%2e/etc/passwd", "/etc/passwd"):
            assert get(address, path)[0] == 404
        for path in ("//[", "http://[bad/", "http://[x]:y/"):
            assert b" 404 " in ask(address, f"GET {path} HTTP/1.1\nHost: localhost\n\n")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = ask(address, f"{method} / HTTP/1.1\nHost: localhost\n\n")
            assert b" 405 " in answer and b"Allow: GET, HEAD" in answer
        whole = get(address, "/")[2]
        for path in ("/", "/status.json", "/nothing"):
            with socket.create_connection((address.host, address.port), timeout=10) as client:
                client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                answer = client.makefile("rb").read()
            assert answer.endswith(b"\r\n\r\n") and answer.count(b"\r\n\r\n") == 1
            assert path != "/" or f"Content-Length: {len(whole)}\r\n".encode() in answer
        assert b" 200 " in ask(address, "HEAD /stream.mjpg HTTP/1.1\nHost: localhost\n\n")


def test_a_name_that_was_turned_to_this_machine_is_refused() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        for name in ("evil.example", "127.0.0.1.evil.example", f"evil.example:{address.port}", ""):
            assert get(address, "/frame.jpg", Host=name)[0] == 403
        for name in ("localhost", f"localhost:{address.port}", "127.0.0.1", "[::1]:80", "LOCALHOST"):
            assert get(address, "/frame.jpg", Host=name)[0] == 200
    with serving(Address("0.0.0.0", 0), Feed()) as address:
        assert get(address, "/", Host="camera.example")[0] == 200


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.1", "2130706433", "LocalHost", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
def test_this_machine_by_another_name_is_guarded_as_well(host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    feed = Feed()
    with serving(Address(host, 0), feed) as address:
        feed.publish(frame(0), found())
        own = f"[{host}]" if ":" in host else host
        numbered = address._replace(host="::1" if host.endswith(":1") else "127.0.0.1")
        for name in (own, own.upper(), f"{own}:{address.port}", "127.0.0.1", "localhost"):
            assert get(numbered, "/frame.jpg", Host=name)[0] == 200, name
        assert get(numbered, "/frame.jpg", Host="evil.example")[0] == 403


# --- clients ---


def test_the_lines_come_in_order_and_one_for_each_frame() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address, running(feed):
        with urllib.request.urlopen(f"{address}detections.jsonl", timeout=10) as answer:
            lines = [json.loads(answer.readline()) for _ in range(100)]
    numbers = [line["frame"] for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 100))
    assert lines[0]["source"] == "clip.mp4" and lines[0]["detections"][0]["name"] == "cat"


def test_a_thread_that_cannot_begin_takes_no_place_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with serving(LOCAL, Feed()) as address:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadingHTTPServer, "process_request", fail)
            for _ in range(MOST_CONNECTIONS + 1):
                with socket.create_connection((address.host, address.port), timeout=10) as client:
                    assert client.recv(1) == b""
        assert get(address, "/")[0] == 200


def test_clients_are_served_where_very_many_files_are_open() -> None:
    """Beyond the 1024 descriptors that `select` can ask about."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 2048:
        pytest.skip("so many files cannot be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2048), limits[1]))
    feed = Feed()
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for _ in range(1100):
            opened.enter_context(open(os.devnull))
        with serving(LOCAL, feed) as address, running(feed):
            assert len(read_pictures(address, 3)) == 3


def read_pictures(address: Address, count: int, pause: float = 0) -> list[np.ndarray]:
    """So many pictures of the stream."""
    pictures = []
    with urllib.request.urlopen(f"{address}stream.mjpg", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        while len(pictures) < count:
            assert answer.readline() == b"--frame\r\n"
            assert answer.readline() == b"Content-Type: image/jpeg\r\n"
            size = int(answer.readline().split(b":")[1])
            assert answer.readline() == b"\r\n"
            pictures.append(cv2.imdecode(np.frombuffer(answer.read(size), np.uint8), cv2.IMREAD_COLOR))
            assert answer.readline() == b"\r\n"
            time.sleep(pause)
    return pictures


def test_clients_that_read_and_one_that_never_does_hold_nothing_up() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address, running(feed) as times:
        dead = socket.create_connection((address.host, address.port))
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        dead.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        silent = socket.create_connection((address.host, address.port))
        results: dict[str, list[np.ndarray]] = {}

        def client(name: str, pause: float) -> None:
            results[name] = read_pictures(address, 25, pause)

        readers = [threading.Thread(target=client, args=pair) for pair in (("fast", 0), ("slow", 0.02))]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(20)
        dead.close()
        silent.close()
    assert all(picture.shape == (50, 70, 3) for name in ("fast", "slow") for picture in results[name])
    assert np.median(times) < 0.005 and max(times) < 1


def test_opencv_reads_the_stream_as_a_video() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address, running(feed, 0.02):
        capture = cv2.VideoCapture(f"{address}stream.mjpg")
        there, pixels = capture.read()
        capture.release()
    assert there and pixels.shape == (50, 70, 3)


def test_a_slow_client_sees_the_newest_picture() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        with urllib.request.urlopen(f"{address}stream.mjpg", timeout=10) as answer:
            answer.readline()
            for number in range(1, 504):
                feed.publish(frame(number), found())
            time.sleep(0.2)
            feed.close()
            parts = answer.read().split(b"\r\n\r\n")[1:]
    shown = cv2.imdecode(np.frombuffer(parts[-1], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(shown.astype(int) - found().draw(frame(503).image)).mean() < 12
    assert len(parts) < 400  # what lay in the buffers, and the newest


def test_the_pace_is_that_of_the_last_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second, after a pause before the first of them."""
    clock = iter([0.0, *(50 + number / 10 for number in range(PACE_FRAMES))])
    images = [Frame("a.mp4", n, photo(), read_at=49.9 + n / 10) for n in range(PACE_FRAMES)]
    monkeypatch.setattr("yolor_cfg.detect.watch.feed.time", SimpleNamespace(monotonic=lambda: next(clock)))
    feed = Feed()
    assert feed.describe()["fps"] == 0
    feed.publish(images[0], found())
    assert feed.describe()["fps"] == 0
    for image in images:
        feed.publish(image, found())
    assert feed.describe() == {
        "frames": PACE_FRAMES + 1,
        "fps": 10.0,
        "network_ms": 10.0,
        "latency_ms": 100.0,
        "is_over": False,
    }


def test_the_streams_end_with_the_server() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        stream = urllib.request.urlopen(f"{address}detections.jsonl", timeout=10)
        assert json.loads(stream.readline())["frame"] == 0 and not feed.is_over
    with stream:
        assert feed.is_over and stream.read() == b""


def test_the_streams_end_with_the_source() -> None:
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        with (
            urllib.request.urlopen(f"{address}detections.jsonl", timeout=10) as lines,
            urllib.request.urlopen(f"{address}stream.mjpg", timeout=10) as pictures,
        ):
            feed.close()
            assert lines.read().count(b"\n") == 1
            assert pictures.read().endswith(b"--frame--\r\n")
    with pytest.raises(OSError):
        socket.create_connection((address.host, address.port), timeout=1)


def test_more_clients_than_places_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolor_cfg.detect.watch.server.MOST_CLIENTS", 2)
    feed = Feed()
    with serving(LOCAL, feed) as address:
        feed.publish(frame(0), found())
        streams = [urllib.request.urlopen(f"{address}stream.mjpg", timeout=10) for _ in range(2)]
        assert get(address, "/")[0] == 503
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + 10
        while get(address, "/")[0] == 503 and time.monotonic() < deadline:
            feed.publish(frame(1), found())
            time.sleep(0.05)
        assert get(address, "/")[0] == 200


def test_connections_that_say_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolor_cfg.detect.watch.server.MOST_CONNECTIONS", 3)
    with serving(LOCAL, Feed()) as address:
        place = (address.host, address.port)
        silent = [socket.create_connection(place, timeout=5) for _ in range(3)]
        time.sleep(0.3)
        with socket.create_connection(place, timeout=5) as another:
            assert another.recv(1) == b""
        for client in silent:
            client.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                assert get(address, "/status.json")[0] == 200
                return
            time.sleep(0.05)
    pytest.fail("no place became free")


def test_the_memory_does_not_grow_with_the_frames() -> None:
    feed = Feed()

    def publish(count: int) -> int:
        for number in range(count):
            feed.publish(Frame("a.mp4", number, np.zeros((400, 400, 3), np.uint8)), found(20))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = publish(KEPT_LINES + 100)
    assert publish(3 * KEPT_LINES) - before < 8 << 10  # KiB; 1.4 GB of pixels passed
    newest, text = feed.next_lines(0, 0)
    assert text.count("\n") == KEPT_LINES and newest == 4 * KEPT_LINES + 100


# --- addresses ---


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "127.0.0.1", 8080),
        ("8080", "127.0.0.1", 8080),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:9", "::1", 9),
        ("camera.local:1", "camera.local", 1),
    ],
)
def test_an_address_without_a_host_is_this_machine(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":", "host", ":70000", "a b:80", "http://x:80", ":-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST"):
        parse_address(text)


def test_a_port_in_use_is_one_message(tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path, [(50, 70)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(YolorError, match="cannot listen"), serving(Address("127.0.0.1", port), Feed()):
            pass
        result = yolor("detect", *tiny, "pictures", "--serve", f":{port}")
    assert result.exit_code == 1 and "cannot listen there: address already in use" in result.stderr
    assert "Traceback" not in result.stderr and not Path("runs").exists()
    assert yolor("detect", *tiny, "pictures", "--serve", "nowhere").exit_code == 2
    assert yolor("detect", *tiny, "pictures", "--serve", ":0", "--shard", "1/2").exit_code == 2


def test_a_host_of_another_machine_is_told_as_such() -> None:
    with (
        pytest.raises(YolorError, match="the host must be a name or an address of this machine"),
        serving(Address("203.0.113.7", 0), Feed()),
    ):
        pass


def test_a_free_port_is_taken_as_often_as_it_is_asked_for(
    tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path, [(50, 70)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ports = ["--serve", ":0", "--serve", ":0", "--serve", f":{port}", "--serve", f":{port}"]
    result = yolor("detect", *tiny, "pictures", "--nosave", *ports)
    assert result.exit_code == 0, result.stderr
    assert len(set(re.findall(r"serving (\S+)", result.stderr))) == 3


# --- the command ---


def start(tiny: Files, folder: Path, *words: str) -> tuple[subprocess.Popen[str], Address]:
    command = [sys.executable, "-m", "yolor_cfg", "detect", *map(str, tiny), *words, "--serve", ":0"]
    with (folder / "out").open("wb") as out:  # a pipe that nobody reads would hold the command up
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=out, text=True)
    assert process.stderr
    for line in process.stderr:
        if match := re.match(r"serving http://127\.0\.0\.1:(\d+)/", line):
            return process, Address("127.0.0.1", int(match[1]))
    raise AssertionError(process.wait())


def write_clip(path: Path, count: int) -> None:
    clip = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (96, 64))
    for number in range(count):
        clip.write(photo(64, 96, seed=number % 7))
    clip.release()


def test_clients_see_the_lines_that_the_command_prints_until_ctrl_c(tiny: Files, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.avi", 3000)
    process, address = start(tiny, tmp_path, "a.avi", "--json")
    with urllib.request.urlopen(f"{address}detections.jsonl", timeout=20) as answer:
        seen = [json.loads(answer.readline()) for _ in range(10)]
        assert get(address, "/frame.jpg")[2][:2] == b"\xff\xd8"
        process.send_signal(signal.SIGINT)
        rest = answer.read()
    _, err = process.communicate(timeout=30)
    printed = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    first = seen[0]["frame"]
    assert printed[first : first + 10] == seen
    assert process.returncode == 130 and "Traceback" not in err and rest.count(b"\n") < 3000
    assert json.loads((tmp_path / "runs/detect/exp/summary.json").read_text())["complete"] is False


def test_the_server_ends_with_the_run(tiny: Files, tmp_path: Path) -> None:
    save_pictures(tmp_path, [(50, 70)] * 3)
    process, _ = start(tiny, tmp_path, "pictures")
    assert process.wait(30) == 0


def test_the_page_shows_the_picture_and_what_is_found_in_a_browser(
    window: browser.Browser, tmp_path: Path
) -> None:
    feed, page = Feed(), window
    with serving(LOCAL, feed) as address, running(feed, 0.02):
        page.ask("POST", "/url", {"url": str(address)})
        page.wait("document.querySelector('img').naturalWidth === 70", 20)
        page.wait("document.querySelectorAll('#found tr').length === 1", 20)
        assert page.run("return document.getElementById('found').innerText").split() == ["cat", "0.50"]
        page.wait(
            "/[1-9][0-9]* frames, [0-9.]+ per second/.test(document.getElementById('state').innerText)", 20
        )
        first = page.run("return document.getElementById('source').textContent")
        page.wait(f"document.getElementById('source').textContent !== '{first}'", 20)
        page.save_screenshot(tmp_path / "page.png")
        feed.close()
        page.wait("document.getElementById('state').innerText.endsWith('ended')", 20)
    assert (tmp_path / "page.png").stat().st_size > 1000
