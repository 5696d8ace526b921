"""What a cfg costs at several image sizes, without torch: `python inspect_costs.py [CFG]`."""

import sys

from yolor_cfg.count import count_costs, peak_activation
from yolor_cfg.graph import ReadOptions, load_graph
from yolor_cfg.networks.catalog import shipped_cfg

cfg = sys.argv[1] if len(sys.argv) > 1 else shipped_cfg("yolor_nano")
for size in (320, 640, 960):
    graph = load_graph(cfg, ReadOptions(size=size))
    costs, peak = count_costs(graph), peak_activation(graph)
    print(f"{size:>4} x {size}: {costs.gflops:6.2f} GFLOPs, {peak.bytes / 2**20:6.1f} MiB at the peak")

costliest = max(costs.nodes, key=lambda cost: cost.macs)
node, share = graph.nodes[costliest.number], costliest.macs / costs.macs
print(f"{costs.parameters:,} parameters")
print(f"[{node.section.type} #{node.index}] (line {node.line}) has {share:.0%} of the multiply-adds")
