"""What learns beside the embeddings of a network, and only in training: the classifier of identities and the
weights of the losses. Their names are those of JDE's checkpoints; networks that are tested or saved for use
have none of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from yolor_cfg.data.types import Dataset, Problem
from yolor_cfg.graph import Graph, Node
from yolor_cfg.model import Network
from yolor_cfg.ops.heads import YoloHead
from yolor_cfg.parallel import all_reduce, this_process
from yolor_cfg.train.losses.terms import TERMS
from yolor_cfg.train.losses.weights import CLASSIFIER, JDE_START, JOINT, OWN_START, PartWeights, weights_name


class Identities(NamedTuple):
    """How many identities are learned, and the numbers that the data set has for them, ascending; None: its
    numbers are taken as they are, as in JDE."""

    total: int
    known: NDArray[np.int64] | None = None

    def number(self, identities: Tensor | None) -> Tensor | None:
        """The identities of targets [T] as numbers from 0 on, -1 where none is known."""
        if identities is None or self.known is None or not len(self.known):
            return identities
        values = identities.numpy()
        places = np.searchsorted(self.known, values).clip(max=len(self.known) - 1)
        return torch.from_numpy(np.where(self.known[places] == values, places, -1))


def embedding_nodes(graph: Graph) -> list[Node]:
    """The heads with embeddings."""
    return [node for node in graph.heads if node.section.has_embedding]


def count_identities(graph: Graph, dataset: Dataset) -> Identities | None:
    """The identities that a network learns; None without embeddings. Raises CfgError if it is to learn fewer
    than the data set has."""
    nodes = embedding_nodes(graph)
    if not nodes:
        return None
    columns = [sample.identities[~sample.crowd] for sample in dataset.samples]
    values = np.unique(np.concatenate([np.zeros(0, np.int64), *columns]))
    known = values[values >= 0]
    if graph.dialect.embeds:
        return Identities(int(known[-1]) + 2 if len(known) else 0)  # nID of JDE: one more than there are
    asked = max(_asked_identities(node, len(known)) for node in nodes)
    return Identities(asked or len(known), known)


def _asked_identities(node: Node, found: int) -> int:
    section = node.section
    asked = int(getattr(section, "identities", 0))
    if 0 < asked < found:
        raise section.error(
            "identities",
            "fewer than the data set has",
            found=str(asked),
            allowed=f"{found} or more, or 0: those of the data set",
        )
    return asked


def identity_notes(dataset: Dataset, identities: Identities | None) -> Dataset:
    """The data set with a note if it has no identities for embeddings to learn."""
    if identities is None or identities.total:
        return dataset
    text = "no identities here: embeddings learn nothing (6 columns a line: class identity cx cy w h)"
    return dataset._replace(problems=(*dataset.problems, Problem(dataset.origin, 0, text, "note")))


def add_learner(network: Network, identities: Identities | None) -> None:
    """Give a network in training what learns beside its embeddings."""
    nodes = embedding_nodes(network.graph)
    if identities is None or not nodes:
        return
    device = next(network.parameters()).device
    for node in nodes:
        start = _find_start(node)
        if start is not None:
            network.module_list[node.index].add_module(
                weights_name(node.index), PartWeights(start).to(device)
            )
    if identities.total and any(_classifies(node) for node in nodes):
        length = vector_length(network, nodes[0])
        for node in nodes:
            if vector_length(network, node) != length:
                message = "the heads share one classifier of identities, so their vectors are equally long"
                raise node.section.error("embedding", message, allowed=str(length))
        network.add_module(CLASSIFIER, nn.Linear(length, identities.total).to(device))


def _find_start(node: Node) -> dict[str, float] | None:
    """The logarithms that the weights of the losses start from; None where the weights are fixed."""
    if node.section.loss_kind == "jde":
        return JDE_START
    return OWN_START if getattr(node.section, "learned_weights", False) else None


def _classifies(node: Node) -> bool:
    return getattr(node.section, "id_loss", "ce") != "triplet"


def vector_length(network: Network, node: Node) -> int:
    """The length of the vectors of a head with embeddings."""
    head = network.module_list[node.index]
    assert isinstance(head, YoloHead)
    return node.shape.channels - head.rules.box_channels


def learner_tensors(network: Network) -> dict[str, nn.Parameter]:
    """The parameters that a network has only in training, by name: of embeddings, of joint training, and the
    weights of its kinds of loss."""
    names = [
        f"module_list.{node.index}.{weights_name(node.index)}." for node in embedding_nodes(network.graph)
    ]
    starts = (f"{CLASSIFIER}.", f"{JOINT}.", f"{TERMS}.", *names)
    return {name: own for name, own in network.named_parameters() if name.startswith(starts)}


def sync_learner(network: Network) -> None:
    """Average the gradients of these parameters over the processes: no forward pass uses them, so that torch
    does not."""
    if this_process().world_size > 1:
        for parameter in learner_tensors(network).values():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = all_reduce(gradient) / this_process().world_size


def describe_identities(identities: Identities | None) -> str:
    """What embeddings learn, in a few words; empty without embeddings."""
    if identities is None:
        return ""
    return f"embeddings learn {identities.total} " + ("identity" if identities.total == 1 else "identities")
