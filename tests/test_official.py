"""YOLOR's own checkpoints load: main branch's state dicts by name, paper branch's modules by structure.

The networks of the paper branch are built here once more, from the tables of its papers and the names that
its files have, as torch modules that know nothing of a cfg; they are pickled under the names of the branch's
modules.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tiny_detector import photo, save, yolor
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg import load
from yolor_cfg.errors import WeightsError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.networks import family
from yolor_cfg.networks.yolor import STEMS, YolorRow
from yolor_cfg.weights.checkpoint import load_tensors, read_checkpoint
from yolor_cfg.weights.loading import open_network

CFG = Path(__file__).resolve().parents[1] / "cfg"
CLASSES = 3


def written(folder: Path, row: YolorRow, *, classes: int = CLASSES) -> Path:
    """The cfg of a row in a file."""
    path = folder / "net.cfg"
    path.write_text(family.cfg_text("net", row, classes=classes))
    return path


def eighth(row: YolorRow, *, deepest: int = 2) -> YolorRow:
    """The row with an eighth of its channels behind the stem and at most so many bottlenecks in a block."""
    stages = tuple((channels // 8, min(repeats, deepest)) for channels, repeats in row.stages)
    neck, head = (tuple(width // 8 for width in widths) for widths in (row.neck, row.head))
    return row._replace(
        stages=stages, spp=row.spp // 8, neck=neck, head=head, repeats=min(row.repeats, deepest)
    )


def saved(content: Any, folder: Path, name: str = "x.pt", *, is_zip: bool = True) -> Path:
    torch.save(content, folder / name, _use_new_zipfile_serialization=is_zip)
    return folder / name


def seeded(tensors: dict[str, Tensor], seed: int = 0) -> None:
    """Fill the tensors with numbers that keep a deep network's values near one."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=rng)
        elif name.endswith(("bn.weight", "BatchNorm2d.weight")):
            tensor.uniform_(0.7, 1.3, generator=rng)
        elif tensor.ndim == 4 and tensor.shape[0] > 1:
            tensor.normal_(0, (1.5 / tensor[0].numel()) ** 0.5, generator=rng)
        elif tensor.is_floating_point():
            tensor.normal_(0.1, 0.2, generator=rng)


# -------------------------------------------------------------------------------------------- the main branch

MAIN = ("yolor_csp", "yolor_csp_x", "yolor_p6", "yolor_w6")
# Convolutions with batch norm times six, those of the heads times two, implicit vectors.
ENTRIES = {"yolor_csp": 112 * 6 + 3 * 2 + 6, "yolor_p6": 141 * 6 + 4 * 2 + 8}


