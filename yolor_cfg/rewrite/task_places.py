"""Places for the knowledge of tasks: behind convolutions, before their activation, a factor and a summand for
each channel, which are 1 and 0 at first and so change nothing.

There, and not behind the last activation where the paper's networks have them, a few hundred numbers turn one
detector into another: behind its last non-linearity, what a network computes is a linear function of them,
as it is of a bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Node, ReadOptions, build_graph
from yolor_cfg.lang.lists import ALLOWED_TASKS, is_task_name
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ActivationLayer, ConvBlock
from yolor_cfg.ops.implicit import ImplicitTensor, VectorCombine, control, shift
from yolor_cfg.rewrite.program import Program, ProgramStep

PLACES = ("heads", "neck")
"""Where the convolutions are: the last one before each head, or all from the first map of the largest stride
on."""


class TaskNetwork(NamedTuple):
    """The network with places for tasks, in eval mode, and the convolutions that have got one, numbered as in
    the cfg that was read."""

    network: Network
    places: tuple[int, ...]


def add_task_places(network: Network, where: str = "heads", *, tasks: Sequence[str] = ()) -> TaskNetwork:
    """The same network, its outputs equal to the bit, with implicit sections before the activations of the
    convolutions at one of PLACES, for all of these tasks in one cfg or, without any, for one task in a file
    of its own. Raises CfgError where there are none, in another dialect, and for what is no task."""
    graph = network.graph
    _check_tasks(tasks)
    if graph.dialect.name != "yolor":
        raise CfgError(
            "tasks need sections that YOLOR's dialect alone has",
            path=graph.path,
            found=f"dialect {graph.dialect.name}",
            allowed="yolor",
            hint="first: yolor cfg translate CFG --to yolor",
        )
    program = Program(network)
    wanted = [step for step in program.steps if step.node and _has_place(step)]
    near = set(_neck(program) if where == "neck" else _last_convolutions(program, wanted))
    chosen = [step for step in wanted if step in near]
    if not chosen:
        raise CfgError("no convolution with an activation there", path=graph.path, found=f"--where {where}")
    for step in chosen:
        _add_place(program, step, tasks)
    whom = ", ".join(tasks) or "tasks"
    program.add_comment(f"# places for {whom} before the activations of the {where}")
    with torch.no_grad():
        return TaskNetwork(program.build_network(), tuple(step.origin for step in chosen))


def add_tasks_to_text(text: str, path: str, tasks: Sequence[str]) -> str:
    """The cfg of the same network with places for these tasks."""
    graph = build_graph(parse(text, path), ReadOptions(default_dialect="yolor"))
    return add_task_places(Network(graph).eval(), tasks=tasks).network.graph.document.text


def _check_tasks(tasks: Sequence[str]) -> None:
    for number, task in enumerate(tasks):
        if not is_task_name(task):
            raise CfgError("not the name of a task", found=task, allowed=ALLOWED_TASKS)
        if task in tasks[:number]:
            raise CfgError("names a task twice", found=task, allowed="each task once")


def _has_place(step: ProgramStep) -> bool:
    """Whether it is a convolution with an activation that a section of its own can apply."""
    block = step.module
    is_active = type(block) is ConvBlock and block.activation != "linear" and block.blur is None
    return is_active and "activation" in step.keys


def _neck(program: Program) -> list[ProgramStep]:
    """The steps from the first one whose map is as small as any map gets."""
    sized = [step for step in program.steps if step.node and _area(step.node) > 1]
    least = min((_area(step.node) for step in sized if step.node), default=0)
    first = next((step for step in sized if step.node and _area(step.node) == least), None)
    return program.steps[program.steps.index(first) :] if first is not None else []


def _area(node: Node) -> int:
    return node.shape.height * node.shape.width


def _last_convolutions(program: Program, wanted: list[ProgramStep]) -> Iterator[ProgramStep]:
    """Of those that are wanted the last one on the way to each head."""
    for head in (step for step in program.steps if step.section and step.section.is_head):
        step = head
        while step.sources and step not in wanted:
            step = step.sources[0]
        if step in wanted:
            yield step


def _add_place(program: Program, step: ProgramStep, tasks: Sequence[str]) -> None:
    """Let the convolution be linear, then a factor, a summand and the activation follow."""
    channels = step.channels
    assert isinstance(step.module, ConvBlock)
    activation = ProgramStep(
        "activation",
        ActivationLayer(step.module.activation),
        {"activation": step.keys["activation"]},
        channels=channels,
    )
    for reader in program.steps:
        reader.sources = [activation if source is step else source for source in reader.sources]
    program.outputs = [activation if one is step else one for one in program.outputs]
    step.keys["activation"] = "linear"
    factor, summand = (_make_value(name, (len(tasks) or 1, channels, 1, 1), start) for name, start in VALUES)
    for value in (factor, summand) if tasks else ():
        value.keys["task"] = ",".join(tasks)
    scaled = _make_reader("control_channels", [step, factor])
    shifted = _make_reader("shift_channels", [scaled, summand])
    activation.sources = [shifted]
    last = step
    for new in (factor, summand, scaled, shifted, activation):
        last = program.insert_after(new, last)


VALUES = (("implicit_mul", 1.0), ("implicit_add", 0.0))


def _make_value(name: str, shape: tuple[int, int, int, int], start: float) -> ProgramStep:
    """An implicit section of T values of so many channels."""
    channels = shape[1]
    module = ImplicitTensor(torch.full(shape, start))
    return ProgramStep(name, module, {"filters": str(channels)}, before=False, channels=channels)


def _make_reader(name: str, sources: list[ProgramStep]) -> ProgramStep:
    combine = control if name == "control_channels" else shift
    return ProgramStep(name, VectorCombine(combine, False), {}, sources, "from", channels=sources[0].channels)
