"""Charts of a test and of a training: what they show, and that nothing around them makes them fail."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from yolor_cfg.errors import MissingExtra, YolorError
from yolor_cfg.report.charts import ClassCurves, confusion_chart, confusion_rows, curves_chart
from yolor_cfg.report.figures import Chart, render_chart, require_matplotlib, save_chart, shorten_name
from yolor_cfg.report.training import labels_chart, results_chart

ROOT = Path(__file__).resolve().parents[1]
X = np.linspace(0, 1, 11)
ODD_NAMES = ["猫 $x$ $y_{", "_hidden", "a name " * 20, "\x00\udcff", "", "دراجة"]


def curves(y: np.ndarray, names: list[str] | None = None) -> ClassCurves:
    return ClassCurves("title", "recall", "precision", X, y, names or [f"class {k}" for k in range(len(y))])


def falling(count: int) -> np.ndarray:
    """[K, X] curves that fall from different heights."""
    return np.linspace(0.5, 1, count)[:, None] * (1 - X)


def drawn(chart: Chart) -> Figure:
    figure = Figure(chart.size, layout="constrained")
    chart.draw(figure)
    return figure


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def epoch(number: int, **more: float) -> dict[str, float]:
    return {"epoch": float(number), "loss": 3.0, "box": 1.0, "objectness": 1.0, "classes": 1.0, **more}


def test_each_class_that_is_there_has_a_curve_and_so_has_their_mean() -> None:
    y = falling(4)
    y[2] = np.nan
    figure = drawn(curves_chart(curves(y), "all, 0.5"))
    lines = figure.axes[0].lines
    np.testing.assert_array_equal([line.get_ydata() for line in lines[:-1]], y[[0, 1, 3]])
    np.testing.assert_allclose(lines[-1].get_ydata(), y[[0, 1, 3]].mean(axis=0))
    assert legend_of(figure) == ["class 0", "class 1", "class 3", "all, 0.5"]


def test_of_many_classes_only_the_mean_is_named() -> None:
    figure = drawn(curves_chart(curves(falling(80)), "all"))
    assert len(figure.axes[0].lines) == 81
    assert legend_of(figure) == ["each of 80 classes", "all"]


def test_the_legend_covers_no_data() -> None:
    figure = drawn(curves_chart(curves(falling(20), ["w" * 40] * 20), "all"))
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert legend.get_window_extent().x0 > axes.get_window_extent().x1
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert legend.get_window_extent().y0 >= 0


def test_classes_without_labels_have_no_curves_and_a_table_of_empty_cells(tmp_path, monkeypatch) -> None:
    nothing = curves(np.full((2, 11), np.nan))
    axes = drawn(curves_chart(nothing, "")).axes[0]
    assert not axes.lines and axes.texts[0].get_text() == "no class has labels"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    save_chart(tmp_path / "a.png", curves_chart(nothing, ""), rows=lambda: nothing.rows)
    assert (tmp_path / "a.csv").read_text().splitlines()[:2] == ["recall,class 0,class 1,all", "0,,,"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_confusion_matrix_shows_whole_counts_and_the_share_of_each_row() -> None:
    counts = np.array([[7, 1, 0], [0, 0, 0], [2, 0, 1234567]])
    names = ["cat", "dog", "background"]
    figure = drawn(confusion_chart(counts, names))
    axes, bar = figure.axes
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "7", (1, 0): "1", (0, 2): "2", (2, 2): "1234567"}
    np.testing.assert_allclose(axes.images[0].get_array(), counts / [[8], [1], [1234569]])
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert bar.get_ylabel() == "share of the true class"
    assert list(confusion_rows(counts, names))[1] == ("cat", 7, 1, 0)


@pytest.mark.parametrize(("count", "largest"), [(3, 9), (3, 10**7), (21, 999), (40, 99), (81, 99999)])
def test_counts_fit_into_their_cells_or_are_left_out(count: int, largest: int) -> None:
    figure = drawn(confusion_chart(np.full((count, count), largest), ["a"] * count))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert bool(axes.texts) == (count < 81)
    cell = axes.get_window_extent().width / count
    for text in axes.texts[:1]:
        assert text.get_window_extent().width < cell
        assert text.get_fontsize() >= 5.5


def test_epochs_are_whole_numbers_and_losses_that_are_none_leave_a_gap() -> None:
    rows = [epoch(1, AP=0.1), epoch(2) | {"loss": float("inf")}, epoch(3, AP=0.3)]
    losses, scores = drawn(results_chart(rows)).axes
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), [3, np.nan, 3])
    np.testing.assert_array_equal(scores.lines[0].get_xdata(), [1, 3])
    ticks = [tick for tick in losses.get_xticks() if 0.5 <= tick <= 3.5]
    assert ticks == [1, 2, 3]
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["AP  0.3"]


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_training_of_any_length_has_a_chart(count: int) -> None:
    figure = drawn(results_chart([epoch(number + 1) for number in range(count)]))
    losses, scores = figure.axes
    assert len(losses.lines) == (4 if count else 0)
    assert scores.texts[0].get_text() == "nothing measured yet"
    assert all(tick == round(tick) for tick in losses.get_xticks())


@pytest.mark.parametrize("names", [["cat"], ODD_NAMES, [f"class {k}" for k in range(80)], ["x"] * 300])
def test_labels_are_counted_by_class_and_their_sizes_are_points(names: list[str]) -> None:
    classes = np.arange(7) % len(names)
    sizes = np.linspace(0.1, 0.8, 14).reshape(7, 2)
    bars, points = drawn(labels_chart(names, classes, sizes=sizes)).axes
    heights = [bar.get_height() for bar in bars.patches]
    np.testing.assert_array_equal(heights, np.bincount(classes, minlength=len(names)))
    np.testing.assert_array_equal(points.collections[0].get_offsets(), sizes)


def test_no_label_at_all_is_an_empty_chart() -> None:
    render_chart(labels_chart(["cat"], np.zeros(0, np.int64), sizes=np.zeros((0, 2))))


def test_odd_class_names_are_drawn_as_they_are_and_nothing_is_said(capfd) -> None:
    chart = curves_chart(curves(falling(6), ODD_NAMES), "all")
    assert legend_of(drawn(chart)) == [*(shorten_name(name, k) for k, name in enumerate(ODD_NAMES)), "all"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_chart(chart)
        render_chart(confusion_chart(np.ones((6, 6), np.int64), ODD_NAMES))
    assert capfd.readouterr().err == ""


def test_a_name_is_one_line_of_bounded_length() -> None:
    assert shorten_name(" a \n b ", 0) == "a b"
    assert shorten_name("", 7) == "7"
    assert shorten_name("x" * 26, 0) == "x" * 26
    assert shorten_name("x" * 27, 0) == "x" * 25 + "…"


def test_equal_data_give_equal_bytes_whatever_the_users_settings_are(tmp_path: Path) -> None:
    found = []
    for number, size in enumerate((10.0, 23.0)):
        with matplotlib.rc_context({"font.size": size, "axes.facecolor": "red"}):
            before = dict(matplotlib.rcParams)
            shown = curves(falling(3))
            save_chart(tmp_path / f"{number}.png", curves_chart(shown, "all"), rows=lambda: ())
            assert dict(matplotlib.rcParams) == before
        found.append((tmp_path / f"{number}.png").read_bytes())
    assert found[0] == found[1]
    assert logging.getLogger("matplotlib").level == logging.NOTSET


def test_a_missing_library_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="plot") as missing:
        require_matplotlib()
    assert missing.value.exit_code == 5 and isinstance(missing.value, YolorError)


def test_a_home_that_cannot_be_written_is_no_fault_and_not_mentioned(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from yolor_cfg.report.charts import confusion_chart\n"
        "from yolor_cfg.report.figures import render_chart\n"
        "print(render_chart(confusion_chart(np.eye(2, dtype=np.int64), ['a', 'b'])).shape)"
    )
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    settings = {name: str(blocked) for name in ("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **settings, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("(")
