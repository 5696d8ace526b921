"""The ablations at small scale: what defines a run, its row, the arithmetic of the tables, a real run."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import ablation
import ablation_recipe
import numpy as np
import pytest
import torch
from ablation_recipe import (
    BASELINE,
    IMPLICIT,
    RECIPE,
    VARIANTS,
    AblationRun,
    ablation_graph,
    cfg_text,
    fingerprint,
)
from ablation_report import epochs_chart, report_lines, select_results
from ablation_table import (
    HEADER,
    T95,
    RunRow,
    SeedMean,
    append_row,
    compute_mean,
    difference,
    means_by_epoch,
    read_rows,
)
from click.testing import CliRunner
from matplotlib.figure import Figure

from yolor_cfg.count import count_costs
from yolor_cfg.errors import DataError
from yolor_cfg.model import Network
from yolor_cfg.report.figures import render_chart
from yolor_cfg.train.setup import prepare_job

SMALL = RECIPE._replace(
    train_pictures=8,
    test_pictures=4,
    picture=64,
    size=64,
    epochs=1,
    batch=4,
    anchors="8,8, 10,10, 12,12, 14,14, 16,16, 18,18, 20,20, 24,24, 28,28",
)
CHANGED = {
    "train_pictures": 601,
    "test_pictures": 201,
    "picture": 321,
    "data_seed": 1,
    "size": 160,
    "epochs": 25,
    "anchors": RECIPE.anchors.replace("48,48", "48,50"),
    "batch": 17,
    "update_batch": 32,
    "val_every": 3,
    "objects": "mixed",
    "optimizer": "sgd",
    "precision": "bf16",
    "hyp": {**RECIPE.hyp, "lr0": 0.5},
}


def row_of(variant=BASELINE, seed=0, *, ap=0.25, recipe=RECIPE, curve=None, **more):
    """A row with plain figures; `curve` are the APs of the last epochs."""
    known = (ap,) if curve is None else curve
    epochs = (math.nan,) * (recipe.epochs - len(known)) + tuple(known)
    row = RunRow(
        variant,
        seed,
        fingerprint(variant, recipe),
        recipe.epochs,
        ap,
        0.5,
        0.25,
        0.125,
        0.375,
        0.5,
        400_000,
        100.0,
        epochs,
    )
    return row._replace(**more)


def rows_of(variant, aps):
    return [row_of(variant, seed, ap=ap) for seed, ap in enumerate(aps)]


def script(text):
    """A process in place of a run."""
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def task_of(variant=BASELINE, seed=0, *, recipe=RECIPE, folder="", data=""):
    return ablation.Task(variant, seed, recipe, str(data), str(folder))


# ----------------------------------------------------------------------------- what defines a run


@pytest.mark.parametrize("name", RECIPE._fields)
def test_the_fingerprint_changes_with_anything_in_the_recipe(name):
    assert fingerprint(BASELINE, RECIPE._replace(**{name: CHANGED[name]})) != fingerprint(BASELINE, RECIPE)


def test_the_fingerprint_changes_with_the_network_but_not_with_comments(monkeypatch):
    prints = {fingerprint(variant, RECIPE) for variant in VARIANTS}
    assert len(prints) == len(VARIANTS)
    before, text = fingerprint(BASELINE, RECIPE), cfg_text(BASELINE, RECIPE)
    monkeypatch.setattr(ablation_recipe, "cfg_text", lambda *_: "# a remark\n" + text)
    assert fingerprint(BASELINE, RECIPE) == before
    monkeypatch.setattr(ablation_recipe, "cfg_text", lambda *_: text.replace("filters=96", "filters=100", 1))
    assert fingerprint(BASELINE, RECIPE) != before


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_the_inputs_size_and_the_anchors_of_the_recipe(variant):
    graph = ablation_graph(variant, RECIPE)
    assert tuple(graph.image) == (3, 128, 128)
    expected = [float(number) for number in RECIPE.anchors.replace(",", " ").split()]
    assert [np.ravel(head.section.anchors).tolist() for head in graph.heads] == [expected] * 3
    starred = [
        node.section.values["anchors"]
        for node in graph.nodes
        if "channels" in node.section.type and node.section.values.get("anchors")
    ]
    assert starred == ([3, 3, 3] if variant.endswith("star") else [])


def test_a_network_of_several_tables_is_one_variant():
    assert VARIANTS["table1/iFA"] == ["table1/iFA", "table4/add-iFA", "table6/iFA"]
    assert ablation_recipe.find_variant("add-iFA") == "table1/iFA"
    assert ablation_recipe.find_variant("table6/baseline") == BASELINE
    assert ablation_recipe.find_variant("implicit2") is None


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    ablation_recipe.prepare_data(SMALL, folder)
    return folder


def job_of(variant, seed, work):
    task = task_of(variant, seed, recipe=SMALL, folder=work, data=ablation_recipe.prepare_data(SMALL, work))
    cfg, hyp = work / "v.cfg", work / "v.yaml"
    cfg.write_text(cfg_text(variant, SMALL))
    hyp.write_text("lr0: 0.01\n")
    return prepare_job(ablation.train_options(task, cfg, hyp))


def test_runs_of_one_seed_see_the_same_pictures_and_those_of_another_do_not(work):
    first, second, other = (
        next(iter(job_of(variant, seed, work).phases[0].loader.epoch(0)))
        for variant, seed in ((BASELINE, 3), (IMPLICIT, 3), (BASELINE, 4))
    )
    assert torch.equal(first.images, second.images) and torch.equal(first.targets, second.targets)
    assert not torch.equal(first.images, other.images)


def test_runs_of_one_seed_begin_with_the_same_weights_up_to_the_neck():
    states = []
    for variant in VARIANTS:
        torch.manual_seed(5)
        states.append((ablation_graph(variant, SMALL), Network(ablation_graph(variant, SMALL)).state_dict()))
    base = states[0][1]
    shared = min(node.index for graph, _ in states for node in graph.nodes if "implicit" in node.section.type)
    assert shared > 80
    names = [name for name in base if int(name.split(".")[1]) < shared]
    assert all(torch.equal(state[name], base[name]) for _, state in states for name in names)


def test_pictures_are_drawn_once_and_split_as_the_recipe_says(work):
    description = ablation_recipe.prepare_data(SMALL, work)
    names = {part: (description.parent / f"{part}.txt").read_text().split() for part in ("train", "val")}
    assert {part: len(lines) for part, lines in names.items()} == {"train": 8, "val": 4}
    before = description.stat().st_mtime_ns
    assert ablation_recipe.prepare_data(SMALL, work) == description
    assert description.stat().st_mtime_ns == before


# ----------------------------------------------------------------------------- the file of rows


def test_a_row_reads_as_it_was_written(tmp_path):
    row = row_of(curve=(0.1, math.nan, 0.25), APl=-1.0)
    assert append_row(tmp_path / "a.csv", row)
    (again,) = read_rows(tmp_path / "a.csv")
    assert again[:-1] == row[:-1]
    np.testing.assert_array_equal(again.AP_by_epoch, row.AP_by_epoch)


def test_a_present_run_is_not_written_again(tmp_path):
    path = tmp_path / "a.csv"
    assert append_row(path, row_of(ap=0.25))
    before = path.read_bytes()
    assert not append_row(path, row_of(ap=0.5))
    assert path.read_bytes() == before
    assert append_row(path, row_of(seed=1))


def test_rows_written_at_the_same_time_are_all_there(tmp_path):
    rows = [row_of(seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda row: append_row(tmp_path / "a.csv", row), rows))
    assert sorted(row.seed for row in read_rows(tmp_path / "a.csv")) == list(range(24))


def test_a_row_that_was_cut_anywhere_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    whole = f"{HEADER}\n{row_of().line}"
    last = row_of(seed=1, curve=(0.1, 0.2, 0.25)).line
    for length in range(1, len(last)):
        for end in ("", "\n") if length < len(last) - 6 else ("",):
            path.write_text(whole + last[:length] + end)
            with pytest.raises(DataError) as fault:
                read_rows(path)
            assert str(fault.value).startswith(f"{path}:3: "), (length, str(fault.value))
    path.write_text(whole + last)
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("seed", "x"),
        ("AP", "nan"),
        ("AP", "25"),
        ("AP50", ""),
        ("seconds", "inf"),
        ("AP_by_epoch", "0.1;0.2"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_column(tmp_path, column, cell):
    cells = row_of().line.rstrip().split(",")
    cells[RunRow._fields.index(column)] = cell
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{','.join(cells)}\n")
    with pytest.raises(DataError, match="a.csv:2: ") as fault:
        read_rows(tmp_path / "a.csv")
    assert cell in str(fault.value)


def test_a_run_that_stands_twice_and_another_table_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "\n" + row_of().line + row_of(ap=0.3).line)
    with pytest.raises(DataError, match="a.csv:3: this run stands here twice"):
        read_rows(path)
    path.write_text("name,score\n")
    with pytest.raises(DataError, match="a.csv:1: "):
        read_rows(path)


# ----------------------------------------------------------------------------- the arithmetic


def test_means_and_spreads_are_those_computed_by_hand():
    found = compute_mean([1.0, math.nan, 2.0, 6.0])
    assert found.seeds == 3 and found.mean == 3.0
    assert found.std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found.error == pytest.approx(math.sqrt(7) / math.sqrt(3))
    assert math.isnan(compute_mean([4.0]).std) and math.isnan(compute_mean([]).mean)


def test_differences_are_between_runs_of_one_seed():
    base = [row_of(seed=0, ap=0.10), row_of(seed=1, ap=0.30), row_of(seed=2, ap=0.20)]
    other = [row_of("table1/iFA", seed, ap=ap) for seed, ap in ((2, 0.22), (0, 0.11), (1, 0.33), (7, 0.9))]
    found = difference(other, base)
    assert found.seeds == 3
    assert found.mean == pytest.approx((1 + 3 + 2) / 3)
    assert found.std == pytest.approx(1.0)


def test_a_figure_that_is_absent_counts_nowhere():
    base = [row_of(seed=0, APl=-1.0), row_of(seed=1, APl=0.5)]
    other = [row_of("table1/iFA", 0, APl=0.9), row_of("table1/iFA", 1, APl=0.75)]
    assert difference(other, base, "APl")[::2] == (25.0, 1)


def test_the_points_of_t_leave_a_twentieth_outside():
    """Student's density integrated; its scale does not matter, so the far end does only for one degree."""
    for degrees, point in enumerate(T95, start=1):
        inside, whole = (
            np.trapezoid((1 + x**2 / degrees) ** (-(degrees + 1) / 2), x)
            for x in (np.linspace(0, point, 20_001), np.sinh(np.linspace(0, 15, 200_001)))
        )
        assert inside / whole == pytest.approx(0.95, abs=1e-4), degrees


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.9, 1.0, 1.1], "better"),
        ([-0.9, -1.0, -1.1], "worse"),
        ([0.0, 1.0, 2.0], "within the noise"),
        ([0.0, 0.0], "within the noise"),
        ([1.0, 1.0], "better"),
        ([5.0], "one seed says nothing"),
        # The standard error is 1 / sqrt(3): 4.303 of them are 2.484.
        ([1.48, 2.48, 3.48], "within the noise"),
        ([1.49, 2.49, 3.49], "better"),
    ],
)
def test_the_verdict_follows_the_interval(differences, verdict):
    assert compute_mean(differences).verdict == verdict


