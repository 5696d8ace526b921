"""Implicit knowledge: learned values, the same for every image, and combining a map with one.

Legend: N images, C channels, A atoms or anchors, H W cells, K basis vectors, P elements of a prior.
N = 1 broadcasts over the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate
from yolor_cfg.ops.combining import cat_channels

Combine = Callable[[Tensor, Tensor], Tensor]
LINK = 0.1  # what a chain adds initially, in standard deviations of the value itself


class InitOptions(NamedTuple):
    """The shape (C, H, W) of a value, its initial mean and standard deviation, and how many such values there
    are, one for each task."""

    shape: tuple[int, ...]
    mean: float
    sigma: float
    number: int = 1

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape [T, C, H, W] of all values."""
        return (self.number, *self.shape)


class ImplicitModel(nn.Module):
    """A learned value [1, C, H, W] for all images; a chain may add to the model's own value.

    With `tasks` the model has a value for each of them, [T, C, H, W], and gives out those chosen: at first
    that of the first task. A task that is not among them has the value `neutral` everywhere.
    """

    tasks: tuple[str, ...] = ()
    neutral = 0.0
    by_task = ""  # the parameter that holds rows for each task; others are shared

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("link", None)
        self._chosen: Sequence[int] = (0,)

    def serve_tasks(self, tasks: tuple[str, ...], neutral: float) -> ImplicitModel:
        """Name the tasks of its values; returns self."""
        self.tasks, self.neutral = tasks, neutral
        return self

    def choose_tasks(self, tasks: Sequence[str]) -> None:
        """From now on give out the values of these tasks: of one task [1, C, H, W], of several, one for each
        image, [N, C, H, W]."""
        if self.tasks:
            self._chosen = [self.tasks.index(task) if task in self.tasks else -1 for task in tasks]

    def add_link(self, link: Tensor) -> ImplicitModel:
        """Add the matrix `link` [elements of the value, elements of another task's value]; returns self."""
        self.link = nn.Parameter(link)
        return self

    def values_of(self, task: str) -> dict[str, Tensor]:
        """The state of a model of this task alone; without values for it, that of an ImplicitTensor."""
        held: dict[str, Tensor] = dict(self.state_dict())
        if not self.tasks:
            return held
        if task not in self.tasks:
            shape = self.compute_value()[:1]
            return {"implicit": torch.full_like(shape, self.neutral)}
        rows = held[self.by_task].chunk(len(self.tasks))
        return {**held, self.by_task: rows[self.tasks.index(task)]}

    def forward(self, *before: Tensor) -> Tensor:
        """A new tensor [1, C, H, W]: the model's own value, plus link @ `before` if there is a chain."""
        own = self.chosen_value()
        if self.link is not None:
            own = own + F.linear(before[0].flatten(1), self.link).reshape(-1, *own.shape[1:])
        if not self.tasks or min(self._chosen) >= 0:
            return own
        served = torch.tensor(self._chosen, device=own.device)[:, None, None, None] >= 0
        return torch.where(served, own, self.neutral)

    def chosen_value(self) -> Tensor:
        """The model's own values of the tasks chosen; of a task that has none, those of the first."""
        own = self.compute_value()
        return own[[max(row, 0) for row in self._chosen]] if self.tasks else own

    def compute_value(self) -> Tensor:
        """The model's own values, as a new tensor [1, C, H, W], of T tasks [T, C, H, W]."""
        raise AssertionError(f"{type(self).__name__} computes no value")

    def penalty(self) -> Tensor | None:
        """What this model adds to the loss; None if nothing."""
        return None


class ImplicitTensor(ImplicitModel):
    """Eq. 6 of YOLOR: the tensor `implicit` [1, C, H, W] itself, of T tasks [T, C, H, W]."""

    by_task = "implicit"

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.implicit = nn.Parameter(start)

    def compute_value(self) -> Tensor:
        """A copy, so that callers cannot modify the parameter."""
        return self.implicit.clone()


class BatchedImplicit(ImplicitTensor):
    """An ImplicitTensor repeated over the images of a batch."""

    def forward(self, *images: Tensor) -> Tensor:
        """images [N, ...], of which only N is used -> copies [N, C, H, W]."""
        (batch,) = images
        value = super().forward()
        return value.repeat(batch.shape[0], 1, 1, 1) if len(value) == 1 else value


