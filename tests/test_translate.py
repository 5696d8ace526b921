"""`yolor cfg translate`: the same network for another family, or the reason why there is none."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from yolor_cfg.cli import main
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.dialect import DARKNET, DIALECTS
from yolor_cfg.lang.dialect import YOLOR as YOLOR_DIALECT
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.equality import (
    LARGEST_DIFFERENCE,
    carry_tensors,
    largest_difference,
    prove_equal,
    seed_tensors,
)
from yolor_cfg.rewrite.translate import TranslatedText, translate
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import load

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation={}\n"
LAST = "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation={}\n"
YOLO = "[yolo]\nmask=0,1\nanchors=10,14, 23,27\nclasses=2\nnum=2\n"
BODY = NET + "".join(CONV.format(4, 2, "leaky") for _ in range(3))
SQUARED = BODY + LAST.format("logistic") + YOLO + "# how the boxes are coded\nnew_coords=1\nscale_x_y=2\n"
YOLOR = BODY + LAST.format("linear") + YOLO


def read(text: str, dialect: str | None = None) -> Graph:
    return build_graph(parse(text, "here.cfg"), ReadOptions(dialect))


def translated(
    text: str, to: str, dialect: str | None = "darknet", path: str = "there.cfg"
) -> TranslatedText:
    """The translation, with its proof made."""
    graph = read(text, dialect)
    made = translate(graph, to, path)
    assert prove_equal(graph, made).difference <= LARGEST_DIFFERENCE
    assert made.graph.dialect.name == to
    return made


def refusal(text: str, to: str, dialect: str | None = "darknet", path: str = "there.cfg") -> str:
    with pytest.raises(CfgError) as caught:
        translate(read(text, dialect), to, path)
    return str(caught.value)


def test_a_squared_head_takes_its_sigmoid_from_the_convolution_in_darknet_and_applies_it_in_yolor() -> None:
    made = translated(SQUARED, "yolor")
    assert "activation=linear\n" in made.text and "# new_coords=1\n" in made.text
    assert "# how the boxes are coded\n" in made.text
    back = translated(made.text, "darknet", "yolor")
    assert back.text.count("activation=logistic") == 1 and "\nnew_coords=1\n" in back.text
    here, there = (Network(one).double().eval() for one in (read(SQUARED, "darknet"), back.graph))
    with torch.no_grad():
        seed_tensors(here, torch.Generator().manual_seed(3))
        there.load_state_dict(here.state_dict())
        image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
        assert all(
            torch.equal(*pair)
            for pair in zip(here.decode(here(image)), there.decode(there(image)), strict=True)
        )


def test_lines_that_stay_are_kept_to_the_character() -> None:
    odd = SQUARED.replace("filters=4", "filters =  4").replace("[yolo]", "# heads\n\n[yolo]")
    made = translated(odd, "yolor")
    kept = [line for line in made.text.splitlines() if line in odd.splitlines()]
    gone = [line for line in odd.splitlines() if line not in made.text.splitlines()]
    assert gone == ["activation=logistic", "new_coords=1"]
    assert len(kept) == len(odd.splitlines()) - 2


@pytest.mark.parametrize(("path", "works"), [("x.cfg", False), ("yolov4.cfg", True)])
def test_strides_by_the_order_of_heads_have_to_be_those_of_the_sizes(path: str, works: bool) -> None:
    if works:
        translated(YOLOR, "ultralytics", path=path)
    else:
        assert "strides by the order of the heads" in refusal(YOLOR, "ultralytics", path=path)


def test_boxes_of_other_families_are_refused_with_section_line_and_reason() -> None:
    spread = YOLOR + "scale_x_y=1.05\n"
    told = refusal(spread, "ultralytics", path="yolov4.cfg")
    assert told.startswith("here.cfg:37: [yolo #4] scale_x_y:") and "scale_x_y=1.05" in told
    assert "sizes of (2v)^2" in refusal(YOLOR, "yolor")
    assert "sizes of exp(v) and centres" in refusal(YOLOR, "ultralytics", "yolor")


def test_a_squared_head_behind_another_activation_is_refused() -> None:
    told = refusal(SQUARED.replace("logistic", "linear"), "yolor")
    assert "another activation" in told and "[yolo #4]" in told


@pytest.mark.parametrize(
    ("section", "to", "line"),
    [
        ("[maxpool]\nsize=2\nstride=2\n", "yolor", ""),
        ("[maxpool]\nsize=5\nstride=1\npadding=4\n", "yolor", "# padding=4"),
        ("[dropout]\nprobability=.5\n", "yolor", "layers=-1"),
        (CONV.format(4, 1, "swish"), "ultralytics", ""),
        ("[convolutional]\nfilters=4\nsize=3\npadding=1\nactivation=leaky\n", "yolor", "pad=1"),
        ("[convolutional]\nfilters=4\nsize=3\npadding=1\nactivation=leaky\n", "yolor", "stride=1"),
        ("[convolutional]\nfilters=4\nfilters=5\nsize=1\nactivation=leaky\n", "yolor", "# filters=5"),
        ("[route]\nlayers=-1\ngroups=2\ngroup_id=0\n", "yolor", "[route_lhalf]"),
        ("[shortcut]\nfrom=0\nactivation=linear\n", "yolor", "from=-3"),
        ("[shortcut]\nfrom=-3 # the first\n", "yolor", "from=-3"),
        ("[convolutional]\nfilters=4\nactivation=linear\n[activation]\nactivation=mish\n", "yolor", "mish"),
    ],
)
def test_a_section_of_darknet_is_said_in_the_words_of_the_target(section: str, to: str, line: str) -> None:
    body = NET + CONV.format(4, 1, "leaky") * 3 + section + LAST.format("linear")
    made = translated(body, to)
    assert any(line in one for one in made.text.splitlines())


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (CONV.format(4, 1, "silu"), "activation=swish"),
        ("[maxpool]\nsize=2\nstride=2\n", "padding=0"),
        ("[maxpool]\nsize=5\nstride=1\n", ""),
        ("[shortcut]\nfrom=-2\nactivation=leaky\n", "activation=linear"),
        ("[route_lhalf]\nlayers=-1\n", "groups=2"),
        ("[route2]\nlayers=-1,0\n", "[route]"),
        ("[reorg3d]\nstride=2\n", "layers=-1"),
        ("[reorg]\nstride=2\n", "layers=-4,-3,-2,-1"),
        ("[reorg]\nstride=2\n[route]\nlayers=3,-1\n", "layers=8,-1"),
        (
            CONV.format(4, 1, "silu") + "[maxpool]\nsize=3\nstride=1\n[sam]\nfrom=-2\nactivation=mish\n",
            "linear",
        ),
        ("[avgpool]\n[scale_channels]\nfrom=-2\n", ""),
        (
            LAST.format("linear").replace("14", "1") + "[scale_channels]\nfrom=-2\n",
            "scale_wh=1",
        ),
    ],
)
def test_a_section_of_yolor_is_said_in_the_words_of_darknet(section: str, line: str) -> None:
    body = NET + CONV.format(4, 1, "leaky") * 3 + section + LAST.format("linear")
    made = translated(body, "darknet", "yolor")
    assert any(line in one for one in made.text.splitlines())


SIDES = "[convolutional]\nfilters=2\nsize=3\npad=1\nactivation=leaky\nstride=1\nstride_x={}\nstride_y=2\n"


@pytest.mark.parametrize(("across", "left"), [(4, ("stride_x=4", "stride_y=2")), (2, ("stride=2",))])
def test_strides_of_two_sides_are_said_as_yolor_reads_them(across: int, left: tuple[str, ...]) -> None:
    # models/models.py of WongKinYiu/yolor: stride_x and stride_y count only where there is no stride.
    made = translated(NET + SIDES.format(across), "yolor")
    lines = [line for line in made.text.splitlines() if line.startswith("stride")]
    assert sorted(lines) == sorted(left)
    assert made.graph.nodes[0].shape == (2, 32, 64 // across)


def test_blocks_in_the_order_of_yolor_come_back_as_one_section() -> None:
    text = (
        NET
        + "[reorg]\nstride=2\n"
        + CONV.format(4, 1, "silu") * 2
        + "[shortcut]\nfrom=-2\n[route]\nlayers=0,2\n"
    )
    there = translated(text + LAST.format("linear"), "darknet", "yolor")
    back = translated(there.text, "yolor", "darknet")
    assert [node.section.type for node in back.graph.nodes] == [
        node.section.type for node in read(text + LAST.format("linear"), "yolor").nodes
    ]
    assert "\nlayers=-4,2\n" in back.text


@pytest.mark.parametrize(
    ("section", "to", "reason"),
    [
        ("[maxpool]\nsize=2\nstride=1\n", "yolor", "pads this pool otherwise"),
        ("[maxpool]\nsize=3\nstride=2\npadding=1\n", "yolor", "pads this pool otherwise"),
        ("[reorg]\nstride=2\n", "yolor", "orders the pixels"),
        ("[reorg3d]\nstride=2\n", "yolor", "passes its input on"),
        ("[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", "yolor", "no groups"),
        (CONV.format(4, 1, "elu"), "yolor", "no such activation"),
        (CONV.format(4, 1, "logistic"), "ultralytics", "no such activation"),
        (CONV.format(4, 1, "leaky") + "dilation=2\n", "yolor", "no such key"),
        (CONV.format(4, 1, "leaky") + "antialiasing=1\n", "ultralytics", "no such key"),
        ("[shortcut]\nfrom=-2\nactivation=leaky\n", "yolor", "no activation to sums"),
        ("[connected]\noutput=4\n", "yolor", "no such section"),
        ("[upsample]\nstride=-2\n", "yolor", "only enlarges"),
        ("[avgpool]\n", "ultralytics", "no such section"),
    ],
)
def test_what_has_no_equal_is_refused(section: str, to: str, reason: str) -> None:
    told = refusal(NET + CONV.format(4, 1, "leaky") * 3 + section, to)
    assert reason in told and "#3]" in told


@pytest.mark.parametrize("name", ["implicit_add", "dwt", "focus"])
def test_what_only_weights_can_say_comes_with_the_hint_to_fold(name: str) -> None:
    keys = "filters=4\nsize=1\nstride=1\npad=1\nactivation=linear\n" if name == "focus" else ""
    keys = "filters=4\n" if name == "implicit_add" else keys
    told = refusal(NET + CONV.format(4, 1, "silu") + f"[{name}]\n{keys}", "darknet", "yolor")
    assert "no such section" in told and "--fold-implicit" in told
    told = refusal(NET + CONV.format(4, 1, "silu") + f"[{name}]\n{keys}", "ultralytics", "yolor")
    assert "no such section" in told and "fold" not in told


def test_sections_refused_for_the_same_reason_are_told_once() -> None:
    told = refusal(NET + CONV.format(4, 1, "elu") * 9, "yolor")
    assert told.count("no such activation") == 1 and "likewise 8 more" in told


def test_without_the_new_variances_the_proof_fails() -> None:
    graph = read(SQUARED, "darknet")
    made = translate(graph, "yolor", "there.cfg")
    here = Network(graph).double().eval()
    with torch.no_grad():
        seed_tensors(here, torch.Generator().manual_seed(0))
        there = Network(made.graph).double().eval()
        there.load_state_dict(here.state_dict())
        image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
        same = carry_tensors(here, made.graph, made.owners)
        boxes = [list(one.decode(one(image.clone()))) for one in (here, there, same)]
        assert largest_difference(boxes[0], boxes[1]) > 1e-3
        assert largest_difference(boxes[0], boxes[2]) < 1e-12
        assert min(float(t.min()) for n, t in same.state_dict().items() if "running_var" in n) >= 0


def test_a_difference_is_told_at_the_first_section_that_has_it() -> None:
    graph, other = read(BODY, "darknet"), read(BODY.replace("leaky", "mish"), "yolor")
    made = TranslatedText(other, (), (0, 1, 2), (0, 1, 2))
    with pytest.raises(CfgError, match=r"here.cfg:5: \[convolutional #0\] YOLOR .* something else"):
        prove_equal(graph, made)


def test_our_own_keys_in_net_are_not_handed_on() -> None:
    made = translated(
        YOLOR.replace("channels=3\n", "channels=3\nbn_eps=1e-3\ndialect=yolor\n"), "darknet", None
    )
    assert "# bn_eps=1e-3\n# dialect=yolor\n" in made.text
    assert made.graph.dialect.bn_eps == 1e-5


def test_lines_at_which_pytorch_programs_stop_are_put_right() -> None:
    odd = SQUARED.replace("[yolo]", "  \n   # indented\n; semicolon\n[yolo]\nword\n")
    made = translated(odd, "yolor")
    assert "\n\n# indented\n#; semicolon\n[yolo]\n# word\n" in made.text


TRANSLATED = {
    "only_keys": "there.cfg",
    "strides_in_order": "fpn.cfg",
    "reversing_words": "yolov3.cfg",
}
"""The facts by which only a translation goes, and a path with which each is seen."""


@pytest.mark.parametrize(("fact", "path"), TRANSLATED.items())
def test_a_fact_of_translations_is_seen_in_one(fact: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> str:
        try:
            return translate(read(SQUARED, "darknet"), "yolor", path).text
        except CfgError as fault:
            return str(fault)

    before = outcome()
    monkeypatch.setitem(DIALECTS, "yolor", YOLOR_DIALECT._replace(**{fact: getattr(DARKNET, fact)}))
    assert outcome() != before


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["cfg", "translate", *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here.cfg").write_text(SQUARED)
    return tmp_path


def test_the_command_writes_the_file_and_prints_changes_and_proof(here: Path) -> None:
    result = run(here / "here.cfg", "--to", "yolor", "-o", here / "out.cfg")
    assert result.exit_code == 0, result.output
    assert "[convolutional] #3 activation=linear (was logistic)" in result.stdout
    assert "max difference " in result.stdout and "variances of 3 batch norms" in result.stderr
    assert read((here / "out.cfg").read_text()).dialect.name == "yolor"
    again = run(here / "here.cfg", "--to", "yolor", "-o", here / "out.cfg")
    assert again.exit_code == 1 and "exists already" in again.stderr
    assert run(here / "here.cfg", "--to", "yolor", "-o", here / "out.cfg", "--force").exit_code == 0
    gone = run(here / "gone.cfg", "--to", "yolor", "-o", here / "out.cfg", "--force")
    assert gone.exit_code == 2 and "the cfg cannot be read" in gone.stderr
    own = run(here / "out.cfg", "--to", "yolor", "-o", here / "out.cfg", "--force")
    assert own.exit_code == 2 and "is the input cfg" in own.stderr


def test_a_refused_network_has_exit_code_2_and_no_file(here: Path) -> None:
    result = run(here / "here.cfg", "--to", "ultralytics")
    assert result.exit_code == 2 and "decodes boxes otherwise" in result.stderr
    assert [one.name for one in here.iterdir()] == ["here.cfg"]
    assert "nothing to translate" in run(here / "here.cfg", "--to", "darknet", "--dialect", "darknet").stderr


def test_weights_are_written_for_the_other_program(here: Path) -> None:
    network = Network(read(SQUARED, "darknet")).eval()
    with torch.no_grad():
        seed_tensors(network, torch.Generator().manual_seed(1))
    write_weights(network, here / "a.weights")
    files = ("--weights", here / "a.weights", here / "b.weights")
    result = run(here / "here.cfg", "--to", "yolor", "-o", here / "out.cfg", "--json", *files)
    told = json.loads(result.stdout)
    assert told["max_difference"] < 1e-12 and told["from"] == "darknet" and told["to"] == "yolor"
    assert told["changes"][0]["why"] and told["weights"] == str(here / "b.weights")
    other, image = load(here / "out.cfg", here / "b.weights"), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        pairs = zip(network.decode(network(image)), other.decode(other(image)), strict=True)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
    assert (here / "a.weights").read_bytes() != (here / "b.weights").read_bytes()


def test_with_weights_implicit_knowledge_is_folded_for_darknet(here: Path) -> None:
    implicit = "[implicit_add]\nfilters=4\n[route]\nlayers=-2\n[shift_channels]\nfrom=-2\n"
    (here / "in.cfg").write_text(BODY + implicit + LAST.format("linear") + YOLO)
    network = load(here / "in.cfg")
    with torch.no_grad():
        seed_tensors(network, torch.Generator().manual_seed(1))
    write_weights(network, here / "in.weights")
    files = ("--weights", here / "in.weights", here / "out.weights")
    result = run(here / "in.cfg", "--to", "darknet", "-o", here / "out.cfg", *files)
    assert result.exit_code == 0, result.output
    plain, image = load(here / "out.cfg", here / "out.weights"), torch.rand(1, 3, 64, 64)
    assert plain.graph.dialect.name == "darknet" and "[implicit" not in (here / "out.cfg").read_text()
    with torch.no_grad():
        pairs = zip(network.decode(network(image)), plain.decode(plain(image)), strict=True)
        assert all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)


PJREDDIE_CELLS = {
    "[rnn]\noutput=5\nhidden=6\nbatch_normalize=0\n": ("hidden=5\n",),
    "[rnn]\noutput=5\nlogistic=2\n": ("hidden=5\n", "# logistic=2\n"),
    "[crnn]\noutput_filters=5\nhidden_filters=4\noutput=9\n": (
        "output=5\n",
        "hidden=4\n",
        "pad=1\n",
        "# output=9\n",
    ),
    "[gru]\noutput=5\n": (),
    "[lstm]\noutput=5\n": (),
}


@pytest.mark.parametrize("section", PJREDDIE_CELLS)
def test_a_recurrent_section_of_the_first_darknet_keeps_the_sizes_of_its_tensors(section: str) -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n\n" + section + "\n[softmax]\n"
    made = translated(text, "darknet", "pjreddie")
    assert all(f"\n{line}" in made.text for line in PJREDDIE_CELLS[section])


def test_a_candidate_with_tanh_is_refused() -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n\n[gru]\noutput=5\ntanh=1\n"
    assert "tanh: C Darknet (AlexeyAB/darknet) has a logistic candidate only" in refusal(
        text, "darknet", "pjreddie"
    )
