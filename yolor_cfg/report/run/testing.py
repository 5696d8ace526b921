"""The parts of a page about what a network found in a data set: of boxes, classes of images, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from yolor_cfg.errors import count_of
from yolor_cfg.evaluate.coco import COCO_DESCRIPTIONS
from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.album import Album, show_classified, show_judged
from yolor_cfg.report.run.boxes import VERDICT_CLASSES
from yolor_cfg.report.run.curves import Curve, Plot, Plots, class_curves, palette_color
from yolor_cfg.report.run.drawings import draw_confusion, size_bars
from yolor_cfg.report.run.markup import (
    Cell,
    PagePart,
    bar_of,
    format_number,
    number_cell,
    paragraph,
    tiles,
    write_table,
)
from yolor_cfg.report.run.read import LABEL_KINDS, label_heads, object_of
from yolor_cfg.runs import list_objects

SPEED_NAMES = {"pre": "reading and preprocessing", "inference": "inference and decoding", "nms": "NMS"}
CLASS_HEADER = ("class", "images", "labels", "P", "R", "F1", "AP50", "AP", "AP50 as YOLOR", "AP as YOLOR")
DARKNET_START = "darknet_"


class Part(NamedTuple):
    """One data set of a test: what was found in it, where curves and images go, and the number of the part
    in the page. `classes` are all class names."""

    found: dict[str, Any]
    plots: Plots
    album: Album
    number: int

    @property
    def metrics(self) -> dict[str, Any]:
        """Its figures, as in metrics.json."""
        return object_of(self.found.get("metrics"))

    @property
    def boxes(self) -> dict[str, Any]:
        """What is known of its boxes beside figures."""
        return object_of(self.found.get("boxes"))

    @property
    def classes(self) -> list[str]:
        """The names of its classes."""
        return [str(name) for name in self.found.get("classes", ())]


def list_test_parts(part: Part, group: str) -> Iterator[PagePart]:
    """The parts, in their order, under the heading `group`; what a data set does not have is left out."""
    builders: Sequence[tuple[str, Callable[[Part], str]]] = (
        ("Figures", show_figures),
        ("Classes", list_classes),
        ("Precision and recall", draw_curves),
        ("Confusion matrix", show_confusion),
        ("Errors", show_errors),
        ("Classes of images", show_labels),
        ("Embeddings", show_embedding),
        ("Speed", show_speed),
    )
    for title, build in builders:
        yield PagePart(title, partial(build, part), group)


def show_figures(part: Part) -> str:
    """COCO's 12 numbers, those of YOLOR and of Darknet, and AP by size."""
    metrics = part.metrics
    coco, yolor, darknet = (object_of(metrics.get(name)) for name in ("coco", "yolor", "darknet"))
    if not coco:
        return ""
    totals = ("images", "objects", "detections")
    counts = [(name, f"{metrics[name]:,}", "") for name in totals if name in metrics]
    main = [(name, number_cell(coco.get(name)).html, "COCO") for name in ("AP", "AP50", "AP75")]
    left = write_coco(coco, id_=f"coco-{part.number}")
    right = size_bars(coco) + _show_others(yolor, darknet)
    skipped = metrics.get("skipped") or []
    note = paragraph(f"{len(skipped)} unreadable images are left out.", "note") if skipped else ""
    return (
        tiles([*main, *counts]) + note + wrap("div", wrap("div", left) + wrap("div", right), class_="columns")
    )


def write_coco(coco: dict[str, Any], *, id_: str) -> str:
    """COCO's 12 numbers as a table."""
    rows = []
    for name, (word, iou, area, most) in COCO_DESCRIPTIONS.items():
        rows.append((name, f"{word} at IoU {iou}", area, number_cell(most, 0), bar_of(coco.get(name))))
    return write_table(("COCO", "what", "boxes", "detections", "score"), rows, id_=id_)


def _show_others(yolor: dict[str, Any], darknet: dict[str, Any]) -> str:
    """The figures by the rules of YOLOR and of Darknet."""
    confidence = format_number(yolor.get("confidence"))
    titles = {"precision": "P", "recall": "R", "f1": "F1", "map50": "AP50", "map": "AP"}
    ours = [(f"YOLOR: {titles[name]}", bar_of(yolor.get(name))) for name in titles if name in yolor]
    named = {name: name.replace("_", " ") for name in darknet if name.startswith("mAP")}
    theirs = [(f"Darknet: {text}", bar_of(darknet[name])) for name, text in named.items()]
    note = paragraph(f"P, R and F1 at confidence {confidence}, where the mean F1 is highest.", "note")
    return write_table(("by other rules", ""), [*ours, *theirs]) + note if ours else ""


