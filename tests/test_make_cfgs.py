"""The shipped networks: they are what the table says, and their counts are those that the papers print."""

from pathlib import Path

import make_cfgs
import pytest

from yolor_cfg.count import count
from yolor_cfg.graph import Reading, build, load
from yolor_cfg.lang.syntax import parse

CFG = Path(__file__).parents[1] / "cfg"
# Sections without [net] and parameters, unfolded: counted on the networks' original programs.
COUNTS = {
    "yolov4_csp": (176, 52921437), "yolor_csp": (188, 52923994), "yolov4_csp_fast": (176, 52908989),
    "yolor_csp_fast": (188, 52911546), "yolov4_csp_x": (204, 99751053), "yolor_csp_x": (216, 99754058),
    "yolov4_csp_sss": (122, 9297981), "yolor_csp_sss": (134, 9299642), "yolov4_csp_ssss": (113, 9213309),
    "yolor_csp_ssss": (125, 9214970), "yolov4_p6_light": (219, 37262204), "yolor_p6": (235, 37265016),
    "yolor_w6": (235, 79873400), "yolor_e6": (275, 115899960), "yolor_d6": (347, 151773240),
    "yolov4_p5": (244, 70830684), "yolov4_p6": (305, 127585200), "yolov4_p7": (366, 287566300),
}  # fmt: skip
PAPER_BRANCH = {
    "yolor_p6_paper": 37270264, "yolor_w6_paper": 79880952, "yolor_e6_paper": 115909400,
    "yolor_d6_paper": 151782680, "yolor_csp_sss_paper": 9301306, "yolor_csp_ssss_paper": 9216634,
    "yolor_csp_ssss_dwt_paper": 9216634,
}  # fmt: skip


@pytest.mark.parametrize("name", make_cfgs.FAMILY)
def test_the_shipped_file_is_what_the_table_gives(name):
    assert (CFG / f"{name}.cfg").read_text() == make_cfgs.cfg_text(name, make_cfgs.FAMILY[name])


def test_no_file_is_shipped_that_the_table_does_not_know():
    assert {path.stem for path in CFG.glob("*.cfg")} == set(make_cfgs.FAMILY)


@pytest.mark.parametrize("name", COUNTS)
def test_sections_and_parameters_are_those_of_the_original(name):
    graph = load(CFG / f"{name}.cfg")
    assert (len(graph.nodes), count(graph).parameters) == COUNTS[name]


@pytest.mark.parametrize("name", PAPER_BRANCH)
def test_the_paper_variants_have_the_published_parameters(name):
    graph = load(CFG / f"{name}.cfg")
    assert count(graph).parameters == PAPER_BRANCH[name]
    assert graph.net.bn_eps == 1e-3


@pytest.mark.parametrize(("name", "most"), [("yolor_nano", 2_000_000), ("yolor_micro", 500_000)])
def test_the_small_ones_are_small_and_have_all_of_the_implicit_machinery(name, most):
    graph = load(CFG / f"{name}.cfg")
    types = [node.section.type for node in graph.nodes]
    assert count(graph).parameters < most
    assert all(types.count(kind) == 3 for kind in ("implicit_add", "implicit_mul", "shift_channels", "control_channels"))


@pytest.mark.parametrize("name", make_cfgs.FAMILY)
def test_another_class_count_changes_the_heads_alone(name):
    text = make_cfgs.cfg_text(name, make_cfgs.FAMILY[name], classes=3)
    graph = build(parse(text), Reading(size=make_cfgs.FAMILY[name].size))
    assert {head.section.classes for head in graph.heads} == {3}
    assert {head.shape.channels for head in graph.heads} == {len(graph.heads[0].section.mask) * 8}
    assert [graph.stride(head.index)[0] for head in graph.heads] == [8 << i for i in range(len(graph.heads))]
