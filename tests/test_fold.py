"""Folding: the same outputs with fewer sections, and a reason for each one that stays."""

import copy

import folding
import golden
import pytest
import torch
from folding import CFG, SMALL, apart, lived_in, pictures, shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from small import graph_of
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.count import count_costs
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks import paper
from yolor_cfg.rewrite.fold import FoldResult, fold
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.loading import read_weights

BOUND = 1e-10
SMALLEST = 64
IMPLICIT = ("implicit_", "shift_", "control_", "select_", "alternate_", "project_")


def graph_at(name: str, at_least: int = SMALLEST) -> Graph:
    """The graph of a shipped network at the smallest size from `at_least` on that its strides allow."""
    stride = load_graph(CFG / f"{name}.cfg").largest_stride
    return load_graph(CFG / f"{name}.cfg", ReadOptions(size=-(-at_least // stride) * stride))


def both(network: Network, folded: Network):
    """The outputs of the two for the same images, of the network's type."""
    dtype = next(network.parameters()).dtype
    images = pictures(network.graph, 2).to(dtype)
    with torch.no_grad():
        return network(images), folded(images)


def types(graph: Graph) -> list[str]:
    return [node.section.type for node in graph.nodes]


def implicit_sections(graph: Graph) -> list[str]:
    return [name for name in types(graph) if name.startswith(IMPLICIT)]


def checked(network: Network, **options: bool) -> FoldResult:
    """The folded network, once its outputs are found equal."""
    folded = fold(network, **options)
    assert apart(*both(network, folded.network)) <= BOUND
    return folded


def yolor_net(text: str, *, image: tuple[int, int, int] = (4, 6, 8), seed: int = 0) -> Network:
    return lived_in(graph_of(text, dialect="yolor", image=image), seed=seed)


# The shipped networks


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_network_folds_to_the_same_numbers_without_implicit_sections(name):
    network = lived_in(graph_at(name))
    folded = checked(network)
    assert implicit_sections(folded.network.graph) == []
    assert count_costs(folded.network.graph).macs == count_costs(network.graph).macs
    assert all("batch_normalize=1" not in line.text for line in folded.network.graph.document.lines)
    standing = types(network.graph).count("BatchNorm2d")
    assert len(folded.notes) == types(folded.network.graph).count("BatchNorm2d") == standing


@pytest.mark.slow
@pytest.mark.parametrize("size", [192, 320])
@pytest.mark.parametrize("name", ["yolor_nano", "yolor_micro", "yolor_csp_ssss_dwt"])
def test_so_it_does_at_other_sizes(name, size):
    checked(lived_in(graph_at(name, size)))


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("yolor_csp", "yolov4_csp_silu"),
        ("yolor_csp_sss", "yolov4_csp_sss"),
        ("yolor_csp_ssss_dwt", "yolov4_csp_ssss_dwt"),
    ],
)
def test_a_folded_yolor_network_is_section_for_section_the_one_without_implicit_knowledge(name, baseline):
    with golden.unset_weights():  # sections alone are compared
        folded, plain = (fold(Network(graph_at(stem))).network.graph for stem in (name, baseline))
    assert types(folded) == types(plain)
    assert [node.sources for node in folded.nodes] == [node.sources for node in plain.nodes]
    assert count_costs(folded) == count_costs(plain)


@pytest.mark.parametrize("name", shipped(SMALL))
def test_float32_folded_is_no_worse_than_ten_times_float32_unfolded(name):
    network = lived_in(graph_at(name))
    exact, _ = both(network, network)
    single = copy.deepcopy(network).float()
    of_network, of_folded = both(single, fold(single).network)
    bound = 10 * apart(exact, [raw.double() for raw in of_network])
    assert apart(exact, [raw.double() for raw in of_folded]) <= bound


@pytest.mark.parametrize("options", [{"norms": False}, {"implicit": False}])
def test_either_half_can_be_left_out(options):
    network = lived_in(graph_at("yolor_nano"))
    folded = checked(network, **options).network
    has_norms = any(isinstance(module, _BatchNorm) for module in folded.modules())
    assert has_norms is ("norms" in options)
    assert (implicit_sections(folded.graph) == []) is ("norms" in options)


# The golden networks: every operator, matrix and network and factorisation as models of z


@pytest.mark.parametrize("case", golden.yolor_cases(), ids=lambda case: case.name)
def test_a_golden_network_still_gives_yolors_numbers(case):
    run = golden.yolor_network(case)
    folded = fold(run.network).network
    with torch.no_grad():
        for number, raw in enumerate(folded(run.images)):
            golden.check_samples(f"head{number}_raw", raw, run.want, atol=2e-6, rtol=2e-6)
    checked(run.network)


@pytest.mark.parametrize("name", ["implicit2", "t6_vector", "t6_network", "t6_factor"])
def test_the_paper_forms_leave_nothing(name, shared):
    folded = fold(lived_in(load_graph(shared / "golden/yolor/cfg" / f"{name}.cfg")))
    assert implicit_sections(folded.network.graph) == []
    assert folded.notes == ()


ROWS = [(table, row) for table, rows in paper.TABLES.items() for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("table", "row"), ROWS)
def test_every_row_of_the_papers_tables_folds_to_its_last_constant(table, row):
    text = paper.ablation_text(table, row, base="yolor_micro", classes=3)
    network = lived_in(build_graph(parse(text), ReadOptions(size=64)))
    folded = fold(network)
    assert implicit_sections(folded.network.graph) == []
    assert folded.notes == ()
    images = pictures(network.graph)
    with torch.no_grad():  # not the heads alone: also where the second task ends
        before, after = (one.trace(images, ends(one)).values() for one in (network, folded.network))
    assert apart(list(before), list(after)) <= BOUND


def ends(network: Network) -> list[int]:
    read = {source for node in network.graph.nodes for source in node.sources}
    return [node.index for node in network.graph.nodes if node.index not in read]


# Every way out, by hand


YOLO = "[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n"
HEAD = f"[convolutional]\nfilters=16\nsize=1\nactivation=linear\n{YOLO}"


def test_control_after_a_linear_convolution_scales_its_filters():
    network = yolor_net(
        "[convolutional]\nfilters=5\nsize=3\npad=1\nactivation=linear\n"
        "[implicit_mul]\nfilters=5\n[route]\nlayers=0\n[control_channels]\nfrom=1\n"
    )
    folded = fold(network).network
    z = network.module_list[1].implicit.flatten()
    own, new = network.module_list[0].Conv2d, folded.module_list[0].Conv2d
    torch.testing.assert_close(new.weight, own.weight * z[:, None, None, None])
    torch.testing.assert_close(new.bias, own.bias * z)


def test_shift_before_a_pointwise_convolution_moves_its_bias():
    network = yolor_net(
        "[convolutional]\nfilters=5\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_add]\nfilters=5\n"
        "[route]\nlayers=0\n[shift_channels]\nfrom=1\n"
        "[convolutional]\nfilters=7\nsize=1\npad=1\nactivation=leaky\n"
    )
    folded = fold(network).network
    z = network.module_list[1].implicit.flatten()
    own, new = network.module_list[4].Conv2d, folded.module_list[2].Conv2d
    torch.testing.assert_close(new.weight, own.weight)
    torch.testing.assert_close(new.bias, own.bias + own.weight[:, :, 0, 0] @ z)


def test_concatenated_constants_become_a_bias_and_their_inputs_go():
    network = yolor_net(
        "[convolutional]\nfilters=5\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_cat]\nfilters=3\n"
        "[route]\nlayers=0\n[alternate_channels]\nfrom=1\n"
        "[convolutional]\nfilters=7\nsize=1\nactivation=leaky\n"
    )
    folded = checked(network).network
    own, new = network.module_list[4].Conv2d, folded.module_list[2].Conv2d
    torch.testing.assert_close(new.weight, own.weight[:, 3:])
    assert count_costs(folded.graph).macs == count_costs(network.graph).macs - 7 * 3 * 48


def one_after(reading: str, *, kind: str = "add", operator: str = "shift") -> Network:
    """silu convolution, then the operator with a vector of 6, then `reading`."""
    return yolor_net(
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=silu\n"
        f"[implicit_{kind}]\nfilters=6\n[route]\nlayers=0\n"
        f"[{operator}_channels]\nfrom=1\n{reading}"
    )


POINTWISE = "[convolutional]\nfilters=6\nsize=1\nactivation=leaky\n"
PADDED = "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"
VALID = "[convolutional]\nfilters=6\nsize=3\npad=0\nactivation=leaky\n"
GROUPS = "[convolutional]\nfilters=6\nsize=3\npad=0\ngroups=3\nactivation=leaky\n"


@pytest.mark.parametrize(
    ("operator", "kind", "reading"),
    [
        ("shift", "add", POINTWISE),
        ("shift", "add", VALID),
        ("shift", "add", GROUPS),
        ("shift", "add", f"{POINTWISE}[route]\nlayers=3\n{VALID}[route]\nlayers=-3\n"),
        ("shift", "add", f"[silence]\n[dropout]\n[upsample]\nstride=2\n{POINTWISE}"),
        ("shift", "add", f"[upsample]\nstride=2\nscale=.5\n{POINTWISE}"),
        ("shift", "add", f"[maxpool]\nsize=3\nstride=2\n{POINTWISE}"),
        ("shift", "add", f"[avgpool]\n{POINTWISE}"),
        ("shift", "add", f"[reorg]\n{POINTWISE}"),
        ("shift", "add", f"[route]\nlayers=-1,0,-1\n{POINTWISE}"),
        ("shift", "add", f"[shortcut]\nfrom=0\n{POINTWISE}"),
        ("shift", "add", f"[shortcut]\nfrom=-1\n{POINTWISE}"),
        ("shift", "add", f"[shortcut]\nfrom=0\n[shortcut]\nfrom=3\n{POINTWISE}"),
        ("shift", "add", f"[shortcut]\nfrom=0\nweights_type=per_feature\n{POINTWISE}"),
        ("shift", "add", f"[route_lhalf]\nlayers=-1\n{POINTWISE}"),
        ("shift", "add", f"[BatchNorm2d]\n{POINTWISE}"),
        ("shift", "add", "[focus]\nfilters=4\nsize=1\nactivation=silu\n"),
        ("control", "mul", PADDED),
        ("control", "mul", f"{PADDED}[route]\nlayers=3\n{GROUPS}[route]\nlayers=0\n"),
        ("control", "mul", f"[route]\nlayers=0,-1\n{PADDED}"),
        ("control", "mul", f"[shortcut]\nfrom=-1\n{PADDED}"),
        ("control", "mul", "[convolutional]\nfilters=20\nsize=3,5\npad=1\nactivation=mish\n"),
        (
            "control",
            "mul",
            "[deformableconvolutional]\nfilters=5\nsize=3\nbatch_normalize=1\nactivation=silu\n",
        ),
        ("control", "mul", "[focus]\nfilters=4\nsize=3\npad=1\nactivation=silu\n"),
        ("select", "mul", PADDED),
        ("control", "mul", f"[project_channels]\nfilters=1\nfrom=1\n{PADDED}"),
        ("shift", "add", f"[project_channels]\nfilters=1\nfrom=1\n{PADDED}"),
        ("alternate", "cat", f"{POINTWISE}[route]\nlayers=3\n{VALID}"),
        ("alternate", "cat", f"[silence]\n[route]\nlayers=0,-1\n{POINTWISE}"),
        ("alternate", "cat", f"[upsample]\nstride=2\n{VALID}"),
    ],
)
def test_this_folds(operator, kind, reading):
    folded = checked(one_after(reading, kind=kind, operator=operator))
    assert implicit_sections(folded.network.graph) == []
    assert folded.notes == ()


@pytest.mark.parametrize(
    ("operator", "kind", "reading", "reason"),
    [
        ("shift", "add", PADDED, "pads its input with zeros"),
        ("shift", "add", "[dwt]\n" + POINTWISE, "its reader is not a convolution ([dwt #4])"),
        ("shift", "add", "", "its value is an output of the network"),
        ("shift", "add", f"[activation]\nactivation=silu\n{POINTWISE}", "([activation #4])"),
        ("shift", "add", f"[local_avgpool]\nsize=3\nstride=1\n{POINTWISE}", "a pooling layer is in between"),
        ("control", "mul", f"[shortcut]\nfrom=0\n{POINTWISE}", "a sum has other terms that are not scaled"),
        ("control", "mul", f"{POINTWISE}[route]\nlayers=3\n[dwt]\n", "([dwt #6])"),
        ("control", "mul", "[yolo]\nmask=0\nanchors=2,3\nclasses=1\nnum=1\n", "([yolo #4])"),
        ("alternate", "cat", "[convolutional]\nfilters=6\nsize=1\ngroups=3\nactivation=silu\n", "has groups"),
        ("alternate", "cat", f"[shortcut]\nfrom=-1\n{POINTWISE}", "a sum has other terms"),
        ("alternate", "cat", f"[silence]\n[route]\nlayers=3,4\n{POINTWISE}", "along two paths"),
    ],
)
def test_this_stays_with_a_reason(operator, kind, reading, reason):
    network = one_after(reading, kind=kind, operator=operator)
    folded = checked(network)
    assert len(implicit_sections(folded.network.graph)) == 2
    assert len(folded.notes) == 1
    assert folded.notes[0].startswith(f"[{operator}_channels #3] (line ")
    assert reason in folded.notes[0]


@pytest.mark.parametrize("places", ["only=xy", "only=wh", "only=classes", "group=anchors"])
@pytest.mark.parametrize("operator", ["shift", "control", "select"])
def test_vectors_for_some_values_of_each_anchor_fold_into_the_prediction(operator, places):
    network = yolor_net(
        "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
        f"[implicit_mul]\nfilters={NUMBERS[places]}\n[route]\nlayers=0\n"
        f"[{operator}_channels]\nfrom=1\nanchors=2\n{places}\n"
        "[yolo]\nmask=0,1\nanchors=2,3,4,5\nclasses=3\nnum=2\n"
    )
    folded = checked(network)
    assert types(folded.network.graph) == ["convolutional", "route", "yolo"]


NUMBERS = {"only=xy": 4, "only=wh": 4, "only=classes": 6, "group=anchors": 2}


def test_a_projection_becomes_a_convolution_of_its_vectors():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_add]\nfilters=18\nmodel=factorization\n[route]\nlayers=0\n"
        "[project_channels]\nfrom=1\nfilters=3\n"
    )
    folded = checked(network).network
    assert types(folded.graph) == ["convolutional", "route", "convolutional"]
    with torch.no_grad():
        z = network.trace(pictures(network.graph), [1])[1]
    torch.testing.assert_close(folded.module_list[2].Conv2d.weight.data, z.reshape(3, 6, 1, 1))
    graph = network.graph
    assert count_costs(folded.graph).macs == count_costs(graph).macs - count_costs(graph).nodes[1].macs


