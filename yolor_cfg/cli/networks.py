"""How the commands write networks to files: the format by the suffix, the numbers of the old file kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import click

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import check_target

if TYPE_CHECKING:
    from yolor_cfg.model import Network
    from yolor_cfg.weights.layout import WeightsHeader

CHECKPOINT_SUFFIXES = (".pt", ".safetensors")


class NetworkOfFile(Protocol):
    """A network with what else its file held, as `open_network` gives it."""

    @property
    def network(self) -> Network: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def header(self) -> WeightsHeader | None: ...
    @property
    def task_names(self) -> Mapping[str, tuple[str, ...]]: ...


class OpenedNetwork(NetworkOfFile, Protocol):
    """One that can be given other names."""

    def take_names(self, names: tuple[str, ...], source: str, notes: Sequence[str] = ()) -> Self: ...


Opened = TypeVar("Opened", bound=OpenedNetwork)


def check_format(target: str, *, as_weights: bool, upto: int | None, names: str | None) -> None:
    suffix = Path(target).suffix
    if not as_weights and suffix not in CHECKPOINT_SUFFIXES:
        formats = ", ".join([".weights", *CHECKPOINT_SUFFIXES])
        raise click.UsageError(f"OUT must end in one of {formats}; found {suffix or 'no suffix'}")
    if upto is not None and suffix in CHECKPOINT_SUFFIXES:
        raise click.UsageError(
            f"--upto works only with .weights files; a {suffix} file holds the whole network"
        )
    if names is not None and as_weights:
        raise click.UsageError(
            "--names works only with .pt and .safetensors files; a .weights file holds no names"
        )


def check_out(target: str, *, force: bool) -> None:
    """Refuse a file of weights that has no format, or that exists already."""
    check_format(target, as_weights=Path(target).suffix == ".weights", upto=None, names=None)
    check_target(target, fault=WeightsError, force=force)


def checkpoint_numbers(opened: NetworkOfFile, source: str) -> dict[str, float]:
    """What IN counts besides its tensors: the images seen in training, and a checkpoint's other numbers."""
    from yolor_cfg.weights.checkpoint import read_checkpoint

    return {"seen": opened.header.seen} if opened.header else read_checkpoint(source).numbers


def save_network(opened: NetworkOfFile, source: str, target: str, *, force: bool) -> None:
    """Write the network in the format that the suffix of `target` says, with what `source` counts."""
    numbers = checkpoint_numbers(opened, source)
    if Path(target).suffix == ".weights":
        save_weights(opened, target, numbers=numbers, upto=None, force=force)
    else:
        save_checkpoint_file(
            opened,
            target,
            kept={"numbers": numbers, **kept_names(opened)},
            names=tuple(opened.names),
            force=force,
        )


def kept_names(opened: NetworkOfFile) -> dict[str, Any]:
    """The class names of each task, as a checkpoint keeps them."""
    from yolor_cfg.weights.checkpoint import plain_names

    return {"task_names": plain_names(opened.task_names)}


def save_weights(
    opened: NetworkOfFile, target: str, *, numbers: dict[str, float], upto: int | None, force: bool
) -> None:
    from yolor_cfg.weights.darknet import write_weights
    from yolor_cfg.weights.layout import new_header

    seen = numbers.get("seen", 0)
    count = seen if isinstance(seen, int) and seen > 0 else 0
    header = opened.header or new_header(opened.network.graph, count)
    write_weights(opened.network, target, header=header, upto=upto, force=force)


def save_checkpoint_file(
    opened: NetworkOfFile, target: str, *, kept: dict[str, Any], names: tuple[str, ...], force: bool
) -> None:
    from yolor_cfg.weights.checkpoint import save_checkpoint

    numbers = kept.pop("numbers")
    save_checkpoint(opened.network, target, names=names, numbers=numbers, kept=kept, force=force)


def name_classes(opened: Opened, files: Sequence[str | None], *, given: str | None = None) -> Opened:
    """The network with the class names of `--names`, if it is given, else its own, else those beside its
    files."""
    from yolor_cfg.names import class_names, find_names

    count = opened.network.graph.classes
    if given:
        return opened.take_names(class_names(given, count=count), "--names")
    return opened.take_names(*find_names(opened.names, files, count=count))
