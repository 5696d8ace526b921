"""The native engine: `NativeEngine(network, precision=..., threads=...)`, then `engine(images)`."""

from __future__ import annotations

import ctypes
from collections import Counter
from threading import Lock

import torch
from torch import Tensor

from yolor_cfg.engines.native.binding import InstructionSet, NativeError, Threads, instruction_sets
from yolor_cfg.engines.native.lowering import lower, whole_in_torch
from yolor_cfg.engines.native.plan import Builder, Plan, StepTime
from yolor_cfg.model import Network
from yolor_cfg.shape import Shape

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MOST_PLANS = 8  # sizes of images that are kept


class NativeEngine:
    """Runs a network on the CPU; fold it before (rewrite.fold). `precision` bf16 keeps maps and weights in
    bfloat16 and sums in float32. `instructions` names one of `binding.instruction_sets()`, by default the
    best. One call at a time: calls from several threads wait for each other. One that `releases` takes the
    network over: the weights that its kernels have in their own order are freed in the network.

    `notes` tells what has no kernel and runs in torch. Raises NativeError if the library was not built."""

    def __init__(
        self,
        network: Network,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        instructions: str | None = None,
        winograd: tuple[int, ...] = (4, 2),
        releases: bool = False,
    ) -> None:
        if precision not in DTYPES:
            raise NativeError("no such precision", found=precision, allowed=list(DTYPES))
        self.network = network.eval()
        self.kernels = _choose_instructions(instructions)
        self._builder = Builder(self.kernels, DTYPES[precision], winograd, releases)
        self._threads = Threads(threads or torch.get_num_threads())
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._lock = Lock()
        self._whole = whole_in_torch(network)
        if releases and not self._whole:
            self._builder.decide(lower(network, network.graph.image).steps)
        self.notes: tuple[str, ...] = (f"runs in torch: {self._whole}",) if self._whole else ()

    def __call__(self, images: Tensor) -> list[Tensor]:
        """images [N, C, H, W] float32 -> what `network(images)` returns: the raw map of each head."""
        with torch.inference_mode(), self._lock:
            return self._run(images, None)

    def profile(self, images: Tensor) -> list[StepTime]:
        """The time of each operation of the kernels in one call."""
        with torch.inference_mode(), self._lock:
            plan = self._plan(images)
            native = [step for step in plan.steps if step.kind != "torch"]
            seconds = (ctypes.c_double * len(native))()
            self._run(images, seconds)
            return [
                StepTime(s.label, time, s.macs * len(images)) for s, time in zip(native, seconds, strict=True)
            ]

    def _run(self, images: Tensor, seconds: ctypes.Array[ctypes.c_double] | None) -> list[Tensor]:
        if self._whole:
            found: list[Tensor] = self.network(images)
            return found
        images = images.to(torch.float32, memory_format=torch.contiguous_format).contiguous()
        return self._plan(images).run(images, self._threads, seconds)

    def _plan(self, images: Tensor) -> Plan:
        """The plan for images of this size; the oldest of too many is dropped."""
        size = tuple(images.shape)
        if size not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                del self._plans[next(iter(self._plans))]
            steps = lower(self.network, Shape(*size[1:]))
            self.notes = _torch_notes(steps.torch_steps)
            self._plans[size] = Plan(steps, size[0], self._builder)
            return_freed_memory()
        return self._plans[size]


def make_owner(network: Network, *, precision: str) -> NativeEngine:
    """An engine that takes the network over."""
    return NativeEngine(network, precision=precision, releases=True)


def return_freed_memory() -> None:
    """Give the system back what malloc has kept, where the C library is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _choose_instructions(name: str | None) -> InstructionSet:
    found = instruction_sets()
    if not found:
        raise NativeError("the native engine has no kernels for this processor", allowed="AVX2 with FMA")
    if name is not None and name not in found:
        raise NativeError("this processor lacks these instructions", found=name, allowed=list(found))
    return found[name] if name is not None else list(found.values())[-1]


def _torch_notes(names: list[str]) -> tuple[str, ...]:
    """One line on the sections that have no kernel."""
    if not names:
        return ()
    kinds = Counter(name.split(" ")[0].strip("[") for name in names)
    listed = ", ".join(f"[{kind}] x {count}" if count > 1 else f"[{kind}]" for kind, count in kinds.items())
    return (f"{len(names)} sections run in torch: {listed}",)
