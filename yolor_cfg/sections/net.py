"""[net]: the image, the batch, the schedule and the augmentation."""

from __future__ import annotations

from yolor_cfg.lang.keys import Flag, Float, Int, Text
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

USUAL_STRIDE = 32  # what most detectors divide the image by


class Net(Section, names="net network"):
    """The size of the image and everything that is about the whole network."""

    examples = ("[net]\nwidth=416\nheight=416\nchannels=3",)

    width = Int(0, least=0, help="image width in pixels")
    height = Int(0, least=0, help="image height in pixels")
    channels = Int(0, least=0, help="channels of the image")
    inputs = Int(0, least=0, help="length of the input vector, for networks without images")
    dialect_ = Text("", help="darknet or yolor: in which dialect this file is written")
    bn_eps = Float(0.0, least=0, help="epsilon of batch norm in place of the dialect's")

    def input_shape(self, size: int | tuple[int, int] | None) -> Shape:
        """The shape of the input; `size` (an int or (height, width)) replaces the cfg's own."""
        if size is not None:
            height, width = (size, size) if isinstance(size, int) else size
            self.values.update(height=height, width=width)
        if self.width and self.height and self.channels:
            return Shape(self.channels, self.height, self.width)
        if self.inputs:
            return Shape(self.inputs, 1, 1)
        missing = [name for name in ("width", "height", "channels") if not getattr(self, name)]
        raise self.error(missing[0], "missing key", allowed="1 or more",
                         hint=f"[net] needs width, height and channels (or inputs); missing: {', '.join(missing)}")

    def fitting_sizes(self, image: Shape) -> str:
        """A hint when the image is no multiple of the usual stride, with the nearest sizes that are."""
        for name, length in (("width", image.width), ("height", image.height)):
            if length % USUAL_STRIDE:
                below = max(length // USUAL_STRIDE, 1) * USUAL_STRIDE
                return f"{name}={length} is no multiple of {USUAL_STRIDE}: try {below} or {below + USUAL_STRIDE}"
        return ""
