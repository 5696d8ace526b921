"""Implicit knowledge: sections whose output is learned and the same for every image.

The model of a value (YOLOR, section 4.2) is a vector, a network or a factorization. The mean it is
initialized with depends on the operator it is used with (section 4.3): 1 for multiplication, otherwise 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import DARKNET_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey, Choice, Flag, Float, Int
from yolor_cfg.lang.lists import IntList, Ref
from yolor_cfg.ops.windows import NO_CELL, Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.tensors import TensorSpec
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

# The keys that only some models use.
MODEL_KEYS: dict[str, frozenset[str]] = {
    "vector": frozenset(),
    "network": frozenset(("prior", "hidden", "activation")),
    "factorization": frozenset(("prior", "rank", "sparse", "nonnegative")),
}
MEAN_HELP = "initial mean of the values; models other than vector learn the difference from it"


def example_cfgs(name: str, size: str) -> tuple[str, ...]:
    """Examples of an implicit section of that size: each model, and a chain."""
    section = f"[{name}]\n{size}"
    return (
        f"{section}\nmean=.5\nsigma=.1",
        f"{section}\nmodel=network\nprior=5\nhidden=4,7\nactivation=silu",
        f"{section}\nmodel=factorization\nprior=9",
        f"{section}\nmodel=factorization\nrank=3\nnonnegative=1\nsparse=.001",
        f"[implicit_add]\nfilters=4\n{section}\nchain=0",
        f"{section}\ntask=day,night",
        f"{section}\nmodel=network\nprior=5\ntask=day,night,dusk",
        f"{section}\nmodel=factorization\nrank=3\ntask=day,night",
    )


TASK_ROLES = ("implicit", "prior", "coefficients")
"""The tensors that hold rows for each task; matrices and basis vectors are shared."""


class _TaskValues(Section):
    """A section that holds values for each of the tasks that it names, or one set of values for all."""

    @property
    def _count(self) -> int:
        return len(self.task) or 1

    def values_by_task(self, tensors: Sequence[TensorSpec]) -> int:
        """The numbers of one task."""
        return sum(one.size for one in tensors if one.role in TASK_ROLES) // self._count if self.task else 0


class DarknetImplicitSection(_TaskValues, names="implicit"):
    """A learned map `filters` x `atoms` x 1; the images it reads only give the batch size."""

    dialects = DARKNET_ONLY
    examples = (
        "[implicit]\nfilters=6\natoms=3\nmean=1\nstd=.1",
        "[implicit]\nfilters=6\ntask=day,night",
    )

    filters = Int(128, least=1, wanted=True, help="number of channels of the map")
    atoms = Int(1, least=1, help="height of the map")
    mean = Float(0, use="training", help="initial mean of the values")
    std = Float(0.2, least=0, use="training", help="initial values are uniform from mean - std to mean + std")

    def sources(self) -> tuple[int, ...]:
        return (-1,)

    def shape(self, image: Shape) -> Shape:
        return Shape(self.filters, self.atoms, 1)

    def sights(self, out: Shape, image: Shape) -> tuple[Sight]:
        return (NO_CELL,)

    def module(self, image: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        values = (self._count, *self.shape(image))
        module = ops.BatchedImplicit(ops.uniform(values, self.mean, self.std))
        return module.serve_tasks(self.task, self.mean)

    def tensors(self, image: Shape) -> list[TensorSpec]:
        return [TensorSpec("implicit", "implicit", (self._count, *self.shape(image)))]

    def decayed(self) -> tuple[str, ...]:
        return ("implicit",)


class _ImplicitSection(_TaskValues):
    """YOLOR's implicit section: its output is a learned tensor [1, C, H, W]."""

    dialects = YOLOR_ONLY
    required_keys: ClassVar[tuple[str, ...]] = ("filters",)

    filters = Int(1, least=1, wanted=True, help="number of values (per atom)")
    model = Choice("vector", tuple(MODEL_KEYS), help="model of the values: z itself, W z, or Z^T c (Eq. 6-8)")
    mean = Float(0, help=MEAN_HELP)
    std = Float(0.02, least=0, help="C Darknet's name for sigma")
    sigma = Float(
        lambda section: section.std,
        least=0,
        help="initial standard deviation of the values; nonnegative values stay above "
        "mean - 1.32 sigma sqrt(rank)",
    )
    prior = Int(
        lambda section: 2 * section.filters,
        least=1,
        help="length of the prior z of a network, or of c in a factorization (default 2 x filters)",
    )
    hidden = IntList((), help="widths of the network's hidden layers, starting from the prior")
    activation = ActivationKey("linear", help="activation function of the network's hidden layers")
    rank = Int(
        lambda section: section.prior,
        least=1,
        help="number of basis vectors of the factorization (default prior)",
    )
    sparse = Float(
        0,
        least=0,
        use="training",
        help="weight of the L1 loss on the coefficients c, which makes them sparse",
    )
    nonnegative = Flag(False, help="1: Z and c are used as absolute values")
    chain = Ref((), help="an implicit section before this one, whose value times a learned matrix is added")

    def check(self) -> None:
        self.require_keys(*self.required_keys)
        if min(self.hidden, default=1) < 1:
            self.fault("hidden", "out of bounds", found=self.lines["hidden"].value, allowed="1 or more")
        if len(self.chain) > 1:
            found = count_of(len(self.chain), "section")
            self.fault("chain", "takes one section", found=found, allowed="one number")
        meant = frozenset.union(*MODEL_KEYS.values())
        for key in sorted(self.values.keys() & meant - MODEL_KEYS[self.model]):
            models = [f"model={model}" for model, keys in MODEL_KEYS.items() if key in keys]
            self.warn(key, "has no effect with this model", found=f"model={self.model}", allowed=models)
        if self.model == "network" and "activation" in self.values and not self.hidden:
            self.warn("activation", "has no effect without hidden layers", hint="add them with hidden=...")

    def sources(self) -> tuple[int, ...]:
        return self.resolve_refs(self.chain, "chain")

    def shape(self, *before: Shape) -> Shape:
        for value in before:
            if value.width > 1:
                raise self.error(
                    "chain",
                    "the output of that section is a feature map",
                    found=f"{value.height}x{value.width}",
                    allowed="an implicit section",
                )
        return Shape(self.filters, 1, 1)

    def module(self, *before: Shape) -> nn.Module:
        from yolor_cfg.ops import implicit as ops

        start = ops.InitOptions(tuple(self.shape(*before)), self.mean, self.sigma, self._count)
        module: ops.ImplicitModel
        if self.model == "network":
            module = ops.ImplicitNetwork(start, self._layer_widths, self.activation)
        elif self.model == "factorization":
            module = ops.ImplicitFactors(
                start, (self.rank, self.filters), nonnegative=self.nonnegative, sparse=self.sparse
            )
        else:
            module = ops.ImplicitTensor(ops.normal(start.whole, self.mean, self.sigma))
        module.serve_tasks(self.task, self.mean)
        return module.add_link(ops.initial_link(start, before[0])) if before else module

    def macs(self, out: Shape, *before: Shape) -> int:
        products = sum(tensor.size for tensor in self._own_tensors(out) if tensor.role in ("layer", "basis"))
        rows = self._count * out.size // self.filters
        return products * rows + sum(out.size * value.size for value in before)

    def tensors(self, *before: Shape) -> list[TensorSpec]:
        out = self.shape(*before)
        return self._own_tensors(out) + [
            TensorSpec("link", "link", (out.size, value.size)) for value in before
        ]

    @property
    def _layer_widths(self) -> tuple[int, ...]:
        """The widths of the prior, the hidden layers and the output."""
        return (self.prior, *self.hidden, self.filters)

    def _own_tensors(self, out: Shape) -> list[TensorSpec]:
        """The tensors of the model; all models but a vector have one row of values per atom, and of each
        task rows of its own. Matrices and basis vectors are shared by the tasks."""
        rows = self._count * out.size // self.filters
        if self.model == "network":
            widths = enumerate(zip(self._layer_widths[1:], self._layer_widths, strict=False))
            layers = [TensorSpec("layer", f"weights.{number}", sizes) for number, sizes in widths]
            return [TensorSpec("prior", "prior", (rows, self.prior)), *layers]
        if self.model == "factorization":
            coefficients = TensorSpec("coefficients", "coefficients", (rows, self.rank))
            return [coefficients, TensorSpec("basis", "basis", (self.rank, self.filters))]
        return [TensorSpec("implicit", "implicit", (self._count, *out))]


