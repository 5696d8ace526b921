"""The sections with memory, against torch's own cells, formulas written out and each other."""

import pytest
import torch
from torch.nn import functional as F

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network

VECTOR = "[net]\ninputs=6\n"
MAP = "[net]\nwidth=7\nheight=5\nchannels=4\n"
CELLS = {
    "rnn": VECTOR + "[rnn]\noutput=3\nhidden=5\nactivation=tanh\nbatch_normalize=1",
    "gru": VECTOR + "[gru]\noutput=3",
    "lstm": VECTOR + "[lstm]\noutput=3\nbatch_normalize=1",
    "crnn": MAP + "[crnn]\noutput=3\nhidden=5\nactivation=leaky\npad=1\nbatch_normalize=1",
    "conv_lstm": MAP + "[conv_lstm]\noutput=4\npad=1\npeephole=1",
    "conv_lstm_bottleneck": MAP + "[conv_lstm]\noutput=4\npad=1\nbottleneck=1\nshortcut=1\nactivation=leaky",
}


def graph_of(text: str):
    return build_graph(parse(text, "t.cfg"), ReadOptions(dialect="darknet"))


def network_of(text: str) -> Network:
    """The network in float64 with random parameters and running statistics."""
    network = Network(graph_of(text)).eval().double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                low = 0.1 if "var" in name else -0.7  # variances are positive
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 1.4 + low)
    return network


