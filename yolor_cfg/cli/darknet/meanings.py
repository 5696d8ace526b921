"""What each option of C Darknet is in our words, by function; what has no equal is told or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """The words of ours, with {} for the value; a note on what is other here; why it is refused. With none of
    them the option is read by the function itself, or there is nothing to do."""

    words: tuple[str, ...] = ()
    note: str = ""
    refusal: str = ""


Meanings = Mapping[str, Meaning]
READ = Meaning()
NO_LAYER_TIMES = Meaning(note="no times of layers are measured; `yolor bench CFG` compares engines")
NOT_SERVED = "nothing is sent or served; `yolor detect ... --json` prints a line of JSON for each image"
CHART = Meaning(note="the charts are results.png and others in the folder of the run")
IMAGE_OPTIONS: Meanings = {
    "-thresh": Meaning(("--conf", "{}")),
    "-letter_box": Meaning(("--preprocess", "letterbox")),
    "-ext_output": READ,
    "-dont_show": READ,
    "-hier": READ,
    "-i": READ,
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
    "-c": READ,
    "-out_filename": READ,
    "-json_file_output": Meaning(("--save-darknet", "json={}")),
    "-json_port": Meaning(refusal=NOT_SERVED),
    "-http_post_host": Meaning(refusal=NOT_SERVED),
    "-mjpeg_port": Meaning(note="no pictures are served; the drawn video is in the folder of the results"),
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
    "-dont_show": READ,
    "-i": READ,
}
VALID: Meanings = {"-out": READ, "-dont_show": READ, "-i": READ}
RECALL: Meanings = {"-dont_show": READ, "-i": READ}
TRAIN: Meanings = {
    "-map": READ,
    "-mAP_epochs": READ,
    "-topk": READ,
    "-clear": READ,
    "-gpus": READ,
    "-i": READ,
    "-dont_show": READ,
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
    "-dont_show": READ,
}
DETECT: Meanings = {"-thresh": READ, "-ext_output": READ, "-i": READ, "-dont_show": READ}
PREDICT: Meanings = {"-t": READ, "-i": READ, "-dont_show": READ}
NONE: Meanings = {"-i": READ, "-dont_show": READ}
