"""The shipped networks: they are what the table says, section by section what the papers' architecture tables
say, and their counts are those that the papers print."""

from pathlib import Path

import make_cfgs
import pytest
from click.testing import CliRunner
from networks import TABLE, U5R5, VARIANTS, described, expected

from yolor_cfg.count import count_costs
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks import family

CFG = Path(__file__).parents[1] / "cfg"
OUR_OWN = {"yolor_nano", "yolor_micro"}
OF_THE_PAPERS = [line.split()[0] for line in TABLE.splitlines() if line] + [*VARIANTS, *U5R5]
# Sections without [net] and parameters, unfolded: counted on the networks' original programs.
COUNTS = {
    "yolov4_csp": (176, 52921437),
    "yolor_csp": (188, 52923994),
    "yolov4_csp_fast": (176, 52908989),
    "yolor_csp_fast": (188, 52911546),
    "yolov4_csp_x": (204, 99751053),
    "yolor_csp_x": (216, 99754058),
    "yolov4_csp_sss": (122, 9297981),
    "yolor_csp_sss": (134, 9299642),
    "yolov4_csp_ssss": (113, 9213309),
    "yolor_csp_ssss": (125, 9214970),
    "yolov4_p6_light": (219, 37262204),
    "yolor_p6": (235, 37265016),
    "yolor_w6": (235, 79873400),
    "yolor_e6": (275, 115899960),
    "yolor_d6": (347, 151773240),
    "yolov4_p5": (244, 70830684),
    "yolov4_p6": (305, 127585200),
    "yolov4_p7": (366, 287566300),
}
PAPER_BRANCH = {
    "yolor_p6_paper": 37270264,
    "yolor_w6_paper": 79880952,
    "yolor_e6_paper": 115909400,
    "yolor_d6_paper": 151782680,
    "yolor_csp_sss_paper": 9301306,
    "yolor_csp_ssss_paper": 9216634,
    "yolor_csp_ssss_dwt_paper": 9216634,
}
FOLDED = {
    "u5r5_s": 7266973,
    "yolor_u5r5_s": 7268634,
    "u5r5_s6": 12653596,
    "u5r5_m6": 35889612,
    "u5r5_l6": 77218620,
    "u5r5_x6": 141755500,
}
# Width and height at which each is trained and tested.
SIZES = {
    "yolov4_p5": 896,
    "yolov4_p6": 1280,
    "yolov4_p7": 1536,
    "yolov4_p6_light": 1280,
    "yolor_p6": 1280,
    "yolor_w6": 1280,
    "yolor_e6": 1280,
    "yolor_d6": 1280,
    "u5r5_s6": 1280,
    "u5r5_x6": 1280,
    "u5r5_s": 640,
    "yolov4_csp": 640,
    "yolor_csp_x": 640,
    "yolor_csp_ssss": 640,
    "yolor_s": 640,
}


@pytest.mark.parametrize("name", family.NETWORKS)
def test_the_shipped_file_is_what_the_table_gives(name):
    assert (CFG / f"{name}.cfg").read_text() == family.cfg_text(name, family.NETWORKS[name])


def test_no_file_is_shipped_that_the_table_does_not_know():
    assert {path.stem for path in CFG.glob("*.cfg")} == set(family.NETWORKS)


def test_every_network_of_the_papers_is_shipped():
    assert set(family.NETWORKS) == {*OF_THE_PAPERS, *OUR_OWN}


@pytest.mark.parametrize("name", OF_THE_PAPERS)
def test_section_by_section_a_network_is_that_of_the_papers_tables(name):
    nodes, steps = load_graph(CFG / f"{name}.cfg").nodes, expected(name)
    assert [(n.index, n.section.type, n.sources) for n in nodes] == [
        (index, step.type, step.sources) for index, step in enumerate(steps)
    ]
    for node, step in zip(nodes, steps, strict=True):
        assert (node.index, described(node, step.facts)) == (node.index, step.facts)


@pytest.mark.parametrize("name", COUNTS)
def test_sections_and_parameters_are_those_of_the_original(name):
    graph = load_graph(CFG / f"{name}.cfg")
    assert (len(graph.nodes), count_costs(graph).parameters) == COUNTS[name]


@pytest.mark.parametrize("name", PAPER_BRANCH)
def test_the_paper_variants_have_the_published_parameters(name):
    graph = load_graph(CFG / f"{name}.cfg")
    assert count_costs(graph).parameters == PAPER_BRANCH[name]
    assert graph.net.bn_eps == 1e-3