class ImplicitNetwork(ImplicitModel):
    """Eq. 7, W z: a prior z multiplied by one or more matrices, with the activation between them.

    Each of A rows (1 for a vector) has its own prior z [P]; the matrices are shared. If h [A, n] is the input
    of the last matrix, W ~ N(0, sigma^2 / mean |h|^2) makes every element of W h normally distributed around
    0 with standard deviation exactly sigma, whatever the layers and the activation before it. The mean is
    added separately: a factor must start at 1, and a W that contained that mean would learn much faster along
    it than across.
    """

    by_task = "prior"

    def __init__(self, start: InitOptions, widths: Sequence[int], activation: str) -> None:
        """`widths` are P, the hidden sizes and the length of a row."""
        super().__init__()
        self.start, self.activation = start, activation
        rows = math.prod(start.whole) // widths[-1]
        self.prior = nn.Parameter(normal((rows, widths[0]), 0, start.sigma or 1))  # N(0, sigma), section 4.3
        self.weights = nn.ParameterList()
        hidden: Tensor = self.prior.detach()
        for before, width in zip(widths, widths[1:-1], strict=False):
            self.weights.append(choose_sign(normal((width, before), 0, before**-0.5), hidden, activation))
            hidden = activate(F.linear(hidden, self.weights[-1].detach()), activation)
        length = hidden.square().sum(1).mean().sqrt()
        self.weights.append(normal((widths[-1], widths[-2]), 0, 1) * (start.sigma / length))

    def compute_value(self) -> Tensor:
        """mean + W act(... W z)."""
        *hidden, last = self.weights
        h: Tensor = self.prior  # [A, P]
        for weight in hidden:
            h = activate(F.linear(h, weight), self.activation)
        return (F.linear(h, last) + self.start.mean).reshape(self.start.whole)


class ImplicitFactors(ImplicitModel):
    """Eq. 8, Z^T c: K basis vectors Z [K, C] mixed by coefficients c [A, K], one row per atom.

    Initially |c| = 1 and Z ~ N(0, sigma), so each element of Z^T c ~ N(0, sigma). If `nonnegative`, |Z| and
    |c| are used instead. For Z ~ N(0, s), |Z| has mean s sqrt(2 / pi) and variance s^2 (1 - 2 / pi): with
    c = 1 / sqrt(K) and s^2 = sigma^2 / (1 - 2 / pi) the standard deviation is sigma again, and the mean
    sigma sqrt(2 K / (pi - 2)) is subtracted. The value cannot fall further than this below its mean.
    """

    by_task = "coefficients"

    def __init__(
        self, start: InitOptions, sizes: tuple[int, int], *, nonnegative: bool, sparse: float
    ) -> None:
        """`sizes` are K and the length of a basis vector."""
        super().__init__()
        (rank, width), self.start = sizes, start
        self.nonnegative, self.sparse = nonnegative, sparse
        rows = math.prod(start.whole) // width
        coefficients = torch.ones(rows, rank) if nonnegative else normal((rows, rank), 0, 1)
        self.coefficients = nn.Parameter(coefficients / coefficients.norm(dim=1, keepdim=True))
        spread = start.sigma / math.sqrt(1 - 2 / math.pi) if nonnegative else start.sigma
        self.basis = nn.Parameter(normal((rank, width), 0, spread))
        level = start.sigma * math.sqrt(2 * rank / (math.pi - 2)) if nonnegative else 0.0
        self.offset = start.mean - level

    def compute_value(self) -> Tensor:
        """offset + Z^T c."""
        factors = self.coefficients, self.basis
        c, basis = (factor.abs() for factor in factors) if self.nonnegative else factors
        return (c @ basis + self.offset).reshape(self.start.whole)

    def penalty(self) -> Tensor | None:
        """`sparse` times the sum of |c|, which drives coefficients to 0."""
        return self.sparse * self.coefficients.abs().sum() if self.sparse else None


def choose_sign(weight: Tensor, x: Tensor, activation: str) -> Tensor:
    """The weight [D, C] or its negative, whichever passes more of x [A, C] through the activation, so that no
    network starts with all of its units dead."""
    there, back = (activate(F.linear(x, sign * weight), activation).norm() for sign in (1, -1))
    return torch.where(there >= back, weight, -weight)