def list_classes(part: Part) -> str:
    """A row for each class, which a click sorts; P, R and F1 follow the slider."""
    every = list_objects(list(object_of(part.metrics.get("per_category")).values()))
    rows = {number: row for number, row in enumerate(every) if row.get("labels")}
    if not rows:
        return ""
    part.plots.tables.setdefault(str(part.number), {})["rows"] = list(rows)
    darknet = next((name for name in every[0] if name.startswith(DARKNET_START)), "")
    header = (*CLASS_HEADER, f"{darknet.removeprefix(DARKNET_START)} as Darknet")
    slider = _write_slider(part, every[0].get("confidence")) if part.boxes.get("curves") else ""
    cells = [_class_row(row, darknet) for row in rows.values()]
    listed = write_table(header, cells, sortable=True, id_=f"classes-{part.number}")
    absent = len(every) - len(rows)
    less = f" {count_of(absent, 'class')} without labels here are left out." if absent else ""
    return slider + listed + paragraph(f"AP50 and AP are COCO's.{less}", "note")


def _class_row(row: dict[str, Any], darknet: str) -> list[object]:
    counts = [row.get(name) for name in ("images", "labels")]
    moving = [
        number_cell(row.get(name), 3)._replace(kind=f"number moving {name}") for name in ("P", "R", "F1")
    ]
    fixed = [bar_of(row.get("AP50")), bar_of(row.get("AP"))]
    others = [number_cell(row.get(name), 3) for name in ("yolor_AP50", "yolor_AP", darknet)]
    return [str(row.get("name", "")), *counts, *moving, *fixed, *others]


def _write_slider(part: Part, confidence: Any) -> str:
    """The confidence at which P, R and F1 stand in the table."""
    best = float(confidence or 0)
    bounds: dict[str, Any] = {"type": "range", "min": 0, "max": 1, "step": 0.01, "value": f"{best:.2f}"}
    facts: dict[str, Any] = {"data_part": part.number, "data_best": best, "aria_label": "Confidence"}
    field = wrap("input", class_="confidence", **bounds, **facts)
    label = wrap("label", "P, R and F1 at confidence " + wrap("output", f"{best:.3f}"))
    back = wrap("button", "best mean F1", type="button", class_="back")
    return wrap("p", label + field + back, class_="slider")


CURVES = (
    ("PR", "precision by recall at IoU 0.5", "recall"),
    ("F1", "F1 by confidence", "confidence"),
    ("P", "precision by confidence", "confidence"),
    ("R", "recall by confidence", "confidence"),
)
"""Of the curves of a class: name, title, and what x is."""


def draw_curves(part: Part) -> str:
    """Precision by recall, and P, R and F1 by confidence, of each class and in the mean."""
    curves = object_of(part.boxes.get("curves"))
    if not curves:
        return ""
    best = [(float(part.boxes["confusion"]["confidence"]), "best mean F1")]
    drawn, places = [], {}
    for word, title, axis in CURVES:
        lines = class_curves(curves, part.classes, word=word, mean="mean of all classes")
        marks = best if axis == "confidence" else []
        places[word] = len(part.plots.made)
        drawn.append(part.plots.add(Plot(title, axis, curves["axis"], lines, span=(0, 1), marks=marks)))
    if all(drawn):
        table = part.plots.tables.setdefault(str(part.number), {})
        table |= {"classes": curves["classes"], **places}
    shown, there = len(curves["classes"]), int(curves["there"])
    less = f"{shown} of {there} classes have curves: those with the most labels." if shown < there else ""
    return wrap("div", "".join(drawn), class_="row") + (paragraph(less, "note") if less else "")


def show_confusion(part: Part) -> str:
    """Which classes are taken for which."""
    found = object_of(part.boxes.get("confusion"))
    if not found:
        return ""
    rule = f"Detections above confidence {found['confidence']:.3f}, boxes paired above IoU {found['iou']}. "
    rule += "Last column: objects that are missed; last row: detections that are no pair of an object."
    return paragraph(rule, "note") + draw_confusion(found, part.classes, said="detected")


def show_errors(part: Part) -> str:
    """How often which error is made, and the images with the most errors and with the fewest."""
    judged = object_of(part.boxes.get("judged"))
    if not judged:
        return ""
    counts = object_of(judged.get("counts"))
    figures = tiles([(name, f"{count:,}", "") for name, count in counts.items() if name != "ignored"])
    rule = (
        f"Detections above confidence {judged['confidence']:.3f}; a detection and an object are a pair above "
        f"IoU {judged['iou']}, as in the confusion matrix. Images are ordered by their F1; a click enlarges "
        "one."
    )
    worst = _show_images(part, "most errors", judged["worst"], of=f"{judged['faulty']:,} images with errors")
    best = _show_images(part, "fewest errors", judged["best"], of=f"{judged['images']:,} images")
    return wrap("div", figures + paragraph(rule, "note") + _write_legend() + worst + best, class_="errors")


def _show_images(part: Part, title: str, images: Sequence[dict[str, Any]], *, of: str) -> str:
    if not images:
        return ""
    shown = "".join(show_judged(part.album, image, part.classes) for image in images)
    return wrap("h3", plain(f"{title}: {len(images)} of {of}")) + wrap("div", shown, class_="album")