def test_a_chain_to_something_that_sees_the_image_is_no_constant():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=1\nactivation=silu\n[avgpool]\n"
        "[implicit_mul]\nfilters=6\nchain=1\n"
        f"[route]\nlayers=0\n[control_channels]\nfrom=2\n{POINTWISE}"
    )
    assert types(checked(network).network.graph) == types(network.graph)


def test_batch_norms_alone_leave_the_models_of_z_as_they_are():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=1\nbatch_normalize=1\nactivation=silu\n"
        "[implicit_add]\nfilters=3\n"
        "[implicit_mul]\nfilters=6\nmodel=network\nhidden=4\nactivation=silu\nchain=1\n"
        f"[route]\nlayers=0\n[control_channels]\nfrom=2\n{POINTWISE}"
    )
    assert types(checked(network, implicit=False).network.graph) == types(network.graph)


def test_what_stays_is_reduced_to_one_tensor():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_add]\nfilters=12\n"
        "[convolutional]\nfilters=6\nsize=1\nbatch_normalize=1\nactivation=leaky\n"
        f"[route]\nlayers=0\n[shift_channels]\nfrom=2\n{PADDED}"
    )
    folded = checked(network).network
    assert types(folded.graph) == [
        "convolutional",
        "implicit_add",
        "route",
        "shift_channels",
        "convolutional",
    ]
    with torch.no_grad():
        z = network.trace(pictures(network.graph), [2])[2]
    torch.testing.assert_close(folded.module_list[1].implicit.data, z)


