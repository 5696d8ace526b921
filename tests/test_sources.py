"""What the arguments of `detect` lead to, and what is said of those that lead nowhere."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.detect.sources import Frame, UnreadableSource, open_sources
from yolor_cfg.errors import DataError
from yolor_cfg.images.headers import read_image_info
from yolor_cfg.images.orientation import orientation_rule
from yolor_cfg.images.read import decode_image, read_image, silence_stderr

RED = np.full((4, 6, 3), (0, 0, 255), np.uint8)  # in OpenCV's order


def save(path: Path, pixels: np.ndarray = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, pixels)
    assert done
    return data.tobytes()


def names(*args: object, **options: int) -> list[str]:
    return [os.path.basename(item.source) for item in open_sources([str(arg) for arg in args], **options)]


def only(path: object, **options: int) -> Frame | UnreadableSource:
    (item,) = open_sources([str(path)], **options)
    return item


def test_a_file_gives_one_rgb_picture(tmp_path: Path) -> None:
    frame = only(save(tmp_path / "red.png"))
    assert isinstance(frame, Frame)
    assert (frame.index, frame.image.shape, frame.image.dtype) == (None, (4, 6, 3), np.uint8)
    assert (frame.image == (255, 0, 0)).all()


def test_a_name_beyond_ascii_is_read(tmp_path: Path) -> None:
    save(tmp_path / "red.png").rename(tmp_path / "été 猫.png")
    assert isinstance(only(tmp_path / "été 猫.png"), Frame)


def test_a_folder_gives_its_pictures_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.BMP"):
        save(tmp_path / name)
    save(tmp_path / "deeper/d.png")
    save(tmp_path / "hidden.png").rename(tmp_path / ".hidden.png")
    (tmp_path / "notes.md").write_text("x")
    sources = open_sources([tmp_path])
    assert names(tmp_path) == ["a.jpg", "b.png", "c.BMP"]
    assert sources.total == 3


def test_a_glob_gives_what_it_matches_also_through_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "deeper/c.png", "other.jpg"):
        save(tmp_path / name)
    assert names(tmp_path / "*.png") == ["a.png", "b.png"]
    assert names(tmp_path / "**/*.png") == ["a.png", "b.png", "c.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    assert names(save(tmp_path / "a[1].png")) == ["a[1].png"]


def test_a_list_counts_from_its_folder_then_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "data/images/near.png")
    save(tmp_path / "work/far.png")
    absolute = save(tmp_path / "absolute.png")
    lines = ["images/near.png", "", "far.png ", str(absolute), "nowhere.png"]
    (tmp_path / "data/list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    monkeypatch.chdir(tmp_path / "work")
    sources = open_sources([tmp_path / "data/list.txt"])
    assert [type(item) for item in sources] == [Frame, Frame, Frame, UnreadableSource]
    assert list(sources)[-1] == UnreadableSource("nowhere.png", "no such file or directory")
    assert sources.total == 4


def test_a_dash_reads_the_list_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "red.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{path}\n".encode())))
    assert names("-") == ["red.png"]


@pytest.mark.parametrize(("video", "count", "fps"), [("cards_pan", 45, 15), ("openlabeling-video", 40, 25)])
def test_a_video_gives_all_its_frames_numbered(video: str, count: int, fps: int, shared: Path) -> None:
    sources = open_sources([shared / f"data/samples/{video}.mp4"])
    frames = list(sources)
    assert [frame.index for frame in frames] == list(range(count))
    kinds = {(frame.image.dtype.name, frame.image.shape[2], frame.fps) for frame in frames}
    assert kinds == {("uint8", 3, fps)}
    assert sources.total == count


def test_a_stride_gives_every_so_manieth_frame_at_a_lower_rate(shared: Path) -> None:
    path = shared / "data/samples/cards_pan.mp4"
    all_frames = list(open_sources([path]))
    sources = open_sources([path], vid_stride=7)
    some = list(sources)
    assert [frame.index for frame in some] == [0, 7, 14, 21, 28, 35, 42]
    assert sources.total == 7
    assert some[0].fps == 15 / 7
    np.testing.assert_array_equal(some[3].image, all_frames[21].image)


def test_a_video_can_be_read_as_grey_but_not_with_four_channels(shared: Path) -> None:
    path = shared / "data/samples/cards_pan.mp4"
    assert next(iter(open_sources([path], channels=1))).image.shape[2] == 1
    assert "channels" in only(path, channels=4).reason


def test_a_folder_may_mix_pictures_and_videos(shared: Path) -> None:
    sources = open_sources([shared / "data/samples"])
    assert sources.total == 6 + 45 + 40


def test_a_stream_and_a_camera_do_not_tell_their_length() -> None:
    for address in ("rtsp://127.0.0.1:9/x", "0"):
        assert open_sources([address]).total is None


def test_a_missing_camera_is_reported_as_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert only("9876") == UnreadableSource("9876", "no such camera or stream, or no permission to use it")


def test_a_file_named_like_a_camera_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "red.png").rename(tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    assert isinstance(only("0"), Frame)


# --- sources that lead nowhere ---


def message(*args: object) -> str:
    with pytest.raises(DataError) as raised:
        open_sources([str(arg) for arg in args])
    return str(raised.value)


def test_no_argument_is_an_error_that_says_what_could_be_given() -> None:
    assert message().startswith("no source given\n  allowed: an image, a video, a folder")


def test_a_misspelt_file_is_an_error_with_the_closest_name(tmp_path: Path) -> None:
    save(tmp_path / "horses.png")
    text = message(tmp_path / "horsse.png")
    assert text.startswith(f"{tmp_path}/horsse.png: no such file or folder")
    assert text.endswith(f"did you mean {tmp_path}/horses.png?")


def test_a_file_in_a_missing_folder_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    assert message(tmp_path / "no/x.png").endswith(f"there is no folder {tmp_path}/no")


@pytest.mark.parametrize(("content", "found"), [([], "no files"), (["a.md", "b"], "2 files of other kinds")])
def test_a_folder_without_images_is_an_error_that_says_what_is_read(
    content: list[str], found: str, tmp_path: Path
) -> None:
    for name in content:
        (tmp_path / name).write_text("x")
    text = message(tmp_path)
    assert text.splitlines()[:2] == [f"{tmp_path}: no images or videos here", f"  found:   {found}"]
    assert "jpg" in text and "mp4" in text and len(text) < 500


def test_a_glob_that_matches_nothing_is_an_error_with_the_glob(tmp_path: Path) -> None:
    assert message(tmp_path / "*.png").startswith(f"{tmp_path}/*.png: no images or videos here")


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n \n")
    assert message(tmp_path / "list.txt").startswith(f"{tmp_path}/list.txt: the list is empty")


# --- pictures that cannot be read ---

PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), (5, 5), 0)
TRUNCATED = "the file is truncated: it ends before the image does"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("page.jpg", b"<html>not found</html>" * 50, "an HTML page, not an image"),
        ("text.jpg", b"hello" * 50, "not an image, or a damaged one"),
        ("damaged.gif", b"GIF89a" + bytes(50), "not an image, or a damaged one"),
        ("half.jpg", encoded(".jpg", PHOTO)[:900], TRUNCATED),
        ("half.png", encoded(".png", PHOTO)[:900], TRUNCATED),
        ("half.bmp", encoded(".bmp", PHOTO)[:900], TRUNCATED),
        ("half.webp", encoded(".webp", PHOTO)[:900], TRUNCATED),
        ("header.jpg", b"\xff\xd8\xff", TRUNCATED),
        ("text.mp4", b"no video", "not a readable video"),
    ],
)
def test_a_bad_file_is_reported_with_the_reason_and_the_others_are_read(
    name: str, data: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    save(tmp_path / "zz.png")
    bad, good = open_sources([tmp_path])
    assert bad == UnreadableSource(str(tmp_path / name), reason)
    assert isinstance(good, Frame)


@pytest.mark.parametrize("progressive", [0, 1])
def test_every_cut_of_a_jpeg_with_a_thumbnail_is_truncated_and_the_whole_is_not(progressive: int) -> None:
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    whole = cv2.imencode(".jpg", PHOTO, flags)[1].tobytes()
    thumbnail = encoded(".jpg", PHOTO[:8, :8])
    length = (len(thumbnail) + 8).to_bytes(2, "big")
    with_thumbnail = whole[:2] + b"\xff\xe1" + length + b"Exif\0\0" + thumbnail + whole[2:]
    np.testing.assert_array_equal(decode_image(with_thumbnail), decode_image(whole))
    for end in range(100, len(with_thumbnail) - 1, 97):
        with pytest.raises(DataError, match="truncated"):
            decode_image(with_thumbnail[:end])


STARTS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"]


@given(st.binary(max_size=200), st.sampled_from(STARTS))
def test_any_bytes_are_a_picture_or_a_data_error(data: bytes, start: bytes) -> None:
    try:
        image = decode_image(start + data)
    except DataError as fault:
        assert fault.message
    else:
        assert image.ndim == 3


def test_reading_a_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_image(tmp_path / "no.png")
    assert str(raised.value) == f"{tmp_path}/no.png: no such file or directory"


def test_damaged_files_and_missing_cameras_leave_standard_error_empty(shared: Path, tmp_path: Path) -> None:
    photo = bytearray((shared / "data/samples/dog.jpg").read_bytes())
    photo[80000:80010] = b"\xff\xd3" * 5
    (tmp_path / "damaged.jpg").write_bytes(photo)
    (tmp_path / "damaged.mp4").write_bytes((shared / "data/samples/cards_pan.mp4").read_bytes()[:50000])
    code = (
        "import sys; from yolor_cfg.detect.sources import open_sources; "
        "print(len(list(open_sources(sys.argv[1:]))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), "9876"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_standard_error_is_back_after_nested_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with silence_stderr:
        with silence_stderr:
            os.write(2, b"lost")
        os.write(2, b"lost")
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


# --- pixels ---


def test_grey_becomes_three_equal_channels_and_alpha_is_dropped(tmp_path: Path) -> None:
    grey = only(save(tmp_path / "grey.png", np.full((3, 3), 77, np.uint8)))
    clear = only(save(tmp_path / "clear.png", np.full((3, 3, 4), (1, 2, 3, 0), np.uint8)))
    assert (grey.image == (77, 77, 77)).all()
    assert (clear.image == (3, 2, 1)).all()


def test_one_channel_is_grey_and_four_are_rgba(tmp_path: Path) -> None:
    path = save(tmp_path / "clear.png", np.full((3, 3, 4), (1, 2, 3, 9), np.uint8))
    assert only(path, channels=1).image.shape == (3, 3, 1)
    assert (only(path, channels=4).image == (3, 2, 1, 9)).all()
    assert only(save(tmp_path / "red.png"), channels=4).reason == "the image has 3 channels, not 4"


def test_sixteen_bits_keep_their_upper_half(tmp_path: Path) -> None:
    path = save(tmp_path / "deep.png", np.full((2, 2, 3), 0x1234, np.uint16))
    assert (only(path).image == 0x12).all()
    deep = save(tmp_path / "clear.png", np.full((2, 2, 4), 0x1234, np.uint16))
    assert (only(deep, channels=4).image == 0x12).all()


def exif(orientation: int, *, order: str) -> bytes:
    """EXIF's TIFF structure with another tag before the orientation."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2)
    entries = [(0x010F, 2, 4, 0), (0x0112, 3, 1, orientation)]
    return head + b"".join(struct.pack(order + "HHIHH", *entry, 0) for entry in entries) + bytes(4)


