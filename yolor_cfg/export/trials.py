"""What an exported file is tried with: inputs by name, and what our own network gives for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from yolor_cfg.export.facts import IMAGE, IMAGES, PREDICTIONS
from yolor_cfg.export.onnx_file import OnnxSettings
from yolor_cfg.export.onnx_fit import FitRules, fit_by_rules, fit_rules
from yolor_cfg.export.parity import Trial
from yolor_cfg.export.quantize import InputForm, example_batch
from yolor_cfg.export.traced import (
    ExampleInputs,
    TracedNetwork,
    make_inputs,
    output_names,
    state_names,
)
from yolor_cfg.graph import Graph
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image, Size
from yolor_cfg.model import Network

SEED = 1
"""Of the images that files are tried with; those they are traced with are others."""


def make_trials(network: Network, settings: OnnxSettings, order: str, *, photo: str = "") -> list[Trial]:
    """One call for a model that takes fitted images; two images of other sizes, with their channels in this
    order, for one that fits them. With `photo`, the image in this file takes the place of drawn ones."""
    module = TracedNetwork(network, settings.form).eval()
    if order:
        rules = fit_rules(network.graph, one_size=settings.dynamic != "all")
        channels = network.graph.image.channels
        images = [read_channels(photo, channels)] if photo else _example_images(network.graph)
        return [_image_trial(module, image, rules=rules, order=order) for image in images]
    inputs = make_inputs(module, settings.batch, seed=SEED)
    if photo:
        form = InputForm(settings.batch, settings.dynamic != "all")
        inputs = inputs._replace(images=torch.from_numpy(example_batch(network.graph, form, photo)))
    return [input_trial(module, inputs)]


def input_trial(module: TracedNetwork, inputs: ExampleInputs) -> Trial:
    """A call with these inputs of the network itself."""
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in module(inputs.images, *inputs.states)]
    states = dict(zip(state_names(inputs), inputs.states, strict=True))
    named = {name: tensor.numpy() for name, tensor in {IMAGES: inputs.images, **states}.items()}
    return Trial(named, tuple(output_names(module, inputs)), expected)


def _image_trial(module: TracedNetwork, image: Image, *, rules: FitRules, order: str) -> Trial:
    """A call with an image [h, w, C]; the fitted input is expected as an output as well."""
    fitted = fit_by_rules(image, module.network.graph, rules)
    pixels = torch.from_numpy(fitted.pixels[None])
    trial = input_trial(module, ExampleInputs(pixels, module.zero_states(pixels)))
    given = image[..., ::-1] if order == "bgr" else image
    inputs = {name: value for name, value in trial.inputs.items() if name != IMAGES}
    expected = trial.expected
    if PREDICTIONS in trial.outputs:
        expected = [map_back(expected[0], fitted.placement), *expected[1:]]
    return Trial(
        {IMAGE: np.ascontiguousarray(given[None]), **inputs},
        (*trial.outputs, IMAGES),
        [*expected, fitted.pixels[None]],
    )


def map_back(predictions: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Predictions [N, B, V] with centres and sizes in pixels of the image, not clipped to it."""
    low, high = np.split(placement._replace(is_clipped=False).to_image(predictions[..., :4]), 2, axis=-1)
    return np.concatenate([(low + high) / 2, high - low, predictions[..., 4:]], axis=-1)


def _example_images(graph: Graph) -> Iterator[Image]:
    """A wide image that is shrunk and a tall one that is enlarged, smooth as photographs are."""
    height, width = graph.image.height, graph.image.width
    draw = torch.Generator().manual_seed(SEED)
    for size in ((height + 3, 2 * width + 1), (height // 2 + 3, width // 3 + 2)):
        yield _example_image(size, graph.image.channels, draw)


def _example_image(size: Size, channels: int, draw: torch.Generator) -> Image:
    coarse = torch.rand(1, channels, 9, 9, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    return (255 * smooth[0].permute(1, 2, 0)).to(torch.uint8).numpy()
