"""The counts that YOLOR's paper prints come out of the table of networks, and move with it."""

import copy
import json
from pathlib import Path
from typing import Any

import corpus_table
import paper_tables
import pytest
import readme_tables
from click.testing import CliRunner, Result
from paper_counts import CFG, CFG_FUSED, YAML, YAML_FUSED, PaperConvention, count_network

from yolor_cfg.count import count_costs
from yolor_cfg.graph import load_graph
from yolor_cfg.networks import family

CORPUS = "<!-- corpus -->\nold\n<!-- /corpus -->\n"
CFGS = Path(__file__).resolve().parents[1] / "cfg"
# Every count of Tables 7, A1, A2 and A3 that follows from a network.
PRINTED = """
52908989 52911546 37262204 37265016 117517.2952 326256.1624 117519.4372 79873400 115909400 151782680 9290077
9291738 9205693 9207354 127530352 7266973 7268634 12653596 35889612 77218620 141755500 17.9G 16.1G 17.0G
326.2G 454.0G 684.0G 936.8G 718.4G 69.6G 209.6G 470.8G 891.6G
326G 37M 454G 80M 684G 116M 937G 152M 328G 71M 718G 128M 1639G 287M
""".split()
# The yamls of the paper branch and of Scaled-YOLOv4, their derivatives; and what of them is in our table.
YAMLS = {
    "yolor-p6": "yolor_p6",
    "yolor-w6": "yolor_w6",
    "yolor-e6": "yolor_e6",
    "yolor-d6": "yolor_d6",
    "yolor-ssss-s2d": "yolor_csp_ssss",
    "yolor-ssss-dwt": "yolor_csp_ssss_dwt",
    "yolor-s": "yolor_s",
    "yolor-sss": "yolor_csp_sss",
    "yolor-csp": "yolor_csp",
    "yolor-csp-fast": "yolor_csp_fast",
    "y4-csp-fast": "yolov4_csp_fast",
    "y4-csp-sss": "yolov4_csp_sss",
    "y4-csp-ssss": "yolov4_csp_ssss",
    "base-p6": "yolov4_p6_light",
    "yolov4-csp": "yolov4_csp",
    "yolov4-p5": "yolov4_p5",
    "yolov4-p6": "yolov4_p6",
    "yolov4-p7": "yolov4_p7",
}
PREDICTIONS = {3: 80 * 80 + 40 * 40 + 20 * 20, 4: 80 * 80 + 40 * 40 + 20 * 20 + 10 * 10}  # cells at 640


def run(*args: str) -> Result:
    return CliRunner().invoke(paper_tables.main, args)


@pytest.fixture(scope="module")
def text() -> Result:
    return run()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads(run("--json").stdout))


def cells_of(document: dict[str, Any]) -> list[dict[str, str]]:
    return [cell for table in document["tables"] for cell in table["cells"]]


@pytest.fixture
def narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLOv4-CSP-SSS with its neck's finest level 8 channels narrower."""
    row = family.NETWORKS["yolov4_csp_sss"]
    monkeypatch.setitem(family.NETWORKS, "yolov4_csp_sss", row._replace(neck=(56, *row.neck[1:])))


def test_every_printed_count_that_a_network_gives_is_met_to_the_last_digit(
    text: Result, document: dict[str, Any]
) -> None:
    equal = [cell for cell in cells_of(document) if cell["verdict"] == "equal"]
    assert {cell["paper"] for cell in equal} == {cell["ours"] for cell in equal} == set(PRINTED)
    assert text.exit_code == 0
    assert "53 equal, 0 NOT EQUAL, 1 no graph gives it, 18 not a Darknet network" in text.stdout


def test_the_one_cell_that_no_graph_gives_is_shown_with_its_reason(
    text: Result, document: dict[str, Any]
) -> None:
    (cell,) = (cell for cell in cells_of(document) if cell["verdict"] == "no graph gives it")
    assert (cell["paper"], cell["ours"]) == ("326264.7304", "326264.8324")
    assert float(cell["paper"]) == round(326256.1624 + 255 * (160**2 + 80**2 + 40**2) / 1e6, 4)
    assert "  326264.7304: the printed figure leaves a level out" in text.stdout


def test_other_systems_are_no_darknet_networks(document: dict[str, Any]) -> None:
    others = {
        cell["model"].split()[0] for cell in cells_of(document) if cell["verdict"] == "not a Darknet network"
    }
    assert others == {"ST-L", "ST-T", "ST-S", "ST-B", "C2", "P2"}


def test_another_width_moves_the_cells_and_fails(narrower: None) -> None:
    result = run()
    moved = [cell for cell in cells_of(json.loads(run("--json").stdout)) if cell["verdict"] == "NOT EQUAL"]
    assert result.exit_code == 1 and "NOT EQUAL" in result.stdout
    assert [(cell["model"], cell["column"], cell["paper"]) for cell in moved] == [
        ("Y4-SSS", "parameters", "9290077"),
        ("Y4-SSS", "FLOPs", "17.9G"),
    ]
    assert [cell["ours"] for cell in moved] != [cell["paper"] for cell in moved]