def test_a_matrix_that_stays_keeps_its_shape():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_add_2d]\natoms=4\nfilters=2\n"
        "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n"
        f"[route]\nlayers=0\n[shift_channels_2d]\nfrom=2\n{PADDED}"
    )
    folded = checked(network).network
    assert types(folded.graph)[1] == "implicit_add_2d"
    assert folded.module_list[1].implicit.shape == (1, 3, 2, 1)


def test_several_in_a_row_all_fold():
    network = yolor_net(
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=silu\n"
        "[implicit_add]\nfilters=6\n[implicit_mul]\nfilters=6\n"
        "[implicit_mul]\nfilters=6\n[route]\nlayers=0\n"
        "[shift_channels]\nfrom=1\n[control_channels]\nfrom=2\n"
        "[select_channels]\nfrom=3\n[shift_channels]\nfrom=1\n"
        f"{POINTWISE}{HEAD}"
    )
    folded = checked(network)
    assert implicit_sections(folded.network.graph) == []
    assert len(folded.network.graph.nodes) == 5


def test_a_constant_that_nobody_reads_goes():
    network = yolor_net(
        f"[convolutional]\nfilters=6\nsize=1\nactivation=silu\n"
        f"[implicit_add]\nfilters=6\n[route]\nlayers=0\n{HEAD}"
    )
    assert implicit_sections(checked(network).network.graph) == []


