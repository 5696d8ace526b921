"""What implicit knowledge learned: its numbers, its places, the anchors' sizes, the record, the chart."""

import json
import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from small import network_of

from yolor_cfg.analysis.implicit import collect_knowledge
from yolor_cfg.analysis.implicit_axes import ValueScale
from yolor_cfg.analysis.implicit_plots import knowledge_chart
from yolor_cfg.analysis.implicit_record import from_record, to_arrays, to_json_document, to_record
from yolor_cfg.analysis.similarity import anchor_similarities, layer_similarities
from yolor_cfg.errors import CfgError, WeightsError
from yolor_cfg.model import Network
from yolor_cfg.rewrite.fold import fold

ANCHORS = [(10.0, 14.0), (23.0, 27.0)]
HEAD = "[yolo]\nmask=0,1\nnum=3\nclasses=2\nanchors=10,14, 23,27, 37,58\n"
CONV = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
# The features of #0 get a shift (#1), the prediction #5 is refined by #2.
TEXT = (
    """[convolutional]
filters=4
size=3
pad=1
activation=leaky
[implicit_add]
filters=4
[{implicit}]
filters={filters}
[route]
layers=0
[shift_channels]
from=1
"""
    + CONV
    + "[{combine}]\nfrom=2\n{keys}\n"
    + HEAD
)
FORMS = {
    "multiplied": {"implicit": "implicit_mul", "filters": 14, "combine": "control_channels", "keys": ""},
    "sizes alone": {
        "implicit": "implicit_mul",
        "filters": 4,
        "combine": "control_channels",
        "keys": "only=wh\nanchors=2",
    },
    "added": {"implicit": "implicit_add", "filters": 14, "combine": "shift_channels", "keys": ""},
}


def of_text(text: str, seed: int = 0) -> Network:
    """The network with values as if they had been learned."""
    network = network_of(text, dialect="yolor", image=(4, 32, 48))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network


def detector(form: str) -> Network:
    return of_text(TEXT.format(**FORMS[form]))


def values_of(network: Network, index: int) -> np.ndarray:
    return network.module_list[index].implicit.detach().flatten().numpy()


def test_the_numbers_of_a_value_are_numpys():
    network = detector("multiplied")
    _, layer = collect_knowledge(network).layers
    z = values_of(network, 2)
    assert layer.numbers == pytest.approx(
        {
            "mean": z.sum() / 14,
            "std": math.sqrt(((z - z.mean()) ** 2).sum() / 14),
            "min": min(z),
            "max": max(z),
            "norm": math.sqrt((z**2).sum()),
            "distance": math.sqrt(((z - 1) ** 2).sum()),
        }
    )
    assert (layer.index, layer.kind, layer.model, layer.start) == (2, "implicit_mul", "vector", 1)


def test_a_place_says_what_is_done_before_what_of_which_head():
    first, second = collect_knowledge(detector("sizes alone")).layers
    assert [place.text for place in first.places] == ["shift before [convolutional #5], P0"]
    assert [place.text for place in second.places] == ["control only=wh before [yolo #7], P0, anchors 0,1"]


@pytest.mark.parametrize("keys", ["model=network\nhidden=5\nactivation=silu", "model=factorization\nrank=3"])
def test_a_value_is_what_its_model_and_its_chain_make(keys):
    network = of_text(f"[implicit_add]\nfilters=3\n[implicit_add]\nfilters=6\nchain=0\n{keys}")
    layer = collect_knowledge(network).layers[1]
    module = network.module_list[1]
    with torch.no_grad():
        want = module.compute_value().flatten() + module.link @ network.module_list[0].implicit.flatten()
    np.testing.assert_allclose(layer.values, want.numpy(), atol=1e-12)


def test_a_factorization_tells_its_coefficients_and_basis():
    text = "[implicit_mul_2d]\natoms=2\nfilters=5\nmodel=factorization\nrank=3\nnonnegative={}"
    for nonnegative in (0, 1):
        network = of_text(text.format(nonnegative))
        found = collect_knowledge(network)
        named = to_arrays(found)
        module = network.module_list[0]
        assert named["0_coefficients"].shape == (2, 3) and named["0_basis"].shape == (3, 5)
        product = named["0_coefficients"] @ named["0_basis"] + module.offset
        np.testing.assert_allclose(named["0"], product, atol=1e-12)
        assert (named["0_basis"].min() >= 0) == bool(nonnegative)


