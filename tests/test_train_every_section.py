"""Every section trains a step with channels last, in float32 and in bfloat16, in a process of its own: a
fault in native code ends it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.layout import can_miss_input, use_channels_last

TESTS = Path(__file__).parent
TRAIN = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network
from yolor_cfg.train.layout import join_norms, use_channels_last, widen_heads

torch.set_num_threads(1)


def step(graph, kind):
    torch.manual_seed(0)
    network = Network(graph).train()
    use_channels_last(network)
    join_norms(network)
    widen_heads(network)
    image = graph.image
    images = torch.rand(4, image.channels, image.height, image.width)
    network.reset()
    with torch.autocast("cpu", dtype=kind, enabled=kind is not None):
        raws = network(images.contiguous(memory_format=torch.channels_last))
    learnt = [raw.float().sum() for raw in raws if raw.requires_grad]
    if learnt:
        sum(learnt).backward()


if sys.argv[2:]:
    graphs = ((path, load_graph(path)) for path in sys.argv[2:])
else:
    import test_sections_contract as contract

    graphs = ((repr(case), case.graph()) for case in contract.CASES if not case.without)
for name, graph in graphs:
    for kind in (None, torch.bfloat16):
        print(name, kind, flush=True)
        step(graph, kind)
print("done")
"""
BLIND = "[net]\nwidth=8\nheight=8\nchannels=4\n[convolutional]\nfilters=4\nsize=1\nstride=3\npadding=1\n"


def train_in_a_child(*cfgs):
    """The last line that the child printed: the network at which it ended, or done."""
    command = [sys.executable, "-c", TRAIN, str(TESTS), *map(str, cfgs)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    return result.stdout.splitlines()[-1] if result.returncode == 0 else result.stdout[-300:] + result.stderr


def test_every_example_trains():
    assert train_in_a_child() == "done"


def test_every_small_golden_cfg_trains(shared):
    cfgs = sorted((shared / "golden/darknet/micro").glob("*.cfg"))
    assert cfgs and train_in_a_child(*cfgs) == "done"


@pytest.mark.slow
def test_every_golden_cfg_trains(shared):
    cfgs = sorted((shared / "golden").glob("*/*.cfg"))
    assert cfgs and train_in_a_child(*cfgs) == "done"


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "misses"),
    [(1, 3, 1, 6, True), (2, 2, 3, 2, True), (3, 2, 1, 1, False), (1, 2, 0, 1, False), (7, 2, 3, 1, False)],
)
def test_what_a_convolution_can_miss_is_told_by_its_gradient(size, stride, padding, dilation, misses):
    layer = nn.Conv2d(1, 1, size, stride, padding, dilation)
    found = False
    for length in range(1, 8):
        x = torch.zeros(1, 1, 1 + dilation * (size - 1), length, requires_grad=True)
        if length + 2 * padding > dilation * (size - 1):
            layer(x).sum().backward()
            found = found or not x.grad.any()
    assert can_miss_input(layer) == found == misses


def test_kernels_have_their_channels_last_and_other_tensors_their_order():
    network = Network(build_graph(parse(BLIND + "[convolutional]\nfilters=4\nsize=3\npad=1\nstride=2\n")))
    use_channels_last(network)
    kernels = [layer.Conv2d.weight for layer in network.module_list]
    assert kernels[1].is_contiguous(memory_format=torch.channels_last)
    assert kernels[0].is_contiguous()