# Batch norms


def test_a_batch_norm_alone_folds_into_its_neighbours():
    network = yolor_net(
        f"[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=linear\n[BatchNorm2d]\n"
        f"[BatchNorm2d]\n{PADDED}"
        f"[BatchNorm2d]\n{POINTWISE}"
    )
    folded = checked(network)
    assert types(folded.network.graph) == ["convolutional"] * 3
    assert folded.notes == ()


def test_a_batch_norm_of_the_image_folds_into_the_one_convolution_that_reads_it():
    assert checked(yolor_net(f"[BatchNorm2d]\n[silence]\n{POINTWISE}")).notes == ()
    twice = f"[BatchNorm2d]\n{POINTWISE}[route]\nlayers=0\n{POINTWISE}[route]\nlayers=1\n"
    folded = checked(yolor_net(twice))
    assert "only the first section can read the image" in folded.notes[0]


def test_a_shift_folds_into_a_batch_norm_that_has_to_stay():
    folded = checked(one_after(f"[BatchNorm2d]\n{PADDED}"))
    assert implicit_sections(folded.network.graph) == []
    assert [note.split(" ")[0] for note in folded.notes] == ["[BatchNorm2d"]


def test_lent_weights_are_folded_for_lender_and_borrower():
    text = (
        "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
        "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=mish\nshare_index=0\n"
    )
    network = lived_in(graph_of(text))
    folded = checked(network).network
    assert [node.section.batch_normalize for node in folded.graph.nodes] == [False, False]
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())


