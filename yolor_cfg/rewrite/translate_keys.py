"""What is the same for all sections where a network is rewritten for another program: its keys and words."""

from __future__ import annotations

from typing import Any

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.keys import ActivationKey, BadValue, Key
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import BARE, ENTRY, Line
from yolor_cfg.rewrite.drafts import SectionDraft

COMPUTING_KEYS = ("dilation", "antialiasing", "share_index", "xnor", "scale", "reverse", "maxpool_depth")
"""Keys that change what a section computes, wherever a program has them."""

NEEDED_KEYS = {
    "convolutional": ("size", "stride", "pad", "activation"),
    "maxpool": ("size", "stride"),
    "local_avgpool": ("size", "stride"),
    "upsample": ("stride",),
    "yolo": ("mask", "anchors", "classes"),
}
"""Keys without a default in YOLOR and PyTorch-YOLOv3 (models.py of both)."""


def adapt_lines(draft: SectionDraft) -> None:
    """Make comments of the lines that the source does not count."""
    lines = draft.section.lines
    spare = [line for line in draft.section.raw.entries if _is_spare(line, lines.get(line.key), draft)]
    draft.silence_lines(spare, f"{draft.origin.program} counts another line")
    if draft.target.is_forgiving and not draft.target.is_pytorch:
        return
    odd = [line for line in draft.section.raw.lines if line.kind == BARE or _is_empty(line)]
    draft.silence_lines(odd, f"{draft.target.program} stops at such a line")


def _is_spare(line: Line, counted: Line | None, draft: SectionDraft) -> bool:
    same = counted is None or counted.number == line.number or counted.value == line.value
    return not same and bool(line.value)


def _is_empty(line: Line) -> bool:
    return line.kind == ENTRY and not line.value


def adapt_keys(draft: SectionDraft) -> None:
    """Give each key a text that the target reads as the source does; raises CfgError where that has none."""
    keys = draft.section.keys
    for name in [] if draft.is_replaced else list(draft.section.lines):
        if name in keys and name in draft.section.values:
            _adapt_value(draft, keys[name])
        elif name in keys and draft.target.name in keys[name].dialects:
            draft.silence([name], f"{draft.origin.program} does not read it")
    _silence_unknown(draft)
    needed = () if draft.is_replaced else NEEDED_KEYS.get(draft.section.type, ())
    for name in needed if draft.target.is_pytorch else ():
        has_sides = name == "stride" and "stride_x" in draft.written
        if name not in draft.section.values and name not in draft.written and not has_sides:
            draft.write(name, _format(getattr(draft.section, name)), f"{draft.target.program} has no default")
    for name in ("activation",) if "activation" in draft.written else ():
        adapt_activation(draft, name)


def _silence_unknown(draft: SectionDraft) -> None:
    """Make comments of the keys at which the target stops."""
    allowed = () if draft.is_replaced else draft.target.only_keys
    unknown = [name for name in draft.section.lines if allowed and name not in allowed]
    for name in unknown:
        if name in COMPUTING_KEYS:
            refuse_key(draft, name)
    draft.silence(unknown, f"{draft.target.program} stops at a key that it does not know")


def refuse_key(draft: SectionDraft, name: str) -> None:
    """Raise CfgError if the key has a value other than its default."""
    section = draft.section
    value = section.values.get(name)
    if value is not None and value != section.keys[name].default_for(section):
        raise draft.refusal(
            name,
            f"{draft.target.program} has no such key",
            found=f"{name}={section.lines[name].value}",
            hint="without it the section computes something else",
        )


def _adapt_value(draft: SectionDraft, key: Key[Any]) -> None:
    """Write a value anew that the target would not read, or read otherwise."""
    name, value = key.name, draft.section.values[key.name]
    if name in draft.written or (draft.target.only_keys and name not in draft.target.only_keys):
        return
    if isinstance(key, ActivationKey):
        adapt_activation(draft, name)
        return
    text = draft.section.lines[name].value
    try:
        reading = key.parse(text, draft.target)
        same = reading.value == value and not (reading.warning and draft.target.is_pytorch)
    except BadValue:
        same = False
    if not same:
        draft.write(name, _format(value), f"{draft.target.program} reads {text!r} otherwise")


def adapt_activation(draft: SectionDraft, key: str) -> None:
    """Use the target's name of an activation."""
    word, target = draft.written.get(key) or draft.section.values[key], draft.target
    known = ACTIVATIONS[word]
    if known.is_in(target.name):
        if key not in draft.written:
            draft.write(key, word, f"{draft.origin.program} reads it as {word}")
    elif known.darknet_name and ACTIVATIONS[known.darknet_name].is_in(target.name):
        draft.write(key, known.darknet_name, f"its name in {target.program}")
    else:
        names = sorted(name for name, one in ACTIVATIONS.items() if one.is_in(target.name))
        raise draft.refusal(
            key, f"{target.program} has no such activation", found=f"{key}={word}", allowed=names
        )


def move_references(drafts: list[SectionDraft], keys: tuple[str, ...]) -> list[int]:
    """Count the sections anew in what refers to them, also in the unread references `keys`; the new numbers
    of the sections are returned."""
    starts, ends, total = list[int](), list[int](), 0
    for draft in drafts:
        starts.append(total - draft.is_removed)
        total += draft.count
        ends.append(total - 1)
    for draft in drafts:
        for name, key in draft.section.keys.items():
            if _is_kept(draft, name) and (isinstance(key, RefList) or name in keys):
                _move(draft, name, starts=starts, ends=ends if isinstance(key, RefList) else starts)
    return starts


def _is_kept(draft: SectionDraft, key: str) -> bool:
    """Whether the key has a value that its line still gives."""
    is_there = key in draft.section.values and key not in draft.written
    return is_there and draft.section.lines[key].number not in draft.silenced


def _move(draft: SectionDraft, key: str, *, starts: list[int], ends: list[int]) -> None:
    """Write the references of a key anew, where they change."""
    value = draft.section.values[key]
    old = value if isinstance(value, tuple) else (value,)
    if draft.target.only_keys and key not in draft.target.only_keys:
        return
    here, new, why = draft.section.index, list[int](), "the sections before it are counted anew"
    for number in old:
        found = ends[number if number >= 0 else here + number]
        if found == 0 and number >= 0 and draft.target.is_pytorch:
            found, number, why = -starts[here], -1, f"{draft.target.program} takes section 0 for the image"
            new.append(found)
        else:
            new.append(found if number >= 0 else found - starts[here])
    if tuple(new) != old:
        draft.write(key, _format(tuple(new)), why)


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(_format(one) for one in value)
    if isinstance(value, bool):
        return str(int(value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
