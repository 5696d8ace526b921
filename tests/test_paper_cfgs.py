"""The networks of the YOLOR paper's ablations: each can be built, run and trained in all that is implicit."""

import pytest
import torch

from yolor_cfg.count import count_costs
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks import family, paper
from yolor_cfg.train.loss import initialize_biases

ROWS = [(table, row) for table, rows in paper.TABLES.items() for row in rows]
CLASSES = 3
# The rows of each table; those with a chain are section 4.2's.
PAPER = {"table1": 2, "table2": 2, "table3": 5, "table4": 6, "table5": 3, "table6": 4, "table7": 4}
# What a row adds to the parameters of yolor_micro (features of 40, 56, 80 channels; 3 x 8 predictions a
# level; 512 numbers an embedding), written out.
FEATURES, PREDICTIONS = (40, 56, 80), 24
ALIGN, REFINE = sum(FEATURES), 3 * PREDICTIONS
JDC, JDE = 80 * 3 + 3, sum(512 * channels + 512 for channels in FEATURES)
EXTRA = {
    ("table1", "iFA"): ALIGN,
    ("table2", "iPR"): REFINE,
    ("table3", "JDC"): JDC,
    ("table3", "iJDC"): JDC + ALIGN + 80,
    ("table3", "iJDC-chain"): JDC + ALIGN + 80 + 80 * 80,
    ("table3", "JDE"): JDE,
    ("table3", "iJDE"): JDE + 2 * ALIGN,
    ("table3", "iJDE-chain"): JDE + 2 * ALIGN + sum(channels**2 for channels in FEATURES),
    ("table4", "add-iFA"): ALIGN,
    ("table4", "mul-iFA"): ALIGN,
    ("table4", "cat-iFA"): ALIGN + PREDICTIONS * ALIGN,  # the predictions read the constants too
    ("table4", "add-iPR"): REFINE,
    ("table4", "mul-iPR"): REFINE,
    ("table5", "mul-iFA-star"): 3 * 3,
    ("table5", "mul-iPR-star"): 3 * 3 * 2,
    ("table6", "iFA"): ALIGN,
    ("table6", "wiFA"): sum(2 * channels + 2 * channels * channels for channels in FEATURES),
    ("table6", "icFA"): sum(2 * channels + 2 * channels * channels for channels in FEATURES),
    ("table7", "implicit1"): ALIGN + REFINE,
    ("table7", "implicit2"): ALIGN + REFINE,
}


def text_of(table: str, row: str) -> str:
    return paper.ablation_text(table, row, base="yolor_micro", classes=CLASSES)


def network_of(table: str, row: str) -> Network:
    torch.manual_seed(0)
    return Network(build_graph(parse(text_of(table, row)), ReadOptions(size=64)))


def ends_of(network: Network) -> list[int]:
    """The nodes that nobody reads."""
    read = {source for node in network.graph.nodes for source in node.sources}
    return [node.index for node in network.graph.nodes if node.index not in read]


def test_every_row_of_the_tables_is_there():
    rows = {table: [row for row in rows if "chain" not in row] for table, rows in paper.TABLES.items()}
    assert {table: len(rows) for table, rows in rows.items()} == PAPER


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_adds_the_parameters_that_its_description_says(table, row):
    baseline = count_costs(build_graph(parse(text_of("table1", "baseline")))).parameters
    assert count_costs(build_graph(parse(text_of(table, row)))).parameters - baseline == EXTRA.get(
        (table, row), 0
    )


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_runs_and_ends_in_its_heads_and_the_branches_of_its_second_task(table, row):
    network = network_of(table, row)
    assert ends_of(network) == list(network.graph.outputs)
    with torch.no_grad():
        raws = network(torch.rand(1, 3, 64, 64))
    kinds = ["jde" if "JDE" in row else "yolo"] * 3 + ["logistic"] * ("JDC" in row)
    assert [node.section.type for node in network.graph.heads] == kinds
    assert network.decode(raws).boxes_xywh.shape == (1, 3 * (64 + 16 + 4), 4)
    if "JDC" in row:
        labels = network.labels(raws)
        assert labels is not None and labels.shape == (1, CLASSES)
    if "JDE" in row:
        vectors = network.embeddings(raws)
        assert vectors.shape == (1, 3 * (64 + 16 + 4), 512)
        torch.testing.assert_close(vectors.norm(dim=2), torch.ones(vectors.shape[:2]))


@pytest.mark.parametrize(("table", "row"), [key for key in EXTRA if key[1] not in ("JDC", "JDE")])
def test_all_that_is_implicit_in_a_row_learns(table, row):
    network = network_of(table, row).train()
    values = network.trace(torch.rand(2, 3, 64, 64), ends_of(network))
    sum((value * torch.randn_like(value)).mean() for value in values.values()).backward()
    nodes = [node for node in network.graph.nodes if node.section.type.startswith("implicit")]
    assert len(nodes) >= 3
    for node in nodes:
        for name, parameter in network.module_list[node.index].named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (node.index, name)
            assert parameter.grad.abs().max() > 0, (node.index, name)


@pytest.mark.parametrize(
    ("row", "base"),
    [
        ("implicit1", "yolor_micro"),
        ("implicit1", "yolor_csp_fast"),
        ("implicit2", "yolor_p6"),
        ("implicit1", "yolor_csp"),
    ],
)
def test_alignment_and_refinement_together_are_the_shipped_networks(row, base):
    """Section by section; the shipped ones may stand in another activation and have comments."""

    def sections(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
        return [(raw.name, [(line.key, line.value) for line in raw.entries]) for raw in parse(text).layers]

    shipped = family.cfg_text(base, family.NETWORKS[base])
    assert sections(paper.ablation_text("table7", row, base=base)) == sections(shipped)


@pytest.mark.parametrize(
    ("row", "parameters"),
    [("baseline1", 52908989), ("implicit1", 52911546), ("baseline2", 37262204), ("implicit2", 37265016)],
)
def test_the_parameters_of_table_7(row, parameters):
    assert count_costs(build_graph(parse(paper.ablation_text("table7", row)))).parameters == parameters


@pytest.mark.parametrize(
    ("table", "word", "row"),
    [
        ("table1", "iFA", "iFA"),
        ("table1", "+iFA", "iFA"),
        ("table4", "× iFA", "mul-iFA"),
        ("table4", "⊕iFA", "cat-iFA"),
        ("table5", "×iPR*", "mul-iPR-star"),
        ("table3", "+ iJDC", "iJDC"),
    ],
)
def test_a_row_may_be_named_as_the_paper_does(table, word, row):
    assert paper.row_named(table, word) == row


def test_the_biases_of_joint_heads_start_with_priors():
    network = network_of("table3", "iJDE")
    assert initialize_biases(network) == ()
