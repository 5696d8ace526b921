"""Data sets in the layouts that people's tools export: the same images and boxes in each of them.

What each tool writes is told by its own documentation: Roboflow's export formats, CVAT's and Datumaro's pages
on YOLO, Ultralytics YOLO, Pascal VOC and COCO, labelImg's README, Label Studio's export formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

NAMES = ("cat", "dog")
HEIGHT, WIDTH = 48, 64


class Shown(NamedTuple):
    """One image: its stem and its boxes, class, left, top, width, height in whole pixels."""

    stem: str
    boxes: list[tuple[int, int, int, int, int]]


Split = dict[str, list[Shown]]


def make_split(train: int = 6, val: int = 2) -> Split:
    """Images with one or two boxes; each differs from the others."""
    rng = np.random.default_rng(0)

    def boxes(number: int) -> list[tuple[int, int, int, int, int]]:
        corners = rng.integers(1, 20, (1 + number % 2, 2)).tolist()
        return [((number + i) % 2, x, y, 20 + number, 16) for i, (x, y) in enumerate(corners)]

    return {
        "train": [Shown(f"t{number}", boxes(number)) for number in range(train)],
        "val": [Shown(f"v{number}", boxes(number)) for number in range(val)],
    }


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([ord(letter) for letter in path.stem])
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    pixels = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def write_text_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def label_text(shown: Shown) -> str:
    rows = (
        (c, (x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT) for c, x, y, w, h in shown.boxes
    )
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def xml_text(shown: Shown) -> str:
    objects = "".join(
        f"<object><name>{NAMES[c]}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for c, x, y, w, h in shown.boxes
    )
    return f"<annotation><filename>{shown.stem}.png</filename>{objects}</annotation>"


def coco_text(images: Sequence[Shown], prefix: str = "", *, labeled: bool = True, root: bool = False) -> str:
    listed = [
        {"id": number, "file_name": f"{prefix}{shown.stem}.png", "height": HEIGHT, "width": WIDTH}
        for number, shown in enumerate(images, 1)
    ]
    boxes = [(number, box) for number, shown in enumerate(images, 1) for box in shown.boxes]
    notes = [
        {"id": i, "image_id": number, "category_id": c + 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
        for i, (number, (c, x, y, w, h)) in enumerate(boxes, 1)
    ]
    above = [{"id": 0, "name": "animals", "supercategory": "none"}] if root else []
    over = {"supercategory": "animals"} if root else {}
    categories = [*above, *({"id": i, "name": name, **over} for i, name in enumerate(NAMES, 1))]
    document = {"images": listed, "categories": categories}
    return json.dumps(document | ({"annotations": notes} if labeled else {}))


def images_and_labels(
    root: Path, images: Sequence[Shown], folder: str = "images", labels: str = "labels"
) -> None:
    for shown in images:
        write_image(root / folder / f"{shown.stem}.png")
        write_text_file(root / labels / f"{shown.stem}.txt", label_text(shown))


def images_and_xml(root: Path, images: Sequence[Shown], folder: str, notes: str) -> None:
    for shown in images:
        write_image(root / folder / f"{shown.stem}.png")
        write_text_file(root / notes / f"{shown.stem}.xml", xml_text(shown))


def images_alone(folder: Path, images: Sequence[Shown]) -> None:
    for shown in images:
        write_image(folder / f"{shown.stem}.png")


def roboflow_voc(root: Path, splits: Split) -> Path:
    for word, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_and_xml(root, images, word, word)
    return root


def roboflow_darknet(root: Path, splits: Split) -> Path:
    for word, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_and_labels(root, images, word, word)
        write_text_file(root / word / "_darknet.labels", "\n".join(NAMES))
    return root


def roboflow_coco(root: Path, splits: Split) -> Path:
    for word, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_alone(root / word, images)
        write_text_file(root / word / "_annotations.coco.json", coco_text(images, root=True))
    return root


def roboflow_yolo(root: Path, splits: Split) -> Path:
    for word, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_and_labels(root / word, images)
    text = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
    write_text_file(root / "data.yaml", text)
    return root


def voc_lists(root: Path, splits: Split, lists: dict[str, str]) -> Path:
    for split, name in lists.items():
        images_and_xml(root, splits[split], "JPEGImages", "Annotations")
        stems = "".join(f"{shown.stem}\n" for shown in splits[split])
        write_text_file(root / "ImageSets" / "Main" / f"{name}.txt", stems)
    return root


def voc(root: Path, splits: Split) -> Path:
    return voc_lists(root, splits, {"train": "train", "val": "val"})


def voc_trainval(root: Path, splits: Split) -> Path:
    return voc_lists(root, splits, {"train": "trainval", "val": "test"})


def voc_without_val(root: Path, splits: Split) -> Path:
    return voc_lists(root, splits, {"train": "train"})


def cvat_voc(root: Path, splits: Split) -> Path:
    write_text_file(
        root / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\ndog:3,2,1::\n",
    )
    return voc_lists(root, splits, {"train": "default"})


def voc_without_lists(root: Path, splits: Split) -> Path:
    images_and_xml(root, splits["train"], "JPEGImages", "Annotations")
    return root


def images_annotations(root: Path, splits: Split) -> Path:
    images_and_xml(root, splits["train"], "images", "annotations")
    return root


def images_annotations_capital(root: Path, splits: Split) -> Path:
    images_and_xml(root, splits["train"], "images", "Annotations")
    return root


def cvat_yolo(root: Path, splits: Split) -> Path:
    for name, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_and_labels(root, images, f"obj_{name}_data", f"obj_{name}_data")
        lines = "".join(f"data/obj_{name}_data/{shown.stem}.png\n" for shown in images)
        write_text_file(root / f"{name}.txt", lines)
    write_text_file(root / "obj.names", "cat\ndog\n")
    lists = "train = data/train.txt\nvalid = data/valid.txt\n"
    text = f"classes = 2\n{lists}names = data/obj.names\nbackup = backup/\n"
    write_text_file(root / "obj.data", text)
    return root / "obj.data"


def cvat_ultralytics(root: Path, splits: Split) -> Path:
    for split, images in splits.items():
        images_and_labels(root, images, f"images/{split}", f"labels/{split}")
        lines = "".join(f"data/images/{split}/{shown.stem}.png\n" for shown in images)
        write_text_file(root / f"{split}.txt", lines)
    text = "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\nval: val.txt\n"
    write_text_file(root / "data.yaml", text)
    return root


def cvat_coco(root: Path, splits: Split) -> Path:
    images_alone(root / "images" / "default", splits["train"])
    write_text_file(root / "annotations" / "instances_default.json", coco_text(splits["train"]))
    return root


def coco_folders(root: Path, splits: Split) -> Path:
    for split, images in splits.items():
        images_alone(root / f"{split}2017", images)
        write_text_file(root / "annotations" / f"instances_{split}2017.json", coco_text(images))
        write_text_file(root / "annotations" / f"captions_{split}2017.json", coco_text(images))
    return root


def one_coco_json(root: Path, splits: Split) -> Path:
    images_alone(root / "images", splits["train"])
    write_text_file(root / "all.json", coco_text(splits["train"]))
    return root / "all.json"


def yaml_of_json(root: Path, splits: Split) -> Path:
    for split, images in splits.items():
        images_alone(root / "images" / split, images)
        write_text_file(root / "annotations" / f"{split}.json", coco_text(images, f"{split}/"))
    text = "train: annotations/train.json\nval: annotations/val.json\nnc: 2\nnames: [cat, dog]\n"
    write_text_file(root / "my.yaml", text)
    return root / "my.yaml"


def label_studio(root: Path, splits: Split) -> Path:
    images_and_labels(root, splits["train"])
    write_text_file(root / "classes.txt", "cat\ndog\n")
    notes = {"categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)], "info": {"year": 2026}}
    write_text_file(root / "notes.json", json.dumps(notes))
    return root


def label_studio_coco(root: Path, splits: Split) -> Path:
    images_alone(root / "images", splits["train"])
    write_text_file(root / "result.json", coco_text(splits["train"], "images\\"))
    return root


def labelimg(root: Path, splits: Split) -> Path:
    images_and_labels(root, splits["train"])
    write_text_file(root / "labels" / "classes.txt", "cat\ndog\n")
    return root


def labelimg_beside(root: Path, splits: Split) -> Path:
    images_and_labels(root, splits["train"], ".", ".")
    write_text_file(root / "classes.txt", "cat\ndog\n")
    return root


def yolo_yaml(root: Path, splits: Split) -> Path:
    for split, images in splits.items():
        images_and_labels(root, images, f"images/{split}", f"labels/{split}")
    write_text_file(root / "my.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    return root / "my.yaml"


def yolo_yaml_without_val(root: Path, splits: Split) -> Path:
    images_and_labels(root, splits["train"], "images/train", "labels/train")
    write_text_file(root / "my.yaml", "path: .\ntrain: images/train\nnames: [cat, dog]\n")
    return root / "my.yaml"


def darknet(root: Path, splits: Split) -> Path:
    for name, images in (("train", splits["train"]), ("valid", splits["val"])):
        images_and_labels(root, images, "obj", "obj")
        write_text_file(root / f"{name}.txt", "".join(f"obj/{shown.stem}.png\n" for shown in images))
    write_text_file(root / "obj.names", "cat\ndog\n")
    write_text_file(root / "obj.data", "classes=2\ntrain=train.txt\nvalid=valid.txt\nnames=obj.names\n")
    return root / "obj.data"


def darknet_without_valid(root: Path, splits: Split) -> Path:
    description = darknet(root, splits)
    description.write_text(description.read_text().replace("valid=valid.txt\n", ""))
    return description


def split_folders(root: Path, splits: Split) -> Path:
    for split, images in splits.items():
        images_and_labels(root / split, images)
    write_text_file(root / "classes.txt", "cat\ndog\n")
    return root


def list_file(root: Path, splits: Split) -> Path:
    images_and_labels(root, splits["train"])
    write_text_file(root / "classes.txt", "cat\ndog\n")
    write_text_file(root / "all.txt", "".join(f"images/{shown.stem}.png\n" for shown in splits["train"]))
    return root / "all.txt"


Layout = Callable[[Path, Split], Path]
DIVIDED: tuple[Layout, ...] = (
    roboflow_voc,
    roboflow_darknet,
    roboflow_coco,
    roboflow_yolo,
    voc,
    voc_trainval,
    cvat_yolo,
    cvat_ultralytics,
    coco_folders,
    yaml_of_json,
    yolo_yaml,
    darknet,
    split_folders,
)
UNDIVIDED: tuple[Layout, ...] = (
    cvat_voc,
    voc_without_val,
    voc_without_lists,
    images_annotations,
    images_annotations_capital,
    cvat_coco,
    one_coco_json,
    label_studio,
    label_studio_coco,
    labelimg,
    labelimg_beside,
    yolo_yaml_without_val,
    darknet_without_valid,
    list_file,
)
