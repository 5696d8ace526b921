"""What each option of C Darknet is in our words, by function; what has no equal is told or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """The words of ours, with {} for the value; a note on what is other here; why it is refused. With none of
    them the function itself reads the option, or there is nothing to do: what then is told by the help."""

    words: tuple[str, ...] = ()
    note: str = ""
    refusal: str = ""
    help: str = ""


def describe(meaning: Meaning) -> str:
    """The meaning in words, for the help."""
    words = " ".join(meaning.words).replace("{}", "N" if meaning.words[:1] != ("--save-darknet",) else "FILE")
    refusal = f"refused: {meaning.refusal}" if meaning.refusal else ""
    return "; ".join(filter(None, (words, meaning.note, refusal, meaning.help))) or "as in C Darknet"


Meanings = Mapping[str, Meaning]
READ = Meaning()
SILENT = Meaning(help="nothing is shown anyway; without it a note says so where C Darknet opens a window")
DEVICE = Meaning(help="--device N")
EXT_OUTPUT = Meaning(help="--ext-output in place of --darknet-output")
NO_LAYER_TIMES = Meaning(note="no times of layers are measured; `yolor bench CFG` compares engines")
SERVED = "this machine alone can see it, 0.0.0.0:PORT in place of :PORT lets all others"
CHART = Meaning(note="the charts are results.png and others in the folder of the run")
IMAGE_OPTIONS: Meanings = {
    "-thresh": Meaning(("--conf", "{}")),
    "-letter_box": Meaning(("--preprocess", "letterbox")),
    "-ext_output": EXT_OUTPUT,
    "-dont_show": SILENT,
    "-hier": Meaning(help="0.5 is the only threshold in class trees"),
    "-i": DEVICE,
    "-benchmark_layers": NO_LAYER_TIMES,
}
TEST: Meanings = {
    **IMAGE_OPTIONS,
    "-benchmark": READ,
    "-out": Meaning(("--save-darknet", "json={}")),
    "-save_labels": Meaning(
        ("--save-txt",), "the labels go to labels/ in the folder of the results, not beside the images"
    ),
}
DEMO: Meanings = {
    **{name: meaning for name, meaning in IMAGE_OPTIONS.items() if name != "-hier"},
    "-benchmark": Meaning(("--nosave",)),
    "-c": Meaning(help="camera N in place of a video"),
    "-out_filename": Meaning(help="--output with the name without its suffix, a folder"),
    "-json_file_output": Meaning(("--save-darknet", "json={}")),
    "-json_port": Meaning(("--serve", ":{}"), f"the lines of JSON are at /detections.jsonl; {SERVED}"),
    "-http_post_host": Meaning(
        refusal="nothing is sent; `yolor detect ... --serve :PORT` lets others fetch /detections.jsonl"
    ),
    "-mjpeg_port": Meaning(("--serve", ":{}"), f"the picture is at /stream.mjpg; {SERVED}"),
    "-dontdraw_bbox": Meaning(refusal="what is saved has its boxes drawn; --nosave saves nothing"),
    "-prefix": Meaning(refusal="the drawn frames are written as a video, not as single images"),
    "-time_limit_sec": Meaning(
        refusal="no limit of time is kept; `timeout -s INT SECONDS yolor detect ...` ends a run with all "
        "that is done by then"
    ),
    "-s": Meaning(note="nothing is shown, so nothing is delayed"),
    "-avgframes": Meaning(note="each frame counts for itself, as in C Darknet, which only shows it later"),
}
MAP: Meanings = {
    "-thresh": Meaning(("--map-conf", "{}")),
    "-iou_thresh": Meaning(("--map-iou", "{}")),
    "-points": Meaning(("--points", "{}")),
    "-dont_show": SILENT,
    "-i": DEVICE,
}
VALID: Meanings = {"-out": READ, "-dont_show": SILENT, "-i": DEVICE}
RECALL: Meanings = {"-dont_show": SILENT, "-i": DEVICE}
TRAIN: Meanings = {
    "-map": Meaning(help="--val-period 4; without it --no-val"),
    "-mAP_epochs": Meaning(help="--val-period N"),
    "-topk": Meaning(help="a test each epoch; without it --no-val"),
    "-clear": Meaning(help="a run begins at iteration 0 anyway"),
    "-gpus": Meaning(help="--device N; several are refused with the line for torchrun"),
    "-i": DEVICE,
    "-dont_show": SILENT,
    "-chart": CHART,
    "-mjpeg_port": CHART,
    "-show_imgs": Meaning(note="train_batch*.jpg in the folder of the run show what is learned from"),
    "-benchmark_layers": NO_LAYER_TIMES,
    "-thresh": Meaning(note="the test inside a run counts at all confidences; `yolor test -thresh N`"),
    "-iou_thresh": Meaning(note="the test inside a run has COCO's IoUs; `yolor test -iou_thresh N`"),
}
ANCHORS: Meanings = {
    "-num_of_clusters": READ,
    "-width": READ,
    "-height": READ,
    "-show": Meaning(note="no window is opened; `yolor anchors ... --plot FILE.png` draws boxes and anchors"),
    "-dont_show": SILENT,
}
DETECT: Meanings = {"-thresh": READ, "-ext_output": EXT_OUTPUT, "-i": DEVICE, "-dont_show": SILENT}
PREDICT: Meanings = {"-t": Meaning(help="--top N"), "-i": DEVICE, "-dont_show": SILENT}
NONE: Meanings = {"-i": DEVICE, "-dont_show": SILENT}
