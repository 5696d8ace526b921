"""What is recorded of a network of our golden set, and how two records are compared.

A record is nested dicts and lists of numbers and words, fit for JSON, and by name the arrays kept whole.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from golden_recipe import LABELS, GoldenCase, make_images, make_labels, make_network, state_checksum
from torch import Tensor

from yolor_cfg.count import count_costs
from yolor_cfg.detect.nms import NmsRules, apply_nms, choose_nms
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.model import Network
from yolor_cfg.rewrite.fold import fold
from yolor_cfg.rewrite.to_darknet import to_plain_darknet
from yolor_cfg.train.identities import Identities, add_learner, learner_tensors
from yolor_cfg.train.loss import LossRules, detection_loss
from yolor_cfg.train.losses import LOSSES
from yolor_cfg.weights.darknet import write_weights

SAMPLES, DIGITS = 8, 9
IDENTITIES, TEACHING = 3, 90_000
RELATIVE = ABSOLUTE = 1e-6
SUPPRESSED = "found"
"""Arrays with this name come from float32 and may be off by more."""
SUPPRESSED_ABSOLUTE = 1e-4


class GoldenRecord(NamedTuple):
    """What one case gives."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def record_case(case: GoldenCase) -> GoldenRecord:
    """Everything that is recorded of a case; of a text that its dialect refuses where it does."""
    try:
        network = make_network(case)
    except CfgError as fault:
        return GoldenRecord({"refused": [fault.line, fault.section, fault.key]}, {})
    graph = network.graph
    facts: dict[str, Any] = {"warnings": len(graph.warnings), "notes": len(graph.notes)}
    facts |= {"costs": _record_costs(graph), "weights": _record_weights(network)}
    network.double()
    facts["nodes"] = _record_nodes(case, network)
    if not graph.outputs:  # a loss alone
        return GoldenRecord(facts, {})
    facts["rewritten"] = {
        "folded": _record_rewritten(case, network, lambda: fold(network).network),
        "plain": _record_rewritten(case, network, lambda: to_plain_darknet(network)),
    }
    arrays = _record_heads(case, network) if has_boxes(network) else {}
    kinds = {getattr(node.section, "loss_kind", "") for node in graph.heads}
    of_boxes = not any(node.section.label_kind for node in graph.heads)
    if kinds <= LOSSES.keys() and of_boxes:
        facts["training"] = _record_training(case, network)
    return GoldenRecord(facts, arrays)


def has_boxes(network: Network) -> bool:
    """Whether every head predicts boxes."""
    return all(hasattr(network.module_list[node.index], "decode") for node in network.graph.heads)


def _record_costs(graph: Graph) -> dict[str, Any]:
    costs = count_costs(graph)
    return {
        "parameters": costs.parameters,
        "parameters_folded": costs.parameters_folded,
        "macs": costs.macs,
        "bflops": costs.bflops,
    }


def _record_weights(network: Network) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.weights"
        write_weights(network, path)
        data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {"filled": state_checksum(network), "bytes": len(data), "sha256": digest}


def _record_nodes(case: GoldenCase, network: Network) -> list[dict[str, Any]]:
    """Each node's value; where there is memory, those of the second time step too."""
    nodes = network.graph.nodes
    images = make_images(case, network.graph)
    values = network.trace(images, range(len(nodes)))
    records = [_record_node(node, values[node.index]) for node in nodes]
    if network.states(images):
        values = network.trace(make_images(case, network.graph, step=1), range(len(nodes)))
        records += [_record_node(node, values[node.index]) for node in nodes]
    network.reset()
    return records


def _record_node(node: Node, value: Tensor) -> dict[str, Any]:
    return {"section": node.section.type, "sources": list(node.sources), **summarize(value)}


def summarize(value: Tensor) -> dict[str, Any]:
    """Shape, mean, mean size and some evenly spaced numbers."""
    flat = value.detach().double().contiguous().flatten()
    sample = flat[torch.linspace(0, len(flat) - 1, min(SAMPLES, len(flat))).long()]
    numbers = [flat.mean().item(), flat.abs().mean().item(), *sample.tolist()]
    return {"shape": list(value.shape), "numbers": [shorten(number) for number in numbers]}


def shorten(number: float) -> float:
    """The number with as many digits as are kept."""
    return float(f"{number:.{DIGITS}g}")


def _record_rewritten(case: GoldenCase, network: Network, rewrite: Callable[[], Network]) -> dict[str, Any]:
    """Outputs of the network that `rewrite` makes; where it cannot be rewritten, at which section."""
    try:
        other = rewrite()
    except CfgError as fault:
        return {"refused": [fault.line, fault.section, fault.key]}
    other.double().eval()
    with torch.no_grad():
        outputs = other(make_images(case, network.graph))
    sections = [node.section.type for node in other.graph.nodes]
    costs = count_costs(other.graph)
    return {
        "sections": sections,
        "parameters": costs.parameters,
        "outputs": [summarize(value) for value in outputs],
    }


