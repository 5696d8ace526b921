"""Counting against formulas written out, C Darknet's printed BFLOPs and file sizes, and published counts."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden import SHARED, Case, darknet_cases, darknet_graph, micro_cases

from yolor_cfg.count import Count, activation_bytes, count, peak_activation
from yolor_cfg.graph import Graph, Reading, build, load
from yolor_cfg.lang.syntax import parse

NET = "[net]\nwidth=8\nheight=6\nchannels=2\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"
NORMED = CONV + "batch_normalize=1\n"
IMAGE = 2 * 6 * 8 * 4  # bytes
MAP = 4 * 6 * 8 * 4  # bytes of the output of CONV

ROOT = Path(__file__).resolve().parents[1]


def graph_of(text: str) -> Graph:
    return build(parse(NET + text))


def counted(text: str) -> Count:
    return count(graph_of(text))


def test_a_convolution_costs_its_weights_once_per_output_pixel() -> None:
    assert counted(CONV).macs == (3 * 3 * 2 * 4) * (6 * 8)


def test_groups_divide_the_cost_and_the_weights() -> None:
    halves = counted(CONV.replace("filters", "groups=2\nfilters"))
    assert (halves.macs, halves.parameters) == ((3 * 3 * 1 * 4) * (6 * 8), 3 * 3 * 1 * 4 + 4)


def test_a_flop_is_half_a_multiply_add() -> None:
    assert counted(CONV).gflops == 2 * (3 * 3 * 2 * 4) * (6 * 8) / 1e9


def test_statistics_are_stored_but_no_parameters() -> None:
    normed = counted(NORMED)
    weights = 3 * 3 * 2 * 4
    assert normed.parameters == weights + 2 * 4
    assert normed.weights_bytes == 20 + 4 * (weights + 4 * 4)


def test_folding_a_batch_norm_leaves_weights_and_bias() -> None:
    assert counted(NORMED).parameters_folded == counted(CONV).parameters == 3 * 3 * 2 * 4 + 4


def test_a_batch_norm_that_stands_alone_is_not_folded() -> None:
    alone = counted(CONV + "[batchnorm]\n").nodes[1]
    assert alone.parameters == alone.parameters_folded == 2 * 4


def test_implicit_parameters_count_and_are_stored() -> None:
    implicit = counted(CONV + "[implicit_add]\nfilters=4\n")
    assert implicit.nodes[1].parameters == implicit.nodes[1].stored_floats == 4


def test_shared_weights_count_once() -> None:
    shared = counted("[convolutional]\nfilters=2\n" + "[convolutional]\nfilters=2\nshare_index=0\n")
    assert [node.parameters for node in shared.nodes] == [2 * 2 + 2, 0]
    assert shared.macs == 2 * (2 * 2 * 6 * 8)


def test_a_section_that_darknet_lacks_has_no_bflops() -> None:
    assert counted("[implicit_add]\nfilters=2\n").nodes[0].bflops is None


def test_the_peak_of_a_chain_is_the_largest_pair_of_neighbours() -> None:
    peak = peak_activation(graph_of(CONV + CONV + CONV.replace("filters=4", "filters=1")))
    assert (peak.number, peak.bytes) == (1, MAP + MAP)


def test_the_first_pair_holds_the_image() -> None:
    peak = peak_activation(graph_of(CONV))
    assert peak.values == ((-1, IMAGE), (0, MAP))


def test_a_value_stays_alive_until_a_shortcut_reads_it() -> None:
    peak = peak_activation(graph_of(CONV * 3 + "[shortcut]\nfrom=-3\n"))
    assert (peak.number, peak.bytes) == (2, 3 * MAP)


def test_what_nobody_reads_is_gone_at_once() -> None:
    unread = CONV.replace("filters=4", "filters=7")
    peak = peak_activation(graph_of(CONV + unread + "[route]\nlayers=0\n" + CONV * 2))
    assert (peak.number, peak.bytes) == (1, MAP + 7 * MAP // 4)
    assert 1 not in [value.number for value in peak_activation(graph_of(CONV + unread)).values[:-1]]


def test_what_is_passed_on_costs_nothing_and_keeps_its_source() -> None:
    graph = graph_of(CONV + "[dropout]\n" + CONV + CONV + "[shortcut]\nfrom=1\n")
    assert activation_bytes(graph)[1].bytes == 0
    peak = peak_activation(graph)
    assert [value.number for value in peak.values] == [0, 2, 3]


def test_heads_stay_until_the_end() -> None:
    head = "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n[yolo]\nclasses=1\nnum=3\nmask=0,1,2\n"
    anchors = "anchors=1,1, 2,2, 3,3\n"
    graph = graph_of(CONV + head + anchors + "[route]\nlayers=0\n" + head + anchors)
    assert 2 in [value.number for value in peak_activation(graph).values]
    assert peak_activation(graph).number == 5


def test_memory_grows_with_the_batch() -> None:
    graph = graph_of(CONV * 2)
    assert peak_activation(graph, batch=3).bytes == 3 * peak_activation(graph).bytes


def published() -> list[tuple[Path, dict[str, str]]]:
    """Our cfgs with the counts measured with YOLOR's own code; none where the shared data is absent."""
    table = SHARED / "reference" / "networks-counts.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()] if table.is_file() else []
    counts = [dict(zip(rows[0], row, strict=True)) for row in rows if row[0] == "generated cfg"]
    paths = [ROOT / "cfg" / row["model"].replace("_yamlexact", "_paper") for row in counts]
    return [(path, row) for path, row in zip(paths, counts, strict=True) if path.is_file()]


@pytest.mark.parametrize(("path", "row"), [pytest.param(*pair, id=pair[0].stem) for pair in published()])
def test_our_networks_cost_what_yolors_own_code_counts(path: Path, row: dict[str, str]) -> None:
    counted = count(load(path, Reading(size=640)))
    assert counted.parameters == int(row["params"])
    assert counted.parameters_folded == int(row["params_fused"])
    assert counted.gflops * 1000 == pytest.approx(float(row["flopcounter640"]), abs=5e-5)


def bflops_of(case: Case) -> tuple[list[float | None], np.ndarray]:
    with np.load(case.numbers) as numbers:
        return [node.bflops for node in count(darknet_graph(case)).nodes], numbers["bflops"]


@pytest.mark.parametrize("case", darknet_cases() + micro_cases(), ids=lambda case: case.name)
def test_bflops_are_those_that_darknet_prints(case: Case) -> None:
    ours, printed = bflops_of(case)
    assert None not in ours
    np.testing.assert_allclose(np.array(ours, float), printed, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", darknet_cases() + micro_cases(), ids=lambda case: case.name)
def test_the_weights_file_has_the_size_that_darknet_writes(case: Case) -> None:
    arrays = json.loads(case.meta.read_text())["weights"]["arrays"]
    stored = sum(int(np.prod(array["shape"])) for array in arrays)
    assert count(darknet_graph(case)).weights_bytes == 20 + 4 * stored