@pytest.mark.parametrize("name", FOLDED)
def test_the_u5r5_networks_have_the_published_parameters_with_batch_norm_folded(name):
    assert count_costs(load_graph(CFG / f"{name}.cfg")).parameters_folded == FOLDED[name]


@pytest.mark.parametrize("name", SIZES)
def test_the_image_is_the_one_of_the_papers(name):
    graph = load_graph(CFG / f"{name}.cfg")
    assert (graph.dialect.name, graph.image) == ("yolor", (3, SIZES[name], SIZES[name]))


@pytest.mark.parametrize(("name", "most"), [("yolor_nano", 2_000_000), ("yolor_micro", 500_000)])
def test_the_small_ones_are_small_and_have_all_of_the_implicit_machinery(name, most):
    graph = load_graph(CFG / f"{name}.cfg")
    types = [node.section.type for node in graph.nodes]
    machinery = ("implicit_add", "implicit_mul", "shift_channels", "control_channels")
    assert count_costs(graph).parameters < most
    assert all(types.count(kind) == 3 for kind in machinery)


@pytest.mark.parametrize("name", family.NETWORKS)
def test_another_class_count_changes_the_heads_alone(name):
    row = family.NETWORKS[name]
    graphs = [build_graph(parse(family.cfg_text(name, row, classes=classes))) for classes in (80, 3)]
    pairs = list(zip(*(graph.nodes for graph in graphs), strict=True))
    changed = {three.section.type for eighty, three in pairs if eighty.shape != three.shape}
    graph = graphs[1]
    assert all((a.section.type, a.sources) == (b.section.type, b.sources) for a, b in pairs)
    assert changed <= {"convolutional", "implicit_mul", "control_channels", "yolo"}
    assert {head.section.classes for head in graph.heads} == {3}
    assert {head.shape.channels for head in graph.heads} == {len(graph.heads[0].section.mask) * 8}
    assert [graph.stride(head.index)[0] for head in graph.heads] == [8 << i for i in range(len(graph.heads))]


@pytest.mark.parametrize("name", family.NETWORKS)
def test_comments_name_every_section_once_and_every_distant_one_that_is_read(name):
    lines = (CFG / f"{name}.cfg").read_text().splitlines()
    nodes = load_graph(CFG / f"{name}.cfg").nodes
    parts = [line for line in lines if line.startswith(("# sections ", "# section "))]
    spans = [line.split(":")[0].split()[2] for line in parts]
    covered = [i for span in spans for i in range(int(span.split("..")[0]), int(span.split("..")[-1]) + 1)]
    assert covered == list(range(len(nodes)))
    for node in nodes:
        above = lines[node.line - 2 - len(node.sources) : node.line - 1]
        for key in ("layers", "from"):
            stated = [ref for ref in node.section.values.get(key, ()) if ref >= 0]
            assert [ref for ref in stated if not any(line.startswith(f"# {ref} is ") for line in above)] == []


def test_check_names_the_files_that_differ_and_leaves_them_alone(tmp_path):
    def make(*args):
        result = CliRunner().invoke(make_cfgs.main, ["--out", str(tmp_path), *args])
        return result.exit_code, result.output

    assert make() == (0, "")
    assert make("--check") == (0, "")
    (tmp_path / "yolor_nano.cfg").write_text("[net]\n")
    code, output = make("--check")
    assert code == 1 and "yolor_nano.cfg" in output and "yolor_micro.cfg" not in output
    assert (tmp_path / "yolor_nano.cfg").read_text() == "[net]\n"


def test_every_network_is_read_at_other_sizes_that_its_strides_divide():
    for name in family.NETWORKS:
        graph = load_graph(CFG / f"{name}.cfg", ReadOptions(size=(256, 384)))
        assert 256 % graph.largest_stride == 384 % graph.largest_stride == 0


@pytest.mark.parametrize(("size", "stride"), [(32, 32), (64, 32), (640, 32)])
def test_the_largest_stride_is_that_of_a_map_of_one_cell_too(size, stride):
    """P5 of yolor_nano has 1/32 of the image's sides, so one cell at 32."""
    assert load_graph(CFG / "yolor_nano.cfg", ReadOptions(size=size)).largest_stride == stride


def test_a_size_below_the_largest_stride_names_it():
    with pytest.raises(CfgError, match="use a multiple of 32, the largest stride"):
        load_graph(CFG / "yolor_nano.cfg", ReadOptions(size=31))
