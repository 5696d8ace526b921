"""The dialects of the cfg language: one table of facts in which the programs that read cfgs differ.

A family is a program with those that descend from it; where one of these reads the same text otherwise, it
has an entry of its own. Sections ask for a fact, never for a name.
"""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """How one program reads a cfg. The defaults are those of AlexeyAB's C Darknet; what concerns a single
    section and follows from its text is handled there."""

    name: str
    family: str
    program: str  # in words

    first_key_wins: bool = True  # C searches its option list from the front; a Python dict keeps the last
    is_forgiving: bool = True  # a line without = or an empty value is only a warning
    unknown_activation: str = "relu"  # what an unknown name of an activation means; empty: an error
    runs_foreign_activations: bool = True  # activations of the other main dialect run too
    only_activations: tuple[str, ...] = ()  # all that it knows, where these are few
    reads_schedule: bool = True  # [net] says how it is trained: contradictions there stop the program
    is_pytorch: bool = False  # letterbox, NMS, recipe and figures are those of YOLOR's Python code

    bn_eps: float = 1e-5  # epsilon of batch norm
    bn_eps_outside_root: bool = False  # (x - mean) / (sqrt(variance) + epsilon)
    bn_momentum: float = 0.1  # share of the new in the running statistics of batch norm

    has_kernel_lists: bool = False  # `size` of a convolution may list several kernels
    drops_spare_channels: bool = True  # channels / groups is an integer division; else an error
    needs_filters: bool = False  # `filters` of a convolution has no default
    pool_padding: str = "size"  # "size": size - 1 in all; "half": (size - 1) // 2 on each side
    pads_with_zeros: bool = False  # pools read zeros beyond the border instead of nothing
    pads_last_window: bool = False  # pools pad no more than their last window needs (TensorFlow's SAME)
    reorg_order: str = "darknet"  # [reorg]: Darknet's own, blocks of 2x2 by "columns", any blocks by "rows"
    has_reorg3d: bool = True  # [reorg3d] is space to depth; otherwise it has no effect
    activates_sums: bool = True  # [shortcut], [sam], [scale_channels] apply their activation
    joins_unequal_sizes: bool = True  # [route] joins maps of different sizes as one vector
    thins_larger_maps: bool = True  # [shortcut] takes every n-th pixel of a larger map
    weights_are_sigmoid: bool = False  # weights of [shortcut]: 2 * sigmoid / sources
    broadcasts_scales: bool = False  # [scale_channels] takes any sizes that broadcast
    box_form: str = "cfg"  # [yolo]: by its keys, or whatever they say "squared" or "exponential"
    loss: str = "darknet"  # whose loss trains [yolo]
    keeps_num_anchors: bool = True  # anchors beyond `num` are not stored
    ignores_foreign_keys: bool = False  # keys that only other programs have mean nothing
    learns_as_first: bool = False  # [yolo] is trained as in pjreddie/darknet: a box's last object counts
    region_form: str = "cells"  # [region]: AlexeyAB's "cells" of raw centres, or "maps" with mask numbers
    box_limit: int = 200  # default of `max`, the labels of an image in [yolo] and [detection]
    region_box_limit: int = 200  # default of `max` in [region]
    shortcut_form: str = "equal"  # [shortcut]: sources of "equal" size, "one" of any that divides, or one of
    # the "same" shape, channels too
    leaky_sums: bool = False  # [shortcut] applies leaky, and no other activation
    side_strides: str = "first"  # stride_x and stride_y count "first", "last" (without stride), or "none" do
    letterboxes: bool = False  # a detector keeps the aspect ratio of images without letter_box=1 too
    old_header_is_short: bool = False  # .weights of a version above 1000 start with 16 bytes, else with 20
    adam_eps: float = 1e-6  # default of `eps` in [net]
    norm_has_bias: bool = True  # [batchnorm] adds a bias, and the file holds it
    lstm_gates: str = "figo"  # the order in which a file holds the gates of [lstm]
    gru_takes_tanh: bool = False  # the key `tanh` of [gru] counts
    rnn_has_hidden: bool = True  # [rnn] has a hidden vector of any length; else of that of the output
    crnn_is_padded: bool = False  # the convolutions of [crnn] are of 3x3 and keep the size by themselves
    dropout_share: float = 0.2  # default of `probability` in [dropout]
    embeds: bool = False  # [yolo] reads two scores an anchor and an embedding a cell (JDE)
    takes_net_size: bool = False  # images are padded to the size in [net]: it stops at any other
    has_angles: bool = False  # the fifth of five coords of [detection] is an angle; else it is not read
    groups_softmax: bool = True  # [softmax] has groups, a tree, a temperature; else each cell sums to 1
    keeps_probability: bool = False  # `probability` of [dropout] is the share that is kept
    has_plain_local: bool = True  # [local] has any size and stride; else its windows are misplaced
    resizes_to_crop: bool = False  # [crop] gives the size of the input, crops nothing, always scales to -1..1
    runs_last_section: bool = True  # otherwise the last section only describes the output
    names_norm_in_path: bool = False  # `.conv.` in its path gives every convolution a batch norm
    has_short_header: bool = False  # .weights files start with 16 bytes, whatever their version

    conv_padding: str = "size"  # with pad=1 size // 2; "half": (size - 1) // 2, "always": that without `pad`
    # too; "given": size // 2 wherever the key `pad` stands
    omits_last_section: bool = False  # .weights files never hold it
    takes_second_half: bool = False  # [route] groups: that of the section before, whatever the keys say
    head_strides: tuple[int, ...] = ()  # of [yolo] in file order, whatever the sizes are; none: by the sizes
    reversing_words: tuple[str, ...] = ()  # one of them in the path of the cfg turns that order round
    keeping_words: tuple[str, ...] = ()  # with one of these there it stays
    only_keys: tuple[str, ...] = ()  # all that its sections may have, or it stops; none: any, or not known
    only_sections: tuple[str, ...] = ()  # all that it has, where these are few
    strides_in_order: tuple[int, ...] = ()  # that it takes [yolo] heads to have, where we go by the sizes


