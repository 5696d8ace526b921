"""Folds batch norms and implicit knowledge into the neighbouring convolutions (Eq. 9 and 10 of the paper).

A network is folded by rewriting its program; the result is an ordinary Network with fewer sections.

Whatever does not depend on the image is computed once, in float64, by running the modules; no section is
treated by name. What a section then does to its one remaining input is found by probing: if it scales and
shifts each channel, drops channels or concatenates constants, this channel map is folded into the convolution
that produces the input, or else into everything that reads the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.errors import CfgError
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import BatchedImplicit, ImplicitTensor
from yolor_cfg.rewrite.absorb import (
    find_norms,
    fold_input_map,
    fold_norm,
    fold_output_map,
    norm_map,
    to_float64,
)
from yolor_cfg.rewrite.channel_maps import ChannelMap, Obstacle, propagate_down, propagate_up, to_channel_map
from yolor_cfg.rewrite.joined_activations import join_activations
from yolor_cfg.rewrite.program import Program, ProgramStep, make_pointwise
from yolor_cfg.shape import Shape

AbsorbFunction = Callable[[nn.Module, ChannelMap], nn.Module]
NOT_AFFINE = "it is not an affine map of the channels of one input"
TOLERANCE = 1e-9
"""How closely a section must match the map that was found, relative to its largest output."""


class FoldResult(NamedTuple):
    """The folded network, and notes for the user on what could not be folded and why."""

    network: Network
    notes: tuple[str, ...]


def fold(network: Network, *, norms: bool = True, implicit: bool = True) -> FoldResult:
    """An equivalent network with batch norms (`norms`) and implicit knowledge (`implicit`) folded into its
    convolutions. The original is not changed."""
    with torch.no_grad():
        program = Program(network)
        notes = fold_program(program, norms=norms, implicit=implicit)
        what = " and ".join(["batch norms"] * norms + ["implicit knowledge"] * implicit)
        program.add_comment(f"# folded into the convolutions: {what}")
        return FoldResult(program.build_network(), tuple(notes))


def fold_program(program: Program, *, norms: bool = True, implicit: bool = True) -> list[str]:
    """Fold a program in place; returns the notes."""
    values = find_constants(program) if implicit else {}
    found = list(find_maps(program, values, norms=norms))
    reasons = _fold_maps(program, found)
    notes = list(_remaining_notes(program, values, reasons))
    drop_constants(program, values)
    join_activations(program)
    return notes + (list(_fold_norms(program)) if norms else [])


def _remaining_notes(
    program: Program, values: dict[ProgramStep, Tensor], reasons: dict[ProgramStep, str]
) -> Iterator[str]:
    for step in program.steps:
        if step in reasons or (step not in values and any(source in values for source in step.sources)):
            yield f"{step.title}{_format_line(step)} stays: {reasons.get(step, NOT_AFFINE)}"


def _format_line(step: ProgramStep) -> str:
    return f" (line {step.section.line})" if step.section else ""


# What does not depend on the image


def find_constants(program: Program) -> dict[ProgramStep, Tensor]:
    """The values [1, C, H, W] of the steps that do not depend on the image, in float64."""
    values: dict[ProgramStep, Tensor] = {}
    for step in program.steps:
        if _is_constant(step, values):
            inputs = [values.get(source, torch.zeros(1, 1, 1, 1)) for source in step.sources]
            values[step] = to_float64(step.module)(*inputs)
    return values


def _is_constant(step: ProgramStep, values: dict[ProgramStep, Tensor]) -> bool:
    assert step.section is not None
    if step.section.is_head or step.section.is_loss or hasattr(step.module, "initial_state"):
        return False
    # C Darknet's implicit section reads the images, but only for the batch size.
    return isinstance(step.module, BatchedImplicit) or all(source in values for source in step.sources)


def drop_constants(program: Program, values: dict[ProgramStep, Tensor]) -> None:
    """Drop the constants that are no longer read; reduce the others to their value."""
    for step, value in reversed(values.items()):
        readers = [reader for reader in program.readers(step) if reader not in values]
        if readers and value.shape[3] == 1 and not _is_plain_value(step, value):
            program.replace(step, program.insert(_make_implicit(program, value), before=step))
        elif not program.readers(step) and step not in program.outputs:
            program.steps.remove(step)


def _is_plain_value(step: ProgramStep, value: Tensor) -> bool:
    """True for a section that holds only this tensor."""
    held = list(step.module.state_dict().values())
    return (
        isinstance(step.module, ImplicitTensor)
        and len(held) == 1
        and torch.equal(held[0].cpu().double(), value)
    )


def _make_implicit(program: Program, value: Tensor) -> ProgramStep:
    """An implicit section that holds a value [1, C, H, 1]."""
    _, channels, height, _ = value.shape
    keys = {"filters": str(channels)} if height == 1 else {"atoms": str(channels), "filters": str(height)}
    name = "implicit_add" if height == 1 else "implicit_add_2d"
    if program.dialect == "yolor":
        return ProgramStep(name, ImplicitTensor(value), keys, before=False, channels=channels)
    keys = {"filters": str(channels), "atoms": str(height)}
    return ProgramStep(
        "implicit", ImplicitTensor(value), keys, [program.image], before=False, channels=channels
    )


# What sections with constants do to their remaining input


class FoldableSection(NamedTuple):
    """A section that can perhaps be folded: what it does to the channels of one of its sources."""

    step: ProgramStep
    position: int
    vector_map: ChannelMap | None = None

    @property
    def map(self) -> ChannelMap:
        """The map; for a batch norm its current one, since other maps may have been folded into it."""
        if self.vector_map is not None:
            return self.vector_map
        assert isinstance(self.step.module, _BatchNorm)
        return norm_map(self.step.module)

    @property
    def source(self) -> ProgramStep:
        """The step it currently reads."""
        return self.step.sources[self.position]


def find_maps(
    program: Program, values: dict[ProgramStep, Tensor], *, norms: bool
) -> Iterator[FoldableSection]:
    """The sections that read constants, and standalone batch norms; sections that mix channels are replaced
    by 1x1 convolutions right away."""
    for step in list(program.steps):
        places = [i for i, source in enumerate(step.sources) if source not in values]
        if norms and isinstance(step.module, _BatchNorm) and places:
            yield FoldableSection(step, 0)
        if step in values or len(places) != 1 or len(step.sources) == 1:
            continue
        affine = find_matrix(step, values)
        one_to_one = to_channel_map(*affine) if affine else None
        if one_to_one is not None:
            yield FoldableSection(step, places[0], one_to_one)
        elif affine is not None:
            convolution = make_pointwise(*affine, source=step.sources[places[0]])
            convolution.comments = step.comments
            program.replace(step, program.insert(convolution, before=step))


def find_matrix(step: ProgramStep, values: dict[ProgramStep, Tensor]) -> tuple[Tensor, Tensor] | None:
    """matrix [D, C] and shift [D] with output = matrix @ input + shift in every cell; None for sections that
    do anything else."""
    channels = next(source.channels for source in step.sources if source not in values)
    basis = torch.zeros(1, channels, 1, channels + 1, dtype=torch.float64)
    basis[0, :, 0, :channels] = torch.eye(channels, dtype=torch.float64)
    some = torch.randn(1, channels, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if not all(_keeps_size(step, values, Shape(*x.shape[1:])) for x in (basis, some)):
        return None
    out = _apply_step(step, values, basis)[0, :, 0]
    matrix, shift = out[:, :channels] - out[:, channels:], out[:, channels]
    real = _apply_step(step, values, some)
    claimed = torch.einsum("dc,nchw->ndhw", matrix, some) + shift[:, None, None]
    near = (real - claimed).abs().max() <= TOLERANCE * real.abs().max().clamp(min=1)
    return (matrix, shift) if near else None


def _keeps_size(step: ProgramStep, values: dict[ProgramStep, Tensor], x: Shape) -> bool:
    """True if the section accepts a map of this size along with its constants, and keeps the size."""
    assert step.section is not None
    shapes = [Shape(*values[source].shape[1:]) if source in values else x for source in step.sources]
    try:
        return bool(step.section.shape(*shapes)[1:] == x[1:])
    except CfgError:
        return False


def _apply_step(step: ProgramStep, values: dict[ProgramStep, Tensor], x: Tensor) -> Tensor:
    out: Tensor = to_float64(step.module)(*(values.get(source, x) for source in step.sources))
    return out


# Moving maps into convolutions


class _MapMove:
    """The changes that move one map; applied all or none."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.modules: dict[ProgramStep, nn.Module] = {}
        self.channels: dict[ProgramStep, int] = {}

    def push(self, step: ProgramStep, out: ChannelMap) -> None:
        """Make all readers of the step compute as if its output were out(value); raises Obstacle."""
        readers = dict.fromkeys(self.program.readers(step))
        if step in self.program.outputs or not readers:
            raise Obstacle("its value is an output of the network")
        for reader in readers:
            inputs = [
                out if source is step else ChannelMap.identity(source.channels) for source in reader.sources
            ]
            passed = propagate_down(reader.module, inputs)
            self._check_single_path(reader, out)
            if passed is None:
                self.modules[reader] = self._absorb_map(reader, fold_input_map, out)
            else:
                self.channels[reader] = passed.channels
                self.push(reader, passed)

    def pull(self, step: ProgramStep, reader: ProgramStep, *, out: ChannelMap) -> None:
        """Make the step itself output out(value) for a diagonal map; raises Obstacle."""
        if step is self.program.image:
            raise Obstacle("the image comes before it")
        if not out.is_diagonal:
            raise Obstacle("its output channels differ from its input channels")
        if self.program.readers(step) != [reader] or step in self.program.outputs:
            raise Obstacle(f"other sections also read {step.title}")
        inputs = propagate_up(step.module, out, [source.channels for source in step.sources])
        if inputs is None:
            self.modules[step] = self._absorb_map(step, fold_output_map, out)
            return
        for source, one in zip(step.sources, inputs, strict=True):
            self.pull(source, step, out=one)

    def apply(self) -> None:
        """Apply the changes."""
        for step, module in self.modules.items():
            step.module = module
        for step, channels in self.channels.items():
            step.channels = channels

    def _absorb_map(self, step: ProgramStep, absorb: AbsorbFunction, out: ChannelMap) -> nn.Module:
        if self.program.shares(step):
            raise Obstacle(f"{step.title} shares its weights")
        try:
            return absorb(self.modules.get(step, step.module), out)
        except Obstacle as obstacle:
            raise Obstacle(f"{obstacle} ({step.title})") from None

    def _check_single_path(self, step: ProgramStep, out: ChannelMap) -> None:
        if not out.is_diagonal and (step in self.modules or step in self.channels):
            raise Obstacle(f"it reaches {step.title} along two paths")


