"""[yolo4]: AlexeyAB's [yolo] in a program whose own [yolo] is that of the first Darknet."""

from __future__ import annotations

from yolor_cfg.lang.dialect import PJREDDIE_ONLY
from yolor_cfg.lang.keys import Flag, Float
from yolor_cfg.sections.heads import BoxHeadSection

PLAIN_CLASSES = "this program learns classes by their plain difference"


class Yolo4Section(BoxHeadSection, names="yolo4"):
    """[yolo] of AlexeyAB's C Darknet, under another name.

    sowson/darknet, src/yolo4_layer.c: the boxes are the same; in training, classes are learnt without
    smoothing, focus and balance, and raw sizes count as logarithms with new_coords too.
    """

    dialects = PJREDDIE_ONLY
    examples = (
        "[convolutional]\nfilters=18\nactivation=logistic\n[yolo4]\nmask=1,2\nclasses=4\nnum=3\n"
        "anchors=4,5, 7,6, 9,9\nscale_x_y=2\nnew_coords=1",
        "[yolo4]\nmask=0\nclasses=3\nnum=1\nanchors=10,14",
    )
    default_max = 200
    learns_plain_classes = True
    learns_exponents = True
    learns_roots = False

    cls_normalizer = Float(1, unused=PLAIN_CLASSES, help="weight of the class loss")
    label_smooth_eps = Float(0, unused=PLAIN_CLASSES, help="label smoothing")
    focal_loss = Flag(False, unused=PLAIN_CLASSES, help="focal loss for the classes")
