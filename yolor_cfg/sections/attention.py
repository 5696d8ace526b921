"""[se], [FCA] and [CBAM]: attention in the channels and pixels of a map, each from one fork.

Facts: SpursLipu/YOLOv3v4-ModelCompression utils/layers.py; yolo-nano in eriklindernoren/PyTorch-YOLOv3
layers/layers.py; DijiesitelaQ/TSDetection utils/layers.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.lang.dialect import YOLOR_ONLY
from yolor_cfg.lang.keys import Int
from yolor_cfg.ops.windows import ALL_CELLS, Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.tensors import TensorSpec
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.attention import ChannelGate

CBAM_RATIO, CBAM_SIZE = 16, 7  # no keys: constants of the source
SE_RATIO = 4


class _GateSection(Section):
    """x times a factor for each channel: gate(W2 bend(W1 mean)), without biases."""

    ratio_key: ClassVar[str]

    @property
    def ratio(self) -> int:
        """How many times fewer numbers than channels are between the matrices."""
        raise AssertionError(f"[{self.type}] has no ratio")

    @property
    def layer_name(self) -> str:
        """The name of the layer in the state dict."""
        return self.type

    def shape(self, x: Shape) -> Shape:
        if self.ratio > x.channels:
            found = f"{x.channels} channels, {self.ratio_key}={self.ratio}"
            raise self.error(
                self.ratio_key, "too few channels", found=found, allowed=f"1 to {x.channels} here"
            )
        return x

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (ALL_CELLS,)

    def module(self, x: Shape) -> nn.Module:
        from collections import OrderedDict

        from torch import nn

        return nn.Sequential(OrderedDict({self.layer_name: self.build_gate(x.channels)}))

    def build_gate(self, channels: int) -> ChannelGate:
        """The module that weights so many channels."""
        raise AssertionError(f"[{self.type}] builds no gate")

    def macs(self, out: Shape, x: Shape) -> int:
        return sum(tensor.size for tensor in self.tensors(x))

    def tensors(self, x: Shape) -> list[TensorSpec]:
        hidden = x.channels // self.ratio
        shapes = ((hidden, x.channels), (x.channels, hidden))
        return [TensorSpec("weight", name, shape) for name, shape in zip(self.decayed(), shapes, strict=True)]

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{self.layer_name}.fc.{place}.weight" for place in (0, 2))


class SqueezeExcitationSection(_GateSection, names="se"):
    """Weight the channels by a hard sigmoid of a small network of their means (squeeze and excitation)."""

    dialects = ("spurs",)
    is_stored_by_its_program = True
    ratio_key = "reduction"
    examples = ("[se]\nfilters=8", "[se]\nreduction=3", "[se]\nfilters=8\nreduction=2")

    filters = Int(
        lambda section: 0,
        least=1,
        help="number of channels, where `reduction` is absent; else it is not read",
    )
    reduction = Int(SE_RATIO, least=1, help="divides the channels between the two matrices")

    @property
    def ratio(self) -> int:
        return self.reduction

    def shape(self, x: Shape) -> Shape:
        if "filters" in self.values and "reduction" not in self.values and self.filters != x.channels:
            raise self.error(
                "filters",
                "not the channels of the section before",
                found=str(self.filters),
                allowed=str(x.channels),
            )
        return super().shape(x)

    def build_gate(self, channels: int) -> ChannelGate:
        from torch import nn

        from yolor_cfg.ops.attention import build_gate

        return build_gate(channels, channels // self.ratio, bend=nn.ReLU(), gate=nn.Hardsigmoid())


class FullyConnectedAttentionSection(_GateSection, names="FCA"):
    """Weight the channels by the sigmoid of a small network of their means (yolo-nano).

    The source stores it in no weights file; the order here is ours: the two matrices as they run.
    """

    dialects = ("nano",)
    ratio_key = "reduction_ratio"
    examples = ("[FCA]\nreduction_ratio=4",)

    reduction_ratio = Int(1, least=1, wanted=True, help="divides the channels between the two matrices")

    def check(self) -> None:
        self.require_keys("reduction_ratio")

    @property
    def ratio(self) -> int:
        return self.reduction_ratio

    @property
    def layer_name(self) -> str:
        """The name and number, as in the source."""
        return f"FCA_{self.index}"

    def build_gate(self, channels: int) -> ChannelGate:
        from torch import nn

        from yolor_cfg.ops.attention import build_gate

        return build_gate(channels, channels // self.ratio, bend=nn.LeakyReLU(0.1), gate=nn.Sigmoid())


class BlockAttentionSection(Section, names="CBAM"):
    """Weight the channels, then the pixels, by what means and maxima say of them (CBAM, of TSDetection).

    The source stores it in no weights file; the order here is that of its state dict.
    """

    dialects = YOLOR_ONLY
    examples = ("[convolutional]\nfilters=32\nsize=3\n[CBAM]",)

    def shape(self, x: Shape) -> Shape:
        if x.channels < CBAM_RATIO:
            raise self.error("", "too few channels", found=str(x.channels), allowed=f"{CBAM_RATIO} or more")
        return x

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (ALL_CELLS,)

    def module(self, x: Shape) -> nn.Module:
        from collections import OrderedDict

        from torch import nn

        from yolor_cfg.ops.attention import BlockAttention

        attention = BlockAttention(x.channels, x.channels // CBAM_RATIO, CBAM_SIZE)
        return nn.Sequential(OrderedDict({"CBAM": attention}))

    def macs(self, out: Shape, x: Shape) -> int:
        hidden = x.channels // CBAM_RATIO
        return 4 * x.channels * hidden + 2 * CBAM_SIZE**2 * x.area

    def tensors(self, x: Shape) -> list[TensorSpec]:
        hidden, size = x.channels // CBAM_RATIO, CBAM_SIZE
        weights = ((hidden, x.channels), (x.channels, hidden), (1, 2, size, size))
        pairs = zip(self.decayed(), weights, strict=True)
        return [
            spec
            for name, shape in pairs
            for spec in (
                TensorSpec("weight", name, shape),
                TensorSpec("bias", name.replace("weight", "bias"), shape[:1]),
            )
        ]

    def decayed(self) -> tuple[str, ...]:
        dense = tuple(f"CBAM.channel_attention.shared_MLP.{place}.weight" for place in (0, 2))
        return (*dense, "CBAM.spatial_attention.conv2d.weight")
