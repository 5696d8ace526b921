"""How the dialect of a file is told, in the order of the design, and what it changes."""

import pytest
from torch import nn

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import ALL_DIALECTS, C_DARKNET, DARKNET, DIALECTS, YOLOR
from yolor_cfg.lang.dialect_choice import DialectEvidence, choose_dialect
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.sections import SECTIONS

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters=8\nactivation=leaky\n"
ONLY_YOLOR = "[implicit_add]\nfilters=8\n"
ONLY_DARKNET = "[gru]\noutput=4\n"


def read(text: str, dialect: str | None = None, *, otherwise: str = "darknet") -> Graph:
    return build_graph(parse(text), ReadOptions(dialect=dialect, default_dialect=otherwise))


def told(text: str, dialect: str | None = None, *, otherwise: str = "darknet") -> str:
    return read(text, dialect, otherwise=otherwise).dialect.name


@pytest.mark.parametrize("name", ["darknet", "yolor"])
def test_what_is_stated_goes_before_all_evidence(name: str) -> None:
    assert told(NET + ONLY_YOLOR + ONLY_DARKNET, name) == name
    assert told(NET + "dialect=darknet\n" + CONV, name) == name


@pytest.mark.parametrize("name", ["darknet", "yolor"])
def test_the_key_in_net_goes_before_the_evidence(name: str) -> None:
    assert told(f"{NET}dialect = {name} # said\n" + ONLY_YOLOR + ONLY_DARKNET) == name


@pytest.mark.parametrize("kind", sorted(set(SECTIONS.values()), key=lambda kind: kind.names))
def test_a_section_of_one_dialect_shows_it(kind) -> None:
    if kind.names[0] == "net":
        assert kind.dialects == ALL_DIALECTS
        return
    try:
        found = told(NET + f"[{kind.names[0]}]\n", otherwise="yolor")
    except CfgError as fault:
        assert "mixes dialects" not in str(fault)
        return
    assert found == ("yolor" if "yolor" in kind.dialects else kind.dialects[0])


@pytest.mark.parametrize("name", [name for name, one in ACTIVATIONS.items() if one.dialects == C_DARKNET])
def test_an_activation_that_only_darknet_has_shows_it(name: str) -> None:
    assert told(NET + f"[convolutional]\nactivation={name}\n", otherwise="yolor") == "darknet"


@pytest.mark.parametrize("key", ["dilation=1", "antialiasing=0", "padding=1", "reverse=1", "stopbackward=1"])
def test_a_key_that_yolor_refuses_shows_darknet(key: str) -> None:
    assert told(NET + CONV + "[convolutional]\nfilters=3\n" + key + "\n", otherwise="yolor") == "darknet"


def test_an_unknown_key_and_an_empty_one_show_nothing() -> None:
    assert told(NET + CONV + "dilation=\n") == "darknet"
    assert told(NET + CONV + "frobnicate=1\n", otherwise="yolor") == "yolor"


def test_silu_shows_yolor_only_where_nothing_else_speaks() -> None:
    silu = "[convolutional]\nfilters=8\nactivation=silu\n"
    assert told(NET + silu) == "yolor"
    assert told(NET + silu + ONLY_DARKNET) == "darknet"
    assert told(NET + silu + ONLY_YOLOR) == "yolor"


def test_without_evidence_it_is_what_the_reader_assumes() -> None:
    assert told(NET + CONV) == "darknet"
    assert told(NET + CONV, otherwise="yolor") == "yolor"


def test_evidence_for_both_is_an_error_with_both_lines_and_the_way_out() -> None:
    with pytest.raises(CfgError) as caught:
        read(NET + ONLY_YOLOR + CONV + ONLY_DARKNET)
    fault = caught.value
    assert fault.found == "[gru] (line 10: darknet, pjreddie only) and [implicit_add] (line 5: yolor only)"
    assert "--dialect" in fault.hint and fault.line == 10


YOLO = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=0\nclasses=1\nanchors=9,9\n"


@pytest.mark.parametrize(
    ("section", "differs"),
    [
        (YOLO, "[yolo]"),
        ("[convolutional]\nfilters=4\n[reorg]\nstride=2\n", "[reorg]"),
        ("[maxpool]\nsize=2\nstride=2\n", "[maxpool]"),
        ("[maxpool]\nsize=3\nstride=2\n", "[maxpool]"),
        ("[maxpool]\nsize=3\n", ""),
        (CONV, ""),
    ],
)
def test_a_note_tells_what_differs_where_darknet_was_only_assumed(section: str, differs: str) -> None:
    notes = read(NET + section).notes
    assert len(notes) == bool(differs)
    assert all(differs in note and "--dialect" in note for note in notes)
    assert read(NET + section, "darknet").notes == ()
    assert read(NET + section, "yolor").notes == ()
    assert read(NET + section + ONLY_DARKNET).notes == ()


