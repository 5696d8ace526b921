"""The figures of a data set as one page that needs nothing else: charts, tables, labels worth a look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.statistics.measure import ClassFigures, DataFigures, list_pairs
from yolor_cfg.data.statistics.oddities import KINDS, Oddity
from yolor_cfg.data.statistics.summary import DataSummary
from yolor_cfg.errors import YolorError, count_of
from yolor_cfg.files import replace_file
from yolor_cfg.report.dataset.charts import bars_svg, histogram_svg, map_svg, matrix_svg
from yolor_cfg.report.dataset.sheet import ContactSheet, SheetPart, read_page_part, tile_html
from yolor_cfg.report.dataset.tiles import Thumbnail, crop_tile
from yolor_cfg.report.elements import plain

MOST_BARS, MOST_IN_MATRIX, ODD_TILES, TOP_PAIRS = 60, 40, 8, 20
CLASS_HEADERS = (
    "class",
    "images",
    "boxes",
    "an image",
    "small",
    "medium",
    "large",
    "side",
    "width / height",
    "at the border",
    "crowds",
    "difficult",
)
SIZE_WORDS = ("small: below 32²", "medium: below 96²", "large")
Cells = Sequence[str]


class NetworkNote(NamedTuple):
    """What a network sees of the data: its name, and words with a value each."""

    name: str
    lines: Sequence[tuple[str, str]]


def write_page(summary: DataSummary, path: str | Path, *, note: NetworkNote | None, force: bool) -> None:
    """Write the page, whole or not at all; raises YolorError where a file exists, unless forced."""
    data = draw_page(summary, note).encode()
    replace_file(path, lambda file: file.write(data), fault=YolorError, force=force)


def draw_page(summary: DataSummary, note: NetworkNote | None = None) -> str:
    """The page as text."""
    title = plain(os.path.basename(summary.origin.rstrip("/")) or summary.origin)
    whole = summary.whole
    parts = [
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}: what is in it</title>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<style>\n{read_page_part('page.css')}</style>\n<h1>{title}</h1>\n"
        f"<p class=faint>{plain(summary.origin)} · {plain(summary.format)} · {measure_words(whole)}</p>\n",
        _write_facts(whole),
        _splits(summary),
        _classes(summary),
        _shapes(whole),
        _pair(_section("Where the centres of boxes are", map_svg(whole.centres)), _together(whole)),
        "" if note is None else _network(note),
        *_oddities(summary),
    ]
    return "".join(parts)


def measure_words(figures: DataFigures) -> str:
    """In which pixels boxes are measured."""
    if figures.size is None:
        return "boxes in pixels of their images"
    height, width = figures.size
    return f"boxes in pixels of an input of {width} x {height}"


def class_cells(one: ClassFigures) -> list[str]:
    """The row of a class in a table, in the order of `CLASS_HEADERS`."""
    low, middle, high = one.aspect
    counts = [f"{count:,}" for count in (one.small, one.medium, one.large)]
    empty = not one.boxes
    shape = [] if empty else [f"{one.side:.0f}", f"{middle:.2f} ({low:.2f} - {high:.2f})"]
    ends = [f"{count:,}" for count in (one.truncated, one.crowds, one.difficult)]
    start = [one.name, f"{one.images:,}", f"{one.boxes:,}", f"{one.per_image:.1f}"]
    return [*start, *counts, *(shape or ["-", "-"]), *ends]


def _write_facts(whole: DataFigures) -> str:
    used = sum(bool(one.boxes) for one in whole.classes)
    mean = whole.boxes / whole.images if whole.images else 0
    facts = (
        (f"{whole.images:,}", "images"),
        (f"{whole.boxes:,}", "boxes"),
        (f"{used} of {len(whole.classes)}", "classes that occur"),
        (f"{mean:.1f}", "boxes an image"),
        (f"{whole.empty:,}", "images without boxes"),
        (whole.balance, "most to least frequent class"),
    )
    items = "".join(f"<div><b>{value}</b><span>{words}</span></div>\n" for value, words in facts)
    return f"<div class=facts>\n{items}</div>\n"


def _splits(summary: DataSummary) -> str:
    """The splits, where there are several, beside the images of all."""
    images = _section("Images", _images(summary))
    if len(summary.splits) < 2:
        return images
    parts = list(summary.splits.values())
    words = ("images", "images without boxes", "boxes", "crowds", "difficult")
    keys = ("images", "empty", "boxes", "crowds", "difficult")
    rows = [["", *summary.splits]]
    rows += [
        [word, *(f"{getattr(part, key):,}" for part in parts)] for word, key in zip(words, keys, strict=True)
    ]
    return _pair(_section("Splits", _table(rows)), images)


def _classes(summary: DataSummary) -> str:
    """A bar for each class that occurs, a table, and the names of the others."""
    whole = summary.whole
    occurring = [number for number, one in enumerate(whole.classes) if one.occurs]
    ranked = sorted(occurring, key=lambda number: -whole.classes[number].boxes)
    shown = [whole.classes[number] for number in ranked[:MOST_BARS]]
    bars = bars_svg([(one.name, (one.small, one.medium, one.large)) for one in shown])
    more = (
        f"<p class=faint>The {MOST_BARS} most frequent of {len(ranked)}.</p>"
        if len(ranked) > len(shown)
        else ""
    )
    absent = f"<p class=faint>Without a box: {plain(', '.join(whole.absent))}.</p>" if whole.absent else ""
    words = (
        "<p class=faint>Side: the median root of the area. Width / height: the median, 5 % and 95 %. "
        f"At the border: boxes that reach the end of their image. {measure_words(whole).capitalize()}.</p>"
    )
    table = _table(list(_class_rows(summary, ranked)), "wide")
    return _section("Classes", f"{_size_key()}{bars}{more}{absent}") + _section(
        "Classes in figures", words + table
    )


def _size_key() -> str:
    """The colours of the parts of a bar in words."""
    colors = zip(("bar2", "bar", "bar3"), SIZE_WORDS, strict=True)
    items = (f'<span><i style="background: var(--{color})"></i>{words}</span>' for color, words in colors)
    return f"<div class=key>{''.join(items)}</div>"


def _class_rows(summary: DataSummary, ranked: Sequence[int]) -> Iterator[Cells]:
    """The head and a row for each class, with its boxes in each of several splits at the end."""
    splits = summary.splits if len(summary.splits) > 1 else {}
    yield [*CLASS_HEADERS, *(f"in {name}" for name in splits)]
    for number in ranked:
        counts = [(part.classes[number].boxes, part.boxes) for part in splits.values()]
        shares = (f"{count:,} ({count / max(1, total):.1%})" for count, total in counts)
        yield [*class_cells(summary.whole.classes[number]), *shares]


def _shapes(whole: DataFigures) -> str:
    sides = [f"{2 ** (number / 2):.0f}" for number in range(len(whole.side_bins))]
    start = next((number for number, count in enumerate(whole.side_bins) if count), 0)
    objects = [*map(str, range(len(whole.objects)))]
    if len(objects) == 21:
        objects[-1] = "20+"
    label = "root of the area, pixels from"
    sizes = histogram_svg(whole.side_bins[start:], sides[start:], x_label=label)
    counts = histogram_svg(whole.objects, objects, x_label="boxes")
    return _pair(_section("Sizes of boxes", sizes), _section("Boxes an image", counts))


def _images(summary: DataSummary) -> str:
    """Sizes, channels and boxes of images."""
    whole = summary.whole
    kinds = {1: "grey", 3: "colour", 4: "colour and alpha", 0: "unknown"}
    rows = [
        ["", "least", "median", "largest"],
        ["width", *(f"{value:.0f}" for value in whole.widths)],
        ["height", *(f"{value:.0f}" for value in whole.heights)],
        ["width / height", *(f"{value:.2f}" for value in whole.aspects)],
        ["boxes", *(f"{value:g}" for value in whole.per_image)],
    ]
    common = [["most frequent", "images"]]
    common += [[f"{width} x {height}", f"{images:,}"] for width, height, images in whole.common_sizes]
    common += [
        [f"{count_of(count, 'channel')} ({kinds.get(count, 'a stack')})", f"{images:,}"]
        for count, images in summary.channels.items()
    ]
    return _table(rows) + "<br>" + _table(common)


def _together(whole: DataFigures) -> str:
    kept = [number for number, one in enumerate(whole.classes) if one.images]
    names = [whole.classes[number].name for number in kept]
    pairs = list_pairs(whole, TOP_PAIRS)
    if not pairs:
        return ""
    if len(names) <= MOST_IN_MATRIX:
        table = whole.together[np.ix_(kept, kept)]
        words = (
            "<p class=faint>Images with both; dark: most images of the row's class have the other too.</p>"
        )
        return _section("Classes in one image", words + f"<div class=scroll>{matrix_svg(table, names)}</div>")
    rows = [["classes", "images", "times more than by chance"]]
    rows += [[" and ".join(one["classes"]), f"{one['images']:,}", f"{one['lift']:.1f}"] for one in pairs]
    return _section("Classes in one image", _table(rows, "words"))


def _network(note: NetworkNote) -> str:
    rows = [["", ""], *([words, value] for words, value in note.lines)]
    return _section(f"What {note.name} sees", _table(rows, "words"))


def _oddities(summary: DataSummary) -> Iterator[str]:
    totals = summary.odd_totals
    if not totals:
        yield _section("Labels worth a look", "<p>None of the checks found one.</p>")
        return
    rows = [["", "boxes"], *([KINDS[kind], f"{count:,}"] for kind, count in totals.items())]
    yield _section("Labels worth a look", _table(rows, "words"))
    for kind, count in totals.items():
        shown = summary.first_odd(kind, ODD_TILES)
        tiles = "".join(tile_html(odd_tile(summary, one)) for one in shown)
        title = f"{KINDS[kind][0].upper()}{KINDS[kind][1:]}: {count_of(count, 'box', spec=',')}"
        yield _section(title, f"<div class=tiles>\n{tiles}</div>\n")


def odd_tile(summary: DataSummary, oddity: Oddity) -> Thumbnail:
    """The label with what is around it, and the box that it is compared with."""
    table = summary.table
    name = os.path.basename(table.paths[table.owners[oddity.row]])
    width, height = table.sides[oddity.row].tolist()
    others = [oddity.other] if oddity.other >= 0 else []
    words = " and ".join(table.names[table.classes[row]] for row in (oddity.row, *others))
    return crop_tile(table, oddity.row, f"{name}: {words}, {width:.1f} x {height:.1f}", others=others)


def odd_sheet(summary: DataSummary, most: int = 24) -> ContactSheet:
    """The first labels of each kind that is worth a look."""
    parts = [
        SheetPart(
            f"{KINDS[kind]}: {count_of(count, 'box', spec=',')}",
            [odd_tile(summary, one) for one in summary.first_odd(kind, most)],
        )
        for kind, count in summary.odd_totals.items()
    ]
    title = f"{summary.origin}: {'labels worth a look' if parts else 'no label is worth a look'}"
    return ContactSheet(title, parts)


def _pair(*sections: str) -> str:
    """Sections side by side where there is room."""
    return f"<div class=pair>\n{''.join(sections)}</div>\n"


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{plain(title)}</h2>\n{body}</section>\n"


def _table(rows: Sequence[Cells], style: str = "") -> str:
    """The first row is the head."""
    head, *body = ["".join(f"<{tag}>{plain(cell)}</{tag}>" for cell in row) for tag, row in _tag_rows(rows)]
    lines = "".join(f"<tr>{line}</tr>\n" for line in body)
    kind = f" class={style}" if style else ""
    table = f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table>"
    return f"<div class=scroll>{table}</div>\n"


def _tag_rows(rows: Sequence[Cells]) -> Iterator[tuple[str, Cells]]:
    for number, row in enumerate(rows):
        yield "td" if number else "th", row
