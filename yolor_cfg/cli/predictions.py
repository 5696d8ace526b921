"""What `yolor test` leaves for images without annotations: detections to hand in, and no figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yolor_cfg.cli.options import echo, print_json, print_stderr
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth


def save_predictions(folder: Path | None, ground: GroundTruth, detections: Doubles, *, as_json: bool) -> None:
    """Write predictions.json, as servers take it, into the folder, if one is wanted; and say how many."""
    import json

    from yolor_cfg.evaluate.results import to_coco_results
    from yolor_cfg.runs import save_text

    results = to_coco_results(detections, ground)
    place = folder / "predictions.json" if folder else None
    if place:
        save_text(place, json.dumps(results) + "\n")
    print_stderr("the images have no annotations: no figures", "yellow")
    images = len(ground.image_ids)
    if as_json:
        print_json({"images": images, "detections": len(results), "predictions": place and str(place)})
    else:
        found = count_of(len(results), "detection", spec=",")
        echo(f"{found} in {count_of(images, 'image', spec=',')}: {place or 'not saved'}")
