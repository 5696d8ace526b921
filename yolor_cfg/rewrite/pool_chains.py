"""Max pools of growing size over one input become a chain of small ones."""

from __future__ import annotations

from itertools import pairwise

from yolor_cfg.ops.pooling import PoolLayer, PoolWindow, max_pool2d
from yolor_cfg.rewrite.program import Program, ProgramStep


def chain_pools(program: Program) -> int:
    """Let each pool of stride 1 read the next smaller one, in place; returns how many do.

    The largest of 13 x 13 values is that of the 5 x 5 largest of 9 x 9 each: nothing outside the map counts.
    """
    changed = 0
    for source in list(program.steps):
        pools = {_plain_size(step): step for step in program.readers(source) if _plain_size(step)}
        for small, large in pairwise(sorted(pools)):
            pools[large] = _chain(program, (pools[small], pools[large]), size=large - small + 1)
            changed += 1
    return changed


def _plain_size(step: ProgramStep) -> int:
    """The size of an odd window around each cell; 0 for all else."""
    layer = step.module
    if not isinstance(layer, PoolLayer) or layer.function is not max_pool2d:
        return 0
    size, strides, padding = layer.window
    return size if size % 2 and strides == (1, 1) and padding == size - 1 else 0


def _chain(program: Program, pools: tuple[ProgramStep, ProgramStep], *, size: int) -> ProgramStep:
    """Replace the larger pool by one of that size over the smaller, behind both; returns it."""
    small, large = pools
    layer = PoolLayer(max_pool2d, PoolWindow(size, (1, 1), size - 1))
    pool = ProgramStep("maxpool", layer, {"size": str(size), "stride": "1"}, [small])
    pool.channels, pool.comments = large.channels, large.comments
    program.insert_after(pool, max(pools, key=program.steps.index))
    program.replace(large, pool)
    return pool
