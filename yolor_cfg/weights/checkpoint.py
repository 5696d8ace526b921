"""Checkpoints: ours are written and read, others only read; always as named tensors, never as objects.

Our format is a dict that `torch.load(weights_only=True)` can read: `cfg` (the text), `dialect`, `names`,
`bn_eps`, `model` (the state dict) and `numbers`. YOLOR's .pt files use the same tensor names under `model`;
those of its paper branch contain pickled modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError, count_of, describe
from yolor_cfg.files import find_file_kind, replace_file
from yolor_cfg.graph import Graph
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.syntax import quote_text
from yolor_cfg.model import Network
from yolor_cfg.weights.finite import non_finite_notes
from yolor_cfg.weights.layout import class_tensors, file_layout, format_class_hint
from yolor_cfg.weights.official import (
    TRAINING_TENSORS,
    UNUSED_TENSORS,
    is_paper_branch,
    map_paper_tensors,
    number_parts,
    rename_numbered_parts,
)
from yolor_cfg.weights.pickle_machine import Opaque
from yolor_cfg.weights.prefix import check_cutoff, cutoff_note, read_prefix
from yolor_cfg.weights.safetensors_file import PACK_FORMAT, read_beside, read_safetensors, write_safetensors
from yolor_cfg.weights.torch_file import module_state_dict, read_pt, write_pt

MAX_LISTED = 8  # mismatches listed in a message; the rest are only counted
FORMAT = "yolor-cfg 1"
LAYER_NAME = re.compile(r"(?:module\.)?module_list\.([0-9]{1,6})\.")
STATE_DICT_KEYS = ("model", "state_dict", "ema")  # where programs store the state dict in a checkpoint
OTHER_NAMES_HINT = (
    "whole networks of YOLOR's paper branch load into the cfgs named _paper; checkpoints of other programs "
    "use names that no cfg has: use one of YOLOR's, or a .weights file"
)
UNWRITABLE = re.compile("[\ud800-\udfff\0]")
"""Half a character, which no file can hold; NUL, which no text has."""


class Checkpoint(NamedTuple):
    """Tensors by state-dict name, and the metadata; files of other programs have no `cfg` or `dialect`."""

    tensors: dict[str, Tensor]
    cfg: str | None = None
    dialect: str | None = None
    names: tuple[str, ...] = ()
    bn_eps: float | None = None
    numbers: dict[str, float] = {}
    task_names: dict[str, tuple[str, ...]] = {}

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
    kept: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write the network and its cfg atomically to one file with everything that detection needs.

    A name ending in .safetensors selects that format, any other torch's. `numbers` (step, size ...) are
    stored as well, and so is what is `kept`: under `implicit` the record of the implicit knowledge that a
    folded network no longer has, under `task_names` the names of the classes of each task.
    """
    tensors = dict(stored_tensors(network))
    beside = {
        "cfg": network.graph.document.text,
        "dialect": network.graph.dialect.name,
        "names": list(names),
        "bn_eps": network.graph.dialect.bn_eps,
        "numbers": dict(numbers or {}),
        **{name: value for name, value in (kept or {}).items() if value},
    }
    if Path(path).suffix == ".safetensors":
        write_safetensors(path, tensors, record={"format": FORMAT, **beside}, force=force)
        return
    content = {"format": FORMAT, **beside, "model": {name: t.contiguous() for name, t in tensors.items()}}
    replace_file(path, lambda file: write_pt(content, file), fault=WeightsError, force=force)


