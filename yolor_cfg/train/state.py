"""The complete state of a training run between two batches, saved so that it resumes exactly.

The file is an ordinary checkpoint (its `model` is the EMA, if there is one) with an extra entry `training`,
which has only tensors and plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from yolor_cfg.errors import WeightsError, describe_fault, shorten
from yolor_cfg.files import replace_file
from yolor_cfg.model import Network
from yolor_cfg.parallel import this_process
from yolor_cfg.train.dist import mean_gradients, pending_gradients
from yolor_cfg.train.joint import JointTeacher
from yolor_cfg.train.optim import ModelEMA
from yolor_cfg.train.rejection import DeltaHistory
from yolor_cfg.weights.checkpoint import FORMAT, Checkpoint, plain_names
from yolor_cfg.weights.torch_file import read_pt, write_pt

EpochResults = dict[str, float]
IMAGES_COLUMN = "images"
"""How many images of a data set an epoch had, told where some have no labels."""
LOSSES_AND_COUNT = 8
TEACHER = "teacher"
"""Under this the state tells which finished large network taught."""
LARGE = "large"
"""What names the state, the results and the files of a large network that learns too."""
POSITION = ("epoch", "batch", "count", "updates", "best_ap", "best_epoch")


def large_column(name: str) -> str:
    """The column of a large network that learns too, beside that of the small one."""
    return f"{LARGE}_{name}"


BOX_COLUMNS = ("epoch", "updates", "lr", "loss", "box", "objectness", "classes", "P", "R", "AP50", "AP")
LABEL_COLUMNS = ("labels", "top1", "topk", "mAP", "F1")
IDENTITY_COLUMNS = ("identity", "rank1", "identity_mAP")
JOINT_COLUMN = "joint"
OWN_COLUMNS = (*BOX_COLUMNS, *LABEL_COLUMNS, *IDENTITY_COLUMNS, JOINT_COLUMN)
COLUMNS = (*OWN_COLUMNS, *map(large_column, OWN_COLUMNS[3:-1]))


@dataclass
class TrainState:
    """`batch` is the position in the epoch; `count` batches and `updates` updates were done since the start.

    `sums` are the sums of the losses (the total and its parts, see LOSS_COLUMNS) in this epoch and its number
    of batches; `source_sums` those of each of several data sets: images, then the parts, over images; `rows`
    are the results of the finished epochs; `deltas` are C Darknet's running numbers; `teacher` is the large
    network of a joint training; if that learns too, `large` is its own state, at the same position.
    """

    network: Network
    ema: ModelEMA | None
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    teacher: JointTeacher | None = None
    large: TrainState | None = None
    epoch: int = 0
    batch: int = 0
    count: int = 0
    updates: int = 0
    best_ap: float = -1.0
    best_epoch: int = -1
    sums: list[float] = field(default_factory=lambda: [0.0] * LOSSES_AND_COUNT)
    source_sums: list[list[float]] = field(default_factory=list)
    rows: list[EpochResults] = field(default_factory=list)
    deltas: DeltaHistory = field(default_factory=DeltaHistory)

    @property
    def eval_network(self) -> Network:
        """The network that is tested and saved: the EMA if there is one."""
        return self.network if self.ema is None else self.ema.network

    def count_update(self) -> None:
        """Count an update of the weights and update the EMA."""
        self.updates += 1
        if self.ema is not None:
            self.ema.update(self.network)


def save_state(
    state: TrainState,
    path: Path,
    *,
    names: Sequence[str],
    task_names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Save the whole state atomically, that of a large network which learns too in the same file; all
    processes call it, the first one writes. `names` are those of the classes, `task_names` those of the tasks
    that the data teaches."""
    training = _describe_learning(state)
    large = None if state.large is None else _describe_learning(state.large)
    if this_process().rank:
        return
    if state.large is None and state.teacher is not None:
        training[TEACHER] = state.teacher.digest
    if state.large is not None:
        training[LARGE] = {**_describe_network(state.large, names), "training": large}
    training["random"] = torch.get_rng_state()
    training["random_cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    content = {
        **_describe_network(state, names),
        **({"task_names": plain_names(task_names)} if task_names else {}),
        "numbers": {"epoch": state.epoch, "updates": state.updates, "AP": state.best_ap},
        "training": training,
    }
    replace_file(path, lambda file: write_pt(content, file), fault=WeightsError, force=True)


