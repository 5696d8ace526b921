"""Receptive fields against gradients: with positive weights and nothing bent, what a cell is computed from is
where its gradient is not 0."""

import random
from bisect import bisect
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from golden import SHARED
from torch import Tensor

from yolor_cfg.analysis.models.fields import DOWN, ReceptiveField, find_field, trace_span
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.windows import CellSpan

CORPUS = SHARED / "corpus" / "cfg"
TINY = CORPUS / "tanluren__yolov3-channel-and-layer-pruning__yolov3-tiny-1cls.cfg"
MICRO = Path(__file__).resolve().parents[1] / "cfg" / "yolor_micro.cfg"
SIDE = 192
CELLS = 8  # neighbours that are looked at: more than any period of the drawn networks


def graph_of(text: str, dialect: str = "darknet", *, side: int = SIDE) -> Graph:
    net = f"[net]\nwidth={side}\nheight={side}\nchannels=2\n"
    return build_graph(parse(net + text), ReadOptions(dialect))


def field_of(text: str, dialect: str = "darknet") -> ReceptiveField:
    graph = graph_of(text, dialect)
    return find_field(graph, len(graph.nodes) - 1)


def convolution(size: int, *keys: str) -> str:
    lines = ["[convolutional]", "filters=2", f"size={size}", "activation=linear", *keys]
    return "\n".join([*lines, *([] if any(key.startswith("pad") for key in keys) else ["pad=1"])]) + "\n"


class Plain(NamedTuple):
    """The network with positive weights and no biases: it gives 0 for 0, and more where more goes in."""

    graph: Graph
    network: Network

    @staticmethod
    def build(graph: Graph) -> "Plain":
        torch.manual_seed(0)
        network = Network(graph).double().eval()
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.data.zero_()
            else:
                parameter.data.uniform_(0.5, 1).div_(parameter[0].numel())
        return Plain(graph, network)

    @property
    def middle(self) -> tuple[int, int]:
        _, height, width = self.graph.nodes[-1].shape
        return height // 2, width // 2

    def gradient(self, row: int, column: int) -> Tensor:
        """Where a cell of the last layer has one with regard to the image [H, W]."""
        image = torch.rand(1, *self.graph.image, dtype=torch.float64, requires_grad=True)
        self.network(image)[0][0, :, row, column].sum().backward()
        return image.grad[0].abs().sum(0) > 0

    def ends(self, axis: int, cell: int) -> tuple[int, int]:
        """The first and the last row (axis 0) or column of the image that a cell sees light in: also through
        maxima. Found by halving: it sees some of all that follow up to the last one, and none of those after
        it."""
        length = self.graph.image[1 + axis]
        after = bisect(range(length), False, key=lambda start: not self.sees(axis, cell, slice(start, None)))
        first = bisect(range(length), False, key=lambda start: self.sees(axis, cell, slice(0, start + 1)))
        return first, after - 1

    def sees(self, axis: int, cell: int, bright: slice) -> bool:
        """Whether a cell, in the middle of the other axis, is not 0 where these rows are bright."""
        image = torch.zeros(1, *self.graph.image, dtype=torch.float64)
        image[0].transpose(1, 1 + axis)[:, bright] = 1
        with torch.no_grad():
            value = self.network(image)[0][0]
        return bool(value.select(1 + axis, cell).select(1, self.middle[1 - axis]).any())


def hull(there: Tensor) -> tuple[int, int]:
    """The first and the last place of what is true [n]."""
    places = there.nonzero().flatten()
    return int(places[0]), int(places[-1])


class Kind(NamedTuple):
    """A section to draw: its text, with `{same}` for a layer of the same shape, `{size}` for one of the same
    height and width; the dialects that have it; whether a maximum is in it."""

    text: str
    dialects: tuple[str, ...] = ("darknet", "yolor")
    is_maximum: bool = False


