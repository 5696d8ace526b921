"""What the fuzzer calls: for each kind of file the functions of the product that read it.

A reader gets the bytes, a file that holds them, the cfg that goes with them, and random numbers. It returns
if the input is taken and raises YolorError if it is refused; anything else is a fault.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fuzz_inputs import COCO
from robustness_networks import read_network_file

from yolor_cfg import count
from yolor_cfg.data.formats.coco import list_document
from yolor_cfg.data.formats.voc_xml import read_voc
from yolor_cfg.data.formats.yolo import list_images
from yolor_cfg.data.labels import check_rows, parse_labels
from yolor_cfg.errors import DataError, WeightsError, YolorError
from yolor_cfg.evaluate.ground_truth import GroundTruth
from yolor_cfg.evaluate.results import read_results
from yolor_cfg.export.describe import fact_text
from yolor_cfg.export.facts import parse_facts
from yolor_cfg.graph import Graph, ReadOptions, build_graph, draft_graph, stated_text
from yolor_cfg.images.headers import read_image_info
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.lang.cuts import read_profile
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.syntax import Document, format_document, normalize_document, parse_bytes
from yolor_cfg.lang.text_diff import unified_diff
from yolor_cfg.lang.tree import read_tree
from yolor_cfg.lang.yaml_text import read_yaml
from yolor_cfg.model import Network
from yolor_cfg.names import data_names, empty_keys, read_names, read_options, repeated_keys
from yolor_cfg.train.hyperparameters import hyperparameters
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.state import saved_large, saved_names
from yolor_cfg.weights.averages import average_networks, oneoff_network
from yolor_cfg.weights.checkpoint import copy_tensors, fit_tensors, read_checkpoint, save_checkpoint
from yolor_cfg.weights.darknet import fill_network, read_tensors, write_weights
from yolor_cfg.weights.fitting import plan_read, plan_transfer
from yolor_cfg.weights.loading import load
from yolor_cfg.weights.prefix import read_prefix
from yolor_cfg.weights.tasks import apply_task, read_task, save_task
from yolor_cfg.weights.torch_file import read_pt

Rng = random.Random
SELDOM = 0.02
"""What takes much longer than the rest is done for one input of fifty."""
MOST_DIFFED = 200
MOST_SECTIONS = 300


class Input(NamedTuple):
    """Mutated bytes, a file that holds them, the cfg of their seed, and random numbers for all else."""

    data: bytes
    path: Path
    cfg: str
    rng: Rng


Reader = Callable[[Input], object]


@lru_cache(300)
def graph_of(cfg: str) -> Graph:
    """The graph of a seed's cfg."""
    return build_graph(parse_bytes(cfg.encode(), "seed.cfg"))


@lru_cache(300)
def network_of(cfg: str) -> Network:
    """Its network, which the inputs fill one after the other."""
    return Network(graph_of(cfg))


def read_cfg(given: Input) -> None:
    """Read, written back, built, counted; sometimes in a dialect or a size of its own, or edited."""
    rng = given.rng
    document = parse_bytes(given.data, str(given.path))
    text = format_document(document)
    assert text == document.text and format_document(parse_bytes(text.encode(), "again.cfg")) == text
    if rng.random() < 0.2:
        _edit(document, rng)
    how = ReadOptions()
    if rng.random() < 0.2:
        how = ReadOptions(
            rng.choice((None, *DIALECTS)), rng.choice((None, 32, (64, 96))), strict=rng.random() < 0.5
        )
    if rng.random() < 0.1:
        str([str(fault) for fault in draft_graph(document, how).faults])
    graph = build_graph(document, how)
    str([str(warning) for warning in (*graph.warnings, *graph.notes)])
    if len(graph.nodes) <= MOST_SECTIONS:
        _count_graph(graph, rng)


