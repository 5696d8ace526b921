"""The sections that another program has under another name, in another form, or not at all.

A rule changes the draft of one section so that the target computes the same, or raises CfgError. It goes by
the facts of both dialects. Facts of the programs: models.py and utils/parse_config.py of WongKinYiu/yolor and
ultralytics/yolov3, parser.c of AlexeyAB/darknet.
"""

from __future__ import annotations

from collections.abc import Callable

from yolor_cfg.rewrite.drafts import SectionDraft
from yolor_cfg.sections.reading import SIDE_STRIDES

Rule = Callable[[SectionDraft], None]
FOLD_HINT = "folded weights need no such section: yolor convert --fold-implicit, or --weights here"


def adapt_section(draft: SectionDraft) -> None:
    """Apply the rule of the section; raises CfgError if the target has no equal."""
    section, target = draft.section, draft.target
    if draft.is_removed:
        return
    rule = RULES.get(section.type)
    if rule is not None:
        rule(draft)
    elif section.is_alias and not _accepts_all(draft):
        pass_on(draft, f"it passes its input on; {target.program} has no such section")
    known = target.name in section.dialects and section.type in (target.only_sections or (section.type,))
    if not known and not draft.name:
        folds = section.type.startswith("implicit") or section.darknet_form in ("vector", "blocks", "focus")
        message = f"{target.program} has no such section"
        raise draft.refusal(
            "", message, found=f"[{section.raw.name}]", hint=_fold_hint(draft) if folds else ""
        )
    if known and not draft.name and target.is_pytorch and section.raw.name != section.type:
        draft.rename(section.type, f"its name in {target.program}")


def _fold_hint(draft: SectionDraft) -> str:
    """Advice where folding helps: it writes plain Darknet only."""
    return "" if draft.target.is_pytorch else FOLD_HINT


def _accepts_all(draft: SectionDraft) -> bool:
    """Whether the target has the section with all of its keys."""
    allowed = draft.target.only_keys
    is_there = draft.section.type in (draft.target.only_sections or (draft.section.type,))
    return is_there and (not allowed or all(key in allowed for key in draft.section.lines))


def pass_on(draft: SectionDraft, why: str) -> None:
    """Make a [route] of the section before it."""
    if draft.section.index == 0:
        raise draft.refusal("", "nothing to pass on: it is the first section", hint="delete it")
    draft.replace_by("route", {"layers": "-1"}, why)


def _adapt_convolution(draft: SectionDraft) -> None:
    section, target = draft.section, draft.target
    if section.cbn and target.only_keys:
        draft.write("batch_normalize", 1, "cbn is batch_normalize outside of training")
    if len(section.size) > 1 and section.dialect.has_kernel_lists != target.has_kernel_lists:
        found = f"size={section.lines['size'].value}"
        raise draft.refusal(
            "size", f"{target.program} reads no list of sizes", found=found, hint=_fold_hint(draft)
        )
    if target.only_keys or target.conv_padding != section.dialect.conv_padding:
        _adapt_padding(draft)
    _adapt_strides(draft)


def _adapt_strides(draft: SectionDraft) -> None:
    """One `stride` where both sides are equal; else, in a convolution, no key but those of the sides."""
    section, target = draft.section, draft.target
    if target.side_strides == "first" or not set(SIDE_STRIDES) & section.values.keys():
        return
    down, across = section.strides
    if down == across:
        draft.silence(SIDE_STRIDES, "stride says both")
        draft.write("stride", down, f"{target.program} reads it first")
    elif target.side_strides == "last" and "filters" in section.keys:
        draft.silence(["stride"], f"{target.program} would read no other stride")
        for key, value in (("stride_x", across), ("stride_y", down)):
            draft.write(key, value, f"{target.program} reads both or none")


