"""Real files that the fuzzer mutates: those of the repository, and the shared ones where there are any."""

from __future__ import annotations

import io
import json
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_inputs import CFG, COCO, HYP, TREE_CFG, XML, YOLOR_CFG

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
MOST_CFG_BYTES = 30_000
MOST_BYTES = 60_000
"""Larger files take long to read, and a mutation more seldom meets what decides."""
WEIGHTS_FOLDERS = ("tests/data/darknet", "../shared/golden/darknet/micro", "../shared/golden/forks")
CFG_FOLDERS = (
    *("cfg", "tests/data/valid", "tests/data/invalid", "tests/data/golden/cfg", "tests/data/darknet"),
    *("../shared/corpus/cfg", "../shared/golden/darknet/micro", "../shared/golden/forks"),
)
SMALL_NET = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=7\nsize=1\nstride=32\n"
SMALL_HEAD = "\n[yolo]\nmask=0\nanchors=8,8\nclasses=2\nnum=1\n"
SMALL_CFGS = {
    "small": f"{SMALL_NET}batch_normalize=1\nactivation=leaky\n{SMALL_HEAD}",
    "implicit": f"{SMALL_NET}activation=linear\n[implicit_add]\nfilters=7\n[shift_channels]\nfrom=1\n"
    f"[route]\nlayers=-1\n{SMALL_HEAD}",
}


KINDS = {
    "cfg": "cfg files: parsed, written back, built, counted",
    "weights": ".weights files: planned, read into a network, written back",
    "pt": "torch files: read without running code, fitted, copied into a network",
    "safetensors": "safetensors files: checkpoints and task packs",
    "metadata": "the metadata of exported files",
    "images": "images and arrays",
    "names": ".names and .data files",
    "labels": "label files",
    "json": "COCO JSON: annotations, results, and profiles of channels",
    "voc": "VOC's XML files",
    "yaml": "YAML files of data sets and hyperparameters",
    "tree": "class trees",
    "networks": "weights opened on all other ways: alone, by task, averaged",
}


class Seed(NamedTuple):
    """A valid file: its name, its bytes, and the cfg that goes with it ("" where none does)."""

    name: str
    data: bytes
    cfg: str = ""


class SeedPool:
    """The seeds of one kind; small ones are taken more often."""

    def __init__(self, seeds: list[Seed]) -> None:
        assert seeds
        self.seeds = sorted(seeds)
        total = 0.0
        self._bounds: list[float] = []
        for seed in self.seeds:
            total += 1 / (1000 + len(seed.data)) ** 2
            self._bounds.append(total)

    def pick(self, rng: random.Random) -> Seed:
        """One of them."""
        return rng.choices(self.seeds, cum_weights=self._bounds)[0]


def make_seeds(**more: Callable[[], list[Seed]]) -> dict[str, SeedPool]:
    """The seeds of every kind; those of `more` kinds are made elsewhere."""
    makers: dict[str, Callable[[], list[Seed]]] = {
        "cfg": _cfgs,
        "weights": _weights,
        "pt": _checkpoints,
        "safetensors": _safetensors,
        "metadata": _metadata,
        "images": _images,
        **more,
    }
    made = {kind: make() for kind, make in makers.items()}
    made |= {kind: [Seed(name, data) for name, data in texts.items()] for kind, texts in TEXTS.items()}
    return {kind: SeedPool(seeds) for kind, seeds in made.items()}