def _edit(document: Document, rng: Rng) -> None:
    normal = normalize_document(document)
    normalize_document(parse_bytes(normal.encode("utf-8", "replace"), "normal.cfg"))
    edits = TextEdits.nothing()
    raw = rng.choice(document.layers or (document.net,))
    edits.set_key(raw, {line.key: line for line in raw.entries}, (rng.choice(("filters", "from", "x")), "3"))
    edits.silenced.add(raw.line)
    edited = apply_text_edits(document, edits)
    before, after = (text.splitlines()[:MOST_DIFFED] for text in (document.text, edited))
    list(unified_diff(before, after, names=("a", "b")))


def _count_graph(graph: Graph, rng: Rng) -> None:
    count.count_costs(graph)
    count.peak_activation(graph)
    stated_text(graph)
    if rng.random() < 0.1:
        for counting in ("exact", "darknet", "paper", "thop"):
            count.count_by_convention(graph, counting)


def read_weights_file(given: Input) -> None:
    """Planned, read into the network, and written again: the bytes are those that were read."""
    rng, graph = given.rng, graph_of(given.cfg)
    file = read_prefix(given.path)
    if rng.random() < SELDOM:
        load_seldom(given)
    cutoff = rng.randrange(-1, len(graph.nodes) + 2) if rng.random() < 0.1 else None
    if rng.random() < 0.1:
        read_tensors(plan_transfer(graph, file))
    plan = plan_read(graph, file, cutoff=cutoff)
    network = network_of(given.cfg)
    filled = fill_network(network, plan)
    if rng.random() < 0.1 and not plan.notes:
        written = given.path.with_name("written.weights")
        write_weights(network, written, header=filled.header, upto=cutoff, force=True)
        assert written.stat().st_size != file.size_bytes or written.read_bytes() == given.data


def load_seldom(given: Input) -> None:
    """Ways of reading weights that build a network each time."""
    ways: tuple[Callable[[], object], ...] = (
        lambda: oneoff_network(graph_of(given.cfg), given.path),
        lambda: _load_by_name(given),
        lambda: average_networks(network_of(given.cfg), [Network(graph_of(given.cfg))]),
    )
    try:
        given.rng.choice(ways)()
    except YolorError:
        return


def _load_by_name(given: Input) -> None:
    cfg = given.path.with_name("seed.cfg")
    cfg.write_text(given.cfg, encoding="utf-8")
    load(cfg, given.path)


def read_checkpoint_file(given: Input) -> None:
    """Read by the interpreter of pickles, fitted to the network, copied into it; sometimes as a state."""
    rng = given.rng
    if rng.random() < 0.05:
        (saved_names if rng.random() < 0.5 else saved_large)(given.path)
    if rng.random() < 0.1:
        read_pt(given.path)
    if rng.random() < SELDOM:
        load_seldom(given)
    checkpoint = read_checkpoint(given.path)
    fitting = fit_tensors(graph_of(given.cfg), checkpoint.tensors, path=str(given.path))
    network = network_of(given.cfg)
    copy_tensors(network, fitting.tensors)
    if rng.random() < SELDOM:
        path = given.path.with_name(f"written{given.path.suffix}")
        save_checkpoint(network, path, names=checkpoint.names, numbers=checkpoint.numbers, force=True)
        read_checkpoint(path)


def read_safetensors_file(given: Input) -> None:
    """As a checkpoint, and as the pack of a task."""
    if given.rng.random() < 0.7:
        read_checkpoint_file(given)
        return
    network = network_of(given.cfg)
    if given.rng.random() < 0.1:
        own = given.path.with_name("own.task.safetensors")
        save_task(network, own, task="cats", names=("cat", "dog"), shared=network, force=True)
        apply_task(network, read_task(own), path=own)
    apply_task(network, read_task(given.path), path=given.path)


def read_metadata(given: Input) -> None:
    """The facts of an exported file: each is stored as a text, JSON where it is none."""
    try:
        facts = json.loads(given.data)
    except (ValueError, RecursionError):
        facts = dict.fromkeys(("input", "preprocess", "cfg", "nms"), given.data.decode("latin-1"))
    entries = facts.items() if isinstance(facts, dict) else ()
    parse_facts({name: fact_text(value) for name, value in entries}, "a.onnx")


