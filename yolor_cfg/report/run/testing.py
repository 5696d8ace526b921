"""The parts of a page about what a network found in a data set: of boxes, classes of images, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from yolor_cfg.report.run.album import VERDICT_CLASSES, Album, show_classified, show_judged
from yolor_cfg.report.run.curves import Curve, Plot, Plots, class_curves, palette_color
from yolor_cfg.report.run.drawings import draw_confusion, size_bars
from yolor_cfg.report.run.markup import (
    Cell,
    Section,
    bar,
    format_number,
    number,
    paragraph,
    plain,
    table,
    tag,
    tiles,
    words,
)
from yolor_cfg.report.run.read import list_objects, object_of
from yolor_cfg.report.tables import COCO_DESCRIPTIONS

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


def test_sections(part: Part) -> Iterator[Section]:
    """The parts, in their order; what a data set does not have is left out."""
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
    name = str(part.found.get("name") or "")
    for title, build in builders:
        yield Section(f"{name}: {title}" if name else title, partial(build, part))


def show_figures(part: Part) -> str:
    """COCO's 12 numbers, those of YOLOR and of Darknet, and AP by size."""
    metrics = part.metrics
    coco, yolor, darknet = (object_of(metrics.get(name)) for name in ("coco", "yolor", "darknet"))
    if not coco:
        return ""
    counts = [
        (name, f"{metrics[name]:,}", "") for name in ("images", "objects", "detections") if name in metrics
    ]
    main = [(name, number(coco.get(name)).html, "COCO") for name in ("AP", "AP50", "AP75")]
    rows = [
        (words(name), words(f"{word} at IoU {iou}"), words(area), number(most, 0), bar(coco.get(name)))
        for name, (word, iou, area, most) in COCO_DESCRIPTIONS.items()
    ]
    header = ("COCO", "what", "boxes", "detections", "")
    left = table(header, rows, id_=f"coco-{part.number}")
    right = size_bars(coco) + _show_others(yolor, darknet)
    skipped = metrics.get("skipped") or []
    note = paragraph(f"{len(skipped)} unreadable images are left out.", "note") if skipped else ""
    columns = tag("div", tag("div", left) + tag("div", right), class_="columns")
    return tiles([*main, *counts]) + note + columns


def _show_others(yolor: dict[str, Any], darknet: dict[str, Any]) -> str:
    """The figures by the rules of YOLOR and of Darknet."""
    confidence = format_number(yolor.get("confidence"))
    titles = {"precision": "P", "recall": "R", "f1": "F1", "map50": "AP50", "map": "AP"}
    ours = [(words(f"YOLOR: {titles[name]}"), bar(yolor.get(name))) for name in titles if name in yolor]
    theirs = [
        (words(f"Darknet: {name}"), bar(value)) for name, value in darknet.items() if name.startswith("mAP")
    ]
    note = paragraph(f"P, R and F1 at confidence {confidence}, where the mean F1 is highest.", "note")
    return table(("by other rules", ""), [*ours, *theirs]) + note if ours else ""


def list_classes(part: Part) -> str:
    """A row for each class, which a click sorts; P, R and F1 follow the slider."""
    rows = list_objects(list(object_of(part.metrics.get("per_category")).values()))
    if not rows:
        return ""
    darknet = next((name for name in rows[0] if name.startswith(DARKNET_START)), "")
    title = darknet.removeprefix(DARKNET_START)
    cells = [_class_row(row, darknet) for row in rows]
    header = (*CLASS_HEADER, f"{title} as Darknet")
    curves = object_of(part.boxes.get("curves"))
    slider = _write_slider(part, rows[0].get("confidence")) if curves else ""
    rule = "AP50 and AP are COCO's. A class without labels has no figures."
    return (
        slider + table(header, cells, sortable=True, id_=f"classes-{part.number}") + paragraph(rule, "note")
    )


def _class_row(row: dict[str, Any], darknet: str) -> list[Cell]:
    counts = [number(row.get(name)) for name in ("images", "labels")]
    moving = [number(row.get(name), 3)._replace(kind=f"number moving {name}") for name in ("P", "R", "F1")]
    fixed = [bar(row.get("AP50")), bar(row.get("AP"))]
    others = [number(row.get(name), 3) for name in ("yolor_AP50", "yolor_AP", darknet)]
    return [words(row.get("name", "")), *counts, *moving, *fixed, *others]


