"""What holds for any text: a cfg is read or refused with a message, and written back as it stood."""

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.keys import Choice
from yolor_cfg.lang.lists import IntList, RefList
from yolor_cfg.lang.syntax import Document, format_document, normalize_document, parse, parse_bytes
from yolor_cfg.model import Network
from yolor_cfg.sections import SECTIONS

KEYS = sorted({name for kind in SECTIONS.values() for name in (*kind.keys, *kind.ignored_keys)})
WORDS = sorted(
    {
        word
        for kind in SECTIONS.values()
        for key in kind.keys.values()
        if isinstance(key, Choice)
        for word in key.options
    }
)
quick = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])

# Pieces of text that stand in a cfg or might.
numbers = st.one_of(
    st.integers(-9, 40).map(str),
    st.sampled_from(["0", "-1", "416", "1e-3", ".5", "6.9", "2000000000", "99999999999", "1e999", "0x10"]),
    st.lists(st.integers(-5, 30), max_size=7).map(lambda items: ",".join(map(str, items))),
)
garbage = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.one_of(numbers, st.sampled_from(WORDS), st.sampled_from(sorted(ACTIVATIONS)), garbage)
keys = st.one_of(st.sampled_from(KEYS), garbage)
blanks = st.sampled_from(["", " ", "\t", "  "])
entries = st.builds("{0}{1}{2}={2}{3}{0}".format, blanks, keys, blanks, values)
headers = st.sampled_from([*(f"[{name}]" for name in SECTIONS), "[", "[]", "[ net ] # x", "[x"])
comments = st.builds("{}{}".format, st.sampled_from("#;"), garbage)
lines = st.one_of(headers, entries, entries, entries, comments, garbage, blanks, st.just("<<<<<<< HEAD"))
ends = st.sampled_from(["\n", "\r\n", "\n\n", "\r"])
pieces = st.lists(st.builds("{}{}".format, lines, ends), max_size=25).map("".join)
cfg_like = pieces.map("[net]\nwidth=32\nheight=32\nchannels=3\n".__add__)
texts = st.one_of(garbage, st.text(max_size=300), pieces, cfg_like)
dialects = st.sampled_from([None, *DIALECTS])


def read(text: str, dialect: str | None = None, *, strict: bool = False) -> Graph | None:
    """The graph of a text; None where it is refused. Any other error than CfgError is a failure."""
    try:
        return build_graph(parse(text), ReadOptions(dialect=dialect, strict=strict))
    except CfgError as fault:
        assert str(fault).startswith("<text>"), "every message names the file"
        assert all(line.isprintable() for line in str(fault).split("\n")), "messages are safe to print"
        return None


def parsed(text: str) -> Document | None:
    try:
        return parse(text)
    except CfgError:
        return None


@quick
@given(texts, dialects, st.booleans())
def test_any_text_is_read_or_refused(text: str, dialect: str | None, strict: bool) -> None:
    read(text, dialect, strict=strict)


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(CfgError):
        document = parse_bytes(b"[net]\n" + data)
        assert format_document(document).encode(document.encoding) == b"[net]\n" + data


@quick
@given(texts)
def test_writing_gives_back_what_was_read(text: str) -> None:
    document = parsed(text)
    if document is not None:
        assert format_document(document) == text
        assert parse(format_document(document)) == document


@quick
@given(texts)
def test_the_normal_form_is_normal_and_has_the_same_sections_and_keys(text: str) -> None:
    document = parsed(text)
    if document is not None:
        again = parse(normalize_document(document))
        assert normalize_document(again) == normalize_document(document)
        assert [(raw.name, [(line.key, line.value) for line in raw.entries]) for raw in again.sections] == [
            (raw.name, [(line.key, line.value) for line in raw.entries]) for raw in document.sections
        ]


@st.composite
def entries_of(draw: st.DrawFn, name: str) -> str:
    """A section with some of its own keys at plausible or odd values."""
    kind = SECTIONS[name]
    chosen = draw(st.lists(st.sampled_from(sorted(kind.keys)), max_size=6, unique=True))
    return "\n".join([f"[{name}]", *(f"{key}={draw(value_of(name, key))}" for key in chosen)])


def value_of(name: str, key: str) -> st.SearchStrategy[str]:
    descriptor = SECTIONS[name].keys[key]
    if isinstance(descriptor, Choice):
        return st.sampled_from(descriptor.options)
    if isinstance(descriptor, IntList):
        least = -3 if isinstance(descriptor, RefList) else 0
        return st.lists(st.integers(least, 4), min_size=1, max_size=3).map(listed)
    odd = st.sampled_from(["0", "-1", "0.5", "12", "18", "2000000000"])
    return st.one_of(st.integers(1, 4).map(str), odd)


