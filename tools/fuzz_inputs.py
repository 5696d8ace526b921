"""The valid inputs that the fuzzer starts from, and the commands that read them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from click import Context

NET_TEXT = "[net]\nwidth=64\nheight=64\nchannels=3\nbatch=2\nlearning_rate=0.001\nburn_in=2\nmax_batches=4\n"
NORMED = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride={}\npad=1\nactivation={}\n"
HEAD = """[convolutional]
size=1
filters=21
activation=linear
{}
[yolo]
mask=0,1,2
anchors=8,8, 16,16, 32,32
classes=2
num=3
ignore_thresh=.7
"""
CFG = "\n".join(
    (
        NET_TEXT + "policy=steps\nsteps=2,3\nscales=.1,.1\n",
        NORMED.format(2, "leaky"),
        "[maxpool]\nsize=2\nstride=2\n",
        NORMED.format(1, "mish"),
        "[shortcut]\nfrom=-2\nactivation=linear\n",
        "[route]\nlayers=-1,-2\n",
        HEAD.format(""),
    )
)
YOLOR_CFG = "\n".join(
    (
        NET_TEXT,
        "[implicit_add]\nfilters=21\n",
        "[implicit_mul]\nfilters=21\n",
        NORMED.format(8, "silu"),
        HEAD.format("\n[shift_channels]\nfrom=0\n\n[control_channels]\nfrom=1\n"),
    )
)
TREE_CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=4\n[softmax]\ntree=classes.tree\n"
HYP = "lr0: 0.01\nlrf: 0.2\nmomentum: 0.937\nmosaic: 1.0\nanchor_t: 4.0\nwarmup_epochs: 3.0\nhsv_h: 0.015\n"
XML = """<annotation><filename>{0}.png</filename>
<size><width>48</width><height>40</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>
"""
OUT = ("--project", "out")


class Command(NamedTuple):
    """Arguments of `yolor`, and the files of which one is mutated; with none, its options are."""

    args: tuple[str, ...]
    mutated: tuple[str, ...] = ()


NET, YAML = ("net.cfg", "net.weights"), ("--data", "data.yaml")
IMAGES = tuple(f"images/a.{suffix}" for suffix in "png jpg bmp tiff webp gif".split())
LABELS = ("labels/0.txt", "labels/1.txt")
COMMANDS: dict[str, tuple[Command, ...]] = {
    "cfg": (
        *(Command(("cfg", "check", name), (name,)) for name in ("net.cfg", "yolor.cfg")),
        *(Command(("info", name), (name,)) for name in ("net.cfg", "yolor.cfg", "tree.cfg")),
        Command(("cfg", "check", "tree.cfg"), ("classes.tree", "tree.cfg")),
        Command(("convert", "yolor.pt", "o.weights", "--cfg", "yolor.cfg"), ("yolor.cfg",)),
        Command(("cfg", "set-classes", "net.cfg", "3"), ("net.cfg",)),
        Command(("cfg", "explain", "yolor.cfg"), ("yolor.cfg",)),
        Command(("cfg", "diff", "net.cfg", "yolor.cfg"), ("net.cfg", "yolor.cfg")),
        Command(("cfg", "slim", "net.cfg", "net.pt", "--ratio", ".3"), ("net.cfg", "net.pt")),
        *(Command(("cfg", "add-head", "net.cfg", level), ("net.cfg",)) for level in ("P2", "P3", "P6")),
    ),
    "weights": (
        Command(("convert", "net.weights", "o.pt", "--cfg", "net.cfg"), ("net.weights",)),
        Command(("detect", *NET, "images/0.png", *OUT), ("net.weights",)),
        Command(("compare", "net.cfg", "net.pt", "--against", "net.weights"), ("net.weights",)),
    ),
    "pt": (
        Command(("convert", "net.pt", "o.weights", "--cfg", "net.cfg"), ("net.pt",)),
        Command(("convert", "yolor.pt", "o.safetensors", "--cfg", "yolor.cfg"), ("yolor.pt",)),
        Command(("implicit", "yolor.cfg", "yolor.pt"), ("yolor.pt",)),
        Command(("detect", "net.cfg", "net.pt", "images/0.png", *OUT), ("net.pt",)),
    ),
    "safetensors": (
        Command(("convert", "net.safetensors", "o.weights", "--cfg", "net.cfg"), ("net.safetensors",)),
        Command(("implicit", "yolor.cfg", "yolor.safetensors"), ("yolor.safetensors",)),
    ),
    "labels": (
        Command(("data", "check", "data.yaml"), LABELS),
        Command(("train", "net.cfg", *YAML, "--dry-run"), LABELS),
        Command(("data", "convert", "data.yaml", "out.json"), LABELS),
    ),
    "coco": (
        Command(("data", "check", "coco.json"), ("coco.json",)),
        Command(("test", *NET, "--data", "coco.json", *OUT), ("coco.json",)),
    ),
    "voc": (Command(("data", "check", "voc"), ("voc/Annotations/0.xml", "voc/ImageSets/Main/train.txt")),),
    "yaml": (
        Command(("data", "check", "data.yaml"), ("data.yaml",)),
        Command(("data", "check", "set.data"), ("set.data", "set.names", "list.txt")),
        Command(("detect", *NET, "images/0.png", "--names", "set.names", *OUT), ("set.names",)),
    ),
    "hyp": (Command(("train", "net.cfg", *YAML, "--hyp", "hyp.yaml", "--dry-run"), ("hyp.yaml",)),),
    "images": (
        *(Command(("detect", *NET, name, *OUT), (name,)) for name in IMAGES),
        Command(("data", "check", "data.yaml"), ("images/0.png", "images/1.png")),
        Command(("detect", *NET, "stack.npy", *OUT), ("stack.npy",)),
    ),
    "options": (
        Command(("detect", *NET, "images/0.png", *OUT)),
        Command(("test", *NET, *YAML, *OUT)),
        Command(("train", "net.cfg", *YAML, "--max-batches", "1", *OUT)),
        Command(("convert", "net.weights", "o.pt", "--cfg", "net.cfg")),
        Command(("info", "net.cfg")),
        Command(("anchors", "net.cfg", *YAML)),
        Command(("data", "check", "data.yaml")),
    ),
    "results": (
        Command(
            ("test", "--predictions", "results.json", "--annotations", "coco.json", *OUT), ("results.json",)
        ),
        Command(
            ("test", "--predictions", "results.json", "--annotations", "coco.json", *OUT), ("coco.json",)
        ),
    ),
}
ODD_VALUES = (
    "0 -1 1 2 nan inf -inf 1e400 18446744073709551616 -9999999999999999999 99999999 .5 1e-300 x auto none "
    "all 0,1 1,,2 64x64 0x0 1x99999999 33 640 cpu cuda:7 meta mps fp16 bf16 coco voc darknet yolor /dev/null "
    ". / net.cfg data.yaml nothing"
).split()


def pick_options(args: list[str], rng: random.Random) -> list[str]:
    """The arguments with one to three options of the command, each with an odd value."""
    from yolor_cfg.cli import main

    command: Any = main.get_command(Context(main), args[0])
    while hasattr(command, "commands"):
        command = command.commands[args[1]]
    options = [one for one in command.params if one.opts[0].startswith("-") and "--debug" not in one.opts]
    for option in rng.sample(options, k=rng.choice((1, 1, 2, 3))):
        flag = getattr(option, "is_flag", False)
        args += [rng.choice(option.opts), *([] if flag else [rng.choice((*ODD_VALUES, "", "\u00e9" * 300))])]
    return args


def make_inputs(folder: Path) -> None:
    """Networks, weights, images and data sets of every kind in a new folder."""
    folder.mkdir()
    _make_networks(folder)
    _make_images(folder)
    _make_data(folder)


def _make_networks(folder: Path) -> None:
    from yolor_cfg import load
    from yolor_cfg.weights.checkpoint import save_checkpoint
    from yolor_cfg.weights.darknet import write_weights

    for name, text in (("net", CFG), ("yolor", YOLOR_CFG), ("tree", TREE_CFG)):
        (folder / f"{name}.cfg").write_text(text, encoding="utf-8")
    for name in ("net", "yolor"):
        network = load(folder / f"{name}.cfg")
        write_weights(network, folder / f"{name}.weights")
        for suffix in ("pt", "safetensors"):
            numbers = {"seen": 64, "epoch": 1.0}
            save_checkpoint(network, folder / f"{name}.{suffix}", names=("cat", "dog"), numbers=numbers)


def _make_images(folder: Path) -> None:
    import cv2
    import numpy as np

    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    for name in ("0.png", "1.png", *(path.partition("/")[2] for path in IMAGES)):
        cv2.imwrite(str(folder / "images" / name), pixels)
    np.save(folder / "stack.npy", pixels)


BOX = {"category_id": 1, "bbox": [5, 6, 15, 24]}
COCO = {
    "images": [{"id": n, "file_name": f"images/{n}.png", "width": 48, "height": 40} for n in (0, 1)],
    "annotations": [{"id": n + 1, "image_id": n, "area": 360, "iscrowd": 0, **BOX} for n in (0, 1)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}
TEXTS = {
    **dict.fromkeys(LABELS, "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.125 0.125\n"),
    **{f"voc/Annotations/{n}.xml": XML.format(n) for n in (0, 1)},
    "voc/ImageSets/Main/train.txt": "0\n1\n",
    "voc/ImageSets/Main/val.txt": "1\n",
    "data.yaml": "path: .\ntrain: list.txt\nval: list.txt\nnc: 2\nnames: [cat, dog]\n",
    "set.data": "classes = 2\ntrain = list.txt\nvalid = list.txt\nnames = set.names\n",
    "set.names": "cat\ndog\n",
    "list.txt": "images/0.png\nimages/1.png\n",
    "hyp.yaml": HYP,
    "coco.json": json.dumps(COCO),
    "results.json": json.dumps([{"image_id": n, "score": 0.9 - n / 10, **BOX} for n in (0, 1)]),
    "classes.tree": "a -1\nb -1\nc 0\nd 0\n",
}


def _make_data(folder: Path) -> None:
    for name in ("labels", "voc/Annotations", "voc/ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "voc/JPEGImages").symlink_to("../images")
