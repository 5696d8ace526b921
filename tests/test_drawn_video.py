"""The drawn copy of a video: its times, its sound, and what happens when it cannot be written."""

import json
import os
import resource
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from test_draw import boxes

from yolor_cfg.detect import video
from yolor_cfg.detect.mp4_times import UnknownLayout, set_times
from yolor_cfg.detect.sources import Frame, open_sources
from yolor_cfg.detect.video import NO_EXTRA, VideoClip
from yolor_cfg.detect.write import OutputOptions, ResultsWriter
from yolor_cfg.errors import YolorError

TIMES = [0.0, 0.1, 0.2, 1.2, 1.3, 3.0, 3.04]


@pytest.fixture(params=["opencv", "av"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program that writes videos."""
    if request.param == "opencv":
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        pytest.importorskip("av")
    return request.param


def write_opencv(path: Path, count: int, *, size: tuple[int, int] = (64, 48), noise: bool = False) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    rng = np.random.default_rng(0)
    for _ in range(count):
        video.write(rng.integers(0, 255 if noise else 9, (size[1], size[0], 3), dtype=np.uint8))
    video.release()
    return path


def read_times(path: Path) -> list[float]:
    """By OpenCV's own reader (FFmpeg)."""
    capture, times = cv2.VideoCapture(str(path)), []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    return times


def draw(folder: Path, *sources: Path, stride: int = 1) -> ResultsWriter:
    with ResultsWriter(folder, OutputOptions(has_records=True)) as results:
        for item in open_sources(sources, vid_stride=stride):
            assert isinstance(item, Frame)
            results.add(item, boxes())
    return results


def test_the_drawn_copy_of_a_variable_frame_rate_keeps_the_times(writer: str, tmp_path: Path) -> None:
    source = write_opencv(tmp_path / "v.mp4", len(TIMES))
    set_times(source, TIMES, last=0.04)
    assert read_times(source) == pytest.approx(TIMES, abs=1e-3)
    draw(tmp_path / "out", source)
    assert read_times(tmp_path / "out/v.mp4") == pytest.approx(TIMES, abs=1e-3)
    records = [json.loads(line) for line in (tmp_path / "out/detections.jsonl").read_text().splitlines()]
    assert [record["time_s"] for record in records] == pytest.approx(TIMES, abs=1e-3)
    draw(tmp_path / "second", source, stride=2)
    assert read_times(tmp_path / "second/v.mp4") == pytest.approx(TIMES[::2], abs=1e-3)


def test_an_even_rate_stays_even(writer: str, tmp_path: Path) -> None:
    draw(tmp_path / "out", write_opencv(tmp_path / "v.mp4", 6))
    assert read_times(tmp_path / "out/v.mp4") == pytest.approx([k / 25 for k in range(6)], abs=1e-4)


def test_times_that_an_mp4_cannot_hold_change_nothing(tmp_path: Path) -> None:
    source = write_opencv(tmp_path / "v.mp4", 3)
    before = source.read_bytes()
    for times in ([0, 1, 1], [0, 1, 1e9]):
        with pytest.raises(UnknownLayout):
            set_times(source, times, last=1)
    assert source.read_bytes() == before


def test_a_video_that_cannot_be_written_is_an_error_and_the_run_is_not_complete(
    writer: str, tmp_path: Path
) -> None:
    """A limit on the size of files gives the same failure as a full disk; OpenCV's writer reports neither."""
    source = write_opencv(tmp_path / "v.mp4", 12, size=(160, 120), noise=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(YolorError, match="the video cannot be written") as caught:
            draw(tmp_path / "out", source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "file too large" in str(caught.value)
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["summary.json"]
    assert not [path for path in (tmp_path / "out").iterdir() if "mp4" in path.name]
    assert json.loads((tmp_path / "out/summary.json").read_text())["complete"] is False


@pytest.mark.parametrize("fps", [90_000.0, 1e9, float("inf"), float("nan"), 0.0, 1e-5])
def test_an_absurd_rate_is_drawn_at_a_usual_one_and_told(writer: str, fps: float, tmp_path: Path) -> None:
    """No writer is asked for such rates."""
    with ResultsWriter(tmp_path, OutputOptions()) as results:
        for index in range(3):
            results.add(Frame("a.avi", index, np.zeros((48, 64, 3), np.uint8), fps), boxes())
    gaps = np.diff(read_times(tmp_path / "a.mp4"))
    np.testing.assert_allclose(gaps, 0.04, rtol=1e-3)
    told = [note for note in results.notes if "frames a second" in note]
    assert len(told) == (fps != 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 31), (33, 47), (9001, 20)])
def test_an_image_of_any_size_becomes_a_video(writer: str, size: tuple[int, int], tmp_path: Path) -> None:
    image = np.full((size[1], size[0], 3), 200, np.uint8)
    with ResultsWriter(tmp_path, OutputOptions()) as results:
        results.add(Frame("a.avi", 0, image, 10.0), boxes())
    (again,) = open_sources([tmp_path / "a.mp4"])
    assert isinstance(again, Frame)
    assert abs(int(again.image.mean()) - 200) < 12
    assert again.image.shape[1] >= min(size[0] // 2 * 2, 8000)


def write_sound(av: ModuleType, path: Path, codec: str, seconds: float) -> None:
    """A video of 25 frames a second beside a tone."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = out.add_stream(codec, rate=44_100)
        sound.layout = "mono"
        for index in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        tone = (8000 * np.sin(np.arange(round(seconds * 44_100)) / 16)).astype(np.int16)[None]
        for start in range(0, tone.shape[1], 1024):
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone[:, start : start + 1024]), "s16", "mono"
            )
            part.sample_rate, part.pts, part.time_base = 44_100, start, Fraction(1, 44_100)
            out.mux(sound.encode(part))
        out.mux(sound.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [("v.mp4", "aac", "aac"), ("v.mkv", "pcm_s16le", "aac"), ("v.mov", "libmp3lame", "mp3float")],
)
def test_with_the_extra_a_video_is_vp9_with_the_sound_of_its_source(
    name: str, codec: str, kept: str, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    write_sound(av, tmp_path / name, codec, 2.0)
    assert draw(tmp_path / "out", tmp_path / name).notes == []
    with av.open(str(tmp_path / "out/v.mp4")) as drawn:
        assert drawn.streams.video[0].codec_context.name == "vp9"
        sound = drawn.streams.audio[0]
        assert sound.codec_context.name == kept
        samples = np.concatenate([frame.to_ndarray()[0].ravel() for frame in drawn.decode(sound)])
    assert len(samples) / 44_100 == pytest.approx(2.0, abs=0.06)
    assert np.abs(samples[2000:80_000].astype(float)).max() > 0.1


def test_an_interrupted_run_has_sound_up_to_its_last_frame(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_sound(av, tmp_path / "v.mp4", "aac", 2.0)
    with pytest.raises(KeyboardInterrupt), ResultsWriter(tmp_path / "out", OutputOptions()) as results:
        for item in open_sources([tmp_path / "v.mp4"]):
            if item.index == 25:
                raise KeyboardInterrupt
            results.add(item, boxes())
    with av.open(str(tmp_path / "out/v.mp4")) as drawn:
        last = [packet for packet in drawn.demux(audio=0) if packet.pts is not None][-1]
    assert float(last.pts * last.time_base) == pytest.approx(1.0, abs=0.1)


def test_without_the_extra_a_note_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    source = write_opencv(tmp_path / "v.mp4", 2)
    assert draw(tmp_path / "out", source, source).notes == [NO_EXTRA]
    assert "pip install 'yolor-cfg[video]'" in NO_EXTRA


def test_a_disk_that_is_full_under_a_video_is_noticed_before_its_end(writer: str, tmp_path: Path) -> None:
    """OpenCV's writer goes on in silence: it stops within one probe of what fits."""
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    clip = VideoClip(tmp_path / "a.mp4", Frame("a.avi", 0, image, 25.0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(YolorError, match="the video cannot be written") as caught:
            for count in range(400):
                clip.write(np.roll(image, count * 7, axis=1), count / 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "file too large" in str(caught.value)
    assert count < 60 and list(tmp_path.iterdir()) == []


def test_a_probe_of_the_disk_leaves_the_video_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    made = []
    for often in (1, 1000):
        monkeypatch.setattr(video, "FRAMES_A_PROBE", often)
        source = write_opencv(tmp_path / f"{often}.mp4", 20, size=(160, 120), noise=True)
        draw(tmp_path / f"out{often}", source)
        made.append((tmp_path / f"out{often}/{often}.mp4").read_bytes())
    assert made[0] == made[1]


def test_a_video_that_is_given_up_leaves_its_space(writer: str, tmp_path: Path) -> None:
    """A file that was removed keeps its space while it is open; the summary needs some."""
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    clip = VideoClip(tmp_path / "a.mp4", Frame("a.avi", 0, image, 25.0))
    clip.write(image, 0.0)
    before = open_parts(tmp_path)
    with pytest.raises(YolorError, match="the video cannot be written"):
        clip._fail(OSError("full"))
    assert len(before) > len(open_parts(tmp_path)) == 0
    assert list(tmp_path.iterdir()) == []


def open_parts(folder: Path) -> list[str]:
    """What this process has open in a folder, by /proc."""
    links = [
        os.readlink(f"/proc/self/fd/{name}")
        for name in os.listdir("/proc/self/fd")
        if name.isdecimal() and os.path.lexists(f"/proc/self/fd/{name}")
    ]
    return [link for link in links if link.startswith(str(folder))]


def test_a_run_that_ends_within_a_frame_keeps_the_frames_before(writer: str, tmp_path: Path) -> None:
    """SIGTERM may arrive while a frame is written: 2 of 3 frames read back is no fault of the disk."""
    source = write_opencv(tmp_path / "v.mp4", 3)
    first, *others = [item for item in open_sources([source]) if isinstance(item, Frame)]
    clip = VideoClip(tmp_path / "out.mp4", first)
    clip.write(first.image, 0.0)
    clip.write(others[0].image, 0.04)
    encoder: Any = clip._encoder

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    encoder.write = stop
    with pytest.raises(KeyboardInterrupt):
        clip.write(others[1].image, 0.08)
    clip.close(is_whole=False)
    assert len(read_times(tmp_path / "out.mp4")) == 2
