"""`yolor bench`: how fast each engine runs a network here, how much memory it takes, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.arguments import ENGINE_NAMES, MOST_IN_BATCH, PRECISION_NAMES
from yolor_cfg.cli.networks import name_classes
from yolor_cfg.cli.options import (
    CountParam,
    TextParam,
    data_option,
    device_option,
    dialect_option,
    echo,
    format_columns,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    size_option,
    task_option,
)
from yolor_cfg.cli.plotting import check_plot, save_plot
from yolor_cfg.cli.scoring import find_test_data, open_test_data
from yolor_cfg.errors import MissingExtra, YolorError
from yolor_cfg.export.facts import is_exported

if TYPE_CHECKING:
    from yolor_cfg.engines.race import Contestant, Result

    Figures = dict[Contestant, tuple[str, float]]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
HEADERS = ("engine", "batch", "ms", "quartiles", "images/s", "speedup", "MiB", "difference")
EXAMPLES = """\b
Examples:
  yolor bench yolov4-tiny.cfg yolov4-tiny.weights
  yolor bench yolor_csp.cfg yolor_p6.cfg --engine torch --engine openvino --batch 1,8
  yolor bench runs/train/exp/weights/best.pt --data cells.yaml --plot speed.png"""


class BatchListParam(TextParam):
    """`1,8,32`: numbers of images."""

    name = "list"

    def parse(self, text: str) -> tuple[int, ...]:
        """The numbers, each once, smallest first."""
        count = CountParam(MOST_IN_BATCH)
        return tuple(sorted({int(str(count.parse(word.strip()))) for word in text.split(",")}))


def _choices(name: str, names: Sequence[str], text: str) -> Decorator:
    kind = click.Choice([one for one in names if one != "auto"])
    return click.option(f"--{name}", f"{name}s", type=kind, multiple=True, help=text)


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="CFG... [WEIGHTS]")
@_choices("engine", ENGINE_NAMES, "Only this engine; may be given several times. Default: all installed.")
@_choices(
    "precision",
    PRECISION_NAMES,
    "Only this precision; may be given several times. Default: fp32, and bf16 where the device has it.",
)
@click.option(
    "--batch",
    "--batch-size",
    "batches",
    type=BatchListParam(),
    default="1,8,32",
    show_default=True,
    metavar="N,...",
    help="Images per batch.",
)
@click.option("--turns", type=CountParam(1000), default=9, show_default=True, help="Timed runs of each.")
@size_option
@data_option
@device_option
@dialect_option
@task_option
@json_option
@click.option("--plot", type=click.Path(), metavar="FILE", help="Draw images per second as bars.")
@click.option("--force", is_flag=True, help="Overwrite the file of --plot.")
def bench(paths: tuple[str, ...], **options: Any) -> None:
    """Run each network CFG, with its WEIGHTS behind it or random ones, in all engines that are installed.

    Every engine has a process of its own; they take turns, so that a busy machine is as hard on one as on the
    other. The first line, torch without rewrites, is the network as it is written: `speedup` and
    `difference` (the largest of a raw map, relative to max(1, |x|)) are against it. MiB is the peak of the
    process up to that batch. With --data the AP of each engine is measured too, of a classifier top-1 or mAP.
    """
    check_plot(options["plot"])
    if options["data"]:
        find_test_data(options["data"])  # what is wrong with it is told before the race
    from yolor_cfg.engines.race import race

    results: list[Result] = []
    pairs = pair_paths(paths)
    for pair in pairs:
        _check_task(*pair, options)
    for cfg, weights in pairs:
        contestants = _find_contestants(cfg, weights, options)
        results += race(contestants, options["batches"], turns=options["turns"], tell=_report)
    scores = _score_all(results, options) if options["data"] else {}
    if options["as_json"]:
        print_json([_to_dict(one, scores) for one in results])
    else:
        _print_tables(results, scores)
    if options["plot"]:
        save_plot(_make_chart(results), options["plot"], force=options["force"])


def pair_paths(paths: Sequence[str]) -> list[tuple[str, str | None]]:
    """Each cfg, or checkpoint that holds one, with the weights directly behind it."""
    pairs: list[tuple[str, str | None]] = []
    for path in paths:
        if is_exported(path):
            raise click.UsageError(f"{path} is an exported file: give the cfg, and its weights behind it")
        is_cfg = path.lower().endswith(".cfg")
        if pairs and not is_cfg and pairs[-1][1] is None and pairs[-1][0].lower().endswith(".cfg"):
            pairs[-1] = pairs[-1][0], path
        else:
            pairs.append((path, None))
    return pairs


def _check_task(cfg: str, weights: str | None, options: dict[str, Any]) -> None:
    """Raise what is wrong with the task; without one say which runs, if there are several."""
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network, read_graph
    from yolor_cfg.weights.task_choice import task_note

    reading = ReadOptions(options["dialect"], options["size"])
    if options["task"] is not None:
        open_network(cfg, weights, reading=reading, task=options["task"])
        return
    with suppress(YolorError):  # the race tells what is wrong
        report_warnings((), task_note(read_graph(cfg, reading)))


def _report(text: str) -> None:
    print_stderr(text, "cyan")


def _find_contestants(cfg: str, weights: str | None, options: dict[str, Any]) -> list[Contestant]:
    """The network as it is written, then every engine in every precision that it has."""
    from yolor_cfg.engines.base import EngineSettings
    from yolor_cfg.engines.choice import ENGINES, has_bf16, installed_engines, is_installed
    from yolor_cfg.engines.race import Contestant
    from yolor_cfg.ops.devices import find_device

    device = find_device(options["device"])
    for name in options["engines"]:
        if not is_installed(name) and ENGINES[name].extra:
            raise MissingExtra(ENGINES[name].extra)
    engines = options["engines"] or installed_engines(device.type)
    precisions = options["precisions"] or ("fp32", *["bf16"] * has_bf16(device))
    asked = [EngineSettings("torch", "fp32", ("all",))]
    pairs = product(engines, precisions)
    asked += [EngineSettings(*pair) for pair in pairs if pair[1] in ENGINES[pair[0]].precisions]
    more = (options["dialect"], options["size"], options["device"], options.get("task"))
    return [Contestant(cfg, weights, settings, *more) for settings in asked]


def _score_all(results: Sequence[Result], options: dict[str, Any]) -> Figures:
    """The main figure of each engine that ran, with its name."""
    ran = dict.fromkeys(one.contestant for one in results if not one.failed)
    return {contestant: _score(contestant, options["data"]) for contestant in ran}


def _score(contestant: Contestant, data: str) -> tuple[str, float]:
    """COCO's AP, of a classifier top-1 or mAP, as `yolor test` prints it."""
    from yolor_cfg.engines.choice import choose_engine
    from yolor_cfg.evaluate.run import collect_detections, main_figure
    from yolor_cfg.evaluate.scores import main_word
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network

    _report(f"{contestant.label}: scores")
    reading = ReadOptions(contestant.dialect, contestant.size)
    opened = open_network(
        contestant.cfg,
        contestant.weights,
        reading=reading,
        device=contestant.device,
        task=contestant.task,
    )
    opened = name_classes(opened, (contestant.weights, contestant.cfg))
    dataset = open_test_data(data, opened)
    engine = choose_engine(opened.network, contestant.settings)
    collected = collect_detections(opened.network, dataset, engine=engine)
    assert collected is not None
    graph = opened.network.graph
    return main_word(graph), main_figure(graph, dataset, collected)


