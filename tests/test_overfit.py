"""Every kind of head learns eight images by heart."""

import numpy as np
import pytest
import torch

from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.boxes import iou_matrix, to_xyxy
from yolor_cfg.train.loss import LossRules, detection_loss, initialize_biases

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, CLASSES, IMAGES = 64, 3, 8
COLOURS = ((1.0, 0.1, 0.1), (0.1, 1.0, 0.2), (0.2, 0.3, 1.0))
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation=leaky\n"
TRUNK = CONV.format(16, 2) + CONV.format(32, 2) + CONV.format(32, 2) + CONV.format(48, 1)
ANCHORS = "mask=0,1,2\nnum=3\nclasses=3\nanchors=12,12, 20,14, 16,24\n"
LINEAR = "[convolutional]\nfilters={}\nsize=1\nactivation={}\n"

HEADS = {
    "yolor": ("yolor", LINEAR.format(24, "linear") + "[yolo]\n" + ANCHORS),
    "yolo v3": ("darknet", LINEAR.format(24, "linear") + "[yolo]\nignore_thresh=.7\n" + ANCHORS),
    "yolo v4 new_coords": (
        "darknet",
        LINEAR.format(24, "logistic")
        + "[yolo]\nnew_coords=1\nscale_x_y=2\niou_loss=ciou\niou_normalizer=.05\n"
        "obj_normalizer=.4\ncls_normalizer=.5\niou_thresh=.2\nignore_thresh=.7\nmax_delta=2\n" + ANCHORS,
    ),
    "yolo giou": (
        "darknet",
        LINEAR.format(24, "linear") + "[yolo]\nscale_x_y=1.05\niou_loss=giou\niou_normalizer=.5\n" + ANCHORS,
    ),
    "Gaussian_yolo": (
        "darknet",
        LINEAR.format(36, "linear")
        + "[Gaussian_yolo]\nignore_thresh=.7\nuc_normalizer=.02\nmax_delta=2\n"
        + ANCHORS,
    ),
    "Gaussian_yolo giou": (
        "darknet",
        LINEAR.format(36, "linear")
        + "[Gaussian_yolo]\niou_loss=giou\niou_normalizer=.5\nuc_normalizer=.5\n"
        + ANCHORS,
    ),
    "region": (
        "darknet",
        LINEAR.format(24, "linear") + "[region]\nclasses=3\nnum=3\nanchors=1.5,1.5, 2.5,1.7, 2,3\nsoftmax=1\n"
        "bias_match=1\nrescore=1\nobject_scale=5\nthresh=.6\n",
    ),
    "detection": (
        "darknet",
        "[connected]\noutput=208\nactivation=linear\n[detection]\nclasses=3\ncoords=4\nside=4\nnum=2\n"
        "sqrt=1\nrescore=1\nnoobject_scale=.5\ncoord_scale=5\n",
    ),
}


def draw_images(seed=0):
    """Rectangles, the colour tells the class: images [8, 3, 64, 64], targets [T, 6]."""
    rng = np.random.default_rng(seed)
    images, targets = rng.uniform(0, 0.2, (IMAGES, 3, SIZE, SIZE)), []
    for image in range(IMAGES):
        for corner in ((0, 0), (32, 30)):
            w, h = rng.integers(10, 26, 2)
            x, y = corner[0] + rng.integers(0, 6), corner[1] + rng.integers(0, 6)
            kind = rng.integers(CLASSES)
            images[image, :, y : y + h, x : x + w] = np.array(COLOURS[kind])[:, None, None]
            targets.append([image, kind, *(np.array([x + w / 2, y + h / 2, w, h]) / SIZE)])
    return torch.tensor(images, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)


def survivors(boxes, scores):
    """Greedy NMS at IoU 0.5 of boxes [B, 4] of one class: kept indices, best first."""
    order = scores.argsort(descending=True).tolist()
    overlap, kept = iou_matrix(boxes, boxes), []
    for index in order:
        if all(overlap[index, other] <= 0.5 for other in kept):
            kept.append(index)
    return kept


def average_precision(network, images, targets):
    """Mean over classes of the area under the curve of precision over recall, boxes at IoU 0.5."""
    with torch.no_grad():
        boxes, objectness, scores = network.decode(network.eval()(images))
    truths = to_xyxy(targets[:, 2:] * SIZE)
    areas = []
    for kind in range(CLASSES):
        found, of_kind = [], targets[:, 1] == kind
        for image in range(IMAGES):
            score = objectness[image] * scores[image, :, kind]
            likely = (score > 0.01).nonzero()[:, 0]
            candidates = to_xyxy(boxes[image, likely])
            mine = truths[of_kind & (targets[:, 0] == image)]
            free = set(range(len(mine)))
            for index in survivors(candidates, score[likely]):
                hits = [t for t in free if iou_matrix(candidates[index][None], mine[t][None]) >= 0.5]
                free -= set(hits[:1])
                found.append((score[likely[index]].item(), bool(hits)))
        found.sort(reverse=True)
        right = np.cumsum([hit for _, hit in found])
        precision = right / np.arange(1, len(found) + 1)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append((highest * [hit for _, hit in found]).sum() / int(of_kind.sum()))
    return float(np.mean(areas))


def trained(kind, *, steps=600):
    dialect, head = HEADS[kind]
    torch.manual_seed(0)
    text = f"[net]\nwidth={SIZE}\nheight={SIZE}\nchannels=3\n" + TRUNK + head
    network = Network(build_graph(parse(text, "overfit.cfg"), ReadOptions(dialect=dialect))).train()
    initialize_biases(network)
    images, targets = draw_images()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps) + 1e-4
        loss = detection_loss(network(images), targets, network, rules=LossRules())
        optimizer.zero_grad(set_to_none=True)
        (loss.total / IMAGES).backward()
        optimizer.step()
    return average_precision(network, images, targets), loss


def every_head():
    """The kinds of heads; those that share most of their loss with another are slow tests."""
    for kind in HEADS:
        yield pytest.param(kind, marks=[] if kind == "yolor" else [pytest.mark.slow])


@pytest.mark.parametrize("kind", list(every_head()))
def test_a_head_learns_eight_images_by_heart(kind):
    score, loss = trained(kind, steps=300 if kind == "yolor" else 600)
    assert score >= 0.99, (score, loss)