def logistic(t: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-t))


@pytest.mark.parametrize("form", FORMS)
def test_an_anchor_at_rest_is_the_size_for_the_bias_and_what_is_added_to_the_features(form):
    network = detector(form)
    (refined,) = collect_knowledge(network).refinements
    convolution = network.module_list[5].Conv2d
    weight, bias = (tensor.detach().numpy() for tensor in (convolution.weight[:, :, 0, 0], convolution.bias))
    u = (bias + weight @ values_of(network, 1)).reshape(2, 7)[:, 2:4]
    z = values_of(network, 2).reshape(2, -1)
    z = z[:, 2:4] if z.shape[1] == 7 else z
    t = u + z if form == "added" else u * z
    a = np.array(ANCHORS)
    np.testing.assert_allclose([anchor.z for anchor in refined.anchors], z)
    np.testing.assert_allclose([anchor.size for anchor in refined.anchors], a)
    np.testing.assert_allclose([anchor.at_rest for anchor in refined.anchors], a * (2 * logistic(t)) ** 2)
    np.testing.assert_allclose([anchor.without for anchor in refined.anchors], a * (2 * logistic(u)) ** 2)
    for i, unit in enumerate((-1, 0, 1)):
        t = unit + z if form == "added" else unit * z
        sizes = [anchor.at_units[i] for anchor in refined.anchors]
        np.testing.assert_allclose(sizes, a * (2 * logistic(t)) ** 2)


def test_a_factor_is_how_fast_sizes_leave_the_anchor():
    # d ln w / du at u = 0, from the definition: ln w = 2 ln(2 s(z u)) + ln a.
    z, step = 1.3, 1e-6
    log_size = [2 * math.log(2 * logistic(np.array(z * u))) for u in (-step, step)]
    assert (log_size[1] - log_size[0]) / (2 * step) == pytest.approx(z, rel=1e-8)


def test_the_sizes_at_rest_are_those_that_the_network_predicts_for_black_features():
    network = detector("multiplied")
    (refined,) = collect_knowledge(network).refinements
    with torch.no_grad():
        network.module_list[0].Conv2d.weight.zero_()
        network.module_list[0].Conv2d.bias.zero_()
        boxes = network.decode(network(torch.zeros(1, 4, 32, 48).double())).boxes_xywh
    sizes = boxes[0, :, 2:].reshape(2, -1, 2)
    for anchor, found in zip(refined.anchors, sizes, strict=True):
        np.testing.assert_allclose(found.numpy(), np.broadcast_to(anchor.at_rest, found.shape), rtol=1e-9)


def test_numbers_that_meet_nothing_are_left_out_of_the_table():
    network = detector("sizes alone")
    (refined,) = collect_knowledge(network).refinements
    assert refined.labels == ("x", "y", "w", "h", "obj", "0", "1")
    np.testing.assert_array_equal(np.isnan(refined.table), [[True] * 2 + [False] * 2 + [True] * 3] * 2)
    np.testing.assert_array_equal(refined.table[:, 2:4].ravel(), values_of(network, 2))


def test_a_refinement_without_sizes_refines_no_anchor():
    keys = FORMS["sizes alone"] | {"keys": "only=obj\nanchors=2", "filters": 2}
    network = of_text(TEXT.format(**keys))
    (refined,) = collect_knowledge(network).refinements
    assert len(refined.anchors) == 2 and refined.sizes == ()


def test_similarity_is_the_cosine_of_the_values_and_of_their_change():
    network = of_text("[implicit_mul]\nfilters=5\n[implicit_mul]\nfilters=5\n[implicit_mul]\nfilters=4")
    (pair,) = layer_similarities(collect_knowledge(network).layers)
    a, b = values_of(network, 0), values_of(network, 1)
    assert (pair.a, pair.b) == ("#0", "#1")
    assert pair.cosine == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)))
    a, b = a - 1, b - 1
    assert pair.of_change == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)))