def inputs_of(network: Network, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (3, batch, *network.graph.image)
    return list(torch.randn(shape, generator=generator, dtype=torch.float64))


def outputs_of(network: Network, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [network(x)[0] for x in inputs]


def matrix(network: Network, part: str):
    """The linear map of one part as a function of [N, n]."""
    linear = getattr(network.module_list[0], part).Linear
    return lambda x: x @ linear.weight.T + linear.bias


def test_an_lstm_is_torchs_lstm_cell():
    network = network_of(VECTOR + "[lstm]\noutput=3")
    layer, cell = network.module_list[0], torch.nn.LSTMCell(6, 3).double()
    with torch.no_grad():
        for side, kind in (("u", "ih"), ("w", "hh")):
            parts = [getattr(layer, side + gate).Linear for gate in "ifgo"]
            getattr(cell, f"weight_{kind}").copy_(torch.cat([part.weight for part in parts]))
            getattr(cell, f"bias_{kind}").copy_(torch.cat([part.bias for part in parts]))
    inputs, state = inputs_of(network), None
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        state = cell(x.flatten(1), state)
        torch.testing.assert_close(got.flatten(1), state[0])


@pytest.mark.parametrize("shortcut", [0, 1])
@pytest.mark.parametrize(
    ("logistic", "own"), [(0, torch.relu), (1, torch.sigmoid), (2, lambda x: 2 * torch.sigmoid(x) - 1)]
)
def test_an_rnn_adds_what_it_sees_and_what_it_remembers(shortcut, logistic, own):
    keys = f"output=3\nhidden=5\nactivation=relu\nlogistic={logistic}\nshortcut={shortcut}"
    network = network_of(VECTOR + "[rnn]\n" + keys)
    inputs, hidden = inputs_of(network), torch.zeros(2, 5, dtype=torch.float64)
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        new = torch.relu(matrix(network, "input")(x.flatten(1))) + own(matrix(network, "self")(hidden))
        hidden = new + shortcut * hidden
        torch.testing.assert_close(got.flatten(1), torch.relu(matrix(network, "output")(hidden)))


def test_the_candidate_of_a_gru_is_logistic():
    network = network_of(VECTOR + "[gru]\noutput=3")
    inputs, hidden = inputs_of(network), torch.zeros(2, 3, dtype=torch.float64)
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        seen = {gate: matrix(network, f"input_{gate}")(x.flatten(1)) for gate in "zrh"}
        keep, reset = (torch.sigmoid(seen[gate] + matrix(network, f"state_{gate}")(hidden)) for gate in "zr")
        candidate = torch.sigmoid(seen["h"] + matrix(network, "state_h")(reset * hidden))
        hidden = keep * hidden + (1 - keep) * candidate
        torch.testing.assert_close(got.flatten(1), hidden)


@pytest.mark.parametrize(
    ("maps", "vectors"),
    [
        (
            "[crnn]\noutput=3\nhidden=5\nsize=1\nactivation=leaky\nbatch_normalize=1",
            "[rnn]\noutput=3\nhidden=5\nactivation=leaky\nbatch_normalize=1",
        ),
        ("[conv_lstm]\noutput=3\nsize=1", "[lstm]\noutput=3"),
    ],
)
def test_a_cell_of_maps_with_1x1_kernels_is_the_cell_of_vectors_in_every_pixel(maps, vectors):
    on_maps, on_vectors = network_of(MAP + maps), network_of("[net]\ninputs=4\n" + vectors)
    state = {
        name.replace("Linear", "Conv2d").replace("BatchNorm1d", "BatchNorm2d"): tensor
        for name, tensor in on_vectors.state_dict().items()
    }
    shapes = {name: tensor.shape for name, tensor in on_maps.state_dict().items()}
    on_maps.load_state_dict({name: tensor.reshape(shapes[name]) for name, tensor in state.items()})
    inputs = inputs_of(on_maps)
    pixels = [x.permute(0, 2, 3, 1).reshape(-1, 4, 1, 1) for x in inputs]
    for got, want in zip(outputs_of(on_maps, inputs), outputs_of(on_vectors, pixels), strict=True):
        torch.testing.assert_close(got.permute(0, 2, 3, 1).flatten(0, 2), want.flatten(1))


def test_the_gates_of_a_peephole_see_the_cell_and_the_last_one_the_new_cell():
    keys = "output=3\npad=1\npeephole=1\ndilation=2\nlstm_activation=logistic"
    network = network_of(MAP + "[conv_lstm]\n" + keys)
    layer = network.module_list[0]

    def see(part: str, x: torch.Tensor) -> torch.Tensor:
        conv = getattr(layer, part).Conv2d
        return F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2)

    inputs = inputs_of(network)
    output = cell = torch.zeros(2, 3, 5, 7, dtype=torch.float64)
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        forget, accept = (see(f"w{g}", output) + see(f"u{g}", x) + see(f"v{g}", cell) for g in "fi")
        candidate = torch.sigmoid(see("wg", output) + see("ug", x))
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(accept) * candidate
        output = torch.sigmoid(see("wo", output) + see("uo", x) + see("vo", cell)) * torch.sigmoid(cell)
        torch.testing.assert_close(got, output)


def test_a_bottleneck_mixes_state_and_input_and_a_shortcut_adds_the_first_half_of_it():
    network = network_of(MAP + "[conv_lstm]\noutput=4\nsize=1\nbottleneck=1\nshortcut=1")
    layer = network.module_list[0]
    inputs = inputs_of(network)
    output = cell = torch.zeros(2, 4, 5, 7, dtype=torch.float64)
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        mixed = torch.tanh(layer.wf.Conv2d(torch.cat([output, x], dim=1)))
        forget, accept, candidate, emit = (getattr(layer, f"u{gate}").Conv2d(mixed) for gate in "figo")
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(accept) * torch.tanh(candidate)
        output = torch.sigmoid(emit) * torch.tanh(cell)
        torch.testing.assert_close(got[:, :2], output[:, :2] + mixed[:, :2])
        torch.testing.assert_close(got[:, 2:], output[:, 2:])


def test_the_bound_holds_for_the_cell_that_is_kept_and_not_for_the_output():
    network = network_of(MAP + "[conv_lstm]\noutput=3\nsize=1\nstate_constrain=1\nlstm_activation=linear")
    layer, x = network.module_list[0], 9 * inputs_of(network)[0]
    with torch.no_grad():
        y, (output, cell) = layer(x, layer.initial_state(x))
    assert cell.abs().max() == 1
    assert y.abs().max() > 1
    assert torch.equal(y, output)


def test_a_history_given_one_frame_at_a_time_holds_that_frame_alone():
    network = network_of(MAP + "[history]\nhistory_size=3")
    inputs = inputs_of(network)
    for x, got in zip(inputs, outputs_of(network, inputs), strict=True):
        assert torch.equal(got[:, :4], x)
        assert got.shape == (2, 12, 5, 7) and not got[:, 4:].any()


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_changes_nothing_it_was_given(name):
    network = network_of(CELLS[name])
    layer, x = network.module_list[0], inputs_of(network)[0]
    with torch.no_grad():
        _, state = layer(x, layer.initial_state(x))
        before = [tensor.clone() for tensor in (x, *state)]
        first, second = layer(x, state), layer(x, state)
    assert all(torch.equal(now, then) for now, then in zip((x, *state), before, strict=True))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("name", CELLS)
def test_images_of_a_batch_do_not_see_each_other(name):
    network = network_of(CELLS[name])
    inputs = inputs_of(network)
    together = outputs_of(network, inputs)
    network.reset()
    alone = outputs_of(network, [x[1:] for x in inputs])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_exports_with_its_state_given_and_returned(name):
    network = network_of(CELLS[name])
    layer, x = network.module_list[0], inputs_of(network)[0]
    state = tuple(torch.rand_like(tensor) for tensor in layer.initial_state(x))
    with torch.no_grad():
        program = torch.export.export(layer, (x, state))
        torch.testing.assert_close(program.module()(x, state), layer(x, state))


@pytest.mark.parametrize("name", CELLS)
def test_the_stored_tensors_are_those_of_the_module(name):
    graph = graph_of(CELLS[name])
    node = graph.nodes[0]
    module = {
        key: tuple(tensor.shape)
        for key, tensor in Network(graph).module_list[0].state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert {tensor.name: tensor.shape for tensor in node.section.tensors(*node.inputs)} == module
    kernels = {key for key in module if key.endswith(("Linear.weight", "Conv2d.weight"))}
    assert set(node.section.decayed()) == kernels


def test_the_order_of_the_parts_is_the_file_format():
    def parts(name: str) -> list[str]:
        node = graph_of(CELLS[name]).nodes[0]
        return list(dict.fromkeys(tensor.name.split(".")[0] for tensor in node.section.tensors(*node.inputs)))

    assert parts("rnn") == parts("crnn") == ["input", "self", "output"]
    assert parts("gru") == ["input_z", "input_r", "input_h", "state_z", "state_r", "state_h"]
    assert parts("lstm") == ["wf", "wi", "wg", "wo", "uf", "ui", "ug", "uo"]
    assert parts("conv_lstm") == ["vf", "vi", "vo", "wf", "wi", "wg", "wo", "uf", "ui", "ug", "uo"]
    assert parts("conv_lstm_bottleneck") == ["wf", "uf", "ui", "ug", "uo"]


def test_matrices_are_stored_between_bias_and_scale_and_may_be_transposed():
    node = graph_of(CELLS["lstm"]).nodes[0]
    first = node.section.tensors(*node.inputs)[:5]
    assert [tensor.role for tensor in first] == ["bias", "weight", "scale", "mean", "variance"]
    assert [tensor.transposable for tensor in first] == [False, True, False, False, False]


def test_a_state_of_another_image_size_is_in_proportion():
    network = network_of(
        "[net]\nwidth=32\nheight=32\nchannels=3\n"
        "[convolutional]\nsize=3\nstride=2\npad=1\nfilters=4\n"
        "[crnn]\noutput=3\nhidden=5\npad=1\nactivation=leaky"
    )
    images = torch.zeros(2, 3, 48, 30, dtype=torch.float64)
    assert network.module_list[1].initial_state(images)[0].shape == (2, 5, 24, 15)
    with torch.no_grad():
        assert network(images)[0].shape == (2, 3, 24, 15)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("[crnn]\npad=1\nstride=2", "stride", "the state would change its size"),
        ("[conv_lstm]\nsize=4\npad=1", "size", "the state would change its size"),
        ("[conv_lstm]\nsize=3", "size", "the state would change its size"),
        ("[crnn]\npad=1\ngroups=2\nhidden=3", "groups", "does not divide the channels"),
        ("[crnn]\npad=1\nxnor=1", "xnor", "binary convolutions are not supported in a recurrent section"),
        (
            "[conv_lstm]\npad=1\nbottleneck=1\noutput=3",
            "bottleneck",
            "state and input must have the same number of channels",
        ),
    ],
)
def test_what_cannot_run_is_said_at_its_key(text, key, message):
    with pytest.raises(CfgError) as caught:
        graph_of(MAP + text)
    assert (caught.value.key, caught.value.message) == (key, message)