def main_state(cfg: str) -> dict[str, Tensor]:
    """The state dict that a file of the main branch has, read off the cfg's text: in order, unfilled."""
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    lines = [line for line in cfg.splitlines() if line and line[0] != "#"]
    for index, section in enumerate("\n".join(lines).split("\n[")[1:]):
        kind, *entries = section.splitlines()
        keys = dict(entry.split("=", 1) for entry in entries)
        name, before = f"module_list.{index}", channels[-1] if channels else 3
        sources = [int(s) + (index if int(s) < 0 else 0) for s in keys.get("layers", "0").split(",")]
        out = int(keys.get("filters", 4 * before if kind == "reorg]" else before))
        if kind == "route]":
            out = sum(channels[source] for source in sources)
        if kind.startswith("implicit"):
            state[f"{name}.implicit"] = torch.empty(1, out, 1, 1)
        if kind == "convolutional]":
            size, normed = int(keys["size"]), "batch_normalize" in keys
            state[f"{name}.Conv2d.weight"] = torch.empty(out, before, size, size)
            parts = [f"BatchNorm2d.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
            state |= {f"{name}.{part}": torch.empty(out) for part in (parts if normed else ["Conv2d.bias"])}
            if normed:
                state[f"{name}.BatchNorm2d.num_batches_tracked"] = torch.tensor(7)
        channels.append(out)
    return state


def main_file(state: dict[str, Tensor], *, stepped: bool = False) -> dict[str, Any]:
    """What stands around the state dict, while training (with the state of an optimizer) or at its end."""
    optimizer = None
    if stepped:
        weight = nn.Parameter(torch.ones(3, 2))
        made = torch.optim.SGD([weight], lr=0.01, momentum=0.937, nesterov=True)
        made.add_param_group({"params": [nn.Parameter(torch.ones(2))], "weight_decay": 5e-4})
        weight.sum().backward()
        made.step()
        optimizer = made.state_dict()
    fitness = {f"best_fitness_{part}": np.float64(0.25) for part in ("p", "r", "ap50", "ap", "f")}
    return {
        "epoch": 299 if stepped else -1,
        "best_fitness": np.array([0.5]) if stepped else np.float64(0.5),
        **fitness,
        "training_results": "   0/299     10.3G   0.08  0.05   0.02\n" * 3,
        "model": state,
        "optimizer": optimizer,
        "wandb_id": "1a2b3c" if stepped else None,
    }


@pytest.mark.parametrize("name", MAIN)
def test_our_networks_have_the_tensors_of_the_main_branchs_files(name: str) -> None:
    text = (CFG / f"{name}.cfg").read_text()
    with torch.device("meta"):
        ours, theirs = Network(build_graph(parse(text))).state_dict(), main_state(text)
    assert {key: tensor.shape for key, tensor in ours.items()} == {k: t.shape for k, t in theirs.items()}
    assert len(theirs) == ENTRIES.get(name, len(theirs))


@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
@pytest.mark.parametrize("stepped", [False, True], ids=["stripped", "with optimizer"])
@pytest.mark.parametrize("name", MAIN)
def test_files_of_the_main_branch_load_by_name(name: str, stepped: bool, half: bool, tmp_path: Path) -> None:
    cfg = written(tmp_path, eighth(family.NETWORKS[name]))
    check_main(cfg, tmp_path, stepped=stepped, half=half)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolor_csp"])
def test_a_file_of_the_main_branch_loads_at_its_full_size(name: str, tmp_path: Path) -> None:
    assert check_main(CFG / f"{name}.cfg", tmp_path, stepped=True) == ENTRIES[name] == 684


def check_main(cfg: Path, folder: Path, *, stepped: bool, half: bool = False) -> int:
    """Load a seeded file of that structure and compare every tensor; how many there were."""
    state = main_state(cfg.read_text())
    seeded(state)
    if half:
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    opened = open_network(cfg, saved(main_file(state, stepped=stepped), folder))
    found = opened.network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor.to(found[name].dtype)) for name, tensor in state.items())
    assert opened.network.graph.dialect.name == "yolor" and opened.notes == ()
    norms = [module for module in opened.network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum, norm.training) for norm in norms} == {(1e-4, 0.03, False)}
    return len(state)


# ------------------------------------------------------------------------------------------- the paper branch


def named(module: str, name: str) -> Callable[[type], type]:
    """Pickle a class under that name."""

    def rename(kind: type) -> type:
        kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
        PLACES.append((module, name, kind))
        return kind

    return rename


PLACES: list[tuple[str, str, type]] = []


@named("models.common", "Conv")
class Conv(nn.Module):
    def __init__(self, channels: int, filters: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)
        self.bn = norm(filters)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def raw(channels: int, filters: int) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, 1, bias=False)


@named("models.common", "Bottleneck")
class Pair(nn.Module):
    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(width, width), Conv(width, width, 3), residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class Merging(nn.Module):
    """Two branches under one batch norm; the dense branch is the first."""

    def merged(self, dense: Tensor, cross: Tensor) -> Tensor:
        return F.silu(self.bn(torch.cat([dense, cross], dim=1)))