def _fold_maps(program: Program, found: Sequence[FoldableSection]) -> dict[ProgramStep, str]:
    """Move maps until none can be moved; returns why the remaining ones stay."""
    waiting = list(found)
    while True:
        reasons = {one.step: _move_map(program, one) for one in waiting}
        left = [one for one in waiting if reasons[one.step]]
        if len(left) == len(waiting):
            return reasons
        waiting = left


def _move_map(program: Program, found: FoldableSection) -> str:
    """Remove the section from the program by moving its map; returns why if that is not possible."""
    try:
        plan = _MapMove(program)
        plan.pull(found.source, found.step, out=found.map)
    except Obstacle as before:
        plan = _MapMove(program)
        try:
            _check_image_reader(program, found)
            plan.push(found.step, found.map)
        except Obstacle as behind:
            return f"{before}; {behind}"
    plan.apply()
    program.replace(found.step, found.source)
    return ""


def _check_image_reader(program: Program, found: FoldableSection) -> None:
    """Raise Obstacle if a section other than the first would have to read the image."""
    readers = program.readers(found.step)
    if found.source is program.image and (len(readers) != 1 or readers != program.steps[1:2]):
        raise Obstacle("only the first section can read the image")


# Batch norms


def _fold_norms(program: Program) -> Iterator[str]:
    """Fold the batch norm of every convolution; yields a note for each that stays."""
    folded: set[ProgramStep] = set()
    for step in program.steps:
        try:
            block = fold_norm(step.module)
        except Obstacle as obstacle:
            yield f"{step.title}{_format_line(step)} keeps its batch norm: {obstacle}"
            continue
        if block is not None:
            step.module = block.to(program.dtype)
            folded.add(step)
        elif not isinstance(step.module, _BatchNorm) and find_norms(step.module):
            yield f"{step.title}{_format_line(step)} keeps its batch norms: it is recurrent"
    for step in program.steps:
        weight_sources = step.links.get("share_index", ())
        if step in folded or any(source in folded for source in weight_sources):
            step.keys.pop("cbn", None)
            step.keys["batch_normalize"] = "0"
