"""Figures as C Darknet prints them: of a test those of `detector map` (validate_detector_map in detector.c)
and of `classifier valid` (validate_classifier_single in classifier.c), of weights those of `statistics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from yolor_cfg.errors import escape
from yolor_cfg.evaluate.darknet_map import DarknetScores
from yolor_cfg.evaluate.image_labels import LabelScores
from yolor_cfg.graph import Node
from yolor_cfg.sections import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from yolor_cfg.model import Network

TITLE = "\n calculation mAP (mean average precision)...\n"
TITLES = {"connected": "Connected", "conn": "Connected", "gru": "GRU", "lstm": "LSTM"}
ROLES = {"scale": "Scales", "bias": "Biases", "weight": "Weights"}


def map_text(by: DarknetScores, names: Sequence[str]) -> str:
    """All that `detector map` prints of the figures, with its blanks; not its progress, its list of heads and
    its advice."""
    counts, *heads, threshold, mean = _head_lines(by)
    classes = [_class_line(by, class_id, name) for class_id, name in enumerate(names)]
    return "\n".join([TITLE, counts, *classes, "", *heads, "", threshold, mean])


def map_summary(by: DarknetScores, names: Sequence[str], *, every: bool) -> list[str]:
    """The same lines without blanks around them; those of classes only with `every`."""
    counts, *others = (line.strip() for line in _head_lines(by))
    classes = [_class_line(by, class_id, name).strip() for class_id, name in enumerate(names) if every]
    return [counts, *classes, *others]


def _head_lines(by: DarknetScores) -> list[str]:
    """Counts; precision and recall; true and false positives; how AP is computed; the mean."""
    at = f" for conf_thresh = {by.reported:.2f}"
    tp, fp = int(by.true_positives.sum()), int(by.false_positives.sum())
    precision, recall = _quotient(by.precision, tp + fp), _quotient(by.recall, by.objects)
    f1 = _quotient(by.f1, tp)
    how = f"used {by.points} Recall-points" if by.points else "used Area-Under-Curve for each unique Recall"
    return [
        f" detections_count = {by.detections}, unique_truth_count = {by.objects}  ",
        f"{at}, precision = {precision}, recall = {recall}, F1-score = {f1} ",
        f"{at}, TP = {tp}, FP = {fp}, FN = {by.false_negatives}, average IoU = {by.average_iou * 100:.2f} % ",
        f" IoU threshold = {by.iou * 100:2.0f} %, {how} ",
        f" mean average precision (mAP@{by.iou:.2f}) = {by.map:.6f}, or {by.map * 100:.2f} % ",
    ]


def _quotient(value: float, whole: int) -> str:
    """Two decimals; what C prints of 0 / 0 where there is no whole."""
    return f"{value:.2f}" if whole else "-nan"


def _class_line(by: DarknetScores, class_id: int, name: str) -> str:
    counts = f"(TP = {by.true_positives[class_id]}, FP = {by.false_positives[class_id]})"
    start = f"class_id = {class_id}, name = {escape(name)}"
    return f"{start}, ap = {by.ap[class_id] * 100:.2f}%   \t {counts} "


def top_text(scores: LabelScores) -> str:
    """The last line of `classifier valid`, after all images."""
    return f"{scores.images - 1}: top 1: {scores.top1:f}, top {scores.k}: {scores.top:f}"


def statistics_text(network: Network) -> str:
    """What `statistics` prints: of each connected layer, GRU and LSTM with batch norm the root mean square
    (called MSE), mean and variance of its scales, of its biases, and of its first weights, as many as it has
    outputs; an empty line for each layer."""
    state, lines = network.state_dict(), list[str]()
    for node in network.graph.nodes:
        title = TITLES.get(node.section.type)
        if title and any(spec.role == "scale" for spec in node.tensors):
            lines.append(f"{title} Layer {node.index}")
            for part in dict.fromkeys(map(_part_of, node.tensors)):
                lines += _part_lines(node, part, state=state)
        lines.append("")
    return "\n".join(lines)


def _part_of(spec: TensorSpec) -> str:
    """`input_z` for a matrix of a recurrent section."""
    return spec.name.rpartition(".")[0].rpartition(".")[0]


def _part_lines(node: Node, part: str, *, state: Mapping[str, Tensor]) -> Iterator[str]:
    if part:
        yield part.replace("_", " ").title() if "_" in part else part
    specs = {spec.role: spec for spec in node.tensors if _part_of(spec) == part}
    for role, word in ROLES.items():
        values = state[f"module_list.{node.index}.{specs[role].name}"].double().flatten()
        values = values[: specs["bias"].size]
        root, mean = float((values**2).mean()) ** 0.5, float(values.mean())
        variance = float(values.var(correction=0))
        yield f"{word} MSE: {root:.6f}, Mean: {mean:.6f}, Variance: {variance:.6f}"