def listed(items: list[int]) -> str:
    return ",".join(map(str, items))


names = st.sampled_from(sorted(set(SECTIONS) - {"net", "network"}))
own_keys = st.lists(names, min_size=1, max_size=4).flatmap(lambda some: st.tuples(*map(entries_of, some)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(own_keys, st.sampled_from(sorted(DIALECTS)))
def test_sections_with_any_of_their_keys_build_or_are_refused(
    sections: tuple[str, ...], dialect: str
) -> None:
    graph = read("\n".join(["[net]\nwidth=24\nheight=16\nchannels=8", *sections]), dialect)
    if graph is None or sum(node.shape.size for node in graph.nodes) > 10**7:
        return
    with torch.device("meta"), torch.no_grad(), contextlib.suppress(CfgError):
        check_shapes(graph)


def check_shapes(graph: Graph) -> None:
    """Each node's value, computed without numbers, has the shape that was inferred."""
    network = Network(graph).eval()
    shapes: dict[int, tuple[int, ...]] = {}
    for node, module in zip(graph.nodes, network.module_list, strict=True):
        if not node.section.is_head:
            module.register_forward_hook(
                lambda _, inputs, output, node=node: shapes.update(
                    {node.index: tuple((output[0] if isinstance(output, tuple) else output).shape[1:])}
                )
            )
    network(torch.empty(2, *graph.image))
    assert shapes == {node.index: node.shape for node in graph.nodes if not node.section.is_head}


references = st.integers(1, 4).map(lambda back: -back)
layers = st.one_of(
    st.builds(
        "[convolutional]\nfilters={}\nsize={}\nstride={}\npad={}\nactivation={}".format,
        st.integers(1, 6),
        st.integers(1, 5),
        st.integers(1, 2),
        st.integers(0, 1),
        st.sampled_from(["leaky", "mish", "linear\nbatch_normalize=1"]),
    ),
    st.builds("[maxpool]\nsize={}\nstride={}".format, st.integers(1, 5), st.integers(1, 2)),
    st.builds("[local_avgpool]\nsize={}\nstride={}".format, st.integers(1, 5), st.integers(1, 2)),
    st.builds("[upsample]\nstride={}".format, st.sampled_from([1, 2, -2])),
    st.builds(
        "[route]\nlayers={}".format,
        st.lists(references, min_size=1, max_size=3).map(lambda items: ",".join(map(str, items))),
    ),
    st.builds("[shortcut]\nfrom={}\nactivation=linear".format, references),
    st.builds("[sam]\nfrom={}".format, references),
    st.sampled_from(
        [
            "[avgpool]",
            "[dropout]",
            "[reorg]\nstride=2",
            "[reorg3d]\nstride=2",
            "[batchnorm]",
            "[scale_channels]\nfrom=-2",
            "[connected]\noutput=5",
            "[softmax]",
            "[implicit]\nfilters=4\natoms=2",
            "[implicit_add]\nfilters=6",
            "[shift_channels]\nfrom=-2",
        ]
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(layers, min_size=1, max_size=7),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from(sorted(DIALECTS)),
)
def test_random_graphs_have_the_shapes_that_were_inferred(
    sections: list[str], size: tuple[int, int], dialect: str
) -> None:
    height, width = size
    graph = read("\n".join([f"[net]\nwidth={width}\nheight={height}\nchannels=3", *sections]), dialect)
    if graph is not None:
        with torch.device("meta"), torch.no_grad():
            check_shapes(graph)


@pytest.mark.parametrize(
    "key", ["filters=2000000000", "size=2000000000\npad=1", "groups=2000000000", "padding=2000000000"]
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(key: str) -> None:
    assert read(f"[net]\nwidth=416\nheight=416\nchannels=3\n[convolutional]\n{key}\n") is None


@pytest.mark.parametrize(
    "section",
    [
        "[yolo]\nnum=2000000000",
        "[region]\nnum=2000000000\nanchors=1,1",
        "[history]\nhistory_size=2000000000",
        "[upsample]\nstride=2000000000",
        "[softmax]\ngroups=2000000000",
        "[detection]\nside=2000000000\ncoords=4",
        "[implicit_add_2d]\natoms=2000000000\nfilters=2000000000",
    ],
)
def test_absurd_counts_are_refused_before_anything_is_allocated(section: str) -> None:
    assert read(f"[net]\nwidth=416\nheight=416\nchannels=3\n{section}\n") is None
