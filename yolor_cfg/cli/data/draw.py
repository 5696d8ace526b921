"""`yolor data draw`: a data set of drawn shapes."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.cli.options import SizeParam, TextParam, print_stderr
from yolor_cfg.errors import count_of

SHAPE_KINDS = ("mixed", "coloured", "identities", "classes")


class ShapeNamesParam(TextParam):
    """Classes of the drawn shapes, with commas between."""

    name = "names"

    def parse(self, text: str) -> tuple[str, ...]:
        """The names, in the order of the classes."""
        from yolor_cfg.data.shapes import NAMES

        words = [word.strip() for word in text.split(",")]
        strange = [word for word in words if word not in NAMES]
        if strange:
            raise ValueError(f"{strange[0]!r} is none of {', '.join(NAMES)}")
        return tuple(name for name in NAMES if name in words)


@click.command()
@click.argument("out", type=click.Path())
@click.option(
    "--count", default=1000, show_default=True, type=click.IntRange(2), metavar="N", help="Number of images."
)
@click.option(
    "--size",
    default="320",
    show_default=True,
    type=SizeParam(),
    metavar="N|HxW",
    help="Image size: N pixels square, or height x width.",
)
@click.option(
    "--kind",
    type=click.Choice(SHAPE_KINDS),
    default="mixed",
    show_default=True,
    help="mixed: only the shape tells the class; coloured: each class has its own colours too; identities: "
    "30 objects with their own looks, with --identities; classes: one object an image, in folders by class, "
    "for classifiers.",
)
@click.option(
    "--held",
    type=click.IntRange(0),
    metavar="N",
    help="Hold out the last N images for validation; default: a fifth of them.",
)
@click.option(
    "--annotate",
    type=ShapeNamesParam(),
    metavar="NAME,...",
    help="Label only objects of these classes, and say so in the .data file; default: of all.",
)
@click.option("--identities", is_flag=True, help="Write six-column labels with object identities, as in JDE.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Random seed; the same seed draws the same images.",
)
def draw(out: str, **options: Any) -> None:
    """Draw a data set of coloured shapes into the new folder OUT.

    The labels are written both as Darknet's files and as COCO's JSON. There are six classes, with textures,
    occlusion and small objects; with --kind classes there are ten, and no boxes. Nothing is downloaded.
    """
    from yolor_cfg.data.shapes import KINDS as objects
    from yolor_cfg.data.shapes import MIXED
    from yolor_cfg.data.write_shapes import ShapesOptions, write_classes, write_shapes

    count, held, size = options["count"], options["held"], options["size"]
    if held is not None and held > count:
        raise click.BadParameter(f"{held} is more than --count {count}", param_hint="--held")
    size = size if isinstance(size, tuple) else (size, size)
    kind = options["kind"]
    named = options["identities"] or kind == "identities"
    wanted = ShapesOptions(count, size, objects.get(kind, MIXED), held, named)
    if options["annotate"]:
        if kind not in objects:
            raise click.BadParameter("--kind classes has no boxes to leave out", param_hint="--annotate")
        wanted = wanted._replace(annotated=options["annotate"])
    write = write_shapes if kind in objects else write_classes
    description = write(out, wanted, seed=options["seed"])
    print_stderr(f"{description}: {count_of(count, 'image', spec=',')}", "green")