def test_many_seeds_are_judged_by_the_last_point():
    assert SeedMean(2.262, math.sqrt(100.0), 100).verdict == "within the noise"
    assert SeedMean(2.263, math.sqrt(100.0), 100).verdict == "better"


def test_the_curve_is_the_mean_over_runs_where_something_was_tested():
    recipe = RECIPE._replace(epochs=4)
    rows = [row_of(seed=seed, recipe=recipe, curve=(0.1 * (seed + 1), math.nan, 0.5)) for seed in range(2)]
    assert means_by_epoch(rows) == [(2, pytest.approx(15.0)), (4, 50.0)]


# ----------------------------------------------------------------------------- the document


def lines_of(rows, recipe=RECIPE):
    return list(report_lines(select_results(rows, recipe)))


def test_the_tables_show_means_spreads_and_differences():
    rows = [*rows_of(BASELINE, (0.20, 0.21, 0.22)), *rows_of("table1/iFA", (0.21, 0.22, 0.23))]
    lines = lines_of(rows)
    start = lines.index("## Table 1: feature alignment (iFA)")
    assert lines[start + 4 : start + 6] == [
        "| baseline | 3 | 21.0 ± 1.0 | 50.0 ± 0.0 | 25.0 ± 0.0 | 12.5 ± 0.0 | 37.5 ± 0.0 | 50.0 ± 0.0 |"
        "  |  |",
        "| + iFA | 3 | 22.0 ± 1.0 | 50.0 ± 0.0 | 25.0 ± 0.0 | 12.5 ± 0.0 | 37.5 ± 0.0 | 50.0 ± 0.0 |"
        " +1.00 ± 0.00 | better |",
    ]
    assert any(
        "Of 1 variants against the baseline: 1 better, 0 worse, 0 within the noise" in line for line in lines
    )
    assert not any(line.startswith("## Table 2") for line in lines)
    assert any(line.startswith("## Table 4") for line in lines)