def _record_heads(case: GoldenCase, network: Network) -> dict[str, np.ndarray]:
    """The raw maps, the decoded boxes and what is left after suppression, all whole."""
    with torch.no_grad():
        raws = network(make_images(case, network.graph))
        network.reset()
        boxes, objectness, scores = predictions = network.decode(raws)
    arrays = {f"head{number}": raw.numpy() for number, raw in enumerate(raws)}
    if network.embeds:
        arrays["embeddings"] = network.embeddings(raws).numpy()
    arrays["boxes"] = torch.cat([boxes, objectness[..., None], scores], dim=-1).numpy()
    graph = network.graph
    size = (graph.image.height or 1, graph.image.width or 1)
    placement = Placement(size, size, (1.0, 1.0), (0.0, 0.0), is_clipped=graph.dialect.is_pytorch)
    kind, beta = choose_nms(graph, "yolor" if graph.dialect.is_pytorch else "cfg")
    rules = NmsRules(kind=kind, beta=beta, multi_label=graph.dialect.is_pytorch)
    found = apply_nms(predictions, [placement] * len(boxes), rules=rules)
    for number, (corners, best, classes) in enumerate(found):
        rows = torch.cat([corners, best[:, None], classes[:, None].float()], dim=1)
        arrays[f"{SUPPRESSED}{number}"] = rows.numpy()
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _record_training(case: GoldenCase, network: Network) -> dict[str, Any]:
    """The loss of a batch in training mode, its parts, and how large its gradients are at each head."""
    network.train()
    raws = [raw.detach().requires_grad_() for raw in network(make_images(case, network.graph))]
    labels = make_labels(case, network.graph)
    who = teach_identities(case, network) if network.embeds else None
    loss = detection_loss(raws, labels, network, rules=LossRules(), identities=who)
    loss.total.backward()
    gradients = [torch.zeros_like(raw) if raw.grad is None else raw.grad for raw in raws]
    names = ("total", "box", "objectness", "classes", *(("identity",) if network.embeds else ()))
    parts = {name: shorten(getattr(loss, name).item()) for name in names}
    return {
        "kinds": sorted({getattr(node.section, "loss_kind", "") for node in network.graph.heads}),
        "loss": parts,
        "matches": [head.matches for head in loss.heads],
        "heads": [summarize(raw) for raw in raws],
        "gradients": [summarize(gradient) for gradient in gradients],
    }


def teach_identities(case: GoldenCase, network: Network) -> Tensor:
    """The identities of the labels, after the network got what learns them, with drawn numbers."""
    add_learner(network, Identities(IDENTITIES))
    network.double()
    with torch.no_grad():
        for salt, tensor in enumerate(learner_tensors(network).values(), TEACHING):
            tensor.copy_(torch.from_numpy(case.draw_numbers(*tensor.shape, salt=salt) - 0.5))
    return torch.arange(LABELS) % IDENTITIES


def find_differences(want: GoldenRecord, got: GoldenRecord) -> Iterator[str]:
    """Where two records differ by more than rounding; nothing where they agree."""
    yield from _compare_values(want.facts, got.facts, "")
    yield from _compare_values(sorted(want.arrays), sorted(got.arrays), "arrays")
    for name in want.arrays.keys() & got.arrays.keys():
        yield from _compare_arrays(name, want.arrays[name], got.arrays[name])


def _compare_values(want: Any, got: Any, where: str) -> Iterator[str]:
    if isinstance(want, dict) and isinstance(got, dict) and want.keys() == got.keys():
        for key in want:
            yield from _compare_values(want[key], got[key], f"{where}/{key}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        yield from _compare_lists(want, got, where)
    elif isinstance(want, float) and isinstance(got, (int, float)):
        if not is_near(got, want):
            yield f"{where}: {got}, not {want}"
    elif want != got:
        yield f"{where}: {got}, not {want}"


def is_near(got: float, want: float) -> bool:
    """Whether two numbers differ by rounding alone; what is no number or endless has to be so in both."""
    if not math.isfinite(want):
        return got == want or (math.isnan(got) and math.isnan(want))
    return abs(got - want) <= ABSOLUTE + RELATIVE * abs(want)


def _compare_lists(want: Sequence[Any], got: Sequence[Any], where: str) -> Iterator[str]:
    for number, (wanted, given) in enumerate(zip(want, got, strict=True)):
        yield from _compare_values(wanted, given, f"{where}/{number}")


def _compare_arrays(name: str, want: np.ndarray, got: np.ndarray) -> Iterator[str]:
    if want.shape != got.shape:
        yield f"{name}: shape {got.shape}, not {want.shape}"
        return
    absolute = SUPPRESSED_ABSOLUTE if name.startswith(SUPPRESSED) else ABSOLUTE
    apart = ~np.isclose(got, want, rtol=RELATIVE, atol=absolute, equal_nan=True)
    if apart.any():
        place = np.unravel_index(int(apart.argmax()), apart.shape)
        where = f"first [{', '.join(map(str, place))}]: {got[place]}, not {want[place]}"
        yield f"{name}: {apart.sum()} of {apart.size} numbers differ, {where}"
