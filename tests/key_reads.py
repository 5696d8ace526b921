"""Which keys of which sections are read while networks run, while their boxes are found, and in training.

The sections' own examples are walked through all three. What checks alone read counts as `checked`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import test_sections_contract as contract
import torch
import training
from torch import Tensor

from yolor_cfg import graph as graphs
from yolor_cfg.count import count_costs
from yolor_cfg.data.augment.classifier import read_classifier_augmentation
from yolor_cfg.data.augment.darknet import read_augmentation, read_random_sizes
from yolor_cfg.data.types import Dataset
from yolor_cfg.detect.nms import choose_nms
from yolor_cfg.errors import CfgError
from yolor_cfg.images.fit import default_preprocess
from yolor_cfg.lang.keys import ABSENT, TRAINING, Choice, Key, KeyValues
from yolor_cfg.model import Network
from yolor_cfg.sections import NetSection, Section
from yolor_cfg.sections.net import POLICIES
from yolor_cfg.train.identities import add_learner, count_identities
from yolor_cfg.train.loop import check_gradients
from yolor_cfg.train.loss import LossRules, detection_loss
from yolor_cfg.train.losses import LOSSES
from yolor_cfg.train.rejection import DeltaHistory, DeltaRejection
from yolor_cfg.train.run import build_state
from yolor_cfg.train.schedule import Policy
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.weights.layout import loadable_tensors

Reads = dict[str, set[tuple[type[Section], str]]]
"""By what read them: sections and their keys."""
LABELS = torch.tensor([[0, 0, 0.5, 0.5, 0.4, 0.4], [1, 0, 0.3, 0.6, 0.2, 0.3], [1, 0, 0.8, 0.2, 0.1, 0.1]])
RUN, BOXES, CHECKED = "run", "boxes", "checked"
NET = (
    "batch=8\nsubdivisions=2\nmax_batches=2\nadam=1\nema_alpha=.9\ntry_fix_nan=1\nburn_in=1\nmosaic=1\n"
    "badlabels_rejection_percentage=1\nnum_sigmas_reject_badlabels=3\n"
)

NOTHING = Dataset((), (), "", "")


class Recorder:
    """Notes each key that is read, and by what."""

    def __init__(self) -> None:
        self.reads: Reads = defaultdict(set)
        self.reader = CHECKED

    def note(self, section: Section, name: str) -> None:
        """A key of this section is read; before it is complete, by its checks."""
        self.reads[self.reader if section.is_complete else CHECKED].add((type(section), name))

    @contextmanager
    def walk(self, reader: str) -> Iterator[None]:
        """What is read inside is read by this."""
        before, self.reader = self.reader, reader
        yield
        self.reader = before


def record(patch: pytest.MonkeyPatch, folder: Path) -> Reads:
    """The keys that each walk reads."""
    recorder = Recorder()

    patch.setattr(Key, "__get__", _key_reader(recorder))
    patch.setattr(KeyValues, "get", _value_reader(recorder))
    for case in contract.CASES:
        run(case, recorder)
    with recorder.walk(TRAINING):
        train(folder)
    return recorder.reads


def _key_reader(recorder: Recorder) -> Callable[..., Any]:
    """What stands for `Key.__get__`: nothing is kept, so that every reading is seen."""

    def read_key(key: Key[Any], section: Any, owner: type | None = None) -> Any:
        if section is None:
            return key
        if key.name in section.unusable:
            raise section.unusable[key.name]
        recorder.note(section, key.name)
        value = section.values._values.get(key.name, ABSENT)
        return key.default_for(section) if value is ABSENT else value

    return read_key


def _value_reader(recorder: Recorder) -> Callable[..., Any]:
    """What stands for `KeyValues.get`, by which [net] tells the size of its image."""

    def get_value(values: KeyValues, name: str, default: Any = None) -> Any:
        recorder.reads[recorder.reader].add((NetSection, name))
        return values._values.get(name, default)

    return get_value


def run(case: contract.Case, recorder: Recorder) -> None:
    """The whole way of an example: costs, weights, output, boxes; and where it has a loss, that."""
    graphs._shared_values.cache_clear()
    with recorder.walk(RUN), torch.no_grad():
        graph = case.graph()
        default_preprocess(graph)
        count_costs(graph)
        for node in graph.nodes:
            loadable_tensors(node.section, node.tensors)
        network = Network(graph).eval()
        images = torch.rand(contract.IMAGES, *graph.image)
        raws = network(images)
    with recorder.walk(BOXES), torch.no_grad(), suppress(CfgError):
        network.decode(raws)
        choose_nms(graph, "cfg")
    kinds = {getattr(head.section, "loss_kind", "") for head in graph.heads}
    if kinds and kinds <= LOSSES.keys():
        with recorder.walk(TRAINING):
            learn(network, raws, recorder)


def learn(network: Network, raws: tuple[Tensor, ...], recorder: Recorder) -> None:
    """The augmentation and the losses of the heads: as they are, with all training keys at another value,
    and with each of those that nothing has read yet."""
    graph = network.graph
    if graph.box_heads:
        read_augmentation(graph)
        read_random_sizes(graph)
    else:
        read_classifier_augmentation(graph)
    truth = torch.ones(contract.IMAGES, graph.classes)
    plain = [(head, head.section) for head in graph.heads]
    keys = {name: key for _, section in plain for name, key in section.keys.items() if key.use == TRAINING}
    others = {name: other_value(key) for name, key in keys.items()}
    for values in ({}, others, *({name: value} for name, value in others.items())):
        if len(values) == 1 and {name for _, name in recorder.reads[TRAINING]} >= set(values):
            continue
        for head, section in plain:
            object.__setattr__(head, "section", section.replace_values(**values))
        with suppress(CfgError):
            add_learner(network, count_identities(graph, NOTHING))
            detection_loss(raws, LABELS, network, rules=LossRules(), truth=truth)


def other_value(key: Key[Any]) -> Any:
    """A value that is not the default."""
    if isinstance(key, Choice):
        return key.options[-1]
    return {"counters_per_class": (1, 2, 3)}.get(key.name, 0.3 if not key.default else 0)


def train(folder: Path) -> None:
    """A run up to its first update, every policy of the learning rate, and what drops deltas."""
    data = training.shapes(folder, count=10)
    text = training.darknet_text(NET).replace("[yolo]", "[yolo]\nrandom=1\nresize=1.5")
    said = training.options(folder, data, text=text, epochs=0, batch_size=None, update_batch=None)
    job = prepare_job(said)
    check_gradients(build_state(job, say=len), LossRules())
    net = job.graph.net
    for policy in POLICIES:
        Policy(net.replace_values(policy=policy, steps=(1,), scales=(1.0,)))(20)
    DeltaRejection(net, DeltaHistory(), 10, 10).select(torch.rand(5), values=5)