def test_rows_of_another_recipe_are_counted_nowhere():
    rows = rows_of(BASELINE, (0.20, 0.21, 0.22))
    others = [row._replace(fingerprint="0123456789", AP=0.9) for row in rows]
    gone = [row._replace(variant="table9/none") for row in rows]
    plain, mixed = lines_of(rows), lines_of([*others, *rows, *gone])
    remark = "6 rows of the file have another recipe and are counted nowhere here."
    assert [line for line in mixed if line != remark] == plain
    assert remark in mixed


def test_the_order_of_the_rows_does_not_matter():
    rows = [*rows_of("table1/iFA", (0.3, 0.1)), *rows_of(BASELINE, (0.2, 0.4)), *rows_of(IMPLICIT, (0.2,))]
    assert lines_of(rows) == lines_of(rows[::-1])
    charts = [render_chart(epochs_chart(select_results(some, RECIPE))) for some in (rows, rows[::-1])]
    assert np.array_equal(*charts)


def test_the_parameters_of_table_7_are_the_networks():
    base, implicit = (
        count_costs(ablation_graph(variant, RECIPE)).parameters for variant in (BASELINE, IMPLICIT)
    )
    rows = [row_of(BASELINE, parameters=base), row_of(IMPLICIT, parameters=implicit)]
    lines = lines_of(rows)
    # iFA's vectors for 40, 56 and 80 features, iPR's for 3 anchors x (5 + 6) predictions of three levels.
    assert implicit - base == 40 + 56 + 80 + 3 * 3 * 11
    start = lines.index("## Table 7: with and without implicit knowledge")
    more = 100 * (40 + 56 + 80 + 99) / base
    assert f"| {base} (+0.000%) |" in lines[start + 6]
    assert f"| {implicit} (+{more:.3f}%) |" in lines[start + 7]


