#!/usr/bin/env bash
# OpenCV's VideoCapture.read returns False in the middle of a video, and True again when it is asked once more.
# One would guess: False means that the video is over; the usual loop, `while ok`, ends there.
# What happens: at a damaged frame `read` returns False once. The frames behind it are still to be had, so the usual
# loop loses the rest of the file without a word, and isOpened and the announced number of frames stay as they were.
# The way out: go on until as many frames were asked for as CAP_PROP_FRAME_COUNT announces.
# Seen on 2026-11-28 with opencv-python-headless 4.14.0.94 (cv2 4.14.0), numpy 2.2.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install opencv-python-headless==4.14.0.94 numpy==2.2.6
cd "$folder"
venv/bin/python -W error - 2>stderr.txt <<'PY'
import random
from pathlib import Path

import cv2
import numpy as np

print("cv2", cv2.__version__)
frames = np.random.default_rng(0).integers(0, 256, (40, 120, 160, 3), dtype=np.uint8)
video = cv2.VideoWriter("a.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
for frame in frames:
    video.write(frame)
video.release()
data, rng = bytearray(Path("a.mp4").read_bytes()), random.Random(0)
middle = len(data) // 2
data[middle : middle + 9000] = rng.randbytes(9000)
Path("a.mp4").write_bytes(data)
capture = cv2.VideoCapture("a.mp4")
announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
answers = [capture.read()[0] for _ in range(announced + 5)]
first = answers.index(False)
print(f"{announced} frames announced; the first False after {first}; then {sum(answers[first:])} more frames")
assert 0 < first < 20 < sum(answers[first:])
PY