def test_implicit_knowledge_does_not_move_into_lent_weights():
    network = yolor_net(
        "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n"
        "[implicit_mul]\nfilters=4\n[route]\nlayers=0\n"
        "[control_channels]\nfrom=1\n"
        "[convolutional]\nfilters=4\nsize=1\nactivation=linear\nshare_index=0\n"
    )
    folded = checked(network)
    assert "shares its weights" in folded.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "[connected]\noutput=7\nbatch_normalize=1\nactivation=leaky\n",
        "[convolutional]\nfilters=6\nsize=3\npad=1\nantialiasing=1\nbatch_normalize=1\nactivation=leaky\n",
        "[convolutional]\nfilters=6\nsize=3\npad=1\nxnor=1\nbatch_normalize=1\nactivation=leaky\n",
        "[convolutional]\nfilters=6\nsize=3\npad=1\ncbn=1\nactivation=relu\n",
        "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[batchnorm]\n"
        "[connected]\noutput=3\nactivation=linear\n[batchnorm]\n",
        "[convolutional]\nfilters=6\nsize=1\nactivation=leaky\n[batchnorm]\n"
        "[connected]\noutput=3\nbatch_normalize=1\nactivation=tanh\n",
        "[convolutional]\nfilters=6\nsize=1\nactivation=leaky\n[implicit]\nfilters=6\n"
        "[scale_channels]\nfrom=0\n"
        "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n",
    ],
)
def test_darknets_own_sections_fold_too(text):
    folded = checked(lived_in(graph_of(text)))
    assert folded.notes == ()
    assert not any(isinstance(module, _BatchNorm) for module in folded.network.modules())
    assert not {"implicit", "scale_channels"} & set(types(folded.network.graph))


def test_a_kernel_of_signs_with_zeros_keeps_its_batch_norm():
    text = "[convolutional]\nfilters=6\nsize=3\nxnor=1\nbatch_normalize=1\nactivation=leaky\n"
    network = lived_in(graph_of(text))
    network.module_list[0].Conv2d.weight.data[0, 0] = 0
    folded = checked(network)
    assert folded.notes == (
        "[convolutional #0] (line 5) keeps its batch norm: "
        "a binary kernel has zeros, whose sign would change",
    )


