"""Counting against formulas written out, C Darknet's printed BFLOPs and file sizes, and published counts."""

import copy
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import thop
import torch
from _pytest.mark.structures import ParameterSet
from folding import QUICK
from golden import SHARED, Case, darknet_cases, darknet_graph, micro_cases
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolor_cfg.analysis.thop_counts import profile_with_thop
from yolor_cfg.count import (
    COUNTINGS,
    THOP_MACS,
    THOP_NORMS,
    THOP_UNSEEN,
    ConventionCosts,
    GraphCosts,
    activation_bytes,
    count_by_convention,
    count_costs,
    explain_thop,
    peak_activation,
)
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.pooling import GlobalAvgPool
from yolor_cfg.ops.resampling import ColumnsFirst, RepeatUpsample

NET = "[net]\nwidth=8\nheight=6\nchannels=2\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"
NORMED = CONV + "batch_normalize=1\n"
IMAGE = 2 * 6 * 8 * 4  # bytes
MAP = 4 * 6 * 8 * 4  # bytes of the output of CONV

ROOT = Path(__file__).resolve().parents[1]


def graph_of(text: str) -> Graph:
    return build_graph(parse(NET + text))


def counted(text: str) -> GraphCosts:
    return count_costs(graph_of(text))


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
    counted = count_costs(load_graph(path, ReadOptions(size=640)))
    assert counted.parameters == int(row["params"])
    assert counted.parameters_folded == int(row["params_fused"])
    assert counted.gflops * 1000 == pytest.approx(float(row["flopcounter640"]), abs=5e-5)


@pytest.mark.parametrize(("path", "row"), [pytest.param(*pair, id=pair[0].stem) for pair in published()])
@pytest.mark.parametrize("size", [640, 1280])
def test_the_papers_counting_is_the_old_thop_and_each_refined_prediction(
    path: Path, row: dict[str, str], size: int
) -> None:
    """The measured figures are those of thop 0.0.31, which counts no prediction."""
    graph = load_graph(path, ReadOptions(size=size))
    refined = sum(n.shape.size for n in graph.nodes if n.section.type == "control_channels")
    tallied = count_by_convention(graph, "paper")
    assert f"{(tallied.flops - refined) / 1e6:.4f}" == row[f"MFLOPs{size}_unfused"]
    assert tallied.parameters == int(row["params"])


CFGS = sorted((ROOT / "cfg").glob("*.cfg"))


def paths_of(cfgs: Iterable[Path]) -> list[ParameterSet]:
    """These cfgs as parameters of a test; all but one of each kind are slow tests."""
    return [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])
        for path in cfgs
    ]


per_cfg = pytest.mark.parametrize("path", paths_of(CFGS))


def on_meta(graph: Graph) -> Network:
    """The network without numbers in it."""
    with torch.device("meta"):
        return Network(graph).eval()


def image_of(graph: Graph) -> torch.Tensor:
    return torch.empty(1, *graph.image, device="meta")


def torchs_own(module: nn.Module) -> nn.Module:
    """The modules of torch that compute the same: thop knows no others, and sees only calls of modules."""
    if isinstance(module, ConvBlock):
        return nn.Sequential(*[ColumnsFirst()] * module.focus, *module.children())
    if isinstance(module, RepeatUpsample):
        return nn.Upsample(scale_factor=module.stride)
    return nn.AdaptiveAvgPool2d(1) if isinstance(module, GlobalAvgPool) else module


Rules = dict[type[nn.Module], Callable[..., None]]


def profiled(graph: Graph, rules: Rules | None = None) -> tuple[float, float]:
    """thop's operations and parameters of a deep copy of the network."""
    twin = copy.deepcopy(on_meta(graph))
    twin.module_list = nn.ModuleList(map(torchs_own, twin.module_list))
    operations, parameters = thop.profile(twin, (image_of(graph),), rules, verbose=False)
    return operations, parameters


def of_2020() -> Rules:
    """The rules of thop 0.0.31 where they differ from today's, and as the paper's figures need them: poolings
    count nothing."""

    def convolution(module: nn.Conv2d, _: object, y: torch.Tensor) -> None:
        weights = module.weight[0].numel() + (module.bias is not None)
        module.total_ops += y.numel() * weights

    def batch_norm(module: nn.Module, inputs: tuple[torch.Tensor], _: object) -> None:
        module.total_ops += 2 * inputs[0].numel()

    def nothing(module: nn.Module, *_: object) -> None:
        module.total_ops += 0

    return {
        nn.Conv2d: convolution,
        nn.BatchNorm2d: batch_norm,
        nn.Upsample: nothing,
        nn.AdaptiveAvgPool2d: nothing,
    }


