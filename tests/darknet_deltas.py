"""C Darknet's deltas written out cell by cell and object by object in plain Python: box.c, yolo_layer.c,
gaussian_yolo_layer.c, region_layer.c and detection_layer.c, as public sources give them.

Arrays of a head are indexed [image][anchor][row][column][value]; objects are (class, x, y, w, h) by image.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.sections.detection import DetectionSection
from yolor_cfg.sections.heads import AnchorHeadSection, GaussianYoloSection
from yolor_cfg.sections.region import RegionSection
from yolor_cfg.sections.yolo import YoloSection

Numbers = NDArray[np.float64]
Box = Sequence[float] | Numbers
Truth = tuple[int, float, float, float, float]
Four = tuple[float, float, float, float]
AnyHeadSection = TypeVar("AnyHeadSection", bound=AnchorHeadSection)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def sides(box: Box) -> Four:
    x, y, w, h = map(float, box)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def box_iou(a: Box, b: Box) -> float:
    left, top, right, bottom = sides(a)
    left2, top2, right2, bottom2 = sides(b)
    w, h = min(right, right2) - max(left, left2), min(bottom, bottom2) - max(top, top2)
    if w < 0 or h < 0:
        return 0.0
    union = a[2] * a[3] + b[2] * b[3] - w * h
    return w * h / union if w * h and union else 0.0


def box_iou_kind(a: Box, b: Box, kind: str) -> float:
    """For boxes with one centre, where no distance counts."""
    iou = box_iou(a, b)
    if kind == "giou":
        c = max(a[2], b[2]) * max(a[3], b[3])
        return iou - (c - (a[2] * a[3] + b[2] * b[3] - min(a[2], b[2]) * min(a[3], b[3]))) / c
    if kind == "ciou":
        v = 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2
        return iou - v * v / (1 - iou + v + 1e-6)
    return iou


def dx_box_iou(pred: Box, truth: Box, kind: str) -> Four:
    """What box.c returns as dx, dy, dw, dh; scalar by scalar."""
    pl, pt, pr, pb = sides(pred)
    tl, tt, tr, tb = sides(truth)
    X, Xhat = (pb - pt) * (pr - pl), (tb - tt) * (tr - tl)
    Ih, Iw = min(pb, tb) - max(pt, tt), min(pr, tr) - max(pl, tl)
    I = Iw * Ih  # noqa: E741
    U = X + Xhat - I
    S = (pred[0] - truth[0]) ** 2 + (pred[1] - truth[1]) ** 2
    Cw, Ch = max(pr, tr) - min(pl, tl), max(pb, tb) - min(pt, tt)
    dX = {"t": -(pr - pl), "b": pr - pl, "l": -(pb - pt), "r": pb - pt}
    dI = {
        "t": -Iw if pt > tt else 0,
        "b": Iw if pb < tb else 0,
        "l": -Ih if pl > tl else 0,
        "r": Ih if pr < tr else 0,
    }
    dU = {side: dX[side] - dI[side] for side in "tblr"}
    dC = {
        "t": -Cw if pt < tt else 0,
        "b": Cw if pb > tb else 0,
        "l": -Ch if pl < tl else 0,
        "r": Ch if pr > tr else 0,
    }
    p = {side: (U * dI[side] - I * dU[side]) / U**2 if U > 0 else 0 for side in "tblr"}
    apart = Iw <= 0 or Ih <= 0
    if kind == "giou":
        area = Cw * Ch
        for side in "tblr":
            term = (area * dU[side] - U * dC[side]) / area**2
            p[side] = term if apart else p[side] + term
    dx, dy, dw, dh = p["l"] + p["r"], p["t"] + p["b"], p["r"] - p["l"], p["b"] - p["t"]
    if kind in ("diou", "ciou"):
        C = Cw**2 + Ch**2
        dCw_dx, dCh_dy = (pr > tr) - (pl < tl), (pb > tb) - (pt < tt)
        dCw_dw, dCh_dh = 0.5 * (pr > tr) + 0.5 * (pl < tl), 0.5 * (pb > tb) + 0.5 * (pt < tt)
        more = [
            (2 * (truth[0] - pred[0]) * C - 2 * Cw * dCw_dx * S) / C**2,
            (2 * (truth[1] - pred[1]) * C - 2 * Ch * dCh_dy * S) / C**2,
            2 * Cw * dCw_dw * S / C**2,
            2 * Ch * dCh_dh * S / C**2,
        ]
        if kind == "ciou":
            turn = math.atan(truth[2] / truth[3]) - math.atan(pred[2] / pred[3])
            v = 4 / math.pi**2 * turn**2
            alpha = v / (1 - I / U + v + 0.000001)
            more[2] += alpha * 8 / math.pi**2 * turn * pred[3]
            more[3] -= alpha * 8 / math.pi**2 * turn * pred[2]
        dx, dy, dw, dh = more if apart else (a + b for a, b in zip((dx, dy, dw, dh), more, strict=True))
    return dx, dy, dw, dh


def clipped(value: float, most: float) -> float:
    return min(max(value, -most), most) if math.isfinite(value) else 0.0


def class_multipliers(s: AnchorHeadSection) -> list[float] | None:
    if not s.counters_per_class:
        return None
    counts = [max(count, 1) for count in s.counters_per_class]
    return [min(max(counts) / count, s.max_delta) for count in counts]


class _Head(ABC, Generic[AnyHeadSection]):
    """The order of writes that [yolo] and [Gaussian_yolo] share."""

    first_class = 5

    def __init__(
        self, section: AnyHeadSection, raw: Numbers, truths: list[list[Truth]], net: tuple[int, int]
    ) -> None:
        self.s, self.net, self.truths, self.raw = section, net, truths, raw
        self.images, self.anchors, self.rows, self.columns, _ = raw.shape
        self.out = self.activated(raw)
        self.delta = np.zeros_like(raw)
        self.mult = class_multipliers(section)
        self.biases = [section.anchors[2 * i : 2 * i + 2] for i in range(section.num)]

    def run(self) -> Numbers:
        for image in range(self.images):
            cells = np.ndindex(self.anchors, self.rows, self.columns)
            for n, j, i in cells:
                self.cell(image, n, j, i)
            for truth in self.truths[image]:
                self.object(image, truth)
            for n, j, i in np.ndindex(self.anchors, self.rows, self.columns):
                self.average(image, n, j, i)
        return self.delta

    def cell(self, image: int, n: int, j: int, i: int) -> None:
        s, k = self.s, self.first_class
        out, delta = self.out[image, n, j, i], self.delta[image, n, j, i]
        pred = self.box(out, s.mask[n], j, i)
        best_match, best = 0.0, 0.0
        match_t: Truth | None = None
        best_t: Truth | None = None
        for truth in self.truths[image]:
            iou = box_iou(pred, truth[1:])
            if iou > best_match and any(out[k:] > 0.25):
                best_match, match_t = iou, truth
            if iou > best:
                best, best_t = iou, truth
        delta[k - 1] = s.obj_normalizer * (0 - out[k - 1])
        if match_t is not None and best_match > s.ignore_thresh:
            self.spare(out, delta, best_match, match_t)
        if best_t is not None and best > s.truth_thresh:
            square, c = best * best, best_t[0]
            delta[k - 1] = s.obj_normalizer * ((square if s.objectness_smooth else 1) - out[k - 1])
            self.write_class(out, delta, c)
            factor = self.mult[c] if self.mult else 1
            if s.objectness_smooth:
                delta[k + c] = factor * (square - out[k + c])
            self.write_box(out, delta, best_t, n=s.mask[n], j=j, i=i, factor=factor)

    def object(self, image: int, truth: Truth) -> None:
        s, k, c = self.s, self.first_class, truth[0]
        i, j = self.place(truth)
        shift = (0, 0, *truth[3:])
        shapes = [(0, 0, w / self.net[0], h / self.net[1]) for w, h in self.biases]
        best, best_n = 0.0, 0
        for n, shape in enumerate(shapes):
            if box_iou(shape, shift) > best:
                best, best_n = box_iou(shape, shift), n
        others = [
            n
            for n in range(len(shapes))
            if n != best_n
            and s.iou_thresh < 1
            and box_iou_kind(shapes[n], shift, s.iou_thresh_kind) > s.iou_thresh
        ]
        for n in [best_n, *others]:
            if n not in s.mask:
                continue
            slot = s.mask.index(n)
            out, delta = self.out[image, slot, j, i], self.delta[image, slot, j, i]
            factor = self.mult[c] if self.mult else 1
            self.write_box(out, delta, truth, n=n, j=j, i=i, factor=factor)
            self.claim(delta, k - 1, factor * s.obj_normalizer * (1 - out[k - 1]))
            self.write_class(out, delta, c)

    @abstractmethod
    def activated(self, raw: Numbers) -> Numbers: ...

    @abstractmethod
    def focal(self) -> bool: ...

    @abstractmethod
    def has_class(self, delta: Numbers, c: int) -> bool: ...

    @abstractmethod
    def spare(self, out: Numbers, delta: Numbers, iou: float, truth: Truth) -> None: ...

    @abstractmethod
    def claim(self, delta: Numbers, k: int, value: float) -> None: ...

    @abstractmethod
    def place(self, truth: Truth) -> tuple[int, int]: ...

    @abstractmethod
    def box(self, out: Numbers, n: int, j: int, i: int) -> Four: ...

    @abstractmethod
    def write_box(
        self, out: Numbers, delta: Numbers, truth: Truth, *, n: int, j: int, i: int, factor: float
    ) -> None: ...

    @abstractmethod
    def average(self, image: int, n: int, j: int, i: int) -> None: ...

    def write_class(self, out: Numbers, delta: Numbers, c: int) -> None:
        s, k = self.s, self.first_class
        factor = self.mult[c] if self.mult else 1
        yes = 1 - 0.5 * s.label_smooth_eps
        if self.has_class(delta, c):
            delta[k + c] = (yes - out[k + c]) * factor
            return
        for each in range(s.classes):
            if self.focal():
                p = out[k + c]
                grad = -(1 - p) * (2 * p * math.log(p) + p - 1)
                delta[k + each] = ((each == c) - out[k + each]) * 0.5 * grad
                continue
            delta[k + each] = (yes if each == c else 0.5 * s.label_smooth_eps) - out[k + each]
            if self.mult and each == c:
                delta[k + each] *= factor * s.cls_normalizer

    def divide(self, delta: Numbers, values: int) -> None:
        raised = int((delta[self.first_class :] > 0).sum())
        if raised:
            delta[:values] /= raised


class Yolo(_Head[YoloSection]):
    def activated(self, raw: Numbers) -> Numbers:
        out = raw.copy() if self.s.new_coords else 1 / (1 + np.exp(-raw))
        out[..., 2:4] = raw[..., 2:4]
        out[..., :2] = self.s.scale_x_y * out[..., :2] - 0.5 * (self.s.scale_x_y - 1)
        return out

    def focal(self) -> bool:
        return self.s.focal_loss

    def has_class(self, delta: Numbers, c: int) -> bool:
        return bool(delta[self.first_class + c] != 0)

    def spare(self, out: Numbers, delta: Numbers, iou: float, truth: Truth) -> None:
        k = self.first_class - 1
        if self.s.objectness_smooth:
            delta[k] = max(delta[k], self.s.obj_normalizer * (iou - out[k]))
        else:
            delta[k] = 0

    def claim(self, delta: Numbers, k: int, value: float) -> None:
        if not self.s.objectness_smooth or delta[k] == 0:
            delta[k] = value

    def place(self, truth: Truth) -> tuple[int, int]:
        return int(truth[1] * self.columns), int(truth[2] * self.rows)

    def box(self, out: Numbers, n: int, j: int, i: int) -> Four:
        size = (
            [4 * out[2] ** 2, 4 * out[3] ** 2] if self.s.new_coords else [math.exp(out[2]), math.exp(out[3])]
        )
        return (
            (i + out[0]) / self.columns,
            (j + out[1]) / self.rows,
            size[0] * self.biases[n][0] / self.net[0],
            size[1] * self.biases[n][1] / self.net[1],
        )

    def write_box(
        self, out: Numbers, delta: Numbers, truth: Truth, *, n: int, j: int, i: int, factor: float
    ) -> None:
        s, (_, x, y, w, h) = self.s, truth
        weight = s.iou_normalizer * factor
        if s.iou_loss == "mse":
            ratios = w * self.net[0] / self.biases[n][0], h * self.net[1] / self.biases[n][1]
            aims = [math.sqrt(r / 4) if s.new_coords else math.log(r) for r in ratios]
            aims = [x * self.columns - i, y * self.rows - j, *aims]
            for at, aim in enumerate(aims):
                delta[at] += (2 - w * h) * (aim - out[at]) * weight
            return
        slopes = list(dx_box_iou(self.box(out, n, j, i), (x, y, w, h), s.iou_loss))
        if not s.new_coords:
            slopes[2] *= math.exp(out[2])
            slopes[3] *= math.exp(out[3])
        for at, slope in enumerate(slopes):
            delta[at] += clipped(slope * weight, s.max_delta)

    def average(self, image: int, n: int, j: int, i: int) -> None:
        delta = self.delta[image, n, j, i]
        if self.s.iou_thresh < 1 and delta[4] != 0:
            self.divide(delta, 4)


class Gaussian(_Head[GaussianYoloSection]):
    first_class = 9

    def activated(self, raw: Numbers) -> Numbers:
        out = 1 / (1 + np.exp(-raw))
        out[..., 4:8:2] = raw[..., 4:8:2]
        out[..., 0:4:2] = self.s.scale_x_y * out[..., 0:4:2] - 0.5 * (self.s.scale_x_y - 1)
        return out

    def focal(self) -> bool:
        return False

    def has_class(self, delta: Numbers, c: int) -> bool:
        return bool(delta[self.first_class] != 0)

    def spare(self, out: Numbers, delta: Numbers, iou: float, truth: Truth) -> None:
        if self.s.objectness_smooth:
            delta[8] = self.s.obj_normalizer * (iou**2 - out[8])
            self.write_class(out, delta, truth[0])
        else:
            delta[8] = 0

    def claim(self, delta: Numbers, k: int, value: float) -> None:
        delta[k] = value

    def corner(self) -> int:
        return {"center": 0, "left_top": 1, "right_bottom": -1}[self.s.yolo_point]

    def point(self, truth: Truth) -> list[float]:
        return [truth[1 + axis] - self.corner() * truth[3 + axis] / 2 for axis in range(2)]

    def place(self, truth: Truth) -> tuple[int, int]:
        x, y = self.point(truth)
        return (
            min(self.columns - 1, max(0, int(x * self.columns))),
            min(self.rows - 1, max(0, int(y * self.rows))),
        )

    def box(self, out: Numbers, n: int, j: int, i: int) -> Four:
        w, h = (math.exp(out[4 + 2 * a]) * self.biases[n][a] / self.net[a] for a in range(2))
        return (
            (i + out[0]) / self.columns + self.corner() * w / 2,
            (j + out[2]) / self.rows + self.corner() * h / 2,
            w,
            h,
        )

    def write_box(
        self, out: Numbers, delta: Numbers, truth: Truth, *, n: int, j: int, i: int, factor: float
    ) -> None:
        s, (_, _, _, w, h) = self.s, truth
        x, y = self.point(truth)
        aims = [
            x * self.columns - i,
            y * self.rows - j,
            math.log(w * self.net[0] / self.biases[n][0]),
            math.log(h * self.net[1] / self.biases[n][1]),
        ]
        moves, spreads = [], []
        for at, aim in enumerate(aims):
            sigma = out[2 * at + 1]
            off = (aim - out[2 * at]) / sigma
            dist = math.exp(-0.5 * off**2) / (math.sqrt(2 * math.pi) * (sigma + 0.3))
            temp = 0.5 / (dist + 1e-9) * dist * (2 - w * h)
            moves.append(temp * off / sigma)
            spreads.append(temp * (off**2 / sigma - 1 / (sigma + 0.3)))
        if s.iou_loss != "mse":
            dx, dy, dw, dh = dx_box_iou(self.box(out, n, j, i), truth[1:], s.iou_loss)
            half = self.corner() / 2
            moves = [dx - half * dw, dy - half * dh, dw * math.exp(out[4]), dh * math.exp(out[6])]
        for at in range(4):
            delta[2 * at] += clipped(moves[at] * s.iou_normalizer * factor, s.max_delta)
            delta[2 * at + 1] += clipped(spreads[at] * s.uc_normalizer, s.max_delta)

    def average(self, image: int, n: int, j: int, i: int) -> None:
        self.divide(self.delta[image, n, j, i], 8)


def region(
    s: RegionSection,
    raw: Numbers,
    truths: list[list[Truth]],
    *,
    parents: Sequence[int] = (),
    seen: int = 0,
) -> Numbers:
    """region_layer.c; `parents` are those of a tree of classes, groups being runs with one parent."""
    images, anchors, rows, columns, _ = raw.shape
    biases = [s.anchors[2 * i : 2 * i + 2] for i in range(s.num)]
    groups = [[k for k, p in enumerate(parents) if p == parent] for parent in parents]
    out, delta = raw.copy(), np.zeros_like(raw)
    out[..., 4] = 1 / (1 + np.exp(-raw[..., 4]))
    for group in groups or ([list(range(s.classes))] if s.softmax else []):
        at = [5 + k for k in group]
        out[..., at] = np.exp(raw[..., at]) / np.exp(raw[..., at]).sum(-1, keepdims=True)

    def box(values: Numbers, n: int, j: int, i: int) -> Four:
        return (
            (i + sigmoid(values[0])) / columns,
            (j + sigmoid(values[1])) / rows,
            math.exp(values[2]) * biases[n][0] / columns,
            math.exp(values[3]) * biases[n][1] / rows,
        )

    def write_box(values: Numbers, d: Numbers, truth: Four, *, n: int, j: int, i: int, scale: float) -> None:
        x, y, w, h = truth
        for at, aim in enumerate((x * columns - i, y * rows - j)):
            p = sigmoid(values[at])
            d[at] = scale * (aim - p) * p * (1 - p)
        d[2] = scale * (math.log(w * columns / biases[n][0]) - values[2])
        d[3] = scale * (math.log(h * rows / biases[n][1]) - values[3])

    def write_class(values: Numbers, d: Numbers, c: int, scale: float) -> None:
        if parents:
            while c >= 0:
                for k in groups[c]:
                    d[5 + k] = scale * (0 - values[5 + k])
                d[5 + c] = scale * (1 - values[5 + c])
                c = parents[c]
            return
        factor = 1.0
        if s.focal_loss:
            p = values[5 + c]
            factor = -0.5 * (1 - p) * (2 * p * math.log(p) + p - 1)
        for k in range(s.classes):
            d[5 + k] = scale * ((k == c) - values[5 + k]) * factor

    for image in range(images):
        for n, j, i in np.ndindex(anchors, rows, columns):
            values, d = out[image, n, j, i], delta[image, n, j, i]
            o = values[4]
            best, best_class = 0.0, -1
            for truth in truths[image]:
                iou = box_iou(box(values, n, j, i), truth[1:])
                if iou > best:
                    best, best_class = iou, truth[0]
            d[4] = s.noobject_scale * ((0 - o) * o * (1 - o))
            if s.classfix == -1:
                d[4] = s.noobject_scale * ((best - o) * o * (1 - o))
            elif best > s.thresh:
                d[4] = 0
                if s.classfix > 0:
                    write_class(values, d, best_class, s.class_scale * (o if s.classfix == 2 else 1))
            if seen < 12800:
                anchor = biases[n][0] / columns, biases[n][1] / rows
                middle = ((i + 0.5) / columns, (j + 0.5) / rows, *anchor)
                write_box(values, d, middle, n=n, j=j, i=i, scale=0.01)
        for c, x, y, w, h in truths[image]:
            i, j = int(x * columns), int(y * rows)
            best, best_n = 0.0, 0
            for n in range(anchors):
                shape = box(out[image, n, j, i], n, j, i)[2:]
                if s.bias_match:
                    shape = biases[n][0] / columns, biases[n][1] / rows
                iou = box_iou((0, 0, *shape), (0, 0, w, h))
                if iou > best:
                    best, best_n = iou, n
            values, d = out[image, best_n, j, i], delta[image, best_n, j, i]
            iou = box_iou(box(values, best_n, j, i), (x, y, w, h))
            write_box(values, d, (x, y, w, h), n=best_n, j=j, i=i, scale=s.coord_scale)
            o = values[4]
            d[4] = s.object_scale * ((iou if s.rescore else 1) - o) * o * (1 - o)
            write_class(values, d, c, s.class_scale)
    return delta


def detection(s: DetectionSection, out: Numbers, truths: list[list[Truth]]) -> Numbers:
    """detection_layer.c; out [images, n] behind the softmax, and so are the deltas."""
    delta = np.zeros_like(out)
    cells, k, num, side = s.side**2, s.classes, s.num, s.side
    for image in range(len(out)):
        objects: dict[tuple[int, int], Truth] = {}
        for truth in truths[image]:
            objects.setdefault((int(truth[2] * side), int(truth[1] * side)), truth)
        for cell in range(cells):
            base, boxes = cells * k + cell * num, cells * (k + num) + cell * num * 4
            d, o = delta[image], out[image]
            for n in range(num):
                d[base + n] = s.noobject_scale * (0 - o[base + n])
            here = objects.get(divmod(cell, side))
            if here is None:
                continue
            c, x, y, w, h = here
            for each in range(k):
                d[cell * k + each] = s.class_scale * ((each == c) - o[cell * k + each])
            local = (x * side - cell % side, y * side - cell // side)
            target = (local[0] / side, local[1] / side, w, h)
            best, best_iou, best_rmse, ious = 0, 0.0, 20.0, []
            for n in range(num):
                px, py, pw, ph = o[boxes + 4 * n : boxes + 4 * n + 4]
                if s.sqrt:
                    pw, ph = pw * pw, ph * ph
                pred = (px / side, py / side, pw, ph)
                ious.append(box_iou(pred, target))
                rmse = math.sqrt(sum((a - b) ** 2 for a, b in zip(pred, target, strict=True)))
                if best_iou > 0 or ious[-1] > 0:
                    if ious[-1] > best_iou:
                        best, best_iou = n, ious[-1]
                elif rmse < best_rmse:
                    best, best_rmse = n, rmse
            if s.forced:
                best = 1 if w * h < 0.1 else 0
            d[base + best] = s.object_scale * ((ious[best] if s.rescore else 1) - o[base + best])
            aims = (*local, math.sqrt(w), math.sqrt(h)) if s.sqrt else (*local, w, h)
            for at, aim in enumerate(aims):
                d[boxes + 4 * best + at] = s.coord_scale * (aim - o[boxes + 4 * best + at])
    return delta