def _write_slider(part: Part, confidence: Any) -> str:
    """The confidence at which P, R and F1 stand in the table."""
    best = float(confidence or 0)
    field = tag(
        "input",
        type="range",
        min=0,
        max=1,
        step=0.01,
        value=f"{best:.2f}",
        class_="confidence",
        data_part=part.number,
        data_best=best,
        aria_label="Confidence",
    )
    out = tag("output", f"{best:.3f}")
    back = tag("button", "best mean F1", type="button", class_="back")
    return tag("p", f"{tag('label', 'P, R and F1 at confidence ' + out)}{field}{back}", class_="slider")


def draw_curves(part: Part) -> str:
    """Precision by recall, and P, R and F1 by confidence, of each class and in the mean."""
    curves = object_of(part.boxes.get("curves"))
    if not curves:
        return ""
    best, x = float(part.boxes["confusion"]["confidence"]), curves["axis"]
    marks = [(best, "best mean F1")]
    kinds = (("PR", "precision by recall at IoU 0.5", "recall"), ("F1", "F1 by confidence", "confidence"))
    kinds += (("P", "precision by confidence", "confidence"), ("R", "recall by confidence", "confidence"))
    drawn, places = [], {}
    for word, title, axis in kinds:
        lines = class_curves(curves, part.classes, word=word, mean="mean of all classes")
        places[word] = len(part.plots.made)
        shown_marks = () if word == "PR" else marks
        drawn.append(part.plots.add(Plot(title, axis, x, lines, span=(0, 1), marks=shown_marks)))
    if all(drawn):
        part.plots.tables[str(part.number)] = {"classes": curves["classes"], **places}
    shown, there = len(curves["classes"]), int(curves["there"])
    less = f"{shown} of {there} classes have curves: those with the most labels." if shown < there else ""
    return tag("div", "".join(drawn), class_="row") + (paragraph(less, "note") if less else "")


def show_confusion(part: Part) -> str:
    """Which classes are taken for which."""
    found = object_of(part.boxes.get("confusion"))
    if not found:
        return ""
    rule = f"Detections above confidence {found['confidence']:.3f}, boxes paired above IoU {found['iou']}. "
    rule += "Last column: objects that are missed; last row: detections where there is no object."
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
        f"IoU {judged['iou']}, as in the confusion matrix. Images are ordered by their F1."
    )
    parts = [figures, paragraph(rule, "note"), _write_legend()]
    for title, key in (("most errors", "worst"), ("fewest errors", "best")):
        images = list_objects(judged.get(key))
        total = judged["faulty"] if key == "worst" else judged["images"]
        of = "images with errors" if key == "worst" else "images"
        if images:
            shown = "".join(show_judged(part.album, image, part.classes) for image in images)
            head = tag("h3", plain(f"{title}: {len(images)} of {total:,} {of}"))
            parts.append(head + tag("div", shown, class_="album"))
    return tag("div", "".join(parts), class_="errors")


def _write_legend() -> str:
    """A switch for each kind of box."""
    kinds = [("truth", "object"), *((f"found {VERDICT_CLASSES[word]}", word) for word in FOUND_VERDICTS)]
    kinds.insert(1, ("truth missed", "missed object"))
    switches = []
    for classes, name in kinds:
        sample = tag("g", tag("rect", x=2, y=2, width=20, height=10), class_=classes)
        drawing = tag("svg", sample, viewBox="0 0 24 14", width=24, height=14)
        check = tag("input", type="checkbox", checked="", data_kind=classes.replace(" ", "."))
        switches.append(tag("label", check + drawing + plain(name), class_="switch"))
    return tag("p", "".join(switches), class_="legend")


FOUND_VERDICTS = ("right", "wrong class", "duplicate", "background")