SPP = "".join(
    f"[maxpool]\nsize={size}\nstride=1\n[route]\nlayers={-1 - 2 * n}\n" for n, size in enumerate((3, 5))
)
KINDS = (
    Kind(convolution(3)),
    Kind(convolution(1)),
    Kind(convolution(5, "stride=2")),
    Kind(convolution(3, "stride=2")),
    Kind(convolution(3, "groups=2")),
    Kind(convolution(3, "dilation=2"), ("darknet",)),
    Kind(convolution(2, "padding=0", "stride=2")),
    Kind(convolution(3, "stride_x=2", "stride_y=1"), ("darknet",)),
    Kind(convolution(3, "stride=2", "antialiasing=1"), ("darknet",)),
    Kind(convolution(3, "stride=2", "antialiasing=2"), ("darknet",)),
    Kind("[shortcut]\nfrom={same}\nactivation=linear\n"),
    Kind("[route]\nlayers=-1,{size}\n" + convolution(1)),
    Kind("[route]\nlayers={size}\n" + convolution(3)),
    Kind("[upsample]\nstride=2\n"),
    Kind("[upsample]\nstride=2\n" + convolution(2, "padding=0")),
    Kind("[upsample]\nstride=-2\n", ("darknet",)),
    Kind("[local_avgpool]\nsize=3\nstride=2\n", ("darknet",)),
    Kind("[reorg3d]\nstride=2\n" + convolution(1), ("darknet",)),
    Kind("[reorg]\nstride=2\n" + convolution(1), ("yolor",)),
    Kind("[dwt]\n" + convolution(3), ("yolor",)),
    Kind("[focus]\nfilters=2\nsize=3\npad=1\nactivation=linear\n", ("yolor",)),
    Kind("[convolutional]\nfilters=6\nsize=3,5\npad=1\nactivation=linear\n" + convolution(1), ("yolor",)),
    Kind("[maxpool]\nsize=2\nstride=2\n", is_maximum=True),
    Kind("[maxpool]\nsize=3\nstride=2\n", is_maximum=True),
    Kind("[maxpool]\nsize=2\nstride=1\n", is_maximum=True),
    Kind(SPP + "[route]\nlayers=-1,-2,-4\n" + convolution(1), is_maximum=True),
)


def draw(seed: int, dialect: str, *, maxima: bool) -> Graph:
    """A network of sections that were drawn, whose field is well inside the image."""
    chance = random.Random(f"{seed} {dialect} {maxima}")
    there = [kind for kind in KINDS if dialect in kind.dialects]
    # The gradient goes to one cell of a maximum; wavelets of the dark are bright.
    kinds = [kind for kind in there if not (kind.text.startswith("[dwt]") if maxima else kind.is_maximum)]
    graph = graph_of(text := convolution(3), dialect)
    for _ in range(60):
        more = text + fill(chance.choice(kinds).text, graph, chance)
        try:
            longer = graph_of(more, dialect)
        except CfgError:
            continue
        last = longer.nodes[-1].shape
        field = find_field(longer, len(longer.nodes) - 1)
        is_inside = None not in field and max(field) < SIDE // 2
        if is_inside and min(last[1:]) >= 4 * CELLS and max(last[1:]) <= SIDE:
            text, graph = more, longer
        if len(graph.nodes) > 12:
            break
    return graph


def fill(text: str, graph: Graph, chance: random.Random) -> str:
    """The text with layers in place of `{same}` and `{size}`; no cfg if there are none."""
    last = graph.nodes[-1].shape
    for word, of in (("{same}", slice(0, 3)), ("{size}", slice(1, 3))):
        fitting = [node.index for node in graph.nodes[:-1] if node.shape[of] == last[of]]
        if word in text and fitting:
            text = text.replace(word, str(chance.choice(fitting)))
    return text


def seeds(quick: int, count: int) -> list[object]:
    """So many seeds, most of them slow."""
    return [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= quick)) for seed in range(count)]


