"""What C Darknet refuses is refused here: each error() and assert() that a cfg can meet in parser.c and in
the make_ functions of the layers. Behind each case stands where that is."""

import pytest

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
HALF = "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
SAME = HALF.replace("stride=2", "stride=1")
VECTOR = "[connected]\noutput=5\n"
YOLO = "[yolo]\nclasses=1\nmask=0,1,2\nnum=3\nanchors=1,2,3,4,5,6\n"
WEIGHTED = HALF + SAME + "[shortcut]\nfrom=-2\nweights_type="
NEEDS_MAP = "convolutional local maxpool local_avgpool avgpool crop reorg reorg3d"

REFUSED = {
    **{f"{VECTOR}[softmax]\n[{name}]": "" for name in NEEDS_MAP.split()},  # parser.c 162, 208, 771 to 868
    "[gru]\noutput=4\n[convolutional]": "",  # the same: gru_layer.c gives neither height nor width,
    VECTOR + "[cost]\n[maxpool]": "",  # nor does cost_layer.c
    VECTOR + "[softmax]\n[dropout]\ndropblock=1": "",  # dropout_layer.c 20
    HALF + "[dropout]\ndropblock=1\ndropblock_size_rel=1.5": "dropblock_size_rel",
    SAME + "sway=1\nrotate=1": "rotate",  # parser.c 219
    "[convolutional]\nsize=1\nstretch=1": "stretch",  # parser.c 223
    HALF + "[convolutional]\nfilters=8\nsize=5\nshare_index=0": "share_index",  # convolutional_layer.c 546
    HALF + "[contrastive]\nyolo_layer=-1": "yolo_layer",  # parser.c 383
    HALF + "[contrastive]": "yolo_layer",  # the same: 0 stands for none
    HALF.replace("8", "18") + YOLO + "counters_per_class=3,4": "counters_per_class",  # parser.c 425
    HALF + YOLO: "classes",  # parser.c 457
    HALF + YOLO.replace("yolo", "Gaussian_yolo"): "classes",  # parser.c 586
    HALF + "[region]\nclasses=2": "classes",  # parser.c 674
    VECTOR + "[detection]\ncoords=4\nside=1": "classes",  # detection_layer.c 27
    WEIGHTED + "foo": "weights_type",  # parser.c 924
    WEIGHTED + "per_feature": "weights_normalization",  # parser.c 933
    WEIGHTED + "per_feature\nweights_normalization=foo": "weights_normalization",
    HALF + "[shortcut]": "from",  # parser.c 940
    HALF + HALF + "[shortcut]\nfrom=0": "",  # parser.c 979: only the first Darknet goes on
    HALF + SAME.replace("=8", "=8\nstride_x=3") + "[shortcut]\nfrom=0": "from",
    HALF + "[route]": "layers",  # parser.c 1072
    HALF + "[route]\nlayers=1": "layers",
    HALF + "[route]\nlayers=9": "layers",
    HALF + SAME.replace("=8", "=4") + "[sam]\nfrom=0": "from",  # sam_layer.c 21
    HALF + HALF + "[sam]\nfrom=0": "from",  # sam_layer.c 22
    HALF + HALF + "[scale_channels]\nfrom=0": "from",  # scale_channels_layer.c 18
    HALF + "[avgpool]\n[scale_channels]\nfrom=0\nscale_wh=1": "from",  # scale_channels_layer.c 19
    VECTOR + "[softmax]\ngroups=2": "groups",  # softmax_layer.c 31
    HALF + "[conv_lstm]\noutput=4\nsize=3\npad=1\nstride=2": "stride",  # conv_lstm_layer.c 683
    HALF + "[crnn]\noutput=4\nhidden=4\nsize=3": "size",  # crnn_layer.c 72
}
NETS = {
    "": "width",  # parser.c 1230
    "width=8\nheight=8\nchannels=1\npolicy=steps\nsteps=3": "policy",  # parser.c 1254
    "width=8\nheight=8\nchannels=1\npolicy=steps\nscales=3": "policy",
    "width=8\nheight=8\nchannels=1\nbatch=8\nsubdivisions=8\ncontrastive=1": "contrastive",  # parser.c 1214
    "width=8\nheight=8\nchannels=1\nsubdivisions=0": "subdivisions",  # a division by zero
}
NO_FILE = {  # read_tree and read_map end the program
    f"{HALF.replace('8', '6')}[region]\nclasses=1\nanchors=1,2\ntree=nowhere": "tree",
    f"{HALF.replace('8', '6')}[region]\nclasses=1\nanchors=1,2\nmap=nowhere": "map",
    f"{HALF.replace('8', '18')}{YOLO}map=nowhere": "map",
    f"{VECTOR}[softmax]\ntree=nowhere": "tree",
}


def keys_of(text: str, *, strict: bool = False) -> list[str]:
    """The keys of the faults."""
    with pytest.raises(CfgError) as caught:
        build_graph(parse(text, "t.cfg"), ReadOptions("darknet", strict=strict))
    return [fault.key for fault in getattr(caught.value, "faults", [caught.value])]


@pytest.mark.parametrize(("text", "key"), REFUSED.items())
def test_what_c_refuses_in_a_section_is_refused(text: str, key: str) -> None:
    is_larger = text.count(HALF) == 2 and text.endswith("[shortcut]\nfrom=0")
    assert keys_of(NET + text, strict=is_larger) == ["from" if is_larger else key]


@pytest.mark.parametrize(("keys", "key"), NETS.items())
def test_what_c_refuses_in_net_is_refused(keys: str, key: str) -> None:
    assert keys_of(f"[net]\n{keys}\n{SAME}") == [key]


@pytest.mark.parametrize(("text", "key"), NO_FILE.items())
def test_a_file_that_c_cannot_open_is_a_warning(text: str, key: str) -> None:
    assert keys_of(NET + text, strict=True) == [key]
