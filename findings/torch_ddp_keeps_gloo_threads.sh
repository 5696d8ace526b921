#!/usr/bin/env bash
# destroy_process_group() ends Gloo's threads, but not where DistributedDataParallel was used.
# One would guess: after destroy_process_group(), with the model deleted and gc.collect(), nothing of the group lives,
# since that call is what torch asks for at the end ("please call destroy_process_group").
# What happens: once a model was wrapped in DistributedDataParallel, even without a forward pass, Gloo's threads go on
# until the process ends. A thread that lets go of the last tensors while the interpreter is finalized wants the GIL,
# which ends the process by SIGABRT after its work is done (pytorch/pytorch#190489 describes that for groups that were
# not destroyed). A process that had trained with DistributedDataParallel ended so, "terminate called without an
# active exception", once in some forty runs on a busy machine; this script shows the threads alone.
# Seen on 2026-11-30 with torch 2.13.0, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.13.0 numpy==2.4.6
cd "$folder"
cat > try.py <<'PY'
import gc
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

store = distributed.HashStore()
distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
if sys.argv[1] == "wrapped":
    model = DistributedDataParallel(torch.nn.Linear(3, 3))
    del model
else:
    distributed.all_reduce(torch.ones(3))
distributed.destroy_process_group()
del store
gc.collect()
names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
left = sorted(name for name in names if "gloo" in name)
print(f"torch {torch.__version__}, {sys.argv[1]}: threads left: {left}")
sys.exit(bool(left) != (sys.argv[1] == "wrapped"))
PY
venv/bin/python -W ignore try.py plain
venv/bin/python -W ignore try.py wrapped
echo "seen again: a wrapped model keeps Gloo's threads alive after destroy_process_group()"