def _write_legend() -> str:
    """A switch for each kind of box."""
    kinds = [("truth", "object"), *((f"found {VERDICT_CLASSES[word]}", word) for word in FOUND_VERDICTS)]
    kinds.insert(1, ("truth missed", "missed object"))
    switches = []
    for classes, name in kinds:
        sample = wrap("g", wrap("rect", x=2, y=2, width=20, height=10), class_=classes)
        drawing = wrap("svg", sample, viewBox="0 0 24 14", width=24, height=14)
        check = wrap("input", type="checkbox", checked="", data_kind=classes.replace(" ", "."))
        switches.append(wrap("label", check + drawing + plain(name), class_="switch"))
    return wrap("p", "".join(switches), class_="legend")


FOUND_VERDICTS = ("right", "wrong class", "duplicate", "background")


def show_labels(part: Part) -> str:
    """The figures of each head that classifies images."""
    extras = list_objects(part.found.get("labels"))
    ordered = [extra for kind in LABEL_KINDS for extra in extras if extra["kind"] == kind]
    nothing: dict[str, Any] = {}
    heads = zip_longest(label_heads(part.metrics), ordered, fillvalue=nothing)
    return "".join(_show_head(part, *head, place=place) for place, head in enumerate(heads))


def _show_head(part: Part, scores: dict[str, Any], extra: dict[str, Any], *, place: int) -> str:
    figures = {name: value for name, value in scores.items() if isinstance(value, float)}
    main = tiles([(name, format_number(value), "") for name, value in figures.items()])
    rows = [
        (
            row["name"],
            row["images"],
            bar_of(row["AP"]),
            *(bar_of(row[key]) for key in ("P", "R", "F1")),
        )
        for row in list_objects(scores.get("per_class"))
    ]
    name = f"labels-{part.number}-{place}"
    listed = write_table(("class", "images", "AP", "P", "R", "F1"), rows, sortable=True, id_=name)
    return main + listed + (_show_head_extras(part, extra) if extra else "")


def _show_head_extras(part: Part, extra: dict[str, Any]) -> str:
    names = [str(name) for name in extra["classes"]]
    curves = class_curves(extra["curves"], names, word="PR", mean="mean of all classes")
    plot = Plot("precision by recall", "recall", extra["curves"]["axis"], curves, span=(0, 1))
    confusion = object_of(extra.get("confusion"))
    matrix = (
        wrap("h3", "Confusion matrix") + draw_confusion(confusion, names, said="predicted")
        if confusion
        else ""
    )
    return part.plots.add(plot) + matrix + _show_mistakes(part, extra, names)


def _show_mistakes(part: Part, extra: dict[str, Any], names: Sequence[str]) -> str:
    mistakes = object_of(extra.get("mistakes"))
    images = list_objects(mistakes.get("worst"))
    if not images:
        return ""
    wrong, every = f"{mistakes['wrong']:,} wrong images", f"{mistakes['images']:,} in all"
    title = f"Wrong and sure of it: {len(images)} of {wrong}, {every}"
    shown = "".join(show_classified(part.album, image, names) for image in images)
    return wrap("h3", plain(title)) + wrap("div", shown, class_="album")


def show_embedding(part: Part) -> str:
    """How well embeddings tell objects apart."""
    found = object_of(part.metrics.get("embedding"))
    if not found:
        return ""
    figures = [(name, format_number(found.get(name)), "") for name in ("rank1", "rank5", "mAP")]
    counts = [(name, f"{found[name]:,}", "") for name in ("objects", "identities")]
    rates = object_of(found.get("tar_at_far"))
    listed = write_table(
        ("other pairs accepted", "pairs of one identity accepted"),
        [(rate, bar_of(value)) for rate, value in rates.items()],
    )
    curve = _draw_rates({float(rate): value for rate, value in rates.items()}, part.plots)
    return tiles([*figures, *counts]) + wrap("div", listed + curve, class_="columns")


def _draw_rates(rates: dict[float, float | None], plots: Plots) -> str:
    x = sorted(rates)
    curve = Curve("accepted", [rates[rate] for rate in x], palette_color(0))
    title, axis = "pairs of one identity that are accepted", "share of other pairs accepted"
    return plots.add(Plot(title, axis, x, [curve], unit="log", span=(0, 1), points=True))


def show_speed(part: Part) -> str:
    """Milliseconds of each stage."""
    speed = object_of(part.metrics.get("speed_ms"))
    if not speed:
        return ""
    stages = [(name, float(speed[key])) for key, name in SPEED_NAMES.items() if key in speed]
    total = sum(value for _, value in stages)
    rows = [(name, number_cell(value, 2), bar_of(value / total if total else 0)) for name, value in stages]
    rate = f"{1000 / total:.1f}" if total else "–"
    all_rows = [*rows, ("all", number_cell(total, 2), Cell(f"{rate} images/s", total, "number"))]
    return write_table(("stage", "ms per image", ""), all_rows)