@per_cfg
def test_exact_flops_are_those_of_torchs_counter_on_the_meta_device(path: Path) -> None:
    graph = load_graph(path)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(graph)(image_of(graph))
    assert (
        counter.get_total_flops() == count_by_convention(graph, "exact").flops == 2 * count_costs(graph).macs
    )


@per_cfg
def test_thops_counting_is_what_thop_counts_in_a_copy(path: Path) -> None:
    graph = load_graph(path)
    operations, parameters = profiled(graph)
    tallied = count_by_convention(graph, "thop")
    assert (tallied.flops, tallied.parameters) == (2 * operations, parameters)


UNPUBLISHED = [path for path in CFGS if path not in [published for published, _ in published()]]


@pytest.mark.parametrize("path", paths_of(UNPUBLISHED))
def test_the_papers_counting_is_what_thop_counts_under_the_rules_of_2020(path: Path) -> None:
    graph = load_graph(path)
    operations, _ = profiled(graph, of_2020())
    refined = sum(n.shape.size for n in graph.nodes if n.section.type == "control_channels")
    assert count_by_convention(graph, "paper").flops == 2 * operations + refined


EXPLAINED = [path for path in CFGS if path.stem in ("yolor_csp", "yolor_csp_ssss_dwt_paper", "yolor_micro")]


@pytest.mark.parametrize("path", EXPLAINED, ids=lambda path: path.stem)
def test_thop_run_on_our_network_counts_what_it_counts_in_the_copy_and_our_rules_explain_it(
    path: Path,
) -> None:
    graph = load_graph(path)
    own = profile_with_thop(graph)
    operations, parameters = profiled(graph)
    assert (own.flops, own.parameters) == (2 * operations, parameters)
    assert own.nodes == count_by_convention(graph, "thop").nodes
    assert own.counter.startswith("thop 0.1.1")


POOLED = "[maxpool]\nsize=2\nstride=2\n"
SECTIONS = {
    "bias": CONV,
    "groups": NORMED.replace("filters", "groups=2\nfilters"),
    "stride": NORMED + "stride=2\n",
    "alone": NORMED + "[shortcut]\nfrom=-1\n",
    "upsample": CONV + POOLED + "[upsample]\nstride=2\n",
    "average": NORMED + "[avgpool]\n",
    "norm": CONV + "[BatchNorm2d]\n",
    "matrix": CONV + "[connected]\noutput=5\nactivation=linear\n",
    "implicit": CONV + "[implicit_add]\nfilters=4\n[route]\nlayers=0\n[shift_channels]\nfrom=1\n",
    "weighted": CONV * 2 + "[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=relu\n",
    "local": CONV + "[local]\nfilters=2\nsize=3\npad=1\n",
}


@pytest.mark.parametrize("text", SECTIONS.values(), ids=SECTIONS)
@pytest.mark.parametrize("counting", ["paper", "thop"])
def test_each_kind_of_section_counts_as_in_thop(text: str, counting: str) -> None:
    graph = graph_of(text)
    operations, parameters = profiled(graph, of_2020() if counting == "paper" else None)
    tallied = count_by_convention(graph, counting)
    assert tallied.flops == 2 * operations
    assert counting == "paper" or tallied.parameters == parameters


UNSEEN = {
    "local": CONV + "[local]\nfilters=2\nsize=3\npad=1\n",
    "lent": CONV.replace("filters=4", "filters=2") * 2 + "share_index=0\n",
    "signs": CONV + CONV + "xnor=1\n",
    "implicit": CONV + "[implicit_add]\nfilters=4\nmodel=network\n",
}


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
def test_work_that_thop_does_not_see_is_named_with_its_section(text: str) -> None:
    graph = graph_of(text)
    costs = count_costs(graph).nodes
    (missed,) = explain_thop(graph)[THOP_UNSEEN]
    assert (missed.number, missed.flops) == (1, -2 * costs[1].macs) and costs[1].macs
    assert profile_with_thop(graph).flops == 2 * costs[0].macs


TINY = (
    NORMED
    + POOLED
    + NORMED
    + "[upsample]\nstride=2\n[route]\nlayers=-1,0\n"
    + NORMED
    + "[local_avgpool]\nsize=2\n"
    "[local]\nfilters=2\n[avgpool]\n[softmax]\n"
)


def test_the_terms_of_thops_flops_are_their_sum_and_each_has_its_sections() -> None:
    graph = graph_of(TINY)
    own, terms = profile_with_thop(graph), explain_thop(graph)
    numbers = {reason: [node.number for node in nodes] for reason, nodes in terms.items()}
    assert own.flops == sum(node.flops or 0 for nodes in terms.values() for node in nodes)
    assert list(numbers.values()) == [[0, 2, 5, 7], [0, 2, 5], [3], [6], [7], [8], [9]]
    assert [*numbers][:2] == [THOP_MACS, THOP_NORMS] and numbers[THOP_UNSEEN] == [7]
    by_number = {node.number: node.flops for node in [*terms[THOP_NORMS], *[*terms.values()][2]]}
    assert by_number == {0: 8 * 192, 2: 8 * 48, 3: 2 * 192, 5: 8 * 192}


