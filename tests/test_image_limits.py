"""Files that would take all memory or all time: declared sizes, pipes, devices, links in a circle."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.listing import find_images
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.types import Sample
from yolor_cfg.detect.sources import UnreadableSource, open_sources
from yolor_cfg.errors import DataError, YolorError
from yolor_cfg.images.declared import declared_size, pixel_limit
from yolor_cfg.images.headers import read_image_info
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.lang.tree import read_tree
from yolor_cfg.names import class_names
from yolor_cfg.runs import save_image

PIXELS = np.zeros((5, 7, 3), np.uint8)
SIDE = 60_000


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_limit, "most", 34)


def encode(suffix: str, pixels: np.ndarray = PIXELS, *flags: int) -> bytes:
    return cv2.imencode(suffix, pixels, flags)[1].tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + b"\x3b"


def tiff(width: int, height: int, *, is_big: bool = False) -> bytes:
    entry = "<HHQQ" if is_big else "<HHII"
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (277, 3, 1, 1)]
    body = b"".join(struct.pack(entry, *tag) for tag in tags)
    if is_big:
        return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(tags)) + body + bytes(8)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4)


def npy(height: int, width: int) -> bytes:
    file = io.BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": (height, width, 3)}
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue()


def webp(kind: bytes, content: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


HUGE = {
    "a.png": png(SIDE, SIDE),
    "a.gif": gif(SIDE, SIDE),
    "a.tif": tiff(SIDE, SIDE),
    "big.tif": tiff(SIDE, SIDE, is_big=True),
    "a.npy": npy(SIDE, SIDE),
    "a.bmp": b"BM" + struct.pack("<IIIIii", 60, 0, 54, 40, SIDE, -SIDE) + bytes(40),
    "a.ppm": b"P6\n# by hand\n%d %d\n255\n" % (SIDE, SIDE) + bytes(50),
    "a.jpg": encode(".jpg").replace(struct.pack(">HH", 5, 7), struct.pack(">HH", SIDE, SIDE)),
    "lossless.webp": webp(b"VP8L", b"\x2f" + struct.pack("<I", 0x0FFFFFFF) + bytes(20)),
    "large.webp": webp(b"VP8X", bytes(4) + b"\xff\xff\x00\xff\xff\x00" + bytes(20)),
}


@pytest.mark.parametrize("name", HUGE)
def test_an_enormous_declared_size_is_refused_by_every_reader(name: str, tmp_path: Path) -> None:
    """Four formats by their standards; nothing of that size is decoded, which the time would show."""
    path = tmp_path / name
    path.write_bytes(HUGE[name])
    for read in (
        lambda: read_channels(path, 3),
        lambda: read_channels(path, 5),
        lambda: read_image_info(path),
    ):
        with pytest.raises(DataError, match=r"pixels are more than the limit of 200000000 \(--max-pixels"):
            read()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp", ".ppm", ".avif"])
def test_the_declared_size_is_the_size(suffix: str, small_limit: None, tmp_path: Path) -> None:
    """Against OpenCV's encoders."""
    data = encode(suffix)
    assert declared_size(io.BytesIO(data), data[:32]) == (5, 7)
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(DataError, match="7x5 pixels are more than the limit of 34"):
        read_channels(tmp_path / f"a{suffix}", 3)


def test_a_jpeg_2000_has_its_declared_size() -> None:
    data = encode(".jp2", np.zeros((64, 96, 3), np.uint8))
    assert declared_size(io.BytesIO(data), data[:32]) == (64, 96)
    stream = data[data.index(b"\xff\x4f\xff\x51") :]
    assert declared_size(io.BytesIO(stream), stream[:32]) == (64, 96)


def test_a_lossless_webp_has_its_declared_size() -> None:
    data = encode(".webp", PIXELS, cv2.IMWRITE_WEBP_QUALITY, 101)
    assert data[12:16] == b"VP8L"
    assert declared_size(io.BytesIO(data), data[:32]) == (5, 7)