def plain_names(task_names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The class names of each task, as files hold them."""
    return {task: list(names) for task, names in task_names.items()}


def stored_tensors(network: Network) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network by the names that its checkpoint has for them: those that it has in training
    alone are left out. JDE's has them, and JDE's names."""
    jde = network.graph.dialect.embeds
    for name, tensor in network.state_dict().items():
        if jde:
            yield number_parts(name), tensor.detach().cpu()
        elif not TRAINING_TENSORS.search(name):
            yield name, tensor.detach().cpu()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors of a checkpoint by name, read without running any code in the file.

    Reads our own checkpoints, YOLOR's dicts with a state dict or a pickled module under `model`, plain state
    dicts, and safetensors.
    """
    try:
        if find_file_kind(read_prefix(path).first_bytes) == "a safetensors file":
            record = read_beside(path)
            _refuse_pack(record)
            return _build_checkpoint(read_safetensors(path), beside=record)
        content = read_pt(path)
        return _build_checkpoint(
            _find_state_dict(content), beside=content if isinstance(content, dict) else {}
        )
    except WeightsError as fault:
        fault.path = fault.path or str(path)
        raise


def _refuse_pack(record: Mapping[str, Any]) -> None:
    if record.get("format") == PACK_FORMAT:
        found, hint = f"the numbers of task {record.get('task')}", "give its network, and this file to --task"
        raise WeightsError("a task pack is not a whole network", found=found, hint=hint)


def load_tensors(
    network: Network, tensors: Mapping[str, Tensor], *, path: str = "", cutoff: int | None = None
) -> tuple[str, ...]:
    """Copy the tensors into the network by name, all or none; returns notes for the user.

    Raises WeightsError as `fit_tensors` does. With `cutoff`, the layers from there on keep their values. Half
    precision is converted to the network's dtype.
    """
    fitting = fit_tensors(network.graph, tensors, path=path, cutoff=cutoff)
    return (*copy_tensors(network, fitting.tensors, cutoff=cutoff), *fitting.notes)


class FittingTensors(NamedTuple):
    """Tensors that a network can take by name, and notes for the user."""

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...]


def fit_tensors(
    graph: Graph, tensors: Mapping[str, Tensor], *, path: str = "", cutoff: int | None = None
) -> FittingTensors:
    """The tensors by the names of the graph's network, before that network takes any memory; those of YOLOR's
    paper branch are mapped by structure.

    Raises a single WeightsError listing every name that is missing, unexpected or has a different shape.
    """
    check_cutoff(graph, cutoff)
    remarks: tuple[str, ...] = ()
    if is_paper_branch(tensors):
        tensors, remarks = _map_paper_tensors(graph, tensors, path=path)
    given = {name: tensor for name, tensor in tensors.items() if _is_before(name, cutoff)}
    wanted = {slot.name: slot.spec.shape for slot in file_layout(graph, end=cutoff)}
    faults = _find_mismatches(graph, wanted, given)
    if faults:
        raise _mismatch_error(graph, faults, given=given, path=path)
    return FittingTensors(given, remarks)


def copy_tensors(
    network: Network, tensors: Mapping[str, Tensor], *, cutoff: int | None = None
) -> tuple[str, ...]:
    """Copy tensors that fit into the network; returns notes for the user."""
    state = network.state_dict()
    with torch.no_grad():
        for name in state.keys() & tensors.keys():
            state[name].copy_(tensors[name])
    network.reset()
    slots = file_layout(network.graph, end=cutoff)
    notes = non_finite_notes(network.graph, [(slot.index, state[slot.name]) for slot in slots])
    return (*filter(None, [cutoff_note(network.graph, cutoff)]), *notes)


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
    entries = held.items() if isinstance(held, dict) else ()
    named = {k: value for k, value in entries if isinstance(k, str) and isinstance(value, Tensor)}
    if is_paper_branch(named) or any(map(LAYER_NAME.match, named)):
        return named
    raise WeightsError(
        "contains no weights named after the sections of a cfg",
        found=describe([*(named or content)]) if content else "nothing",
        allowed="tensors named module_list.<section>..., alone or under `model`",
        hint=OTHER_NAMES_HINT if named else "",
    )


def _module_state_dict(module: Opaque) -> dict[str, Tensor]:
    """The state dict of a pickled module whose layers are numbered like the sections of a cfg or like the
    modules of YOLOR's paper branch."""
    state = module_state_dict(module)
    if is_paper_branch(state) or any(LAYER_NAME.match(name) for name in state):
        return state
    raise WeightsError(
        "this is a pickled module, not a state dict",
        found=quote_text(f"{module.kind.module}.{module.kind.name}")
        + f" with {count_of(len(state), 'tensor')}, first {quote_text(next(iter(state), 'none'))}",
        allowed="tensors named module_list.<section>...",
        hint=OTHER_NAMES_HINT,
    )


def _build_checkpoint(tensors: dict[str, Tensor], *, beside: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint from its tensors and the entries stored `beside` them; unknown entries are dropped."""
    if tensors and all(
        name.startswith("module.") for name in tensors
    ):  # the prefix that torch's wrappers add
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    tensors = {rename_numbered_parts(name): tensor for name, tensor in tensors.items()}
    odd = [name for name, tensor in tensors.items() if tensor.is_complex() or tensor.layout != torch.strided]
    if odd:
        raise WeightsError(
            "contains a tensor that is not a dense array of real numbers",
            found=f"{quote_text(odd[0])} ({tensors[odd[0]].dtype})",
        )
    names_dialect = _is_dialect(beside.get("dialect")) and isinstance(beside.get("cfg"), str)
    if beside.get("format") != FORMAT and not names_dialect:
        return Checkpoint(tensors)
    for key, (is_valid, allowed) in RECORD_TYPES.items():
        if not is_valid(beside.get(key)):
            found = describe(beside.get(key))
            raise WeightsError("its record is damaged", key=key, found=found, allowed=allowed)
    return Checkpoint(
        tensors,
        beside["cfg"],
        beside["dialect"],
        tuple(beside.get("names") or ()),
        beside.get("bn_eps"),
        beside.get("numbers") or {},
        {task: tuple(names) for task, names in (beside.get("task_names") or {}).items()},
    )


def _is_text(value: Any) -> bool:
    """True for a str that every file can hold."""
    return isinstance(value, str) and not UNWRITABLE.search(value)


def _is_dialect(value: Any) -> bool:
    return isinstance(value, str) and value in DIALECTS


def _are_texts(value: Any) -> bool:
    return value is None or isinstance(value, list) and all(map(_is_text, value))


def _is_epsilon(value: Any) -> bool:
    return value is None or isinstance(value, float) and 0 < value < 1


def _are_numbers(value: Any) -> bool:
    return value is None or isinstance(value, dict) and all(map(_is_number_entry, value.items()))


def _are_task_names(value: Any) -> bool:
    is_dict = isinstance(value, dict) and all(_is_text(task) for task in value)
    return value is None or is_dict and all(one is not None and _are_texts(one) for one in value.values())


def _is_number_entry(entry: tuple[Any, Any]) -> bool:
    name, value = entry
    in_bounds = isinstance(value, int) and value.bit_length() < 64 or isinstance(value, float)
    return isinstance(name, str) and in_bounds


RECORD_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cfg": (_is_text, "the text of a cfg"),
    "dialect": (_is_dialect, ", ".join(DIALECTS)),
    "names": (_are_texts, "a list of texts"),
    "bn_eps": (_is_epsilon, "a number between 0 and 1"),
    "numbers": (_are_numbers, "numbers by name"),
    "task_names": (_are_task_names, "lists of texts by name"),
}
"""What each entry beside the tensors of our own files must be; all but the first two may be absent."""


# ----------------------------------------------------------------------------------------------- mismatches


def _is_before(name: str, cutoff: int | None) -> bool:
    match = LAYER_NAME.match(name)
    return cutoff is None or match is None or int(match[1]) < cutoff


def _find_mismatches(
    graph: Graph, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor]
) -> list[str]:
    """One line for each missing name, each different shape and each unexpected name, in layer order."""
    return [
        *(
            f"missing: {name} {_format_shape(wanted[name])}{_format_line(graph, name)}"
            for name in wanted
            if name not in given
        ),
        *(
            f"{name}: {_format_shape(given[name].shape)} in the file, "
            f"{_format_shape(wanted[name])} in the network{_format_line(graph, name)}"
            for name in wanted
            if name in given and given[name].shape != wanted[name]
        ),
        *(
            f"unexpected: {quote_text(name)} {_format_shape(given[name].shape)}{_format_line(graph, name)}"
            for name in given
            if name not in wanted and not UNUSED_TENSORS.search(name)
        ),
    ]


def _mismatch_error(
    graph: Graph, faults: Sequence[str], *, given: Mapping[str, Tensor], path: str
) -> WeightsError:
    more = [f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else []
    found = "\n           ".join([*faults[:MAX_LISTED], *more])
    differ = f"{count_of(len(faults), 'tensor')} differ" + "s" * (len(faults) == 1)
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