def test_the_chart_has_both_means_and_without_runs_neither():
    rows = [
        row_of(variant, seed, curve=np.linspace(0, most + 0.1 * seed, RECIPE.epochs))
        for variant, most in ((BASELINE, 0.2), (IMPLICIT, 0.6))
        for seed in (0, 1)
    ]
    full, empty = Figure(layout="constrained"), Figure(layout="constrained")
    epochs_chart(select_results(rows, RECIPE)).draw(full)
    epochs_chart(select_results([], RECIPE)).draw(empty)
    assert [text.get_text() for text in full.legends[0].get_texts()] == [
        "baseline, n = 2",
        "+ iFA, × iPR, n = 2",
    ]
    lines = full.axes[0].lines
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx([20, 30, 25, 60, 70, 65])
    assert not empty.axes[0].lines and empty.axes[0].texts[0].get_text() == "no runs yet"
    assert any("Too few runs" in line for line in lines_of([]))


def test_without_matplotlib_the_document_is_written_and_the_chart_is_not(tmp_path, monkeypatch):
    append_row(tmp_path / "ablation.csv", row_of())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = command(tmp_path, "--report")
    assert ran.exit_code == 0, ran.output
    assert "pip install 'yolor-cfg[plot]'; the numbers are in" in ran.output
    assert (tmp_path / "ablation.md").exists() and not (tmp_path / "ablation.png").exists()


# ----------------------------------------------------------------------------- the program around it


def command(tmp_path, *words):
    return CliRunner().invoke(ablation.main, ["--out", str(tmp_path), "--work", str(tmp_path), *words])


def test_a_present_run_is_skipped_and_nothing_is_started(tmp_path, monkeypatch):
    for row in [*rows_of(BASELINE, (0.2, 0.3)), *rows_of("table1/iFA", (0.2, 0.3))]:
        append_row(tmp_path / "ablation.csv", row)
    monkeypatch.setattr(ablation, "start_task", lambda task: pytest.fail("it was there"))
    ran = command(tmp_path, "--variants", "baseline,iFA", "--seeds", "0,1")
    assert ran.exit_code == 0, ran.output
    assert "4 of 4 runs are there" in ran.output
    assert (tmp_path / "ablation.md").exists() and (tmp_path / "ablation.png").exists()
    rows = read_rows(tmp_path / "ablation.csv")
    wanted = [AblationRun(variant, seed) for seed in (0, 1, 2) for variant in (BASELINE, "table1/iFA")]
    assert ablation.missing_runs(wanted, rows, RECIPE) == wanted[4:]
    assert ablation.missing_runs(wanted, rows, RECIPE._replace(epochs=3)) == wanted