LABELS = {
    "boxes": b"0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.125 0.125\n",
    "identities": b"0 7 0.5 0.5 0.25 0.5\n0 8 0.25 0.25 0.125 0.125\n",
    "polygon": b"0 .1 .1 .9 .1 .9 .9 .1 .9\n1 .2 .2 .3 .2 .3 .3\n",
    "windows": b"\xef\xbb\xbf0 0.5 0.5 1 1\r\n\r\n1 0.1 0.1 0.1 0.1\r\n",
}
NAMES = {
    "names": b"cat\ndog\n",
    "data": b"classes = 2\ntrain = list.txt\nvalid = list.txt\nnames = set.names\nbackup = out\n",
    "utf16": "cat\ndog\n".encode("utf-16"),
    "latin": "ch\u00e2t\nchien\n".encode("latin-1"),
}
YAMLS = {
    "data": b"path: .\ntrain: list.txt\nval: [list.txt]\nnc: 2\nnames: [cat, dog]\n",
    "numbered": b"train: images\nval: images\nnames:\n  0: cat\n  1: dog\n",
    "hyp": HYP.encode(),
    "aliases": b"a: &a [x, y]\ntrain: images\nnames: *a\n",
    "json": b"train: coco.json\nval: coco.json\n",
}
_RESULT = {"image_id": 0, "category_id": 1, "bbox": [5, 6, 15, 24], "score": 0.9}
_BOX: Any = COCO["annotations"]
_POLYGON = {**_BOX[0], "segmentation": [[1, 1, 9, 1, 9, 9]], "id": 9}
JSONS = {
    "coco": COCO,
    "polygon": {**COCO, "annotations": [_POLYGON]},
    "results": [_RESULT, {**_RESULT, "image_id": 1}],
    "profile": [[[0, 1, 2], [3]]],
}
TEXTS: dict[str, dict[str, bytes]] = {
    "labels": LABELS,
    "names": NAMES,
    "yaml": YAMLS,
    "json": {name: json.dumps(content).encode() for name, content in JSONS.items()},
    "voc": {
        "plain": XML.format(0).encode(),
        "declared": b"<?xml version='1.0' encoding='gb2312'?>" + XML.format(1).encode(),
    },
    "tree": {"tree": b"a -1\nb -1\nc 0\nd 0\ne 2\n", "flat": b"a -1\nb -1\n"},
}


def _cfgs() -> list[Seed]:
    paths = [path for folder in CFG_FOLDERS for path in sorted((ROOT / folder).glob("*.cfg"))]
    seeds = [Seed(path.name, path.read_bytes()) for path in paths if path.stat().st_size < MOST_CFG_BYTES]
    ours = {"plain": CFG, "yolor": YOLOR_CFG, "tree": TREE_CFG}
    return seeds + [Seed(name, text.encode()) for name, text in ours.items()]


def _weights() -> list[Seed]:
    from yolor_cfg.graph import build_graph
    from yolor_cfg.lang.syntax import parse

    paths = [path for folder in WEIGHTS_FOLDERS for path in sorted((ROOT / folder).glob("*.weights"))]
    seeds = []
    for path in paths:
        cfg = path.with_suffix(".cfg")
        if path.stat().st_size < MOST_BYTES and cfg.is_file():
            seeds.append(Seed(path.stem, path.read_bytes(), cfg.read_text(encoding="utf-8")))
    for name, text in (("plain", CFG), ("yolor", YOLOR_CFG)):
        floats = sum(spec.size for node in build_graph(parse(text)).nodes for spec in node.tensors)
        numbers = random.Random(name).randbytes(2 * floats)
        body = b"".join(bytes((0, 0)) + numbers[2 * at : 2 * at + 2] for at in range(floats))
        seeds.append(Seed(name, b"\0\0\0\0\2\0\0\0\5\0\0\0" + bytes(8) + body, text))
    return seeds


def _checkpoints() -> list[Seed]:
    """Our own, those of YOLOR's code, bare dicts, pickled modules, arrays; in both formats of torch."""
    import torch

    seeds = []
    for name, text in {"plain": CFG, "yolor": YOLOR_CFG, **SMALL_CFGS}.items():
        for form, content in _contents(text):
            for is_zip in (True, False):
                out = io.BytesIO()
                torch.save(content, out, _use_new_zipfile_serialization=is_zip)
                seeds.append(Seed(f"{name}-{form}-{is_zip}", out.getvalue(), text))
    return seeds