def test_recurrent_sections_keep_their_batch_norms_and_say_so():
    network = lived_in(graph_of("[crnn]\noutput=3\nhidden=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"))
    assert checked(network).notes == ("[crnn #0] (line 5) keeps its batch norms: it is recurrent",)


# What comes out


def test_the_network_given_stays_as_it_was():
    network = lived_in(graph_at("yolor_micro"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold(network).network
    for tensor in folded.state_dict().values():
        tensor.zero_()
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_folding_twice_changes_nothing_more():
    once = fold(lived_in(graph_at("yolor_micro"))).network
    twice = fold(once).network
    assert twice.graph.document.text == once.graph.document.text
    assert all(torch.equal(tensor, once.state_dict()[name]) for name, tensor in twice.state_dict().items())


def test_the_text_of_a_folded_network_alone_builds_it_again(tmp_path):
    folded = fold(lived_in(graph_at("yolor_micro")).float()).network
    write_weights(folded, tmp_path / "folded.weights")
    again = Network(build_graph(parse(folded.graph.document.text), ReadOptions(size=64))).eval()
    read_weights(again, tmp_path / "folded.weights")
    images = pictures(folded.graph).float()
    with torch.no_grad():
        assert apart(folded(images), again(images)) == 0


def test_comments_move_with_their_sections_and_name_their_new_numbers():
    network = yolor_net(
        "# sections 0..1: start\n\n[convolutional]\nfilters=6\nactivation=silu\n"
        "[implicit_add]\nfilters=6\n"
        "# sections 2..5: head\n# 0 is the start\n\n"
        "[route]\nlayers=0\n# 1 is the vector\n[shift_channels]\nfrom=1\n"
        f"# what counts\n{HEAD}"
    )
    document = fold(network).network.graph.document
    comments = [line.value for line in document.lines if line.kind == "comment"]
    assert comments[1:] == [
        "# sections 0..0: start",
        "# sections 1..3: head",
        "# 0 is the start",
        "# what counts",
    ]


def test_the_keys_of_net_are_kept():
    text = fold(Network(graph_at("yolor_nano"))).network.graph.document.text
    assert text.count("learning_rate=.01\n") == 1


def test_an_epsilon_of_the_checkpoint_is_folded_and_kept():
    network = lived_in(graph_at("yolor_micro"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.01
    checked(network)
    kept = checked(network, norms=False).network
    assert kept.graph.net.bn_eps == 0.01


# Small graphs at random


@st.composite
def programs(draw) -> str:
    """The sections of a small YOLOR program with constants in odd places; every value is 6 wide and 4 high,
    or twice that."""
    made: list[str] = []
    values: list[tuple[int, int, int]] = []  # number, channels, zoom

    def add(text: str, channels: int, zoom: int = 1) -> None:
        made.append(text)
        values.append((len(made) - 1, channels, zoom))

    def back_to(number: int) -> None:
        made.append(f"[route]\nlayers={number}\n")

    def constant(channels: int) -> int:
        made.append(f"[implicit_{draw(st.sampled_from(['add', 'mul']))}]\nfilters={channels}\n")
        if draw(st.booleans()):
            made[-1] = f"[implicit_add]\nfilters={draw(st.integers(1, 3))}\n"
            made.append(f"[convolutional]\nfilters={channels}\nsize=1\nactivation={draw(ACTIVATION)}\n")
        return len(made) - 1

    add(convolution(draw, 4), 6)
    for _ in range(draw(st.integers(3, 9))):
        number, channels, zoom = draw(st.sampled_from(values[-4:]))
        step = draw(st.sampled_from(STEPS))
        if step in ("shift", "control", "select", "alternate"):
            wide = draw(st.integers(1, 3)) if step == "alternate" else channels
            z = constant(wide)
            back_to(number)
            add(f"[{step}_channels]\nfrom={z}\n", channels + wide * (step == "alternate"), zoom)
            continue
        same = [value for value in values if value[2] == zoom]
        if step == "route":
            chosen = draw(st.lists(st.sampled_from(same), min_size=1, max_size=3))
            layers = ",".join(str(one[0]) for one in chosen)
            add(f"[route]\nlayers={layers}\n", sum(one[1] for one in chosen), zoom)
            continue
        back_to(number)
        if step == "shortcut":
            weighted = draw(st.sampled_from(["", "weights_type=per_feature\n"]))
            add(f"[shortcut]\nfrom={draw(st.sampled_from(same))[0]}\n{weighted}", channels, zoom)
        elif step == "convolution":
            add(convolution(draw, channels), 6, zoom)
        elif step == "upsample" and zoom == 1:
            add("[upsample]\nstride=2\n", channels, 2)
        else:
            add(UNCHANGED.get(step, "[silence]\n"), channels, zoom)
    made.append("[convolutional]\nfilters=4\nsize=1\nactivation=linear\n")
    return "".join(made)


STEPS = (
    "convolution",
    "shift",
    "control",
    "select",
    "alternate",
    "route",
    "shortcut",
    "upsample",
    "pass",
    "norm",
    "pool",
)
UNCHANGED = {"norm": "[BatchNorm2d]\n", "pool": "[maxpool]\nsize=3\nstride=1\n"}
ACTIVATION = st.sampled_from(["linear", "linear", "silu", "leaky"])


def convolution(draw, channels: int) -> str:
    size, norm = draw(st.sampled_from([1, 1, 3])), draw(st.integers(0, 1))
    groups = draw(st.sampled_from([1, 1, 3])) if channels % 3 == 0 else 1
    return (
        f"[convolutional]\nfilters=6\nsize={size}\npad=1\ngroups={groups}\n"
        f"batch_normalize={norm}\nactivation={draw(ACTIVATION)}\n"
    )


@settings(max_examples=80)
@given(programs(), st.integers(0, 3))
def test_any_small_program_folds_to_the_same_numbers(text, seed):
    network = yolor_net(text, image=(4, 4, 6), seed=seed)
    folded = checked(network)
    assert count_costs(folded.network.graph).macs <= count_costs(network.graph).macs
    staying = [name for name in types(folded.network.graph) if name in STAYING]
    assert len(staying) == len(folded.notes)


STAYING = ("shift_channels", "control_channels", "select_channels", "alternate_channels", "BatchNorm2d")


def test_the_helper_draws_variances_from_the_whole_range():
    network = lived_in(graph_at("yolor_csp_sss"))
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    variances = torch.cat([norm.running_var for norm in norms])
    assert folding.LEAST <= variances.min() < 2e-4
    assert 9 < variances.max() <= folding.MOST


SHARED_PAIR = (
    "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
    "[convolutional]\nfilters=4\nsize=3\npad=1\nstride=2\nbatch_normalize=1\nactivation=linear\n"
    "share_index=-1\n"
)


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
@pytest.mark.parametrize(
    "text",
    [SHARED_PAIR, f"{SHARED_PAIR}[implicit_mul]\nfilters=4\n[route]\nlayers=1\n[control_channels]\nfrom=2\n"],
)
def test_shared_weights_are_folded_where_they_are_kept(dialect, text):
    if dialect == "darknet" and "implicit" in text:
        text = SHARED_PAIR + "[BatchNorm2d]\n".lower().replace("2d", "")
    network = lived_in(graph_of(text, dialect=dialect))
    checked(network)


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
@pytest.mark.parametrize("text", ["[cost]", "[cost]\n[cost]"])
def test_a_cfg_of_losses_alone_is_folded_into_itself(dialect, text):
    network = lived_in(graph_of(text, dialect=dialect))
    folded = fold(network).network
    assert types(folded.graph) == types(network.graph)
    assert both_are_empty(network, folded)


def both_are_empty(network: Network, folded: Network) -> bool:
    images = pictures(network.graph, 2)
    return len(network(images)) == len(folded(images)) == 0


def test_folded_kernels_are_as_the_folded_cfg_says(tmp_path):
    """Kernels of `flipped=1` are written as they are used (parser.c transposes them on reading alone), so the
    folded cfg must not have it; nor dontload, which would leave the written tensors unread."""
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=4\nsize=3\npad=1\nflipped=1\n"
    network = lived_in(build_graph(parse(text + "dontloadscales=1\nactivation=leaky\n")))
    folded = fold(network).network
    write_weights(folded, tmp_path / "a.weights")
    again = Network(folded.graph).double().eval()
    read_weights(again, tmp_path / "a.weights")
    before, after = both(network, again)
    assert apart(before, after) < 1e-6
