#!/usr/bin/env bash
# motmetrics, the usual library for MOTA and IDF1, installs beside numpy 2 but cannot compare boxes there.
# One would guess: a library whose requirements admit numpy 2 (`numpy>=1.12.1`, no upper bound) works with it; installing
# and importing it, and making an accumulator, do work.
# What happens: `distances.iou_matrix` calls numpy.asfarray, which numpy 2 removed, and raises AttributeError, so that the
# failure comes with the first frame of an evaluation; distances of points work. With numpy 1 it works.
# The way out: numpy below 2, or another library (TrackEval 1.3.0 works with numpy 2.4).
# Seen on 2026-11-29 with motmetrics 1.4.0, numpy 2.2.6 and 1.26.4, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install motmetrics==1.4.0 numpy==2.2.6
cat > "$folder/try.py" <<'PY'
from importlib.metadata import requires, version

import motmetrics
import numpy as np

motmetrics.MOTAccumulator(auto_id=True)
print("motmetrics", version("motmetrics"), "numpy", np.__version__, [r for r in requires("motmetrics") if "numpy" in r])
boxes = [[0, 0, 2, 2]]
try:
    print("iou_matrix", motmetrics.distances.iou_matrix(boxes, boxes).tolist())
except AttributeError as fault:
    print("iou_matrix: AttributeError, asfarray:", "asfarray" in str(fault))
PY
cd "$folder"
with2=$(venv/bin/python try.py)
echo "$with2"
grep -q 'asfarray: True' <<< "$with2"
venv/bin/pip --quiet --disable-pip-version-check install numpy==1.26.4 "pandas<3" "scipy<1.15"
with1=$(venv/bin/python try.py)
echo "$with1"
grep -q 'iou_matrix \[\[0.0\]\]' <<< "$with1"
