"""Videos with damaged frames, and videos under unusual names."""

import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.detect.sources import Frame, IncompleteVideo, UnreadableSource, open_sources
from yolor_cfg.files import HEAD_BYTES, find_file_kind

COUNT = 40


def write_video(path: Path, code: str = "mp4v") -> Path:
    """Forty frames of noise."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (96, 64))
    for number in range(COUNT):
        video.write(tiny.photo(64, 96, seed=number))
    video.release()
    return path


def damage_middle(path: Path) -> Path:
    """Random bytes in the middle of the file, where a few frames are."""
    data, rng = bytearray(path.read_bytes()), random.Random(0)
    start = len(data) // 2
    data[start : start + 3000] = rng.randbytes(3000)
    path.write_bytes(data)
    return path


def readable_count(path: Path) -> int:
    """The frames that OpenCV gives when it is asked beyond the first failure."""
    capture = cv2.VideoCapture(str(path))
    return sum(capture.read()[0] for _ in range(2 * COUNT))


def test_a_damaged_frame_does_not_end_a_video(tmp_path: Path) -> None:
    path = damage_middle(write_video(tmp_path / "a.mp4"))
    *frames, last = open_sources([path])
    indices = [frame.index for frame in frames if isinstance(frame, Frame)]
    assert len(indices) == readable_count(path) < COUNT
    assert indices == sorted(set(indices)) and indices[-1] == COUNT - 1
    assert last == IncompleteVideo(str(path), COUNT - len(indices), COUNT)


def test_a_video_that_was_cut_off_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, last = open_sources([path])
    assert 0 < len(frames) == readable_count(path) < COUNT
    assert last == IncompleteVideo(str(path), COUNT - len(frames), COUNT)


def test_every_second_frame_of_a_damaged_video_keeps_its_number(tmp_path: Path) -> None:
    path = damage_middle(write_video(tmp_path / "a.mp4"))
    whole = {frame.index: frame.image for frame in open_sources([path]) if isinstance(frame, Frame)}
    half = [frame for frame in open_sources([path], vid_stride=2) if isinstance(frame, Frame)]
    assert [frame.index for frame in half] == [index for index in whole if index % 2 == 0]
    assert all(np.array_equal(frame.image, whole[frame.index]) for frame in half)


def test_the_command_counts_and_tells_damaged_frames(tmp_path: Path) -> None:
    path = damage_middle(write_video(tmp_path / "a.mp4"))
    files = tiny.write(tmp_path, tiny.text())
    told = tiny.yolor("detect", *files, path, "--json", "--nosave", "--project", tmp_path / "runs")
    lost = COUNT - readable_count(path)
    assert told.exit_code == 0
    assert len(told.stdout.splitlines()) == COUNT - lost
    assert f"{path}: incomplete: {lost} of {COUNT} frames are damaged or missing" in told.stderr
    summary = json.loads((tmp_path / "runs/exp/summary.json").read_text())
    assert summary["incomplete"] == [{"source": str(path), "frames_lost": lost, "frames": COUNT}]
    assert summary["complete"] is False


@pytest.mark.parametrize("suffix", "mts m2ts 3gp vob ogv mpe m2v divx h264 mjpg mxf mp4 unheard".split())
def test_no_video_in_a_folder_is_left_out(suffix: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4").rename(tmp_path / f"clip.{suffix}")
    tiny.save(tmp_path / "b.png", tiny.photo())
    items = list(open_sources([tmp_path]))
    assert not any(isinstance(item, UnreadableSource | IncompleteVideo) for item in items)
    assert len(items) == COUNT + 1
    assert len(list(open_sources([tmp_path / f"clip.{suffix}"]))) == COUNT


def test_what_a_folder_holds_besides_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    (tmp_path / "more").mkdir()
    write_video(tmp_path / "more/b.mp4")
    (tmp_path / "c.zip").write_bytes(b"PK\3\4")
    (tmp_path / "a.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    sources = open_sources([tmp_path])
    assert [Path(item.source).name for item in sources if not isinstance(item, Frame)] == ["gone.mp4"]
    assert sources.notes == (
        f"{tmp_path}: its folders are left out: more; to go into them: '{tmp_path}/**/*'",
        f"{tmp_path}: neither image nor video, and left out: c.zip",
    )
    assert len(open_sources([f"{tmp_path}/**/*"]).items) == 3


@pytest.mark.parametrize(
    "head",
    [
        bytes.fromhex("000001b3"),  # MPEG-1 and -2
        bytes.fromhex("0000000167"),  # H.264
        bytes.fromhex("060e2b34020501010d010201"),  # MXF
        (b"G" + bytes(187)) * 2,  # an MPEG transport stream
        bytes(4) + (b"G" + bytes(191)) * 2,  # that of a camcorder
        b"YUV4MPEG2 W2 H2",
    ],
)
def test_a_video_is_known_by_its_first_bytes(head: bytes) -> None:
    assert find_file_kind(head.ljust(HEAD_BYTES, b"\1")) == "a video"


@pytest.mark.parametrize("line", ["ftp://host/a.mp4", "tls://host:1/a.ts", "concat:a.mp4|b.mp4", "tcp://h:1"])
def test_a_list_opens_no_protocol_but_the_documented_ones(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(line)
    (item,) = open_sources([tmp_path / "list.txt"])
    assert str(item).startswith(f"{line}: skipped: {line.partition(':')[0]}: is not read from a list")


def test_a_file_named_like_a_protocol_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would join a.mp4 with itself."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4")
    Path("concat:a.mp4").write_bytes(b"no video")
    Path("list.txt").write_text("concat:a.mp4")
    for source in ("concat:a.mp4", "list.txt", "conc*"):
        (item,) = open_sources([source])
        assert str(item) == "concat:a.mp4: skipped: not a readable video"
