"""What head sections compute: raw maps, the outputs that C Darknet stores, and boxes.

N images, A anchors, H W cells, V values per anchor and cell, K classes, B boxes. A raw map is
[N, A, H, W, V] before any activation; boxes follow its order: anchors outermost, then rows, then columns.
"""

from __future__ import annotations

from math import inf, log, prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.ops.class_tree import ClassTree, keep_deepest_class
from yolor_cfg.ops.embeddings import embed_all
from yolor_cfg.ops.fusing import fuse_maps
from yolor_cfg.ops.pnnx import keep_from, positive_or_exp

HeadPredictions = tuple[Tensor, Tensor, Tensor]
"""boxes_xywh [N, B, 4] in input pixels, objectness [N, B], scores [N, B, K] not scaled by objectness."""


def anchor_maps(x: Tensor, anchors: int) -> Tensor:
    """Channels in anchor-major order [N, A*V, H, W] -> raw map [N, A, H, W, V]."""
    maps: Tensor = x.unflatten(1, (anchors, -1))  # [N, A, V, H, W]
    return maps.permute(0, 1, 3, 4, 2)


def channel_maps(values: Tensor) -> Tensor:
    """The inverse of `anchor_maps`: [N, A, H, W, V] -> [N, A*V, H, W]."""
    return values.permute(0, 1, 4, 2, 3).flatten(1, 2)


def cell_corners(raw: Tensor) -> Tensor:
    """Column and row of each cell of a raw map, [H, W, 2]."""
    rows = torch.arange(raw.shape[2], dtype=raw.dtype, device=raw.device)
    columns = torch.arange(raw.shape[3], dtype=raw.dtype, device=raw.device)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


class AnchorGrid(NamedTuple):
    """Where a head's boxes are: `anchors` (width, height) and `stride` (pixels per cell across, down)."""

    anchors: tuple[tuple[float, float], ...]
    stride: tuple[float, float]

    def centers(self, offsets: Tensor) -> Tensor:
        """Offsets in cells [N, A, H, W, 2] -> centres in input pixels."""
        return (offsets + cell_corners(offsets)) * offsets.new_tensor(self.stride)

    def sizes(self, factors: Tensor) -> Tensor:
        """Widths and heights [N, A, H, W, 2] in the units of the anchors."""
        return factors * factors.new_tensor(self.anchors)[:, None, None]


class YoloRules(NamedTuple):
    """How to decode a yolo head: with `has_sigmoid` the head applies the sigmoid (else the convolution before
    it did); with `has_squared_sizes` sizes are (2v)^2, with `has_linear_sizes` v where it is positive (else
    exp); `spread` extends centres beyond it. It fuses `fused` maps, if any, its own being number `place`.

    With `box_channels` the raw map is the input [N, C, H, W]: boxes in so many channels, and behind them an
    embedding of the cell. One that `embeds` as JDE has centres in anchors from the corner of the cell, and
    two scores (background, foreground) instead of objectness and classes."""

    has_sigmoid: bool = True
    has_squared_sizes: bool = False
    has_linear_sizes: bool = False
    spread: float = 1.0
    fused: int = 0
    place: int = 0
    embeds: bool = False
    box_channels: int = 0


SLACK = 1 - 1e-5  # one number at a time, sigmoid is rounded otherwise than many at once
MANY = 0.25  # of all boxes: from there on it is quicker to decode all


def scale_xy(value: Tensor, spread: float) -> Tensor:
    """0..1 -> (1-spread)/2 .. (1+spread)/2."""
    return value * spread - (spread - 1) / 2