def test_a_batch_norm_that_is_lent_counts_for_thop_at_its_lender() -> None:
    graph = graph_of(NORMED.replace("filters=4", "filters=2") * 2 + "share_index=0\n")
    first, second = profile_with_thop(graph).nodes
    assert (first.flops, second.flops) == (2 * (3 * 3 * 2 * 2 * 48 + 2 * 4 * 96), 0)
    assert first.flops == count_by_convention(graph, "thop").flops


def tallied(text: str, counting: str) -> ConventionCosts:
    return count_by_convention(graph_of(text), counting)


def test_a_bias_and_a_batch_norm_count_for_the_paper_by_their_formulas() -> None:
    macs, outputs = (3 * 3 * 2 * 4) * (6 * 8), 4 * 6 * 8
    assert tallied(CONV, "paper").flops == 2 * (macs + outputs)
    assert tallied(NORMED, "paper").flops == 2 * (macs + 2 * outputs)
    assert tallied(NORMED, "thop").flops == 2 * (macs + 4 * outputs)


def test_softmax_and_means_count_for_thop_by_their_formulas() -> None:
    means = "[local_avgpool]\nsize=2\nstride=2\n"
    assert tallied(means, "thop").flops == 2 * (2 * 3 * 4)
    assert tallied("[softmax]\n", "thop").flops == 2 * (3 * 96 - 1)
    assert tallied("[softmax]\ngroups=4\n", "thop").flops == 2 * 4 * (3 * 24 - 1)


def test_implicit_knowledge_has_parameters_in_every_counting_but_thops() -> None:
    text = CONV + "[implicit_add]\nfilters=4\n"
    assert {name: tallied(text, name).nodes[1].parameters for name in COUNTINGS} == {
        "exact": 4,
        "darknet": 4,
        "paper": 4,
        "thop": 0,
    }


def test_the_work_that_makes_an_implicit_vector_counts_in_ours_alone() -> None:
    text = CONV + "[implicit_add]\nfilters=4\nmodel=network\n"
    found = {name: tallied(text, name).nodes[1].flops for name in COUNTINGS}
    assert found["exact"] and not (found["darknet"] or found["paper"] or found["thop"])


def test_only_a_product_that_a_head_reads_is_a_refined_prediction() -> None:
    features = "[implicit_mul]\nfilters=4\n[route]\nlayers=0\n[control_channels]\nfrom=1\n"
    head = CONV.replace("filters=4", "filters=18") + "[implicit_mul]\nfilters=18\n[route]\nlayers=-2\n"
    yolo = "[control_channels]\nfrom=-2\n[yolo]\nclasses=1\nnum=3\nmask=0,1,2\nanchors=1,1, 2,2, 3,3\n"
    nodes = tallied(CONV + features + head + yolo, "paper").nodes
    assert [node.flops for node in nodes if node.number in (3, 7)] == [0, 18 * 6 * 8]


def test_darknets_counting_is_its_bflops_and_knows_nothing_of_other_sections() -> None:
    darknet = tallied(POOLED + "[implicit_add]\nfilters=2\n", "darknet")
    assert [node.flops for node in darknet.nodes] == [pytest.approx(2 * 2 * 2 * 3 * 4), None]
    assert darknet.gflops == pytest.approx(96e-9)


def test_a_batch_norm_that_is_lent_counts_where_it_is_used() -> None:
    text = NORMED.replace("filters=4", "filters=2") * 2 + "share_index=0\n"
    first, second = tallied(text, "paper").nodes
    assert (first.flops, second.parameters) == (second.flops, 0)


def bflops_of(case: Case) -> tuple[list[float | None], np.ndarray]:
    with np.load(case.numbers) as numbers:
        return [node.bflops for node in count_costs(darknet_graph(case)).nodes], numbers["bflops"]


@pytest.mark.parametrize("case", darknet_cases() + micro_cases(), ids=lambda case: case.name)
def test_bflops_are_those_that_darknet_prints(case: Case) -> None:
    ours, printed = bflops_of(case)
    assert None not in ours
    np.testing.assert_allclose(np.array(ours, float), printed, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", darknet_cases() + micro_cases(), ids=lambda case: case.name)
def test_the_weights_file_has_the_size_that_darknet_writes(case: Case) -> None:
    arrays = json.loads(case.meta.read_text())["weights"]["arrays"]
    stored = sum(int(np.prod(array["shape"])) for array in arrays)
    assert count_costs(darknet_graph(case)).weights_bytes == 20 + 4 * stored
