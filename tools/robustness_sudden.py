"""What happens in the middle of the work: data that goes, sources that end, signals, closed streams."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fuzz import preload_libraries
from robustness_kill import compare_runs, run_whole
from robustness_scene import (
    CONVERT,
    DETECT,
    EXPORT,
    TEST,
    TRAIN,
    Child,
    Ended,
    SceneJob,
    check_whole,
    copy_scene,
    find_files,
    is_partial,
    make_scene,
    run_yolor,
)
from robustness_table import CheckResult, Options

ROOT = Path(__file__).parents[1]
FRAMES = 12
NOWHERE = "/proc/nowhere"
"""A home folder that not even the superuser can make."""
EARLY_SECONDS = 0.02
SIGNAL_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SuddenTrial = Callable[[Path], list[str]]


def check_sudden(options: Options) -> CheckResult:
    """Every trial in a copy of the same world."""
    preload_libraries()
    scene = options.folder / "scene"
    make_scene(scene)
    whole = run_whole(TRAIN, scene, options.folder).place / TRAIN.output
    trials = list_trials(whole)
    names = [*trials][:: 4 if options.is_short else 1][: options.tries]
    faults: list[str] = []
    worst = 0.0
    for name in names:
        place = copy_scene(scene, options.folder / name.replace(" ", "-"))
        began = time.monotonic()
        found = trials[name](place)
        worst = max(worst, time.monotonic() - began)
        faults += [f"{name}: {fault}" for fault in found]
        options.tell(CheckResult("sudden", len(names), len(faults), worst, 0, tuple(faults)))
    return CheckResult("sudden", len(names), len(faults), worst, 0, tuple(faults))


def list_trials(whole: Path) -> dict[str, SuddenTrial]:
    """What is tried, by name; `whole` is what an undisturbed training leaves."""
    trials: dict[str, SuddenTrial] = {
        "data that vanishes": partial(data_vanishes, whole=whole),
        "an image replaced by another": partial(image_changes, change=other_image, whole=whole),
        "an image replaced by half of it": partial(image_changes, change=halve, whole=whole),
        "a list replaced": partial(image_changes, change=remove_list, whole=whole),
        "a video cut in a frame": cut_video,
        "a stream that ends in a frame": stream_ends,
        "a pipe that ends in a frame": pipe_ends,
    }
    for number in SIGNAL_CODES:
        for job in (TRAIN, DETECT, TEST, CONVERT, EXPORT):
            name = f"{number.name} in {job.name}"
            trials[name] = partial(send_signal, job=job, number=number, whole=whole)
    for words in CLOSED:
        trials[f"closed output of {words[0]} {words[-1]}"] = partial(closed_output, words=words)
    for job in (TRAIN, DETECT, TEST, EXPORT):
        trials[f"no home in {job.name}"] = partial(remove_home, job=job)
    return trials


# --- data ---


def start_training(place: Path) -> Child:
    """A training that has written its state at least once."""
    child = Child(place, TRAIN.words)
    child.wait_for(lambda: (place / TRAIN.output / "weights/last.pt").exists())
    return child


def data_vanishes(place: Path, whole: Path) -> list[str]:
    """The run ends with one message; with the data back it goes on as if nothing had been."""
    child = start_training(place)
    (place / "shapes").rename(place / "gone")
    ended = child.wait()
    faults = judge(ended, place, codes=(0, 3))
    (place / "gone").rename(place / "shapes")
    return faults + resume(place, whole)


def resume(place: Path, whole: Path) -> list[str]:
    """`--resume` ends where the undisturbed run did."""
    ended = run_yolor(place, ("train", "--resume", TRAIN.output))
    if ended.code:
        return [f"--resume: exit code {ended.code}: {ended.said[-500:]}"]
    return compare_runs(whole, place / TRAIN.output)


def image_changes(place: Path, *, change: Callable[[Path], object], whole: Path) -> list[str]:
    """The run ends with one message or goes on; what it wrote is whole."""
    kept = place / "kept"
    shutil.copytree(place / "shapes", kept)
    child = start_training(place)
    change(place / "shapes")
    ended = child.wait()
    faults = judge(ended, place, codes=(0, 3))
    shutil.rmtree(place / "shapes")
    kept.rename(place / "shapes")
    return faults if ended.code == 0 else faults + resume(place, whole)


def other_image(data: Path) -> None:
    """All images have another size at once."""
    import cv2
    import numpy as np

    for path in (data / "images").iterdir():
        cv2.imwrite(str(path), np.zeros((20, 31, 3), np.uint8))


def halve(data: Path) -> None:
    """All images are cut."""
    for path in (data / "images").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_list(data: Path) -> None:
    """The list names other images."""
    (data / "train.txt").write_text("images/nothing.jpg\n", encoding="utf-8")


# --- sources ---


def write_video(path: Path) -> bytes:
    """A few frames of noise in Motion JPEG; the bytes of its first two thirds."""
    import cv2
    import numpy as np

    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(FRAMES):
        video.write(rng.integers(0, 255, (64, 64, 3), np.uint8))
    video.release()
    return path.read_bytes()[: path.stat().st_size * 2 // 3 + 7]


def detect(place: Path, source: str) -> Ended:
    """Find what is in one source."""
    words = [source if word == "shapes/images" else word for word in DETECT.words]
    return run_yolor(place, words)


def cut_video(place: Path) -> list[str]:
    """Its whole frames are done, and the rest is told."""
    path = place / "cut.avi"
    path.write_bytes(write_video(path))
    ended = detect(place, path.name)
    told = [] if "incomplete" in ended.said else [f"the loss is not told: {ended.said[-300:]}"]
    return judge(ended, place, codes=(0, 3)) + told


@contextmanager
def serve(data: bytes) -> Iterator[str]:
    """A server of this machine that promises more than it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802  # the name that the library asks for
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/cut.avi"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stream_ends(place: Path) -> list[str]:
    """The command ends by itself, and tells."""
    with serve(write_video(place / "whole.avi")) as address:
        return judge(detect(place, address), place, codes=(0, 3))


