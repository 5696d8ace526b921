"""`.weights` files: read and written to the byte, and refused whole when they do not fit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import golden
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import WeightsHeader, count_floats, file_layout, loadable_tensors, yolor_tensors
from yolor_cfg.weights.loading import read_weights

CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV_FLOATS = 4 * 4 + 4 * 3 * 3 * 3
"""Of the first CONV: bias, scale, mean, variance of 4 filters, 3x3 kernels over 3 channels."""


def detector(classes: int = 3) -> str:
    """Two heads of three anchors each, on 16 and 8 channels."""
    head = f"[yolo]\nmask=0,1,2\nclasses={classes}\nnum=3\nanchors=4,5, 7,6, 9,9\n"
    last = f"[convolutional]\nfilters={3 * (5 + classes)}\nsize=1\nactivation=linear\n"
    return NET + CONV + CONV + last + head + "[route]\nlayers=1\n" + CONV + last + head


IMPLICIT = (
    NET
    + CONV
    + "[implicit_add]\nfilters=4\n[route]\nlayers=0\n[shift_channels]\nfrom=1\n"
    + "[convolutional]\nfilters=24\nsize=1\nactivation=linear\n"
    + "[implicit_mul]\nfilters=24\n[route]\nlayers=4\n"
    + "[control_channels]\nfrom=5\n[yolo]\nmask=0,1,2\nclasses=3\nnum=3\nanchors=4,5, 7,6, 9,9\n"
)


SEEN_64 = WeightsHeader(seen=64)


def graph_of(text: str, dialect: str = "darknet") -> Graph:
    return build_graph(parse(text, "net.cfg"), ReadOptions(dialect=dialect))


def network_of(text: str, dialect: str = "darknet") -> Network:
    return Network(graph_of(text, dialect))


def content(count: int, header: WeightsHeader = SEEN_64) -> bytes:
    """A file of `count` numbers: 1, 2, 3 ..."""
    return header.to_bytes() + np.arange(1, count + 1, dtype="<f4").tobytes()


def size_of(text: str, dialect: str = "darknet") -> int:
    return count_floats(file_layout(graph_of(text, dialect), loadable_tensors))


def snapshot(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def unchanged(network: Network, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def refusal(
    text: str, data: bytes, folder: Path, *, dialect: str = "darknet", cutoff: int | None = None
) -> str:
    """The message, after making sure that the network is as it was."""
    network = network_of(text, dialect)
    before = snapshot(network)
    (folder / "x.weights").write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_weights(network, folder / "x.weights", cutoff=cutoff)
    assert caught.value.exit_code == 4
    assert unchanged(network, before)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'x.weights'}: ")
    return message


class Outcome(NamedTuple):
    network: Network
    notes: tuple[str, ...]

    @property
    def state(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()


def loaded(
    text: str, data: bytes, folder: Path, *, dialect: str = "darknet", cutoff: int | None = None
) -> Outcome:
    (folder / "x.weights").write_bytes(data)
    network = network_of(text, dialect)
    return Outcome(network, read_weights(network, folder / "x.weights", cutoff=cutoff).notes)


# ----------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("case", golden.micro_cases(), ids=lambda case: case.name)
def test_what_c_darknet_wrote_is_read_and_written_to_the_byte(case: golden.Case, tmp_path: Path) -> None:
    network = Network(golden.darknet_graph(case))
    written = case.cfg.with_suffix(".weights")
    header = read_weights(network, written).header
    write_weights(network, tmp_path / "again.weights", header=header)
    assert (tmp_path / "again.weights").read_bytes() == written.read_bytes()


def test_every_case_of_c_darknet_is_there(shared: Path) -> None:
    assert len(golden.micro_cases()) == len(list(shared.glob("golden/darknet/micro/*.weights"))) == 118


@pytest.mark.parametrize("case", golden.yolor_cases(), ids=lambda case: case.name)
def test_networks_of_yolor_come_back_from_their_own_file(case: golden.Case, tmp_path: Path) -> None:
    graph = build_graph(parse(case.cfg.read_text()), ReadOptions(dialect="yolor"))
    first, second = Network(graph), Network(graph)
    write_weights(first, tmp_path / "a.weights")
    read_weights(second, tmp_path / "a.weights")
    write_weights(second, tmp_path / "b.weights")
    assert unchanged(second, snapshot(first))
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()


@pytest.mark.parametrize(
    ("header", "size_bytes"),
    [
        (WeightsHeader(0, 1, 0, 2**32 - 1), 16),
        (WeightsHeader(0, 2, 5, 2**40), 20),
        (WeightsHeader(0, 2, 0, 0), 20),
        (WeightsHeader(1, 0, 0, 7), 20),
        (WeightsHeader(0, 1001, 0, 7), 20),
    ],
)
def test_seen_has_eight_bytes_from_version_0_2_on(
    header: WeightsHeader, size_bytes: int, tmp_path: Path
) -> None:
    count = size_of(NET + CONV)
    data = (
        struct.pack("<3i", *header[:3])
        + header.seen.to_bytes(size_bytes - 12, "little")
        + content(count)[20:]
    )
    (tmp_path / "in.weights").write_bytes(data)
    network = network_of(NET + CONV)
    assert read_weights(network, tmp_path / "in.weights").header == header
    write_weights(network, tmp_path / "out.weights", header=header)
    assert (tmp_path / "out.weights").read_bytes() == data


def test_a_new_file_has_version_0_2_5_and_nothing_seen(tmp_path: Path) -> None:
    write_weights(network_of(NET + CONV), tmp_path / "new.weights")
    assert (tmp_path / "new.weights").read_bytes()[:20] == struct.pack("<3iq", 0, 2, 5, 0)


def test_a_convolution_is_stored_as_bias_scale_mean_variance_kernels(tmp_path: Path) -> None:
    state = loaded(NET + CONV, content(CONV_FLOATS), tmp_path).state
    order = [
        "BatchNorm2d.bias",
        "BatchNorm2d.weight",
        "BatchNorm2d.running_mean",
        "BatchNorm2d.running_var",
        "Conv2d.weight",
    ]
    flat = torch.cat([state[f"module_list.0.{name}"].flatten() for name in order])
    assert flat.tolist() == list(range(1, CONV_FLOATS + 1))


def test_layers_before_upto_are_written_alone(tmp_path: Path) -> None:
    network = network_of(detector())
    write_weights(network, tmp_path / "all.weights")
    write_weights(network, tmp_path / "part.weights", upto=1)
    assert (tmp_path / "part.weights").read_bytes() == (tmp_path / "all.weights").read_bytes()[
        : 20 + 4 * CONV_FLOATS
    ]


def test_half_precision_is_filled_and_written_as_float32(tmp_path: Path) -> None:
    network = network_of(NET + CONV).half()
    (tmp_path / "x.weights").write_bytes(content(CONV_FLOATS))
    header = read_weights(network, tmp_path / "x.weights").header
    write_weights(network, tmp_path / "y.weights", header=header)
    assert (tmp_path / "y.weights").read_bytes() == content(CONV_FLOATS)  # whole numbers below 2048 are exact


def test_memory_in_another_order_is_filled_rightly(tmp_path: Path) -> None:
    network = network_of(NET + CONV).to(memory_format=torch.channels_last)
    (tmp_path / "x.weights").write_bytes(content(CONV_FLOATS))
    read_weights(network, tmp_path / "x.weights")
    assert network.state_dict()["module_list.0.Conv2d.weight"].flatten().tolist() == [
        *range(17, CONV_FLOATS + 1)
    ]


@pytest.mark.parametrize(("name", "size_bytes"), [("yolov3-tiny", 35434956), ("yolov4-tiny", 24251276)])
def test_the_length_is_that_of_the_published_file(name: str, size_bytes: int, shared: Path) -> None:
    graph = load_graph(shared / f"golden/darknet/{name}.cfg")
    assert 20 + 4 * count_floats(file_layout(graph)) == size_bytes


def test_yolor_csp_has_2557_implicit_numbers_more_than_yolors_own_file() -> None:
    graph = load_graph(Path(__file__).parents[1] / "cfg/yolor_csp.cfg")
    # Measured with YOLOR's own code: 52986205 numbers in its file, implicit parameters not among them.
    assert count_floats(file_layout(graph, yolor_tensors)) == 52986205
    assert count_floats(file_layout(graph)) == 52986205 + 2557


# ------------------------------------------------------------------------ what the header or the cfg changes


def test_old_files_keep_matrices_the_other_way_round(tmp_path: Path) -> None:
    text = "[net]\ninputs=3\n[connected]\noutput=2\nactivation=linear\n"
    header = WeightsHeader(0, 1001, 0, 0)
    outcome = loaded(text, content(8, header), tmp_path)
    weight = outcome.state["module_list.0.Linear.weight"]
    # stored (inputs, outputs) = 3, 4 / 5, 6 / 7, 8 after the two biases
    assert weight.tolist() == [[3, 5, 7], [4, 6, 8]]
    write_weights(outcome.network, tmp_path / "again.weights", header=header)
    assert (tmp_path / "again.weights").read_bytes() == content(8, header)


def test_flipped_kernels_are_turned_on_reading_and_written_as_used(tmp_path: Path) -> None:
    text = NET + "[convolutional]\nfilters=2\nsize=1\nactivation=linear\nflipped=1\n"
    outcome = loaded(text, content(8), tmp_path)
    assert outcome.state["module_list.0.Conv2d.weight"].flatten().tolist() == [3, 5, 7, 4, 6, 8]
    write_weights(outcome.network, tmp_path / "out.weights")
    assert np.fromfile(tmp_path / "out.weights", "<f4", offset=20).tolist() == [1, 2, 3, 5, 7, 4, 6, 8]


def test_dontload_leaves_a_layer_out_of_the_file_that_is_read_but_not_of_the_one_written(
    tmp_path: Path,
) -> None:
    text = NET + CONV + CONV + "dontload=1\n" + "[convolutional]\nfilters=1\nactivation=linear\n"
    outcome = loaded(text, content(CONV_FLOATS + 5), tmp_path)
    bias, kernel = (outcome.state[f"module_list.2.Conv2d.{name}"] for name in ("bias", "weight"))
    assert [*bias.tolist(), *kernel.flatten().tolist()] == [*range(CONV_FLOATS + 1, CONV_FLOATS + 6)]
    write_weights(outcome.network, tmp_path / "out.weights")
    second_conv = 16 + 4 * 4 * 9
    assert (tmp_path / "out.weights").stat().st_size == 20 + 4 * (CONV_FLOATS + second_conv + 5)
    assert "it would fit without dontload=" in refusal(text, content(CONV_FLOATS + second_conv + 5), tmp_path)


def test_dontloadscales_leaves_out_scales_means_and_variances(tmp_path: Path) -> None:
    outcome = loaded(NET + CONV + "dontloadscales=1\n", content(CONV_FLOATS - 12), tmp_path)
    state = outcome.state
    assert state["module_list.0.BatchNorm2d.bias"].tolist() == [1, 2, 3, 4]
    assert state["module_list.0.Conv2d.weight"].flatten().tolist() == [*range(5, CONV_FLOATS - 11)]
    assert state["module_list.0.BatchNorm2d.weight"].tolist() == [1] * 4


def test_scales_of_a_lone_batch_norm_are_read_all_the_same(tmp_path: Path) -> None:
    loaded(NET + "[batchnorm]\ndontloadscales=1\n", content(4 * 3), tmp_path)


def test_a_layer_that_shares_weights_stores_none() -> None:
    twice = "[net]\nwidth=8\nheight=8\nchannels=4\n" + CONV + CONV
    assert size_of(twice + "share_index=0\n") == size_of(twice) // 2


# ---------------------------------------------------------------------------------- files that are not right


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "this is an empty file, not a weights file"),
        (b"\0\0\0\0\2\0\0\0", "shorter than the header of a weights file"),
        (content(0)[:19], "shorter than the header of a weights file"),
        (b"<!DOCTYPE html><html><head><title>404</title>" * 40, "this is an HTML page, not a weights file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "this is a Git LFS pointer",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "this is an image"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "this is an image"),
        (b"[net]\nwidth=32\n", "this is a cfg"),
        (content(0), "a header but no weights"),
    ],
)
def test_what_is_no_weights_file_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    message = refusal(detector(), data, tmp_path)
    assert what in message.splitlines()[0]
    assert "hint:" in message


def test_text_is_told_by_its_version() -> None:
    with pytest.raises(WeightsError, match="not be a weights file at all"):
        read_weights(network_of(detector()), Path(__file__))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere.weights: the weights cannot be read: no such file"):
        read_weights(network_of(detector()), tmp_path / "nowhere.weights")
    with pytest.raises(WeightsError, match="cannot be read: is a directory"):
        read_weights(network_of(detector()), tmp_path)


def test_a_short_file_is_told_with_the_layer_in_which_it_ends(tmp_path: Path) -> None:
    whole = size_of(detector())
    message = refusal(detector(), content(CONV_FLOATS + 9), tmp_path)
    assert message.splitlines() == [
        f"{tmp_path / 'x.weights'}: the file ends inside [convolutional #1] (line 11 of net.cfg)",
        f"  found:   {CONV_FLOATS + 9} floats ({20 + 4 * (CONV_FLOATS + 9)} bytes)",
        f"  allowed: {whole} floats ({20 + 4 * whole} bytes)",
        "  hint:    the file is truncated or belongs to another network",
    ]


def test_a_file_that_ends_between_two_numbers_is_short(tmp_path: Path) -> None:
    message = refusal(detector(), content(CONV_FLOATS + 9)[:-2], tmp_path)
    assert "ends inside [convolutional #1]" in message
    assert f"{CONV_FLOATS + 8}.50 floats" in message


def test_a_long_file_is_told_by_how_much(tmp_path: Path) -> None:
    assert "longer than the network by 7 floats" in refusal(
        detector(), content(size_of(detector()) + 7), tmp_path
    )


@pytest.mark.parametrize("extra", [-9, 7])
def test_a_wrong_file_is_told_where_an_implicit_section_stands_last(extra: int, tmp_path: Path) -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=6\n[implicit_add]\nfilters=6\n"
    message = refusal(text, content(size_of(text, "yolor") + extra), tmp_path, dialect="yolor")
    assert ("ends inside" if extra < 0 else "longer than the network by 7 floats") in message


@pytest.mark.parametrize("classes", [1, 2, 4, 20, 80, 2000])
def test_the_class_count_that_would_fit_is_told(classes: int, tmp_path: Path) -> None:
    message = refusal(detector(), content(size_of(detector(classes))), tmp_path)
    assert f"classes={classes} would fit (filters={3 * (5 + classes)} before the head)" in message


def test_the_class_count_is_told_with_the_implicit_vectors_of_the_head(tmp_path: Path) -> None:
    other = IMPLICIT.replace("filters=24", "filters=255").replace("classes=3", "classes=80")
    message = refusal(IMPLICIT, content(size_of(other, "yolor")), tmp_path, dialect="yolor")
    assert "classes=80 would fit (filters=255 before the head)" in message


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("filters=16\n[region]\nclasses=3\nnum=2\n", "filters=50\n[region]\nclasses=20\nnum=2\n"),
        (
            "filters=36\n[Gaussian_yolo]\nclasses=3\nnum=3\n",
            "filters=87\n[Gaussian_yolo]\nclasses=20\nnum=3\n",
        ),
    ],
)
def test_the_class_count_is_told_for_other_heads(text: str, other: str, tmp_path: Path) -> None:
    before = NET + CONV + "[convolutional]\nsize=1\nactivation=linear\n"
    assert "classes=20 would fit" in refusal(before + text, content(size_of(before + other)), tmp_path)


def test_the_wrong_version_in_the_header_is_told(tmp_path: Path) -> None:
    whole = size_of(detector())
    wide_called_old = struct.pack("<3iq", 0, 1, 0, 0) + content(whole)[20:]
    assert "would fit after a header of 20 bytes, but its version 0.1.0 means 16" in refusal(
        detector(), wide_called_old, tmp_path
    )
    old_called_wide = struct.pack("<3ii", 0, 2, 0, 0) + content(whole)[20:]
    assert "would fit after a header of 16 bytes, but its version 0.2.0 means 20" in refusal(
        detector(), old_called_wide, tmp_path
    )


# ---------------------------------------------------------------------------------------- parts of a network


def test_a_backbone_is_recognised_and_its_cutoff_told(tmp_path: Path) -> None:
    message = refusal(detector(), content(CONV_FLOATS), tmp_path)
    assert "this is the backbone up to [convolutional #0] (line 5 of net.cfg)" in message
    assert "use --cutoff 1 to load it" in message


def test_cutoff_loads_the_layers_before_it_and_no_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fresh = network_of(detector()).state_dict()
    torch.manual_seed(0)
    outcome = loaded(detector(), content(CONV_FLOATS), tmp_path, cutoff=1)
    assert outcome.notes == ("layers 0..0 loaded; 1..7 keep their initialisation",)
    for name, tensor in outcome.state.items():
        counter = name.endswith("num_batches_tracked")
        assert torch.equal(tensor, fresh[name]) == (counter or not name.startswith("module_list.0.")), name


def test_cutoff_counts_all_layers_as_darknet_partial_does(shared: Path, tmp_path: Path) -> None:
    case = next(case for case in golden.darknet_cases() if case.name == "yolov3-tiny")
    network = Network(golden.darknet_graph(case))
    write_weights(network, tmp_path / "yolov3-tiny.conv.15", upto=15)
    assert read_weights(network, tmp_path / "yolov3-tiny.conv.15", cutoff=15).notes
    with pytest.raises(WeightsError, match=r"backbone up to \[convolutional #14\].*(?s:.*)use --cutoff 15"):
        read_weights(network, tmp_path / "yolov3-tiny.conv.15")


def test_cutoff_reads_the_first_layers_of_a_whole_file(tmp_path: Path) -> None:
    """As load_weights_upto in parser.c, which stops before layer `cutoff`, whatever follows in the file."""
    whole = content(size_of(detector()))
    for extra in (0, 7):
        torch.manual_seed(0)
        more = content(size_of(detector()) + extra)
        outcome = loaded(detector(), more, tmp_path, cutoff=1)
        assert f"{size_of(detector()) + extra - CONV_FLOATS} floats after them are not read" in outcome.notes
        torch.manual_seed(0)
        alone = loaded(detector(), content(CONV_FLOATS), tmp_path, cutoff=1).state
        assert all(torch.equal(tensor, alone[name]) for name, tensor in outcome.state.items())
    assert whole[:-1] and "floats" in refusal(detector(), whole[:-1], tmp_path, cutoff=1)


def test_a_file_that_ends_before_the_cutoff_is_refused(tmp_path: Path) -> None:
    assert "use --cutoff 1" in refusal(detector(), content(CONV_FLOATS), tmp_path, cutoff=2)
    assert "ends inside [convolutional #0]" in refusal(
        detector(), content(CONV_FLOATS - 1), tmp_path, cutoff=1
    )


@pytest.mark.parametrize("cutoff", [0, -1, 9])
def test_a_cutoff_outside_the_network_is_refused(cutoff: int, tmp_path: Path) -> None:
    write_weights(network_of(detector()), tmp_path / "x.weights")
    with pytest.raises(WeightsError, match="the cutoff is not a valid number of layers"):
        read_weights(network_of(detector()), tmp_path / "x.weights", cutoff=cutoff)


def test_a_file_of_yolor_without_implicit_parameters_is_recognised_by_its_length(tmp_path: Path) -> None:
    convolutions = CONV_FLOATS + 24 + 24 * 4
    outcome = loaded(IMPLICIT, content(convolutions), tmp_path, dialect="yolor")
    state = outcome.state
    assert state["module_list.4.Conv2d.bias"].tolist() == [*range(CONV_FLOATS + 1, CONV_FLOATS + 25)]
    assert abs(state["module_list.5.implicit"].mean().item() - 1) < 0.1  # initialised around 1
    (note,) = outcome.notes
    assert "[implicit_add], [implicit_mul]" in note and "2 layers keep their initialisation" in note


def test_with_implicit_parameters_they_stand_at_their_place(tmp_path: Path) -> None:
    outcome = loaded(IMPLICIT, content(size_of(IMPLICIT, "yolor")), tmp_path, dialect="yolor")
    vector = outcome.state["module_list.1.implicit"]
    assert vector.flatten().tolist() == [*range(CONV_FLOATS + 1, CONV_FLOATS + 5)]
    assert outcome.notes == ()


def test_in_the_darknet_dialect_nothing_may_be_missing(tmp_path: Path) -> None:
    text = (
        NET
        + CONV
        + CONV
        + "[shortcut]\nfrom=-2\nweights_type=per_feature\nweights_normalization=relu\nactivation=linear\n"
    )
    assert "backbone up to [convolutional #1]" in refusal(text, content(size_of(text) - 2), tmp_path)


def test_weights_that_are_not_finite_are_told_with_their_layer(tmp_path: Path) -> None:
    data = bytearray(content(size_of(detector())))
    struct.pack_into("<f", data, 20 + 4 * (CONV_FLOATS + 3), float("nan"))
    (note,) = loaded(detector(), bytes(data), tmp_path).notes
    assert "NaN or infinity" in note and "[convolutional #1] (line 11 of net.cfg)" in note


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_odd_number_in_any_tensor_of_a_file_is_told_with_its_layer(tmp_path: Path, value: float) -> None:
    """In kernels too: the network finds nothing then, and its other tensors look like those of any other."""
    for slot in file_layout(graph_of(detector())):
        data = bytearray(content(size_of(detector())))
        struct.pack_into("<f", data, 20 + 4 * (slot.end - 1), value)
        (note,) = loaded(detector(), bytes(data), tmp_path).notes
        assert note.startswith(f"NaN or infinity in the weights of [convolutional #{slot.index}] (line ")


def test_large_finite_weights_are_not_taken_for_infinity(tmp_path: Path) -> None:
    data = WeightsHeader().to_bytes() + np.full(CONV_FLOATS, 3e38, "<f4").tobytes()
    assert loaded(NET + CONV, data, tmp_path).notes == ()


# ---------------------------------------------------------------------------------------- writing and chance


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "x.weights").write_bytes(b"mine")
    with pytest.raises(WeightsError, match="exists already"):
        write_weights(network_of(NET + CONV), tmp_path / "x.weights")
    assert (tmp_path / "x.weights").read_bytes() == b"mine"
    write_weights(network_of(NET + CONV), tmp_path / "x.weights", force=True)
    assert (tmp_path / "x.weights").stat().st_size == 20 + 4 * CONV_FLOATS
    assert [path.name for path in tmp_path.iterdir()] == ["x.weights"]


def test_a_network_whose_tensors_were_folded_is_not_written(tmp_path: Path) -> None:
    network = network_of(NET + CONV)
    del network.module_list[0].BatchNorm2d
    with pytest.raises(WeightsError, match="tensors no longer match its cfg"):
        write_weights(network, tmp_path / "x.weights")
    assert list(tmp_path.iterdir()) == []


SMALL = (
    NET
    + "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n[convolutional]\nfilters=1\nactivation=linear\n"
)


def files() -> Iterator[st.SearchStrategy[bytes]]:
    headers = st.builds(WeightsHeader, *[st.integers(-3, 3)] * 3, st.integers(0, 2**32 - 1))
    yield st.binary(max_size=100)
    yield st.builds(lambda header, data: header.to_bytes() + data, headers, st.binary(max_size=60))
    yield st.builds(lambda header, n: content(n, header), headers, st.integers(0, 14))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(*files()), cutoff=st.none() | st.integers(-1, 3))
def test_any_bytes_are_loaded_whole_or_refused(data: bytes, cutoff: int | None, tmp_path: Path) -> None:
    path = tmp_path / "any.weights"
    path.write_bytes(data)
    network = network_of(SMALL)
    before = snapshot(network)
    try:
        header = read_weights(network, path, cutoff=cutoff).header
    except WeightsError:
        assert unchanged(network, before)
        return
    assert header is not None
    path.unlink()
    write_weights(network, path, header=header, upto=cutoff)
    written = path.read_bytes()
    assert written == (data if cutoff is None else data[: len(written)])