def with_exif(ending: str, image: np.ndarray, content: bytes) -> bytes:
    """The encoded image with EXIF where its format has it."""
    data = encoded(ending, image)
    if ending == ".jpg":
        content = b"Exif\0\0" + content
        segments = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        return data[:20] + segments + data[20:]  # behind JFIF's segment
    if ending == ".png":
        chunk = b"eXIf" + content
        return (
            data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", crc32(chunk)) + data[33:]
        )
    height, width = image.shape[:2]
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunks = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([8, 0, 0, 0]) + sizes + data[12:]
    chunks += b"EXIF" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_an_image_is_turned_upright_as_opencv_turns_it(
    orientation: int, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cv2.imread decides, which YOLOR and C Darknet built with OpenCV read with; stb's builds do not turn."""
    image = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3), np.uint8)
    image = cv2.resize(image, (48, 32), interpolation=cv2.INTER_NEAREST)
    data = with_exif(ending, image, exif(orientation, order="<>"[orientation % 2]))
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    want = cv2.imread(str(path))[..., ::-1]
    assert want.shape[:2] == ((48, 32) if orientation in (5, 6, 7, 8) else (32, 48))
    np.testing.assert_array_equal(decode_image(data), want)
    assert read_image_info(str(path)).size == want.shape[:2]
    monkeypatch.setattr(orientation_rule, "ignores", True)
    np.testing.assert_array_equal(
        decode_image(data), cv2.imread(str(path), cv2.IMREAD_IGNORE_ORIENTATION | 1)[..., ::-1]
    )
    assert read_image_info(str(path)).size == (32, 48)


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\x01\x12", b"\0" * 40]
)
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_damaged_exif_leaves_an_image_as_it_is(content: bytes, ending: str) -> None:
    assert decode_image(with_exif(ending, np.zeros((4, 6, 3), np.uint8), content)).shape == (4, 6, 3)
