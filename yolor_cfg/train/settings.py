"""The training options, as plain values that are saved in args.yaml."""

from __future__ import annotations

from typing import Any, NamedTuple

from yolor_cfg.data.types import Fix


class TrainOptions(NamedTuple):
    """None stands for the value in the cfg, or for the default of its dialect.

    `batch_size` is the number of images per forward pass over all processes, `update_batch` that per update.
    `max_batches` counts updates of the weights at the nominal accumulation, as in Darknet. `freeze` is the
    number of first layers that are not trained; with `train_only` "implicit", of the others only those with
    implicit knowledge are. `cache` is the size of the cache of decoded images in gigabytes. `save_steps`
    saves the state every so many updates, `save_period` a checkpoint every so many epochs, `val_period` tests
    every so many epochs; 0 means only at the end. `val_data` is tested instead of the val split of `data`,
    with `no_val` nothing is.
    """

    cfg: str
    data: str
    weights: str | None = None
    cutoff: int | None = None
    epochs: int | None = None
    max_batches: int | None = None
    batch_size: int | None = None
    update_batch: int | None = None
    img_size: int | tuple[int, int] | None = None
    hyp: str | None = None
    recipe: str | None = None
    optimizer: str | None = None
    freeze: int = 0
    train_only: str | None = None
    multi_scale: bool = False
    rect: bool = False
    cache: float = 0.0
    workers: int = 2
    precision: str = "fp32"
    fix_labels: Fix | None = None
    ema: bool | None = None
    sync_bn: bool = False
    seed: int = 0
    deterministic: bool = False
    patience: int = 0
    save_period: int = 0
    save_steps: int = 0
    val_period: int = 1
    device: str = "cpu"
    dialect: str | None = None
    strict: bool = False
    ignore_orientation: bool = False
    max_pixels: int | None = None
    by_number: bool = False
    val_data: str | None = None
    no_val: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The options as YAML values."""
        values = self._asdict()
        values["img_size"] = list(self.img_size) if isinstance(self.img_size, tuple) else self.img_size
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TrainOptions:
        """The inverse of `to_dict`."""
        size = values.get("img_size")
        return TrainOptions(**{**values, "img_size": tuple(size) if isinstance(size, list) else size})