def _adapt_padding(draft: SectionDraft) -> None:
    """Say the zeros on each side with `pad` or, where the target has it, `padding`."""
    section, target, zeros = draft.section, draft.target, draft.section.zeros
    size = section.size[0]
    if len(section.size) > 1 or (size == 1 and zeros == 0):
        return
    if zeros in (0, size // 2):
        why = f"{zeros} zeros on each side, as {section.dialect.program} pads"
        if section.pad != (zeros > 0):
            draft.write("pad", int(zeros > 0), why)
    elif target.only_keys:
        found = f"{zeros} zeros on each side of kernels of {size}x{size}"
        raise draft.refusal("padding", f"{target.program} pads with none or {size // 2}", found=found)
    else:
        draft.write("pad", 0, "padding says how many zeros there are")
        draft.write("padding", zeros, f"{section.dialect.program} pads so much")


def _adapt_pool(draft: SectionDraft) -> None:
    """The windows of a pool, by their borders: half of the border lies before the map."""
    section, target = draft.section, draft.target
    if getattr(section, "maxpool_depth", False):
        return
    _adapt_strides(draft)
    here, there = section.border, _target_border(draft)
    if target.pool_padding == "size":
        if here != there:
            draft.write("padding", here, f"the border that {section.dialect.program} takes")
        there = here
    draft.silence(["padding"] if target.only_keys else [], f"{target.program} pads by a rule of its own")
    if _reads_zeros(draft, here) or not _same_windows(draft, here, there):
        raise draft.refusal(
            "",
            f"{target.program} pads this pool otherwise",
            found=f"size={section.size} stride={section.strides[0]} on a map {draft.node.inputs[0]}",
            hint=_pool_hint(draft),
        )


def _target_border(draft: SectionDraft) -> int:
    """The border that the target takes without `padding`, or with that of the text."""
    section = draft.section
    if draft.target.pool_padding == "size":
        return int(section.values.get("padding", section.size - 1))
    return 1 if (section.size, *section.strides) == (2, 1, 1) else (section.size - 1) // 2 * 2


def _reads_zeros(draft: SectionDraft, border: int) -> bool:
    """Whether the programs differ in what they read in the border, and the pool reads there."""
    section = draft.section
    counts = section.type == "local_avgpool" or (section.size, *section.strides) == (2, 1, 1)
    return counts and border > 0 and section.dialect.pads_with_zeros != draft.target.pads_with_zeros


def _same_windows(draft: SectionDraft, here: int, there: int) -> bool:
    section, x = draft.section, draft.node.inputs[0]
    if draft.target.pads_last_window != section.dialect.pads_last_window:
        return bool(section.size == max(section.strides))
    counts = [
        [(length + border - section.size) // stride for border in (here, there)]
        for length, stride in zip(x[1:], section.strides, strict=True)
    ]
    return bool(here // 2 == there // 2 and all(one == other for one, other in counts))


def _pool_hint(draft: SectionDraft) -> str:
    if (draft.section.size, *draft.section.strides) == (2, 1, 1):
        return "PyTorch programs read zeros right of and below the map, C Darknet reads nothing there"
    return "another image size, whose maps are even, may need no border"


def _adapt_route(draft: SectionDraft) -> None:
    section, target = draft.section, draft.target
    groups, number = section.groups_and_id
    has_groups = target.name in section.keys["group_id"].dialects if "group_id" in section.keys else False
    if groups == 1 or (has_groups and section.type == "route"):
        return
    if not has_groups and (groups, number) == (2, 0) and not target.only_sections:
        draft.rename("route_lhalf", f"{target.program} has no groups, but the first half under this name")
        draft.silence(["groups", "group_id"], f"{target.program} has no groups of channels")
        return
    raise draft.refusal(
        "groups", f"{target.program} has no groups of channels", found=f"group {number} of {groups}"
    )


def _adapt_half(draft: SectionDraft) -> None:
    if draft.target.is_pytorch:
        return
    for x in draft.node.inputs:
        if x.channels % 2:
            raise draft.refusal("", "half of an odd number of channels", found=f"{x.channels} channels")
    why = f"{draft.target.program} has groups of channels"
    draft.rename("route", why)
    draft.write("groups", 2, why)
    draft.write("group_id", 0, why)


def _adapt_detached_route(draft: SectionDraft) -> None:
    if draft.target.name not in draft.section.dialects:
        draft.rename("route", "the same values; only its gradients differ")


def _adapt_sum(draft: SectionDraft) -> None:
    section, target = draft.section, draft.target
    if getattr(section, "is_weighted", False) and (
        section.dialect.weights_are_sigmoid != target.weights_are_sigmoid
    ):
        message = f"{target.program} weights its sources otherwise"
        raise draft.refusal("weights_type", message, hint=_fold_hint(draft))
    applied = getattr(section, "applied_activation", "")
    if section.activation == "linear" or section.dialect.activates_sums == target.activates_sums:
        return
    if target.activates_sums and applied == section.activation:
        return
    if target.activates_sums:
        draft.write("activation", "linear", f"{section.dialect.program} ignores it")
        return
    message = f"{target.program} applies no activation to sums and products"
    raise draft.refusal("activation", message, found=section.activation, allowed="linear")


def _adapt_scale(draft: SectionDraft) -> None:
    _adapt_sum(draft)
    scale, x = draft.node.inputs
    if draft.target.broadcasts_scales:
        return
    if scale == (1, x.height, x.width) and not draft.section.scale_wh:
        draft.write("scale_wh", 1, "the scale has one value a pixel")
    elif scale != (x.channels, 1, 1) and scale != (1, x.height, x.width):
        message = f"{draft.target.program} takes one value a channel or a pixel"
        raise draft.refusal("from", message, found=f"a scale {scale} for a map {x}", hint=_fold_hint(draft))


def _adapt_upsample(draft: SectionDraft) -> None:
    if draft.target.only_keys and draft.section.stride < 0:
        found = f"stride={draft.section.stride}"
        raise draft.refusal("stride", f"{draft.target.program} only enlarges maps", found=found)


COLUMNS = (0, 2, 1, 3)
"""The blocks of [reorg3d], by rows, in the order of YOLOR's [reorg], by columns."""


def _adapt_reorg(draft: SectionDraft) -> None:
    """YOLOR's blocks of 2x2: C Darknet's, taken apart and joined in the other order."""
    here, there = draft.section.dialect.reorg_order, draft.target.reorg_order
    if here == there:
        return
    if there != "darknet" or here == "darknet":
        message = f"{draft.target.program} orders the pixels of a block otherwise"
        raise draft.refusal("", message, found=f"[reorg] by {here}", hint=_fold_hint(draft))
    stride = 2 if here == "columns" else draft.section.stride
    draft.replace_by("reorg3d", {"stride": str(stride)}, "the same blocks, in another order")
    if here == "columns":
        parts = [
            f"[route]\nlayers={-1 - number}\ngroups=4\ngroup_id={group}"
            for number, group in enumerate(COLUMNS)
        ]
        draft.follow(*parts, "[route]\nlayers=-4,-3,-2,-1", why="blocks by columns instead of rows")


def _find_regrouped(draft: SectionDraft) -> list[SectionDraft]:
    """The sections that put the blocks of a [reorg3d] in YOLOR's order, as `_adapt_reorg` writes them; none
    if there are others."""
    parts = draft.readers
    join = parts[0].readers[0] if len(parts) == 4 and parts[0].readers else draft
    groups = [getattr(one.section, "groups_and_id", (1, 0)) for one in (*parts, join)]
    indices = [one.section.index for one in (*parts, join)]
    found = (
        groups == [*((4, number) for number in COLUMNS), (1, 0)]
        and indices == list(range(draft.section.index + 1, draft.section.index + 6))
        and join.sources == parts
        and all(one.readers == [join] for one in parts)
    )
    return [*parts, join] if found and draft.section.stride == 2 and not draft.section.reverse else []


def _adapt_reorg3d(draft: SectionDraft) -> None:
    if draft.section.dialect.has_reorg3d == draft.target.has_reorg3d:
        return
    regrouped = _find_regrouped(draft) if draft.target.reorg_order == "columns" else []
    if regrouped:
        draft.rename("reorg", "blocks by columns")
        draft.is_moved = True
        for one in regrouped:
            one.remove("part of [reorg] by columns", has_value=one is regrouped[-1])
        return
    if draft.target.has_reorg3d:
        pass_on(draft, f"{draft.section.dialect.program} passes its input on")
    else:
        raise draft.refusal("", f"{draft.target.program} passes its input on here", found="[reorg3d]")


def _adapt_lone_norm(draft: SectionDraft) -> None:
    if draft.target.name not in draft.section.dialects and not draft.target.is_pytorch:
        draft.rename("batchnorm", f"its name in {draft.target.program}")


def _adapt_activation(draft: SectionDraft) -> None:
    if draft.target.name not in draft.section.dialects:
        before = find_plain_convolution(draft, "linear")
        why = f"moved here: {draft.target.program} has no [activation]"
        before.write("activation", draft.section.activation, why)
        before.is_moved = True
        pass_on(draft, f"[{before.section.type}] #{before.section.index} applies it")


def find_plain_convolution(draft: SectionDraft, activation: str) -> SectionDraft:
    """The convolution before the section, if nothing else reads it and it has this activation; else raises
    CfgError."""
    before = next((one for one in draft.sources), None)
    alone = before is not None and before.readers == [draft] and before.section.weight_source() is None
    if before is None or not alone or before.section.type != "convolutional":
        message = "needs a convolution before it that nothing else reads"
        found = f"[{before.section.raw.name}]" if before is not None else "the image"
        raise draft.refusal("", message, found=found, hint=f"{draft.target.program} computes this part there")
    if before.section.activation != activation or getattr(before.section, "antialiasing", 0):
        found = f"activation={before.section.activation}, line {before.section.line}"
        raise draft.refusal(
            "", "the convolution before it has another activation", found=found, allowed=activation
        )
    return before


def _adapt_head(draft: SectionDraft) -> None:
    rules, target = draft.section.rules, draft.target
    program = target.program
    if rules.box_channels or rules.fused or rules.has_linear_sizes:
        what = "embeddings" if rules.box_channels else "fused maps" if rules.fused else "linear sizes"
        raise draft.refusal("", f"{program} reads no {what} here", found=f"[{draft.section.raw.name}]")
    is_yolor = rules.has_squared_sizes and rules.spread == 2
    if target.box_form == "cfg":
        _write_head(draft)
    elif target.box_form == "squared" and not is_yolor:
        _refuse_boxes(draft, "sizes of (2v)^2 and centres that reach 0.5 beyond the cell")
    elif target.box_form == "exponential" and (rules.has_squared_sizes or rules.spread != 1):
        _refuse_boxes(draft, "sizes of exp(v) and centres inside the cell, whatever scale_x_y says")
    elif target.box_form == "squared" and not rules.has_sigmoid:
        before = find_plain_convolution(draft, "logistic")
        before.write("activation", "linear", f"{program} applies the sigmoid in [yolo]")
        before.is_moved = True
    if draft.section.type != "yolo":
        draft.rename("yolo", f"its name in {program}")


def _refuse_boxes(draft: SectionDraft, allowed: str) -> None:
    rules = draft.section.rules
    sizes = "(2v)^2" if rules.has_squared_sizes else "exp(v)"
    raise draft.refusal(
        "scale_x_y" if not rules.has_squared_sizes else "",
        f"{draft.target.program} decodes boxes otherwise",
        found=f"sizes of {sizes}, scale_x_y={rules.spread:g}",
        allowed=allowed,
        hint="its heads would have to be trained anew",
    )


def _write_head(draft: SectionDraft) -> None:
    """Say with keys how the boxes are decoded."""
    section, rules = draft.section, draft.section.rules
    why = f"boxes as {section.dialect.program} decodes them"
    if rules.has_squared_sizes and rules.has_sigmoid:
        before = find_plain_convolution(draft, "linear")
        before.write("activation", "logistic", "new_coords=1 takes the sigmoid from this convolution")
        before.is_moved = True
    if rules.spread != float(section.values.get("scale_x_y", 1)):
        draft.write("scale_x_y", f"{rules.spread:g}", why)
    if rules.has_squared_sizes != bool(section.values.get("new_coords", 0)):
        draft.write("new_coords", int(rules.has_squared_sizes), why)


def _adapt_rnn(draft: SectionDraft) -> None:
    if not draft.origin.rnn_has_hidden:
        draft.write("hidden", draft.section.output, f"{draft.origin.program} has one as long as the output")


def _adapt_crnn(draft: SectionDraft) -> None:
    section = draft.section
    if draft.origin.crnn_is_padded:
        draft.silence(["output_filters", "hidden_filters"], "other names there")
        for key, value in (("output", section.output), ("hidden", section.hidden), ("pad", 1)):
            draft.write(key, value, f"{draft.origin.program} says it otherwise, or not at all")


def _adapt_gru(draft: SectionDraft) -> None:
    if draft.section.tanh and draft.origin.gru_takes_tanh and not draft.target.gru_takes_tanh:
        raise draft.refusal("tanh", f"{draft.target.program} has a logistic candidate only", found="tanh=1")


RULES: dict[str, Rule] = {
    "activation": _adapt_activation,
    "BatchNorm2d": _adapt_lone_norm,
    "convolutional": _adapt_convolution,
    "crnn": _adapt_crnn,
    "gru": _adapt_gru,
    "local_avgpool": _adapt_pool,
    "maxpool": _adapt_pool,
    "reorg": _adapt_reorg,
    "reorg3d": _adapt_reorg3d,
    "rnn": _adapt_rnn,
    "route": _adapt_route,
    "route2": _adapt_detached_route,
    "route3": _adapt_detached_route,
    "route_lhalf": _adapt_half,
    "sam": _adapt_sum,
    "scale_channels": _adapt_scale,
    "shortcut": _adapt_sum,
    "upsample": _adapt_upsample,
    "yolo": _adapt_head,
    "yolo4": _adapt_head,
}
