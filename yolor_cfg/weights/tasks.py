"""Task packs: the implicit knowledge of one task in a file of its own, beside the network that tasks share.

`NAME.task.safetensors` holds the tensors of the network's implicit sections by state-dict name, the names of
the task's classes, and two digests: of the sections of the cfg, and of all tensors that are not in the file.
Both have to be those of the network that takes it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import CfgError, WeightsError, count_of
from yolor_cfg.graph import Graph
from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.lists import ALLOWED_TASKS, is_task_name
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.weights.finite import non_finite_notes
from yolor_cfg.weights.official import digest_tensors
from yolor_cfg.weights.safetensors_file import PACK_FORMAT, read_beside, read_safetensors, write_safetensors

SUFFIX = ".task.safetensors"
UNKNOWN_HINT = "`yolor train --task NAME` writes one; put it beside the weights"


class TaskPack(NamedTuple):
    """What a network needs for a task: tensors by state-dict name, class names, and the two digests."""

    task: str
    tensors: dict[str, Tensor]
    names: tuple[str, ...]
    sections: str
    shared: str


def check_task_name(task: str) -> str:
    """The name, if it can be one; else CfgError."""
    if not is_task_name(task):
        raise CfgError("not the name of a task", found=task, allowed=ALLOWED_TASKS)
    return task


def implicit_tensors(network: Network) -> dict[str, Tensor]:
    """The tensors of its implicit sections, by state-dict name; they share its memory."""
    layers = [number for number, layer in enumerate(network.module_list) if isinstance(layer, ImplicitModel)]
    homes = tuple(f"module_list.{number}." for number in layers)
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(homes)}


class TaskKnowledge(NamedTuple):
    """The implicit tensors of a network, the names of its classes or a file of them, and the file of the
    tensors."""

    tensors: dict[str, Tensor]
    names: Sequence[str] | str | Path
    home: str | Path


def copy_knowledge(network: Network) -> dict[str, Tensor]:
    """Copies of its implicit tensors."""
    return {name: tensor.detach().clone() for name, tensor in implicit_tensors(network).items()}


def set_knowledge(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Give the network these implicit tensors."""
    mine = implicit_tensors(network)
    with torch.no_grad():
        for name, tensor in tensors.items():
            mine[name].copy_(tensor)


def share_network(network: Network) -> Network:
    """The network once more, with implicit tensors of its own; the others are the same objects."""
    own = implicit_tensors(network).keys()
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shared: list[object] = [tensor for name, tensor in held.items() if name not in own]
    return copy.deepcopy(network, {id(one): one for one in (network.graph, *shared)})


def save_task(
    learned: Network,
    path: str | Path,
    *,
    task: str,
    names: Sequence[str],
    shared: Network,
    force: bool = False,
) -> None:
    """Write the implicit tensors of a network to a file; `shared` is a network with the tensors that tasks
    share (an average of equal numbers may be rounded otherwise)."""
    record = {
        "format": PACK_FORMAT,
        "task": check_task_name(task),
        "names": list(names),
        "sections": digest_sections(learned.graph),
        "shared": digest_shared(shared),
    }
    write_safetensors(path, implicit_tensors(learned), record=record, force=force)


def find_task(task: str | Path, weights: str | Path | None, *, others: Sequence[str] = ()) -> Path:
    """The file of a task: that path itself, else NAME.task.safetensors in the folder of the weights. `others`
    are the tasks of the cfg, for the error. Raises CfgError for a name that is neither."""
    path, name = Path(task), str(task)
    folder = None if weights is None else Path(weights).parent
    if path.is_file() or name.endswith(SUFFIX):
        return path
    if folder and is_task_name(name) and (folder / f"{name}{SUFFIX}").exists():
        return folder / f"{name}{SUFFIX}"
    packs = () if folder is None else folder.glob(f"*{SUFFIX}")
    files = sorted(one.name.removesuffix(SUFFIX) for one in packs if one.is_file())
    known = [*others, *filter(is_task_name, files)]
    is_odd = folder is not None and name in files
    odd = f"a file whose name is none of a task is given by its path: --task '{folder}/{name}{SUFFIX}'"
    raise CfgError(
        "no such task",
        path=str(weights or ""),
        found=f"task {name!r}",
        allowed=", ".join(known) or f"a file *{SUFFIX}",
        hint=odd if is_odd else "" if known else UNKNOWN_HINT,
    )


def read_task(path: str | Path) -> TaskPack:
    """The pack in a file; raises WeightsError where it holds none."""
    record = read_beside(path)
    if record.get("format") != PACK_FORMAT or not _is_whole(record):
        found = str(record.get("format") or "a file of another kind")
        raise WeightsError("is not a task of this program", path=str(path), found=found, allowed=PACK_FORMAT)
    names = tuple(str(name) for name in record["names"])
    return TaskPack(record["task"], read_safetensors(path), names, record["sections"], record["shared"])


def _is_whole(record: dict[str, Any]) -> bool:
    texts = all(isinstance(record.get(key), str) for key in ("task", "sections", "shared"))
    return texts and isinstance(record.get("names"), list)


def apply_task(network: Network, pack: TaskPack, *, path: str | Path) -> tuple[str, ...]:
    """Give the network the tensors of a task; returns notes. Raises WeightsError, before anything changes,
    where the task was learned by another network."""
    check_sections(network.graph, pack, path=path)
    mine = implicit_tensors(network)
    shapes = {name: tensor.shape for name, tensor in pack.tensors.items()}
    if {name: tensor.shape for name, tensor in mine.items()} != shapes:
        raise _foreign_error(path, pack.task, "cfg")
    if pack.shared != digest_shared(network):
        raise _foreign_error(path, pack.task, "weights")
    set_knowledge(network, pack.tensors)
    numbers = sum(tensor.numel() for tensor in mine.values())
    own = f"task {pack.task}: {count_of(numbers, 'number')} of its own, {count_of(len(pack.names), 'class')}"
    layers = ((int(name.split(".")[1]), tensor) for name, tensor in mine.items())
    return (own, *non_finite_notes(network.graph, layers))


def check_sections(graph: Graph, pack: TaskPack, *, path: str | Path) -> None:
    """Raise WeightsError where the task was learned with another cfg."""
    if pack.sections != digest_sections(graph):
        raise _foreign_error(path, pack.task, "cfg")
    if len(pack.names) != graph.classes:
        found, allowed = count_of(len(pack.names), "name"), count_of(graph.classes, "class")
        raise WeightsError("the names of this task are damaged", path=str(path), found=found, allowed=allowed)


def _foreign_error(path: str | Path, task: str, what: str) -> WeightsError:
    hint = "give the cfg and the weights that `yolor train --task` was given"
    return WeightsError(
        f"this task was learned with other {what}", path=str(path), found=f"task {task}", hint=hint
    )


def digest_sections(graph: Graph) -> str:
    """A digest of all sections with their keys; comments, spaces and [net] do not count."""
    lines = (
        f"[{node.section.raw.name}]" + ";".join(_key_texts(node.section.lines.items()))
        for node in graph.nodes
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _key_texts(lines: Iterable[tuple[str, Any]]) -> list[str]:
    return sorted(f"{key}={''.join(strip_comment(line.value).split())}" for key, line in lines)


def digest_shared(network: Network) -> str:
    """A digest of the tensors that are not implicit knowledge, in float32."""
    own = implicit_tensors(network).keys()
    return digest_tensors({name: one for name, one in network.state_dict().items() if name not in own})
