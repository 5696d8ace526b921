#!/usr/bin/env bash
# A few batches of training on a drawn data set, then a test: ./train_shapes.sh [FOLDER]
# Far too short to learn anything; `yolor demo --train` takes minutes and does.
set -euo pipefail
out=${1:-$(mktemp -d)}

yolor new yolor_micro --classes 6 --size 64 -o "$out/micro.cfg"
yolor data draw "$out/shapes" --kind coloured --count 20 --held 4 --size 64
yolor train "$out/micro.cfg" --data "$out/shapes/shapes.data" --hyp small --optimizer adamw \
    --epochs 1 --batch-size 4 --update-batch 4 --workers 0 --project "$out" --name train
yolor test "$out/micro.cfg" "$out/train/weights/last.pt" --data "$out/shapes/shapes.data" \
    --project "$out" --name test
