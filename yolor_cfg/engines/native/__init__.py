"""The native engine: a folded network on the CPU, by our own kernels (C++, in `src`).

`lowering` turns the network into steps on maps, `layout` gives the maps their places in one block of memory,
`packing` brings weights into the order of the kernels, `plan` makes the operations that `binding` runs, and
`engine` is what callers use.
"""
