"""`yolor new`: a network of the family or a row of the paper as a cfg of one's own."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.graph import load_graph
from yolor_cfg.networks import family, paper

CFG = Path(__file__).parents[1] / "cfg"
ROWS = [f"{table}/{row}" for table, rows in paper.TABLES.items() for row in rows]


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["new", *map(str, args)])
    return result.exit_code, result.output


def test_a_network_has_the_classes_the_size_and_the_activation_asked_for_and_its_anchors(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my.cfg"
    assert run("yolor_csp", "--classes", 3, "--size", 320, "--activation", "leaky", "-o", path)[0] == 0
    graph, shipped = load_graph(path), load_graph(CFG / "yolor_csp.cfg")
    activations = {n.section.activation for n in graph.nodes if n.section.values.get("batch_normalize")}
    assert (graph.image, activations) == ((3, 320, 320), {"leaky"})
    assert [(h.section.classes, h.section.anchors) for h in graph.heads] == [
        (3, head.section.anchors) for head in shipped.heads
    ]
    assert "yours to change" in path.read_text().splitlines()[0]


def test_a_size_of_two_numbers_is_height_by_width(tmp_path: Path) -> None:
    assert run("yolor_micro", "--size", "96x160", "-o", tmp_path / "a.cfg")[0] == 0
    assert load_graph(tmp_path / "a.cfg").image == (3, 96, 160)


def test_the_file_is_called_as_the_network_where_no_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("yolor_micro")[0] == 0
    assert run("table4/mul-iPR", "--base", "yolor_micro")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table4_mul-iPR.cfg", "yolor_micro.cfg"]


def test_a_network_as_it_stands_is_the_shipped_one_but_for_its_first_line(tmp_path: Path) -> None:
    run("yolor_p6", "-o", tmp_path / "p6.cfg")
    shipped = (CFG / "yolor_p6.cfg").read_text().splitlines()
    assert (tmp_path / "p6.cfg").read_text().splitlines()[1:] == shipped[1:]


def test_a_row_of_the_paper_is_its_text(tmp_path: Path) -> None:
    path = tmp_path / "row.cfg"
    assert run("table5/mul-iPR-star", "--base", "yolor_micro", "--classes", 3, "-o", path)[0] == 0
    text = paper.ablation_text("table5", "mul-iPR-star", base="yolor_micro", classes=3)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("yolor_csq",), "did you mean yolor_csp?"),
        (("yolor_p6", "--size", "1000"), "allowed: 960, 1024"),
        (("yolor_p6", "--size", "64x"), "'64x' is not an image size"),
        (("yolor_p6", "--activation", "silly"), "'silly' is not one of"),
        (("yolor_p6", "--classes", "0"), "0 is not in the range"),
        (("yolor_p6", "--base", "yolor_csp"), "only rows of the paper's tables have a base"),
        (("table1/iXX",), "allowed: baseline, iFA"),
        (("table9/iXX",), "no such table"),
        (("table4/mul-iPR", "--base", "yolor"), "no such network"),
        (("table4/mul-iPR", "--size", "320"), "has its own size"),
        ((), "give the NAME of a network"),
        (("--list", "yolor_p6"), "takes no NAME"),
        (("yolor_p6", "-o", "folder/"), "give a file name"),
        (("table4",), "name a row of it: table4/mul-iPR"),
    ],
)
def test_what_makes_no_network_is_told_and_writes_nothing(
    args: tuple[str, ...], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run(*args)
    assert code == 2 and what in output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_without_force(tmp_path: Path) -> None:
    path = tmp_path / "mine.cfg"
    path.write_text("mine")
    code, output = run("yolor_micro", "-o", path)
    assert code == 1 and "exists already" in output and path.read_text() == "mine"
    assert run("yolor_micro", "-o", path, "--force")[0] == 0


def test_the_list_names_every_network_with_its_costs_and_every_row_of_the_paper() -> None:
    code, output = run("--list", "--json")
    assert code == 0
    shown = json.loads(output)
    assert [one["name"] for one in shown["networks"]] == list(family.NETWORKS)
    csp = next(one for one in shown["networks"] if one["name"] == "yolor_csp")
    assert (csp["image"], csp["parameters"], round(csp["gflops"], 1)) == ([640, 640], 52923994, 120.2)
    assert [one["name"] for one in shown["ablations"]] == ROWS
    lines = run("--list")[1].splitlines()
    summaries = [one["summary"] for one in shown["networks"]]
    assert len(set(summaries)) == len(summaries), "variants of one architecture are told apart"
    assert lines[0].split()[0] == "network" and any("52,923,994" in line for line in lines)


def test_a_row_of_the_paper_has_its_operators_and_the_classes_asked_for(tmp_path: Path) -> None:
    assert run("table4/mul-iPR", "--classes", 3, "-o", tmp_path / "row.cfg")[0] == 0
    graph = load_graph(tmp_path / "row.cfg")
    assert [node.section.type for node in graph.nodes].count("control_channels") == 3
    assert {head.section.classes for head in graph.heads} == {3}
