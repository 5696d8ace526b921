"""Small cfgs in the darknet dialect, one for each key that OpenCV 4.14 reads otherwise than C Darknet.

What OpenCV makes of each was tried with opencv-python-headless 4.14.0.94.
"""

IMAGE = (3, 16, 24)
CONV = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
LAST = "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n"


def with_keys(keys: str) -> str:
    """A network whose second convolution has these keys."""
    return f"{CONV}{CONV}{keys}\n{LAST}"


def after(text: str, *, before: str = CONV * 3) -> str:
    """A network with these sections behind three convolutions."""
    return f"{before}{text}\n{LAST}"


# These have other words that both readers understand.
BOTH = {
    "dilation": with_keys("dilation=2"),
    "dilation and stride": with_keys("dilation=3\nstride=2\nbatch_normalize=1"),
    "dilation and antialiasing": with_keys("dilation=2\nstride=2\nantialiasing=1"),
    "one stride in two keys": with_keys("stride_x=2\nstride_y=2"),
    "blur of 3": with_keys("antialiasing=1\nstride=2"),
    "blur of 2": with_keys("antialiasing=2\nstride=2"),
    "shared weights": after(f"{CONV}share_index=2"),
    "shared weights and dilation": after(f"{CONV}share_index=2\ndilation=2"),
    "no size": after("[convolutional]\nfilters=8\nactivation=leaky"),
    "no activation": after("[convolutional]\nfilters=8\nsize=3"),
    "cbn": with_keys("cbn=1"),
    "shortcut of three": after("[shortcut]\nfrom=-2,-3\nactivation=leaky"),
    "shares by channel": after(
        "[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=softmax"
    ),
    "shares": after("[shortcut]\nfrom=-2,-3\nweights_type=per_feature\nweights_normalization=relu"),
    "shares of fewer channels": after(
        f"{CONV}[shortcut]\nfrom=-4\nweights_type=per_channel\nweights_normalization=relu",
        before=CONV.replace("=8", "=6") + CONV * 2,
    ),
    "shortcut of unequal size": after(f"{CONV}stride=2\n[shortcut]\nfrom=-2"),
    "unequal size and channels": after(
        f"{CONV}stride=2\n[shortcut]\nfrom=-3", before=CONV.replace("=8", "=12") * 2
    ),
    "maxpool in two keys": after("[maxpool]\nsize=3\nstride_x=2\nstride_y=2"),
    "maxpool without size": after("[maxpool]\nstride=2"),
    "maxpool with a blur": after("[maxpool]\nsize=3\nstride=2\nantialiasing=1"),
    "maxpool with a blur of 2": after("[maxpool]\nsize=2\nstride=2\nantialiasing=2"),
    "upsample with a scale": after("[upsample]\nstride=2\nscale=.5"),
    "upsample downwards": after("[upsample]\nstride=-2\nscale=.5"),
    "reorg3d": after("[reorg3d]\nstride=2"),
    "two sources with groups": after("[route]\nlayers=-1,-2\ngroups=2\ngroup_id=1"),
    "local_avgpool": after("[local_avgpool]\nsize=2\nstride=2"),
    "empty": after("[empty]"),
    "temperature": f"{CONV}[avgpool]\n[softmax]\ntemperature=3\n",
}
# These only C Darknet runs, for the reason that is named.
ONLY_DARKNET = {
    "stride_x": (with_keys("stride_x=2\nstride_y=1"), "stride_x and stride_y that differ"),
    "xnor": (with_keys("xnor=1"), "xnor=1"),
    "relu6": (with_keys("activation=relu6").replace("leaky\nactivation=relu6", "relu6"), "activation=relu6"),
    "maxpool_depth": (after("[maxpool]\nmaxpool_depth=1\nout_channels=4"), "maxpool_depth=1"),
    "maxpool stride_x": (
        after("[maxpool]\nsize=3\nstride_x=2\nstride_y=1"),
        "stride_x and stride_y that differ",
    ),
    "reorg reverse": (after("[reorg]\nstride=2\nreverse=1"), "reverse=1"),
    "reorg3d reverse": (after(f"{CONV.replace('=8', '=16')}[reorg3d]\nstride=2\nreverse=1"), "[reorg3d]"),
    "local_avgpool": (after("[local_avgpool]\nsize=3\nstride=1"), "[local_avgpool]"),
    "scale_wh": (after(f"{CONV.replace('=8', '=1')}[scale_channels]\nfrom=-2\nscale_wh=1"), "scale_wh=1"),
    "upsample downwards with a rest": (
        after("[upsample]\nstride=-5"),
        "stride=-5, which does not divide the size",
    ),
    "route of different sizes": (
        after("[maxpool]\nstride=2\n[route]\nlayers=-1,-2\n[connected]\noutput=3\nactivation=linear"),
        "sources that differ in size",
    ),
    "softmax groups": (f"{CONV}[avgpool]\n[softmax]\ngroups=2\n", "groups=2"),
    "crop": ("[crop]\ncrop_height=8\ncrop_width=8\n" + CONV, "[crop]"),
}
