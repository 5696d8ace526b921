"""How a run was made: its command, options, hyperparameters, network, software and hardware, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yolor_cfg.errors import CfgError
from yolor_cfg.report.run.markup import (
    Cell,
    Section,
    folded,
    format_seconds,
    paragraph,
    plain,
    table,
    tag,
    words,
)
from yolor_cfg.report.run.read import Run, list_objects, object_of
from yolor_cfg.report.run.training import show_told

MOST_CFG = 400_000
"""Characters of a cfg that a page shows."""
SEED = "seed"


def detail_sections(run: Run) -> Iterator[Section]:
    """All parts, in their order."""
    yield Section("Command", lambda: show_commands(run))
    yield Section("Options", lambda: show_options(run))
    yield Section("Hyperparameters", lambda: _show_hyperparameters(run))
    yield Section("Network", lambda: _show_network(run))
    yield Section("Environment", lambda: show_environment(run))
    yield Section("Warnings and notes", lambda: show_told(run))


def show_commands(run: Run) -> str:
    """Each call of the command, with when it began and how long it took."""
    folder = run.environment.get("folder") or run.record.get("folder")
    parts = [paragraph(f"Called in {folder}", "note")] if folder else []
    for session in run.sessions:
        if session.get("command"):
            copy = tag("button", "Copy", type="button", class_="copy")
            parts.append(tag("div", copy + tag("pre", plain(session["command"])), class_="command"))
        parts.append(paragraph(describe_times(session), "note"))
    return "".join(parts)


def describe_times(session: dict[str, Any]) -> str:
    """When a call began, how long it took, how it ended."""
    parts = [f"begun {session['begun']} (UTC)"] if session.get("begun") else []
    if session.get("seconds"):
        parts.append(f"{format_seconds(float(session['seconds']))}")
    parts += [f"from epoch {session['first_epoch']} on"] if session.get("first_epoch", 1) != 1 else []
    parts += [str(session["ending"])] if session.get("ending") else []
    return ", ".join(parts)


def given_options(run: Run) -> dict[str, Any]:
    """The options that are not their default."""
    if run.kind == "test":
        listed = object_of(run.record.get("options"))
        return {name: one.get("value") for name, one in listed.items() if object_of(one).get("given")}
    given = run.record.get("given")
    return {name: run.options[name] for name in given if name in run.options} if given else run.options


def show_options(run: Run) -> str:
    """The options that differ from their defaults, and all of them behind a title."""
    given = given_options(run)
    every = folded("all options", table(("option", "value"), _option_rows(run.options)))
    return table(("differs from its default", "value"), _option_rows(given)) + every if run.options else ""


def _option_rows(options: dict[str, Any]) -> list[list[Cell]]:
    return [[words(name.replace("_", "-")), words(format_option(value))] for name, value in options.items()]


def format_option(value: Any) -> str:
    """A value as one would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _show_hyperparameters(run: Run) -> str:
    """Recipe, optimizer, and the hyperparameters with their defaults."""
    hyp, usual = object_of(run.record.get("hyp")), object_of(run.record.get("hyp_defaults"))
    optimizer, batch = object_of(run.record.get("optimizer")), object_of(run.record.get("batch"))
    facts = {"recipe": run.record.get("recipe"), **{f"batch: {key}": value for key, value in batch.items()}}
    facts |= {f"optimizer: {key}": value for key, value in optimizer.items()}
    rows = [_hyp_row(name, value, usual.get(name)) for name, value in hyp.items()]
    other = [row for row, name in zip(rows, hyp, strict=True) if hyp[name] != usual.get(name)]
    header = ("hyperparameter", "value", "default")
    changed = table(header, other) if other else paragraph("All hyperparameters are their defaults.", "note")
    plan = table(("recipe", ""), [[words(key), words(format_option(value))] for key, value in facts.items()])
    listed = changed + folded("all hyperparameters", table(header, rows)) if rows else ""
    return tag("div", tag("div", plan) + tag("div", listed), class_="columns") if facts["recipe"] else ""


def _hyp_row(name: str, value: Any, usual: Any) -> list[Cell]:
    return [words(name), words(f"{value:g}"), words("–" if usual is None else f"{usual:g}")]


def _show_network(run: Run) -> str:
    """The keys of [net] that the cfg gives, and its whole text."""
    network = object_of(run.record.get("network"))
    path = network.get("path") or run.environment.get("cfg") or run.options.get("cfg")
    parts = [paragraph(str(path))] if path else []
    if run.cfg:
        rows = [[words(cell) for cell in row] for row in net_keys(run.cfg)]
        parts.append(table(("key of [net]", "value", "default"), rows) if rows else "")
        whole = run.cfg if len(run.cfg) <= MOST_CFG else run.cfg[:MOST_CFG] + "\n... (cut here)"
        parts.append(folded(f"the cfg, {len(run.cfg.splitlines())} lines", tag("pre", plain(whole))))
    return "".join(parts)


def net_keys(cfg: str) -> Iterator[tuple[str, str, str]]:
    """The keys that [net] gives a value other than the default: key, value, default."""
    from yolor_cfg.graph import draft_graph
    from yolor_cfg.lang.syntax import parse
    from yolor_cfg.sections.manual import explain_keys, format_value

    try:
        net = draft_graph(parse(cfg, "model.cfg")).net
    except CfgError:
        return
    for one in explain_keys(net):
        value = format_value(one.value)
        if one.line and value != one.manual.default:
            yield one.manual.name, value, one.manual.default


def show_environment(run: Run) -> str:
    """Software and hardware, and the seed."""
    found = {**run.environment, **({SEED: run.options[SEED]} if SEED in run.options else {})}
    rows = [[words(name), words(format_option(value))] for name, value in found.items() if value != ""]
    return table(("", "value"), rows) if rows else ""


def unread(runs: Sequence[Run]) -> list[str]:
    """What could not be read of the runs, each line with the name of its run."""
    return [f"{run.name}: {problem}" for run in runs for problem in run.problems]


def list_numbers(run: Run) -> list[dict[str, Any]]:
    """The figures of each data set, as in metrics.json."""
    return [object_of(test.get("metrics")) for test in list_objects(run.tests)]
