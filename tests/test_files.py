"""Files are complete or absent, and mistaken ones are recognised by their first bytes."""

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest

from yolor_cfg.errors import DataError, WeightsError
from yolor_cfg.files import FILE_KIND_HINTS, HEAD_BYTES, find_file_kind, replace_file


def picture(ending: str) -> bytes:
    return cv2.imencode(ending, np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def zipped() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").writestr("a", b"a")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf\r\n <HTML lang='en'>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
        (picture(".jpg"), "an image"),
        (picture(".png"), "an image"),
        (picture(".webp"), "an image"),
        (b"[net]\nwidth=416\n", "a cfg"),
        (zipped(), "a zip archive"),
        (tarred(), "a tar archive"),
        (struct.pack("<Q", 2) + b'{"a":1}', "a safetensors file"),
    ],
)
def test_a_mistaken_file_is_recognised_and_has_a_hint(data: bytes, kind: str) -> None:
    assert find_file_kind(data[:HEAD_BYTES]) == kind
    assert FILE_KIND_HINTS[kind]


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5)])
def test_a_weights_file_is_never_mistaken_for_something_else(version: tuple[int, int, int]) -> None:
    seen = struct.pack("<Q", int.from_bytes(b'{"{"{"{"', "little"))
    assert find_file_kind(struct.pack("<3i", *version) + seen + np.ones(200, "<f4").tobytes()) is None


def test_a_written_file_has_the_bytes_the_permissions_of_any_new_file_and_no_neighbour(
    tmp_path: Path,
) -> None:
    replace_file(tmp_path / "ours", lambda file: file.write(b"data"), fault=WeightsError)
    (tmp_path / "plain").write_bytes(b"data")
    assert (tmp_path / "ours").read_bytes() == b"data"
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "plain"]


def test_an_existing_file_needs_force_and_the_hint_says_so(tmp_path: Path) -> None:
    target = tmp_path / "a.weights"
    target.write_bytes(b"old")
    with pytest.raises(WeightsError, match="exists already") as caught:
        replace_file(target, lambda file: file.write(b"new"), fault=WeightsError)
    assert "--force" in caught.value.hint
    assert target.read_bytes() == b"old"
    replace_file(target, lambda file: file.write(b"new"), fault=WeightsError, force=True)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ValueError("half way"), OSError(28, "No space left on device")]
)
def test_a_write_that_stops_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, error) -> None:
    target = tmp_path / "a.weights"
    target.write_bytes(b"old")

    def half(file) -> None:
        file.write(b"new")
        raise error

    with pytest.raises((KeyboardInterrupt, ValueError, DataError)):
        replace_file(target, half, fault=DataError, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights"]
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    def full(file) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="a.weights: cannot be written\n.*No space left on device"):
        replace_file(tmp_path / "a.weights", full, fault=DataError)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_a_clear_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="no permission to write"):
        replace_file(tmp_path / "a", lambda file: file.write(b""), fault=DataError)
    tmp_path.chmod(0o700)


def test_a_refused_replacement_is_a_clear_fault_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match="no permission to write") as caught:
        replace_file(tmp_path / "a", lambda file: file.write(b"data"), fault=DataError, force=True)
    assert (caught.value.found, caught.value.hint) == (
        "Permission denied",
        "choose a folder that you can write to",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written") as caught:
        replace_file(tmp_path / "none" / "a", lambda file: file.write(b""), fault=DataError)
    assert str(tmp_path / "none") in caught.value.hint


def test_a_file_used_as_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file is not a folder"):
        replace_file(tmp_path / "file" / "a", lambda file: file.write(b""), fault=DataError)


def test_neither_a_folder_nor_a_device_is_replaced(tmp_path: Path) -> None:
    for path, kind in [(tmp_path, "a folder"), (Path(os.devnull), "a device")]:
        with pytest.raises(WeightsError, match="is not a regular file") as caught:
            replace_file(path, lambda file: file.write(b""), fault=WeightsError, force=True)
        assert caught.value.found == kind


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    replace_file(tmp_path / "link", lambda file: file.write(b"data"), fault=WeightsError)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"data"


def test_the_longest_file_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * os.pathconf(tmp_path, "PC_NAME_MAX")
    replace_file(tmp_path / name, lambda file: file.write(b"data"), fault=WeightsError)
    assert (tmp_path / name).read_bytes() == b"data"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_made_meanwhile_is_not_overwritten(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a"

    def write_slowly(file: BinaryIO) -> None:
        file.write(b"ours")
        target.write_bytes(b"another's")

    with pytest.raises(WeightsError, match="exists already"):
        replace_file(target, write_slowly, fault=WeightsError)
    assert target.read_bytes() == b"another's"
    target.unlink()
    replace_file(target, lambda file: file.write(b"ours"), fault=WeightsError)
    assert target.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [target]