def test_anchors_are_compared_over_what_is_refined():
    network = detector("sizes alone")
    (pair,) = anchor_similarities(collect_knowledge(network).refinements)
    (a, b), (c, d) = values_of(network, 2).reshape(2, 2)
    assert (pair.a, pair.b) == ("P0/0", "P0/1")
    assert pair.cosine == pytest.approx((a * c + b * d) / (math.hypot(a, b) * math.hypot(c, d)))


def test_what_has_not_changed_is_similar_to_nothing():
    network = of_text("[implicit_mul]\nfilters=5\n[implicit_mul]\nfilters=5")
    with torch.no_grad():
        network.module_list[0].implicit.fill_(1)
    (pair,) = layer_similarities(collect_knowledge(network).layers)
    assert math.isnan(pair.of_change)
    assert to_json_document(collect_knowledge(network))["similarity"]["layers"][0]["of_change"] is None


@pytest.mark.parametrize("form", FORMS)
def test_a_record_of_plain_values_gives_everything_back(form):
    found = collect_knowledge(detector(form))
    back = from_record(json.loads(json.dumps(to_record(found), allow_nan=False)))
    assert to_json_document(back) == to_json_document(found)
    for name, array in to_arrays(found).items():
        np.testing.assert_array_equal(to_arrays(back)[name], array)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {},
        {"layers": [{}], "refinements": []},
        {"layers": 3, "refinements": []},
        {"layers": [], "refinements": [{"anchors": [], "labels": ["x"], "table": []}]},
    ],
)
def test_a_damaged_record_is_refused(damage):
    with pytest.raises(WeightsError, match="record of implicit knowledge is damaged"):
        from_record(damage, path="a.pt")


def test_a_folded_network_has_nothing_left_to_show():
    network = detector("multiplied")
    with pytest.raises(CfgError, match="no implicit section") as told:
        collect_knowledge(fold(network).network)
    assert told.value.exit_code == 2


def test_a_prediction_of_constants_alone_refines_nothing():
    text = TEXT.format(**FORMS["added"]).replace("[route]\nlayers=0\n", "[route]\nlayers=1\n")
    found = collect_knowledge(of_text(text))
    assert len(found.layers) == 2 and found.refinements == ()


def test_a_chain_from_the_image_is_left_out_and_told():
    network = of_text("[avgpool]\n[implicit_add]\nfilters=6\nchain=0")
    (layer,) = collect_knowledge(network).layers
    assert not layer.whole
    np.testing.assert_array_equal(layer.values, values_of(network, 1))


def test_in_darknets_dialect_sizes_at_rest_follow_its_own_rule():
    text = CONV + "[implicit]\nfilters=14\nmean=1\nstd=.5\n[scale_channels]\nfrom=0\n" + HEAD
    network = network_of(text, dialect="darknet", image=(4, 8, 8))
    found = collect_knowledge(network)
    (layer,), (refined,) = found.layers, found.refinements
    np.testing.assert_allclose(layer.values, values_of(network, 1))
    assert (layer.kind, layer.start) == ("implicit", 1)
    bias = network.module_list[0].Conv2d.bias.detach().numpy()
    z, u = (x.reshape(2, 7)[:, 2:4] for x in (layer.values, bias))
    sizes = [anchor.at_rest for anchor in refined.anchors]
    np.testing.assert_allclose(sizes, np.array(ANCHORS) * np.exp(z * u))


def test_a_scale_reaches_as_far_up_as_down():
    scale = ValueScale.fit([np.array([0.7, 1.1, np.nan])], 1.0)
    assert scale == (1.0, pytest.approx(0.3))
    assert scale.ticks == pytest.approx((0.7, 1.0, 1.3))
    for nothing in ([], [np.full(3, np.nan)], [np.ones(3)]):
        assert ValueScale.fit(nothing, 1.0).ticks == (0, 1, 2)


def drawn(network: Network) -> Figure:
    """The chart of a network's implicit knowledge."""
    chart = knowledge_chart(collect_knowledge(network))
    figure = Figure(chart.size, dpi=100)
    chart.draw(figure)
    figure.draw_without_rendering()
    return figure


