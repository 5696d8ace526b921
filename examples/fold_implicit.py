"""A YOLOR network as a plain Darknet cfg and .weights: `python fold_implicit.py [FOLDER]`.

Implicit knowledge and batch norms disappear in the convolutions; C Darknet and OpenCV 4 can run what is left.
`yolor convert IN OUT --cfg CFG --fold-implicit` does the same.
"""

import sys
import tempfile
from pathlib import Path

import torch

from yolor_cfg import load
from yolor_cfg.networks.catalog import shipped_weights
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.weights.darknet import write_weights

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
network = load(shipped_weights("yolor_nano_shapes.cfg"), shipped_weights("yolor_nano_shapes.pt"))
plain = to_plain_darknet(network)
(folder / "plain.cfg").write_text(plain.graph.document.text)
write_weights(plain, folder / "plain.weights")

images = torch.rand(1, 3, 192, 192)
again = load(folder / "plain.cfg", folder / "plain.weights")
with torch.no_grad():
    before, after = network.decode(network(images)), again.decode(again(images))
change = (before.boxes_xywh - after.boxes_xywh).abs().max()
print(f"{len(network.graph.nodes)} sections became {len(again.graph.nodes)}: {folder / 'plain.cfg'}")
print(f"boxes differ by at most {change:.1e} pixels")