def _contents(text: str) -> Iterator[tuple[str, Any]]:
    """What such files hold: the same tensors in all of them."""
    import numpy as np
    import torch

    from yolor_cfg.weights.checkpoint import FORMAT

    tensors = _tensors(text)
    ours = {"format": FORMAT, "cfg": text, "dialect": "yolor", "names": ["cat", "dog"], "bn_eps": 1e-4}
    ours |= {"numbers": {"seen": 64, "epoch": 1.0}, "task_names": {"": ["cat"]}}
    yield "ours", {**ours, "model": tensors}
    yield "official", {"epoch": 3, "best_fitness": np.ones((1,)), "model": OrderedDict(tensors)}
    yield "bare", tensors
    yield "wrapped", {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}
    parameters = {name: torch.nn.Parameter(one) for name, one in tensors.items() if one.is_floating_point()}
    yield "parameters", {"ema": parameters, "training_results": "0 1 2", "wandb_id": None}
    yield "module", {"model": _module(tensors), "date": "2021-05-10", "set": {1, 2}, "dtype": torch.float16}
    yield "state", {**ours, "model": tensors, "training": {"rows": [{"epoch": 1.0}], "sums": [0.5]}}


def _module(tensors: dict[str, Any]) -> Any:
    """A module whose state dict has these tensors."""
    import torch

    top = torch.nn.Module()
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        module = top
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_buffer(last, tensor)
    return top


def _tensors(text: str) -> dict[str, Any]:
    import torch

    from yolor_cfg.graph import build_graph
    from yolor_cfg.lang.syntax import parse
    from yolor_cfg.weights.layout import file_layout

    rng = torch.Generator().manual_seed(0)
    slots = file_layout(build_graph(parse(text)))
    return {slot.name: torch.rand(slot.spec.shape, generator=rng) for slot in slots}


def _safetensors() -> list[Seed]:
    """Checkpoints, packs of tasks, and files of other programs."""
    from safetensors.torch import save

    from yolor_cfg.weights.checkpoint import FORMAT
    from yolor_cfg.weights.safetensors_file import PACK_FORMAT

    seeds = []
    for name, text in {"plain": CFG, "yolor": YOLOR_CFG, **SMALL_CFGS}.items():
        tensors = _tensors(text)
        record = {"format": FORMAT, "cfg": text, "dialect": "yolor", "names": ["a"], "bn_eps": 1e-4}
        pack: dict[str, Any] = {
            "format": PACK_FORMAT,
            "task": "cats",
            "sections": "0" * 64,
            "shared": "1" * 64,
        }
        pack["names"] = ["cat", "dog"]
        own = {key: one for key, one in tensors.items() if "implicit" in key} or dict([*tensors.items()][:1])
        for form, held, beside in (("ours", tensors, record), ("pack", own, pack), ("other", tensors, {})):
            told = {"yolor": json.dumps(beside)} if beside else {"format": "pt"}
            seeds.append(Seed(f"{name}-{form}", save(held, told), text))
    return seeds


def _metadata() -> list[Seed]:
    """What `yolor export` writes into its files, as one JSON object."""
    from yolor_cfg.export.describe import FileForm, describe_file
    from yolor_cfg.export.facts import LABELS as LABEL_HEADS
    from yolor_cfg.graph import build_graph
    from yolor_cfg.lang.syntax import parse

    seeds = []
    for name, text in (("plain", CFG), ("yolor", YOLOR_CFG)):
        facts = describe_file(build_graph(parse(text)), ("cat", "dog"), FileForm("decoded", False, ""))
        facts[LABEL_HEADS] = [{"first": 0, "length": 2, "single": True, "plain": True}]
        seeds.append(Seed(name, json.dumps(facts).encode(), text))
    return seeds


def _images() -> list[Seed]:
    import cv2
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    suffixes = ("png", "jpg", "bmp", "tiff", "webp", "gif", "ppm")
    seeds = [Seed(suffix, cv2.imencode(f".{suffix}", pixels)[1].tobytes()) for suffix in suffixes]
    out = io.BytesIO()
    np.save(out, pixels)
    return [*seeds, Seed("npy", out.getvalue())]