class _Implicit2dSection(_ImplicitSection):
    """`atoms` rows of `filters` values; atoms are channels, so that a 1x1 convolution mixes them. Each row
    has its own prior or coefficients; matrices and basis vectors are shared."""

    required_keys = ("atoms", "filters")

    atoms = Int(1, least=1, wanted=True, help="number of rows of the matrix")

    def shape(self, *before: Shape) -> Shape:
        super().shape(*before)
        return Shape(self.atoms, self.filters, 1)


class ImplicitAddSection(_ImplicitSection, names="implicit_add"):
    """A learned vector to add, initialized around 0."""

    examples = example_cfgs("implicit_add", "filters=6")


class ImplicitMulSection(_ImplicitSection, names="implicit_mul"):
    """A learned vector to multiply by, initialized around 1."""

    examples = example_cfgs("implicit_mul", "filters=6")

    mean = Float(1, help=MEAN_HELP)


class ImplicitCatSection(_ImplicitSection, names="implicit_cat"):
    """A learned vector to concatenate, initialized around 0."""

    examples = example_cfgs("implicit_cat", "filters=6")


class ImplicitAdd2dSection(_Implicit2dSection, names="implicit_add_2d"):
    """A learned matrix to add, initialized around 0."""

    examples = example_cfgs("implicit_add_2d", "atoms=3\nfilters=6")


class ImplicitMul2dSection(_Implicit2dSection, names="implicit_mul_2d"):
    """A learned matrix to multiply by, initialized around 1."""

    examples = example_cfgs("implicit_mul_2d", "atoms=3\nfilters=6")

    mean = Float(1, help=MEAN_HELP)


class ImplicitCat2dSection(_Implicit2dSection, names="implicit_cat_2d"):
    """A learned matrix to concatenate, initialized around 0."""

    examples = example_cfgs("implicit_cat_2d", "atoms=3\nfilters=6")
