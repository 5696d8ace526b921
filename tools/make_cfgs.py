"""Write every network of `cfg/` from the family's table: `python tools/make_cfgs.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from yolor_cfg.networks.family import NETWORKS, cfg_text

CFG = Path(__file__).resolve().parents[1] / "cfg"


@click.command()
@click.option("--check", is_flag=True, help="write nothing; exit 1 if a file differs from the table")
@click.option(
    "--out", type=click.Path(path_type=Path), default=CFG, help="folder to write to in place of cfg/"
)
def main(check: bool, out: Path) -> None:
    """Write all networks of the table; `yolor new` writes one for your own classes and size."""
    texts = {out / f"{name}.cfg": cfg_text(name, row) for name, row in NETWORKS.items()}
    stale = [path.name for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if check:
        sys.exit(f"differs from the table: {', '.join(stale)}; run python tools/make_cfgs.py" if stale else 0)
    out.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