DARKNET = Dialect("darknet", "darknet", "C Darknet (AlexeyAB/darknet)")
PJREDDIE = DARKNET._replace(
    name="pjreddie",
    family="pjreddie",
    program="the first Darknet (pjreddie/darknet), g-darknet, sowson/darknet",
    runs_foreign_activations=False,
    bn_eps=1e-6,
    bn_eps_outside_root=True,
    bn_momentum=0.01,
    ignores_foreign_keys=True,
    learns_as_first=True,
    region_form="maps",
    box_limit=90,
    region_box_limit=30,
    shortcut_form="one",
    letterboxes=True,
    old_header_is_short=True,
    adam_eps=1e-7,
    norm_has_bias=False,
    lstm_gates="ifog",
    gru_takes_tanh=True,
    rnn_has_hidden=False,
    crnn_is_padded=True,
    dropout_share=0.5,
)
_PYTORCH_KEYS = (
    *("activation anchors batch_normalize beta_nms classes cls_normalizer filters from groups").split(),
    *("ignore_thresh iou_loss iou_normalizer iou_thresh jitter layers mask nms_kind num pad random").split(),
    *("scale_x_y size stride stride_x stride_y truth_thresh weights_normalization weights_type").split(),
)
YOLOR = Dialect(
    "yolor",
    "yolor",
    "YOLOR (WongKinYiu/yolor)",
    first_key_wins=False,
    is_forgiving=False,
    unknown_activation="",
    reads_schedule=False,
    is_pytorch=True,
    bn_eps=1e-4,
    bn_momentum=0.03,
    has_kernel_lists=True,
    drops_spare_channels=False,
    needs_filters=True,
    pool_padding="half",
    pads_with_zeros=True,
    reorg_order="columns",
    has_reorg3d=False,
    activates_sums=False,
    side_strides="last",
    joins_unequal_sizes=False,
    thins_larger_maps=False,
    weights_are_sigmoid=True,
    broadcasts_scales=True,
    box_form="squared",
    loss="yolor",
    keeps_num_anchors=False,
    only_keys=(*_PYTORCH_KEYS, "atoms", "na", "nc"),
    strides_in_order=(8, 16, 32, 64, 128),
    reversing_words=("yolov4-tiny", "fpn", "yolov3"),
)
ULTRALYTICS = YOLOR._replace(
    name="ultralytics",
    family="ultralytics",
    program="PyTorch-YOLOv3 (ultralytics/yolov3)",
    is_forgiving=True,
    unknown_activation="linear",
    runs_foreign_activations=False,
    box_form="exponential",
    ignores_foreign_keys=True,
    omits_last_section=True,
    head_strides=(32, 16, 8),
    reversing_words=("panet", "yolov4", "cd53"),
    only_keys=_PYTORCH_KEYS,
    only_sections=("convolutional", "maxpool", "upsample", "route", "shortcut", "reorg3d", "yolo"),
    strides_in_order=(),
)
_FORK = ULTRALYTICS._replace(only_keys=(), only_sections=())
SPURS = _FORK._replace(
    name="spurs",
    program="SpursLipu/YOLOv3v4-ModelCompression",
    bn_eps=1e-5,
    bn_momentum=0.1,
    has_kernel_lists=False,
    conv_padding="half",
    takes_second_half=True,
    side_strides="none",
    keeping_words=("yolov4-tiny",),
)
NANO = _FORK._replace(
    name="nano",
    program="yolo-nano (eriklindernoren/PyTorch-YOLOv3)",
    bn_eps=1e-5,
    bn_momentum=0.9,
    has_kernel_lists=False,
    conv_padding="always",
    shortcut_form="same",
    side_strides="none",
    head_strides=(),
)
MCMOT = _FORK._replace(
    name="mcmot",
    program="CaptainEven/YOLOV4_MCMOT",
    bn_eps=1e-5,
    conv_padding="given",
    leaky_sums=True,
    head_strides=(8, 16, 32),
    reversing_words=("yolov4-tiny", "mobile", "Mobile", "enet", "Enet"),
)
JDE = _FORK._replace(
    name="jde",
    family="jde",
    program="JDE (Zhongdao/Towards-Realtime-MOT)",
    bn_eps=1e-5,
    bn_momentum=0.1,
    has_kernel_lists=False,
    conv_padding="half",
    shortcut_form="same",
    side_strides="none",
    head_strides=(),
    only_activations=("leaky", "linear"),
    embeds=True,
    takes_net_size=True,
)
DARKFLOW = DARKNET._replace(
    name="darkflow",
    family="darkflow",
    program="darkflow (thtrieu/darkflow)",
    first_key_wins=False,
    unknown_activation="",
    runs_foreign_activations=False,
    reads_schedule=False,
    bn_eps_outside_root=True,
    bn_momentum=0.001,
    only_activations=("leaky", "linear"),
    joins_unequal_sizes=False,
    ignores_foreign_keys=True,
    has_plain_local=False,
    pads_last_window=True,
    reorg_order="rows",
    has_angles=True,
    groups_softmax=False,
    keeps_probability=True,
    resizes_to_crop=True,
    runs_last_section=False,
    names_norm_in_path=True,
    has_short_header=True,
)
DIALECTS = {
    one.name: one for one in (DARKNET, PJREDDIE, YOLOR, ULTRALYTICS, SPURS, NANO, MCMOT, JDE, DARKFLOW)
}
"""By name; where a text does not tell, the first that can read it is taken."""

FAMILIES = tuple(dict.fromkeys(one.family for one in DIALECTS.values()))
ALL_DIALECTS = tuple(DIALECTS)
MAIN_DIALECTS = ("darknet", "yolor")
DARKNET_ONLY = ("darknet",)
PJREDDIE_ONLY = ("pjreddie",)
NOT_PJREDDIE = tuple(name for name in DIALECTS if name != "pjreddie")
LATER = tuple(name for name in DIALECTS if name not in ("pjreddie", "darkflow"))
C_DARKNET = ("darknet", "pjreddie")
YOLOR_ONLY = ("yolor",)
DARKFLOW_ONLY = ("darkflow",)
JDE_ONLY = ("jde",)
MCMOT_ONLY = ("mcmot",)
EARLY = (*C_DARKNET, "darkflow")
NOT_DARKFLOW = tuple(name for name in ALL_DIALECTS if name != "darkflow")
PYTORCH = tuple(one.name for one in DIALECTS.values() if one.is_pytorch)
GROUPING = (*C_DARKNET, "spurs", "mcmot")
FUSING = ("ultralytics", "spurs", "mcmot")
"""The values of `dialects` for sections, keys and activations that not all dialects have."""
