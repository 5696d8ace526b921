"""The document and the chart of `tools/ablation.py`, from the rows of one recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ablation_recipe import (
    ADJUSTABLE,
    BASELINE,
    IMPLICIT,
    NETWORK,
    RECIPE,
    VARIANTS,
    AblationRecipe,
    ablation_graph,
    fingerprints,
    recipe_dict,
    variant_label,
)
from ablation_table import (
    BETTER,
    NOISE,
    SCORES,
    WORSE,
    RunRow,
    SeedMean,
    compute_mean,
    difference,
    means_by_epoch,
    score_percent,
)

from yolor_cfg.count import count_by_convention
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.networks.paper import TABLES
from yolor_cfg.report.figures import (
    BLUE,
    RED,
    Chart,
    add_legend,
    can_draw,
    mark_empty,
    number_axis,
    render_chart,
)
from yolor_cfg.runs import save_image, save_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

TITLES = {
    "table1": "Table 1: feature alignment (iFA)",
    "table2": "Table 2: prediction refinement (iPR)",
    "table4": "Table 4: operators",
    "table5": "Table 5: operators, starred",
    "table6": "Table 6: models of z (iFA: vector, wiFA: neural network, icFA: matrix factorization)",
}
WIDTH = 110
COLUMNS = ("model", "n", "AP", "AP50", "AP75", "APS", "APM", "APL", "AP − baseline", "verdict")
LINES = {BASELINE: RED, IMPLICIT: BLUE}
"""The colours of the two networks in the chart."""


class AblationResults(NamedTuple):
    """The rows of each variant run with this recipe, and how many rows have another recipe."""

    recipe: AblationRecipe
    rows: dict[str, list[RunRow]]
    other_count: int

    @property
    def baseline_rows(self) -> list[RunRow]:
        """The rows of the baseline."""
        return self.rows.get(BASELINE, [])

    @property
    def differences(self) -> dict[str, SeedMean]:
        """AP - baseline of every other variant that was run."""
        return {
            key: difference(rows, self.baseline_rows) for key, rows in self.rows.items() if key != BASELINE
        }


def select_results(rows: Sequence[RunRow], recipe: AblationRecipe) -> AblationResults:
    """The rows sorted by variant, in the order of the paper, and by seed."""
    prints = fingerprints({row.variant for row in rows} & VARIANTS.keys(), recipe)
    ours = [row for row in rows if prints.get(row.variant) == row.fingerprint]
    sorted_rows = {variant: sorted(row for row in ours if row.variant == variant) for variant in VARIANTS}
    return AblationResults(
        recipe, {key: some for key, some in sorted_rows.items() if some}, len(rows) - len(ours)
    )


def save_report(results: AblationResults, folder: Path) -> None:
    """ablation.md, and ablation.png where there is matplotlib."""
    save_text(folder / "ablation.md", "\n".join(report_lines(results)) + "\n")
    if can_draw():
        save_image(folder / "ablation.png", render_chart(epochs_chart(results)))


def report_lines(results: AblationResults) -> Iterator[str]:
    """The lines of the document."""
    yield from ("# What implicit knowledge does at small scale", "")
    yield "Written by `tools/ablation.py` from `ablation.csv`; the command that adds what is missing there:"
    yield from ("", f"    {report_command(results.recipe)}", "")
    yield _method_text(results.recipe)
    yield from ("", "## What came out", "", summary(results))
    for table, title in TITLES.items():
        yield from _paper_table(title, table, results)
    yield from _costs(results)
    yield from ("", "## AP by epoch, as Figure 11", "", "![AP by epoch](ablation.png)", "")
    yield "Thick: the mean over the seeds; thin: single runs."
    yield from _remarks(results)


def report_command(recipe: AblationRecipe) -> str:
    """The command that makes runs of this recipe, with the options that are not the defaults."""
    words = {
        name: getattr(recipe, name) for name in ADJUSTABLE if getattr(recipe, name) != getattr(RECIPE, name)
    }
    options = [f"--{name.replace('_', '-')} {value}" for name, value in words.items()]
    return " ".join(["python tools/ablation.py", *options])


def _method_text(recipe: AblationRecipe) -> str:
    """What is compared, and how, with this recipe."""
    side = f"{recipe.size} x {recipe.size}"
    return "\n\n".join(
        fill(text, WIDTH)
        for text in (
            f"The network is {NETWORK} without implicit knowledge (baseline), and with what a row of the"
            f' YOLOR paper\'s ablations says, at {side} pixels. It learns the drawn data set "shapes" from'
            f" nothing: {recipe.train_pictures} images, {recipe.epochs} epochs. Tested are the averaged"
            f" weights after the last epoch on {recipe.test_pictures} other images; no epoch is chosen by"
            f" its AP. APS, APM and APL are by COCO's areas in images of {recipe.picture} pixels.",
            "Figures are percent, mean ± standard deviation over n seeds. Runs of one seed have the same"
            " images in the same order, the same augmentation, and the same first weights up to the neck."
            " So `AP − baseline` is the mean of the differences between runs of one seed, ± its standard"
            f" error. The verdict is `{BETTER}` or `{WORSE}` where 0 lies outside the 95 % interval of"
            f" Student's t for these n differences (4.3 standard errors for n = 3), else"
            f" `{NOISE}`. Where nothing has any effect, one verdict in twenty says that something has.",
        )
    )


def summary(results: AblationResults) -> str:
    """How many variants are better, worse or neither, and the one with the highest mean."""
    found = results.differences
    judged = {key: mean for key, mean in found.items() if mean.seeds > 1}
    if not judged:
        return "Too few runs are there to compare anything."
    verdicts = [mean.verdict for mean in judged.values()]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in (BETTER, WORSE, NOISE))
    best = max(judged, key=lambda key: judged[key].mean)
    return fill(
        f"Of {len(judged)} variants against the baseline: {counts}. The highest mean difference is"
        f" that of {variant_label(best)}: {difference_text(judged[best])}.",
        WIDTH,
    )


def _paper_table(title: str, table: str, results: AblationResults) -> Iterator[str]:
    """A table of the paper with the rows that were run; nothing if only the baseline was."""
    places = [
        (variant, place)
        for place in (f"{table}/{row}" for row in TABLES[table])
        for variant, all_places in VARIANTS.items()
        if place in all_places and variant in results.rows
    ]
    if any(variant != BASELINE for variant, _ in places):
        yield from ("", f"## {title}", "", *_header(COLUMNS))
        for variant, place in places:
            yield _table_line(_score_cells(variant, variant_label(place), results))


def _score_cells(variant: str, label: str, results: AblationResults) -> Iterator[str]:
    rows = results.rows[variant]
    yield from (label, str(len(rows)))
    yield from (mean_text(compute_mean([score_percent(row, name) for row in rows])) for name in SCORES)
    yield from _baseline_cells(variant, results)


def _baseline_cells(variant: str, results: AblationResults) -> tuple[str, str]:
    if variant == BASELINE:
        return "", ""
    found = results.differences[variant]
    return difference_text(found), found.verdict


def _costs(results: AblationResults) -> Iterator[str]:
    """Table 7: what implicit knowledge costs in every variant that was run."""
    yield from ("", "## Table 7: with and without implicit knowledge", "")
    yield "MFLOPs are counted as the paper counts them."
    yield from ("", *_header(("model", "AP", "AP − baseline", "verdict", "parameters", "MFLOPs")))
    variants = dict.fromkeys((BASELINE, *results.rows))
    costs = {
        variant: count_by_convention(ablation_graph(variant, results.recipe), "paper") for variant in variants
    }
    base = costs[BASELINE]
    for variant, rows in results.rows.items():
        ours = costs[variant]
        yield _table_line(
            (
                variant_label(variant),
                mean_text(compute_mean([score_percent(row, "AP") for row in rows])),
                *_baseline_cells(variant, results),
                f"{rows[0].parameters} ({rows[0].parameters / base.parameters - 1:+.3%})",
                f"{ours.mflops:.4f} ({ours.mflops / base.mflops - 1:+.3%})",
            )
        )


def _remarks(results: AblationResults) -> Iterator[str]:
    """How long runs took, what was not run, and the recipe."""
    seconds = compute_mean([row.seconds for rows in results.rows.values() for row in rows])
    missing = [f"`{variant}`" for variant in VARIANTS if variant not in results.rows]
    yield from ("", "## Runs", "")
    each = f", {seconds.mean:.0f} s each by the clock with one thread" if seconds.seeds else ""
    yield f"{seconds.seeds} runs{each}."
    if missing:
        yield f"Not run: {', '.join(missing)}."
    if results.other_count:
        yield f"{results.other_count} rows of the file have another recipe and are counted nowhere here."
    yield from ("", "The recipe:", "", *_header(("", "")))
    for name, value in recipe_dict(results.recipe).items():
        told = ", ".join(f"{key} {number}" for key, number in value.items()) if name == "hyp" else value
        yield _table_line((name, str(told)))


def mean_text(mean: SeedMean) -> str:
    """`47.8 ± 0.3`; a dash where there is no figure."""
    if not mean.seeds:
        return "–"
    return f"{mean.mean:.1f}" + ("" if math.isnan(mean.std) else f" ± {mean.std:.1f}")


def difference_text(mean: SeedMean) -> str:
    """`+0.42 ± 0.15`: the difference and its standard error."""
    if not mean.seeds:
        return "–"
    return f"{mean.mean:+.2f}" + ("" if math.isnan(mean.error) else f" ± {mean.error:.2f}")


def _header(names: Sequence[str]) -> tuple[str, str]:
    return _table_line(names), _table_line(["---"] * len(names))


def _table_line(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def epochs_chart(results: AblationResults) -> Chart:
    """AP by epoch with and without implicit knowledge: thin lines for runs, thick ones for their means."""
    return Chart(partial(_draw_epochs, results=results))


def _draw_epochs(figure: Figure, *, results: AblationResults) -> None:
    axes = figure.subplots()
    present = [(key, results.rows[key]) for key in LINES if key in results.rows]
    means = [_draw_variant(axes, rows, LINES[key]) for key, rows in present]
    add_legend(figure, means, [f"{variant_label(key)}, n = {len(rows)}" for key, rows in present])
    if not present:
        mark_empty(axes, "no runs yet")
    axes.set(title="AP on held-out images", xlabel="epoch", ylabel="AP in %")
    axes.set_xlim(0, results.recipe.epochs)
    axes.set_ylim(bottom=0)
    number_axis(axes.xaxis)
    axes.grid(True)


def _draw_variant(axes: Axes, rows: Sequence[RunRow], ink: str) -> Line2D:
    """The runs, and their mean, which is returned."""
    for row in rows:
        axes.plot(*_mean_curve([row]), color=ink, lw=0.8, alpha=0.4)
    return axes.plot(*_mean_curve(rows), color=ink, lw=2.5)[0]


def _mean_curve(rows: Sequence[RunRow]) -> tuple[Doubles, Doubles]:
    """Epochs, and the mean AP after each."""
    x, y = np.array(means_by_epoch(rows), np.float64).reshape(-1, 2).T
    return x, y