def test_the_first_of_two_equal_keys_counts_in_darknet_the_last_in_yolor() -> None:
    text = NET + "[convolutional]\nfilters=8\nfilters=16\nactivation=leaky\n"
    assert [read(text, name).nodes[0].shape.channels for name in ("darknet", "yolor")] == [8, 16]


def test_batch_norm_has_the_epsilon_of_the_dialect_or_of_net() -> None:
    text = NET + "{}" + CONV
    assert read(text.format(""), "darknet").nodes[0].section.dialect.bn_eps == DARKNET.bn_eps == 1e-5
    assert read(text.format(""), "yolor").nodes[0].section.dialect.bn_eps == YOLOR.bn_eps == 1e-4
    assert read(text.format("bn_eps=1e-3\n"), "yolor").nodes[0].section.dialect.bn_eps == 1e-3


@pytest.mark.parametrize("line", ["word", "stride=", "activation=lekay"])
def test_what_darknet_forgives_is_an_error_in_yolor(line: str) -> None:
    text = NET + "[convolutional]\nfilters=8\n" + line + "\n"
    assert len(read(text, "darknet").warnings) == 1
    with pytest.raises(CfgError):
        read(text, "yolor")


def test_strict_reading_makes_warnings_errors_in_either_dialect() -> None:
    for name in ("darknet", "yolor"):
        with pytest.raises(CfgError, match="given twice"):
            build_graph(parse(NET + CONV + "filters=9\n"), ReadOptions(dialect=name, strict=True))


HEAD = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=1\nclasses=1\nnum=1\nanchors=9,9, 8,8\n"
HALF = "[maxpool]\nsize=3\nstride=2\n"
SHOWN = {
    "reads_schedule": NET + "policy=steps\n" + CONV,
    "bn_momentum": NET + CONV + "batch_normalize=1\n",
    "drops_spare_channels": NET + CONV + CONV.replace("8", "6") + "groups=3\n",
    "needs_filters": NET + "[convolutional]\nsize=3\n",
    "joins_unequal_sizes": NET + CONV + HALF + "[route]\nlayers=-1,-2\n[connected]\noutput=2\n",
    "thins_larger_maps": NET + CONV + HALF + "[shortcut]\nfrom=-2\n",
    "broadcasts_scales": NET + CONV + "[convolutional]\nfilters=1\n[scale_channels]\nfrom=-2\n",
    "keeps_num_anchors": NET + HEAD,
    "side_strides": NET + CONV + "stride=1\nstride_x=2\n",
}


def outcome(text: str, fact: str, value: object) -> list[object]:
    """What becomes of a cfg in C Darknet's dialect with another value of one fact."""
    told = DARKNET._replace(**{fact: value})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DIALECTS, "darknet", told)
        try:
            graph = read(text, "darknet")
        except CfgError as fault:
            return [fault.message]
    norms = [part for part in Network(graph).modules() if isinstance(part, nn.BatchNorm2d)]
    return [graph.nodes[-1].shape, [one.message for one in graph.warnings], [one.momentum for one in norms]]


@pytest.mark.parametrize("fact", SHOWN)
def test_a_fact_that_no_recorded_number_shows_is_seen_in_what_is_read(fact: str) -> None:
    here, there = (outcome(SHOWN[fact], fact, getattr(one, fact)) for one in (DARKNET, YOLOR))
    assert here != there


def test_within_a_family_the_text_tells_the_program() -> None:
    for one in DIALECTS.values():
        clue = DialectEvidence((one.name,), 1, "a line")
        assert choose_dialect(None, [clue]).dialect is one
        assert choose_dialect(one.family, [clue]).dialect is one
        assert choose_dialect(one.family, []).dialect.name == one.family
    assert choose_dialect("darknet", [DialectEvidence(("spurs",), 1, "a line")]).dialect is DARKNET


SPURS_WORD, PJREDDIE_SECTION = ("spurs",), ("darknet", "pjreddie")


def choice(*clues: tuple[tuple[str, ...], bool]) -> str:
    """The dialect told by clues of these dialects, each a section or a word."""
    lines = enumerate(clues, start=1)
    evidence = [DialectEvidence(names, n, "it", is_section=flag) for n, (names, flag) in lines]
    return choose_dialect(None, evidence).dialect.name


def test_keys_of_others_do_not_contradict_what_only_a_fork_has() -> None:
    assert choice((SPURS_WORD, True), (C_DARKNET, False), (("yolor",), False)) == "spurs"
    assert choice((C_DARKNET, False), (SPURS_WORD, False)) == "spurs"
    assert choice((("pjreddie", "mcmot"), True), (("darknet",), False), (("mcmot",), False)) == "mcmot"


def test_a_section_goes_before_a_word_that_only_a_fork_has() -> None:
    assert choice((SPURS_WORD, False), (PJREDDIE_SECTION, True)) == "darknet"


@pytest.mark.parametrize("flag", [True, False])
def test_sections_contradict_one_another_and_words_of_the_main_dialects_do(flag: bool) -> None:
    with pytest.raises(CfgError, match="mixes dialects"):
        choice((SPURS_WORD if flag else C_DARKNET, True), (("yolor",), flag))
