"""What a user says of a training, in plain values that stand in args.yaml."""

from __future__ import annotations

from typing import Any, NamedTuple


class TrainOptions(NamedTuple):
    """None: as the cfg says, or as its dialect has it.

    `batch_size` counts the images of one forward pass over all processes, `update_batch` those of an update.
    `max_batches` counts updates of the weights by the nominal accumulation, as Darknet does. `freeze` is how
    many of the first layers do not learn; `train_only` "implicit": of the others those with implicit
    knowledge alone do. `cache` keeps so many gigabytes of decoded pictures. `save_steps` keeps the state
    every so many updates, `save_period` a network every so many epochs, `val_period` tests every so many; 0:
    never but at the end.
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
    fix_labels: str | None = None
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
    by_number: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As YAML holds it."""
        values = self._asdict()
        values["img_size"] = list(self.img_size) if isinstance(self.img_size, tuple) else self.img_size
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TrainOptions:
        """The options that `to_dict` gave."""
        size = values.get("img_size")
        return TrainOptions(**{**values, "img_size": tuple(size) if isinstance(size, list) else size})
