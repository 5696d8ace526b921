"""Write the table of the networks in `cfg/` into the README: `python tools/readme_tables.py [--check]`.

Only the text between `<!-- networks -->` and `<!-- /networks -->` is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from yolor_cfg.count import count_costs, peak_activation
from yolor_cfg.graph import load_graph
from yolor_cfg.networks.family import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- networks -->", "<!-- /networks -->"
TABLE_HEAD = """\
Parameters are as trained and with batch norm folded; GFLOPs (two a multiply-add) and the peak memory of the
activations (float32) are for one image of the size in the cfg.

| cfg | image | parameters | folded | GFLOPs | activations |
|---|---|---:|---:|---:|---:|
"""


def networks_table() -> str:
    """The table of all shipped networks, in the order of `networks.family`."""
    return TABLE_HEAD + "".join(f"{_table_row(name)}\n" for name in NETWORKS)


def _table_row(name: str) -> str:
    graph = load_graph(ROOT / "cfg" / f"{name}.cfg")
    counted = count_costs(graph)
    cells = (
        f"[{name}](cfg/{name}.cfg)",
        f"{graph.image.width} x {graph.image.height}",
        f"{counted.parameters:,}",
        f"{counted.parameters_folded:,}",
        f"{counted.gflops:.1f}",
        f"{peak_activation(graph).bytes / 2**20:.1f} MiB",
    )
    return f"| {' | '.join(cells)} |"


def replace_table(text: str) -> str:
    """The README with a fresh table; exits if it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"the README has no {BEGIN} followed by {END}")
    return f"{before}{BEGIN}\n{networks_table()}{END}{after}"


@click.command()
@click.option("--readme", type=click.Path(path_type=Path), default=ROOT / "README.md", help="another README")
@click.option("--check", is_flag=True, help="write nothing; exit 1 if the table is not what cfg/ gives")
def main(readme: Path, check: bool) -> None:
    """Write the table of the networks into the README."""
    text = readme.read_text(encoding="utf-8")
    fresh = replace_table(text)
    if check and fresh != text:
        sys.exit(f"the networks in {readme.name} are out of date; run python tools/readme_tables.py")
    if fresh != text:
        readme.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
