"""What `yolor test` leaves for images without annotations: detections to hand in, and no figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import print_json, print_stderr

if TYPE_CHECKING:
    from pathlib import Path

    from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth


def save_predictions(
    ground: GroundTruth, detections: Doubles, options: dict[str, Any], *, folder: Path | None
) -> None:
    """For images without annotations: predictions.json, as servers take it, and no figures; in this folder or
    a new one."""
    import json

    from yolor_cfg.evaluate.results import to_coco_results
    from yolor_cfg.runs import new_folder, save_text

    results = to_coco_results(detections, ground)
    place = (folder or new_folder(options["project"], options["name"])) / "predictions.json"
    save_text(place, json.dumps(results) + "\n")
    print_stderr("the images have no annotations: no figures", "yellow")
    if options["as_json"]:
        print_json({"images": len(ground.image_ids), "detections": len(results), "predictions": str(place)})
    else:
        click.echo(f"{len(results):,} detections in {len(ground.image_ids):,} images: {place}")
