"""The boxes on an image of a page, each drawn by its verdict, with captions that do not hide each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.report.elements import plain, wrap

VERDICT_CLASSES = {
    "right": "right",
    "wrong class": "wrong",
    "duplicate": "duplicate",
    "background": "background",
    "missed": "missed",
    "ignored": "ignored",
}
"""The class of the style sheet for each verdict."""
CAPTIONED = ("missed", "wrong class", "background", "right", "duplicate")
"""The verdicts whose boxes have a caption, in the order in which captions take their place."""
LETTER, LINE = 7.2, 13
"""Pixels of a letter, and of a line of text."""


class DrawnArea(NamedTuple):
    """A rectangle of the drawing, in pixels."""

    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: DrawnArea) -> bool:
        """Whether they share any pixel."""
        beside = self.left >= other.left + other.width or other.left >= self.left + self.width
        return not beside and self.top < other.top + other.height and other.top < self.top + self.height


class DrawnBox(NamedTuple):
    """A box to draw: `kind` is truth or found."""

    kind: str
    verdict: str
    text: str
    place: DrawnArea


def draw_boxes(image: Mapping[str, Any], names: Sequence[str], *, scale: float, size: tuple[int, int]) -> str:
    """The true boxes and the detections of an image that is drawn at this scale in this width and height. A
    caption that has no room is left out: the box tells it when pointed at."""
    boxes = [_scale_box(box, kind, names, scale=scale) for kind in ("truth", "found") for box in image[kind]]
    captions = dict(_place_captions(boxes, size))
    drawn = [_draw_box(box, captions.get(number)) for number, box in enumerate(boxes)]
    return "".join(reversed(drawn))


def _scale_box(box: Mapping[str, Any], kind: str, names: Sequence[str], *, scale: float) -> DrawnBox:
    class_id = int(box["class"])
    name = names[class_id] if class_id < len(names) else str(class_id)
    text = f"{name} {box['score']:.2f}" if "score" in box else name
    return DrawnBox(kind, str(box["verdict"]), text, DrawnArea(*(scale * float(side) for side in box["box"])))


def _caption_of(box: DrawnBox) -> str:
    return box.text if box.verdict == "right" else f"{box.verdict.partition(' ')[0]}: {box.text}"


def _place_captions(boxes: Sequence[DrawnBox], size: tuple[int, int]) -> Iterator[tuple[int, DrawnArea]]:
    """The captions that have room, by the numbers of their boxes."""
    wanted = [
        number
        for verdict in CAPTIONED
        for number, box in enumerate(boxes)
        if box.verdict == verdict and (box.kind == "found" or verdict == "missed")
    ]
    taken: list[DrawnArea] = []
    for number in wanted:
        box = boxes[number]
        width = LETTER * len(_caption_of(box))
        left = min(max(box.place.left, 1), max(1, size[0] - width))
        below = box.place.top + box.place.height
        for top in (box.place.top - LINE, box.place.top + 1, below - LINE, below + 1):
            place = DrawnArea(left, top, width, LINE)
            if 0 <= top <= size[1] - LINE and not any(place.overlaps(other) for other in taken):
                taken.append(place)
                yield number, place
                break


def _draw_box(box: DrawnBox, caption: DrawnArea | None) -> str:
    left, top, width, height = (f"{side:.1f}" for side in box.place)
    kind = "object" if box.kind == "truth" else "found"
    title = wrap("title", plain(f"{kind}: {box.text}, {box.verdict}"))
    parts = wrap("rect", title, x=left, y=top, width=width, height=height)
    if caption is not None:
        x, y = f"{caption.left:.1f}", f"{caption.top + LINE - 3:.1f}"
        parts += wrap("text", plain(_caption_of(box)), x=x, y=y)
    return wrap("g", parts, class_=f"{box.kind} {VERDICT_CLASSES.get(box.verdict, 'ignored')}")
