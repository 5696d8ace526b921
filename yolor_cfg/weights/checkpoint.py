"""Checkpoints: ours are written and read, others only read; always as named tensors, never as objects.

Our format is a dict that `torch.load(weights_only=True)` can read: `cfg` (the text), `dialect`, `names`,
`bn_eps`, `model` (the state dict) and `numbers`. YOLOR's .pt files use the same tensor names under `model`;
those of its paper branch contain pickled modules.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import find_file_kind, replace_file
from yolor_cfg.graph import Graph
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.model import Network
from yolor_cfg.weights.finite import non_finite_notes
from yolor_cfg.weights.fitting import check_cutoff, cutoff_note, read_prefix
from yolor_cfg.weights.layout import class_tensors, file_layout, format_class_hint
from yolor_cfg.weights.official import UNUSED_TENSORS, is_paper_branch, map_paper_tensors
from yolor_cfg.weights.pickle_machine import Opaque
from yolor_cfg.weights.safetensors_file import (
    RECORD_KEY,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from yolor_cfg.weights.torch_file import module_state_dict, read_pt

MAX_LISTED = 8  # mismatches listed in a message; the rest are only counted
FORMAT = "yolor-cfg 1"
MOST_NUMBER = 2**63
"""Counts from there on are damaged; a .weights file has no room for them."""
LAYER_NAME = re.compile(r"(?:module\.)?module_list\.([0-9]{1,6})\.")
STATE_DICT_KEYS = ("model", "state_dict", "ema")  # where programs store the state dict in a checkpoint
OTHER_NAMES_HINT = (
    "whole networks of YOLOR's paper branch load into the cfgs named _paper; checkpoints of other programs "
    "use names that no cfg has: use one of YOLOR's, or a .weights file"
)


class Checkpoint(NamedTuple):
    """Tensors by state-dict name, and the metadata; files of other programs have no `cfg` or `dialect`."""

    tensors: dict[str, Tensor]
    cfg: str | None = None
    dialect: str | None = None
    names: tuple[str, ...] = ()
    bn_eps: float | None = None
    numbers: dict[str, float] = {}

    @property
    def is_foreign(self) -> bool:
        """True where another program wrote the file."""
        return self.dialect is None


def save_checkpoint(
    network: Network,
    path: str | Path,
    *,
    names: Sequence[str] = (),
    numbers: Mapping[str, float] | None = None,
    implicit: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write the network and its cfg atomically to one file with everything that detection needs.

    A name ending in .safetensors selects that format, any other torch's. `numbers` (step, size ...) are
    stored as well, and so is the record of `implicit` knowledge that a folded network no longer has.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    beside = {
        "cfg": network.graph.document.text,
        "dialect": network.graph.dialect.name,
        "names": list(names),
        "bn_eps": network.graph.dialect.bn_eps,
        "numbers": dict(numbers or {}),
        **({"implicit": dict(implicit)} if implicit else {}),
    }
    if Path(path).suffix == ".safetensors":
        write_safetensors(path, tensors, record={"format": FORMAT, **beside}, force=force)
        return
    content = {"format": FORMAT, **beside, "model": {name: t.contiguous() for name, t in tensors.items()}}
    replace_file(path, lambda file: torch.save(content, file), fault=WeightsError, force=force)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors of a checkpoint by name, read without running any code in the file.

    Reads our own checkpoints, YOLOR's dicts with a state dict or a pickled module under `model`, plain state
    dicts, and safetensors.
    """
    try:
        if find_file_kind(read_prefix(path).first_bytes) == "a safetensors file":
            texts = read_metadata(path).get(RECORD_KEY, "{}")
            return _build_checkpoint(read_safetensors(path), beside=_parse_json_object(texts))
        content = read_pt(path)
        return _build_checkpoint(
            _find_state_dict(content), beside=content if isinstance(content, dict) else {}
        )
    except WeightsError as fault:
        fault.path = fault.path or str(path)
        raise


