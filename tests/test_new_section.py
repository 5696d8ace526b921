"""What is declared in one place is known everywhere: a section, two keys and an activation made up here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from yolor_cfg.cli import main
from yolor_cfg.count import count_by_convention, count_costs
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.activations import ACTIVATIONS, Activation
from yolor_cfg.lang.dialect import DARKNET_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey, Int
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.activations import activate
from yolor_cfg.rewrite.to_darknet import TRANSLATORS, to_plain_darknet
from yolor_cfg.sections import SECTIONS, Section, TensorSpec
from yolor_cfg.shape import Shape
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import read_weights

NET = "[net]\nwidth=6\nheight=4\nchannels=2\n"
CONV = "[convolutional]\nfilters=2\nactivation=linear\n"


class Gain(nn.Module):
    """Each channel times a number of its own, `times` times over, then activated."""

    def __init__(self, channels: int, times: int, activation: str) -> None:
        super().__init__()
        self.gain, self.times, self.activation = nn.Parameter(torch.ones(channels, 1)), times, activation

    def forward(self, x: Tensor) -> Tensor:
        return activate(x * self.gain[:, :, None] ** self.times, self.activation)


@pytest.fixture(autouse=True)
def _made_up_words() -> Iterator[None]:
    """The words exist for one test; were a table not as before, the next test could not declare them."""
    sections, activations = dict(SECTIONS), dict(ACTIVATIONS)
    try:
        ACTIVATIONS["thrice"] = Activation(lambda F, x: 3 * x, dialects=YOLOR_ONLY, darknet_name="linear")

        class GainSection(Section, names="gainful gn"):
            """Multiply each channel by a learned number."""

            examples = ("[gainful]\nactivation=leaky",)
            darknet_form = "nothing"

            times = Int(1, least=1, help="how often it is multiplied")
            warmth = Int(0, dialects=YOLOR_ONLY, help="a key that only YOLOR has")
            chill = Int(0, dialects=DARKNET_ONLY, help="a key that only Darknet has")
            activation = ActivationKey("linear")

            def module(self, x: Shape) -> nn.Module:
                return Gain(x.channels, self.times, self.activation)

            def macs(self, out: Shape, x: Shape) -> int:
                return out.size

            def thop_operations(self, out: Shape, x: Shape) -> int:
                return 7 * out.area

            def tensors(self, x: Shape) -> list[TensorSpec]:
                return [TensorSpec("weight", "gain", (x.channels, 1))]

        yield
    finally:
        for table, before in ((SECTIONS, sections), (ACTIVATIONS, activations)):
            table.clear()
            table.update(before)


def read(lines: str, dialect: str | None = None) -> Graph:
    return build_graph(parse(NET + CONV + lines), ReadOptions(dialect))


def test_the_section_is_parsed_by_both_of_its_names() -> None:
    for name in ("gainful", "gn"):
        section = read(f"[{name}]\ntimes=2\nwarmth=4\nactivation=thrice\n").nodes[-1].section
        assert section.type == "gainful"
        assert dict(section.values) == {"times": 2, "warmth": 4, "activation": "thrice"}
        with pytest.raises(TypeError):
            section.values["times"] = 3  # type: ignore[index]  # what must not work


@pytest.mark.parametrize(
    ("lines", "meant"),
    [("[gainfull]\n", "gainful"), ("[gainful]\nactivation=thrise\n", "thrice")],
)
def test_what_is_misspelt_is_suggested(lines: str, meant: str) -> None:
    with pytest.raises(CfgError) as caught:
        read(lines, "yolor")
    assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize(("key", "meant"), [("warmht", "warmth"), ("chil", "chill")])
def test_a_misspelt_key_is_suggested(key: str, meant: str) -> None:
    assert [told.hint for told in read(f"[gainful]\n{key}=1\n").warnings] == [f"did you mean {meant}?"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("times=1", (True, "darknet")),
        ("warmth=1", (False, "yolor")),
        ("chill=1", (False, "darknet")),
        ("activation=thrice", (False, "yolor")),
        ("activation=thrice\nchill=1", (False, "darknet")),  # Darknet has it by another name: weak evidence
    ],
)
def test_a_key_is_evidence_for_the_dialect_it_names(line: str, told: tuple[bool, str]) -> None:
    text = f"{NET}[gainful]\n{line}\n"
    opposite = build_graph(parse(text), ReadOptions(default_dialect="yolor")).dialect.name
    is_assumed, dialect = told
    assert build_graph(parse(text)).dialect.name == dialect
    assert opposite == ("yolor" if is_assumed else dialect)


def test_keys_of_both_dialects_in_one_file_contradict_each_other() -> None:
    with pytest.raises(CfgError, match="mixes dialects"):
        read("[gainful]\nwarmth=1\nchill=1\n")


def test_info_shows_the_section_with_its_keys() -> None:
    shown = CliRunner().invoke(main, ["info", "--sections", "gainful"])
    assert shown.exit_code == 0, shown.output
    for word in ("[gainful]", "[gn]", "warmth", "a key that only Darknet has", "thrice"):
        assert word in shown.output


def test_it_is_counted_as_it_says() -> None:
    graph = read("[gainful]\n")
    assert count_costs(graph).nodes[-1].macs == 2 * 4 * 6
    assert count_costs(graph).nodes[-1].parameters == 2
    assert count_by_convention(graph, "thop").nodes[-1].flops == 2 * (2 * 4 * 6 + 7 * 4 * 6)


def test_the_network_runs_it() -> None:
    network = Network(read("[gainful]\ntimes=2\nactivation=thrice\n")).eval()
    with torch.no_grad():
        network.module_list[-1].gain.copy_(torch.tensor([[2.0], [5.0]]))
        x = torch.rand(1, 2, 4, 6)
        (out,) = network(x)
        want = 3 * network.module_list[0](x) * torch.tensor([4.0, 25.0])[:, None, None]
    torch.testing.assert_close(out, want)


def test_its_tensors_are_written_and_read(tmp_path: Path) -> None:
    network, again = (Network(read("[gainful]\n")).eval() for _ in range(2))
    with torch.no_grad():
        network.module_list[-1].gain.copy_(torch.tensor([[2.0], [5.0]]))
    write_weights(network, tmp_path / "a.weights")
    read_weights(again, tmp_path / "a.weights")
    assert again.module_list[-1].gain.tolist() == [[2], [5]]


def test_to_darknet_says_it_in_the_form_that_it_names() -> None:
    plain = to_plain_darknet(Network(read("[gainful]\nwarmth=1\n" + CONV, "yolor")).eval())
    assert [node.section.type for node in plain.graph.nodes] == ["convolutional", "convolutional"]


def test_to_darknet_gives_an_activation_darknets_name_or_refuses_it() -> None:
    conv = CONV.replace("linear", "thrice")
    made = Network(read(conv, "yolor")).eval()
    assert to_plain_darknet(made).graph.nodes[-1].section.values["activation"] == "linear"
    ACTIVATIONS["thrice"] = ACTIVATIONS["thrice"]._replace(darknet_name="")
    with pytest.raises(CfgError, match="plain Darknet cannot compute this") as caught:
        to_plain_darknet(Network(read(conv, "yolor")).eval())
    assert caught.value.found == "activation=thrice"


def test_every_section_names_a_form_that_to_darknet_knows() -> None:
    assert {kind.darknet_form for kind in SECTIONS.values()} == {*TRANSLATORS, "itself"}
