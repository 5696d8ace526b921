"""What `tools/ablation.py` trains: the recipe shared by all runs, and the networks compared.

A run is a variant and a seed. Its fingerprint covers all that defines it; two runs of one seed and recipe see
the same images in the same order with the same random numbers, and start with the same weights up to the
neck, since implicit knowledge stands behind it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.data.shapes import KINDS, NAMES
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks.paper import FAST, TABLES, Ablation, ablation_text

NETWORK = "yolor_micro"
TRAIN_IMAGES, TEST_IMAGES = 600, 200
EPOCHS, BATCH = 10, 8
# Width, height in pixels of the 128 px input, found with the cfg and the images that a run leaves in
# runs/ablation by: yolor anchors CFG --data SHAPES.data
ANCHORS = "12,12, 15,15, 19,19, 23,23, 34,21, 30,30, 26,40, 39,39, 48,48"


class AblationRecipe(NamedTuple):
    """All that is the same in every run.

    Images are drawn `picture` pixels wide and high, and resized to `size` for training and testing: what COCO
    calls small, medium and large is measured in the drawn images, which have all three. `objects` is one of
    the shapes' KINDS. `hyp` lists the numbers of YOLOR's recipe that differ from scratch1280; `val_every` is
    the number of epochs between two tests.
    """

    train_pictures: int = TRAIN_IMAGES
    test_pictures: int = TEST_IMAGES
    picture: int = 320
    objects: str = "coloured"
    data_seed: int = 2021
    size: int = 128
    anchors: str = ANCHORS
    epochs: int = EPOCHS
    batch: int = BATCH
    update_batch: int = 8
    val_every: int = 2
    optimizer: str = "adamw"
    precision: str = "fp32"
    hyp: Mapping[str, float] = {
        "lr0": 0.005,
        "lrf": 0.02,
        "warmup_epochs": 0.3,
        "warmup_bias_lr": 0.005,
        "weight_decay": 0.05,
        "box": 0.1,
        "cls": 4.0,
        "translate": 0.1,
        "scale": 0.25,
        "mosaic": 0.0,
        "hsv_s": 0.3,
        "hsv_v": 0.3,
    }


RECIPE = AblationRecipe()
ADJUSTABLE = ("train_pictures", "test_pictures", "epochs")
"""What the command line may change."""


class AblationRun(NamedTuple):
    """A variant by its place in the paper, `table1/iFA`, and the seed of all its random numbers."""

    variant: str
    seed: int


def _variants() -> dict[str, list[str]]:
    """Each network once, under its first place in the paper, with all of its places. Those on other bases are
    left out: Table 3, whose second tasks are not detection, and Table 7's second pair."""
    found: dict[Ablation, list[str]] = {}
    for table, rows in TABLES.items():
        for row, variant in rows.items():
            if variant.base == FAST:
                found.setdefault(variant._replace(paper_name=""), []).append(f"{table}/{row}")
    return {places[0]: places for places in found.values()}


VARIANTS = _variants()
BASELINE, IMPLICIT = "table1/baseline", "table7/implicit1"
DEFAULT_VARIANTS = (
    BASELINE,
    "table1/iFA",
    "table2/iPR",
    "table4/mul-iPR",
    IMPLICIT,
    "table6/wiFA",
    "table6/icFA",
)
"""The variants that are trained when none are named."""


def find_variant(word: str) -> str | None:
    """The variant of that name: its place, or the row alone."""
    names = {
        name: variant
        for variant, places in VARIANTS.items()
        for place in places
        for name in (place, place.partition("/")[2])
    }
    return names.get(word)


def variant_label(variant: str) -> str:
    """As the paper writes it."""
    table, _, row = variant.partition("/")
    return "+ iFA, × iPR" if variant == IMPLICIT else TABLES[table][row].paper_name


def cfg_text(variant: str, recipe: AblationRecipe) -> str:
    """The variant of the micro network for the recipe's input and anchors."""
    table, _, row = variant.partition("/")
    text = ablation_text(table, row, base=NETWORK, classes=len(NAMES))
    text = re.sub(r"(?m)^(width|height)=.*$", rf"\1={recipe.size}", text)
    # Only a head's anchors are a list; those of a starred operator are their number.
    return re.sub(r"(?m)^anchors=.*,.*$", f"anchors={recipe.anchors}", text)


def ablation_graph(variant: str, recipe: AblationRecipe) -> Graph:
    """The variant, wired and sized."""
    return build_graph(parse(cfg_text(variant, recipe)))


def fingerprint(variant: str, recipe: AblationRecipe) -> str:
    """Ten digits that change with anything in the recipe or the network, comments aside."""
    document = parse(cfg_text(variant, recipe))
    sections = [
        [raw.name, [[line.key, line.value] for line in raw.entries]]
        for raw in (document.net, *document.layers)
    ]
    said: list[Any] = [sorted(recipe_dict(recipe).items()), sections]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:10]


def fingerprints(variants: Iterable[str], recipe: AblationRecipe) -> dict[str, str]:
    """The fingerprint of each of these variants."""
    return {variant: fingerprint(variant, recipe) for variant in variants}


def recipe_dict(recipe: AblationRecipe) -> dict[str, Any]:
    """The recipe as JSON holds it."""
    return {**recipe._asdict(), "hyp": dict(recipe.hyp)}


def plan_runs(variants: tuple[str, ...], seeds: tuple[int, ...]) -> list[AblationRun]:
    """Seed by seed, so that the runs finished at any time can be compared."""
    return [AblationRun(variant, seed) for seed, variant in product(seeds, variants)]


def prepare_data(recipe: AblationRecipe, work: Path) -> Path:
    """The .data file of the recipe's images, which are drawn on the first call."""
    from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes

    trained, tested, side = recipe.train_pictures, recipe.test_pictures, recipe.picture
    folder = work / f"shapes-{recipe.objects}-{trained}-{tested}-{side}px-{recipe.data_seed}"
    description = folder / "shapes.data"  # written last: where it exists, everything else does
    if not description.exists():
        wanted = ShapesOptions(trained + tested, (side, side), KINDS[recipe.objects], tested)
        write_shapes(folder, wanted, seed=recipe.data_seed)
    return description