def test_tanh_of_an_older_darknet_is_said_to_have_no_effect():
    graph = graph_of(VECTOR + "[gru]\noutput=3\ntanh=1")
    assert [(warning.key, warning.line) for warning in graph.warnings] == [("tanh", 5)]


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm", "crnn", "conv_lstm"])
def test_a_recurrent_network_on_vectors_runs_traces_exports_and_trains(kind):
    keys = {"rnn": "hidden=4", "crnn": "hidden=4\npad=1\nsize=3", "conv_lstm": "pad=1\nsize=3"}
    network = network_of(f"[net]\ninputs=7\n[{kind}]\noutput=3\n{keys.get(kind, '')}\n[connected]\noutput=2")
    images = torch.rand(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        (first,), (second,) = network(images), network(images)
    assert first.shape == (3, 2, 1, 1) and not torch.equal(first, second)  # the state counts
    network.reset()
    traced = network.trace(images, [0, 1])
    assert traced[0].flatten(1).shape == (3, 3) and torch.equal(traced[1].detach(), first)
    network.reset()

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x, states):
            return self.network.step(x, states)

    states = network.states(images)
    exported = torch.export.export(Step(), (images, states)).module()
    torch.testing.assert_close(exported(images, states)[0][0].detach(), first)
    for _ in range(2):  # the second step does not reach back into the first
        network.train()(images)[0].square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert network.module_list[1].Linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("kind", "starts_anew"), [("rnn", True), ("crnn", True), ("gru", False), ("lstm", False)]
)
def test_rnn_and_crnn_forget_before_each_pass_of_training(kind, starts_anew):
    # rnn_layer.c and crnn_layer.c fill l.state with zeros if state.train; those of gru and lstm do not.
    network = network_of(CELLS[kind].replace("batch_normalize=1", "")).train()
    images = inputs_of(network)[0]
    first, second = network(images)[0], network(images)[0]
    assert torch.equal(first, second) is starts_anew