@pytest.mark.parametrize("seed", seeds(6, 40))
@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_the_gradient_of_a_cell_reaches_as_far_as_its_receptive_field(dialect: str, seed: int) -> None:
    graph = draw(seed, dialect, maxima=False)
    plain = Plain.build(graph)
    row, column = plain.middle
    sizes = []
    for more in range(CELLS):
        there = plain.gradient(row + more, column + more)
        ends = hull(there.any(1)), hull(there.any(0))
        told = [
            trace_span(graph, len(graph.nodes) - 1, CellSpan(middle + more, middle + more), axis=axis)
            for axis, middle in enumerate(plain.middle)
        ]
        assert ends == tuple(told)
        sizes.append([last - first + 1 for first, last in ends])
    assert find_field(graph, len(graph.nodes) - 1) == tuple(map(max, zip(*sizes, strict=True)))


@pytest.mark.parametrize("seed", seeds(2, 12))
@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_light_is_seen_through_maxima_as_far_as_the_receptive_field(dialect: str, seed: int) -> None:
    graph = draw(seed, dialect, maxima=True)
    plain = Plain.build(graph)
    field = find_field(graph, len(graph.nodes) - 1)
    for axis, middle in enumerate(plain.middle):
        ends = [plain.ends(axis, middle + more) for more in range(CELLS // 2)]
        told = [
            trace_span(graph, len(graph.nodes) - 1, CellSpan(middle + more, middle + more), axis=axis)
            for more in range(CELLS // 2)
        ]
        assert ends == told
        assert max(last - first + 1 for first, last in ends) <= field[axis]


def test_the_drawn_networks_have_sections_of_all_kinds() -> None:
    draws = [(seed, False) for seed in range(6)] + [(seed, True) for seed in range(2)]
    drawn = [draw(seed, dialect, maxima=maxima) for seed, maxima in draws for dialect in ("darknet", "yolor")]
    seen = {node.section.type for graph in drawn for node in graph.nodes}
    named = {line.strip("[]") for kind in KINDS for line in kind.text.split("\n") if line.startswith("[")}
    assert seen == named
    assert max(len(graph.nodes) for graph in drawn) > 12


@pytest.mark.parametrize(
    "text",
    [
        convolution(3) * 3,
        convolution(3, "stride=2") + convolution(5) + convolution(2, "padding=0", "stride=2"),
        convolution(3)
        + "[shortcut]\nfrom=-1\nactivation=linear\n"
        + convolution(5, "stride=2")
        + convolution(3),
        "[local_avgpool]\nsize=3\nstride=2\n" + convolution(3),
    ],
)
def test_without_gaps_the_gradient_fills_the_box(text: str) -> None:
    graph = graph_of(text, side=96)
    plain = Plain.build(graph)
    there = plain.gradient(*plain.middle)
    assert int(there.sum()) == find_field(graph, len(graph.nodes) - 1).area > 1


@pytest.mark.parametrize("seed", range(5))
def test_a_chain_has_the_field_of_the_formula(seed: int) -> None:
    chance = random.Random(seed)
    layers = [
        (chance.choice((1, 2, 3, 5, 7)), chance.choice((1, 1, 2)), chance.choice((1, 2))) for _ in range(7)
    ]
    text = "".join(
        convolution(size, f"stride={stride}", f"dilation={dilation}", f"padding={size // 2}")
        for size, stride, dilation in layers
    )
    side, step = 1, 1  # r = 1 + the sum of (k - 1) * d * the product of the strides before
    for size, stride, dilation in layers:
        side += (size - 1) * dilation * step
        step *= stride
    assert field_of(text) == (side, side)


@pytest.mark.parametrize(
    "text, dialect, height, width",
    [
        (convolution(3, "stride_x=2", "stride_y=1") * 2, "darknet", 5, 7),
        ("[convolutional]\nfilters=2\nstride=2\n[upsample]\nstride=2\n" + convolution(2), "darknet", 3, 3),
        (
            "[convolutional]\nfilters=4\n[deconvolutional]\nfilters=2\nsize=4\nstride=2\npadding=1\n",
            "pjreddie",
            2,
            2,
        ),
        (convolution(3) + "[avgpool]\n[scale_channels]\nfrom=0\n", "darknet", None, None),
        ("[implicit_add]\nfilters=2\n", "yolor", 0, 0),
        ("[crop]\ncrop_height=100\ncrop_width=90\n" + convolution(3), "darknet", 3, 3),
        (convolution(3) + "[connected]\noutput=3\n", "darknet", None, None),
    ],
)
def test_fields_that_can_be_seen_by_eye(
    text: str, dialect: str, height: int | None, width: int | None
) -> None:
    assert field_of(text, dialect) == (height, width)


def test_of_cells_that_see_differently_much_the_one_that_sees_most_counts() -> None:
    graph = graph_of(
        convolution(3) + "[maxpool]\nsize=2\nstride=2\n[upsample]\nstride=2\n[maxpool]\nsize=2\nstride=1\n"
    )
    spans = [trace_span(graph, 3, CellSpan(cell, cell), axis=DOWN) for cell in (100, 101)]
    assert sorted(span.last - span.first + 1 for span in spans) == [4, 6]
    assert find_field(graph, 3) == (6, 6)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the corpus is not here")
def test_vgg_16_has_the_known_receptive_field() -> None:
    """196 behind conv5_3, 212 behind pool5 (Araujo, Norris, Sim: Computing receptive fields of convolutional
    neural networks, Distill 2019)."""
    graph = load_graph(CORPUS / "AlexeyAB__darknet__vgg-conv.cfg")
    last = len(graph.nodes) - 1
    assert [find_field(graph, index) for index in (last - 1, last)] == [(196, 196), (212, 212)]


@pytest.mark.parametrize("height, exact", [(26, True), (28, False)])
def test_yolov2s_reorg_reads_rows_that_lie_apart(height: int, exact: bool) -> None:
    """Told are the rows that are read where the stride does not divide the height of the output."""
    text = convolution(1, "filters=4") + "[reorg]\nstride=2\n"
    graph = graph_of(text.replace("filters=2\n", ""), side=height)
    plain = Plain.build(graph)
    rows = [hull(plain.gradient(row, 5).any(1)) for row in (5, 6)]
    assert [hull(plain.gradient(6, column).any(0)) for column in (5, 6)] == [(10, 11), (12, 13)]
    told = [trace_span(graph, 1, CellSpan(row, row), axis=DOWN) for row in (5, 6)]
    assert (rows == told) == exact
    assert all(
        span.first <= first and last <= span.last for span, (first, last) in zip(told, rows, strict=True)
    )


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the corpus is not here")
@pytest.mark.parametrize(
    "path, side", [(TINY, 640), (CORPUS / "AlexeyAB__darknet__yolov2.cfg", 992), (MICRO, 1152)]
)
def test_a_head_of_a_whole_network_is_nan_where_its_field_is(path: Path, side: int) -> None:
    graph = load_graph(path, ReadOptions(size=side))
    head = graph.heads[-1]
    network, cell = Network(graph).eval(), head.shape.height // 2

    def is_nan(rows: slice) -> bool:
        images = torch.rand(1, *graph.image)
        images[:, :, rows] = torch.nan
        with torch.no_grad():
            raw = network(images)[-1]
        cells = raw.movedim(-1, 1).flatten(1, 2)[0] if raw.dim() == 5 else raw[0]  # [C, H, W]
        return bool(cells[:, cell, cell].isnan().any())

    after = bisect(range(side), False, key=lambda start: not is_nan(slice(start, None)))
    first = bisect(range(side), False, key=lambda start: is_nan(slice(0, start + 1)))
    span = trace_span(graph, head.index, CellSpan(cell, cell), axis=DOWN)
    assert (first, after - 1) == span
    assert 0 < span.first < span.last < side - 1
