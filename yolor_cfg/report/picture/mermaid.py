"""The picture in the language of Mermaid, as GitHub and GitLab draw it in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from yolor_cfg.report.picture.colors import LIGHT, find_shade
from yolor_cfg.report.picture.types import HEAD, IMPLICIT, KNOWLEDGE, WEIGHTS, Layer, Picture, layer_key

ARROWS = {KNOWLEDGE: "-.->", WEIGHTS: "-.->"}
ESCAPED = frozenset("#&<>\"'`\\;{}|[]()@%")
"""Characters that Mermaid or Markdown in it might read as their own."""


def write_mermaid(picture: Picture) -> str:
    """The text of a flowchart: a subgraph for each stage, layers coloured by their multiply-adds."""
    most = picture.largest_share or 1.0
    lines = ["flowchart TB"]
    for number, stage in enumerate(picture.stages):
        lines.append(f'  subgraph stage{number}["{escape_text(stage.heading)}"]')
        lines += [f"    {_write_layer(layer, find_shade(layer, most))}" for layer in stage.layers]
        lines.append("  end")
    for link in picture.links:
        arrow = ARROWS.get(link.kind, "-->")
        lines.append(f"  {layer_key(link.source)} {arrow} {layer_key(link.target)}")
    return "\n".join([*lines, *_write_classes(picture.layers, most), ""])


def _write_layer(layer: Layer, shade: int) -> str:
    text = "<br/>".join(map(escape_text, layer.lines))
    shape = f'(["{text}"])' if layer.role == IMPLICIT else f'["{text}"]'
    return f"{layer.key}{shape}:::{_class_of(layer, shade)}"


def _class_of(layer: Layer, shade: int) -> str:
    return layer.role if layer.role in (IMPLICIT, HEAD) else f"cost{shade}"


def _write_classes(layers: Iterable[Layer], most: float) -> Iterator[str]:
    """The colours of the classes that there are."""
    shades = enumerate(zip(LIGHT.shades, LIGHT.shade_texts, strict=True))
    used = {_class_of(layer, find_shade(layer, most)) for layer in layers}
    styles = {
        IMPLICIT: (LIGHT.implicit, LIGHT.implicit_edge, LIGHT.text),
        HEAD: (LIGHT.card, LIGHT.head_edge, LIGHT.text),
        **{f"cost{shade}": (fill, LIGHT.edge, text) for shade, (fill, text) in shades},
    }
    for name, (fill, edge, text) in styles.items():
        if name in used:
            width = ",stroke-width:3px" if name == HEAD else ""
            yield f"  classDef {name} fill:{fill},stroke:{edge},color:{text}{width}"


def escape_text(text: str) -> str:
    """The text with everything that could be syntax as Mermaid's numbered entities."""
    return "".join(f"#{ord(letter)};" if letter in ESCAPED else letter for letter in text)