@pytest.mark.parametrize(("convention", "rule"), [(YAML, 2), (YAML_FUSED, 3)])
def test_the_yaml_columns_move_with_the_width_by_their_rule(
    convention: PaperConvention, rule: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of P3's only rCSP 8 channels go, on 80 x 80 cells: yaml then has `rule` numbers less a channel."""
    plain = CFG_FUSED if convention.fused else CFG

    def difference() -> tuple[int, int]:
        yaml, cfg = (count_network("yolov4_csp_sss", which, 640) for which in (convention, plain))
        return yaml.parameters - cfg.parameters, yaml.flops - cfg.flops

    before = difference()
    row = family.NETWORKS["yolov4_csp_sss"]
    monkeypatch.setitem(family.NETWORKS, "yolov4_csp_sss", row._replace(neck=(56, *row.neck[1:])))
    after = difference()
    assert before[0] - after[0] == rule * 8
    assert before[1] - after[1] == 2 * rule * 8 * 80 * 80


@pytest.mark.parametrize("name", [name for name in family.NETWORKS if name.endswith("_paper")])
def test_yaml_unfused_has_the_parameters_of_the_paper_branchs_cfg(name: str) -> None:
    parameters = count_costs(load_graph(CFGS / f"{name}.cfg")).parameters
    assert count_network(name.removesuffix("_paper"), YAML, 640).parameters == parameters


def test_yaml_columns_are_those_measured_with_the_original_code(shared: Path) -> None:
    """The measured MFLOPs leave the multiplied predictions out."""
    header, *lines = (shared / "reference" / "networks-counts.tsv").read_text().splitlines()
    measured = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    rows = {row["model"].removesuffix(".yaml"): row for row in measured if row["model"].endswith(".yaml")}
    for model, name in YAMLS.items():
        for convention, word in ((YAML, "unfused"), (YAML_FUSED, "fused")):
            ours = count_network(name, convention, 640)
            implicit = family.NETWORKS[name].implicit
            levels = len(family.NETWORKS[name].heads_config(80).widths)
            refined = 255 * PREDICTIONS[levels] if implicit else 0
            told = (ours.parameters, f"{(ours.flops - refined) / 1e6:.4f}")
            wanted = rows[model]["params" if word == "unfused" else "params_fused"]
            assert told == (int(wanted), rows[model][f"MFLOPs640_{word}"]), (name, word)


def test_the_json_has_the_four_conventions_of_each_network(document: dict[str, Any]) -> None:
    kinds = {row.pop("network"): row for row in copy.deepcopy(document["conventions"])}
    assert kinds["yolor_csp_sss"]["parameters (yaml, fused)"] == "9291738"
    assert kinds["yolov4_p6_light"]["MFLOPs at 640 (cfg, unfused)"] == "81564.0406"
    assert {len(row) for row in kinds.values()} == {8}


def test_the_tables_of_networks_and_of_public_cfgs_are_up_to_date() -> None:
    result = CliRunner().invoke(readme_tables.main, ["--check"])
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.slow
def test_a_stale_table_of_networks_is_found_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- networks -->\nold\n<!-- /networks -->\nafter\n")
    args = ["--page", str(page)]
    stale = CliRunner().invoke(readme_tables.main, [*args, "--check"])
    assert stale.exit_code == 1 and "out of date" in stale.output
    assert CliRunner().invoke(readme_tables.main, args).exit_code == 0
    assert CliRunner().invoke(readme_tables.main, [*args, "--check"]).exit_code == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- networks -->\n") and "<!-- /networks -->\nafter\n" in text
    assert "| [yolor_csp](../cfg/yolor_csp.cfg) | 640 x 640 | 52,923,994 | 52,891,610 | 120.2 |" in text


def test_without_the_public_cfgs_their_table_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_table, "SHARED", Path("nowhere"))
    assert readme_tables.replace_corpus(CORPUS) == CORPUS


def test_public_cfgs_are_counted_by_family_and_reason(tmp_path: Path) -> None:
    net, last = "[net]\nwidth=8\nheight=8\nchannels=3\n", "[convolutional]\nfilters=4\n"
    texts = ("", "[yolo_bdp]\n", "[se]\nreduction=2\n", "[implicit_add]\nfilters=2\n", "[route]\nlayers=7\n")
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.cfg").write_text(net + last + text)
    (tmp_path / "conflict.cfg").write_text("<<<<<<< HEAD\n")
    rows = corpus_table.corpus_table(sorted(tmp_path.iterdir())).splitlines()[2:]
    assert rows == [
        "| darknet | 3 | 0 | 1 | 1 with `[yolo_bdp]`, 1 damaged |",
        "| yolor | 1 | 1 | 1 |  |",
        "| ultralytics | 1 | 1 | 1 |  |",
        "| no text of a cfg | 1 | 0 | 0 | 1 damaged |",
        "| all | 6 | 2 | 3 | 1 with `[yolo_bdp]`, 2 damaged |",
    ]


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- /networks -->\n<!-- networks -->\n")
    result = CliRunner().invoke(readme_tables.main, ["--page", str(page)])
    assert result.exit_code == 1 and "has no <!-- networks -->" in result.output
