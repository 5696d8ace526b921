"""The pages of runs in a browser: curves, sorting, the slider of confidence, switches; no fault, no fetch."""

import json
import re
from pathlib import Path
from typing import Any

import browser
import pytest
import test_run_report as pages
import tiny_detector as tiny

from yolor_cfg.report.run.read import read_run
from yolor_cfg.report.run.write import write_page
from yolor_cfg.runs import read_record, save_record

ROOT = Path(__file__).resolve().parents[1]

tested = pages.tested
trained = pages.trained

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


@pytest.mark.skipif(browser.NODE is None, reason="node is not installed")
def test_the_script_is_javascript() -> None:
    browser.check_script(ROOT / "yolor_cfg/report/run/page/report.js")


def show(window: browser.Browser, page: Path, folder: Path) -> None:
    """The page, open, with what goes wrong in it noted in `faults`."""
    copy = folder / "watched.html"
    copy.write_text(browser.watched(page.read_text()))
    window.open(copy)
    window.wait("document.readyState === 'complete'")


def draw_all(window: browser.Browser) -> int:
    """Draw the curves that are not in sight too; how many plots there are."""
    window.run("drawAll()")
    return int(window.run("return document.querySelectorAll('[data-plot] canvas').length"))


def check_calm(window: browser.Browser) -> None:
    """No fault, and nothing fetched: all addresses are in the page or are its own."""
    assert window.run("return faults") == []
    fetched = window.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith("data:") for name in fetched), fetched


