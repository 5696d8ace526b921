"""[net]: input size, batch, learning rate schedule and augmentation."""

from __future__ import annotations

from typing import Self

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.lang.dialect import JDE_ONLY, PJREDDIE_ONLY
from yolor_cfg.lang.keys import Choice, Flag, Float, Int, Text
from yolor_cfg.lang.lists import FloatList, IntList
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

POLICIES = ("constant", "random", "poly", "step", "steps", "exp", "sigmoid", "sgdr")
STEPS_HINT = "policy=steps goes with steps=400,450 and scales=.1,.1; policy=constant needs neither"


class NetSection(Section, names="net network"):
    """The input size and all settings of the network as a whole."""

    examples = ("[net]\nwidth=416\nheight=416\nchannels=3",)
    ignored_keys = {
        "seen": "number of images seen so far, in old files; now in the weights file (default 0)",
        "max_epochs": "of other programs: number of training epochs (default none)",
        "center": "of the first Darknet: crop the center of the image (default 0)",
        "min_ratio": "of the first Darknet: min_crop as a multiple of the width (default none)",
        "max_ratio": "of the first Darknet: max_crop as a multiple of the width (default none)",
        "notruth": "of the first Darknet: training without labels (default 0)",
        "random": "of the first Darknet: classifiers change the image size at random (default 0)",
        "pj_crop": "of a fork: crop as in the first Darknet (default 0)",
        "scale_min": "of a fork: minimum scale of a crop (default none)",
        "scale_max": "of a fork: maximum scale of a crop (default none)",
        "min_area": "of a fork: minimum fraction of the image in a crop (default none)",
    }

    width = Int(0, least=0, unit="pixels", help="image width in pixels")
    height = Int(0, least=0, unit="pixels", help="image height in pixels")
    channels = Int(0, least=0, help="number of image channels")
    inputs = Int(0, least=0, help="length of the input vector, for networks without images")
    dialect_ = Text("", help="dialect of this file, or its family")
    embedding_dim = Int(
        0, least=0, dialects=JDE_ONLY, help="length of the embeddings that [yolo] reads beside its boxes"
    )
    bn_eps = Float(0.0, least=0, help="epsilon of batch norm; overrides that of the dialect")

    batch = Int(1, least=1, use="training", unit="images", help="number of images per weight update")
    subdivisions = Int(1, least=1, use="training", help="number of mini-batches a batch is split into")
    time_steps = Int(
        1,
        least=1,
        unused="single images are trained here, not sequences",
        unit="frames",
        help="length of the sequences in training",
    )
    sequential_subdivisions = Int(
        lambda net: net.subdivisions,
        least=1,
        unused="single images are trained here, not sequences",
        help="subdivisions at the start of training",
    )
    dynamic_minibatch = Flag(
        False,
        unused="the mini-batch stays the same at all random sizes",
        help="larger batches for smaller random sizes",
    )

    max_batches = Int(0, least=0, use="training", unit="iterations", help="number of batches in training")
    learning_rate = Float(0.001, use="training", help="learning rate")
    learning_rate_min = Float(1e-5, use="training", help="policy sgdr: final learning rate")
    momentum = Float(0.9, use="training", help="momentum of SGD")
    decay = Float(0.0001, use="training", help="weight decay")
    burn_in = Int(
        0,
        least=0,
        use="training",
        unit="iterations",
        help="number of warm-up batches, in which the learning rate rises from 0",
    )
    power = Float(
        4,
        use="training",
        help="warm-up factor (batch / burn_in)^power; exponent of the policies poly and random",
    )
    policy = Choice("constant", POLICIES, fallback="constant", use="training", help="learning rate policy")
    step = Int(
        1,
        use="training",
        unit="iterations",
        help="policy step: batches between changes; policy sigmoid: batch of the midpoint",
    )
    scale = Float(1, use="training", unit="factor", help="policy step: learning rate factor at each change")
    steps = IntList(
        (),
        use="training",
        unit="iterations",
        help="policies steps and sgdr: batches at which the learning rate changes",
    )
    scales = FloatList(
        (), use="training", unit="factor", help="policy steps: learning rate factor at each step"
    )
    seq_scales = FloatList(
        (),
        unused="single images are trained here, not sequences; C Darknet reads it with track=1 alone",
        unit="factor",
        help="policy steps: sequence length factor at each step",
    )
    gamma = Float(1, use="training", help="policy exp: factor per batch; policy sigmoid: steepness")
    sgdr_cycle = Int(
        lambda net: net.max_batches,
        use="training",
        unit="iterations",
        help="policy sgdr: number of batches in the first cycle",
    )
    sgdr_mult = Int(
        2,
        use="training",
        unit="factor",
        help="policy sgdr: length of each cycle as a multiple of the previous one",
    )
    loss_scale = Float(1, use="training", help="loss scale in half precision")
    ema_alpha = Float(0, use="training", help="EMA decay of the weights; 0: no EMA")
    adam = Flag(False, use="training", help="Adam instead of SGD")
    B1 = Float(0.9, use="training", help="Adam: decay rate of the first moment")
    B2 = Float(0.999, use="training", help="Adam: decay rate of the second moment")
    eps = Float(lambda net: net.dialect.adam_eps, use="training", help="Adam: added to the denominator")
    clip = Float(
        0,
        dialects=PJREDDIE_ONLY,
        use="training",
        help="training keeps all weights between -clip and clip (pjreddie)",
    )

    angle = Float(0, use="training", unit="degrees", help="classifiers: maximum random rotation, in degrees")
    aspect = Float(
        1,
        use="training",
        unit="factor",
        help="classifiers: maximum random change of the aspect ratio, as a factor",
    )
    saturation = Float(
        1, use="training", unit="factor", help="maximum random change of saturation, as a factor"
    )
    exposure = Float(
        1, use="training", unit="factor", help="maximum random change of brightness, as a factor"
    )
    hue = Float(
        0,
        use="training",
        unit="fraction",
        help="maximum random shift of the hue, as a fraction of the color circle",
    )
    flip = Flag(True, use="training", help="flip half of the images horizontally")
    blur = Int(
        0,
        use="training",
        unit="pixels",
        help="blur half of the images (classifiers: a quarter); above 1: kernel size",
    )
    gaussian_noise = Int(0, use="training", help="add noise to half of the images")
    mixup = Int(0, use="training", help="1: mixup of two images")
    cutmix = Flag(False, use="training", help="paste part of one image into another (classifiers)")
    mosaic = Flag(False, use="training", help="combine four images into one")
    mosaic_bound = Flag(False, use="training", help="with mosaic: keep boxes inside their quarter")
    letter_box = Flag(False, help="keep the aspect ratio of the image and pad the rest")
    max_crop = Int(
        lambda net: 2 * net.width,
        use="training",
        unit="pixels",
        help="classifiers: maximum image side before cropping",
    )
    min_crop = Int(
        lambda net: net.width,
        use="training",
        unit="pixels",
        help="classifiers: minimum image side before cropping",
    )
    resize_step = Int(
        32, least=1, use="training", unit="pixels", help="random image sizes are multiples of this"
    )
    label_smooth_eps = Float(
        0,
        use="training",
        unit="fraction",
        help="classifiers: label smoothing, the fraction given to the other classes",
    )
    augment_speed = Int(
        2,
        unused="single images are trained here, not sequences",
        help="speed of the augmentation in sequences of frames",
    )

    track = Int(
        0, unused="single images are trained here, not sequences", help="1: train on sequences of frames"
    )
    try_fix_nan = Flag(False, use="training", help="set weights that are NaN to 0")
    weights_reject_freq = Int(
        0,
        unused="kernels that resemble each other are kept",
        unit="iterations",
        help="number of batches between removals of tiny weights",
    )
    equidistant_point = Int(
        0,
        loss="yolo",
        unit="iterations",
        help="from this update on, small deltas of [yolo] heads are dropped, more and more of them",
    )
    badlabels_rejection_percentage = Float(
        0,
        loss="yolo",
        unit="percent",
        help="in the last quarter of the training: drop about this percentage of a [yolo] head's deltas, "
        "the largest, as from wrong labels",
    )
    num_sigmas_reject_badlabels = Float(
        0,
        loss="yolo",
        help="in the last quarter of the training: drop deltas of [yolo] heads above the mean by so many "
        "standard deviations",
    )
    contrastive = Flag(
        False,
        unused="no [contrastive] section is trained here",
        help="contrastive training on pairs of views",
    )
    contrastive_jit_flip = Flag(
        False,
        unused="no [contrastive] section is trained here",
        help="with contrastive: flip the second view",
    )
    contrastive_color = Flag(
        False,
        unused="no [contrastive] section is trained here",
        help="with contrastive: change the colors of the second view",
    )
    unsupervised = Flag(False, unused="networks learn from labels alone here", help="train without labels")
    attention = Flag(
        False,
        unused="the attention of a network is not shown here",
        help="show the attention of the network in training",
    )
    adversarial_lr = Float(
        0,
        unused="networks learn from labels alone here",
        help="learning rate of the image in adversarial training",
    )
    max_chart_loss = Float(20, idle="it is about what C Darknet shows", help="maximum loss on the chart")
    show_receptive_field = Flag(
        False, idle="it is about what C Darknet shows", help="print the receptive fields"
    )
    use_cuda_graph = Int(
        0, idle="it is about memory and speed of C Darknet", help="run the network as a CUDA graph"
    )
    optimized_memory = Int(
        0, idle="it is about memory and speed of C Darknet", help="use less GPU memory in training"
    )
    workspace_size_limit_MB = Float(
        1024,
        idle="it is about memory and speed of C Darknet",
        unit="MB",
        help="maximum cuDNN workspace per section, in MB",
    )

    def check(self) -> None:
        if self.dialect.names_norm_in_path and ".conv." in self.path:
            self.warn(
                "",
                f"{self.dialect.program} gives every convolution a batch norm: the path has .conv. in it",
                found=self.path,
                hint="write batch_normalize=1 in each, or rename the file",
            )
        self.try_checks(self._check_batch, self._check_step, self._check_steps, self._check_contrastive)

    def _check_batch(self) -> None:
        if self.batch % self.subdivisions:
            self.warn(
                "batch",
                "not a multiple of subdivisions",
                found=f"{count_of(self.batch, 'image')} in {count_of(self.subdivisions, 'part')}",
                hint=f"an update takes {count_of(self.subdivisions, 'part')} of {self.mini_batch}, "
                f"as in C Darknet: {count_of(self.update_batch, 'image')}",
            )

    def _check_step(self) -> None:
        if self.policy == "step" and self.step < 1:
            self.fault("step", "out of bounds", found=str(self.step), allowed="1 or more with policy=step")

    def _check_steps(self) -> None:
        tell = self.fault if self.dialect.reads_schedule else self.warn  # C Darknet stops here
        missing = [name for name in ("steps", "scales") if not getattr(self, name)]
        if self.policy == "steps" and missing:
            tell(
                "policy", "needs steps= and scales=", found=f"no {' and no '.join(missing)}", hint=STEPS_HINT
            )
        elif self.policy == "steps" and len(self.steps) != len(self.scales):
            self.warn(
                "scales" if self.scales else "steps",
                "steps and scales differ in number",
                found=f"{count_of(len(self.steps), 'step')}, {count_of(len(self.scales), 'scale')}",
                hint="give one scale for each step",
            )

    def _check_contrastive(self) -> None:
        tell = self.fault if self.dialect.reads_schedule else self.warn  # C Darknet stops here
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
    def mini_batch(self) -> int:
        """The images of one forward pass: batch / subdivisions, rounded down, but at least one."""
        return max(self.batch // self.subdivisions, 1)

    @property
    def update_batch(self) -> int:
        """The images of one update: all of its parts have `mini_batch`."""
        return self.mini_batch * self.subdivisions

    @property
    def image(self) -> Shape:
        """The shape of the input; a dimension that the file does not give is 0."""
        image = Shape(*(self.values.get(key, 0) for key in ("channels", "height", "width")))
        inputs = self.values.get("inputs", 0)
        return image if all(image) or not inputs else Shape(inputs, 1, 1)

    def resize(self, size: int | tuple[int, int] | None) -> Self:
        """[net] with this size (an int or (height, width)) instead of its own."""
        if size is None:
            return self
        height, width = (size, size) if isinstance(size, int) else size
        return self.replace_values(height=height, width=width)

    def missing_size(self) -> CfgError:
        """The error of a file that does not give the size of the input."""
        missing = [name for name in ("width", "height", "channels") if not self.values.get(name)]
        needs = "[net] needs width, height and channels (or inputs); missing: "
        return self.error(missing[0], "missing key", allowed="1 or more", hint=needs + ", ".join(missing))