@named("models.common", "BottleneckCSP")
class FusionLast(Merging):
    def __init__(self, channels: int, filters: int, repeats: int) -> None:
        super().__init__()
        h = filters // 2
        self.cv1, self.cv2, self.cv3 = Conv(channels, h), raw(channels, h), raw(h, h)
        self.cv4, self.bn = Conv(2 * h, filters), norm(2 * h)
        self.m = nn.Sequential(*(Pair(h, True) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv4(self.merged(self.cv3(self.m(self.cv1(x))), self.cv2(x)))


@named("models.common", "BottleneckCSPF")
class FusionFirst(Merging):
    def __init__(self, channels: int, filters: int, repeats: int) -> None:
        super().__init__()
        h = filters // 2
        self.cv1, self.cv2 = Conv(channels, h), raw(channels, h)
        self.cv4, self.bn = Conv(2 * h, filters), norm(2 * h)
        self.m = nn.Sequential(*(Pair(h, True) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv4(self.merged(self.m(self.cv1(x)), self.cv2(x)))


@named("models.common", "BottleneckCSP2")
class Reversed(Merging):
    def __init__(self, channels: int, filters: int, repeats: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, filters), raw(filters, filters)
        self.cv3, self.bn = Conv(2 * filters, filters), norm(2 * filters)
        self.m = nn.Sequential(*(Pair(filters, False) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv3(self.merged(self.m(x), self.cv2(x)))


@named("models.common", "SPPCSP")
class Pyramid(Merging):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, filters), raw(channels, filters)
        self.cv3, self.cv4 = Conv(filters, filters, 3), Conv(filters, filters)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.cv5, self.cv6 = Conv(4 * filters, filters), Conv(filters, filters, 3)
        self.bn, self.cv7 = norm(2 * filters), Conv(2 * filters, filters)

    def forward(self, x: Tensor) -> Tensor:
        dense = self.cv4(self.cv3(self.cv1(x)))
        pooled = torch.cat([dense, *(pool(dense) for pool in self.m)], dim=1)
        return self.cv7(self.merged(self.cv6(self.cv5(pooled)), self.cv2(x)))


@named("models.common", "DownC")
class Down(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, filters // 2, 3, 2)
        self.cv3, self.mp = Conv(channels, filters // 2), nn.MaxPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.cv2(self.cv1(x)), self.cv3(self.mp(x))], dim=1)


@named("models.common", "ReOrg")
class Reorg(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=1)


@named("pytorch_wavelets.dwt.transform2d", "DWTForward")
class Wavelets(nn.Module):
    """Only its constants matter to the file."""

    def __init__(self) -> None:
        super().__init__()
        for direction, shape in (("col", (1, 1, 2, 1)), ("row", (1, 1, 1, 2))):
            self.register_buffer(f"h0_{direction}", torch.full(shape, 0.5**0.5))
            self.register_buffer(f"h1_{direction}", torch.tensor([1.0, -1]).reshape(shape) * 0.5**0.5)


@named("models.common", "DWT")
class Dwt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.xfm = Wavelets()

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = (x[..., row::2, column::2] for row in (0, 1) for column in (0, 1))
        details = torch.stack([a + b - c - d, a - b + c - d, a - b - c + d], dim=2) / 4 + 0.5
        return torch.cat([(a + b + c + d) / 4, details.flatten(1, 2)], dim=1)


@named("models.common", "Concat")
class Concat(nn.Module):
    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, dim=1)


class Vector(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.ones(1, channels, 1, 1))


@named("models.common", "ImplicitA")
class Added(Vector):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.implicit


@named("models.common", "ImplicitM")
class Factor(Vector):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.implicit


@named("models.yolo", "IDetect")
class Head(nn.Module):
    def __init__(self, widths: tuple[int, ...], anchors: Tensor, classes: int) -> None:
        super().__init__()
        levels, each, _ = anchors.shape
        filters = each * (5 + classes)
        self.register_buffer("anchors", anchors / (8 * 2 ** torch.arange(levels))[:, None, None])
        self.register_buffer("anchor_grid", anchors.reshape(levels, 1, each, 1, 1, 2).clone())
        self.m = nn.ModuleList(nn.Conv2d(width, filters, 1) for width in widths)
        self.ia, self.im = nn.ModuleList(map(Added, widths)), nn.ModuleList(Factor(filters) for _ in widths)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        each, found = self.anchors.shape[1], []
        for x, added, conv, factor in zip(maps, self.ia, self.m, self.im, strict=True):
            x = factor(conv(added(x)))
            found.append(x.unflatten(1, (each, -1)).permute(0, 1, 3, 4, 2))
        return found


@named("models.yolo", "Model")
class Model(nn.Module):
    """A numbered list of modules, each with the numbers that it reads in `f` (-1: the one before)."""

    def __init__(self, row: YolorRow, classes: int) -> None:
        super().__init__()
        self.model, self.widths = nn.Sequential(), []
        self.names = [f"class {number}" for number in range(classes)]
        self.stem(row)
        laterals = self.backbone(row)
        tips = self.neck(row, laterals)
        pixels = torch.tensor([float(number) for number in row.anchors.split(",")])
        self.add(Head(row.head, pixels.reshape(len(row.head), -1, 2), classes), 0, *tips)

    def add(self, module: nn.Module, width: int, *sources: int) -> int:
        module.i, module.f = len(self.widths), sources or (-1,)
        self.model.append(module)
        self.widths.append(width)
        return module.i

    def conv(self, filters: int, size: int = 1, stride: int = 1, source: int = -1) -> int:
        return self.add(Conv(self.widths[source], filters, size, stride), filters, source)

    def down(self, row: YolorRow, filters: int, source: int = -1) -> int:
        if row.has_csp_downsampling:
            return self.add(Down(self.widths[source], filters), filters, source)
        return self.conv(filters, 3, 2, source)

    def stem(self, row: YolorRow) -> None:
        for step in STEMS[row.stem].split():
            width = self.widths[-1] if self.widths else 3
            if step in ("reorg", "dwt"):
                self.add(Reorg() if step == "reorg" else Dwt(), 4 * width)
            elif step[0] == "d":
                self.down(row, int(step[1:].removesuffix("/2")))
            else:
                self.conv(int(step[1:].removesuffix("/2")), 3, 2 if step.endswith("/2") else 1)

    def backbone(self, row: YolorRow) -> list[int]:
        block, stages = FusionFirst if row.block == "csp_first" else FusionLast, []
        for number, (filters, repeats) in enumerate(row.stages):
            if number:
                self.down(row, filters)
            stages.append(self.add(block(self.widths[-1], filters, repeats), filters))
        return stages[-len(row.head) :]

    def neck(self, row: YolorRow, laterals: list[int]) -> list[int]:
        tips = [self.add(Pyramid(self.widths[-1], row.spp), row.spp)]
        for filters, lateral in zip(row.neck[-2::-1], laterals[-2::-1], strict=True):
            self.conv(filters)
            above = self.add(nn.Upsample(scale_factor=2), filters)
            self.joined(self.conv(filters, source=lateral), above)
            tips.insert(0, self.reversed(row, filters))
        tip, reads = tips[0], []
        for level, width in enumerate(row.head):
            if level:
                self.joined(self.down(row, row.neck[level], tip), tips[level])
                tip = self.reversed(row, row.neck[level])
            reads.append(self.conv(width, 3, source=tip))
        return reads

    def joined(self, *sources: int) -> int:
        return self.add(Concat(), sum(self.widths[source] for source in sources), *sources)

    def reversed(self, row: YolorRow, filters: int) -> int:
        return self.add(Reversed(self.widths[-1], filters, row.repeats), filters)

    def forward(self, x: Tensor) -> list[Tensor]:
        values: list[Any] = []
        for module in self.model:
            read = [values[source] if values else x for source in module.f]
            values.append(module(read if isinstance(module, Concat | Head) else read[0]))
        return values[-1]


@pytest.fixture
def branch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While this lasts the classes above can be imported, as pickling demands, by the branch's names."""
    with monkeypatch.context() as patched:
        for module, name, kind in PLACES:
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                part = ".".join(parts[:end])
                if part not in sys.modules:
                    patched.setitem(sys.modules, part, ModuleType(part))
            setattr(sys.modules[module], name, kind)
        yield


def paper_model(row: YolorRow, *, classes: int = CLASSES) -> Model:
    model = Model(row, classes).eval()
    fixed = ("anchors", "anchor_grid", "h0_col", "h0_row", "h1_col", "h1_row")
    seeded({name: t for name, t in model.state_dict().items() if not name.endswith(fixed)})
    return model


def paper_file(model: Model, folder: Path) -> Path:
    beside = {"epoch": -1, "best_fitness": np.array([0.5]), "training_results": None, "optimizer": None}
    return saved({**beside, "model": model, "wandb_id": None}, folder)


P6, E6, SSSS, SSSS_DWT, SSS = (
    family.NETWORKS[f"yolor_{name}_paper"] for name in ("p6", "e6", "csp_ssss", "csp_ssss_dwt", "csp_sss")
)
SMALL = {
    "p6": eighth(P6)._replace(stem="D, micro"),
    "e6": eighth(E6)._replace(spp=40, neck=(40, 40, 40, 40)),  # no size tells these blocks from each other
    "ssss": eighth(SSSS),
    "ssss_dwt": eighth(SSSS_DWT),
    "sss": eighth(SSS),
    "csp_first_dwt": eighth(SSSS_DWT)._replace(block="csp_first", repeats=2, has_csp_downsampling=True),
}


@pytest.mark.parametrize(
    ("name", "last", "parameters"),
    [
        ("yolor_p6_paper", 41, 37270264),
        ("yolor_w6_paper", 41, 79880952),
        ("yolor_e6_paper", 41, 115909400),
        ("yolor_d6_paper", 41, 151782680),
        ("yolor_csp_sss_paper", 29, 9301306),
        ("yolor_csp_ssss_paper", 28, 9216634),
        ("yolor_csp_ssss_dwt_paper", 28, 9216634),
    ],
)
def test_the_modules_here_are_those_of_the_branch(name: str, last: int, parameters: int) -> None:
    with torch.device("meta"):
        model = Model(family.NETWORKS[name], 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert f"model.{last}.ia.0.implicit" in model.state_dict()


def difference(opened: Network, model: Model, size: tuple[int, int] = (128, 192)) -> float:
    """The largest between the raw maps of both for two random pictures; the maps are no constants."""
    images = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = images.to(next(model.parameters()).dtype)
    with torch.no_grad():
        ours, theirs = opened(images), model(images)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    assert all(x.abs().max() > 0.1 and x.std() > 0.01 for x in theirs)
    return max(float((x - y).abs().max()) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("branch")
@pytest.mark.parametrize("name", SMALL)
def test_a_module_of_the_paper_branch_computes_the_same_here(name: str, tmp_path: Path) -> None:
    model = paper_model(SMALL[name])
    opened = open_network(written(tmp_path, SMALL[name]), paper_file(model, tmp_path))
    assert opened.notes == ()
    assert opened.network.graph.dialect.bn_eps == 1e-3
    size = (64, 128) if name == "e6" else (128, 192)
    assert difference(opened.network, model, size) < 1e-4
    assert difference(opened.network.double(), model.double(), size) < 1e-9


@pytest.mark.usefixtures("branch")
@pytest.mark.parametrize("name", ["p6", "ssss_dwt"])
def test_half_precision_as_stripped_files_have_it(name: str, tmp_path: Path) -> None:
    model = paper_model(SMALL[name]).half()
    network = load(written(tmp_path, SMALL[name]), paper_file(model, tmp_path))
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert difference(network.double(), model.double()) < 1e-9


@pytest.mark.usefixtures("branch")
def test_a_shipped_cfg_loads_its_file_at_full_size(tmp_path: Path) -> None:
    model = paper_model(SSSS_DWT, classes=80)
    network = load(CFG / "yolor_csp_ssss_dwt_paper.cfg", paper_file(model, tmp_path))
    assert difference(network.double(), model.double(), (64, 96)) < 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("branch")
def test_the_shipped_p6_loads_its_file_at_full_size(tmp_path: Path) -> None:
    model = paper_model(P6, classes=80).half()
    network = load(CFG / "yolor_p6_paper.cfg", paper_file(model, tmp_path))
    assert difference(network.double(), model.double(), (64, 128)) < 1e-9


def small_state(name: str = "p6", **changes: Any) -> dict[str, Tensor]:
    return dict(paper_model(SMALL[name]._replace(**changes)).state_dict())


def network_of(name: str = "p6", **changes: Any) -> Network:
    return Network(
        build_graph(parse(family.cfg_text("net", SMALL[name]._replace(**changes), classes=CLASSES)))
    )


def test_a_state_dict_of_the_branch_and_one_of_a_wrapper_load_too(tmp_path: Path) -> None:
    state = small_state()
    ours = [network_of(), network_of()]
    for network, prefix in zip(ours, ("", "module."), strict=True):
        content = {"model": {prefix + name: tensor for name, tensor in state.items()}}
        load_tensors(network, read_checkpoint(saved(content, tmp_path)).tensors)
    first, second = (network.state_dict() for network in ours)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sum(tensor.numel() for name, tensor in first.items() if "num_batches" not in name) == sum(
        t.numel() for name, t in state.items() if not name.endswith(("tracked", "anchors", "anchor_grid"))
    )


def refusal(network: Network, tensors: dict[str, Tensor]) -> WeightsError:
    """The fault, after making sure that nothing was loaded."""
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_tensors(network, tensors, path="x.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert caught.value.path == "x.pt"
    return caught.value


def test_the_first_module_of_another_size_is_named_with_its_section() -> None:
    state = small_state()
    state["model.5.cv2.weight"] = torch.ones(16, 31, 1, 1)
    fault = refusal(network_of(), state)
    assert fault.found == "model.5.cv2.weight: Conv2d.weight 16x31x1x1"
    assert fault.allowed == "module_list.17.Conv2d.weight 16x32x1x1 (line 122)"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model.5.m.1.cv2.bn.running_var", "no model.5.m.1.cv2.bn.running_var"),
        ("model.12.bn.bias", "no model.12.bn.bias"),
        ("model.31.cv1.conv.weight", "no model.31.cv1.conv.weight"),
        ("model.41.m.2.bias", "no model.41.m.2.bias"),
        ("model.41.ia.3.implicit", "model.41.m.3.weight"),
    ],
)
def test_a_tensor_that_is_missing_is_named(name: str, found: str) -> None:
    state = small_state()
    del state[name]
    assert refusal(network_of(), state).found == found


@pytest.mark.parametrize(
    "name", ["model.5.cv1.conv.bias", "model.41.m.4.weight", "model.5.m.0.cv1.x", "x", "model.41.extra"]
)
def test_a_tensor_too_many_is_named(name: str) -> None:
    fault = refusal(network_of(), small_state() | {name: torch.ones(1)})
    assert fault.found == name and "more tensors than the network" in fault.message


def test_a_block_of_another_program_is_named() -> None:
    state = small_state() | {"model.5.cv9.conv.weight": torch.ones(1)}
    assert "model.5 of bn cv1 cv2 cv4 cv9 m" in refusal(network_of(), state).found


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"stages": SMALL["p6"].stages[:-1] + ((80, 1),)}, "model.11.m.1.cv1.conv.weight"),
        ({"paper": False}, "model.3.bn.weight"),
        ({"head": (32, 48, 64, 72)}, "model.40.conv.weight: Conv2d.weight 80x40x3x3"),
    ],
    ids=["fewer bottlenecks", "not the paper's variant", "another width"],
)
def test_another_network_is_refused_at_its_first_difference(changes: dict[str, Any], first: str) -> None:
    fault = refusal(network_of(**changes), small_state())
    assert fault.found == first and "_paper" in fault.hint


def test_a_network_with_a_level_more_is_refused() -> None:
    assert refusal(network_of("ssss"), small_state()).exit_code == 4
    assert refusal(network_of(), small_state("ssss")).exit_code == 4


def test_another_class_count_is_told_with_the_one_that_fits() -> None:
    graph = build_graph(parse(family.cfg_text("net", SMALL["p6"], classes=7)))
    assert "classes=3 would fit (filters=24 before the head)" in refusal(Network(graph), small_state()).hint


def test_wavelets_in_the_file_and_in_the_cfg_go_together() -> None:
    fault = refusal(network_of("ssss"), small_state("ssss_dwt"))
    assert (fault.found, fault.allowed) == ("3 wavelet transforms", "0 [dwt]")
    (note,) = load_tensors(network_of("ssss_dwt"), small_state("ssss"))
    assert "no wavelet filters" in note


def test_other_anchors_in_the_file_are_told() -> None:
    state = small_state("sss")
    state["model.29.anchor_grid"][0, 0, 1] += 2
    (note,) = load_tensors(network_of("sss"), state)
    assert note.endswith("anchors=12,16, 21,38, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401")


@pytest.mark.usefixtures("branch")
def test_the_detect_command_takes_a_file_of_the_paper_branch(tmp_path: Path) -> None:
    row = SMALL["ssss"]._replace(size=64)
    picture = save(tmp_path / "a.png", photo())
    weights = paper_file(paper_model(row), tmp_path)
    result = yolor("detect", written(tmp_path, row), weights, picture, "--project", tmp_path / "out")
    assert result.exit_code == 0, result.stderr


# ----------------------------------------------------------------------------------- files that run something


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.made = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.made


class Sets:
    """Pickles to a harmless object whose attributes come from a call."""

    def __init__(self, call: Calls) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (), None, None, iter([("model", self.call)])


def attacks(sentinel: Path) -> dict[str, object]:
    """Contents that make the sentinel file when a common reader unpickles them."""
    shell = Calls(os.system, f"touch {sentinel}")
    code = Calls(eval, f"open({str(sentinel)!r}, 'w').close()")
    opened = Calls(io.open, str(sentinel), "w")
    module = nn.Sequential(nn.Conv2d(1, 1, 1))
    module.yaml = shell
    return {
        "in place of the model": {"model": shell},
        "beside a good model": {"model": {"module_list.0.Conv2d.weight": torch.ones(1)}, "epoch": code},
        "in the optimizer": {"model": {}, "optimizer": {"state": {0: opened}}},
        "a tensor of the state dict": {"model": {"module_list.0.Conv2d.weight": shell}},
        "an attribute of a module": {"model": module},
        "the whole file": code,
        "items of a dict": Sets(shell),
    }


NAMES = tuple(attacks(Path("sentinel")))
FORMATS = ("zip", "legacy", "pickle 2", "pickle 4")


def attack(name: str, kind: str, folder: Path) -> Path:
    content = attacks(folder / "sentinel")[name]
    if kind in ("zip", "legacy"):
        return saved(content, folder, is_zip=kind == "zip")
    (folder / "x.pt").write_bytes(pickle.dumps(content, int(kind[-1])))
    return folder / "x.pt"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(
    name: str, kind: str, tmp_path: Path
) -> None:
    path = attack(name, kind, tmp_path)
    cfg = written(tmp_path, SMALL["ssss"])
    with pytest.raises(WeightsError) as caught:
        load(cfg, path)
    assert caught.value.path == str(path)
    result = yolor("detect", cfg, path, save(tmp_path / "a.png", photo()))
    assert result.exit_code == 4 and "Traceback" not in result.output
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("name", NAMES)
def test_torch_itself_would_have_run_it(name: str, tmp_path: Path) -> None:
    torch.load(attack(name, "zip", tmp_path), weights_only=False)
    assert (tmp_path / "sentinel").exists()