def bars_of(axes: Axes) -> tuple[list[np.ndarray], np.ndarray]:
    """Both ends of each bar, and their colours."""
    (bars,) = axes.collections
    return bars.get_segments(), bars.get_colors()


def texts_of(figure: Figure) -> list[str]:
    """All texts of the chart from top to bottom, those of axes left out."""
    return [text.get_text() for part in figure.subfigs for text in part.texts]


@pytest.mark.parametrize("form", FORMS)
def test_the_chart_has_a_bar_for_each_value_on_the_side_of_its_sign(form):
    network = detector(form)
    neutral = 0.0 if form == "added" else 1.0
    changes = torch.linspace(-0.4, 0.3, FORMS[form]["filters"], dtype=torch.float64)
    with torch.no_grad():
        network.module_list[2].implicit.view(-1).copy_(neutral + changes)
    (refined,) = collect_knowledge(network).refinements
    figure = drawn(network)
    assert texts_of(figure)[2:5] == [
        "anchor 0",
        "10 x 14",
        "at rest {:.0f} x {:.0f}".format(*refined.anchors[0].at_rest),
    ]
    boxes, classes = figure.subfigs[2].axes
    for axes, values in ((boxes, refined.table[0, :5]), (classes, refined.table[0, 5:])):
        there = values[~np.isnan(values)]
        if axes is classes and form == "sizes alone":
            assert not len(there) and not len(axes.collections)
            continue
        for (start, end), shade, value in zip(*bars_of(axes), there, strict=True):
            assert start[0] == end[0] and start[1] == neutral
            assert end[1] == pytest.approx(value)
            assert (shade[0] > shade[2]) == (value > neutral)  # red above, blue below
        assert [text.get_text() for text in axes.texts if text.get_text()] == [
            f"{value:.3f}" for value in there
        ]
    assert [label.get_text() for label in figure.subfigs[3].axes[0].get_xticklabels()] == [
        "x",
        "y",
        "w",
        "h",
        "obj",
    ]


def test_the_chart_shows_the_sizes_of_anchors_as_marks():
    network = detector("multiplied")
    (refined,) = collect_knowledge(network).refinements
    (axes,) = (part.axes[0] for part in drawn(network).subfigs if part.axes and part.axes[0].get_legend())
    marks = {line.get_label(): line.get_xdata() for line in axes.lines}
    for label, field in (("anchor in the cfg", "size"), ("at rest: features 0", "at_rest")):
        np.testing.assert_allclose(
            marks[label], np.ravel([getattr(anchor, field) for anchor in refined.anchors])
        )


def test_the_chart_of_a_factorization_shows_its_coefficients():
    network = of_text("[implicit_add]\nfilters=5\nmodel=factorization\nrank=3")
    (layer,) = collect_knowledge(network).layers
    figure = drawn(network)
    assert "Coefficients c of Z^T c, basis vector by basis vector" in texts_of(figure)
    bars, _ = bars_of(figure.subfigs[-1].axes[0])
    np.testing.assert_allclose([end[1] for _, end in bars], layer.coefficients.ravel())
    assert len(drawn(of_text("[implicit_add]\nfilters=5")).subfigs) == 3


def test_a_matrix_shows_the_cosine_of_each_two():
    network = of_text("[implicit_mul]\nfilters=5\n[implicit_mul]\nfilters=5\n[implicit_mul]\nfilters=5")
    pairs = layer_similarities(collect_knowledge(network).layers)
    matrix, _ = drawn(network).subfigs[-1].axes
    shown = np.asarray(matrix.images[0].get_array())
    np.testing.assert_allclose(shown[np.triu_indices(3, 1)], [pair.of_change for pair in pairs])
    np.testing.assert_array_equal(shown, shown.T)
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["#0", "#1", "#2"]


def test_hundreds_of_values_are_bars_without_numbers():
    axes = drawn(of_text("[implicit_add]\nfilters=300")).subfigs[2].axes[0]
    assert len(bars_of(axes)[0]) == 300 and not axes.texts