def _find_first(results: Sequence[Result], one: Result) -> Result:
    """The network as it is written, with the same batch."""
    same = (one.contestant.cfg, one.contestant.weights, one.batch)
    return next(
        other for other in results if (other.contestant.cfg, other.contestant.weights, other.batch) == same
    )


def _print_tables(results: Sequence[Result], scores: Figures) -> None:
    for cfg in dict.fromkeys(one.contestant.cfg for one in results):
        own = [one for one in results if one.contestant.cfg == cfg]
        words = dict.fromkeys(scores[one.contestant][0] for one in own if one.contestant in scores)
        headers = [*HEADERS, *words]
        rows = [_format_row(one, _find_first(own, one), scores) for one in own if not one.failed]
        echo(cfg)
        for line in format_columns([headers, *rows], words=(0,)):
            echo(line)
        for one in own:
            if one.failed:
                echo(f"{one.contestant.label}, batch {one.batch}: {one.failed}")
        echo()


def _format_row(one: Result, first: Result, scores: Figures) -> list[str]:
    speedup = f"{first.median_ms / one.median_ms:.2f}" if first.median_ms else ""
    cells = [
        one.contestant.label,
        str(one.batch),
        f"{one.median_ms:.1f}",
        f"{one.low_ms:.1f}..{one.high_ms:.1f}",
        f"{one.images_per_second:.1f}",
        speedup,
        f"{one.peak_mib:.0f}",
        f"{one.difference:.1e}",
    ]
    return cells + ([f"{scores[one.contestant][1]:.4f}"] if scores else [])


def _to_dict(one: Result, scores: Figures) -> dict[str, Any]:
    settings = one.contestant.settings
    found: dict[str, Any] = {
        "cfg": one.contestant.cfg,
        "weights": one.contestant.weights,
        **settings._asdict(),
        **({} if one.contestant.task is None else {"task": one.contestant.task}),
        "batch": one.batch,
    }
    if one.failed:
        return {**found, "failed": one.failed}
    numbers = ("median_ms", "low_ms", "high_ms", "images_per_second", "peak_mib", "difference")
    found |= {name: getattr(one, name) for name in numbers}
    return found | dict([scores[one.contestant]] if scores else [])


def _make_chart(results: Sequence[Result]) -> Any:
    from yolor_cfg.report.speed import speed_chart

    ran = [one for one in results if not one.failed]
    labels = [f"{one.contestant.label}, batch {one.batch}" for one in ran]
    several = len({one.contestant.cfg for one in ran}) > 1
    names = [f"{one.contestant.cfg}: " if several else "" for one in ran]
    bars = [
        (name + label, one.images_per_second) for name, label, one in zip(names, labels, ran, strict=True)
    ]
    return speed_chart(bars)
