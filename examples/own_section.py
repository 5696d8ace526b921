"""A section of your own, from outside the package: `python own_section.py`.

One class is all it takes: its keys are checked, its shapes inferred, its tensors counted, read and written
like those of any other section.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from yolor_cfg import CfgError, load
from yolor_cfg.lang.keys import Float, Int
from yolor_cfg.sections import Section, TensorSpec
from yolor_cfg.shape import Shape


class ChannelGate(nn.Module):
    """Each channel times 1 + its own number."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        return x * (1 + self.gain[:, None, None])


class ChannelGateSection(Section, names="channel_gate"):
    """Multiply each channel by 1 + a learned number."""

    start = Float(0, help="the numbers at first")
    every = Int(1, least=1, help="only a multiple of so many channels is taken")

    def shape(self, x: Shape) -> Shape:
        """The size of the input."""
        if x.channels % self.every:
            raise self.error(
                "every", "does not divide the channels", found=f"{x.channels}", allowed="a divisor"
            )
        return x

    def module(self, x: Shape) -> nn.Module:
        """What computes it."""
        return ChannelGate(x.channels, self.start)

    def tensors(self, x: Shape) -> list[TensorSpec]:
        """What a .weights file keeps."""
        return [TensorSpec("implicit", "gain", (x.channels,))]


CFG = """[net]
width=8
height=8
channels=3
[convolutional]
filters=4
activation=linear
[channel_gate]
start=1
"""

path = Path(tempfile.mkdtemp()) / "gated.cfg"
path.write_text(CFG)
network = load(path, None)
layers = network.trace(torch.rand(1, 3, 8, 8), [0, 1])
print("twice the convolution:", torch.equal(layers[1], 2 * layers[0]))

path.write_text(CFG + "every=3\n")
try:
    load(path, None)
except CfgError as fault:
    print(fault)
