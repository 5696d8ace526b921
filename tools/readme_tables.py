"""Write a table into the README and one into docs/networks.md: `python tools/readme_tables.py [--check]`.

The README has between `<!-- corpus -->` and `<!-- /corpus -->` how many public cfgs build, which stays as it
is where these files are not at hand; the page has the networks of `cfg/` between `<!-- networks -->` and
`<!-- /networks -->`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import corpus_table
import pages

from yolor_cfg.count import count_costs, peak_activation
from yolor_cfg.graph import load_graph
from yolor_cfg.networks.family import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
NETWORKS_PAGE = pages.DOCS / "networks.md"
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
        f"[{name}](../cfg/{name}.cfg)",
        f"{graph.image.width} x {graph.image.height}",
        f"{counted.parameters:,}",
        f"{counted.parameters_folded:,}",
        f"{counted.gflops:.1f}",
        f"{peak_activation(graph).bytes / 2**20:.1f} MiB",
    )
    return f"| {' | '.join(cells)} |"


def replace_networks(text: str) -> str:
    """The page of the networks with a fresh table; exits if it has no place for one."""
    return replace_table(text, "networks", networks_table())


def replace_corpus(text: str) -> str:
    """The README with a fresh table of public cfgs, if they are at hand; exits if it has no place for one."""
    files = corpus_table.find_corpus()
    return replace_table(text, "corpus", corpus_table.corpus_table(files)) if files else text


def replace_table(text: str, name: str, table: str) -> str:
    """The text with another table between the marks of this name."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        sys.exit(f"the page has no {opening} followed by {closing}")
    return f"{before}{begin}\n{table}{end}{after}"


@click.command()
@click.option("--readme", type=click.Path(path_type=Path), default=ROOT / "README.md", help="another README")
@click.option(
    "--page", type=click.Path(path_type=Path), default=NETWORKS_PAGE, help="another page of networks"
)
@click.option("--check", is_flag=True, help="write nothing; exit 1 if a table is out of date")
def main(readme: Path, page: Path, check: bool) -> None:
    """Write the tables of public cfgs and of the networks."""
    for path, replace in ((readme, replace_corpus), (page, replace_networks)):
        fresh = replace(path.read_text(encoding="utf-8"))
        pages.update_page(path, fresh, tool="readme_tables", check=check)


if __name__ == "__main__":
    main()