class YoloHead(nn.Module):
    """[yolo] of all dialects: V is x, y, w, h, objectness and K classes."""

    def __init__(self, grid: AnchorGrid, rules: YoloRules) -> None:
        super().__init__()
        self.grid, self.rules = grid, rules

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """x [N, A*V, H, W] -> raw map [N, A, H, W, V]; with the other maps to fuse, all with their weights;
        x itself where an embedding follows the boxes."""
        if self.rules.box_channels:
            return x
        own = fuse_maps(x, others, place=self.rules.place) if self.rules.fused else x
        return anchor_maps(own, len(self.grid.anchors))

    @property
    def reaches_neighbours(self) -> bool:
        """Whether a box may have its centre in half of a neighbouring cell."""
        return self.rules.spread >= 2

    def box_parts(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Of raw values [..., V]: the centre from the corner of its cell, in cells, and the size in units of
        the anchor, [..., 2] each."""
        values = self._activate(raw[..., :4])
        return scale_xy(values[..., :2], self.rules.spread), self._size_factors(raw, values)

    def darknet_output(self, raw: Tensor) -> Tensor:
        """C Darknet's output [N, A*V, H, W]: everything activated but w and h; with embeddings the raw map,
        which C Darknet cannot read."""
        if self.rules.box_channels:
            return raw
        values = self._activate(raw)
        centre = scale_xy(values[..., :2], self.rules.spread)
        return channel_maps(torch.cat([centre, raw[..., 2:4], values[..., 4:]], dim=-1))

    def decode(self, raw: Tensor) -> HeadPredictions:
        """The boxes of a raw map of any height and width."""
        raw = self.box_map(raw)
        values = self._activate(raw)
        boxes = torch.cat(
            [self._centres(raw, values), self.grid.sizes(self._size_factors(raw, values))], dim=-1
        )
        objectness, scores = self._scores(raw, values)
        return boxes.flatten(1, 3), objectness.flatten(1), scores.flatten(1, 3)

    def decode_likely(self, raw: Tensor, least: float) -> HeadPredictions:
        """The boxes of `decode`, in its order, without those whose objectness is below `least` in all images,
        where no score exceeds 1."""
        if self.rules.box_channels or not self.rules.has_sigmoid:
            return self.decode(raw)
        likely = self._likely(raw[..., 4], least * SLACK)  # [A, H, W]
        anchor, row, column = likely.nonzero(as_tuple=True)
        if len(anchor) > MANY * likely.numel():
            return self.decode(raw)
        values = raw[:, anchor, row, column]  # [N, B, V]
        centre, size = self.box_parts(values)
        corner = torch.stack([column, row], dim=-1).to(raw.dtype)
        anchors = raw.new_tensor(self.grid.anchors)[anchor]
        boxes = torch.cat([(centre + corner) * raw.new_tensor(self.grid.stride), size * anchors], dim=-1)
        return boxes, values[..., 4].sigmoid(), values[..., 5:].sigmoid()

    def _likely(self, objectness: Tensor, least: float) -> Tensor:
        """Where the sigmoid of raw values [N, ...] may reach `least` in any image; the logit of `least`, in
        float32 or better, is nearer to it than SLACK."""
        if objectness.dtype in (torch.float32, torch.float64) and 0 < least < 1:
            reached = objectness >= log(least / (1 - least))
        else:
            reached = objectness.sigmoid() >= least
        return reached[0] if len(reached) == 1 else reached.any(dim=0)

    def box_map(self, raw: Tensor) -> Tensor:
        """The values of the boxes of a raw map, [N, A, H, W, V]."""
        if not self.rules.box_channels:
            return raw
        return anchor_maps(raw[:, : self.rules.box_channels], len(self.grid.anchors))

    def cell_vectors(self, raw: Tensor) -> Tensor:
        """The embeddings of the cells, of any length: [N, E, H, W]."""
        return raw[:, self.rules.box_channels :]

    def box_count(self, raw: Tensor) -> int:
        """The number of boxes in each image of a raw map with embeddings."""
        return len(self.grid.anchors) * raw.shape[2] * raw.shape[3]

    def embeddings(self, raw: Tensor) -> Tensor:
        """Of each box of `decode` the unit vector [N, B, E] of its cell, from a map with embeddings."""
        return embed_all(self.cell_vectors(raw), len(self.grid.anchors))

    def _centres(self, raw: Tensor, values: Tensor) -> Tensor:
        if self.rules.embeds:
            return self.grid.sizes(raw[..., :2]) + self.grid.centers(torch.zeros_like(raw[..., :2]))
        return self.grid.centers(scale_xy(values[..., :2], self.rules.spread))

    def _scores(self, raw: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness [N, A, H, W] and the probabilities of the classes [N, A, H, W, K]."""
        if self.rules.embeds:
            foreground = raw[..., 4:].softmax(dim=-1)[..., 1]
            return foreground, torch.ones_like(raw[..., :1])
        return values[..., 4], values[..., 5:]

    def _size_factors(self, raw: Tensor, values: Tensor) -> Tensor:
        """Widths and heights [N, A, H, W, 2] as multiples of the anchors."""
        if self.rules.has_squared_sizes:
            return (2 * values[..., 2:4]).square()
        if self.rules.has_linear_sizes:
            return positive_or_exp(raw[..., 2:4])
        return raw[..., 2:4].exp()

    def _activate(self, raw: Tensor) -> Tensor:
        return raw.sigmoid() if self.rules.has_sigmoid else raw


class GaussianHead(nn.Module):
    """[Gaussian_yolo]: V is x, y, w, h, each followed by its deviation, then objectness and K classes.

    `corner` is the point of the box given by x, y: 0 the centre, 1 the top left, -1 the bottom right.
    """

    def __init__(self, grid: AnchorGrid, *, spread: float, corner: int) -> None:
        super().__init__()
        self.grid, self.spread, self.corner = grid, spread, corner

    def forward(self, x: Tensor) -> Tensor:
        """x [N, A*V, H, W] -> raw map [N, A, H, W, V]."""
        return anchor_maps(x, len(self.grid.anchors))

    def darknet_output(self, raw: Tensor) -> Tensor:
        """C Darknet's output [N, A*V, H, W]: everything activated but w and h."""
        values = raw.sigmoid()
        x, y = (scale_xy(values[..., i : i + 1], self.spread) for i in (0, 2))
        w, h = raw[..., 4:5], raw[..., 6:7]
        parts = [x, values[..., 1:2], y, values[..., 3:4], w, values[..., 5:6], h, values[..., 7:]]
        return channel_maps(torch.cat(parts, dim=-1))

    def decode(self, raw: Tensor) -> HeadPredictions:
        """The boxes of a raw map; scores are reduced by the mean of the four deviations."""
        values = raw.sigmoid()
        size = self.grid.sizes(raw[..., 4:8:2].exp())
        centre = self.grid.centers(scale_xy(values[..., 0:4:2], self.spread)) + self.corner * size / 2
        certainty = 1 - values[..., 1:8:2].mean(dim=-1, keepdim=True)
        scores = values[..., 9:] * certainty
        boxes = torch.cat([centre, size], dim=-1)
        return boxes.flatten(1, 3), values[..., 8].flatten(1), scores.flatten(1, 3)


class RegionRules(NamedTuple):
    """How to decode the classes of a region head: class tree, softmax, or as they are; a box with objectness
    below `min_objectness` counts as empty. `spare` values of each box are beyond its classes (`coords`
    above 4)."""

    softmax: bool = False
    tree: ClassTree | None = None
    min_objectness: float = -inf
    spare: int = 0


class RegionHead(nn.Module):
    """[region] (YOLOv2): V is x, y, w, h, objectness, K classes and spare values; anchors are in cells."""

    def __init__(self, grid: AnchorGrid, rules: RegionRules) -> None:
        super().__init__()
        self.grid, self.rules = grid, rules

    def forward(self, x: Tensor) -> Tensor:
        """x [N, A*V, H, W] -> raw map [N, A, H, W, V]."""
        return anchor_maps(x, len(self.grid.anchors))

    def darknet_output(self, raw: Tensor) -> Tensor:
        """C Darknet's output [N, H, W, A, V]: objectness and classes activated; a tree's are conditional."""
        end = raw.shape[-1] - self.rules.spare
        values = [raw[..., :4], raw[..., 4:5].sigmoid(), self._class_probabilities(raw[..., 5:end])]
        values += [raw[..., end:]] if self.rules.spare else []
        return torch.cat(values, dim=-1).permute(0, 2, 3, 1, 4)

    def decode(self, raw: Tensor) -> HeadPredictions:
        """Boxes of a raw map. Darknet reports objectness 1 and scaled scores; the products are equal."""
        values = self._box_values(raw)
        centre = self.grid.centers(values[..., :2].sigmoid())
        size = self.grid.sizes(values[..., 2:4].exp()) * raw.new_tensor(self.grid.stride)
        objectness, scores = values[..., 4], values[..., 5:]
        objectness = keep_from(objectness, self.rules.min_objectness)
        if self.rules.tree is not None:
            scores = keep_deepest_class(self.rules.tree.absolute_probabilities(scores))
        boxes = torch.cat([centre, size], dim=-1)
        return boxes.flatten(1, 3), objectness.flatten(1), scores.flatten(1, 3)

    def _box_values(self, raw: Tensor) -> Tensor:
        """[N, A, H, W, 5 + K] of what C Darknet stores; its get_region_boxes takes each box to have so many
        values, also where it has more."""
        stored = self.darknet_output(raw)
        if self.rules.spare:
            *sizes, length = stored.shape
            sizes.append(length - self.rules.spare)
            stored = stored.flatten(1)[:, : prod(sizes[1:])].reshape(sizes)
        return stored.permute(0, 3, 1, 2, 4)

    def _class_probabilities(self, classes: Tensor) -> Tensor:
        if self.rules.tree is not None:
            return self.rules.tree.conditional_probabilities(classes)
        return classes.softmax(dim=-1) if self.rules.softmax else classes


class RegionMapRules(NamedTuple):
    """How the first Darknet decodes a region head: `masks` mask numbers follow each box; classes by tree,
    softmax or else sigmoid; with `has_background` the softmax takes in the objectness as one more class, and
    every box has the objectness 1."""

    masks: int = 0
    softmax: bool = False
    tree: ClassTree | None = None
    has_background: bool = False


class RegionMapHead(RegionHead):
    """[region] of the first Darknet (region_layer.c in pjreddie/darknet): V is x, y, w, h, the mask numbers,
    objectness and K classes."""

    def __init__(self, grid: AnchorGrid, maps: RegionMapRules) -> None:
        super().__init__(grid, RegionRules(maps.softmax, maps.tree))
        self.maps = maps

    def darknet_output(self, raw: Tensor) -> Tensor:
        """What is stored [N, A*V, H, W]: everything activated but w, h and the mask numbers."""
        first = 4 + self.maps.masks  # the objectness
        boxes, objectness, classes = raw.split([first, 1, raw.shape[-1] - first - 1], dim=-1)
        if self.maps.softmax and self.maps.has_background and self.maps.tree is None:
            known = torch.cat([objectness, classes], dim=-1).softmax(dim=-1)
        else:
            objectness = objectness if self.maps.has_background else objectness.sigmoid()
            known = torch.cat([objectness, self._class_probabilities(classes)], dim=-1)
        return channel_maps(torch.cat([boxes[..., :2].sigmoid(), boxes[..., 2:], known], dim=-1))

    def decode(self, raw: Tensor) -> HeadPredictions:
        """The boxes of a raw map; mask numbers are not part of them."""
        values = anchor_maps(self.darknet_output(raw), len(self.grid.anchors))
        size = self.grid.sizes(values[..., 2:4].exp()) * raw.new_tensor(self.grid.stride)
        boxes = torch.cat([self.grid.centers(values[..., :2]), size], dim=-1)
        objectness, scores = values[..., 4 + self.maps.masks], values[..., 5 + self.maps.masks :]
        if self.maps.has_background:
            objectness = torch.ones_like(objectness)
        if self.maps.tree is not None:
            scores = keep_deepest_class(self.maps.tree.absolute_probabilities(scores))
        return boxes.flatten(1, 3), objectness.flatten(1), scores.flatten(1, 3)

    def _class_probabilities(self, classes: Tensor) -> Tensor:
        if self.maps.tree is None and not self.maps.softmax:
            return classes.sigmoid()
        return super()._class_probabilities(classes)


class DetectionRules(NamedTuple):
    """The parameters of a [detection] head: `side`^2 cells with K classes and `num` boxes each; `image` is
    width and height in pixels; with `has_root_sizes`, the head predicts square roots of widths and
    heights; `coords` numbers of a box are apart, of which the fifth is its angle."""

    side: int
    classes: int
    num: int
    image: tuple[int, int]
    softmax: bool = False
    has_root_sizes: bool = False
    coords: int = 4


class DetectionHead(nn.Module):
    """[detection] (YOLOv1): the classes of all cells, the objectness of all boxes, then the boxes."""

    def __init__(self, rules: DetectionRules) -> None:
        super().__init__()
        self.rules = rules
        self.has_angles = rules.coords > 4

    def forward(self, x: Tensor) -> Tensor:
        """x, flattened to [N, n] -> [N, n, 1, 1], with an optional softmax over the classes of each cell."""
        flat = x.flatten(1)
        if self.rules.softmax:
            length = self.rules.side**2 * self.rules.classes
            cells = flat[:, :length].unflatten(1, (-1, self.rules.classes)).softmax(dim=-1)
            flat = torch.cat([cells.flatten(1), flat[:, length:]], dim=1)
        return flat[:, :, None, None]

    def darknet_output(self, value: Tensor) -> Tensor:
        """[N, n]."""
        return value.flatten(1)

    def decode(self, raw: Tensor) -> HeadPredictions:
        """The boxes cell by cell, rows outermost; all boxes of a cell share its scores."""
        side, classes, num = self.rules.side, self.rules.classes, self.rules.num
        probabilities, objectness, boxes = self._split(raw)
        corners = cell_corners(boxes.permute(0, 3, 1, 2, 4))[:, :, None]  # [H, W, 1, 2]
        size = boxes[..., 2:4].square() if self.rules.has_root_sizes else boxes[..., 2:4]
        fractions = torch.cat([(boxes[..., :2] + corners) / side, size], dim=-1)
        scores = probabilities.unflatten(1, (side**2, 1, classes)).expand(-1, -1, num, -1).flatten(1, 2)
        return (fractions * raw.new_tensor(self.rules.image * 2)).flatten(1, 3), objectness, scores

    def angles(self, raw: Tensor) -> Tensor:
        """Of each box of `decode` the angle, clockwise, as a fraction of a turn, [N, B]; only with
        five coords apart (darkflow 50265c1, net/yolo/predict.py: times 360 degrees)."""
        return self._split(raw)[2][..., 4].flatten(1)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parts of the output: classes [N, H*W*K], objectness [N, B], boxes [N, H, W, A, coords]."""
        side, num, coords = self.rules.side, self.rules.num, self.rules.coords
        lengths = [side**2 * self.rules.classes, side**2 * num, side**2 * num * coords]
        flat = raw.flatten(1)[:, : sum(lengths)]  # detection_layer.c reads four a box, whatever its key says
        probabilities, objectness, boxes = flat.split(lengths, dim=1)
        return probabilities, objectness, boxes.unflatten(1, (side, side, num, coords))