def show_labels(part: Part) -> str:
    """The figures of each head that classifies images."""
    parts = []
    documents = [part.metrics.get(name) for name in ("classification", "multilabel")]
    listed = [one for found in documents for one in (found if isinstance(found, list) else [found]) if found]
    extras: dict[str, list[dict[str, Any]]] = {"single": [], "multi": []}
    for extra in list_objects(part.found.get("labels")):
        extras[str(extra["kind"])].append(extra)
    ordered = [*extras["single"], *extras["multi"]]
    for place, scores in enumerate(listed):
        parts.append(_show_head(part, scores, ordered[place] if place < len(ordered) else {}, place=place))
    return "".join(parts)


def _show_head(part: Part, scores: dict[str, Any], extra: dict[str, Any], *, place: int) -> str:
    figures = {name: value for name, value in scores.items() if isinstance(value, float)}
    main = tiles([(name, format_number(value), "") for name, value in figures.items()])
    rows = [
        (
            words(row["name"]),
            number(row["images"]),
            bar(row["AP"]),
            *(bar(row[key]) for key in ("P", "R", "F1")),
        )
        for row in list_objects(scores.get("per_class"))
    ]
    name = f"labels-{part.number}-{place}"
    listed = table(("class", "images", "AP", "P", "R", "F1"), rows, sortable=True, id_=name)
    return main + listed + (_show_head_extras(part, extra) if extra else "")


def _show_head_extras(part: Part, extra: dict[str, Any]) -> str:
    names = [str(name) for name in extra["classes"]]
    curves = class_curves(extra["curves"], names, word="PR", mean="mean of all classes")
    plot = Plot("precision by recall", "recall", extra["curves"]["axis"], curves, span=(0, 1))
    confusion = object_of(extra.get("confusion"))
    matrix = (
        tag("h3", "Confusion matrix") + draw_confusion(confusion, names, said="predicted")
        if confusion
        else ""
    )
    return part.plots.add(plot) + matrix + _show_mistakes(part, extra, names)


def _show_mistakes(part: Part, extra: dict[str, Any], names: Sequence[str]) -> str:
    mistakes = object_of(extra.get("mistakes"))
    images = list_objects(mistakes.get("worst"))
    if not images:
        return ""
    title = f"Wrong and sure of it: {len(images)} of {mistakes['wrong']:,} wrong images, of {mistakes['images']:,}"
    shown = "".join(show_classified(part.album, image, names) for image in images)
    return tag("h3", plain(title)) + tag("div", shown, class_="album")


def show_embedding(part: Part) -> str:
    """How well embeddings tell objects apart."""
    found = object_of(part.metrics.get("embedding"))
    if not found:
        return ""
    figures = [(name, format_number(found.get(name)), "") for name in ("rank1", "rank5", "mAP")]
    counts = [(name, f"{found[name]:,}", "") for name in ("objects", "identities")]
    rates = object_of(found.get("tar_at_far"))
    x = [float(rate) for rate in rates]
    order = sorted(range(len(x)), key=x.__getitem__)
    rows = [(words(rate), bar(value)) for rate, value in rates.items()]
    curve = Curve("accepted", [list(rates.values())[i] for i in order], palette_color(0))
    plot = Plot(
        "pairs of one identity that are accepted",
        "share of other pairs accepted",
        [x[i] for i in order],
        [curve],
        unit="log",
        span=(0, 1),
        points=True,
    )
    listed = table(("other pairs accepted", "pairs of one identity accepted"), rows)
    return tiles([*figures, *counts]) + tag("div", listed + part.plots.add(plot), class_="columns")


def show_speed(part: Part) -> str:
    """Milliseconds of each stage."""
    speed = object_of(part.metrics.get("speed_ms"))
    if not speed:
        return ""
    stages = [(name, float(speed[key])) for key, name in SPEED_NAMES.items() if key in speed]
    total = sum(value for _, value in stages)
    rows = [(words(name), number(value, 2), bar(value / total if total else 0)) for name, value in stages]
    rate = f"{1000 / total:.1f}" if total else "–"
    all_rows = [*rows, (words("all"), number(total, 2), Cell(f"{rate} images/s", total, "number"))]
    return table(("stage", "ms per image", ""), all_rows)
