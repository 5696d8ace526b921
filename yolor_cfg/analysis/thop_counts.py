"""thop's own count of a network, by running thop on it without numbers; count.py explains it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolor_cfg.count import ConventionCosts, NodeConventionCosts
from yolor_cfg.graph import Graph
from yolor_cfg.model import Network
from yolor_cfg.ops.losses import SoftmaxLayer
from yolor_cfg.ops.norms import OuterBatchNorm1d, OuterBatchNorm2d
from yolor_cfg.ops.pooling import GlobalAvgPool, PoolLayer, avg_pool2d, avg_pool2d_zero_pad
from yolor_cfg.ops.resampling import RepeatUpsample


class CalledModules(nn.Module):
    """A network that calls its batch norms as modules, as it does in training: thop sees nothing else."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """As the network's."""
        with torch.enable_grad():
            raws: list[Tensor] = self.network(images)
            return raws


def profile_with_thop(graph: Graph) -> ConventionCosts:
    """What thop.profile counts in each node, times 2 for FLOPs; ImportError where thop is not installed.

    Nothing is computed: the network is on the meta device. A batch norm that is lent counts at its lender.
    """
    from importlib.metadata import version

    import thop
    from thop.vision.basic_hooks import count_normalization

    with torch.device("meta"):
        network = Network(graph).eval()
        network.module_list = nn.ModuleList(map(torch_module, network.module_list))
    image = torch.empty(1, *graph.image, device="meta")
    rules = dict.fromkeys((OuterBatchNorm1d, OuterBatchNorm2d), count_normalization)
    *_, layers = thop.profile(CalledModules(network), (image,), rules, verbose=False, ret_layer_info=True)
    counted = layers["network"][2]["module_list"][2]
    costs = tuple(_to_costs(int(number), counted[number]) for number in counted)
    return ConventionCosts("thop", costs, f"thop {version('thop')}, run on this network")


def _to_costs(number: int, counted: tuple[float, float, dict[str, object]]) -> NodeConventionCosts:
    operations, parameters, _ = counted
    return NodeConventionCosts(number, int(parameters), 2 * operations)


def torch_module(module: nn.Module) -> nn.Module:
    """torch's own module that computes as much, where there is one: thop has rules for no others."""
    if isinstance(module, RepeatUpsample):
        return nn.Upsample(scale_factor=module.stride)
    if isinstance(module, GlobalAvgPool):
        return nn.AdaptiveAvgPool2d(1)
    if isinstance(module, PoolLayer) and module.function in (avg_pool2d, avg_pool2d_zero_pad):
        window = module.window
        return nn.Sequential(nn.ZeroPad2d(window.borders * 2), nn.AvgPool2d(window.size, window.strides))
    if isinstance(module, SoftmaxLayer) and len(set(module.lengths)) == 1:
        groups = nn.Unflatten(1, (len(module.lengths), -1))
        return nn.Sequential(nn.Flatten(), groups, nn.Softmax(2), nn.Flatten(), nn.Unflatten(1, (-1, 1, 1)))
    return module
