"""Find objects in images from Python: `python detect_objects.py [IMAGE...]`.

Without an image it draws some and uses the small network that is installed with the package.
"""

import sys
import tempfile

from yolor_cfg import Detector
from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.networks.catalog import shipped_weights


def drawn_images() -> list[str]:
    """Three images of shapes, drawn into a temporary folder."""
    folder = tempfile.mkdtemp()
    data = write_shapes(folder, ShapesOptions(3, (192, 192), KINDS["coloured"]), seed=1)
    return sorted(map(str, data.parent.glob("images/*.jpg")))


images = sys.argv[1:] or drawn_images()
detector = Detector(
    shipped_weights("yolor_nano_shapes.cfg"),
    shipped_weights("yolor_nano_shapes.pt"),
    conf=0.4,
)
for path, found in zip(images, detector(images), strict=True):
    print(f"{path}: {len(found)} objects")
    for one in found:
        left, top, right, bottom = one.box
        print(f"  {one.name:<9} {one.confidence:.2f}  {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}")