def pipe_ends(place: Path) -> list[str]:
    """An image of which a pipe gives half."""
    image = next((place / "shapes/images").iterdir()).read_bytes()
    words = [sys.executable, "-m", "yolor_cfg", "detect", "net.cfg", "net.weights", "-", "--project", "out"]
    done = subprocess.run(
        words, cwd=place, input=image[: len(image) // 2], capture_output=True, check=False, env=environment()
    )
    return judge(to_ended(done), place, codes=(3,))


# --- signals and streams ---


def send_signal(place: Path, *, job: SceneJob, number: signal.Signals, whole: Path) -> list[str]:
    """What was done is whole, the exit code is that of the signal; a training can be resumed."""
    child = Child(place, job.words)
    if job is TRAIN:
        child.wait_for(lambda: (place / "out/exp/weights/last.pt").exists())
    elif job.output.startswith("out/"):
        child.wait_for(lambda: (place / job.output).exists())
    else:
        child.wait_for(lambda: False, EARLY_SECONDS)
    ended = child.kill(number)
    # A signal that comes before there is anything to finish has its own effect, which a shell tells alike.
    faults = judge(ended, place, codes=(0, SIGNAL_CODES[number], -number))
    faults += [f"{path.name} is left" for path in find_files(place) if is_partial(path, place)]
    return faults + (resume(place, whole) if job is TRAIN and ended.code else [])


CLOSED: tuple[tuple[str, ...], ...] = (
    ("info", "net.cfg"),
    ("cfg", "explain", "net.cfg"),
    ("detect", "net.cfg", "net.weights", "shapes/images", "--project", "out", "--json"),
    ("test", "net.cfg", "net.weights", "--data", "shapes/shapes.data", "--project", "out"),
    ("info", "--sections"),
)


def environment(**changed: str) -> dict[str, str]:
    """The variables of a process that a user starts."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, **changed}


def closed_output(place: Path, words: tuple[str, ...]) -> list[str]:
    """The reader of the output goes after its first line: no traceback, and files are whole."""
    command = [sys.executable, "-m", "yolor_cfg", *words]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode("utf-8", "replace")
    return judge(Ended(process.returncode, said, 0, 0), place, codes=(0, 1, 141, -signal.SIGPIPE))


def remove_home(place: Path, job: SceneJob) -> list[str]:
    """Neither a home folder nor a place for caches is needed."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"), NOWHERE)
    command = [sys.executable, "-m", "yolor_cfg", *job.words]
    done = subprocess.run(command, cwd=place, capture_output=True, env=environment(**places), check=False)
    return judge(to_ended(done), place, codes=(0,))


def to_ended(done: subprocess.CompletedProcess[bytes]) -> Ended:
    """How a process of its own ended."""
    return Ended(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"), 0, 0)


def judge(ended: Ended, place: Path, *, codes: tuple[int, ...]) -> list[str]:
    """What is wrong with how a command ended, and with what it left."""
    out = place / "out"
    faults = check_whole(out) if out.exists() else []
    if ended.code not in codes or not ended.is_clear:
        faults.append(f"exit code {ended.code}: {ended.said[-700:]}")
    return faults
