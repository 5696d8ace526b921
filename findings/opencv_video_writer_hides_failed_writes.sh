#!/usr/bin/env bash
# OpenCV's VideoWriter does not tell that a video could not be written.
# One would guess: `write` or `release` raises or returns False, or `isOpened` becomes False, when the disk is full.
# What happens: `write` and `release` return None as ever and `isOpened` stays True; only log lines on standard error
# say "Failed to write frame", which many programs silence, as codecs are noisy there. What is left is a file that no
# reader opens, since its index, which comes last, is missing. Here a limit on the size of files stands for the disk.
# The way out: write under another name, read the file back, count its frames, and only then give it its name.
# Seen on 2026-11-28 with opencv-python-headless 4.14.0.94 (cv2 4.14.0), numpy 2.2.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install opencv-python-headless==4.14.0.94 numpy==2.2.6
cd "$folder"
venv/bin/python -W error - <<'PY'
import resource

import cv2
import numpy as np

print("cv2", cv2.__version__)
FRAMES = np.random.default_rng(0).integers(0, 256, (40, 120, 160, 3), dtype=np.uint8)


def write(path, limit=resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    answers = {video.write(frame) for frame in FRAMES}
    opened = video.isOpened()
    answers.add(video.release())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return answers, opened


def count(path):
    capture, found = cv2.VideoCapture(path), 0
    while capture.grab():
        found += 1
    return found


whole, cut = write("whole.mp4"), write("cut.mp4", 100_000)
print(f"without a limit: answers {whole[0]}, open {whole[1]}, {count('whole.mp4')} frames can be read")
print(f"with a limit:    answers {cut[0]}, open {cut[1]}, {count('cut.mp4')} frames can be read")
assert whole == cut == ({None}, True)
assert (count("whole.mp4"), count("cut.mp4")) == (40, 0)
PY
