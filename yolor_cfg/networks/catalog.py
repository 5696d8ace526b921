"""The networks by name: those of the family, and the rows of the paper's tables (`table4/mul-iPR`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.count import count_costs
from yolor_cfg.errors import CfgError, YolorError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.keys import suggest_word
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks.family import NETWORKS, ImageSize, Variant, write_cfg
from yolor_cfg.networks.paper import TABLES, ablation_text, row_named

OWN = "written by `yolor new`; yours to change."


class Changes(NamedTuple):
    """What the user overrides: classes, image size, activation, base network."""

    classes: int | None = None
    size: ImageSize | None = None
    activation: str | None = None
    base: str | None = None


AS_IT_STANDS = Changes()


class Entry(NamedTuple):
    """One network of the family: its name, its summary, and its costs at its default size."""

    name: str
    summary: str
    image: tuple[int, int]
    parameters: int
    gflops: float


def new_cfg(name: str, changes: Changes = AS_IT_STANDS) -> str:
    """The cfg text of a network with these changes; raises CfgError if there is no such network, or if the
    changes do not give a valid one."""
    text = _ablation(name, changes) if "/" in name else _network(name, changes)
    build_graph(parse(text, f"{name}.cfg"))
    return text


def _network(name: str, changes: Changes) -> str:
    if name not in NETWORKS:
        hint = suggest_word(name, list(NETWORKS)) or "yolor new --list shows all"
        if name in TABLES:
            hint = f"name a row of it: {name}/{list(TABLES[name])[-1]}"
        raise CfgError("no such network", found=name, allowed=list(NETWORKS), hint=hint)
    if changes.base:
        raise CfgError("only rows of the paper's tables have a base", found=f"--base {changes.base}")
    row = NETWORKS[name]
    if changes.activation:
        row = row._replace(activation=changes.activation)
    return write_cfg(name, row, Variant(changes.classes or 80, changes.size, OWN)).text


def _ablation(name: str, changes: Changes) -> str:
    """The cfg text of a row such as table4/mul-iPR."""
    table, _, word = name.partition("/")
    if table not in TABLES:
        raise CfgError("no such table", found=table, allowed=list(TABLES))
    if changes.size or changes.activation:
        option = f"--size {changes.size}" if changes.size else f"--activation {changes.activation}"
        hint = "yolor cfg set-size changes the file afterwards" if changes.size else ""
        message = "a row of the paper's tables has its own size and activation"
        raise CfgError(message, found=f"{name} {option}", hint=hint)
    row = row_named(table, word)
    if changes.base and changes.base not in NETWORKS:
        raise CfgError("no such network", found=f"--base {changes.base}", allowed=list(NETWORKS))
    return ablation_text(table, row, base=changes.base or "", classes=changes.classes or 80)


def entries() -> Iterator[Entry]:
    """Every network of the family with its costs, in the order of the table."""
    for name, row in NETWORKS.items():
        graph = build_graph(parse(shipped_cfg(name).read_text(encoding="utf-8"), f"{name}.cfg"))
        counted = count_costs(graph)
        image = graph.image.height, graph.image.width
        yield Entry(name, f"{row.summary[:-1]}, {row.details}.", image, counted.parameters, counted.gflops)


def shipped_cfg(name: str) -> Path:
    """The cfg file of a network of the family."""
    return _package_file(f"cfg/{name}.cfg")


def shipped_weights(name: str) -> Path:
    """A weights file installed with the package, by its full name."""
    return _package_file(f"weights/{name}")


def _package_file(name: str) -> Path:
    path = Path(str(files("yolor_cfg.networks"))) / name
    if not path.is_file():
        raise YolorError("a file of the package is missing", path=str(path), hint="reinstall yolor-cfg")
    return path
