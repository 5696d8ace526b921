"""[net]: the image, the batch, the schedule and the augmentation."""

from __future__ import annotations

from typing import Self

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.keys import Choice, Flag, Float, FloatList, Int, IntList, Text
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

POLICIES = ("constant", "random", "poly", "step", "steps", "exp", "sigmoid", "sgdr")
STEPS_HINT = "policy=steps goes with steps=400,450 and scales=.1,.1; policy=constant needs neither"


class NetSection(Section, names="net network"):
    """The size of the image and everything that is about the whole network."""

    examples = ("[net]\nwidth=416\nheight=416\nchannels=3",)
    ignored_keys = {
        "seen": "images seen so far, in old files; the weights file says it (default 0)",
        "max_epochs": "of other programs: an end of training in epochs (default none)",
        "center": "of the first Darknet: crop the middle of the image (default 0)",
        "min_ratio": "of the first Darknet: min_crop as a multiple of the width (default none)",
        "max_ratio": "of the first Darknet: max_crop as a multiple of the width (default none)",
        "pj_crop": "of a fork: crop as the first Darknet does (default 0)",
        "scale_min": "of a fork: the smallest scale of a crop (default none)",
        "scale_max": "of a fork: the largest scale of a crop (default none)",
        "min_area": "of a fork: the smallest part of the image in a crop (default none)",
    }

    width = Int(0, least=0, help="image width in pixels")
    height = Int(0, least=0, help="image height in pixels")
    channels = Int(0, least=0, help="channels of the image")
    inputs = Int(0, least=0, help="length of the input vector, for networks without images")
    dialect_ = Text("", help="darknet or yolor: in which dialect this file is written")
    bn_eps = Float(0.0, least=0, help="epsilon of batch norm in place of the dialect's")

    batch = Int(1, least=1, help="images from one update of the weights to the next")
    subdivisions = Int(1, least=1, help="parts of a batch that are computed one after the other")
    time_steps = Int(1, least=1, help="length of a sequence in training")
    sequential_subdivisions = Int(lambda net: net.subdivisions, least=1, help="subdivisions at the start")
    dynamic_minibatch = Flag(False, help="a larger batch where random sizes are small")

    max_batches = Int(0, least=0, help="batches in the whole training")
    learning_rate = Float(0.001, help="learning rate")
    learning_rate_min = Float(1e-5, help="where policy sgdr ends")
    momentum = Float(0.9, help="momentum of SGD")
    decay = Float(0.0001, help="weight decay")
    burn_in = Int(0, least=0, help="batches in which the learning rate rises from 0")
    power = Float(4, help="how it rises: (batch / burn_in)^power; exponent of the policies poly and random")
    policy = Choice("constant", POLICIES, fallback="constant", help="how the learning rate falls")
    step = Int(1, help="policy step: batches between two changes; policy sigmoid: the middle")
    scale = Float(1, help="policy step: factor at each change")
    steps = IntList((), help="policies steps and sgdr: batches at which the rate changes")
    scales = FloatList((), help="policy steps: factor at each of the steps")
    seq_scales = FloatList((), help="policy steps: factor on the length of sequences at each of the steps")
    gamma = Float(1, help="policy exp: factor for each batch; policy sigmoid: steepness")
    sgdr_cycle = Int(lambda net: net.max_batches, help="policy sgdr: batches in the first cycle")
    sgdr_mult = Int(2, help="policy sgdr: how much longer each cycle is than the last")
    loss_scale = Float(1, help="factor on the loss in half precision")
    ema_alpha = Float(0, help="weight of the running average of the weights; 0: none")
    adam = Flag(False, help="Adam in place of SGD")
    B1 = Float(0.9, help="Adam: decay of the first moment")
    B2 = Float(0.999, help="Adam: decay of the second moment")
    eps = Float(1e-6, help="Adam: added to the divisor")

    angle = Float(0, help="turn the image by up to so many degrees")
    aspect = Float(1, help="stretch the image by up to this factor")
    saturation = Float(1, help="change the saturation by up to this factor")
    exposure = Float(1, help="change the brightness by up to this factor")
    hue = Float(0, help="change the hue by up to this part of the circle")
    flip = Flag(True, help="mirror half of the images")
    blur = Int(0, help="blur half of the images; above 1 with a kernel of that size")
    gaussian_noise = Int(0, help="add noise to half of the images")
    mixup = Int(0, help="1: blend two images")
    cutmix = Flag(False, help="paste a part of one image into another (classifiers)")
    mosaic = Flag(False, help="put four images together")
    mosaic_bound = Flag(False, help="with mosaic: keep boxes inside their quarter")
    letter_box = Flag(False, help="keep the aspect of the image and fill the rest")
    max_crop = Int(lambda net: 2 * net.width, help="classifiers: longest side of the image before the crop")
    min_crop = Int(lambda net: net.width, help="classifiers: shortest side of the image before the crop")
    resize_step = Int(32, least=1, help="random sizes are multiples of this")
    label_smooth_eps = Float(0, help="classifiers: part of the truth that goes to the other classes")
    augment_speed = Int(2, help="how fast tracks of training move")

    track = Int(0, help="1: train with sequences of frames")
    try_fix_nan = Flag(False, help="set weights that are no numbers to 0")
    weights_reject_freq = Int(0, help="drop tiny weights every so many batches")
    equidistant_point = Int(0, help="from that batch on all levels of heads weigh the same")
    badlabels_rejection_percentage = Float(0, help="drop so large a part of the largest deltas")
    num_sigmas_reject_badlabels = Float(0, help="drop deltas so many deviations from their mean")
    contrastive = Flag(False, help="train with pairs of views")
    contrastive_jit_flip = Flag(False, help="with contrastive: flip the second view")
    contrastive_color = Flag(False, help="with contrastive: change the colours of the second view")
    unsupervised = Flag(False, help="train without labels")
    attention = Flag(False, help="show where the network looks while it trains")
    adversarial_lr = Float(0, help="learning rate on the image itself")
    max_chart_loss = Float(20, help="top of the chart of the loss")
    show_receptive_field = Flag(False, help="print the receptive fields")
    use_cuda_graph = Int(0, help="record the GPU's work once")
    optimized_memory = Int(0, help="keep less on the GPU while training")
    workspace_size_limit_MB = Float(1024, help="what cuDNN may take for one section")

    def check(self) -> None:
        tell = self.warn if self.dialect.is_yolor else self.fault  # C stops at both
        missing = [name for name in ("steps", "scales") if not getattr(self, name)]
        if self.policy == "steps" and missing:
            tell("policy", "steps without its list", found=f"no {' and no '.join(missing)}", hint=STEPS_HINT)
        elif self.policy == "steps" and len(self.steps) != len(self.scales):
            self.warn(
                "scales" if self.scales else "steps",
                "steps and scales differ in number",
                found=f"{len(self.steps)} steps, {len(self.scales)} scales",
                hint="give one scale for each step",
            )
        images = self.batch // self.subdivisions
        if self.contrastive and images < 2:
            tell(
                "contrastive",
                "needs two images at once",
                found=f"{images}: batch={self.batch}, subdivisions={self.subdivisions}",
                allowed="2 or more",
                hint="images at once = batch / subdivisions",
            )

    @property
    def image(self) -> Shape:
        """The shape of the input; a length that the file does not give is 0."""
        image = Shape(self.channels, self.height, self.width)
        return image if all(image) or not self.inputs else Shape(self.inputs, 1, 1)

    def resize(self, size: int | tuple[int, int] | None) -> Self:
        """[net] with this size (an int or (height, width)) in place of its own."""
        if size is None:
            return self
        height, width = (size, size) if isinstance(size, int) else size
        return self.replace_values(height=height, width=width)

    def missing_size(self) -> CfgError:
        """The fault of a file that does not say how large the input is."""
        missing = [name for name in ("width", "height", "channels") if not getattr(self, name)]
        needs = "[net] needs width, height and channels (or inputs); missing: "
        return self.error(missing[0], "missing key", allowed="1 or more", hint=needs + ", ".join(missing))