def load_tensors(
    network: Network, tensors: Mapping[str, Tensor], *, path: str = "", cutoff: int | None = None
) -> tuple[str, ...]:
    """Copy the tensors into the network by name, all or none; returns notes for the user.

    Raises a single WeightsError listing every name that is missing, unexpected or has a different shape. With
    `cutoff`, the layers from there on keep their values. Half precision is converted to the network's dtype.
    The names of YOLOR's paper branch are mapped by structure.
    """
    check_cutoff(network.graph, cutoff)
    remarks: tuple[str, ...] = ()
    if is_paper_branch(tensors):
        tensors, remarks = _map_paper_tensors(network.graph, tensors, path=path)
    state = network.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if _is_before(name, cutoff)}
    given = {name: tensor for name, tensor in tensors.items() if _is_before(name, cutoff)}
    faults = _find_mismatches(network.graph, wanted, given)
    if faults:
        raise _mismatch_error(network.graph, faults, given=given, path=path)
    with torch.no_grad():
        for name in wanted.keys() & given.keys():
            wanted[name].copy_(given[name])
    network.reset()
    slots = file_layout(network.graph, end=cutoff)
    notes = non_finite_notes(network.graph, [(slot, state[slot.name]) for slot in slots])
    return (*filter(None, [cutoff_note(network.graph, cutoff)]), *remarks, *notes)


