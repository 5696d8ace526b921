"""The functions of C Darknet: how each is called, and the command of ours that does it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from yolor_cfg.cli.darknet import anchors, meanings, tools
from yolor_cfg.cli.darknet.data_file import class_names_file, data_options, is_set, listed_images
from yolor_cfg.cli.darknet.line import CommandLine
from yolor_cfg.cli.darknet.meanings import Meanings
from yolor_cfg.cli.darknet.training import train_words
from yolor_cfg.cli.detect_darknet import MOST_LABELS
from yolor_cfg.errors import shell_word

COCO_DATA, IMAGENET_DATA = "cfg/coco.data", "cfg/imagenet1k.data"
"""The files that `detect` and `classify` read, as C Darknet finds them from its own folder."""
DETECT_CONF = "0.24"
ALL_DETECTIONS = "1000000"
"""C Darknet has no limit."""
RESULTS = {
    "voc": ("voc", "comp4_det_test_", ""),
    "coco": ("coco", "coco_results", ".json"),
    "imagenet": ("imagenet", "imagenet-detection", ".txt"),
}
"""By `eval=` of the .data file: our name of the form, the usual name of the file, its suffix."""


class NewForm(NamedTuple):
    """The command of ours, what there is to say, and what runs in its place if there is none."""

    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    run: Callable[[], None] | None = None


class DarknetFunction(NamedTuple):
    """How a function is called, how many words it needs at least, its options, and its translation."""

    usage: str
    least: int
    options: Meanings
    translate: Callable[[CommandLine], NewForm]


def translate_test(line: CommandLine) -> NewForm:
    """`detector test`: without images, a list of them on standard input."""
    data, cfg, weights, *images = line.words
    _check_hier(line, cfg)
    words = ("detect", cfg, weights, *(images or _standard_input()), "--names", data)
    return NewForm((*words, *_text_words(line)), _window_notes(line))


def translate_demo(line: CommandLine) -> NewForm:
    """`detector demo`: a video, or the camera -c."""
    data, cfg, weights, *videos = line.words
    source = videos[:1] or [str(line.integer("-c", 0))]
    words = ("detect", cfg, weights, *source, "--names", data, *_text_words(line))
    place = line.options.get("-out_filename")
    if place is None:
        return NewForm(words, _window_notes(line))
    folder = os.path.splitext(place)[0]
    note = f"videos are written as .mp4: the drawn one is in {folder}/, not {place}"
    return NewForm((*words, "--output", folder), (*_window_notes(line), note))


def translate_detect(line: CommandLine) -> NewForm:
    """`detect`, which reads the names that cfg/coco.data tells and has another threshold."""
    cfg, weights, *images = line.words
    names, notes = _usual_names(COCO_DATA)
    words = ("detect", cfg, weights, *(images or _standard_input()), *names)
    conf = line.options.get("-thresh", DETECT_CONF)
    return NewForm((*words, "--conf", conf, *_text_words(line)), (*_window_notes(line), *notes))


def translate_valid(line: CommandLine) -> NewForm:
    """`detector valid`: the files for the servers of VOC, COCO and ImageNet."""
    data, cfg, weights, *_ = line.words
    options = data_options(data)
    kind = options.get("eval", "voc")
    if kind in ("bdd", "kitti") or is_set(options, "map"):
        what = "map=" if is_set(options, "map") else f"eval={kind}"
        raise click.UsageError(
            f"{data}: {what}: such results are not written; eval= may be voc, coco, imagenet"
        )
    form, usual, suffix = RESULTS.get(kind, RESULTS["voc"])
    path = Path(options.get("results", "results")) / (line.options.get("-out", usual) + suffix)
    words = ("detect", cfg, weights, listed_images(data, options), "--names", data, "--nosave")
    rules = ("--conf", "0.001", "--iou", "0.6", "--max-det", ALL_DETECTIONS)
    return NewForm((*words, *rules, "--save-darknet", f"{form}={path}"))


def translate_map(line: CommandLine) -> NewForm:
    """`detector map`."""
    data, cfg, weights, *_ = line.words
    return NewForm(("test", cfg, weights, "--data", data, "--darknet-text", "map", "--no-save"))


def translate_recall(line: CommandLine) -> NewForm:
    """`detector recall`."""
    data, cfg, weights, *_ = line.words
    return NewForm(("test", cfg, weights, "--data", data, "--darknet-text", "recall", "--no-save"))


def translate_train(line: CommandLine) -> NewForm:
    """`detector train` and `classifier train`."""
    return NewForm(*train_words(line))


def translate_anchors(line: CommandLine) -> NewForm:
    """`detector calc_anchors`, which needs no cfg."""
    count, width, height = (
        line.integer(name, default)
        for name, default in (("-num_of_clusters", 5), ("-width", 0), ("-height", 0))
    )
    if min(count, width, height) < 1:
        raise click.UsageError("give -width and -height of the network in pixels, and -num_of_clusters")
    data = line.words[0]
    call = f"yolor anchors CFG --data {shell_word(data)} -n {count} --img-size {height}x{width}"
    wanted = anchors.Wanted(data, count, (height, width), force="--force" in line.own)
    note = f"a cfg gets anchors by: {call} --write OUT.cfg"
    return NewForm((), (note,), lambda: anchors.calc_anchors(wanted))


def translate_predict(line: CommandLine) -> NewForm:
    """`classifier predict`."""
    data, cfg, weights, *images = line.words
    options = data_options(data)
    top = line.integer("-t", 0) or int(options.get("top", "1"))
    words = ("detect", cfg, weights, *(images[:1] or _standard_input()))
    names = ("--names", class_names_file(data, options), "--nosave")
    return NewForm((*words, *names, "--darknet-output", "--top", str(min(top, MOST_LABELS))), _top_notes(top))


def translate_classify(line: CommandLine) -> NewForm:
    """`classify`, which reads the names that cfg/imagenet1k.data tells."""
    cfg, weights, *images = line.words
    names, notes = _usual_names(IMAGENET_DATA)
    words = ("detect", cfg, weights, *(images[:1] or _standard_input()), *names, "--nosave")
    return NewForm((*words, "--darknet-output", "--top", str(MOST_LABELS)), notes)


def translate_top(line: CommandLine) -> NewForm:
    """`classifier valid`."""
    data, cfg, weights, *_ = line.words
    note = "the figures are printed once, after the last image"
    return NewForm(("test", cfg, weights, "--data", data, "--darknet-text", "top", "--no-save"), (note,))


def translate_partial(line: CommandLine) -> NewForm:
    """`partial`: the layers before N, and no images seen."""
    cfg, weights, target, count, *_ = line.words
    rules = ("--cutoff", count, "--upto", count, "--reset-seen")
    return NewForm(("convert", weights, target, "--cfg", cfg, *rules))


def _translate_tool(tool: Callable[[Sequence[str], bool], None]) -> Callable[[CommandLine], NewForm]:
    """A function that is here what it is there, and has no other form."""
    return lambda line: NewForm(run=lambda: tool(line.words, "--force" in line.own))


def _text_words(line: CommandLine) -> tuple[str, ...]:
    return ("--ext-output",) if "-ext_output" in line.options else ("--darknet-output",)


def _standard_input() -> tuple[str, ...]:
    if sys.stdin.isatty():
        raise click.UsageError("no image given: give it after WEIGHTS, or a list of images on standard input")
    return ("-",)


def _window_notes(line: CommandLine) -> tuple[str, ...]:
    """What is to say where C Darknet would open a window."""
    if {"-dont_show", "-benchmark"} & set(line.options):
        return ()
    return ("no window is opened without --show: what is drawn is in the folder of the results",)


def _top_notes(top: int) -> tuple[str, ...]:
    return (f"the {MOST_LABELS} best classes are shown, not {top}",) if top > MOST_LABELS else ()


def _usual_names(data: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """--names of a file that C Darknet takes from its own folder, or a note that it is not there."""
    if os.path.exists(data):
        return ("--names", data), ()
    return (), (f"{data}, which C Darknet takes the names of the classes from, is not here",)


def _check_hier(line: CommandLine, cfg: str) -> None:
    """Refuse another threshold in class trees than 0.5, the only one here."""
    asked = line.options.get("-hier", "0.5")
    if asked.rstrip("0") not in ("0.5", ".5") and _has_tree(cfg):
        raise click.UsageError(f"-hier {asked}: classes in a tree go by 0.5; leave it out")


def _has_tree(cfg: str) -> bool:
    from yolor_cfg.cli.darknet.data_file import read_lines

    return any(text.replace(" ", "").startswith("tree=") for text in read_lines(cfg))


THREE = "DATA CFG WEIGHTS"
FUNCTIONS: Mapping[str, DarknetFunction] = {
    "detector test": DarknetFunction(f"{THREE} [IMAGE...]", 3, meanings.TEST, translate_test),
    "detector demo": DarknetFunction(f"{THREE} [VIDEO]", 3, meanings.DEMO, translate_demo),
    "detector map": DarknetFunction(THREE, 3, meanings.MAP, translate_map),
    "detector valid": DarknetFunction(THREE, 3, meanings.VALID, translate_valid),
    "detector recall": DarknetFunction(THREE, 3, meanings.RECALL, translate_recall),
    "detector train": DarknetFunction("DATA CFG [WEIGHTS]", 2, meanings.TRAIN, translate_train),
    "detector calc_anchors": DarknetFunction(
        "DATA -num_of_clusters N -width W -height H", 1, meanings.ANCHORS, translate_anchors
    ),
    "classifier predict": DarknetFunction(f"{THREE} [IMAGE]", 3, meanings.PREDICT, translate_predict),
    "classifier valid": DarknetFunction(THREE, 3, meanings.NONE, translate_top),
    "classifier train": DarknetFunction("DATA CFG [WEIGHTS]", 2, meanings.TRAIN, translate_train),
    "detect": DarknetFunction("CFG WEIGHTS [IMAGE...]", 2, meanings.DETECT, translate_detect),
    "classify": DarknetFunction("CFG WEIGHTS [IMAGE]", 2, meanings.NONE, translate_classify),
    "partial": DarknetFunction("CFG WEIGHTS OUT N", 4, meanings.NONE, translate_partial),
    "average": DarknetFunction("CFG OUT WEIGHTS...", 3, meanings.NONE, _translate_tool(tools.average)),
    "statistics": DarknetFunction("CFG WEIGHTS", 2, meanings.NONE, _translate_tool(tools.statistics)),
    "oneoff": DarknetFunction("CFG WEIGHTS OUT", 3, meanings.NONE, _translate_tool(tools.oneoff)),
}
ANSWERS: Mapping[str, str] = {
    "ops": "`yolor info CFG` counts operations",
    "speed": "`yolor bench CFG` measures the speed",
    "denormalize": "`yolor convert IN OUT --cfg CFG --fuse` folds batch norms into the convolutions",
    "visualize": "no window is opened; `yolor info CFG` shows the layers",
    "detector draw": "images are not changed towards a detection",
    "classifier demo": "`yolor detect CFG WEIGHTS VIDEO` shows the classes of each frame",
    "classifier test": "`yolor detect CFG WEIGHTS LIST.txt --json` has the classes of each image",
    "classifier validmulti": "`yolor test CFG WEIGHTS --data DATA --img-size N` for each size",
    "classifier valid10": "there is no test by several copies of an image; `classifier valid` takes one",
    "classifier validcrop": "`classifier valid` cuts out the middle of each image",
    "classifier validfull": "`yolor test CFG WEIGHTS --data DATA --preprocess letterbox`",
    "yolo": "networks with a [detection] head are run by `detector` too",
    "coco": "networks with a [detection] head are run by `detector` too",
}
"""What other functions are here."""
