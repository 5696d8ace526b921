"""Warnings about a whole file: what is valid and hardly meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from yolor_cfg.lang.dialect import DIALECTS, Dialect
from yolor_cfg.sections.wiring import Node


def warn_of_oddities(nodes: Sequence[Node], outputs: Collection[int], dialect: Dialect) -> None:
    """Have the sections warn of what the rest of the file makes of them."""
    for node in nodes:
        node.section.check_inputs(*node.inputs)
    _warn_of_foreign_sections(nodes, dialect)
    _warn_of_unread_sections(nodes, outputs)
    _warn_of_last_section(nodes, outputs, dialect)
    _warn_of_class_counts(nodes)
    _warn_of_headless_tasks(nodes, outputs)


def _warn_of_foreign_sections(nodes: Sequence[Node], dialect: Dialect) -> None:
    """Sections that the program the file is said to be for does not have; YOLOR's stops at them anyway."""
    for node in nodes:
        if dialect.is_forgiving and dialect.name not in node.section.dialects:
            own = DIALECTS[node.section.dialects[0]]
            node.section.warn(
                "",
                f"{dialect.program} does not know this section",
                found=f"[{node.section.type}] in the {dialect.name} dialect",
                hint=f"here it runs all the same; dialect={own.name} reads the file as {own.program} does",
            )


def _warn_of_unread_sections(nodes: Sequence[Node], outputs: Collection[int]) -> None:
    """Values that nobody reads, and that are neither given out nor used in other ways."""
    used = set(outputs)
    for node in nodes:
        used.update(node.sources)
        used.update(
            one for one in (node.section.weight_source(), node.section.reference()) if one is not None
        )
    for node in nodes:
        if node.index not in used and not node.section.is_loss:
            node.section.warn(
                "",
                "nothing reads this section",
                hint="name it in `layers` or `from` of a later one, or delete it",
            )


def _warn_of_last_section(nodes: Sequence[Node], outputs: Collection[int], dialect: Dialect) -> None:
    """darkflow takes what the last section says for the network's output, and computes no such layer."""
    for node in nodes[-1:]:
        keeps_values = node.index in outputs and hasattr(node.section, "classes") or node.section.is_loss
        if not dialect.runs_last_section and not keeps_values:
            node.section.warn(
                "",
                f"{dialect.program} never computes the last section; here it runs",
                found=f"[{node.section.type}]",
                hint="end the file with [detection] or [region]",
            )


def _warn_of_class_counts(nodes: Sequence[Node]) -> None:
    heads = [node.section for node in nodes if node.section.is_head and hasattr(node.section, "classes")]
    for head in heads[1:]:
        if head.classes != heads[0].classes and head.task == heads[0].task:
            head.warn(
                "classes",
                "the heads differ in their number of classes",
                found=str(head.classes),
                allowed=f"{heads[0].classes}, as in line {heads[0].line}",
            )


def _warn_of_headless_tasks(nodes: Sequence[Node], outputs: Collection[int]) -> None:
    """Tasks that a section has values or layers for, while every head names others."""
    heads = [node.section for node in nodes if node.index in outputs]
    served = {task for head in heads for task in head.task}
    if not all(head.task for head in heads):
        return
    allowed = ", ".join(sorted(served))
    for node in nodes:
        missing = [task for task in node.section.task if task not in served]
        served.update(missing)
        if missing:
            node.section.warn("task", "no head serves this task", found=", ".join(missing), allowed=allowed)
