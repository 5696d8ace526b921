"""What forks read otherwise, in the words of plain Darknet: keys, padding, [depthwise], halves, heads."""

from __future__ import annotations

from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.heads import YoloHead
from yolor_cfg.rewrite.program import Program, ProgramStep
from yolor_cfg.sections.reading import SIDE_STRIDES


def drop_unread_keys(step: ProgramStep) -> None:
    """Remove the keys that its dialect reads over, which the target may read."""
    section = step.section
    for name in [name for name in step.keys if name in section.keys and name not in section.values]:
        del step.keys[name]


def keep_read_keys(step: ProgramStep) -> None:
    """Leave only the keys that count in the program of the file, with the activation and the padding that it
    uses."""
    section = step.section
    if section is None:
        return
    for key in SIDE_STRIDES if not section.reads_side_strides else ():
        step.keys.pop(key, None)
    if not section.dialect.ignores_foreign_keys:
        return
    drop_unread_keys(step)
    if "activation" in section.values:
        step.keys["activation"] = section.activation
    if section.darknet_form == "kernels" and section.dialect.conv_padding != "size":
        _set_padding(step)


def _set_padding(step: ProgramStep) -> None:
    """The padding of a convolution with one kernel size, in pixels."""
    convolution = getattr(step.module, "Conv2d", None)
    if convolution is not None:
        step.keys.pop("pad", None)
        step.keys["padding"] = str(convolution.padding[0])


def translate_depthwise(program: Program, step: ProgramStep) -> None:
    """A convolution with a group for each channel."""
    assert isinstance(step.module, ConvBlock)
    convolution = getattr(step.module, step.module.conv_name)
    step.module = ConvBlock(convolution, step.module.norm, step.module.activation)
    step.name = "convolutional"
    step.keys["groups"] = str(step.sources[0].channels)
    _set_padding(step)


def translate_groups(program: Program, step: ProgramStep) -> None:
    """[route] with groups: which part of which section it takes, said where the keys do not say it."""
    if step.section.dialect.takes_second_half and "groups" in step.section.values:
        step.links.pop("layers", None)
        step.refs, step.relative, step.before = "layers", (True,), False
        step.keys.update(groups="2", group_id="1")


def find_head_obstacle(step: ProgramStep) -> str:
    """What of a head plain Darknet cannot compute, in words; empty if it can."""
    head, x, section = step.module, step.node.inputs[0] if step.node else None, step.section
    assert isinstance(head, YoloHead) and x is not None
    if head.rules.fused:
        return "from="
    real = section.image.width / x.width, section.image.height / x.height
    return "" if head.grid.stride == real else f"a stride of {head.grid.stride[0]:g}, not that of the sizes"


def is_exponential(step: ProgramStep) -> bool:
    """Whether a head decodes as YOLOv3: then plain Darknet's [yolo] is the same without its later keys."""
    assert isinstance(step.module, YoloHead)
    return not step.module.rules.has_squared_sizes
