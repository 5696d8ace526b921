"""What of a network does not learn, and sums that do not depend on chance."""

from __future__ import annotations

import torch

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.train.settings import TrainOptions


def set_deterministic(options: TrainOptions) -> None:
    """Make torch's own sums deterministic: always on the CPU, on a GPU only on request.

    On the CPU this has no measurable cost; a GPU becomes slower.
    """
    asked = options.deterministic or not options.device.startswith("cuda")
    torch.use_deterministic_algorithms(asked, warn_only=not options.deterministic)
    # torch declares no type for this.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # untyped


def frozen_layers(network: Network, options: TrainOptions) -> list[torch.nn.Module]:
    """The layers that neither learn nor change their statistics: the first ones, and all without implicit
    knowledge if only that is trained."""
    alone = options.train_only == "implicit"
    return [
        layer
        for number, layer in enumerate(network.module_list)
        if number < options.freeze or (alone and not isinstance(layer, ImplicitModel))
    ]


def freeze(network: Network, options: TrainOptions) -> None:
    """Exclude the parameters of the frozen layers from training; raises CfgError if none is left."""
    for layer in frozen_layers(network, options):
        layer.requires_grad_(False)
    if any(parameter.requires_grad for parameter in network.parameters()):
        return
    path, layers = network.graph.path, network.module_list
    if options.train_only and not any(isinstance(layer, ImplicitModel) for layer in layers):
        raise CfgError(
            "there is no implicit section in this network",
            path=path,
            found=f"--train-only {options.train_only}",
        )
    raise CfgError(
        "nothing is left to learn",
        path=path,
        found=f"--freeze {options.freeze}",
        allowed=f"fewer than its {count_of(len(layers), 'layer')}, so that some with parameters are left",
    )
