"""`yolor info --graph x.html`: what the page holds, and the page in a browser."""

import json
import re
from pathlib import Path
from typing import Any

import browser
import pytest

from yolor_cfg.graph import load_graph
from yolor_cfg.report.picture.describe import describe_picture
from yolor_cfg.report.picture.page import draw_page
from yolor_cfg.report.picture.write import write_picture

ROOT = Path(__file__).resolve().parents[1]
CFG = """# </script><script>alert(1)</script>
[net]
width=64
height=64
channels=3
[convolutional] # first </script> & <b>
filters=8
size=3
stride=2
pad=1
activation=mish
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
classes=2
num=2
anchors=9,12,25,20
"""


def facts_of(page: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(page.partition('id="facts">')[2].partition("</script>")[0])
    return facts


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "<b>&small.cfg"
    path.write_text(CFG)
    return path


def test_the_facts_are_those_of_the_layers_with_their_lines_of_the_cfg(cfg: Path) -> None:
    layers = facts_of(draw_page(describe_picture(load_graph(cfg))))["layers"]
    assert [layer["number"] for layer in layers] == [-1, 0, 1, 2]
    first = layers[1]
    assert first["text"] == "\n".join(CFG.splitlines()[5:11]) and first["line"] == 6
    assert first["shape"].startswith("8x32x32 ")
    weights = 3 * 3 * 3 * 8
    assert first["parameters"] == f"{weights + 8}" and first["macs"].startswith(f"{weights * 32 * 32:,} (")


def test_nothing_of_the_cfg_becomes_markup_and_nothing_is_loaded(cfg: Path) -> None:
    page = draw_page(describe_picture(load_graph(cfg)))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<b>" not in page and "<h1>&lt;b&gt;&amp;small</h1>" in page
    for word in ("src=", "href=", "@import", "fetch(", "import(", "XMLHttpRequest"):
        assert word not in page
    links = set(re.findall(r"https?://[^\s\"']+", page))
    assert links == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody opens
    assert "default-src 'none'" in page


def test_folded_rows_stand_for_layers_that_the_whole_view_has() -> None:
    facts = facts_of(draw_page(describe_picture(load_graph(ROOT / "cfg/yolor_p6.cfg"))))
    numbers = [layer["number"] for layer in facts["layers"]]
    assert numbers == list(range(-1, 235))
    for view in facts["views"].values():
        assert sorted(map(int, view["boxes"])) == numbers and len(view["stages"]) == len(facts["stages"])
    block = facts["blocks"][0]
    assert block["name"] == "3 x 1x1, 3x3, shortcut" and block["layers"] == list(range(6, 15))


def test_a_network_without_repeated_blocks_has_one_view(cfg: Path) -> None:
    facts = facts_of(draw_page(describe_picture(load_graph(cfg))))
    assert list(facts["views"]) == ["whole"] and facts["blocks"] == []


@pytest.mark.skipif(browser.NODE is None, reason="node is not installed")
def test_the_script_is_javascript() -> None:
    browser.check_script(ROOT / "yolor_cfg/report/picture/page/graph.js")


def show(window: browser.Browser, cfg: Path, folder: Path) -> None:
    """The page of a cfg, open, with what goes wrong in it noted in `faults`."""
    path = folder / "page.html"
    write_picture(load_graph(cfg), path, force=True)
    path.write_text(browser.watched(path.read_text()))
    window.open(path)


def press(window: browser.Browser, key: str, place: str = "document.body") -> None:
    event = f"new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true, cancelable: true}})"
    window.run(f"{place}.dispatchEvent({event})")


def details(window: browser.Browser) -> str:
    return str(window.run("return byId('details').hidden ? '' : byId('details').innerText"))


def click(window: browser.Browser, selector: str) -> None:
    """A click as a pointer makes it, in the middle of what a selector finds."""
    found = window.ask("POST", "/element", {"using": "css selector", "value": selector})
    window.ask("POST", f"/element/{found[browser.ELEMENT]}/click")


def visible_count(window: browser.Browser) -> int:
    found = "[...document.querySelectorAll('.layer')].filter((one) => one.getClientRects().length).length"
    return int(window.run(f"return {found}"))


def test_a_click_shows_the_details_and_the_keys_go_on(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_nano.cfg", tmp_path)
    graph = load_graph(ROOT / "cfg/yolor_nano.cfg")
    assert visible_count(window) == len(graph.nodes) + 1 and details(window) == ""
    click(window, "#whole [data-number='1'] .name")
    told = details(window)
    node = graph.nodes[1]
    assert told.count(f"#1 {node.section.type}") == 1 and f"{node.line}" in told and str(node.shape) in told
    assert node.section.raw.lines[1].text.strip() in told
    assert window.run("return location.hash") == "#1"
    press(window, "ArrowDown")
    assert "#2 " in details(window).splitlines()[0] + details(window).splitlines()[1]
    near = "[...byId('whole').querySelectorAll('.link.near')]"
    near += ".map((one) => [one.dataset.source, one.dataset.target])"
    wanted = {link[:2] for link in describe_picture(graph).links if 2 in link[:2]}
    assert {(int(source), int(target)) for source, target in window.run(f"return {near}")} == wanted
    press(window, "Escape")
    assert details(window) == "" and window.run("return location.hash") == ""
    assert window.run("return faults") == []


def test_the_search_finds_layers_by_their_cfg(window: browser.Browser, tmp_path: Path) -> None:
    cfg = ROOT / "cfg/yolor_nano.cfg"
    show(window, cfg, tmp_path)
    wanted = [
        node.index
        for node in load_graph(cfg).nodes
        if "upsample" in node.section.type
        or "upsample" in "".join(line.text for line in node.section.raw.lines)
    ]
    press(window, "/")
    assert window.run("return document.activeElement.id") == "search"
    field = window.ask("POST", "/element", {"using": "css selector", "value": "#search"})[browser.ELEMENT]
    window.ask("POST", f"/element/{field}/value", {"text": "upsample"})
    assert window.run("return byId('hits').textContent") == f"{len(wanted)} found"
    window.ask("POST", f"/element/{field}/value", {"text": "\ue007"})  # Enter
    assert window.run("return byId('hits').textContent") == f"1 of {len(wanted)}"
    assert window.run("return selected") == wanted[0]
    hits = window.run("return [...byId('whole').querySelectorAll('.hit')].map((one) => one.dataset.number)")
    assert [int(number) for number in hits] == wanted
    press(window, "Escape", "byId('search')")
    assert window.run("return document.querySelectorAll('.hit').length") == 0
    assert window.run("return faults") == []


def test_zoom_pan_and_fit_move_the_picture(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_nano.cfg", tmp_path)
    shown = "return [seen.x, seen.y, seen.k]"
    window.wait("map.clientWidth && seen.k > 0")
    start = window.run(shown)
    frame = window.run("const one = byId('picture').getBoundingClientRect(); return [one.width, one.height]")
    assert start[2] * window.run("return now.width") <= frame[0] + 1
    assert start[2] * window.run("return now.height") <= frame[1] + 1
    click(window, "#larger")
    assert window.run(shown)[2] == pytest.approx(1.25 * start[2])
    wheel = "new WheelEvent('wheel', {deltaY: -200, clientX: 200, clientY: 300, cancelable: true})"
    spot = "((200 - map.getBoundingClientRect().left - seen.x) / seen.k)"
    before = window.run(f"return {spot}")
    window.run(f"map.dispatchEvent({wheel})")
    assert window.run(f"return {spot}") == pytest.approx(before)  # what is under the pointer stays there
    press(window, "ArrowRight")
    press(window, "0")
    assert window.run(shown) == pytest.approx(start)
    drag = "(kind, x) => window.dispatchEvent.call({0}, new PointerEvent(kind, {{pointerId: 1, clientX: x}}))"
    window.run(
        f"const at = {drag.format('map')}, on = {drag.format('window')};"
        "at('pointerdown', 100); on('pointermove', 160); on('pointerup', 160)"
    )
    assert window.run(shown) == pytest.approx([start[0] + 60, *start[1:]])
    assert window.run("return faults") == []


def test_dark_and_light_are_other_colours(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_nano.cfg", tmp_path)
    color = "return ['.card', 'body'].map((one) => getComputedStyle(document.querySelector(one)))"
    color += ".map((style) => style.fill + style.color).join()"
    one = window.run(color)
    click(window, "#theme")
    assert window.run(color) != one
    click(window, "#theme")
    assert window.run(color) == one


def test_a_large_network_opens_folded_and_unfolds(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_d6.cfg", tmp_path)
    folded = visible_count(window)
    assert folded < 240
    click(window, "#folded [data-number='31'] .name")
    assert "15 x 1x1, 3x3, shortcut" in details(window) and "#31 to #75" in details(window)
    press(window, "f")
    assert visible_count(window) == 348
    press(window, "f")
    assert visible_count(window) == folded
    assert window.run("return faults") == []


def test_a_large_network_answers_in_a_fraction_of_a_second(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_d6.cfg", tmp_path)
    press(window, "f")
    work = "for (let i = 0; i < 20; i++) { select(i * 15); zoom(1.01); map.getBoundingClientRect(); }"
    spent = window.run(f"const start = performance.now(); {work} return (performance.now() - start) / 20")
    assert spent < 500, f"{spent:.0f} ms for a choice and a zoom"


def test_an_address_with_a_number_opens_on_that_layer(window: browser.Browser, tmp_path: Path) -> None:
    show(window, ROOT / "cfg/yolor_nano.cfg", tmp_path)
    window.ask("POST", "/url", {"url": (tmp_path / "page.html").resolve().as_uri() + "#5"})
    window.run("location.reload()")
    window.wait("typeof selected !== 'undefined' && selected === 5", 10)
    assert "#5 " in details(window)