def _map_paper_tensors(
    graph: Graph, tensors: Mapping[str, Tensor], *, path: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Like `map_paper_tensors`, but errors carry the path of the file."""
    try:
        return map_paper_tensors(graph, tensors)
    except WeightsError as fault:
        fault.path = fault.path or path
        raise


def _find_state_dict(content: Any) -> dict[str, Tensor]:
    """The state dict in the content of a .pt file: under one of `STATE_DICT_KEYS`, or the content itself."""
    if isinstance(content, Opaque):
        return _module_state_dict(content)
    if not isinstance(content, dict):
        raise WeightsError(
            "contains no weights", found=type(content).__name__, allowed="a dict of tensors by name"
        )
    held = next((content[key] for key in STATE_DICT_KEYS if content.get(key) is not None), content)
    if isinstance(held, Opaque):
        return _module_state_dict(held)
    named = (
        {name: value for name, value in held.items() if isinstance(value, Tensor)} if _is_dict(held) else {}
    )
    if named and (
        is_paper_branch(named) or any(LAYER_NAME.match(name) for name in named if isinstance(name, str))
    ):
        return {str(name): tensor for name, tensor in named.items()}
    raise WeightsError(
        "contains no weights named after the sections of a cfg",
        found=", ".join(str(name) for name in [*(named or content)][:4])[:200] or "nothing",
        allowed="tensors named module_list.<section>..., alone or under `model`",
        hint=OTHER_NAMES_HINT if named else "",
    )


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _module_state_dict(module: Opaque) -> dict[str, Tensor]:
    """The state dict of a pickled module whose layers are numbered like the sections of a cfg or like the
    modules of YOLOR's paper branch."""
    state = module_state_dict(module)
    if is_paper_branch(state) or any(LAYER_NAME.match(name) for name in state):
        return state
    raise WeightsError(
        "this is a pickled module, not a state dict",
        found=f"{module.kind.module}.{module.kind.name} with "
        f"{len(state)} tensors, first {next(iter(state), 'none')}",
        allowed="tensors named module_list.<section>...",
        hint=OTHER_NAMES_HINT,
    )


def _build_checkpoint(tensors: dict[str, Tensor], *, beside: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint from its tensors and the entries stored `beside` them; unknown entries are dropped."""
    if tensors and all(
        name.startswith("module.") for name in tensors
    ):  # the prefix that torch's wrappers add
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    odd = [name for name, tensor in tensors.items() if tensor.is_complex() or tensor.layout != torch.strided]
    if odd:
        raise WeightsError(
            "contains a tensor that is not a dense array of real numbers",
            found=f"{odd[0]} ({tensors[odd[0]].dtype})",
        )
    if not _is_ours(beside):
        return Checkpoint(tensors)
    _check_entries(beside)
    return Checkpoint(
        tensors,
        beside["cfg"],
        beside["dialect"],
        tuple(beside.get("names") or ()),
        beside.get("bn_eps"),
        beside.get("numbers") or {},
    )


def _is_ours(beside: Mapping[str, Any]) -> bool:
    """Whether the entries are those that we write; other programs may have a `cfg` of their own."""
    said = beside.get("format")
    if isinstance(said, str) and said.startswith(FORMAT.partition(" ")[0]):
        return True
    return isinstance(beside.get("cfg"), str) and beside.get("dialect") in [*DIALECTS]


def _check_entries(beside: Mapping[str, Any]) -> None:
    """Raise WeightsError for the first entry of our format that is absent or of another kind."""
    for name, (allowed, is_right) in ENTRIES.items():
        value = beside.get(name)
        if not is_right(value):
            raise WeightsError(
                f"its record is damaged: {name}",
                found="nothing" if value is None else f"{type(value).__name__} {reprlib.repr(value)}"[:200],
                allowed=allowed,
                hint="write the checkpoint again, from the file that it was made of",
            )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_positive(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < MOST_NUMBER)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_number(one) for name, one in value.items()
    )


ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "cfg": ("the text of a cfg", _is_text),
    "dialect": (", ".join(DIALECTS), lambda value: isinstance(value, str) and value in DIALECTS),
    "names": (
        "a list of texts, or nothing",
        lambda value: value is None or (isinstance(value, list) and all(map(_is_text, value))),
    ),
    "bn_eps": ("a number between 0 and 1, or nothing", lambda value: value is None or _is_positive(value)),
    "numbers": ("numbers by name, or nothing", lambda value: value is None or _are_numbers(value)),
}
"""For each entry of our record what it is, and the check."""


def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ----------------------------------------------------------------------------------------------- mismatches


def _is_before(name: str, cutoff: int | None) -> bool:
    match = LAYER_NAME.match(name)
    return cutoff is None or match is None or int(match[1]) < cutoff


def _find_mismatches(graph: Graph, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """One line for each missing name, each different shape and each unexpected name, in layer order."""
    return [
        *(
            f"missing: {name} {_format_shape(wanted[name].shape)}{_format_line(graph, name)}"
            for name in wanted
            if name not in given and not UNUSED_TENSORS.search(name)
        ),
        *(
            f"{name}: {_format_shape(given[name].shape)} in the file, "
            f"{_format_shape(wanted[name].shape)} in the network{_format_line(graph, name)}"
            for name in wanted
            if name in given and given[name].shape != wanted[name].shape
        ),
        *(
            f"unexpected: {name} {_format_shape(given[name].shape)}{_format_line(graph, name)}"
            for name in given
            if name not in wanted and not UNUSED_TENSORS.search(name)
        ),
    ]


def _mismatch_error(
    graph: Graph, faults: Sequence[str], *, given: Mapping[str, Tensor], path: str
) -> WeightsError:
    more = [f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else []
    found = "\n           ".join([*faults[:MAX_LISTED], *more])
    differ = "1 tensor differs" if len(faults) == 1 else f"{len(faults)} tensors differ"
    return WeightsError(
        f"the checkpoint does not fit {graph.path}: {differ}",
        path=path,
        found=found,
        hint=_class_hint(graph, given) or "use the cfg that the checkpoint was trained with",
    )


def _class_hint(graph: Graph, given: Mapping[str, Tensor]) -> str:
    """The class count for which every tensor before a head would fit the file; empty if there is none."""
    heads = class_tensors(graph)
    shapes = {slot.name: slot.spec.shape for slot in file_layout(graph) if slot.name in heads}
    if not shapes or not shapes.keys() <= given.keys():
        return ""
    counts = {
        heads[name].to_classes(_file_length(given[name].shape, shape, heads[name].channels))
        for name, shape in shapes.items()
    }
    classes = counts.pop()
    fits = (
        not counts
        and classes is not None
        and any(given[name].shape != shape for name, shape in shapes.items())
    )
    return format_class_hint(heads, classes) if fits and classes is not None else ""


def _file_length(found: Sequence[int], wanted: Sequence[int], channels: int) -> int:
    """The length in the file of the axis that is `channels` here; 0 if the shapes also differ elsewhere."""
    axis = list(wanted).index(channels)
    same = len(found) == len(wanted) and all(
        a == b for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if i != axis
    )
    return found[axis] if same else 0


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(str(length) for length in shape) or "scalar"


def _format_line(graph: Graph, name: str) -> str:
    match = LAYER_NAME.match(name)
    known = match is not None and int(match[1]) < len(graph.nodes)
    return f" (line {graph.nodes[int(match[1])].line})" if match is not None and known else ""
