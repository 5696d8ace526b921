#!/usr/bin/env bash
# From a .pt checkpoint to Darknet's .weights and back: ./convert_weights.sh [FOLDER]
# .weights -> .pt -> .weights gives the same file to the byte.
set -euo pipefail
out=${1:-$(mktemp -d)}
weights=$(python -c 'from yolor_cfg.networks.catalog import shipped_weights; print(shipped_weights("yolor_nano_shapes.pt"))')
cfg=${weights%.pt}.cfg

yolor convert "$weights" "$out/shapes.weights" --cfg "$cfg"
yolor convert "$out/shapes.weights" "$out/again.pt" --cfg "$cfg"
yolor convert "$out/again.pt" "$out/again.weights" --cfg "$cfg"
cmp "$out/shapes.weights" "$out/again.weights"
echo "$out: the same to the byte"