def test_the_list_says_what_is_there(tmp_path):
    append_row(tmp_path / "ablation.csv", row_of(ap=0.234))
    ran = command(tmp_path, "--variants", "baseline,mul-iPR", "--seeds", "0,1", "--list")
    lines = ran.output.splitlines()
    assert [line.split()[0] + line[-7:] for line in lines] == [
        "table1/baselineAP 23.4",
        "table4/mul-iPR  to do",
        "table1/baseline  to do",
        "table4/mul-iPR  to do",
    ]
    assert not (tmp_path / "ablation.md").exists()


def test_a_broken_file_is_told_without_a_traceback(tmp_path):
    (tmp_path / "ablation.csv").write_text(HEADER + "\ntable1/baseline,0,")
    ran = command(tmp_path, "--report")
    assert ran.exit_code == DataError.exit_code
    assert f"{tmp_path}/ablation.csv:2: " in ran.output and "Traceback" not in ran.output


@pytest.mark.parametrize("words", [("--variants", "iXX"), ("--seeds", "0,-1"), ("--seeds", "")])
def test_unknown_variants_and_seeds_are_refused(tmp_path, words):
    assert command(tmp_path, *words, "--list").exit_code == 2


def test_runs_go_side_by_side_and_each_leaves_its_row(tmp_path, monkeypatch):
    running, most = [], []

    def started(task):
        running.append(script(f"import time; time.sleep(0.2); print({row_of(*task[:2]).line.rstrip()!r})"))
        most.append(sum(process.poll() is None for process in running))
        return running[-1]

    monkeypatch.setattr(ablation, "start_task", started)
    tasks = [task_of(seed=seed) for seed in range(4)]
    assert ablation.run_tasks(tasks, tmp_path / "a.csv", jobs=2, end=math.inf) == 0
    assert sorted(row.seed for row in read_rows(tmp_path / "a.csv")) == [0, 1, 2, 3]
    assert max(most) == 2


def test_a_run_that_fails_leaves_no_row_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    lines = {0: "import sys; sys.exit(1)", 1: f"print({row_of(seed=1).line.rstrip()!r})"}
    monkeypatch.setattr(ablation, "start_task", lambda task: script(lines[task.seed]))
    tasks = [task_of(seed=seed, folder=tmp_path) for seed in (0, 1)]
    ablation.log_path(tasks[0]).write_text("loss is not a finite number\n")
    assert ablation.run_tasks(tasks, tmp_path / "a.csv", jobs=1, end=math.inf) == 1
    assert [row.seed for row in read_rows(tmp_path / "a.csv")] == [1]
    assert "seed 0 failed:\nloss is not a finite number" in capsys.readouterr().err


def test_no_run_begins_after_the_end_and_ctrl_c_ends_those_in_progress(tmp_path, monkeypatch):
    running = []
    monkeypatch.setattr(
        ablation,
        "start_task",
        lambda task: running.append(script("import time; time.sleep(60)")) or running[-1],
    )
    assert ablation.run_tasks([task_of()], tmp_path / "a.csv", jobs=1, end=0.0) == 0
    assert not running

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablation.run_tasks([task_of()], tmp_path / "a.csv", jobs=2, end=math.inf)
    assert [process.poll() is None for process in running] == [False]
    assert read_rows(tmp_path / "a.csv") == []


@pytest.mark.slow
def test_a_real_run_leaves_a_row_of_finite_numbers(tmp_path, work):
    data = ablation_recipe.prepare_data(SMALL, work)
    task = task_of("table4/mul-iPR", 1, recipe=SMALL, folder=tmp_path / "runs", data=data)
    table = tmp_path / "a.csv"
    failed = ablation.run_tasks([task], table, jobs=1, end=math.inf)
    assert not failed, ablation.log_path(task).read_text()
    (row,) = read_rows(table)
    assert row[:4] == ("table4/mul-iPR", 1, fingerprint("table4/mul-iPR", SMALL), 1)
    assert all(math.isfinite(value) for value in row[4:-1])
    assert row.AP_by_epoch == (pytest.approx(row.AP, abs=5e-5),)
    assert row.parameters == count_costs(ablation_graph("table4/mul-iPR", SMALL)).parameters
    assert ablation.missing_runs([AblationRun(*row[:2])], [row], SMALL) == []
