"""How a run was made: its command, options, hyperparameters, network, software and hardware, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yolor_cfg.errors import CfgError
from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.markup import (
    PagePart,
    fold_content,
    format_seconds,
    paragraph,
    write_table,
)
from yolor_cfg.report.run.read import RunFiles, object_of
from yolor_cfg.report.run.training import show_told
from yolor_cfg.runs import list_objects

MOST_CFG = 400_000
"""Characters of a cfg that a page shows."""
SEED = "seed"


def list_details(run: RunFiles) -> Iterator[PagePart]:
    """All parts, in their order."""
    yield PagePart("Command", lambda: show_commands(run))
    yield PagePart("Options", lambda: show_options(run))
    yield PagePart("Hyperparameters", lambda: _show_hyperparameters(run))
    yield PagePart("Network", lambda: _show_network(run))
    yield PagePart("Environment", lambda: show_environment(run))
    yield PagePart("Warnings and notes", lambda: show_told(run))


def show_commands(run: RunFiles) -> str:
    """Each call of the command, with when it began and how long it took."""
    folder = run.environment.get("folder") or run.record.get("folder")
    parts = [paragraph(f"Called in {folder}", "note")] if folder else []
    for session in run.sessions:
        if session.get("command"):
            copy = wrap("button", "Copy", type="button", class_="copy")
            parts.append(wrap("div", copy + wrap("pre", plain(session["command"])), class_="command"))
        parts.append(paragraph(describe_times(session), "note"))
    return "".join(parts)


def describe_times(session: dict[str, Any]) -> str:
    """When a call began, how long it took, how it ended."""
    begun = str(session.get("begun") or "").replace("T", " ").replace("+00:00", " UTC")
    parts = [begun] if begun else []
    if session.get("seconds"):
        parts.append(f"{format_seconds(float(session['seconds']))}")
    parts += [f"from epoch {session['first_epoch']} on"] if session.get("first_epoch", 1) != 1 else []
    parts += [str(session["ending"])] if session.get("ending") else []
    return ", ".join(parts)


def given_options(run: RunFiles) -> dict[str, Any]:
    """The options that are not their default."""
    if run.kind == "test":
        listed = object_of(run.record.get("options"))
        return {name: one.get("value") for name, one in listed.items() if object_of(one).get("given")}
    given = run.record.get("given")
    return {name: run.options[name] for name in given if name in run.options} if given else run.options


def show_options(run: RunFiles) -> str:
    """The options that differ from their defaults, and all of them behind a title."""
    given = given_options(run)
    every = fold_content("all options", write_table(("option", "value"), _option_rows(run.options)))
    differing = write_table(("differs from its default", "value"), _option_rows(given))
    return differing + every if run.options else ""


def _option_rows(options: dict[str, Any]) -> list[list[str]]:
    return [[name.replace("_", "-"), format_option(value)] for name, value in options.items()]


def format_option(value: Any) -> str:
    """A value as one would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _show_hyperparameters(run: RunFiles) -> str:
    """Recipe, optimizer, and the hyperparameters with their defaults."""
    if not run.record.get("recipe"):
        return ""
    hyp, usual = object_of(run.record.get("hyp")), object_of(run.record.get("hyp_defaults"))
    rows = {name: _hyp_row(name, value, usual.get(name)) for name, value in hyp.items()}
    header = ("hyperparameter", "value", "default")
    other = [row for name, row in rows.items() if hyp[name] != usual.get(name)]
    same = paragraph("All hyperparameters are their defaults.", "note")
    changed = write_table(header, other) if other else same
    listed = changed + fold_content("all hyperparameters", write_table(header, rows.values())) if rows else ""
    return wrap("div", wrap("div", _write_plan(run)) + wrap("div", listed), class_="columns")


def _write_plan(run: RunFiles) -> str:
    """The recipe, its batches and its optimizer."""
    facts = {"recipe": run.record.get("recipe")}
    for kind in ("batch", "optimizer"):
        facts |= {f"{kind}: {key}": value for key, value in object_of(run.record.get(kind)).items()}
    return write_table(("recipe", ""), [[key, format_option(value)] for key, value in facts.items()])


def _hyp_row(name: str, value: Any, usual: Any) -> list[str]:
    return [name, f"{value:g}", "–" if usual is None else f"{usual:g}"]


def _show_network(run: RunFiles) -> str:
    """The keys of [net] that the cfg gives, and its whole text."""
    network = object_of(run.record.get("network"))
    path = network.get("path") or run.environment.get("cfg") or run.options.get("cfg")
    parts = [paragraph(str(path))] if path else []
    if run.cfg:
        parts.append(_show_net(run.cfg))
        whole = run.cfg if len(run.cfg) <= MOST_CFG else run.cfg[:MOST_CFG] + "\n... (cut here)"
        parts.append(fold_content(f"the cfg, {len(run.cfg.splitlines())} lines", wrap("pre", plain(whole))))
    return "".join(parts)


def _show_net(cfg: str) -> str:
    """The keys that [net] gives a value other than the default."""
    from yolor_cfg.graph import draft_graph
    from yolor_cfg.lang.syntax import parse
    from yolor_cfg.sections.manual import explain_keys, format_value

    try:
        keys = list(explain_keys(draft_graph(parse(cfg, "model.cfg")).net))
    except CfgError as fault:
        return paragraph(f"This cfg cannot be read: {fault}", "bad")
    rows = [(one.manual.name, format_value(one.value), one.manual.default) for one in keys if one.line]
    changed = [row for row in rows if row[1] != row[2]]
    return write_table(("key of [net]", "value", "default"), changed) if changed else ""


def show_environment(run: RunFiles) -> str:
    """Software and hardware, and the seed."""
    found = {**run.environment, **({SEED: run.options[SEED]} if SEED in run.options else {})}
    rows = [[name, format_option(value)] for name, value in found.items() if value != ""]
    return write_table(("", "value"), rows) if rows else ""


def list_problems(runs: Sequence[RunFiles]) -> list[str]:
    """What could not be read of the runs, each line with the name of its run."""
    return [f"{run.name}: {problem}" for run in runs for problem in run.problems]


def list_numbers(run: RunFiles) -> list[dict[str, Any]]:
    """The figures of each data set, as in metrics.json."""
    return [object_of(test.get("metrics")) for test in list_objects(run.tests)]