def click(window: browser.Browser, selector: str) -> None:
    found = window.ask("POST", "/element", {"using": "css selector", "value": selector})
    element = f"/element/{found[browser.ELEMENT]}"
    element_there = f"document.querySelector({json.dumps(selector)})"
    window.run(f"{element_there}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    window.ask("POST", f"{element}/click")


def set_field(window: browser.Browser, selector: str, value: object, event: str) -> None:
    """Give a field a value, as moving or choosing does."""
    window.run(
        f"const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(value)};"
        f"one.dispatchEvent(new Event({json.dumps(event)}))"
    )


def column(window: browser.Browser, table: str, number: int) -> list[str]:
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    found: list[str] = window.run(f"return {rows}.map((row) => row.cells[{number}].textContent)")
    return found


def test_every_curve_is_drawn(window: browser.Browser, trained: Path, tmp_path: Path) -> None:
    show(window, trained / "report.html", tmp_path)
    plots = pages.facts_of(trained / "report.html")["plots"]
    assert draw_all(window) == len(plots) == 10
    painted = """return [...document.querySelectorAll('[data-plot] canvas')].map((one) =>
        new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size)"""
    assert all(colours > 3 for colours in window.run(painted))
    labels = "[...document.querySelectorAll('[data-plot]')[0].querySelectorAll('.u-label')]"
    names = window.run(f"return {labels}.map((one) => one.textContent)")
    assert names == ["epoch", "loss", "box", "objectness", "classes"]
    check_calm(window)


def test_a_click_sorts_the_classes_and_another_one_turns_them(
    window: browser.Browser, tested: Path, tmp_path: Path
) -> None:
    show(window, tested / "runs/exp/report.html", tmp_path)
    [test] = read_record(tested / "runs/exp")["tests"]
    rows = [row for row in test["metrics"]["per_category"].values() if row["labels"]]
    assert column(window, "classes-0", 0) == [row["name"] for row in rows] and len(rows) == 3
    by_ap = [row["name"] for row in sorted(rows, key=lambda row: -row["AP"])]
    click(window, "#classes-0 th:nth-child(8) button")
    assert column(window, "classes-0", 0) == by_ap
    click(window, "#classes-0 th:nth-child(8) button")
    assert column(window, "classes-0", 0) == by_ap[::-1]
    click(window, "#classes-0 th:nth-child(1) button")
    assert column(window, "classes-0", 0) == sorted((row["name"] for row in rows), key=str.lower)
    assert window.run("return document.querySelectorAll('#classes-0 [aria-sort]').length") == 1
    check_calm(window)


def test_the_slider_sets_precision_and_recall_of_each_class(
    window: browser.Browser, tested: Path, tmp_path: Path
) -> None:
    show(window, tested / "runs/exp/report.html", tmp_path)
    [test] = read_record(tested / "runs/exp")["tests"]
    curves, first = test["boxes"]["curves"], test["metrics"]["per_category"]["0"]
    before = [column(window, "classes-0", number)[0] for number in (3, 4, 5)]
    assert before == [f"{first[name]:.3f}" for name in ("P", "R", "F1")]
    click(window, "#classes-0 th:nth-child(8) button")  # the rows stand in another order
    for value in (0.2, 0.75):
        set_field(window, ".confidence", value, "input")
        assert window.run("return document.querySelector('.slider output').textContent") == f"{value:.3f}"
        names = column(window, "classes-0", 0)
        for place, k in enumerate(curves["classes"]):
            row = names.index(pages.NAMES[k])
            shown = [float(column(window, "classes-0", number)[row]) for number in (3, 4, 5)]
            at = curves["axis"].index(value)
            wanted = [curves["each"][word][place][at] for word in ("P", "R", "F1")]
            assert shown == pytest.approx(wanted, abs=6e-4)
    click(window, ".back")
    row = column(window, "classes-0", 0).index(pages.NAMES[0])
    assert [column(window, "classes-0", number)[row] for number in (3, 4, 5)] == before
    check_calm(window)


def visible(window: browser.Browser, selector: str) -> int:
    found = (
        f"[...document.querySelectorAll({json.dumps(selector)})].filter((one) => one.getClientRects().length)"
    )
    return int(window.run(f"return {found}.length"))


def test_boxes_of_a_kind_are_hidden_and_shown_again(
    window: browser.Browser, tested: Path, tmp_path: Path
) -> None:
    show(window, tested / "runs/exp/report.html", tmp_path)
    kinds = {
        "truth": ".judged .truth:not(.missed)",
        "truth.missed": ".judged .truth.missed",
        "found.right": ".judged .found.right",
        "found.wrong": ".judged .found.wrong",
        "found.duplicate": ".judged .found.duplicate",
        "found.background": ".judged .found.background",
    }
    before = {kind: visible(window, selector) for kind, selector in kinds.items()}
    assert all(before.values()), before
    for kind, selector in kinds.items():
        click(window, f"[data-kind='{kind}']")
        assert visible(window, selector) == 0
        others = {other: visible(window, one) for other, one in kinds.items() if other != kind}
        assert others == {other: before[other] for other in others}
        click(window, f"[data-kind='{kind}']")
        assert visible(window, selector) == before[kind]
    check_calm(window)


def test_a_click_enlarges_an_image(window: browser.Browser, tested: Path, tmp_path: Path) -> None:
    show(window, tested / "runs/exp/report.html", tmp_path)
    width = "return document.querySelector('.judged svg').getBoundingClientRect().width"
    small = window.run(width)
    click(window, ".judged svg")
    assert window.run(width) > 2 * small
    click(window, ".judged svg")
    assert window.run(width) == small
    check_calm(window)


def test_the_matrix_shows_shares_or_counts(window: browser.Browser, tested: Path, tmp_path: Path) -> None:
    show(window, tested / "runs/exp/report.html", tmp_path)
    [test] = read_record(tested / "runs/exp")["tests"]
    cells = test["boxes"]["confusion"]["cells"]
    shown = "return [...document.querySelectorAll('.matrix .{}')].map((one) => one.textContent)"
    assert visible(window, ".matrix .share") == len(cells) and visible(window, ".matrix .count") == 0
    sums = {row: sum(count for one, _, count in cells if one == row) for row, _, _ in cells}
    wanted = [100 * count / sums[row] for row, _, count in cells]
    assert [float(text) for text in window.run(shown.format("share"))] == pytest.approx(wanted, abs=0.51)
    click(window, ".raw")
    assert visible(window, ".matrix .share") == 0 and visible(window, ".matrix .count") == len(cells)
    assert [int(text) for text in window.run(shown.format("count"))] == [count for _, _, count in cells]
    check_calm(window)


def test_the_comparison_is_drawn_and_sorted(window: browser.Browser, trained: Path, tmp_path: Path) -> None:
    other = pages.copy_run(trained, tmp_path / "other")
    page = tmp_path / "both.html"
    write_page([read_run(trained), read_run(other)], page, force=False)
    show(window, page, tmp_path)
    assert draw_all(window) == len(pages.facts_of(page)["plots"]) > 8
    click(window, "#classes th:nth-child(1) button")
    names = column(window, "classes", 0)
    assert names == sorted(names) and len(names) > 1
    check_calm(window)


def many_classes(run: Path, place: Path) -> Path:
    """The run with the curves of its first class under 40 names."""
    folder = pages.copy_run(run, place)
    record: dict[str, Any] = read_record(folder)
    [test] = record["tests"]
    test["classes"] = [f"class {number}" for number in range(40)]
    curves = test["boxes"]["curves"]
    curves["classes"] = list(range(40))
    curves["each"] = {word: rows[:1] * 40 for word, rows in curves["each"].items()}
    save_record(folder, record)
    return folder


def test_of_many_classes_one_is_chosen(window: browser.Browser, tested: Path, tmp_path: Path) -> None:
    folder = many_classes(tested / "runs/exp", tmp_path / "many")
    assert tiny.yolor("report", folder).exit_code == 0
    show(window, folder / "report.html", tmp_path)
    draw_all(window)
    labels = "return [...document.querySelectorAll('.plot')[0].querySelectorAll('.u-series')]"
    labels += ".filter((one) => one.style.display !== 'none').map((one) => one.textContent.trim())"
    assert window.run(labels) == ["recall", "mean of all classes"]
    set_field(window, ".chooser", "7", "change")
    assert window.run(labels) == ["recall", "class 7", "mean of all classes"]
    check_calm(window)


def test_the_page_is_light_dark_and_printed(window: browser.Browser, trained: Path, tmp_path: Path) -> None:
    show(window, trained / "report.html", tmp_path)
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": feature}}
        window.ask("POST", "/goog/cdp/execute", command)
        seen[scheme] = [int(part) for part in re.findall(r"\d+", window.run(colour))]
    assert min(seen["light"]) > 200 and max(seen["dark"]) < 60
    window.ask(
        "POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": "print"}}
    )
    assert window.run(colour) == "rgb(255, 255, 255)"
    assert window.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    window.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": ""}})
    check_calm(window)


def test_nothing_is_wider_than_a_phone(
    window: browser.Browser, trained: Path, tested: Path, tmp_path: Path
) -> None:
    window.ask("POST", "/window/rect", {"width": 500, "height": 900})
    for page in (trained / "report.html", tested / "runs/exp/report.html"):
        show(window, page, tmp_path)
        draw_all(window)
        assert window.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    window.ask("POST", "/window/rect", {"width": 1400, "height": 900})
    check_calm(window)