def initial_link(start: InitOptions, before: tuple[int, ...]) -> Tensor:
    """The initial matrix of a chain: so small that a value around 1 adds a tenth of sigma (half a percent of
    the value's own standard deviation), but not 0, so that the other task has influence at once."""
    numbers = math.prod(before)
    return normal((math.prod(start.shape), numbers), 0, LINK * start.sigma / math.sqrt(numbers))


def normal(shape: tuple[int, ...], mean: float, std: float) -> Tensor:
    """Normally distributed numbers."""
    return torch.empty(shape).normal_(mean, std)


def uniform(shape: tuple[int, ...], mean: float, width: float) -> Tensor:
    """Numbers uniformly distributed from mean - width to mean + width."""
    return torch.empty(shape).uniform_(mean - width, mean + width)


def shift(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] + z [N, C, 1 or H, 1 or W]."""
    return x + z


def control(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] times z [N, C, 1 or H, 1 or W]."""
    return x * z


def select(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] times the sigmoid of z [N, C, 1 or H, 1 or W]."""
    return x * z.sigmoid()


def alternate(x: Tensor, z: Tensor) -> Tensor:
    """z [N, D, 1 or H, 1 or W] expanded to the size of the map, then x [N, C, H, W]: [N, D + C, H, W]."""
    return cat_channels([z.expand(-1, -1, *x.shape[2:]), x])


# The z that changes nothing, for channels that are left out. The sigmoid of infinity is 1.
NEUTRAL: dict[Combine, float] = {shift: 0.0, control: 1.0, select: math.inf}


class ChannelPlacement(NamedTuple):
    """Which channels the elements of z apply to: with `is_grouped`, one for all channels of an anchor; with a
    `part` (first, end), only to these channels of each anchor."""

    channels: int
    anchors: int
    part: tuple[int, int] | None
    is_grouped: bool

    def expand(self, z: Tensor, rest: float) -> Tensor:
        """z [N, C, A or A x part; H, W] -> [N, C, H, W], with `rest` in the other channels."""
        if self.is_grouped:  # channel i belongs to anchor floor(i A / C): equal shares, or one more
            z = torch.cat(
                [
                    z[:, anchor : anchor + 1].expand(-1, share, -1, -1)
                    for anchor, share in enumerate(self._shares)
                ],
                dim=1,
            )
        if self.part is None:
            return z
        first, end = self.part
        each = z.unflatten(1, (self.anchors, -1))  # [N, A, values or values of the part, H, W]
        values = self.channels // self.anchors
        each = each[:, :, first:end] if each.shape[2] == values else each
        return F.pad(each, (0, 0, 0, 0, first, values - end), value=rest).flatten(1, 2)

    @property
    def _shares(self) -> list[int]:
        bounds = [-(-anchor * self.channels // self.anchors) for anchor in range(self.anchors + 1)]
        return [end - first for first, end in zip(bounds, bounds[1:], strict=False)]


class VectorCombine(nn.Module):
    """A map combined with a vector by one of the functions above; `flat` first flattens z to a vector,
    `placing` assigns its elements to channels."""

    def __init__(self, combine: Combine, flat: bool, placing: ChannelPlacement | None = None) -> None:
        super().__init__()
        self.combine, self.flat, self.placing = combine, flat, placing

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x [N, C, H, W], z [N, D, 1 or H, 1 or W] (flat: D numbers) -> [N, C or D + C, H, W]."""
        z = z.reshape(z.shape[0], -1, 1, 1) if self.flat else z
        if self.placing is not None:
            z = self.placing.expand(z, NEUTRAL[self.combine])
        return self.combine(x, z)


class Projection(nn.Module):
    """The inner products of each cell with implicit vectors: a 1x1 convolution with them as kernels."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.filters = filters

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x [N, C, H, W], z [1 or N, ...] of D x C numbers, vector after vector -> [N, D, H, W]."""
        vectors = z.reshape(z.shape[0], self.filters, x.shape[1])
        out: Tensor = (vectors @ x.flatten(2)).unflatten(2, x.shape[2:])
        return out