def test_each_page_of_a_stack_counts(small_limit: None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwritemulti(str(path), [PIXELS[..., 0][:4], *[PIXELS[..., 0]] * 4])
    with pytest.raises(DataError, match="limit of 34"):
        read_channels(path, 5)


def test_a_chain_of_pages_that_leads_back_ends() -> None:
    data = tiff(7, 5)[:-4] + struct.pack("<I", 8)
    assert declared_size(io.BytesIO(data), data[:32]) == (5, 7)


def test_the_command_raises_the_limit(tmp_path: Path) -> None:
    files = tiny.write(tmp_path, tiny.text())
    image = tiny.save(tmp_path / "b.png", tiny.photo())
    told = tiny.yolor(
        "detect", *files, image, "--max-pixels", 100, "--nosave", "--project", tmp_path / "runs"
    )
    assert told.exit_code == 3
    assert "are more than the limit of 100 (--max-pixels raises it)" in told.stderr
    assert tiny.yolor("detect", *files, image, "--nosave", "--project", tmp_path / "runs").exit_code == 0


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(pipe: Path, tmp_path: Path) -> None:
    for path, kind in ((pipe, "a pipe"), (Path("/dev/zero"), "a device")):
        readers = (
            lambda path=path: read_channels(path, 3),
            lambda path=path: read_image_info(str(path)),
            lambda path=path: class_names(path, count=2),
            lambda path=path: read_tree(path),
            lambda path=path: find_images(str(path), []),
        )
        for read in readers:
            with pytest.raises(YolorError, match=f"{kind}, not a regular file"):
                read()


def test_pipes_among_images_videos_and_labels_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "b.mp4", "c.tif", "d.npy", "e.xyz"):
        os.mkfifo(tmp_path / name)
    items = list(open_sources([tmp_path]))
    assert [type(item) for item in items] == [UnreadableSource] * 4
    folder = tmp_path / "data"
    folder.mkdir()
    tiny.save(folder / "a.png", tiny.photo())
    os.mkfifo(folder / "a.txt")
    with pytest.raises(DataError, match="a pipe, not a regular file"):
        open_data(folder, split="train")


def test_a_label_file_without_end_is_refused(tmp_path: Path) -> None:
    tiny.save(tmp_path / "a.png", tiny.photo())
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="larger than the 64 megabytes that are read"):
        open_data(tmp_path, split="train")


def test_links_in_a_circle_give_each_image_once(tmp_path: Path) -> None:
    for name in ("a/x.png", "a/b/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tiny.save(tmp_path / name, tiny.photo())
    for name in ("a/up", "a/b/up", "a/b/again"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    expected = [str(tmp_path / "a/b/y.png"), str(tmp_path / "a/x.png")]
    assert find_images(str(tmp_path), []).images == expected
    assert [item.path for item in open_sources([f"{tmp_path}/**/*.png"]).items] == expected


def test_two_thousand_unreadable_images_in_a_row_are_passed_over(tmp_path: Path) -> None:
    """More than Python's limit on nested calls."""
    last = tiny.save(tmp_path / "z.png", tiny.photo())
    names = [f"{number}.png" for number in range(2000)] + [str(last)]
    empty, none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    samples = [
        Sample(name, empty, none, none, none > 0, empty[:, 0], name, (9, 9), none > 0) for name in names
    ]
    store = ImageStore(samples, substitutes=True)
    assert store(0).image.shape == cv2.imread(str(last)).shape
    assert len(store.skipped) == 2000


def test_an_image_too_wide_for_its_format_is_saved_as_png(tmp_path: Path) -> None:
    """JPEG's sides end at 65,500 pixels in libjpeg."""
    save_image(tmp_path / "a.jpg", np.full((1, 66_000, 3), 7, np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (cv2.imread(str(tmp_path / "a.png")) == 7).all()
