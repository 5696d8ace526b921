"""Videos that browsers play, with the sound of their source: VP9 in mp4, by PyAV (extra `video`).

VP9's encoder, libvpx, is under a BSD licence; PyAV's H.264 encoder, x264, is under the GPL and not used. All
current browsers play VP9 in mp4. Sound that an mp4 for browsers may hold is copied, other sound becomes AAC.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from yolor_cfg.errors import MissingExtra
from yolor_cfg.images.types import Image

CLOCK = Fraction(1, 90_000)
"""Seconds; the usual unit of time of videos, which all common frame rates fit."""
MOST_PIXELS_A_SIDE = 16_384
COPIED_SOUND = frozenset({"aac", "flac", "mp3", "opus"})
AAC_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
"""The sampling rates of AAC from the best on."""
VP9_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "7",
    "row-mt": "1",
    "crf": "30",
    "b": "0",
    "lag-in-frames": "0",
}
"""Quality by content (crf) at the speed of a live video; no frame is held back."""


def load_av() -> Any:
    """The module `av`; raises MissingExtra where it is not installed or does not load."""
    try:
        return importlib.import_module("av")
    except ImportError:
        raise MissingExtra("video") from None


class SoundVideo:
    """A video under way: frames with their times, and the sound up to each of them.

    A write that fails raises OSError. `sound_fault` says why the sound of the source is missing, if it is.
    """

    def __init__(self, path: Path, size: tuple[int, int], source: str | None, *, fps: float) -> None:
        """`size` is width and height; `source` is the file with the sound, if any; the last frame is shown
        for a frame's time at `fps`."""
        self._av = load_av()
        self.sound_fault = ""
        self._frame_ticks = round(1 / fps / CLOCK)
        with self._raise_os_error():
            self._out = self._av.open(str(path), "w", format="mp4")
            self._video = self._out.add_stream("libvpx-vp9", options=VP9_OPTIONS)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = CLOCK
        self._sound = Sound(self._av, self._out, source) if source and os.path.isfile(source) else None
        self._check_sound()

    def write(self, image: Image, seconds: float) -> None:
        """Append an RGB image to be shown from this time on."""
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(seconds / CLOCK), CLOCK
        self._add_sound(seconds)
        self._encode(frame)

    def finish(self, until: float | None) -> None:
        """Write the rest; of the sound up to this time, or all of it."""
        with self._raise_os_error(), self._out:
            self._encode(None)
            self._add_sound(until, is_end=True)

    def abandon(self) -> None:
        """Close the files."""
        with suppress(OSError), self._raise_os_error():
            self._out.close()
        if self._sound is not None:
            self._sound.close()

    @contextmanager
    def _raise_os_error(self) -> Iterator[None]:
        """Turn an error of FFmpeg into an OSError."""
        try:
            yield
        except self._av.error.FFmpegError as fault:
            raise OSError(fault.errno, fault.strerror) from None

    def _encode(self, frame: Any) -> None:
        """Write a frame, or, for None, what the encoder still holds."""
        with self._raise_os_error():
            for packet in self._video.encode(frame):
                packet.duration = self._frame_ticks
                self._out.mux(packet)

    def _add_sound(self, until: float | None, *, is_end: bool = False) -> None:
        if self._sound is None:
            return
        for packet in self._sound.packets(until, is_end=is_end):
            with self._raise_os_error():
                self._out.mux(packet)
        self._check_sound()

    def _check_sound(self) -> None:
        if self._sound is not None and self._sound.fault:
            self.sound_fault, self._sound = self._sound.fault, None


class Sound:
    """The first sound track of a file as packets for an mp4 file; one that fails ends with its `fault`."""

    def __init__(self, av: Any, out: Any, source: str) -> None:
        self._av, self.fault, self._waiting = av, "", None
        self._packets: Iterator[Any] = iter(())
        try:
            self._input = av.open(os.path.abspath(source))  # never one of FFmpeg's protocols
            tracks = self._input.streams.audio
            if tracks:
                self._packets = self._open_track(out, tracks[0])
        except (av.error.FFmpegError, ValueError) as fault:
            self.fault = str(fault)

    def packets(self, until: float | None, *, is_end: bool) -> Iterator[Any]:
        """What follows up to this time in seconds; None means to the end."""
        try:
            while True:
                packet = self._waiting or next(self._packets, None)
                self._waiting = packet
                if packet is None or (until is not None and _start_of(packet) > until):
                    break
                self._waiting = None
                yield packet
        except (self._av.error.FFmpegError, ValueError) as fault:
            self.fault = str(fault)
        if is_end:
            self.close()

    def close(self) -> None:
        """Close the file."""
        self._input.close()

    def _open_track(self, out: Any, track: Any) -> Iterator[Any]:
        """The packets of the track, their times counted from the first frame of the video."""
        videos = self._input.streams.video
        begin = float((videos[0].start_time or 0) * videos[0].time_base) if videos else 0.0
        if track.codec_context.name.removesuffix("float") in COPIED_SOUND:
            return self._copy(out.add_stream_from_template(track), track, begin)
        rates = [rate for rate in AAC_RATES if rate <= track.codec_context.sample_rate]
        made = out.add_stream("aac", rate=(rates or AAC_RATES[-1:])[0])
        made.layout = "mono" if track.codec_context.channels == 1 else "stereo"
        return self._encode(made, track, begin)

    def _copy(self, made: Any, track: Any, begin: float) -> Iterator[Any]:
        shift = round(begin / track.time_base)
        for packet in self._input.demux(track):
            if packet.dts is None or packet.pts is None or packet.pts < shift:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, made
            yield packet

    def _encode(self, made: Any, track: Any, begin: float) -> Iterator[Any]:
        resampler = self._av.AudioResampler(
            format="fltp", layout=made.layout.name, rate=made.rate, frame_size=1024
        )
        first: int | None = None
        done = 0
        for frame in self._frames(track):
            if first is None and frame is not None:
                first = max(0, round((float(frame.time or 0.0) - begin) * made.rate))
            for part in resampler.resample(frame):
                part.pts, part.time_base = (first or 0) + done, Fraction(1, made.rate)
                done += part.samples
                yield from made.encode(part)
        yield from made.encode(None)

    def _frames(self, track: Any) -> Iterator[Any]:
        """The decoded frames; None, which empties the resampler, after the last."""
        yield from self._input.decode(track)
        yield None


def _start_of(packet: Any) -> float:
    return float(packet.pts * packet.time_base)
