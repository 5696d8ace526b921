"""[select], [conv-select], [conv-extract] and [extract]: parts of a bigger network's layers (darkflow).

A weights file holds the tensors of the whole layers; these sections say what of them stays. Which channels
do is in a profile, a file that a cfg names. Facts: thtrieu/darkflow, utils/process.py and dark/.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.lang.cuts import KeepKey, KeptClasses, read_profile
from yolor_cfg.lang.dialect import DARKFLOW_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Int, Text
from yolor_cfg.lang.lists import IntList
from yolor_cfg.lang.paths import resolve_cfg_path
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.ops.windows import Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

WHOLE_KERNELS = ("convolutional", "conv-extract")  # their `filters` are the channels of the next kernels
WHOLE_VECTORS = ("connected", "extract")
NO_KEEP = KeptClasses((0,), 1)
MOST = 1 << 22  # numbers of a whole layer: what stays of it is a list


class _CutSection(Section):
    """A section that may go by a profile: without one, it is the whole layer."""

    dialects = DARKFLOW_ONLY
    darknet_form = "cut"
    keeps_width = True  # it follows from what stays of the whole layer

    @property
    def profile_name(self) -> str:
        """The profile that the section goes by; empty if it needs none."""
        return ""

    def check(self) -> None:
        self.try_checks(self._check_profile)

    def _check_profile(self) -> None:
        """Warn, once a file, of a profile that is not there: the network is then the whole one."""
        name = self.profile_name
        told = any(isinstance(one, _CutSection) and one.profile_name == name for one in self.earlier)
        if not name or told or self._profile_path() is not None:
            return
        self.warn(
            self._profile_key,
            "no such profile, or an empty one: the widths are those of the uncut network",
            found=name,
            hint="it lists what stays; tried from the folder of the cfg, then from the current one",
        )

    @property
    def _profile_key(self) -> str:
        return "profile" if "profile" in self.keys else "input"

    def _profile_path(self) -> Path | None:
        path = resolve_cfg_path(self.profile_name, self.path)
        return path if os.path.isfile(path) and path.stat().st_size else None

    def profile_list(self, number: int, key: str, whole: int) -> tuple[int, ...] | None:
        """List `number` of the profile, of the channels below `whole`; None, for all, if there is no file."""
        path = self._profile_path()
        if path is None:
            return None
        try:
            lists = read_profile(path)
        except CfgError as fault:
            raise self.error(
                self._profile_key,
                fault.message,
                found=fault.path,
                allowed=fault.allowed,
                hint=fault.hint,
            ) from None
        if number >= len(lists):
            raise self.error(
                key, "no such list in the profile", found=str(number), allowed=f"0 to {len(lists) - 1}"
            )
        kept = lists[number]
        if max(kept) >= whole or len(kept) > whole:
            found = f"{count_of(len(kept), 'number')} up to {max(kept)} in list {number}"
            allowed = f"0 to {whole - 1}, each once"
            raise self.error(key, "the profile does not fit this section", found=found, allowed=allowed)
        return kept

    def check_length(self, inputs: Sequence[int] | None, *, found: int, whole: int) -> None:
        """Raise CfgError unless there are as many inputs as stay of the whole."""
        wanted = whole if inputs is None else len(inputs)
        if found != wanted:
            message = "the section before gives another number"
            hint = "this section and those before it must go by the same profile"
            raise self.error("input", message, found=str(found), allowed=str(wanted), hint=hint)


class _CutConvolution(_CutSection):
    """The keys of darkflow's convolutions."""

    filters = Int(1, least=1, most=MOST, wanted=True, help="number of filters of the whole layer")
    size = Int(1, least=1, unit="pixels", help="kernel height and width")
    stride = Int(1, least=1, unit="pixels", help="stride in pixels")
    pad = Flag(False, help="1: zero padding of size/2 pixels on each side, instead of `padding`")
    padding = Int(0, least=0, unit="pixels", help="zero padding on each side, in pixels")
    batch_normalize = Flag(False, help="batch norm instead of a bias")

    def stored_channels(self, x: Shape) -> int:
        """The channels of the stored kernels."""
        return x.channels

    def positions(self, x: Shape) -> tuple[int, int]:
        """Height and width of the output."""
        return self._geometry().positions(self.size, x.height, x.width)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (self._geometry().sight(self.size),)

    def tensors(self, x: Shape) -> list[TensorSpec]:
        kernels = (self.filters, self.stored_channels(x), self.size, self.size)
        bias = [TensorSpec("bias", "Conv2d.bias", (self.filters,))]
        norm = batch_norm_specs(self.filters) if self.batch_normalize else bias
        return [*norm, TensorSpec("weight", "Conv2d.weight", kernels)]

    def decayed(self) -> tuple[str, ...]:
        return ("Conv2d.weight",)

    def whole_layer(self, x: Shape) -> nn.Conv2d:
        """The convolution with all its filters and channels."""
        from torch import nn

        has_bias = not self.batch_normalize
        channels = self.stored_channels(x)
        return nn.Conv2d(channels, self.filters, self.size, *self._geometry(), bias=has_bias)

    def _geometry(self) -> ConvGeometry:
        return ConvGeometry((self.stride, self.stride), self.size // 2 if self.pad else self.padding)


class ConvSelectSection(_CutConvolution, names="conv-select"):
    """A convolution of which the channels of some classes stay: for each anchor the box, then these classes.

    darkflow never applies its activation.
    """

    examples = (
        "[conv-select]\nbatch_normalize=1\nsize=3\nstride=2\npad=1\nfilters=18\nkeep=2,1/4",
        "[conv-select]\nsize=3\npadding=2\nfilters=14\nkeep=1/2",
    )
    ignored_keys = {"activation": "never applied by darkflow (default logistic)"}

    keep = KeepKey(NO_KEEP, wanted=True, help="classes that stay, of how many: 8,14/20")

    def check(self) -> None:
        self.require_keys("filters", "keep")
        self.try_checks(self._check_filters)

    def _check_filters(self) -> None:
        numbers = 5 + self.keep.classes
        if self.filters % numbers:
            self.fault(
                "filters",
                "does not fit keep",
                found=str(self.filters),
                allowed=f"a multiple of {numbers}: 5 + {self.keep.classes} classes for each anchor",
            )

    def shape(self, x: Shape) -> Shape:
        return Shape(len(self._find_outputs()), *self.positions(x))

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.cuts import Cut, CutBlock

        norm = build_batch_norm(self.dialect, self.filters) if self.batch_normalize else None
        return CutBlock(self.whole_layer(x), norm, Cut(outputs=self._find_outputs()))

    def macs(self, out: Shape, x: Shape) -> int:
        return self.filters * x.channels * self.size**2 * out.area

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()

    def _find_outputs(self) -> tuple[int, ...]:
        kept, classes = self.keep
        one = (*range(5), *(5 + number for number in kept))
        starts = range(0, self.filters, 5 + classes)
        return tuple(start + number for start in starts for number in one)


class ConvExtractSection(_CutConvolution, names="conv-extract"):
    """A convolution with some of its filters, which reads some of the channels that its kernels have."""

    examples = (
        "[conv-extract]\nprofile=none.json\ninput=-1\noutput=0\nfilters=6\nsize=3\nstride=2\npad=1\n"
        "activation=leaky",
        "[conv-extract]\nprofile=none.json\ninput=-1\noutput=0\nfilters=6\nsize=3\npadding=2\n"
        "activation=linear",
    )

    profile = Text("", wanted=True, help="JSON file with the channels that stay, a list for each section")
    input = Int(-1, wanted=True, help="list of the profile with the channels that are read; -1: all are")
    output = Int(0, least=0, wanted=True, help="list of the profile with the filters that stay")
    activation = ActivationKey("logistic")

    @property
    def profile_name(self) -> str:
        return self.profile

    def check(self) -> None:
        self.require_keys("filters", "profile", "input", "output")
        super().check()
        if self.batch_normalize:
            self.fault(
                "batch_normalize",
                "a convolution that is cut has no batch norm",
                found="1",
                allowed="0",
                hint="darkflow cannot build it either",
            )

    def stored_channels(self, x: Shape) -> int:
        kernels = (one for one in reversed(self.earlier) if one.type in WHOLE_KERNELS)
        return next((one.values.get("filters", 1) for one in kernels), x.channels)

    def shape(self, x: Shape) -> Shape:
        inputs, outputs = self._lists(x)
        self.check_length(inputs, found=x.channels, whole=self.stored_channels(x))
        return Shape(self.filters if outputs is None else len(outputs), *self.positions(x))

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.cuts import Cut, CutConv

        return CutConv(self.whole_layer(x), Cut(*self._lists(x)), self.activation)

    def macs(self, out: Shape, x: Shape) -> int:
        return out.size * x.channels * self.size**2

    def _lists(self, x: Shape) -> tuple[Sequence[int] | None, Sequence[int] | None]:
        whole = self.stored_channels(x)
        inputs = None if self.input < 0 else self.profile_list(self.input, "input", whole)
        return inputs, self.profile_list(self.output, "output", self.filters)


class _CutDense(_CutSection):
    """A fully connected layer with some of its outputs, which reads some of its inputs."""

    reads_vectors = True

    activation = ActivationKey("logistic")

    def whole_size(self, x: Shape) -> tuple[int, int]:
        """The outputs and inputs of the whole layer."""
        raise AssertionError("each section has its own")

    def lists(self, x: Shape) -> tuple[Sequence[int] | None, Sequence[int] | None]:
        """The inputs and outputs that stay."""
        raise AssertionError("each section has its own")

    def shape(self, x: Shape) -> Shape:
        outputs, inputs = self.whole_size(x)
        read, given = self.lists(x)
        self.check_length(read, found=x.size, whole=inputs)
        return Shape(outputs if given is None else len(given), 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.cuts import Cut, CutLinear

        outputs, inputs = self.whole_size(x)
        return CutLinear(nn.Linear(inputs, outputs), Cut(*self.lists(x)), self.activation)

    def macs(self, out: Shape, x: Shape) -> int:
        return out.size * x.size

    def tensors(self, x: Shape) -> list[TensorSpec]:
        size = self.whole_size(x)
        weight = TensorSpec("weight", "Linear.weight", size, transposable=True)
        return [TensorSpec("bias", "Linear.bias", size[:1]), weight]

    def decayed(self) -> tuple[str, ...]:
        return ("Linear.weight",)


class ExtractSection(_CutDense, names="extract"):
    """A fully connected layer with some of its outputs, which reads some of its inputs: the numbers of a
    vector, or the channels of a map."""

    examples = (
        "[extract]\nprofile=none.json\ninput=-1\noutput=0\nold=16,24,8,5\nactivation=leaky",
        "[extract]\nprofile=none.json\ninput=0\noutput=1\nold=3072,5\nactivation=linear",
    )

    profile = Text("", wanted=True, help="JSON file with what stays, a list for each section")
    input = Int(-1, wanted=True, help="list of the profile with what is read of the input; -1: all is")
    output = Int(0, least=0, wanted=True, help="list of the profile with the outputs that stay")
    old = IntList(
        (1, 1), wanted=True, help="inputs and outputs of the whole layer, or height, width, channels, outputs"
    )

    @property
    def profile_name(self) -> str:
        return self.profile

    def check(self) -> None:
        self.require_keys("profile", "input", "output", "old")
        super().check()
        fits = len(self.old) in (2, 4) and min(self.old) > 0
        if not fits or max(math.prod(self.old[:-1]), self.old[-1]) > MOST:
            allowed = f"inputs,outputs or height,width,channels,outputs; at most {MOST} of each"
            found = ",".join(map(str, self.old))
            self.fault("old", "not the size of a layer", found=found, allowed=allowed)

    def whole_size(self, x: Shape) -> tuple[int, int]:
        *inputs, outputs = self.old
        return outputs, math.prod(inputs)

    def lists(self, x: Shape) -> tuple[Sequence[int] | None, Sequence[int] | None]:
        outputs, inputs = self.whole_size(x)
        given = self.profile_list(self.output, "output", outputs)
        if self.input < 0:
            return None, given
        if len(self.old) == 2:
            return self.profile_list(self.input, "input", inputs), given
        height, width, channels, _ = self.old
        kept = self.profile_list(self.input, "input", channels)
        return None if kept is None else _find_rows(kept, height * width), given


def _find_rows(channels: Iterable[int], cells: int) -> tuple[int, ...]:
    """The numbers of these channels in a flattened map: ascending channels, then rows, then columns."""
    return tuple(channel * cells + cell for channel in sorted(set(channels)) for cell in range(cells))


class SelectSection(_CutDense, names="select modify"):
    """A fully connected layer before [detection], of which the outputs of some classes stay."""

    examples = (
        "[select]\nold_output=34\nkeep=3,0/5\nbins=4\noutput=22\nactivation=leaky",
        "[modify]\nold_output=20\nkeep=1/2\nbins=4\noutput=16\nactivation=linear",
    )

    old_output = Int(1, least=1, most=MOST, wanted=True, help="number of outputs of the whole layer")
    keep = KeepKey(NO_KEEP, wanted=True, help="classes that stay, of how many: 8,14/20")
    bins = Int(1, least=1, most=MOST, wanted=True, help="number of cells, each with its classes")
    output = Int(
        1,
        least=1,
        most=MOST,
        wanted=True,
        help="outputs that stay: those of the kept classes, then all others",
    )
    input = Text("", help="FILE,N: list N of that profile has the inputs that are read; all are by default")

    @property
    def profile_name(self) -> str:
        return self.input.rpartition(",")[0]

    def check(self) -> None:
        self.require_keys("old_output", "keep", "bins", "output")
        super().check()
        self.try_checks(self._check_input, self._check_output)

    def _check_input(self) -> None:
        name, _, number = self.input.rpartition(",")
        if self.input and not (name and number.isdecimal() and len(number) < 10):
            self.fault("input", "not a profile and a list", found=self.input, allowed="FILE,N")

    def _check_output(self) -> None:
        kept, classes = self.keep
        wanted = self.bins * len(kept) + self.old_output - classes * self.bins
        if self.old_output < classes * self.bins:
            found, allowed = str(self.old_output), f"{classes * self.bins} or more: bins * classes"
            self.fault("old_output", "has no room for the classes", found=found, allowed=allowed)
        elif self.output != wanted:
            hint = "output = bins * kept + old_output - bins * classes"
            self.fault("output", "does not fit keep", found=str(self.output), allowed=str(wanted), hint=hint)

    def whole_size(self, x: Shape) -> tuple[int, int]:
        before = next((one for one in reversed(self.earlier) if one.type in WHOLE_VECTORS), None)
        return self.old_output, before.old[-1] if isinstance(before, ExtractSection) else x.size

    def lists(self, x: Shape) -> tuple[Sequence[int] | None, Sequence[int] | None]:
        kept, classes = self.keep
        outputs = [number + classes * cell for cell in range(self.bins) for number in kept]
        outputs += range(classes * self.bins, self.old_output)
        if not self.input:
            return None, outputs
        number = int(self.input.rpartition(",")[2])
        return self.profile_list(number, "input", self.whole_size(x)[1]), outputs
