"""`yolor unite`: the parts of a run in shards as one file."""

from __future__ import annotations

import click

from yolor_cfg.cli.options import echo, is_on, json_option, print_json
from yolor_cfg.errors import count_of, escape


@click.command()
@click.argument("folder", type=click.Path())
@json_option
def unite(folder: str, as_json: bool) -> None:
    """Make one file of what the shards of `yolor detect --shard` wrote into FOLDER.

    Writes detections.jsonl and summary.json into it, as one run over all sources does, and embeddings.npz if
    the shards saved embeddings. If a part is not done, nothing is written and the exit code is 3.
    """
    from yolor_cfg.detect.parts import unite_parts

    summary = unite_parts(folder)
    if as_json:
        print_json(summary)
    elif not is_on("quiet"):
        images, found = (summary[name] for name in ("frames", "detections"))
        echo(f"{count_of(images, 'image')}, {count_of(found, 'detection')}", err=True)
        echo(f"results saved to {escape(folder)}", err=True)