def _describe_network(state: TrainState, names: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint says of the network that is tested."""
    graph = state.network.graph
    return {
        "format": FORMAT,
        "cfg": graph.document.text,
        "dialect": graph.dialect.name,
        "names": list(names),
        "bn_eps": graph.dialect.bn_eps,
        "model": dict(state.eval_network.state_dict()),
    }


def _describe_learning(state: TrainState) -> dict[str, Any]:
    """How far a network has come; all processes call it."""
    each = pending_gradients(state.network)
    return {
        "network": state.network.state_dict(),
        "average_updates": -1 if state.ema is None else state.ema.updates,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "gradients": mean_gradients(each) if each else {},
        "gradients_of_each": each if len(each) > 1 else [],
        "sums": list(state.sums),
        "source_sums": [list(sums) for sums in state.source_sums],
        "rows": [dict(row) for row in state.rows],
        "deltas": state.deltas.values,
        **{name: getattr(state, name) for name in POSITION},
    }


def saved_names(path: Path) -> dict[str, tuple[str, ...]]:
    """The classes that a run was begun with, by its last state: those of "" and of each task."""
    content = _read_state(path)
    by_task = content.get("task_names")
    found = {"": content.get("names"), **(by_task if isinstance(by_task, dict) else {})}
    return {task: tuple(map(str, names)) for task, names in found.items() if isinstance(names, list)}


def saved_large(path: Path) -> Checkpoint | None:
    """Cfg and dialect of the large network that learns too in a run, by its last state; None without one."""
    held = _read_state(path)["training"].get(LARGE)
    kinds = {"cfg": str, "dialect": str, "bn_eps": float}
    if not isinstance(held, dict) or not all(isinstance(held.get(key), kinds[key]) for key in kinds):
        return None
    return Checkpoint({}, held["cfg"], held["dialect"], bn_eps=held["bn_eps"])


def load_state(state: TrainState, path: Path) -> None:
    """Load a saved state into a freshly built one; raises WeightsError if they do not match."""
    content = _read_state(path)
    try:
        _fill_state(state, content)
    except WeightsError as fault:
        fault.path = str(path)
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as fault:
        raise WeightsError(
            "this state does not fit the run",
            path=str(path),
            found=shorten(" ".join(describe_fault(fault).split()), 300),
            hint="model.cfg or args.yaml were changed, or last.pt is damaged: start a new run with --weights",
        ) from fault


def _fill_state(state: TrainState, content: dict[str, Any]) -> None:
    training = content["training"]
    if (LARGE in training) != (state.large is not None):
        raise WeightsError("saved with other options", found=f"--joint-learns: {LARGE in training}")
    _refuse_other_teacher(state, training)
    _fill_learning(state, content)
    if state.large is not None:
        _fill_learning(state.large, training[LARGE])
    torch.set_rng_state(training["random"])
    if training["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(training["random_cuda"])


def _refuse_other_teacher(state: TrainState, training: dict[str, Any]) -> None:
    """A run taught by another network from some batch on would not be the one that was begun."""
    began = training.get(TEACHER)  # runs of the first versions do not say it
    if state.teacher is not None and began is not None and began != state.teacher.digest:
        hint = "restore the file of --joint that the run began with, or start a new run with --weights"
        raise WeightsError("taught by another large network", found="other weights in --joint", hint=hint)


def _fill_learning(state: TrainState, content: dict[str, Any]) -> None:
    """One network with its EMA, optimizer, gradients and results."""
    training = content["training"]
    has_ema = training["average_updates"] >= 0
    if has_ema != (state.ema is not None):
        raise WeightsError("saved with other options", found=f"EMA: {has_ema}")
    state.network.load_state_dict(training["network"])
    if state.ema is not None:
        state.ema.network.load_state_dict(content["model"])
        state.ema.updates = training["average_updates"]
    _refuse_other_optimizer(state.optimizer.state_dict(), training["optimizer"])
    state.optimizer.load_state_dict(training["optimizer"])
    state.scaler.load_state_dict(training["scaler"])
    here, each = this_process(), training.get("gradients_of_each", [])
    gradients = each[here.rank] if len(each) == here.world_size else training["gradients"]
    for name, parameter in state.network.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)
    _fill_position(state, training)


def _refuse_other_optimizer(new: dict[str, Any], saved: dict[str, Any]) -> None:
    """torch takes over the groups of another optimizer as they are, and fails at the first update."""
    for group, other in zip(new["param_groups"], saved["param_groups"], strict=False):
        wanted, found = _name_optimizer(group, other), _name_optimizer(other, group)
        if wanted != found:
            hint = "`optimizer` or `recipe` in args.yaml is not that of the run: restore it"
            raise WeightsError("saved with another optimizer", found=found, allowed=wanted, hint=hint)


def _name_optimizer(group: dict[str, Any], other: dict[str, Any]) -> str:
    """Of a group of parameters; older versions of torch do not tell Adam and AdamW apart."""
    if "betas" not in group:
        return "sgd"
    tells = "decoupled_weight_decay"
    return "adamw" if tells in other and group.get(tells) else "adam"


def _fill_position(state: TrainState, training: dict[str, Any]) -> None:
    """The counts, the sums and the rows, all of the kinds that they have in a new state."""
    for name in POSITION:
        value, kind = training[name], type(getattr(state, name))
        if not isinstance(value, int | kind) or isinstance(value, bool) or not value >= -1:
            raise ValueError(f"{name}: {value!r:.100}")
        setattr(state, name, value)
    sums, rows = training["sums"], training["rows"]
    state.deltas = DeltaHistory.from_values(training.get("deltas", []))
    state.sums = [float(number) for number in sums]
    while len(state.sums) < LOSSES_AND_COUNT:  # written before there were all of them
        state.sums.insert(-1, 0.0)
    state.source_sums = [[float(number) for number in one] for one in training.get("source_sums", [])]
    state.rows = [{str(name): float(number) for name, number in row.items()} for row in rows]
    if state.rows and state.rows[0].get("epoch") == 0:  # written when epochs were counted from 0
        state.rows = [{**row, "epoch": row["epoch"] + 1} for row in state.rows]


def _read_state(path: Path) -> dict[str, Any]:
    """The content of last.pt, read without running anything in it."""
    if not path.exists():
        raise WeightsError(
            "no checkpoint to resume from",
            path=str(path),
            hint="the run ended before its first checkpoint: start a new one",
        )
    content = read_pt(path)
    if not isinstance(content, dict) or not isinstance(content.get("training"), dict):
        raise WeightsError(
            "contains only weights, not the state of a training run",
            path=str(path),
            hint="start a new run from them with --weights",
        )
    return content
