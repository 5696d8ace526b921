"""The decoded images of a data set: read on demand, cached up to a memory limit."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from yolor_cfg.data.types import DataPart, IdentifiedImage, Integers, LabeledImage, Sample
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image


class ImageStore:
    """Returns image `index` with its boxes; it is the `fetch` of transforms and is thread-safe.

    The first images asked for are cached, up to `cache_bytes`. An unreadable image is recorded in `skipped`
    and raises DataError; with `substitutes` the next readable image takes its place instead, so that training
    batches stay full, of the same data set where `parts` says so. `strict` turns `substitutes` off: the first
    unreadable image raises.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        channels: int = 3,
        cache_bytes: int = 0,
        substitutes: bool = False,
        strict: bool = False,
        parts: Sequence[DataPart] = (),
    ) -> None:
        self.samples = samples
        self.channels = channels
        self.skipped: dict[str, str] = {}
        self.strict = strict
        self.substitutes = substitutes and not strict
        self._rows = [part.rows for part in parts] or [slice(0, len(samples))]
        self._free_bytes = cache_bytes
        self._cache: dict[int, Image] = {}
        self._lock = threading.Lock()

    def __call__(self, index: int) -> LabeledImage:
        while True:
            index = self.readable_index(index)
            sample = self.samples[index]
            try:
                image = self._read_image(index)
            except DataError as fault:
                self.skipped[sample.image] = fault.message
                if self.samples[self.readable_index(index)].image in self.skipped:
                    raise
                continue
            alone = ~sample.crowd
            labeled = LabeledImage(image, sample.boxes_xywh[alone], sample.classes[alone])
            return IdentifiedImage.join(labeled, sample.identities[alone])

    def image_classes(self, index: int) -> Integers:
        """The classes of the image that is read for this index, as a whole."""
        return self.samples[self.readable_index(index)].image_classes

    def source(self, index: int) -> int:
        """The data set of an image, as its place in `parts`."""
        return next(number for number, rows in enumerate(self._rows) if index < rows.stop)

    def readable_index(self, index: int) -> int:
        """The index to read for this one: itself, or the next of its data set that is not known to be
        unreadable."""
        if not self.substitutes or not self.skipped:
            return index
        rows = self._rows[self.source(index)]
        order = (*range(index, rows.stop), *range(rows.start, index))
        return next((i for i in order if self.samples[i].image not in self.skipped), index)

    def _read_image(self, index: int) -> Image:
        image = self._cache.get(index)
        if image is None:
            image = read_channels(self.samples[index].image, self.channels)
            image.flags.writeable = False
            self._keep(index, image)
        return image

    def _keep(self, index: int, image: Image) -> None:
        with self._lock:
            if image.nbytes <= self._free_bytes and index not in self._cache:
                self._free_bytes -= image.nbytes
                self._cache[index] = image