def read_image_file(given: Input) -> None:
    """Its size from its header, then its pixels."""
    read_image_info(str(given.path))
    read_channels(given.path, given.rng.choice((1, 3, 3, 4, 5)))


def read_names_file(given: Input) -> None:
    """As names, and as the options of a .data file."""
    if given.rng.random() < 0.5:
        read_names(given.path)
        return
    options = read_options(given.path)
    empty_keys(given.path)
    repeated_keys(given.path)
    data_names(options, given.path)


def read_label_file(given: Input) -> None:
    """The rows of a label file, checked."""
    rows = np.array(parse_labels(given.data, "input.txt").rows, np.float64).reshape(-1, 10)
    check_rows(rows, classes=given.rng.choice((None, 2)), fix=given.rng.choice((None, "clip", "drop")))


@lru_cache(1)
def ground_truth() -> GroundTruth:
    """Two images with two classes and no boxes."""
    numbers, flags = np.zeros(0, np.int64), np.zeros(0, bool)
    sizes, boxes = np.full((2, 2), 40), np.zeros((0, 4))
    return GroundTruth(
        *(("cat", "dog"), (1, 2), (0, 1), ("images/0.png", "images/1.png"), sizes, numbers, boxes),
        *(numbers, np.zeros(0), flags, flags),
    )


def read_json_file(given: Input) -> None:
    """As annotations, results, or the profile of a cut network."""
    readers: dict[bytes, Callable[[], object]] = {
        b"[[": lambda: read_profile(given.path),
        b"[{": lambda: read_results(given.path, ground_truth()),
        b"{": lambda: _read_coco(given),
    }
    fitting = next((read for start, read in readers.items() if given.data.startswith(start)), None)
    (fitting if fitting and given.rng.random() < 0.8 else given.rng.choice([*readers.values()]))()


def _read_coco(given: Input) -> None:
    listing = list_document(str(given.path))
    for index in range(min(2, len(listing.images))):
        listing.read(index, (40, 48))


def read_voc_file(given: Input) -> None:
    """The objects of an annotation; what is wrong with it comes as text."""
    found = read_voc(str(given.path))
    if isinstance(found, str):
        raise DataError(found)


def read_yaml_file(given: Input) -> None:
    """As a data set, and as hyperparameters."""
    how = given.rng.random()
    if how < 0.1 or b"momentum" in given.data:
        hyperparameters(TrainOptions("a.cfg", "a.data", hyp=str(given.path)), graph_of(SMALL_CFG))
    elif how < 0.2:
        read_yaml(given.path, fault=WeightsError, what="the file")
    else:
        list_images(str(given.path), given.rng.choice(("train", "val")))


def make_beside(folder: Path) -> None:
    """The files that inputs name: lists, names, images."""
    (folder / "images").mkdir()
    for number in (0, 1):
        (folder / f"images/{number}.png").write_bytes(b"")
    texts = {"list.txt": "images/0.png\nimages/1.png\n", "set.names": "cat\ndog\n", **JSON_TEXTS}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


JSON_TEXTS = {"coco.json": json.dumps(COCO), "classes.tree": "a -1\nb -1\nc 0\nd 0\n"}
SMALL_CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n"
READERS: dict[str, tuple[Reader, str]] = {
    "cfg": (read_cfg, ".cfg"),
    "weights": (read_weights_file, ".weights"),
    "pt": (read_checkpoint_file, ".pt"),
    "safetensors": (read_safetensors_file, ".safetensors"),
    "metadata": (read_metadata, ".json"),
    "images": (read_image_file, ""),
    "names": (read_names_file, ".names"),
    "labels": (read_label_file, ".txt"),
    "json": (read_json_file, ".json"),
    "voc": (read_voc_file, ".xml"),
    "yaml": (read_yaml_file, ".yaml"),
    "tree": (lambda given: read_tree(given.path), ".tree"),
    "networks": (
        lambda given: read_network_file(given.data, given.path.parent, cfg=given.cfg, rng=given.rng),
        ".any",
    ),
}
